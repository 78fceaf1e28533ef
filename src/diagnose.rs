//! The diagnosis of a release: derives causes from what was observed, the most likely first.
//! Pure: `diagnose/collect.rs` reads the cluster, the fence sees Helm's requests.
//!
//! A rule is a function from what was seen to causes, and the list of rules is the ranking: what ended the deploy at once
//! stands before what made it wait, and a sure sign before a guess. No rule looks at what another found, so each can be
//! taken out, or tried, alone. Where none applies nothing is guessed: the report shows what was seen.

pub mod api_errors;
mod charts;
pub mod collect;
pub mod containers;
pub mod finalizers;
pub mod helm_errors;
mod hooks;
mod images;
mod messages;
mod nodes;
mod ownership;
mod pods;
pub mod render;
pub mod retry;
mod storage;
mod timing;
mod values;

pub(crate) use containers::{is_ready, selects};
pub(crate) use render::trouble;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One cause, with what shows it and what to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// Which rule found it: a stable word for programs, such as `crash-loop`.
    pub id: &'static str,
    /// `Kind/name` it is about; empty where it is about no object.
    pub object: String,
    /// One sentence. Has untrusted text in it.
    pub summary: String,
    /// What was seen, a line each. Untrusted text.
    pub evidence: Vec<String>,
    /// Shell commands or advice, a line each, the most useful first.
    pub remedy: Vec<String>,
}

/// A write of Helm's that the API server refused, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// HTTP method.
    pub method: String,
    /// Path, without the query.
    pub path: String,
    /// HTTP status; 0 if there was no answer.
    pub code: u16,
    /// What the API server says. Untrusted text.
    pub message: String,
}

/// The end of a container's log: bounded, and without what is secret in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// Pod.
    pub pod: String,
    /// Container.
    pub container: String,
    /// Its last lines, oldest first. Untrusted text.
    pub lines: Vec<String>,
    /// Why there are none; empty if there could be.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub withheld: String,
}

/// What lives in the cluster: objects as the API server has them, less what no rule asks about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Live {
    /// Deployments, StatefulSets, DaemonSets and Jobs of the release, hooks among them.
    pub workloads: Vec<Value>,
    /// Pods of those, and hooks that are pods.
    pub pods: Vec<Value>,
    /// Warning events about any of these, oldest first.
    pub events: Vec<Value>,
    /// Nodes under pods that are not ready.
    pub nodes: Vec<Value>,
    /// Claims that the release or its pods name.
    pub claims: Vec<Value>,
    /// Names of Services of the namespace without a ready endpoint.
    pub unready_services: Vec<String>,
    /// Objects of the release that are being deleted and still there.
    pub terminating: Vec<Value>,
    /// Logs of containers in trouble.
    pub logs: Vec<Log>,
    /// Kinds that may not be read: what is said of them is nothing.
    pub hidden: Vec<String>,
}

impl Live {
    /// Adds what was seen before and is gone: hooks are deleted, with their logs.
    pub fn add(&mut self, before: Live) {
        let add = |own: &mut Vec<Value>, before: Vec<Value>| {
            let is_new = |object: &Value| {
                !own.iter().any(|known| known["metadata"]["uid"] == object["metadata"]["uid"])
            };
            let new: Vec<Value> = before.into_iter().filter(is_new).collect();
            own.extend(new);
        };
        add(&mut self.workloads, before.workloads);
        add(&mut self.pods, before.pods);
        add(&mut self.events, before.events);
        let is_new =
            |log: &Log| !self.logs.iter().any(|own| (&own.pod, &own.container) == (&log.pod, &log.container));
        let new: Vec<Log> = before.logs.into_iter().filter(is_new).collect();
        self.logs.extend(new);
    }
}

/// All that is known of a failure, or of a release at any time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Snapshot {
    /// What Helm was to do: `upgrade`, …; empty where it did nothing.
    pub command: String,
    /// Release name.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// The end of Helm's stderr. Untrusted text.
    pub error: String,
    /// How long Helm was to wait, seconds, if its flags say.
    pub timeout: Option<u64>,
    /// `Kind/name` of the release's hooks.
    pub hooks: Vec<String>,
    /// Writes that were refused, oldest first.
    pub refusals: Vec<Refusal>,
    /// The cluster.
    pub live: Live,
}

/// A rule and its name, which is the [`Cause::id`] of what it finds.
type Rule = (&'static str, fn(&Snapshot) -> Vec<Cause>);

/// The ranking.
const RULES: [Rule; 64] = [
    ("api-unreachable", api_errors::unreachable),
    ("credentials-expired", api_errors::credentials),
    ("forbidden", api_errors::forbidden),
    ("namespace-terminating", api_errors::namespace_leaves),
    ("api-removed", api_errors::api_removed),
    ("crd-missing", api_errors::kind_missing),
    ("statefulset-immutable", api_errors::stateful_set),
    ("selector-immutable", api_errors::selector),
    ("claim-not-resizable", api_errors::resize),
    ("immutable-field", api_errors::immutable),
    ("field-conflict", api_errors::conflict),
    ("apply-not-typed", api_errors::not_typed),
    ("changed-meanwhile", api_errors::changed),
    ("webhook-unreachable", api_errors::webhook_down),
    ("admission-refused", api_errors::admission),
    ("quota-exceeded", api_errors::quota),
    ("schema-refused", api_errors::schema),
    ("record-too-large", helm_errors::record_too_large),
    ("never-installed", helm_errors::never_installed),
    ("not-found", helm_errors::not_found),
    ("in-progress", helm_errors::in_progress),
    ("name-in-use", helm_errors::name_in_use),
    ("ownership-conflict", ownership::foreign),
    ("values-schema", values::schema),
    ("values-unreadable", values::unreadable),
    ("value-required", values::required),
    ("value-missing", values::missing),
    ("value-type", values::mistyped),
    ("template-failed", values::template),
    ("manifest-not-yaml", values::not_yaml),
    ("manifest-incomplete", values::incomplete),
    ("chart-not-found", charts::not_found),
    ("chart-credentials", charts::credentials),
    ("chart-unreachable", charts::unreachable),
    ("chart-not-verified", charts::not_verified),
    ("chart-invalid", charts::invalid),
    ("dependency-missing", charts::dependency),
    ("kubernetes-version", charts::kubernetes_version),
    ("post-renderer-failed", charts::post_renderer),
    ("plugin-missing", charts::plugin),
    ("hook-failed", hooks::failed),
    ("image-not-found", images::not_found),
    ("image-denied", images::denied),
    ("image-rate-limit", images::rate_limit),
    ("image-pull-failed", images::other),
    ("config-missing", pods::config),
    ("container-refused", pods::refused),
    ("out-of-memory", pods::out_of_memory),
    ("dependency-not-ready", pods::dependency),
    ("liveness-probe", pods::liveness),
    ("crash-loop", pods::crash),
    ("claim-pending", storage::pending),
    ("claim-missing", storage::missing),
    ("volume-not-mounted", storage::not_mounted),
    ("node-not-ready", nodes::not_ready),
    ("evicted", nodes::evicted),
    ("unschedulable", pods::unschedulable),
    ("pods-refused", pods::not_created),
    ("init-stuck", pods::init_stuck),
    ("startup-probe", pods::startup),
    ("readiness-probe", pods::readiness),
    ("hook-running", hooks::running),
    ("delete-blocked", finalizers::blocked),
    ("timeout-too-short", timing::too_short),
];

/// Causes kept: a report shows the first of them whole.
const MOST: usize = 50;
/// Lines of evidence of one cause.
const LINES: usize = 10;

/// Causes, the most telling first; none where nothing is known.
pub fn causes(snapshot: &Snapshot) -> Vec<Cause> {
    by(&RULES, snapshot)
}

fn by(rules: &[Rule], snapshot: &Snapshot) -> Vec<Cause> {
    let mut found: Vec<Cause> = Vec::new();
    for (id, rule) in rules {
        for cause in rule(snapshot) {
            // Pods of one workload fail alike.
            let same = |known: &&mut Cause| {
                (known.id, &known.object, &known.summary) == (*id, &cause.object, &cause.summary)
            };
            match found.iter_mut().find(same) {
                Some(known) => known.evidence.extend(cause.evidence),
                None => found.push(Cause { id, ..cause }),
            }
        }
    }
    found.truncate(MOST);
    for cause in &mut found {
        cause.evidence.dedup();
        cause.evidence.truncate(LINES);
    }
    found
}

/// Helm's own reason: the first line of its error message. Errors of templates, which Helm 4 breaks into lines, are one line.
pub fn reason(error: &str) -> Option<String> {
    let message = messages::message(error);
    let first = message.lines().next()?.trim();
    let broken = message.lines().nth(1).is_some_and(|line| line.trim_start().starts_with("executing \""));
    let reason = if broken { messages::one_line(&message) } else { first.to_owned() };
    (!reason.is_empty()).then_some(reason)
}

/// Commands or advice, the most useful first: of the causes, or the pod in trouble when there is none. Nothing where nothing
/// is known: a hint that does not fit costs time.
pub fn next(snapshot: &Snapshot, causes: &[Cause]) -> Vec<String> {
    let mut next: Vec<String> = Vec::new();
    for line in causes.iter().take(3).flat_map(|cause| cause.remedy.iter().take(3)) {
        if !next.contains(line) {
            next.push(line.clone());
        }
    }
    if next.is_empty() {
        let unready = snapshot.live.pods.iter().find(|pod| !containers::is_ready(pod));
        next.extend(unready.map(|pod| describe(snapshot, pod)));
    }
    next
}

fn describe(snapshot: &Snapshot, pod: &Value) -> String {
    format!("kubectl describe pod {} -n {}", text(pod, "/metadata/name"), snapshot.namespace)
}

/// The text at a place in an object; empty where there is none.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The list at a place in an object; empty where there is none.
fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// `Kind/name`.
fn label(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// What stands between the first `before` and the next `after`.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// Does it contain one of them, whatever the case?
fn says(text: &str, words: &[&str]) -> bool {
    let text = text.to_lowercase();
    words.iter().any(|word| text.contains(word))
}

#[cfg(test)]
pub(crate) mod tests;
