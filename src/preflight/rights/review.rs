//! Asks the API server which rights the deployer has: one question a namespace for all its rules, and one more for each right
//! that these do not show. What is needed, and what it means, is in `preflight/rights.rs`.

use std::collections::{BTreeMap, BTreeSet};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use super::{Needed, Purpose, Right, denied, is_allowed};
use crate::{
    cluster::raw_request::{AT_ONCE, send},
    preflight::{Finding, order::Earlier},
};

/// Namespaces whose rules are asked for.
const NAMESPACES: usize = 8;
/// Rights that are asked about one by one.
const ONE_BY_ONE: usize = 60;

/// Findings about what is denied. What the API server does not say is no finding.
pub async fn ask(client: &Client, needed: &Needed, release: &str, end: Earlier<'_>) -> Vec<Finding> {
    let rules = rules(client, needed).await;
    let is_open =
        |right: &&Right| !rules.get(right.namespace.as_str()).is_some_and(|rules| is_allowed(rules, right));
    let open: Vec<&Right> = needed.keys().filter(is_open).take(ONE_BY_ONE).collect();
    let looks = open.into_iter().map(|right| async move { (right, is_denied(client, right).await) }.boxed());
    let looks: Vec<BoxFuture<'_, _>> = looks.collect();
    let asked: Vec<(&Right, bool)> = stream::iter(looks).buffered(AT_ONCE).collect().await;
    let refused = asked.into_iter().filter(|(_, is_denied)| *is_denied);
    let refused: Vec<(Right, Purpose)> =
        refused.filter_map(|(right, _)| Some((right.clone(), *needed.get(right)?))).collect();
    if refused.is_empty() { Vec::new() } else { denied(&refused, &user(client).await, release, &end) }
}

/// The rules of each namespace; of the cluster's own resources they do not tell.
async fn rules<'a>(client: &Client, needed: &'a Needed) -> BTreeMap<&'a str, Vec<Value>> {
    let namespaces: BTreeSet<&str> = needed.keys().map(|right| right.namespace.as_str()).collect();
    let namespaces = namespaces.into_iter().filter(|namespace| !namespace.is_empty()).take(NAMESPACES);
    let looks = namespaces.map(|namespace| {
        async move {
            let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
            let question = json!({
                "kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1",
                "spec": {"namespace": namespace},
            });
            let answer = send(client, Method::POST, path, "application/json", Some(&question)).await.0;
            let rules = answer.ok().and_then(|answer| answer["status"]["resourceRules"].as_array().cloned());
            (namespace, rules.unwrap_or_default())
        }
        .boxed()
    });
    let looks: Vec<BoxFuture<'_, _>> = looks.collect();
    stream::iter(looks).buffer_unordered(AT_ONCE).collect().await
}

async fn is_denied(client: &Client, right: &Right) -> bool {
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let question = json!({
        "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": {
            "namespace": right.namespace, "group": right.group, "resource": right.resource, "verb": right.verb,
            "name": right.name,
        }},
    });
    let answer = send(client, Method::POST, path, "application/json", Some(&question)).await.0;
    answer.is_ok_and(|answer| answer["status"]["allowed"] == false)
}

/// Who asks, as the API server knows them.
async fn user(client: &Client) -> String {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let question = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
    let answer = send(client, Method::POST, path, "application/json", Some(&question)).await.0;
    let name =
        answer.ok().and_then(|answer| Some(answer["status"]["userInfo"]["username"].as_str()?.to_owned()));
    name.unwrap_or_else(|| "the deployer".to_owned())
}
