//! What a run that waits for the lock asks the CI system: is the holder's run over, is a newer run alive?
//! The questions are asked in parallel to the reads of the Lease, never before them. `ci.rs`,
//! `ci_liveness.rs` and `run_history.rs` decide what the answers mean.

use std::{collections::BTreeMap, time::Duration};

use tokio::task::JoinHandle;

use super::{
    ACQUIRE, LeaseView,
    ci_liveness::{Over, Weighed},
    run_history::{Lines, Newer, Place},
};
use crate::{
    ci::{Answer, Ask, Desk, Question, Trouble, api::Api, next_question, run::Owner},
    clock::Clock,
    lock::holder::Holder,
};

/// How long a run that could have the lock waits to hear whether a newer one is alive.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is to be said to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// One witness fewer, and why.
    Warning(String),
    /// The lock was taken from a holder that is known to be dead.
    RunOver {
        /// Who.
        holder: Box<Holder>,
        /// How that is known.
        why: String,
    },
}

/// Whether a run that is outdated may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outdated {
    /// It may not: see [`super::lease::LockError::Outdated`].
    Stops,
    /// It may.
    GoesOn,
}

/// One run before one lock.
pub struct Queue<'a> {
    desk: Option<Desk>,
    outdated: Outdated,
    clock: Clock,
    tell: Box<dyn Fn(Notice) + Send + Sync + 'a>,
    /// At the desk, unless a question is under way.
    api: Option<Api>,
    asking: Option<JoinHandle<Heard>>,
    known: BTreeMap<Ask, Known>,
    over: Over,
    /// How it is known that the holder is dead.
    why: String,
    said: bool,
}

/// What came back.
struct Heard {
    api: Api,
    ask: Ask,
    /// The Lease of the holder that it was about, as it was when it was asked.
    seen: Option<LeaseView>,
    answer: Result<Answer, Trouble>,
}

/// What is known of a run, and when to ask again.
#[derive(Debug, Default)]
struct Known {
    answer: Option<Answer>,
    asked: u32,
    next: Duration,
}

impl<'a> Queue<'a> {
    /// One that asks nobody, and never is outdated.
    pub fn alone(clock: Clock) -> Self {
        Self::new(None, Outdated::GoesOn, clock, |_| {})
    }

    /// One that asks at `desk`, if there is one.
    pub fn new(
        desk: Option<Desk>,
        outdated: Outdated,
        clock: Clock,
        tell: impl Fn(Notice) + Send + Sync + 'a,
    ) -> Self {
        Self {
            api: desk.clone().map(Api::new),
            desk,
            outdated,
            clock,
            tell: Box::new(tell),
            asking: None,
            known: BTreeMap::new(),
            over: Over::default(),
            why: String::new(),
            said: false,
        }
    }

    /// Takes a look at the Lease that was begun at `now`: the identity of its holder, if that is known to be dead. Asks if
    /// it is time to.
    pub(super) fn look(&mut self, view: Option<&LeaseView>, now: Duration) -> Option<String> {
        let view = view?;
        // Whoever takes a lock for a time of its own may do its work anywhere.
        let holder = view.holder.as_ref().filter(|holder| holder.operation != ACQUIRE)?;
        match self.question(&holder.owner) {
            Question::Nothing => return None,
            Question::Over(of) => {
                self.over.told(view);
                self.why = format!("its CI run is over: this is {of} of it");
            }
            Question::Ask(ask) => self.ask(ask, Some(view), now),
        }
        match self.over.weigh(view, now) {
            Weighed::Dead(identity) => Some(identity),
            Weighed::Nothing => None,
            Weighed::Contradicted => {
                let name = &holder.owner.name;
                (self.tell)(Notice::Warning(format!(
                    "{name} renews its lock although {}: it counts as alive",
                    self.why
                )));
                None
            }
        }
    }

    /// The lock was taken from `holder`, whose run was over.
    pub(super) fn taken(&self, holder: &Holder) {
        (self.tell)(Notice::RunOver { holder: Box::new(holder.clone()), why: self.why.clone() });
    }

    /// Is `me` outdated by a newer run of its line? Where that depends on an answer it is waited for, for a moment, only if
    /// `me` could have the lock now. Without an answer nobody is: a newer run that lives deploys next anyway.
    pub(super) async fn outdated(&mut self, lines: &Lines, me: &Holder, is_next: bool) -> Option<Newer> {
        if self.outdated == Outdated::GoesOn {
            return None;
        }
        let newer = match lines.place(me) {
            Place::Current => return None,
            Place::Outdated(newer) => return Some(newer),
            Place::Behind(newer) => newer,
        };
        let Question::Ask(ask) = self.question(&newer.owner()) else { return None };
        let started = self.clock.monotonic();
        loop {
            let now = self.clock.monotonic();
            self.ask(ask.clone(), None, now);
            let left = (started + PATIENCE).saturating_sub(now);
            match self.known.get(&ask) {
                Some(Known { answer: Some(Answer::Alive(_)), .. }) => return Some(Newer::Alive(newer)),
                Some(Known { answer: Some(_), .. }) => return None,
                // It was asked in vain, or nobody is there to ask.
                Some(Known { asked: 1.., .. }) => return None,
                _ if !is_next || left.is_zero() || self.asking.is_none() => return None,
                _ => self.pause(left).await,
            }
        }
    }

    /// Lets time pass, less if an answer comes.
    pub(super) async fn pause(&mut self, limit: Duration) {
        let Some(asking) = &mut self.asking else { return tokio::time::sleep(limit).await };
        let heard = tokio::select! {
            heard = asking => heard,
            () = tokio::time::sleep(limit) => return,
        };
        self.asking = None;
        if let Ok(heard) = heard {
            self.hear(heard);
        }
    }

    fn question(&self, owner: &Owner) -> Question {
        self.desk.as_ref().map_or(Question::Nothing, |desk| desk.question(owner))
    }

    /// Asks in the background, if it is time to and no other question is under way.
    fn ask(&mut self, ask: Ask, seen: Option<&LeaseView>, now: Duration) {
        let known = self.known.get(&ask);
        let is_over = known.is_some_and(|known| matches!(known.answer, Some(Answer::Over(_))));
        if is_over || known.is_some_and(|known| now < known.next) {
            return;
        }
        let Some(mut api) = self.api.take() else { return };
        let seen = seen.cloned();
        self.asking = Some(tokio::spawn(async move {
            let answer = api.ask(&ask).await;
            Heard { api, ask, seen, answer }
        }));
    }

    fn hear(&mut self, heard: Heard) {
        let Heard { api, ask, seen, answer } = heard;
        let now = self.clock.monotonic();
        let what = ask.about.what();
        let known = self.known.entry(ask).or_default();
        known.asked += 1;
        known.next = now + next_question(known.asked);
        let mut trouble = None;
        self.api = Some(api);
        match answer {
            Ok(Answer::Over(word)) => {
                self.why = format!("its CI {what} is over: {word}");
                if let Some(seen) = seen {
                    self.over.told(&seen);
                }
                known.answer = Some(Answer::Over(word));
            }
            Ok(answer) => {
                if let Answer::Unknown(why) = &answer {
                    trouble = Some(why.clone());
                }
                known.answer = Some(answer);
            }
            Err(Trouble::Passing(why, pause)) => {
                known.next = now + pause;
                trouble = Some(why);
            }
            Err(Trouble::Final(why)) => {
                known.next = Duration::MAX;
                trouble = Some(why);
            }
            Err(Trouble::Refused(why)) => {
                self.api = None;
                trouble = Some(why);
            }
        }
        if let (Some(why), false) = (trouble, self.said) {
            self.said = true;
            (self.tell)(Notice::Warning(format!(
                "the CI system does not tell how other runs are: {why}; the lock of a dead one is waited for until it runs out"
            )));
        }
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}
