//! Cause: Helm's timeout was too short, and nothing else is wrong.
//! Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Cause, Snapshot,
    containers::{self, events, is_hook, is_ready, owner},
    list, text,
};
use crate::workload::rollout;

/// Helm's own patience, seconds.
const HELMS_OWN: u64 = 300;

/// Did Helm's time run out?
pub(super) fn gave_up(snapshot: &Snapshot) -> bool {
    let words = [
        "timed out waiting",
        "context deadline exceeded",
        "would exceed context deadline",
        "timeout waiting",
    ];
    super::says(&snapshot.error, &words)
}

/// Every pod that is not ready is on its way, and none has a fault. How long its like took is what to wait for.
pub(super) fn too_short(snapshot: &Snapshot) -> Vec<Cause> {
    if !gave_up(snapshot) || snapshot.live.hidden.iter().any(|kind| kind == "pods") {
        return Vec::new();
    }
    let own = || snapshot.live.pods.iter().filter(|pod| !is_hook(snapshot, pod));
    let late: Vec<&Value> = own().filter(|pod| !is_ready(pod)).collect();
    if late.iter().any(|pod| !is_well(snapshot, pod)) {
        return Vec::new();
    }
    let Some(object) = late.first().map(|pod| owner(snapshot, pod)).or_else(|| unready(snapshot)) else {
        return Vec::new();
    };
    let took = own().filter(|pod| owner(snapshot, pod) == object).filter_map(startup).max();
    let mut evidence: Vec<String> = late
        .iter()
        .map(|pod| format!("Pod/{}: starting, no fault seen", text(pod, "/metadata/name")))
        .collect();
    evidence.extend(took.map(|took| format!("its pods took up to {took} s to become ready")));
    let limit = snapshot.timeout.map_or(String::new(), |limit| format!(" of {limit} s"));
    let before = took.map_or(String::new(), |took| format!("; it took {took} s before"));
    let patience = snapshot.timeout.unwrap_or(HELMS_OWN).cast_signed();
    let longer = format!("run it again with --timeout {}s", took.unwrap_or_default().max(patience) * 2);
    // Helm waited much longer than its like ever took: something holds it, though no fault is seen.
    let slower = late.first().filter(|_| took.is_some_and(|took| 2 * took < patience));
    let (summary, remedy) = match slower {
        Some(pod) => (
            format!("not ready within helm's timeout{limit}, and no fault is seen{before}"),
            vec![super::describe(snapshot, pod), longer],
        ),
        None => {
            (format!("nothing is wrong with it: helm's timeout{limit} is too short{before}"), vec![longer])
        }
    };
    vec![Cause { object, summary, evidence, remedy, ..Cause::default() }]
}

/// A workload that wants more pods than are ready, though none of its pods is late: the controller is behind.
fn unready(snapshot: &Snapshot) -> Option<String> {
    let behind = |workload: &&Value| {
        text(workload, "/kind") != "Job"
            && rollout::count(workload).is_some_and(|count| !count.is_whole())
            && containers::events(snapshot, text(workload, "/kind"), text(workload, "/metadata/name"))
                .next()
                .is_none()
            && list(workload, "/status/conditions").iter().all(|one| one["type"] != "ReplicaFailure")
    };
    snapshot.live.workloads.iter().find(behind).map(super::label)
}

fn is_well(snapshot: &Snapshot, pod: &Value) -> bool {
    let waits = |reason: &str| matches!(reason, "" | "ContainerCreating" | "PodInitializing");
    let calm = containers::of(pod)
        .all(|seat| waits(seat.waits()) && seat.status.pointer("/lastState/terminated").is_none());
    let placed = super::pods::unplaced(pod).is_none();
    let running_init = containers::of(pod)
        .any(|seat| seat.role == containers::Role::Init && seat.status.pointer("/state/running").is_some());
    let told = events(snapshot, "Pod", text(pod, "/metadata/name")).next().is_some();
    calm && placed
        && !running_init
        && !told
        && !super::nodes::is_lost(snapshot, pod)
        && text(pod, "/status/phase") != "Failed"
}

/// From its creation until it was ready, seconds.
fn startup(pod: &Value) -> Option<i64> {
    let ready = list(pod, "/status/conditions")
        .iter()
        .find(|one| one["type"] == "Ready" && one["status"] == "True")?;
    let at = |text: &str| text.parse::<Timestamp>().ok().map(Timestamp::as_second);
    Some(at(text(ready, "/lastTransitionTime"))? - at(text(pod, "/metadata/creationTimestamp"))?)
}
