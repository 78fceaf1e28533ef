//! One attempt to get a lock: reads the Lease, waits for its holder, joins its hold or claims it, until the lock is held or
//! the attempt ends. What a reading means is decided in `lock.rs`, what an answer to a write means in `lock/protocol.rs`.

use std::{cell::Cell, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::PostParams};

use super::{
    Acquired, LockError, Request, answer, bounded, explain,
    hold::{Held, Lent, hold},
    is_passing,
    object::{change_lines, claim, lines, refresh, set_members, view},
    reading, swap, writing,
};
use crate::{
    clock::Clock,
    located::Located,
    lock::{
        Decision, LeaseView, Observer, Times,
        contender::Queue,
        holder::Holder,
        joined::{Base, Member, Watch, may_join},
        protocol::{self, Answer, Step},
        run_history::Lines,
    },
};

/// How long an API server that has not answered yet is tried.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// An attempt to get a lock, and what it has seen and done so far.
pub(super) struct Contest<'a> {
    api: &'a Api<Lease>,
    request: &'a Request,
    clock: Clock,
    /// Set while a write that claims the lock is under way, or its result is not known.
    claiming: &'a Cell<bool>,
    started: Duration,
    deadline: Duration,
    observer: Observer,
    members: Watch,
    /// The hold as it was before a join whose result is not known.
    joining: Option<Base>,
    /// The API server has answered a reading.
    has_answered: bool,
    /// The next step creates the Lease without reading it.
    skips_reading: bool,
    /// From which holder the lock was taken by a claim whose result is not known.
    unsure: Option<Option<Holder>>,
}

/// The Lease as one reading shows it.
struct Look {
    found: Option<Lease>,
    seen: Option<LeaseView>,
    lines: Lines,
    /// When the reading was answered, on this process's monotonic clock: it may show what was written just then.
    now: Duration,
    /// The Lease was not read: it is taken to be missing.
    is_skipped: bool,
}

impl<'a> Contest<'a> {
    pub(super) fn new(
        api: &'a Api<Lease>,
        request: &'a Request,
        clock: Clock,
        claiming: &'a Cell<bool>,
    ) -> Self {
        let started = clock.monotonic();
        Self {
            api,
            request,
            clock,
            claiming,
            started,
            deadline: started + request.timeout,
            observer: Observer { me: request.me.identity.clone(), last: None },
            members: Watch::default(),
            joining: None,
            has_answered: false,
            skips_reading: request.is_new && request.within.is_none(),
            unsure: None,
        }
    }

    /// A claim got no answer that tells whether it was done.
    pub(super) fn is_unsure(&self) -> bool {
        self.unsure.is_some()
    }

    /// Goes on until the lock is held; `waiting` is told about a living holder at each look.
    pub(super) async fn run(
        &mut self,
        queue: &mut Queue<'_>,
        mut waiting: impl FnMut(&Holder, Duration),
    ) -> Result<Acquired, LockError> {
        loop {
            if let Some(look) = self.look().await?
                && let Some(acquired) = self.act(look, queue, &mut waiting).await?
            {
                return Ok(acquired);
            }
        }
    }

    /// Reads the Lease. `None` if that failed and is to be tried again, after the time that lies between two looks.
    async fn look(&mut self) -> Result<Option<Look>, LockError> {
        self.claiming.set(self.is_unsure());
        let asked = self.clock.monotonic();
        let is_skipped = std::mem::take(&mut self.skips_reading);
        let read = async { if is_skipped { Ok(None) } else { self.api.get_opt(&self.request.lease).await } };
        match bounded(reading(&self.request.times), read).await {
            Ok(found) => {
                self.has_answered |= !is_skipped;
                Ok(Some(Look::new(found, self.clock.monotonic(), is_skipped)))
            }
            Err(error) if is_passing(&error) && asked < self.last_retry() => {
                self.pause().await;
                Ok(None)
            }
            Err(error) => Err(explain(error, "get", self.request)),
        }
    }

    /// Until when a reading that failed is repeated. A server that is away for a moment is waited for like a holder; one that
    /// never answered is most likely the wrong one, and its user wants to know soon.
    fn last_retry(&self) -> Duration {
        if self.has_answered { self.deadline } else { self.deadline.min(self.started + FIRST_ANSWER) }
    }

    async fn pause(&self) {
        tokio::time::sleep(self.request.times.look_every).await;
    }

    /// Does what the look calls for. `None` if the Lease is to be read again.
    async fn act(
        &mut self,
        mut look: Look,
        queue: &mut Queue<'_>,
        waiting: &mut impl FnMut(&Holder, Duration),
    ) -> Result<Option<Acquired>, LockError> {
        if let Some(base) = self.joinable(&look)
            && let Some(lease) = look.found.take()
        {
            self.refuse_outdated(queue, &look.lines, true).await?;
            return self.join(lease, base, look.now).await;
        }
        let over = queue.look(look.seen.as_ref(), look.now);
        let seen = look.seen.as_ref();
        let decision =
            self.observer.decide(seen, &self.request.times, look.now, self.deadline, over.as_deref());
        let is_next = matches!(decision, Decision::Create | Decision::Take { .. });
        self.refuse_outdated(queue, &look.lines, is_next).await?;
        match decision {
            Decision::Wait { holder, look_again } => {
                waiting(&holder, look.now - self.started);
                if let Some(found) = look.found.filter(|_| look.lines.lacks(&self.request.me)) {
                    self.revise(found, |lines| lines.enter(&self.request.me)).await;
                }
                queue.pause(look_again).await;
                Ok(None)
            }
            Decision::GiveUp { holder } => {
                if let Some(found) = look.found.filter(|_| look.lines.awaits(&self.request.me)) {
                    self.revise(found, |lines| lines.leave(&self.request.me, None)).await;
                }
                let lease = self.request.lease.clone();
                Err(LockError::Timeout { lease, holder: Box::new(holder) })
            }
            Decision::Create => self.claim(look, None, over, queue).await,
            Decision::Take { from } => {
                let from = from.or(self.unsure.clone().flatten());
                self.claim(look, from, over, queue).await
            }
        }
    }

    /// Fails if a newer run makes this one outdated.
    async fn refuse_outdated(
        &self,
        queue: &mut Queue<'_>,
        lines: &Lines,
        is_next: bool,
    ) -> Result<(), LockError> {
        let newer = queue.outdated(lines, &self.request.me, is_next).await;
        newer.map_or(Ok(()), |newer| Err(LockError::Outdated(Box::new(newer))))
    }

    /// The hold to join, if there is one; also the one of which a join got no answer and was done.
    fn joinable(&mut self, look: &Look) -> Option<Base> {
        let (members, now) = (&mut self.members, look.now);
        let over = |member: &Member| members.is_over(member, now, Located::has_ended);
        let base = look.seen.as_ref().and_then(|view| may_join(view, self.request.within.as_deref(), over));
        base.or_else(|| self.joining.take().filter(|base| has_joined(look.seen.as_ref(), base, self.request)))
    }

    /// Works under a hold of another process, which stays the holder: both renew. Only one at a time is let in: meanwhile
    /// the hold has this one's lock ID, which only those know whom it lets in itself.
    async fn join(
        &mut self,
        mut lease: Lease,
        base: Base,
        now: Duration,
    ) -> Result<Option<Acquired>, LockError> {
        self.claiming.set(true);
        let request = self.request;
        // A hold for a long time is renewed as often as any other, so that life and loss are seen as soon.
        let times = Times::new(view(&lease).duration.min(request.times.duration));
        let Base { holder, mut members } = base.clone();
        let operation = format!("{} in {}", request.me.operation, holder.operation);
        members.push(Member {
            lock_id: request.me.lock_id.clone(),
            operation: operation.clone(),
            renewed: self.clock.wall().to_string(),
            // Rounded up: it is to be believed at least as long as it believes in itself.
            seconds: u64::try_from(times.duration.as_millis().div_ceil(1000)).unwrap_or(u64::MAX),
            process: Located::this(),
        });
        set_members(&mut lease, &members);
        change_lines(&mut lease, |lines| lines.enter(&request.me));
        refresh(&mut lease, self.clock);
        let written = bounded(writing(&times), swap(self.api, &lease)).await;
        match (protocol::claimed(answer(&written), false, true), written) {
            (Step::Done, Ok(written)) => {
                let me = Holder { lock_id: request.me.lock_id.clone(), operation, ..holder.clone() };
                let member = request.me.lock_id.clone();
                let lent = Lent { operation: holder.operation, lock_id: holder.lock_id, member };
                let joined = Request { me, times, ..request.clone() };
                let held = hold(self.api.clone(), &joined, written, now, self.clock, Some(lent));
                Ok(Some(self.acquired(held, None)))
            }
            (Step::Fail, Err(error)) => Err(explain(error, "update", request)),
            _ => {
                self.joining = Some(base);
                Ok(None)
            }
        }
    }

    /// Creates the Lease, or takes it over from a holder that has gone. `over` is the identity of a holder whose CI run is
    /// known to be over.
    async fn claim(
        &mut self,
        look: Look,
        from: Option<Holder>,
        over: Option<String>,
        queue: &Queue<'_>,
    ) -> Result<Option<Acquired>, LockError> {
        self.claiming.set(true);
        let times = &self.request.times;
        // The first request also connects.
        let limit = if look.is_skipped { reading(times) } else { writing(times) };
        let is_create = look.found.is_none();
        let lease = claim(look.found, self.request, self.clock);
        let written = if is_create {
            bounded(limit, self.api.create(&PostParams::default(), &lease)).await
        } else {
            bounded(limit, swap(self.api, &lease)).await
        };
        let answer = answer(&written);
        let may_look = look.now < self.deadline || !self.is_unsure();
        match (protocol::claimed(answer, is_create, may_look), written) {
            (Step::Done, Ok(lease)) => {
                if let Some(from) = from.as_ref().filter(|from| over.as_ref() == Some(&from.identity)) {
                    queue.taken(from);
                }
                let held = hold(self.api.clone(), self.request, lease, look.now, self.clock, None);
                return Ok(Some(self.acquired(held, from)));
            }
            (Step::Fail, Err(error)) => {
                let verb = if is_create { "create" } else { "update" };
                return Err(explain(error, verb, self.request));
            }
            _ if answer == Answer::Unknown => {
                self.unsure = Some(from);
                self.pause().await;
            }
            _ => {}
        }
        Ok(None)
    }

    fn acquired(&self, held: Held, taken_over: Option<Holder>) -> Acquired {
        Acquired { held, waited: self.clock.monotonic() - self.started, taken_over }
    }

    /// Changes the history of runs by compare-and-swap while another holder has the lock. Neither holder nor renew time is
    /// touched: that must not look like a sign of life. It may fail; then the next look may try again.
    async fn revise(&self, mut found: Lease, change: impl FnOnce(&mut Lines)) {
        change_lines(&mut found, change);
        found.metadata.managed_fields = None;
        let _ = bounded(writing(&self.request.times), swap(self.api, &found)).await;
    }
}

impl Look {
    fn new(found: Option<Lease>, now: Duration, is_skipped: bool) -> Self {
        Self {
            seen: found.as_ref().map(view),
            lines: found.as_ref().map(lines).unwrap_or_default(),
            found,
            now,
            is_skipped,
        }
    }
}

/// Was a join that got no answer done? `base` is the hold as it was before.
fn has_joined(seen: Option<&LeaseView>, base: &Base, request: &Request) -> bool {
    let holder = seen.and_then(|view| view.holder.as_ref());
    holder.is_some_and(|now| now.identity == base.holder.identity && now.lock_id == request.me.lock_id)
}
