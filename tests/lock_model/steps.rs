//! All that may happen next, and what the world is then.

use helm_guard::lock::protocol::Answer;
use stateright::{Model, Property};

use crate::{
    Lock,
    world::{Mail, Phase, Process, Stored, World, Write},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
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
        super::properties(self)
    }
}
