//! Reads what an adoption depends on: the live objects, and what Helm's apply would change, by dry runs.
//! Writes nothing. `repair/adopt.rs` decides.

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};

use super::{Evidence, Hook, Proof, candidate, is_new, judge, operation};
use crate::{
    cluster::{AT_ONCE, Cluster},
    manifest::{Manifest, ObjectKey},
    preflight::{
        deploy::Deploy,
        helm_request::{Apply, Manner},
        rights::Records,
        timeouts::Patience,
    },
    release::{History, Record, codec},
    repair::adopt::reapply,
};

/// May the last revision be adopted? One that failed is looked at only if it is asked for.
pub async fn look(cluster: &Cluster, release: &str, history: &History, also_failed: bool) -> Proof {
    let Some(record) = candidate(history, also_failed) else { return Proof::None };
    match evidence(cluster, release, history, record).await {
        Ok(evidence) => judge(&evidence),
        Err(why) => Proof::Fails(vec![why]),
    }
}

async fn evidence(
    cluster: &Cluster,
    release: &str,
    history: &History,
    record: &Record,
) -> Result<Evidence, String> {
    let namespace = cluster.namespace.as_str();
    let (manifest, hooks) = rendered(record, namespace)?;
    let text =
        codec::decode(record.stored.payload()).and_then(|json| codec::manifest(&json)).unwrap_or_default();
    if Manifest::is_own(&text) {
        return Err(format!(
            "revision {} has the temporary merge base of a repair that was killed",
            record.revision
        ));
    }
    // All that may live beside it: the last good revision, and what died after that.
    let good = history.last_good().map_or(0, |good| good.revision);
    let before = history.records.iter().filter(|other| (good..record.revision).contains(&other.revision));
    let before = before.filter(|other| other.body.is_ok() && !other.is_gone());
    let others = before.map(|other| Ok(rendered(other, namespace)?.0)).collect::<Result<Vec<_>, String>>()?;
    let body = record.body.as_ref().map_err(Clone::clone)?;
    let all: Vec<&Manifest> = others.iter().chain([&manifest]).collect();
    let deploy = Deploy {
        release: release.to_owned(),
        namespace: namespace.to_owned(),
        before: Manifest::union(&all),
        before_is_good: false,
        manner: Manner {
            apply: if body.apply_method == "ssa" {
                Apply::ServerSide { force: false }
            } else {
                Apply::ClientSide
            },
            installs: false,
            takes_ownership: false,
            is_v4: !body.apply_method.is_empty(),
            takes_over_fields: false,
        },
        manifest,
        hooks: Manifest::default(),
        first: "",
        recreates: false,
        // Nothing is about to be done that could take too long, lack a right or not fit.
        patience: Patience::default(),
        records: Records::default(),
        varying: crate::preflight::varying::Varying::default(),
        known: Vec::new(),
        absent: std::collections::BTreeSet::new(),
    };
    let gone: Vec<&ObjectKey> = deploy.before.keys().filter(|key| !deploy.manifest.contains(key)).collect();
    let runs = body.hooks.iter().zip(&hooks).map(|(run, key)| {
        async move {
            let live = match key {
                Some(key) => reapply::live(cluster, key).await,
                None => Err("its manifest cannot be read".to_owned()),
            };
            Hook { run: run.clone(), live }
        }
        .boxed()
    });
    let runs: Vec<BoxFuture<'_, _>> = runs.collect();
    let left =
        gone.into_iter().map(|key| async move { (key.clone(), reapply::live(cluster, key).await) }.boxed());
    let left: Vec<BoxFuture<'_, _>> = left.collect();
    let (objects, others_live, hooks) = tokio::join!(
        reapply::applied(cluster, &deploy),
        stream::iter(left).buffered(AT_ONCE).collect(),
        stream::iter(runs).buffered(AT_ONCE).collect(),
    );
    Ok(Evidence {
        release: release.to_owned(),
        namespace: namespace.to_owned(),
        operation: operation(record).unwrap_or_default(),
        began: body.last_deployed.clone(),
        is_new: is_new(&deploy.manifest, &others),
        objects: objects?,
        others: others_live,
        hooks,
    })
}

/// The manifest of a record, and the objects of its hooks.
fn rendered(record: &Record, namespace: &str) -> Result<(Manifest, Vec<Option<ObjectKey>>), String> {
    let unread = |why: String| format!("revision {} cannot be read: {why}", record.revision);
    let json = codec::decode(record.stored.payload()).map_err(|error| unread(error.to_string()))?;
    let texts = codec::texts(&json).map_err(|error| unread(error.to_string()))?;
    let manifest = Manifest::parse(&texts.manifest, namespace).map_err(|error| unread(error.to_string()))?;
    let object = |text: &String| Manifest::parse(text, namespace).ok()?.keys().next().cloned();
    Ok((manifest, texts.hooks.iter().map(object).collect()))
}
