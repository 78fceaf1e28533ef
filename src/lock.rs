//! The lock of a release: its holder, and whether this process may take it.
//! Pure: the Lease itself is read and written in `lock/lease.rs`; time is passed in. The `lock` commands are beside it.

pub mod ci_liveness;
pub mod contender;
pub mod holder;
pub mod joined;
pub mod lease;
pub mod protocol;
pub mod run_history;
pub mod table;

use std::time::Duration;

use holder::Holder;

/// What a Lease says its holder does when nobody is at work but whoever was told its lock ID.
pub const ACQUIRE: &str = "lock acquire";
/// What a Lease says its holder does when that is any command; its name follows.
pub const RUN: &str = "lock run";

/// Lease times. All of them are settings, so that tests can be quick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// A Lease whose holder has written nothing for this long is free.
    pub duration: Duration,
    /// How often the holder renews.
    pub renew_every: Duration,
    /// A holder that could not renew for this long stops, well before anybody else may start.
    pub give_up_after: Duration,
    /// How often a waiter looks.
    pub look_every: Duration,
}

impl Times {
    /// Derives the other times from the lease duration, in client-go's proportions (15 s: 10 s, renewed often enough
    /// that two renewals may fail).
    pub fn new(duration: Duration) -> Self {
        Self {
            duration,
            renew_every: duration / 5,
            give_up_after: duration * 2 / 3,
            look_every: (duration / 15).clamp(Duration::from_millis(100), Duration::from_secs(1)),
        }
    }
}

/// A Lease as one reading showed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseView {
    /// Who holds it; `None` when it is vacant.
    pub holder: Option<Holder>,
    /// Renew time as an opaque value: only "changed or not" counts, another machine's clock never does.
    pub renewed: String,
    /// For how long the holder wants to be believed without a renewal.
    pub duration: Duration,
    /// The holder and those who work under its hold; empty if there is nobody but the holder.
    pub members: Vec<joined::Member>,
}

impl LeaseView {
    /// What only a holder writes. Annotations are not part of it: what contenders write there never counts.
    fn heartbeat(&self) -> (&str, &str) {
        (self.holder.as_ref().map_or("", |holder| &holder.identity), &self.renewed)
    }
}

/// Name of a release's Lease, where no other is asked for.
pub fn lease_name(release: &str) -> String {
    format!("helm-guard-{release}")
}

/// Is a hold with this operation there for the work of others?
pub fn opens(operation: &str) -> bool {
    operation == ACQUIRE || operation == RUN || operation.starts_with("lock run ")
}

/// What has been seen of a holder's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Too short a time for an answer.
    Unknown,
    /// It renewed while it was watched.
    Alive,
    /// Nobody renews this hold: whoever took it said for how long, and may be at work until then.
    Promised,
    /// It was silent for its whole lease duration.
    Dead,
}

/// Longest time that a foreign Lease is believed without a renewal, whatever it says of itself.
pub const LONGEST_BELIEF: Duration = Duration::from_secs(600);

/// Remembers when the holder last gave a sign of life, on this process's monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observer {
    /// Identity of who observes: a Lease that names it is its own, by a claim whose answer was lost. Else empty.
    pub me: String,
    /// The reading that first showed the heartbeat as it is, and when that was.
    pub last: Option<(LeaseView, Duration)>,
}

/// What to do about the Lease now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is none: create it.
    Create,
    /// It is vacant, or its holder is dead: take it by compare-and-swap.
    Take {
        /// The dead holder, if there was one.
        from: Option<Holder>,
    },
    /// Somebody lives: look again after this long.
    Wait {
        /// Who.
        holder: Holder,
        /// When to look again.
        look_again: Duration,
    },
    /// The time for waiting is over.
    GiveUp {
        /// Who holds it.
        holder: Holder,
    },
}

impl Observer {
    /// Decides on one reading of the Lease.
    ///
    /// `now` and `deadline` are on this process's monotonic clock. `now` was taken after the reading was answered: what it
    /// shows may be as new as that, and the silence of a holder begins no earlier.
    /// `over` is the identity of a holder whose CI run is known to be over: with its run went its processes.
    pub fn decide(
        &mut self,
        view: Option<&LeaseView>,
        times: &Times,
        now: Duration,
        deadline: Duration,
        over: Option<&str>,
    ) -> Decision {
        let Some(view) = view else {
            self.last = None;
            return Decision::Create;
        };
        let Some(holder) = &view.holder else { return Decision::Take { from: None } };
        if holder.identity == self.me {
            // Written once more, so that it is known since when.
            return Decision::Take { from: None };
        }
        let since = self.silent_since(view, now);
        let free_at = since + view.duration.max(times.duration).min(LONGEST_BELIEF);
        if now >= free_at || over == Some(&holder.identity) {
            Decision::Take { from: Some(holder.clone()) }
        } else if now >= deadline {
            Decision::GiveUp { holder: holder.clone() }
        } else {
            let look_again = times.look_every.min(free_at - now).min(deadline - now);
            Decision::Wait { holder: holder.clone(), look_again }
        }
    }

    /// Is the holder alive? `now` as for [`Observer::decide`], for which every change is only a new beginning; here the
    /// first one is the answer.
    pub fn life(&mut self, view: &LeaseView, now: Duration) -> Life {
        let watched = self.last.as_ref().map(|(seen, _)| seen.heartbeat() != view.heartbeat());
        let since = self.silent_since(view, now);
        match (watched, &view.holder) {
            (_, Some(holder)) if holder.operation == ACQUIRE => Life::Promised,
            (Some(true), _) => Life::Alive,
            _ if now >= since + belief(view) => Life::Dead,
            _ => Life::Unknown,
        }
    }

    /// When the heartbeat was first seen as it is.
    fn silent_since(&mut self, view: &LeaseView, now: Duration) -> Duration {
        match &self.last {
            Some((seen, since)) if seen.heartbeat() == view.heartbeat() => *since,
            _ => {
                self.last = Some((view.clone(), now));
                now
            }
        }
    }
}

/// How long a silent holder may still be alive. A Lease that names no time is given a second.
pub fn belief(view: &LeaseView) -> Duration {
    view.duration.clamp(Duration::from_secs(1), LONGEST_BELIEF)
}

/// Is a lock that was last renewed at `renewed` still safely held at `now`? Both monotonic; `renewed` is the time
/// before the successful renewal was sent.
pub fn safely_held(times: &Times, renewed: Duration, now: Duration) -> bool {
    now.saturating_sub(renewed) < times.give_up_after
}

/// How a lock stands at one moment, for those who act under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody else can have it before `until`, on this process's monotonic clock.
    Safe {
        /// [`Times::give_up_after`] from the last renewal.
        until: Duration,
    },
    /// The last renewal is too long ago, and the next has not been answered: it may be anybody's.
    Doubtful,
    /// It is gone for good.
    Lost(String),
}

impl Standing {
    /// Of a lock of which only the last renewal is known.
    pub fn renewed_at(renewed: Duration, times: &Times, now: Duration) -> Self {
        if safely_held(times, renewed, now) {
            Self::Safe { until: renewed + times.give_up_after }
        } else {
            Self::Doubtful
        }
    }

    /// Of two locks that are both needed.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Lost(why), _) | (_, Self::Lost(why)) => Self::Lost(why),
            (Self::Doubtful, _) | (_, Self::Doubtful) => Self::Doubtful,
            (Self::Safe { until }, Self::Safe { until: other }) => Self::Safe { until: until.min(other) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(identity: &str, renewed: &str) -> LeaseView {
        LeaseView {
            holder: Some(Holder { identity: identity.into(), ..Holder::default() }),
            renewed: renewed.into(),
            duration: Duration::from_secs(15),
            members: Vec::new(),
        }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn times() -> Times {
        Times::new(secs(15))
    }

    #[test]
    fn a_missing_lease_is_created_and_a_vacant_one_taken() {
        let mut observer = Observer::default();
        assert_eq!(observer.decide(None, &times(), secs(0), secs(60), None), Decision::Create);
        let vacant = LeaseView { holder: None, ..held_by("a", "1") };
        assert_eq!(
            observer.decide(Some(&vacant), &times(), secs(0), secs(60), None),
            Decision::Take { from: None }
        );
    }

    #[test]
    fn a_lease_that_names_us_is_taken_again_after_a_claim_without_an_answer() {
        let mut observer = Observer { me: "a".into(), last: None };
        let ours = observer.decide(Some(&held_by("a", "1")), &times(), secs(0), secs(60), None);
        assert_eq!(ours, Decision::Take { from: None });
    }

    #[test]
    fn a_holder_is_dead_only_after_its_duration_without_a_change_seen_by_us() {
        let mut observer = Observer::default();
        let view = held_by("a", "1");
        let wait = |decision| matches!(decision, Decision::Wait { .. });
        assert!(wait(observer.decide(Some(&view), &times(), secs(100), secs(900), None)));
        assert!(wait(observer.decide(Some(&view), &times(), secs(114), secs(900), None)));
        let taken = observer.decide(Some(&view), &times(), secs(115), secs(900), None);
        assert_eq!(taken, Decision::Take { from: view.holder });
    }

    #[test]
    fn a_holder_whose_run_is_over_is_taken_over_at_once_and_nobody_else_for_it() {
        let view = held_by("a", "1");
        for (over, wanted) in [("a", true), ("b", false)] {
            let decision = Observer::default().decide(Some(&view), &times(), secs(0), secs(900), Some(over));
            assert_eq!(matches!(decision, Decision::Take { .. }), wanted, "{over} is over");
        }
    }

    #[test]
    fn a_renewal_starts_the_time_anew_even_if_the_holder_writes_an_older_clock() {
        let mut observer = Observer::default();
        observer.decide(Some(&held_by("a", "2031")), &times(), secs(0), secs(900), None);
        observer.decide(Some(&held_by("a", "1999")), &times(), secs(14), secs(900), None);
        let decision = observer.decide(Some(&held_by("a", "1999")), &times(), secs(28), secs(900), None);
        assert!(matches!(decision, Decision::Wait { .. }), "{decision:?}");
    }

    #[test]
    fn what_contenders_annotate_is_no_sign_of_life() {
        let mut observer = Observer::default();
        for second in 0..15 {
            let mut view = held_by("a", "1");
            if let Some(holder) = &mut view.holder {
                holder.operation = format!("annotated {second}");
            }
            assert!(matches!(
                observer.decide(Some(&view), &times(), secs(second), secs(900), None),
                Decision::Wait { .. }
            ));
        }
        let decision = observer.decide(Some(&held_by("a", "1")), &times(), secs(15), secs(900), None);
        assert!(matches!(decision, Decision::Take { .. }), "{decision:?}");
    }

    #[test]
    fn waiting_ends_at_the_deadline_but_a_dead_holder_is_taken_first() {
        let mut observer = Observer::default();
        let view = held_by("a", "1");
        observer.decide(Some(&view), &times(), secs(0), secs(10), None);
        assert!(matches!(
            observer.decide(Some(&view), &times(), secs(10), secs(10), None),
            Decision::GiveUp { .. }
        ));
        assert!(matches!(
            observer.decide(Some(&view), &times(), secs(15), secs(10), None),
            Decision::Take { .. }
        ));
    }

    #[test]
    fn a_holder_with_a_longer_duration_is_believed_longer_but_not_for_ever() {
        let mut observer = Observer::default();
        let view = LeaseView { duration: secs(60), ..held_by("a", "1") };
        observer.decide(Some(&view), &times(), secs(0), secs(9000), None);
        assert!(matches!(
            observer.decide(Some(&view), &times(), secs(59), secs(9000), None),
            Decision::Wait { .. }
        ));
        let mut observer = Observer::default();
        let view = LeaseView { duration: secs(1 << 30), ..held_by("a", "1") };
        observer.decide(Some(&view), &times(), secs(0), secs(9000), None);
        assert!(matches!(
            observer.decide(Some(&view), &times(), secs(600), secs(9000), None),
            Decision::Take { .. }
        ));
    }

    #[test]
    fn a_holder_that_is_watched_lives_when_it_renews_and_is_dead_when_it_does_not() {
        type Looks = &'static [(u64, &'static str)];
        let rows: [(&str, Looks, Life); 5] = [
            ("one look tells nothing", &[(0, "1")], Life::Unknown),
            ("a renewal is life", &[(0, "1"), (3, "2")], Life::Alive),
            ("a clock that goes back is one too", &[(0, "2"), (3, "1")], Life::Alive),
            ("silence is no answer before its time", &[(0, "1"), (14, "1")], Life::Unknown),
            ("silence for the lease duration is death", &[(0, "1"), (14, "1"), (15, "1")], Life::Dead),
        ];
        for (why, looks, expected) in rows {
            let mut observer = Observer::default();
            let seen = looks.iter().map(|(at, renewed)| observer.life(&held_by("a", renewed), secs(*at)));
            assert_eq!(seen.last(), Some(expected), "{why}");
        }
    }

    #[test]
    fn a_hold_that_nobody_renews_is_a_promise() {
        let mut view = held_by("a", "1");
        view.holder.as_mut().unwrap().operation = ACQUIRE.into();
        assert_eq!(Observer::default().life(&view, secs(0)), Life::Promised);
    }

    #[test]
    fn a_holder_stops_before_anybody_else_may_start() {
        assert!(safely_held(&times(), secs(0), secs(9)));
        assert!(!safely_held(&times(), secs(0), secs(10)));
        assert!(times().give_up_after < times().duration);
    }

    #[test]
    fn two_locks_stand_as_the_worse_of_them() {
        let safe = |until| Standing::Safe { until: secs(until) };
        let lost = Standing::Lost("bob has it".into());
        assert_eq!(Standing::renewed_at(secs(1), &times(), secs(10)), safe(11));
        assert_eq!(Standing::renewed_at(secs(1), &times(), secs(11)), Standing::Doubtful);
        assert_eq!(safe(3).and(safe(2)), safe(2));
        assert_eq!(safe(3).and(Standing::Doubtful), Standing::Doubtful);
        assert_eq!(Standing::Doubtful.and(lost.clone()), lost);
    }
}
