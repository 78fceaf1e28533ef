//! One at a time, and what a cancel leaves.

use std::process::Stdio;

use crate::stage::{Stage, interrupt};
use testbed::tools::Helm;

/// Two deploys started at once both end well, one after the other.
fn two_at_once_are_one_after_the_other(version: Helm) {
    let stage = Stage::new("two", version);
    let start = |name: &str| {
        let mut guard = stage.guard(
            "upgrade",
            &["--install", "--wait", "--timeout=60s", &format!("--set=configs={{{name}}}")],
        );
        guard.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (one, other) = (start("one"), start("other"));
    for child in [one, other] {
        let said = child.wait_with_output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
    stage.assert_history(&["superseded", "deployed"]);
}

/// Ctrl-C: Helm stops, no record is pending, the lock is given back, the exit code says so.
fn a_cancel_leaves_nothing_pending(version: Helm) {
    let stage = Stage::new("cancel", version);
    stage.ready("install", &[]);
    let mut guard = stage.guard("upgrade", &["--set=behavior=never-ready", "--wait"]);
    let child = guard.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let seen = stage.wait_for_record("pending-upgrade");
    interrupt(&child);
    let said = child.wait_with_output().unwrap();
    seen.unwrap();
    assert_eq!(said.status.code(), Some(130), "{}", String::from_utf8_lossy(&said.stderr));
    stage.assert_history(&["deployed", "failed"]);
    let lease = stage.namespace.kubectl_json(["get", "lease", "helm-guard-web", "-o", "json"]).unwrap();
    assert!(lease["spec"]["holderIdentity"].is_null(), "{lease:#}");
    Stage::ok(stage.guard("upgrade", &["--wait", "--timeout=60s"]));
}

/// A killed holder is outwaited by the lease duration, and its release repaired. With the default lease times.
#[test]
fn a_dead_holder_is_followed_with_the_default_times() {
    let stage = Stage::new("dead", Helm::V4);
    stage.ready("install", &[]);
    let mut guard = stage.guard("upgrade", &["--lease-duration=15s", "--set=behavior=never-ready", "--wait"]);
    let mut child = guard.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let seen = stage.wait_for_record("pending-upgrade");
    // Helm dies with it.
    crate::stage::kill(&mut child);
    seen.unwrap();
    let said = Stage::ok(stage.guard("upgrade", &["--lease-duration=15s", "--wait", "--timeout=60s"]));
    assert!(said.err.contains("ada@"), "{}", said.err);
    let statuses: Vec<String> = stage.history().into_iter().map(|(_, status)| status).collect();
    assert_eq!(statuses.last().map(String::as_str), Some("deployed"));
    assert!(!statuses.iter().any(|status| status.starts_with("pending")), "{statuses:?}");
}

/// A living holder is waited for only as long as asked, and named.
#[test]
fn the_lock_timeout_names_the_holder() {
    let stage = Stage::new("timeout", Helm::V3);
    let mut guard = stage.guard("upgrade", &["--install", "--set=behavior=never-ready", "--wait"]);
    let child = guard.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let seen = stage.wait_for_record("pending-install");
    let said = Stage::run(stage.guard("upgrade", &["--install", "--lock-timeout=3s"]));
    interrupt(&child);
    let ended = child.wait_with_output().unwrap();
    seen.unwrap();
    assert_eq!(said.code, Some(75), "{}", said.err);
    assert!(said.err.contains("helm-guard-web") && said.err.contains("ada@"), "{}", said.err);
    assert_eq!(ended.status.code(), Some(130));
}

crate::with_both_helms! { two_at_once_are_one_after_the_other a_cancel_leaves_nothing_pending }
