//! `lock status`, `lock acquire`, `lock release`: locks as a person or a script sees them.
//! `lock run` is in a file of its own; what a list looks like is in `lock/table.rs`.

use super::session::{CommandError, connect, listen, say, stdout_display};
use std::{io::Write, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt};

use crate::lock::{
    ACQUIRE, Life, Observer, Times, belief,
    contender::{Notice, Outdated, Queue},
    lease::{self, Acquired, End, LockError},
    lease_name,
    table::{self, Row},
};
use crate::{
    ci::{self, Desk},
    cli::{LockAcquire, LockRelease, LockStatus, LockWanted},
    clock::Clock,
    cluster::{Cluster, http_proxy::Proxies},
    env::{Env, LOCK_ID_ENV},
    exit,
    id::random,
    located::Located,
    lock::holder::{Holder, LockRef, card, who},
    output::Format,
    signals::{Signal, Signals},
    text::duration,
};

/// How often a waiter says that it still waits.
const STILL_WAITING: Duration = Duration::from_secs(15);

pub(super) async fn status(args: &LockStatus, env: &Env, clock: Clock) -> Result<u8, CommandError> {
    let cluster = connect(&args.cluster, env).await?;
    let namespace = (!args.all_namespaces).then_some(cluster.namespace.as_str());
    let leases = match &args.release {
        Some(release) if !args.all_namespaces => {
            let name = args.lock_name.clone().unwrap_or_else(|| lease_name(release));
            lease::find(cluster.client.clone(), &cluster.namespace, &name).await?.into_iter().collect()
        }
        _ => lease::list(cluster.client.clone(), namespace).await?,
    };
    let mut rows = rows(&cluster, &leases, args.check, clock).await?;
    if let (Some(release), true) = (&args.release, args.all_namespaces) {
        rows.retain(|row| row.release.split(", ").any(|one| one == release));
    }
    if rows.is_empty() {
        let of = args.release.as_ref().map(|release| format!(" of {release}")).unwrap_or_default();
        let place =
            namespace.map_or("any namespace".to_owned(), |namespace| format!("namespace {namespace}"));
        say(&format!("no lock{of} in {place}"));
    }
    if !rows.is_empty() || matches!(args.output, Format::Json | Format::Yaml) {
        let text = table::render(&rows, args.output, args.all_namespaces, stdout_display(env));
        let _ = write!(std::io::stdout(), "{text}");
    }
    Ok(0)
}

/// The Leases as a list has them; the holders of all are watched at once, if they are to be.
pub(crate) async fn rows(
    cluster: &Cluster,
    leases: &[Lease],
    check: bool,
    clock: Clock,
) -> Result<Vec<Row>, CommandError> {
    if check && leases.iter().any(|lease| lease::view(lease).holder.is_some()) {
        let longest = leases.iter().map(|lease| belief(&lease::view(lease))).max().unwrap_or_default();
        say(&format!("watching the lock holder for at most {}", duration(longest.as_secs_f64())));
    }
    let lives = leases.iter().map(|lease| async move {
        let (view, life) = life(cluster, lease, check, clock).await?;
        let (namespace, name) = (lease.namespace().unwrap_or_default(), lease.name_any());
        Ok(Row::new(&namespace, &name, &view, life, lease::deployed(lease)))
    });
    futures::future::try_join_all(lives).await
}

/// Watches a holder until it is known whether it lives; without `check` the Lease is as it was read.
pub(crate) async fn life(
    cluster: &Cluster,
    lease: &Lease,
    check: bool,
    clock: Clock,
) -> Result<(crate::lock::LeaseView, Life), CommandError> {
    let mut view = lease::view(lease);
    let mut observer = Observer::default();
    let namespace = lease.namespace().unwrap_or_default();
    let mut now = clock.monotonic();
    loop {
        if !check || view.holder.is_none() {
            return Ok((view, Life::Unknown));
        }
        match observer.life(&view, now) {
            Life::Unknown => {}
            known => return Ok((view, known)),
        }
        tokio::time::sleep(Times::new(belief(&view)).look_every).await;
        let found = lease::find(cluster.client.clone(), &namespace, &lease.name_any()).await?;
        now = clock.monotonic();
        view = found.as_ref().map(lease::view).unwrap_or_default();
    }
}

/// Where a lock is, and who wants it.
pub(crate) struct Wanted {
    pub(crate) place: LockRef,
    pub(crate) request: lease::Request,
    desk: Option<Desk>,
}

pub(crate) fn wanted(
    args: &LockWanted,
    cluster: &Cluster,
    operation: &str,
    ttl: Duration,
    env: &Env,
    host: &str,
    clock: Clock,
) -> Wanted {
    let place = LockRef::new(&args.release, &cluster.namespace, args.lock_name.as_deref());
    let lock_id = random();
    let owner = ci::owner(env, host);
    let request = lease::Request {
        lease: place.lease.clone(),
        namespace: place.namespace.clone(),
        me: Holder {
            identity: format!("{}-{lock_id}-{}", owner.name, std::process::id()),
            lock_id,
            owner,
            operation: operation.to_owned(),
            release: args.release.clone(),
            since: clock.wall().to_string(),
        },
        times: Times::new(ttl),
        timeout: args.lock_timeout,
        within: env.get(LOCK_ID_ENV).filter(|id| !id.is_empty()).cloned(),
        is_new: false,
    };
    Wanted { place, request, desk: ci::desk(env, Proxies::of(env)) }
}

/// Takes the lock, and says for whom it waits meanwhile.
pub(crate) async fn take(
    wanted: &Wanted,
    cluster: &Cluster,
    signals: &Signals,
    clock: Clock,
) -> Result<Acquired, CommandError> {
    let mut said: Option<Duration> = None;
    let waiting = |holder: &Holder, waited: Duration| match said {
        None => {
            say(&format!("waiting for the lock: held by {}", who(holder)));
            say(&format!(
                "hint: to free the lock: {}",
                wanted.place.unlock(crate::lock::holder::id(holder), "")
            ));
            said = Some(waited);
        }
        Some(last) if waited >= last + STILL_WAITING => {
            let so_far = duration(waited.as_secs_f64());
            say(&format!("waiting for the lock, {so_far} so far: held by {}", who(holder)));
            said = Some(waited);
        }
        Some(_) => {}
    };
    let mut queue = Queue::new(wanted.desk.clone(), Outdated::GoesOn, clock, |notice| match notice {
        Notice::Warning(text) => say(&format!("warning: {text}")),
        Notice::RunOver { why, .. } => say(&format!("the lock's holder is dead: {why}")),
    });
    let stop = async { _ = signals.first().await };
    let acquired =
        lease::acquire(cluster.lock_client(), &wanted.request, clock, &mut queue, stop, waiting).await;
    acquired.map_err(|error| match error {
        LockError::Stopped { .. } => {
            let signal = signals.heard().unwrap_or(Signal::Term);
            let why = format!("{} while waiting for the lock", signal.name());
            CommandError::new(exit::cancelled(signal.number()), why, &[])
        }
        LockError::Timeout { holder, .. } => {
            let timeout = duration(wanted.request.timeout.as_secs_f64());
            let why = format!(
                "lock {} stayed taken for the whole {timeout} of --lock-timeout (lease {})",
                crate::lock::holder::id(&holder),
                wanted.place.lease
            );
            let next = wanted.place.unlock(crate::lock::holder::id(&holder), "");
            CommandError { details: card(&holder), ..CommandError::new(exit::LOCK_TIMEOUT, why, &[&next]) }
        }
        error => error.into(),
    })
}

pub(super) async fn acquire(
    args: &LockAcquire,
    env: &Env,
    host: &str,
    clock: Clock,
) -> Result<u8, CommandError> {
    let signals = listen()?;
    let cluster = connect(&args.wanted.cluster, env).await?;
    let mut wanted = wanted(&args.wanted, &cluster, ACQUIRE, args.ttl, env, host, clock);
    // It is to outlive this process, and so belongs to nobody else's hold.
    wanted.request.within = None;
    let acquired = take(&wanted, &cluster, &signals, clock).await?;
    acquired.held.leave();
    let me = &wanted.request.me;
    let ttl = duration(args.ttl.as_secs_f64());
    say(&format!("lock {} taken for {ttl}: lease {}", me.lock_id, wanted.place.lease));
    let said = if args.output.is_some() {
        let place = &wanted.place;
        let json = serde_json::json!({
            "schemaVersion": 1, "release": place.release, "namespace": place.namespace, "lease": place.lease,
            "lockId": me.lock_id, "since": me.since, "ttlSeconds": args.ttl.as_secs(),
        });
        serde_json::to_string_pretty(&json).unwrap_or_default()
    } else {
        me.lock_id.clone()
    };
    let _ = writeln!(std::io::stdout(), "{said}");
    Ok(0)
}

pub(super) async fn release(args: &LockRelease, env: &Env) -> Result<u8, CommandError> {
    let cluster = connect(&args.cluster, env).await?;
    let place = LockRef::new(&args.release, &cluster.namespace, args.lock_name.as_deref());
    let found = lease::find(cluster.client.clone(), &place.namespace, &place.lease).await?;
    let view = found.as_ref().map(lease::view).unwrap_or_default();
    let Some(mut holder) = view.holder else {
        say(&format!("lease {} in namespace {}: no run holds it", place.lease, place.namespace));
        return Ok(0);
    };
    if let Some((first, rest)) = view.members.split_first().filter(|(first, _)| first.lock_id == args.id) {
        if let Some(alive) =
            rest.iter().find(|member| !member.process.as_ref().is_some_and(Located::has_ended))
        {
            let why = format!("lock {} is in use: {} works under it", args.id, alive.operation);
            return Err(CommandError::new(exit::REFUSED, why, &[&place.unlock(&alive.lock_id, "")]));
        }
        // Killed ones gave nothing back.
        (holder.lock_id, holder.operation) = (first.lock_id.clone(), first.operation.clone());
    }
    if crate::lock::holder::id(&holder) != args.id {
        let why = format!(
            "lock {} was lost: {} is held by {}",
            args.id,
            crate::lock::holder::id(&holder),
            who(&holder)
        );
        return Err(CommandError::new(exit::LOCK_LOST, why, &[]));
    }
    if holder.operation != ACQUIRE {
        // Its process is at work, or dead: that is to be looked at first.
        let why = format!("lock {} is not one of `lock acquire`: held by {}", args.id, who(&holder));
        return Err(CommandError::new(exit::REFUSED, why, &[&place.unlock(&args.id, "")]));
    }
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), &place.namespace);
    lease::give_back(&api, &place.lease, &holder.identity, &End::Vacate).await.map_err(LockError::from)?;
    say(&format!("lock {} given back", args.id));
    Ok(0)
}
