//! Colours for words that say how something stands: green is well, yellow is on its way or wants a look, red needs somebody.
//! Pure. Whether there is anybody who sees them is for those to say who print.

/// How something stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// Nothing to say by colour.
    #[default]
    None,
    /// Well.
    Ok,
    /// On its way, or not as it should be.
    Warning,
    /// It needs somebody.
    Error,
}

impl Severity {
    /// Of a word in a table: a state, Helm's status, health, a lock.
    pub fn of(word: &str) -> Self {
        match word {
            "deployed" | "Healthy" => Self::Ok,
            "deploying" | "uninstalling" | "Progressing" | "Drifted" | "Unknown" | "held" | "alive" => {
                Self::Warning
            }
            "stuck" | "failed" | "Stuck" | "Missing" | "Degraded" | "dead" | "unreadable" => Self::Error,
            word if word.starts_with("pending-") => Self::Error,
            _ => Self::None,
        }
    }

    /// The text in its colour.
    pub fn paint(self, text: &str) -> String {
        self.code().map_or_else(|| text.to_owned(), |code| format!("\u{1b}[{code}m{text}\u{1b}[0m"))
    }

    /// The ANSI style of a word that stands out: bold, in its colour.
    pub fn bold(self) -> String {
        self.code().map_or_else(|| "1".to_owned(), |code| format!("1;{code}"))
    }

    /// One of the sixteen colours that every terminal has, and that its theme makes readable on light and on dark.
    fn code(self) -> Option<u8> {
        match self {
            Self::None => None,
            Self::Ok => Some(32),
            Self::Warning => Some(33),
            Self::Error => Some(31),
        }
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
            assert!(
                matches!(Severity::of(&health.to_string()), Severity::Error | Severity::Warning),
                "{health}"
            );
        }
        assert_eq!(Severity::of(&Health::Healthy.to_string()), Severity::Ok);
        assert_eq!(Severity::of(State::Deployed.as_str()), Severity::Ok);
        assert_eq!(
            (Severity::of(State::Stuck.as_str()), Severity::of(State::None.as_str())),
            (Severity::Error, Severity::None)
        );
        assert_eq!(Severity::of("pending-rollback"), Severity::Error);
    }
}
