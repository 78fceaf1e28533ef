//! Couplings with time: hooks, what they do and what they need, and what Helm waits for.

use serde_json::json;

use super::{Coupling, Draws};
use crate::differential::{
    objects::{account, annotated, binding, config, deployment, frozen, hook, job, role},
    part::Part,
};

const FIRST: &str = "pre-install,pre-upgrade";
const POLICY: &str = "helm.sh/hook-delete-policy";
const WEIGHT: &str = "helm.sh/hook-weight";

/// How Helm is told to wait.
fn waits(draws: Draws) -> String {
    let all: &[&str] = match draws.is_v4() {
        true => &["--wait", "--wait=legacy", "--wait=watcher", "--wait=hookOnly"],
        false => &["--wait"],
    };
    draws.pick("wait", all).to_owned()
}

pub(super) fn part(draws: Draws) -> Option<Part> {
    let mut part = Part::default();
    match draws.of {
        Coupling::BrokenHook => {
            let event = draws.pick("event", &["pre-upgrade", "post-upgrade", "pre-install"]);
            let mut broken = hook(job("broken", "0s", "ready"), event);
            broken["spec"]["template"]["spec"]["restartPolicy"] =
                draws.pick("policy", &["Always", "Never"]).into();
            part.new = vec![broken];
            if draws.chance("off", 2) {
                part.flags.push("--no-hooks".to_owned());
            }
        }
        Coupling::ActingHook => {
            part.old = vec![frozen("melts", "1")];
            part.new = vec![
                frozen("melts", draws.pick("value", &["1", "2"])),
                hook(job("melter", "2500ms", "ready"), draws.pick("event", &[FIRST, "post-upgrade"])),
            ];
            let words = ["delete", "configmap", "melts", "--ignore-not-found"];
            let does = draws.chance("does", 2);
            part.acts =
                does.then(|| ("melter".to_owned(), words.map(str::to_owned).to_vec())).into_iter().collect();
            if draws.chance("off", 3) {
                part.flags.push("--no-hooks".to_owned());
            }
        }
        Coupling::HookAccount => {
            let policy = draws.pick("policy", &["before-hook-creation", "hook-succeeded", "hook-failed"]);
            let first = |object, weight: &str| {
                annotated(annotated(hook(object, FIRST), WEIGHT, weight), POLICY, policy)
            };
            let mut runs = job("as-account", "0s", draws.pick("fares", &["ready", "ready", "fail"]));
            runs["spec"]["template"]["spec"]["serviceAccountName"] = "migrator".into();
            let late = draws.chance("late", 3);
            part.new = vec![
                first(account("migrator"), if late { "9" } else { "-5" }),
                first(role("migrator"), "-4"),
                first(binding("migrator", "migrator", "migrator"), "-3"),
                first(runs, "1"),
            ];
            part.old = part.new[..2].to_vec();
        }
        Coupling::FailingHook => {
            let event =
                draws.pick("event", &[FIRST, "post-install,post-upgrade", "pre-rollback,post-delete"]);
            part.old = vec![config("before", "1")];
            part.new = vec![
                config("before", "2"),
                hook(job("fails", "0s", draws.pick("fares", &["fail", "ready"])), event),
            ];
            if draws.chance("back", 3) {
                part.flags.push(draws.atomic());
            }
        }
        Coupling::LastingHook => {
            let policy = draws.pick("policy", &["before-hook-creation", "hook-succeeded", "hook-failed", ""]);
            let mut once = hook(config("once", draws.pick("value", &["1", "2"])), FIRST);
            if draws.chance("frozen", 2) {
                once["immutable"] = true.into();
            }
            if !policy.is_empty() {
                once = annotated(once, POLICY, policy);
            }
            part.old = vec![annotated(hook(config("once", "1"), FIRST), POLICY, "hook-failed")];
            part.new = vec![once];
        }
        Coupling::Waits => {
            let mut slow = deployment("waits", "waits");
            slow["spec"]["minReadySeconds"] = draws.pick("settle", &[0, 30]).into();
            let missing = draws.pick("missing", &[0, 1]);
            slow["spec"]["strategy"] =
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": missing}});
            slow["spec"]["paused"] = draws.chance("paused", 4).into();
            part.new = vec![slow.clone()];
            if draws.chance("lives", 2) {
                slow["spec"]["minReadySeconds"] = 0.into();
                slow["spec"]["paused"] = false.into();
                part.old = vec![slow];
            }
            part.flags = vec![waits(draws), "--timeout=10s".to_owned()];
        }
        Coupling::WaitsForJobs => {
            let fares = draws.pick("fares", &["ready", "fail"]);
            let mut once = job("worker", draws.pick("runs", &["0s", "30s"]), fares);
            if draws.chance("limited", 3) {
                once["spec"]["activeDeadlineSeconds"] = 2.into();
            }
            part.new = vec![once];
            part.flags = vec![waits(draws), "--timeout=8s".to_owned()];
            if draws.chance("jobs", 2) {
                part.flags.push("--wait-for-jobs".to_owned());
            }
        }
        _ => return None,
    }
    Some(part)
}
