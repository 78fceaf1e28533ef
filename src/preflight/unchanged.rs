//! Objects of an upgrade that need no dry run, and the live state of the others, read by lists.
//!
//! A dry run of an object is left out only where it is known what it would say. That is so for a server-side apply, where
//! * the manifest of the last revision, which completed and applied it on the server's side, has the same object;
//! * it lives as that manifest has it, and nobody but Helm has written it (`manifest/as_written.rs`): the apply changes nothing,
//!   takes no field from anybody, and what is stored has been found valid;
//! * it is of a kind of Kubernetes itself: the schema of a custom resource may be another since;
//! * no webhook and no policy is asked about it (`preflight/admission.rs`), as far as the deployer may read which there are;
//! * Helm may patch it, which is asked with the other rights (`preflight/rights.rs`).
//!
//! What Helm patches on its own side is compared here without a request anyway (`helm_request.rs`).

use std::collections::BTreeSet;

use futures::future::join_all;
use http::Method;
use serde_json::Value;

use super::{
    admission::{COLLECTIONS, Judges},
    deploy::{Deploy, mark},
    helm_request::Apply,
    rights::Resources,
};
use crate::cluster::api_paths;
use crate::{
    cluster::{
        Cluster,
        lives::{self, Lives, Wanted},
        raw_request::send,
    },
    manifest::{ObjectKey, as_written::is_as_written},
};

/// So many objects must be as they were before it pays to ask who else judges them.
const ENOUGH: usize = 6;

/// What is known of the objects before any of them is asked about.
#[derive(Debug, Default)]
pub(super) struct Known<'a> {
    /// Those that live, as far as lists show them.
    pub lives: Lives,
    /// Those that need no dry run.
    pub settled: BTreeSet<&'a ObjectKey>,
}

/// Looks at what an upgrade is about to apply and the release has already.
pub(super) async fn look<'a>(cluster: &Cluster, deploy: &'a Deploy, resources: &Resources<'_>) -> Known<'a> {
    if deploy.manner.installs {
        return Known::default();
    }
    let collection = |key: &ObjectKey| {
        let found = resources.get(&(key.api_version.as_str(), key.kind.as_str())).cloned().flatten();
        found.filter(|_| api_paths::is_addressable(key)).map(|found| api_paths::collection(key, &found))
    };
    let mut wanted = Wanted::new();
    for key in deploy.manifest.keys().filter(|key| deploy.before.contains(key)) {
        if let Some(path) = collection(key) {
            wanted.entry(path).or_default().insert(key.name.clone());
        }
    }
    let lives = lives::look(&cluster.client, &wanted).await;
    let is_same = |(key, object): &&(ObjectKey, Value)| {
        let live = collection(key).and_then(|path| lives.get(&path, &key.name));
        live.is_some_and(|live| is_unchanged(deploy, key, object, live))
    };
    let same: Vec<&ObjectKey> = deploy.manifest.objects.iter().filter(is_same).map(|(key, _)| key).collect();
    if same.len() < ENOUGH {
        return Known { lives, settled: BTreeSet::new() };
    }
    let judges = judges(cluster).await;
    let is_free = |key: &&ObjectKey| {
        api_paths::known(&key.api_version, &key.kind).is_some_and(|kind| {
            let namespace = if kind.namespaced { key.namespace.as_str() } else { "" };
            !judges.may_judge(api_paths::group(&key.api_version), &kind.plural, namespace)
        })
    };
    let settled = same.into_iter().filter(is_free).collect();
    Known { lives, settled }
}

/// Pure: whether applying the object again changes nothing and is taken, but for what others have to say to it.
fn is_unchanged(deploy: &Deploy, key: &ObjectKey, object: &Value, live: &Value) -> bool {
    let mut wanted = object.clone();
    mark(&mut wanted, deploy);
    matches!(deploy.manner.apply, Apply::ServerSide { .. })
        && deploy.before_is_good
        && !deploy.manner.takes_over_fields
        && !deploy.varying.has(key)
        && api_paths::known(&key.api_version, &key.kind).is_some()
        && api_paths::is_native(&key.api_version)
        && deploy.before.objects.iter().any(|(own, was)| own == key && was == object)
        && is_as_written(live, &wanted)
}

async fn judges(cluster: &Cluster) -> Judges {
    let read = |path: &'static str| async move {
        let path = format!("{path}?limit=500");
        send(&cluster.client, Method::GET, &path, "application/json", None).await.0
    };
    let mut lists = Vec::new();
    for list in join_all(COLLECTIONS.map(read)).await {
        match list {
            Ok(list) => lists.push(list),
            // It does not know such a thing.
            Err(refusal) if refusal.code == 404 => {}
            Err(_) => return Judges::unknown(),
        }
    }
    Judges::of(&lists)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        manifest::Manifest,
        preflight::{helm_request::Manner, varying::Varying},
    };

    #[test]
    fn what_was_applied_and_lives_so_needs_no_dry_run_and_nothing_else_does() {
        let text = "{kind: ConfigMap, apiVersion: v1, metadata: {name: a}, data: {x: '1'}}";
        let manifest = Manifest::parse(text, "shop").unwrap();
        let manner = Manner { apply: Apply::ServerSide { force: false }, is_v4: true, ..Manner::default() };
        let good = Deploy {
            release: "web".into(),
            namespace: "shop".into(),
            before: manifest.clone(),
            manifest,
            before_is_good: true,
            manner,
            ..Deploy::default()
        };
        let (key, object) = good.manifest.objects[0].clone();
        let mut live = object.clone();
        mark(&mut live, &good);
        live["metadata"]["managedFields"] = json!([{"manager": "helm", "operation": "Apply"}]);
        let old = Manifest::parse(&text.replace("'1'", "'0'"), "shop").unwrap();
        let adopted = {
            let mut other = live.clone();
            other["metadata"]["annotations"]["meta.helm.sh/release-name"] = "other".into();
            other
        };
        for (what, deploy, live, is_same) in [
            ("as it was", good.clone(), &live, true),
            ("its revision failed", Deploy { before_is_good: false, ..good.clone() }, &live, false),
            ("it changes", Deploy { before: old, ..good.clone() }, &live, false),
            ("it is new", Deploy { before: Manifest::default(), ..good.clone() }, &live, false),
            ("another release has it", good.clone(), &adopted, false),
            (
                "Helm renders it again",
                Deploy {
                    varying: Varying::between(&good.manifest.objects, &Manifest::default()),
                    ..good.clone()
                },
                &live,
                false,
            ),
            (
                "Helm takes fields over first",
                Deploy { manner: Manner { takes_over_fields: true, ..manner }, ..good.clone() },
                &live,
                false,
            ),
            (
                "a patch of Helm's own",
                Deploy { manner: Manner { apply: Apply::ClientSide, ..manner }, ..good.clone() },
                &live,
                false,
            ),
        ] {
            assert_eq!(is_unchanged(&deploy, &key, &object, live), is_same, "{what}");
        }
        let custom = ObjectKey { api_version: "example.com/v1".into(), kind: "Widget".into(), ..key };
        assert!(!is_unchanged(&good, &custom, &object, &live), "its schema may be another");
    }
}
