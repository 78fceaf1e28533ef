//! Which workloads of a manifest are not ready, and why: a look at one moment.
//! Reads are bounded in size. What could not be read is told, so that nobody takes it for ready.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use http::Request;
use serde_json::Value;

use crate::cluster::{AT_ONCE, Cluster};
use crate::{
    diagnose,
    health::{Blindness, Readiness, Unseen},
    manifest::Manifest,
    workload::{
        Workload, reasons, rollout,
        selector::{Selection, selections},
    },
};

/// Objects of one page of a list, and pages that are read.
const PAGE: usize = 250;
const PAGES: usize = 20;
/// Kinds that are rolled out.
const ROLLED_OUT: [&str; 4] = ["Deployment", "StatefulSet", "DaemonSet", "Job"];

impl Cluster {
    /// How far the workloads of a manifest are, with the reasons of their pods. What the manifest has none of is not
    /// asked for, nor are pods while all is ready.
    pub async fn readiness(&self, manifest: &Manifest) -> Readiness {
        let (all, left) = selections(manifest, &Manifest::default());
        let (of_pods, all): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.kind.name == "Pod");
        let of_workloads = all.into_iter().filter(|one| ROLLED_OUT.contains(&one.kind.name)).collect();
        let names: BTreeSet<[&str; 3]> =
            manifest.keys().map(|key| [key.kind.as_str(), &key.namespace, &key.name]).collect();
        let mut seen = Readiness::default();
        if left > 0 {
            let what = format!("{left} kinds and namespaces");
            seen.unseen.push(Unseen { what, why: Blindness::TooMuch });
        }
        let mut workloads = Vec::new();
        for listed in self.listed(of_workloads).await {
            match listed {
                Ok(objects) => workloads.extend(objects),
                Err(unseen) => seen.unseen.push(unseen),
            }
        }
        workloads.retain(|workload| is_unready(workload, &names));
        if !workloads.is_empty() {
            // Of pods that may not be seen nothing is said; their workload is told of all the same.
            let pods: Vec<Value> = self.listed(of_pods).await.into_iter().flatten().flatten().collect();
            seen.unready = workloads.iter().filter_map(|workload| told(workload, &pods)).collect();
        }
        seen
    }

    async fn listed(&self, selections: Vec<Selection>) -> Vec<Result<Vec<Value>, Unseen>> {
        stream::iter(selections)
            .map(|one| async move { self.list(&one).await })
            .buffered(AT_ONCE)
            .collect()
            .await
    }

    async fn list(&self, selection: &Selection) -> Result<Vec<Value>, Unseen> {
        let kind = selection.kind;
        let unseen = |why| Unseen { what: kind.plural.to_owned(), why };
        let (mut found, mut more) = (Vec::new(), String::new());
        for _ in 0..PAGES {
            let path = selection.path(&[("limit", &PAGE.to_string()), ("continue", &more)]);
            let request = Request::get(path).body(Vec::new()).map_err(|_| unseen(Blindness::Unanswered))?;
            let mut page = match self.client.request::<Value>(request).await {
                Ok(page) => page,
                Err(kube::Error::Api(status)) => {
                    let forbidden = matches!(status.code, 401 | 403);
                    return Err(unseen(if forbidden { Blindness::Forbidden } else { Blindness::Unanswered }));
                }
                Err(_) => return Err(unseen(Blindness::Unanswered)),
            };
            let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) else {
                return Err(unseen(Blindness::Unanswered));
            };
            // In a list they do not say what they are.
            found.extend(items.into_iter().map(|mut item| {
                item["kind"] = kind.name.into();
                item
            }));
            more = page.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default().to_owned();
            if more.is_empty() {
                return Ok(found);
            }
        }
        Err(unseen(Blindness::TooMuch))
    }
}

fn is_unready(workload: &Value, names: &BTreeSet<[&str; 3]>) -> bool {
    let text = |pointer: &str| workload.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    names.contains(&[text("/kind"), text("/metadata/namespace"), text("/metadata/name")])
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{path, query_param, query_param_is_missing},
    };

    use super::*;
    use crate::cluster::mock::cluster_at;

    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";

    /// Of two Deployments in different namespaces.
    async fn seen(server: &MockServer) -> (Vec<String>, Vec<String>) {
        let cluster = cluster_at(&server.uri()).await;
        let one = |name: &str| {
            format!(
                "---\nkind: Deployment\napiVersion: apps/v1\nmetadata: {{name: {name}}}\nspec: {{selector: {{matchLabels: {{app: {name}}}}}}}\n"
            )
        };
        let manifest = Manifest::parse(&(one("web") + &one("api")), "shop").unwrap();
        let seen = cluster.readiness(&manifest).await;
        let unready = seen.unready.iter().map(|one| format!("{} {}/{}", one.name, one.ready, one.wanted));
        (unready.collect(), seen.unseen.iter().map(ToString::to_string).collect())
    }

    fn deployment(name: &str, ready: u32) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "shop"}, "spec": {"replicas": 2},
            "status": {"updatedReplicas": 2, "readyReplicas": ready, "unavailableReplicas": 2 - ready},
        })
    }

    fn page(items: &[Value], more: &str) -> ResponseTemplate {
        ResponseTemplate::new(200).set_body_json(json!({"metadata": {"continue": more}, "items": items}))
    }

    #[tokio::test]
    async fn what_may_not_be_read_is_not_taken_for_ready() {
        for (code, told) in [(403, "deployments may not be listed"), (500, "deployments could not be listed")]
        {
            let server = MockServer::start().await;
            let status = json!({"kind": "Status", "status": "Failure", "code": code, "message": "no"});
            let refused = ResponseTemplate::new(code).set_body_json(status);
            Mock::given(path(DEPLOYMENTS)).respond_with(refused).mount(&server).await;
            assert_eq!(seen(&server).await, (vec![], vec![told.to_owned()]));
        }
    }

    #[tokio::test]
    async fn a_list_without_an_end_is_not_waited_for() {
        let server = MockServer::start().await;
        let endless = page(&[deployment("web", 2)], "next");
        Mock::given(path(DEPLOYMENTS)).respond_with(endless).mount(&server).await;
        assert_eq!(
            seen(&server).await,
            (vec![], vec!["deployments are more than helm-guard reads".to_owned()])
        );
        assert!(Blindness::TooMuch.lasts() && Blindness::Forbidden.lasts() && !Blindness::Unanswered.lasts());
    }

    #[tokio::test]
    async fn one_on_a_later_page_is_seen_too_and_nobody_elses() {
        let server = MockServer::start().await;
        let first = page(&[deployment("web", 2), deployment("other", 0)], "next");
        Mock::given(path(DEPLOYMENTS))
            .and(query_param_is_missing("continue"))
            .respond_with(first)
            .mount(&server)
            .await;
        let second = page(&[deployment("api", 1)], "");
        Mock::given(path(DEPLOYMENTS))
            .and(query_param("continue", "next"))
            .respond_with(second)
            .mount(&server)
            .await;
        Mock::given(path("/api/v1/namespaces/shop/pods")).respond_with(page(&[], "")).mount(&server).await;
        assert_eq!(seen(&server).await, (vec!["api 1/2".to_owned()], vec![]));
    }
}
