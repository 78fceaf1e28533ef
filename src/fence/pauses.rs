//! Pauses before the writes of Helm that hide why it failed: a last record, an automatic rollback, the deletion of a hook's
//! Job or pod. In a pause the release is looked at. Which write is one of them is decided in `fence/record.rs`.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

/// The longest pause; also how long the pauses before deletions of hooks may take, all of them together.
pub(super) const PAUSE: Duration = Duration::from_secs(4);

/// A moment at which the release shows why Helm failed, or what a hook did. Helm waits until this is dropped, but not for long.
#[derive(Debug)]
pub struct FailureSnapshot {
    /// Helm gives up: it saves that it failed, and may then roll back. Else it takes a Job or a pod away.
    pub gives_up: bool,
    _pause: oneshot::Sender<Infallible>,
}

/// Says whether Helm has given up by now. Asked before each of its writes, until it has: for records in a database, which the
/// fence does not see.
pub struct RollbackProbe(pub Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>);

impl std::fmt::Debug for RollbackProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RollbackProbe")
    }
}

/// Starts a look at the release, if there is one who looks.
type CollectTrigger = mpsc::UnboundedSender<FailureSnapshot>;

/// Lets Helm's writes wait while the release is looked at.
#[derive(Debug)]
pub struct Pauses {
    trigger: Mutex<Option<CollectTrigger>>,
    probe: Mutex<Option<Arc<RollbackProbe>>>,
    /// How long Helm's deletions of hooks may still wait.
    left: Mutex<Duration>,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { trigger: Mutex::default(), probe: Mutex::default(), left: Mutex::new(PAUSE) }
    }
}

impl Pauses {
    /// The moments from now on. Whoever asks for them ends each pause by dropping it.
    pub fn snapshots(&self) -> mpsc::UnboundedReceiver<FailureSnapshot> {
        let (sender, snapshots) = mpsc::unbounded_channel();
        *self.trigger.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        snapshots
    }

    /// From now on this probe is asked before each write.
    pub fn probe(&self, probe: RollbackProbe) {
        *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(probe));
    }

    /// Before a write that hides why Helm failed: waits until the release was looked at, if anything looks.
    pub async fn pause(&self, gives_up: bool) {
        let trigger = self.trigger.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (pause, over) = oneshot::channel();
        let is_heard = trigger.is_some_and(|to| to.send(FailureSnapshot { gives_up, _pause: pause }).is_ok());
        if !is_heard {
            return;
        }
        if gives_up {
            let _ = tokio::time::timeout(PAUSE, over).await;
            return;
        }
        // A chart may have many hooks: a slow API server must not hold Helm up at each of them.
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let started = tokio::time::Instant::now();
        let _ = tokio::time::timeout(left, over).await;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_sub(started.elapsed());
    }

    /// Whether the probe says for the first time that Helm has given up. If the records do not answer, they are not asked
    /// again: each of Helm's writes would wait for that.
    pub async fn is_rollback_seen(&self) -> bool {
        let probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(probe) = probe else { return false };
        let seen = tokio::time::timeout(PAUSE, (probe.0)()).await;
        if seen == Ok(false) {
            return false;
        }
        let is_first = self.probe.lock().unwrap_or_else(PoisonError::into_inner).take().is_some();
        is_first && seen.is_ok()
    }
}
