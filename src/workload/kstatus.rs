//! Is an object that lives ready? As Helm's waiting means it: of the two Helms the stricter one.
//! Pure.

use serde_json::Value;

/// Why it is not ready; `None` if it is, or if its kind has no such thing.
///
/// Helm 3 looks at the kinds of Kubernetes (`ready.go`), Helm 4 at what most controllers say of their objects besides
/// (kstatus). A Job must have ended, as with `--wait-for-jobs`.
pub fn unready(object: &Value) -> Option<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Some("it is being deleted".into());
    }
    let group = text("/apiVersion").split_once('/').map_or("", |(group, _)| group);
    match (group, text("/kind")) {
        ("apps", "Deployment") => unobserved(object).or_else(|| deployment(object)),
        ("apps", "StatefulSet") => unobserved(object).or_else(|| stateful_set(object)),
        ("apps", "DaemonSet") => unobserved(object).or_else(|| daemon_set(object)),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            let wanted = number_or(object, "/spec/replicas", 1);
            unobserved(object).or_else(|| short(number(object, "/status/readyReplicas"), wanted, "ready"))
        }
        ("batch", "Job") => job(object),
        ("", "Pod") => pod(object),
        ("", "PersistentVolumeClaim") => (text("/status/phase") != "Bound")
            .then(|| format!("it is {}", or(text("/status/phase"), "Pending"))),
        ("", "Service") => service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            (condition(object, "Established") != Some("True")).then(|| "it is not established".into())
        }
        _ => unobserved(object).or_else(|| conditions(object)),
    }
}

fn number(object: &Value, pointer: &str) -> i64 {
    number_or(object, pointer, 0)
}

fn number_or(object: &Value, pointer: &str, default: i64) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(default)
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

fn short(count: i64, wanted: i64, what: &str) -> Option<String> {
    (count < wanted).then(|| format!("{count} of {wanted} {what}"))
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let all = object["status"]["conditions"].as_array()?;
    all.iter().find(|one| one["type"] == kind)?["status"].as_str()
}

/// Its controller has not seen its last change.
fn unobserved(object: &Value) -> Option<String> {
    let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
    let workload = object["apiVersion"].as_str().is_some_and(|version| version.starts_with("apps/"));
    let is_behind = match observed {
        Some(observed) => observed < number(object, "/metadata/generation"),
        None => workload,
    };
    is_behind.then(|| "its controller has not seen it yet".into())
}

fn deployment(object: &Value) -> Option<String> {
    if object["spec"]["paused"] == true {
        return Some("it is paused".into());
    }
    let wanted = number_or(object, "/spec/replicas", 1);
    let updated = number(object, "/status/updatedReplicas");
    let old = number(object, "/status/replicas") - updated;
    short(updated, wanted, "updated")
        .or_else(|| short(number(object, "/status/readyReplicas"), wanted, "ready"))
        .or_else(|| short(number(object, "/status/availableReplicas"), wanted, "available"))
        .or_else(|| (old > 0).then(|| "its old pods are not all gone".into()))
}

fn stateful_set(object: &Value) -> Option<String> {
    let wanted = number_or(object, "/spec/replicas", 1);
    let ready = short(number(object, "/status/readyReplicas"), wanted, "ready");
    if object["spec"]["updateStrategy"]["type"] == "OnDelete" {
        return ready;
    }
    let kept = number(object, "/spec/updateStrategy/rollingUpdate/partition");
    let status = &object["status"];
    let rolls = kept == 0 && status["currentRevision"] != status["updateRevision"];
    ready
        .or_else(|| short(number(object, "/status/updatedReplicas"), wanted - kept, "updated"))
        .or_else(|| rolls.then(|| "it is being updated".into()))
}

fn daemon_set(object: &Value) -> Option<String> {
    let wanted = number(object, "/status/desiredNumberScheduled");
    let ready = short(number(object, "/status/numberReady"), wanted, "ready");
    if object["spec"]["updateStrategy"]["type"] == "OnDelete" {
        return ready;
    }
    ready.or_else(|| short(number(object, "/status/updatedNumberScheduled"), wanted, "updated"))
}

/// For hooks too: their Jobs end in the same ways.
pub fn job(object: &Value) -> Option<String> {
    match (condition(object, "Complete"), condition(object, "Failed")) {
        (_, Some("True")) => Some("it failed".into()),
        (Some("True"), _) => None,
        _ => Some("it has not ended".into()),
    }
}

fn pod(object: &Value) -> Option<String> {
    match object["status"]["phase"].as_str().unwrap_or_default() {
        "Succeeded" => None,
        _ if condition(object, "Ready") == Some("True") => None,
        phase => Some(format!("it is {}", or(phase, "Pending"))),
    }
}

fn service(object: &Value) -> Option<String> {
    let spec = &object["spec"];
    let is_empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    match spec["type"].as_str().unwrap_or_default() {
        "ExternalName" => None,
        _ if spec["clusterIP"].as_str().unwrap_or_default().is_empty() => Some("it has no address".into()),
        "LoadBalancer"
            if is_empty(&spec["externalIPs"]) && is_empty(&object["status"]["loadBalancer"]["ingress"]) =>
        {
            Some("its load balancer has no address".into())
        }
        _ => None,
    }
}

/// What objects of any kind say of themselves, if they do.
fn conditions(object: &Value) -> Option<String> {
    match (condition(object, "Ready"), condition(object, "Reconciling"), condition(object, "Stalled")) {
        (_, _, Some("True")) => Some("it is stalled".into()),
        (_, Some("True"), _) => Some("it is being reconciled".into()),
        (Some("False" | "Unknown"), ..) => Some("it says so".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of an object, and why it is not ready.
    const CASES: &[(&str, &str, &str)] = &[
        (
            "a Deployment",
            "apiVersion: apps/v1, kind: Deployment, metadata: {generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 2}",
            "",
        ),
        (
            "one that is scaled to nothing",
            "apiVersion: apps/v1, kind: Deployment, metadata: {generation: 2}, spec: {replicas: 0}, status: {observedGeneration: 2}",
            "",
        ),
        (
            "one whose controller sleeps",
            "apiVersion: apps/v1, kind: Deployment, metadata: {generation: 3}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 2}",
            "its controller has not seen it yet",
        ),
        (
            "one that nobody has looked at",
            "apiVersion: apps/v1, kind: Deployment, metadata: {generation: 1}, spec: {replicas: 0}",
            "its controller has not seen it yet",
        ),
        (
            "one that is paused",
            "apiVersion: apps/v1, kind: Deployment, metadata: {generation: 1}, spec: {paused: true}, status: {observedGeneration: 1}",
            "it is paused",
        ),
        (
            "one with old pods only",
            "apiVersion: apps/v1, kind: Deployment, metadata: {generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 3, updatedReplicas: 1, readyReplicas: 2, availableReplicas: 2}",
            "1 of 2 updated",
        ),
        (
            "one whose new pods are not ready",
            "apiVersion: apps/v1, kind: Deployment, metadata: {generation: 2}, spec: {}, status: {observedGeneration: 2, replicas: 1, updatedReplicas: 1}",
            "0 of 1 ready",
        ),
        (
            "one whose pods were ready for too short a time",
            "apiVersion: apps/v1, kind: Deployment, metadata: {generation: 2}, spec: {}, status: {observedGeneration: 2, replicas: 1, updatedReplicas: 1, readyReplicas: 1}",
            "0 of 1 available",
        ),
        (
            "one whose old pods are not gone",
            "apiVersion: apps/v1, kind: Deployment, metadata: {generation: 2}, spec: {}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 1, readyReplicas: 2, availableReplicas: 2}",
            "its old pods are not all gone",
        ),
        (
            "a StatefulSet",
            "apiVersion: apps/v1, kind: StatefulSet, metadata: {generation: 1}, spec: {replicas: 1, updateStrategy: {type: RollingUpdate}}, status: {observedGeneration: 1, readyReplicas: 1, updatedReplicas: 1, currentRevision: a, updateRevision: a}",
            "",
        ),
        (
            "one that rolls",
            "apiVersion: apps/v1, kind: StatefulSet, metadata: {generation: 1}, spec: {replicas: 1}, status: {observedGeneration: 1, readyReplicas: 1, updatedReplicas: 1, currentRevision: a, updateRevision: b}",
            "it is being updated",
        ),
        (
            "one that keeps some",
            "apiVersion: apps/v1, kind: StatefulSet, metadata: {generation: 1}, spec: {replicas: 3, updateStrategy: {rollingUpdate: {partition: 2}}}, status: {observedGeneration: 1, readyReplicas: 3, updatedReplicas: 1, currentRevision: a, updateRevision: b}",
            "",
        ),
        (
            "one that nobody updates",
            "apiVersion: apps/v1, kind: StatefulSet, metadata: {generation: 1}, spec: {updateStrategy: {type: OnDelete}}, status: {observedGeneration: 1, readyReplicas: 1, currentRevision: a, updateRevision: b}",
            "",
        ),
        (
            "a DaemonSet",
            "apiVersion: apps/v1, kind: DaemonSet, metadata: {generation: 1}, status: {observedGeneration: 1, desiredNumberScheduled: 2, numberReady: 2, updatedNumberScheduled: 2}",
            "",
        ),
        (
            "one with old pods",
            "apiVersion: apps/v1, kind: DaemonSet, metadata: {generation: 1}, status: {observedGeneration: 1, desiredNumberScheduled: 2, numberReady: 2}",
            "0 of 2 updated",
        ),
        (
            "a Job that ended",
            "apiVersion: batch/v1, kind: Job, status: {conditions: [{type: SuccessCriteriaMet, status: 'True'}, {type: Complete, status: 'True'}]}",
            "",
        ),
        (
            "a Job that failed",
            "apiVersion: batch/v1, kind: Job, status: {conditions: [{type: Failed, status: 'True'}]}",
            "it failed",
        ),
        ("a Job that runs", "apiVersion: batch/v1, kind: Job, status: {active: 1}", "it has not ended"),
        (
            "a pod",
            "apiVersion: v1, kind: Pod, status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}",
            "",
        ),
        (
            "a pod that has done its work",
            "apiVersion: v1, kind: Pod, status: {phase: Succeeded, conditions: [{type: Ready, status: 'False'}]}",
            "",
        ),
        ("a pod that is not ready", "apiVersion: v1, kind: Pod, status: {phase: Running}", "it is Running"),
        ("a claim", "apiVersion: v1, kind: PersistentVolumeClaim, status: {phase: Bound}", ""),
        ("a claim without a volume", "apiVersion: v1, kind: PersistentVolumeClaim", "it is Pending"),
        ("a service", "apiVersion: v1, kind: Service, spec: {type: ClusterIP, clusterIP: None}", ""),
        ("one of another name", "apiVersion: v1, kind: Service, spec: {type: ExternalName}", ""),
        (
            "a load balancer",
            "apiVersion: v1, kind: Service, spec: {type: LoadBalancer, clusterIP: 1.1.1.1}, status: {loadBalancer: {ingress: [{ip: 1.1.1.2}]}}",
            "",
        ),
        (
            "one that waits for its address",
            "apiVersion: v1, kind: Service, spec: {type: LoadBalancer, clusterIP: 1.1.1.1}, status: {loadBalancer: {}}",
            "its load balancer has no address",
        ),
        (
            "a definition",
            "apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, status: {conditions: [{type: Established, status: 'True'}]}",
            "",
        ),
        (
            "a new definition",
            "apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition",
            "it is not established",
        ),
        (
            "a custom resource that says nothing",
            "apiVersion: example.com/v1, kind: Database, metadata: {generation: 4}",
            "",
        ),
        (
            "one that is ready",
            "apiVersion: example.com/v1, kind: Database, metadata: {generation: 4}, status: {observedGeneration: 4, conditions: [{type: Ready, status: 'True'}]}",
            "",
        ),
        (
            "one that is not",
            "apiVersion: example.com/v1, kind: Database, status: {conditions: [{type: Ready, status: 'False'}]}",
            "it says so",
        ),
        (
            "one that is worked on",
            "apiVersion: example.com/v1, kind: Database, status: {conditions: [{type: Reconciling, status: 'True'}]}",
            "it is being reconciled",
        ),
        (
            "one whose controller is behind",
            "apiVersion: example.com/v1, kind: Database, metadata: {generation: 4}, status: {observedGeneration: 3}",
            "its controller has not seen it yet",
        ),
        ("a Deployment of somebody else", "apiVersion: example.com/v1, kind: Deployment", ""),
        ("what has no such thing", "apiVersion: v1, kind: ConfigMap", ""),
        (
            "what goes",
            "apiVersion: v1, kind: ConfigMap, metadata: {deletionTimestamp: now}",
            "it is being deleted",
        ),
    ];

    #[test]
    fn each_kind_is_ready_in_its_way() {
        for (what, object, expected) in CASES {
            let object: Value = serde_yaml::from_str(&format!("{{{object}}}")).unwrap();
            assert_eq!(unready(&object).unwrap_or_default(), *expected, "{what}");
        }
    }
}
