//! What a process does with what it reads and hears: as `lock/lease.rs` does it, by the same functions.

use std::time::Duration;

use helm_guard::{
    fence::{Verdict, verdict},
    lock::{
        Decision, LeaseView, Observer, Standing,
        holder::Holder,
        protocol::{self, Answer, Found, Hold, Mine, Next, Step},
    },
};

use crate::{
    Lock,
    steps::Action,
    world::{NOW, Phase, Process, Stored, World, Write, ago, seconds_since},
};

fn name(who: u8) -> String {
    who.to_string()
}

impl Lock {
    /// As `lock::lease::view` gives it.
    pub(crate) fn view(&self, stored: &Stored) -> LeaseView {
        let heartbeat = if self.rules.annotations_live { stored.version } else { stored.renewed };
        LeaseView {
            holder: stored.holder.map(|who| Holder { identity: name(who), ..Holder::default() }),
            renewed: heartbeat.to_string(),
            duration: self.rules.times.duration,
            members: Vec::new(),
        }
    }

    /// May a write of Helm's pass? And so: is its process sure of its lock?
    pub(crate) fn is_safe(&self, process: &Process) -> bool {
        let standing = Standing::renewed_at(ago(process.renewed), &self.rules.times, NOW);
        process.is_holder() && verdict(standing, true) == Verdict::Pass
    }

    pub(crate) fn decide(&self, world: &mut World, who: usize, asked: u8, shown: Option<Stored>, over: bool) {
        let me = name(u8::try_from(who).unwrap());
        let seen = world.processes[who].seen.map(|(holder, heartbeat, since)| {
            let stored = Stored { uid: 0, version: heartbeat, renewed: heartbeat, holder: Some(holder) };
            (self.view(&stored), ago(since))
        });
        let mut observer = Observer { me: me.clone(), last: seen };
        let view = shown.as_ref().map(|stored| self.view(stored));
        let now = if self.rules.silence_from_asking { ago(asked) } else { NOW };
        let holder = shown.and_then(|stored| stored.holder);
        let over = holder.filter(|_| over).map(name);
        let times = &self.rules.times;
        let decision = observer.decide(view.as_ref(), times, now, NOW * 2, over.as_deref());
        world.processes[who].seen = observer.last.map(|(view, since)| {
            let holder = view.holder.unwrap().identity.parse().unwrap();
            (holder, view.renewed.parse().unwrap(), seconds_since(since))
        });
        let is_create = decision == Decision::Create;
        let write = match decision {
            Decision::Create => Write::Create,
            Decision::Take { .. } => {
                let Stored { uid, version, .. } = shown.unwrap();
                Write::Replace { uid, version, holder: Some(u8::try_from(who).unwrap()) }
            }
            Decision::Wait { .. } => {
                let process = &mut world.processes[who];
                (process.phase, process.is_rested) = (Phase::Idle, false);
                return;
            }
            Decision::GiveUp { .. } => unreachable!("there is all the time in the world"),
        };
        world.send(who, write);
        world.processes[who].phase = Phase::Claiming { asked: 0, create: is_create, answer: None };
    }

    /// A process hears the answer to its write, or that there is none.
    pub(crate) fn hear(&self, world: &mut World, who: usize, heard: (Answer, Option<Stored>)) {
        let (answer, stored) = heard;
        let times = &self.rules.times;
        let process = &mut world.processes[who];
        let mut is_given_up = false;
        match process.phase {
            Phase::Claiming { asked, create, .. } => {
                let may_look = !self.rules.lost_answer_ends;
                process.phase = match protocol::claimed(answer, create, may_look) {
                    Step::Done => {
                        let lease = stored.unwrap();
                        (process.renewed, process.since) = (asked, lease.version);
                        (process.is_outdated, process.seen) = (false, None);
                        Phase::Holding { lease }
                    }
                    Step::LookAgain => Phase::Idle,
                    Step::Fail => {
                        // There was time left, and it may be the holder.
                        is_given_up = true;
                        Phase::Gone
                    }
                };
                process.is_rested = answer != Answer::Unknown;
            }
            Phase::Renewing { lease, asked, .. } => {
                let mut hold = Hold { renewed: ago(process.renewed) };
                let next = hold.answered(answer, ago(asked), NOW, times);
                process.renewed = seconds_since(hold.renewed);
                Self::next(process, next, stored.unwrap_or(lease));
            }
            Phase::GivingBack { delete, .. } => {
                process.phase = match protocol::given_back(answer) {
                    Step::LookAgain => Phase::Leaving { delete },
                    Step::Done | Step::Fail => Phase::Gone,
                };
            }
            _ => unreachable!("only who wrote waits for an answer"),
        }
        world.is_given_up |= is_given_up;
    }

    /// Looks whose the Lease is that was its own; `shown` is what is there, if there was an answer.
    pub(crate) fn check(&self, world: &mut World, who: usize, lease: Stored, shown: Option<Option<Stored>>) {
        let mine =
            Mine { identity: name(u8::try_from(who).unwrap()), uid: lease.uid.to_string(), member: None };
        let process = &mut world.processes[who];
        let hold = Hold { renewed: ago(process.renewed) };
        let seen = shown.map(|shown| shown.map(|stored| (self.view(&stored), stored.uid.to_string())));
        let found = match &seen {
            None => Found::Unread,
            Some(None) => Found::Nothing,
            Some(Some((view, uid))) => Found::Lease(view, uid),
        };
        let next = hold.looked(found, &mine, NOW, &self.rules.times);
        Self::next(process, next, shown.flatten().unwrap_or(lease));
    }

    pub(crate) fn next(process: &mut Process, next: Next, lease: Stored) {
        process.phase = match next {
            Next::Renew(pause) => {
                process.is_rested = pause < Duration::from_millis(100);
                Phase::Holding { lease }
            }
            Next::Look => Phase::Checking { lease },
            Next::Lost(_) => Phase::Gone,
        };
    }

    /// What may be decided on a reading.
    pub(crate) fn decisions(
        &self,
        world: &World,
        who: usize,
        shown: Option<Stored>,
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::Decide { who, over: false });
        let is_over = |holder: u8| {
            let holder = &world.processes[usize::from(holder)];
            holder.phase == Phase::Gone && holder.flight.is_none()
        };
        if shown.and_then(|lease| lease.holder).is_some_and(is_over) && self.prompt.is_none() {
            actions.push(Action::Decide { who, over: true });
        }
    }

    /// In a prompt world: has a contender something to do before time goes on?
    pub(crate) fn is_busy(&self, world: &World) -> bool {
        let busy = |process: &Process| match process.phase {
            Phase::Idle => process.is_rested,
            Phase::Looking { .. } | Phase::Claiming { .. } => true,
            _ => false,
        };
        world.processes.iter().skip(1).any(busy)
    }

    /// For how many ticks nobody may hold the lock: one lease duration by the slowest clock, until then a look that came
    /// too early, the last look, and one more for each answer that was lost.
    pub(crate) fn patience(&self) -> u8 {
        let duration = u8::try_from(self.rules.times.duration.as_secs()).unwrap();
        duration.div_ceil(self.rules.rates.0) + 2 + self.prompt.unwrap_or_default()
    }
}
