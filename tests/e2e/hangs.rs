//! Nothing hangs and no release stays locked: terminals that are read, members of a hold that are killed, files that are shared.

use std::{
    ffi::OsString,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    process::{Command, Stdio},
};

use testbed::tools::Helm;

use crate::{
    lock::lock_id,
    screen::Terminal,
    stage::{Stage, kill},
};

const SIZE: (u16, u16) = (24, 200);
const WAIT: [&str; 2] = ["--wait", "--timeout=60s"];

/// A Helm that runs `before` when it is to change something.
fn wrap(stage: &mut Stage, before: &str) {
    let path = stage.temporary.path().join("helm");
    let helm = stage.helm.display();
    let changes = "upgrade|install|rollback|uninstall";
    let script = format!("#!/bin/sh\ncase $1 in {changes})\n{before}\n;; esac\nexec '{helm}' \"$@\"\n");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    stage.helm = path;
}

/// Values are typed at a terminal, and end with Ctrl-D. The lock is not taken before.
fn values_are_typed_at_a_terminal(version: Helm) {
    let stage = Stage::new("typed", version);
    let guard = stage.guard("upgrade", &["--install", "-f", "-", WAIT[0], WAIT[1]]);
    let mut terminal = Terminal::foreground(&guard, SIZE);
    terminal.press("env: {TYPED: 'yes'}\n");
    terminal.until(|screen| screen.text().contains("TYPED"));
    let lease = stage.namespace.kubectl(["get", "lease", "--ignore-not-found", "-o", "name"]).unwrap();
    assert_eq!(lease.trim(), "", "not locked while a person types");
    terminal.press("\u{4}");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert_eq!(stage.env(), ["FIXED", "TYPED"]);
}

/// Helm, or what it starts, asks for a password: it reads the terminal and turns its echo off.
fn helm_asks_for_a_password(version: Helm) {
    let mut stage = Stage::new("password", version);
    let ask = "exec 3<>/dev/tty; stty -echo <&3; printf 'Password: ' >&3; read word <&3; stty echo <&3; exec 3>&-\n\
               [ \"$word\" = open ] || exit 9";
    wrap(&mut stage, ask);
    let guard = stage.guard("upgrade", &["--install", WAIT[0], WAIT[1]]);
    let mut terminal = Terminal::foreground(&guard, SIZE);
    terminal.until(|screen| screen.text().contains("Password: "));
    terminal.press("open\n");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    stage.assert_deployed();
}

/// In a CI job nobody types, whatever terminal the runner has: what wants to ask is told at once that there is none.
fn in_ci_nothing_waits_for_a_terminal(version: Helm) {
    let mut stage = Stage::new("cisession", version);
    wrap(&mut stage, "if (exec </dev/tty) 2>&-; then exit 9; fi");
    let mut guard = stage.guard("upgrade", &["--install", WAIT[0], WAIT[1]]);
    guard.env("GITHUB_ACTIONS", "true");
    let (code, screen) = Terminal::foreground(&guard, SIZE).end();
    assert_eq!(code, Some(0), "{screen}");
    stage.assert_deployed();
}

/// Ctrl-C reaches Helm and helm-guard at once: Helm saves, helm-guard sets right what it left.
fn ctrl_c_ends_an_upgrade(version: Helm) {
    let stage = Stage::new("ctrlc", version);
    stage.ready("install", &[]);
    let guard = stage.guard("upgrade", &["--set=behavior=never-ready", "--wait", "--timeout=300s"]);
    let mut terminal = Terminal::foreground(&guard, SIZE);
    stage.wait_for_record("pending-upgrade").unwrap();
    terminal.until(|screen| screen.text().contains("helm runs"));
    terminal.press("\u{3}");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(130), "{screen}");
    stage.assert_history(&["deployed", "failed"]);
}

/// A rollback saves nothing when it is interrupted: the terminal's Ctrl-C is kept from it, and it has its time to finish.
fn ctrl_c_leaves_a_rollback_its_time(version: Helm) {
    let stage = Stage::new("ctrlcback", version);
    Stage::ok(stage.raw("install", &["--set=behavior=never-ready"]));
    Stage::ok(stage.raw("upgrade", &[]));
    let guard = stage.guard("rollback", &["1", "--wait", "--timeout=300s", "--stop-timeout=3s"]);
    let mut terminal = Terminal::foreground(&guard, SIZE);
    stage.wait_for_record("pending-rollback").unwrap();
    terminal.until(|screen| screen.text().contains("helm runs"));
    terminal.press("\u{3}");
    let (code, screen) = terminal.end();
    assert_eq!(code, Some(130), "{screen}");
    assert!(screen.contains("it cannot save where it is"), "{screen}");
    assert!(screen.contains("its time is over"), "it lived on: {screen}");
}

/// Ctrl-Z stops the whole job, and `fg` continues it.
fn ctrl_z_and_fg(version: Helm) {
    let mut stage = Stage::new("ctrlz", version);
    wrap(&mut stage, "echo begins >/dev/tty; read word </dev/tty");
    let guard = stage.guard("upgrade", &["--install", "--lease-duration=60s", WAIT[0], WAIT[1]]);
    let mut shell = Command::new("bash");
    shell.args(["-mc", "\"$@\"; echo \"[stopped $?]\"; fg %1; echo \"[ended $?]\"", "bash"]);
    shell.arg(guard.get_program()).args(guard.get_args()).env_clear();
    shell.envs(guard.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut terminal = Terminal::foreground(&shell, SIZE);
    terminal.until(|screen| screen.text().contains("begins"));
    terminal.press("\u{1a}");
    terminal.until(|screen| screen.text().contains("[stopped 148]"));
    terminal.press("go\n");
    let (_, screen) = terminal.end();
    assert!(screen.contains("[ended 0]"), "{screen}");
    stage.assert_deployed();
}

/// A deploy under `lock run` is killed: the next one of the same command goes on at once, not after the lock's time.
fn a_member_of_a_hold_is_killed(version: Helm) {
    let stage = Stage::new("member", version);
    stage.ready("install", &[]);
    let deploy = "$GUARD upgrade web $CHART --lease-duration=300s --wait";
    let script = format!(
        "{deploy} --set=behavior=never-ready --timeout=300s & one=$!\n\
         until $HELM_BIN status web 2>&1 | grep -q pending-upgrade; do sleep 0.2; done\n\
         kill -9 $one; wait $one\n\
         {deploy} --timeout=60s --lock-timeout=5s"
    );
    let mut run = stage.own(&["lock", "run", "web", "--lease-duration=300s", "--", "sh", "-c", &script]);
    run.env("GUARD", env!("CARGO_BIN_EXE_helm-guard")).env("CHART", Stage::chart());
    run.env("HELM_NAMESPACE", stage.namespace.name());
    let said = Stage::run(run);
    assert_eq!(said.code, Some(0), "{}", said.err);
    stage.assert_history(&["superseded", "failed", "deployed"]);
    let lease = stage.namespace.kubectl(["get", "lease", "helm-guard-web", "-o", "yaml"]).unwrap();
    assert!(!lease.contains("helm-guard.dev/members"), "{lease}");
}

/// The same under a hold of `lock acquire`, which its taker can then give back.
#[test]
fn a_hold_that_a_killed_process_worked_under_is_given_back() {
    let stage = Stage::new("acquired", Helm::V4);
    stage.ready("install", &[]);
    let id = Stage::ok(stage.own(&["lock", "acquire", "web", "--ttl=10m"])).out.trim().to_owned();
    let more = ["--set=behavior=never-ready", "--wait", "--timeout=300s"];
    let mut guard = stage.guard("upgrade", &more);
    guard.env("HELM_GUARD_LOCK_ID", &id).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = guard.spawn().unwrap();
    let pending = stage.wait_for_record("pending-upgrade");
    let release = || Stage::run(stage.own(&["lock", "release", "web", "--id", &id]));
    let refused = release();
    kill(&mut child);
    pending.unwrap();
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    assert_ne!(lock_id(&stage), id, "nobody has given it back");
    let released = release();
    assert_eq!(released.code, Some(0), "{}", released.err);
    assert_eq!(crate::lock::lock(&stage, &[])["state"], "free");
}

/// What another user may have written is not put into the cluster.
#[test]
fn a_backup_that_others_can_write_is_refused() {
    let stage = Stage::new("foreign", Helm::V4);
    stage.ready("install", &[]);
    let said = Stage::ok(stage.own(&["backup", "web"]));
    let file = said.out.trim();
    assert!(file.starts_with(stage.backups().to_str().unwrap()), "{file}");
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o666)).unwrap();
    let refused = Stage::run(stage.own(&["restore", file]));
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    assert!(refused.err.contains("others may write to it (mode 0666)"), "{}", refused.err);
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
    Stage::ok(stage.own(&["restore", file]));
}

/// The report on standard output is one document, behind Helm's own words.
#[test]
fn a_report_on_standard_output_is_written_once() {
    let stage = Stage::new("stdout", Helm::V4);
    let guard = || stage.guard("upgrade", &["--install", "--report=/dev/stdout", WAIT[0], WAIT[1]]);
    let piped = Stage::ok(guard()).out;
    let path = stage.temporary.path().join("out");
    let mut to_file = guard();
    to_file.stdout(std::fs::File::create(&path).unwrap());
    assert!(to_file.status().unwrap().success());
    for out in [piped, std::fs::read_to_string(path).unwrap()] {
        assert_eq!(out.matches("\"schemaVersion\"").count(), 1, "{out}");
        assert!(out.contains("STATUS: deployed"), "{out}");
        let json = &out[out.find("\n{").unwrap()..];
        serde_json::from_str::<serde_json::Value>(json).unwrap();
    }
}

/// Arguments that are no UTF-8 reach Helm byte for byte.
#[test]
fn arguments_reach_helm_as_they_were_given() {
    let mut stage = Stage::new("bytes", Helm::V4);
    let args = stage.temporary.path().join("args");
    wrap(&mut stage, &format!("printf '%s\\n' \"$@\" >>'{}'", args.display()));
    let odd = OsString::from_vec(b"--description=caf\xe9 \xf4\x8f\xbc\x85".to_vec());
    for more in [&["--install", "--dry-run=client"][..], &["--install"]] {
        let mut guard = stage.guard("upgrade", more);
        guard.arg(&odd);
        Stage::ok(guard);
        let given = std::fs::read(&args).unwrap();
        let found = given.windows(odd.len()).any(|window| window == odd.as_encoded_bytes());
        assert!(found, "{}", String::from_utf8_lossy(&given));
        std::fs::remove_file(&args).unwrap();
    }
}

crate::with_both_helms! {
    values_are_typed_at_a_terminal
    helm_asks_for_a_password
    in_ci_nothing_waits_for_a_terminal
    ctrl_c_ends_an_upgrade
    ctrl_c_leaves_a_rollback_its_time
    ctrl_z_and_fg
    a_member_of_a_hold_is_killed
}
