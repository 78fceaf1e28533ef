//! The preflight: whether the API server would accept what Helm is about to apply. Its answers to dry runs become findings.
//! Pure: `preflight/assess.rs` sends the requests.
//!
//! How sure a finding is, is decided in one place, `certainty.rs`: a deploy is refused only for a request that Helm will send
//! and that cannot succeed in the state in which Helm sends it. All other findings warn.

pub mod admission;
pub mod assess;
pub mod certainty;
pub mod claims;
pub mod crds;
pub mod deploy;
pub mod dry_run;
mod ground;
pub mod helm_request;
pub mod lint;
pub mod live_object;
pub mod merge_patch;
pub mod order;
pub mod records;
pub mod redact;
pub mod references;
pub(crate) mod resources;
pub mod rights;
pub mod timeouts;
mod unchanged;
pub mod varying;

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;
use serde_json::Value;

use crate::cluster::api_paths::group;
use crate::{
    cluster::raw_request::{Cause, Refusal},
    manifest::{Manifest, ObjectKey},
    text::shorten,
};
use certainty::{Ground, Situation, Weight};
use redact::{said, secrets_of};
use varying::Varying;

/// Something that will, or may, stop a deploy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What kind it is: one of [`IDS`], a stable word for programs.
    pub id: &'static str,
    /// Is Helm bound to fail? Decided in `certainty.rs` alone.
    #[serde(flatten)]
    pub weight: Weight,
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
        let doubt = match self.weight.doubt() {
            "" => String::new(),
            doubt => format!(" (not certain: {doubt})"),
        };
        format!("{}{field}{change}: {}{doubt}", self.object, self.cause)
    }

    /// Is Helm bound to fail?
    pub fn is_certain(&self) -> bool {
        self.weight.is_certain()
    }
}

/// How long all the questions together may take. Helm waits meanwhile.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// What was not checked in time is not known to be good.
fn too_late(what: &str) -> Finding {
    Finding {
        id: "not-checked",
        object: "the API server".to_owned(),
        cause: format!("{what} were not checked within {}s", LIMIT.as_secs()),
        remedy: vec!["kubectl get --raw /readyz".to_owned()],
        ..Finding::default()
    }
}

/// What became of the question about one object.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The object as it is wanted.
    pub wanted: Value,
    /// Is it a hook?
    pub hook: bool,
    /// As it lives, where that was looked at: always where the API server refuses.
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
    /// Hooks that will run.
    pub hooks: &'a Manifest,
    /// The event of those that run first: `pre-install` or `pre-upgrade`.
    pub first: &'a str,
    /// `--recreate-statefulsets`: refused StatefulSets are deleted first, and so come new.
    pub recreates: bool,
    /// Before it applies an object, Helm turns the fields of its client-side apply into applied ones.
    pub takes_over_fields: bool,
    /// Fields that came out different when the chart was rendered again.
    pub varying: &'a Varying,
}

impl Context<'_> {
    /// `at_fault`: the fields that a refusal is about.
    fn situation<'a>(
        &'a self,
        key: &'a ObjectKey,
        hook: Option<&Value>,
        at_fault: &[String],
    ) -> Situation<'a> {
        let earlier = match hook {
            Some(hook) => order::before_hook(self.manifest, self.hooks, self.first, key, hook),
            None => order::before_object(self.manifest, self.hooks, self.first, key),
        };
        Situation { key: Some(key), earlier, unstable: self.varying.decides(key, at_fault) }
    }
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
    let at_fault = match is_fixed_set(key, refusal) {
        true => fixed_fields(answer).into_iter().map(|(path, ..)| path).collect(),
        false => varying::at_fault(key, refusal),
    };
    let situation = context.situation(key, answer.hook.then_some(&answer.wanted), &at_fault);
    if is_brought(key, refusal, &situation, context.manifest) {
        return None;
    }
    let transition = context.takes_over_fields
        && !answer.hook
        && answer.live.as_ref().is_some_and(helm_request::has_client_side_fields);
    let ground = ground::of(key, answer, refusal, transition);
    let base = Finding {
        id: kind_of(refusal),
        object: key.to_string(),
        field: fields(refusal.causes.iter().map(|cause| cause.field.as_str())),
        cause: message.to_owned(),
        weight: certainty::of(&ground, &situation),
        ..Finding::default()
    };
    let unknown = |why: String| Finding {
        id: if says("failed calling webhook") { "webhook-unreachable" } else { "not-checked" },
        weight: certainty::of(&Ground::Advice, &situation),
        field: String::new(),
        cause: why,
        ..base.clone()
    };
    match refusal.code {
        409 if refusal.causes.iter().any(|cause| cause.reason == "FieldManagerConflict") => {
            conflict(key, refusal, base)
        }
        409 if answer.hook && answer.live.is_some() => Some(lasting_hook(key, base)),
        // Somebody else was faster; Helm asks again.
        409 => None,
        400 | 403 if says("does not support dry run") => Some(unknown(format!("not checked: {message}"))),
        _ if says("failed calling webhook") => {
            Some(unknown(format!("the API server could not be asked: {message}")))
        }
        403 | 422 if matches!(ground, Ground::Claim { .. }) => Some(claim(key, answer, base)),
        422 if is_fixed_set(key, refusal) => {
            let finding = stateful_set(key, answer, base);
            let anew = certainty::of(&Ground::Advice, &situation);
            Some(if context.recreates { Finding { weight: anew, ..finding } } else { finding })
        }
        404 if says("namespaces \"") => Some(Finding {
            id: "namespace-missing",
            field: "metadata.namespace".to_owned(),
            remedy: vec![format!("kubectl create namespace {}", key.namespace)],
            ..base
        }),
        403 if ground::lacks_right(refusal) => {
            let rights = [right(key, message)];
            let weight = certainty::of(&Ground::Rights(&rights), &situation);
            Some(Finding { id: "forbidden", remedy: vec![rule(key, message)], weight, ..base })
        }
        // Server-side apply has no better code for a value of another type.
        500 if says("failed to create typed patch object") => {
            Some(Finding { remedy: general(key, &base, message), ..base })
        }
        _ if ground::is_policy(refusal) => Some(Finding { remedy: general(key, &base, message), ..base }),
        400 | 403 | 404 | 413 | 422 => Some(Finding { remedy: general(key, &base, message), ..base }),
        _ => Some(unknown(format!("the API server could not be asked: {message}"))),
    }
}

/// The kind of a refusal, by its code and words.
fn kind_of(refusal: &Refusal) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|words| refusal.message.contains(words));
    match refusal.code {
        _ if says(&["exceeded quota"]) => "quota-exceeded",
        _ if ground::is_policy(refusal) => "admission-refused",
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

/// Does the release itself bring what the API server misses, before it is needed?
fn is_brought(key: &ObjectKey, refusal: &Refusal, situation: &Situation<'_>, manifest: &Manifest) -> bool {
    let earlier = &situation.earlier.objects;
    let of_namespace =
        |own: &ObjectKey| own.kind == "Namespace" && own.name == key.namespace && refusal.code == 404;
    let named = |own: &ObjectKey| {
        own != key && refusal.message.to_lowercase().contains(&format!("{}\"", own.name.to_lowercase()))
    };
    manifest.keys().any(of_namespace)
        || earlier.iter().any(|(own, _)| of_namespace(own))
        || (ground::is_missing(refusal) && earlier.iter().any(|(own, _)| named(own)))
        || defines(manifest, key)
        || earlier.iter().any(|(own, object)| is_definition(own, object, key))
}

/// Is the kind of an object defined by a CRD in the same manifest?
pub fn defines(manifest: &Manifest, key: &ObjectKey) -> bool {
    manifest.objects.iter().any(|(own, crd)| is_definition(own, crd, key))
}

fn is_definition(own: &ObjectKey, crd: &Value, key: &ObjectKey) -> bool {
    own.kind == "CustomResourceDefinition"
        && crd["spec"]["group"] == group(&key.api_version)
        && crd["spec"]["names"]["kind"] == key.kind.as_str()
}

/// A hook of an earlier run that Helm neither deleted then nor deletes now.
fn lasting_hook(key: &ObjectKey, base: Finding) -> Finding {
    let policy = match key.kind.as_str() {
        // Helm deletes no CRD, whatever its policy says.
        "CustomResourceDefinition" => {
            "move the CRD into the chart's crds/, or into its templates without the hook"
        }
        _ => "in the chart, add before-hook-creation to its helm.sh/hook-delete-policy",
    };
    let namespace = if key.namespace.is_empty() { String::new() } else { format!(" -n {}", key.namespace) };
    let mut remedy = vec![policy.to_owned()];
    if key.kind != "CustomResourceDefinition" {
        remedy.push(format!("or, once: kubectl delete {} {}{namespace}", key.kind.to_lowercase(), key.name));
    }
    Finding {
        id: "refused",
        cause: "the hook exists from an earlier run, and helm creates it without deleting that one first"
            .to_owned(),
        remedy,
        ..base
    }
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
    message.split('"').nth(1).unwrap_or("another client")
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

/// The parts of a StatefulSet that are to change and cannot: path, as it lives, as it is wanted.
fn fixed_fields(answer: &Answer) -> Vec<(String, Value, Value)> {
    let mut wanted = answer.wanted["spec"].clone();
    if let Some(fields) = wanted.as_object_mut() {
        fields.retain(|field, _| !CHANGEABLE.contains(&field.as_str()));
    }
    let live = answer.live.as_ref().map_or(&Value::Null, |live| &live["spec"]);
    merge_patch::differences(live, &wanted, "spec")
}

fn stateful_set(key: &ObjectKey, answer: &Answer, base: Finding) -> Finding {
    let (name, namespace) = (&key.name, &key.namespace);
    let changed = fixed_fields(answer);
    let first = changed.first().cloned().unwrap_or_default();
    let one = changed.len() == 1;
    Finding {
        id: "statefulset-immutable",
        field: fields(changed.iter().map(|(path, ..)| path.as_str())),
        live: if one { scalar(Some(&first.1)) } else { String::new() },
        wanted: if one { scalar(Some(&first.2)) } else { String::new() },
        remedy: vec![
            "back up its data first; pods and volumes stay, and the StatefulSet is created again around them:".to_owned(),
            format!("kubectl get statefulset {name} -n {namespace} -o yaml > statefulset-{name}.yaml"),
            format!("kubectl delete statefulset {name} -n {namespace} --cascade=orphan"),
            "then run the same command again; --recreate-statefulsets does all this".to_owned(),
        ],
        ..base
    }
}

/// What stands behind words of a refusal, without its quotes.
fn behind(message: &str, words: &str) -> String {
    let rest = message.split_once(words).map_or("", |(_, rest)| rest);
    rest.trim_start_matches('"').split(['"', ' ']).next().unwrap_or_default().to_owned()
}

/// The right that is missing, out of `User "x" cannot patch resource "y" in API group "z" in the namespace "n"`.
fn right(key: &ObjectKey, message: &str) -> rights::Right {
    rights::Right {
        namespace: key.namespace.clone(),
        group: group(&key.api_version).to_owned(),
        resource: behind(message, " resource "),
        verb: rights::verb(&behind(message, " cannot ")),
        name: key.name.clone(),
    }
}

/// A rule for who deploys, out of the same words.
fn rule(key: &ObjectKey, message: &str) -> String {
    let (verb, resource) = (behind(message, " cannot "), behind(message, " resource "));
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
    let (hooks, objects): (Vec<_>, Vec<_>) =
        all.objects.into_iter().partition(|(_, object)| order::is_hook(object));
    let runs = |object: &Value| order::events(object).any(|event| events.contains(&event));
    let hooks = hooks.into_iter().filter(|(_, object)| runs(object)).collect();
    (Manifest { objects }, Manifest { objects: hooks })
}

/// The findings as a report wants them: the certain ones first, none twice, not without end.
pub fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    const ENOUGH: usize = 100;
    findings.sort_by(|one, other| {
        (other.is_certain().cmp(&one.is_certain()))
            .then_with(|| one.weight.is_note().cmp(&other.weight.is_note()))
            .then_with(|| (&one.object, &one.cause).cmp(&(&other.object, &other.cause)))
    });
    findings.dedup();
    findings.truncate(ENOUGH);
    findings
}

#[cfg(test)]
mod tests;
