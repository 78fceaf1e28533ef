//! Stuck releases and what becomes of them, other than the properties of a rebase.

use crate::stage::Stage;
use testbed::tools::Helm;

/// A first install that died and holds data: nothing that holds data is deleted, and its hooks run.
fn a_stuck_install_with_a_claim_keeps_the_claim(version: Helm) {
    let stage = Stage::new("install", version);
    let hooks = "--set=hooks.post-install=1s";
    stage.stick("install", &["--set=claims={data}", "--set=behavior=never-ready", hooks]);
    let claim = stage.uids()["PersistentVolumeClaim/data"].clone();
    let said = Stage::ok(
        stage.guard("upgrade", &["--install", "--set=claims={data}", "--wait", "--timeout=60s", hooks]),
    );
    assert_eq!(stage.uids()["PersistentVolumeClaim/data"], claim, "{}", said.err);
    assert!(
        stage.namespace.kubectl(["get", "job", "post-install"]).is_ok(),
        "the install hook never ran\n{}",
        said.err
    );
    stage.assert_history(&["failed", "deployed"]);
}

/// A first install that died with nothing precious, under `install`.
fn a_stuck_install_is_installed_again(version: Helm) {
    let stage = Stage::new("again", version);
    stage.stick("install", &["--set=configs={dead}", "--set=behavior=never-ready"]);
    let said = Stage::ok(stage.guard("install", &["--set=configs={new}", "--wait", "--timeout=60s"]));
    let uids = stage.uids();
    assert!(
        uids.contains_key("ConfigMap/new") && !uids.contains_key("ConfigMap/dead"),
        "{uids:?}\n{}",
        said.err
    );
    stage.assert_history(&["failed", "deployed"]);
}

/// A rollback that died: the revision it came from is the last good one.
fn a_stuck_rollback_is_repaired(version: Helm) {
    let stage = Stage::new("rollback", version);
    Stage::ok(stage.raw("install", &["--set=behavior=never-ready", "--set-string=env.ONE=1"]));
    stage.ready("upgrade", &["--set-string=env.TWO=1"]);
    stage.stick("rollback", &["1"]);
    let said = Stage::ok(stage.guard("upgrade", &["--set-string=env.THREE=1", "--wait", "--timeout=60s"]));
    assert_eq!(stage.env(), ["FIXED", "THREE"], "{}", said.err);
    stage.assert_history(&["superseded", "superseded", "failed", "deployed"]);
}

/// A rollback that names no revision means the last good one, where Helm would take the dead one before the last.
fn a_plain_rollback_goes_back_to_a_good_revision(version: Helm) {
    let stage = Stage::new("plain", version);
    stage.ready("install", &["--set-string=env.GOOD=1"]);
    stage.stick("upgrade", &["--set-string=env.DEAD=1", "--set=behavior=never-ready"]);
    Stage::ok(stage.guard("upgrade", &["--set-string=env.NEW=1", "--wait", "--timeout=60s"]));
    let said = Stage::ok(stage.guard("rollback", &["--wait", "--timeout=60s"]));
    assert!(said.err.contains("rolling back to 1"), "{}", said.err);
    assert_eq!(stage.env(), ["FIXED", "GOOD"]);
    stage.assert_history(&["superseded", "failed", "superseded", "deployed"]);
    // The one before the last is good now, and Helm's own choice stands.
    let said = Stage::ok(stage.guard("rollback", &["--wait", "--timeout=60s"]));
    assert!(!said.err.contains("rolling back to"), "{}", said.err);
    assert_eq!(stage.env(), ["FIXED", "NEW"]);
}

/// The records that a repair changed come back from its backup by one command.
fn a_backup_can_be_restored(version: Helm) {
    let stage = Stage::new("restore", version);
    stage.ready("install", &[]);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let data = |stage: &Stage| -> Vec<_> {
        stage.records().into_iter().take(2).map(|(name, _, data)| (name, data)).collect()
    };
    let before = data(&stage);
    Stage::ok(stage.guard("upgrade", &["--wait", "--timeout=60s"]));
    assert_ne!(data(&stage), before);
    let file = stage.copy_of_the_repair();
    Stage::ok(stage.own(&["restore", file.to_str().unwrap()]));
    assert_eq!(data(&stage), before);
}

crate::with_both_helms! {
    a_stuck_install_with_a_claim_keeps_the_claim a_stuck_install_is_installed_again a_stuck_rollback_is_repaired
    a_plain_rollback_goes_back_to_a_good_revision a_backup_can_be_restored
}
