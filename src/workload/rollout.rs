//! How far a workload is: ready and wanted, as `kubectl rollout status` and Helm's wait see it.
//! Pure. One function for everybody who counts.

use serde_json::Value;

/// Pods, or what else an object counts: a claim is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Of the newest template and available; of a Job those that succeeded.
    pub ready: u32,
    /// All that it is to have.
    pub wanted: u32,
}

impl Count {
    fn of(ready: i64, wanted: i64) -> Self {
        let wanted = u32::try_from(wanted.max(0)).unwrap_or(u32::MAX);
        let ready = u32::try_from(ready.max(0)).unwrap_or(u32::MAX);
        Self { ready: ready.min(wanted), wanted }
    }

    fn one(is_ready: bool) -> Self {
        Self::of(is_ready.into(), 1)
    }

    /// Has it all that it wants?
    pub fn is_whole(self) -> bool {
        self.ready >= self.wanted
    }
}

/// How far an object is, by its `kind`, `spec` and `status`; `None` for a kind that does not count.
///
/// Only what is of the newest template counts: pods of the one before may be ready, and hide that no new one is. What a
/// controller says of a generation before is nothing.
pub fn count(object: &Value) -> Option<Count> {
    let spec = |field: &str| object["spec"].get(field).and_then(Value::as_i64);
    let status = |field: &str| object["status"].get(field).and_then(Value::as_i64).unwrap_or_default();
    let seen = object["metadata"]["generation"].as_i64() <= object["status"]["observedGeneration"].as_i64();
    let by_hand = object.pointer("/spec/updateStrategy/type").is_some_and(|kind| kind == "OnDelete");
    let wanted = spec("replicas").unwrap_or(1);
    let count = match object["kind"].as_str()? {
        "Deployment" if !seen => Count::of(0, wanted),
        // Nothing is rolled out, and nobody waits for it.
        "Deployment" if object["spec"]["paused"] == true => Count::of(status("readyReplicas"), wanted),
        "Deployment" => Count::of(status("updatedReplicas") - status("unavailableReplicas"), wanted),
        "StatefulSet" if !seen => Count::of(0, wanted),
        "StatefulSet" if by_hand => Count::of(status("readyReplicas"), wanted),
        "StatefulSet" => {
            let partition = object.pointer("/spec/updateStrategy/rollingUpdate/partition");
            let partition = partition.and_then(Value::as_i64).unwrap_or_default();
            let updated = (status("updatedReplicas") + partition).min(wanted);
            let ready = status("readyReplicas");
            // Which of them are not ready is not told: those of the newest template are taken to be.
            Count::of((updated - (status("replicas") - ready).max(0)).min(ready), wanted)
        }
        "DaemonSet" => {
            let wanted = status("desiredNumberScheduled");
            match (seen, by_hand) {
                // How many nodes it is for is not known yet.
                (false, _) => Count::of(0, wanted.max(1)),
                (true, true) => Count::of(status("numberReady"), wanted),
                (true, false) => {
                    Count::of(status("updatedNumberScheduled") - status("numberUnavailable"), wanted)
                }
            }
        }
        "Job" => {
            let wanted = spec("completions").unwrap_or(1);
            let is_done = is_true(object, "Complete") || is_true(object, "SuccessCriteriaMet");
            Count::of(if is_done { wanted } else { status("succeeded") }, wanted)
        }
        "Pod" => Count::one(is_true(object, "Ready") || object["status"]["phase"] == "Succeeded"),
        "PersistentVolumeClaim" => Count::one(object["status"]["phase"] == "Bound"),
        _ => return None,
    };
    Some(count)
}

/// Does a condition hold?
pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some()
}

/// A condition that holds.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array)?;
    conditions.iter().find(|one| one["type"] == kind && one["status"] == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_ready_is_of_the_newest_template() {
        let deployment = |spec: Value, status: Value| ("Deployment", spec, status);
        let set = |spec: Value, status: Value| ("StatefulSet", spec, status);
        let daemons = |spec: Value, status: Value| ("DaemonSet", spec, status);
        for (case, (kind, spec, mut status), wanted) in [
            (
                "all new and available",
                deployment(
                    json!({"replicas": 3}),
                    json!({"replicas": 3, "updatedReplicas": 3, "readyReplicas": 3}),
                ),
                (3, 3),
            ),
            (
                "an old pod is ready, the new one is not",
                deployment(
                    json!({}),
                    json!({"replicas": 2, "updatedReplicas": 1, "readyReplicas": 1, "unavailableReplicas": 1}),
                ),
                (0, 1),
            ),
            (
                "one of three is exchanged",
                deployment(
                    json!({"replicas": 3}),
                    json!({"replicas": 3, "updatedReplicas": 1, "readyReplicas": 3}),
                ),
                (1, 3),
            ),
            ("nothing is there yet", deployment(json!({"replicas": 2}), json!({})), (0, 2)),
            ("none is wanted", deployment(json!({"replicas": 0}), json!({})), (0, 0)),
            (
                "paused, with the pods of before",
                deployment(json!({"replicas": 2, "paused": true}), json!({"readyReplicas": 2})),
                (2, 2),
            ),
            (
                "a set that is all new",
                set(json!({"replicas": 3}), json!({"replicas": 3, "readyReplicas": 3, "updatedReplicas": 3})),
                (3, 3),
            ),
            (
                "a set whose last pod is exchanged and not ready",
                set(json!({"replicas": 3}), json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1})),
                (0, 3),
            ),
            (
                "a set of which two stay old on purpose",
                set(
                    json!({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}}),
                    json!({"replicas": 3, "readyReplicas": 3, "updatedReplicas": 1}),
                ),
                (3, 3),
            ),
            (
                "a set that grows, one by one",
                set(json!({"replicas": 3}), json!({"replicas": 2, "readyReplicas": 1, "updatedReplicas": 2})),
                (1, 3),
            ),
            (
                "a set of which one pod is away to be exchanged",
                set(json!({"replicas": 3}), json!({"replicas": 2, "readyReplicas": 2, "updatedReplicas": 0})),
                (0, 3),
            ),
            (
                "a set that is exchanged by hand",
                set(
                    json!({"replicas": 2, "updateStrategy": {"type": "OnDelete"}}),
                    json!({"replicas": 2, "readyReplicas": 2, "updatedReplicas": 0}),
                ),
                (2, 2),
            ),
            (
                "daemons, one new and not available",
                daemons(
                    json!({}),
                    json!({"desiredNumberScheduled": 3, "updatedNumberScheduled": 1, "numberReady": 2, "numberUnavailable": 1}),
                ),
                (0, 3),
            ),
            (
                "daemons, all new",
                daemons(
                    json!({}),
                    json!({"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberReady": 2}),
                ),
                (2, 2),
            ),
            ("daemons without a node", daemons(json!({}), json!({"desiredNumberScheduled": 0})), (0, 0)),
            (
                "a Job at work",
                ("Job", json!({"completions": 3}), json!({"succeeded": 1, "active": 1})),
                (1, 3),
            ),
            (
                "a Job that takes work from a queue",
                (
                    "Job",
                    json!({}),
                    json!({"succeeded": 4, "conditions": [{"type": "Complete", "status": "True"}]}),
                ),
                (1, 1),
            ),
            ("a bound claim", ("PersistentVolumeClaim", json!({}), json!({"phase": "Bound"})), (1, 1)),
            ("a pending claim", ("PersistentVolumeClaim", json!({}), json!({"phase": "Pending"})), (0, 1)),
            (
                "a pod that runs and is not ready",
                (
                    "Pod",
                    json!({}),
                    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}),
                ),
                (0, 1),
            ),
            ("a pod that has done its work", ("Pod", json!({}), json!({"phase": "Succeeded"})), (1, 1)),
        ] {
            status["observedGeneration"] = 2.into();
            let object = json!({"kind": kind, "metadata": {"generation": 2}, "spec": spec, "status": status});
            let found = count(&object).unwrap();
            assert_eq!((found.ready, found.wanted), wanted, "{case}");
        }
        let stale = json!({
            "kind": "Deployment", "metadata": {"generation": 3}, "spec": {"replicas": 2},
            "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2},
        });
        assert_eq!(count(&stale), Some(Count { ready: 0, wanted: 2 }), "the controller has not seen it yet");
        assert_eq!(count(&json!({"kind": "ConfigMap"})), None);
        assert_eq!(count(&json!({"kind": 7})), None);
    }
}
