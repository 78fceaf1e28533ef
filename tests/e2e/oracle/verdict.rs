//! Is a difference between the two sides a fault?
//!
//! Helm's own result depends on the path to it in places: where a list has two items with the same merge key, where a field
//! is kept by the API server although its manifest no longer has it. So each object that differs from the clean side is
//! held against other clean histories: for this object, each dead revision may count as never begun. What equals one of
//! them is a result of Helm's and no fault of a repair. Nor is what equals a first install of the last revision, where the
//! clean side does not: then Helm itself is lossy, and the repaired side holds what is wanted.

use std::{cell::OnceCell, fmt::Write as _};

use serde_json::Value;

use super::{
    compare::{Picture, differences, differing},
    history::History,
    sides::{self, Broken, Step},
};
use crate::stage::Said;

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

    /// The last revision alone.
    fn first(&self) -> Option<&Picture> {
        let first = self.first.get_or_init(|| sides::clean(self.history, &[self.at]).ok()?.remove(&self.at));
        first.as_ref()
    }
}

/// Judges what lives on the repaired side.
pub fn judge(controls: &Controls<'_>, clean: &Picture, step: &Step) -> Verdict {
    let mut verdict = Verdict { faults: step.wrong.clone(), notes: Vec::new() };
    for name in differing(clean, &step.picture) {
        let (wanted, lives) = (clean.get(&name), step.picture.get(&name));
        let mut text = told(controls.history, &name, controls.at, wanted, lives);
        let same = |picture: &Result<Picture, Broken>| {
            picture.as_ref().is_ok_and(|picture| picture.get(&name) == lives)
        };
        if let Some((revisions, _)) = controls.others().iter().find(|(_, picture)| same(picture)) {
            let _ = writeln!(text, "  as a clean history of {revisions}");
            verdict.notes.push(text);
            continue;
        }
        // What is missing may have been somebody's to keep, and what another wrote is in no first install.
        let is_plain = controls.history.drift.as_ref().is_none_or(|(drifted, _)| !name.ends_with(&**drifted));
        let first = controls.first().and_then(|first| first.get(&name));
        let is_lossy = first.is_some() && first != wanted;
        if is_lossy {
            let _ =
                writeln!(text, "  helm itself is lossy: the clean side is not what the last revision wants");
        }
        if is_lossy && is_plain && first == lives {
            verdict.notes.push(text);
        } else {
            verdict.faults.push(text);
        }
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

/// The difference, and what each revision wanted there.
fn told(history: &History, name: &str, at: usize, clean: Option<&Value>, repaired: Option<&Value>) -> String {
    let mut text = format!("{name} after revision {}\n", at + 1);
    for (path, clean, repaired) in differences(clean, repaired) {
        let _ = writeln!(text, "  {path}\n    clean:    {clean}\n    repaired: {repaired}");
        let key = name.split_once('/').map_or(name, |(_, name)| name);
        for (at, revision) in history.revisions.iter().enumerate().take(at + 1) {
            let object = revision.objects.get(key).and_then(Option::as_ref);
            let wanted =
                object.map(|object| deepest(object, &path).map_or("(none)".to_owned(), Value::to_string));
            let wanted = wanted.as_deref().unwrap_or("(no object)");
            let _ = writeln!(text, "      revision {} {:?}: {wanted}", at + 1, revision.fate);
        }
    }
    text
}

/// The part of an object that a path leads to; of a list that is not one of containers, all of it.
fn deepest<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut part = object;
    for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
        part = match part {
            Value::Array(items) => {
                let item = step.parse().ok().and_then(|at: usize| items.get(at));
                let Some(item) = item.filter(|item| item.get("image").is_some()) else { return Some(part) };
                item
            }
            _ => part.get(step)?,
        };
    }
    Some(part)
}
