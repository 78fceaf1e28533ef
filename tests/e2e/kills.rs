//! Kills at chosen requests: raw Helm, helm-guard with its Helm, helm-guard in the middle of a repair. Whatever was
//! left, the next `helm-guard upgrade` ends deployed. Where each kill falls comes from a seed; that it fell there is
//! read from the API server's audit log.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use testbed::{Audit, Cluster, Gate, Hold, Seen, tools::Helm};

use crate::stage::{SHORT_LIVED, Stage, kill};

/// Where a kill falls, in the order of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Window {
    /// The hook before the apply runs.
    PreHook,
    /// Some of the chart's objects are written.
    Apply,
    /// All are, and Helm waits for them.
    Wait,
    /// The hook after the wait runs.
    PostHook,
    /// All is done; the old record is still `deployed`.
    FirstSave,
    /// The old record is superseded, the new one not yet `deployed`.
    LastSave,
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Helm,
    Guard,
}

/// The seed, another with `HELM_GUARD_SWEEP_SEED=n`.
fn seed() -> u64 {
    std::env::var("HELM_GUARD_SWEEP_SEED").ok().map_or(1, |seed| seed.parse().unwrap())
}

/// A number below `bound` that depends on the seed and on `what` alone.
fn draw(what: impl std::hash::Hash, bound: u64) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((seed(), what)) % bound
}

fn is_helm(seen: &Seen) -> bool {
    seen.user_agent.starts_with("Helm/")
}

fn has(seen: &Seen, text: &str) -> bool {
    seen.body.windows(text.len()).any(|window| window == text.as_bytes())
}

fn is_object(path: &str) -> bool {
    ["configmaps", "persistentvolumeclaims", "deployments"].iter().any(|kind| path.starts_with(kind))
}

/// Chooses the request of a window: `which` counts the writes of an apply.
fn at(window: Window, which: u64) -> impl FnMut(&Seen) -> Option<Hold> + Send + 'static {
    let (mut written, mut hook) = (0, false);
    let side = if which.is_multiple_of(2) { Hold::Before } else { Hold::After };
    move |seen| {
        if !is_helm(seen) {
            return None;
        }
        let (path, write) = (seen.object(), seen.is_write());
        let started = |event: &str| write && path.starts_with("jobs") && has(seen, event);
        match window {
            Window::PreHook | Window::PostHook => {
                let running = hook && !write && path.starts_with("jobs");
                hook |= started(if window == Window::PreHook { "\"pre-" } else { "\"post-" });
                running.then_some(Hold::Before)
            }
            Window::Apply => {
                written += u64::from(write && is_object(path));
                (written > which / 2).then_some(side)
            }
            Window::Wait => {
                let waits = written > 0 && !write && path.starts_with("deployments");
                written += u64::from(write && path.starts_with("deployments"));
                waits.then_some(Hold::Before)
            }
            Window::FirstSave => {
                (write && path.starts_with("secrets") && has(seen, "superseded")).then_some(Hold::Before)
            }
            Window::LastSave => {
                let saves = write && path.starts_with("secrets") && has(seen, "deployed");
                saves.then_some(Hold::Before)
            }
        }
    }
}

/// A kill: of whom, where, in which operation.
#[derive(Clone, Copy, Debug)]
struct Kill {
    version: Helm,
    victim: Victim,
    window: Window,
    install: bool,
}

const HOOKS: [&str; 4] = ["pre-install", "post-install", "pre-upgrade", "post-upgrade"];

fn flags(configs: &str, env: &str, window: Window) -> Vec<String> {
    let mut flags = vec![
        format!("--set=configs={{{configs}}}"),
        "--set=claims={data}".to_owned(),
        format!("--set-string=env.{env}=1"),
        "--wait".to_owned(),
        "--timeout=60s".to_owned(),
    ];
    if matches!(window, Window::PreHook | Window::PostHook) {
        flags.extend(HOOKS.map(|hook| format!("--set=hooks.{hook}=300ms")));
    }
    flags
}

fn start(mut command: Command, kubeconfig: &Path) -> Child {
    command.env("KUBECONFIG", kubeconfig).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

impl Kill {
    /// Which side of which write of an apply: before the first is 0, after it 1, and so on.
    fn which(self) -> u64 {
        draw((self.window, self.install, format!("{:?}{:?}", self.version, self.victim)), 6)
    }

    /// Kills, looks at what is left, deploys. Gives the stage for the proof by the audit log.
    fn happen(self) -> Stage {
        let stage = Stage::new("kill", self.version);
        let good = flags("keep,old", "GOOD", self.window);
        let strs = |flags: &[String]| -> Vec<&'static str> {
            flags.iter().map(|flag| &*Box::leak(flag.clone().into_boxed_str())).collect()
        };
        if !self.install {
            Stage::ok(stage.raw("install", &strs(&good)));
        }
        let gate = Gate::open(&stage.namespace, at(self.window, self.which())).unwrap();
        let dead = flags("keep,dead", "DEAD", self.window);
        let command = if self.install { "install" } else { "upgrade" };
        let command = match self.victim {
            Victim::Helm => stage.raw(command, &strs(&dead)),
            Victim::Guard => stage.guard(command, &strs(&[dead, vec![SHORT_LIVED.to_owned()]].concat())),
        };
        let mut child = start(command, gate.kubeconfig());
        let held = gate.wait(Duration::from_secs(60));
        kill(&mut child);
        drop(gate);
        held.unwrap_or_else(|error| panic!("{self:?}: {error}"));
        let before = stage.uids();

        let mut new = strs(&flags("keep,new", "NEW", self.window));
        new.push("--install");
        let said = Stage::ok(stage.guard("upgrade", &new));
        stage.assert_deployed();
        let after = stage.uids();
        let claim = "PersistentVolumeClaim/data";
        if let Some(uid) = before.get(claim) {
            assert_eq!(after.get(claim), Some(uid), "{self:?}: the claim was deleted\n{}", said.err);
        }
        assert!(!after.contains_key("ConfigMap/old"), "{self:?}: {after:?}\n{}", said.err);
        if !self.install {
            assert!(!after.contains_key("ConfigMap/dead"), "{self:?}: {after:?}\n{}", said.err);
            assert_eq!(stage.env(), ["FIXED", "NEW"], "{self:?}: {}", said.err);
        }
        stage
    }

    /// What the killed Helm had written, by the API server's own log: everything up to its window, nothing behind it.
    fn prove(self, audit: &Audit, stage: &Stage) {
        let lines = audit.clone().namespace(stage.namespace.name()).user_agent("Helm/").writes().lines();
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
        let wanted = usize::try_from(self.which().div_ceil(2)).unwrap();
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

fn sweep(version: Helm, victim: Victim) {
    let upgrade = [Window::PreHook, Window::Apply, Window::Wait, Window::FirstSave, Window::LastSave];
    // The sixth is an install, or the hook behind the wait: drawn.
    let install = [Window::PreHook, Window::Apply, Window::Wait, Window::PostHook, Window::LastSave];
    let drawn = usize::try_from(draw(format!("{version:?}{victim:?}"), 5)).unwrap();
    let kills = upgrade
        .into_iter()
        .map(|window| Kill { version, victim, window, install: false })
        .chain([Kill { version, victim, window: install[drawn], install: true }])
        .chain([Kill { version, victim, window: Window::PostHook, install: false }]);
    let told: Vec<(Kill, Stage)> = kills.map(|kill| (kill, kill.happen())).collect();
    let audit = Cluster::shared().unwrap().audit().unwrap();
    let mut seen = BTreeSet::new();
    for (kill, stage) in &told {
        kill.prove(&audit, stage);
        seen.insert(kill.window);
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}

/// Raw Helm is killed; helm-guard comes later.
fn raw_helm_killed_anywhere(version: Helm) {
    sweep(version, Victim::Helm);
}

/// helm-guard is killed with its Helm.
fn helm_guard_killed_anywhere(version: Helm) {
    sweep(version, Victim::Guard);
}

/// helm-guard is killed before or after one of its own writes to the records: the repair of a repair.
fn a_repair_killed_anywhere(version: Helm) {
    for nth in 0..4 {
        let stage = Stage::new("mend", version);
        Stage::ok(stage.raw("install", &["--set-string=env.GOOD=1", "--set=configs={keep,old}", "--wait"]));
        stage.stick(
            "upgrade",
            &["--set-string=env.DEAD=1", "--set=configs={keep,dead}", "--set=behavior=never-ready"],
        );
        let hold = if draw(("mend", nth), 2) == 0 { Hold::Before } else { Hold::After };
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

crate::with_both_helms! { raw_helm_killed_anywhere helm_guard_killed_anywhere a_repair_killed_anywhere }
