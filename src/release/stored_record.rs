//! A record as it is stored: in a Secret, a ConfigMap or a row of a table; and copies of records in a backup file.
//! Nothing is read or written here: that is `store.rs`.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Resource, ResourceExt,
    api::{ObjectMeta, Preconditions},
};
use serde::{Deserialize, Serialize};

use super::{
    Record, Status,
    codec::{self, unquoted},
    large,
};

/// What all keys of release records begin with.
const RECORD: &str = "sh.helm.release.v1.";

/// Name of the object, or key of the row, that holds a record.
pub(crate) fn name(release: &str, revision: u32) -> String {
    format!("{RECORD}{release}.v{revision}")
}

/// A stored record: metadata and payload, whatever holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stored {
    /// In a Secret.
    Secret(Box<Secret>),
    /// In a ConfigMap.
    ConfigMap(Box<ConfigMap>),
    /// In a database.
    Row(Box<Row>),
}

/// A row of Helm's table `releases_v1`, by its columns, and the custom labels that belong to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Tells it from the objects of a cluster in a backup.
    pub kind: RowKind,
    /// `sh.helm.release.v1.NAME.vREVISION`.
    pub key: String,
    /// `helm.sh/release.v1`.
    #[serde(rename = "type")]
    pub of_type: String,
    /// base64 of gzip of JSON.
    pub body: String,
    /// Release name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Revision number.
    pub version: i32,
    /// What Helm's query for deployed revisions reads.
    pub status: String,
    /// `helm`.
    pub owner: String,
    /// Unix time, seconds.
    pub created_at: i32,
    /// The same; 0 if it never was.
    pub modified_at: i32,
    /// Rows of `custom_labels_v1`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The transaction that wrote this version of the row, as Postgres numbers them (`xmin`). It is for a row what the
    /// resource version is for an object, and only there.
    #[serde(skip)]
    pub written_by: Option<u32>,
}

/// `kind` of a [`Row`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowKind {
    /// The only one.
    #[default]
    HelmReleaseRow,
}

/// The first number that Postgres gives to a transaction; those before it mean something else, as "long ago".
const FIRST_TRANSACTION: u32 = 3;

impl Stored {
    fn metadata(&self) -> Option<&ObjectMeta> {
        match self {
            Self::Secret(object) => Some(object.meta()),
            Self::ConfigMap(object) => Some(object.meta()),
            Self::Row(_) => None,
        }
    }

    /// Of an object.
    pub(crate) fn metadata_mut(&mut self) -> Option<&mut ObjectMeta> {
        match self {
            Self::Secret(object) => Some(object.meta_mut()),
            Self::ConfigMap(object) => Some(object.meta_mut()),
            Self::Row(_) => None,
        }
    }

    /// What tells this version of the object from all others.
    pub(crate) fn preconditions(&self) -> Option<Preconditions> {
        let meta = self.metadata()?;
        Some(Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() })
    }

    /// Has somebody written it under this name of a field manager? No row has any.
    pub fn is_written_by(&self, manager: &str) -> bool {
        let fields = self.metadata().and_then(|meta| meta.managed_fields.as_ref());
        fields.is_some_and(|fields| fields.iter().any(|entry| entry.manager.as_deref() == Some(manager)))
    }

    /// May nobody change its payload?
    pub fn is_immutable(&self) -> bool {
        match self {
            Self::Secret(object) => object.immutable == Some(true),
            Self::ConfigMap(object) => object.immutable == Some(true),
            Self::Row(_) => false,
        }
    }

    /// From now on it may be changed.
    pub(crate) fn make_mutable(&mut self) {
        match self {
            Self::Secret(object) => object.immutable = None,
            Self::ConfigMap(object) => object.immutable = None,
            Self::Row(_) => {}
        }
    }

    /// When the API server stored the object first, unix seconds by its clock. `None` for a row: those columns are of the
    /// clock of Helm's machine.
    pub fn created(&self) -> Option<i64> {
        Some(self.metadata()?.creation_timestamp.as_ref()?.0.as_second())
    }

    /// Name of the object, or key of the row.
    pub fn name(&self) -> &str {
        match self {
            Self::Row(row) => &row.key,
            object => object.metadata().and_then(|meta| meta.name.as_deref()).unwrap_or_default(),
        }
    }

    /// Namespace that it names.
    pub fn namespace(&self) -> Option<String> {
        match self {
            Self::Secret(object) => object.namespace(),
            Self::ConfigMap(object) => object.namespace(),
            Self::Row(row) => Some(row.namespace.clone()),
        }
    }

    /// What kind of storage it is of.
    pub fn driver(&self) -> Driver {
        match self {
            Self::Secret(_) => Driver::Secrets,
            Self::ConfigMap(_) => Driver::ConfigMaps,
            Self::Row(_) => Driver::Sql,
        }
    }

    /// Was this written after that, which is of the same storage? `false` if nobody can tell.
    ///
    /// Resource versions grow within one API server. Numbers of transactions grow too, but start again after four thousand
    /// millions, so of two the one that is less than half of that ahead is the later one. Rows that were put back from a dump
    /// are of one transaction, and no order is left. Who reads both columns of seconds in the table knows less: two writes
    /// of one upgrade are often of the same second.
    pub fn is_later_than(&self, other: &Self) -> bool {
        let resource_version = |object: &Self| object.metadata()?.resource_version.as_ref()?.parse().ok();
        match (self, other) {
            (Self::Row(this), Self::Row(other)) => match (this.written_by, other.written_by) {
                (Some(this), Some(other)) => {
                    this.min(other) >= FIRST_TRANSACTION
                        && this != other
                        && this.wrapping_sub(other) < u32::MAX / 2
                }
                _ => false,
            },
            (this, other) => {
                let (this, other): (Option<u64>, Option<u64>) =
                    (resource_version(this), resource_version(other));
                other.is_some() && this > other
            }
        }
    }

    /// The payload: base64 of gzip of JSON, in all kinds.
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Secret(secret) => {
                secret.data.as_ref().and_then(|data| data.get("release")).map_or(&[], |bytes| &bytes.0)
            }
            Self::ConfigMap(map) => {
                map.data.as_ref().and_then(|data| data.get("release")).map_or(&[], String::as_bytes)
            }
            Self::Row(row) => row.body.as_bytes(),
        }
    }

    /// Most bytes that a payload may have; a column has no limit that a release could reach.
    pub(crate) fn limit(&self) -> usize {
        if matches!(self, Self::Row(_)) { usize::MAX } else { codec::MAX_STORED }
    }

    pub(crate) fn set_payload(&mut self, payload: Vec<u8>) {
        let text = |payload: Vec<u8>| String::from_utf8_lossy(&payload).into_owned();
        match self {
            Self::Secret(secret) => {
                secret.data.get_or_insert_default().insert("release".into(), ByteString(payload));
            }
            Self::ConfigMap(map) => {
                map.data.get_or_insert_default().insert("release".into(), text(payload));
            }
            Self::Row(row) => row.body = text(payload),
        }
    }

    fn label(&self, name: &str) -> Option<&str> {
        match self {
            Self::Row(row) => (name == "status").then_some(row.status.as_str()),
            object => object.metadata()?.labels.as_ref()?.get(name).map(String::as_str),
        }
    }

    /// Do its labels, or its columns, say that it is this revision of this release, and Helm's?
    pub fn is_called(&self, release: &str, revision: u32) -> bool {
        match self {
            Self::Row(row) => {
                row.name == release && u32::try_from(row.version) == Ok(revision) && row.owner == "helm"
            }
            object => {
                let is = |name: &str, value: &str| object.label(name) == Some(value);
                is("name", release) && is("version", &revision.to_string()) && is("owner", "helm")
            }
        }
    }

    /// The status by which Helm finds the deployed revisions, and when that was changed, in unix seconds.
    pub(crate) fn set_status(&mut self, status: Status, now_unix: i64) {
        if let Self::Row(row) = self {
            row.status = status.as_str().to_owned();
            row.modified_at = i32::try_from(now_unix).unwrap_or(i32::MAX);
        } else if let Some(meta) = self.metadata_mut() {
            let labels = meta.labels.get_or_insert_default();
            labels.insert("status".into(), status.as_str().into());
            labels.insert("modifiedAt".into(), now_unix.to_string());
        }
    }

    /// Takes over what an earlier copy of the same record has: its payload and its labels.
    pub(crate) fn become_as(&mut self, copy: &Self) {
        match (&mut *self, copy) {
            (Self::Row(row), Self::Row(copy)) => {
                let (namespace, written_by) = (std::mem::take(&mut row.namespace), row.written_by);
                **row = Row { namespace, written_by, ..Row::clone(copy) };
            }
            (this, copy) => {
                this.set_payload(copy.payload().to_vec());
                if let Some(meta) = this.metadata_mut() {
                    meta.labels = copy.metadata().and_then(|meta| meta.labels.clone());
                }
            }
        }
    }

    /// Without what only a server gives.
    pub(crate) fn as_new(&self, with_namespace: bool) -> Self {
        let mut stored = self.clone();
        if let Some(meta) = stored.metadata_mut() {
            *meta = ObjectMeta {
                name: meta.name.take(),
                namespace: meta.namespace.take().filter(|_| with_namespace),
                labels: meta.labels.take(),
                annotations: meta.annotations.take(),
                ..ObjectMeta::default()
            };
        }
        stored
    }

    /// The record in it; a body that cannot be read is kept as the reason.
    pub fn record(self) -> Record {
        let revision = match &self {
            Self::Row(row) => u32::try_from(row.version).ok(),
            object => {
                let named = object.name().rsplit_once(".v").and_then(|(_, digits)| digits.parse().ok());
                named.or_else(|| object.label("version")?.parse().ok())
            }
        };
        let label = Status::parse(self.label("status").unwrap_or_default());
        let body = match codec::decode(self.payload()).and_then(|json| codec::essentials(&json)) {
            Err(error) if error.is_own_limit() => match large::essentials(self.payload()) {
                // Helm reads it, whatever it holds: what the label says is the most that is known.
                Err(error) if error.is_own_limit() => {
                    Ok(codec::Essentials { status: label, is_large: true, ..codec::Essentials::default() })
                }
                body => body,
            },
            body => body,
        };
        let mut body = body.map_err(|error| error.to_string());
        if let Some(body) = body.as_mut().ok().filter(|body| body.no_info) {
            body.status = label;
        }
        Record { revision: revision.unwrap_or_default(), label, stored: self, body }
    }
}

/// Copies for a backup file: of objects a Kubernetes `List` that `kubectl create -f` takes too.
pub fn backup_list(records: &[&Record]) -> serde_json::Value {
    let copies = records.iter().map(|record| record.stored.as_new(true));
    let items: Vec<serde_json::Value> =
        copies.map(|copy| serde_json::to_value(copy).unwrap_or_default()).collect();
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
                "HelmReleaseRow" => serde_json::from_value(item).map(|row| Stored::Row(Box::new(row))),
                _ => return Err(format!("not a backup of helm-guard: an object of kind {kind:?} is in it")),
            };
            let stored =
                stored.map_err(|error| format!("not a backup of helm-guard: {}", unquoted(&error)))?;
            if stored.name().starts_with(RECORD) && !stored.payload().is_empty() {
                Ok(stored.record())
            } else {
                Err(format!("not a backup of helm-guard: {} is not a release record", stored.name()))
            }
        })
        .collect()
}

/// What kind of thing holds the records (`HELM_DRIVER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Secrets of type `helm.sh/release.v1`, the default.
    Secrets,
    /// ConfigMaps.
    ConfigMaps,
    /// Rows of a table.
    Sql,
}

impl Driver {
    /// The API's name of the resource; of a table, Helm's word for the storage.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::ConfigMaps => "configmaps",
            Self::Sql => "sql",
        }
    }
}

#[cfg(test)]
#[path = "stored_record_tests.rs"]
mod tests;
