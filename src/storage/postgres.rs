//! Records in a database: Helm's tables `releases_v1` and `custom_labels_v1` in a Postgres. Helm makes them; this program
//! never does.
//!
//! A write is one transaction that changes a row only if it is still the version that was read (`xmin`), which is what the
//! resource version does for an object. It has a connection of its own, of which nothing leaves while the lock is not safely
//! held, its `COMMIT` neither.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;
use tokio_postgres::{
    Error, Row as Answer, Transaction,
    error::SqlState,
    types::{ToSql, Type},
};

use super::{
    StoreError,
    connection::{self, Open},
};
use crate::{
    cluster::gate::Gate,
    release::stored_record::{Row, Stored},
    storage::dsn::{Database, DatabaseError},
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// Where nothing is deployed yet, Helm has made no table.
fn has_no_table(error: &Error) -> bool {
    error.code() == Some(&SqlState::UNDEFINED_TABLE)
}

/// The tables, for one namespace.
#[derive(Clone)]
pub(crate) struct Tables {
    database: Database,
    namespace: String,
    open: Arc<Mutex<Option<Open>>>,
}

/// A row without what is large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Namespace.
    pub namespace: String,
    /// Release name.
    pub name: String,
    /// Revision number.
    pub version: i32,
    /// Status, by its column.
    pub status: String,
    /// Unix time, seconds.
    pub created_at: i32,
}

/// Releases of a namespace or of all, by name if any are named, without those of some statuses. No body is read.
///
/// # Errors
/// When the database cannot be reached or refuses. That there is no table is none: there is no release then.
pub async fn list(
    database: &Database,
    namespace: Option<&str>,
    names: Option<&[String]>,
    without: &[&str],
) -> Result<Vec<Listed>, DatabaseError> {
    const LIST: &str = "SELECT namespace, name, version, status, createdAt FROM releases_v1 WHERE owner = 'helm' \
        AND ($1 IS NULL OR namespace = $1) AND ($2 IS NULL OR name = ANY($2)) AND NOT status = ANY($3)";
    let tables = Tables::new(database.clone(), "");
    let parameters: [Parameter<'_>; 3] =
        [(&namespace, Type::TEXT), (&names, Type::TEXT_ARRAY), (&without, Type::TEXT_ARRAY)];
    let rows = tables.records(LIST, &parameters).await?;
    let listed = |row: &Answer| {
        Ok(Listed {
            namespace: row.try_get(0)?,
            name: row.try_get(1)?,
            version: row.try_get(2)?,
            status: row.try_get(3)?,
            created_at: row.try_get(4)?,
        })
    };
    let listed: Result<_, Error> = rows.iter().map(listed).collect();
    listed.map_err(|error| connection::failed(&database.place(), &error))
}

impl Tables {
    pub(crate) fn new(database: Database, namespace: &str) -> Self {
        Self { database, namespace: namespace.to_owned(), open: Arc::default() }
    }

    /// Reads rows. A connection that broke since it was last used is made again, once. No table, no rows.
    async fn read(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Answer>, DatabaseError> {
        let mut kept = self.open.lock().await;
        loop {
            let (open, is_new) = match kept.take().filter(|open| !open.client.is_closed()) {
                Some(open) => (open, false),
                None => (connection::open(&self.database, None).await?, true),
            };
            let answer = match tokio::time::timeout(ANSWER, open.client.query_typed(sql, parameters)).await {
                Ok(Err(error)) if has_no_table(&error) => Ok(Vec::new()),
                Ok(Ok(rows)) => Ok(rows),
                _ if !is_new => continue,
                Ok(Err(error)) => Err(connection::failed(&self.database.place(), &error)),
                Err(_) => return Err(late(&self.database)),
            };
            *kept = Some(open);
            return answer;
        }
    }

    /// Rows of releases. Helm sets row level security without a policy: who is not the table's owner is told that there are
    /// none, which must not be taken for an answer.
    async fn records(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Answer>, DatabaseError> {
        const HIDES: &str = "SELECT 1 FROM pg_class WHERE oid = to_regclass('releases_v1') AND \
            row_security_active(oid) AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid)";
        let rows = self.read(sql, parameters).await?;
        if rows.is_empty() && !self.read(HIDES, &[]).await?.is_empty() {
            let why = "row level security hides every row of releases_v1 from this role";
            return Err(DatabaseError::Forbidden(self.database.place(), why.into()));
        }
        Ok(rows)
    }

    /// All records of a release.
    pub(crate) async fn history(&self, release: &str) -> Result<Vec<Stored>, StoreError> {
        const RECORDS: &str = "SELECT key, type, body, name, namespace, version, status, owner, createdAt, modifiedAt, \
            xmin::text FROM releases_v1 WHERE name = $1 AND namespace = $2 AND owner = 'helm'";
        const LABELS: &str = "SELECT releaseKey, key, value FROM custom_labels_v1 WHERE releaseNamespace = $1 AND releaseKey = ANY($2)";
        let namespace = &self.namespace;
        let records = self.records(RECORDS, &[(&release, Type::TEXT), (namespace, Type::TEXT)]).await?;
        let rows: Result<Vec<Row>, Error> = records.iter().map(row).collect();
        let mut rows = rows.map_err(|error| connection::failed(&self.database.place(), &error))?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = rows.iter().map(|row| row.key.clone()).collect();
        let labels = self.read(LABELS, &[(namespace, Type::TEXT), (&keys, Type::TEXT_ARRAY)]).await?;
        for label in &labels {
            let text = |column: usize| label.try_get::<_, &str>(column).unwrap_or_default();
            if let Some(row) = rows.iter_mut().find(|row| row.key == text(0)) {
                row.labels.insert(text(1).to_owned(), text(2).to_owned());
            }
        }
        Ok(rows.into_iter().map(|row| Stored::Row(Box::new(row))).collect())
    }

    /// Version and status of the newest row of a release. No body is read.
    pub(crate) async fn newest(&self, release: &str) -> Result<Option<(i32, String)>, DatabaseError> {
        const NEWEST: &str = "SELECT version, status FROM releases_v1 WHERE name = $1 AND namespace = $2 AND owner = 'helm' \
            ORDER BY version DESC LIMIT 1";
        let rows = self.read(NEWEST, &[(&release, Type::TEXT), (&self.namespace, Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let read = || Ok::<_, Error>((row.try_get(0)?, row.try_get(1)?));
        read().map(Some).map_err(|error| connection::failed(&self.database.place(), &error))
    }

    /// Makes one transaction, over a connection of its own: one that broke since is not found out half-way.
    async fn write<T>(
        &self,
        gate: &Gate,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let mut open = connection::open(&self.database, Some(gate)).await?;
        let done = async {
            let transaction = open.client.transaction().await?;
            let answer = work(&transaction).await?;
            transaction.commit().await?;
            Ok(answer)
        };
        match tokio::time::timeout(ANSWER, done).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Failure::Conflict(key))) => Err(StoreError::Conflict(key)),
            Ok(Err(Failure::Error(error))) => Err(connection::failed(&self.database.place(), &error).into()),
            Err(_) => Err(late(&self.database).into()),
        }
    }

    /// Writes a row in the place of the one that was read.
    pub(crate) async fn replace(&self, gate: &Gate, new: &Row, was: &Row) -> Result<Row, StoreError> {
        const REPLACE: &str = "UPDATE releases_v1 SET type = $4, body = $5, name = $6, version = $7, status = $8, owner = $9, \
            createdAt = $10, modifiedAt = $11 WHERE key = $1 AND namespace = $2 AND xmin::text = $3 RETURNING xmin::text";
        let written = self.write(gate, async |transaction| {
            let was_written_by = version(was);
            let parameters: [Parameter<'_>; 11] = [
                (&was.key, Type::TEXT),
                (&was.namespace, Type::TEXT),
                (&was_written_by, Type::TEXT),
                (&new.of_type, Type::TEXT),
                (&new.body, Type::TEXT),
                (&new.name, Type::TEXT),
                (&new.version, Type::INT4),
                (&new.status, Type::TEXT),
                (&new.owner, Type::TEXT),
                (&new.created_at, Type::INT4),
                (&new.modified_at, Type::INT4),
            ];
            let rows = transaction.query_typed(REPLACE, &parameters).await?;
            let Some(row) = rows.first() else { return Err(Failure::Conflict(was.key.clone())) };
            if new.labels != was.labels {
                delete_labels(transaction, was).await?;
                insert_labels(transaction, new).await?;
            }
            Ok(written_by(row.try_get(0)?))
        });
        Ok(Row { written_by: written.await?, ..new.clone() })
    }

    /// Adds a row that was deleted.
    pub(crate) async fn create(&self, gate: &Gate, row: &Row) -> Result<(), StoreError> {
        const CREATE: &str = "INSERT INTO releases_v1 (key, type, body, name, namespace, version, status, owner, createdAt, \
            modifiedAt) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        self.write(gate, async |transaction| {
            let parameters: [Parameter<'_>; 10] = [
                (&row.key, Type::TEXT),
                (&row.of_type, Type::TEXT),
                (&row.body, Type::TEXT),
                (&row.name, Type::TEXT),
                (&self.namespace, Type::TEXT),
                (&row.version, Type::INT4),
                (&row.status, Type::TEXT),
                (&row.owner, Type::TEXT),
                (&row.created_at, Type::INT4),
                (&row.modified_at, Type::INT4),
            ];
            match transaction.query_typed(CREATE, &parameters).await {
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                    Err(Failure::Conflict(row.key.clone()))
                }
                Err(error) => Err(error.into()),
                Ok(_) => {
                    let row = Row { namespace: self.namespace.clone(), ..row.clone() };
                    Ok(insert_labels(transaction, &row).await?)
                }
            }
        })
        .await
    }

    /// Deletes a row as it was read, and its labels. One that is gone already counts as deleted.
    pub(crate) async fn delete(&self, gate: &Gate, row: &Row) -> Result<(), StoreError> {
        const DELETE: &str =
            "DELETE FROM releases_v1 WHERE key = $1 AND namespace = $2 AND xmin::text = $3 RETURNING key";
        const IS_THERE: &str = "SELECT key FROM releases_v1 WHERE key = $1 AND namespace = $2";
        self.write(gate, async |transaction| {
            let was_written_by = version(row);
            let of: [Parameter<'_>; 3] =
                [(&row.key, Type::TEXT), (&row.namespace, Type::TEXT), (&was_written_by, Type::TEXT)];
            if transaction.query_typed(DELETE, &of).await?.is_empty()
                && !transaction.query_typed(IS_THERE, &of[..2]).await?.is_empty()
            {
                return Err(Failure::Conflict(row.key.clone()));
            }
            Ok(delete_labels(transaction, row).await?)
        })
        .await
    }
}

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Why a transaction is rolled back.
enum Failure {
    Conflict(String),
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

async fn delete_labels(transaction: &Transaction<'_>, row: &Row) -> Result<(), Error> {
    const DELETE: &str = "DELETE FROM custom_labels_v1 WHERE releaseKey = $1 AND releaseNamespace = $2";
    if row.labels.is_empty() {
        // Helms before 3.13 knew no labels, and made no table for them.
        return Ok(());
    }
    transaction.query_typed(DELETE, &[(&row.key, Type::TEXT), (&row.namespace, Type::TEXT)]).await.map(drop)
}

async fn insert_labels(transaction: &Transaction<'_>, row: &Row) -> Result<(), Error> {
    const INSERT: &str =
        "INSERT INTO custom_labels_v1 (releaseKey, releaseNamespace, key, value) VALUES ($1, $2, $3, $4)";
    for (name, value) in &row.labels {
        let label: [Parameter<'_>; 4] =
            [(&row.key, Type::TEXT), (&row.namespace, Type::TEXT), (name, Type::TEXT), (value, Type::TEXT)];
        transaction.query_typed(INSERT, &label).await?;
    }
    Ok(())
}

fn row(answer: &Answer) -> Result<Row, Error> {
    Ok(Row {
        key: answer.try_get(0)?,
        of_type: answer.try_get(1)?,
        body: answer.try_get(2)?,
        name: answer.try_get(3)?,
        namespace: answer.try_get(4)?,
        version: answer.try_get(5)?,
        status: answer.try_get(6)?,
        owner: answer.try_get(7)?,
        created_at: answer.try_get(8)?,
        modified_at: answer.try_get(9)?,
        written_by: written_by(answer.try_get(10)?),
        ..Row::default()
    })
}

fn written_by(xmin: &str) -> Option<u32> {
    xmin.parse().ok()
}

/// As Postgres prints it; of a row that was never read, none that it could be.
fn version(row: &Row) -> String {
    row.written_by.map(|xmin| xmin.to_string()).unwrap_or_default()
}

fn late(database: &Database) -> DatabaseError {
    DatabaseError::Unreachable(database.place(), format!("no answer within {} s", ANSWER.as_secs()))
}
