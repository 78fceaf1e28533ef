//! The objects of a dead install in the cluster: reads them, removes fields from them and deletes them, each only if it has not
//! changed after it was read. `finish_install.rs` and `leftovers.rs` decide what to do.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy},
    discovery::Scope,
};
use serde_json::Value;

use super::{attempts, changes_nothing, removals};
use crate::{
    cluster::{Cluster, api_paths, known_kind},
    manifest::{Manifest, ObjectKey, merge_keys::Type},
    preflight::merge_patch::{self, Change},
    release::{History, rendered::manifest_of},
    repair::{
        Plan, Step,
        leftovers::{Release, is_marked, mark},
        uninstall::Survey,
    },
};

/// How often a write is tried again when the object was changed since it was read.
const ATTEMPTS: usize = 5;
/// How long an object that is being deleted is waited for.
const GOES: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// The objects of one release. Its client sends nothing unless the lock is safely held.
pub struct Objects<'a> {
    /// Reads and writes.
    pub client: Client,
    /// Whose they are.
    pub release: Release<'a>,
}

/// An object as it lives, and where.
struct Found {
    api: Api<DynamicObject>,
    live: Value,
}

impl Objects<'_> {
    async fn find(&self, key: &ObjectKey) -> Result<Option<Found>, String> {
        if !api_paths::is_addressable(key) {
            return Ok(None);
        }
        let (resource, namespaced) = match api_paths::known(&key.api_version, &key.kind) {
            Some(known) => {
                let (group, version) = key.api_version.split_once('/').unwrap_or(("", &key.api_version));
                let resource = ApiResource {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    api_version: key.api_version.clone(),
                    kind: key.kind.clone(),
                    plural: known.plural,
                };
                (resource, known.namespaced)
            }
            None => match known_kind(&self.client, (&key.api_version, &key.kind)).await {
                Ok(Some((resource, capabilities))) => (resource, capabilities.scope == Scope::Namespaced),
                // No object lives without its kind.
                Ok(None) => return Ok(None),
                Err(error) => return Err(why(&error)),
            },
        };
        let api = if namespaced {
            Api::namespaced_with(self.client.clone(), &key.namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        };
        let Some(object) = api.get_opt(&key.name).await.map_err(|error| why(&error))? else {
            return Ok(None);
        };
        let live = serde_json::to_value(&object).map_err(|error| error.to_string())?;
        Ok(Some(Found { api, live }))
    }

    /// An object as it lives.
    ///
    /// # Errors
    /// Why nobody knows.
    pub async fn live(&self, key: &ObjectKey) -> Result<Option<Value>, String> {
        Ok(self.find(key).await?.map(|found| found.live))
    }

    /// Makes sure that a client-side apply, which will compare `wanted` with itself, leaves nothing behind of what `before`
    /// set. Whether there was anything to do.
    ///
    /// # Errors
    /// Why it could not be done.
    pub async fn take_off(
        &self,
        key: &ObjectKey,
        before: Option<&Value>,
        wanted: &Value,
    ) -> Result<bool, String> {
        let of_release = |object: &Value| {
            let mut object = object.clone();
            mark(&mut object, self.release);
            object
        };
        let wanted = of_release(wanted);
        let mut all = false;
        for _ in 0..ATTEMPTS {
            let Some(Found { api, live }) = self.find(key).await? else { return Ok(false) };
            if !is_marked(&live, self.release) || !live["metadata"]["deletionTimestamp"].is_null() {
                return Ok(false);
            }
            // As Helm's client merges: kinds that it knows by their keys, all others field by field.
            let own = Type::of(&key.api_version, &key.kind);
            let mut change = if let Some(own) = own {
                let Some(before) = before else { return Ok(false) };
                match merge_patch::strategic(own, &of_release(before), &wanted, &live) {
                    Change::Patch(whole) => match removals(own, &whole) {
                        Some(part) => {
                            if all {
                                whole
                            } else {
                                part
                            }
                        }
                        None => return Ok(false),
                    },
                    Change::None => return Ok(false),
                    Change::Unforeseen => return Err("a list in it has two items of one name".to_owned()),
                }
            } else {
                // Helm sends nothing for it, so this is all that it becomes.
                let before = before.map_or_else(|| wanted.clone(), of_release);
                let whole = merge_patch::whole(&before, &wanted);
                if changes_nothing(&whole, &live) {
                    return Ok(false);
                }
                whole
            };
            change["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
            change["metadata"]["uid"] = live["metadata"]["uid"].clone();
            let params = PatchParams { field_manager: Some("helm".to_owned()), ..PatchParams::default() };
            let patch = if own.is_some() { Patch::Strategic(&change) } else { Patch::Merge(&change) };
            match api.patch(&key.name, &params, &patch).await {
                Ok(_) => return Ok(true),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                // What goes may be valid only with what comes: a volume has one source.
                Err(kube::Error::Api(status)) if status.code == 422 && own.is_some() && !all => all = true,
                Err(error) => return Err(why(&error)),
            }
        }
        Err("it is changed all the time".to_owned())
    }

    /// Waits until an object that is being deleted is gone. Whether it is.
    pub async fn wait_until_gone(&self, key: &ObjectKey) -> bool {
        let goes = async {
            loop {
                match self.live(key).await {
                    Ok(Some(live)) if !live["metadata"]["deletionTimestamp"].is_null() => {
                        tokio::time::sleep(LOOK).await;
                    }
                    _ => return,
                }
            }
        };
        tokio::time::timeout(GOES, goes).await.is_ok()
    }

    /// Deletes an object that is as it was looked at; what it owns goes after it. One that is gone already is no error.
    ///
    /// # Errors
    /// Why it was not.
    pub async fn delete(&self, key: &ObjectKey, live: &Value) -> Result<(), String> {
        let Some(found) = self.find(key).await? else { return Ok(()) };
        let text = |name: &str| live["metadata"][name].as_str().map(str::to_owned);
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid: text("uid"),
                resource_version: text("resourceVersion"),
            }),
            ..DeleteParams::default()
        };
        match found.api.delete(&key.name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Err(CHANGED.to_owned()),
            deleted => deleted.map(drop).map_err(|error| why(&error)),
        }
    }
}

/// What lives of what an uninstall of the last revision would delete.
pub async fn survey(cluster: &Cluster, release: &str, history: &History, plan: &Plan) -> Survey {
    let mut survey = Survey::default();
    let Some(last) = history.last().filter(|_| plan.steps.contains(&Step::Uninstall)) else { return survey };
    let namespace = cluster.namespace.as_str();
    let objects = Objects { client: cluster.client.clone(), release: Release { name: release, namespace } };
    let attempts: Vec<(Option<i64>, Manifest)> = attempts(history)
        .into_iter()
        .map(|record| (record.stored.created(), manifest_of(record, namespace)))
        .collect();
    for key in manifest_of(last, namespace).keys() {
        let since =
            attempts.iter().find(|(_, manifest)| manifest.contains(key)).and_then(|(since, _)| *since);
        match objects.live(key).await {
            Ok(Some(live)) => survey.add(key, &live, objects.release, since),
            Ok(None) => {}
            Err(why) => survey.foreign.push(format!("{key} ({why})")),
        }
    }
    survey
}

/// Why a deletion was not done that is to be thought over again.
pub const CHANGED: &str = "it was changed after it was read";

/// In one phrase, and without the API server's own words, which may quote values.
fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("the API server refuses it: {} {}", status.code, status.reason),
        _ => "the API server does not answer".to_owned(),
    }
}
