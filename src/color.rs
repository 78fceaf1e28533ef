//! Colours for words that say how something stands: green is well, yellow is on its way or wants a look, red needs somebody.
//! Pure. Whether there is anybody who sees them is for those to say who print.

/// How something stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing to say by colour.
    #[default]
    Plain,
    /// Well.
    Good,
    /// On its way, or not as it should be.
    Late,
    /// It needs somebody.
    Bad,
}

impl Tone {
    /// Of a word in a table: a state, Helm's status, health, a lock.
    pub fn of(word: &str) -> Self {
        match word {
            "deployed" | "Healthy" => Self::Good,
            "deploying" | "uninstalling" | "Progressing" | "Drifted" | "Unknown" | "held" | "alive" => {
                Self::Late
            }
            "stuck" | "failed" | "Stuck" | "Missing" | "Degraded" | "dead" | "unreadable" => Self::Bad,
            word if word.starts_with("pending-") => Self::Bad,
            _ => Self::Plain,
        }
    }

    /// The text in its colour.
    pub fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => 32,
            Self::Late => 33,
            Self::Bad => 31,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_health_and_state_has_a_colour() {
        use crate::{health::Health, status::State};
        use Health::{Degraded, Drifted, Missing, Progressing, Stuck, Unknown};
        for health in [Stuck, Missing, Degraded, Progressing, Drifted, Unknown] {
            assert!(matches!(Tone::of(&health.to_string()), Tone::Bad | Tone::Late), "{health}");
        }
        assert_eq!(Tone::of(&Health::Healthy.to_string()), Tone::Good);
        assert_eq!(Tone::of(State::Deployed.as_str()), Tone::Good);
        assert_eq!(
            (Tone::of(State::Stuck.as_str()), Tone::of(State::None.as_str())),
            (Tone::Bad, Tone::Plain)
        );
        assert_eq!(Tone::of("pending-rollback"), Tone::Bad);
    }
}
