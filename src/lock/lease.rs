//! The Lease behind the lock: every write is a compare-and-swap on resource version and UID.
//! `lock.rs` decides what follows from what is read.

mod contest;
mod hold;
mod object;

use std::{cell::Cell, task::Poll, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
};

use contest::Contest;
#[cfg(test)]
pub(crate) use hold::Teller;
use hold::hold;
pub use hold::{Claim, Claims, End, Held, Lent, give_back};
use object::{LABEL, claim, refresh};
pub use object::{deployed, view};

use super::{
    LeaseView, Times,
    contender::Queue,
    protocol::{self, Answer, Step},
    run_history::Newer,
};
use crate::{clock::Clock, cluster, lock::holder::Holder};

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
    #[error("{}", cluster::describe_error(.0))]
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
    let mut contest = Contest::new(&api, request, clock, claiming);
    let acquired = contest.run(queue, waiting).await;
    if acquired.is_err() && contest.is_unsure() {
        // A claim whose answer never came may have been done. If this fails too, the Lease runs out by itself.
        let _ = give_back(&api, &request.lease, &request.me.identity, &End::Vacate).await;
    }
    acquired
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

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
