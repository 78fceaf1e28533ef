//! Runs Helm behind the fence, reports progress, and reads the release before Helm's rollback hides the cause of a failure.

use std::{
    sync::{Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use super::{Run, STATUS_INTERVAL, locks::lost_any, prepared::Prepared};
use crate::{
    deploy::{
        follow::Follower,
        helm_process::{Ended, HelmProcess},
    },
    diagnose::collect::{Scope, Seen},
    fence::{pauses::RollbackProbe, server::Fence},
    helm::{
        Command,
        shutdown::{SignalBehavior, Stop},
    },
    lock::{Times, lease},
    progress::Board,
    release::{History, Status, stored_record::Driver},
    report::Event,
    signals::Signals,
};

impl Run<'_> {
    /// Helm itself, with what the user gave; and the release while it works.
    pub(super) async fn helm(
        &self,
        plans: &[(String, Prepared<'_>)],
        signals: &Signals,
        seen: &mut Seen,
    ) -> std::io::Result<Ended> {
        let board = Mutex::default();
        let mut follower = None;
        let ended = self.worked(plans, signals, seen, &board, &mut follower).await;
        let by_itself =
            ended.as_ref().is_ok_and(|ended| ended.stopped_by.is_none() && ended.lock_lost.is_none());
        if let Some(follower) = follower.filter(|_| by_itself) {
            follower.end().await;
        }
        ended
    }

    async fn worked<'a>(
        &'a self,
        plans: &[(String, Prepared<'_>)],
        signals: &Signals,
        seen: &mut Seen,
        board: &'a Mutex<Board>,
        follower: &mut Option<Follower<'a>>,
    ) -> std::io::Result<Ended> {
        let mut argv = vec![self.request.invocation.command.as_str().to_owned()];
        let over =
            |mended: &Prepared<'_>| mended.plan.as_ref().is_some_and(|plan| plan.installs_over().is_some());
        if self.request.invocation.command == Command::Install && plans.iter().any(|(_, mended)| over(mended))
        {
            // The name is that of a record which is set aside.
            argv.push("--replace".to_owned());
        }
        argv.extend(self.invocation.tokens().iter().cloned());
        if let Some(good) = plans.first().and_then(|(_, mended)| mended.rollback_to) {
            let why = format!(
                "the revision before the last never completed: rolling back to {good}, the last good one before it; \
                 name a revision to choose another"
            );
            self.reporter.emit(Event::Warning(why));
            argv.push(good.to_string());
        }
        let release = plans.first().map_or("", |(release, _)| release);
        let tick = async |elapsed| {
            let waiting_for = board.lock().unwrap_or_else(PoisonError::into_inner).waiting_for();
            let writes = self.fence.as_ref().map(Fence::writes);
            self.reporter.emit(Event::Progress { elapsed, writes, waiting_for });
        };
        let invocation = &self.request.invocation;
        self.probe_rollback(release, plans);
        let on_signal = SignalBehavior::of(invocation.command, invocation.atomic());
        let attended = async {
            tokio::select! {
                biased;
                ended = self.child(&argv, on_signal, signals, tick) => ended,
                never = self.attend(release, seen, signals) => match never {},
                never = self.accompany(release, board, follower) => match never {},
            }
        };
        let mut child = std::pin::pin!(attended);
        // Started by the first poll, if it can be.
        if let Poll::Ready(ended) = futures::poll!(&mut child) {
            return ended;
        }
        self.reporter.emit(Event::HelmStarted);
        if !self.judged.is_awaited() {
            // Else when what it is about to do is found good.
            self.locks.iter().for_each(lease::Held::helm_started);
        }
        let introduced = async {
            match &self.fence {
                Some(fence) => Some(fence.helm_version().await),
                None => self.version.clone().await.ok().map(|version| version.raw),
            }
        };
        let (ended, version) = tokio::select! {
            ended = &mut child => (ended, None),
            Some(version) = introduced => {
                self.reporter.emit(Event::HelmVersion(version.clone()));
                (child.await, Some(version))
            }
        };
        // One that is asked to stop has more urgent questions.
        if ended.is_ok() && version.is_none() && signals.heard().is_none() {
            match self.version.clone().await {
                Ok(version) => self.reporter.emit(Event::HelmVersion(version.raw)),
                Err(why) => self.reporter.emit(Event::Warning(format!("helm version: {why}"))),
            }
        }
        ended
    }

    /// A Helm that changes things: as long as it runs the locks are watched, and signals are passed on.
    pub(super) async fn child(
        &self,
        argv: &[String],
        on_signal: SignalBehavior,
        signals: &Signals,
        tick: impl AsyncFn(Duration),
    ) -> std::io::Result<Ended> {
        let guard = &self.request.guard;
        let lost = async {
            match self.locks.first() {
                Some(first) => tokio::select! {
                    why = first.lost() => why,
                    why = lost_any(&self.locks[1..]) => why,
                },
                None => std::future::pending().await,
            }
        };
        // Behind the fence a lost lock needs no haste. Before a database there is none: there Helm must have ended before
        // anybody else may have the lock.
        let times = Times::new(guard.run.lease_duration);
        let is_unfenced = self.fence.is_none() || self.is_in_sql();
        let unfenced = is_unfenced.then(|| times.duration.saturating_sub(times.give_up_after));
        let process = HelmProcess {
            launch: &self.launch,
            argv,
            reporter: self.reporter,
            clock: self.clock,
            keepalive: self.interval(),
            stop: Stop::new(on_signal, guard.run.stop_timeout, unfenced),
        };
        process.run(signals.clone(), lost, tick).await
    }

    /// How often it is said what is waited for. A person who watches a status line sees a stale one at once.
    pub(super) fn interval(&self) -> Duration {
        let keepalive = self.request.guard.run.keepalive;
        if self.reporter.is_terminal() { keepalive.min(STATUS_INTERVAL) } else { keepalive }
    }

    /// Looks at the release before Helm changes what shows why it failed. Helm waits for that, unless somebody is in a hurry.
    async fn attend(&self, release: &str, seen: &mut Seen, signals: &Signals) -> std::convert::Infallible {
        if let Some(fence) =
            self.fence.as_ref().filter(|_| self.request.invocation.command != Command::Uninstall)
        {
            let mut snapshots = fence.snapshots();
            while let Some(snapshot) = snapshots.recv().await {
                let look = async {
                    let scope = self.scope(release).await;
                    seen.look(&self.cluster, scope, snapshot.gives_up).await;
                };
                tokio::select! {
                    biased;
                    _ = signals.first() => {}
                    () = look => {}
                }
            }
        }
        std::future::pending().await
    }

    /// Are the records where the fence does not see Helm write them?
    pub(super) fn is_in_sql(&self) -> bool {
        self.request.storage.driver() == Driver::Sql
    }

    /// An automatic rollback hides why it was needed. Where the fence does not see the record that says so, the first write
    /// after it tells: before each there is a look at the newest row.
    fn probe_rollback(&self, release: &str, plans: &[(String, Prepared<'_>)]) {
        let Some(fence) = self.fence.as_ref().filter(|_| self.is_in_sql()) else { return };
        if !self.request.invocation.atomic() {
            return;
        }
        let before = plans.iter().filter_map(|(_, mended)| mended.before.last).max();
        let (store, release) = (self.store.clone(), release.to_owned());
        fence.probe(RollbackProbe(Box::new(move || {
            let (store, release) = (store.clone(), release.clone());
            Box::pin(async move {
                let newest = store.newest(&release).await.ok().flatten();
                newest.is_some_and(|(revision, status)| {
                    let given_up =
                        matches!(status, Status::Failed | Status::Uninstalling | Status::PendingRollback);
                    Some(revision) > before && given_up
                })
            })
        })));
    }

    /// What is the release's, as its last record says.
    pub(super) async fn scope(&self, release: &str) -> Scope {
        let history = self.store.history(release).await.ok();
        let last = history.as_ref().and_then(History::last);
        last.map(|last| Scope::of(last, &self.cluster.namespace)).unwrap_or_default()
    }
}
