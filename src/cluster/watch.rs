//! Which workloads of a manifest are not ready, and why: a look at one moment.
//! Reads are bounded in size; a kind that may not be read is left out.

use std::collections::BTreeSet;

use futures::future::join_all;
use http::Request;
use serde_json::Value;

use super::Cluster;
use crate::{
    diagnose,
    manifest::Manifest,
    progress::{reasons, rollout},
    report::Workload,
};

const MOST: u32 = 200;

impl Cluster {
    async fn some(&self, group: &str, resource: &str, kind: &str) -> Vec<Value> {
        let path = format!("/{group}/namespaces/{}/{resource}?limit={MOST}", self.namespace);
        let Ok(request) = Request::get(path).body(Vec::new()) else { return Vec::new() };
        let Ok(mut list) = self.client.request::<Value>(request).await else { return Vec::new() };
        let Some(Value::Array(mut items)) = list.get_mut("items").map(Value::take) else { return Vec::new() };
        // In a list they do not say what they are.
        items.iter_mut().for_each(|item| item["kind"] = kind.into());
        items
    }

    /// Workloads of a manifest that are not ready, with the reasons of their pods. What the manifest has none of is not
    /// asked for, nor are pods while all is ready.
    pub async fn unready(&self, manifest: &Manifest) -> Vec<Workload> {
        let named: BTreeSet<(&str, &str)> =
            manifest.keys().map(|key| (key.kind.as_str(), key.name.as_str())).collect();
        let wanted = KINDS.iter().filter(|(_, _, kind)| named.iter().any(|(named, _)| named == kind));
        let lists = wanted.map(|(group, resource, kind)| self.some(group, resource, kind));
        let mut workloads = join_all(lists).await.concat();
        workloads.retain(|workload| is_unready(workload, &named));
        if workloads.is_empty() {
            return Vec::new();
        }
        let pods = self.some("api/v1", "pods", "Pod").await;
        workloads.iter().filter_map(|workload| told(workload, &pods)).collect()
    }
}

/// Workloads: group, resource and kind.
const KINDS: [(&str, &str, &str); 4] = [
    ("apis/apps/v1", "deployments", "Deployment"),
    ("apis/apps/v1", "statefulsets", "StatefulSet"),
    ("apis/apps/v1", "daemonsets", "DaemonSet"),
    ("apis/batch/v1", "jobs", "Job"),
];

fn is_unready(workload: &Value, named: &BTreeSet<(&str, &str)>) -> bool {
    let key = workload["kind"].as_str().zip(workload["metadata"]["name"].as_str());
    key.is_some_and(|key| named.contains(&key))
        && rollout::count(workload).is_some_and(|count| !count.is_whole())
}

fn told(workload: &Value, pods: &[Value]) -> Option<Workload> {
    let count = rollout::count(workload)?;
    let own = pods.iter().filter(|pod| diagnose::selects(workload, pod) && !diagnose::is_ready(pod));
    Some(Workload {
        kind: workload["kind"].as_str()?.to_owned(),
        name: workload["metadata"]["name"].as_str()?.to_owned(),
        ready: count.ready,
        wanted: count.wanted,
        reasons: reasons(own.map(|pod| diagnose::trouble(pod).reason)),
    })
}
