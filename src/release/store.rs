//! Where Helm keeps its records: Secrets or ConfigMaps of the release's namespace.
//! Every write is a compare-and-swap on resource version and UID, made only while the lock is safely held; what to write is
//! decided elsewhere.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions},
};
use serde::{Deserialize, Serialize};

use super::{
    History, Record, Status,
    codec::{self, CodecError, Edit, unquoted},
};
use crate::{
    cluster::wire::{Body, Gate, Wire},
    fence,
    lock::{Standing, lease::Claims},
};

/// Which kind of object holds the records (`HELM_DRIVER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Secrets of type `helm.sh/release.v1`, the default.
    Secrets,
    /// ConfigMaps.
    ConfigMaps,
}

impl Driver {
    /// The API's name of the resource.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::ConfigMaps => "configmaps",
        }
    }
}

/// A stored record: metadata and payload, whichever object holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stored {
    /// In a Secret.
    Secret(Box<Secret>),
    /// In a ConfigMap.
    ConfigMap(Box<ConfigMap>),
}

impl Stored {
    fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Secret(object) => object.meta(),
            Self::ConfigMap(object) => object.meta(),
        }
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Secret(object) => object.meta_mut(),
            Self::ConfigMap(object) => object.meta_mut(),
        }
    }

    /// Object name.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// Resource version as a number: the order of writes within one API server.
    pub fn version(&self) -> Option<u64> {
        self.metadata().resource_version.as_ref()?.parse().ok()
    }

    /// The payload: base64 of gzip of JSON, in both kinds.
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Secret(secret) => {
                secret.data.as_ref().and_then(|data| data.get("release")).map_or(&[], |bytes| &bytes.0)
            }
            Self::ConfigMap(map) => {
                map.data.as_ref().and_then(|data| data.get("release")).map_or(&[], String::as_bytes)
            }
        }
    }

    fn set_payload(&mut self, payload: Vec<u8>) {
        match self {
            Self::Secret(secret) => {
                secret.data.get_or_insert_default().insert("release".into(), ByteString(payload));
            }
            Self::ConfigMap(map) => {
                let text = String::from_utf8_lossy(&payload).into_owned();
                map.data.get_or_insert_default().insert("release".into(), text);
            }
        }
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.metadata().labels.as_ref().unwrap_or(&NONE)
    }

    /// The record in it; a body that cannot be read is kept as the reason.
    pub fn record(self) -> Record {
        let revision = self.name().rsplit_once(".v").and_then(|(_, digits)| digits.parse().ok());
        let label = Status::parse(self.labels().get("status").map_or("", String::as_str));
        let body = codec::decode(self.payload())
            .and_then(|json| codec::essentials(&json))
            .map_err(|error| error.to_string());
        let revision = revision.or_else(|| self.labels().get("version")?.parse().ok()).unwrap_or_default();
        Record { revision, label, stored: self, body }
    }
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed or removed the record since it was read.
    #[error("record {0} was changed by somebody else")]
    Conflict(String),
    /// The body cannot be decoded or encoded.
    #[error("record {0}: {1}")]
    Codec(String, #[source] CodecError),
    /// The lock under which records are written is lost, or was while this was under way.
    #[error("the lock is lost, nothing more is written: {0}")]
    LockLost(String),
    /// The API server refused, or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// The records of one namespace.
#[derive(Clone)]
pub struct Store {
    client: Client,
    namespace: String,
    driver: Driver,
    pen: Option<Pen>,
}

/// What records are written with.
#[derive(Clone)]
struct Pen {
    client: Client,
    lock: Claims,
}

impl Store {
    /// A store that is only read; nothing is yet.
    pub fn new(client: Client, namespace: &str, driver: Driver) -> Self {
        Self { client, namespace: namespace.to_owned(), driver, pen: None }
    }

    /// The same to be written, under these locks. As with Helm's writes through the fence, none leaves this machine unless
    /// they are safely held, and each carries the lock's ID (see `fence.rs`).
    #[must_use]
    pub fn under(self, wire: &Wire, lock: Claims, lock_id: &str) -> Self {
        let gate: Gate = {
            let lock = lock.clone();
            Arc::new(move || lock.are_safe())
        };
        let lock_id = lock_id.to_owned();
        let mark = move |request: &mut http::Request<Body>| {
            let mut uri = request.uri().clone();
            fence::mark(&mut uri, request.headers_mut(), &lock_id);
            *request.uri_mut() = uri;
        };
        let client = wire.gated_client(self.namespace.clone(), gate, mark);
        Self { pen: Some(Pen { client, lock }), ..self }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes a write, if the locks are held and for as long as they are.
    async fn write<T>(
        &self,
        name: &str,
        write: impl AsyncFnOnce(Client) -> Result<T, kube::Error>,
    ) -> Result<T, StoreError> {
        let lost = |standing| {
            let why =
                if let Standing::Lost(why) = standing { why } else { "it cannot be renewed".to_owned() };
            StoreError::LockLost(why)
        };
        let Some(Pen { client, lock }) = &self.pen else {
            return Err(StoreError::LockLost("it was never taken".to_owned()));
        };
        let standing = lock.until(|now| !matches!(now, Standing::Doubtful)).await;
        if !matches!(standing, Standing::Safe { .. }) {
            return Err(lost(standing));
        }
        tokio::select! {
            biased;
            answer = write(client.clone()) => match answer {
                // The gate may have shut before the look at the locks here.
                Err(_) if !lock.are_safe() => Err(lost(lock.standing())),
                answer => answer.map_err(|error| conflict(error, name)),
            },
            // With the request its connection is dropped.
            standing = lock.until(|now| !matches!(now, Standing::Safe { .. })) => Err(lost(standing)),
        }
    }

    /// All records of a release.
    ///
    /// # Errors
    /// When the API server refuses or cannot be reached.
    pub async fn history(&self, release: &str) -> Result<History, StoreError> {
        let params = ListParams::default().labels(&format!("name={release},owner=helm"));
        let stored: Vec<Stored> = match self.driver {
            Driver::Secrets => self
                .secrets()
                .list(&params)
                .await?
                .items
                .into_iter()
                .map(|o| Stored::Secret(Box::new(o)))
                .collect(),
            Driver::ConfigMaps => {
                let items = self.config_maps().list(&params).await?.items;
                items.into_iter().map(|object| Stored::ConfigMap(Box::new(object))).collect()
            }
        };
        Ok(History::new(stored.into_iter().map(Stored::record).collect()))
    }

    /// Writes an edit of a record's body, its label with it, if nobody else changed the record since it was read.
    /// The one place where helm-guard writes a release record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else did, [`StoreError::LockLost`].
    pub async fn edit(&self, record: &Record, edit: &Edit, now_unix: i64) -> Result<Record, StoreError> {
        let name = record.stored.name().to_owned();
        let codec = |error| StoreError::Codec(name.clone(), error);
        let json = codec::decode(record.stored.payload()).map_err(codec)?;
        let edited = codec::encode(&codec::edit(&json, edit).map_err(codec)?).or_else(|error| {
            // A record near the limit: the longer description is what may go.
            let shorter = Edit { description: None, ..edit.clone() };
            codec::edit(&json, &shorter).and_then(|json| codec::encode(&json)).map_err(|_| error)
        });
        let mut stored = record.stored.clone();
        stored.set_payload(edited.map_err(codec)?);
        if let Some(status) = edit.status {
            let labels = stored.metadata_mut().labels.get_or_insert_default();
            labels.insert("status".into(), status.as_str().into());
            labels.insert("modifiedAt".into(), now_unix.to_string());
        }
        Ok(self.replace(stored).await?.record())
    }

    /// Puts the payload and labels of an earlier copy back onto the record as it is now.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else changed the record since `current` was read, [`StoreError::LockLost`].
    pub async fn put_back(&self, current: &Record, copy: &Record) -> Result<Record, StoreError> {
        let mut stored = current.stored.clone();
        stored.set_payload(copy.stored.payload().to_vec());
        stored.metadata_mut().labels = copy.stored.metadata().labels.clone();
        Ok(self.replace(stored).await?.record())
    }

    async fn replace(&self, mut stored: Stored) -> Result<Stored, StoreError> {
        let name = stored.name().to_owned();
        stored.metadata_mut().managed_fields = None;
        let params = PostParams::default();
        let replace = async |client: Client| match stored {
            Stored::Secret(object) => {
                let api: Api<Secret> = Api::namespaced(client, &self.namespace);
                api.replace(&name, &params, &object).await.map(|object| Stored::Secret(Box::new(object)))
            }
            Stored::ConfigMap(object) => {
                let api: Api<ConfigMap> = Api::namespaced(client, &self.namespace);
                api.replace(&name, &params, &object).await.map(|object| Stored::ConfigMap(Box::new(object)))
            }
        };
        self.write(&name, replace).await
    }

    /// Creates a record from a copy of it; identity and version are the API server's to give.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a record of that name is there, [`StoreError::LockLost`].
    pub async fn create(&self, copy: &Stored) -> Result<(), StoreError> {
        let mut stored = copy.clone();
        let meta = stored.metadata_mut();
        *meta = ObjectMeta {
            name: meta.name.take(),
            labels: meta.labels.take(),
            annotations: meta.annotations.take(),
            ..ObjectMeta::default()
        };
        let params = PostParams::default();
        let create = async |client: Client| match &stored {
            Stored::Secret(object) => {
                let api: Api<Secret> = Api::namespaced(client, &self.namespace);
                api.create(&params, object).await.map(drop)
            }
            Stored::ConfigMap(object) => {
                let api: Api<ConfigMap> = Api::namespaced(client, &self.namespace);
                api.create(&params, object).await.map(drop)
            }
        };
        self.write(stored.name(), create).await
    }

    /// Deletes a record as it was read. One that is gone already counts as deleted.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else changed it since, [`StoreError::LockLost`].
    pub async fn delete(&self, record: &Record) -> Result<(), StoreError> {
        let name = record.stored.name();
        let meta = record.stored.metadata();
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        let delete = async |client: Client| {
            let answer = match self.driver {
                Driver::Secrets => {
                    Api::<Secret>::namespaced(client, &self.namespace).delete(name, &params).await.map(drop)
                }
                Driver::ConfigMaps => {
                    let api: Api<ConfigMap> = Api::namespaced(client, &self.namespace);
                    api.delete(name, &params).await.map(drop)
                }
            };
            match answer {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                answer => answer,
            }
        };
        self.write(name, delete).await
    }
}

fn conflict(error: kube::Error, name: &str) -> StoreError {
    match error {
        kube::Error::Api(status) if status.code == 409 || status.code == 404 => {
            StoreError::Conflict(name.to_owned())
        }
        error => StoreError::Api(error),
    }
}

/// Copies for a backup file: a Kubernetes `List` that `kubectl create -f` takes too.
pub fn backup_list(records: &[&Record]) -> serde_json::Value {
    let items: Vec<serde_json::Value> = records
        .iter()
        .map(|record| {
            let mut stored = record.stored.clone();
            let meta = stored.metadata_mut();
            *meta = ObjectMeta {
                name: meta.name.take(),
                namespace: meta.namespace.take(),
                labels: meta.labels.take(),
                annotations: meta.annotations.take(),
                ..ObjectMeta::default()
            };
            serde_json::to_value(&stored).unwrap_or_default()
        })
        .collect();
    serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// Reads the copies out of a backup file.
///
/// # Errors
/// When the text is not such a list, or holds anything but Helm's records.
pub fn read_backup(text: &str) -> Result<Vec<Record>, String> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<serde_json::Value>,
    }
    let list: List = serde_json::from_str(text)
        .map_err(|error| format!("not a backup of helm-guard: {}", unquoted(&error)))?;
    list.items
        .into_iter()
        .map(|item| {
            let kind = item.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
            let stored = match kind.as_str() {
                "Secret" => serde_json::from_value(item).map(|object| Stored::Secret(Box::new(object))),
                "ConfigMap" => serde_json::from_value(item).map(|object| Stored::ConfigMap(Box::new(object))),
                _ => return Err(format!("not a backup of helm-guard: an object of kind {kind:?} is in it")),
            };
            let stored =
                stored.map_err(|error| format!("not a backup of helm-guard: {}", unquoted(&error)))?;
            let is_record = stored.name().starts_with("sh.helm.release.v1.") && !stored.payload().is_empty();
            if is_record {
                Ok(stored.record())
            } else {
                Err(format!("not a backup of helm-guard: {} is not a release record", stored.name()))
            }
        })
        .collect()
}

impl Record {
    /// Namespace that the stored object names.
    pub fn namespace(&self) -> Option<String> {
        match &self.stored {
            Stored::Secret(object) => object.namespace(),
            Stored::ConfigMap(object) => object.namespace(),
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
