//! The exact text that a user sees, held as snapshots, in each case in which a pipeline is red.

use std::process::Command;

use testbed::{Rule, tools::Helm};

use crate::stage::{Stage, UNVALIDATED};

/// The command line, what stood on the screen, and the exit code. Without progress lines, whose number is chance, and without
/// what Helm's API client logs when the end of a wait cuts an answer short, which is chance too.
fn seen(stage: &Stage, mut command: Command, code: i32) -> String {
    command.arg("--keepalive=10m");
    told(stage, command, code)
}

/// The same for the commands that show no progress.
pub fn told(stage: &Stage, command: Command, code: i32) -> String {
    let mut line: Vec<_> =
        command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    line.retain(|argument| argument != UNVALIDATED);
    let user = line.iter().find_map(|flag| flag.strip_prefix("--kubeconfig=")).map(str::to_owned);
    let output = Stage::run(command);
    assert_eq!(output.code, Some(code), "{}", output.err);
    let ids = regex::Regex::new(r"(\block |\block ID: +|--id )[0-9a-f]{8}\b|-[0-9a-f]{8}(\.repair)?\.json\b")
        .unwrap();
    let text = format!(
        "$ helm-guard {}\n--- stdout\n{}--- stderr\n{}--- exit code {code}",
        line.join(" "),
        output.out,
        output.err
    );
    let text = ids.replace_all(&text, |found: &regex::Captures<'_>| {
        let ending = found.get(2).map_or("", |repair| repair.as_str());
        found.get(1).map_or(format!("-[ID]{ending}.json"), |before| format!("{}[ID]", before.as_str()))
    });
    let owner = regex::Regex::new(r"\bada@[\w.-]+").unwrap();
    let text = owner.replace_all(&text, "ada@[HOST]");
    // Where the files of users are depends on who started the cluster.
    let text = match user.filter(|file| file.contains("/users/")) {
        Some(file) => text.replace(&file, "[KUBECONFIG]"),
        None => text.into_owned(),
    };
    let cut_short = regex::Regex::new(r#"^E\d{4} .* request\.go:\d+\] .*err="context canceled"$"#).unwrap();
    let text = text.lines().filter(|line| !cut_short.is_match(line)).collect::<Vec<_>>().join("\n");
    // How far it is, and when that is told, is chance as well.
    let is_progress =
        |line: &&str| line.starts_with("helm-guard: rollout: ") || line.starts_with("helm-guard: hook ");
    let text = text.lines().filter(|line| !is_progress(line)).collect::<Vec<_>>().join("\n");
    // How old a revision is has one digit or two.
    let padded = regex::Regex::new(r"\[DURATION\] {2,}").unwrap();
    let text = padded.replace_all(&stage.normalise(&text), "[DURATION]   ").into_owned();
    // Blanks at the ends of lines are Helm's, and editors lose them.
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

pub fn hold(version: Helm, case: &str, text: &str) {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(format!("{case}_{version:?}").to_lowercase(), text);
    });
}

const DEPLOY: [&str; 2] = ["--wait", "--timeout=60s"];

fn a_stuck_upgrade(version: Helm) {
    let stage = Stage::new("upgrade", version);
    stage.ready("install", &["--set-string=env.GOOD=1"]);
    stage.stick("upgrade", &["--set=configs={dead}", "--set=behavior=never-ready"]);
    hold(version, "stuck_upgrade", &seen(&stage, stage.guard("upgrade", &DEPLOY), 0));
}

fn a_stuck_install(version: Helm) {
    let stage = Stage::new("install", version);
    stage.stick("install", &["--set=behavior=never-ready"]);
    hold(
        version,
        "stuck_install",
        &seen(&stage, stage.guard("upgrade", &["--install", "--set=behavior=ready", "--wait"]), 0),
    );
}

fn a_stuck_rollback(version: Helm) {
    let stage = Stage::new("rollback", version);
    Stage::ok(stage.raw("install", &["--set=behavior=never-ready"]));
    stage.ready("upgrade", &["--set=configs={two}", "--set=behavior=ready"]);
    stage.stick("rollback", &["1"]);
    hold(
        version,
        "stuck_rollback",
        &seen(&stage, stage.guard("upgrade", &["--set=configs={three}", "--wait"]), 0),
    );
}

/// A failed upgrade leaves fields behind that only it had, and with client-side apply they stay for ever.
fn after_a_failed_upgrade(version: Helm) {
    let stage = Stage::new("failed", version);
    stage.ready("install", &[]);
    let failing = ["--set=nodeSelector.nobody=has", "--set-string=env.STRAY=1", "--wait", "--timeout=1s"];
    assert_eq!(Stage::run(stage.raw("upgrade", &failing)).code, Some(1));
    hold(version, "after_a_failed_upgrade", &seen(&stage, stage.guard("upgrade", &DEPLOY), 0));
    assert_eq!(stage.env(), ["FIXED"]);
    stage.assert_history(&["superseded", "failed", "deployed"]);
}

fn a_failing_chart(version: Helm) {
    let stage = Stage::new("failing", version);
    let crash = ["--install", "--set=behavior=crash-loop", "--wait", "--timeout=5s"];
    hold(version, "failing_chart", &seen(&stage, stage.guard("upgrade", &crash), 1));
}

fn bad_input(version: Helm) {
    let stage = Stage::new("bad", version);
    stage.ready("install", &[]);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    hold(version, "bad_flag", &seen(&stage, stage.guard("upgrade", &["--no-such-flag"]), 1));
    hold(version, "bad_value", &seen(&stage, stage.guard("upgrade", &["--set=configs=nolist"]), 1));
    hold(version, "bad_own_flag", &seen(&stage, stage.guard("upgrade", &["--lock-timeout=soon"]), 64));
    // The cause that is seen of the pod is told too.
    stage.wait_for_failing_probe();
    let strange = {
        let mut command = stage.guard("upgrade", &["--repair=off", "--wait"]);
        command.env("HELM_GUARD_LOCKTIMEOUT", "1m");
        command
    };
    hold(version, "unknown_variable_and_no_repair", &seen(&stage, strange, 1));
}

fn what_cannot_work(version: Helm) {
    let stage = Stage::new("cannot", version);
    let run = |flag: &str| stage.guard("upgrade", &["--install", flag]);
    hold(version, "wrong_kubeconfig", &seen(&stage, run("--kubeconfig=/no/such/config"), 69));
    hold(version, "wrong_context", &seen(&stage, run("--kube-context=nobody"), 69));
    hold(version, "missing_helm", &seen(&stage, run("--helm-bin=/no/such/helm"), 69));
    hold(version, "missing_namespace", &seen(&stage, run("--namespace=nowhere"), 77));
    hold(version, "unknown_release", &seen(&stage, stage.guard("upgrade", &[]), 1));
    hold(version, "uninstall_of_an_unknown_release", &seen(&stage, stage.guard("uninstall", &[]), 1));

    // A port on which nobody listens: taken, and given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = format!("--kube-apiserver=https://{free}");
    hold(version, "unreachable_cluster", &seen(&stage, run(&server), 69));
}

/// Each right that is missing is named, in the order in which a deployer meets them.
fn without_permission(version: Helm) {
    let stage = Stage::new("rights", version);
    let leases = Rule { groups: &["coordination.k8s.io"], resources: &["leases"], verbs: &["*"] };
    for (case, user, rules) in [("no_right_to_leases", 1, vec![]), ("no_right_to_records", 2, vec![leases])] {
        let file = stage.namespace.restricted_kubeconfig(user, &rules).unwrap();
        let flag = format!("--kubeconfig={}", file.display());
        let text = seen(&stage, stage.guard("upgrade", &["--install", &flag]), 77);
        hold(version, case, &text);
    }
}

crate::with_both_helms! {
    a_stuck_upgrade a_stuck_install a_stuck_rollback after_a_failed_upgrade a_failing_chart bad_input what_cannot_work
    without_permission
}
