//! The health of the release before and after a run, for the report.
//! `health.rs` decides what it means.

use super::{Run, cancel::in_time, finalize::Histories, prepared::Prepared};
use crate::{
    cluster::Cluster,
    health::{Finding, Health, Readiness, judge},
    manifest::Manifest,
    release::{History, Status, diff::Changes},
    report::{Event, reporter::Reporter},
    signals::Signals,
    status::{State, health::of_release},
};

impl Run<'_> {
    /// Before a repair that no deploy follows. A deploy learns it on the way from its preflight.
    pub(super) async fn fares(&self, history: &History) -> Option<Finding> {
        let state = State::of(history);
        of_release(&self.cluster, state, history).await
    }

    /// The same afterwards, which is told.
    pub(super) async fn fares_now(&self, history: &History, signals: &Signals) -> Option<Finding> {
        let fares = in_time(signals, self.fares(history)).await.flatten()?;
        self.reporter.emit(Event::FaresAfter(fares.clone()));
        Some(fares)
    }

    /// What Helm's run changed, and how the release fares now. That costs a few requests, and so is asked only if something
    /// was changed, or was not well, and Helm did not wait until all is ready. Gives the looks that are left to do: they need
    /// no lock.
    pub(super) fn look_again(
        &self,
        plans: &[(String, Prepared<'_>)],
        histories: &Histories,
        succeeded: bool,
    ) -> Vec<Look> {
        let mut looks = Vec::new();
        for ((_, mended), history) in histories.with(plans) {
            let changes = mended.before.changes(history, &self.cluster.namespace);
            let unchanged = succeeded && changes.as_ref().is_some_and(Changes::is_nothing);
            if let Some(changes) = changes {
                self.reporter.emit(Event::Changed(changes));
            }
            let Some(last) =
                history.last().filter(|last| !last.is_gone() && last.status() != Status::Uninstalling)
            else {
                continue;
            };
            let fares = match (unchanged, self.judged.fared()) {
                (true, None) => None,
                (true, Some(fared)) if fared.health == Health::Healthy => {
                    Some(Finding { revision: last.revision, ..fared })
                }
                _ if succeeded && self.request.invocation.wait().is_some() => {
                    Some(judge(State::of(history) == State::Stuck, last.revision, &[], &Readiness::default()))
                }
                _ => {
                    let manifest = crate::release::rendered::manifest_of(last, &self.cluster.namespace);
                    looks.push(Look { manifest, state: State::of(history), revision: last.revision });
                    None
                }
            };
            if let Some(fares) = fares {
                self.reporter.emit(Event::FaresAfter(fares));
            }
        }
        looks
    }
}

/// A look at how a release fares after a run.
pub(super) struct Look {
    manifest: Manifest,
    state: State,
    revision: u32,
}

impl Look {
    /// Looks, and tells.
    pub(super) async fn tell(self, cluster: &Cluster, reporter: &Reporter, signals: &Signals) {
        if let Some(readiness) = in_time(signals, cluster.readiness(&self.manifest)).await {
            reporter.emit(Event::FaresAfter(judge(
                self.state == State::Stuck,
                self.revision,
                &[],
                &readiness,
            )));
        }
    }
}
