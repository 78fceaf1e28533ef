//! Records in every odd state that a cluster can be found in: the next deploy works.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use helm_guard::release::{
    Status,
    codec::{self, Edit},
};
use serde_json::{Value, json};
use testbed::{Gate, Hold, Seen, tools::Helm};

use crate::stage::{Stage, kill};

const WAIT: [&str; 2] = ["--wait", "--timeout=60s"];

/// Holds the first request of Helm's that `chosen` says; Helm is killed there.
fn killed_at(stage: &Stage, mut helm: Command, chosen: impl Fn(&Seen) -> bool + Send + 'static) {
    let is_it =
        move |seen: &Seen| (seen.user_agent.starts_with("Helm/") && chosen(seen)).then_some(Hold::Before);
    let gate = Gate::open(&stage.namespace, is_it).unwrap();
    helm.env("KUBECONFIG", gate.kubeconfig()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = helm.spawn().unwrap();
    let held = gate.wait(Duration::from_secs(60));
    kill(&mut child);
    held.unwrap();
}

fn name(revision: u32) -> String {
    format!("sh.helm.release.v1.web.v{revision}")
}

/// Sets the status of a record behind Helm's back, in body and label.
fn set_status(stage: &Stage, revision: u32, status: Status) {
    set_status_of(stage, "web", revision, status);
}

/// The same of another release.
pub fn set_status_of(stage: &Stage, release: &str, revision: u32, status: Status) {
    let name = format!("sh.helm.release.v1.{release}.v{revision}");
    let path = ["get", "secret", &name];
    let secret = stage.namespace.kubectl_json(path).unwrap();
    let outer = secret["data"]["release"].as_str().unwrap();
    // A Secret's data is base64, around the base64 that Helm makes itself.
    let inner = base64(outer, true);
    let body = codec::decode(&inner).unwrap();
    let edited = codec::edit(&body, &Edit { status: Some(status), ..Edit::default() }).unwrap();
    let payload =
        base64(&String::from_utf8(codec::encode(&edited, codec::MAX_STORED).unwrap()).unwrap(), false);
    let patch = json!({
        "metadata": {"labels": {"status": status.as_str()}},
        "data": {"release": String::from_utf8(payload).unwrap()},
    });
    stage.namespace.kubectl(["patch", "secret", &name, "-p", &patch.to_string()]).unwrap();
}

fn base64(text: &str, decode: bool) -> Vec<u8> {
    use ::base64::{Engine, engine::general_purpose::STANDARD};
    if decode { STANDARD.decode(text).unwrap() } else { STANDARD.encode(text).into_bytes() }
}

fn garble(stage: &Stage, revision: u32) {
    let patch = json!({"data": {"release": "bm90IGEgcmVsZWFzZQ=="}}).to_string();
    stage.namespace.kubectl(["patch", "secret", &name(revision), "-p", &patch]).unwrap();
}

/// Storage in ConfigMaps: stuck, repaired, backed up and restored like that in Secrets.
fn records_in_config_maps(version: Helm) {
    let mut stage = Stage::new("maps", version);
    stage.driver = "configmap";
    stage.ready("install", &["--set-string=env.GOOD=1"]);
    let deployment = |seen: &Seen| !seen.is_write() && seen.object().starts_with("deployments");
    let mut written = false;
    let wait = std::sync::Mutex::new(move |seen: &Seen| {
        let waits = written && deployment(seen);
        written |= seen.is_write() && seen.object().starts_with("deployments");
        waits
    });
    killed_at(&stage, stage.raw("upgrade", &["--set-string=env.DEAD=1", "--wait"]), move |seen| {
        wait.lock().unwrap()(seen)
    });
    let said = Stage::ok(stage.guard("upgrade", &["--set-string=env.NEW=1", "--wait", "--timeout=60s"]));
    stage.assert_history(&["superseded", "failed", "deployed"]);
    assert_eq!(stage.env(), ["FIXED", "NEW"], "{}", said.err);
    let file = stage.copy_of_the_repair();
    Stage::ok(stage.own(&["restore", file.to_str().unwrap()]));
    let status = ["get", "configmap", &name(2), "-o", "jsonpath={.metadata.labels.status}"];
    assert_eq!(stage.namespace.kubectl(status).unwrap(), "pending-upgrade");
    let secrets = stage.namespace.kubectl(["get", "secrets", "-l", "owner=helm", "-o", "name"]).unwrap();
    assert_eq!(secrets, "", "nothing belongs into Secrets");
}

/// An uninstall that died: each command goes on from there.
fn a_dead_uninstall(version: Helm) {
    for (command, more) in [("upgrade", vec!["--install"]), ("install", vec![]), ("uninstall", vec![])] {
        let stage = Stage::new("gone", version);
        stage.ready("install", &["--set=configs={one,two}"]);
        killed_at(&stage, stage.raw("uninstall", &["--wait"]), |seen| {
            seen.is_write() && seen.object().starts_with("configmaps")
        });
        assert_eq!(stage.history(), [(1, "uninstalling".to_owned())]);
        let mut flags = more;
        if command != "uninstall" {
            flags.extend(["--set=configs={new}", "--wait", "--timeout=60s"]);
        }
        let said = Stage::ok(stage.guard(command, &flags));
        let uids = stage.uids();
        if command == "uninstall" {
            assert!(uids.is_empty() && stage.records().is_empty(), "{uids:?}\n{}", said.err);
        } else {
            stage.assert_deployed();
            let names: Vec<&str> = uids.keys().map(String::as_str).collect();
            assert_eq!(names, ["ConfigMap/new", "Deployment/web"], "{command}: {}", said.err);
        }
    }
}

/// Two revisions that say `deployed`, below a stuck one: one is left, the new one.
fn several_deployed(version: Helm) {
    let stage = Stage::new("several", version);
    stage.ready("install", &[]);
    stage.ready("upgrade", &[]);
    set_status(&stage, 1, Status::Deployed);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    Stage::ok(stage.guard("upgrade", &WAIT));
    stage.assert_history(&["superseded", "superseded", "failed", "deployed"]);
}

/// A record that nobody can read: as the newest one it goes, a copy of it stays; in the middle it is in nobody's way.
fn an_unreadable_record(version: Helm) {
    let stage = Stage::new("garbled", version);
    stage.ready("install", &[]);
    stage.ready("upgrade", &[]);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    garble(&stage, 3);
    let said = Stage::ok(stage.guard("upgrade", &WAIT));
    assert!(said.err.contains("revision 3 cannot be decoded"), "{}", said.err);
    stage.assert_deployed();
    let backup = stage.copy_of_the_repair();
    assert!(std::fs::read_to_string(backup).unwrap().contains("bm90IGEgcmVsZWFzZQ=="));

    garble(&stage, 1);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    Stage::ok(stage.guard("upgrade", &WAIT));
    stage.assert_deployed();
}

/// Helm prunes the oldest records. The last good one is not among them while it is needed.
fn a_history_that_is_full(version: Helm) {
    for max in [1, 2, 3] {
        let stage = Stage::new("full", version);
        let limit = format!("--history-max={max}");
        stage.ready("install", &["--set-string=env.GOOD=1"]);
        let dead = ["--set-string=env.DEAD=1", "--set=behavior=never-ready", "--wait", "--timeout=1s"];
        assert_eq!(Stage::run(stage.raw("upgrade", &dead)).code, Some(1));
        stage.stick("upgrade", &["--set-string=env.DEADER=1", "--set=behavior=never-ready"]);
        // It fails, and an automatic rollback needs the good one.
        let atomic = if version == Helm::V3 { "--atomic" } else { "--rollback-on-failure" };
        let fails = [&limit, atomic, "--set=behavior=crash-loop", "--timeout=5s"];
        let said = Stage::run(stage.guard("upgrade", &fails));
        assert_eq!(said.code, Some(1), "{max}: {}", said.err);
        stage.assert_deployed();
        // With room for two records none can be lent, which a warning says: fields of the dead may stay then.
        let env: Vec<String> =
            stage.env().into_iter().filter(|name| max > 2 || !name.starts_with("DEAD")).collect();
        assert_eq!(env, ["FIXED", "GOOD"], "{max}: {}", said.err);
        Stage::ok(stage.guard("upgrade", &[&limit, "--reuse-values", "--wait", "--timeout=60s"]));
        stage.assert_deployed();
        assert!(stage.env().contains(&"GOOD".to_owned()), "{max}");
    }
}

/// Somebody deleted the good record: what is there is enough.
fn a_pruned_history(version: Helm) {
    let stage = Stage::new("pruned", version);
    stage.ready("install", &["--set=configs={old}"]);
    stage.stick("upgrade", &["--set=configs={dead}", "--set=behavior=never-ready"]);
    stage.namespace.kubectl(["delete", "secret", &name(1)]).unwrap();
    Stage::ok(
        stage.guard("upgrade", &["--install", "--set=configs={new}", "--set=behavior=ready", "--wait"]),
    );
    stage.assert_history(&["failed", "deployed"]);
    assert!(!stage.uids().contains_key("ConfigMap/dead"));
}

/// A record that is gone when it is to be deleted is a success, not a failure.
fn a_record_that_is_gone_already(version: Helm) {
    let stage = Stage::new("already", version);
    stage.ready("install", &[]);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let mut delete = stage.namespace.command();
    delete.args(["delete", "secret", &name(2)]);
    // Somebody else is quicker, by a moment.
    let gate = Gate::open(&stage.namespace, move |seen| {
        if seen.method.as_str() == "DELETE" && !seen.user_agent.starts_with("Helm/") {
            delete.output().unwrap();
        }
        None
    })
    .unwrap();
    let mut guard = stage.guard("upgrade", &["--repair=delete-record", "--wait", "--timeout=60s"]);
    guard.env("KUBECONFIG", gate.kubeconfig());
    Stage::ok(guard);
    stage.assert_history(&["superseded", "deployed"]);
}

/// Values that are reused are the good ones, even when an empty file stands on the line.
fn an_empty_file_of_values_is_none(version: Helm) {
    let stage = Stage::new("empty", version);
    stage.ready("install", &["--set-string=env.GOOD=1"]);
    stage.stick("upgrade", &["--set-string=env.DEAD=1", "--set=behavior=never-ready"]);
    let file = stage.temporary.path().join("empty.yaml");
    std::fs::write(&file, "# nothing yet\n").unwrap();
    Stage::ok(stage.guard("upgrade", &["-f", file.to_str().unwrap(), "--wait", "--timeout=60s"]));
    assert_eq!(stage.env(), ["FIXED", "GOOD"]);
}

/// Several releases at once, locked in sorted order, each repaired as far as an uninstall needs it.
fn uninstalls_of_several(version: Helm) {
    let stage = Stage::new("many", version);
    for release in ["web", "api"] {
        let names = format!("--set=name={release},configs={{{release}}}");
        Stage::ok(stage.raw_of(release, "install", &[&names, "--wait"]));
    }
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let said = Stage::ok(stage.guard("uninstall", &["api", "--wait"]));
    let (web, api) = (said.err.find("helm-guard-web").unwrap(), said.err.find("helm-guard-api").unwrap());
    assert!(api < web, "{}", said.err);
    assert!(stage.records().is_empty() && stage.uids().is_empty(), "{}", said.err);
    assert_eq!(stage.namespace.kubectl(["get", "leases", "-o", "name"]).unwrap().trim(), "");

    let said = Stage::run(stage.guard("install", &["--generate-name"]));
    assert_eq!(said.code, Some(64), "{}", said.err);
    assert!(said.err.contains("name the release"), "{}", said.err);
}

fn lease_is_vacant(object: &Value) -> bool {
    object["spec"]["holderIdentity"].is_null()
}

/// Nobody reads any more, neither stdout nor stderr: the deploy ends all the same.
fn nobody_listens(version: Helm) {
    let stage = Stage::new("epipe", version);
    stage.ready("install", &[]);
    let mut guard = stage.guard("upgrade", &["--set=delay=1s", "--wait", "--timeout=60s"]);
    let mut child = guard.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let seen = stage.wait_for_record("pending-upgrade");
    drop((child.stdout.take(), child.stderr.take()));
    let ended = child.wait().unwrap();
    seen.unwrap();
    assert_eq!(ended.code(), Some(0));
    stage.assert_history(&["superseded", "deployed"]);
}

/// The terminal is closed: the deploy goes on to its end, and gives the lock back.
fn the_terminal_is_closed(version: Helm) {
    let stage = Stage::new("hangup", version);
    stage.ready("install", &[]);
    let guard = stage.guard("upgrade", &["--set=delay=1s", "--wait", "--timeout=60s"]);
    let line: Vec<String> = std::iter::once(guard.get_program())
        .chain(guard.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    // `script` gives it a terminal; when `script` is killed, the kernel hangs that up.
    let mut script = Command::new("script");
    script.args(["--quiet", "--command", &line.join(" "), "/dev/null"]);
    script.env_clear().envs(guard.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut terminal = script.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let seen = stage.wait_for_record("pending-upgrade");
    kill(&mut terminal);
    seen.unwrap();
    let lease = ["lease", "helm-guard-web"];
    stage.namespace.watch_until(lease, Duration::from_secs(60), lease_is_vacant).unwrap();
    stage.assert_history(&["superseded", "deployed"]);
}

/// SIGTERM, the second word of every runner, is a cancel too.
#[test]
fn sigterm_is_a_cancel() {
    let stage = Stage::new("sigterm", Helm::V4);
    let mut guard = stage.guard("upgrade", &["--install", "--set=behavior=never-ready", "--wait"]);
    let child = guard.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let seen = stage.wait_for_record("pending-install");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let said = child.wait_with_output().unwrap();
    seen.unwrap();
    assert_eq!(said.status.code(), Some(143), "{}", String::from_utf8_lossy(&said.stderr));
    stage.assert_history(&["failed"]);
}

crate::with_both_helms! {
    a_dead_uninstall several_deployed an_unreadable_record a_history_that_is_full a_pruned_history
    a_record_that_is_gone_already an_empty_file_of_values_is_none uninstalls_of_several nobody_listens
    the_terminal_is_closed
}
crate::with_either_helm! { V3 records_in_config_maps }
