//! What to say of a release's progress, and when: each change once, none that comes and goes, and not too much of it.
//! Pure: time is passed in.
//!
//! A workload is told of when it lacks something for a moment, when the count changes, when a pod of it is in trouble in a
//! way that was not told, and when it has all. Between two lines of one workload there is a pause, and each is twice as
//! long as the one before: what changes for an hour is told a dozen times.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Hook, Row, View};
use crate::workload::rollout::Count;

/// A change worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A workload is another than was said.
    Row(Row),
    /// A hook began.
    Began(String),
    /// A hook ended.
    Ended(Hook),
    /// A line of a hook's log.
    Log {
        /// The hook, `Kind/name`.
        hook: String,
        /// Container, where the pod has more than one.
        container: String,
        /// Without what is secret. Untrusted text.
        line: String,
    },
    /// This kind may not be watched: nothing is said of it.
    Hidden(String),
    /// It would take so many more watches to see all of the release.
    Partial(usize),
    /// From now on nothing more of workloads is said.
    Enough,
}

/// How long a workload lacks something before it is told of: most have it soon.
const SOON: Duration = Duration::from_millis(900);
/// The first pause, and the longest.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(600);
/// Lines at once; what is left is told later, as it is then.
const AT_ONCE: usize = 8;
/// Lines of workloads in all.
const MOST: usize = 200;
/// Reasons of one workload that are told at once.
const REASONS: usize = 4;

/// Remembers what was said.
#[derive(Debug, Default)]
pub struct Teller {
    rows: BTreeMap<String, Told>,
    /// Hooks by UID, and whether their end was told.
    hooks: BTreeMap<String, bool>,
    said: usize,
}

#[derive(Debug)]
struct Told {
    face: Option<Face>,
    /// When it was first seen to lack something; then when it was last told.
    at: Duration,
    pause: Duration,
    reasons: BTreeSet<String>,
    was_whole: bool,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Face {
    count: Count,
    reason: String,
}

/// How urgent a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Trouble,
    Whole,
    Changed,
}

impl Teller {
    /// What is to be said now. A hook's end waits for the rest of its log, as long as one of `logs` (UIDs) still comes.
    pub fn tell(&mut self, view: &View, logs: &BTreeSet<String>, now: Duration) -> Vec<Change> {
        let mut changes = self.hooks(view, logs);
        if self.said > MOST {
            return changes;
        }
        let mut due: Vec<(Urgency, &Row)> =
            view.rows.iter().filter_map(|row| Some((self.is_due(row, now)?, row))).collect();
        due.sort_by_key(|(urgency, _)| *urgency);
        for (_, row) in due.into_iter().take(AT_ONCE) {
            self.said += 1;
            if self.said > MOST {
                changes.push(Change::Enough);
                break;
            }
            if let Some(told) = self.rows.get_mut(&row.object) {
                told.tell(row, now);
            }
            changes.push(Change::Row(row.clone()));
        }
        changes
    }

    fn hooks(&mut self, view: &View, logs: &BTreeSet<String>) -> Vec<Change> {
        let mut changes = Vec::new();
        for hook in &view.hooks {
            let is_told = self.hooks.entry(hook.uid.clone()).or_insert_with(|| {
                changes.push(Change::Began(hook.object.clone()));
                false
            });
            if !*is_told && hook.ended.is_some() && !logs.contains(&hook.uid) {
                *is_told = true;
                changes.push(Change::Ended(hook.clone()));
            }
        }
        changes
    }

    /// A hook by UID, and `Kind/name`, is known to run, by its log. Its watch may be later.
    pub fn began(&mut self, uid: &str, object: &str) -> Option<Change> {
        if self.hooks.contains_key(uid) {
            return None;
        }
        self.hooks.insert(uid.to_owned(), false);
        Some(Change::Began(object.to_owned()))
    }

    /// Is there still something to say of a hook?
    pub fn owes(&self, view: &View) -> bool {
        view.hooks.iter().any(|hook| self.hooks.get(&hook.uid) == Some(&false))
    }

    fn is_due(&mut self, row: &Row, now: Duration) -> Option<Urgency> {
        let face = Face::of(row);
        let is_whole = row.count.is_whole();
        if !self.rows.contains_key(&row.object) {
            // Nobody wonders about what has all.
            if is_whole {
                return None;
            }
            let reasons = BTreeSet::new();
            let told = Told { face: None, at: now, pause: SOON, reasons, was_whole: false };
            self.rows.insert(row.object.clone(), told);
        }
        let told = self.rows.get_mut(&row.object)?;
        let Some(said) = &told.face else {
            if is_whole {
                // It had it before anybody could wonder.
                self.rows.remove(&row.object);
                return None;
            }
            let urgency = if face.reason.is_empty() { Urgency::Changed } else { Urgency::Trouble };
            return (now.saturating_sub(told.at) >= told.pause).then_some(urgency);
        };
        if *said == face {
            return None;
        }
        if is_whole && !told.was_whole {
            return Some(Urgency::Whole);
        }
        let is_new = !face.reason.is_empty() && !told.reasons.contains(&face.reason);
        if is_new && told.reasons.len() < REASONS {
            return Some(Urgency::Trouble);
        }
        (now.saturating_sub(told.at) >= told.pause).then_some(Urgency::Changed)
    }
}

impl Told {
    fn tell(&mut self, row: &Row, now: Duration) {
        let face = Face::of(row);
        self.pause = if self.face.is_none() { PAUSE } else { (self.pause * 2).min(LONGEST) };
        self.at = now;
        self.was_whole |= row.count.is_whole();
        if !face.reason.is_empty() {
            self.reasons.insert(face.reason.clone());
        }
        self.face = Some(face);
    }
}

impl Face {
    fn of(row: &Row) -> Self {
        let trouble = row.trouble.as_ref().filter(|trouble| !trouble.is_early && !row.count.is_whole());
        Self { count: row.count, reason: trouble.map(|one| one.pod.reason.clone()).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{progress::Trouble, workload::PodTrouble};

    fn row(ready: u32, wanted: u32, reason: &str) -> Row {
        let pod = PodTrouble {
            pod: "web-1".into(),
            reason: reason.trim_start_matches('~').into(),
            ..PodTrouble::default()
        };
        let is_early = reason.starts_with('~');
        let trouble = Trouble { pod, since: String::new(), lasts: Duration::ZERO, more: 0, is_early };
        let trouble = (!reason.is_empty()).then_some(trouble);
        Row { object: "Deployment/web".into(), count: Count { ready, wanted }, trouble }
    }

    fn view(rows: Vec<Row>) -> View {
        View { rows, hooks: Vec::new() }
    }

    fn words(changes: &[Change]) -> Vec<String> {
        let word = |change: &Change| match change {
            Change::Row(row) => format!("{}/{}{}", row.count.ready, row.count.wanted, Face::of(row).reason),
            other => format!("{other:?}"),
        };
        changes.iter().map(word).collect()
    }

    /// Looks twice a second at what is there from a second on, and says when what is told.
    fn story(steps: &[(u64, Row)], until: u64) -> Vec<String> {
        let mut teller = Teller::default();
        let mut told = Vec::new();
        for half in 0..until * 2 {
            let now = Duration::from_millis(half * 500);
            let Some((_, row)) = steps.iter().rev().find(|(from, _)| Duration::from_secs(*from) <= now)
            else {
                continue;
            };
            for word in words(&teller.tell(&view(vec![row.clone()]), &BTreeSet::new(), now)) {
                told.push(format!("{:.1} {word}", now.as_secs_f64()));
            }
        }
        told
    }

    #[test]
    fn a_rollout_is_told_by_its_changes() {
        for (case, steps, until, wanted) in [
            ("what has all from the beginning is not told of", vec![(0, row(3, 3, ""))], 60, &[][..]),
            (
                "one that rises",
                vec![(0, row(0, 3, "~NotReady")), (3, row(1, 3, "")), (6, row(2, 3, "")), (9, row(3, 3, ""))],
                60,
                &["1.0 0/3", "3.0 1/3", "7.0 2/3", "9.0 3/3"],
            ),
            (
                "its last step does not wait for a pause",
                vec![(0, row(0, 3, "")), (3, row(1, 3, "")), (4, row(3, 3, ""))],
                60,
                &["1.0 0/3", "3.0 1/3", "4.0 3/3"],
            ),
            (
                "a pod in trouble is told of at once, and once",
                vec![
                    (0, row(0, 1, "~Pending")),
                    (2, row(0, 1, "ErrImagePull")),
                    (3, row(0, 1, "ImagePullBackOff")),
                    (4, row(0, 1, "ErrImagePull")),
                    (5, row(0, 1, "ImagePullBackOff")),
                ],
                60,
                &["1.0 0/1", "2.0 0/1ErrImagePull", "3.0 0/1ImagePullBackOff"],
            ),
            (
                "a reason that is there from the beginning is in the first line",
                vec![(0, row(0, 1, "CrashLoopBackOff"))],
                600,
                &["1.0 0/1CrashLoopBackOff"],
            ),
            (
                "what lacks something for less than a moment is not told of",
                vec![(1, row(1, 2, "")), (2, row(2, 2, ""))],
                60,
                &[],
            ),
        ] {
            assert_eq!(story(&steps, until), wanted, "{case}");
        }
    }

    #[test]
    fn what_comes_and_goes_is_told_ever_more_rarely() {
        let mut steps: Vec<(u64, Row)> = (0..3600).map(|at| (at, row(1 + (at % 2) as u32, 3, ""))).collect();
        steps.extend((3600..3600 * 2).map(|at| (at, row(1 + (at % 2) as u32, 3, "CrashLoopBackOff"))));
        let told = story(&steps, 7200);
        assert!((10..25).contains(&told.len()), "{told:#?}");
    }

    #[test]
    fn of_many_the_troubled_are_told_first_and_of_too_many_no_more() {
        let many = |ready, reason: &str| {
            let rows = (0..300).map(|n| {
                let reason = if n == 299 { reason } else { "" };
                Row { object: format!("Deployment/d{n}"), ..row(ready, 9, reason) }
            });
            view(rows.collect())
        };
        let mut teller = Teller::default();
        let none = BTreeSet::new();
        assert_eq!(teller.tell(&many(0, "Evicted"), &none, Duration::ZERO), []);
        let first = teller.tell(&many(0, "Evicted"), &none, Duration::from_secs(1));
        assert_eq!((first.len(), &words(&first)[0]), (AT_ONCE, &"0/9Evicted".to_owned()));
        let mut all = first;
        for second in 2..600 {
            let told =
                teller.tell(&many((second / 60) as u32, "Evicted"), &none, Duration::from_secs(second));
            assert!(told.len() <= AT_ONCE + 1);
            all.extend(told);
        }
        assert_eq!((all.len(), all.last()), (MOST + 1, Some(&Change::Enough)));
    }

    #[test]
    fn hooks_are_told_when_they_begin_and_when_their_log_is_over() {
        let hook = |ended| Hook {
            uid: "u1".into(),
            object: "Job/migrate".into(),
            ran: Duration::from_secs(4),
            ended,
            trouble: None,
        };
        let view = |ended| View { rows: Vec::new(), hooks: vec![hook(ended)] };
        let mut teller = Teller::default();
        let (none, reading) = (BTreeSet::new(), BTreeSet::from(["u1".to_owned()]));
        assert_eq!(teller.tell(&view(None), &none, Duration::ZERO), [Change::Began("Job/migrate".into())]);
        assert_eq!(teller.tell(&view(None), &reading, Duration::ZERO), []);
        let over = view(Some(Ok(())));
        assert_eq!(teller.tell(&over, &reading, Duration::ZERO), [], "its log still comes");
        assert!(teller.owes(&over));
        assert_eq!(teller.tell(&over, &none, Duration::ZERO), [Change::Ended(hook(Some(Ok(()))))]);
        assert_eq!(teller.tell(&over, &none, Duration::ZERO), []);
        assert!(!teller.owes(&over));
        assert_eq!(teller.began("u1", "Job/migrate"), None);

        let mut early = Teller::default();
        assert_eq!(early.began("u1", "Job/migrate"), Some(Change::Began("Job/migrate".into())));
        assert_eq!(early.tell(&view(None), &none, Duration::ZERO), [], "told already, by its log");
        assert_eq!(early.tell(&over, &none, Duration::ZERO), [Change::Ended(hook(Some(Ok(()))))]);
    }
}
