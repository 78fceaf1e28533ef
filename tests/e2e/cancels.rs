//! GitHub's cancel at chosen requests of a whole run: SIGINT, 7.5 s, SIGTERM, 2.5 s, SIGKILL, to helm-guard alone. Before
//! the last one all is settled, the lock is free, nobody is left, and the next run deploys. Where each cancel falls comes
//! from a seed.

use std::{
    process::{Child, Command},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use helm_guard::process;
use nix::sys::signal::Signal;
use rustix::fd::OwnedFd;
use serde_json::{Value, json};
use testbed::{Gate, Seen, tools::Helm};

use crate::{
    stage::Stage,
    sweep::{
        Window, at, children, draw, each, ends_within, flags, handle, is_helm, pick, pid, points, signal_to,
        start, strs,
    },
};

/// When the cancel comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The process has just begun.
    Start,
    /// The Lease is read.
    Look,
    /// The write that takes it is under way.
    Acquisition,
    /// Somebody else has it.
    Waiting,
    /// A stuck release: the chart is rendered.
    Proof,
    /// A stuck release: its records are changed.
    Repair,
    /// A stuck release: Helm rolls it back.
    RollingBack,
    /// Helm is at work.
    Helm(Window),
}

/// What is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Upgrade,
    Install,
    Rollback,
    Uninstall,
}

/// A cancel: when, in which operation.
#[derive(Clone, Copy, Debug)]
struct Cancel {
    version: Helm,
    operation: Operation,
    moment: Moment,
    which: u64,
}

/// GitHub's runner, from the first signal on.
const TERM_AFTER: Duration = Duration::from_millis(7500);
const KILL_AFTER: Duration = Duration::from_millis(2500);
/// What the records and the lock may take once Helm is gone.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

impl Cancel {
    fn of(point: u64) -> Self {
        use {Moment as M, Operation as O, Window as W};
        let any = [O::Upgrade, O::Install, O::Rollback, O::Uninstall];
        let deploys = [O::Upgrade, O::Install, O::Rollback];
        let which = draw(("cancelled at", point), 6);
        let even = which.is_multiple_of(2);
        let (moment, from) = match point % 10 {
            0 if even => (M::Start, &any[..]),
            // An install takes its lock without a look.
            0 => (M::Look, &[O::Upgrade, O::Rollback, O::Uninstall][..]),
            1 => (M::Acquisition, &any[..]),
            2 => (M::Waiting, &any[..1]),
            3 => (M::Proof, &any[..1]),
            4 => (if even { M::Repair } else { M::RollingBack }, &any[..1]),
            5 => (M::Helm(if even { W::PreHook } else { W::PostHook }), &any[..2]),
            6 => (M::Helm(W::Apply), &any[..]),
            7 => (M::Helm(W::Wait), &deploys[..]),
            8 => (M::Helm(W::FirstSave), &any[..1]),
            _ => (M::Helm(W::LastSave), &any[..]),
        };
        let operation = pick(("cancelled", point), from);
        let version = if (point + point / 10).is_multiple_of(2) { Helm::V3 } else { Helm::V4 };
        Self { version, operation, moment, which }
    }

    fn happen(self) {
        let stage = Stage::new("cancel", self.version);
        let hooks = matches!(self.moment, Moment::Helm(Window::PreHook | Window::PostHook));
        self.before(&stage, hooks);
        let deployed = stage.records().len();
        let (hits, hit) = mpsc::channel();
        let run: Arc<Mutex<Option<i32>>> = Arc::default();
        let gate = {
            let (run, mut chosen) = (run.clone(), self.chosen());
            Gate::open(&stage.namespace, move |seen| {
                if chosen(seen)
                    && let Some(run) = run.lock().unwrap().take()
                {
                    let _ = hits.send(Hit::strike(run));
                }
                None
            })
            .unwrap()
        };
        let mut child = {
            // A request that comes before the process is known would be missed.
            let mut run = run.lock().unwrap();
            let child = start(self.command(&stage, hooks), gate.kubeconfig());
            *run = Some(pid(&child));
            child
        };
        let hit = match self.moment {
            Moment::Start => Hit::strike(pid(&child)),
            _ => hit.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| {
                crate::stage::kill(&mut child);
                panic!("{self:?}: the moment never came")
            }),
        };
        let ended = hit.end(&mut child);
        drop(gate);
        self.judge(&stage, &ended, deployed);

        if self.moment == Moment::Waiting {
            stage.namespace.kubectl(["delete", "lease", "helm-guard-web"]).unwrap();
        }
        let mut new = flags("keep,new", "NEW", hooks);
        new.push("--install".to_owned());
        let said = Stage::ok(stage.guard("upgrade", &strs(&new)));
        assert!(!said.err.contains("waiting for the lock"), "{self:?}: {}", said.err);
        stage.assert_deployed();
    }

    /// The release as it is when the run begins.
    fn before(self, stage: &Stage, hooks: bool) {
        if self.operation == Operation::Install {
            return;
        }
        Stage::ok(stage.raw("install", &strs(&flags("keep,old", "GOOD", hooks))));
        match self.moment {
            Moment::Proof | Moment::Repair | Moment::RollingBack => {
                stage.stick("upgrade", &["--set=configs={keep,dead}", "--set=behavior=never-ready"]);
            }
            Moment::Waiting => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "helm-guard-web"},
                    "spec": {"holderIdentity": "other", "leaseDurationSeconds": 600},
                });
                stage.namespace.apply(&lease.to_string()).unwrap();
            }
            _ if self.operation == Operation::Rollback => {
                Stage::ok(stage.raw("upgrade", &strs(&flags("keep,next", "NEXT", hooks))));
            }
            _ => {}
        }
    }

    fn command(self, stage: &Stage, hooks: bool) -> Command {
        let mut more = flags("keep,cut", "CUT", hooks);
        let command = match self.operation {
            Operation::Upgrade => "upgrade",
            Operation::Install => "install",
            Operation::Rollback => "rollback",
            Operation::Uninstall => "uninstall",
        };
        match self.operation {
            Operation::Upgrade | Operation::Install => {}
            Operation::Rollback => more = vec!["1".to_owned(), "--wait".to_owned()],
            Operation::Uninstall => more = vec!["--wait".to_owned()],
        }
        if self.moment == Moment::RollingBack {
            more.push("--repair=rollback".to_owned());
        }
        stage.guard(command, &strs(&more))
    }

    /// The request at which the cancel comes.
    fn chosen(self) -> impl FnMut(&Seen) -> bool + Send + 'static {
        let (mut seen_before, uninstall) = (0, self.operation == Operation::Uninstall);
        let mut window = match self.moment {
            Moment::Helm(window) => Some(at(window, self.which)),
            _ => None,
        };
        move |seen| {
            let own = !is_helm(seen);
            let lease = own && seen.object().starts_with("leases");
            let counted = match self.moment {
                Moment::Start => false,
                Moment::Look | Moment::Waiting => lease && !seen.is_write(),
                Moment::Acquisition => lease && seen.is_write(),
                Moment::Proof => !own,
                Moment::Repair => own && seen.is_write() && seen.object().starts_with("secrets"),
                Moment::RollingBack => !own && seen.is_write(),
                // It has no last save: its record goes.
                Moment::Helm(Window::LastSave) if uninstall => {
                    !own && seen.method.as_str() == "DELETE" && seen.object().starts_with("secrets")
                }
                Moment::Helm(_) => window.as_mut().is_some_and(|window| window(seen).is_some()),
            };
            seen_before += u64::from(counted);
            let wanted = match self.moment {
                Moment::Waiting => 2,
                Moment::Repair => 1 + self.which / 2,
                Moment::RollingBack => 1 + self.which,
                _ => 1,
            };
            counted && seen_before >= wanted
        }
    }

    /// May Helm have done all by then? A repair here takes two writes; what was lent is returned with a third, after Helm.
    fn may_be_late(self) -> bool {
        matches!(self.moment, Moment::Helm(_)) || self.moment == Moment::Repair && self.which / 2 >= 2
    }

    /// All is as it should be when the runner gives the machine away.
    fn judge(self, stage: &Stage, ended: &Ended, deployed: usize) {
        assert!(!ended.killed, "{self:?}: not done within 10 s");
        if let Some(helm) = ended.helm {
            let took = ended.at.saturating_duration_since(helm);
            assert!(took < SETTLED_WITHIN, "{self:?}: {took:?} after Helm's end");
        }
        // Ended by the signal itself before it could listen, or by itself; 0 where Helm was done.
        let was_done = self.may_be_late() && ended.code == Some(0);
        let unheard = self.moment == Moment::Start && ended.code.is_none();
        assert!(ended.code == Some(130) || was_done || unheard, "{self:?}: {:?}", ended.code);
        let left = process::carrying("TMPDIR", &stage.temporary.path().display().to_string());
        let lives = |process: &&process::Process| {
            handle(process.pid).is_some_and(|handle| !ends_within(&handle, Duration::from_secs(1)))
        };
        assert_eq!(left.iter().filter(lives).count(), 0, "{self:?}: {left:?}");

        let waiting = self.moment == Moment::Waiting;
        let lease = ["get", "lease", "helm-guard-web", "--ignore-not-found", "-o", "json"];
        let lease: Value = serde_json::from_str(&stage.namespace.kubectl(lease).unwrap()).unwrap_or_default();
        let holder = &lease["spec"]["holderIdentity"];
        assert_eq!(*holder, if waiting { json!("other") } else { Value::Null }, "{self:?}: {lease:#}");
        if stage.records().is_empty() {
            assert!(
                deployed == 0 || self.operation == Operation::Uninstall,
                "{self:?}: the records are gone"
            );
            return;
        }
        let history = stage.history();
        // Only before anything was changed a release stays stuck.
        let untouched = self.moment == Moment::Proof;
        let pending = history.iter().any(|(_, status)| status.starts_with("pending"));
        assert_eq!(pending, untouched, "{self:?}: {history:?}");
        let good = history.iter().filter(|(_, status)| status == "deployed").count();
        let gone = matches!(self.operation, Operation::Install | Operation::Uninstall);
        assert!(good == 1 || gone && good == 0, "{self:?}: {history:?}");
    }
}

/// The first signal is sent.
struct Hit {
    at: Instant,
    /// What helm-guard had started then.
    helm: Vec<OwnedFd>,
}

struct Ended {
    code: Option<i32>,
    killed: bool,
    at: Instant,
    helm: Option<Instant>,
}

impl Hit {
    fn strike(run: i32) -> Self {
        let helm = children(run).into_iter().filter_map(handle).collect();
        signal_to(run, Signal::SIGINT);
        Self { at: Instant::now(), helm }
    }

    /// The rest of the runner's sequence.
    fn end(self, child: &mut Child) -> Ended {
        let left = TERM_AFTER + KILL_AFTER;
        let helm = (!self.helm.is_empty()).then(|| {
            let all = move || self.helm.iter().all(|helm| ends_within(helm, left)).then(Instant::now);
            thread::spawn(all)
        });
        let run = handle(pid(child)).unwrap();
        let mut killed = false;
        if !ends_within(&run, (self.at + TERM_AFTER).saturating_duration_since(Instant::now())) {
            signal_to(pid(child), Signal::SIGTERM);
            if !ends_within(&run, (self.at + left).saturating_duration_since(Instant::now())) {
                killed = true;
                signal_to(pid(child), Signal::SIGKILL);
            }
        }
        let at = Instant::now();
        let code = child.wait().unwrap().code();
        Ended { code, killed, at, helm: helm.and_then(|helm| helm.join().unwrap()) }
    }
}

/// GitHub's sequence, at any moment.
fn cancelled_anywhere(version: Helm) {
    let cancels = (0..points("cancels")).map(Cancel::of).filter(|cancel| cancel.version == version);
    each(cancels, |cancel| cancel.happen());
}

crate::with_both_helms! { cancelled_anywhere }
