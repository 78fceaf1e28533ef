//! Kills at chosen requests: Helm, helm-guard, both, helm-guard in the middle of a repair. Whatever was left, the next
//! `helm-guard upgrade` ends deployed, and no record is lost. Where each kill falls comes from a seed; that it fell there
//! is read from the API server's audit log.

use std::{collections::BTreeSet, time::Duration};

use nix::sys::signal::Signal;
use testbed::{Gate, Hold, tools::Helm};

use crate::{
    stage::{SHORT_LIVED, Stage, kill},
    sweep::{
        Window, at, children, draw, each, ends_within, flags, handle, is_helm, is_object, pick, pid, points,
        signal_to, start, strs,
    },
};

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Victim {
    /// A Helm that nobody guards.
    Alone,
    /// The Helm of a helm-guard that lives on.
    Helm,
    /// helm-guard, with which its Helm dies.
    Guard,
    /// Both at once.
    Both,
}

/// A kill: of whom, where, in which operation.
#[derive(Clone, Copy, Debug)]
struct Kill {
    version: Helm,
    victim: Victim,
    window: Window,
    install: bool,
    /// Which side of which write of an apply: before the first is 0, after it 1, and so on.
    which: u64,
}

const WINDOWS: [Window; 6] =
    [Window::PreHook, Window::Apply, Window::Wait, Window::PostHook, Window::FirstSave, Window::LastSave];
/// In so many points each window is hit with both Helms, once guarded and once alone; in twice as many, with each Helm both
/// guarded and alone.
const ROUND: u64 = 12;

/// Both Helms get every window.
fn version_of(point: u64) -> Helm {
    if (point + point / 6 + point / ROUND).is_multiple_of(2) { Helm::V3 } else { Helm::V4 }
}

impl Kill {
    fn of(point: u64) -> Self {
        let at = |list: u64| usize::try_from(point % list).unwrap();
        let window = WINDOWS[at(6)];
        // An install has no old record.
        let install = window != Window::FirstSave && draw(("install", point), 4) == 0;
        let victim = if (point / 6).is_multiple_of(2) {
            Victim::Alone
        } else if draw(("helm", point / 6), 6) == point % 6 {
            Victim::Helm
        } else {
            pick(("victim", point), &[Victim::Guard, Victim::Both])
        };
        Self { version: version_of(point), victim, window, install, which: draw(("which", point), 6) }
    }

    /// Kills, looks at what is left, deploys. Gives the stage for the proof by the audit log.
    fn happen(self) -> Stage {
        let stage = Stage::new("kill", self.version);
        let hooks = matches!(self.window, Window::PreHook | Window::PostHook);
        if !self.install {
            Stage::ok(stage.raw("install", &strs(&flags("keep,old", "GOOD", hooks))));
        }
        let gate = Gate::open(&stage.namespace, at(self.window, self.which)).unwrap();
        let mut dead = flags("keep,dead", "DEAD", hooks);
        let command = if self.install { "install" } else { "upgrade" };
        let command = if self.victim == Victim::Alone {
            stage.raw(command, &strs(&dead))
        } else {
            dead.push(SHORT_LIVED.to_owned());
            stage.guard(command, &strs(&dead))
        };
        let mut child = start(command, gate.kubeconfig());
        let held = gate.wait(Duration::from_secs(60));
        self.strike(&mut child);
        drop(gate);
        held.unwrap_or_else(|error| panic!("{self:?}: {error}"));
        let (before, records) = (stage.uids(), names(&stage));

        let mut new = flags("keep,new", "NEW", hooks);
        new.push("--install".to_owned());
        let said = Stage::ok(stage.guard("upgrade", &strs(&new)));
        stage.assert_deployed();
        let after = stage.uids();
        let claim = "PersistentVolumeClaim/data";
        if let Some(uid) = before.get(claim) {
            assert_eq!(after.get(claim), Some(uid), "{self:?}: the claim was deleted\n{}", said.err);
        }
        assert!(!after.contains_key("ConfigMap/old"), "{self:?}: {after:?}\n{}", said.err);
        let saved = backup(&stage);
        for record in records.difference(&names(&stage)) {
            assert!(saved.contains(record), "{self:?}: {record} is lost\n{}", said.err);
        }
        if !self.install {
            // What is stuck is repaired to the last object; what Helm itself saved as failed is merged as Helm does it.
            if self.victim != Victim::Helm {
                assert!(!after.contains_key("ConfigMap/dead"), "{self:?}: {after:?}\n{}", said.err);
                assert_eq!(stage.env(), ["FIXED", "NEW"], "{self:?}: {}", said.err);
            }
            assert!(names(&stage).is_superset(&records), "{self:?}: {}", said.err);
        }
        stage
    }

    fn strike(self, child: &mut std::process::Child) {
        let helm = if matches!(self.victim, Victim::Helm | Victim::Both) {
            children(pid(child))
        } else {
            Vec::new()
        };
        if self.victim == Victim::Helm {
            let guard = handle(pid(child)).unwrap();
            helm.iter().for_each(|helm| signal_to(*helm, Signal::SIGKILL));
            // It settles, and is done.
            let ended = ends_within(&guard, Duration::from_secs(60));
            kill(child);
            assert!(ended, "{self:?}: helm-guard lives on without its Helm");
            return;
        }
        helm.iter().for_each(|helm| signal_to(*helm, Signal::SIGKILL));
        kill(child);
    }

    /// What the killed Helm had written, by the API server's own log: everything up to its window, nothing behind it.
    fn prove(self, stage: &Stage) {
        let lines = stage.namespace.audit().unwrap().user_agent("Helm/").writes().lines();
        // The dead operation begins with its record and ends where the next Helm begins with its own.
        let records: Vec<usize> =
            (0..lines.len()).filter(|at| lines[*at].starts_with("create secrets")).collect();
        let first = usize::from(!self.install);
        let end = records.get(first + 1).copied().unwrap_or(lines.len());
        let dead = &lines[records[first]..end];
        let wrote = |what: &str| dead.iter().any(|line| line.contains(what));
        let saved = |revision: u32| wrote(&format!("update secrets/sh.helm.release.v1.web.v{revision} 200"));
        let started = |line: &&String| line.starts_with("create jobs") || line.starts_with("patch jobs");
        let jobs = dead.iter().filter(started).count();
        let objects = wrote("deployments");
        let is_applied = |line: &&String| {
            line.split_once(' ').is_some_and(|(verb, path)| verb != "delete" && is_object(path))
        };
        let wanted = usize::try_from(self.which.div_ceil(2)).unwrap();
        let applied = dead.iter().filter(is_applied).count();
        let is_there = match self.window {
            Window::PreHook => jobs == 1 && applied == 0,
            // Helm 4 creates the objects of an install side by side.
            Window::Apply => {
                (applied == wanted || self.install && applied > wanted) && !wrote("update secrets")
            }
            Window::Wait => objects && !wrote("update secrets"),
            Window::PostHook => objects && jobs == 2,
            Window::FirstSave => objects && !saved(1),
            Window::LastSave => objects && (self.install || saved(1)),
        };
        assert!(is_there, "{self:?}: {dead:#?}");
    }
}

fn names(stage: &Stage) -> BTreeSet<String> {
    stage.records().into_iter().map(|(name, ..)| name).collect()
}

/// All copies of records that a repair made.
fn backup(stage: &Stage) -> String {
    let entries = std::fs::read_dir(stage.backups());
    let files =
        entries.into_iter().flatten().map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    files.collect()
}

/// Helm, helm-guard, or both are killed at any moment.
fn killed_anywhere(version: Helm) {
    let kills = (0..points("kills").max(ROUND)).map(Kill::of).filter(|kill| kill.version == version);
    each(kills, |kill| kill.prove(&kill.happen()));
}

/// helm-guard is killed before or after one of its own writes to the records: the repair of a repair.
fn a_repair_killed_anywhere(version: Helm) {
    let points = points("kills of a repair") * 2 / 5;
    for point in (0..points).filter(|point| version_of(*point) == version) {
        let nth = point % 4;
        let stage = Stage::new("mend", version);
        stage.ready("install", &["--set-string=env.GOOD=1", "--set=configs={keep,old}"]);
        stage.stick(
            "upgrade",
            &["--set-string=env.DEAD=1", "--set=configs={keep,dead}", "--set=behavior=never-ready"],
        );
        let hold = if draw(("mend", point), 2) == 0 { Hold::Before } else { Hold::After };
        let mut writes = 0;
        let gate = Gate::open(&stage.namespace, move |seen| {
            let own = !is_helm(seen) && seen.is_write() && seen.object().starts_with("secrets");
            writes += u64::from(own);
            (own && writes > nth).then_some(hold)
        })
        .unwrap();
        let mut child = start(
            stage.guard("upgrade", &["--reuse-values", "--wait", "--timeout=60s", SHORT_LIVED]),
            gate.kubeconfig(),
        );
        let held = gate.wait(Duration::from_secs(60));
        kill(&mut child);
        drop(gate);
        held.unwrap();
        // Reused values are those of the good revision, whatever was lent to whom.
        let said = Stage::ok(stage.guard("upgrade", &["--reuse-values", "--wait", "--timeout=60s"]));
        stage.assert_deployed();
        assert_eq!(stage.env(), ["FIXED", "GOOD"], "write {nth}, {hold:?}: {}", said.err);
        let uids = stage.uids();
        assert!(uids.contains_key("ConfigMap/old") && !uids.contains_key("ConfigMap/dead"), "{uids:?}");
    }
}

crate::with_both_helms! { killed_anywhere a_repair_killed_anywhere }
