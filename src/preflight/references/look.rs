//! Looks up what workloads refer to, and objects of which Helm was told that they are not there. What it means if they are
//! missing is decided in `preflight/references.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream,
};
use http::Method;
use serde_json::Value;

use super::Reference;
use crate::{
    cluster::{
        Cluster, api_paths,
        raw_request::{AT_ONCE, send},
    },
    manifest::ObjectKey,
    preflight::{Finding, LIMIT, deploy::Deploy, references, too_late},
};

/// What became of the look at something that is referred to.
enum Seen {
    /// It is there, or not.
    Known(Option<Value>),
    /// Who may not look cannot say that it is missing.
    Hidden,
    /// The API server has not said.
    Unanswered,
}

/// Findings about what workloads refer to and is not there, and the references that may be there by the end.
pub(in crate::preflight) async fn look_up(
    cluster: &Cluster,
    deploy: &Deploy,
    limit: Duration,
) -> (Vec<Finding>, Vec<Reference>) {
    let mut all = deploy.manifest.clone();
    all.objects.extend(deploy.hooks.objects.iter().cloned());
    let wanted = references::to_check(&all, &deploy.before);
    let Absent { missing, unanswered } = absent(cluster, &wanted, limit).await;
    let mut open = Vec::new();
    let findings = missing.into_iter().map(|(reference, exists)| {
        let maker = references::maker(reference, &deploy.references());
        if maker.is_some() {
            open.push(reference.clone());
        }
        references::missing(reference, exists, maker.as_deref())
    });
    let mut findings: Vec<Finding> = findings.collect();
    if unanswered > 0 {
        findings.push(too_late(&format!("{unanswered} objects that workloads refer to")));
    }
    (findings, open)
}

/// Findings about references that were not there before the deploy, and are not there after it.
pub async fn still_missing(cluster: &Cluster, open: &[Reference]) -> Vec<Finding> {
    let missing = absent(cluster, open, LIMIT).await.missing;
    missing.into_iter().map(|(reference, exists)| references::missing(reference, exists, None)).collect()
}

/// Which of these paths lead to objects by now. One that cannot be asked about may.
pub async fn appeared(cluster: &Cluster, paths: &BTreeSet<String>) -> Vec<String> {
    let looks = paths.iter().map(|path| {
        async move {
            let seen = send(&cluster.client, Method::GET, path, "application/json", None).await.0;
            let is_absent = seen.is_err_and(|refusal| refusal.code == 404);
            (!is_absent).then(|| path.clone())
        }
        .boxed()
    });
    let looks: Vec<BoxFuture<'_, _>> = looks.collect();
    stream::iter(looks).buffered(AT_ONCE).filter_map(future::ready).collect().await
}

/// What became of the looks at references.
struct Absent<'a> {
    /// Those that do not exist, or lack their key: with whether the object exists.
    missing: Vec<(&'a Reference, bool)>,
    /// Objects about which the API server has not answered.
    unanswered: usize,
}

async fn absent<'a>(cluster: &Cluster, wanted: &'a [Reference], limit: Duration) -> Absent<'a> {
    let targets: BTreeSet<&ObjectKey> = wanted.iter().map(|reference| &reference.to).collect();
    let asked = targets.len();
    let looks = targets.into_iter().map(|key| {
        async move {
            let resource =
                api_paths::known(&key.api_version, &key.kind).filter(|_| api_paths::is_addressable(key));
            let Some(resource) = resource else { return (key, Seen::Hidden) };
            let path = format!("{}/{}", api_paths::collection(key, &resource), key.name);
            let seen = match send(&cluster.client, Method::GET, &path, "application/json", None).await.0 {
                Ok(object) => Seen::Known(Some(object)),
                Err(refusal) if refusal.code == 404 => Seen::Known(None),
                Err(refusal) if matches!(refusal.code, 401 | 403) => Seen::Hidden,
                Err(_) => Seen::Unanswered,
            };
            (key, seen)
        }
        .boxed()
    });
    let looks: Vec<BoxFuture<'_, _>> = looks.collect();
    let over = Box::pin(tokio::time::sleep(limit));
    let seen: BTreeMap<&ObjectKey, Seen> =
        stream::iter(looks).buffer_unordered(AT_ONCE).take_until(over).collect().await;
    let is_missing = |reference: &&Reference| match seen.get(&reference.to) {
        Some(Seen::Known(Some(object))) => !references::has(object, reference.key.as_deref()),
        Some(Seen::Known(None)) => true,
        Some(Seen::Hidden | Seen::Unanswered) | None => false,
    };
    let exists = |to: &ObjectKey| matches!(seen.get(to), Some(Seen::Known(Some(_))));
    let missing = wanted.iter().filter(is_missing).map(|reference| (reference, exists(&reference.to)));
    let answered = seen.values().filter(|seen| !matches!(seen, Seen::Unanswered)).count();
    Absent { missing: missing.collect(), unanswered: asked - answered }
}
