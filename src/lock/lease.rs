//! The Lease behind the lock: every write is a compare-and-swap on resource version and UID.
//! `lock.rs` decides what follows from what is read.

mod hold;
mod object;

use std::{cell::Cell, task::Poll, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
};

#[cfg(test)]
pub(crate) use hold::Teller;
use hold::hold;
pub use hold::{Claim, Claims, End, Held, Lent, give_back};
use object::{LABEL, change_lines, claim, lines, refresh, set_members};
pub use object::{deployed, view};

use super::{
    Decision, LeaseView, Observer, Times,
    contender::Queue,
    joined::{Base, Member, Watch, may_join},
    protocol::{self, Answer, Step},
    run_history::{Lines, Newer},
};
use crate::{clock::Clock, cluster, located::Located, lock::holder::Holder};

/// How long an API server is tried that has not answered yet.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody living held it for the whole time.
    #[error("lock {lease} is held by {}", .holder.owner.name)]
    Timeout {
        /// Lease name.
        lease: String,
        /// Who.
        holder: Box<Holder>,
    },
    /// A newer run has deployed, or will: there is nothing left to do.
    #[error("outdated: {}", .0.why())]
    Outdated(Box<Newer>),
    /// No right to Leases.
    #[error("no permission to {verb} leases in namespace {namespace}: {message}")]
    Forbidden {
        /// The verb that was refused.
        verb: &'static str,
        /// Namespace.
        namespace: String,
        /// The API server's words.
        message: String,
    },
    /// The namespace is not there.
    #[error("namespace {0} not found")]
    NoNamespace(String),
    /// The waiting was given up. `unsure` when no answer came to a write under way: the lock may be ours all the same.
    #[error("lock {lease} is not waited for any longer")]
    Stopped {
        /// Lease name.
        lease: String,
        /// Whether that is not known.
        unsure: bool,
    },
    /// The API server cannot be reached, or refused otherwise.
    #[error("{}", cluster::told(.0))]
    Api(kube::Error),
}

impl From<kube::Error> for LockError {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// Lease name.
    pub lease: String,
    /// Namespace.
    pub namespace: String,
    /// Who this process is, with its lock id and unique identity.
    pub me: Holder,
    /// Lease times.
    pub times: Times,
    /// Bounds the waiting.
    pub timeout: Duration,
    /// Lock ID of the hold that this process works under, if somebody has handed it one.
    pub within: Option<String>,
    /// Most likely there is no such Lease yet: it is created without a look. One that is there after all is looked at then.
    pub is_new: bool,
}

/// How an acquisition went.
#[derive(Debug)]
pub struct Acquired {
    /// The lock.
    pub held: Held,
    /// How long it took.
    pub waited: Duration,
    /// The dead holder it was taken from.
    pub taken_over: Option<Holder>,
}

/// How long the answer to a write is waited for that was under way when the waiting was given up, and the same for
/// giving the lock back then.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Takes the lock, waiting for a living holder to let go; `waiting` is told about the holder at each look. When `stop`
/// ends, so does the waiting; a lock that was just being taken is given back.
///
/// # Errors
/// When the time is over, it was stopped, rights are missing, or the API server cannot be reached.
pub async fn acquire(
    client: Client,
    request: &Request,
    clock: Clock,
    queue: &mut Queue<'_>,
    stop: impl Future<Output = ()>,
    waiting: impl FnMut(&Holder, Duration),
) -> Result<Acquired, LockError> {
    let stopped = |unsure| LockError::Stopped { lease: request.lease.clone(), unsure };
    let claiming = Cell::new(false);
    let mut work = std::pin::pin!(take(client.clone(), request, clock, queue, waiting, &claiming));
    tokio::select! {
        biased;
        answer = &mut work => return answer,
        () = stop => {}
    }
    if !claiming.get() {
        return Err(stopped(false));
    }
    // Dropped now, it might still be done: then nobody would give the lock back.
    let answer = std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if claiming.get() => Poll::Pending,
        Poll::Pending => Poll::Ready(None),
    });
    match tokio::time::timeout(LAST_ANSWER, answer).await {
        Ok(Some(Ok(acquired))) => {
            let released = tokio::time::timeout(LAST_ANSWER, acquired.held.release(false)).await;
            Err(stopped(!matches!(released, Ok(Ok(())))))
        }
        // Somebody was quicker, or it was refused.
        Ok(_) => Err(stopped(false)),
        Err(_) => {
            let api: Api<Lease> = Api::namespaced(client, &request.namespace);
            let identity = &request.me.identity;
            let given = give_back(&api, &request.lease, identity, &End::Vacate);
            // The write may still be under way behind it.
            let _ = tokio::time::timeout(LAST_ANSWER, given).await;
            Err(stopped(true))
        }
    }
}

/// As [`acquire`]; `claiming` tells when a claim is under way, or nobody knows what became of one.
async fn take(
    client: Client,
    request: &Request,
    clock: Clock,
    queue: &mut Queue<'_>,
    waiting: impl FnMut(&Holder, Duration),
    claiming: &Cell<bool>,
) -> Result<Acquired, LockError> {
    let api: Api<Lease> = Api::namespaced(client, &request.namespace);
    let mut unsure = None;
    let acquired = contend(&api, request, clock, queue, waiting, &mut unsure, claiming).await;
    if acquired.is_err() && unsure.is_some() {
        // A claim whose answer never came may have been done. If this fails too, the Lease runs out by itself.
        let _ = give_back(&api, &request.lease, &request.me.identity, &End::Vacate).await;
    }
    acquired
}

/// `unsure` is whom the lock was taken from, once a claim got no answer.
async fn contend(
    api: &Api<Lease>,
    request: &Request,
    clock: Clock,
    queue: &mut Queue<'_>,
    mut waiting: impl FnMut(&Holder, Duration),
    unsure: &mut Option<Option<Holder>>,
    claiming: &Cell<bool>,
) -> Result<Acquired, LockError> {
    let started = clock.monotonic();
    let deadline = started + request.timeout;
    let mut observer = Observer { me: request.me.identity.clone(), last: None };
    let mut joining = None;
    let mut members = Watch::default();
    let mut answered = false;
    let mut is_new = request.is_new && request.within.is_none();
    loop {
        claiming.set(unsure.is_some());
        let asked = clock.monotonic();
        let without_a_look = std::mem::take(&mut is_new);
        let look = async { if without_a_look { Ok(None) } else { api.get_opt(&request.lease).await } };
        let found = match bounded(reading(&request.times), look).await {
            Ok(found) => {
                answered |= !without_a_look;
                found
            }
            // A server that is away for a moment is waited for like a holder; one that never answered is most likely
            // the wrong one, and its user wants to know soon.
            Err(error)
                if is_passing(&error)
                    && asked < if answered { deadline } else { deadline.min(started + FIRST_ANSWER) } =>
            {
                tokio::time::sleep(request.times.look_every).await;
                continue;
            }
            Err(error) => return Err(explain(error, "get", request)),
        };
        // Not before: the reading may show what was written just now.
        let now = clock.monotonic();
        let seen = found.as_ref().map(view);
        let lines = found.as_ref().map(lines).unwrap_or_default();
        let over = |member: &Member| members.is_over(member, now, Located::has_ended);
        let base = seen.as_ref().and_then(|view| may_join(view, request.within.as_deref(), over));
        let base = base.or_else(|| joining.take().filter(|base| has_joined(seen.as_ref(), base, request)));
        if let (Some(base), Some(lease)) = (base, &found) {
            if let Some(newer) = queue.outdated(&lines, &request.me, true).await {
                return Err(LockError::Outdated(Box::new(newer)));
            }
            claiming.set(true);
            if let Some(held) = join(api, request, lease.clone(), base.clone(), now, clock).await? {
                return Ok(Acquired { held, waited: clock.monotonic() - started, taken_over: None });
            }
            joining = Some(base);
            continue;
        }
        let over = queue.look(seen.as_ref(), now);
        let decision = observer.decide(seen.as_ref(), &request.times, now, deadline, over.as_deref());
        let is_next = matches!(decision, Decision::Create | Decision::Take { .. });
        if let Some(newer) = queue.outdated(&lines, &request.me, is_next).await {
            return Err(LockError::Outdated(Box::new(newer)));
        }
        // What comes first also connects.
        let limit = if without_a_look { reading(&request.times) } else { writing(&request.times) };
        let (written, is_create, from) = match decision {
            Decision::Wait { holder, look_again } => {
                waiting(&holder, now - started);
                if let Some(found) = found.filter(|_| lines.lacks(&request.me)) {
                    revise(api, request, found, |lines| lines.enter(&request.me)).await;
                }
                queue.pause(look_again).await;
                continue;
            }
            Decision::GiveUp { holder } => {
                if let Some(found) = found.filter(|_| lines.awaits(&request.me)) {
                    revise(api, request, found, |lines| lines.leave(&request.me, None)).await;
                }
                return Err(LockError::Timeout { lease: request.lease.clone(), holder: Box::new(holder) });
            }
            Decision::Create => {
                claiming.set(true);
                let lease = claim(None, request, clock);
                (bounded(limit, api.create(&PostParams::default(), &lease)).await, true, None)
            }
            Decision::Take { from } => {
                claiming.set(true);
                let lease = claim(found, request, clock);
                (bounded(limit, swap(api, &lease)).await, false, from.or(unsure.clone().flatten()))
            }
        };
        let answer = answer(&written);
        let may_look = now < deadline || unsure.is_none();
        match (protocol::claimed(answer, is_create, may_look), written) {
            (Step::Done, Ok(lease)) => {
                if let Some(from) = from.as_ref().filter(|from| over.as_ref() == Some(&from.identity)) {
                    queue.taken(from);
                }
                let held = hold(api.clone(), request, lease, now, clock, None);
                return Ok(Acquired { held, waited: clock.monotonic() - started, taken_over: from });
            }
            (Step::Fail, Err(error)) => {
                let verb = if is_create { "create" } else { "update" };
                return Err(explain(error, verb, request));
            }
            _ if answer == Answer::Unknown => {
                *unsure = Some(from);
                tokio::time::sleep(request.times.look_every).await;
            }
            _ => {}
        }
    }
}

/// Did a join that got no answer happen? `base` is the hold as it was before.
fn has_joined(seen: Option<&LeaseView>, base: &Base, request: &Request) -> bool {
    let holder = seen.and_then(|view| view.holder.as_ref());
    holder.is_some_and(|now| now.identity == base.holder.identity && now.lock_id == request.me.lock_id)
}

/// Takes up again, in another process, a lock that `identity` holds: its own process is dead. Else says who has it now.
///
/// # Errors
/// When the API server cannot be reached.
pub async fn resume(
    client: Client,
    namespace: &str,
    name: &str,
    identity: &str,
    clock: Clock,
) -> Result<Result<Held, Option<Box<Holder>>>, kube::Error> {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let mut tries = 0;
    loop {
        let now = clock.monotonic();
        let Some(mut lease) = bounded(ANSWER, api.get_opt(name)).await? else { return Ok(Err(None)) };
        let LeaseView { holder, duration, .. } = view(&lease);
        let me = match holder {
            Some(me) if me.identity == identity => me,
            other => return Ok(Err(other.map(Box::new))),
        };
        refresh(&mut lease, clock);
        tries += 1;
        let written = bounded(ANSWER, swap(&api, &lease)).await;
        match (protocol::claimed(answer(&written), false, tries < TRIES), written) {
            (Step::Done, Ok(written)) => {
                let request = Request {
                    lease: name.to_owned(),
                    namespace: namespace.to_owned(),
                    me,
                    times: Times::new(duration),
                    timeout: Duration::ZERO,
                    within: None,
                    is_new: false,
                };
                return Ok(Ok(hold(api, &request, written, now, clock, None)));
            }
            (Step::Fail, Err(error)) => return Err(error),
            _ => {}
        }
    }
}

/// How long one request about a lock that nobody renews may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How often such a request is sent that gets no answer.
const TRIES: u32 = 3;

/// How long a look may take: a first one also connects, and asks for credentials.
fn reading(times: &Times) -> Duration {
    times.give_up_after.max(ANSWER)
}

/// How long a claim may take. It counts from before it was sent, so a late answer is worth little; whether it was done is
/// seen at the next look.
fn writing(times: &Times) -> Duration {
    times.renew_every.max(Duration::from_secs(1))
}

async fn bounded<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(kube::Error::Service(format!("no answer within {} s", limit.as_secs_f64()).into())),
    }
}

/// Replaces a Lease by compare-and-swap: it has the version and the UID with which it was read. The version stops a write
/// over another's; the UID, one that would create a deleted Lease anew.
async fn swap(api: &Api<Lease>, lease: &Lease) -> Result<Lease, kube::Error> {
    debug_assert!(lease.metadata.uid.is_some() && lease.metadata.resource_version.is_some());
    api.replace(&lease.name_any(), &PostParams::default(), lease).await
}

/// What an answer means. Without one, and with one that cannot be read, the write may have been done.
fn answer<T>(result: &Result<T, kube::Error>) -> Answer {
    match result {
        Ok(_) => Answer::Done,
        Err(kube::Error::Api(status)) => match status.code {
            409 => Answer::Conflict,
            404 => Answer::Missing,
            429 | 500.. => Answer::Unknown,
            _ => Answer::Refused,
        },
        Err(_) => Answer::Unknown,
    }
}

fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 429,
        kube::Error::Service(_) | kube::Error::HyperError(_) => true,
        _ => false,
    }
}

fn explain(error: kube::Error, verb: &'static str, request: &Request) -> LockError {
    refused(error, verb, &request.namespace)
}

fn refused(error: kube::Error, verb: &'static str, namespace: &str) -> LockError {
    let namespace = namespace.to_owned();
    match &error {
        kube::Error::Api(status) if status.code == 403 => {
            LockError::Forbidden { verb, namespace, message: status.message.clone() }
        }
        kube::Error::Api(status) if status.code == 404 => LockError::NoNamespace(namespace),
        _ => LockError::Api(error),
    }
}

/// Works under a hold of another process, which stays the holder: both renew. Only one at a time is let in: meanwhile
/// the hold has this one's lock ID, which only those know whom it lets in itself.
async fn join(
    api: &Api<Lease>,
    request: &Request,
    mut lease: Lease,
    base: Base,
    now: Duration,
    clock: Clock,
) -> Result<Option<Held>, LockError> {
    // A hold for a long time is renewed as often as any other, so that life and loss are seen as soon.
    let times = Times::new(view(&lease).duration.min(request.times.duration));
    let Base { holder, mut members } = base;
    let operation = format!("{} in {}", request.me.operation, holder.operation);
    members.push(Member {
        lock_id: request.me.lock_id.clone(),
        operation: operation.clone(),
        renewed: clock.wall().to_string(),
        // Rounded up: it is to be believed at least as long as it believes in itself.
        seconds: u64::try_from(times.duration.as_millis().div_ceil(1000)).unwrap_or(u64::MAX),
        process: Located::this(),
    });
    set_members(&mut lease, &members);
    change_lines(&mut lease, |lines| lines.enter(&request.me));
    refresh(&mut lease, clock);
    let written = bounded(writing(&times), swap(api, &lease)).await;
    match (protocol::claimed(answer(&written), false, true), written) {
        (Step::Done, Ok(written)) => {
            let me = Holder { lock_id: request.me.lock_id.clone(), operation, ..holder.clone() };
            let member = request.me.lock_id.clone();
            let lent = Lent { operation: holder.operation, lock_id: holder.lock_id, member };
            let joined = Request { me, times, ..request.clone() };
            Ok(Some(hold(api.clone(), &joined, written, now, clock, Some(lent))))
        }
        (Step::Fail, Err(error)) => Err(explain(error, "update", request)),
        _ => Ok(None),
    }
}

/// Takes a Lease from whoever `found` says holds it, by compare-and-swap: `None` if it has changed since it was read.
/// Whether that is right is decided in `unlock.rs`.
///
/// # Errors
/// When rights are missing, or the API server cannot be reached.
pub async fn seize(
    client: Client,
    request: &Request,
    found: Lease,
    clock: Clock,
) -> Result<Option<Held>, LockError> {
    let api: Api<Lease> = Api::namespaced(client.clone(), &request.namespace);
    let now = clock.monotonic();
    let lease = claim(Some(found), request, clock);
    let written = bounded(writing(&request.times), swap(&api, &lease)).await;
    let answer = answer(&written);
    match (protocol::claimed(answer, false, true), written) {
        (Step::Done, Ok(written)) => Ok(Some(hold(api, request, written, now, clock, None))),
        (Step::Fail, Err(error)) => Err(explain(error, "update", request)),
        // If it was done, the Lease names us.
        _ if answer == Answer::Unknown => {
            let found = resume(client, &request.namespace, &request.lease, &request.me.identity, clock).await;
            found.map(Result::ok).map_err(|error| explain(error, "get", request))
        }
        _ => Ok(None),
    }
}

/// Reads one Lease.
///
/// # Errors
/// When rights are missing, or the API server cannot be reached. A missing namespace is a missing Lease.
pub async fn find(client: Client, namespace: &str, name: &str) -> Result<Option<Lease>, LockError> {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let answer = bounded(ANSWER, api.get_opt(name)).await;
    answer.map_err(|error| refused(error, "get", namespace))
}

/// Reads all of helm-guard's Leases of a namespace, or of all, sorted by namespace and name.
///
/// # Errors
/// As [`find`].
pub async fn list(client: Client, namespace: Option<&str>) -> Result<Vec<Lease>, LockError> {
    let api: Api<Lease> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let params = ListParams::default().labels(&format!("{}={}", LABEL.0, LABEL.1));
    let answer = bounded(ANSWER, api.list(&params)).await;
    let mut leases = answer.map_err(|error| refused(error, "list", namespace.unwrap_or("*")))?.items;
    leases.sort_by_key(|lease| (lease.namespace(), lease.name_any()));
    Ok(leases)
}

/// Changes the line of runs by compare-and-swap while somebody else has the lock. Neither holder nor renew time is touched:
/// that must not look like a sign of life. It may not succeed; then the next look may try again.
async fn revise(api: &Api<Lease>, request: &Request, mut found: Lease, change: impl FnOnce(&mut Lines)) {
    change_lines(&mut found, change);
    found.metadata.managed_fields = None;
    let _ = bounded(writing(&request.times), swap(api, &found)).await;
}
