//! Runs as stages would tell them, for the tests of every sink.

use std::time::Duration;

use super::*;
use crate::diagnose::{Cause, Refusal};
use crate::preflight::certainty::{self, Ground, Situation, Weight};
use crate::release::Status;
use crate::release::diff::Change;

/// The run that the examples are about.
pub(crate) fn subject() -> Subject {
    Subject {
        command: "upgrade".to_owned(),
        release: "web".to_owned(),
        namespace: "shop".to_owned(),
        helm_flags: ["--install", "--wait", "--timeout", "--set"].map(str::to_owned).to_vec(),
        owner: owner("8124", "mona"),
    }
}

fn owner(run: &str, actor: &str) -> Owner {
    Owner {
        name: format!("https://ci.example/shop/web/actions/runs/{run}"),
        run_url: format!("https://ci.example/shop/web/actions/runs/{run}"),
        run_id: run.to_owned(),
        run_number: "311".to_owned(),
        run_attempt: "1".to_owned(),
        repository: "shop/web".to_owned(),
        workflow: "Deploy".to_owned(),
        workflow_file: ".github/workflows/deploy.yml".to_owned(),
        job: "deploy".to_owned(),
        job_id: String::new(),
        git_ref: "refs/heads/main".to_owned(),
        commit: "4f1c0d9a7b3e".to_owned(),
        actor: actor.to_owned(),
    }
}

fn holder() -> Holder {
    Holder {
        lock_id: "k3v9qd".to_owned(),
        identity: "runner-7_4121_a91f".to_owned(),
        owner: owner("8119", "hubot"),
        operation: "upgrade".to_owned(),
        release: "web".to_owned(),
        since: "2026-06-01T10:02:11Z".to_owned(),
    }
}

fn waiting(seconds: u64) -> Event {
    Event::LockWaiting {
        holder: holder(),
        waited: Duration::from_secs(seconds),
        unlock: "helm-guard unlock web -n shop --id k3v9qd".to_owned(),
    }
}

fn row(revision: u32, status: Status, description: &str) -> Revision {
    Revision {
        revision,
        status,
        chart: format!("web-1.{revision}.0"),
        app_version: format!("2.{revision}"),
        updated: format!("2026-06-01T09:{revision:02}:00Z"),
        description: description.to_owned(),
        undecodable: String::new(),
    }
}

fn change(what: &str, before: &str, after: &str) -> Change {
    Change { what: what.to_owned(), before: before.to_owned(), after: after.to_owned() }
}

fn history(upto: u32) -> Vec<Revision> {
    (1..=upto)
        .map(|n| match n {
            1 => row(1, Status::Superseded, "Install complete"),
            n if n == upto => row(n, Status::Deployed, "Upgrade complete"),
            n => row(n, Status::Superseded, "Upgrade complete"),
        })
        .collect()
}

fn acquired(waited: u64, taken_over: Option<Holder>) -> Event {
    Event::LockAcquired {
        lock_id: "p7x2mf".to_owned(),
        lease: "helm-guard.v1.web".to_owned(),
        waited: Duration::from_millis(waited),
        taken_over,
    }
}

fn helm_version() -> Event {
    Event::HelmVersion("v4.3.1".to_owned())
}

fn helm_ended(code: Option<i32>, seconds: u64, error: &str) -> Event {
    Event::HelmEnded { code, took: Duration::from_secs(seconds), error: error.to_owned() }
}

fn progress(seconds: u64, ready: u32, reason: &str) -> Event {
    Event::Progress {
        elapsed: Duration::from_secs(seconds),
        writes: Some(Writes { count: seconds / 5, last: "patch deployments/web".to_owned() }),
        waiting_for: vec![Workload {
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
            ready,
            wanted: 3,
            reasons: vec![reason.to_owned()],
        }],
    }
}

fn finished(outcome: Outcome, exit_code: u8, reason: &str, next: &[&str]) -> Event {
    Event::Finished {
        outcome,
        reason: reason.to_owned(),
        next: next.iter().map(|&n| n.to_owned()).collect(),
        exit_code,
    }
}

/// What the events add up to.
pub(crate) fn summary(events: &[Event]) -> Summary {
    let mut summary = Summary::default();
    // Each event comes 2.5 s after the last.
    (0..).zip(events).for_each(|(at, event)| summary.apply(event, Duration::from_millis(at * 2500)));
    summary
}

pub(crate) fn healthy() -> Vec<Event> {
    vec![
        Event::Started(subject()),
        acquired(240, None),
        Event::Looked(history(12)),
        Event::HelmStarted,
        helm_version(),
        progress(10, 1, "ContainerCreating"),
        helm_ended(Some(0), 24, ""),
        Event::LookedAgain(history(13)),
        Event::Changed(Changes {
            since: Some(12),
            revision: 13,
            versions: vec![
                change("chart", "web-1.12.0", "web-1.13.0"),
                change("app version", "2.12", "2.13"),
                change("Deployment/web/app", "ci.example/web:2.12", "ci.example/web:2.13"),
            ],
            added: vec!["ConfigMap/web-features".to_owned()],
            changed: vec!["Deployment/web".to_owned(), "Secret/web".to_owned()],
            removed: Vec::new(),
        }),
        finished(Outcome::Deployed, 0, "", &[]),
    ]
}

pub(crate) fn rebase_repair() -> Vec<Event> {
    let mut stuck = history(4);
    stuck.push(row(5, Status::PendingUpgrade, "Preparing upgrade"));
    let mut after = history(4);
    after[3].status = Status::Superseded;
    after.push(row(5, Status::Failed, "helm-guard: marked failed, its run was killed"));
    after.push(row(6, Status::Deployed, "Upgrade complete"));
    vec![
        Event::Started(subject()),
        waiting(30),
        acquired(62_000, Some(holder())),
        Event::Looked(stuck),
        Event::Proven { took: Duration::from_millis(3100) },
        Event::RepairPlanned {
            strategy: "rebase".to_owned(),
            finding: "revision 5 is pending-upgrade and the run that made it is dead".to_owned(),
            why: "revision 4 is deployed and matches the cluster, so helm can upgrade from it".to_owned(),
        },
        Event::BackedUp { path: "backups/shop.web-p7x2mf.json".to_owned() },
        Event::BackupSaved { path: "backups/shop-web-5.json".to_owned(), revisions: vec![4, 5] },
        Event::Repaired("revision 5: pending-upgrade → failed".to_owned()),
        Event::HelmStarted,
        helm_version(),
        helm_ended(Some(0), 41, ""),
        Event::LookedAgain(after),
        Event::Changed(Changes { since: Some(4), revision: 6, ..Changes::default() }),
        finished(Outcome::Deployed, 0, "", &[]),
    ]
}

pub(crate) fn crash_loop() -> Vec<Event> {
    let mut after = history(7);
    after.push(row(8, Status::Failed, "Upgrade \"web\" failed: context deadline exceeded"));
    let pod = |name: &str, restarts| PodTrouble {
        pod: name.to_owned(),
        container: "app".to_owned(),
        reason: "CrashLoopBackOff".to_owned(),
        message: "back-off 2m40s restarting failed container=app: exit code 1".to_owned(),
        restarts,
    };
    vec![
        Event::Started(subject()),
        acquired(180, None),
        Event::Looked(history(7)),
        Event::HelmStarted,
        helm_version(),
        Event::Warning("chart web is deprecated".to_owned()),
        progress(60, 1, "CrashLoopBackOff"),
        helm_ended(Some(1), 300, "Error: UPGRADE FAILED: context deadline exceeded"),
        Event::Diagnosed {
            causes: vec![Cause {
                id: "crash-loop",
                object: "Deployment/web".to_owned(),
                summary: "container app crashes: exit code 1".to_owned(),
                evidence: vec![
                    "Pod/web-6d9f7c-4x2lp container app: Error, exit code 1, 5 restarts".to_owned(),
                    "log: connecting".to_owned(),
                    "log: panic: no such table: users".to_owned(),
                ],
                remedy: vec!["kubectl logs web-6d9f7c-4x2lp -c app -n shop --previous".to_owned()],
            }],
            refusals: Vec::new(),
        },
        Event::Trouble {
            pods: vec![pod("web-6d9f7c-4x2lp", 5), pod("web-6d9f7c-9qk7d", 4)],
            events: vec![WarningEvent {
                object: "Pod/web-6d9f7c-4x2lp".to_owned(),
                reason: "BackOff".to_owned(),
                message: "Back-off restarting failed container app in pod web-6d9f7c-4x2lp".to_owned(),
                count: 17,
            }],
        },
        Event::LookedAgain(after),
        finished(
            Outcome::Failed,
            1,
            "helm gave up waiting: Deployment/web has 1 of 3 pods ready",
            &["kubectl logs --namespace shop web-6d9f7c-4x2lp --container app --previous"],
        ),
    ]
}

pub(crate) fn lock_timeout() -> Vec<Event> {
    vec![
        Event::Started(subject()),
        waiting(0),
        waiting(10),
        waiting(600),
        Event::LockKept(holder()),
        finished(
            Outcome::LockTimeout,
            75,
            "lock k3v9qd was held by https://ci.example/shop/web/actions/runs/8119 for the whole 10m 00s of --lock-timeout \
             (lease helm-guard-web)",
            &[
                "wait for that run, or give this one a longer --lock-timeout",
                "helm-guard unlock web -n shop --id k3v9qd",
            ],
        ),
    ]
}

pub(crate) fn run_over() -> Vec<Event> {
    let why = "its CI run is over: cancelled".to_owned();
    vec![
        Event::Started(subject()),
        waiting(0),
        Event::RunOver { holder: holder(), why },
        acquired(310, Some(holder())),
        Event::Looked(history(3)),
        Event::HelmStarted,
        helm_version(),
        helm_ended(Some(0), 24, ""),
        Event::LookedAgain(history(4)),
        finished(Outcome::Deployed, 0, "", &[]),
    ]
}

pub(crate) fn outdated() -> Vec<Event> {
    vec![
        Event::Started(subject()),
        finished(
            Outcome::Outdated,
            0,
            "a newer run of the same workflow and ref has deployed commit 4f1c0d9a7b3e at 2026-06-01T10:02:11Z: run 312 \
             (https://ci.example/shop/web/actions/runs/8131) by mona",
            &["to deploy this one all the same: run it again, or --outdated allow"],
        ),
    ]
}

pub(crate) fn refused() -> Vec<Event> {
    vec![
        Event::Started(subject()),
        finished(
            Outcome::Refused,
            77,
            "may not create leases.coordination.k8s.io in namespace shop: forbidden",
            &["helm-guard permissions --namespace shop | kubectl apply -f -"],
        ),
    ]
}

fn certain() -> Weight {
    certainty::of(&Ground::Size, &Situation::default())
}

pub(crate) fn foreseen() -> Vec<Event> {
    let claim = Finding {
        id: "claim-not-resizable",
        weight: certain(),
        object: "PersistentVolumeClaim/data".to_owned(),
        field: "spec.resources.requests.storage".to_owned(),
        cause: "only dynamically provisioned pvc can be resized".to_owned(),
        live: "1Gi, storage class slow".to_owned(),
        wanted: "2Gi".to_owned(),
        remedy: vec!["in the values, set the size of data back to 1Gi".to_owned()],
    };
    let secret = Finding {
        id: "reference-missing",
        object: "Deployment/web".to_owned(),
        field: "containers[web].env[A]".to_owned(),
        cause: "Secret/db does not exist, and this release does not render it".to_owned(),
        remedy: vec!["create it first, or correct the name: kubectl get secret -n shop".to_owned()],
        ..Finding::default()
    };
    let reason = format!("the API server would refuse it: {}", claim.sentence());
    let next = claim.remedy[0].clone();
    vec![
        Event::Started(subject()),
        acquired(90, None),
        Event::Looked(history(3)),
        Event::HelmStarted,
        helm_version(),
        Event::Foreseen { findings: vec![claim, secret], took: Duration::from_millis(40), refuses: true },
        Event::LookedAgain(history(3)),
        finished(Outcome::Refused, 77, &reason, &[&next]),
    ]
}

pub(crate) fn cancelled() -> Vec<Event> {
    let mut after = history(3);
    after.push(row(4, Status::Failed, "Upgrade \"web\" failed: release web failed: context canceled"));
    vec![
        Event::Started(subject()),
        acquired(90, None),
        Event::Looked(history(3)),
        Event::HelmStarted,
        helm_version(),
        progress(10, 0, "ContainerCreating"),
        Event::Stopping { cause: "SIGINT".to_owned() },
        helm_ended(Some(1), 13, "Error: UPGRADE FAILED: release web failed: context canceled"),
        Event::LookedAgain(after),
        finished(Outcome::Cancelled, 130, "SIGINT arrived 11s after helm started", &[]),
    ]
}

/// The last event never came.
pub(crate) fn killed() -> Vec<Event> {
    vec![
        Event::Started(subject()),
        acquired(90, None),
        Event::Looked(history(3)),
        Event::HelmStarted,
        helm_version(),
        progress(20, 2, "ContainerCreating"),
    ]
}

/// Every field that may hold text from elsewhere holds this one.
pub(crate) fn hostile_run(text: &str) -> Vec<Event> {
    let x = || text.to_owned();
    let everyone = Owner {
        name: x(),
        run_url: x(),
        run_id: x(),
        run_number: x(),
        run_attempt: x(),
        repository: x(),
        workflow: x(),
        workflow_file: x(),
        job: x(),
        job_id: x(),
        git_ref: x(),
        commit: x(),
        actor: x(),
    };
    let holder = Holder {
        lock_id: x(),
        identity: x(),
        owner: everyone.clone(),
        operation: x(),
        release: x(),
        since: x(),
    };
    let mut revision = row(1, Status::Failed, text);
    (revision.chart, revision.app_version, revision.updated) = (x(), x(), x());
    let mut broken = revision.clone();
    broken.undecodable = x();
    vec![
        Event::Started(Subject {
            command: x(),
            release: x(),
            namespace: x(),
            helm_flags: vec![x()],
            owner: everyone,
        }),
        Event::Warning(x()),
        Event::LockWaiting { holder: holder.clone(), waited: Duration::ZERO, unlock: x() },
        Event::LockWaiting { holder: holder.clone(), waited: Duration::from_secs(1), unlock: x() },
        Event::LockKept(holder.clone()),
        Event::RunOver { holder: holder.clone(), why: x() },
        Event::LockAcquired { lock_id: x(), lease: x(), waited: Duration::ZERO, taken_over: Some(holder) },
        Event::FaredBefore(health::Finding {
            health: health::Health::Degraded,
            revision: 1,
            reasons: vec![x()],
        }),
        Event::Looked(vec![revision.clone(), broken.clone()]),
        Event::Foreseen {
            findings: vec![Finding {
                id: "refused",
                weight: certain(),
                object: x(),
                field: x(),
                cause: x(),
                live: x(),
                wanted: x(),
                remedy: vec![x()],
            }],
            took: Duration::ZERO,
            refuses: false,
        },
        Event::Recreated(x()),
        Event::RepairPlanned { strategy: x(), finding: x(), why: x() },
        Event::BackedUp { path: x() },
        Event::BackupSaved { path: x(), revisions: vec![1] },
        Event::Repaired(x()),
        Event::HelmStarted,
        Event::HelmVersion(x()),
        Event::Progress {
            elapsed: Duration::from_secs(1),
            writes: Some(Writes { count: 2, last: x() }),
            waiting_for: vec![Workload { kind: x(), name: x(), ready: 0, wanted: 1, reasons: vec![x()] }],
        },
        Event::Rollout {
            elapsed: Duration::from_secs(1),
            waiting_for: vec![Workload { kind: x(), name: x(), ready: 0, wanted: 1, reasons: vec![x()] }],
        },
        Event::Stopping { cause: x() },
        helm_ended(Some(1), 2, text),
        Event::Diagnosed {
            causes: vec![
                Cause {
                    id: "crash-loop",
                    object: x(),
                    summary: x(),
                    evidence: vec![x(), x(), x()],
                    remedy: vec![x()],
                };
                7
            ],
            refusals: vec![Refusal { method: x(), path: x(), code: 422, message: x() }],
        },
        Event::Trouble {
            pods: vec![PodTrouble { pod: x(), container: x(), reason: x(), message: x(), restarts: 1 }],
            events: vec![WarningEvent { object: x(), reason: x(), message: x(), count: 1 }],
        },
        Event::LookedAgain(vec![revision, broken]),
        Event::Changed(Changes {
            since: Some(1),
            revision: 2,
            versions: vec![Change { what: x(), before: x(), after: x() }],
            added: vec![x()],
            changed: vec![x()],
            removed: vec![x()],
        }),
        finished(Outcome::Failed, 1, text, &[text]),
    ]
}
