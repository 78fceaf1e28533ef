//! Whether Helm's `--timeout` can be enough for what the chart itself asks for: delays of probes, `minReadySeconds`, pods
//! that come one after the other, and limits that the chart sets beyond it.
//! Pure: whether an object lives already is asked in `preflight/assess.rs`.
//!
//! What is reckoned is the least that a rollout takes when every image is there and every container answers at once, and only
//! as far as Helm waits for it (`ready.go` of Helm 3 and of `--wait=legacy`; kstatus of Helm 4's watcher): not for a
//! Deployment that is paused or may have no pod, nor for a StatefulSet that is updated by hand.
//! It is certain of objects that are new; of those that live it is not known here what the API server takes for a change.

use std::time::Duration;

use serde_json::Value;

use super::Finding;
use crate::{
    manifest::{Manifest, ObjectKey},
    workload::pod_spec,
};

/// Until when Helm waits. For hooks it always does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// It waits for hooks alone.
    #[default]
    Hooks,
    /// Pods are ready: Helm 3, and `--wait=legacy`.
    Ready,
    /// Pods are available: Helm 4's watcher.
    Available,
}

/// How long Helm waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// `--timeout`: of one wait, and of each hook.
    pub timeout: Duration,
    /// For what.
    pub until: Until,
}

/// The least time of a rollout, seconds, and why.
#[derive(Debug, PartialEq, Eq)]
struct Least {
    seconds: u64,
    why: String,
}

/// Something that may take longer than Helm waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// The object.
    pub key: ObjectKey,
    /// What is to be told. Advice, until somebody has looked whether the object lives.
    pub finding: Finding,
    /// It takes longer, if its pods start anew. Else a limit of the chart is only wider than Helm's.
    pub cannot_fit: bool,
    /// The manifest in force does not have it.
    pub is_new: bool,
}

/// Workloads whose rollout cannot end in time, and limits that are wider than Helm's.
pub fn too_tight(manifest: &Manifest, hooks: &Manifest, before: &Manifest, patience: Patience) -> Vec<Late> {
    let timeout = patience.timeout.as_secs();
    let mut found = Vec::new();
    if patience.until != Until::Hooks {
        let rolled_out = manifest.objects.iter().filter_map(|(key, object)| {
            let was = before.get(key);
            // What is as it was starts no pods.
            (was.is_none_or(|was| template(was) != template(object))).then_some((key, object, was.is_none()))
        });
        for (key, object, is_new) in rolled_out {
            let least = least(object, is_new, patience.until).filter(|least| least.seconds > timeout + 1);
            let wider =
                || limit(object).filter(|limit| limit.seconds > timeout && waits_for(object, patience.until));
            found.extend(match least {
                Some(least) => Some(Late { is_new, ..cannot_fit(key, &least, timeout) }),
                None => wider().map(|limit| may_not_fit(key, &limit, timeout)),
            });
        }
    }
    for (key, hook) in &hooks.objects {
        let limit = number(hook, "/spec/activeDeadlineSeconds").map(|seconds| Least {
            seconds,
            why: format!("the hook may run for {seconds} s (spec.activeDeadlineSeconds)"),
        });
        found.extend(
            limit.filter(|limit| limit.seconds > timeout).map(|limit| may_not_fit(key, &limit, timeout)),
        );
    }
    found
}

fn cannot_fit(key: &ObjectKey, least: &Least, timeout: u64) -> Late {
    let finding = Finding {
        id: "timeout-too-short",
        wanted: format!("more than {}s", least.seconds),
        cause: format!("its rollout takes at least {} s: {}", least.seconds, least.why),
        ..base(key, least, timeout)
    };
    Late { key: key.clone(), finding, cannot_fit: true, is_new: false }
}

fn may_not_fit(key: &ObjectKey, limit: &Least, timeout: u64) -> Late {
    let finding =
        Finding { cause: format!("{}, longer than helm waits", limit.why), ..base(key, limit, timeout) };
    Late { key: key.clone(), finding, cannot_fit: false, is_new: false }
}

fn base(key: &ObjectKey, least: &Least, timeout: u64) -> Finding {
    // Images, and containers that start, take their time too.
    let enough = least.seconds.saturating_add(least.seconds / 2).saturating_add(60);
    Finding {
        id: "timeout-too-short",
        object: key.to_string(),
        field: "--timeout".to_owned(),
        live: format!("{timeout}s"),
        remedy: vec![
            format!("--timeout {enough}s"),
            "or lower what the chart asks for, if it is more than the program needs".to_owned(),
        ],
        ..Finding::default()
    }
}

/// What starts pods anew when it changes.
fn template(object: &Value) -> Option<&Value> {
    if object["kind"] == "Pod" { object.get("spec") } else { object.pointer("/spec/template") }
}

fn number(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer).and_then(Value::as_u64)
}

fn least(object: &Value, is_new: bool, until: Until) -> Option<Least> {
    let (delay, of_what) = slowest(pod_spec(object)?);
    let settle = number(object, "/spec/minReadySeconds").unwrap_or_default();
    let replicas = number(object, "/spec/replicas").unwrap_or(1);
    // How many times pods come, and whether Helm waits for the last of them to be available.
    let (rounds, waits_for_last) = match object["kind"].as_str()? {
        "Deployment" if is_waited_for(object, replicas, until) => {
            let is_rolling = !is_new && object.pointer("/spec/strategy/type") != Some(&"Recreate".into());
            let rounds = if is_rolling { rounds(object, replicas, until) } else { 1 };
            (rounds, until == Until::Available)
        }
        // Helm waits for none that is updated by hand, be it new.
        "StatefulSet" if object.pointer("/spec/updateStrategy/type") == Some(&"OnDelete".into()) => {
            return None;
        }
        "StatefulSet" if is_one_by_one(object, is_new) => {
            let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition");
            (replicas.saturating_sub(partition.filter(|_| !is_new).unwrap_or_default()), false)
        }
        "StatefulSet" if is_new && replicas > 0 => (1, false),
        // One that may end before it is ready is done by then, for Helm 4.
        "Pod" if until == Until::Ready || !may_end(object) => (1, false),
        _ => return None,
    };
    let settles = if waits_for_last { rounds } else { rounds.saturating_sub(1) };
    let seconds = rounds.checked_mul(delay)?.checked_add(settles.checked_mul(settle)?)?;
    let mut why = Vec::new();
    if rounds > 1 {
        why.push(format!("pods come in {rounds} rounds, one after the other"));
    }
    why.extend((delay > 0).then(|| format!("{of_what} keeps each back for {delay} s")));
    why.extend(
        (settles * settle > 0)
            .then(|| format!("each counts only when it was ready for {settle} s (spec.minReadySeconds)")),
    );
    (seconds > 0).then(|| Least { seconds, why: why.join(", ") })
}

/// Does Helm wait for the pods of it at all? Not for those of Jobs, without `--wait-for-jobs`.
fn waits_for(object: &Value, until: Until) -> bool {
    let replicas = number(object, "/spec/replicas").unwrap_or(1);
    let on_delete = object.pointer("/spec/updateStrategy/type") == Some(&"OnDelete".into());
    match object["kind"].as_str() {
        Some("Deployment") => is_waited_for(object, replicas, until),
        Some("StatefulSet") => replicas > 0 && !on_delete,
        Some("DaemonSet") => until == Until::Available || !on_delete,
        Some("Job" | "CronJob") => false,
        _ => true,
    }
}

/// May the pod end by itself?
fn may_end(pod: &Value) -> bool {
    pod.pointer("/spec/restartPolicy").is_some_and(|policy| policy != "Always")
}

/// Does Helm wait for a pod of the Deployment? Helm 3 wants as many ready as there are to be, less those that may be missing
/// (`deploymentReady` in its ready.go); Helm 4 wants all available. Both take a paused one for ready.
fn is_waited_for(object: &Value, replicas: u64, until: Until) -> bool {
    let is_paused = object.pointer("/spec/paused") == Some(&Value::Bool(true));
    let recreates = object.pointer("/spec/strategy/type") == Some(&"Recreate".into());
    let missing = if until == Until::Available || recreates { 0 } else { fences(object, replicas).1 };
    !is_paused && replicas > missing
}

/// How many pods of a Deployment may be too many, and how many missing, while it is updated (`ResolveFenceposts` of
/// Kubernetes): one may be missing where neither is allowed.
fn fences(object: &Value, replicas: u64) -> (u64, u64) {
    let part = |field: &str, up: bool| {
        let value = object.pointer(&format!("/spec/strategy/rollingUpdate/{field}"));
        let percent = |percent: u64| {
            let hundredths = replicas.saturating_mul(percent);
            if up { hundredths.div_ceil(100) } else { hundredths / 100 }
        };
        match value {
            Some(Value::String(text)) => text.trim_end_matches('%').parse().map_or(replicas, percent),
            Some(value) => value.as_u64().unwrap_or(replicas),
            None => percent(25),
        }
    };
    let (surge, missing) = (part("maxSurge", true), part("maxUnavailable", false));
    (surge, if surge == 0 { missing.max(1) } else { missing })
}

/// Rounds in which a Deployment replaces its pods: in each as many come as may be too many and missing.
fn rounds(object: &Value, replicas: u64, until: Until) -> u64 {
    let (surge, missing) = fences(object, replicas);
    let at_once = surge.saturating_add(missing).max(1);
    let wanted = if until == Until::Available { replicas } else { replicas.saturating_sub(missing) };
    wanted.div_ceil(at_once)
}

fn is_one_by_one(object: &Value, is_new: bool) -> bool {
    let update = |field: &str| object.pointer(&format!("/spec/updateStrategy/{field}"));
    // It is not known how many come at once.
    if update("rollingUpdate/maxUnavailable").is_some() {
        return false;
    }
    !(is_new && object.pointer("/spec/podManagementPolicy") == Some(&"Parallel".into()))
}

/// The seconds before which no pod of these containers is ready, and by which field.
fn slowest(pod: &Value) -> (u64, String) {
    let containers = pod["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let delays = containers.iter().flat_map(|container| {
        ["readinessProbe", "startupProbe"].map(|probe| {
            let of = |field: &str| number(&container[probe], field);
            let more = of("/successThreshold").unwrap_or(1).saturating_sub(1);
            let delay = of("/initialDelaySeconds")
                .unwrap_or_default()
                .saturating_add(more.saturating_mul(of("/periodSeconds").unwrap_or(10)));
            let name = container["name"].as_str().unwrap_or_default();
            (delay, format!("the {probe} of container {name}"))
        })
    });
    delays.max_by_key(|(delay, _)| *delay).unwrap_or_default()
}

/// The widest limit that the chart itself sets.
fn limit(object: &Value) -> Option<Least> {
    let rollout = number(object, "/spec/progressDeadlineSeconds").map(|seconds| Least {
        seconds,
        why: format!("its rollout may stand still for {seconds} s (spec.progressDeadlineSeconds)"),
    });
    let containers = pod_spec(object)?["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let startups = containers.iter().filter_map(|container| {
        let probe = container.get("startupProbe")?;
        let of = |field: &str, default: u64| number(probe, field).unwrap_or(default);
        let tries = of("/failureThreshold", 3).checked_mul(of("/periodSeconds", 10))?;
        let seconds = tries.checked_add(of("/initialDelaySeconds", 0))?;
        let name = container["name"].as_str().unwrap_or_default();
        Some(Least { seconds, why: format!("container {name} may take {seconds} s to start (startupProbe)") })
    });
    rollout.into_iter().chain(startups).max_by_key(|limit| limit.seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(kind: &str, spec: Value, pod: Value) -> Manifest {
        let mut spec = spec;
        let mut container = json!({"name": "app"});
        container.as_object_mut().unwrap().extend(pod.as_object().unwrap().clone());
        spec["template"] = json!({"spec": {"containers": [container]}});
        let version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "web"}, "spec": spec});
        Manifest::parse(&object.to_string(), "shop").unwrap()
    }

    fn found(manifest: &Manifest, before: &Manifest, until: Until, timeout: u64) -> Vec<Finding> {
        let patience = Patience { timeout: Duration::from_secs(timeout), until };
        let all = too_tight(manifest, &Manifest::default(), before, patience);
        all.into_iter().map(|late| late.finding).collect()
    }

    #[test]
    fn the_least_time_of_a_rollout() {
        use Until::{Available, Ready};
        let slow = || json!({"readinessProbe": {"initialDelaySeconds": 20}});
        let none = || json!({});
        for (what, kind, spec, pod, until, new, old) in [
            ("no delay at all", "Deployment", json!({"replicas": 9}), none(), Ready, 0, 0),
            ("one pod with a delay", "Deployment", json!({}), slow(), Ready, 20, 20),
            ("all come at once when it is new", "Deployment", json!({"replicas": 8}), slow(), Ready, 20, 40),
            ("Helm 4 waits for all of them", "Deployment", json!({"replicas": 8}), slow(), Available, 20, 40),
            (
                "one at a time",
                "Deployment",
                json!({"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}),
                slow(),
                Ready,
                20,
                60,
            ),
            (
                "recreated",
                "Deployment",
                json!({"replicas": 8, "strategy": {"type": "Recreate"}}),
                slow(),
                Ready,
                20,
                20,
            ),
            ("ready is enough for Helm 3", "Deployment", json!({"minReadySeconds": 50}), none(), Ready, 0, 0),
            ("available for Helm 4", "Deployment", json!({"minReadySeconds": 50}), none(), Available, 50, 50),
            (
                "none wanted",
                "Deployment",
                json!({"replicas": 0, "minReadySeconds": 50}),
                slow(),
                Available,
                0,
                0,
            ),
            ("paused", "Deployment", json!({"paused": true}), slow(), Ready, 0, 0),
            (
                "a set, one by one",
                "StatefulSet",
                json!({"replicas": 3, "minReadySeconds": 5}),
                slow(),
                Ready,
                70,
                70,
            ),
            (
                "a set at once",
                "StatefulSet",
                json!({"replicas": 3, "podManagementPolicy": "Parallel"}),
                slow(),
                Ready,
                20,
                60,
            ),
            (
                "a set of which a part stays",
                "StatefulSet",
                json!({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}}),
                slow(),
                Ready,
                60,
                20,
            ),
            (
                "a set that nobody waits for",
                "StatefulSet",
                json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}),
                slow(),
                Ready,
                0,
                0,
            ),
            (
                "Helm 3 waits for none of a Deployment that may have none",
                "Deployment",
                json!({"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}}),
                slow(),
                Ready,
                0,
                0,
            ),
            (
                "nor where neither fence is set and both round to none",
                "Deployment",
                json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}}),
                slow(),
                Ready,
                0,
                0,
            ),
            (
                "but for those that must not be missing",
                "Deployment",
                json!({"replicas": 4, "strategy": {"rollingUpdate": {"maxUnavailable": "50%"}}}),
                slow(),
                Ready,
                20,
                20,
            ),
            (
                "Helm 4 waits for all",
                "Deployment",
                json!({"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}}),
                slow(),
                Available,
                20,
                20,
            ),
            ("as many nodes as there are", "DaemonSet", json!({}), slow(), Ready, 0, 0),
            (
                "an answer is wanted three times",
                "Deployment",
                json!({}),
                json!({"readinessProbe": {"initialDelaySeconds": 5, "successThreshold": 3, "periodSeconds": 20}}),
                Ready,
                45,
                45,
            ),
        ] {
            let manifest = one(kind, spec, pod);
            let object = &manifest.objects[0].1;
            let seconds = |is_new: bool| least(object, is_new, until).map_or(0, |least| least.seconds);
            assert_eq!((seconds(true), seconds(false)), (new, old), "{what}");
        }
    }

    #[test]
    fn only_what_is_new_is_certain_and_what_stays_is_not_asked_about() {
        let slow = |delay: u64| {
            one("Deployment", json!({}), json!({"readinessProbe": {"initialDelaySeconds": delay}}))
        };
        let nothing = Manifest::default();
        let new = found(&slow(90), &nothing, Until::Ready, 60);
        insta::assert_snapshot!(format!("{}\n{}", new[0].sentence(), new[0].remedy.join("\n")));
        assert_eq!(found(&slow(90), &slow(80), Until::Ready, 60).len(), 1);
        assert_eq!(found(&slow(90), &slow(90), Until::Ready, 60), []);
        assert_eq!(found(&slow(90), &nothing, Until::Hooks, 60), [], "nobody waits");
        assert_eq!(found(&slow(61), &nothing, Until::Ready, 60), [], "the kubelet counts whole seconds");
    }

    #[test]
    fn limits_of_the_chart_that_are_wider_than_helms_warn() {
        let rollout = one("Deployment", json!({"progressDeadlineSeconds": 900}), json!({}));
        let startup = one("Deployment", json!({}), json!({"startupProbe": {"failureThreshold": 60}}));
        for (manifest, words) in [(&rollout, "stand still for 900 s"), (&startup, "take 600 s to start")] {
            let found = found(manifest, &Manifest::default(), Until::Ready, 300);
            assert!(!found[0].is_certain() && found[0].cause.contains(words), "{found:?}");
        }
        assert_eq!(found(&startup, &Manifest::default(), Until::Ready, 600), []);
        let hook = one("Job", json!({"activeDeadlineSeconds": 600}), json!({}));
        let patience = Patience { timeout: Duration::from_secs(300), until: Until::Hooks };
        let found = too_tight(&Manifest::default(), &hook, &Manifest::default(), patience);
        assert!(found[0].finding.cause.contains("the hook may run for 600 s"), "{found:?}");
    }
}
