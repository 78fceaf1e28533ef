//! Whether a dead revision may be marked `deployed`: takes the live objects, returns yes or the reasons against it.
//! Pure: `adopt/look.rs` reads the live objects.
//!
//! Helm saves `deployed` when it has applied the manifest, waited, and run the hooks. So a revision is what it would have
//! become if Helm's apply, done again from all that may live, would change nothing; if every object is ready; if nothing
//! lives that only older revisions had; and if each hook of the operation is known to have ended well. What is not known
//! counts as no: the next deploy sets that right, and nothing sets a wrong `deployed` right.

pub mod look;
pub mod reapply;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    health::changed,
    manifest::{Manifest, ObjectKey},
    release::{History, MARK, Record, Status, codec::HookRun},
    workload::kstatus::{self, unready},
};

/// May the last revision be adopted?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// Nobody looked: there is nothing that could be adopted, or nobody asked for it.
    #[default]
    None,
    /// It is what it would have become.
    Holds,
    /// Why not: objects, fields and hooks, no values.
    Fails(Vec<String>),
}

/// An object that the revision wants.
#[derive(Clone, Debug)]
pub struct Object {
    /// Which.
    pub key: ObjectKey,
    /// As it lives.
    pub live: Option<Value>,
    /// What Helm's apply would make of it.
    pub applied: Applied,
}

/// What Helm's apply would make of an object.
#[derive(Clone, Debug)]
pub enum Applied {
    /// Nothing would be sent.
    Same,
    /// This, by a dry run.
    Becomes(Box<Value>),
    /// Why nobody knows.
    Unknown(String),
}

/// A hook of the operation.
#[derive(Clone, Debug)]
pub struct Hook {
    /// As the record has it.
    pub run: HookRun,
    /// Its object as it lives, if its end is not in the record; an error is why nobody knows.
    pub live: Result<Option<Value>, String>,
}

/// All that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Release name.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// `install`, `upgrade` or `rollback`.
    pub operation: &'static str,
    /// When the operation began, by the clock that hooks are stamped by.
    pub began: String,
    /// What the revision wants.
    pub objects: Vec<Object>,
    /// Objects that only revisions before it had, as they live; an error is why nobody knows.
    pub others: Vec<(ObjectKey, Result<Option<Value>, String>)>,
    /// Its hooks.
    pub hooks: Vec<Hook>,
    /// Is there an object that is as it is in no other manifest that may live? Where it lives, Helm has applied.
    pub is_new: bool,
}

/// Reasons that are told.
const TOLD: usize = 5;

/// The revision that could be adopted: the last one, if it is pending. One that was marked as dead, or that Helm gave up,
/// too, if no deploy follows and somebody asks for it.
pub fn candidate(history: &History, also_failed: bool) -> Option<&Record> {
    let last = history.last().filter(|_| !history.died_in_final_save())?;
    let fits = last.status().is_pending() || (also_failed && last.status() == Status::Failed);
    (fits && operation(last).is_some()).then_some(last)
}

/// What Helm did when it died.
pub fn operation(record: &Record) -> Option<&'static str> {
    match record.status() {
        Status::PendingInstall => Some("install"),
        Status::PendingUpgrade => Some("upgrade"),
        Status::PendingRollback => Some("rollback"),
        Status::Failed => {
            let description = record.body.as_ref().map_or("", |body| body.description.as_str());
            let marked = description.strip_prefix("died while pending-").filter(|rest| rest.contains(MARK));
            match marked {
                Some(rest) => {
                    ["install", "upgrade", "rollback"].into_iter().find(|word| rest.starts_with(word))
                }
                None if description.starts_with("Upgrade \"") => Some("upgrade"),
                None if description.starts_with("Rollback \"") => Some("rollback"),
                // Said of rollbacks too.
                None => (record.revision == 1 && description.starts_with("Release \"")).then_some("install"),
            }
        }
        _ => None,
    }
}

/// Description of an adopted revision. A rollback's tells where it went, as Helm's does at its end.
pub fn description(record: &Record) -> Option<String> {
    let said = match operation(record) {
        Some("install") => "Install complete",
        Some("rollback") if record.status() == Status::PendingRollback => return None,
        Some("rollback") => "Rollback complete",
        _ => "Upgrade complete",
    };
    Some(format!("{said} (adopted by helm-guard)"))
}

/// Decides.
pub fn judge(evidence: &Evidence) -> Proof {
    let hooks = hooks(evidence);
    let objects =
        evidence.objects.iter().filter_map(|object| Some(format!("{} {}", object.key, wrong(object)?)));
    let others =
        evidence.others.iter().filter_map(|(key, live)| Some(format!("{key} {}", left(live, evidence)?)));
    let mut reasons: Vec<String> = objects.chain(others).chain(hooks).collect();
    if reasons.is_empty() {
        return Proof::Holds;
    }
    let more = reasons.len().saturating_sub(TOLD);
    reasons.truncate(TOLD);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    Proof::Fails(reasons)
}

/// What is wrong with an object, after its name.
fn wrong(object: &Object) -> Option<String> {
    let Some(live) = &object.live else {
        return match &object.applied {
            Applied::Unknown(why) => Some(format!("could not be compared: {why}")),
            Applied::Same | Applied::Becomes(_) => Some("is not there".into()),
        };
    };
    let differs = match &object.applied {
        Applied::Same => None,
        Applied::Unknown(why) => Some(format!("could not be compared: {why}")),
        Applied::Becomes(wanted) => match changed(live, wanted) {
            fields if !fields.is_empty() => Some(format!("differs in {}", fields.join(", "))),
            _ => match (applied_fields(live), applied_fields(wanted)) {
                // Somebody else may have taken a field over, and left it as it is.
                (Some(own), Some(wanted)) if is_within(own, wanted) => None,
                (None, None) => None,
                // A field that the last apply set and this one does not is Helm's until this one is done.
                _ => Some("was not applied as this revision has it".into()),
            },
        },
    };
    differs.or_else(|| unready(live).map(|why| format!("is not ready: {why}")))
}

/// The fields that Helm's server-side apply has set.
fn applied_fields(object: &Value) -> Option<&Value> {
    let is_helms = |entry: &&Value| {
        entry["manager"] == "helm" && entry["operation"] == "Apply" && entry["subresource"].is_null()
    };
    object["metadata"]["managedFields"].as_array()?.iter().find(is_helms).map(|entry| &entry["fieldsV1"])
}

/// Are all fields of a set in another one?
fn is_within(part: &Value, whole: &Value) -> bool {
    let (Some(part), Some(whole)) = (part.as_object(), whole.as_object()) else { return part == whole };
    part.iter().all(|(name, inner)| whole.get(name).is_some_and(|other| is_within(inner, other)))
}

/// Why an object of older revisions is in the way, after its name. Helm deletes it when it has applied all else, unless it
/// is to be kept.
fn left(live: &Result<Option<Value>, String>, evidence: &Evidence) -> Option<String> {
    let live = match live {
        Ok(live) => live.as_ref()?,
        Err(why) => return Some(format!("of an older revision may be left: {why}")),
    };
    let note = |name: &str| live["metadata"]["annotations"][name].as_str().unwrap_or_default();
    let (release, namespace) = (note("meta.helm.sh/release-name"), note("meta.helm.sh/release-namespace"));
    let is_ours = release.is_empty() || (release == evidence.release && namespace == evidence.namespace);
    let stays = note("helm.sh/resource-policy").eq_ignore_ascii_case("keep");
    let goes = !live["metadata"]["deletionTimestamp"].is_null();
    (is_ours && !stays && !goes).then(|| "of an older revision is left".into())
}

/// What is wrong with hooks.
fn hooks(evidence: &Evidence) -> Vec<String> {
    let (pre, post) = (format!("pre-{}", evidence.operation), format!("post-{}", evidence.operation));
    let began = evidence.began.parse::<Timestamp>().ok();
    // A rollback has the hooks of the revision that it goes back to, with their runs of then.
    let has_run = |hook: &Hook| match (hook.run.started().parse::<Timestamp>(), began) {
        (Ok(started), Some(began)) => started >= began,
        _ => false,
    };
    let is_past_apply = evidence.is_new && evidence.objects.iter().all(|object| wrong(object).is_none());
    let after =
        evidence.hooks.iter().any(|hook| hook.run.runs_at(&post) && !hook.run.runs_at(&pre) && has_run(hook));
    let reason = |hook: &Hook| {
        let (before, after_all) = (hook.run.runs_at(&pre), hook.run.runs_at(&post));
        let why = match (before, after_all) {
            (false, false) => return None,
            _ if !has_run(hook) => "has not run".to_owned(),
            _ if hook.run.failed() => "failed".to_owned(),
            (true, true) => "runs before and after, and the record tells only of one run".to_owned(),
            // Helm goes on only after it.
            (true, false) if after || is_past_apply => return None,
            _ => ended(hook)?,
        };
        Some(format!("hook {} {why}", hook.run.label()))
    };
    evidence.hooks.iter().filter_map(reason).collect()
}

/// Why a hook that began is not known to have ended well. Helm writes how one ended only when the next one begins, or at the
/// very end.
fn ended(hook: &Hook) -> Option<String> {
    if hook.run.succeeded() {
        return None;
    }
    let live = match &hook.live {
        Err(why) => return Some(format!("may not have ended: {why}")),
        Ok(None) => return Some("started and is gone; its result is unknown".into()),
        Ok(Some(_)) if !hook.run.replaces_its_predecessor() => {
            return Some("started, and the live object may be of an earlier run".into());
        }
        Ok(Some(live)) => live,
    };
    match live["kind"].as_str().unwrap_or_default() {
        "Job" => kstatus::job(live).map(|why| format!("may not have done its work: {why}")),
        "Pod" => (live["status"]["phase"] != "Succeeded").then(|| "has not ended well".into()),
        // Helm waits for Jobs and pods only.
        _ => None,
    }
}

/// Is there an object that none of the other manifests has, or that all of them mark otherwise? What the API server may
/// write in another way, such as an amount, does not count: it would live so without having been applied.
pub fn is_new(manifest: &Manifest, others: &[Manifest]) -> bool {
    let is_other = |other: &Manifest, key: &ObjectKey, object: &Value| {
        other.get(key).is_none_or(|own| marks(own) != marks(object))
    };
    manifest.objects.iter().any(|(key, object)| others.iter().all(|other| is_other(other, key, object)))
}

/// What of an object is stored as it is written.
fn marks(object: &Value) -> Vec<Option<&Value>> {
    let parts = ["/metadata/labels", "/metadata/annotations", "/data", "/spec/template/metadata"];
    let containers = object.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    let images = containers.into_iter().flatten().map(|container| container.get("image"));
    parts.into_iter().map(|part| object.pointer(part)).chain(images).collect()
}

#[cfg(test)]
mod tests;
