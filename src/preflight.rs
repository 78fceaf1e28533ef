//! Would the API server take what Helm is about to apply? What it says to a dry run becomes findings.
//! Pure: who asks it, and when, is in `preflight/act.rs`.
//!
//! A finding is *certain* when Helm is bound to run into the same refusal; all others warn. What a release brings itself,
//! its namespace, its kinds, its roles, its quota, is not there yet when the API server is asked, and nothing is certain of
//! objects that need it. Nor is anything where a hook with an account of its own comes first: it may set right what is found.

pub mod act;
pub mod applied;
pub mod claims;
pub mod definitions;
pub mod lint;
pub mod patch;
pub mod records;
pub mod references;
pub mod resource;
pub mod rights;
pub mod timeouts;
mod words;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::{
    manifest::{Manifest, ObjectKey},
    report::text::shorten,
};
use resource::group;
use words::{said, secrets_of};

/// Something that will, or may, stop a deploy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What kind it is: one of [`IDS`], a stable word for programs.
    pub id: &'static str,
    /// Is Helm bound to fail?
    pub certain: bool,
    /// `Kind/name`.
    pub object: String,
    /// Path of the field, several with commas in between; empty where it is about the whole object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is wrong: the API server's own words where it refused. Untrusted text.
    pub cause: String,
    /// The field as it is in the cluster. Never a Secret's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub live: String,
    /// The field as the release wants it. Never a Secret's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wanted: String,
    /// What to do: shell commands or one-line advice.
    pub remedy: Vec<String>,
}

/// The kinds of findings. `docs/findings.md` says of each what it means and what to do.
pub const IDS: [&str; 20] = [
    "admission-refused",
    "api-deprecated",
    "api-warning",
    "claim-not-resizable",
    "field-conflict",
    "forbidden",
    "history-pruned",
    "immutable-field",
    "lint",
    "namespace-missing",
    "not-checked",
    "quota-exceeded",
    "record-too-large",
    "reference-missing",
    "refused",
    "right-missing",
    "schema-refused",
    "statefulset-immutable",
    "timeout-too-short",
    "webhook-unreachable",
];

impl Finding {
    /// All but the remedy, in a line.
    pub fn sentence(&self) -> String {
        let field =
            if self.field.is_empty() { String::new() } else { format!(" {}", shorten(&self.field, 160)) };
        let change = match (self.live.is_empty(), self.wanted.is_empty()) {
            (true, true) => String::new(),
            (false, true) => format!(" (is {})", self.live),
            (true, false) => format!(" (wanted {})", self.wanted),
            (false, false) => format!(" (is {}, wanted {})", self.live, self.wanted),
        };
        format!("{}{field}{change}: {}", self.object, self.cause)
    }
}

/// One thing that the API server has against an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldManagerConflict`, …
    pub reason: String,
    /// Path.
    pub field: String,
    /// Untrusted text.
    pub message: String,
}

/// A refusal of the API server's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status; 0 without an answer.
    pub code: u16,
    /// `Invalid`, `Forbidden`, …
    pub reason: String,
    /// Untrusted text.
    pub message: String,
    /// In detail, as far as told.
    pub causes: Vec<Cause>,
}

/// What became of the question about one object.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The object as it is wanted.
    pub wanted: Value,
    /// As it lives, where that was looked at.
    pub live: Option<Value>,
    /// What would become of it, its status as it is, where it lives and that is all that was asked for.
    pub becomes: Option<Value>,
    /// `None`: the API server would take it.
    pub refusal: Option<Refusal>,
    /// What else it said: a deprecated version, an unknown field.
    pub warnings: Vec<String>,
}

/// What is known of the release as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// All that it renders.
    pub manifest: &'a Manifest,
    /// Does a hook come first that may change the cluster?
    pub hook_first: bool,
    /// `--recreate-statefulsets`: refused StatefulSets are deleted first, and so come new.
    pub recreates: bool,
}

/// What an answer about an object means; nothing is often.
pub fn judge(key: &ObjectKey, answer: &Answer, context: &Context<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = answer
        .refusal
        .iter()
        .filter_map(|refusal| refused(key, answer, refusal, context))
        .chain(answer.warnings.iter().map(|warning| Finding {
            id: if warning.contains("deprecated") { "api-deprecated" } else { "api-warning" },
            object: key.to_string(),
            cause: warning.clone(),
            remedy: vec!["change it in the chart".to_owned()],
            ..Finding::default()
        }))
        .collect();
    if findings.is_empty() {
        return findings;
    }
    // The whole manifest is gone through for it: not for each object that is well.
    let secret = secrets_of(context.manifest);
    for finding in &mut findings {
        finding.cause = said(&finding.cause, key, &secret);
        for text in [&mut finding.live, &mut finding.wanted] {
            *text = shorten(&secret.clean(text), 120);
        }
    }
    findings
}

fn refused(key: &ObjectKey, answer: &Answer, refusal: &Refusal, context: &Context<'_>) -> Option<Finding> {
    let message = refusal.message.as_str();
    let says = |words: &str| message.contains(words);
    if is_brought(key, refusal, context.manifest) {
        return None;
    }
    let base = Finding {
        id: kind_of(refusal),
        object: key.to_string(),
        field: fields(refusal.causes.iter().map(|cause| cause.field.as_str())),
        cause: message.to_owned(),
        certain: !context.hook_first && !depends(key, refusal, context.manifest),
        ..Finding::default()
    };
    let unknown = |why: String| Finding {
        id: if says("failed calling webhook") { "webhook-unreachable" } else { "not-checked" },
        certain: false,
        field: String::new(),
        cause: why,
        ..base.clone()
    };
    match refusal.code {
        409 if refusal.causes.iter().any(|cause| cause.reason == "FieldManagerConflict") => {
            conflict(key, refusal, base)
        }
        // Somebody else was faster; Helm asks again.
        409 => None,
        400 | 403 if says("does not support dry run") => Some(unknown(format!("not checked: {message}"))),
        403 | 422 if key.kind == "PersistentVolumeClaim" && (says("resize") || says("storage")) => {
            Some(claim(key, answer, base))
        }
        422 if is_fixed_set(key, refusal) => {
            let finding = stateful_set(key, answer, base);
            Some(Finding { certain: finding.certain && !context.recreates, ..finding })
        }
        404 if says("namespaces \"") => Some(Finding {
            id: "namespace-missing",
            field: "metadata.namespace".to_owned(),
            remedy: vec![format!("kubectl create namespace {}", key.namespace)],
            ..base
        }),
        403 if says("cannot ") && says(" resource ") => {
            Some(Finding { id: "forbidden", remedy: vec![rule(key, message)], ..base })
        }
        // Server-side apply has no better code for a value of another type.
        500 if says("failed to create typed patch object") => {
            Some(Finding { remedy: general(key, &base, message), ..base })
        }
        400 | 403 | 404 | 413 | 422 => Some(Finding { remedy: general(key, &base, message), ..base }),
        _ => Some(unknown(format!("the API server could not be asked: {message}"))),
    }
}

/// The kind of a refusal, by its code and words.
fn kind_of(refusal: &Refusal) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|words| refusal.message.contains(words));
    match refusal.code {
        _ if says(&["exceeded quota"]) => "quota-exceeded",
        _ if says(&["denied the request", "ValidatingAdmissionPolicy", "violates PodSecurity"]) => {
            "admission-refused"
        }
        _ if says(&["immutable"]) => "immutable-field",
        400 | 422 | 500 => "schema-refused",
        _ => "refused",
    }
}

/// Is it a part of a StatefulSet that only a new set can have otherwise? Newer API servers name each field, and say that it
/// is immutable.
pub fn is_fixed_set(key: &ObjectKey, refusal: &Refusal) -> bool {
    let fixed = |cause: &Cause| cause.field.starts_with("spec.") && cause.message.contains("immutable");
    key.kind == "StatefulSet"
        && refusal.code == 422
        && (refusal.message.contains("updates to statefulset spec") || refusal.causes.iter().any(fixed))
}

/// Does the release itself bring what the API server misses?
fn is_brought(key: &ObjectKey, refusal: &Refusal, manifest: &Manifest) -> bool {
    let of_namespace =
        |own: &ObjectKey| own.kind == "Namespace" && own.name == key.namespace && refusal.code == 404;
    manifest.keys().any(of_namespace) || defines(manifest, key)
}

/// Is the kind of an object defined by a CRD in the same manifest?
pub fn defines(manifest: &Manifest, key: &ObjectKey) -> bool {
    manifest.objects.iter().any(|(own, crd)| {
        own.kind == "CustomResourceDefinition"
            && crd["spec"]["group"] == group(&key.api_version)
            && crd["spec"]["names"]["kind"] == key.kind.as_str()
    })
}

/// May the refusal be another once the rest of the release is there?
fn depends(key: &ObjectKey, refusal: &Refusal, manifest: &Manifest) -> bool {
    let message = refusal.message.as_str();
    let renders =
        |kinds: &[&str]| manifest.keys().any(|own| own != key && kinds.contains(&own.kind.as_str()));
    let missing = ["not found", "was found", "does not exist"].iter().any(|words| message.contains(words));
    let named = || manifest.keys().any(|own| own != key && message.contains(&own.name));
    let of_namespace = refusal.code == 404 && message.contains("namespaces \"");
    (missing && !of_namespace && (named() || refusal.code == 404))
        || (message.contains("exceeded quota") && renders(&["ResourceQuota"]))
        || (message.contains("LimitRange") && renders(&["LimitRange"]))
        || (refusal.code == 403
            && renders(&[
                "Role",
                "ClusterRole",
                "RoleBinding",
                "ClusterRoleBinding",
                "ValidatingAdmissionPolicy",
            ]))
        || (message.contains("webhook")
            && renders(&["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"]))
}

/// Who owns what. Helm's own fields change hands by Helm's doing when a release turns from client-side to server-side.
fn conflict(key: &ObjectKey, refusal: &Refusal, base: Finding) -> Option<Finding> {
    let others: Vec<&Cause> = refusal
        .causes
        .iter()
        .filter(|cause| cause.reason == "FieldManagerConflict" && manager(&cause.message) != "helm")
        .collect();
    if others.is_empty() {
        return None;
    }
    let managers: BTreeSet<&str> = others.iter().map(|cause| manager(&cause.message)).collect();
    let managers = managers.into_iter().collect::<Vec<_>>().join(", ");
    let field = fields(others.iter().map(|cause| cause.field.as_str()));
    Some(Finding {
        id: "field-conflict",
        cause: format!("field-manager conflict: owned by {managers}"),
        remedy: vec![
            format!("leave {field} out of the chart, so that {managers} keeps it"),
            "or take it over: --force-conflicts".to_owned(),
            format!(
                "kubectl get {} {} -n {} -o yaml --show-managed-fields",
                key.kind.to_lowercase(),
                key.name,
                key.namespace
            ),
        ],
        field,
        ..base
    })
}

/// `conflict with "kubectl" using apps/v1`.
fn manager(message: &str) -> &str {
    message.split('"').nth(1).unwrap_or("somebody else")
}

fn claim(key: &ObjectKey, answer: &Answer, base: Finding) -> Finding {
    const SIZE: &str = "/spec/resources/requests/storage";
    let live = answer.live.as_ref().unwrap_or(&Value::Null);
    let (is, wanted) = (scalar(live.pointer(SIZE)), scalar(answer.wanted.pointer(SIZE)));
    let class = scalar(live.pointer("/spec/storageClassName"));
    if is.is_empty() || is == wanted {
        return Finding { remedy: general(key, &base, &base.cause), ..base };
    }
    let mut remedy = vec![format!("in the values, set the size of {} back to {is}", key.name)];
    remedy.push(if class.is_empty() {
        "or move the data to a new claim: this one has no storage class that could resize it".to_owned()
    } else {
        format!(
            "or, if its provisioner can: kubectl patch storageclass {class} -p '{{\"allowVolumeExpansion\":true}}'"
        )
    });
    let class =
        if class.is_empty() { "no storage class".to_owned() } else { format!("storage class {class}") };
    let (id, field) = ("claim-not-resizable", "spec.resources.requests.storage".to_owned());
    Finding { id, field, live: format!("{is}, {class}"), wanted, remedy, ..base }
}

/// The parts of a StatefulSet that can be changed.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn stateful_set(key: &ObjectKey, answer: &Answer, base: Finding) -> Finding {
    let (name, namespace) = (&key.name, &key.namespace);
    let mut wanted = answer.wanted["spec"].clone();
    if let Some(fields) = wanted.as_object_mut() {
        fields.retain(|field, _| !CHANGEABLE.contains(&field.as_str()));
    }
    let live = answer.live.as_ref().map_or(&Value::Null, |live| &live["spec"]);
    let changed = patch::differences(live, &wanted, "spec");
    let first = changed.first().cloned().unwrap_or_default();
    let one = changed.len() == 1;
    Finding {
        id: "statefulset-immutable",
        field: fields(changed.iter().map(|(path, ..)| path.as_str())),
        live: if one { scalar(Some(&first.1)) } else { String::new() },
        wanted: if one { scalar(Some(&first.2)) } else { String::new() },
        remedy: vec![
            "back up its data first; pods and volumes stay, the set is made anew around them:".to_owned(),
            format!("kubectl get statefulset {name} -n {namespace} -o yaml > statefulset-{name}.yaml"),
            format!("kubectl delete statefulset {name} -n {namespace} --cascade=orphan"),
            "then run the same command again; --recreate-statefulsets does all this".to_owned(),
        ],
        ..base
    }
}

/// A rule for who deploys, out of `User "x" cannot patch resource "y" in API group "z" in the namespace "n"`.
fn rule(key: &ObjectKey, message: &str) -> String {
    let behind = |words: &str| {
        let rest = message.split_once(words).map_or("", |(_, rest)| rest);
        rest.trim_start_matches('"').split(['"', ' ']).next().unwrap_or_default().to_owned()
    };
    let (verb, resource) = (behind(" cannot "), behind(" resource "));
    format!(
        "add this rule to the deployer's Role: {{apiGroups: [\"{}\"], resources: [{resource}], verbs: [{verb}]}}",
        group(&key.api_version)
    )
}

fn general(key: &ObjectKey, base: &Finding, message: &str) -> Vec<String> {
    let kind = key.kind.to_lowercase();
    let field = if base.field.is_empty() { "it".to_owned() } else { base.field.clone() };
    if message.contains("immutable") {
        return vec![
            format!("put {field} back as it was"),
            format!(
                "or delete the object, and with it what it runs: kubectl delete {kind} {} -n {}",
                key.name, key.namespace
            ),
        ];
    }
    if message.contains("Required value") {
        return vec![format!("set {field} in the values or the chart")];
    }
    vec![format!("correct {field} in the values or the chart of {key}")]
}

fn fields<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for path in
        paths.map(|path| path.trim_start_matches('.')).filter(|path| !path.is_empty() && *path != "<nil>")
    {
        if !seen.contains(&path) {
            seen.push(path);
        }
    }
    seen.join(", ")
}

fn scalar(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// A manifest in which hooks stand among the rest, as Helm prints it, parted: what is applied, and what runs at these
/// events.
pub fn part(all: Manifest, events: [&str; 2]) -> (Manifest, Manifest) {
    let event = |object: &Value| {
        object.pointer("/metadata/annotations/helm.sh~1hook").and_then(Value::as_str).map(str::to_owned)
    };
    let (hooks, objects): (Vec<_>, Vec<_>) =
        all.objects.into_iter().partition(|(_, object)| event(object).is_some());
    let runs = |object: &Value| {
        event(object).is_some_and(|list| list.split(',').any(|event| events.contains(&event.trim())))
    };
    let hooks = hooks.into_iter().filter(|(_, object)| runs(object)).collect();
    (Manifest { objects }, Manifest { objects: hooks })
}

/// Does a hook of this event run with an account of its own? It may change what the API server was asked about.
pub fn acts_first(hooks: &Manifest, event: &str) -> bool {
    hooks.objects.iter().any(|(_, object)| {
        let annotation = object.pointer("/metadata/annotations/helm.sh~1hook").and_then(Value::as_str);
        annotation.is_some_and(|list| list.split(',').any(|own| own.trim() == event))
            && references::pod_spec(object).is_some_and(|spec| {
                spec["serviceAccountName"].is_string() || spec["serviceAccount"].is_string()
            })
    })
}

/// The findings as a report wants them: the certain ones first, none twice, not without end.
pub fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    const ENOUGH: usize = 100;
    findings.sort_by(|one, other| {
        other
            .certain
            .cmp(&one.certain)
            .then_with(|| (&one.object, &one.cause).cmp(&(&other.object, &other.cause)))
    });
    findings.dedup();
    findings.truncate(ENOUGH);
    findings
}

#[cfg(test)]
mod tests;
