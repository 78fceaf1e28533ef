//! The lock, model-checked: every order of events among some processes, one Lease, and a network that loses, delays and
//! repeats requests. What a process decides is decided by the functions that ship; here is only the world around them.
//! docs/lock.md says in words what is proven here, and under which assumptions.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a model that is not as it should be fails its test; figures are for people"
)]

use std::{fmt::Debug, time::Duration};

use helm_guard::{
    fence::{Verdict, verdict},
    lock::{
        Decision, LeaseView, Observer, Standing, Times,
        protocol::{self, Answer, Found, Hold, Mine, Next, Step},
    },
    report::Holder,
};
use stateright::{Checker, HasDiscoveries, Model, Property};

/// What is taken out of the protocol, to see that the model would notice, and what the clocks do.
#[derive(Clone, Copy, Debug)]
struct Rules {
    times: Times,
    /// By how many seconds a slow and a fast clock go on in one tick.
    rates: (u8, u8),
    /// Time may pass between a question about the Lease, its answer, and the decision on it. If not, it may still pass
    /// before and after, which comes to the same: what is written is compared with what was read.
    slow_readings: bool,
    /// A write of Helm's that has passed the fence takes effect, if ever, before so many ticks have begun.
    flight: u8,
    /// A write names the object that it replaces.
    uid: bool,
    /// What contenders annotate counts as a sign of life.
    annotations_live: bool,
    /// Silence is counted from before the reading was asked for.
    silence_from_asking: bool,
    /// A claim without an answer is the end.
    lost_answer_ends: bool,
}

impl Rules {
    /// Those that ship. One clock goes by a quarter faster than the other, and writes take effect at once.
    fn shipped() -> Self {
        Self {
            times: Times::new(Duration::from_secs(30)),
            rates: (8, 10),
            slow_readings: false,
            flight: 0,
            uid: true,
            annotations_live: false,
            silence_from_asking: false,
            lost_answer_ends: false,
        }
    }

    /// The same, seen closer: by a fifth faster, and writes under way for a sixth of the lease duration.
    fn closer() -> Self {
        Self { rates: (5, 6), flight: 1, slow_readings: true, ..Self::shipped() }
    }
}

/// Which world.
#[derive(Clone, Copy, Debug)]
struct Lock {
    rules: Rules,
    processes: usize,
    /// Requests that nobody waits for any more and that may yet arrive, at most.
    ghosts: usize,
    /// `None`: anybody may stall for any time. Else all but the first act as soon as they can, and so many answers are lost.
    prompt: Option<u8>,
}

/// The present, for clocks that only show how long ago something was.
const NOW: Duration = Duration::from_secs(1000);

fn ago(seconds: u8) -> Duration {
    NOW - Duration::from_secs(seconds.into())
}

fn seconds_since(then: Duration) -> u8 {
    u8::try_from((NOW - then).as_secs()).unwrap()
}

/// Names a version of the Lease. Only their order counts, so they are numbered anew at each step.
type Number = u8;

/// The Lease in the API server, or as somebody has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stored {
    uid: Number,
    version: Number,
    /// Renew time: the version that its holder wrote last.
    renewed: Number,
    holder: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Write {
    Create,
    /// With whoever holds it from then on. All but giving it back are a sign of life.
    Replace {
        uid: Number,
        version: Number,
        holder: Option<u8>,
    },
    Delete {
        uid: Number,
        version: Number,
    },
}

/// A write on its way. Somebody waits for its answer, or it is late or a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Mail {
    from: u8,
    awaited: bool,
    write: Write,
}

/// An answer that has not been heard yet; with the Lease if the write was done.
type Answered = Option<(Answer, Option<Stored>)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Wants the lock.
    Idle,
    /// Has asked for the Lease so long ago, and may have been shown it.
    Looking {
        asked: u8,
        shown: Option<Option<Stored>>,
    },
    Claiming {
        asked: u8,
        create: bool,
        answer: Answered,
    },
    Holding {
        lease: Stored,
    },
    Renewing {
        lease: Stored,
        asked: u8,
        answer: Answered,
    },
    /// A renewal was refused; whose is it?
    Checking {
        lease: Stored,
    },
    Leaving {
        delete: bool,
    },
    GivingBack {
        delete: bool,
        answer: Answered,
    },
    /// Has ended well, or failed, or is dead.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    is_fast: bool,
    phase: Phase,
    /// Whose heartbeat it has seen, which, and how long ago first.
    seen: Option<(u8, Number, u8)>,
    /// How long ago its last successful write of the Lease was sent.
    renewed: u8,
    /// The version by which it came to hold the Lease.
    since: Number,
    /// For how many ticks a write that passed the fence has been under way.
    flight: Option<u8>,
    /// A write of a later holder has taken effect.
    is_outdated: bool,
    /// It has not acted yet since the last tick.
    is_rested: bool,
}

impl Process {
    /// Its Helm runs.
    fn is_holder(&self) -> bool {
        matches!(self.phase, Phase::Holding { .. } | Phase::Renewing { .. } | Phase::Checking { .. })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    lease: Option<Stored>,
    processes: Vec<Process>,
    mail: Vec<Mail>,
    /// Somebody has annotated the Lease since the last tick.
    is_annotated: bool,
    /// Answers that may yet be lost, in a prompt world.
    losses: u8,
    /// Ticks for which nobody has held the lock.
    vacant: u8,
    /// A write took effect after one of a later holder.
    is_broken: bool,
    /// Somebody who wanted the lock ended without it, though there was time left.
    is_given_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Time goes on for everybody.
    Tick,
    /// Asks for the Lease.
    Look(usize),
    /// The API server answers.
    Show(usize),
    /// Acts on a reading, of just now if time may not pass in between; `over`: the holder's CI run is known to be over.
    Decide {
        who: usize,
        over: bool,
    },
    /// The API server does a write; `again`: the same request may come once more.
    Serve {
        mail: usize,
        again: bool,
    },
    /// Hears an answer.
    Hear(usize),
    /// Hears none: the request or its answer is lost, or late.
    Miss(usize),
    Renew(usize),
    /// A write of Helm's passes the fence.
    Pass(usize),
    /// It takes effect.
    Land(usize),
    Leave {
        who: usize,
        delete: bool,
    },
    Die(usize),
    /// A contender that is not modelled notes on the Lease that it has come.
    Annotate,
    /// Somebody deletes the Lease, of which nobody is sure that it is its own, or about to be.
    DeleteByHand,
}

fn name(who: u8) -> String {
    who.to_string()
}

impl Lock {
    /// As `lock::lease::view` gives it.
    fn view(&self, stored: &Stored) -> LeaseView {
        let heartbeat = if self.rules.annotations_live { stored.version } else { stored.renewed };
        LeaseView {
            holder: stored.holder.map(|who| Holder { identity: name(who), ..Holder::default() }),
            renewed: heartbeat.to_string(),
            duration: self.rules.times.duration,
        }
    }

    /// May a write of Helm's pass? And so: is its process sure of its lock?
    fn is_safe(&self, process: &Process) -> bool {
        let standing = Standing::renewed_at(ago(process.renewed), &self.rules.times, NOW);
        process.is_holder() && verdict(standing, true) == Verdict::Pass
    }

    fn decide(&self, world: &mut World, who: usize, asked: u8, shown: Option<Stored>, over: bool) {
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
    fn hear(&self, world: &mut World, who: usize, heard: (Answer, Option<Stored>)) {
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
    fn check(&self, world: &mut World, who: usize, lease: Stored, shown: Option<Option<Stored>>) {
        let mine = Mine { identity: name(u8::try_from(who).unwrap()), uid: lease.uid.to_string() };
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

    fn next(process: &mut Process, next: Next, lease: Stored) {
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
    fn decisions(&self, world: &World, who: usize, shown: Option<Stored>, actions: &mut Vec<Action>) {
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
    fn is_busy(&self, world: &World) -> bool {
        let busy = |process: &Process| match process.phase {
            Phase::Idle => process.is_rested,
            Phase::Looking { .. } | Phase::Claiming { .. } => true,
            _ => false,
        };
        world.processes.iter().skip(1).any(busy)
    }

    /// For how many ticks nobody may hold the lock: one lease duration by the slowest clock, until then a look that came
    /// too early, the last look, and one more for each answer that was lost.
    fn patience(&self) -> u8 {
        let duration = u8::try_from(self.rules.times.duration.as_secs()).unwrap();
        duration.div_ceil(self.rules.rates.0) + 2 + self.prompt.unwrap_or_default()
    }
}

impl World {
    fn send(&mut self, who: usize, write: Write) {
        self.mail.push(Mail { from: u8::try_from(who).unwrap(), awaited: true, write });
    }

    /// As the API server does it: a Lease that is not there is created by an update too, unless its UID is named.
    fn serve(&mut self, from: u8, write: Write, names_uid: bool) -> (Answer, Option<Stored>) {
        let new = self.numbers().into_iter().max().unwrap_or_default() + 1;
        let created = |holder| Stored { uid: new, version: new, renewed: new, holder };
        self.lease = match (write, self.lease) {
            (Write::Create, None) => Some(created(Some(from))),
            (Write::Replace { holder, .. }, None) if !names_uid => Some(created(holder)),
            (Write::Replace { uid, version, holder }, Some(old))
                if version == old.version && (uid == old.uid || !names_uid) =>
            {
                let renewed = if holder.is_some() { new } else { old.renewed };
                Some(Stored { uid: old.uid, version: new, renewed, holder })
            }
            (Write::Delete { uid, version }, Some(old)) if version == old.version && uid == old.uid => None,
            (Write::Delete { .. }, None) => return (Answer::Missing, None),
            _ => return (Answer::Conflict, None),
        };
        (Answer::Done, self.lease)
    }

    /// A write of Helm's takes effect.
    fn land(&mut self, who: usize) {
        self.processes[who].flight = None;
        self.is_broken |= self.processes[who].is_outdated;
        let since = self.processes[who].since;
        for process in &mut self.processes {
            let may_write = process.is_holder() || process.flight.is_some();
            process.is_outdated |= may_write && process.since < since;
        }
    }

    fn numbers(&mut self) -> Vec<Number> {
        let mut all = Vec::new();
        self.each_number(&mut |number| all.push(*number));
        all
    }

    fn each_number(&mut self, f: &mut impl FnMut(&mut Number)) {
        fn of(stored: &mut Stored, f: &mut impl FnMut(&mut Number)) {
            f(&mut stored.uid);
            f(&mut stored.version);
            f(&mut stored.renewed);
        }
        self.lease.iter_mut().for_each(|lease| of(lease, f));
        for mail in &mut self.mail {
            if let Write::Replace { uid, version, .. } | Write::Delete { uid, version } = &mut mail.write {
                f(uid);
                f(version);
            }
        }
        for process in &mut self.processes {
            if let Some((_, heartbeat, _)) = &mut process.seen {
                f(heartbeat);
            }
            if process.is_holder() || process.flight.is_some() {
                f(&mut process.since);
            } else {
                (process.since, process.renewed, process.is_outdated) = (0, 0, false);
            }
            if process.phase == Phase::Gone {
                (process.seen, process.is_rested) = (None, true);
            }
            match &mut process.phase {
                Phase::Looking { shown, .. } => shown.iter_mut().flatten().for_each(|lease| of(lease, f)),
                Phase::Claiming { answer, .. } | Phase::GivingBack { answer, .. } => {
                    answer.iter_mut().filter_map(|(_, lease)| lease.as_mut()).for_each(|lease| of(lease, f));
                }
                Phase::Holding { lease } | Phase::Checking { lease } => of(lease, f),
                Phase::Renewing { lease, answer, .. } => {
                    of(lease, f);
                    answer.iter_mut().filter_map(|(_, lease)| lease.as_mut()).for_each(|lease| of(lease, f));
                }
                Phase::Idle | Phase::Leaving { .. } | Phase::Gone => {}
            }
        }
    }

    /// The same world without what makes no difference: late requests that can no longer be done, and what the numbers are.
    fn simplest(mut self, lock: &Lock) -> Self {
        let Lock { rules, ghosts, prompt, .. } = *lock;
        if prompt.is_none() {
            // Who may stall may also hurry.
            self.processes.iter_mut().for_each(|process| process.is_rested = true);
        }
        let lease = self.lease;
        let may_be_done = |mail: &Mail| match mail.write {
            Write::Create => true,
            Write::Replace { .. } if !rules.uid => true,
            Write::Replace { version, .. } | Write::Delete { version, .. } => {
                lease.is_some_and(|lease| lease.version == version)
            }
        };
        self.mail.retain(|mail| mail.awaited || may_be_done(mail));
        self.mail.sort_unstable();
        self.mail.dedup();
        let late = self.mail.iter().filter(|mail| !mail.awaited).count();
        let mut too_many = late.saturating_sub(ghosts);
        self.mail.retain(|mail| {
            let goes = !mail.awaited && too_many > 0;
            too_many -= usize::from(goes);
            !goes
        });
        let mut numbers = self.numbers();
        numbers.sort_unstable();
        numbers.dedup();
        let rank = |number: Number| numbers.iter().position(|other| *other == number).unwrap();
        self.each_number(&mut |number| *number = u8::try_from(rank(*number) + 1).unwrap());
        self
    }

    fn pass_time(&mut self, rules: &Rules) {
        // What is longer ago than any time that is asked for is all the same.
        let seconds = |time: Duration| u8::try_from(time.as_secs()).unwrap();
        let (long, longest) = (seconds(rules.times.give_up_after), seconds(rules.times.duration));
        for process in &mut self.processes {
            let rate = if process.is_fast { rules.rates.1 } else { rules.rates.0 };
            let older = |age: &mut u8, most: u8| *age = (*age + rate).min(most);
            process.is_rested = true;
            if let Some((_, _, since)) = &mut process.seen {
                older(since, longest);
            }
            older(&mut process.renewed, long);
            match &mut process.phase {
                Phase::Looking { asked, .. }
                | Phase::Claiming { asked, .. }
                | Phase::Renewing { asked, .. } => older(asked, long),
                _ => {}
            }
            process.flight = process.flight.map(|ticks| ticks + 1);
        }
        self.is_annotated = false;
    }
}

impl Model for Lock {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let process = |is_fast| Process {
            is_fast,
            phase: Phase::Idle,
            seen: None,
            renewed: 0,
            since: 0,
            flight: None,
            is_outdated: false,
            is_rested: true,
        };
        let first = Stored { uid: 1, version: 1, renewed: 1, holder: Some(0) };
        // Every choice of slow and fast clocks. Where nobody is special, and equal clocks show less, one will do.
        let is_small = self.processes == 2 && self.rules.flight == 0;
        let choices = match self.prompt {
            None if is_small => 1..2,
            Some(_) if is_small => 1..3,
            _ => 0..1_u32 << self.processes,
        };
        let worlds = choices.map(|clocks| World {
            lease: self.prompt.map(|_| first),
            processes: (0..self.processes).map(|who| process(clocks >> who & 1 == 1)).collect(),
            mail: Vec::new(),
            is_annotated: false,
            losses: self.prompt.unwrap_or_default(),
            vacant: 0,
            is_broken: false,
            is_given_up: false,
        });
        // In a prompt world somebody holds the lock, and may die.
        let held = worlds.map(|mut world| {
            if self.prompt.is_some() {
                world.processes[0].phase = Phase::Holding { lease: first };
                world.processes[0].since = 1;
            }
            world
        });
        held.collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let is_prompt = self.prompt.is_some();
        let may_wait = world
            .processes
            .iter()
            .all(|process| process.flight.is_none_or(|ticks| ticks < self.rules.flight));
        if may_wait && !(is_prompt && self.is_busy(world)) {
            actions.push(Action::Tick);
        }
        for (who, process) in world.processes.iter().enumerate() {
            let stays = is_prompt && who > 0;
            let may_miss = !stays || world.losses > 0;
            match process.phase {
                Phase::Idle if process.is_rested && self.rules.slow_readings => {
                    actions.push(Action::Look(who));
                }
                Phase::Idle if process.is_rested => {
                    if may_miss && is_prompt {
                        actions.push(Action::Miss(who));
                    }
                    self.decisions(world, who, world.lease, actions);
                }
                Phase::Looking { shown: None, .. } => {
                    actions.push(Action::Show(who));
                    if may_miss {
                        actions.push(Action::Miss(who));
                    }
                }
                Phase::Looking { shown: Some(shown), .. } => {
                    self.decisions(world, who, shown, actions);
                }
                Phase::Claiming { answer, .. }
                | Phase::Renewing { answer, .. }
                | Phase::GivingBack { answer, .. } => {
                    if answer.is_some() {
                        actions.push(Action::Hear(who));
                    }
                    if may_miss {
                        actions.push(Action::Miss(who));
                    }
                }
                Phase::Holding { .. } => {
                    if process.is_rested {
                        actions.push(Action::Renew(who));
                    }
                    if process.flight.is_none() && !stays {
                        actions.push(Action::Leave { who, delete: false });
                        actions.push(Action::Leave { who, delete: true });
                    }
                }
                Phase::Checking { .. } => {
                    actions.push(Action::Hear(who));
                    actions.push(Action::Miss(who));
                }
                Phase::Leaving { delete } => actions.push(Action::Leave { who, delete }),
                Phase::Idle | Phase::Gone => {}
            }
            if process.flight.is_some() {
                actions.push(Action::Land(who));
            } else if self.is_safe(process) && !is_prompt {
                actions.push(Action::Pass(who));
            }
            if process.phase != Phase::Gone && process.phase != Phase::Idle && !stays {
                actions.push(Action::Die(who));
            }
        }
        for (mail, sent) in world.mail.iter().enumerate() {
            actions.push(Action::Serve { mail, again: false });
            if sent.awaited && self.ghosts > 0 {
                actions.push(Action::Serve { mail, again: true });
            }
        }
        let Some(lease) = world.lease else { return };
        let may_annotate = (is_prompt || self.rules.slow_readings) && !world.is_annotated;
        if lease.holder.is_some() && may_annotate {
            actions.push(Action::Annotate);
        }
        let may_act = |process: &Process| {
            self.is_safe(process)
                || process.flight.is_some()
                || matches!(process.phase, Phase::Claiming { .. } | Phase::Renewing { .. })
        };
        if !is_prompt && !world.processes.iter().any(may_act) {
            actions.push(Action::DeleteByHand);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Tick => {
                world.pass_time(&self.rules);
                if self.prompt.is_some() {
                    // The dead are silent: what they sent arrives within a tick, or never.
                    world.mail.retain(|mail| mail.awaited);
                }
                let is_held = world.processes.iter().any(Process::is_holder);
                let is_wanted = world.processes.iter().skip(1).any(|process| process.phase != Phase::Gone);
                world.vacant = match self.prompt {
                    Some(_) if !is_held && is_wanted => (world.vacant + 1).min(self.patience() + 1),
                    _ => 0,
                };
            }
            Action::Look(who) => {
                world.processes[who].phase = Phase::Looking { asked: 0, shown: None };
            }
            Action::Show(who) => match &mut world.processes[who].phase {
                Phase::Looking { shown, .. } => *shown = Some(world.lease),
                _ => return None,
            },
            Action::Decide { who, over } => {
                let (asked, shown) = match world.processes[who].phase {
                    Phase::Looking { asked, shown } => (asked, shown?),
                    _ => (0, world.lease),
                };
                self.decide(&mut world, who, asked, shown, over);
            }
            Action::Serve { mail, again } => {
                let Mail { from, awaited, write } = world.mail.remove(mail);
                let answered = world.serve(from, write, self.rules.uid);
                if again {
                    world.mail.push(Mail { from, awaited: false, write });
                }
                if awaited {
                    match &mut world.processes[usize::from(from)].phase {
                        Phase::Claiming { answer, .. }
                        | Phase::Renewing { answer, .. }
                        | Phase::GivingBack { answer, .. } => *answer = Some(answered),
                        _ => return None,
                    }
                }
            }
            Action::Hear(who) => match world.processes[who].phase {
                Phase::Claiming { answer: Some(answer), .. }
                | Phase::Renewing { answer: Some(answer), .. }
                | Phase::GivingBack { answer: Some(answer), .. } => self.hear(&mut world, who, answer),
                Phase::Checking { lease } => self.check(&mut world, who, lease, Some(last.lease)),
                _ => return None,
            },
            Action::Miss(who) => {
                world.losses = world.losses.saturating_sub(u8::from(who > 0));
                for mail in &mut world.mail {
                    mail.awaited &= usize::from(mail.from) != who;
                }
                match world.processes[who].phase {
                    Phase::Idle | Phase::Looking { .. } => {
                        let process = &mut world.processes[who];
                        (process.phase, process.is_rested) = (Phase::Idle, false);
                    }
                    Phase::Checking { lease } => self.check(&mut world, who, lease, None),
                    _ => self.hear(&mut world, who, (Answer::Unknown, None)),
                }
            }
            Action::Renew(who) => {
                let Phase::Holding { lease } = world.processes[who].phase else { return None };
                let holder = Some(u8::try_from(who).unwrap());
                world.send(who, Write::Replace { uid: lease.uid, version: lease.version, holder });
                world.processes[who].phase = Phase::Renewing { lease, asked: 0, answer: None };
            }
            Action::Pass(who) if self.rules.flight == 0 => world.land(who),
            Action::Pass(who) => world.processes[who].flight = Some(0),
            Action::Land(who) => world.land(who),
            Action::Leave { who, delete } => {
                let me = Some(u8::try_from(who).unwrap());
                let Some(lease) = world.lease.filter(|lease| lease.holder == me) else {
                    world.processes[who].phase = Phase::Gone;
                    return Some(world.simplest(self));
                };
                let (uid, version) = (lease.uid, lease.version);
                world.send(
                    who,
                    match delete {
                        true => Write::Delete { uid, version },
                        false => Write::Replace { uid, version, holder: None },
                    },
                );
                world.processes[who].phase = Phase::GivingBack { delete, answer: None };
            }
            Action::Die(who) => {
                for mail in &mut world.mail {
                    mail.awaited &= usize::from(mail.from) != who;
                }
                world.processes[who].phase = Phase::Gone;
            }
            Action::Annotate => {
                let new = world.numbers().into_iter().max()? + 1;
                world.lease.as_mut()?.version = new;
                world.is_annotated = self.prompt.is_some();
            }
            Action::DeleteByHand => world.lease = None,
        }
        Some(world.simplest(self))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(NOBODY_GIVES_UP, |_: &Self, world: &World| !world.is_given_up),
            Property::always(ONE_AFTER_THE_OTHER, |_: &Self, world: &World| !world.is_broken),
            Property::always(NOBODY_IS_KEPT_OUT, |lock: &Self, world: &World| {
                world.vacant <= lock.patience()
            }),
        ];
        if self.prompt.is_none() {
            all.push(Property::sometimes("a silent holder is followed", |lock: &Self, world: &World| {
                let safe = world.processes.iter().filter(|process| lock.is_safe(process)).count();
                safe == 1 && world.processes.iter().filter(|process| process.is_holder()).count() == 2
            }));
            all.push(Property::sometimes(
                "a holder whose run is over is followed at once",
                |_: &Self, world: &World| {
                    world.processes.iter().any(|process| {
                        matches!(process.phase, Phase::Claiming { create: false, .. })
                            && process.seen.is_some_and(|(holder, _, since)| {
                                since == 0 && world.lease.is_some_and(|lease| lease.holder == Some(holder))
                            })
                    })
                },
            ));
        }
        if self.prompt != Some(0) {
            all.push(Property::sometimes("a claim without an answer was done", |_: &Self, world: &World| {
                (0..).zip(&world.processes).any(|(who, process)| match process.phase {
                    Phase::Idle => world.lease.is_some_and(|lease| lease.holder == Some(who)),
                    _ => false,
                })
            }));
        }
        all
    }
}

const ONE_AFTER_THE_OTHER: &str = "no write of a holder follows one of a later holder";
const NOBODY_GIVES_UP: &str = "who wants the lock goes on until it has it";
const NOBODY_IS_KEPT_OUT: &str = "a dead holder is replaced";

fn explore(lock: Lock) -> impl Checker<Lock> {
    let checker = lock.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    eprintln!("{} states, {} steps deep: {lock:?}", checker.unique_state_count(), checker.max_depth());
    checker
}

/// The property must not hold when the rules are these.
fn finds(property: &'static str, lock: Lock) {
    // Without late requests there is less to look at, and enough goes wrong.
    let checker = explore(Lock { ghosts: 0, ..lock });
    assert!(checker.discovery(property).is_some(), "nothing was found: {lock:?}");
}

fn any_stalls(rules: Rules) -> Lock {
    Lock { rules, processes: 2, ghosts: 1, prompt: None }
}

fn prompt(rules: Rules) -> Lock {
    Lock { rules, processes: 2, ghosts: 1, prompt: Some(1) }
}

#[test]
fn writers_follow_one_another_whatever_stalls_is_lost_or_late() {
    explore(any_stalls(Rules::shipped())).assert_properties();
}

#[test]
fn a_dead_holder_is_replaced_however_many_annotate_its_lease() {
    explore(prompt(Rules::shipped())).assert_properties();
}

#[test]
fn without_the_uid_a_late_renewal_brings_a_deleted_lease_back() {
    finds(ONE_AFTER_THE_OTHER, any_stalls(Rules { uid: false, ..Rules::shipped() }));
}

#[test]
fn without_the_margin_two_write() {
    let mut rules = Rules::shipped();
    rules.times.give_up_after = rules.times.duration;
    finds(ONE_AFTER_THE_OTHER, any_stalls(rules));
}

#[test]
fn clocks_that_go_beyond_the_bound_let_two_write() {
    finds(ONE_AFTER_THE_OTHER, any_stalls(Rules { rates: (6, 10), ..Rules::shipped() }));
}

#[test]
fn silence_counted_from_before_a_slow_reading_lets_two_write() {
    finds(
        ONE_AFTER_THE_OTHER,
        any_stalls(Rules { silence_from_asking: true, slow_readings: true, ..Rules::shipped() }),
    );
}

#[test]
fn annotations_that_count_as_life_keep_a_dead_holder_in() {
    finds(NOBODY_IS_KEPT_OUT, prompt(Rules { annotations_live: true, ..Rules::shipped() }));
}

#[test]
fn a_lost_answer_that_ends_a_claim_leaves_the_lock_to_nobody() {
    finds(NOBODY_GIVES_UP, prompt(Rules { lost_answer_ends: true, ..Rules::shipped() }));
}

/// Larger worlds: part of `cargo xtask soak`.
#[test]
#[ignore = "minutes: cargo xtask soak"]
fn larger_worlds() {
    let shipped = Rules::shipped();
    explore(Lock { rules: shipped, processes: 2, ghosts: 2, prompt: None }).assert_properties();
    explore(Lock { rules: Rules::closer(), processes: 2, ghosts: 1, prompt: None }).assert_properties();
    explore(Lock { rules: Rules::closer(), processes: 2, ghosts: 1, prompt: Some(2) }).assert_properties();
    explore(Lock { rules: shipped, processes: 3, ghosts: 0, prompt: Some(1) }).assert_properties();
}
