//! How far a release is while Helm works on it: its workloads, the pods in trouble, its hooks.
//! Pure: the cluster is watched, and logs are read, in `deploy/follow.rs`.
//!
//! What is kept of a pod is why it is not ready, and of a ready one nothing, so that a release of hundreds of pods takes
//! little memory. Times are this process's own, since it first saw a thing; those of the cluster are only shown.

use crate::workload::{TRANSIENT_REASONS, reasons};
pub mod line_buffer;
pub mod logs;
pub mod throttle;
pub mod watcher;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;

use crate::workload::rollout::Count;
use crate::{
    diagnose,
    manifest::{Manifest, ObjectKey},
    text::shorten,
    workload::{PodTrouble, Workload},
};

/// Pods not ready that are remembered; more fail alike.
const PODS: usize = 1000;
/// Characters that are kept of what a pod says.
const MESSAGE: usize = 300;
/// From then on a pod on its way is late.
const LATE: Duration = Duration::from_secs(30);

/// A pod that keeps a workload from being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which pod, and why. Untrusted text.
    pub pod: PodTrouble,
    /// Since when it is not ready, by the cluster's clock, RFC 3339; empty if it does not say.
    pub since: String,
    /// How long it has been seen so.
    pub lasts: Duration,
    /// Other pods of the workload with the same reason.
    pub more: usize,
    /// It is only on its way.
    pub is_early: bool,
}

/// An object of the release that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `Kind/name`.
    pub object: String,
    /// How far it is.
    pub count: Count,
    /// What keeps it.
    pub trouble: Option<Trouble>,
}

/// A hook that runs, or ran while somebody looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Of the object: each run is another.
    pub uid: String,
    /// `Kind/name`.
    pub object: String,
    /// How long it has run, or ran.
    pub ran: Duration,
    /// How it ended: with the reason if it failed.
    pub ended: Option<Result<(), String>>,
    /// What keeps its pod.
    pub trouble: Option<Trouble>,
}

/// All of it at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Objects in the order of the manifest.
    pub rows: Vec<Row>,
    /// Hooks.
    pub hooks: Vec<Hook>,
}

/// What watches tell, folded.
#[derive(Debug, Default)]
pub struct Board {
    entries: Vec<Entry>,
    pods: BTreeMap<(String, String), Pod>,
    /// How often each watch has listed what there is.
    rounds: BTreeMap<usize, u32>,
    /// Watches that have told what there is, or may not.
    told: BTreeSet<usize>,
}

#[derive(Debug)]
struct Entry {
    key: ObjectKey,
    is_hook: bool,
    selector: BTreeMap<String, String>,
    state: Option<State>,
}

/// What is known of an object.
#[derive(Debug)]
struct State {
    uid: String,
    count: Count,
    ended: Option<Result<(), String>>,
    /// It had ended before anybody looked.
    is_old: bool,
    from: Duration,
    until: Option<Duration>,
    mark: (usize, u32),
}

#[derive(Debug)]
struct Pod {
    owner: usize,
    trouble: PodTrouble,
    since: String,
    from: Duration,
    mark: (usize, u32),
}

impl Board {
    /// For the objects of a manifest, and hooks.
    pub fn new(objects: &Manifest, hooks: &Manifest) -> Self {
        let entry = |is_hook: bool| {
            move |(key, object): &(ObjectKey, Value)| {
                let kind = crate::workload::selector::kind_of(key)?;
                // Only those can be seen to end.
                let counts = !is_hook || matches!(kind.name, "Job" | "Pod");
                let selector = crate::workload::selector::pairs(object.pointer("/spec/selector/matchLabels"));
                counts.then(|| Entry { key: key.clone(), is_hook, selector, state: None })
            }
        };
        let own = objects.objects.iter().filter_map(entry(false));
        let entries = own.chain(hooks.objects.iter().filter_map(entry(true))).collect();
        Self { entries, ..Self::default() }
    }

    /// A watch begins to list what there is.
    pub fn list_begins(&mut self, watch: usize) {
        *self.rounds.entry(watch).or_default() += 1;
    }

    /// A watch has listed what there is: all else of it is gone.
    pub fn list_ends(&mut self, watch: usize) {
        self.told.insert(watch);
        let round = self.rounds.get(&watch).copied().unwrap_or_default();
        let is_gone = |mark: (usize, u32)| mark.0 == watch && mark.1 < round;
        self.pods.retain(|_, pod| !is_gone(pod.mark));
        for entry in &mut self.entries {
            if entry.state.as_ref().is_some_and(|state| is_gone(state.mark)) {
                entry.leave();
            }
        }
    }

    /// What a watch shows may not be seen any more: what it listed is not kept, for it would not change.
    pub fn hide(&mut self, watch: usize) {
        self.told.insert(watch);
        self.pods.retain(|_, pod| pod.mark.0 != watch);
        for entry in &mut self.entries {
            entry.state.take_if(|state| state.mark.0 == watch);
        }
    }

    /// An object is there, as it is now. `listed`: it was there before anybody looked.
    pub fn see(&mut self, watch: usize, object: &Value, listed: bool, now: Duration) {
        let round = self.rounds.get(&watch).copied().unwrap_or_default();
        let mark = (watch, round);
        if object["kind"] == "Pod" {
            self.see_pod(object, mark, now);
        }
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.is(object)) else { return };
        let Some(count) = crate::workload::rollout::count(object) else { return };
        let uid = text(object, "/metadata/uid").to_owned();
        let ended = if entry.is_hook { ended(object) } else { None };
        let known = entry.state.take().filter(|known| known.uid == uid);
        let is_old = known.as_ref().map_or(listed && round == 1 && ended.is_some(), |known| known.is_old);
        let until = known.as_ref().and_then(|known| known.until).or(ended.is_some().then_some(now));
        let from = known.map_or(now, |known| known.from);
        entry.state = Some(State { uid, count, ended, is_old, from, until, mark });
    }

    fn see_pod(&mut self, pod: &Value, mark: (usize, u32), now: Duration) {
        let name = (text(pod, "/metadata/namespace").to_owned(), text(pod, "/metadata/name").to_owned());
        let owner = self.owner(pod).filter(|_| !diagnose::is_ready(pod));
        let (Some(owner), true) = (owner, self.pods.len() < PODS || self.pods.contains_key(&name)) else {
            self.pods.remove(&name);
            return;
        };
        let mut trouble = diagnose::trouble(pod);
        trouble.message = shorten(&trouble.message, MESSAGE);
        let known = self.pods.get(&name).filter(|known| known.trouble.reason == trouble.reason);
        let from = known.map_or(now, |known| known.from);
        self.pods.insert(name, Pod { owner, trouble, since: since(pod).to_owned(), from, mark });
    }

    /// An object is gone.
    pub fn lose(&mut self, object: &Value) {
        if object["kind"] == "Pod" {
            let name =
                (text(object, "/metadata/namespace").to_owned(), text(object, "/metadata/name").to_owned());
            self.pods.remove(&name);
        }
        let uid = text(object, "/metadata/uid");
        let is_it = |entry: &&mut Entry| {
            entry.is(object) && entry.state.as_ref().is_some_and(|state| state.uid == uid)
        };
        if let Some(entry) = self.entries.iter_mut().find(is_it) {
            entry.leave();
        }
    }

    /// Which of the entries a pod belongs to.
    fn owner(&self, pod: &Value) -> Option<usize> {
        let labels = pod.pointer("/metadata/labels");
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str);
        let namespace = text(pod, "/metadata/namespace");
        self.entries.iter().position(|entry| {
            let of_job =
                entry.key.kind == "Job" && label(crate::workload::selector::OF_JOB) == Some(&entry.key.name);
            let chosen = entry.key.kind != "Job"
                && !entry.selector.is_empty()
                && entry.selector.iter().all(|(name, value)| label(name) == Some(value));
            entry.key.namespace == namespace && (of_job || chosen || entry.is(pod))
        })
    }

    /// The hook that a pod works for, by UID and label, if its log is worth reading: it did not end before anybody looked.
    pub fn hook_of(&self, pod: &Value) -> Option<(String, String)> {
        let entry = self.entries.get(self.owner(pod)?).filter(|entry| entry.is_hook)?;
        let is_old = entry.state.as_ref().is_some_and(|state| state.is_old);
        // A Job is seen by another watch, which may be later.
        let owner = text(pod, "/metadata/ownerReferences/0/uid");
        let uid = if entry.key.kind == "Job" { owner } else { text(pod, "/metadata/uid") };
        (!is_old).then(|| (uid.to_owned(), entry.key.to_string()))
    }

    /// As it stands.
    pub fn view(&self, now: Duration) -> View {
        let mut troubles: BTreeMap<usize, Vec<&Pod>> = BTreeMap::new();
        for pod in self.pods.values() {
            troubles.entry(pod.owner).or_default().push(pod);
        }
        let mut view = View::default();
        for (at, entry) in self.entries.iter().enumerate() {
            let Some(state) = &entry.state else { continue };
            let trouble = troubles.get(&at).and_then(|pods| worst(pods, now));
            let object = entry.key.to_string();
            if !entry.is_hook {
                view.rows.push(Row { object, count: state.count, trouble });
            } else if !state.is_old {
                let ran = state.until.unwrap_or(now).saturating_sub(state.from);
                let (uid, ended) = (state.uid.clone(), state.ended.clone());
                view.hooks.push(Hook { uid, object, ran, ended, trouble });
            }
        }
        view
    }

    /// Have that many watches told what there is, and is all that they show ready? A claim that no pod uses yet may stay
    /// unbound for ever.
    pub fn is_rolled_out(&self, watches: usize) -> bool {
        let is_late = |workload: &Workload| workload.kind != "PersistentVolumeClaim";
        (0..watches).all(|watch| self.told.contains(&watch)) && !self.waiting_for().iter().any(is_late)
    }

    /// What is waited for.
    pub fn waiting_for(&self) -> Vec<Workload> {
        let unready = self.entries.iter().enumerate().filter_map(|(at, entry)| {
            let state =
                entry.state.as_ref().filter(|state| !state.count.is_whole() && state.ended.is_none())?;
            let pods = self.pods.values().filter(|pod| pod.owner == at);
            Some(Workload {
                kind: entry.key.kind.clone(),
                name: entry.key.name.clone(),
                ready: state.count.ready,
                wanted: state.count.wanted,
                reasons: reasons(pods.map(|pod| pod.trouble.reason.clone())),
            })
        });
        unready.collect()
    }
}

impl Entry {
    fn is(&self, object: &Value) -> bool {
        self.key.kind == text(object, "/kind")
            && self.key.name == text(object, "/metadata/name")
            && self.key.namespace == text(object, "/metadata/namespace")
    }

    /// It is gone; how a hook ended is still to be told.
    fn leave(&mut self) {
        if self.state.as_ref().is_some_and(|state| state.ended.is_none()) {
            self.state = None;
        }
    }
}

/// Of the pods of a workload the one to look at: of the reasons that are no mere delay the one that is seen longest.
fn worst(pods: &[&Pod], now: Duration) -> Option<Trouble> {
    let lasts = |pod: &Pod| now.saturating_sub(pod.from);
    let is_early = |pod: &Pod| TRANSIENT_REASONS.contains(&pod.trouble.reason.as_str()) && lasts(pod) < LATE;
    let is_benign = |pod: &Pod| TRANSIENT_REASONS.contains(&pod.trouble.reason.as_str());
    let worst = pods.iter().min_by_key(|pod| (is_benign(pod), pod.from))?;
    let alike = pods.iter().filter(|pod| pod.trouble.reason == worst.trouble.reason).count();
    Some(Trouble {
        pod: worst.trouble.clone(),
        since: worst.since.clone(),
        lasts: lasts(worst),
        more: alike - 1,
        is_early: is_early(worst),
    })
}

/// How a Job, or a pod that is a hook, ended.
fn ended(object: &Value) -> Option<Result<(), String>> {
    let failed = |why: &str| Some(Err(shorten(why, MESSAGE)));
    if let Some(condition) = crate::workload::rollout::condition(object, "Failed") {
        return failed(text(condition, "/message"));
    }
    match text(object, "/status/phase") {
        "Failed" => return failed(text(object, "/status/message")),
        "Succeeded" => return Some(Ok(())),
        _ => {}
    }
    crate::workload::rollout::is_true(object, "Complete").then_some(Ok(()))
}

/// Since when a pod is not ready, by the cluster's clock.
fn since(pod: &Value) -> &str {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let not_ready = conditions.into_iter().find(|one| one["type"] == "Ready" && one["status"] == "False");
    let changed = not_ready.map_or("", |condition| text(condition, "/lastTransitionTime"));
    if changed.is_empty() { text(pod, "/metadata/creationTimestamp") } else { changed }
}

/// Containers of a pod that have a log to read.
pub fn containers(pod: &Value) -> BTreeSet<String> {
    let of = |pointer| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let all = of("/status/initContainerStatuses").chain(of("/status/containerStatuses"));
    let ran = all
        .filter(|one| one.pointer("/state/running").is_some() || one.pointer("/state/terminated").is_some());
    ran.map(|one| text(one, "/name").to_owned()).collect()
}

/// Has a pod ended?
pub fn is_over(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
