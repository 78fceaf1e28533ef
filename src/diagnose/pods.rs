//! Causes: pods that are not scheduled, do not start, crash, or fail their probes.
//! Pure. The words are those of the scheduler, the kubelet and the controllers.

use super::{
    Cause, Snapshot, between,
    containers::{Role, Seat, events, owner, seats},
    describe, list, number, says, text,
};

/// A Secret or ConfigMap that is not there, or a key of it.
pub(super) fn config(snapshot: &Snapshot) -> Vec<Cause> {
    let stuck = seats(snapshot).filter(|seat| seat.waits() == "CreateContainerConfigError");
    let known = stuck.filter_map(|seat| Some((seat, wanting(seat.message())?)));
    known
        .map(|(seat, (kind, name, key))| {
            let (what, lower) = (format!("{kind}/{name}"), kind.to_lowercase());
            let missing = match key {
                Some(key) => format!("key {key} is not in {what}"),
                None => format!("{what} does not exist"),
            };
            let look = match key {
                Some(_) => format!("kubectl describe {lower} {name} -n {}", snapshot.namespace),
                None => format!("kubectl get {lower} {name} -n {}", snapshot.namespace),
            };
            Cause {
                object: owner(snapshot, seat.pod),
                summary: format!("{} cannot start: {missing}", seat.title()),
                evidence: vec![seat.line(&format!("{}: {}", seat.waits(), seat.message()))],
                remedy: vec![
                    look,
                    format!("create it before the deploy, render it, or mark the reference optional: {what}"),
                ],
                ..Cause::default()
            }
        })
        .collect()
}

/// Kind, name, and the key if only that is missing: `secret "db" not found`, `couldn't find key password in Secret shop/db`.
fn wanting(message: &str) -> Option<(&'static str, &str, Option<&str>)> {
    for (kind, lower) in [("Secret", "secret"), ("ConfigMap", "configmap")] {
        if let Some(name) = between(message, &format!("{lower} \""), "\" not found") {
            return Some((kind, name, None));
        }
        if let Some((before, after)) = message.split_once(&format!(" in {kind} ")) {
            let key = before.rsplit_once("find key ").map(|(_, key)| key)?;
            let name = after.split_whitespace().next()?.rsplit('/').next()?;
            return Some((kind, name, Some(key)));
        }
    }
    None
}

/// The kubelet, or the runtime, does not start it.
pub(super) fn refused(snapshot: &Snapshot) -> Vec<Cause> {
    let odd = |seat: &Seat<'_>| match seat.waits() {
        "CreateContainerConfigError" => wanting(seat.message()).is_none(),
        "CreateContainerError" | "RunContainerError" | "PostStartHookError" => true,
        _ => never_ran(seat).is_some(),
    };
    seats(snapshot)
        .filter(odd)
        .map(|seat| {
            let (reason, message) = never_ran(&seat).unwrap_or((seat.waits(), seat.message()));
            Cause {
                object: owner(snapshot, seat.pod),
                summary: format!("{} cannot start: {reason}: {message}", seat.title()),
                evidence: vec![seat.line(reason)],
                remedy: vec![describe(snapshot, seat.pod)],
                ..Cause::default()
            }
        })
        .collect()
}

/// The runtime could not start what is in the image, a command that is not there for example: reason, message. The kubelet
/// tries again, as with a container that crashes.
pub(super) fn never_ran<'a>(seat: &Seat<'a>) -> Option<(&'a str, &'a str)> {
    let ended = seat.ended()?;
    let reason = text(ended, "/reason");
    matches!(reason, "StartError" | "ContainerCannotRun").then(|| (reason, text(ended, "/message")))
}

/// Killed for its memory.
pub(super) fn out_of_memory(snapshot: &Snapshot) -> Vec<Cause> {
    let killed = seats(snapshot).filter(is_out_of_memory);
    killed
        .map(|seat| {
            let limit = text(seat.spec, "/resources/limits/memory");
            let beyond = match limit {
                "" => "its node has".to_owned(),
                limit => format!("its limit of {limit}"),
            };
            Cause {
                object: owner(snapshot, seat.pod),
                summary: format!("{} is killed: it takes more memory than {beyond}", seat.title()),
                evidence: crash_evidence(snapshot, &seat),
                remedy: vec![
                    format!(
                        "raise resources.limits.memory of {}, or find what uses the memory",
                        seat.title()
                    ),
                    seat.logs_command(snapshot),
                ],
                ..Cause::default()
            }
        })
        .collect()
}

fn is_out_of_memory(seat: &Seat<'_>) -> bool {
    seat.ended().is_some_and(|ended| text(ended, "/reason") == "OOMKilled")
}

/// The newest event about a failed probe of a pod's container.
fn probe<'a>(snapshot: &'a Snapshot, seat: &Seat<'a>, kind: &str) -> Option<&'a str> {
    let start = format!("{kind} probe ");
    let of_container = format!("{{{}}}", seat.name());
    events(snapshot, "Pod", seat.pod_name())
        .filter(|event| text(event, "/reason") == "Unhealthy")
        // The kubelet says which container; others may not.
        .filter(|event| {
            let path = text(event, "/involvedObject/fieldPath");
            path.is_empty() || path.contains(&of_container)
        })
        .map(|event| text(event, "/message"))
        .find(|message| message.starts_with(&start))
}

/// Restarted because it does not answer its liveness probe.
pub(super) fn liveness(snapshot: &Snapshot) -> Vec<Cause> {
    let killed = seats(snapshot).filter(|seat| seat.crashes() && !is_out_of_memory(seat));
    killed
        .filter_map(|seat| Some((seat, probe(snapshot, &seat, "Liveness")?)))
        .map(|(seat, answer)| {
            let mut evidence = vec![seat.line(answer)];
            evidence.extend(crash_evidence(snapshot, &seat));
            Cause {
                object: owner(snapshot, seat.pod),
                summary: format!("{} is restarted because its liveness probe fails{}", seat.title(), aim(&seat, "livenessProbe")),
                evidence,
                remedy: vec![
                    seat.logs_command(snapshot),
                    "give it a startupProbe, or a longer initialDelaySeconds or timeoutSeconds, if it only starts slowly".into(),
                ],
                ..Cause::default()
            }
        })
        .collect()
}

/// It ends by itself, and nothing above says why.
pub(super) fn crash(snapshot: &Snapshot) -> Vec<Cause> {
    let crashing = seats(snapshot).filter(|seat| {
        seat.crashes()
            && !is_out_of_memory(seat)
            && never_ran(seat).is_none()
            && probe(snapshot, seat, "Liveness").is_none()
            && lacking(snapshot, seat).is_none()
    });
    crashing
        .map(|seat| {
            let code = seat.ended().map_or(0, |ended| number(ended, "/exitCode"));
            Cause {
                object: owner(snapshot, seat.pod),
                summary: format!("{} crashes: exit code {code}{}", seat.title(), meaning(code)),
                evidence: crash_evidence(snapshot, &seat),
                remedy: vec![seat.logs_command(snapshot)],
                ..Cause::default()
            }
        })
        .collect()
}

fn meaning(code: i64) -> String {
    match code {
        0 => ", it ends though it should stay".to_owned(),
        126 => ", its command may not be executed".to_owned(),
        127 => ", its command is not in the image".to_owned(),
        129..=192 => format!(", ended by signal {}", code - 128),
        _ => String::new(),
    }
}

fn crash_evidence(snapshot: &Snapshot, seat: &Seat<'_>) -> Vec<String> {
    let restarts = number(seat.status, "/restartCount");
    let ended = seat.ended().map_or(String::new(), |ended| {
        format!("{}, exit code {}, ", text(ended, "/reason"), number(ended, "/exitCode"))
    });
    let mut lines = vec![seat.line(&format!("{ended}{restarts} restarts"))];
    let last = seat.ended().map_or("", |ended| text(ended, "/message"));
    lines.extend((!last.is_empty()).then(|| format!("last message: {last}")));
    lines.extend(seat.log(snapshot));
    lines
}

/// It says that it cannot reach a Service, and that Service has no ready endpoint.
pub(super) fn dependency(snapshot: &Snapshot) -> Vec<Cause> {
    let troubled = seats(snapshot).filter(|seat| !is_out_of_memory(seat));
    troubled
        .filter_map(|seat| Some((seat, lacking(snapshot, &seat)?)))
        .map(|(seat, (service, line))| Cause {
            object: owner(snapshot, seat.pod),
            summary: format!("{} waits for Service/{service}, which has no ready endpoint", seat.title()),
            evidence: vec![
                seat.line(&format!("log: {line}")),
                format!("Service/{service}: no ready endpoint"),
            ],
            remedy: vec![
                format!(
                    "kubectl get endpointslices -n {} -l kubernetes.io/service-name={service}",
                    snapshot.namespace
                ),
                format!("deploy what is behind Service/{service} first, and wait until it is ready"),
            ],
            ..Cause::default()
        })
        .collect()
}

/// The unready Service, and the line of the log that names it beside a failure.
fn lacking<'a>(snapshot: &'a Snapshot, seat: &Seat<'a>) -> Option<(&'a str, &'a str)> {
    const FAILURES: [&str; 9] = [
        "refused",
        "no such host",
        "timed out",
        "timeout",
        "unreachable",
        "waiting",
        "not ready",
        "unavailable",
        "could not connect",
    ];
    let (pod, name) = (seat.pod_name(), seat.name());
    let logs = snapshot.live.logs.iter().filter(|log| log.pod == pod && log.container == name);
    let failing = logs.flat_map(|log| log.lines.iter().rev()).filter(|line| says(line, &FAILURES));
    failing.into_iter().find_map(|line| {
        let services = snapshot.live.unready_services.iter();
        let named = services.into_iter().find(|service| names_host(line, service))?;
        Some((named.as_str(), line.as_str()))
    })
}

/// Is it there as a host: a whole word, alone, or with a port or a domain behind it?
fn names_host(line: &str, service: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    line.match_indices(service).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + service.len()..].chars().next();
        !before.is_some_and(|letter| is_part(letter) || letter == '.') && !after.is_some_and(is_part)
    })
}

/// No node takes it.
pub(super) fn unschedulable(snapshot: &Snapshot) -> Vec<Cause> {
    let unplaced = snapshot.live.pods.iter().filter_map(|pod| Some((pod, unplaced(pod)?)));
    unplaced
        .filter(|(_, message)| !message.to_lowercase().contains("persistentvolumeclaim"))
        .map(|(pod, message)| {
            let predicates = predicates(message);
            let mut remedy = vec![describe(snapshot, pod)];
            remedy.insert(0, ask_nodes(pod, message));
            Cause {
                object: owner(snapshot, pod),
                summary: format!("no node takes its pod: {predicates}"),
                evidence: vec![format!("Pod/{}: {message}", text(pod, "/metadata/name"))],
                remedy,
                ..Cause::default()
            }
        })
        .collect()
}

/// What the scheduler says of a pod that it cannot place.
pub(super) fn unplaced(pod: &serde_json::Value) -> Option<&str> {
    let is_it = |condition: &&serde_json::Value| {
        condition["type"] == "PodScheduled"
            && condition["status"] == "False"
            && condition["reason"] == "Unschedulable"
    };
    list(pod, "/status/conditions").iter().find(is_it).map(|condition| text(condition, "/message"))
}

/// `1 node(s) didn't match Pod's node affinity/selector, 2 Insufficient cpu`.
fn predicates(message: &str) -> &str {
    let told = message.split_once("available: ").map_or(message, |(_, told)| told);
    told.split(". preemption").next().unwrap_or(told).trim_end_matches('.')
}

/// The command that shows what the scheduler looked at.
fn ask_nodes(pod: &serde_json::Value, message: &str) -> String {
    if message.contains("Insufficient") {
        return "kubectl describe nodes | grep -A 8 'Allocated resources'".to_owned();
    }
    // Of a node that takes nobody's pods the scheduler always speaks.
    if message.contains("taint") && !message.contains("affinity/selector") {
        return "kubectl get nodes -o custom-columns=NAME:.metadata.name,TAINTS:.spec.taints".to_owned();
    }
    let wanted = pod.pointer("/spec/nodeSelector").and_then(serde_json::Value::as_object);
    let labels: Vec<String> = wanted
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    if labels.is_empty() {
        "kubectl get nodes --show-labels".to_owned()
    } else {
        format!("kubectl get nodes -l {}", labels.join(","))
    }
}

/// A controller may not create its pods.
pub(super) fn not_created(snapshot: &Snapshot) -> Vec<Cause> {
    refused_pods(snapshot)
        .filter(|(_, message)| !message.contains("exceeded quota"))
        .map(|(workload, message)| Cause {
            object: super::label(workload),
            summary: format!("its pods cannot be created: {}", admission_part(message)),
            evidence: vec![message.to_owned()],
            remedy: vec![format!(
                "kubectl get events -n {} --field-selector reason=FailedCreate",
                snapshot.namespace
            )],
            ..Cause::default()
        })
        .collect()
}

/// Workloads whose pods the API server refuses to their controller, and its words.
pub(super) fn refused_pods(snapshot: &Snapshot) -> impl Iterator<Item = (&serde_json::Value, &str)> {
    snapshot.live.workloads.iter().filter_map(|workload| {
        let failing = |one: &&serde_json::Value| one["type"] == "ReplicaFailure" && one["status"] == "True";
        let condition = list(workload, "/status/conditions").iter().find(failing);
        let (kind, name) = (text(workload, "/kind"), text(workload, "/metadata/name"));
        let event = events(snapshot, kind, name).find(|event| text(event, "/reason") == "FailedCreate");
        Some((workload, text(condition.or(event)?, "/message")))
    })
}

/// Without who wanted to create what.
fn admission_part(message: &str) -> &str {
    message.split_once("forbidden: ").map_or(message, |(_, why)| why)
}

/// An init container that runs and does not end.
pub(super) fn init_stuck(snapshot: &Snapshot) -> Vec<Cause> {
    let stuck = seats(snapshot).filter(|seat| {
        seat.role == Role::Init
            && seat.status.pointer("/state/running").is_some()
            && lacking(snapshot, seat).is_none()
    });
    stuck
        .map(|seat| {
            let since = text(seat.status, "/state/running/startedAt");
            let mut evidence = vec![seat.line(&format!("running since {since}"))];
            evidence.extend(seat.log(snapshot));
            Cause {
                object: owner(snapshot, seat.pod),
                summary: format!("{} does not end, and the containers behind it wait", seat.title()),
                evidence,
                remedy: vec![seat.logs_command(snapshot)],
                ..Cause::default()
            }
        })
        .collect()
}

pub(super) fn startup(snapshot: &Snapshot) -> Vec<Cause> {
    unanswered(snapshot, "Startup", "startupProbe")
}

pub(super) fn readiness(snapshot: &Snapshot) -> Vec<Cause> {
    unanswered(snapshot, "Readiness", "readinessProbe")
}

/// It runs, and does not answer a probe.
fn unanswered(snapshot: &Snapshot, kind: &str, field: &str) -> Vec<Cause> {
    let running = seats(snapshot).filter(|seat| {
        seat.status.pointer("/state/running").is_some()
            && seat.status["ready"] != true
            && !seat.crashes()
            && lacking(snapshot, seat).is_none()
    });
    running
        .filter_map(|seat| Some((seat, probe(snapshot, &seat, kind)?)))
        .map(|(seat, answer)| {
            let said = answer.split_once("probe failed: ").map_or(answer, |(_, said)| said);
            let mut evidence = vec![seat.line(answer)];
            evidence.extend(seat.log(snapshot));
            Cause {
                object: owner(snapshot, seat.pod),
                summary: format!(
                    "{} runs, but its {} probe fails{}: {said}",
                    seat.title(),
                    kind.to_lowercase(),
                    aim(&seat, field)
                ),
                evidence,
                remedy: vec![seat.logs_command(snapshot), describe(snapshot, seat.pod)],
                ..Cause::default()
            }
        })
        .collect()
}

/// What a probe asks: ` (GET /healthz on port 8080)`.
fn aim(seat: &Seat<'_>, field: &str) -> String {
    let Some(probe) = seat.spec.get(field) else { return String::new() };
    let shown = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(get) = probe.get("httpGet") {
        let path = get["path"].as_str().unwrap_or("/");
        return format!(" (GET {path} on port {})", shown(&get["port"]));
    }
    if let Some(socket) = probe.get("tcpSocket") {
        return format!(" (TCP port {})", shown(&socket["port"]));
    }
    if let Some(grpc) = probe.get("grpc") {
        return format!(" (gRPC port {})", shown(&grpc["port"]));
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanting_is_named() {
        for (message, wanted) in [
            ("secret \"db\" not found", Some(("Secret", "db", None))),
            ("configmap \"app\" not found", Some(("ConfigMap", "app", None))),
            ("couldn't find key password in Secret shop/db", Some(("Secret", "db", Some("password")))),
            ("couldn't find key a.yaml in ConfigMap shop/app", Some(("ConfigMap", "app", Some("a.yaml")))),
            ("container has runAsNonRoot and image will run as root", None),
        ] {
            assert_eq!(wanting(message), wanted, "{message}");
        }
    }

    #[test]
    fn a_host_is_a_whole_word() {
        for (line, is_named) in [
            ("dial tcp: lookup postgres: no such host", true),
            ("connect to postgres:5432 refused", true),
            ("postgres.shop.svc.cluster.local:5432", true),
            ("my-postgres:5432", false),
            ("db.postgres", false),
            ("postgresql", false),
        ] {
            assert_eq!(names_host(line, "postgres"), is_named, "{line}");
        }
    }

    #[test]
    fn predicates_are_without_the_rest() {
        let message = "0/3 nodes are available: 1 node(s) had untolerated taint {a: b}, 2 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.";
        assert_eq!(predicates(message), "1 node(s) had untolerated taint {a: b}, 2 Insufficient cpu");
        assert_eq!(predicates("no nodes available to schedule pods"), "no nodes available to schedule pods");
    }
}
