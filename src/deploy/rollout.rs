//! Waits until the revision that a repair without a deploy brought back is ready, and checks its objects.
//! `repair/standalone.rs` decides which revision that is.

use std::{
    convert::Infallible,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    Run,
    cancel::{End, in_time},
    locks::lost_any,
};
use crate::{
    deploy::follow::{Follower, Stand},
    diagnose::collect::{Scope, Seen},
    exit,
    health::{Finding, Health, Readiness},
    manifest::Manifest,
    progress::Board,
    release::{History, Record},
    repair::{Plan, standalone::brought},
    report::{Awaited, Event, Outcome, terminal::waiting},
    signals::Signals,
    text::duration,
};

/// Between a look that finds something not ready which no watch shows, and the next.
const LOOK: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// Says how the release fares after its repair. What the repair brought back is waited for first.
    ///
    /// # Errors
    /// With the end of the run, when it does not come.
    pub(super) async fn verify(
        &self,
        plan: Option<&Plan>,
        history: &History,
        signals: &Signals,
    ) -> Result<(), End> {
        let brought = plan.and_then(|plan| brought(plan, history));
        let brought = brought.filter(|_| !self.request.rollout_timeout.is_zero());
        let Some(record) = brought else {
            self.fares_now(history, signals).await;
            return Ok(());
        };
        let waited = self.rollout(record, signals).await;
        if waited.as_ref().is_err_and(|end| end.code != exit::FAILED) {
            return waited;
        }
        let fares = self.fares_now(history, signals).await;
        waited?;
        match fares {
            // Who may not look has not seen it.
            Some(Finding { health: Health::Healthy | Health::Drifted, .. }) => {
                self.reporter.emit(Event::RolledOut);
                Ok(())
            }
            Some(Finding { health: Health::Missing, reasons, .. }) => {
                let reason =
                    format!("not all of revision {} is there: {}", record.revision, reasons.join(", "));
                Err(End::new(Outcome::Failed, exit::FAILED, reason, &[&self.deploys_again()]))
            }
            _ => Ok(()),
        }
    }

    /// Waits until every workload of a revision is ready; meanwhile it is told how far it is.
    async fn rollout(&self, record: &Record, signals: &Signals) -> Result<(), End> {
        // Hooks are not run by a repair.
        let mut scope = Scope::of(record, &self.cluster.namespace);
        scope.hook_objects = Manifest::default();
        let manifest = scope.manifest.clone();
        let stopped = |signal| End::broken_off(signal, "the repaired release was waited for");
        let unready = match in_time(signals, self.cluster.readiness(&manifest)).await {
            Some(readiness) if is_over(&readiness) => return Ok(()),
            Some(readiness) => readiness.unready,
            None => return Err(stopped(signals.first().await)),
        };
        self.reporter.emit(Event::Rollout { elapsed: Duration::ZERO, waiting_for: unready });
        let (board, started) = (Mutex::default(), self.clock.monotonic());
        let ready = async {
            let stand = Stand {
                cluster: &self.cluster,
                reporter: self.reporter,
                clock: self.clock,
                awaited: Awaited::Rollout,
                started,
                writes: Box::new(|| None),
            };
            let mut follower = Follower::begin(stand, scope, &board);
            loop {
                follower.until_ready().await;
                // What may not be watched may be listed.
                if is_over(&self.cluster.readiness(&manifest).await) {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let limit = self.request.rollout_timeout;
        tokio::select! {
            biased;
            why = lost_any(&self.locks) => Err(End::lock_lost("the repaired release was waited for", &why)),
            signal = signals.first() => Err(stopped(signal)),
            () = ready => Ok(()),
            never = self.tell_of(&board, started) => match never {},
            () = tokio::time::sleep(limit) => Err(self.too_late(record, limit, signals).await),
        }
    }

    /// Says again and again what is waited for.
    async fn tell_of(&self, board: &Mutex<Board>, started: Duration) -> Infallible {
        loop {
            tokio::time::sleep(self.interval()).await;
            let waiting_for = board.lock().unwrap_or_else(PoisonError::into_inner).waiting_for();
            let elapsed = self.clock.monotonic().saturating_sub(started);
            self.reporter.emit(Event::Rollout { elapsed, waiting_for });
        }
    }

    /// It did not come in time: which workloads, and why.
    async fn too_late(&self, record: &Record, limit: Duration, signals: &Signals) -> End {
        let scope = Scope::of(record, &self.cluster.namespace);
        let readiness = in_time(signals, self.cluster.readiness(&scope.manifest)).await.unwrap_or_default();
        let next = in_time(signals, self.diagnose("", scope, Seen::default())).await.unwrap_or_default();
        let (revision, limit) = (record.revision, duration(limit.as_secs_f64()));
        let unseen = readiness.unseen.iter().map(ToString::to_string);
        let what: Vec<String> = Some(waiting(&readiness.unready))
            .filter(|unready| !unready.is_empty())
            .into_iter()
            .chain(unseen)
            .collect();
        let reason = format!("revision {revision} is not ready after {limit}: {}", what.join(", "));
        let next = next.into_iter().chain([self.deploys_again()]).collect();
        End { outcome: Outcome::Failed, code: exit::FAILED, reason, next }
    }

    fn deploys_again(&self) -> String {
        let (releases, namespace) = (self.request.releases().join(" "), &self.cluster.namespace);
        format!("helm-guard upgrade {releases} -n {namespace} … deploys what works")
    }
}

/// Is there nothing to wait for any more? What may not be seen is not waited for.
fn is_over(readiness: &Readiness) -> bool {
    readiness.unready.is_empty() && readiness.unseen.iter().all(|unseen| unseen.why.lasts())
}
