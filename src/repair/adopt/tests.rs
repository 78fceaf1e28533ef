use serde_json::json;

use super::*;
use crate::repair::tests::history;

fn object(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

fn manifest(text: &str) -> Manifest {
    Manifest::parse(text, "shop").unwrap()
}

fn key(kind: &str, name: &str) -> ObjectKey {
    let (api_version, kind, namespace, name) = ("v1".into(), kind.into(), "shop".into(), name.into());
    ObjectKey { api_version, kind, namespace, name }
}

/// Of an upgrade that began at ten.
fn evidence() -> Evidence {
    Evidence {
        release: "web".into(),
        namespace: "shop".into(),
        operation: "upgrade",
        began: "2026-06-01T10:00:00.5Z".into(),
        ..Evidence::default()
    }
}

fn said(proof: &Proof) -> String {
    match proof {
        Proof::None => "nobody looked".into(),
        Proof::Holds => "holds".into(),
        Proof::Fails(reasons) => reasons.join("; "),
    }
}

#[test]
fn each_object_must_live_as_it_is_wanted_and_be_ready() {
    let live = "{apiVersion: v1, kind: ConfigMap, data: {a: hunter2}}";
    let mine = "metadata: {managedFields: [{manager: helm, operation: Apply, fieldsV1: {f:a: {}}}]}";
    let more = "metadata: {managedFields: [{manager: helm, operation: Apply, fieldsV1: {f:a: {}, f:b: {}}}]}";
    let by_another = "metadata: {managedFields: [{manager: helm, operation: Update, fieldsV1: {f:a: {}}}]}";
    let becomes = |text: &str| Applied::Becomes(Box::new(object(text)));
    let unknown = || Applied::Unknown("it may not be looked at".into());
    for (what, live, applied, expected) in [
        ("nothing would be sent", Some(live), Applied::Same, "holds"),
        ("nothing would become of it", Some(live), becomes(live), "holds"),
        (
            "a value is another",
            Some(live),
            becomes("{apiVersion: v1, kind: ConfigMap, data: {a: hunter3}}"),
            "ConfigMap/one differs in .data.a",
        ),
        ("it is gone", None, Applied::Same, "ConfigMap/one is not there"),
        ("nobody may look", None, unknown(), "ConfigMap/one could not be compared: it may not be looked at"),
        (
            "nobody may try",
            Some(live),
            unknown(),
            "ConfigMap/one could not be compared: it may not be looked at",
        ),
        (
            "it goes",
            Some("{kind: ConfigMap, metadata: {deletionTimestamp: now}}"),
            Applied::Same,
            "ConfigMap/one is not ready: it is being deleted",
        ),
        (
            "it is not ready",
            Some("{apiVersion: v1, kind: Pod, status: {phase: Pending}}"),
            Applied::Same,
            "ConfigMap/one is not ready: it is Pending",
        ),
        ("it was applied by the API server", Some(mine), becomes(mine), "holds"),
        (
            "it was applied with a field that others set too",
            Some(more),
            becomes(mine),
            "ConfigMap/one was not applied as this revision has it",
        ),
        ("somebody took a field over, and left it as it is", Some(mine), becomes(more), "holds"),
        (
            "it was applied only by older revisions, in another way",
            Some(by_another),
            becomes(mine),
            "ConfigMap/one was not applied as this revision has it",
        ),
    ] {
        let live = live.map(object);
        let objects = vec![Object { key: key("ConfigMap", "one"), live, applied }];
        assert_eq!(said(&judge(&Evidence { objects, ..evidence() })), expected, "{what}");
    }
}

#[test]
fn what_only_older_revisions_had_must_be_gone_unless_it_is_to_be_kept() {
    let ours = "meta.helm.sh/release-name: web, meta.helm.sh/release-namespace: shop";
    for (what, live, expected) in [
        ("it is gone", Ok(None), "holds"),
        (
            "it is ours",
            Ok(Some(format!("annotations: {{{ours}}}"))),
            "ConfigMap/old of an older revision is left",
        ),
        (
            "it is marked by nobody, as old Helms left it",
            Ok(Some("name: old".to_owned())),
            "ConfigMap/old of an older revision is left",
        ),
        (
            "another release has taken it",
            Ok(Some(
                "annotations: {meta.helm.sh/release-name: api, meta.helm.sh/release-namespace: shop}"
                    .to_owned(),
            )),
            "holds",
        ),
        (
            "it is to be kept",
            Ok(Some(format!("annotations: {{{ours}, helm.sh/resource-policy: keep}}"))),
            "holds",
        ),
        ("it goes", Ok(Some(format!("annotations: {{{ours}}}, deletionTimestamp: now"))), "holds"),
        (
            "nobody may look",
            Err("it may not be looked at".to_owned()),
            "ConfigMap/old of an older revision may be left: it may not be looked at",
        ),
    ] {
        let live = live.map(|text| text.map(|text| object(&format!("{{metadata: {{{text}}}}}"))));
        let others = vec![(key("ConfigMap", "old"), live)];
        assert_eq!(said(&judge(&Evidence { others, ..evidence() })), expected, "{what}");
    }
}

/// A Job as a hook: its events, when it began and how it ended by the record, and what lives of it.
fn hook(events: &[&str], started: &str, phase: &str, live: &str) -> Hook {
    let run = serde_json::from_value(json!({
        "name": events[0], "kind": "Job", "events": events, "delete_policies": ["before-hook-creation"],
        "last_run": {"started_at": started, "phase": phase},
    }));
    let condition =
        |kind: &str| json!({"kind": "Job", "status": {"conditions": [{"type": kind, "status": "True"}]}});
    let live = match live {
        "" => Ok(None),
        "runs" => Ok(Some(json!({"kind": "Job"}))),
        "forbidden" => Err("it may not be looked at".to_owned()),
        kind => Ok(Some(condition(kind))),
    };
    Hook { run: run.unwrap(), live }
}

#[test]
fn each_hook_must_be_known_to_have_ended_well() {
    let at = "2026-06-01T10:00:07Z";
    let before = "2026-06-01T09:00:07Z";
    let done = || hook(&["post-upgrade"], at, "Running", "Complete");
    for (what, hooks, is_new, expected) in [
        ("hooks of other times", vec![hook(&["pre-install", "test"], "", "", "")], false, "holds"),
        (
            "the next one began, so the record says it",
            vec![hook(&["pre-upgrade"], at, "Succeeded", "")],
            false,
            "holds",
        ),
        ("its Job says it", vec![hook(&["pre-upgrade"], at, "Running", "Complete")], false, "holds"),
        ("what came after it does", vec![hook(&["pre-upgrade"], at, "Running", ""), done()], false, "holds"),
        ("what Helm applied after it does", vec![hook(&["pre-upgrade"], at, "Running", "")], true, "holds"),
        (
            "its Job is gone",
            vec![hook(&["pre-upgrade"], at, "Running", "")],
            false,
            "hook Job/pre-upgrade started and is gone; its result is unknown",
        ),
        (
            "it never began",
            vec![hook(&["post-upgrade"], "", "", "")],
            true,
            "hook Job/post-upgrade has not run",
        ),
        (
            "it never began, and one of an earlier deploy is there",
            vec![hook(&["post-upgrade"], "", "", "Complete")],
            true,
            "hook Job/post-upgrade has not run",
        ),
        (
            "a rollback has the runs of the revision that it goes back to",
            vec![hook(&["post-upgrade"], before, "Succeeded", "Complete")],
            true,
            "hook Job/post-upgrade has not run",
        ),
        (
            "it runs",
            vec![hook(&["post-upgrade"], at, "Running", "runs")],
            true,
            "hook Job/post-upgrade may not have done its work: it has not ended",
        ),
        (
            "its Job failed",
            vec![hook(&["post-upgrade"], at, "Running", "Failed")],
            true,
            "hook Job/post-upgrade may not have done its work: it failed",
        ),
        (
            "the record says that it failed",
            vec![hook(&["pre-upgrade"], at, "Failed", "")],
            true,
            "hook Job/pre-upgrade failed",
        ),
        (
            "its Job is gone, and nothing comes after it",
            vec![hook(&["post-upgrade"], at, "Running", "")],
            true,
            "hook Job/post-upgrade started and is gone; its result is unknown",
        ),
        (
            "nobody may look",
            vec![hook(&["post-upgrade"], at, "Running", "forbidden")],
            true,
            "hook Job/post-upgrade may not have ended: it may not be looked at",
        ),
        (
            "it runs twice",
            vec![hook(&["pre-upgrade", "post-upgrade"], at, "Running", "Complete")],
            true,
            "hook Job/pre-upgrade runs before and after, and the record tells only of one run",
        ),
    ] {
        assert_eq!(said(&judge(&Evidence { hooks, is_new, ..evidence() })), expected, "{what}");
    }
    // Its predecessor is not deleted first: what lives may be that.
    let mut old = done();
    old.run = serde_json::from_value(json!({
        "name": "x", "kind": "Job", "events": ["post-upgrade"], "last_run": {"started_at": at, "phase": "Running"},
    }))
    .unwrap();
    let proof = judge(&Evidence { hooks: vec![old], ..evidence() });
    assert_eq!(said(&proof), "hook Job/x started, and the live object may be of an earlier run");
    // What is new proves nothing as long as something of it is missing.
    let missing = vec![Object { key: key("ConfigMap", "one"), live: None, applied: Applied::Same }];
    let hooks = vec![hook(&["pre-upgrade"], at, "Running", "")];
    let proof = judge(&Evidence { hooks, objects: missing, is_new: true, ..evidence() });
    assert!(said(&proof).contains("its result is unknown"), "{}", said(&proof));
}

#[test]
fn many_reasons_are_counted() {
    let one = |n| Object { key: key("ConfigMap", &format!("c{n}")), live: None, applied: Applied::Same };
    let Proof::Fails(reasons) = judge(&Evidence { objects: (0..300).map(one).collect(), ..evidence() })
    else {
        panic!()
    };
    assert_eq!((reasons.len(), reasons[TOLD].as_str()), (TOLD + 1, "and 295 more"));
}

#[test]
fn new_is_what_no_other_manifest_marks_so() {
    let deployment = |image: &str, cpu: &str| {
        format!(
            "kind: Deployment\napiVersion: apps/v1\nmetadata: {{name: web}}\nspec: {{template: {{spec: {{containers: \
             [{{image: '{image}', resources: {{cpu: '{cpu}'}}}}]}}}}}}\n"
        )
    };
    let (one, two, same) = (deployment("web:1", "1"), deployment("web:2", "1"), deployment("web:1", "1000m"));
    for (what, new, others, expected) in [
        ("a first install", &one, vec![], true),
        ("another image", &two, vec![&one], true),
        ("the same", &one, vec![&one], false),
        ("an amount written otherwise", &same, vec![&one], false),
        ("as the dead one between", &two, vec![&one, &two], false),
    ] {
        let others: Vec<Manifest> = others.into_iter().map(|text| manifest(text)).collect();
        assert_eq!(is_new(&manifest(new), &others), expected, "{what}");
    }
}

#[test]
fn what_died_can_be_adopted_and_what_failed_if_it_is_asked_for() {
    for (records, also_failed, expected) in [
        ("1 pending-install", false, "install: Install complete (adopted by helm-guard)"),
        ("1 deployed, 2 pending-upgrade", false, "upgrade: Upgrade complete (adopted by helm-guard)"),
        ("1 deployed, 2 pending-rollback", false, "rollback: as it is"),
        ("1 superseded!, 2 pending-upgrade", false, "nothing"),
        ("1 superseded, 2 deployed", true, "nothing"),
        ("1 deployed, 2 failed", false, "nothing"),
        ("1 deployed, 2 failed", true, "upgrade: Upgrade complete (adopted by helm-guard)"),
        ("1 uninstalling", true, "nothing"),
        (
            "1 deployed, 2 pending-upgrade, 3 unreadable",
            false,
            "upgrade: Upgrade complete (adopted by helm-guard)",
        ),
    ] {
        let history = history(records);
        let found = candidate(&history, also_failed).map_or("nothing".to_owned(), |record| {
            let said = description(record).unwrap_or_else(|| "as it is".into());
            format!("{}: {said}", operation(record).unwrap())
        });
        assert_eq!(found, expected, "{records}");
    }
}

#[test]
fn what_failed_is_known_by_its_description() {
    for (revision, text, expected) in [
        (2, "died while pending-upgrade; marked by helm-guard", Some("upgrade")),
        (2, "died while pending-rollback; marked by helm-guard", Some("rollback")),
        (1, "died while pending-install; marked by helm-guard", Some("install")),
        (2, "died while uninstalling; marked by helm-guard", None),
        (2, "died while pending-upgrade", None),
        (2, "Rollback \"web\" failed: timed out", Some("rollback")),
        (1, "Release \"web\" failed: timed out", Some("install")),
        (2, "Release \"web\" failed: timed out", None),
    ] {
        let mut record = history(&format!("{revision} failed")).records.remove(0);
        record.body.as_mut().unwrap().description = text.to_owned();
        assert_eq!(operation(&record), expected, "{text}");
        assert!(description(&record).is_some_and(|text| !text.contains(MARK)));
    }
}
