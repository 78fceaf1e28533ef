//! Rows beside objects: their order, and their copies.

use super::*;
use crate::release::codec::Edit;
use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;

fn row(written_by: Option<u32>) -> Stored {
    let json = r#"{"name":"web","info":{"status":"deployed","description":"x"},"future":1.50}"#;
    let body = String::from_utf8(codec::encode(json.as_bytes(), usize::MAX).unwrap()).unwrap();
    Stored::Row(Box::new(Row {
        key: "sh.helm.release.v1.web.v2".into(),
        of_type: "helm.sh/release.v1".into(),
        body,
        name: "web".into(),
        namespace: "shop".into(),
        version: 2,
        status: "deployed".into(),
        owner: "helm".into(),
        created_at: 1,
        labels: [("team".to_owned(), "a".to_owned())].into(),
        written_by,
        ..Row::default()
    }))
}

fn secret(version: &str) -> Stored {
    let metadata = ObjectMeta { resource_version: Some(version.into()), ..ObjectMeta::default() };
    Stored::Secret(Box::new(Secret { metadata, ..Secret::default() }))
}

#[test]
fn of_two_writes_the_later_one_is_told_if_anybody_can() {
    for (what, this, other, later) in [
        ("resource versions are numbers", secret("10"), secret("9"), true),
        ("and not texts", secret("9"), secret("10"), false),
        ("of another storage", secret("10"), row(Some(9)), false),
        ("no number", secret("x"), secret("1"), false),
        ("no number to compare with", secret("1"), secret("x"), false),
        ("a later transaction", row(Some(800)), row(Some(799)), true),
        ("an earlier one", row(Some(799)), row(Some(800)), false),
        ("one transaction wrote both: a dump", row(Some(800)), row(Some(800)), false),
        ("numbers began again in between", row(Some(5)), row(Some(u32::MAX)), true),
        ("the other way round", row(Some(u32::MAX)), row(Some(5)), false),
        ("frozen long ago", row(Some(800)), row(Some(2)), false),
        ("never read", row(Some(800)), row(None), false),
    ] {
        assert_eq!(this.is_later_than(&other), later, "{what}");
    }
}

#[test]
fn a_copy_of_a_row_is_read_again_without_its_version() {
    let record = row(Some(7)).record();
    assert_eq!((record.revision, record.label, record.status()), (2, Status::Deployed, Status::Deployed));
    let list = backup_list(&[&record]);
    assert_eq!(list["items"][0]["kind"], "HelmReleaseRow");
    let [copy] = read_backup(&list.to_string()).unwrap().try_into().unwrap_or_else(|_| panic!("{list:#}"));
    assert_eq!(copy.stored, row(None));
    assert_eq!((copy.stored.driver(), copy.stored.namespace().as_deref()), (Driver::Sql, Some("shop")));
    let broken = list.to_string().replace("\"version\":2", "\"version\":\"hunter2\"");
    let why = read_backup(&broken).unwrap_err();
    assert!(why.starts_with("not a backup of helm-guard: ") && !why.contains("hunter2"), "{why}");
}

#[test]
fn a_row_becomes_as_its_copy_where_it_is() {
    let mut stored = row(Some(9));
    stored.set_status(Status::Failed, 1_700_000_000);
    let Stored::Row(changed) = &stored else { panic!() };
    assert_eq!((changed.status.as_str(), changed.modified_at), ("failed", 1_700_000_000));
    let Stored::Row(mut elsewhere) = row(None) else { panic!() };
    elsewhere.namespace = "other".into();
    stored.become_as(&Stored::Row(elsewhere));
    assert_eq!(stored, row(Some(9)), "it stays in its namespace, and what it is compared with stays");
}

/// A column holds what no Secret could.
#[test]
fn a_row_has_no_limit() {
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from(state >> 59).unwrap() % 26)
    });
    let noise: String = noise.take(3 << 20).collect();
    let json = format!(r#"{{"info":{{"status":"deployed"}},"manifest":"{noise}"}}"#);
    let edited =
        codec::edit(json.as_bytes(), &Edit { status: Some(Status::Failed), ..Edit::default() }).unwrap();
    assert!(codec::encode(&edited, secret("1").limit()).is_err());
    let payload = codec::encode(&edited, row(None).limit()).unwrap();
    assert_eq!(codec::essentials(&codec::decode(&payload).unwrap()).unwrap().status, Status::Failed);
}

proptest! {
    /// Whatever a column holds, or an object: a record, or why it is none.
    #[test]
    fn no_row_and_no_object_is_too_odd(
        texts in prop::array::uniform6(".{0,20}"), numbers: (i32, i32, Option<u32>), json in "[\\[\\]{}\":,a-z0-9 ]{0,40}",
    ) {
        let [key, body, name, namespace, status, owner] = texts;
        let (version, created_at, written_by) = numbers;
        let row = Row { key: key.clone(), body, name, namespace, version, status, owner, created_at, written_by, ..Row::default() };
        let mut of_json = row.clone();
        of_json.body = STANDARD.encode(&json);
        let metadata = ObjectMeta { name: Some(key), ..ObjectMeta::default() };
        let data = [("release".to_owned(), ByteString(STANDARD.encode(json).into_bytes()))].into();
        let secret = Secret { metadata, data: Some(data), ..Secret::default() };
        for stored in [Stored::Row(Box::new(row)), Stored::Row(Box::new(of_json)), Stored::Secret(Box::new(secret))] {
            let record = stored.record();
            prop_assert!(record.body.is_ok() || !record.row().undecodable.is_empty());
            prop_assert!(u32::try_from(version).is_ok_and(|version| version == record.revision) || record.revision == 0 || record.stored.driver() == Driver::Secrets);
        }
    }
}
