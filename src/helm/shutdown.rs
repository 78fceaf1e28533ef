//! The stop policy: what a run does when it is to end before its time, as one table.
//! Pure: Helm is signalled in `deploy/helm_process.rs`; records and locks are `deploy.rs`'s.
//!
//! GitHub's runner sends SIGINT to this process alone, SIGTERM 7.5 s later, SIGKILL 2.5 s after that; `docker stop`
//! SIGTERM, and SIGKILL after 10 s. So Helm gets `--stop-timeout`, 6 s by default, and the rest is for the records and the
//! lock. GitLab's runner sends SIGTERM to every process, Helm first; a terminal SIGINT to its foreground group, in which
//! Helm is too (`helm/terminal.rs`): a Helm that saves takes the second one from here for none; one that would die of it
//! does not get the terminal's.

use std::time::Duration;

use super::Command;
use crate::signals::Signal;

/// How a Helm command takes a request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalBehavior {
    /// `install`, `upgrade`: hear SIGINT or SIGTERM once and save `failed` (`signal.Notify` in Helm's `install.go`,
    /// `upgrade.go`); all later signals but SIGKILL are swallowed.
    SavesRecord,
    /// The same with `--atomic`: having saved, it goes back, which may take several timeouts.
    RollsBack,
    /// `rollback`, `uninstall`: any signal ends it where it is, its record pending.
    ExitsImmediately,
}

impl SignalBehavior {
    /// Of a command; `atomic` as the flag.
    pub fn of(command: Command, atomic: bool) -> Self {
        match command {
            Command::Install | Command::Upgrade if atomic => Self::RollsBack,
            Command::Install | Command::Upgrade => Self::SavesRecord,
            Command::Rollback | Command::Uninstall => Self::ExitsImmediately,
        }
    }
}

/// What can happen while Helm runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This process is asked to stop.
    First(Signal),
    /// It is asked again, by somebody whose patience ends.
    Again(Signal),
    /// The lock is somebody else's, or may be soon.
    LockLost,
    /// What Helm was given to end in is over.
    TimeOver,
}

/// What is sent to Helm and all that it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// SIGINT.
    Int,
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
}

/// For how long Helm is left alone then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// As long as before.
    Unchanged,
    /// `--stop-timeout`.
    StopTimeout,
    /// So long that with [`HURRY`] it is `--stop-timeout`: it may still finish.
    ToFinish,
    /// [`HURRY`].
    Hurry,
    /// `--stop-timeout`; less where no fence keeps Helm's writes from a lock that another may have soon.
    BeforeTheNext,
}

/// What Helm gets when there is no time any more: GitHub's SIGTERM leaves 2.5 s for it, the records and the lock.
pub const HURRY: Duration = Duration::from_millis(500);

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// To Helm, at once.
    pub sent: Option<Sent>,
    /// How long it may take then.
    pub patience: Patience,
}

/// The table.
pub fn row(event: Event, behavior: SignalBehavior) -> Row {
    use {Event as E, Patience as P, SignalBehavior as B};
    let (sent, patience) = match (event, behavior) {
        // What started to go back is cut off like the rest: no runner waits for several timeouts. What it had no time for is
        // the next run's.
        (E::First(signal), B::SavesRecord | B::RollsBack) => (Some(of(signal)), P::StopTimeout),
        // A signal would leave it half done: it may use the time to finish.
        (E::First(_), B::ExitsImmediately) => (None, P::ToFinish),
        (E::Again(_), B::SavesRecord | B::RollsBack) => (None, P::Hurry),
        (E::Again(_), B::ExitsImmediately) => (Some(Sent::Term), P::Hurry),
        // The fence refuses its writes: the gentle word costs nothing.
        (E::LockLost, _) => (Some(Sent::Term), P::BeforeTheNext),
        // It has not heard a word yet.
        (E::TimeOver, B::ExitsImmediately) => (Some(Sent::Term), P::Hurry),
        (E::TimeOver, B::SavesRecord | B::RollsBack) => (Some(Sent::Kill), P::Unchanged),
    };
    Row { sent, patience }
}

fn of(signal: Signal) -> Sent {
    match signal {
        Signal::Int => Sent::Int,
        Signal::Term => Sent::Term,
    }
}

/// What a person is told of it; `limit` is what Helm has left.
pub fn said(event: Event, sent: Option<Sent>, limit: Option<Duration>, lost: Option<&str>) -> String {
    let limit = limit.map(|limit| format!("{}s", limit.as_secs_f32())).unwrap_or_default();
    match (event, sent) {
        (Event::First(signal), None) => format!(
            "{}; it cannot save where it is, so it has {limit} to finish before it is ended",
            signal.name()
        ),
        (Event::First(signal), Some(_)) => {
            format!("{}; it is killed if it still runs after {limit}", signal.name())
        }
        (Event::Again(signal), _) => {
            format!("{} again; it is killed if it still runs after {limit}", signal.name())
        }
        (Event::LockLost, _) => format!("the lock is lost: {}", lost.unwrap_or_default()),
        (Event::TimeOver, Some(Sent::Kill)) => "its time is over, it is killed".to_owned(),
        (Event::TimeOver, _) => "its time is over, it is ended".to_owned(),
    }
}

/// Where a stop stands: applies the table to one event after the other.
#[derive(Clone, Debug)]
pub struct Stop {
    behavior: SignalBehavior,
    stop_timeout: Duration,
    /// How long after a loss nobody else can have the lock; `None` behind the fence.
    unfenced: Option<Duration>,
    told: bool,
    killed: bool,
    lost: bool,
    limit: Option<Duration>,
}

impl Stop {
    /// Of a Helm that nobody has asked to stop.
    pub fn new(behavior: SignalBehavior, stop_timeout: Duration, unfenced: Option<Duration>) -> Self {
        Self { behavior, stop_timeout, unfenced, told: false, killed: false, lost: false, limit: None }
    }

    /// Something happened at `now`, on this process's monotonic clock: what Helm is sent.
    pub fn on(&mut self, event: Event, now: Duration) -> Option<Sent> {
        let mut row = row(event, self.behavior);
        if event == Event::TimeOver {
            self.limit = None;
            if self.told {
                row = Row { sent: Some(Sent::Kill), patience: Patience::Unchanged };
            }
        }
        self.lost |= event == Event::LockLost;
        if self.killed {
            return None;
        }
        self.told |= row.sent.is_some();
        self.killed = row.sent == Some(Sent::Kill);
        let patience = match row.patience {
            Patience::Unchanged => None,
            Patience::StopTimeout => Some(self.stop_timeout),
            Patience::ToFinish => Some(self.stop_timeout.saturating_sub(HURRY)),
            Patience::Hurry => Some(HURRY.min(self.stop_timeout)),
            Patience::BeforeTheNext => {
                Some(self.unfenced.unwrap_or(self.stop_timeout).min(self.stop_timeout))
            }
        };
        if let Some(limit) = patience.map(|patience| now + patience) {
            // What was promised to a runner is never made longer.
            self.limit = Some(self.limit.map_or(limit, |before| before.min(limit)));
        }
        row.sent
    }

    /// Does a signal end the command where it is?
    pub fn leaves_it_half_done(&self) -> bool {
        self.behavior == SignalBehavior::ExitsImmediately
    }

    /// When [`Event::TimeOver`] is, on the same clock.
    pub fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Are the records settled, by compare-and-swap, and the lock given back, when Helm is gone? After a lost lock nothing is
    /// written any more: the next owner repairs.
    pub fn settles(&self) -> bool {
        !self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Event::{Again, First, LockLost, TimeOver};
    use SignalBehavior::{ExitsImmediately, RollsBack, SavesRecord};

    const INT: Event = First(Signal::Int);
    const TERM: Event = First(Signal::Term);
    const TERM_AGAIN: Event = Again(Signal::Term);

    fn millis(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    /// Lets the time pass up to each event, and gives what is sent, when.
    fn play(
        behavior: SignalBehavior,
        unfenced: Option<u64>,
        events: &[(u64, Event)],
    ) -> (Vec<(u64, Sent)>, bool) {
        let mut stop = Stop::new(behavior, millis(6000), unfenced.map(millis));
        let mut sent = Vec::new();
        let mut events = events.iter().copied().peekable();
        loop {
            let over = stop.limit().map(|limit| limit.as_millis().try_into().unwrap());
            let (at, event) = match (events.peek(), over) {
                (Some((at, _)), Some(over)) if over < *at => (over, TimeOver),
                (Some(_), _) => events.next().unwrap(),
                (None, Some(over)) => (over, TimeOver),
                (None, None) => return (sent, stop.settles()),
            };
            sent.extend(stop.on(event, millis(at)).map(|signal| (at, signal)));
        }
    }

    #[test]
    fn each_row_is_a_sentence() {
        use Sent::{Int, Kill, Term};
        type Row = (&'static str, SignalBehavior, &'static [(u64, Event)], &'static [(u64, Sent)]);
        let rows: [Row; 12] = [
            ("an upgrade saves", SavesRecord, &[(0, INT)], &[(0, Int), (6000, Kill)]),
            ("it hears what this process hears", SavesRecord, &[(0, TERM)], &[(0, Term), (6000, Kill)]),
            (
                "GitHub's second word comes too late",
                SavesRecord,
                &[(0, INT), (7500, TERM_AGAIN)],
                &[(0, Int), (6000, Kill)],
            ),
            (
                "a second Ctrl-C hurries",
                SavesRecord,
                &[(0, INT), (100, TERM_AGAIN)],
                &[(0, Int), (600, Kill)],
            ),
            (
                "one just before the end gives no more time",
                SavesRecord,
                &[(0, INT), (5900, TERM_AGAIN)],
                &[(0, Int), (6000, Kill)],
            ),
            ("an automatic rollback is cut off in time", RollsBack, &[(0, INT)], &[(0, Int), (6000, Kill)]),
            (
                "a rollback may finish before it is ended",
                ExitsImmediately,
                &[(0, INT)],
                &[(5500, Term), (6000, Kill)],
            ),
            (
                "unless there is a hurry",
                ExitsImmediately,
                &[(0, INT), (100, TERM_AGAIN)],
                &[(100, Term), (600, Kill)],
            ),
            (
                "with the lock it has nothing to finish",
                ExitsImmediately,
                &[(0, LockLost)],
                &[(0, Term), (6000, Kill)],
            ),
            (
                "nor if it had been left to finish",
                ExitsImmediately,
                &[(0, INT), (1000, LockLost)],
                &[(1000, Term), (5500, Kill)],
            ),
            (
                "a lost lock is no reason to kill at once",
                SavesRecord,
                &[(0, LockLost)],
                &[(0, Term), (6000, Kill)],
            ),
            (
                "a signal after a loss hurries nobody",
                SavesRecord,
                &[(0, LockLost), (100, INT)],
                &[(0, Term), (100, Int), (6000, Kill)],
            ),
        ];
        for (why, behavior, events, wanted) in rows {
            assert_eq!(play(behavior, None, events).0, wanted, "{why}");
        }
    }

    /// A row for what nobody tells of says nothing about what happens.
    #[test]
    fn every_event_of_the_table_is_told_of() {
        let source = include_str!("../deploy/helm_process.rs");
        for event in [INT, TERM_AGAIN, LockLost, TimeOver] {
            // No arm for the rest: a new event needs a place here.
            let name = match event {
                First(_) => "First",
                Again(_) => "Again",
                LockLost => "LockLost",
                TimeOver => "TimeOver",
            };
            assert!(source.contains(&format!("shutdown::Event::{name}")), "{name}");
        }
    }

    #[test]
    fn without_a_fence_helm_is_gone_before_the_next_owner_starts() {
        let (sent, _) = play(SavesRecord, Some(5000), &[(0, LockLost)]);
        assert_eq!(sent, [(0, Sent::Term), (5000, Sent::Kill)]);
    }

    #[test]
    fn only_after_a_loss_nothing_is_written() {
        for behavior in [SavesRecord, RollsBack, ExitsImmediately] {
            for (events, ours) in [
                (&[(0, INT)][..], true),
                (&[(0, INT), (1, TERM_AGAIN)], true),
                (&[(0, LockLost)], false),
                (&[(0, INT), (1, LockLost)], false),
            ] {
                let (_, settles) = play(behavior, None, events);
                assert_eq!(settles, ours, "{behavior:?} {events:?}");
            }
        }
    }

    #[test]
    fn every_stop_fits_into_githubs_ten_seconds() {
        // 7.5 s and 2.5 s; what follows Helm's end takes less than 3 s, see `deploy.rs`.
        for behavior in [SavesRecord, RollsBack, ExitsImmediately] {
            for first in [INT, TERM] {
                let (sent, _) = play(behavior, None, &[(0, first), (7500, TERM_AGAIN)]);
                let last = sent.last().unwrap();
                assert!(last.1 == Sent::Kill && last.0 <= 7000, "{behavior:?}: {sent:?}");
            }
        }
    }

    #[test]
    fn commands_take_a_signal_as_their_sources_say() {
        for (command, atomic, behavior) in [
            (Command::Upgrade, false, SavesRecord),
            (Command::Install, false, SavesRecord),
            (Command::Upgrade, true, RollsBack),
            (Command::Install, true, RollsBack),
            (Command::Rollback, false, ExitsImmediately),
            (Command::Uninstall, true, ExitsImmediately),
        ] {
            assert_eq!(SignalBehavior::of(command, atomic), behavior, "{command:?}");
        }
    }
}
