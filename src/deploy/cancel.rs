//! How a run ends after a signal, and how long it then waits for each step.

use std::time::Duration;

use crate::{
    exit,
    report::Outcome,
    signals::{Signal, Signals},
    storage::StoreError,
};

/// Why a run ends before its time.
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) code: u8,
    pub(super) reason: String,
    pub(super) next: Vec<String>,
}

impl End {
    pub(super) fn new(outcome: Outcome, code: u8, reason: impl Into<String>, next: &[&str]) -> Self {
        Self {
            outcome,
            code,
            reason: reason.into(),
            next: next.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    pub(super) fn unavailable(error: &anyhow::Error, next: &str) -> Self {
        Self::new(Outcome::Refused, exit::UNAVAILABLE, format!("{error:#}"), &[next])
    }

    pub(super) fn cancelled(signal: Signal, what: &str) -> Self {
        let reason = format!("{} while {what}; nothing was changed", signal.name());
        Self::new(Outcome::Cancelled, exit::cancelled(signal.number()), reason, &[])
    }

    /// After something was changed.
    pub(super) fn broken_off(signal: Signal, what: &str) -> Self {
        let reason = format!("{} while {what}", signal.name());
        let next = ["run the same command again"];
        Self::new(Outcome::Cancelled, exit::cancelled(signal.number()), reason, &next)
    }

    pub(super) fn lock_lost(what: &str, why: &str) -> Self {
        let reason = format!("the lock was lost while {what}: {why}; the next run repairs what is left");
        Self::new(Outcome::LockLost, exit::LOCK_LOST, reason, &["run the same command again"])
    }
}

/// Gives up work that changes nothing when this process is asked to stop.
pub(super) async fn unless_stopped<T>(
    signals: &Signals,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, End> {
    tokio::select! {
        biased;
        signal = signals.first() => Err(End::cancelled(signal, what)),
        done = work => Ok(done),
    }
}

/// How long the API server has for its answers to each of the last things when this process is asked to stop: the records,
/// the lock. With Helm's `--stop-timeout` of 6 s that is less than the 10 s after which runners kill.
const LAST_ANSWERS: Duration = Duration::from_millis(1500);

/// Does what must be done to its end, but does not wait for ever once this process is asked to stop.
pub(super) async fn in_time<T>(signals: &Signals, work: impl Future<Output = T>) -> Option<T> {
    let late = async {
        signals.first().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = late => None,
    }
}

/// Why a repair stopped half-way.
pub(super) fn stopped_repair(error: &anyhow::Error) -> End {
    if let Some(StoreError::LockLost(why)) = error.downcast_ref() {
        return End::lock_lost("the release was being repaired", why);
    }
    let reason = format!("the repair stopped: {error:#}");
    let next = match error.downcast_ref() {
        Some(StoreError::Conflict(_)) => "another helm may be running: run the command again",
        Some(StoreError::Lost { .. }) => "helm-guard restore puts it back from the copy that is named above",
        Some(StoreError::Codec(..)) => {
            "--repair delete-record deletes the records of dead revisions, with a copy of each"
        }
        _ => "run the same command again",
    };
    End::new(Outcome::Failed, 1, reason, &[next])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 77 says that nothing was touched, which is not known of a repair that began.
    #[test]
    fn a_repair_that_stops_half_way_has_failed_and_was_not_refused() {
        let lost = stopped_repair(&StoreError::LockLost("bob has it".into()).into());
        assert_eq!((lost.outcome, lost.code), (Outcome::LockLost, exit::LOCK_LOST));
        let end = stopped_repair(&StoreError::Conflict("web.v2".into()).into());
        assert_eq!((end.outcome, end.code), (Outcome::Failed, 1));
        assert!(end.reason.contains("record web.v2 was changed by another client"), "{}", end.reason);
    }
}
