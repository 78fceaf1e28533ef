//! `unlock`: a dead holder's lock is freed and its record settled; a living one's only by who insists.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use testbed::{Gate, Hold, tools::Helm};

use crate::{
    lock::{lock, lock_id},
    screen::{in_session, pseudo_terminal},
    stage::{Said, Stage, kill},
    texts::told,
};

/// A deploy that holds the lock and waits for pods that never become ready.
pub fn deploying(stage: &Stage) -> Child {
    stage.ready("install", &[]);
    let mut guard = stage.guard("upgrade", &["--set=behavior=never-ready", "--wait", "--timeout=300s"]);
    let mut child = guard.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    if let Err(error) = stage.wait_for_record("pending-upgrade") {
        kill(&mut child);
        panic!("{error:#}");
    }
    child
}

fn unlock(stage: &Stage, more: &[&str]) -> Said {
    let mut command = stage.own(&["unlock", "web"]);
    command.args(more);
    Stage::run(command)
}

/// The run is dead: the lock is freed, its record failed, the good revision deployed; a copy is there to go back to.
fn a_dead_run_is_unlocked_and_settled(version: Helm) {
    let stage = Stage::new("unlock", version);
    let mut guard = deploying(&stage);
    kill(&mut guard);
    let (id, before) = (lock_id(&stage), stage.records());
    assert_eq!(lock(&stage, &["--check"])["state"], "dead");

    let refused = unlock(&stage, &["--id", "00000000"]);
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    assert!(refused.err.contains(&format!("helm-guard unlock web -n {} --id {id}", stage.namespace.name())));
    assert_eq!(stage.records(), before);

    let text = told(&stage, stage.own(&["unlock", "web", "--id", &id]), 0);
    crate::texts::hold(version, "unlock_of_a_dead_run", &text);
    stage.assert_history(&["deployed", "failed"]);
    assert_eq!(lock(&stage, &[])["state"], "free");

    let again = unlock(&stage, &["--id", &id, "-o", "json"]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    let report: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(report["outcome"], "vacant", "{report:#}");
    Stage::ok(stage.guard("upgrade", &["--wait", "--timeout=60s"]));
    stage.assert_deployed();
}

/// It died when only Helm's last save was missing: then the new revision is the one that is deployed.
fn a_run_that_died_in_its_last_save_is_settled_as_deployed(version: Helm) {
    let stage = Stage::new("lastsave", version);
    stage.ready("install", &[]);
    let gate = Gate::open(&stage.namespace, |seen| {
        let has = |text: &[u8]| seen.body.windows(text.len()).any(|window| window == text);
        let saves = seen.is_write() && seen.object().starts_with("secrets") && has(b"deployed");
        (seen.user_agent.starts_with("Helm/") && saves).then_some(Hold::Before)
    })
    .unwrap();
    let mut guard = stage.guard("upgrade", &["--set=configs={new}", "--wait", "--timeout=60s"]);
    guard.env("KUBECONFIG", gate.kubeconfig()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut guard = guard.spawn().unwrap();
    let held = gate.wait(Duration::from_secs(60));
    kill(&mut guard);
    held.unwrap();
    drop(gate);
    stage.assert_history(&["superseded", "pending-upgrade"]);
    let said = unlock(&stage, &["--id", &lock_id(&stage)]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    stage.assert_history(&["superseded", "deployed"]);
    assert!(said.err.contains("is deployed at revision 2"), "{}", said.err);
}

/// The run is alive: nothing happens without --force, nor without a word of consent; then it is stopped, and its record
/// settled when it has ended.
fn a_living_run_is_unlocked_only_by_force(version: Helm) {
    let stage = Stage::new("force", version);
    let mut guard = deploying(&stage);
    let (id, before) = (lock_id(&stage), stage.records());
    let alive = lock(&stage, &["--check"])["state"].clone();
    let refused = told(&stage, stage.own(&["unlock", "web", "--id", &id]), 77);
    let unnamed = unlock(&stage, &[]);
    let silent = unlock(&stage, &["--id", &id, "--force"]);
    let (unchanged, running) = (stage.records() == before, guard.try_wait().unwrap().is_none());

    let mut forced = stage.own(&["unlock", "web", "--force", "--yes", "-o", "json"]);
    let forced = Stage::run({
        forced.env("TMPDIR", stage.temporary.path());
        forced
    });
    let ended = guard.try_wait().unwrap();
    kill(&mut guard);
    assert_eq!(alive, "alive");
    crate::texts::hold(version, "unlock_of_a_living_run", &refused);
    assert_eq!(unnamed.code, Some(77), "{}", unnamed.err);
    assert!(unnamed.err.contains("which lock?"), "{}", unnamed.err);
    assert_eq!(silent.code, Some(77), "{}", silent.err);
    assert!(silent.err.contains("--force needs --yes"), "{}", silent.err);
    assert!(unchanged && running);
    assert_eq!(forced.code, Some(0), "{}", forced.err);
    let report: Value = serde_json::from_str(&forced.out).unwrap();
    assert_eq!(
        (&report["outcome"], &report["holder"]["lockId"]),
        (&"freed".into(), &id.into()),
        "{report:#}"
    );
    assert_eq!(ended.and_then(|status| status.code()), Some(76), "it is gone before its record is touched");
    stage.assert_history(&["deployed", "failed"]);
}

/// A Helm without helm-guard died: no lock tells whose its record is, so a person must.
fn a_pending_record_without_a_lock_is_settled_only_by_force(version: Helm) {
    let stage = Stage::new("nolock", version);
    stage.ready("install", &[]);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let before = stage.records();
    let refused = unlock(&stage, &[]);
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    assert!(
        refused.err.contains("there is no lock: a helm without helm-guard may be running"),
        "{}",
        refused.err
    );
    assert_eq!(stage.records(), before);
    let said = unlock(&stage, &["--force", "--yes"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    stage.assert_history(&["deployed", "failed"]);
    assert_eq!(lock(&stage, &[])["state"], "free");
}

/// Nobody renews what `lock acquire` took: it is no dead run's, and there is another command for it. By force it is freed, but
/// whoever took it does not hear of that, so a pending record is left to them.
#[test]
fn a_lock_for_a_fixed_time_is_not_taken_for_a_dead_one() {
    let stage = Stage::new("fixed", Helm::V4);
    stage.ready("install", &[]);
    let id = Stage::ok(stage.own(&["lock", "acquire", "web"])).out.trim().to_owned();
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let before = stage.records();
    let refused = unlock(&stage, &["--id", &id]);
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    assert!(refused.err.contains("helm-guard lock release web -n"), "{}", refused.err);
    assert_eq!(lock_id(&stage), id);
    let forced = unlock(&stage, &["--id", &id, "--force", "--yes"]);
    assert_eq!(forced.code, Some(1), "{}", forced.err);
    assert!(forced.err.contains("its record is left as it is"), "{}", forced.err);
    assert_eq!(stage.records(), before);
    assert_eq!(lock(&stage, &[])["state"], "free");
}

/// At a terminal --force asks, and takes no for an answer.
#[test]
fn at_a_terminal_force_asks() {
    let stage = Stage::new("ask", Helm::V4);
    let mut guard = deploying(&stage);
    let before = stage.records();
    let (no, told_no) = answer(stage.own(&["unlock", "web", "--force"]), "n");
    let untouched = stage.records() == before && guard.try_wait().unwrap().is_none();
    let (yes, told_yes) = answer(stage.own(&["unlock", "web", "--force"]), "y");
    kill(&mut guard);
    assert!(told_no.contains("ALIVE") && told_no.contains("not confirmed"), "{told_no}");
    assert_eq!((no, untouched), (Some(77), true), "{told_no}");
    assert_eq!(yes, Some(0), "{told_yes}");
    stage.assert_history(&["deployed", "failed"]);
}

/// Runs a command at a terminal, answers its question, gives its exit code and all that stood on the terminal.
fn answer(command: Command, key: &str) -> (Option<i32>, String) {
    at_a_terminal(command, &[("[y/N]", key)])
}

/// Runs a command at a terminal. Whenever the next of these texts stands there, its keys are pressed.
pub fn at_a_terminal(command: Command, answers: &[(&str, &str)]) -> (Option<i32>, String) {
    let (mut terminal, slave) = pseudo_terminal();
    let end = |side: &File| Stdio::from(side.try_clone().unwrap());
    let mut command = in_session(&command);
    if !command.get_envs().any(|(name, _)| name == "TERM") {
        command.env("TERM", "xterm");
    }
    command.stdin(end(&slave)).stdout(end(&slave)).stderr(end(&slave));
    let mut child = command.spawn().unwrap();
    // The terminal is over when no process has its other side.
    drop((command, slave));
    let (mut screen, mut buffer, mut read_up_to) = (String::new(), [0; 1024], 0);
    let mut answers = answers.iter().peekable();
    while let Ok(read @ 1..) = terminal.read(&mut buffer) {
        screen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        while let Some((text, keys)) = answers.peek() {
            let Some(at) = screen[read_up_to..].find(text) else { break };
            read_up_to += at + text.len();
            terminal.write_all(keys.as_bytes()).unwrap();
            answers.next();
        }
    }
    (child.wait().unwrap().code(), screen)
}

/// The database does not answer: that is no refusal and no half-done work.
fn records_that_cannot_be_read_are_an_unavailable_storage(version: Helm) {
    let stage = Stage::new("unreadable", version);
    for more in [&[][..], &["--force", "--yes"], &["--dry-run"]] {
        let mut command = stage.own(&["unlock", "web"]);
        command.args(more).env("HELM_DRIVER", "sql");
        // Port 9 is for what is thrown away, and nothing listens there.
        command.env(
            "HELM_DRIVER_SQL_CONNECTION_STRING",
            "postgres://helm:helm@127.0.0.1:9/helm?sslmode=disable",
        );
        let said = Stage::run(command);
        assert_eq!(said.code, Some(69), "{more:?}: {}", said.err);
        assert!(said.err.contains("records of release web"), "{more:?}: {}", said.err);
    }
}

crate::with_either_helm! { V4 records_that_cannot_be_read_are_an_unavailable_storage }
crate::with_both_helms! {
    a_dead_run_is_unlocked_and_settled a_run_that_died_in_its_last_save_is_settled_as_deployed
    a_living_run_is_unlocked_only_by_force a_pending_record_without_a_lock_is_settled_only_by_force
}
