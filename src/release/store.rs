//! Where Helm keeps its records: Secrets or ConfigMaps of the release's namespace.
//! Every write is a compare-and-swap on resource version and UID; what to write is decided elsewhere.

use std::collections::BTreeMap;

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

/// Which kind of object holds the records (`HELM_DRIVER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Secrets of type `helm.sh/release.v1`, the default.
    Secrets,
    /// ConfigMaps.
    ConfigMaps,
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
}

impl Store {
    /// A store over a client; nothing is read yet.
    pub fn new(client: Client, namespace: &str, driver: Driver) -> Self {
        Self { client, namespace: namespace.to_owned(), driver }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
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
    /// [`StoreError::Conflict`] when somebody else did.
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
    /// [`StoreError::Conflict`] when somebody else changed the record since `current` was read.
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
        let answer = match stored {
            Stored::Secret(object) => {
                self.secrets().replace(&name, &params, &object).await.map(|o| Stored::Secret(Box::new(o)))
            }
            Stored::ConfigMap(object) => self
                .config_maps()
                .replace(&name, &params, &object)
                .await
                .map(|o| Stored::ConfigMap(Box::new(o))),
        };
        answer.map_err(|error| conflict(error, &name))
    }

    /// Creates a record from a copy of it; identity and version are the API server's to give.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a record of that name is there.
    pub async fn create(&self, copy: &Stored) -> Result<(), StoreError> {
        let mut stored = copy.clone();
        let meta = stored.metadata_mut();
        *meta = ObjectMeta {
            name: meta.name.take(),
            labels: meta.labels.take(),
            annotations: meta.annotations.take(),
            ..ObjectMeta::default()
        };
        let name = stored.name().to_owned();
        let params = PostParams::default();
        match stored {
            Stored::Secret(object) => self.secrets().create(&params, &object).await.map(drop),
            Stored::ConfigMap(object) => self.config_maps().create(&params, &object).await.map(drop),
        }
        .map_err(|error| conflict(error, &name))
    }

    /// Deletes a record as it was read. One that is gone already counts as deleted.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else changed it since.
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
        let answer = match self.driver {
            Driver::Secrets => self.secrets().delete(name, &params).await.map(drop),
            Driver::ConfigMaps => self.config_maps().delete(name, &params).await.map(drop),
        };
        match answer {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map_err(|error| conflict(error, name)),
        }
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
