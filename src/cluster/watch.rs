//! What a release's workloads and pods are doing: for progress lines and for the report of a failure.
//! Reads are bounded in size; a kind that may not be read is left out.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::{ContainerStatus, Pod},
};
use kube::{Api, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;

use super::Cluster;
use crate::{
    manifest::Manifest,
    report::{PodTrouble, Workload},
};

const MOST: u32 = 200;

impl Cluster {
    async fn some<K>(&self, params: &ListParams) -> Vec<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        api.list(&params.clone().limit(MOST)).await.map(|list| list.items).unwrap_or_default()
    }

    /// Workloads of a manifest (and Jobs of hooks) that are not ready, with the reasons of their pods.
    pub async fn unready(&self, manifest: &Manifest) -> Vec<Workload> {
        let all = ListParams::default();
        let (deployments, stateful_sets, daemon_sets, jobs, pods) = tokio::join!(
            self.some::<Deployment>(&all),
            self.some::<StatefulSet>(&all),
            self.some::<DaemonSet>(&all),
            self.some::<Job>(&all),
            self.some::<Pod>(&all),
        );
        let named: BTreeSet<(&str, &str)> =
            manifest.keys().map(|key| (key.kind.as_str(), key.name.as_str())).collect();
        let mut found = Vec::new();
        let mut add =
            |kind: &str, name: String, ready: i32, wanted: i32, selector: &BTreeMap<String, String>| {
                if ready < wanted && named.contains(&(kind, name.as_str())) {
                    let reasons = reasons(&pods, selector);
                    let count = |number: i32| u32::try_from(number).unwrap_or_default();
                    found.push(Workload {
                        kind: kind.into(),
                        name,
                        ready: count(ready),
                        wanted: count(wanted),
                        reasons,
                    });
                }
            };
        for object in &deployments {
            let Some(spec) = &object.spec else { continue };
            let status = object.status.clone().unwrap_or_default();
            let ready =
                status.ready_replicas.unwrap_or_default().min(status.updated_replicas.unwrap_or_default());
            let selector = spec.selector.match_labels.clone().unwrap_or_default();
            add("Deployment", object.name_any(), ready, spec.replicas.unwrap_or(1), &selector);
        }
        for object in &stateful_sets {
            let Some(spec) = &object.spec else { continue };
            let ready = object.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
            let selector = spec.selector.match_labels.clone().unwrap_or_default();
            add("StatefulSet", object.name_any(), ready, spec.replicas.unwrap_or(1), &selector);
        }
        for object in &daemon_sets {
            let Some(spec) = &object.spec else { continue };
            let status = object.status.clone().unwrap_or_default();
            let selector = spec.selector.match_labels.clone().unwrap_or_default();
            add(
                "DaemonSet",
                object.name_any(),
                status.number_ready,
                status.desired_number_scheduled,
                &selector,
            );
        }
        for object in &jobs {
            let Some(spec) = &object.spec else { continue };
            let done = object.status.as_ref().and_then(|status| status.succeeded).unwrap_or_default();
            let selector = spec.selector.as_ref().and_then(|s| s.match_labels.clone()).unwrap_or_default();
            add("Job", object.name_any(), done, spec.completions.unwrap_or(1), &selector);
        }
        found
    }
}

/// Reasons of the pods that a selector finds, most frequent first.
fn reasons(pods: &[Pod], selector: &BTreeMap<String, String>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let selected =
        |pod: &&Pod| !selector.is_empty() && selector.iter().all(|(k, v)| pod.labels().get(k) == Some(v));
    for pod in pods.iter().filter(selected).filter(|pod| !is_fine(pod)) {
        *counts.entry(trouble_of(pod).reason).or_default() += 1;
    }
    let mut reasons: Vec<(usize, String)> =
        counts.into_iter().map(|(reason, count)| (count, reason)).collect();
    reasons.sort_by(|one, other| other.cmp(one));
    reasons
        .into_iter()
        .map(|(count, reason)| if count > 1 { format!("{reason} ×{count}") } else { reason })
        .take(3)
        .collect()
}

fn is_fine(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    ready || status.phase.as_deref() == Some("Succeeded") || pod.metadata.deletion_timestamp.is_some()
}

fn trouble_of(pod: &Pod) -> PodTrouble {
    let name = pod.name_any();
    let Some(status) = &pod.status else {
        return PodTrouble { pod: name, reason: "Pending".into(), ..PodTrouble::default() };
    };
    let containers =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    for container in containers {
        if let Some((reason, message)) = container_trouble(container) {
            let restarts = u32::try_from(container.restart_count).unwrap_or_default();
            return PodTrouble { pod: name, container: container.name.clone(), reason, message, restarts };
        }
    }
    for condition in status.conditions.iter().flatten().filter(|c| c.status == "False") {
        if let Some(reason) = condition.reason.clone().filter(|_| condition.type_ == "PodScheduled") {
            let message = condition.message.clone().unwrap_or_default();
            return PodTrouble { pod: name, reason, message, ..PodTrouble::default() };
        }
    }
    let reason = match status.phase.as_deref() {
        Some("Running") | None => "NotReady",
        Some(phase) => phase,
    };
    let message = status.message.clone().unwrap_or_default();
    PodTrouble {
        pod: name,
        reason: status.reason.clone().unwrap_or(reason.into()),
        message,
        ..PodTrouble::default()
    }
}

fn container_trouble(container: &ContainerStatus) -> Option<(String, String)> {
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting
            .reason
            .clone()
            .filter(|reason| reason != "ContainerCreating" && reason != "PodInitializing")?;
        return Some((reason, waiting.message.clone().unwrap_or_default()));
    }
    let terminated = state.terminated.as_ref().filter(|terminated| terminated.exit_code != 0)?;
    let message = format!("exit code {}", terminated.exit_code);
    Some((terminated.reason.clone().unwrap_or("Error".into()), message))
}
