//! Where Helm keeps its records: Secrets or ConfigMaps of the release's namespace, or a database.
//! Every write is a compare-and-swap on the version that was read, made only while the lock is safely held; what to write is
//! decided elsewhere.

use crate::release::stored_record::Driver;
pub mod connection;
pub mod dsn;
pub mod kubernetes;
pub mod postgres;

use std::sync::Arc;

use kube::Client;
use serde::{Deserialize, Serialize};

use crate::release::{
    History, Record, Status,
    codec::{self, CodecError, Edit},
    large,
    stored_record::{self, Stored},
};
use crate::{
    cluster::{
        self,
        gate::Gate,
        transport::{Body, Wire},
    },
    exit, fence,
    lock::{Standing, lease::Claims},
};
use dsn::{Database, DatabaseError};

/// The same, and where the database is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// [`Driver::Secrets`]
    #[default]
    Secrets,
    /// [`Driver::ConfigMaps`]
    ConfigMaps,
    /// [`Driver::Sql`]
    Sql(Box<Database>),
}

impl Storage {
    /// What kind it is.
    pub fn driver(&self) -> Driver {
        match self {
            Self::Secrets => Driver::Secrets,
            Self::ConfigMaps => Driver::ConfigMaps,
            Self::Sql(_) => Driver::Sql,
        }
    }

    /// What must be shown nowhere.
    pub fn secrets(&self) -> Vec<String> {
        match self {
            Self::Secrets | Self::ConfigMaps => Vec::new(),
            Self::Sql(database) => database.secrets(),
        }
    }
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed or removed the record since it was read.
    #[error("record {0} was changed by another client")]
    Conflict(String),
    /// The body cannot be decoded or encoded.
    #[error("record {0}: {1}")]
    Codec(String, #[source] CodecError),
    /// The lock under which records are written is lost, or was while this was under way.
    #[error("the lock is lost, nothing more is written: {0}")]
    LockLost(String),
    /// The record had to be deleted to be written anew, and could not be.
    #[error("record {name} was immutable; it is deleted, and could not be created again: {}", cluster::describe_error(.error))]
    Lost {
        /// Which.
        name: String,
        /// Why it could not be created.
        error: kube::Error,
    },
    /// The API server refused, or could not be reached.
    #[error("{}", cluster::describe_error(.0))]
    Api(kube::Error),
    /// The database did.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<kube::Error> for StoreError {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

impl StoreError {
    /// Exit code and next command for whoever could not read the records of `driver`; `verbs` is what `role` should allow.
    pub fn advice(&self, driver: Driver, role: &str, verbs: &str) -> (u8, String) {
        match self {
            Self::Api(kube::Error::Api(status)) if status.code == 403 => {
                let what = driver.resource();
                let rule = format!("{{apiGroups: [\"\"], resources: [{what}], verbs: [{verbs}]}}");
                (exit::REFUSED, format!("add this rule to {role}: {rule}"))
            }
            Self::Database(error) => {
                let forbidden = matches!(error, DatabaseError::Forbidden(..));
                let code = if forbidden { exit::REFUSED } else { exit::UNAVAILABLE };
                (code, error.next().to_owned())
            }
            _ => (exit::UNAVAILABLE, "kubectl get --raw /readyz".to_owned()),
        }
    }
}

/// The records of one namespace.
#[derive(Clone)]
pub struct Store {
    shelf: Shelf,
    pen: Option<Pen>,
}

#[derive(Clone)]
enum Shelf {
    Objects(kubernetes::Objects),
    Tables(postgres::Tables),
}

/// What records are written with.
#[derive(Clone)]
struct Pen {
    client: Client,
    gate: Gate,
    lock: Claims,
}

impl Store {
    /// A store that is only read; nothing is yet.
    pub fn new(client: Client, namespace: &str, storage: &Storage) -> Self {
        let objects = |in_maps| Shelf::Objects(kubernetes::Objects::new(client.clone(), namespace, in_maps));
        let shelf = match storage {
            Storage::Secrets => objects(false),
            Storage::ConfigMaps => objects(true),
            Storage::Sql(database) => {
                Shelf::Tables(postgres::Tables::new(Database::clone(database), namespace))
            }
        };
        Self { shelf, pen: None }
    }

    /// The same to be written, under these locks. As with Helm's writes through the fence, none leaves this machine unless
    /// they are safely held. Those to the API server carry the lock's ID (see `fence.rs`); a database is not told it.
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
        let namespace = match &self.shelf {
            Shelf::Objects(objects) => objects.namespace().to_owned(),
            Shelf::Tables(_) => String::new(),
        };
        let client = wire.gated_client(namespace, gate.clone(), mark);
        Self { pen: Some(Pen { client, gate, lock }), ..self }
    }

    /// Makes a write, if the locks are held and for as long as they are.
    async fn write<T>(
        &self,
        write: impl AsyncFnOnce(&Pen) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let lost = |standing| {
            let why =
                if let Standing::Lost(why) = standing { why } else { "it cannot be renewed".to_owned() };
            StoreError::LockLost(why)
        };
        let Some(pen) = &self.pen else {
            return Err(StoreError::LockLost("it was never taken".to_owned()));
        };
        let lock = &pen.lock;
        let standing = lock.until(|now| !matches!(now, Standing::Doubtful)).await;
        if !matches!(standing, Standing::Safe { .. }) {
            return Err(lost(standing));
        }
        tokio::select! {
            biased;
            answer = write(pen) => match answer {
                // The gate may have shut before the look at the locks here.
                Err(_) if !lock.are_safe() => Err(lost(lock.standing())),
                answer => answer,
            },
            // With the request its connection is dropped.
            standing = lock.until(|now| !matches!(now, Standing::Safe { .. })) => Err(lost(standing)),
        }
    }

    /// All records of a release.
    ///
    /// # Errors
    /// When the API server, or the database, refuses or cannot be reached.
    pub async fn history(&self, release: &str) -> Result<History, StoreError> {
        let stored = match &self.shelf {
            Shelf::Objects(objects) => objects.history(release).await?,
            Shelf::Tables(tables) => tables.history(release).await?,
        };
        Ok(History::new(stored.into_iter().map(Stored::record).collect()))
    }

    /// The record of one revision; `None` if there is none.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub async fn record(&self, release: &str, revision: u32) -> Result<Option<Record>, StoreError> {
        match &self.shelf {
            Shelf::Objects(objects) => {
                Ok(objects.record(&stored_record::name(release, revision)).await?.map(Stored::record))
            }
            Shelf::Tables(_) => Ok(self.history(release).await?.get(revision).cloned()),
        }
    }

    /// The newest record's revision, and its status by its label.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub async fn newest(&self, release: &str) -> Result<Option<(u32, Status)>, StoreError> {
        match &self.shelf {
            Shelf::Objects(_) => {
                let history = self.history(release).await?;
                Ok(history.records.last().map(|record| (record.revision, record.label)))
            }
            Shelf::Tables(tables) => {
                let newest = tables.newest(release).await?;
                Ok(newest
                    .and_then(|(version, status)| Some((version.try_into().ok()?, Status::parse(&status)))))
            }
        }
    }

    /// Writes an edit of a record's body, its label with it, if nobody else changed the record since it was read.
    /// The one place where helm-guard writes a release record.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else did, [`StoreError::LockLost`].
    pub async fn edit(&self, record: &Record, edit: &Edit, now_unix: i64) -> Result<Record, StoreError> {
        let name = record.stored.name().to_owned();
        let limit = record.stored.limit();
        let codec = |error| StoreError::Codec(name.clone(), error);
        let payload = record.stored.payload();
        let decoded = match codec::decode(payload) {
            Ok(json) => Some(json),
            Err(error) if error.is_own_limit() => None,
            Err(error) => return Err(codec(error)),
        };
        let encoded = |edit: &Edit| match &decoded {
            Some(json) => codec::edit(json, edit).and_then(|json| codec::encode(&json, limit)),
            None => large::edit(payload, edit, limit),
        };
        let edited = encoded(edit).or_else(|error| {
            // A record near the limit: the longer description is what may go.
            let shorter = Edit { description: None, ..edit.clone() };
            encoded(&shorter).map_err(|_| error)
        });
        let mut stored = record.stored.clone();
        stored.set_payload(edited.map_err(codec)?);
        if let Some(status) = edit.status {
            stored.set_status(status, now_unix);
        }
        Ok(self.replace(stored, &record.stored).await?.record())
    }

    /// Puts the payload and labels of an earlier copy back onto the record as it is now.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else changed the record since `current` was read, [`StoreError::LockLost`].
    pub async fn put_back(&self, current: &Record, copy: &Record) -> Result<Record, StoreError> {
        let mut stored = current.stored.clone();
        stored.become_as(&copy.stored);
        Ok(self.replace(stored, &current.stored).await?.record())
    }

    async fn replace(&self, new: Stored, was: &Stored) -> Result<Stored, StoreError> {
        let replace = async |pen: &Pen| match (&self.shelf, &new, was) {
            (Shelf::Objects(objects), _, _) => objects.replace(pen.client.clone(), new).await,
            (Shelf::Tables(tables), Stored::Row(new), Stored::Row(was)) => {
                tables.replace(&pen.gate, new, was).await.map(|row| Stored::Row(Box::new(row)))
            }
            (Shelf::Tables(_), _, _) => Err(StoreError::Conflict(was.name().to_owned())),
        };
        self.write(replace).await
    }

    /// Creates a record from a copy of it; identity and version are the server's to give.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a record of that name is there, [`StoreError::LockLost`].
    pub async fn create(&self, copy: &Stored) -> Result<(), StoreError> {
        let create = async |pen: &Pen| match (&self.shelf, copy) {
            (Shelf::Objects(objects), copy) => {
                objects.create(pen.client.clone(), copy.as_new(false)).await.map(drop)
            }
            (Shelf::Tables(tables), Stored::Row(row)) => tables.create(&pen.gate, row).await,
            (Shelf::Tables(_), _) => Err(StoreError::Conflict(copy.name().to_owned())),
        };
        self.write(create).await
    }

    /// Deletes a record as it was read. One that is gone already counts as deleted.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody else changed it since, [`StoreError::LockLost`].
    pub async fn delete(&self, record: &Record) -> Result<(), StoreError> {
        let delete = async |pen: &Pen| match (&self.shelf, &record.stored) {
            (Shelf::Objects(objects), stored) => objects.delete(pen.client.clone(), stored).await,
            (Shelf::Tables(tables), Stored::Row(row)) => tables.delete(&pen.gate, row).await,
            (Shelf::Tables(_), stored) => Err(StoreError::Conflict(stored.name().to_owned())),
        };
        self.write(delete).await
    }
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
