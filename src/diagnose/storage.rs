//! Claims that are not bound, and volumes that cannot be mounted.
//! Pure. The words are those of the volume controllers and the kubelet.

use serde_json::Value;

use super::{
    Cause, Snapshot, between,
    containers::{self, events, owner},
    describe, list,
    pods::unplaced,
    text,
};

/// Claims that a pod names.
fn named(pod: &Value) -> impl Iterator<Item = &str> {
    list(pod, "/spec/volumes")
        .iter()
        .map(|volume| text(volume, "/persistentVolumeClaim/claimName"))
        .filter(|name| !name.is_empty())
}

/// A claim that no pod uses. With most classes it is bound when a pod does, and nothing is wrong with that, unless Helm waits
/// for it; one without a class, where the cluster had no default, is never bound.
fn unused(snapshot: &Snapshot, claim: &Value) -> Option<Cause> {
    let name = text(claim, "/metadata/name");
    let error = snapshot.error.to_lowercase();
    let waited =
        ["timed out waiting", "deadline exceeded", "not ready"].iter().any(|sign| error.contains(sign));
    let class = claim.pointer("/spec/storageClassName").and_then(Value::as_str);
    let is_volume_named = !text(claim, "/spec/volumeName").is_empty();
    let (summary, remedy) = match class {
        None if !is_volume_named => (
            format!("claim {name} names no storage class, and the cluster had no default class for it"),
            vec![
                "kubectl get storageclass   # is one marked (default)?".to_owned(),
                "name a class in the values, then delete the claim and deploy again: the class of a claim is fixed".to_owned(),
            ],
        ),
        Some(class) if waited => (
            format!("claim {name} of class {class} is not bound: no pod uses it, and Helm waited for it"),
            vec![
                format!("kubectl get storageclass {class} -o jsonpath='{{.volumeBindingMode}}'   # WaitForFirstConsumer waits for a pod"),
                "let a workload use the claim, take it out of the chart, or deploy without --wait".to_owned(),
            ],
        ),
        _ => return None,
    };
    let evidence = vec![format!("PersistentVolumeClaim/{name}: Pending, no pod uses it")];
    Some(Cause {
        object: format!("PersistentVolumeClaim/{name}"),
        summary,
        evidence,
        remedy,
        ..Cause::default()
    })
}

/// Pods that want a claim which is not bound.
pub(super) fn pending(snapshot: &Snapshot) -> Vec<Cause> {
    let pending = snapshot.live.claims.iter().filter(|claim| text(claim, "/status/phase") == "Pending");
    pending
        .filter_map(|claim| {
            let name = text(claim, "/metadata/name");
            let waiting = snapshot
                .live
                .pods
                .iter()
                .find(|pod| !containers::is_ready(pod) && named(pod).any(|one| one == name));
            let told: Vec<&Value> = events(snapshot, "PersistentVolumeClaim", name).collect();
            if waiting.is_none() && told.is_empty() {
                return unused(snapshot, claim);
            }
            let class = text(claim, "/spec/storageClassName");
            let why = told.first().map(|event| text(event, "/message"));
            let class_text =
                if class.is_empty() { "without a class".to_owned() } else { format!("of class {class}") };
            let why_text = why.map_or(String::new(), |why| format!(": {why}"));
            let mut evidence = vec![format!("PersistentVolumeClaim/{name}: Pending, {class_text}")];
            evidence.extend(
                told.iter()
                    .take(2)
                    .map(|event| format!("{}: {}", text(event, "/reason"), text(event, "/message"))),
            );
            evidence.extend(waiting.map(|pod| format!("{} waits for it", super::label(pod))));
            Some(Cause {
                object: format!("PersistentVolumeClaim/{name}"),
                summary: format!("claim {name} {class_text} is not bound{why_text}"),
                evidence,
                remedy: vec![
                    format!("kubectl describe pvc {name} -n {}", snapshot.namespace),
                    "kubectl get storageclass".to_owned(),
                ],
                ..Cause::default()
            })
        })
        .collect()
}

/// A claim that is not there at all.
pub(super) fn missing(snapshot: &Snapshot) -> Vec<Cause> {
    let pods = snapshot.live.pods.iter().filter_map(|pod| {
        let message = unplaced(pod)?;
        let name = between(message, "persistentvolumeclaim \"", "\" not found")?;
        Some(Cause {
            object: owner(snapshot, pod),
            summary: format!("its pod needs claim {name}, which does not exist"),
            evidence: vec![format!("Pod/{}: {message}", text(pod, "/metadata/name"))],
            remedy: vec![
                format!("kubectl get pvc -n {}", snapshot.namespace),
                format!("render claim {name}, create it before the deploy, or name another"),
            ],
            ..Cause::default()
        })
    });
    pods.collect()
}

/// The kubelet cannot put a volume into a pod.
pub(super) fn not_mounted(snapshot: &Snapshot) -> Vec<Cause> {
    let unready = snapshot.live.pods.iter().filter(|pod| !containers::is_ready(pod));
    let told = unready.filter_map(|pod| {
        let is_it = |event: &&Value| matches!(text(event, "/reason"), "FailedMount" | "FailedAttachVolume");
        let starts =
            containers::of(pod).any(|seat| matches!(seat.waits(), "ContainerCreating" | "PodInitializing"));
        let event = events(snapshot, "Pod", text(pod, "/metadata/name")).find(is_it).filter(|_| starts)?;
        Some((pod, text(event, "/message")))
    });
    told.map(|(pod, message)| {
        let volume = between(message, "volume \"", "\"").map_or(String::new(), |name| format!(" {name}"));
        let why = message.split_once(" : ").map_or(message, |(_, why)| why);
        Cause {
            object: owner(snapshot, pod),
            summary: format!("volume{volume} cannot be mounted: {why}"),
            evidence: vec![format!("Pod/{}: {message}", text(pod, "/metadata/name"))],
            remedy: vec![describe(snapshot, pod)],
            ..Cause::default()
        }
    })
    .collect()
}
