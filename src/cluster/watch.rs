//! Which workloads of a manifest are not ready, and why: a look at one moment.
//! Reads are bounded in size; a kind that may not be read is left out.

use std::collections::BTreeSet;

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

    /// Workloads of a manifest that are not ready, with the reasons of their pods.
    pub async fn unready(&self, manifest: &Manifest) -> Vec<Workload> {
        let (deployments, stateful_sets, daemon_sets, jobs, pods) = tokio::join!(
            self.some("apis/apps/v1", "deployments", "Deployment"),
            self.some("apis/apps/v1", "statefulsets", "StatefulSet"),
            self.some("apis/apps/v1", "daemonsets", "DaemonSet"),
            self.some("apis/batch/v1", "jobs", "Job"),
            self.some("api/v1", "pods", "Pod"),
        );
        let named: BTreeSet<(&str, &str)> =
            manifest.keys().map(|key| (key.kind.as_str(), key.name.as_str())).collect();
        let workloads = [deployments, stateful_sets, daemon_sets, jobs].concat();
        workloads.iter().filter_map(|workload| unready(workload, &named, &pods)).collect()
    }
}

fn unready(workload: &Value, named: &BTreeSet<(&str, &str)>, pods: &[Value]) -> Option<Workload> {
    let count = rollout::count(workload).filter(|count| !count.is_whole())?;
    let (kind, name) = (workload["kind"].as_str()?, workload["metadata"]["name"].as_str()?);
    let own = pods.iter().filter(|pod| diagnose::selects(workload, pod) && !diagnose::is_ready(pod));
    named.contains(&(kind, name)).then(|| Workload {
        kind: kind.to_owned(),
        name: name.to_owned(),
        ready: count.ready,
        wanted: count.wanted,
        reasons: reasons(own.map(|pod| diagnose::trouble(pod).reason)),
    })
}
