//! Which lock may be freed, and what must be known for it.
//! Pure: the Lease is watched, taken and given back in `commands/unlock.rs`.
//!
//! A dead holder's lock is freed for whoever names its ID. A living one's is not, unless somebody insists and confirms:
//! its run is stopped by that. What is decided here is tried by compare-and-swap, so it holds of the Lease that was looked
//! at or of none.

use crate::lock::holder::{LockRef, id};

use crate::{
    lock::{LeaseView, Life, holder::who},
    release::{History, Status},
    repair::{self, Plan, Step},
};

/// What the caller says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--id`.
    pub id: Option<String>,
    /// `--force`.
    pub force: bool,
    /// `--yes`, or the answer of the person at the terminal.
    pub consent: Consent,
}

/// Does somebody confirm what cannot be undone?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// Yes.
    Given,
    /// There is a person who can be asked.
    CanAsk,
    /// There is nobody to ask.
    #[default]
    CannotAsk,
    /// The person said no.
    Declined,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody holds it.
    Vacant,
    /// Watch the holder until more is known.
    Watch,
    /// Ask the person at the terminal this.
    Ask(String),
    /// Take it from its holder.
    Free {
        /// The holder may be at work for one lease duration more: no record may be touched before.
        may_write: bool,
    },
    /// Leave it.
    Refuse {
        /// Why.
        why: String,
        /// The next commands.
        next: Vec<String>,
    },
}

/// Decides on one reading of the Lease and what has been seen of its holder's life.
pub fn decide(view: Option<&LeaseView>, life: Life, flags: &Flags, place: &LockRef) -> Verdict {
    let Some(holder) = view.and_then(|view| view.holder.as_ref()) else { return Verdict::Vacant };
    let refuse = |why: String, next: &[String]| Verdict::Refuse { why, next: next.to_vec() };
    let (theirs, named) = (id(holder), flags.id.is_some());
    let plain = place.unlock(theirs, "");
    let forced = place.unlock(theirs, " --force --yes");
    if let Some(wanted) = flags.id.as_deref().filter(|wanted| *wanted != theirs) {
        let why = format!("lock {wanted} is not the one: lock {theirs} is held by {}", who(holder));
        return refuse(why, &[plain]);
    }
    if !named && !flags.force {
        return refuse(
            format!("which lock? name it by its ID: {theirs} is held by {}", who(holder)),
            &[plain],
        );
    }
    match (flags.force, flags.consent) {
        (true, Consent::CannotAsk) => {
            return refuse("--force needs --yes without a terminal".into(), &[forced]);
        }
        (true, Consent::Declined) => return refuse("not confirmed; nothing was changed".into(), &[]),
        // Taken from a living one or a dead one: watching would change nothing.
        (true, Consent::Given) => return Verdict::Free { may_write: life != Life::Dead },
        (true, Consent::CanAsk) | (false, _) => {}
    }
    let who = who(holder);
    match (life, flags.force) {
        (Life::Unknown, _) => Verdict::Watch,
        (Life::Dead, _) if named => Verdict::Free { may_write: false },
        (Life::Dead, true) => Verdict::Ask(format!("free lock {theirs}, whose holder is dead ({who})?")),
        (Life::Alive, true) => {
            Verdict::Ask(format!("{who} is ALIVE: stop that run and free its lock {theirs}?"))
        }
        (Life::Promised, true) => {
            Verdict::Ask(format!("lock {theirs} was taken for a fixed time ({who}): free it before that?"))
        }
        (Life::Promised, false) => refuse(
            format!("lock {theirs} was taken for a fixed time and may be in use until that is over: {who}"),
            &[give_back(place, theirs), forced],
        ),
        (Life::Alive | Life::Dead, false) => refuse(
            format!("the holder of lock {theirs} is alive, it has just renewed it: {who}"),
            &["wait until that run is over, or cancel it where it runs".into(), forced],
        ),
    }
}

fn give_back(place: &LockRef, id: &str) -> String {
    place.unlock(id, "").replacen("helm-guard unlock", "helm-guard lock release", 1)
}

/// May the records of a release be settled whose lock is ours now, with nobody known who works on it?
///
/// A lock tells whose a pending record is. Without one it may be that of a Helm that runs without helm-guard, and which
/// only a person can know to be dead.
pub fn orphan(history: &History, flags: &Flags, place: &LockRef) -> Verdict {
    let Some(pending) = history.records.iter().rev().find(|record| record.status().is_pending()) else {
        return Verdict::Vacant;
    };
    let found = format!("revision {} is {}", pending.revision, pending.status());
    match (flags.force, flags.consent) {
        (true, Consent::Given) => Verdict::Free { may_write: false },
        (true, Consent::CanAsk) => Verdict::Ask(format!(
            "{found}, and no run holds the lock: is its helm dead, and may the record be marked failed?"
        )),
        (true, Consent::Declined) => {
            Verdict::Refuse { why: "not confirmed; nothing was changed".into(), next: Vec::new() }
        }
        (true, Consent::CannotAsk) => Verdict::Refuse {
            why: "--force needs --yes without a terminal".into(),
            next: vec![place.unlock("", " --force --yes")],
        },
        (false, _) => Verdict::Refuse {
            why: format!("{found}, and there is no lock: a helm without helm-guard may be running"),
            next: vec![
                format!("helm-guard upgrade {} …, which repairs it", place.release),
                place.unlock("", " --force"),
            ],
        },
    }
}

/// What settles the records of a dead run: nothing pending, and the last good revision `deployed` if nothing is.
pub fn settling(history: &History) -> Vec<Step> {
    let good = history.last_good().map(|good| good.revision);
    repair::settle(Some(&Plan { good, ..Plan::default() }), history)
}

/// How a release stands, as one sentence, and whether it can be deployed: nothing pending.
pub fn standing(history: &History, place: &LockRef) -> (String, bool) {
    let name = format!("{} in namespace {}", place.release, place.namespace);
    let Some(last) = history.last() else { return (format!("{name} has no revision"), true) };
    let pending = history.records.iter().rev().find(|record| record.status().is_pending());
    let deployed = history.deployed().next_back();
    let said = match (pending, deployed) {
        (Some(pending), _) => {
            format!("{name} is stuck: revision {} is {}", pending.revision, pending.status())
        }
        (None, Some(good)) if good.revision == last.revision => {
            format!("{name} is deployed at revision {}", good.revision)
        }
        (None, Some(good)) => format!(
            "{name} is deployed at revision {}; revision {} is {}",
            good.revision,
            last.revision,
            last.status()
        ),
        (None, None) if last.status() == Status::Failed => {
            format!("{name} is failed: no revision is deployed, the last is {}", last.revision)
        }
        (None, None) => format!("{name} is {}: revision {}", last.status(), last.revision),
    };
    (said, pending.is_none())
}

#[cfg(test)]
mod tests;
