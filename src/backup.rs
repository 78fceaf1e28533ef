//! Backups: copies of a release's records as they were before a deploy, complete or with what is secret left out.
//! Pure: files are written in `backup/act.rs`; what is secret is decided in `backup/redact.rs`.
//!
//! A complete one is a list that `kubectl create -f` takes too, unless the records are rows of a database. A redacted one is no Kubernetes object, so that nobody puts
//! it back by mistake: it tells how the release stood, and gives back no more than statuses and descriptions.

pub mod act;
pub mod check;
pub mod redact;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::redact::MASK;
use crate::release::{
    History, Record, Status,
    codec::{self, unquoted},
    stored_record::{Driver, backup_list, read_backup},
};

/// More than all records of a release that Helm keeps have, bytes.
pub const LARGEST: u64 = 1 << 30;

/// What tells a redacted backup from a list of records.
const KIND: &str = "RedactedBackup";

/// What is in a backup file.
#[derive(Debug)]
pub enum Backup {
    /// The records themselves.
    Complete(Vec<Record>),
    /// What may be known of them.
    Redacted(Redacted),
}

/// Records without what is secret.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redacted {
    kind: String,
    /// Release name.
    pub release: String,
    /// Namespace.
    pub namespace: String,
    /// Where the records were.
    pub storage: Driver,
    /// Oldest first.
    pub revisions: Vec<Copy>,
}

/// One record of a redacted backup.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    /// Revision number.
    pub revision: u32,
    /// The body as JSON, without what is secret; `null` where it could not be read.
    pub body: Value,
}

impl Copy {
    /// What can be put back: status and description.
    pub fn edit(&self) -> Option<codec::Edit> {
        let info = self.body.get("info")?;
        let text = |name: &str| info.get(name).and_then(Value::as_str).map(str::to_owned);
        let description = text("description").filter(|text| !text.contains(MASK));
        Some(codec::Edit {
            status: Some(Status::parse(&text("status")?)),
            description,
            ..codec::Edit::default()
        })
    }
}

/// A backup as text, and the manifest of the revision that works, or of the last one, beside it.
pub fn render(history: &History, release: &str, namespace: &str, redacted: bool) -> (String, String) {
    let records: Vec<&Record> = history.records.iter().collect();
    let shown = history.last_good().or(history.last());
    if !redacted {
        let body = shown.and_then(|record| codec::decode(record.stored.payload()).ok());
        let manifest = body.and_then(|json| codec::manifest(&json).ok()).unwrap_or_default();
        return (backup_list(&records).to_string(), manifest);
    }
    let revisions: Vec<Copy> = records
        .iter()
        .map(|record| {
            let json = codec::decode(record.stored.payload()).ok();
            let body = json.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
            Copy { revision: record.revision, body: redact::body(body, namespace) }
        })
        .collect();
    let of_shown = revisions.iter().find(|copy| Some(copy.revision) == shown.map(|record| record.revision));
    let manifest =
        of_shown.and_then(|copy| copy.body.get("manifest")?.as_str()).unwrap_or_default().to_owned();
    let backup = Redacted {
        kind: KIND.to_owned(),
        release: release.to_owned(),
        namespace: namespace.to_owned(),
        storage: records.first().map_or(Driver::Secrets, |record| record.stored.driver()),
        revisions,
    };
    // Cannot fail: the keys are strings.
    (serde_json::to_string_pretty(&backup).unwrap_or_default(), manifest)
}

/// Reads a backup file.
///
/// # Errors
/// With the sentence to print, when it is none.
pub fn read(text: &str) -> Result<Backup, String> {
    #[derive(Deserialize)]
    struct Any {
        #[serde(default)]
        kind: String,
    }
    let is_redacted = serde_json::from_str::<Any>(text).is_ok_and(|any| any.kind == KIND);
    if !is_redacted {
        return read_backup(text).map(Backup::Complete);
    }
    let read = serde_json::from_str(text).map(Backup::Redacted);
    read.map_err(|error| format!("not a backup of helm-guard: {}", unquoted(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::stored_record::Stored;

    /// `1 superseded, 2 deployed`, as Helm stores it.
    fn history(records: &str) -> History {
        let records = records.split(", ").map(|record| {
            let (revision, status) = record.split_once(' ').unwrap();
            let body = serde_json::json!({
                "name": "web", "manifest": "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\ndata: {k: hunter2}\n",
                "config": {"k": "hunter2"}, "info": {"status": status, "description": "x"},
            });
            let payload = codec::encode(body.to_string().as_bytes(), codec::MAX_STORED).unwrap();
            let secret = serde_json::json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": format!("sh.helm.release.v1.web.v{revision}"), "namespace": "shop"},
                "data": {"release": k8s_bytes(payload)},
            });
            Stored::Secret(Box::new(serde_json::from_value(secret).unwrap())).record()
        });
        History::new(records.collect())
    }

    /// A Secret's data is base64, around the base64 that Helm makes itself.
    fn k8s_bytes(bytes: Vec<u8>) -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        STANDARD.encode(bytes)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let history = history("1 superseded, 2 deployed, 3 pending-upgrade");
        let (complete, manifest) = render(&history, "web", "shop", false);
        assert!(manifest.contains("hunter2"), "{manifest}");
        let Ok(Backup::Complete(records)) = read(&complete) else { panic!("{complete}") };
        let rows: Vec<_> = records.iter().map(Record::row).collect();
        assert_eq!(rows, history.rows());
        let (redacted, manifest) = render(&history, "web", "shop", true);
        assert!(manifest.contains("ConfigMap") && !manifest.contains("hunter2"), "{manifest}");
        assert!(!redacted.contains("hunter2"), "{redacted}");
        let Ok(Backup::Redacted(backup)) = read(&redacted) else { panic!("{redacted}") };
        assert_eq!((backup.release.as_str(), backup.namespace.as_str()), ("web", "shop"));
        let edits: Vec<_> = backup.revisions.iter().filter_map(Copy::edit).collect();
        let statuses: Vec<_> = edits.iter().filter_map(|edit| edit.status).collect();
        assert_eq!(statuses, [Status::Superseded, Status::Deployed, Status::PendingUpgrade]);
    }

    #[test]
    fn what_is_no_backup_is_told_without_its_text() {
        for text in
            ["", "{}", "[1]", r#"{"kind": "RedactedBackup", "release": 1, "x": "hunter2"}"#, "hunter2"]
        {
            let error = read(text).unwrap_err();
            assert!(
                error.starts_with("not a backup of helm-guard: ") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
