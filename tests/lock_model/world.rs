//! The world around the processes: the Lease in the API server, requests on their way, and time.

use std::time::Duration;

use helm_guard::lock::protocol::Answer;

use crate::{Lock, Rules};

/// The present, for clocks that only show how long ago something was.
pub(crate) const NOW: Duration = Duration::from_secs(1000);

pub(crate) fn ago(seconds: u8) -> Duration {
    NOW - Duration::from_secs(seconds.into())
}

pub(crate) fn seconds_since(then: Duration) -> u8 {
    u8::try_from((NOW - then).as_secs()).unwrap()
}

/// Names a version of the Lease. Only their order counts, so they are numbered anew at each step.
pub(crate) type Number = u8;

/// The Lease in the API server, or as somebody has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    pub(crate) uid: Number,
    pub(crate) version: Number,
    /// Renew time: the version that its holder wrote last.
    pub(crate) renewed: Number,
    pub(crate) holder: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Write {
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
pub(crate) struct Mail {
    pub(crate) from: u8,
    pub(crate) awaited: bool,
    pub(crate) write: Write,
}

/// An answer that has not been heard yet; with the Lease if the write was done.
pub(crate) type Answered = Option<(Answer, Option<Stored>)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
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
pub(crate) struct Process {
    pub(crate) is_fast: bool,
    pub(crate) phase: Phase,
    /// Whose heartbeat it has seen, which, and how long ago first.
    pub(crate) seen: Option<(u8, Number, u8)>,
    /// How long ago its last successful write of the Lease was sent.
    pub(crate) renewed: u8,
    /// The version by which it came to hold the Lease.
    pub(crate) since: Number,
    /// For how many ticks a write that passed the fence has been under way.
    pub(crate) flight: Option<u8>,
    /// A write of a later holder has taken effect.
    pub(crate) is_outdated: bool,
    /// It has not acted yet since the last tick.
    pub(crate) is_rested: bool,
}

impl Process {
    /// Its Helm runs.
    pub(crate) fn is_holder(&self) -> bool {
        matches!(self.phase, Phase::Holding { .. } | Phase::Renewing { .. } | Phase::Checking { .. })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) lease: Option<Stored>,
    pub(crate) processes: Vec<Process>,
    pub(crate) mail: Vec<Mail>,
    /// Somebody has annotated the Lease since the last tick.
    pub(crate) is_annotated: bool,
    /// Answers that may yet be lost, in a prompt world.
    pub(crate) losses: u8,
    /// Ticks for which nobody has held the lock.
    pub(crate) vacant: u8,
    /// A write took effect after one of a later holder.
    pub(crate) is_broken: bool,
    /// Somebody who wanted the lock ended without it, though there was time left.
    pub(crate) is_given_up: bool,
}

impl World {
    pub(crate) fn send(&mut self, who: usize, write: Write) {
        self.mail.push(Mail { from: u8::try_from(who).unwrap(), awaited: true, write });
    }

    /// As the API server does it: a Lease that is not there is created by an update too, unless its UID is named.
    pub(crate) fn serve(&mut self, from: u8, write: Write, names_uid: bool) -> (Answer, Option<Stored>) {
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
    pub(crate) fn land(&mut self, who: usize) {
        self.processes[who].flight = None;
        self.is_broken |= self.processes[who].is_outdated;
        let since = self.processes[who].since;
        for process in &mut self.processes {
            let may_write = process.is_holder() || process.flight.is_some();
            process.is_outdated |= may_write && process.since < since;
        }
    }

    pub(crate) fn numbers(&mut self) -> Vec<Number> {
        let mut all = Vec::new();
        self.each_number(&mut |number| all.push(*number));
        all
    }

    pub(crate) fn each_number(&mut self, f: &mut impl FnMut(&mut Number)) {
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
    pub(crate) fn simplest(mut self, lock: &Lock) -> Self {
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

    pub(crate) fn pass_time(&mut self, rules: &Rules) {
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
