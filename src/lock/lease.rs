//! The Lease behind the lock: every write is a compare-and-swap on resource version and UID.
//! What to do about what is read is decided in `lock.rs`.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use super::{
    Decision, LeaseView, Observer, Standing, Times,
    line::{self, Lines, Newer},
    may_join,
    protocol::{self, Answer, Found, Hold, Mine, Next, Step},
    queue::Queue,
};
use crate::{
    clock::Clock,
    report::{Holder, Owner},
};

/// How long an API server is tried that has not answered yet.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
const PREFIX: &str = "helm-guard.dev/";
/// By which helm-guard's Leases are found, whatever their names.
const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "helm-guard");

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
    #[error(transparent)]
    Api(#[from] kube::Error),
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
}

/// The held lock. Renewed in the background until it is vacated or dropped.
#[derive(Debug)]
pub struct Held {
    api: Api<Lease>,
    me: Holder,
    lease: String,
    claim: Claim,
    /// How the hold is given back when it is another process's.
    lent: Option<Lent>,
    work: Arc<Work>,
    /// When it deployed, by our own clock, for people.
    deployed_at: Option<String>,
    renewal: JoinHandle<()>,
}

/// What is done under a lock, for its renewal to write down.
#[derive(Debug, Default)]
struct Work {
    helm_started: AtomicBool,
    changed: Notify,
}

/// A hold of another process under which this one works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lent {
    /// What the Lease said that its holder does.
    operation: String,
    /// Its lock ID.
    lock_id: String,
}

/// What others may know of a held lock: how it stands at any moment.
#[derive(Clone, Debug)]
pub struct Claim {
    state: watch::Receiver<State>,
    times: Times,
    clock: Clock,
}

/// What the renewal knows of a lock.
#[derive(Clone, Debug, PartialEq)]
enum State {
    /// Held; when the last successful renewal was sent.
    Held(Duration),
    /// Somebody else has it, or it could not be renewed in time.
    Lost(String),
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
    let mut answered = false;
    loop {
        claiming.set(unsure.is_some());
        let asked = clock.monotonic();
        let found = match bounded(reading(&request.times), api.get_opt(&request.lease)).await {
            Ok(found) => {
                answered = true;
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
        let lent = seen.as_ref().and_then(|view| may_join(view, request.within.as_deref())).cloned();
        let lent = lent.or_else(|| joining.take().filter(|lent| has_joined(seen.as_ref(), lent, request)));
        if let (Some(holder), Some(lease)) = (lent, &found) {
            if let Some(newer) = queue.outdated(&lines, &request.me, true).await {
                return Err(LockError::Outdated(Box::new(newer)));
            }
            claiming.set(true);
            if let Some(held) = join(api, request, lease.clone(), holder.clone(), now, clock).await? {
                return Ok(Acquired { held, waited: clock.monotonic() - started, taken_over: None });
            }
            joining = Some(holder);
            continue;
        }
        let over = queue.look(seen.as_ref(), now);
        let decision = observer.decide(seen.as_ref(), &request.times, now, deadline, over.as_deref());
        let is_next = matches!(decision, Decision::Create | Decision::Take { .. });
        if let Some(newer) = queue.outdated(&lines, &request.me, is_next).await {
            return Err(LockError::Outdated(Box::new(newer)));
        }
        let limit = writing(&request.times);
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

/// Did a join that got no answer happen? `lent` is the hold as it was before.
fn has_joined(seen: Option<&LeaseView>, lent: &Holder, request: &Request) -> bool {
    let holder = seen.and_then(|view| view.holder.as_ref());
    holder.is_some_and(|now| now.identity == lent.identity && now.lock_id == request.me.lock_id)
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
    holder: Holder,
    now: Duration,
    clock: Clock,
) -> Result<Option<Held>, LockError> {
    // A hold for a long time is renewed as often as any other, so that life and loss are seen as soon.
    let times = Times::new(view(&lease).duration.min(request.times.duration));
    let operation = format!("{} in {}", request.me.operation, holder.operation);
    note(&mut lease, "operation", &operation);
    note(&mut lease, "lock-id", &request.me.lock_id);
    change_lines(&mut lease, |lines| lines.enter(&request.me));
    refresh(&mut lease, clock);
    let written = bounded(writing(&times), swap(api, &lease)).await;
    match (protocol::claimed(answer(&written), false, true), written) {
        (Step::Done, Ok(written)) => {
            let me = Holder { lock_id: request.me.lock_id.clone(), operation, ..holder.clone() };
            let lent = Lent { operation: holder.operation, lock_id: holder.lock_id };
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

/// A sign of life. Also gives the Lease the label that [`list`] selects: one that an older version wrote has none.
fn refresh(lease: &mut Lease, clock: Clock) {
    if let Some(spec) = &mut lease.spec {
        spec.renew_time = Some(MicroTime(clock.wall()));
    }
    lease.metadata.managed_fields = None;
    label(&mut lease.metadata);
}

fn label(meta: &mut ObjectMeta) {
    meta.labels.get_or_insert_default().insert(LABEL.0.into(), LABEL.1.into());
}

fn note(lease: &mut Lease, key: &str, value: &str) {
    let notes = lease.metadata.annotations.get_or_insert_default();
    notes.insert(format!("{PREFIX}{key}"), value.to_owned());
}

/// The line of runs, as a Lease has it.
fn lines(lease: &Lease) -> Lines {
    let notes = lease.metadata.annotations.as_ref();
    let text = notes.and_then(|notes| notes.get(&format!("{PREFIX}{}", line::NOTE)));
    text.map(|text| Lines::parse(text)).unwrap_or_default()
}

fn change_lines(lease: &mut Lease, change: impl FnOnce(&mut Lines)) {
    let mut lines = lines(lease);
    change(&mut lines);
    if !lines.is_empty() {
        note(lease, line::NOTE, &lines.render());
    }
}

/// Changes the line of runs by compare-and-swap while somebody else has the lock. Neither holder nor renew time is touched:
/// that must not look like a sign of life. It may not succeed; then the next look may try again.
async fn revise(api: &Api<Lease>, request: &Request, mut found: Lease, change: impl FnOnce(&mut Lines)) {
    change_lines(&mut found, change);
    found.metadata.managed_fields = None;
    let _ = bounded(writing(&request.times), swap(api, &found)).await;
}

/// Starts the renewal in the background.
fn hold(
    api: Api<Lease>,
    request: &Request,
    lease: Lease,
    renewed: Duration,
    clock: Clock,
    lent: Option<Lent>,
) -> Held {
    let (sender, state) = watch::channel(State::Held(renewed));
    let work = Arc::new(Work::default());
    let (me, under) = (request.me.clone(), work.clone());
    let renewal = tokio::spawn(renew(api.clone(), lease, me, request.times, renewed, clock, under, sender));
    let claim = Claim { state, times: request.times, clock };
    let (me, lease) = (request.me.clone(), request.lease.clone());
    Held { api, me, lease, claim, lent, work, deployed_at: None, renewal }
}

#[expect(clippy::too_many_arguments, reason = "all that a hold is")]
async fn renew(
    api: Api<Lease>,
    mut lease: Lease,
    me: Holder,
    times: Times,
    renewed: Duration,
    clock: Clock,
    work: Arc<Work>,
    state: watch::Sender<State>,
) {
    let mine = Mine { identity: holder_identity(&lease).to_owned(), uid: lease.uid().unwrap_or_default() };
    let mut hold = Hold { renewed };
    let mut next = Next::Renew(hold.first_renewal(&times, clock.monotonic()));
    let mut limit = times.renew_every;
    loop {
        next = match next {
            Next::Renew(pause) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = work.changed.notified() => {}
                }
                // Taken before the renewal is sent: the server counts from a later moment than we do.
                let asked = clock.monotonic();
                refresh(&mut lease, clock);
                if work.helm_started.load(Ordering::Relaxed) {
                    change_lines(&mut lease, |lines| lines.start(&me));
                }
                limit = hold.limit(&times, asked);
                let written = bounded(limit, swap(&api, &lease)).await;
                let next = hold.answered(answer(&written), asked, clock.monotonic(), &times);
                if let Ok(written) = written {
                    lease = written;
                    if state.send(State::Held(hold.renewed)).is_err() {
                        return;
                    }
                }
                next
            }
            Next::Look => {
                let now = bounded(limit, api.get_opt(&lease.name_any())).await;
                let seen = now.as_ref().ok().and_then(Option::as_ref).map(|now| (view(now), now.uid()));
                let found = match (&now, &seen) {
                    (Err(_), _) => Found::Unread,
                    (_, None) => Found::Nothing,
                    (_, Some((view, uid))) => Found::Lease(view, uid.as_deref().unwrap_or_default()),
                };
                let next = hold.looked(found, &mine, clock.monotonic(), &times);
                if let (Next::Renew(_), Ok(Some(now))) = (&next, now) {
                    lease = now;
                }
                next
            }
            Next::Lost(why) => {
                let _ = state.send(State::Lost(why));
                return;
            }
        };
    }
}

impl Held {
    /// Ends when the lock is lost, with the reason. Never ends while it is held.
    pub async fn lost(&self) -> String {
        let mut state = self.claim.state.clone();
        loop {
            if let State::Lost(why) = &*state.borrow_and_update() {
                return why.clone();
            }
            if state.changed().await.is_err() {
                return "its renewal ended".into();
            }
        }
    }

    /// Name of the Lease.
    pub fn name(&self) -> &str {
        &self.lease
    }

    /// ID by which others may work under it.
    pub fn lock_id(&self) -> &str {
        &self.me.lock_id
    }

    /// Is it still ours as far as the renewal knows?
    pub fn is_held(&self) -> bool {
        matches!(&*self.claim.state.borrow(), State::Held(_)) && !self.renewal.is_finished()
    }

    /// For whoever acts under the lock. It is lost when this is released or dropped.
    pub fn claim(&self) -> Claim {
        self.claim.clone()
    }

    /// Helm starts: from now on this run outdates older ones, however it ends. Written with a renewal, at once if this run is
    /// one of a line.
    pub fn helm_started(&self) {
        self.work.helm_started.store(true, Ordering::Relaxed);
        if Lines::default().lacks(&self.me) {
            self.work.changed.notify_one();
        }
    }

    /// This run has deployed, at this time by our own clock; written when the lock is given back.
    pub fn deployed(&mut self, at: String) {
        self.deployed_at = Some(at);
    }

    /// Gives the lock back, if it is still ours: vacates the Lease, or deletes it when `forget` (the release is gone).
    /// A hold that is another process's goes back to that.
    ///
    /// # Errors
    /// When the API server cannot be reached; the Lease then runs out by itself.
    pub async fn release(self, forget: bool) -> Result<(), kube::Error> {
        self.renewal.abort();
        if let State::Lost(_) = &*self.claim.state.borrow() {
            return Ok(());
        }
        let end = match &self.lent {
            Some(lent) => End::Return(lent.clone()),
            None if forget => End::Delete,
            None => End::Vacate,
        };
        let has_started = self.work.helm_started.load(Ordering::Relaxed);
        let last = |lines: &mut Lines| {
            if has_started {
                lines.start(&self.me);
            }
            lines.leave(&self.me, self.deployed_at.as_deref());
        };
        give_back_after(&self.api, &self.lease, &self.me.identity, &end, last).await
    }

    /// Stops renewing and leaves the Lease as it is: it runs out by itself.
    pub fn leave(self) {
        self.renewal.abort();
    }
}

impl Claim {
    /// How the lock stands now.
    pub fn standing(&self) -> Standing {
        let state = self.state.borrow();
        match &*state {
            State::Lost(why) => Standing::Lost(why.clone()),
            // Its sender is gone: nobody renews it any more.
            State::Held(_) if self.state.has_changed().is_err() => Standing::Lost("it was given back".into()),
            State::Held(renewed) => Standing::renewed_at(*renewed, &self.times, self.clock.monotonic()),
        }
    }

    /// Ends when the lock was renewed or lost since this was last asked.
    pub async fn changed(&mut self) {
        // An error is the end of the renewal, which is a change too.
        let _ = self.state.changed().await;
    }
}

/// All locks under which something is done. None is lost if there are none.
#[derive(Clone, Debug)]
pub struct Claims {
    claims: Arc<[Claim]>,
    clock: Clock,
}

impl Claims {
    /// Of these locks.
    pub fn new(claims: Vec<Claim>, clock: Clock) -> Self {
        Self { claims: claims.into(), clock }
    }

    /// How they stand together.
    pub fn standing(&self) -> Standing {
        let all = Standing::Safe { until: Duration::MAX };
        self.claims.iter().fold(all, |all, claim| all.and(claim.standing()))
    }

    /// Can nobody else have any of them?
    pub fn are_safe(&self) -> bool {
        matches!(self.standing(), Standing::Safe { .. })
    }

    /// Waits until they stand as `wanted` says.
    pub async fn until(&self, wanted: impl Fn(&Standing) -> bool) -> Standing {
        let mut claims = self.claims.to_vec();
        loop {
            let standing = self.standing();
            if wanted(&standing) {
                return standing;
            }
            let expiry = match standing {
                Standing::Safe { until } => until.saturating_sub(self.clock.monotonic()),
                Standing::Doubtful | Standing::Lost(_) => Duration::MAX,
            };
            let mut changes: Vec<_> = claims.iter_mut().map(|claim| Box::pin(claim.changed())).collect();
            let any = std::future::poll_fn(|context| {
                let mut changes = changes.iter_mut();
                let any = changes.any(|change| change.as_mut().poll(context).is_ready());
                if any { Poll::Ready(()) } else { Poll::Pending }
            });
            // An error is a lock that nobody renews any more, as the next look shows.
            let _ = tokio::time::timeout(expiry.min(Duration::from_secs(86_400)), any).await;
        }
    }
}

/// Tells a claim how its lock stands, as a renewal does.
#[cfg(test)]
pub(crate) struct Teller {
    state: watch::Sender<State>,
    clock: Clock,
}

#[cfg(test)]
impl Teller {
    /// With a claim that is safe.
    pub(crate) fn new() -> (Self, Claim) {
        let clock = Clock::running_for(Duration::from_secs(3600));
        let (sender, state) = watch::channel(State::Held(clock.monotonic()));
        let times = Times::new(Duration::from_secs(300));
        (Self { state: sender, clock }, Claim { state, times, clock })
    }

    pub(crate) fn renewed(&self) {
        self.state.send_replace(State::Held(self.clock.monotonic()));
    }

    pub(crate) fn not_renewed_for_long(&self) {
        self.state.send_replace(State::Held(Duration::ZERO));
    }

    pub(crate) fn lost(&self, why: &str) {
        self.state.send_replace(State::Lost(why.to_owned()));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// What becomes of a Lease that its holder needs no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody holds it.
    Vacate,
    /// It is gone.
    Delete,
    /// Its holder keeps it, as it was before somebody joined.
    Return(Lent),
}

/// Ends the hold of a Lease by `identity`; one that somebody else holds, or nobody, stays as it is.
///
/// # Errors
/// When the API server cannot be reached.
pub async fn give_back(api: &Api<Lease>, name: &str, identity: &str, end: &End) -> Result<(), kube::Error> {
    give_back_after(api, name, identity, end, |_| {}).await
}

/// As [`give_back`], with a last change to the line of runs. A Lease that remembers runs outlives its release: late ones are
/// still outdated then.
async fn give_back_after(
    api: &Api<Lease>,
    name: &str,
    identity: &str,
    end: &End,
    last: impl Fn(&mut Lines),
) -> Result<(), kube::Error> {
    let mut unanswered = None;
    for _ in 0..5 {
        let mut lease = match bounded(ANSWER, api.get_opt(name)).await {
            Ok(Some(lease)) if holder_identity(&lease) == identity => lease,
            Ok(_) => return Ok(()),
            Err(error) => return Err(unanswered.unwrap_or(error)),
        };
        lease.metadata.managed_fields = None;
        change_lines(&mut lease, &last);
        let written = match end {
            End::Delete if lines(&lease).is_empty() => {
                let preconditions =
                    Some(Preconditions { uid: lease.uid(), resource_version: lease.resource_version() });
                let params = DeleteParams { preconditions, ..DeleteParams::default() };
                bounded(ANSWER, api.delete(name, &params)).await.map(drop)
            }
            End::Vacate | End::Delete => {
                if let Some(spec) = &mut lease.spec {
                    spec.holder_identity = None;
                }
                bounded(ANSWER, swap(api, &lease)).await.map(drop)
            }
            End::Return(lent) => {
                note(&mut lease, "operation", &lent.operation);
                note(&mut lease, "lock-id", &lent.lock_id);
                bounded(ANSWER, swap(api, &lease)).await.map(drop)
            }
        };
        match (protocol::given_back(answer(&written)), written) {
            (Step::LookAgain, Err(error)) => unanswered = Some(error),
            (Step::Fail, answer) => return answer,
            _ => return Ok(()),
        }
    }
    unanswered.map_or(Ok(()), Err)
}

fn holder_identity(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// The Lease as `lock.rs` wants to see it.
pub fn view(lease: &Lease) -> LeaseView {
    let empty = BTreeMap::new();
    let notes = lease.metadata.annotations.as_ref().unwrap_or(&empty);
    let note = |key: &str| notes.get(&format!("{PREFIX}{key}")).cloned().unwrap_or_default();
    let spec = lease.spec.clone().unwrap_or_default();
    let identity = spec.holder_identity.unwrap_or_default();
    let name = note("owner");
    let holder = (!identity.is_empty()).then(|| Holder {
        lock_id: note("lock-id"),
        owner: Owner {
            name: if name.is_empty() { identity.clone() } else { name },
            run_url: note("run-url"),
            run_id: note("run-id"),
            run_number: note("run-number"),
            run_attempt: note("run-attempt"),
            repository: note("repository"),
            workflow: note("workflow"),
            workflow_file: note("workflow-file"),
            job: note("job"),
            job_id: note("job-id"),
            git_ref: note("ref"),
            commit: note("commit"),
            actor: note("actor"),
        },
        operation: note("operation"),
        release: note("release"),
        since: note("since"),
        identity,
    });
    LeaseView {
        holder,
        renewed: spec.renew_time.map(|time| time.0.to_string()).unwrap_or_default(),
        duration: Duration::from_secs(
            spec.lease_duration_seconds.unwrap_or_default().max(0).unsigned_abs().into(),
        ),
    }
}

/// The Lease that says "this process has it": a new one, or the found one with another holder.
fn claim(found: Option<Lease>, request: &Request, clock: Clock) -> Lease {
    let now = MicroTime(clock.wall());
    let transitions =
        found.as_ref().and_then(|lease| lease.spec.as_ref()?.lease_transitions).unwrap_or_default();
    let mut meta = found.map(|lease| lease.metadata).unwrap_or_else(|| ObjectMeta {
        name: Some(request.lease.clone()),
        namespace: Some(request.namespace.clone()),
        ..ObjectMeta::default()
    });
    meta.managed_fields = None;
    label(&mut meta);
    let me = &request.me;
    let notes = meta.annotations.get_or_insert_default();
    for (key, value) in [
        ("lock-id", &me.lock_id),
        ("release", &me.release),
        ("owner", &me.owner.name),
        ("run-url", &me.owner.run_url),
        ("run-id", &me.owner.run_id),
        ("run-number", &me.owner.run_number),
        ("run-attempt", &me.owner.run_attempt),
        ("repository", &me.owner.repository),
        ("workflow", &me.owner.workflow),
        ("workflow-file", &me.owner.workflow_file),
        ("job", &me.owner.job),
        ("job-id", &me.owner.job_id),
        ("ref", &me.owner.git_ref),
        ("commit", &me.owner.commit),
        ("actor", &me.owner.actor),
        ("operation", &me.operation),
        ("since", &me.since),
    ] {
        let key = format!("{PREFIX}{key}");
        if value.is_empty() {
            notes.remove(&key)
        } else {
            notes.insert(key, value.clone())
        };
    }
    // Seconds, rounded up: the API knows no smaller unit, and 0 is refused.
    let seconds = request.times.duration.as_millis().div_ceil(1000).max(1);
    let mut lease = Lease {
        metadata: meta,
        spec: Some(LeaseSpec {
            holder_identity: Some(me.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(1)),
            ..LeaseSpec::default()
        }),
    };
    change_lines(&mut lease, |lines| lines.enter(me));
    lease
}
