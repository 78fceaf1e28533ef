//! The recovery workflow, as a person at the Actions page uses it on a release that is really stuck.

use std::process::{Command, Stdio};

use testbed::tools::Helm;

use crate::{
    lease,
    runner::{Repository, Run},
    stage::{SHORT_LIVED, Stage, kill},
};

fn recover(repository: &Repository, stage: &Stage, inputs: &[(&str, &str)]) -> Run {
    let inputs: Vec<(&str, &str)> = [("release", "web")].into_iter().chain(inputs.iter().copied()).collect();
    let run = repository.workflow("recover", stage, &inputs).finish();
    assert!(run.succeeded, "{}", run.log());
    run
}

/// A helm-guard that is killed in the middle of an upgrade: its lock stays held, its record pending.
fn killed_deploy(stage: &Stage) {
    let mut guard: Command = stage.guard("upgrade", &["--set=behavior=never-ready", SHORT_LIVED, "--wait"]);
    let mut guard = guard.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pending = stage.wait_for_record("pending-upgrade");
    kill(&mut guard);
    pending.unwrap();
}

/// Look, try out, unlock by the ID that was shown; stuck again, repair; then go back on purpose. With one Helm: what a
/// repair does with the other is an end-to-end test.
#[test]
fn a_stuck_release_is_shown_unlocked_repaired_and_rolled_back() {
    let version = Helm::V4;
    let (stage, repository) = (Stage::new("recover", version), Repository::new());
    Stage::ok(stage.raw("install", &["--set=configs={one}", "--wait"]));
    killed_deploy(&stage);
    let id = lease(&stage)["metadata"]["annotations"]["helm-guard.dev/lock-id"].as_str().unwrap().to_owned();
    let (before, lease_before) = (stage.records(), lease(&stage)["metadata"]["resourceVersion"].clone());
    let untouched = |stage: &Stage| {
        assert_eq!(stage.records(), before);
        assert_eq!(lease(stage)["metadata"]["resourceVersion"], lease_before);
    };

    let shown = recover(&repository, &stage, &[]);
    let summary = shown.summary();
    assert!(summary.contains("is stuck: revision 2 is pending-upgrade"), "{summary}");
    assert!(summary.contains(&id) && summary.contains("its holder is dead"), "{summary}");
    untouched(&stage);
    shown.keep_summary("recover-show", version);

    let tried = recover(&repository, &stage, &[("action", "unlock"), ("lock-id", &id)]);
    assert!(tried.log().contains(&format!("dry run: would free lock {id}")), "{}", tried.log());
    untouched(&stage);

    let unlocked =
        recover(&repository, &stage, &[("action", "unlock"), ("lock-id", &id), ("dry-run", "false")]);
    let summary = unlocked.summary();
    let (stuck, free) = (summary.find("is stuck").unwrap(), summary.rfind("Lock: free").unwrap());
    assert!(stuck < free, "before, then after: {summary}");
    stage.assert_history(&["deployed", "failed"]);
    unlocked.keep_summary("recover-unlock", version);

    stage
        .stick("upgrade", &["--set=configs={two}", "--set-string=env.AGAIN=1", "--set=behavior=never-ready"]);
    let repair = [("action", "repair"), ("strategy", "rollback")];
    let before = stage.records();
    let called = repository.workflow("caller", &stage, &[("release", "web"), repair[0], repair[1]]).finish();
    assert!(called.succeeded, "{}", called.log());
    assert!(called.log().contains("helm rollback to revision 1, without hooks"), "{}", called.log());
    assert!(called.log().contains("dry run: nothing was changed"), "{}", called.log());
    assert_eq!(stage.records(), before);
    let repaired = recover(&repository, &stage, &[repair[0], repair[1], ("dry-run", "false")]);
    assert_eq!(repaired.output("outcome"), "repaired", "{}", repaired.log());
    stage.assert_history(&["superseded", "failed", "failed", "deployed"]);
    assert!(stage.uids().contains_key("ConfigMap/one"), "{:?}", stage.uids());
    assert!(!stage.uids().contains_key("ConfigMap/two"), "what only the dead revision had is gone");
    repaired.keep_summary("recover-repair", version);

    let back = [("action", "rollback"), ("revision", "1"), ("dry-run", "false")];
    let back = recover(&repository, &stage, &back);
    assert_eq!(back.output("outcome"), "deployed", "{}", back.log());
    stage.assert_history(&["superseded", "failed", "failed", "superseded", "deployed"]);
}
