//! Is what was read from a backup file what one release had? Asked before anything is written: a file may be damaged, or be put
//! together by hand.
//! Pure.

use std::collections::BTreeSet;

use super::{Backup, Redacted};
use crate::{
    release::{
        Record, Status, codec,
        stored_record::{Driver, Stored},
    },
    text::shorten,
};

/// Which release a backup is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Release name.
    pub release: String,
    /// Namespace; `None` where the records name none.
    pub namespace: Option<String>,
    /// Where the records were.
    pub driver: Driver,
}

/// The release of a backup that can be restored: all of one release, each revision once, each record one that can be read
/// and is what its name says.
///
/// # Errors
/// With what is wrong, and with which record of it. No value is quoted, only names.
pub fn subject(backup: &Backup) -> Result<Subject, String> {
    match backup {
        Backup::Complete(records) => complete(records),
        Backup::Redacted(redacted) => of_redacted(redacted),
    }
}

fn complete(records: &[Record]) -> Result<Subject, String> {
    let first = records.first().ok_or("no record is in it")?;
    let subject = Subject {
        release: named(&first.stored)?.0.to_owned(),
        namespace: first.stored.namespace(),
        driver: first.stored.driver(),
    };
    let mut revisions = BTreeSet::new();
    for record in records {
        let at = |why: &str| Err(format!("record {}: {why}", shown(record.stored.name())));
        let (release, revision) = named(&record.stored)?;
        if release != subject.release
            || record.stored.namespace() != subject.namespace
            || record.stored.driver() != subject.driver
        {
            return at("it is of another release than the first record");
        }
        if !record.stored.is_called(release, revision) {
            return at("its labels, or columns, are those of another record");
        }
        if !revisions.insert(revision) {
            return at("this revision is in the file twice");
        }
        if let Err(why) = &record.body {
            return at(&format!("it cannot be read: {why}"));
        }
        let identity = codec::decode(record.stored.payload()).and_then(|json| codec::identity(&json));
        if identity.ok() != Some((release.to_owned(), revision)) {
            return at("its body is that of another record");
        }
    }
    Ok(subject)
}

fn of_redacted(backup: &Redacted) -> Result<Subject, String> {
    let Redacted { release, namespace, storage, revisions, .. } = backup;
    if release.is_empty() || namespace.is_empty() {
        return Err("it names no release".to_owned());
    }
    let mut seen = BTreeSet::new();
    for copy in revisions {
        if !seen.insert(copy.revision) {
            return Err(format!("revision {} is in the file twice", copy.revision));
        }
        let is_readable = copy.edit().is_some_and(|edit| edit.status != Some(Status::Unknown));
        // One that nobody could read when it was saved is `null`.
        if !is_readable && !copy.body.is_null() {
            return Err(format!("revision {}: its status is none that Helm knows", copy.revision));
        }
    }
    Ok(Subject { release: release.clone(), namespace: Some(namespace.clone()), driver: *storage })
}

/// Release and revision, by the name of a record.
fn named(stored: &Stored) -> Result<(&str, u32), String> {
    let parts = stored.name().strip_prefix("sh.helm.release.v1.").and_then(|rest| rest.rsplit_once(".v"));
    let parsed = parts.and_then(|(release, revision)| Some((release, revision.parse().ok()?)));
    parsed
        .filter(|(release, revision)| !release.is_empty() && *revision > 0)
        .ok_or_else(|| format!("record {}: that is no name of a record", shown(stored.name())))
}

/// A name from a file, which may be anything.
fn shown(name: &str) -> String {
    shorten(name, 120)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        backup::{read, render},
        release::History,
    };

    fn body(revision: u32, status: &str) -> String {
        let body = json!({"name": "web", "info": {"status": status, "description": "x"}, "version": revision,
            "manifest": "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n", "config": {"k": "hunter2"}});
        String::from_utf8(codec::encode(body.to_string().as_bytes(), codec::MAX_STORED).unwrap()).unwrap()
    }

    /// A backup of two revisions, of each storage.
    fn backups() -> [Value; 3] {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let metadata = |revision: u32, status: &str| {
            json!({"name": format!("sh.helm.release.v1.web.v{revision}"), "namespace": "shop",
                "labels": {"name": "web", "owner": "helm", "status": status, "version": revision.to_string()}})
        };
        let object = |kind: &str, data: String, (revision, status): (u32, &str)| json!({"apiVersion": "v1", "kind": kind, "metadata": metadata(revision, status), "data": {"release": data}});
        let row = |(revision, status): (u32, &str)| {
            json!({"kind": "HelmReleaseRow", "key": format!("sh.helm.release.v1.web.v{revision}"),
                "type": "helm.sh/release.v1", "body": body(revision, status), "name": "web", "namespace": "shop",
                "version": revision, "status": status, "owner": "helm", "createdAt": 1, "modifiedAt": 2, "labels": {"team": "a"}})
        };
        let both = [(1, "deployed"), (2, "pending-upgrade")];
        let secret = |of: (u32, &'static str)| object("Secret", STANDARD.encode(body(of.0, of.1)), of);
        let map = |of: (u32, &'static str)| object("ConfigMap", body(of.0, of.1), of);
        let list = |items: Vec<Value>| json!({"apiVersion": "v1", "kind": "List", "items": items});
        [list(both.map(secret).into()), list(both.map(map).into()), list(both.map(row).into())]
    }

    static WHOLE: std::sync::LazyLock<[String; 3]> =
        std::sync::LazyLock::new(|| backups().map(|list| list.to_string()));

    fn verdict(text: &str) -> Result<Subject, String> {
        read(text).and_then(|backup| subject(&backup))
    }

    #[test]
    fn what_is_not_the_copy_of_one_release_is_refused_by_name() {
        let change = |at: &str, value: Value| -> Box<dyn Fn(&mut Value)> {
            let at = at.to_owned();
            Box::new(move |list: &mut Value| *list.pointer_mut(&at).unwrap() = value.clone())
        };
        for (number, list) in backups().into_iter().enumerate() {
            let subject = verdict(&list.to_string()).unwrap();
            assert_eq!((subject.release.as_str(), subject.namespace.as_deref()), ("web", Some("shop")));
            let row = number == 2;
            let at = |object: &str, of_row: &str| format!("/items/1/{}", if row { of_row } else { object });
            let payload = at("data/release", "body");
            let twice = list["items"][0].clone();
            let mixed = backups()[(number + 1) % 3]["items"][1].clone();
            let name = at("metadata/name", "key");
            let (version, of) = if row {
                (json!(3), at("", "version"))
            } else {
                (json!("3"), at("metadata/labels/version", ""))
            };
            let record = "record sh.helm.release.v1.web.v2: ";
            for (what, damage, expected) in [
                ("no record", change("/items", json!([])), "no record is in it".to_owned()),
                (
                    "twice",
                    change("/items/1", twice),
                    "record sh.helm.release.v1.web.v1: this revision is in the file twice".into(),
                ),
                (
                    "of another storage",
                    change("/items/1", mixed),
                    format!("{record}it is of another release"),
                ),
                (
                    "of another release",
                    change(&name, json!("sh.helm.release.v1.api.v2")),
                    "record sh.helm.release.v1.api.v2: it is of another release".into(),
                ),
                (
                    "no number",
                    change(&name, json!("sh.helm.release.v1.web.vx")),
                    "record sh.helm.release.v1.web.vx: that is no name".into(),
                ),
                (
                    "of another namespace",
                    change(&at("metadata/namespace", "namespace"), json!("till")),
                    format!("{record}it is of another release"),
                ),
                (
                    "another revision",
                    change(&of, version),
                    format!("{record}its labels, or columns, are those of another"),
                ),
                ("damaged", change(&payload, json!("aHVudGVyMg==")), format!("{record}it cannot be read: ")),
            ] {
                let mut damaged = list.clone();
                damage(&mut damaged);
                let why = verdict(&damaged.to_string()).unwrap_err();
                assert!(why.starts_with(&expected) && !why.contains("hunter2"), "{number}, {what}: {why}");
            }
        }
    }

    #[test]
    fn a_redacted_one_is_looked_at_too() {
        let Backup::Complete(records) = read(&backups()[0].to_string()).unwrap() else { panic!() };
        let (redacted, _) = render(&History::new(records), "web", "shop", true);
        assert!(verdict(&redacted).is_ok(), "{redacted}");
        for (from, to, expected) in [
            ("\"deployed\"", "\"deploied\"", "revision 1: its status is none that Helm knows"),
            ("\"revision\": 2", "\"revision\": 1", "revision 1 is in the file twice"),
            ("\"web\"", "\"\"", "it names no release"),
        ] {
            let why = verdict(&redacted.replacen(from, to, 1)).unwrap_err();
            assert_eq!(why, expected);
        }
    }

    proptest! {
        /// Whatever happened to a file, it is refused, or each record in it is what it was.
        #[test]
        fn a_damaged_file_is_refused_or_unharmed(
            which in 0..3_usize, at in any::<prop::sample::Index>(), with in any::<u8>(), way in 0..4_u8, length in 1..40_usize,
        ) {
            let whole = &WHOLE[which];
            let mut bytes = whole.clone().into_bytes();
            let at = at.index(bytes.len());
            match way {
                0 => bytes[at] = with,
                1 => bytes.truncate(at),
                2 => bytes.insert(at, with),
                _ => drop(bytes.drain(at..(at + length).min(whole.len()))),
            }
            let text = String::from_utf8_lossy(&bytes);
            match verdict(&text) {
                Err(why) => prop_assert!(!why.contains("hunter2") && !why.contains("H4sI") && why.len() < 400, "{}", why),
                Ok(_) => {
                    let both = [read(whole), read(&text)].map(|read| match read {
                        Ok(Backup::Complete(records)) => records,
                        other => panic!("{other:?}"),
                    });
                    for record in &both[1] {
                        let same = |original: &&Record| original.stored.name() == record.stored.name();
                        let original = both[0].iter().find(same);
                        prop_assert!(original.is_some(), "{}", text);
                        let json = |record: &Record| codec::decode(record.stored.payload()).unwrap();
                        prop_assert_eq!(original.map(json), Some(json(record)));
                    }
                }
            }
        }

        /// Any row that a database may hold is a record, and comes back from its copy as it was.
        #[test]
        fn any_row_is_a_record(
            key in "(sh\\.helm\\.release\\.v1\\.)?.{0,20}", body in "\\PC{0,60}", name in "\\PC{0,20}", status in "\\PC{0,20}",
            version in any::<i32>(), times in any::<(i32, i32)>(), labels in prop::collection::btree_map("\\PC{0,8}", "\\PC{0,8}", 0..4),
        ) {
            use crate::release::stored_record::{Row, backup_list};
            let row = Row {
                key, body, name, status, version, labels, of_type: "helm.sh/release.v1".into(), namespace: "shop".into(),
                owner: "helm".into(), created_at: times.0, modified_at: times.1, ..Row::default()
            };
            let stored = Stored::Row(Box::new(row.clone()));
            let record = stored.clone().record();
            let _ = (record.row(), record.completed(), record.is_gone());
            let text = backup_list(&[&record]).to_string();
            match read(&text) {
                Ok(Backup::Complete(copies)) => {
                    prop_assert_eq!(copies.iter().map(|copy| &copy.stored).collect::<Vec<_>>(), [&stored]);
                    let is_whole = verdict(&text).is_ok();
                    prop_assert!(!is_whole || (record.body.is_ok() && record.revision > 0));
                }
                Ok(Backup::Redacted(_)) => prop_assert!(false, "it is complete"),
                Err(_) => prop_assert!(!row.key.starts_with("sh.helm.release.v1.") || row.body.is_empty()),
            }
        }
    }
}
