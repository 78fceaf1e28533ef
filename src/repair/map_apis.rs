//! Records that name APIs which the cluster does not serve: Helm reads the manifest of the last revision before it does
//! anything, and fails on them ("unable to build kubernetes objects from current release manifest"). What becomes of each such
//! object, and how the record's text changes.
//! Pure: what the cluster serves, and what lives, is read in `repair/map_apis/look.rs`.
//!
//! The change of a record is permanent, and undone by `restore`. The alternative, another manifest for the time of one run,
//! would not do: Helm's automatic rollback, `helm rollback`, `helm uninstall` and `helm get manifest` read the same record.
//! Only the documents of such objects change; all others keep their bytes.

mod convert;
pub mod look;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Answer, Plan, Step, Strategy};
use crate::{
    cluster::api_paths::is_native,
    manifest::{Manifest, ObjectKey},
    release::{
        History,
        codec::Texts,
        removed_apis::{is_untouched, removed},
    },
};
pub use convert::{converted, within};

/// Name of the strategy.
pub const NAME: &str = "map-apis";

/// What becomes of an object that a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As the record names it.
    pub object: ObjectKey,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is named in a version that the cluster serves.
    Moves {
        /// E.g. `policy/v1`.
        to: String,
        /// The object in that version, where more than its `apiVersion` is another.
        content: Option<Box<Value>>,
    },
    /// It leaves the manifest.
    Leaves(Why),
}

/// Why an object leaves a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No version of its kind is served, so no object of it lives.
    NoApi,
    /// It does not live.
    NotThere,
    /// It is marked as another release's.
    Foreign(String),
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (object, version) = (&self.object, &self.object.api_version);
        match &self.fate {
            Fate::Moves { to, .. } => write!(f, "{object} {version} → {to}"),
            Fate::Leaves(Why::NoApi) => {
                write!(f, "{object} leaves it ({version} is gone, without a successor)")
            }
            Fate::Leaves(Why::NotThere) => write!(f, "{object} leaves it (it does not exist any more)"),
            Fate::Leaves(Why::Foreign(release)) => {
                write!(f, "{object} leaves it (it belongs to release {release} now)")
            }
        }
    }
}

/// What changes in one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Objects of the manifest.
    pub manifest: Vec<Change>,
    /// Objects of hooks.
    pub hooks: Vec<Change>,
}

impl Changes {
    /// In words, without values.
    pub fn lines(&self) -> Vec<String> {
        let hooks = self.hooks.iter().map(|change| format!("hook {change}"));
        self.manifest.iter().map(ToString::to_string).chain(hooks).collect()
    }

    /// Each API that is not served, once, as `policy/v1beta1 PodDisruptionBudget`.
    fn apis(&self) -> Vec<String> {
        let api = |change: &Change| format!("{} {}", change.object.api_version, change.object.kind);
        let mut apis: Vec<String> = self.manifest.iter().chain(&self.hooks).map(api).collect();
        apis.sort();
        apis.dedup();
        apis
    }
}

/// What was found about the records of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By revision; those without a change are not in it.
    pub records: BTreeMap<u32, Changes>,
    /// What could not be decided, a sentence each.
    pub caveats: Vec<String>,
}

/// A manifest with its changes made.
///
/// # Errors
/// When it cannot be read.
pub fn apply(text: &str, changes: &[Change], namespace: &str) -> Result<String, String> {
    if changes.is_empty() {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    for part in documents(text) {
        let objects = Manifest::parse(part, namespace)?.objects;
        let of = |key: &ObjectKey| changes.iter().find(|change| change.object == *key);
        if !objects.iter().any(|(key, _)| of(key).is_some()) {
            out.push_str(part);
            continue;
        }
        if let [(key, object)] = &objects[..]
            && let Some(Change { fate: Fate::Moves { to, content: None }, .. }) = of(key)
            && let Some(renamed) = renamed(part, key, object, to, namespace)
        {
            out.push_str(&renamed);
            continue;
        }
        for (key, object) in &objects {
            match of(key).map(|change| &change.fate) {
                None => out.push_str(&document(part, object, &key.api_version)),
                Some(Fate::Leaves(_)) => {}
                Some(Fate::Moves { content: Some(content), .. }) => {
                    out.push_str(&document(part, content, &key.api_version));
                }
                Some(Fate::Moves { to, content: None }) => {
                    let mut object = object.clone();
                    object["apiVersion"] = to.as_str().into();
                    out.push_str(&document(part, &object, &key.api_version));
                }
            }
        }
    }
    Ok(out)
}

/// The documents of a manifest, each with the line that separates it from the one before.
fn documents(text: &str) -> Vec<&str> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let rest = line.strip_prefix("---");
        if at > 0 && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(start, end)| &text[*start..end]).collect()
}

/// The document with another `apiVersion`, and not another byte; `None` where it is written in another way.
fn renamed(part: &str, key: &ObjectKey, object: &Value, to: &str, namespace: &str) -> Option<String> {
    let mut wanted = object.clone();
    wanted["apiVersion"] = to.into();
    let mut at = 0;
    for line in part.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let name = line.trim_start().trim_start_matches(['"', '\'']);
        if !name.starts_with("apiVersion") || !line.contains(&key.api_version) {
            continue;
        }
        let line = line.replacen(&key.api_version, to, 1);
        let text = format!("{}{line}{}", &part[..start], &part[at..]);
        let read = Manifest::parse(&text, namespace).ok();
        if read.is_some_and(|read| matches!(&read.objects[..], [(_, is)] if *is == wanted)) {
            return Some(text);
        }
    }
    None
}

/// A document that is written anew, behind the comments that `part` begins with.
fn document(part: &str, object: &Value, was: &str) -> String {
    let mut out = String::from("---\n");
    let is_head = |line: &&str| line.trim().is_empty() || line.starts_with('#') || line.trim_end() == "---";
    for line in part.lines().take_while(is_head).filter(|line| line.starts_with('#')) {
        out.push_str(line);
        out.push('\n');
    }
    out.push_str(&format!("# Was {was}; written again by helm-guard\n"));
    // JSON is YAML that no version of YAML reads in another way.
    let json = serde_json::to_string_pretty(object).unwrap_or_default();
    for letter in json.chars() {
        match letter {
            // What YAML's readers refuse, or take for the end of a line, if it is not written as an escape.
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
    out.push('\n');
    out
}

/// A record that a command of Helm's reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub revision: u32,
    /// May Helm compare what lives with it? Then what lives says which of its fields there are.
    pub is_base: bool,
    /// Is it the last one, and deployed? Then what does not live leaves it. One that Helm goes back to keeps what a later, dead
    /// revision has removed.
    pub is_in_force: bool,
}

/// The records that may name what lives: the last good one and all since; and those that Helm is asked to go back to.
pub fn read_by_helm(history: &History, targets: &[u32]) -> Vec<Wanted> {
    let good = history.last_good().map_or(0, |good| good.revision);
    let gone = history.records.iter().rev().find(|record| record.is_gone()).map_or(0, |gone| gone.revision);
    let readable = history.records.iter().filter(|record| record.body.is_ok() && !record.is_gone());
    let wanted = readable.filter_map(|record| {
        let is_base = record.revision >= good && record.revision > gone;
        let is_wanted = is_base || targets.contains(&record.revision);
        let is_in_force = history.last().is_some_and(|last| last.revision == record.revision)
            && record.status() == crate::release::Status::Deployed;
        is_wanted.then_some(Wanted { revision: record.revision, is_base, is_in_force })
    });
    wanted.collect()
}

/// The same where all records are put right.
pub fn all(history: &History) -> Vec<Wanted> {
    let revisions: Vec<u32> = history.records.iter().map(|record| record.revision).collect();
    read_by_helm(history, &revisions)
}

/// Is the change of records part of what was chosen?
pub fn is_part_of(strategy: Strategy) -> bool {
    match strategy {
        Strategy::Auto | Strategy::Rebase | Strategy::Rollback | Strategy::Uninstall | Strategy::MapApis => {
            true
        }
        // Those do one thing; Helm says of all else what it says.
        Strategy::Adopt | Strategy::MarkFailed | Strategy::DeleteRecord | Strategy::Off => false,
    }
}

/// The answer with what was found about APIs.
pub fn join(answer: Answer, history: &History, found: &Found) -> Answer {
    let mut plan = match answer {
        Answer::Refuse { .. } => return answer,
        Answer::Healthy => Plan::default(),
        Answer::Repair(plan) => plan,
    };
    // One that is lent all that may live is lent it with APIs that are served, and is returned as it was; of one that goes
    // nothing is read.
    let is_done = |revision: u32| {
        plan.steps.iter().any(|step| match step {
            Step::Lend { revision: lent, .. } => *lent == revision,
            Step::Delete { revision: deleted } => *deleted == revision,
            _ => false,
        })
    };
    let steps: Vec<Step> = found
        .records
        .iter()
        .filter(|(revision, _)| !is_done(**revision))
        .map(|(revision, changes)| Step::MapApis { revision: *revision, changes: changes.clone() })
        .collect();
    if !found.caveats.is_empty() {
        let caveats = found.caveats.join("; ");
        plan.caveat = if plan.caveat.is_empty() { caveats } else { format!("{}; {caveats}", plan.caveat) };
    }
    if found.records.is_empty() {
        return if plan.steps.is_empty() { Answer::Healthy } else { Answer::Repair(plan) };
    }
    let finding = finding(found);
    if plan.steps.is_empty() {
        plan.strategy = NAME;
        plan.finding = finding;
        plan.why = "Helm reads them before it does anything, and fails on those".to_owned();
        plan.good = history.last_good().map(|good| good.revision);
    } else {
        plan.finding = format!("{}; {finding}", plan.finding);
    }
    // Before Helm is run, and after a pending record was marked: one that an older record is written after looks as if only
    // Helm's last save were missing.
    let helm = |step: &Step| matches!(step, Step::Rollback { .. } | Step::Uninstall);
    let at = plan.steps.iter().position(helm).unwrap_or(plan.steps.len());
    plan.steps.splice(at..at, steps);
    Answer::Repair(plan)
}

fn finding(found: &Found) -> String {
    let revisions: Vec<String> = found.records.keys().map(ToString::to_string).collect();
    let mut apis: Vec<String> = found.records.values().flat_map(Changes::apis).collect();
    apis.sort();
    apis.dedup();
    let (record, names) =
        if revisions.len() == 1 { ("the record", "names") } else { ("the records", "name") };
    format!(
        "{record} of revision {} {names} APIs that the cluster does not serve: {}",
        revisions.join(", "),
        apis.join(", ")
    )
}

/// Texts after each `apiVersion` of a manifest, objects inside of objects among them: cheaper than to read it.
pub fn versions(text: &str) -> BTreeSet<&str> {
    const NAME: &str = "apiVersion";
    let is_padding = |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | ':');
    let is_end = |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | ',' | '}' | '#');
    let after =
        text.match_indices(NAME).map(|(at, _)| text[at + NAME.len()..].trim_start_matches(is_padding));
    after.map(|rest| rest.split(is_end).next().unwrap_or_default()).collect()
}

/// The APIs in a record that minor release `until` of Kubernetes 1 does not have, each once, as `policy/v1beta1
/// PodDisruptionBudget`. Of custom kinds those count whose version is not among the `served` ones, if these are known.
pub fn gone(texts: &Texts, until: u32, served: Option<&BTreeSet<String>>) -> Vec<String> {
    let is_gone = |key: &ObjectKey| {
        if is_native(&key.api_version) || removed(&key.api_version, &key.kind).is_some() {
            return removed(&key.api_version, &key.kind).is_some_and(|row| row.since <= until);
        }
        served.is_some_and(|served| !served.contains(&key.api_version))
    };
    let mut found = BTreeSet::new();
    for text in std::iter::once(&texts.manifest).chain(&texts.hooks) {
        // To look for the word is a hundred times faster than to read the text.
        if versions(text).into_iter().any(is_doubtful) {
            let objects = Manifest::parse(text, "").unwrap_or_default();
            let gone = objects.keys().filter(|key| is_gone(key));
            found.extend(gone.map(|key| format!("{} {}", key.api_version, key.kind)));
        }
    }
    found.into_iter().collect()
}

/// Kubernetes' own versions that it never removed need not be asked about.
fn is_doubtful(api_version: &str) -> bool {
    !is_native(api_version) || !is_untouched(api_version)
}

#[cfg(test)]
mod tests;
