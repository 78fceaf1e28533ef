//! Other ways to be stopped than GitHub's: GitLab's runner, a terminal, `docker stop`; a Helm that would go on for long; a
//! lock that is lost while helm-guard itself has something to write.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use helm_guard::process;
use nix::sys::signal::Signal;
use serde_json::Value;
use testbed::{Gate, tools::Helm};

use crate::{
    stage::{SHORT_LIVED, Said, Stage, kill},
    sweep::{children, ends_within, handle, is_helm, pid, signal_to},
};

/// An upgrade that never becomes ready, when Helm waits for it.
fn waiting(stage: &Stage, guard: &mut Command) -> Child {
    guard.args(["--set=behavior=never-ready", "--wait", "--timeout=300s"]);
    under_way(stage, guard, "pending-upgrade")
}

/// A run, when Helm has written the Deployment and waits.
fn under_way(stage: &Stage, guard: &mut Command, status: &str) -> Child {
    let before = stage.generation();
    let mut child = guard.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    if let Err(error) = stage.wait_for_record(status).and_then(|()| stage.wait_for_unready(before)) {
        kill(&mut child);
        panic!("{error:#}");
    }
    child
}

fn said(child: Child) -> Said {
    child.wait_with_output().unwrap().into()
}

fn assert_free(stage: &Stage, said: &Said) {
    let lease = stage.namespace.kubectl_json(["get", "lease", "helm-guard-web"]).unwrap();
    assert!(lease["spec"]["holderIdentity"].is_null(), "{lease:#}\n{}", said.err);
}

/// GitLab's runner sends SIGTERM to every process, the youngest first: Helm knows before helm-guard does. An upgrade has
/// saved its record by then, a rollback is dead.
fn gitlab_tells_helm_first(version: Helm) {
    let stage = Stage::new("gitlab", version);
    Stage::ok(stage.raw("install", &["--set=behavior=never-ready"]));
    stage.ready("upgrade", &["--set=behavior=ready"]);
    for (command, more, status, history) in [
        (
            "upgrade",
            vec!["--set=behavior=never-ready"],
            "pending-upgrade",
            &["superseded", "deployed", "failed"][..],
        ),
        ("rollback", vec!["1"], "pending-rollback", &["superseded", "deployed", "failed", "failed"]),
    ] {
        let mut guard = stage.guard(command, &more);
        guard.args(["--wait", "--timeout=300s"]);
        let child = under_way(&stage, &mut guard, status);
        for helm in children(pid(&child)) {
            signal_to(helm, Signal::SIGTERM);
        }
        signal_to(pid(&child), Signal::SIGTERM);
        let said = said(child);
        assert_eq!(said.code, Some(143), "{command}: {}", said.err);
        stage.assert_history(history);
        assert_free(&stage, &said);
        // Back to where a rollback has something to change.
        stage.ready("rollback", &["2"]);
        let last = stage.history().len();
        stage.namespace.kubectl(["delete", "secret", &format!("sh.helm.release.v1.web.v{last}")]).unwrap();
    }
}

/// A rollback that nobody waits for any longer, and an automatic one: both are cut off inside the runner's 10 s, and no
/// revision stays pending.
fn what_would_go_on_is_cut_off(version: Helm) {
    let stage = Stage::new("atomic", version);
    // Good, but no pod of it is ever ready again.
    Stage::ok(stage.raw("install", &["--set=delay=300s"]));
    let atomic = if version == Helm::V3 { "--atomic" } else { "--rollback-on-failure" };
    let mut guard = stage.guard("upgrade", &[atomic]);
    let child = waiting(&stage, &mut guard);
    let start = Instant::now();
    signal_to(pid(&child), Signal::SIGINT);
    let said = said(child);
    let took = start.elapsed();
    assert_eq!(said.code, Some(130), "{}", said.err);
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(10), "{took:?}: {}", said.err);
    // The third is the rollback that Helm had begun.
    stage.assert_history(&["deployed", "failed", "failed"]);
    assert_free(&stage, &said);
}

/// A rollback is left to finish, but not by whoever asks again: it is ended at once, and its record settled.
#[test]
fn a_second_signal_hurries() {
    let stage = Stage::new("hurry", Helm::V3);
    Stage::ok(stage.raw("install", &["--set=behavior=never-ready"]));
    stage.ready("upgrade", &["--set=behavior=ready"]);
    let mut guard = stage.guard("rollback", &["1", "--wait", "--timeout=300s", "--stop-timeout=300s"]);
    let child = under_way(&stage, &mut guard, "pending-rollback");
    signal_to(pid(&child), Signal::SIGINT);
    signal_to(pid(&child), Signal::SIGTERM);
    let run = handle(pid(&child)).unwrap();
    assert!(ends_within(&run, Duration::from_secs(30)), "it waits for the whole --stop-timeout");
    let said = said(child);
    // Which of two that come at once is heard first is nobody's to say.
    assert!(matches!(said.code, Some(130 | 143)), "{:?} {}", said.code, said.err);
    stage.assert_history(&["superseded", "deployed", "failed"]);
    assert_free(&stage, &said);
}

/// Ctrl-C in a terminal reaches its whole foreground group, in which Helm is not; a second one hurries.
fn a_ctrl_c_in_a_terminal(version: Helm) {
    let stage = Stage::new("ctrl-c", version);
    stage.ready("install", &[]);
    let guard = stage.guard("upgrade", &["--set=behavior=never-ready", "--wait", "--timeout=300s"]);
    let line: Vec<String> = std::iter::once(guard.get_program())
        .chain(guard.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &format!("exec {}", line.join(" ")), "/dev/null"]);
    script.env_clear().envs(guard.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.stdin(Stdio::piped());
    let mut terminal = under_way(&stage, &mut script, "pending-upgrade");
    let mut keyboard = terminal.stdin.take().unwrap();
    keyboard.write_all(b"\x03").unwrap();
    let said = said(terminal);
    assert_eq!(said.code, Some(130), "{}", said.out);
    assert!(said.out.contains("stopping helm: SIGINT") && !said.out.contains("SIGINT again"), "{}", said.out);
    drop(keyboard);
    stage.assert_history(&["deployed", "failed"]);
    assert_free(&stage, &said);
}

/// `docker stop`: SIGTERM to process 1, which is helm-guard. It hears that, settles, and leaves no zombie meanwhile.
fn process_1_of_a_container(version: Helm) {
    let mut stage = Stage::new("docker", version);
    stage.ready("install", &[]);
    // Orphans that end at once: nobody but process 1 can reap them.
    stage.wrap_helm("sh -c 'true & true & exec true' &");
    let guard = stage.guard("upgrade", &[]);
    let mut container = Command::new("unshare");
    container
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(guard.get_program())
        .args(guard.get_args());
    container.env_clear().envs(guard.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = waiting(&stage, &mut container);
    let first = children(pid(&child))[0];
    let zombies = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
    };
    assert!(!children(first).into_iter().any(zombies));
    signal_to(first, Signal::SIGTERM);
    let said = said(child);
    assert_eq!(said.code, Some(143), "{}", said.err);
    stage.assert_history(&["deployed", "failed"]);
    assert_free(&stage, &said);
}

/// helm-guard is stopped while it settles, longer than its lease lasts: what it meant to write is never sent.
fn after_the_loss_nothing_is_settled(version: Helm) {
    let stage = Stage::new("late", version);
    Stage::ok(stage.raw("install", &["--set=behavior=never-ready"]));
    stage.ready("upgrade", &["--set=behavior=ready"]);
    let (sender, stopped) = mpsc::channel();
    let armed = Arc::new(AtomicI32::new(0));
    let gate = {
        let armed = armed.clone();
        Gate::open(&stage.namespace, move |seen| {
            // It looks at what its Helm has left; what it wants to do about that comes next.
            let records = !is_helm(seen) && seen.object().starts_with("secrets");
            let run = if records { armed.swap(0, Ordering::SeqCst) } else { 0 };
            if run != 0 {
                signal_to(run, Signal::SIGSTOP);
                let _ = sender.send(());
            }
            None
        })
        .unwrap()
    };
    let mut guard = stage.guard("rollback", &["1", "--wait", "--timeout=300s", SHORT_LIVED]);
    guard.env("KUBECONFIG", gate.kubeconfig());
    let child = under_way(&stage, &mut guard, "pending-rollback");
    let lease = stage.namespace.kubectl_json(["get", "lease", "helm-guard-web"]).unwrap();
    let id = lease["metadata"]["annotations"]["helm-guard.dev/lock-id"].as_str().unwrap();
    armed.store(pid(&child), Ordering::SeqCst);
    // So its record stays pending.
    for helm in children(pid(&child)) {
        signal_to(helm, Signal::SIGKILL);
    }
    stopped.recv_timeout(Duration::from_secs(60)).unwrap();
    let next = Stage::run(stage.guard("upgrade", &["--set=behavior=ready", "--wait", "--timeout=60s"]));
    let records = stage.records();
    signal_to(pid(&child), Signal::SIGCONT);
    let said = said(child);
    assert_eq!(next.code, Some(0), "{}\n{}", next.err, said.err);
    assert_eq!(said.code, Some(76), "{}", said.err);
    assert_eq!(stage.records(), records, "{}", said.err);
    stage.assert_deployed();
    let ours = stage.namespace.audit().unwrap().user_agent(&format!("lock/{id}")).writes();
    assert!(ours.events().iter().all(|event| event.user_agent.starts_with("Helm/")), "{:#?}", ours.lines());
}

/// What helm-guard writes to records can be told from everybody else's, as Helm's through the fence: by the lock's ID.
#[test]
fn own_writes_of_records_carry_the_lock_id() {
    let stage = Stage::new("own", Helm::V4);
    stage.ready("install", &[]);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let said = Stage::ok(stage.guard("upgrade", &["--wait", "--timeout=60s"]));
    let audit = stage.namespace.audit().unwrap().user_agent("helm-guard/").writes().resource("secrets");
    let lease: Value = stage.namespace.kubectl_json(["get", "lease", "helm-guard-web"]).unwrap();
    let id = lease["metadata"]["annotations"]["helm-guard.dev/lock-id"].as_str().unwrap();
    let own: Vec<_> = audit.events().iter().filter(|event| !event.user_agent.starts_with("Helm/")).collect();
    assert!(own.len() >= 2, "{own:#?}\n{}", said.err);
    for event in own {
        assert!(event.user_agent.ends_with(&format!(" lock/{id}")), "{event:#?}");
        assert!(event.request_uri.contains(&format!("fieldManager={id}")), "{event:#?}");
    }
}

/// Whoever was killed, Helm, helm-guard or both: the settle step of the job leaves no process, no pending record, no lock.
fn the_settle_step_ends_the_work_of_whoever_is_left(version: Helm) {
    for victims in ["helm", "guard", "both"] {
        let mut stage = Stage::new("victims", version);
        stage.ready("install", &[]);
        if victims == "guard" {
            // Else Helm would die with it.
            stage.wrap_helm("");
        }
        let job = tempfile::tempdir().unwrap();
        let mut guard = stage.guard("upgrade", &[]);
        guard.env("RUNNER_TEMP", job.path());
        let mut child = waiting(&stage, &mut guard);
        let helm = children(pid(&child));
        if victims != "guard" {
            helm.iter().for_each(|helm| signal_to(*helm, Signal::SIGKILL));
        }
        if victims == "helm" {
            let guard = handle(pid(&child)).unwrap();
            assert!(ends_within(&guard, Duration::from_secs(60)));
        }
        kill(&mut child);
        let mut settle = stage.own(&["settle"]);
        settle.env("RUNNER_TEMP", job.path());
        let said = Stage::ok(settle);
        assert_eq!(said.err.contains("nothing to settle"), victims == "helm", "{victims}: {}", said.err);
        let left = process::carrying("TMPDIR", &stage.temporary.path().display().to_string());
        let lives = |process: &process::Process| {
            handle(process.pid).is_some_and(|handle| !ends_within(&handle, Duration::from_secs(1)))
        };
        assert!(!left.iter().any(lives), "{victims}: {left:?}\n{}", said.err);
        stage.assert_history(&["deployed", "failed"]);
        assert_free(&stage, &said);
    }
}

crate::with_both_helms! {
    gitlab_tells_helm_first what_would_go_on_is_cut_off a_ctrl_c_in_a_terminal process_1_of_a_container
    after_the_loss_nothing_is_settled the_settle_step_ends_the_work_of_whoever_is_left
}
