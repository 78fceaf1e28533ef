//! Containers in trouble, each with its pod and its workload.
//! Pure. Init containers and sidecars count as containers.

use serde_json::Value;

use super::{Snapshot, label, list, text};

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs to its end before the others start.
    Init,
    /// An init container that stays.
    Sidecar,
    /// An ordinary one.
    Main,
}

/// A container in its pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat<'a> {
    pub(super) pod: &'a Value,
    /// Its `containerStatuses` entry.
    pub(super) status: &'a Value,
    /// Its entry in the pod's spec.
    pub(super) spec: &'a Value,
    pub(super) role: Role,
}

impl<'a> Seat<'a> {
    pub(super) fn pod_name(&self) -> &'a str {
        text(self.pod, "/metadata/name")
    }

    pub(super) fn name(&self) -> &'a str {
        text(self.status, "/name")
    }

    /// `container web`, `init container migrate`.
    pub(super) fn title(&self) -> String {
        let kind = match self.role {
            Role::Init => "init container",
            Role::Sidecar => "sidecar",
            Role::Main => "container",
        };
        format!("{kind} {}", self.name())
    }

    pub(super) fn waits(&self) -> &'a str {
        text(self.status, "/state/waiting/reason")
    }

    pub(super) fn message(&self) -> &'a str {
        text(self.status, "/state/waiting/message")
    }

    /// How it ended last.
    pub(super) fn ended(&self) -> Option<&'a Value> {
        let now = self.status.pointer("/state/terminated").filter(|_| self.role == Role::Main);
        self.status.pointer("/lastState/terminated").or(now)
    }

    /// `Pod/web-1 container web: …`, as a line of evidence.
    pub(super) fn line(&self, what: &str) -> String {
        format!("Pod/{} {}: {what}", self.pod_name(), self.title())
    }

    /// Its last lines, as evidence.
    pub(super) fn log(&self, snapshot: &'a Snapshot) -> impl Iterator<Item = String> + use<'a> {
        let (pod, name) = (self.pod_name(), self.name());
        let own = snapshot.live.logs.iter().filter(move |log| log.pod == pod && log.container == name);
        own.flat_map(|log| {
            let withheld = (!log.withheld.is_empty()).then(|| format!("log withheld: {}", log.withheld));
            let last = &log.lines[log.lines.len().saturating_sub(5)..];
            withheld.into_iter().chain(last.iter().map(|line| format!("log: {line}")))
        })
    }

    pub(super) fn logs_command(&self, snapshot: &Snapshot) -> String {
        let previous =
            if self.status.pointer("/lastState/terminated").is_some() { " --previous" } else { "" };
        let (pod, name) = (self.pod_name(), self.name());
        format!("kubectl logs {pod} -c {name} -n {}{previous}", snapshot.namespace)
    }

    /// Does it restart, or wait to?
    pub(super) fn crashes(&self) -> bool {
        self.waits() == "CrashLoopBackOff"
            || (self.waits().is_empty()
                && !is_done(self)
                && self.ended().is_some_and(|ended| super::number(ended, "/exitCode") != 0))
    }
}

fn is_done(seat: &Seat<'_>) -> bool {
    seat.status.pointer("/ready").and_then(Value::as_bool).unwrap_or_default()
}

/// Containers of pods that are not ready, in the order in which they start.
pub(super) fn seats(snapshot: &Snapshot) -> impl Iterator<Item = Seat<'_>> {
    let troubled = snapshot.live.pods.iter().filter(|pod| !is_ready(pod) && !is_hook(snapshot, pod));
    // What its node has ended did not end by itself.
    let troubled = troubled.filter(|pod| ended_by(pod).is_none());
    troubled.flat_map(of)
}

/// All containers of a pod.
pub(super) fn of(pod: &Value) -> impl Iterator<Item = Seat<'_>> {
    let some = |statuses: &'static str, specs: &'static str, init: bool| {
        list(pod, statuses).iter().map(move |status| {
            let named = list(pod, specs).iter().find(|spec| spec["name"] == status["name"]);
            let spec = named.unwrap_or(&Value::Null);
            let role = match init {
                true if spec["restartPolicy"] == "Always" => Role::Sidecar,
                true => Role::Init,
                false => Role::Main,
            };
            Seat { pod, status, spec, role }
        })
    };
    some("/status/initContainerStatuses", "/spec/initContainers", true).chain(some(
        "/status/containerStatuses",
        "/spec/containers",
        false,
    ))
}

/// Ready, done, or about to go.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let is_true = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    list(pod, "/status/conditions").iter().any(is_true)
        || text(pod, "/status/phase") == "Succeeded"
        || pod.pointer("/metadata/deletionTimestamp").is_some()
}

/// Hooks end, and have rules of their own.
pub(super) fn is_hook(snapshot: &Snapshot, pod: &Value) -> bool {
    snapshot.hooks.contains(&owner(snapshot, pod)) || snapshot.hooks.contains(&label(pod))
}

/// The workload that a pod belongs to, `Deployment/web`; else the pod itself.
pub(super) fn owner(snapshot: &Snapshot, pod: &Value) -> String {
    let owners = list(pod, "/metadata/ownerReferences");
    let owned = |workload: &&Value| {
        owners.iter().any(|owner| owner["uid"] == workload["metadata"]["uid"])
            || workload["kind"] == "Deployment" && selects(workload, pod)
    };
    snapshot.live.workloads.iter().find(owned).map_or_else(|| label(pod), label)
}

/// Does the workload's selector choose the pod?
pub(crate) fn selects(workload: &Value, pod: &Value) -> bool {
    let wanted = workload.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    wanted.is_some_and(|wanted| {
        !wanted.is_empty()
            && wanted.iter().all(|(name, value)| pod["metadata"]["labels"].get(name) == Some(value))
    })
}

/// Warning events about an object, the newest first.
pub(super) fn events<'a>(
    snapshot: &'a Snapshot,
    kind: &'a str,
    name: &'a str,
) -> impl Iterator<Item = &'a Value> {
    snapshot.live.events.iter().rev().filter(move |event| {
        text(event, "/involvedObject/kind") == kind && text(event, "/involvedObject/name") == name
    })
}

/// A condition of an object's status.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").iter().find(|one| one["type"] == *kind)
}

/// Why a pod was ended that did not end by itself: `Evicted`, `Preempting`, … Only then has a pod a reason of its own.
pub(super) fn ended_by(pod: &Value) -> Option<&str> {
    Some(text(pod, "/status/reason"))
        .filter(|reason| !reason.is_empty() && text(pod, "/status/phase") == "Failed")
}
