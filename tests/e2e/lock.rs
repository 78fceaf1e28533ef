//! `lock status|acquire|release|run`: locks as people and scripts use them.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};
use testbed::tools::Helm;

use crate::{
    stage::{Said, Stage, interrupt},
    texts::told,
};

/// What `lock status` tells of the one lock there is.
pub fn lock(stage: &Stage, more: &[&str]) -> Value {
    let mut status = stage.own(&["lock", "status", "web", "-o", "json"]);
    status.args(more);
    let said = Stage::ok(status);
    let list: Value = serde_json::from_str(&said.out).unwrap();
    list["items"][0].clone()
}

pub fn lock_id(stage: &Stage) -> String {
    lock(stage, &[])["holder"]["lockId"].as_str().unwrap().to_owned()
}

/// `helm-guard lock run web -- sh -c SCRIPT`, with `$GUARD` for helm-guard and `$CHART` for the chart.
fn under(stage: &Stage, script: &str) -> Command {
    let mut run = stage.own(&["lock", "run", "web", "--lease-duration=6s", "--", "sh", "-c", script]);
    run.env("GUARD", env!("CARGO_BIN_EXE_helm-guard")).env("CHART", Stage::chart());
    run.current_dir(stage.temporary.path());
    run
}

/// Started, and its first line of output read: the lock is taken.
fn started(mut command: Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, out)
}

fn fifo(stage: &Stage) {
    let made = Command::new("mkfifo").arg(stage.temporary.path().join("gate")).status().unwrap();
    assert!(made.success());
}

/// Lets a script go on that reads from the fifo.
fn open_gate(stage: &Stage) {
    std::fs::write(stage.temporary.path().join("gate"), "go\n").unwrap();
}

fn line_with(err: &mut BufReader<ChildStderr>, text: &str) -> String {
    let mut all = String::new();
    while !all.contains(text) {
        assert_ne!(err.read_line(&mut all).unwrap(), 0, "it ended without saying {text}: {all}");
    }
    all
}

/// The command has the lock, its own streams and its own exit code.
#[test]
fn a_command_runs_under_the_lock() {
    let stage = Stage::new("run", Helm::V4);
    fifo(&stage);
    let (child, mut out) =
        started(under(&stage, "echo ready; read line <gate; echo $HELM_GUARD_LOCK_ID; exit 7"));
    let held = lock(&stage, &["--check"]);
    open_gate(&stage);
    let mut id = String::new();
    out.read_to_string(&mut id).unwrap();
    assert_eq!({ child }.wait().unwrap().code(), Some(7));
    assert_eq!((&held["state"], &held["holder"]["operation"]), (&json!("alive"), &json!("lock run sh")));
    assert_eq!(held["holder"]["lockId"], id.trim());
    assert_eq!(lock(&stage, &[])["state"], "free");

    for (command, code) in [(&["true"][..], 0), (&["no-such-command"], 127), (&["/"], 126)] {
        let mut run = stage.own(&["lock", "run", "web", "--"]);
        run.args(command);
        assert_eq!(Stage::run(run).code, Some(code), "{command:?}");
    }
    assert_eq!(Stage::run(under(&stage, "kill -9 $$")).code, Some(137));
    assert_eq!(lock(&stage, &[])["state"], "free");
}

/// Two at once are one after the other, and the second knows for whom it waits.
#[test]
fn two_commands_are_one_after_the_other() {
    let stage = Stage::new("tworuns", Helm::V4);
    fifo(&stage);
    let (mut one, _out) = started(under(&stage, "echo ready; read line <gate; echo one >>log"));
    let mut other = under(&stage, "echo other >>log").stderr(Stdio::piped()).spawn().unwrap();
    let waiting = line_with(&mut BufReader::new(other.stderr.take().unwrap()), "hint:");
    open_gate(&stage);
    assert!(one.wait().unwrap().success() && other.wait().unwrap().success());
    assert!(waiting.contains("held by ada@") && waiting.contains("lock run sh since"), "{waiting}");
    let log = std::fs::read_to_string(stage.temporary.path().join("log")).unwrap();
    assert_eq!(log, "one\nother\n");
}

/// Signals are the command's to answer.
#[test]
fn a_signal_is_passed_on() {
    let stage = Stage::new("signal", Helm::V4);
    let (mut child, _out) = started(under(&stage, "trap 'exit 5' INT; echo ready; sleep 60 & wait"));
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert_eq!(lock(&stage, &[])["state"], "free");
}

/// The lock is lost: the command is asked to end, and killed if it does not listen.
#[test]
fn a_command_that_lost_its_lock_is_stopped() {
    let stage = Stage::new("lost", Helm::V4);
    for script in
        ["trap 'touch asked; exit 0' TERM; echo ready; sleep 60 & wait", "trap '' TERM; echo ready; sleep 60"]
    {
        let mut run = under(&stage, script);
        run.env("HELM_GUARD_STOP_TIMEOUT", "1s");
        let (mut child, _out) = started(run);
        let other = json!({"spec": {"holderIdentity": "bob"}}).to_string();
        stage.namespace.kubectl(["patch", "lease", "helm-guard-web", "--type=merge", "-p", &other]).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(76), "{script}");
        assert_eq!(lock(&stage, &[])["holder"]["identity"], "bob", "another's lock is left alone");
        stage.namespace.kubectl(["delete", "lease", "helm-guard-web"]).unwrap();
    }
    assert!(stage.temporary.path().join("asked").exists());
}

/// A deploy under `lock run` of its own release works under that lock; two at once are one after the other.
fn deploys_under_a_command_s_lock(version: Helm) {
    let stage = Stage::new("nested", version);
    let deploy = "$GUARD upgrade web $CHART --install --wait --timeout=60s --lease-duration=6s";
    let said = Stage::ok(under(&stage, &format!("{deploy} && $GUARD lock status web")));
    assert!(said.out.contains("lock run sh"), "given back as it was: {}", said.out);
    let both = format!("{deploy} & one=$!; {deploy} && wait $one");
    let said = Stage::ok(under(&stage, &both));
    stage.assert_history(&["superseded", "superseded", "deployed"]);
    let waiting = said.err.matches("waiting for the lock: held by").count();
    assert_eq!(waiting, 1, "one lets the other go first: {}", said.err);
    assert!(said.err.contains("upgrade in lock run sh since"), "{}", said.err);
    assert_eq!(lock(&stage, &[])["state"], "free", "{}", said.err);
}

/// Taken in one process, used in another, given back in a third.
#[test]
fn a_lock_outlives_the_process_that_took_it() {
    let stage = Stage::new("acquire", Helm::V4);
    let id = Stage::ok(stage.own(&["lock", "acquire", "web", "--ttl=60s"])).out.trim().to_owned();
    assert_eq!(lock_id(&stage), id);
    let deploy = |within: &str| {
        let mut guard =
            stage.guard("upgrade", &["--install", "--lock-timeout=1s", "--wait", "--timeout=60s"]);
        guard.env("HELM_GUARD_LOCK_ID", within);
        Stage::run(guard)
    };
    let release = |id: &str| -> Said { Stage::run(stage.own(&["lock", "release", "web", "--id", id])) };
    assert_eq!(deploy("").code, Some(75));
    let within = deploy(&id);
    assert_eq!(within.code, Some(0), "{}", within.err);
    assert_eq!(lock_id(&stage), id);
    assert_eq!(release("00000000").code, Some(76));
    assert_eq!((release(&id).code, release(&id).code), (Some(0), Some(0)));
    assert_eq!(lock(&stage, &[])["state"], "free");
    stage.assert_deployed();

    // A deploy's lock is not given back by whoever knows its ID.
    let json = Stage::ok(stage.own(&["lock", "acquire", "web", "-o", "json"])).out;
    let id = serde_json::from_str::<Value>(&json).unwrap()["lockId"].as_str().unwrap().to_owned();
    let operation = json!({"metadata": {"annotations": {"helm-guard.dev/operation": "upgrade"}}}).to_string();
    stage.namespace.kubectl(["patch", "lease", "helm-guard-web", "--type=merge", "-p", &operation]).unwrap();
    let refused = release(&id);
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    assert!(refused.err.contains(&format!("helm-guard unlock web -n {} --id {id}", stage.namespace.name())));
}

/// The list in every format, of nothing and of locks that are held and free.
#[test]
fn the_status_in_every_format() {
    let stage = Stage::new("status", Helm::V4);
    let status = |more: &[&str]| {
        let mut command = stage.own(&["lock", "status"]);
        command.args(more);
        told(&stage, command, 0)
    };
    let mut shown = vec![status(&[]), status(&["web"])];
    Stage::ok(stage.own(&["lock", "acquire", "web"]));
    let url = "https://ci.example/o/r/actions/runs/42";
    let mut ci = stage.own(&["lock", "acquire", "api", "--lock-name=one-for-all"]);
    for (name, value) in [
        ("ACTIONS", "true"),
        ("SERVER_URL", "https://ci.example"),
        ("REPOSITORY", "o/r"),
        ("RUN_ID", "42"),
        ("SHA", "4f1c0d9a7b3e"),
        ("ACTOR", "mona"),
    ] {
        ci.env(format!("GITHUB_{name}"), value);
    }
    Stage::ok(ci);
    Stage::ok(stage.own(&["lock", "run", "db", "--", "true"]));
    // One that an earlier version wrote is found by its name.
    let old = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "helm-guard-old"}, "spec": {"holderIdentity": "bob@pc-1", "leaseDurationSeconds": 2}});
    stage.namespace.apply(&old.to_string()).unwrap();
    for more in
        [&[][..], &["web"], &["old", "--check"], &["api"], &["-o", "wide"], &["-o", "json"], &["-o", "yaml"]]
    {
        shown.push(status(more));
    }
    shown.push(status(&["api", "--lock-name=one-for-all"]));
    let everywhere = Stage::ok(stage.own(&["lock", "status", "-A"])).out;
    assert!(
        everywhere.starts_with("NAMESPACE") && everywhere.contains(stage.namespace.name()),
        "{everywhere}"
    );
    assert!(everywhere.contains(url), "{everywhere}");
    // How wide a column is depends on the names of this run.
    let blanks = regex::Regex::new("(?m)[^\\S\\n]{3,}").unwrap();
    let ids = regex::Regex::new(r"\b[0-9a-f]{8}\b").unwrap();
    let text = ids.replace_all(&shown.join("\n\n"), "[ID]").into_owned();
    // YAML quotes one that could be read as a number.
    let text = text.replace(r#"lockId: "[ID]""#, "lockId: [ID]");
    let text = regex::Regex::new(r"\[ID\]-\d+").unwrap().replace_all(&text, "[ID]-[PID]").into_owned();
    let table = |line: &str| {
        if line.starts_with(['{', ' ', '"']) {
            line.to_owned()
        } else {
            blanks.replace_all(line, "   ").into_owned()
        }
    };
    let text = text.lines().map(table).collect::<Vec<_>>().join("\n");
    crate::texts::hold(Helm::V4, "lock_status", &text);
}

/// What stands on the screen of who waited in vain.
#[test]
fn the_refusal_to_a_second_deploy() {
    let stage = Stage::new("second", Helm::V4);
    fifo(&stage);
    let (mut one, _out) = started(under(&stage, "echo ready; read line <gate"));
    let text =
        told(&stage, stage.guard("upgrade", &["--install", "--lock-timeout=1s", "--keepalive=10m"]), 75);
    let run = told(&stage, stage.own(&["lock", "run", "web", "--lock-timeout=1s", "--", "true"]), 75);
    open_gate(&stage);
    assert!(one.wait().unwrap().success());
    crate::texts::hold(Helm::V4, "lock_timeout", &format!("{text}\n\n{run}"));
}

crate::with_both_helms! { deploys_under_a_command_s_lock }
