//! Takes the locks of a deploy, one after the other, and gives them back; explains why a lock could not be taken.

use std::{sync::Arc, time::Duration};

use super::{
    STATUS_INTERVAL,
    cancel::{End, in_time},
};
use crate::{
    cli,
    clock::Clock,
    cluster::Cluster,
    exit,
    helm::Command,
    lock::{
        Times,
        contender::{self, Notice, Queue},
        holder::{Holder, LockRef},
        lease,
        run_history::Newer,
    },
    report::{Event, Outcome, reporter::Reporter},
    request::{Request, Task},
    signals::Signals,
};

pub(super) async fn lost_any(locks: &[lease::Held]) -> String {
    match locks {
        [] => std::future::pending().await,
        [first, rest @ ..] => tokio::select! {
            why = first.lost() => why,
            why = Box::pin(lost_any(rest)) => why,
        },
    }
}

/// Gives the locks back, as far as they are still ours. One runs out by itself if the API server cannot be told. Were all
/// answers good?
pub(super) async fn release(signals: &Signals, locks: Vec<lease::Held>, forget: bool) -> bool {
    let released = futures::future::join_all(locks.into_iter().map(|lock| lock.release(forget)));
    in_time(signals, released).await.is_some_and(|all| all.iter().all(Result::is_ok))
}

/// Why there are no locks.
pub(super) struct NoLocks {
    pub(super) end: End,
    /// One may have been taken all the same: nobody knows.
    pub(super) may_hold: bool,
}

impl From<End> for NoLocks {
    fn from(end: End) -> Self {
        Self { end, may_hold: false }
    }
}

pub(super) async fn take_locks(
    request: &Request,
    reporter: &Arc<Reporter>,
    clock: Clock,
    cluster: &Cluster,
    lock_id: &str,
    signals: &Signals,
) -> Result<Vec<lease::Held>, NoLocks> {
    let mut locks = Vec::new();
    if request.guard.lock == crate::cli::Lock::Off {
        if request.task != Task::Check {
            reporter.emit(Event::Warning("--lock off: other deploys are not prevented".into()));
        }
        return Ok(locks);
    }
    // Of what follows, nothing waits then for a connection.
    cluster.warm();
    let client = cluster.lock_client();
    for name in lease_names(request) {
        let wanted = lease::Request {
            lease: name.clone(),
            namespace: cluster.namespace.clone(),
            me: Holder {
                lock_id: lock_id.to_owned(),
                identity: identity(request, lock_id),
                owner: request.owner.clone(),
                operation: request.operation().to_owned(),
                release: releases_of(request, &name),
                since: clock.wall().to_string(),
            },
            times: Times::new(request.guard.run.lease_duration),
            timeout: request.guard.lock_timeout,
            within: request.within.clone(),
            is_new: request.invocation.command == Command::Install,
        };
        // Of several releases any will do: the Lease is named.
        let of = request.releases().into_iter().find(|release| request.lease(release) == wanted.lease);
        let place = LockRef {
            release: of.unwrap_or_default(),
            namespace: cluster.namespace.clone(),
            lease: wanted.lease.clone(),
        };
        let mut said: Option<Duration> = None;
        let waiting = |holder: &Holder, waited: Duration| {
            let interval = if reporter.is_terminal() { STATUS_INTERVAL } else { request.guard.run.keepalive };
            if said.is_none_or(|said| waited >= said + interval) {
                // The first time is when the waiting begins.
                let waited = said.map_or(Duration::ZERO, |_| waited);
                said = Some(waited);
                let unlock = place.unlock(crate::lock::holder::id(holder), "");
                reporter.emit(Event::LockWaiting { holder: holder.clone(), waited, unlock });
            }
        };
        let mut queue = queue(request, reporter, clock);
        let stop = async { _ = signals.first().await };
        let acquired = lease::acquire(client.clone(), &wanted, clock, &mut queue, stop, waiting).await;
        match acquired {
            Ok(acquired) => {
                reporter.emit(Event::LockAcquired {
                    lock_id: lock_id.to_owned(),
                    lease: name,
                    waited: acquired.waited,
                    taken_over: acquired.taken_over,
                });
                locks.push(acquired.held);
            }
            Err(error) => {
                let free = release(signals, locks, false).await;
                if let lease::LockError::Stopped { unsure, .. } = error {
                    let end = End::cancelled(signals.first().await, "waiting for the lock");
                    return Err(NoLocks { end, may_hold: unsure || !free });
                }
                if let lease::LockError::Outdated(newer) = &error {
                    return Err(NoLocks { end: outdated(newer, request), may_hold: !free });
                }
                if let lease::LockError::Timeout { holder, .. } = error {
                    reporter.emit(Event::LockKept((*holder).clone()));
                    let timeout = crate::text::duration(request.guard.lock_timeout.as_secs_f64());
                    let unlock = place.unlock(crate::lock::holder::id(&holder), "");
                    let end = lock_kept(&wanted.lease, &holder, &timeout, &unlock);
                    return Err(NoLocks { end, may_hold: !free });
                }
                return Err(NoLocks { end: no_lock(error, &cluster.server), may_hold: !free });
            }
        }
    }
    Ok(locks)
}

/// What this run learns of others while it waits.
fn queue<'a>(request: &Request, reporter: &'a Arc<Reporter>, clock: Clock) -> Queue<'a> {
    let policy = match request.guard.outdated {
        cli::Outdated::Allow => contender::Outdated::GoesOn,
        cli::Outdated::Skip | cli::Outdated::Fail => contender::Outdated::Stops,
    };
    Queue::new(request.desk.clone(), policy, clock, move |notice| {
        reporter.emit(match notice {
            Notice::Warning(text) => Event::Warning(text),
            Notice::RunOver { holder, why } => Event::RunOver { holder: *holder, why },
        });
    })
}

/// Nothing was touched. Whoever wants to go back says so.
fn outdated(newer: &Newer, request: &Request) -> End {
    let code = if request.guard.outdated == cli::Outdated::Fail { exit::OUTDATED } else { 0 };
    // GitLab does not tell a job that a person retried from one that it retried itself.
    let next = if request.owner.run_attempt.is_empty() {
        "to deploy it anyway: --outdated allow"
    } else {
        "to deploy it anyway: run it again, or --outdated allow"
    };
    End::new(Outcome::Outdated, code, newer.why(), &[next])
}

/// What a Lease is held for: several releases when all have one lock.
fn releases_of(request: &Request, lease: &str) -> String {
    let releases = request.releases().into_iter().filter(|release| request.lease(release) == lease);
    releases.collect::<Vec<_>>().join(", ")
}

/// In the order in which they are taken; none when nothing is locked.
pub(super) fn lease_names(request: &Request) -> Vec<String> {
    if request.guard.lock == crate::cli::Lock::Off {
        return Vec::new();
    }
    let mut names: Vec<String> = request.releases().iter().map(|release| request.lease(release)).collect();
    names.sort();
    names.dedup();
    names
}

/// Unique to this process.
pub(super) fn identity(request: &Request, lock_id: &str) -> String {
    format!("{}-{lock_id}-{}", request.owner.name, std::process::id())
}

/// All that is known of the holder stands in the report, from [`Event::LockKept`].
fn lock_kept(lease: &str, holder: &Holder, timeout: &str, unlock: &str) -> End {
    let (id, owner) = (crate::lock::holder::id(holder), &holder.owner.name);
    let reason =
        format!("lock {id} was held by {owner} for the whole {timeout} of --lock-timeout (lease {lease})");
    let wait = "wait for that run, or give this one a longer --lock-timeout";
    End::new(Outcome::LockTimeout, exit::LOCK_TIMEOUT, reason, &[wait, unlock])
}

fn no_lock(error: lease::LockError, server: &str) -> End {
    match error {
        // The reason has the API server's words.
        lease::LockError::Forbidden { ref namespace, ref message, .. }
            if message.contains("because it is being terminated") =>
        {
            let look = format!("kubectl get namespace {namespace} -o jsonpath='{{.status.conditions}}'");
            let reason = format!("namespace {namespace} is being deleted and accepts no new objects");
            let next = "run it again, with --create-namespace, when the namespace is gone";
            End::new(Outcome::Refused, exit::REFUSED, reason, &[&look, next])
        }
        lease::LockError::Forbidden { .. } => {
            let rule = "add this rule to the deployer's Role: {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update, delete]}";
            End::new(
                Outcome::Refused,
                exit::REFUSED,
                error.to_string(),
                &[rule, "or use --lock off, which does not prevent other deploys"],
            )
        }
        lease::LockError::NoNamespace(namespace) => {
            let next = format!("kubectl create namespace {namespace}, or --create-namespace when installing");
            End::new(Outcome::Refused, exit::REFUSED, format!("namespace {namespace} not found"), &[&next])
        }
        error @ (lease::LockError::Timeout { .. } | lease::LockError::Stopped { .. }) => {
            End::new(Outcome::LockTimeout, exit::LOCK_TIMEOUT, error.to_string(), &[])
        }
        error @ lease::LockError::Outdated(_) => End::new(Outcome::Outdated, 0, error.to_string(), &[]),
        lease::LockError::Api(kube::Error::Api(_)) => {
            End::new(Outcome::Refused, exit::UNAVAILABLE, error.to_string(), &["kubectl get --raw /readyz"])
        }
        lease::LockError::Api(error) => {
            // With the address, which may be the wrong one.
            let error = anyhow::Error::new(error);
            let reason = format!("the API server {server} cannot be reached: {}", error.root_cause());
            End::new(Outcome::Refused, exit::UNAVAILABLE, reason, &["kubectl get --raw /readyz"])
        }
    }
}
