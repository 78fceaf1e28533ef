//! The action as users run it: this repository's example workflow, in a real workflow runner, with real Helm 3 and 4, on a
//! real control plane.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a story ends where something is not as it should be, and nobody links to it"
)]

mod recover;
mod runner;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e/stage.rs"]
mod stage;

use std::{process::Stdio, time::Duration};

use helm_guard::{env::LOCK_ID_ENV, process};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use testbed::{
    recorder::{INPUTS, missing, recorded},
    tools::Helm,
};

use runner::Repository;
use stage::Stage;

/// The outputs are there for a later step, the run's metadata is in lock and report, and no credential is in the log.
fn a_healthy_deploy(version: Helm) {
    let (stage, repository) = (Stage::new("healthy", version), Repository::new());
    let run = repository.start(&stage, &[]).finish();
    assert!(run.succeeded, "{}", run.log());
    let (outputs, report) = run.seen_by_the_last_step();
    for (name, expected) in
        [("outcome", "deployed"), ("revision", "1"), ("previous-revision", ""), ("repaired", "false")]
    {
        assert_eq!(outputs[name], expected, "{}", run.log());
    }
    let lock_id = outputs["lock-id"].as_str().unwrap();
    stage.assert_history(&["deployed"]);

    let owner = &report["subject"]["owner"];
    let url = format!("{}/shop/web/actions/runs/4242/attempts/2", runner::SERVER);
    for (in_report, in_lock, expected) in [
        ("runUrl", "run-url", url.as_str()),
        ("runId", "run-id", "4242"),
        ("runNumber", "run-number", "7"),
        ("runAttempt", "run-attempt", "2"),
        ("workflow", "workflow", "Example deploy"),
        ("job", "job", "deploy"),
        ("ref", "ref", "refs/heads/main"),
        ("commit", "commit", repository.commit.as_str()),
        ("actor", "actor", "ada"),
    ] {
        assert_eq!(owner[in_report], expected, "{in_report}");
        assert_eq!(
            lease(&stage)["metadata"]["annotations"][format!("helm-guard.dev/{in_lock}")],
            expected,
            "{in_lock}"
        );
    }
    assert_eq!(lease(&stage)["metadata"]["annotations"]["helm-guard.dev/lock-id"], lock_id);
    assert!(lease(&stage)["spec"]["holderIdentity"].is_null());

    let kubeconfig = std::fs::read_to_string(stage.namespace.kubeconfig()).unwrap();
    let token = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("token: ")).unwrap();
    assert!(!run.log().contains(token.trim_matches('"')), "the token is in the log");
    run.keep_summary("healthy", version);
}

/// A release that a killed Helm left pending is deployed, and the step says that it was repaired.
fn a_stuck_release_is_repaired(version: Helm) {
    let (stage, repository) = (Stage::new("stuck", version), Repository::new());
    Stage::ok(stage.raw("install", &["--wait"]));
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let run = repository.start(&stage, &[]).finish();
    assert!(run.succeeded, "{}", run.log());
    let (outputs, report) = run.seen_by_the_last_step();
    for (name, expected) in
        [("outcome", "deployed"), ("revision", "3"), ("previous-revision", "1"), ("repaired", "true")]
    {
        assert_eq!(outputs[name], expected, "{}", run.log());
    }
    assert_eq!(report["repaired"], true);
    stage.assert_history(&["superseded", "failed", "deployed"]);
    let summary = run.summary();
    assert!(summary.contains("**Repaired:**") && summary.contains("pending-upgrade"), "{summary}");
    run.keep_summary("stuck", version);
}

/// A chart that cannot become ready: the step fails, the summary says why, and later steps still see the outputs.
fn a_failing_chart(version: Helm) {
    let (stage, repository) = (Stage::new("failing", version), Repository::new());
    Stage::ok(stage.raw("install", &["--wait"]));
    let run = repository.start(&stage, &[("set", "behavior=crash-loop"), ("timeout", "8s")]).finish();
    assert!(!run.succeeded, "{}", run.log());
    assert_eq!(run.step_result(&["deploy"]), "failure");
    let (outputs, report) = run.seen_by_the_last_step();
    for (name, expected) in
        [("outcome", "failed"), ("revision", "1"), ("previous-revision", "1"), ("repaired", "false")]
    {
        assert_eq!(outputs[name], expected, "{}", run.log());
    }
    assert_eq!(report["exitCode"], 1);
    let summary = run.summary();
    assert!(summary.contains("CrashLoopBackOff"), "{summary}");
    stage.assert_history(&["deployed", "failed"]);
    run.keep_summary("failing", version);
}

/// helm-guard is killed while Helm waits: the action's last step leaves no pending record, no living Helm and no lock.
fn a_killed_step_is_settled(version: Helm) {
    let (stage, repository) = (Stage::new("killed", version), Repository::new());
    Stage::ok(stage.raw("install", &["--wait"]));
    let running = repository.start(&stage, &[("set", "behavior=never-ready")]);
    stage.wait_for_record("pending-upgrade").unwrap();
    let holder = lease(&stage)["spec"]["holderIdentity"].as_str().unwrap().to_owned();
    let (rest, pid) = holder.rsplit_once('-').unwrap();
    let lock_id = rest.rsplit_once('-').unwrap().1;
    let parent = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = parent.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    assert_eq!(parent, running.pid().to_string(), "a shell in between would keep the runner's signals");
    let helm = process::carrying(LOCK_ID_ENV, lock_id);
    assert_eq!(helm.len(), 1, "Helm is at work");
    let environment = std::fs::read(format!("/proc/{}/environ", helm[0].pid)).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(!environment.contains(helm_guard::env::ACTION_INPUT), "the inputs are none of Helm's business");
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    let run = running.finish();

    assert!(!run.succeeded, "{}", run.log());
    assert_eq!(run.step_result(&["deploy", "settle"]), "success", "{}", run.log());
    assert_eq!(process::carrying(LOCK_ID_ENV, lock_id), [], "{}", run.log());
    stage.assert_history(&["deployed", "failed"]);
    assert!(lease(&stage)["spec"]["holderIdentity"].is_null(), "{}", run.log());
    let (outputs, _) = run.seen_by_the_last_step();
    assert_eq!(outputs["outcome"], "cancelled", "{}", run.log());
    assert_eq!(outputs["lock-id"], lock_id, "{}", run.log());
    run.keep_summary("killed", version);
}

/// Each input of the action comes to the command line in a real run, or to where it belongs.
#[test]
fn every_input_reaches_the_command_line() {
    let (stage, repository) = (Stage::new("inputs", Helm::V4), Repository::new());
    let (helm, records) = repository.recorder(&stage);
    Stage::ok(stage.raw("install", &["--wait"]));
    let mut holder = stage.own(&["lock", "run", "other", "--lease-duration=3s", "--", "sleep", "300"]);
    let mut holder = holder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let of_other = ["lease", "helm-guard-other"];
    let is_held = |lease: &Value| lease["spec"]["holderIdentity"].is_string();
    let held = stage.namespace.watch_until(of_other, Duration::from_secs(60), is_held);
    stage::kill(&mut holder);
    held.unwrap();
    let other = || stage.namespace.kubectl_json(["get", "lease", "helm-guard-other"]).unwrap();
    let other_lock = other();
    let id = other_lock["metadata"]["annotations"]["helm-guard.dev/lock-id"].as_str().unwrap();
    let context = stage.namespace.kubectl(["config", "current-context"]).unwrap();

    let (context, name, helm) = (context.trim(), stage.namespace.name(), helm.to_str().unwrap());
    let said = |(name, text): &(&'static str, &'static str)| match *name {
        "kube-context" => ("kube-context", context),
        name => (name, *text),
    };
    let mut deploy: Vec<(&str, &str)> = INPUTS.iter().map(said).collect();
    let told = [("report", "told.json"), ("summary", "told.md"), ("dotenv", "told.env")];
    let more = [&[("namespace", name), ("helm-bin", helm), ("verbose", "true")][..], &told].concat();
    deploy.extend(more);
    let flags = deploy.clone();
    deploy.extend([("command", "upgrade"), ("github-token", "canary-token")]);
    let back = [("command", "rollback"), ("release", "web"), ("revision", "1"), ("helm-bin", helm)];
    let chart = ("chart", "tests/charts/web");
    let tried = [("release", "web"), chart, ("dry-run", "true"), ("atomic", "true"), ("helm-bin", helm)];
    let free = [("command", "unlock"), ("release", "other"), ("lock-id", id)];
    let repo = ("repo", "http://127.0.0.1:9");
    let far = [("release", "far"), ("chart", "web"), repo, ("helm-bin", helm), ("quiet", "true")];
    let steps: [&[(&str, &str)]; 5] = [&deploy, &back, &tried, &free, &far];
    let run = repository.steps(&stage, &steps).finish();

    let unused = helm_guard::cli::action_inputs::inputs().filter(|name| {
        // All steps have it.
        *name != "kubeconfig" && !steps.iter().any(|step| step.iter().any(|(given, _)| given == name))
    });
    assert_eq!(unused.collect::<Vec<_>>(), [] as [&str; 0], "an input that no step here has");
    let line = |command: &str, of: &str, has: &str| {
        let lines = recorded(&records, command, of).unwrap();
        let found = lines.iter().find(|line| line.iter().any(|word| word == has)).cloned();
        found.unwrap_or_else(|| panic!("{command} {has}: {lines:?}\n{}", run.log()))
    };
    let of_all = line("upgrade", "caller", "--lock-name=of-inputs");
    assert_eq!(missing(&of_all, &flags), [] as [&str; 0], "{of_all:?}\n{}", run.log());
    assert!(of_all.iter().any(|word| word.starts_with("--kubeconfig=")), "{of_all:?}");
    assert!(of_all.contains(&"HELM_GUARD_CI_TOKEN".to_owned()), "{of_all:?}");
    assert!(!of_all.iter().any(|word| word.starts_with(helm_guard::env::ACTION_INPUT)), "{of_all:?}");
    line("rollback", "caller", "1");
    let dry = line("upgrade", "helm", "--dry-run");
    assert!(dry.contains(&"--atomic".to_owned()), "{dry:?}");
    let quiet = line("upgrade", "caller", "--repo=http://127.0.0.1:9");
    assert!(quiet.contains(&"--quiet=true".to_owned()), "{quiet:?}");
    stage.assert_history(&["superseded", "superseded", "deployed"]);
    assert!(other()["spec"]["holderIdentity"].is_null(), "{}", run.log());
    assert!(of_all.iter().any(|word| word.ends_with("/elsewhere")), "where it works: {of_all:?}");
    assert!(!run.log().contains("canary-token"), "{}", run.log());
}

/// The token of the input `github-token`, and the inputs themselves: neither Helm nor what it runs is given them, and no plugin
/// that logs in.
#[test]
fn no_token_leaves_the_action() {
    use std::os::unix::fs::PermissionsExt;
    let (stage, repository) = (Stage::new("actiontoken", Helm::V3), Repository::new());
    let path = |name: &str| stage.temporary.path().join(name);
    let seen = path("seen").display().to_string();
    let script = |name: &str, text: &str| {
        let tell = format!("#!/bin/sh\n{{ echo \"{name} $1 :\"; env; }} >>'{seen}'\n{text}\n");
        std::fs::write(path(name), tell).unwrap();
        std::fs::set_permissions(path(name), PermissionsExt::from_mode(0o755)).unwrap();
        path(name).display().to_string()
    };
    // A chart that a plugin of Helm's downloads, a post-renderer, and a login.
    let package =
        ["package", Stage::chart().to_str().unwrap(), "-d", stage.temporary.path().to_str().unwrap()]
            .map(str::to_owned);
    Stage::ok(stage.helm(&package.each_ref().map(String::as_str)));
    std::fs::create_dir_all(path("plugins/canary")).unwrap();
    let plugin = "name: canary\nversion: 1.0.0\ndownloaders: [{command: get, protocols: [canary]}]\n";
    std::fs::write(path("plugins/canary/plugin.yaml"), plugin).unwrap();
    let get = script("get", &format!("cat '{}'", path("web-1.0.0.tgz").display()));
    std::fs::rename(get, path("plugins/canary/get")).unwrap();
    let plugins = path("plugins").display().to_string();
    let helm = script("helm", &format!("HELM_PLUGINS='{plugins}' exec '{}' \"$@\"", stage.helm.display()));
    let renderer = script("renderer", "cat");
    let view = ["config", "view", "--raw", "--flatten"];
    let mut config = stage.namespace.kubectl_json(view).unwrap();
    let credential = serde_json::json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": config["users"][0]["user"]["token"]},
    });
    let login = script("login", &format!("echo '{credential}'"));
    let exec = serde_json::json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": login, "interactiveMode": "Never",
    });
    config["users"][0]["user"] = serde_json::json!({ "exec": exec });
    std::fs::write(stage.namespace.kubeconfig(), config.to_string()).unwrap();

    let renderer = format!("--post-renderer={renderer}");
    let common = [
        ("release", "web"),
        ("namespace", stage.namespace.name()),
        ("helm-bin", helm.as_str()),
        ("github-token", "canary-token"),
    ];
    let chart = [("chart", "canary://charts/web-1.0.0.tgz"), ("args", renderer.as_str())];
    let deploy = [&common[..], &chart, &[("install", "true")]].concat();
    let dry = [&common[..], &chart, &[("dry-run", "true")]].concat();
    let unfenced = [&common[..], &chart, &[("fence", "off")]].concat();
    let back = [&common[..], &[("command", "rollback"), ("revision", "1")]].concat();
    for (what, step, runs) in [
        ("deploy", &deploy, &["login", "helm upgrade", "get", "renderer"][..]),
        ("dry run", &dry, &["helm upgrade", "get", "renderer"]),
        ("no fence", &unfenced, &["login", "helm upgrade", "get", "renderer"]),
        ("rollback", &back, &["login", "helm rollback"]),
    ] {
        let _ = std::fs::remove_file(&seen);
        let run = repository.steps(&stage, &[step]).finish();
        let told = std::fs::read_to_string(&seen).unwrap();
        for one in runs {
            let ran = told.lines().any(|line| line.starts_with(one) && line.ends_with(" :"));
            assert!(ran, "{what}: {one} has not run\n{told}\n{}", run.log());
        }
        assert!(told.contains("GITHUB_ACTIONS=true"), "{what}: {told}");
        assert!(!told.contains("canary-token"), "{what}: {told}");
        assert!(!told.contains(helm_guard::env::ACTION_INPUT), "{what}: {told}");
        assert!(!run.log().contains("canary-token"), "{what}: {}", run.log());
    }
    stage.assert_history(&["superseded", "superseded", "deployed"]);
}

/// An input that Helm would take for a flag is refused before anything is touched, and the step says so everywhere.
#[test]
fn a_bad_input_is_refused() {
    let (stage, repository) = (Stage::new("input", Helm::V4), Repository::new());
    let run = repository.start(&stage, &[("release", "--post-renderer=./run-me")]).finish();
    assert!(!run.succeeded, "{}", run.log());
    let summary = run.summary();
    assert!(summary.contains("input release"), "{summary}");
    assert_eq!(run.output("outcome"), "refused");
    assert!(stage.records().is_empty());
    run.keep_summary("input", Helm::V4);
}

fn lease(stage: &Stage) -> serde_json::Value {
    stage.namespace.kubectl_json(["get", "lease", "helm-guard-web"]).unwrap()
}

with_both_helms! { a_healthy_deploy a_stuck_release_is_repaired a_failing_chart a_killed_step_is_settled }
