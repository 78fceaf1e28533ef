//! Records that Helm cannot work with, or that nobody may write: the next deploy works, and nothing that lives is hurt.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use helm_guard::release::codec;
use serde_json::{Value, json};
use testbed::{Gate, Hold, tools::Helm};

use crate::{
    stage::{SHORT_LIVED, Stage, kill},
    sweep::{is_helm, start},
};

const WAIT: [&str; 2] = ["--wait", "--timeout=60s"];

fn name(revision: u32) -> String {
    format!("sh.helm.release.v1.web.v{revision}")
}

fn body(stage: &Stage, revision: u32) -> Value {
    let secret = stage.namespace.kubectl_json(["get", "secret", &name(revision), "-o", "json"]).unwrap();
    let payload = STANDARD.decode(secret["data"]["release"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&codec::decode(&payload).unwrap()).unwrap()
}

/// Changes the body of a record behind Helm's back; the label goes with the status.
fn edit(stage: &Stage, revision: u32, change: impl FnOnce(&mut Value)) {
    let mut body = body(stage, revision);
    change(&mut body);
    let payload = codec::encode(body.to_string().as_bytes(), codec::MAX_STORED).unwrap();
    let mut patch = json!({"data": {"release": STANDARD.encode(payload)}});
    if let Some(status) = body["info"]["status"].as_str() {
        patch["metadata"]["labels"]["status"] = status.into();
    }
    stage.namespace.kubectl(["patch", "secret", &name(revision), "-p", &patch.to_string()]).unwrap();
}

fn make_immutable(stage: &Stage, revision: u32) {
    let patch = ["patch", stage.resource(), &name(revision), "-p", r#"{"immutable":true}"#];
    stage.namespace.kubectl(patch).unwrap();
}

const NO_YAML: &str = "a: [b\nc: d: e";

/// A good revision below one that died; what becomes of the record is the story.
fn stuck(stem: &str, version: Helm) -> Stage {
    stuck_on(Stage::new(stem, version))
}

fn stuck_on(stage: Stage) -> Stage {
    stage.ready("install", &["--set=configs={keep,old}", "--set-string=env.GOOD=1"]);
    stage.stick("upgrade", &["--set=configs={keep,dead}", "--set=behavior=never-ready"]);
    stage
}

/// The next deploy works, and what lives is what it wants; `dead` may be left where nobody can read who made it.
#[track_caller]
fn deploys(stage: &Stage, what: &str, more: &[&str]) -> String {
    let before = stage.uids();
    let mut flags = vec!["--set=configs={keep}", "--set-string=env.NEW=1"];
    flags.extend(WAIT);
    flags.extend(more);
    let said = Stage::run(stage.guard("upgrade", &flags));
    assert_eq!(said.code, Some(0), "{what}: {}", said.err);
    stage.assert_deployed();
    let after = stage.uids();
    for kept in ["ConfigMap/keep", "Deployment/web"] {
        assert_eq!(before[kept], after[kept], "{what}: {}", said.err);
    }
    assert!(!after.contains_key("ConfigMap/old"), "{what}: {after:?}\n{}", said.err);
    assert_eq!(stage.env(), ["FIXED", "NEW"], "{what}: {}", said.err);
    said.err
}

type Change = fn(&mut Value);

fn a_dead_record_in_every_odd_state(version: Helm) {
    let changes: [(&str, Change); 6] = [
        ("its manifest is not YAML", |body| body["manifest"] = NO_YAML.into()),
        ("its manifest holds no objects", |body| body["manifest"] = "a: b\n".into()),
        ("its status is unknown", |body| body["info"]["status"] = "unknown".into()),
        ("its status is a word of the future", |body| body["info"]["status"] = "pending-canary".into()),
        ("it has no info", |body| drop(body.as_object_mut().unwrap().remove("info"))),
        ("it has no chart", |body| drop(body.as_object_mut().unwrap().remove("chart"))),
    ];
    for (what, change) in changes {
        let stage = stuck("dead", version);
        edit(&stage, 2, change);
        let said = deploys(&stage, what, &[]);
        assert!(!said.contains("another helm") && !said.contains("--install"), "{what}: {said}");
        if !what.contains("manifest") {
            assert!(!stage.uids().contains_key("ConfigMap/dead"), "{what}: {said}");
        }
        stage.assert_history(&["superseded", "failed", "deployed"]);
    }
}

/// The only record there is, with and without `--install`.
fn the_only_record_in_every_odd_state(version: Helm) {
    let changes: [(&str, Change); 4] = [
        ("its manifest is not YAML", |body| body["manifest"] = NO_YAML.into()),
        ("its status is unknown", |body| body["info"]["status"] = "unknown".into()),
        ("its status is a word of the future", |body| body["info"]["status"] = "canary".into()),
        ("it has no info", |body| drop(body.as_object_mut().unwrap().remove("info"))),
    ];
    for (at, (what, change)) in changes.into_iter().enumerate() {
        let stage = Stage::new("only", version);
        stage.ready("install", &["--set=configs={keep}"]);
        edit(&stage, 1, change);
        let install: &[&str] = if at.is_multiple_of(2) { &[] } else { &["--install"] };
        deploys(&stage, what, install);
        if what.contains("YAML") {
            assert_eq!(body(&stage, 1)["manifest"], NO_YAML, "it is as it was, and no rollback goes there");
        }
    }
}

/// Of a manifest in force that is not YAML plain Helm takes neither an upgrade nor a rollback.
fn a_rollback_from_a_manifest_that_is_not_yaml(version: Helm) {
    let stage = Stage::new("back", version);
    stage.ready("install", &["--set-string=env.GOOD=1"]);
    stage.ready("upgrade", &["--set-string=env.BAD=1"]);
    edit(&stage, 2, |body| body["manifest"] = NO_YAML.into());
    let said = Stage::run(stage.guard("rollback", &["1", "--wait", "--timeout=60s"]));
    assert_eq!(said.code, Some(0), "{}", said.err);
    stage.assert_deployed();
    assert!(stage.env().contains(&"GOOD".to_owned()), "{}", said.err);
}

/// Over a record without `info` every command of Helm panics, `history` too, wherever it stands.
fn a_record_without_info_in_the_middle(version: Helm) {
    let stage = Stage::new("middle", version);
    stage.ready("install", &["--set=configs={keep}"]);
    stage.ready("upgrade", &["--set=configs={keep}"]);
    edit(&stage, 1, |body| drop(body.as_object_mut().unwrap().remove("info")));
    deploys(&stage, "in the middle", &[]);
}

/// An immutable record is replaced, with a copy saved before; Helm could not have superseded it.
fn an_immutable_record_is_replaced(version: Helm) {
    are_replaced(|stem| Stage::new(stem, version));
}

/// The same of ConfigMaps.
fn an_immutable_config_map_is_replaced(version: Helm) {
    are_replaced(|stem| Stage { driver: "configmap", ..Stage::new(stem, version) });
}

fn are_replaced(stage: impl Fn(&str) -> Stage) {
    for which in [&[2][..], &[1], &[1, 2]] {
        let stage = stuck_on(stage("fixed"));
        which.iter().for_each(|revision| make_immutable(&stage, *revision));
        let said = deploys(&stage, "immutable", &[]);
        stage.assert_history(&["superseded", "failed", "deployed"]);
        assert!(!stage.uids().contains_key("ConfigMap/dead"), "{said}");
        let copy = std::fs::read_to_string(stage.copy_of_the_repair()).unwrap();
        assert!(copy.contains("\"immutable\":true"));
    }
    let stage = stage("healthy");
    stage.ready("install", &["--set=configs={keep}"]);
    make_immutable(&stage, 1);
    deploys(&stage, "immutable and deployed", &[]);
    stage.assert_history(&["superseded", "deployed"]);
}

/// Somebody writes to a record between the look and the write, which for an immutable one is a deletion: what they wrote is
/// not lost.
fn a_record_that_was_changed_meanwhile_is_left(version: Helm) {
    for (is_immutable, method) in [(true, "DELETE"), (false, "PUT")] {
        changed_meanwhile(stuck("raced", version), is_immutable, method);
    }
}

fn changed_meanwhile(stage: Stage, is_immutable: bool, method: &'static str) {
    if is_immutable {
        make_immutable(&stage, 2);
    }
    let mut label = stage.namespace.command();
    label.args(["label", "secret", &name(2), "written=meanwhile"]);
    let gate = Gate::open(&stage.namespace, move |seen| {
        let writes = seen.method.as_str() == method && seen.object() == format!("secrets/{}", name(2));
        if writes && !is_helm(seen) {
            let labelled = label.output().unwrap();
            assert!(labelled.status.success(), "{}", String::from_utf8_lossy(&labelled.stderr));
        }
        None
    })
    .unwrap();
    let mut guard = stage.guard("upgrade", &WAIT);
    guard.env("KUBECONFIG", gate.kubeconfig());
    let said = Stage::run(guard);
    drop(gate);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("was changed by another client"), "{}", said.err);
    let record = stage.namespace.kubectl_json(["get", "secret", &name(2)]).unwrap();
    assert_eq!(record["metadata"]["labels"]["written"], "meanwhile", "{}", said.err);
    stage.assert_history(&["deployed", "pending-upgrade"]);
}

/// Makes a record's body larger than helm-guard holds in memory. Its object stays small: what is in it compresses well.
fn make_large(stage: &Stage, revision: u32) {
    let much = usize::try_from(codec::MAX_DECODED).unwrap();
    edit(stage, revision, |body| {
        body["chart"]["files"] = json!([{"name": "much", "data": "A".repeat(much)}])
    });
}

/// A record that is larger than helm-guard reads: Helm reads it, so it is not damaged, and an upgrade goes over it. Which Helm
/// reads it makes no difference, and takes seconds each time: the one in force is read by Helm 3, the dead one by Helm 4.
fn a_record_in_force_beyond_our_limits(version: Helm) {
    let stage = Stage::new("largebase", version);
    stage.ready("install", &["--set=configs={keep,old}"]);
    make_large(&stage, 1);
    deploys(&stage, "large and deployed", &[]);
    stage.assert_history(&["superseded", "deployed"]);
}

fn a_dead_record_beyond_our_limits(version: Helm) {
    let stage = stuck("largedead", version);
    make_large(&stage, 2);
    let helm_reads = |stage: &Stage| Stage::ok(stage.helm(&["get", "manifest", "web", "--revision=2"])).out;
    let before = helm_reads(&stage);
    let shown = Stage::ok(stage.own(&["status", "web", "-o", "json"]));
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!((&shown["state"], &shown["repair"]["strategy"]), (&json!("stuck"), &json!("mark-failed")));
    let said = deploys(&stage, "large and dead", &[]);
    assert!(!said.contains("cannot be decoded"), "{said}");
    stage.assert_history(&["superseded", "failed", "deployed"]);
    assert_eq!(helm_reads(&stage), before, "{said}");
    let size = stage.records()[1].2["release"].as_str().unwrap().len();
    assert!(size > 64 << 10, "it keeps its bulk: {size}");
}

/// Killed when the record is deleted and not yet created again: its copy is the way back.
fn a_record_that_was_lost_half_way_is_restored(version: Helm) {
    let stage = stuck("lost", version);
    make_immutable(&stage, 2);
    let gate = Gate::open(&stage.namespace, |seen| {
        let creates = seen.method.as_str() == "POST" && seen.object() == "secrets" && !is_helm(seen);
        creates.then_some(Hold::Before)
    })
    .unwrap();
    let mut child = start(stage.guard("upgrade", &[SHORT_LIVED]), gate.kubeconfig());
    let held = gate.wait(Duration::from_secs(60));
    kill(&mut child);
    drop(gate);
    held.unwrap();
    stage.assert_history(&["deployed"]);
    let file = stage.copy_of_the_repair();
    Stage::ok(stage.own(&["restore", file.to_str().unwrap()]));
    stage.assert_history(&["deployed", "pending-upgrade"]);
    deploys(&stage, "restored", &[]);
    assert!(!stage.uids().contains_key("ConfigMap/dead"));
}

crate::with_both_helms! {
    a_dead_record_in_every_odd_state the_only_record_in_every_odd_state a_rollback_from_a_manifest_that_is_not_yaml
    a_record_without_info_in_the_middle an_immutable_record_is_replaced
}
crate::with_either_helm! {
    V3 a_record_that_was_lost_half_way_is_restored
    V3 a_record_in_force_beyond_our_limits
    V4 a_dead_record_beyond_our_limits
    V4 an_immutable_config_map_is_replaced
    V4 a_record_that_was_changed_meanwhile_is_left
}
