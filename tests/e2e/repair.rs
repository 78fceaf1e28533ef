//! `status` and `repair`: a stuck release is looked at and mended without a deploy, and so without a chart.

use std::process::Stdio;

use serde_json::Value;
use testbed::tools::Helm;

use crate::{
    lock::lock,
    progress::Live,
    stage::{Said, Stage, kill},
    texts::{hold, told},
};

fn repair(stage: &Stage, more: &[&str]) -> Said {
    let mut command = stage.own(&["repair", "web", "--lease-duration=6s"]);
    command.args(more);
    Stage::run(command)
}

fn status(stage: &Stage) -> Value {
    serde_json::from_str(&Stage::ok(stage.own(&["status", "web", "-o", "json"])).out).unwrap()
}

/// What is shown, tried out and done is the same thing; the second time there is nothing to do.
fn a_stuck_upgrade_is_shown_and_repaired(version: Helm) {
    let stage = Stage::new("repair", version);
    stage.ready("install", &[]);
    stage.stick("upgrade", &["--set=configs={dead}", "--set=behavior=never-ready"]);
    // The story is told of a pod that runs and is not ready.
    let runs = |pod: &Value| {
        let is_new = pod["metadata"]["annotations"]["testbed.helm-guard.dev/behavior"] == "never-ready";
        is_new && pod["status"]["phase"] == "Running"
    };
    stage.namespace.watch_until(["pods"], std::time::Duration::from_secs(60), runs).unwrap();
    let before = stage.records();
    hold(version, "status_of_a_stuck_release", &told(&stage, stage.own(&["status", "web"]), 0));
    hold(version, "dry_run_of_a_repair", &told(&stage, stage.own(&["repair", "web", "--dry-run"]), 0));
    assert_eq!(stage.records(), before);
    let leases = stage.namespace.kubectl(["get", "leases", "-o", "name"]).unwrap();
    assert_eq!(leases.trim(), "", "a dry run writes nothing");

    hold(version, "repair_of_a_stuck_release", &told(&stage, stage.own(&["repair", "web"]), 0));
    stage.assert_history(&["deployed", "failed"]);
    assert_eq!(status(&stage)["state"], "failed");
    let report = stage.temporary.path().join("report.json");
    let again = repair(&stage, &["--report", report.to_str().unwrap()]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!((&report["outcome"], &report["subject"]["command"]), (&"healthy".into(), &"repair".into()));
    assert_eq!(lock(&stage, &[])["state"], "free");
    Stage::ok(stage.guard("upgrade", &["--wait", "--timeout=60s"]));
    assert_eq!(status(&stage)["state"], "deployed");
    assert!(!stage.uids().contains_key("ConfigMap/dead"), "the next deploy cleans up");
}

/// Back to the last good revision, and nothing stays of the dead ones: neither of the last nor of those before.
fn a_repair_by_rollback_leaves_nothing_of_two_dead_revisions(version: Helm) {
    let stage = Stage::new("back", version);
    stage.ready("install", &["--set=configs={good}"]);
    let kept = stage.uids();
    let failing = ["--set=configs={one}", "--set=behavior=never-ready", "--wait", "--timeout=1s"];
    assert_eq!(Stage::run(stage.raw("upgrade", &failing)).code, Some(1));
    stage
        .stick("upgrade", &["--set=configs={two}", "--set-string=env.STRAY=1", "--set=behavior=never-ready"]);
    let said = repair(&stage, &["--strategy=rollback"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    stage.assert_history(&["superseded", "failed", "failed", "deployed"]);
    let left = stage.uids();
    assert_eq!(left.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
    assert_eq!(left["Deployment/web"], kept["Deployment/web"], "what works is not created anew");
    assert_eq!(stage.env(), ["FIXED"]);
}

/// What is rolled back to is waited for: until it is ready, or is too late, and then why is told.
fn a_rollback_is_waited_for(version: Helm) {
    let stage = Stage::new("rollout", version);
    let mark = stage.namespace.name();
    // Pods of the good revision find a place when this story says so.
    let place = |label: &str| stage.namespace.kubectl(["label", "node", "node-0", label]).unwrap();
    place(&format!("{mark}=here"));
    stage.ready("install", &[&format!("--set-string=nodeSelector.{mark}=here")]);
    place(&format!("{mark}-"));
    let dies = || {
        stage.stick("upgrade", &["--set=behavior=never-ready"]);
        stage.namespace.kubectl(["delete", "pods", "--all"]).unwrap();
    };
    dies();
    let late = repair(&stage, &["--strategy=rollback", "--rollout-timeout=2s"]);
    assert_eq!(late.code, Some(1), "{}", late.err);
    let why = "revision 3 is not ready after 2s: Deployment/web 0/1 (Unschedulable";
    assert!(late.err.contains(why) && late.err.contains("cause: Deployment/web: "), "{}", late.err);
    assert!(
        late.err.contains("health: Stuck → Progressing") || late.err.contains("→ Degraded"),
        "{}",
        late.err
    );
    stage.assert_history(&["superseded", "failed", "deployed"]);
    assert_eq!(lock(&stage, &[])["state"], "free");

    dies();
    let mut waiting =
        stage.own(&["repair", "web", "--lease-duration=6s", "--strategy=rollback", "--keepalive=1s"]);
    waiting.stdin(Stdio::null());
    let mut waiting = Live::of(waiting);
    waiting.until("rollout: waiting for Deployment/web 0/1");
    waiting.until("s so far");
    place(&format!("{mark}=here"));
    let (code, err) = waiting.end();
    let deployment = stage.namespace.kubectl_json(["get", "deployment", "web", "-o", "json"]).unwrap();
    place(&format!("{mark}-"));
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("every workload is ready"), "{err}");
    let count = |field: &str| deployment["status"][field].as_u64();
    assert_eq!((count("updatedReplicas"), count("availableReplicas")), (Some(1), Some(1)), "{err}");
    stage.assert_history(&["superseded", "failed", "superseded", "failed", "deployed"]);
}

/// The runbook's last resort, for a first install only.
#[test]
fn a_first_install_that_died_is_uninstalled_and_what_works_is_not() {
    let stage = Stage::new("first", Helm::V4);
    stage.stick("install", &["--set=behavior=never-ready"]);
    let said = repair(&stage, &["--strategy=uninstall"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("is uninstalled"), "{}", said.err);
    assert!(stage.records().is_empty() && stage.uids().is_empty(), "{:?}", stage.uids());
    assert_eq!(status(&stage)["state"], "none");

    stage.ready("install", &[]);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let before = stage.records();
    let refused = repair(&stage, &["--strategy=uninstall"]);
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    assert!(refused.err.contains("would remove revision 1, which works"), "{}", refused.err);
    assert_eq!(stage.records(), before);
}

/// A deploy that is alive is neither stuck nor repaired.
#[test]
fn a_release_whose_holder_is_alive_is_left_alone() {
    let stage = Stage::new("alive", Helm::V4);
    stage.ready("install", &[]);
    let mut guard = stage.guard("upgrade", &["--set=behavior=never-ready", "--wait", "--timeout=300s"]);
    let mut guard = guard.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pending = stage.wait_for_record("pending-upgrade");
    let before = stage.records();
    let shown = Stage::run(stage.own(&["status", "web", "-o", "json"]));
    let waited = repair(&stage, &["--lock-timeout=1s"]);
    let (untouched, running) = (stage.records() == before, guard.try_wait().unwrap().is_none());
    kill(&mut guard);
    pending.unwrap();
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(shown["state"], "deploying", "{shown:#}");
    assert_eq!(waited.code, Some(75), "{}", waited.err);
    assert!(untouched && running);
}

crate::with_both_helms! {
    a_stuck_upgrade_is_shown_and_repaired a_repair_by_rollback_leaves_nothing_of_two_dead_revisions
}
crate::with_either_helm! { V3 a_rollback_is_waited_for }
