//! A storm: many deploys of a few releases at once, of which some are killed, and some stopped until their lock is
//! another's and then continued. The judge is the API server's audit log, in which each request of a Helm carries the ID
//! of the lock under which it was sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;
use testbed::tools::{self, Helm};

use crate::{
    stage::{QUICK, Said, Stage},
    sweep::{draw, seed},
};

/// What befalls a deploy once it has its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lot {
    Nothing,
    /// SIGKILL.
    Killed,
    /// SIGSTOP until another has its lock; then SIGCONT.
    Stopped,
}

#[derive(Clone, Debug)]
struct Contender {
    nth: u64,
    /// Which of the releases, each in a namespace of its own: the chart's objects have the same names in all.
    release: usize,
    helm: PathBuf,
    lot: Lot,
}

impl Contender {
    /// Victims are among the first, so that somebody comes after them.
    fn drawn(nth: u64, of: u64, releases: u64) -> Self {
        let lot = match draw((nth, "lot"), 6) {
            _ if nth + releases * 2 > of => Lot::Nothing,
            0 => Lot::Killed,
            1 => Lot::Stopped,
            _ => Lot::Nothing,
        };
        let version = Helm::ALL[usize::try_from(draw((nth, "helm"), 2)).unwrap()];
        Self {
            nth,
            release: usize::try_from(nth % releases).unwrap(),
            helm: tools::helm(version).unwrap(),
            lot,
        }
    }

    fn command(&self, stage: &Stage) -> Command {
        let config = format!("--set=configs={{of-{}}}", self.nth);
        let chart = Stage::chart();
        let mut guard = stage.own(&["upgrade", "web", chart.to_str().unwrap(), &config, "--install"]);
        guard.args([QUICK[0], "--keepalive=10m", "--lock-timeout=5m"]).env("HELM_BIN", &self.helm);
        guard
    }

    fn run(&self, stage: &Stage) -> Said {
        let mut child = self.command(stage).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut err = String::new();
        let mut lot = self.lot;
        while let Some(Ok(line)) = lines.next() {
            err += &line;
            err.push('\n');
            if lot != Lot::Nothing && line.contains("taken in ") {
                // Anywhere in its work, which takes about a second.
                thread::sleep(Duration::from_millis(draw((self.nth, "moment"), 800)));
                self.strike(stage, pid, &mut child);
                lot = Lot::Nothing;
            }
        }
        let code = child.wait().unwrap().code();
        Said { code, out: String::new(), err }
    }

    fn strike(&self, stage: &Stage, pid: Pid, child: &mut Child) {
        if self.lot == Lot::Killed {
            // It may have ended by itself.
            let _ = child.kill();
            return;
        }
        let lease = "helm-guard-web";
        let holder = |lease: &Value| lease["spec"]["holderIdentity"].as_str().map(str::to_owned);
        if nix::sys::signal::kill(pid, Signal::SIGSTOP).is_err() {
            return;
        }
        let now = stage.namespace.kubectl_json(["get", "lease", lease, "-o", "json"]).unwrap();
        let mine = holder(&now);
        // If it had given its lock back before, somebody else has it, or has had it, soon.
        let is_anothers = |lease: &Value| holder(lease).is_some() && holder(lease) != mine;
        let _ = stage.namespace.watch_until(["leases", lease], Duration::from_secs(20), is_anothers);
        let _ = nix::sys::signal::kill(pid, Signal::SIGCONT);
    }
}

/// Under which lock, from when to when, something was written.
#[derive(Debug)]
struct Work {
    lock: String,
    from: String,
    to: String,
    writes: usize,
}

/// All that was written under a lock, by Lease, in the order of the first writes.
fn works(stage: &Stage) -> BTreeMap<String, Vec<Work>> {
    let audit = stage.namespace.audit().unwrap();
    // What the Leases themselves said: which lock ID was of which.
    let mut leases = BTreeMap::new();
    for event in audit.clone().resource("leases").writes().events() {
        let metadata = &event.request_object["metadata"];
        let Some(id) = metadata["annotations"]["helm-guard.dev/lock-id"].as_str() else { continue };
        leases.insert(id.to_owned(), metadata["name"].as_str().unwrap().to_owned());
        let is_swap =
            event.verb != "update" || !metadata["uid"].is_null() && !metadata["resourceVersion"].is_null();
        assert!(is_swap, "{metadata}");
    }
    let mut works: BTreeMap<String, Vec<Work>> = BTreeMap::new();
    for event in audit.user_agent(" lock/").writes().events() {
        let (_, id) = event.user_agent.rsplit_once(" lock/").unwrap();
        let of = works.entry(leases[id].clone()).or_default();
        let (from, to) = (event.request_received_timestamp.clone(), event.stage_timestamp.clone());
        match of.iter_mut().find(|work| work.lock == id) {
            Some(work) => {
                work.from = work.from.clone().min(from);
                work.to = work.to.clone().max(to);
                work.writes += 1;
            }
            None => of.push(Work { lock: id.to_owned(), from, to, writes: 1 }),
        }
    }
    for of in works.values_mut() {
        of.sort_by(|one, other| one.from.cmp(&other.from));
    }
    works
}

fn storm(contenders: u64, releases: u64) {
    let stages: Vec<Stage> = (0..releases).map(|_| Stage::new("storm", Helm::V4)).collect();
    let all: Vec<Contender> =
        (0..contenders).map(|nth| Contender::drawn(nth, contenders, releases)).collect();
    let told: Vec<(Contender, Said)> = thread::scope(|scope| {
        let run = |contender: &Contender| {
            let (contender, stage) = (contender.clone(), &stages[contender.release]);
            scope.spawn(move || (contender.clone(), contender.run(stage)))
        };
        let started: Vec<_> = all.iter().map(run).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let seed = seed();
    let mut struck = [0, 0];
    for (contender, said) in &told {
        struck[0] += u32::from(said.code.is_none());
        struck[1] += u32::from(said.code == Some(76));
        let is_well = match contender.lot {
            Lot::Nothing => said.code == Some(0),
            // It may have been done before it was struck.
            Lot::Killed => matches!(said.code, None | Some(0)),
            Lot::Stopped => matches!(said.code, Some(0 | 76)),
        };
        assert!(is_well, "seed {seed}: {contender:?} ended with {:?}: {}", said.code, said.err);
    }
    let works: Vec<Vec<Work>> = stages.iter().flat_map(|stage| works(stage).into_values()).collect();
    for (lease, works) in works.iter().enumerate() {
        for pair in works.windows(2) {
            assert!(
                pair[0].to < pair[1].from,
                "seed {seed}: {lease}: {:?} and {:?} overlap",
                pair[0],
                pair[1]
            );
        }
    }
    let writers: BTreeSet<&String> = works.iter().flatten().map(|work| &work.lock).collect();
    let deployed = told.iter().filter(|(_, said)| said.code == Some(0)).count();
    assert!(writers.len() >= deployed, "seed {seed}: {} of {deployed} wrote under a lock", writers.len());
    for (release, stage) in stages.iter().enumerate() {
        history(stage, release, &told);
    }
    let writes: usize = works.iter().flatten().map(|work| work.writes).sum();
    println!(
        "storm: seed {seed}, {contenders} deploys of {releases} releases, {} killed and {} outrun under way, {} wrote, {writes} writes",
        struck[0],
        struck[1],
        writers.len()
    );
}

/// The last revision is deployed, none is pending, none was rolled back, and what failed was struck.
fn history(stage: &Stage, release: usize, told: &[(Contender, Said)]) {
    let mut helm = Command::new(&stage.helm);
    helm.args(["history", "web", "--max=50", "-o=json"]).env("KUBECONFIG", stage.namespace.kubeconfig());
    let rows: Vec<Value> = serde_json::from_str(&Stage::ok(helm).out).unwrap();
    let statuses: Vec<&str> = rows.iter().map(|row| row["status"].as_str().unwrap()).collect();
    let struck = told.iter().filter(|(contender, said)| contender.release == release && said.code != Some(0));
    let count = |status: &str| statuses.iter().filter(|other| **other == status).count();
    assert!(count("failed") <= struck.count(), "seed {}: {release}: {rows:#?}", seed());
    assert_eq!(count("deployed"), 1, "seed {}: {release}: {rows:#?}", seed());
    assert_eq!(statuses.last(), Some(&"deployed"), "seed {}: {release}: {rows:#?}", seed());
    for row in &rows {
        let (status, said) = (row["status"].as_str().unwrap(), row["description"].as_str().unwrap());
        assert!(["deployed", "superseded", "failed"].contains(&status), "seed {}: {row}", seed());
        assert!(!said.starts_with("Rollback"), "seed {}: {row}", seed());
    }
}

#[test]
fn thirty_deploys_of_five_releases() {
    storm(30, 5);
}

#[test]
#[ignore = "minutes: cargo xtask soak"]
fn a_hundred_deploys_of_five_releases() {
    storm(100, 5);
}
