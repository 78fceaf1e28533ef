//! Causes: nodes that are unavailable or evict pods.
//! Pure. The words are those of the kubelet and the controller that looks after nodes.

use serde_json::Value;

use super::{
    Cause, Snapshot,
    containers::{condition, ended_by, events, is_hook, is_ready, owner},
    describe, text,
};

/// A node that is not ready, under a pod that is not.
pub(super) fn not_ready(snapshot: &Snapshot) -> Vec<Cause> {
    let lost = snapshot.live.pods.iter().filter(|pod| is_lost(snapshot, pod));
    lost.map(|pod| {
        let name = text(pod, "/spec/nodeName");
        let told = node(snapshot, name).and_then(|node| condition(node, "Ready"));
        let why = told.map(|one| text(one, "/message")).filter(|why| !why.is_empty());
        let why = why.map_or(String::new(), |why| format!(": {}", why.trim_end_matches('.')));
        let mut evidence = vec![format!("Pod/{} of {} is on it", text(pod, "/metadata/name"), owner(snapshot, pod))];
        evidence.extend(told.map(|one| {
            let (status, reason) = (text(one, "/status"), text(one, "/reason"));
            format!("Ready is {status}, {reason}, since {}", text(one, "/lastTransitionTime"))
        }));
        Cause {
            object: format!("Node/{name}"),
            summary: format!("the node is not ready, and its pods neither start nor answer{why}"),
            evidence,
            remedy: vec![
                format!("kubectl describe node {name}"),
                format!("if the machine is gone for good: kubectl delete node {name}   # its pods are created again on other nodes"),
            ],
            ..Cause::default()
        }
    })
    .collect()
}

/// Is its node not ready? What the node says counts; who may not look at it is told by the pod's events.
pub(super) fn is_lost(snapshot: &Snapshot, pod: &Value) -> bool {
    if is_ready(pod) {
        return false;
    }
    match node(snapshot, text(pod, "/spec/nodeName")).and_then(|node| condition(node, "Ready")) {
        Some(ready) => text(ready, "/status") != "True",
        None => events(snapshot, "Pod", text(pod, "/metadata/name"))
            .any(|event| text(event, "/reason") == "NodeNotReady"),
    }
}

fn node<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Value> {
    snapshot.live.nodes.iter().find(|node| text(node, "/metadata/name") == name)
}

/// Pods that their node has ended, or has not let in.
pub(super) fn evicted(snapshot: &Snapshot) -> Vec<Cause> {
    let own = || snapshot.live.pods.iter().filter(|pod| !is_hook(snapshot, pod));
    let ended = own().filter_map(|pod| Some((pod, ended_by(pod)?)));
    // What was ended is kept for a long time: that of an older revision is no matter of today.
    let is_of_today = |pod: &Value| {
        let owner = owner(snapshot, pod);
        let youngest = own()
            .filter(|other| super::containers::owner(snapshot, other) == owner)
            .max_by_key(|other| text(other, "/metadata/creationTimestamp"));
        youngest.is_none_or(|youngest| revision(youngest) == revision(pod))
    };
    ended
        .filter(|(pod, _)| is_of_today(pod))
        .map(|(pod, reason)| {
            let message = text(pod, "/status/message").trim();
            let (what, advice) = means(reason, message);
            let (name, node) = (text(pod, "/metadata/name"), text(pod, "/spec/nodeName"));
            Cause {
                object: owner(snapshot, pod),
                summary: format!("its pod was {what}"),
                evidence: vec![format!("Pod/{name} on Node/{node}: {reason}: {message}")],
                remedy: vec![
                    advice.to_owned(),
                    format!("kubectl describe node {node}"),
                    describe(snapshot, pod),
                ],
                ..Cause::default()
            }
        })
        .collect()
}

/// What tells the pods of one revision of a workload from those of another.
fn revision(pod: &Value) -> [&Value; 2] {
    ["pod-template-hash", "controller-revision-hash"].map(|label| &pod["metadata"]["labels"][label])
}

/// What a reason means, and what to do.
fn means(reason: &str, message: &str) -> (String, &'static str) {
    // `The node was low on resource: memory. …`
    let short = super::between(message, "low on resource: ", ".");
    match (reason, short) {
        ("Evicted", Some(resource)) => (
            format!("evicted: its node runs short of {resource}"),
            "give its containers resources.requests of what they use: a pod that uses more than it requests is evicted first",
        ),
        // `Pod ephemeral local storage usage exceeds …`, `Usage of EmptyDir volume "cache" exceeds the limit "1Gi".`
        ("Evicted", None) if message.contains("exceed") => (
            format!("evicted: {}", message.trim_end_matches('.')),
            "raise the limit, resources.limits.ephemeral-storage or the volume's sizeLimit, or write less",
        ),
        ("Preempting", _) => (
            "ended, to make room for one that is more important".to_owned(),
            "give it a priorityClassName that fits, or the cluster more room",
        ),
        _ => (format!("ended by its node: {reason}: {message}"), "read the status of the node:"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_reason_means() {
        for (reason, message, meaning) in [
            (
                "Evicted",
                "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 200Mi.",
                "evicted: its node runs short of ephemeral-storage",
            ),
            (
                "Evicted",
                "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Gi\".",
                "evicted: Usage of EmptyDir volume \"cache\" exceeds the limit \"1Gi\"",
            ),
            (
                "Preempting",
                "Preempted in order to admit critical pod",
                "ended, to make room for one that is more important",
            ),
            (
                "NodeAffinity",
                "Pod was rejected: Predicate NodeAffinity failed",
                "ended by its node: NodeAffinity: Pod was rejected: Predicate NodeAffinity failed",
            ),
        ] {
            assert_eq!(means(reason, message).0, meaning);
        }
    }

    #[test]
    fn what_was_evicted_of_an_older_revision_is_no_matter_of_today() {
        let pod = |name: &str, hash: &str, created: &str, reason: &str| {
            json!({
                "kind": "Pod", "status": {"phase": if reason.is_empty() { "Pending" } else { "Failed" }, "reason": reason},
                "metadata": {"name": name, "creationTimestamp": created, "labels": {"app": "web", "pod-template-hash": hash}},
            })
        };
        let web = json!({"kind": "Deployment", "metadata": {"name": "web", "uid": "1"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}});
        for (what, hash, found) in [("the same revision", "new", 1), ("an older one", "old", 0)] {
            let mut snapshot = Snapshot::default();
            snapshot.live.workloads = vec![web.clone()];
            snapshot.live.pods = vec![
                pod("web-1", hash, "2026-06-01T10:00:00Z", "Evicted"),
                pod("web-2", "new", "2026-06-01T10:00:01Z", ""),
            ];
            assert_eq!(evicted(&snapshot).len(), found, "{what}");
        }
    }

    #[test]
    fn a_node_that_may_not_be_looked_at_is_told_by_the_pod_s_events() {
        let mut snapshot = Snapshot::default();
        snapshot.live.pods =
            vec![json!({"kind": "Pod", "metadata": {"name": "web-1"}, "spec": {"nodeName": "node-1"}})];
        let event = json!({"reason": "NodeNotReady", "involvedObject": {"kind": "Pod", "name": "web-1"}});
        assert_eq!(not_ready(&snapshot), []);
        snapshot.live.events = vec![event];
        assert_eq!(not_ready(&snapshot)[0].object, "Node/node-1");
        // It is there again.
        let ready = json!({"metadata": {"name": "node-1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        snapshot.live.nodes = vec![ready];
        assert_eq!(not_ready(&snapshot), []);
    }
}
