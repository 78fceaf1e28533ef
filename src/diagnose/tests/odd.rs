//! What is odd: objects of which a part is of another kind than it should be, and words in no order. Nothing makes the rules
//! fall over, and what they say stays short.

use std::sync::LazyLock;

use proptest::{prelude::*, sample::Index};
use serde_json::json;

use super::*;
use crate::{
    cluster::raw_request,
    helm,
    manifest::{Manifest, ObjectKey},
    output::Format,
    preflight,
};

static RECORDED: LazyLock<Vec<Value>> =
    LazyLock::new(|| recorded().values().map(|snapshot| serde_json::to_value(snapshot).unwrap()).collect());

fn odd() -> impl Strategy<Value = Value> {
    let one = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    one.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map("[a-zA-Z]{0,9}", inner, 0..5).prop_map(|fields| json!(fields)),
        ]
    })
}

/// How many parts there are in it, itself among them.
fn parts(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(parts).sum(),
        Value::Object(fields) => fields.values().map(parts).sum(),
        _ => 0,
    }
}

/// Puts `new` in the place of the part of this number.
fn replace(value: &mut Value, number: &mut usize, new: &Value) {
    if *number == 0 {
        *value = new.clone();
    }
    *number = number.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, number, new)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, number, new)),
        _ => {}
    }
}

/// Words that the rules look for, and what stands between them.
fn words() -> impl Strategy<Value = String> {
    let known = [
        "Error: ",
        "UPGRADE FAILED: ",
        "cannot patch \"",
        "\" with kind ",
        "Deployment.apps \"",
        " is invalid: ",
        " is forbidden: ",
        "spec.",
        "field is immutable",
        "admission webhook \"",
        "\" denied the request: ",
        "failed calling webhook \"",
        "failed to call webhook: Post \"https://",
        ".svc",
        "violates PodSecurity",
        "ValidatingAdmissionPolicy '",
        "' denied request",
        "exceeded quota: ",
        "Apply failed with ",
        "conflict",
        "with \"",
        "no matches for kind \"",
        "in version \"",
        "resource mapping not found for name: \"",
        " cannot ",
        " resource \"",
        "API group \"",
        "User \"",
        "namespaces \"",
        "unable to create new content in namespace ",
        " because it is being terminated",
        "uid mismatch",
        "can be resized",
        "value: {",
        "}: ",
        "[ERROR] ",
        "ensure CRDs are installed first",
        "\"",
        "'",
        ": ",
        ", ",
        "\n",
        "/",
        "ü",
        "\u{202e}",
        "",
    ];
    let word = prop_oneof![4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,6}"];
    prop::collection::vec(word, 0..14).prop_map(|words| words.concat())
}

fn assert_short(found: &[Cause]) {
    assert!(found.len() <= MOST);
    assert!(found.iter().all(|cause| cause.evidence.len() <= LINES && cause.remedy.len() <= LINES));
}

proptest! {
    #[test]
    fn no_object_is_too_odd(case: Index, at: Index, new in odd(), more: Index) {
        let mut value = case.get(&RECORDED).clone();
        for at in [at, more] {
            let live = &mut value["live"];
            replace(live, &mut at.index(parts(live)), &new);
        }
        // Where a list is none it is no snapshot any more.
        let Ok(snapshot) = serde_json::from_value::<Snapshot>(value) else { return Ok(()) };
        let found = causes(&snapshot);
        assert_short(&found);
        let (pods, events) = render::facts(&snapshot.live);
        prop_assert!(found.is_empty() || !next(&snapshot, &found).is_empty());
        let diagnosis = render::Diagnosis {
            schema_version: 1, release: "web".into(), namespace: "shop".into(), status: String::new(), causes: found, pods, events,
            hidden: Vec::new(),
        };
        let told = render::render(&diagnosis, Format::Table);
        prop_assert!(!told.contains('\u{1b}'), "{told:?}");
    }

    #[test]
    fn no_words_are_too_odd(error in words(), said in prop::collection::vec(words(), 0..4), code in 0..600_u16) {
        let refusal = |message: &String| Refusal { method: "PATCH".into(), path: message.clone(), code, message: message.clone() };
        let error = said.iter().fold(error, |error, said| error + "\nError: " + said);
        let refusals = said.iter().map(refusal).collect();
        let snapshot = Snapshot { command: "upgrade".into(), error, refusals, ..Snapshot::default() };
        assert_short(&causes(&snapshot));
        let _ = (reason(&snapshot.error), helm::unknown_kinds(&snapshot.error), helm::Version::parse(&snapshot.error));
        preflight::lint::findings(&snapshot.error, "web");
    }

    #[test]
    fn no_refusal_of_a_dry_run_is_too_odd(
        kind in prop::sample::select(vec!["PersistentVolumeClaim", "StatefulSet", "Secret", "Pod"]),
        code in prop::sample::select(vec![0, 400, 403, 404, 409, 413, 422, 429, 500]),
        message in words(), causes in prop::collection::vec((words(), words()), 0..3), wanted in odd(), live in odd(),
    ) {
        let key = ObjectKey { api_version: "v1".into(), kind: kind.into(), namespace: "shop".into(), name: "x".into() };
        let cause = |(field, message): (String, String)| {
            let reason = "FieldManagerConflict".to_owned();
            raw_request::Cause { reason, field, message }
        };
        let causes = causes.into_iter().map(cause).collect();
        let refusal = raw_request::Refusal { code, reason: String::new(), message: message.clone(), causes };
        let answer = preflight::Answer { wanted, live: Some(live), refusal: Some(refusal), warnings: vec![message], ..Default::default() };
        let (nothing, varying) = (Manifest::default(), crate::preflight::varying::Varying::default());
        let context = preflight::Context {
            manifest: &nothing,
            hooks: &nothing,
            first: "pre-upgrade",
            recreates: false,
            takes_over_fields: false,
            varying: &varying,
        };
        for finding in preflight::judge(&key, &answer, &context) {
            prop_assert!(preflight::IDS.contains(&finding.id));
            prop_assert!(finding.cause.chars().count() <= 520 && !finding.cause.contains('\n'), "{}", finding.cause);
        }
    }
}
