//! A history of a release, drawn from a number: what each revision wants, and which of them die.
//! Pure: how they die is drawn in `deaths.rs`, and done in `sides.rs`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testbed::tools::Helm;

use super::{
    fields::Rules,
    objects::{SORTS, Sort},
    rng::Rng,
};

/// How objects are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    Helm3,
    Helm4ClientSide,
    Helm4ServerSide,
}

impl Mode {
    pub fn helm(self) -> Helm {
        if self == Self::Helm3 { Helm::V3 } else { Helm::V4 }
    }

    pub fn is_server_side(self) -> bool {
        self == Self::Helm4ServerSide
    }

    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Helm3 => &[],
            Self::Helm4ClientSide => &["--server-side=false"],
            Self::Helm4ServerSide => &["--server-side=true"],
        }
    }
}

/// What becomes of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Plain Helm deploys it.
    Lives,
    /// Whoever deploys it is killed.
    Dies,
    /// helm-guard deploys it.
    Repairs,
}
use Fate::{Dies, Lives, Repairs};

/// Plain Helm has the last word: whatever was repaired, it must be able to go on.
const FATES: &[&[Fate]] = &[
    &[Lives, Dies, Repairs, Lives],
    &[Lives, Dies, Repairs, Lives],
    &[Lives, Dies, Dies, Repairs, Lives],
    &[Lives, Lives, Dies, Repairs, Lives],
    &[Dies, Repairs, Lives],
    &[Dies, Dies, Repairs, Lives],
];

/// Objects by a name of the history's own, `None` for one that is not wanted.
pub type Objects = BTreeMap<String, Option<Value>>;

/// A revision.
#[derive(Clone, Debug)]
pub struct Revision {
    pub fate: Fate,
    pub objects: Objects,
    /// Of every deploy of it.
    pub flags: Vec<&'static str>,
}

impl Revision {
    /// Values that hold these objects and no others.
    pub fn values(&self) -> Value {
        json!({"objects": texts(&self.objects)})
    }

    /// What must be given beside those of an older revision.
    pub fn values_since(&self, old: &Self) -> Value {
        let (old, mut new) = (texts(&old.objects), texts(&self.objects));
        for name in old.keys() {
            new.entry(name.clone()).or_default();
        }
        new.retain(|name, text| old.get(name) != Some(text));
        json!({"objects": new})
    }
}

/// As JSON, which is YAML; empty is no object.
fn texts(objects: &Objects) -> BTreeMap<String, String> {
    let text = |object: &Option<Value>| object.as_ref().map(Value::to_string).unwrap_or_default();
    objects.iter().map(|(name, object)| (name.clone(), text(object))).collect()
}

/// A history.
#[derive(Clone, Debug)]
pub struct History {
    pub mode: Mode,
    pub revisions: Vec<Revision>,
    /// Somebody else changes an object after the first revision: the name, and a merge patch.
    pub drift: Option<(String, Value)>,
    /// The repairing deploy names no values at all, so that Helm takes those of the last good revision.
    pub no_values: bool,
}

/// Objects of a history.
const OBJECTS: usize = 9;

impl History {
    /// Drawn from a number, of which it depends alone.
    pub fn draw(mode: Mode, number: u64) -> Self {
        let rng = &mut Rng::new(("history", number, mode));
        let fates = rng.pick(FATES);
        let subjects = subjects(rng);
        let flags: Vec<_> = fates.iter().map(|_| flags(rng, mode)).collect();
        let waits = flags.iter().flatten().any(|flag| flag.starts_with("--timeout"));
        let server_side = mode.is_server_side();
        let odd = rng.chance(35);
        let rules = Rules {
            duplicates: odd && !server_side,
            pairs: odd || server_side,
            pods: !waits,
            nulls: server_side,
        };
        let mut revisions: Vec<Revision> = Vec::new();
        let mut versions: Vec<Vec<Value>> = Vec::new();
        for (name, sort) in &subjects {
            versions.push(vec![sort.first(rng, rules, name)]);
        }
        for ((at, fate), flags) in fates.iter().enumerate().zip(flags) {
            let mut objects = Objects::new();
            for ((name, sort), versions) in subjects.iter().zip(&mut versions) {
                if at > 0 {
                    versions.push(next(rng, rules, sort, versions));
                }
                objects.insert(name.clone(), versions.last().filter(|_| rng.chance(87)).cloned());
            }
            revisions.push(Revision { fate: *fate, objects, flags });
        }
        let no_values = rng.chance(12) && fates[0] == Lives;
        if no_values {
            let repairs = fates.iter().position(|fate| *fate == Repairs).unwrap();
            let good = fates[..repairs].iter().rposition(|fate| *fate == Lives).unwrap();
            revisions[repairs].objects = revisions[good].objects.clone();
        }
        let drift =
            (fates[0] == Lives && rng.chance(25)).then(|| drift(rng, &revisions[0].objects)).flatten();
        Self { mode, revisions, drift, no_values }
    }

    /// Positions of the revisions that die, up to and without one.
    pub fn dead_before(&self, at: usize) -> Vec<usize> {
        (0..at).filter(|at| self.revisions[*at].fate == Dies).collect()
    }
}

/// Names of objects, with their kinds: one or two with pods of which nothing is made, and any others.
fn subjects(rng: &mut Rng) -> Vec<(String, &'static Sort)> {
    let mut sorts: Vec<&Sort> =
        SORTS.iter().filter(|sort| ["PodTemplate", "Deployment"].contains(&sort.kind)).collect();
    sorts.extend(rng.shuffled(&SORTS.iter().collect::<Vec<_>>()));
    sorts.truncate(OBJECTS);
    let name = |(at, sort): (usize, &'static Sort)| (format!("{}-{at}", sort.kind.to_lowercase()), sort);
    sorts.into_iter().enumerate().map(name).collect()
}

/// Often a bit different, sometimes as it was, sometimes as it was before that.
fn next(rng: &mut Rng, rules: Rules, sort: &Sort, versions: &[Value]) -> Value {
    let last = versions.last().unwrap();
    match rng.below(100) {
        0..10 => last.clone(),
        10..35 => versions[versions.len().saturating_sub(2)].clone(),
        _ => {
            let mut object = last.clone();
            sort.change(rng, rules, &mut object, 25);
            object
        }
    }
}

fn flags(rng: &mut Rng, mode: Mode) -> Vec<&'static str> {
    let mut flags = Vec::new();
    let (force, atomic): (&[&str], _) = match mode {
        Mode::Helm3 => (&["--force"], "--atomic"),
        Mode::Helm4ClientSide => (&["--force-replace"], "--rollback-on-failure"),
        Mode::Helm4ServerSide => (&["--force-conflicts"], "--rollback-on-failure"),
    };
    if rng.chance(8) {
        flags.extend(force);
    }
    if rng.chance(8) {
        flags.extend([atomic, "--timeout=30s"]);
    }
    if rng.chance(8) {
        flags.push("--history-max=4");
    }
    flags
}

/// Fields that no manifest has.
fn drift(rng: &mut Rng, objects: &Objects) -> Option<(String, Value)> {
    let there: Vec<&String> =
        objects.iter().filter(|(_, object)| object.is_some()).map(|(name, _)| name).collect();
    if there.is_empty() {
        return None;
    }
    let name = rng.pick(&there).clone();
    let patch = match objects[&name].as_ref()?["kind"].as_str()? {
        "ConfigMap" => json!({"data": {"drifted": "yes"}}),
        _ => json!({"metadata": {"annotations": {"drifted": "yes"}}}),
    };
    Some((name, patch))
}

#[test]
fn a_number_draws_the_same_history_each_time_and_another_number_another() {
    for mode in [Mode::Helm3, Mode::Helm4ClientSide, Mode::Helm4ServerSide] {
        let told = |number| format!("{:?}", History::draw(mode, number));
        assert_eq!(told(7), told(7));
        assert_ne!(told(7), told(8));
    }
}

#[test]
fn histories_have_every_kind_every_pattern_and_changes_of_all_sorts() {
    let (mut kinds, mut patterns) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    let (mut came, mut went, mut changed, mut reverted) = (0, 0, 0, 0);
    for number in 0..60 {
        let history = History::draw(Mode::Helm3, number);
        patterns.insert(
            history.revisions.iter().map(|revision| format!("{:?}", revision.fate)).collect::<String>(),
        );
        for revision in &history.revisions {
            let kind = |object: &Value| object["kind"].as_str().unwrap().to_owned();
            kinds.extend(revision.objects.values().flatten().map(kind));
        }
        for name in history.revisions[0].objects.keys() {
            let versions: Vec<_> = history.revisions.iter().map(|revision| &revision.objects[name]).collect();
            for pair in versions.windows(2) {
                came += usize::from(pair[0].is_none() && pair[1].is_some());
                went += usize::from(pair[0].is_some() && pair[1].is_none());
                changed += usize::from(pair[0] != pair[1] && pair[0].is_some() && pair[1].is_some());
            }
            let back = |three: &&[&Option<Value>]| {
                three[0] == three[2] && three[0] != three[1] && three[1].is_some()
            };
            reverted += versions.windows(3).filter(back).count();
        }
    }
    assert_eq!(kinds.len(), SORTS.len());
    assert_eq!(patterns.len(), FATES.len() - 1);
    assert!(came > 20 && went > 20 && changed > 200 && reverted > 20, "{came} {went} {changed} {reverted}");
}

#[test]
fn reused_values_and_what_is_given_beside_them_are_all_values() {
    for number in 0..50 {
        let history = History::draw(Mode::Helm4ServerSide, number);
        let [old, new, ..] = &history.revisions[..] else { panic!("{number}") };
        let (mut reused, given) = (old.values(), new.values_since(old));
        let reused = reused["objects"].as_object_mut().unwrap();
        reused.extend(given["objects"].as_object().unwrap().clone());
        assert_eq!(reused, new.values()["objects"].as_object().unwrap(), "{number}");
    }
}
