//! A lock that this process holds: renewed in the background, watched by the code that acts under it, given back.
//! What an answer to a renewal means is decided in `lock/protocol.rs`.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Preconditions},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use super::{
    ANSWER, Request, answer, bounded,
    object::{
        change_lines, forget_members, holder_identity, lines, members, refresh, refresh_member, set_members,
        view,
    },
    swap,
};
use crate::{
    clock::Clock,
    lock::{
        Standing, Times,
        holder::Holder,
        joined::Member,
        protocol::{self, Found, Hold, Mine, Next, Step},
        run_history::Lines,
    },
};

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

/// What is done under a lock, for its renewal to write down, and what that wrote.
#[derive(Debug)]
struct Work {
    helm_started: AtomicBool,
    changed: Notify,
    /// The Lease as it was written last: it can be given back without being read, if nobody has changed it since.
    written: Mutex<Lease>,
}

/// A hold of another process under which this one works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lent {
    /// What the Lease said that its holder does.
    pub(super) operation: String,
    /// Its lock ID.
    pub(super) lock_id: String,
    /// The lock ID of who works under it.
    pub(super) member: String,
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

/// Starts the renewal in the background.
pub(super) fn hold(
    api: Api<Lease>,
    request: &Request,
    lease: Lease,
    renewed: Duration,
    clock: Clock,
    lent: Option<Lent>,
) -> Held {
    let (sender, state) = watch::channel(State::Held(renewed));
    let work = Arc::new(Work {
        helm_started: AtomicBool::default(),
        changed: Notify::default(),
        written: Mutex::new(lease.clone()),
    });
    let (me, under, joined) = (request.me.clone(), work.clone(), lent.is_some());
    let renewal =
        tokio::spawn(renew(api.clone(), lease, me, joined, request.times, renewed, clock, under, sender));
    let claim = Claim { state, times: request.times, clock };
    let (me, lease) = (request.me.clone(), request.lease.clone());
    Held { api, me, lease, claim, lent, work, deployed_at: None, renewal }
}

#[expect(clippy::too_many_arguments, reason = "all that a hold is")]
async fn renew(
    api: Api<Lease>,
    mut lease: Lease,
    me: Holder,
    joined: bool,
    times: Times,
    renewed: Duration,
    clock: Clock,
    work: Arc<Work>,
    state: watch::Sender<State>,
) {
    let mine = Mine {
        identity: holder_identity(&lease).to_owned(),
        uid: lease.uid().unwrap_or_default(),
        member: joined.then(|| me.lock_id.clone()),
    };
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
                if joined {
                    refresh_member(&mut lease, &me.lock_id, clock);
                }
                if work.helm_started.load(Ordering::Relaxed) {
                    change_lines(&mut lease, |lines| lines.start(&me));
                }
                limit = hold.limit(&times, asked);
                let written = bounded(limit, swap(&api, &lease)).await;
                let next = hold.answered(answer(&written), asked, clock.monotonic(), &times);
                if let Ok(written) = written {
                    work.written.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&written);
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
        self.starter()();
    }

    /// Says so later, when this is called.
    pub fn starter(&self) -> impl Fn() + Send + Sync + 'static {
        let (work, in_line) = (self.work.clone(), Lines::default().lacks(&self.me));
        move || {
            work.helm_started.store(true, Ordering::Relaxed);
            if in_line {
                work.changed.notify_one();
            }
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
        let written = self.work.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        give_back_after(&self.api, &self.lease, Some(written), &self.me.identity, &end, last).await
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
    give_back_after(api, name, None, identity, end, |_| {}).await
}

/// As [`give_back`], with a last change to the line of runs; the Lease is read unless it is `known`, and whenever what is
/// known turns out to be old. A Lease that remembers runs outlives its release: late ones are
/// still outdated then.
async fn give_back_after(
    api: &Api<Lease>,
    name: &str,
    mut known: Option<Lease>,
    identity: &str,
    end: &End,
    last: impl Fn(&mut Lines),
) -> Result<(), kube::Error> {
    let mut unanswered = None;
    for _ in 0..5 {
        let mut lease = match known.take() {
            Some(lease) => lease,
            None => match bounded(ANSWER, api.get_opt(name)).await {
                Ok(Some(lease)) if holder_identity(&lease) == identity => lease,
                Ok(_) => return Ok(()),
                Err(error) => return Err(unanswered.unwrap_or(error)),
            },
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
                forget_members(&mut lease);
                bounded(ANSWER, swap(api, &lease)).await.map(drop)
            }
            End::Return(lent) => {
                let mut members = members(&lease);
                match members.iter().position(|member| member.lock_id == lent.member) {
                    Some(at) => members.truncate(at),
                    // Taken for dead: what is under the hold now is another's.
                    None if !members.is_empty() => return Ok(()),
                    None => {
                        let (lock_id, operation) = (lent.lock_id.clone(), lent.operation.clone());
                        members.push(Member { lock_id, operation, ..Member::default() });
                    }
                }
                set_members(&mut lease, &members);
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
