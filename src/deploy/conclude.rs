//! The outcome of a run of Helm, and its reason.

use super::{
    Done, Run,
    cancel::{End, in_time},
    finalize::Histories,
    prepared::Prepared,
};
use crate::release::rendered::manifest_of;
use crate::{
    deploy::helm_process,
    diagnose::{
        self, Refusal, Snapshot,
        collect::{Scope, Seen},
    },
    fence::server::Fence,
    helm::{
        Command,
        phases::{self, Ran},
    },
    release::{History, Status, codec::HookRun},
    report::{Event, Outcome},
    signals::Signals,
};

/// Refused writes that a report has.
const REFUSALS: usize = 20;

impl Run<'_> {
    /// How the run ends. `known` is what was seen of the release while Helm ran.
    pub(super) async fn outcome(
        &self,
        ended: &helm_process::Ended,
        histories: &Histories,
        signals: &Signals,
        done: &mut Done,
        known: (Scope, Seen),
    ) -> End {
        let uninstall = self.request.invocation.command == Command::Uninstall;
        done.gone = histories.are_gone();
        if ended.code == Some(0) {
            // Whoever asked it to stop came too late.
            let outcome = if uninstall { Outcome::Uninstalled } else { Outcome::Deployed };
            return End::new(outcome, 0, "", &[]);
        }
        // GitLab's runner tells Helm before it tells this process.
        if let Some(signal) = signals.heard() {
            let what = if done.unsettled {
                "helm ran; helm is stopped, the next run repairs what is left"
            } else {
                "helm ran; helm is stopped and no revision is pending"
            };
            return End::broken_off(signal, what);
        }
        let last = histories.first().and_then(History::last);
        let rolled_back = self.request.invocation.atomic()
            && last.is_some_and(|last| last.status() == Status::Deployed)
            && last
                .and_then(|last| last.row().description.strip_prefix("Rollback to ").map(str::to_owned))
                .is_some();
        let code = ended.code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        let (mut scope, seen) = known;
        if let Some(last) = last.filter(|_| !scope.leaving) {
            scope = Scope::of(last, &self.cluster.namespace);
        }
        let next = in_time(signals, self.diagnose(&ended.error, scope, seen)).await.unwrap_or_default();
        let reason = diagnose::reason(&ended.error);
        if rolled_back {
            let reason = "helm failed and went back to the last good revision".to_owned();
            let next = next.into_iter().chain(["fix the cause and run it again".to_owned()]).collect();
            return End { outcome: Outcome::RolledBack, code, reason, next };
        }
        let release = self.request.releases().join(" ");
        let command = self.request.invocation.command.as_str();
        let reason = reason.unwrap_or_else(|| match ended.signal {
            Some(signal) => {
                format!("helm {command} {release} was ended by signal {signal} from another process")
            }
            None => format!("helm {command} {release} failed without an error message"),
        });
        End { outcome: Outcome::Failed, code, reason, next }
    }

    /// What its run was made of, as the records that it made tell.
    pub(super) fn tell_phases(&self, plans: &[(String, Prepared<'_>)], histories: &Histories, ran: Ran) {
        let ([(_, mended)], Some(history)) = (plans, histories.only()) else { return };
        let made = history.records.iter().filter(|record| Some(record.revision) > mended.before.last);
        let made: Vec<_> = made.filter_map(|record| record.body.as_ref().ok()).collect();
        let phases = phases::phases(&made, ran);
        if !phases.is_empty() {
            self.reporter.emit(Event::HelmPhases(phases));
        }
    }

    /// Why it is right to run Helm once more: it failed at nothing but a race, the lock is held, the record is settled.
    pub(super) fn lost_race(
        &self,
        ended: &helm_process::Ended,
        plans: &[(String, Prepared<'_>)],
        histories: &Histories,
        signals: &Signals,
        done: &Done,
    ) -> Option<String> {
        let ([(_, mended)], Some(history)) = (plans, histories.only()) else { return None };
        let is_over = ended.code == Some(0) || done.again || done.unsettled || self.invocation.atomic();
        if is_over || mended.plan.is_some() || signals.heard().is_some() || self.lost().is_some() {
            return None;
        }
        let last = history.last().filter(|last| last.status() == Status::Failed)?;
        let snapshot = Snapshot {
            command: self.invocation.command.as_str().to_owned(),
            error: ended.error.clone(),
            refusals: self.refusals(),
            ..Snapshot::default()
        };
        let hooks_before = last.body.as_ref().is_ok_and(|body| body.hooks.iter().any(HookRun::is_first));
        let wanted = manifest_of(last, &self.cluster.namespace);
        diagnose::retry::again(&snapshot, &diagnose::causes(&snapshot), &wanted, hooks_before)
    }

    /// Says why Helm failed with these words, or why what was brought back does not become ready. Gives what to do next.
    pub(super) async fn diagnose(&self, error: &str, scope: Scope, seen: Seen) -> Vec<String> {
        let invocation = &self.request.invocation;
        let (scope, live) = seen.end(&self.cluster, scope).await;
        let snapshot = Snapshot {
            command: self.request.operation().to_owned(),
            release: self.request.releases().join(" "),
            namespace: self.cluster.namespace.clone(),
            error: error.to_owned(),
            timeout: invocation.timeout().map(|timeout| timeout.as_secs()),
            refusals: self.refusals(),
            hooks: scope.hooks,
            live,
        };
        let causes = diagnose::causes(&snapshot);
        let next = diagnose::next(&snapshot, &causes);
        let (pods, events) = diagnose::render::facts(&snapshot.live);
        self.reporter.emit(Event::Diagnosed { causes, refusals: snapshot.refusals });
        self.reporter.emit(Event::Trouble { pods, events });
        next
    }

    /// Helm's writes that the API server refused; that something to be deleted is not there is none.
    fn refusals(&self) -> Vec<Refusal> {
        let written = self.fence.as_ref().map(Fence::written).unwrap_or_default();
        let refused = written.into_iter().filter(|write| write.code >= 400 && write.code != 404);
        let refused = refused.map(|write| Refusal {
            method: write.method.to_string(),
            path: write.path,
            code: write.code,
            message: write.message,
        });
        let mut refused: Vec<Refusal> = refused.collect();
        refused.drain(..refused.len().saturating_sub(REFUSALS));
        refused
    }
}
