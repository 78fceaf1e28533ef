//! Is a difference between the two sides a fault?
//!
//! Helm's own result depends on the path to it in places: a field is kept by the API server although its manifest no longer
//! has it, a list has two items with the same merge key. So where an object differs from the clean side it is held against
//! other clean histories: for this object, each dead revision may count as never begun. What equals one of them is a result
//! of Helm's and no fault of a repair. Nor is what equals a first install of the last revision, if the clean side does not:
//! then Helm itself is lossy, and the repaired side holds what is wanted. Where items of a list have the same merge key and one
//! of the clean histories has not what is wanted either, nothing can be said.

use std::{cell::OnceCell, collections::BTreeSet, fmt::Write as _};

use serde_json::{Value, json};

use super::{
    compare::{Difference, Picture, differences, differing},
    history::History,
    sides::{self, Broken, Step},
};
use crate::stage::Said;

const LOSSY: &str = "helm itself is lossy";

/// What is found of one step.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Faults, as text.
    pub faults: Vec<String>,
    /// Differences that are Helm's own, as text.
    pub notes: Vec<String>,
}

impl Verdict {
    /// Adds what is found of a step, with what its deploy printed if that is a fault.
    pub fn add(&mut self, mut other: Self, said: &Said) {
        if let Some(last) = other.faults.last_mut() {
            // Not what is about the charts.
            let noise = ["warnings.go", "preflight: warning", "hint:", "waiting for the lock"];
            let lines = said.err.lines().filter(|line| !noise.iter().any(|noise| line.contains(noise)));
            last.extend(lines.map(|line| format!("    {line}\n")));
        }
        self.faults.append(&mut other.faults);
        self.notes.append(&mut other.notes);
    }
}

/// Other clean histories, which happen only if somebody asks.
pub struct Controls<'a> {
    history: &'a History,
    at: usize,
    others: OnceCell<Vec<(String, Result<Picture, Broken>)>>,
    first: OnceCell<Option<Picture>>,
}

impl<'a> Controls<'a> {
    pub fn new(history: &'a History, at: usize) -> Self {
        Self { history, at, others: OnceCell::new(), first: OnceCell::new() }
    }

    /// With some of the dead revisions, or none.
    fn others(&self) -> &[(String, Result<Picture, Broken>)] {
        self.others.get_or_init(|| {
            let dead = self.history.dead_before(self.at);
            let subsets = 0..(1_usize << dead.len()) - 1;
            let happens = |subset: usize| {
                let begun = |at: &usize| {
                    dead.iter().position(|dead| dead == at).is_none_or(|bit| subset >> bit & 1 == 1)
                };
                let revisions: Vec<usize> = (0..=self.at).filter(begun).collect();
                let clean = sides::clean(self.history, &revisions);
                let names: Vec<String> = revisions.iter().map(|at| (at + 1).to_string()).collect();
                let names = format!("revisions {}", names.join(", "));
                (names, clean.map(|mut pictures| pictures.remove(&self.at).unwrap()))
            };
            subsets.map(happens).collect()
        })
    }

    /// Why a difference is no fault, if it is none.
    fn excuse(&self, name: &str, difference: &Difference<'_>) -> Result<String, ()> {
        let Difference { path, clean, repaired } = difference;
        let there =
            |picture: &Picture| picture.get(name).and_then(|object| object.pointer(path)) == *repaired;
        for (revisions, picture) in self.others() {
            if picture.as_ref().is_ok_and(there) {
                return Ok(format!("as in a clean history of {revisions}"));
            }
        }
        let Some(object) = self.first().and_then(|first| first.get(name)) else { return Err(()) };
        let first = object.pointer(path);
        // What another wrote is in no first install, and a missing object may have been somebody's to keep.
        let is_plain = self.history.drift.as_ref().is_none_or(|(drifted, _)| drifted != key(name));
        if repaired.is_none() && path.is_empty() {
            return Err(());
        }
        if first != *clean && first == *repaired && is_plain {
            return Ok(format!("{LOSSY}, the repaired side has what is wanted"));
        }
        let list = KEYS.iter().find(|(list, _)| path.rsplit('/').next() == Some(list));
        let versions = self.history.revisions[..=self.at]
            .iter()
            .filter_map(|revision| revision.objects[key(name)].as_ref());
        let is_lost =
            |picture: &Picture| picture.get(name).is_some_and(|object| object.pointer(path) != first);
        let is_lossy =
            first != *clean || self.others().iter().any(|(_, other)| other.as_ref().is_ok_and(is_lost));
        match list {
            Some((list, keys))
                if is_lossy && versions.into_iter().any(|object| is_ambiguous(object, list, keys)) =>
            {
                Ok(format!("{LOSSY}: items with the same merge key"))
            }
            _ => Err(()),
        }
    }

    /// The last revision alone.
    fn first(&self) -> Option<&Picture> {
        let first = self.first.get_or_init(|| sides::clean(self.history, &[self.at]).ok()?.remove(&self.at));
        first.as_ref()
    }
}

/// Where Helm itself was lossy in an earlier step of a side: object and path. A later deploy finds nothing to patch there.
pub type Lost = BTreeSet<(String, String)>;

/// Judges what lives on the repaired side.
pub fn judge(controls: &Controls<'_>, clean: &Picture, step: &Step, lost: &mut Lost) -> Verdict {
    let mut verdict = Verdict { faults: step.wrong.clone(), notes: Vec::new() };
    for name in differing(clean, &step.picture) {
        let differences = differences(clean.get(&name), step.picture.get(&name));
        let mut text = told(controls.history, &name, controls.at, &differences);
        let mut is_fault = false;
        for difference in &differences {
            let place = (name.clone(), difference.path.clone());
            match controls.excuse(&name, difference) {
                Ok(excuse) => {
                    let _ = writeln!(text, "  {}: {excuse}", difference.path);
                    if excuse.starts_with(LOSSY) {
                        lost.insert(place);
                    }
                }
                Err(()) if lost.contains(&place) => {
                    let _ = writeln!(text, "  {}: {LOSSY} in an earlier step", difference.path);
                }
                Err(()) => is_fault = true,
            }
        }
        if is_fault { verdict.faults.push(text) } else { verdict.notes.push(text) }
    }
    verdict
}

/// Judges a deploy that failed: plain Helm may fail there too if a dead revision never began.
pub fn judge_end(controls: &Controls<'_>, broken: &Broken) -> Verdict {
    let mut text = format!("revision {} ended with {:?}\n", broken.at + 1, broken.said.code);
    let fails = |other: &&(String, Result<Picture, Broken>)| {
        other.1.as_ref().is_err_and(|other| other.at == broken.at)
    };
    match controls.others().iter().find(fails) {
        Some((revisions, _)) => {
            let _ = writeln!(text, "  as in a clean history of {revisions}");
            Verdict { faults: Vec::new(), notes: vec![text] }
        }
        None => Verdict { faults: vec![text], notes: Vec::new() },
    }
}

/// The differences of an object, and what each revision wanted there.
fn told(history: &History, name: &str, at: usize, differences: &[Difference<'_>]) -> String {
    let mut text = format!("{name} after revision {}\n", at + 1);
    let written = |value: Option<&Value>| value.map_or("(none)".to_owned(), Value::to_string);
    for Difference { path, clean, repaired } in differences {
        let (clean, repaired) = (written(*clean), written(*repaired));
        let _ = writeln!(text, "  {path}\n    clean:    {clean}\n    repaired: {repaired}");
        for (at, revision) in history.revisions.iter().enumerate().take(at + 1) {
            let object = revision.objects.get(key(name)).and_then(Option::as_ref);
            let wanted = object.map_or("(no object)".to_owned(), |object| written(object.pointer(path)));
            let _ = writeln!(text, "      revision {} {:?}: {wanted}", at + 1, revision.fate);
        }
    }
    text
}

/// Of `Kind/name`, by which histories know it.
fn key(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, name)| name)
}

/// Lists that client-side apply merges by one field although two items may have the same.
const KEYS: [(&str, &[&str]); 5] = [
    ("ports", &["containerPort", "port"]),
    ("env", &["name"]),
    ("topologySpreadConstraints", &["topologyKey"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
];

/// Has a list of this name two items with the same merge key, anywhere in this object?
fn is_ambiguous(object: &Value, name: &str, keys: &[&str]) -> bool {
    match object {
        Value::Object(fields) => fields.iter().any(|(field, value)| match value {
            Value::Array(items) if field == name => keys.iter().any(|key| {
                let names: Vec<_> = items.iter().filter_map(|item| item.get(key)).collect();
                (1..names.len()).any(|at| names[..at].contains(&names[at]))
            }),
            value => is_ambiguous(value, name, keys),
        }),
        Value::Array(items) => items.iter().any(|item| is_ambiguous(item, name, keys)),
        _ => false,
    }
}

#[test]
fn only_items_with_the_same_key_are_ambiguous() {
    let ports =
        |second: u16| json!({"containers": [{"ports": [{"containerPort": 53}, {"containerPort": second}]}]});
    let (name, keys) = KEYS[0];
    assert!(is_ambiguous(&ports(53), name, keys) && !is_ambiguous(&ports(54), name, keys));
    assert!(!is_ambiguous(&ports(53), "env", &["name"]));
}
