//! Runs as they happen, for the tests of every renderer.

use std::time::Duration;

use super::*;
use crate::release::{Revision, Status};

/// Every ending, with a name.
pub(crate) fn all() -> Vec<(&'static str, Vec<Event>)> {
    vec![
        ("healthy", healthy()),
        ("repaired", repaired()),
        ("crashing", crashing()),
        ("rolled back", rolled_back()),
        ("lock timeout", lock_timeout()),
        ("refused", refused()),
        ("cancelled", cancelled()),
        ("killed", killed()),
        ("uninstalled", uninstalled()),
    ]
}

pub(crate) fn summary(events: &[Event]) -> Summary {
    let mut summary = Summary::default();
    events.iter().for_each(|event| summary.apply(event));
    summary
}

/// An upgrade with nothing in the way.
pub(crate) fn healthy() -> Vec<Event> {
    vec![
        started("upgrade"),
        locked(0),
        Event::Looked(good_history()),
        helm(),
        progress(15, vec![deployment(1, 3, &["ContainerCreating", "ContainerCreating"])]),
        ended(Some(0), 23_400, ""),
        Event::LookedAgain(with(
            good_history(),
            revision(6, Status::Deployed, "web-1.5.0", "Upgrade complete"),
        )),
        finished(Outcome::Deployed, "", &[], 0),
    ]
}

/// The runner of the deploy before died; its lock ran out.
pub(crate) fn repaired() -> Vec<Event> {
    let stuck = revision(6, Status::PendingUpgrade, "web-1.4.3", "Preparing upgrade");
    let dead = revision(6, Status::Failed, "web-1.4.3", "helm-guard: the run that did this died");
    vec![
        started("upgrade"),
        Event::LockWaiting { holder: bob(), waited: Duration::from_millis(300) },
        Event::LockWaiting { holder: bob(), waited: Duration::from_secs(12) },
        Event::LockAcquired {
            lock_id: "9c1d44".into(),
            lease: "helm-guard-web".into(),
            waited: Duration::from_millis(15_200),
            taken_over: Some(bob()),
        },
        Event::Looked(with(good_history(), stuck)),
        Event::Proven { took: Duration::from_millis(410) },
        Event::RepairPlanned {
            strategy: "rebase".into(),
            finding: "revision 6 is pending-upgrade and the run that started it is over (cancelled)".into(),
            why: "helm then merges from revision 6, so nothing that only it created is left behind".into(),
        },
        Event::BackupSaved { path: "helm-guard-backup/shop.web.json".into(), revisions: vec![5, 6] },
        Event::Repaired("revision 6: pending-upgrade → failed".into()),
        Event::Repaired("revision 5: deployed → superseded, until helm is done".into()),
        helm(),
        ended(Some(0), 102_000, ""),
        Event::LookedAgain(with(
            with(superseded(good_history()), dead),
            revision(7, Status::Deployed, "web-1.5.0", "Upgrade complete"),
        )),
        finished(Outcome::Deployed, "", &[], 0),
    ]
}

/// Two replicas crash until Helm's timeout.
pub(crate) fn crashing() -> Vec<Event> {
    vec![
        started("upgrade"),
        locked(42),
        Event::Looked(good_history()),
        helm(),
        progress(65, vec![deployment(1, 3, &["CrashLoopBackOff", "CrashLoopBackOff"])]),
        ended(
            Some(1),
            302_000,
            "level=WARN msg=\"upgrade failed\" name=web\nError: UPGRADE FAILED: resource Deployment/shop/web not ready. \
             status: InProgress, message: Available: 1/3\ncontext deadline exceeded\n",
        ),
        Event::Trouble {
            pods: vec![
                crash("web-6d4f9c7b8-k2x9p", 5),
                crash("web-6d4f9c7b8-zt4wq", 5),
                PodTrouble {
                    pod: "web-migrate-7-8v5xn".into(),
                    reason: "Unschedulable".into(),
                    message: "0/3 nodes are available: 3 Insufficient memory.".into(),
                    ..PodTrouble::default()
                },
            ],
            events: vec![
                WarningEvent {
                    object: "Pod/web-6d4f9c7b8-k2x9p".into(),
                    reason: "BackOff".into(),
                    message: "Back-off restarting failed container web in pod web-6d4f9c7b8-k2x9p_shop"
                        .into(),
                    count: 23,
                },
                WarningEvent {
                    object: "Pod/web-migrate-7-8v5xn".into(),
                    reason: "FailedScheduling".into(),
                    message: "0/3 nodes are available: 3 Insufficient memory.".into(),
                    count: 4,
                },
            ],
        },
        Event::LookedAgain(with(
            good_history(),
            revision(6, Status::Failed, "web-1.5.0", "Upgrade \"web\" failed: context deadline exceeded"),
        )),
        finished(
            Outcome::Failed,
            "Deployment/web was not ready after 5m00s: container web keeps crashing (exit code 1)",
            &[
                "kubectl logs web-6d4f9c7b8-k2x9p -n shop -c web --previous",
                "helm-guard rollback web 5 -n shop",
            ],
            1,
        ),
    ]
}

/// The same with `--rollback-on-failure`.
pub(crate) fn rolled_back() -> Vec<Event> {
    let mut events = crashing();
    events.truncate(events.len() - 2);
    let failed =
        revision(6, Status::Failed, "web-1.5.0", "Upgrade \"web\" failed: context deadline exceeded");
    events.push(Event::LookedAgain(with(
        with(superseded(good_history()), failed),
        revision(7, Status::Deployed, "web-1.4.2", "Rollback to 5"),
    )));
    events.push(finished(
        Outcome::RolledBack,
        "Deployment/web was not ready after 5m00s: container web keeps crashing (exit code 1)",
        &["kubectl logs web-6d4f9c7b8-k2x9p -n shop -c web --previous"],
        1,
    ));
    events
}

/// Somebody else deploys for longer than `--lock-timeout`.
pub(crate) fn lock_timeout() -> Vec<Event> {
    vec![
        started("upgrade"),
        Event::LockWaiting { holder: bob(), waited: Duration::from_millis(200) },
        Event::LockWaiting { holder: bob(), waited: Duration::from_secs(600) },
        finished(
            Outcome::LockTimeout,
            "lock 7f3a2c is still renewed by bob's run; it was not touched",
            &["helm-guard status web -n shop", "helm-guard upgrade web -n shop --lock-timeout 20m …"],
            75,
        ),
    ]
}

/// The service account may not touch Leases.
pub(crate) fn refused() -> Vec<Event> {
    vec![
        started("upgrade"),
        Event::Warning("--history-max 2 prunes revision 5, the last good one, with the next upgrade".into()),
        finished(
            Outcome::Refused,
            "system:serviceaccount:shop:deployer may not create leases in namespace shop",
            &[
                "kubectl create role helm-guard -n shop --verb=get,create,update --resource=leases.coordination.k8s.io",
            ],
            77,
        ),
    ]
}

/// Somebody pressed cancel while Helm ran.
pub(crate) fn cancelled() -> Vec<Event> {
    vec![
        started("upgrade"),
        locked(0),
        Event::Looked(good_history()),
        helm(),
        progress(30, vec![deployment(2, 3, &[])]),
        Event::Stopping { cause: "SIGINT".into() },
        ended(Some(1), 31_700, "Error: UPGRADE FAILED: release web failed: context canceled\n"),
        Event::LookedAgain(with(
            good_history(),
            revision(6, Status::Failed, "web-1.5.0", "Release \"web\" failed: context canceled"),
        )),
        finished(
            Outcome::Cancelled,
            "helm was stopped by SIGINT and saved revision 6 as failed",
            &["helm-guard rollback web 5 -n shop"],
            130,
        ),
    ]
}

/// SIGKILL in the middle of Helm's wait: nothing is said any more.
pub(crate) fn killed() -> Vec<Event> {
    vec![
        started("upgrade"),
        locked(0),
        Event::Looked(good_history()),
        helm(),
        progress(75, vec![deployment(1, 3, &["ImagePullBackOff", "ImagePullBackOff"])]),
    ]
}

/// Nothing is left, the history neither.
pub(crate) fn uninstalled() -> Vec<Event> {
    vec![
        started("uninstall"),
        locked(0),
        Event::Looked(good_history()),
        helm(),
        ended(Some(0), 4_100, ""),
        Event::LookedAgain(vec![]),
        finished(Outcome::Uninstalled, "", &[], 0),
    ]
}

/// A run whose every untrusted text is `text`.
pub(crate) fn poisoned(text: &str) -> Vec<Event> {
    let poison = || text.to_owned();
    let owner = Owner {
        name: poison(),
        run_url: poison(),
        run_attempt: poison(),
        commit: poison(),
        actor: poison(),
        git_ref: poison(),
        workflow: poison(),
        job: poison(),
        ..Owner::default()
    };
    let holder = Holder {
        lock_id: poison(),
        identity: poison(),
        owner: owner.clone(),
        operation: poison(),
        since: poison(),
    };
    let row = Revision {
        chart: poison(),
        app_version: poison(),
        updated: poison(),
        undecodable: poison(),
        ..revision(1, Status::Failed, text, text)
    };
    vec![
        Event::Started(Subject {
            command: poison(),
            release: poison(),
            namespace: poison(),
            helm_flags: vec![poison()],
            owner,
        }),
        Event::Warning(poison()),
        Event::LockWaiting { holder: holder.clone(), waited: Duration::ZERO },
        Event::LockAcquired {
            lock_id: poison(),
            lease: poison(),
            waited: Duration::ZERO,
            taken_over: Some(Holder { operation: format!("x{text}"), ..holder }),
        },
        Event::Looked(vec![row.clone()]),
        Event::RepairPlanned { strategy: poison(), finding: poison(), why: poison() },
        Event::BackupSaved { path: poison(), revisions: vec![1] },
        Event::Repaired(poison()),
        Event::HelmStarted { version: poison() },
        progress(
            1,
            vec![Workload { kind: poison(), name: poison(), reasons: vec![poison()], ..Workload::default() }],
        ),
        Event::Stopping { cause: poison() },
        ended(Some(1), 1, text),
        Event::Trouble {
            pods: vec![PodTrouble {
                pod: poison(),
                container: poison(),
                reason: poison(),
                message: poison(),
                restarts: 1,
            }],
            events: vec![WarningEvent { object: poison(), reason: poison(), message: poison(), count: 1 }],
        },
        Event::LookedAgain(vec![row.clone(), row]),
        finished(Outcome::Failed, text, &[text], 1),
    ]
}

pub(crate) fn good_history() -> Vec<Revision> {
    superseded(vec![
        revision(3, Status::Deployed, "web-1.4.0", "Upgrade complete"),
        revision(4, Status::Deployed, "web-1.4.1", "Upgrade complete"),
    ])
    .into_iter()
    .chain([revision(5, Status::Deployed, "web-1.4.2", "Upgrade complete")])
    .collect()
}

fn superseded(mut history: Vec<Revision>) -> Vec<Revision> {
    history.iter_mut().for_each(|row| row.status = Status::Superseded);
    history
}

fn with(mut history: Vec<Revision>, row: Revision) -> Vec<Revision> {
    history.push(row);
    history
}

pub(crate) fn revision(revision: u32, status: Status, chart: &str, description: &str) -> Revision {
    Revision {
        revision,
        status,
        chart: chart.into(),
        app_version: "2.8.1".into(),
        updated: format!("2026-07-{:02}T09:58:03.12345+02:00", 7 + revision),
        description: description.into(),
        undecodable: String::new(),
    }
}

fn started(command: &str) -> Event {
    Event::Started(Subject {
        command: command.into(),
        release: "web".into(),
        namespace: "shop".into(),
        helm_flags: vec!["--install".into(), "--wait".into(), "--timeout".into(), "--set".into()],
        owner: Owner {
            name: "https://github.com/acme/shop/actions/runs/5012".into(),
            run_url: "https://github.com/acme/shop/actions/runs/5012".into(),
            run_id: "5012".into(),
            run_number: "88".into(),
            run_attempt: "1".into(),
            workflow: "deploy".into(),
            job: "production".into(),
            git_ref: "refs/heads/main".into(),
            commit: "4f2c9e1b7d3a8c5e6f0142536475869708192a3b".into(),
            actor: "alice".into(),
        },
    })
}

fn bob() -> Holder {
    Holder {
        lock_id: "7f3a2c".into(),
        identity: "github/acme/shop/5007/2/production/4711".into(),
        owner: Owner {
            name: "https://github.com/acme/shop/actions/runs/5007/attempts/2".into(),
            run_url: "https://github.com/acme/shop/actions/runs/5007/attempts/2".into(),
            run_attempt: "2".into(),
            commit: "b81e07d2c4a6958f3e1d0b7c6a5948372615f4e3".into(),
            actor: "bob".into(),
            ..Owner::default()
        },
        operation: "upgrade".into(),
        since: "2026-07-14T10:02:11Z".into(),
    }
}

fn locked(waited: u64) -> Event {
    Event::LockAcquired {
        lock_id: "9c1d44".into(),
        lease: "helm-guard-web".into(),
        waited: Duration::from_millis(waited * 1000 + 120),
        taken_over: None,
    }
}

fn helm() -> Event {
    Event::HelmStarted { version: "v4.3.1".into() }
}

fn progress(elapsed: u64, waiting_for: Vec<Workload>) -> Event {
    Event::Progress { elapsed: Duration::from_secs(elapsed), waiting_for }
}

fn deployment(ready: u32, wanted: u32, reasons: &[&str]) -> Workload {
    let reasons = reasons.iter().map(|&reason| reason.into()).collect();
    Workload { kind: "Deployment".into(), name: "web".into(), ready, wanted, reasons }
}

fn crash(pod: &str, restarts: u32) -> PodTrouble {
    PodTrouble {
        pod: pod.into(),
        container: "web".into(),
        reason: "CrashLoopBackOff".into(),
        message: "back-off 2m40s restarting failed container=web; last exit code 1".into(),
        restarts,
    }
}

fn ended(code: Option<i32>, millis: u64, error: &str) -> Event {
    Event::HelmEnded { code, took: Duration::from_millis(millis), error: error.into() }
}

fn finished(outcome: Outcome, reason: &str, next: &[&str], exit_code: u8) -> Event {
    Event::Finished {
        outcome,
        reason: reason.into(),
        next: next.iter().map(|&line| line.into()).collect(),
        exit_code,
    }
}
