//! Whether a holder is dead: what the CI system says about its run, weighed against its Lease. A holder that renews is alive.
//! Pure: observations and answers are passed in.

use std::time::Duration;

use super::{LeaseView, belief};

/// What was told of a holder, and what was seen since.
#[derive(Clone, Debug, Default)]
pub struct Over {
    told: Option<Told>,
}

#[derive(Clone, Debug)]
struct Told {
    identity: String,
    /// The renewal that was known when the question was asked.
    asked_at: String,
    /// A renewal that may have been before the end, and when it was first seen.
    changed: Option<(String, Duration)>,
    /// It renewed after it was known to be over.
    alive: bool,
}

/// What both witnesses together say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weighed {
    /// Nothing that shortens the waiting.
    Nothing,
    /// The holder of this identity is dead.
    Dead(String),
    /// It renews although its run is said to be over. Said once.
    Contradicted,
}

impl Over {
    /// The run of the holder is over. `seen` is its Lease as it was when that was asked.
    pub fn told(&mut self, seen: &LeaseView) {
        let Some(holder) = &seen.holder else { return };
        if self.told.as_ref().is_some_and(|told| told.identity == holder.identity) {
            return;
        }
        self.told = Some(Told {
            identity: holder.identity.clone(),
            asked_at: seen.renewed.clone(),
            changed: None,
            alive: false,
        });
    }

    /// Weighs a look that was begun at `now`, after whatever was told.
    pub fn weigh(&mut self, view: &LeaseView, now: Duration) -> Weighed {
        let Some(holder) = &view.holder else { return Weighed::Nothing };
        let Some(told) = self.told.as_mut().filter(|told| told.identity == holder.identity) else {
            self.told = None;
            return Weighed::Nothing;
        };
        if told.alive {
            return Weighed::Nothing;
        }
        let dead = || Weighed::Dead(holder.identity.clone());
        match &told.changed {
            None if view.renewed == told.asked_at => dead(),
            // It renewed between the look and the answer. Perhaps that was its last: a living one does so again before a
            // third of its lease duration is over.
            None => {
                told.changed = Some((view.renewed.clone(), now));
                Weighed::Nothing
            }
            Some((renewed, _)) if *renewed != view.renewed => {
                told.alive = true;
                Weighed::Contradicted
            }
            Some((_, since)) if now >= *since + belief(view) / 3 => dead(),
            Some(_) => Weighed::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::holder::Holder;

    fn look(identity: &str, renewed: &str) -> LeaseView {
        LeaseView {
            holder: Some(Holder { identity: identity.into(), ..Holder::default() }),
            renewed: renewed.into(),
            duration: Duration::from_secs(15),
            members: Vec::new(),
        }
    }

    #[test]
    fn who_renews_is_alive_whatever_its_ci_system_says() {
        let dead = || Weighed::Dead("a".into());
        type Looks<'a> = &'a [(u64, &'a str, &'a str)];
        let rows: [(&str, Looks, Weighed); 8] = [
            ("silent since it was asked about", &[(0, "a", "1")], dead()),
            ("renewed once while that was asked: not yet", &[(0, "a", "2")], Weighed::Nothing),
            (
                "and silent for less than a renewal may take",
                &[(0, "a", "2"), (4, "a", "2")],
                Weighed::Nothing,
            ),
            ("and silent for longer", &[(0, "a", "2"), (4, "a", "2"), (5, "a", "2")], dead()),
            ("and renewed again", &[(0, "a", "2"), (3, "a", "3")], Weighed::Contradicted),
            ("which is said once", &[(0, "a", "2"), (3, "a", "3"), (4, "a", "3")], Weighed::Nothing),
            ("and for good", &[(0, "a", "2"), (3, "a", "3"), (14, "a", "3")], Weighed::Nothing),
            ("another holder is another story", &[(0, "b", "1")], Weighed::Nothing),
        ];
        for (why, looks, wanted) in rows {
            let mut over = Over::default();
            over.told(&look("a", "1"));
            let weighed = looks
                .iter()
                .map(|(at, who, renewed)| over.weigh(&look(who, renewed), Duration::from_secs(*at)));
            assert_eq!(weighed.last(), Some(wanted), "{why}");
        }
    }

    #[test]
    fn told_again_it_is_no_news() {
        let mut over = Over::default();
        over.told(&look("a", "1"));
        over.weigh(&look("a", "2"), Duration::ZERO);
        over.told(&look("a", "2"));
        assert_eq!(over.weigh(&look("a", "2"), Duration::from_secs(1)), Weighed::Nothing);
    }

    #[test]
    fn untold_nobody_is_dead() {
        assert_eq!(Over::default().weigh(&look("a", "1"), Duration::ZERO), Weighed::Nothing);
    }
}
