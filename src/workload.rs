//! What the workloads of a release are and how far they are. Pure.

pub mod kstatus;
pub mod rollout;
pub mod selector;

use serde::Serialize;
use std::collections::BTreeMap;

/// A workload of the release and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, …
    pub kind: String,
    /// Object name.
    pub name: String,
    /// Ready (or, for a Job, succeeded) pods.
    pub ready: u32,
    /// Wanted pods.
    pub wanted: u32,
    /// Why pods are not ready, most frequent first: `CrashLoopBackOff`, `ImagePullBackOff`, `Unschedulable`, …
    pub reasons: Vec<String>,
}

/// A pod that is not ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodTrouble {
    /// Pod name.
    pub pod: String,
    /// Container, when one is to blame.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// One word: `CrashLoopBackOff`, `Unschedulable`, `NotReady`, …
    pub reason: String,
    /// The cluster's own sentence. Untrusted text.
    pub message: String,
    /// Restarts of that container.
    pub restarts: u32,
}

/// A recent warning event of the namespace. Untrusted text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WarningEvent {
    /// `Kind/name` it is about.
    pub object: String,
    /// Event reason, one word.
    pub reason: String,
    /// Event message.
    pub message: String,
    /// How often it was seen.
    pub count: u32,
}

/// Reasons, the most frequent first.
pub fn reasons(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reason in all {
        *counts.entry(reason).or_default() += 1;
    }
    let mut counts: Vec<(usize, String)> =
        counts.into_iter().map(|(reason, count)| (count, reason)).collect();
    counts.sort_by(|one, other| other.cmp(one));
    let told = |(count, reason)| if count > 1 { format!("{reason} ×{count}") } else { reason };
    counts.into_iter().map(told).take(3).collect()
}

/// The spec of a workload's pods.
pub fn pod_spec(object: &serde_json::Value) -> Option<&serde_json::Value> {
    let path = match object["kind"].as_str()? {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
            "/spec/template/spec"
        }
        _ => return None,
    };
    object.pointer(path)
}

/// What pods say that are on their way. It is told of those that stay so for half a minute.
pub const TRANSIENT_REASONS: [&str; 4] = ["NotReady", "Pending", "ContainerCreating", "PodInitializing"];
