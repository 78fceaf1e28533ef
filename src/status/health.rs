//! The health of a release beside its record: reads what lives and compares it. What it means is decided in `health.rs`.

use super::State;
use crate::{
    cluster::Cluster,
    health::{Finding, judge},
    redact::Redact,
    release::{History, rendered::manifest_of},
};

/// How what lives fares beside the manifest of the last revision, or of the one that is deployed.
pub async fn of_release(cluster: &Cluster, state: State, history: &History) -> Option<Finding> {
    if matches!(state, State::None | State::Uninstalled | State::Uninstalling) {
        return None;
    }
    let shown = if state == State::Failed { history.deployed().next_back() } else { None };
    let shown = shown.or(history.last())?;
    let manifest = manifest_of(shown, &cluster.namespace);
    let (objects, readiness) = tokio::join!(cluster.compared(&manifest), cluster.readiness(&manifest));
    let mut found = judge(state == State::Stuck, shown.revision, &objects, &readiness);
    if !found.reasons.is_empty() {
        found.redact(&history.secrets().redactor());
    }
    Some(found)
}
