//! How a release fares, in the usual words: what lives beside what its manifest says, and whether it is ready.
//! Pure: the cluster is read in `health/drift.rs` and `health/unready.rs`.

pub mod drift;
pub mod unready;

use serde::Serialize;
use serde_json::Value;

use crate::{
    manifest::ObjectKey,
    workload::{TRANSIENT_REASONS, Workload},
};

/// In one word. The worst of what was found counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Health {
    /// A revision is pending, and no run works on it.
    Stuck,
    /// An object of the manifest is not there.
    Missing,
    /// A workload is not ready, and its pods say why.
    Degraded,
    /// A workload is not ready yet.
    Progressing,
    /// What lives is not what the manifest says: out of sync.
    Drifted,
    /// Nobody may look, or the API server refuses to compare.
    Unknown,
    /// All is there, as it should be, and ready.
    Healthy,
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// How an object of a manifest lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// As the manifest says.
    Same,
    /// These fields are another than in the manifest.
    Drifted(Vec<String>),
    /// It is not there, or its kind is not.
    Missing,
    /// Why it could not be compared.
    Unknown(String),
}

/// How far workloads are, as far as that may be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Those that are not ready.
    pub unready: Vec<Workload>,
    /// What may be among those, and is not known.
    pub unseen: Vec<Unseen>,
}

/// Workloads that nobody could look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// E.g. `deployments`.
    pub what: String,
    /// Why.
    pub why: Blindness,
}

/// Why nobody could look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blindness {
    /// For want of a right.
    Forbidden,
    /// There is more than is looked at.
    TooMuch,
    /// The API server did not answer, or not with a list.
    Unanswered,
}

impl Blindness {
    /// Would another look be as blind?
    pub fn lasts(self) -> bool {
        self != Self::Unanswered
    }
}

impl std::fmt::Display for Unseen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let why = match self.why {
            Blindness::Forbidden => "may not be listed",
            Blindness::TooMuch => "are more than helm-guard reads",
            Blindness::Unanswered => "could not be listed",
        };
        write!(f, "{} {why}", self.what)
    }
}

/// The word, and what it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// In one word.
    pub health: Health,
    /// Revision whose manifest was compared.
    pub revision: u32,
    /// What was found, the worst first: objects and fields, no values.
    pub reasons: Vec<String>,
}

/// Reasons that are told; there may be hundreds.
const TOLD: usize = 10;

/// Decides.
pub fn judge(is_stuck: bool, revision: u32, objects: &[(ObjectKey, Live)], readiness: &Readiness) -> Finding {
    let mut found: Vec<(Health, String)> = Vec::new();
    if is_stuck {
        found.push((Health::Stuck, stuck(revision)));
    }
    for (key, live) in objects {
        match live {
            Live::Same => {}
            Live::Missing => found.push((Health::Missing, format!("{key} is not there"))),
            Live::Drifted(fields) => {
                found.push((Health::Drifted, format!("{key} differs in {}", fields.join(", "))));
            }
            Live::Unknown(why) => found.push((Health::Unknown, format!("{key}: {why}"))),
        }
    }
    for workload in &readiness.unready {
        let Workload { kind, name, ready, wanted, reasons } = workload;
        let is_bad =
            |reason: &String| !TRANSIENT_REASONS.contains(&reason.split(" ×").next().unwrap_or_default());
        let health = if reasons.iter().any(is_bad) { Health::Degraded } else { Health::Progressing };
        let why = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join(", ")) };
        found.push((health, format!("{kind}/{name} has {ready} of {wanted} ready{why}")));
    }
    found.extend(readiness.unseen.iter().map(|unseen| (Health::Unknown, unseen.to_string())));
    worst(revision, found)
}

/// Why it is stuck.
pub fn stuck(revision: u32) -> String {
    format!("revision {revision} is pending, and no run works on it")
}

/// From everything that was found.
pub fn worst(revision: u32, mut found: Vec<(Health, String)>) -> Finding {
    found.sort_by_key(|(health, _)| *health as u8);
    let health = found.first().map_or(Health::Healthy, |(health, _)| *health);
    let more = found.len().saturating_sub(TOLD);
    let mut reasons: Vec<String> = found.into_iter().take(TOLD).map(|(_, reason)| reason).collect();
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    Finding { health, revision, reasons }
}

/// How an object of a manifest fares by its status alone, whatever its spec is about to become; `None` where all is well, or
/// where its kind has no such thing. An object that is not there but was wanted is missed.
pub fn fares(key: &ObjectKey, object: Option<&Value>, was_wanted: bool) -> Option<(Health, String)> {
    let Some(object) = object else {
        return was_wanted.then(|| (Health::Missing, format!("{key} is not there")));
    };
    let count = |name: &str| object["status"][name].as_i64().unwrap_or_default();
    let (ready, wanted) = match key.kind.as_str() {
        "Deployment" | "StatefulSet" | "ReplicaSet" => (count("readyReplicas"), count("replicas")),
        "DaemonSet" => (count("numberReady"), count("desiredNumberScheduled")),
        _ => return None,
    };
    let conditions = object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let is = |kind: &str, field: &str, value: &str| {
        conditions.iter().any(|one| one["type"] == kind && one[field] == value)
    };
    // It was rolled out, and is not available any more.
    let fell = is("Available", "status", "False") && is("Progressing", "reason", "NewReplicaSetAvailable");
    let stopped = is("Progressing", "status", "False");
    let health = if fell || stopped { Health::Degraded } else { Health::Progressing };
    (ready < wanted).then(|| (health, format!("{key} has {ready} of {wanted} ready")))
}

/// Fields that are named of an object; a drawing of all would be too long.
const FIELDS: usize = 5;

/// Names of the fields in which an object would be another after it was applied. What the API server counts up is none.
pub fn changed(live: &Value, wanted: &Value) -> Vec<String> {
    let mut fields = Vec::new();
    differ(live, wanted, "", &mut fields);
    let counted = [".status", ".metadata.managedFields", ".metadata.resourceVersion", ".metadata.generation"];
    fields.retain(|field| !counted.iter().any(|prefix| field.starts_with(prefix)));
    fields.truncate(FIELDS);
    fields
}

fn differ(live: &Value, wanted: &Value, path: &str, fields: &mut Vec<String>) {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            let names = live.keys().chain(wanted.keys().filter(|name| !live.contains_key(*name)));
            for name in names {
                let of =
                    |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                differ(&of(live), &of(wanted), &format!("{path}.{name}"), fields);
            }
        }
        (Value::Array(live), Value::Array(wanted)) if live.len() == wanted.len() => {
            for (index, (live, wanted)) in live.iter().zip(wanted).enumerate() {
                differ(live, wanted, &format!("{path}[{index}]"), fields);
            }
        }
        (live, wanted) if live != wanted => fields.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::status::State;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    fn unready(reasons: &[&str]) -> Workload {
        let reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        Workload { kind: "Deployment".into(), name: "web".into(), ready: 1, wanted: 3, reasons }
    }

    #[test]
    fn the_worst_of_what_was_found_counts() {
        let drifted = || Live::Drifted(vec![".data.a".to_owned()]);
        for (state, lives, workloads, expected) in [
            (State::Deployed, vec![Live::Same], vec![], "Healthy: "),
            (State::Deployed, vec![drifted()], vec![], "Drifted: ConfigMap/0 differs in .data.a"),
            (
                State::Deployed,
                vec![drifted(), Live::Missing],
                vec![],
                "Missing: ConfigMap/1 is not there; ConfigMap/0 differs in .data.a",
            ),
            (State::Deployed, vec![], vec![unready(&[])], "Progressing: Deployment/web has 1 of 3 ready"),
            (
                State::Deployed,
                vec![],
                vec![unready(&["NotReady ×2"])],
                "Progressing: Deployment/web has 1 of 3 ready: NotReady ×2",
            ),
            (
                State::Failed,
                vec![drifted()],
                vec![unready(&["NotReady", "CrashLoopBackOff ×2"])],
                "Degraded: Deployment/web has 1 of 3 ready: NotReady, CrashLoopBackOff ×2; ConfigMap/0 differs in .data.a",
            ),
            (State::Stuck, vec![Live::Same], vec![], "Stuck: revision 7 is pending, and no run works on it"),
            (
                State::Deployed,
                vec![Live::Unknown("it may not be compared".into())],
                vec![],
                "Unknown: ConfigMap/0: it may not be compared",
            ),
        ] {
            let objects: Vec<_> =
                lives.into_iter().enumerate().map(|(n, live)| (key(&n.to_string()), live)).collect();
            let readiness = Readiness { unready: workloads, unseen: Vec::new() };
            let found = judge(state == State::Stuck, 7, &objects, &readiness);
            assert_eq!(format!("{}: {}", found.health, found.reasons.join("; ")), expected);
        }
        let unseen = vec![Unseen { what: "deployments".into(), why: Blindness::Forbidden }];
        let found = judge(false, 7, &[], &Readiness { unready: Vec::new(), unseen });
        assert_eq!(
            (found.health, found.reasons),
            (Health::Unknown, vec!["deployments may not be listed".to_owned()])
        );
        let many: Vec<_> = (0..300).map(|n| (key(&n.to_string()), Live::Missing)).collect();
        let found = judge(false, 7, &many, &Readiness::default());
        assert_eq!((found.reasons.len(), found.reasons[10].as_str()), (11, "and 290 more"));
    }

    #[test]
    fn an_object_fares_by_its_status_alone() {
        let deployment = ObjectKey { kind: "Deployment".into(), ..key("web") };
        let status = |text: &str| {
            serde_yaml::from_str::<Value>(&format!("{{spec: {{replicas: 9}}, status: {{{text}}}}}")).unwrap()
        };
        for (what, key, object, was_wanted, expected) in [
            ("all are ready", &deployment, Some("replicas: 2, readyReplicas: 2"), true, None),
            ("none is wanted yet", &deployment, Some(""), true, None),
            (
                "some are on their way",
                &deployment,
                Some("replicas: 2, readyReplicas: 1"),
                true,
                Some("Progressing: Deployment/web has 1 of 2 ready"),
            ),
            (
                "there were more",
                &deployment,
                Some(
                    "replicas: 2, conditions: [{type: Available, status: 'False'}, {type: Progressing, reason: NewReplicaSetAvailable}]",
                ),
                true,
                Some("Degraded: Deployment/web has 0 of 2 ready"),
            ),
            ("it is missed", &key("one"), None, true, Some("Missing: ConfigMap/one is not there")),
            ("it is new", &key("one"), None, false, None),
            ("it has no such thing", &key("one"), Some("replicas: 1"), true, None),
        ] {
            let object = object.map(status);
            let found =
                fares(key, object.as_ref(), was_wanted).map(|(health, why)| format!("{health}: {why}"));
            assert_eq!(found.as_deref(), expected, "{what}");
        }
    }

    #[test]
    fn fields_are_named_and_what_is_counted_up_is_none() {
        let live = json!({
            "metadata": {"generation": 4, "resourceVersion": "9", "labels": {"a": "secret"}},
            "spec": {"replicas": 5, "containers": [{"image": "a:1"}, {"image": "b:1"}]}, "status": {"ready": 1},
        });
        let wanted = json!({
            "metadata": {"generation": 5, "resourceVersion": "10", "managedFields": []},
            "spec": {"replicas": 3, "containers": [{"image": "a:1"}, {"image": "b:2"}], "paused": true},
        });
        let fields = changed(&live, &wanted);
        assert_eq!(
            fields,
            [".metadata.labels", ".spec.containers[1].image", ".spec.replicas", ".spec.paused"]
        );
        assert_eq!(changed(&live, &live), [] as [&str; 0]);
    }
}
