//! Reads which of the APIs in records the cluster serves, and which of the objects exist.
//! Writes nothing. `repair/map_apis.rs` decides.

use std::collections::{BTreeMap, BTreeSet};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroup;
use serde_json::Value;

use super::{Change, Changes, Fate, Found, Wanted, Why, converted, is_doubtful, versions, within};
use crate::{
    cluster::{AT_ONCE, Cluster, api_paths},
    manifest::{Manifest, ObjectKey},
    release::{
        History,
        codec::{self, Texts},
        removed_apis::removed,
    },
    repair::adopt::reapply,
};

/// A kind in a version.
type Api = (String, String);

/// What becomes of the objects of a kind in a version.
#[derive(Clone, Debug)]
enum Served {
    /// Nothing: the cluster serves it.
    AsItIs,
    /// They are served in this version.
    As(String),
    /// No version of the kind is served.
    Gone,
    /// Why nobody knows.
    Unknown(String),
}

/// Which of these records name an API that the cluster does not serve, and what becomes of those objects. With `until`, the
/// APIs that this minor release of Kubernetes 1 has removed count as not served.
pub async fn look(
    cluster: &Cluster,
    release: &str,
    history: &History,
    wanted: &[Wanted],
    until: Option<u32>,
) -> Found {
    let namespace = &cluster.namespace;
    let texts = wanted.iter().filter_map(|wanted| {
        let record = history.get(wanted.revision)?;
        let json = codec::decode(record.stored.payload()).ok()?;
        Some((*wanted, codec::texts(&json).ok()?))
    });
    // What cannot be read here, Helm is left to judge.
    let records: Vec<(Wanted, Objects, Objects)> = texts
        .filter_map(|(wanted, texts)| {
            let (manifest, hooks) = named(&texts, namespace)?;
            Some((wanted, manifest, hooks))
        })
        .collect();
    let all = || records.iter().flat_map(|(_, manifest, hooks)| manifest.iter().chain(hooks));
    let apis: BTreeSet<Api> = all().map(|(key, _)| (key.api_version.clone(), key.kind.clone())).collect();
    let fates = served(cluster, apis, until).await;
    let of = |key: &ObjectKey| fates.get(&(key.api_version.clone(), key.kind.clone()));
    let based = records.iter().filter(|(wanted, ..)| wanted.is_base).flat_map(|(_, manifest, _)| manifest);
    let places: BTreeSet<ObjectKey> = based.filter_map(|(key, _)| moved(key, of(key)?)).collect();
    let lives = live(cluster, places).await;
    let mut found = Found::default();
    for (api, served) in &fates {
        if let Served::Unknown(why) = served {
            found.caveats.push(format!("{} {} stays as it is: {why}", api.0, api.1));
        }
    }
    for (wanted, manifest, hooks) in &records {
        let change = |(key, object): &(ObjectKey, Value), is_base: bool| {
            let is_in_force = is_base && wanted.is_in_force;
            let fate = match of(key)? {
                Served::AsItIs | Served::Unknown(_) => return None,
                Served::Gone => Fate::Leaves(Why::NoApi),
                Served::As(to) => {
                    let live = moved(key, of(key)?).and_then(|key| lives.get(&key));
                    match live.filter(|_| is_base) {
                        Some(Ok(None)) if is_in_force => Fate::Leaves(Why::NotThere),
                        live => fate(object, to, live, release, namespace),
                    }
                }
            };
            Some(Change { object: key.clone(), fate })
        };
        let changes = Changes {
            manifest: manifest.iter().filter_map(|one| change(one, wanted.is_base)).collect(),
            hooks: hooks.iter().filter_map(|one| change(one, false)).collect(),
        };
        if changes != Changes::default() {
            found.records.insert(wanted.revision, changes);
        }
    }
    found
}

type Objects = Vec<(ObjectKey, Value)>;

/// The objects whose API may be gone, of the manifest and of hooks; `None` where there are none.
fn named(texts: &Texts, namespace: &str) -> Option<(Objects, Objects)> {
    let doubtful = |text: &str| -> Objects {
        if !versions(text).into_iter().any(is_doubtful) {
            return Vec::new();
        }
        let objects = Manifest::parse(text, namespace).unwrap_or_default().objects;
        objects.into_iter().filter(|(key, _)| is_doubtful(&key.api_version)).collect()
    };
    let manifest = doubtful(&texts.manifest);
    let hooks: Objects = texts.hooks.iter().flat_map(|hook| doubtful(hook)).collect();
    (!manifest.is_empty() || !hooks.is_empty()).then_some((manifest, hooks))
}

/// The object as the cluster serves it now.
fn moved(key: &ObjectKey, served: &Served) -> Option<ObjectKey> {
    let Served::As(to) = served else { return None };
    Some(ObjectKey { api_version: to.clone(), ..key.clone() })
}

/// `live` is what lives of it, if that matters and is known.
fn fate(
    object: &Value,
    to: &str,
    live: Option<&Result<Option<Value>, String>>,
    release: &str,
    namespace: &str,
) -> Fate {
    let new = converted(object, to);
    let new = match live {
        Some(Ok(Some(live))) => {
            let note =
                |name: &str| live["metadata"]["annotations"][name].as_str().unwrap_or_default().to_owned();
            let owner = (note("meta.helm.sh/release-name"), note("meta.helm.sh/release-namespace"));
            if !owner.0.is_empty() && (owner.0 != release || owner.1 != namespace) {
                return Fate::Leaves(Why::Foreign(format!("{} in namespace {}", owner.0, owner.1)));
            }
            if api_paths::is_native(to) { new } else { within(&new, live) }
        }
        // What may not be looked at is taken for living as it was.
        Some(Ok(None) | Err(_)) | None => new,
    };
    let mut renamed = object.clone();
    renamed["apiVersion"] = to.into();
    Fate::Moves { to: to.to_owned(), content: (renamed != new).then(|| Box::new(new)) }
}

async fn live(
    cluster: &Cluster,
    keys: BTreeSet<ObjectKey>,
) -> BTreeMap<ObjectKey, Result<Option<Value>, String>> {
    let looks = keys.into_iter().map(|key| {
        async move {
            let live = reapply::live(cluster, &key).await;
            (key, live)
        }
        .boxed()
    });
    let looks: Vec<BoxFuture<'_, _>> = looks.collect();
    stream::iter(looks).buffer_unordered(AT_ONCE).collect().await
}

async fn served(cluster: &Cluster, apis: BTreeSet<Api>, until: Option<u32>) -> BTreeMap<Api, Served> {
    let mut versions: BTreeSet<String> = apis.iter().map(|(version, _)| version.clone()).collect();
    versions
        .extend(apis.iter().filter_map(|(version, kind)| Some(removed(version, kind)?.successor.to_owned())));
    versions.remove("");
    let looks = versions.into_iter().map(|version| {
        async move {
            let kinds = kinds(cluster, &version).await;
            (version, kinds)
        }
        .boxed()
    });
    let looks: Vec<BoxFuture<'_, _>> = looks.collect();
    let known: BTreeMap<String, Result<BTreeSet<String>, String>> =
        stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
    let fates = apis.into_iter().map(|api| {
        let known = &known;
        async move {
            let served = successor(cluster, &api, known, until).await;
            (api, served)
        }
        .boxed()
    });
    let fates: Vec<BoxFuture<'_, _>> = fates.collect();
    stream::iter(fates).buffer_unordered(AT_ONCE).collect().await
}

async fn successor(
    cluster: &Cluster,
    (version, kind): &Api,
    known: &BTreeMap<String, Result<BTreeSet<String>, String>>,
    until: Option<u32>,
) -> Served {
    let serves = |version: &str| match known.get(version) {
        Some(Ok(kinds)) => Ok(kinds.contains(kind)),
        Some(Err(why)) => Err(why.clone()),
        None => Ok(false),
    };
    let row = removed(version, kind);
    let goes = row.is_some_and(|row| until.is_some_and(|until| row.since <= until));
    match serves(version) {
        Ok(true) if !goes => return Served::AsItIs,
        Ok(_) => {}
        Err(why) => return Served::Unknown(why),
    }
    if let Some(row) = row {
        match serves(row.successor) {
            Ok(true) => return Served::As(row.successor.to_owned()),
            Ok(false) if row.successor.is_empty() => return Served::Gone,
            Ok(false) if goes && serves(version) == Ok(true) => {
                return Served::Unknown(format!("this cluster does not serve {} yet", row.successor));
            }
            Ok(false) => {}
            Err(why) => return Served::Unknown(why),
        }
    }
    // A custom kind: another version of its group may serve it.
    let group = match group(cluster, api_paths::group(version)).await {
        Ok(Some(group)) => group,
        Ok(None) => return Served::Gone,
        Err(why) => return Served::Unknown(why),
    };
    let preferred = group.preferred_version.iter().map(|version| version.group_version.clone());
    let others = group.versions.iter().map(|version| version.group_version.clone());
    for candidate in preferred.chain(others).filter(|candidate| candidate != version) {
        match kinds(cluster, &candidate).await {
            Ok(kinds) if kinds.contains(kind) => return Served::As(candidate),
            Ok(_) => {}
            Err(why) => return Served::Unknown(why),
        }
    }
    Served::Gone
}

/// The kinds that the cluster serves in a version; none where it does not serve the version.
async fn kinds(cluster: &Cluster, version: &str) -> Result<BTreeSet<String>, String> {
    if !version.contains('/') {
        // The core is always served, and no kind of it was ever removed.
        return Err("it is no version of a group".to_owned());
    }
    match cluster.client.list_api_group_resources(version).await {
        Ok(list) => Ok(list.resources.into_iter().map(|resource| resource.kind).collect()),
        Err(error) => absent(error).map(|()| BTreeSet::new()),
    }
}

async fn group(cluster: &Cluster, name: &str) -> Result<Option<APIGroup>, String> {
    let request = http::Request::get(format!("/apis/{name}")).body(Vec::new());
    let request = request.map_err(|error| error.to_string())?;
    match cluster.client.request::<APIGroup>(request).await {
        Ok(group) => Ok(Some(group)),
        Err(error) => absent(error).map(|()| None),
    }
}

/// Only an API server that says so does not serve it; one that does not answer may.
fn absent(error: kube::Error) -> Result<(), String> {
    match error {
        kube::Error::Api(status) if status.code == 404 => Ok(()),
        error => Err(crate::cluster::describe_error(&error)),
    }
}
