//! Hooks that failed, or do not end.
//! Pure. A hook is a Job or a pod; its log is that of its pod.

use serde_json::Value;

use super::{
    Cause, Snapshot,
    containers::{self, Seat, ended_by, is_hook, owner},
    label, list, number, text,
};

/// Hooks of the release, with their pods, the newest last.
fn hooks(snapshot: &Snapshot) -> impl Iterator<Item = (String, Vec<&Value>)> {
    snapshot.hooks.iter().filter_map(|hook| {
        let pods = snapshot.live.pods.iter().filter(|pod| is_hook(snapshot, pod));
        let pods: Vec<&Value> =
            pods.filter(|pod| owner(snapshot, pod) == *hook || label(pod) == *hook).collect();
        let job = snapshot.live.workloads.iter().any(|workload| label(workload) == *hook);
        (job || !pods.is_empty()).then(|| (hook.clone(), pods))
    })
}

fn job<'a>(snapshot: &'a Snapshot, hook: &str) -> Option<&'a Value> {
    snapshot.live.workloads.iter().find(|workload| label(workload) == hook)
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").iter().find(|one| one["type"] == *kind && one["status"] == "True")
}

fn remedy(snapshot: &Snapshot, hook: &str) -> Vec<String> {
    let object = hook.to_lowercase();
    vec![format!("kubectl logs {object} -n {} --all-containers --tail=100", snapshot.namespace)]
}

/// Lines about what the hook's containers did.
fn evidence(snapshot: &Snapshot, pods: &[&Value]) -> Vec<String> {
    let seats = pods.iter().rev().flat_map(|pod| containers::of(pod));
    seats
        .flat_map(|seat: Seat<'_>| {
            let how = seat.status.pointer("/state/terminated").map(|ended| {
                let (reason, code) = (text(ended, "/reason"), number(ended, "/exitCode"));
                seat.line(&format!("{reason}, exit code {code}"))
            });
            let waits = (!seat.waits().is_empty())
                .then(|| seat.line(&format!("{}: {}", seat.waits(), seat.message())));
            how.into_iter().chain(waits).chain(seat.log(snapshot)).collect::<Vec<_>>()
        })
        .collect()
}

/// It ended badly.
pub(super) fn failed(snapshot: &Snapshot) -> Vec<Cause> {
    let failed = hooks(snapshot).filter_map(|(hook, pods)| {
        let condition = job(snapshot, &hook).and_then(|job| condition(job, "Failed"));
        let pod = pods.iter().rev().find(|pod| text(pod, "/status/phase") == "Failed");
        let code = pod.and_then(|pod| {
            let codes = containers::of(pod)
                .filter_map(|seat| seat.status.pointer("/state/terminated/exitCode")?.as_i64());
            codes.into_iter().find(|code| *code != 0)
        });
        let why = match (pod.and_then(|pod| Some((pod, ended_by(pod)?))), condition, code) {
            (Some((pod, reason)), ..) => format!("{reason}: {}", text(pod, "/status/message").trim()),
            (None, _, Some(code)) => format!("exit code {code}"),
            (None, Some(condition), None) => text(condition, "/message").to_owned(),
            (None, None, None) => return None,
        };
        // A Job may have more tries.
        if job(snapshot, &hook).is_some() && condition.is_none() {
            return None;
        }
        let mut evidence = evidence(snapshot, &pods);
        let message = condition.map(|condition| text(condition, "/message")).unwrap_or_default();
        evidence.extend((!message.is_empty()).then(|| format!("{hook}: {message}")));
        Some(Cause {
            summary: format!("hook {hook} failed: {why}"),
            evidence,
            remedy: remedy(snapshot, &hook),
            object: hook,
            ..Cause::default()
        })
    });
    failed.collect()
}

/// Helm gave up, and it had not ended.
pub(super) fn running(snapshot: &Snapshot) -> Vec<Cause> {
    if !super::timing::gave_up(snapshot) {
        return Vec::new();
    }
    let running = hooks(snapshot).filter_map(|(hook, pods)| {
        let is_over = match job(snapshot, &hook) {
            Some(job) => condition(job, "Complete").or(condition(job, "Failed")).is_some(),
            None => pods.iter().all(|pod| matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")),
        };
        if is_over {
            return None;
        }
        let waited = snapshot.timeout.map_or(String::new(), |seconds| format!(" of {seconds} s"));
        let mut remedy = remedy(snapshot, &hook);
        remedy.push("give it more time with --timeout, if its log shows that it works".to_owned());
        Some(Cause {
            summary: format!("hook {hook} did not end within the timeout{waited}"),
            evidence: evidence(snapshot, &pods),
            remedy,
            object: hook,
            ..Cause::default()
        })
    });
    running.collect()
}
