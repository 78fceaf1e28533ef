//! The GitLab component as users include it, run by gitlab-ci-local on this machine, with real Helms on a real control plane.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a story ends where something is not as it should be, and nobody links to it"
)]

mod runner;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../e2e/stage.rs"]
mod stage;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{process::Stdio, time::Duration};

use serde_json::Value;
use testbed::{
    recorder::{INPUTS, missing},
    tools::Helm,
};

use runner::Project;
use stage::Stage;

/// A later job sees the outputs; report, sections and metadata are what GitLab wants; no credential is in the log.
#[test]
fn a_healthy_deploy() {
    let (stage, project) = (Stage::new("healthy", Helm::V3), Project::new());
    let run = project.start(&stage, &[("helm", "3")]).finish();
    assert!(run.succeeded, "{}", run.log);
    stage.assert_history(&["deployed"]);
    assert!(run.log.contains("later: deployed at 1, repaired false"), "{}", run.log);
    let report = run.report();
    let owner = &report["subject"]["owner"];
    assert!(owner["runUrl"].as_str().unwrap().contains("/shop/web/-/jobs/"), "{owner}");
    assert_eq!((&owner["workflow"], &owner["job"]), (&"shop/web".into(), &"deploy".into()));
    assert!(report["helm"]["version"].as_str().unwrap().starts_with("v3."), "{report:#}");
    for mark in ["section_start:", "section_end:"] {
        for section in ["helm_guard_helm", "helm_guard_history"] {
            let of = run.log.lines().filter(|line| line.contains(mark) && line.contains(section));
            assert_eq!(of.count(), 1, "{mark} {section}: {}", run.log);
        }
    }
    let kubeconfig = std::fs::read_to_string(stage.namespace.kubeconfig()).unwrap();
    let token = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("token: ")).unwrap();
    assert!(!run.log.contains(token.trim_matches('"')), "the token is in the log");
    assert_eq!(run.left_over(), Vec::<String>::new(), "what the job needed for itself is gone");
}

#[test]
fn a_stuck_release_is_repaired() {
    let (stage, project) = (Stage::new("stuck", Helm::V4), Project::new());
    Stage::ok(stage.raw("install", &["--wait"]));
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let run = project.start(&stage, &[]).finish();
    assert!(run.succeeded, "{}", run.log);
    stage.assert_history(&["superseded", "failed", "deployed"]);
    assert!(run.log.contains("later: deployed at 3, repaired true"), "{}", run.log);
    assert!(run.summary().starts_with("### ✅ web in namespace "), "{}", run.summary());
    assert!(run.summary().contains("| 3 | deployed | web-1.0.0 |"), "{}", run.summary());
    assert!(run.log.contains("history before:"), "{}", run.log);
}

/// The job fails, and report and outputs are there all the same.
#[test]
fn a_failing_chart() {
    let (stage, project) = (Stage::new("failing", Helm::V4), Project::new());
    Stage::ok(stage.raw("install", &["--wait"]));
    let run = project.start(&stage, &[("set", "behavior=crash-loop"), ("timeout", "8s")]).finish();
    assert!(!run.succeeded, "{}", run.log);
    assert_eq!(run.report()["exitCode"], 1);
    assert!(run.dotenv().contains("DEPLOY_OUTCOME=failed\n"), "{}", run.dotenv());
    assert!(run.summary().starts_with("### ❌ upgrade of web "), "{}", run.summary());
    assert!(run.log.contains("cause: Deployment/web: container web crashes: exit code 1"), "{}", run.log);
    stage.assert_history(&["deployed", "failed"]);
}

/// Each input of the component comes to the command line, or to what the job is, in a real run.
#[test]
fn every_input_reaches_the_command_line() {
    let (stage, project) = (Stage::new("inputs", Helm::V4), Project::new());
    Stage::ok(stage.raw("install", &["--wait"]));
    let mut holder = stage.own(&["lock", "run", "other", "--lease-duration=3s", "--", "sleep", "300"]);
    let mut holder = holder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let lease = ["lease", "helm-guard-other"];
    let held = stage
        .namespace
        .watch_until(lease, Duration::from_secs(60), |lease| lease["spec"]["holderIdentity"].is_string());
    stage::kill(&mut holder);
    held.unwrap();
    let lease = stage.namespace.kubectl_json(["get", "lease", "helm-guard-other"]).unwrap();
    let id = lease["metadata"]["annotations"]["helm-guard.dev/lock-id"].as_str().unwrap();
    let context = stage.namespace.kubectl(["config", "current-context"]).unwrap();

    let (context, name) = (context.trim(), stage.namespace.name());
    let said =
        |name: &'static str, text: &'static str| (name, if name == "kube-context" { context } else { text });
    let mut deploy: Vec<(&str, &str)> = INPUTS.map(|(name, text)| said(name, text)).to_vec();
    deploy.extend([("namespace", name), ("verbose", "true")]);
    let flags = deploy.clone();
    deploy.extend([("job", "all"), ("stage", "deploy"), ("command", "upgrade"), ("helm", "4")]);
    let back =
        [("job", "back"), ("stage", "after"), ("command", "rollback"), ("revision", "1"), ("helm", "3")];
    let tried = [("job", "tried"), ("stage", "last"), ("dry-run", "true")];
    let free =
        [("job", "free"), ("stage", "last"), ("command", "unlock"), ("release", "other"), ("lock-id", id)];
    let far = [
        ("job", "far"),
        ("stage", "last"),
        ("chart", "web"),
        ("repo", "http://127.0.0.1:9"),
        ("release", "far"),
        ("quiet", "true"),
    ];
    let jobs: [&[(&str, &str)]; 5] = [&deploy, &back, &tried, &free, &far];
    let run = project.start_all(&stage, &jobs).finish();

    let template = include_str!("../../templates/deploy.yml");
    let declared: Value = serde_yaml::from_multiple::<Value>(template).unwrap().remove(0);
    let unused = declared["spec"]["inputs"].as_object().unwrap().keys().filter(|name| {
        // What image a job has does not matter to this runner.
        *name != "image" && !jobs.iter().any(|job| job.iter().any(|(given, _)| given == name))
    });
    assert_eq!(unused.collect::<Vec<_>>(), [] as [&str; 0], "an input that no job here has");

    let callers = project.recorded("upgrade", "caller");
    let of_all = callers.iter().find(|line| line.contains(&"--lock-name=of-inputs".to_owned()));
    let of_all = of_all.unwrap_or_else(|| panic!("{callers:?} {}", run.log));
    assert_eq!(missing(of_all, &flags), [] as [&str; 0], "{of_all:?}\n{}", run.log);
    stage.assert_history(&["superseded", "superseded", "deployed"]);
    let rollbacks = project.recorded("rollback", "caller");
    assert!(rollbacks.iter().any(|line| line.contains(&"1".to_owned())), "{rollbacks:?} {}", run.log);
    let dry = project.recorded("upgrade", "helm");
    assert!(dry.iter().any(|line| line.contains(&"--dry-run".to_owned())), "{dry:?} {}", run.log);
    let words = ["--repo=http://127.0.0.1:9", "--quiet=true"].map(str::to_owned);
    let far = callers.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(far && run.log.contains(&format!("lock {id}")), "{callers:?} {}", run.log);
    assert!(!run.succeeded, "nobody is at that repository: {}", run.log);
    for job in ["all", "back", "tried", "free", "far"] {
        assert!(run.log.lines().any(|line| line.contains(&format!("{job} "))), "{job}: {}", run.log);
    }
    let lease = stage.namespace.kubectl_json(["get", "lease", "helm-guard-other"]).unwrap();
    assert!(lease["spec"]["holderIdentity"].is_null(), "{}", run.log);
}

/// helm-guard is killed in `script`: `after_script` finds its state, and leaves no pending record and no lock.
#[test]
fn what_a_killed_script_left_is_settled_by_the_after_script() {
    let (stage, project) = (Stage::new("killed", Helm::V4), Project::new());
    Stage::ok(stage.raw("install", &["--wait"]));
    let running = project.start(&stage, &[("set", "behavior=never-ready")]);
    stage.wait_for_record("pending-upgrade").unwrap();
    let lease = || stage.namespace.kubectl_json(["get", "lease", "helm-guard-web"]).unwrap();
    let holder = lease()["spec"]["holderIdentity"].as_str().unwrap().to_owned();
    let pid = holder.rsplit_once('-').unwrap().1;
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    let run = running.finish();
    assert!(!run.succeeded, "{}", run.log);
    stage.assert_history(&["deployed", "failed"]);
    assert!(lease()["spec"]["holderIdentity"].is_null(), "{}", run.log);
    assert!(run.dotenv().starts_with("DEPLOY_OUTCOME=cancelled\n"), "{}", run.dotenv());
    assert_eq!(run.left_over(), Vec::<String>::new());
}
