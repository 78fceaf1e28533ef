//! More causes, each brought about for real; and a race that Helm loses is run again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use testbed::{Fate, Gate, tools::Helm};

use crate::{
    diagnose::{Any, config, has, record_deploy},
    foreseen::noise,
    stage::Stage,
};

/// What Helm cannot even begin: its record does not fit, its namespace is on its way out.
fn what_cannot_begin(version: Helm) {
    let any = Any::new("begin", version);
    let objects = [config("keep", json!({}))];
    let command = any.deploy(&objects, &["--timeout=20s"]);
    let noisy = any.chart(&objects).join("noise.bin");
    std::fs::write(&noisy, noise(900_000)).unwrap();
    let told = any.fails(command);
    has(&told.first("record-too-large"), &["may not be more than 1048576 bytes", ".helmignore"]);
    record_deploy(&any, version, "record-too-large", &told, None);
    std::fs::remove_file(noisy).unwrap();

    let kept = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "finalizers": ["example.com/never"]}});
    let namespace = &any.stage.namespace;
    namespace.apply(&kept.to_string()).unwrap();
    namespace.kubectl(["delete", "namespace", namespace.name(), "--wait=false"]).unwrap();
    let is_leaving = "jsonpath={.status.phase}=Terminating";
    namespace
        .wait_for(&format!("namespace/{}", namespace.name()), is_leaving, Duration::from_secs(30))
        .unwrap();
    let told = any.fails(any.deploy(&objects, &["--timeout=20s", "--lock=off"]));
    has(
        &told.first("namespace-terminating"),
        &["is being deleted and accepts no new objects", "status.conditions"],
    );
    record_deploy(&any, version, "namespace-terminating", &told, None);
    // The lock is the first that is refused.
    let said = Stage::run(any.deploy(&objects, &[]));
    assert_eq!(said.code, Some(77), "{}", said.err);
    has(&said.err, &["is being deleted and accepts no new objects", "status.conditions"]);
    let free = r#"{"metadata":{"finalizers":null}}"#;
    namespace.kubectl(["patch", "configmap", "kept", "--type=merge", "-p", free]).unwrap();
}

/// Somebody writes the object between Helm's reading and its writing. That is nobody's fault, and the second run goes through;
/// who loses each time is not tried for ever, and who ran hooks is not tried twice.
fn a_lost_race_is_run_again_once(version: Helm) {
    let any = Any::new("race", version);
    let with = |value: &str| vec![config("keep", json!({"data": {"a": value}}))];
    let replace = if version == Helm::V3 { "--force" } else { "--force-replace" };
    let mut flags = vec!["--timeout=20s", replace];
    if version == Helm::V4 {
        flags.push("--server-side=false");
    }
    Stage::ok(any.deploy(&with("1"), &flags));
    // As often as it is told to, somebody is faster than Helm.
    let (left, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (races, writes) = (left.clone(), seen.clone());
    let mut other = any.stage.namespace.command();
    other.args(["annotate", "configmap", "keep", "--overwrite"]);
    let kubectl = std::sync::Mutex::new(other);
    let gate = Gate::with(&any.stage.namespace, move |seen| {
        let is_helms = seen.user_agent.starts_with("Helm/") && seen.method == http::Method::PUT;
        if is_helms && seen.object() == "configmaps/keep" {
            let number = writes.fetch_add(1, Ordering::SeqCst);
            let is_race =
                races.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if is_race {
                assert!(kubectl.lock().unwrap().arg(format!("race={number}")).status().unwrap().success());
            }
        }
        Fate::Pass
    });
    let gate = gate.unwrap();
    let kubeconfig = format!("--kubeconfig={}", gate.kubeconfig().display());
    flags.push(&kubeconfig);
    let deploy = |objects: &[serde_json::Value], races: usize| {
        left.store(races, Ordering::SeqCst);
        seen.store(0, Ordering::SeqCst);
        any.deploy(objects, &flags)
    };

    let told = any.ends(deploy(&with("2"), 1), 0);
    has(&told.said.err, &["another client changed it", "once more"]);
    assert_eq!(seen.load(Ordering::SeqCst), 2, "{}", told.said.err);
    any.stage.assert_history(&["superseded", "failed", "deployed"]);
    assert_eq!(any.stage.namespace.kubectl(["get", "cm", "keep", "-o", "jsonpath={.data.a}"]).unwrap(), "2");

    let told = any.fails(deploy(&with("3"), 9));
    told.first("changed-meanwhile");
    assert_eq!(seen.load(Ordering::SeqCst), 2, "{}", told.said.err);

    let mut hooked = with("4");
    let hook = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "hook", "annotations": {"helm.sh/hook": "pre-upgrade"}},
    });
    hooked.push(hook);
    let told = any.fails(deploy(&hooked, 1));
    told.first("changed-meanwhile");
    assert_eq!(seen.load(Ordering::SeqCst), 1, "{}", told.said.err);
}

crate::with_both_helms! { what_cannot_begin a_lost_race_is_run_again_once }
