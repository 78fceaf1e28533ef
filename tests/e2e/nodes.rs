//! Nodes that are away, with the pods that were put on them.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::tools::Helm;

use crate::{
    diagnose::{Any, deployment, has, record_deploy},
    owners::ClusterWide,
};

/// Who waits for a pod on a node whose kubelet is silent waits in vain: that is no lack of time. Nobody but the scheduler has
/// said anything of the pod.
fn a_node_that_is_away(version: Helm) {
    let any = Any::new("node", version);
    let name = any.stage.namespace.name();
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        // Nobody else's pods come here.
        "spec": {"taints": [{"key": "helm-guard.dev/story", "effect": "NoSchedule"}]},
    });
    let _node = ClusterWide::apply(&any, &node);
    let room = json!({"cpu": "1", "memory": "1Gi", "pods": "10"});
    // As the controller that looks after nodes writes it.
    let silent = json!({
        "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status.",
        "lastHeartbeatTime": "2026-06-01T10:00:00Z", "lastTransitionTime": "2026-06-01T10:00:40Z",
    });
    let status =
        json!({"status": {"capacity": room, "allocatable": room, "conditions": [silent]}}).to_string();
    any.stage
        .namespace
        .kubectl(["patch", "node", name, "--subresource=status", "--type=merge", "-p", &status])
        .unwrap();
    let there =
        json!({"nodeSelector": {"kubernetes.io/hostname": name}, "tolerations": [{"operator": "Exists"}]});
    let web = [deployment("web", &[], there)];
    crate::stage::Stage::ok(any.deploy(&web, &[]));
    let is_there = |pod: &Value| pod["spec"]["nodeName"] == name;
    any.stage.namespace.watch_until(["pods"], Duration::from_secs(60), is_there).unwrap();
    let told = any.fails(any.deploy(&web, &["--wait", "--timeout=3s"]));
    let first = told.first("node-not-ready");
    has(
        &first,
        &[
            &format!("Node/{name}"),
            "its pods neither start nor answer: Kubelet stopped posting node status",
            "of Deployment/web is on it",
            "Ready is Unknown, NodeStatusUnknown, since 2026-06-01T10:00:40Z",
        ],
    );
    assert_eq!(told.report["causes"].as_array().unwrap().len(), 1, "{:#}", told.report["causes"]);
    record_deploy(&any, version, "node-not-ready", &told, Some(3));
}

crate::with_both_helms! { a_node_that_is_away }
