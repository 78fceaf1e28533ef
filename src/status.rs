//! How a release stands: what its records and its lock say together, and what a repair would do.
//! Pure: both are read in `commands/status.rs`, and shown in `status/render.rs`.

use crate::redact::{Redact, Redactor};
pub mod health;
pub mod list_entry;
pub mod list_queries;
pub mod render;

use serde::Serialize;

use crate::{
    lock::{
        holder::{LockRef, who},
        table::{Row, State as LockState},
    },
    release::{History, Revision, Status},
    repair::{Answer, map_apis},
    unlock::standing,
};

/// In one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// There is no revision.
    #[default]
    None,
    /// The last revision is the one that is deployed.
    Deployed,
    /// Somebody works on it, or said so.
    Deploying,
    /// A revision is pending, and no run works on it.
    Stuck,
    /// The last revision failed.
    Failed,
    /// Its uninstall began and did not end.
    Uninstalling,
    /// It was removed, with its history kept.
    Uninstalled,
}

impl State {
    /// Of a release on which nobody else works.
    pub(crate) fn of(history: &History) -> Self {
        state(history, false)
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Deployed => "deployed",
            Self::Deploying => "deploying",
            Self::Stuck => "stuck",
            Self::Failed => "failed",
            Self::Uninstalling => "uninstalling",
            Self::Uninstalled => "uninstalled",
        }
    }
}

/// What a repair would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// Name of the strategy; empty when it would be refused.
    pub strategy: String,
    /// What was found.
    pub finding: String,
    /// Why this, or why it would be refused.
    pub why: String,
    /// In order.
    pub steps: Vec<String>,
    /// What it would not mend.
    pub caveat: String,
}

/// All that is known of a release.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Raised when a field changes its meaning or goes; a new field does not raise it.
    pub schema_version: u32,
    /// Release name.
    pub release: String,
    /// Namespace.
    pub namespace: String,
    /// In one word.
    pub state: State,
    /// In one sentence.
    pub summary: String,
    /// The lock; `None` when there never was one.
    pub lock: Option<Row>,
    /// The records, oldest first.
    pub revisions: Vec<Revision>,
    /// How it fares; `None` when there is nothing that could live.
    pub health: Option<crate::health::Finding>,
    /// `None` when there is nothing to repair.
    pub repair: Option<Planned>,
    /// The next commands.
    pub next: Vec<String>,
}

impl Standing {
    /// From what was read. `answer` is of the strategy that was asked for.
    pub fn new(place: &LockRef, lock: Option<Row>, history: &History, answer: Answer) -> Self {
        let at_work = lock.as_ref().filter(|row| matches!(row.state, LockState::Held | LockState::Alive));
        let state = state(history, at_work.is_some());
        let repair = planned(answer);
        let next = next(place, state, lock.as_ref(), repair.as_ref());
        let (mut summary, _) = standing(history, place);
        if let (State::Deploying, Some(holder)) = (state, at_work.and_then(|row| row.holder.as_ref())) {
            let last =
                history.last().map(|last| format!(": revision {} is {}", last.revision, last.status()));
            summary = format!(
                "{} in namespace {} is worked on{}, by {}",
                place.release,
                place.namespace,
                last.unwrap_or_default(),
                who(holder)
            );
        }
        Self {
            schema_version: 1,
            release: place.release.clone(),
            namespace: place.namespace.clone(),
            state,
            summary,
            lock,
            revisions: history.rows(),
            health: None,
            repair,
            next,
        }
    }
}

fn state(history: &History, at_work: bool) -> State {
    // Over one that is set aside Helm was to install, and did not come to that.
    let set_aside =
        history.last().is_some_and(|last| last.is_set_aside() && last.status() == Status::Uninstalled);
    let pending = set_aside || history.records.iter().any(|record| record.status().is_pending());
    state_of(history.last().map(crate::release::Record::status), pending, at_work)
}

/// The status of the last revision, whether any is pending, and whether somebody works on it.
fn state_of(last: Option<Status>, pending: bool, at_work: bool) -> State {
    let Some(last) = last else { return if at_work { State::Deploying } else { State::None } };
    match last {
        _ if at_work => State::Deploying,
        _ if pending => State::Stuck,
        Status::Deployed => State::Deployed,
        Status::Uninstalled => State::Uninstalled,
        Status::Uninstalling => State::Uninstalling,
        _ => State::Failed,
    }
}

fn planned(answer: Answer) -> Option<Planned> {
    match answer {
        Answer::Healthy => None,
        Answer::Refuse { finding, why, .. } => Some(Planned { finding, why, ..Planned::default() }),
        Answer::Repair(plan) => Some(Planned {
            strategy: plan.strategy.to_owned(),
            finding: plan.finding,
            why: plan.why,
            steps: plan.steps.iter().map(ToString::to_string).collect(),
            caveat: plan.caveat,
        }),
    }
}

fn next(place: &LockRef, state: State, lock: Option<&Row>, repair: Option<&Planned>) -> Vec<String> {
    let name = format!("{} -n {}", place.release, place.namespace);
    let mut next = Vec::new();
    let held = lock.filter(|row| row.state != LockState::Free).and_then(|row| row.holder.as_ref());
    if let Some(holder) = held {
        // A dead holder's lock is taken over by whoever comes next.
        let more = if state == State::Deploying { " --force" } else { "" };
        next.push(place.unlock(crate::lock::holder::id(holder), more));
    }
    match state {
        State::Deploying => next.insert(0, "wait until that run is over, or cancel it where it runs".into()),
        State::Stuck | State::Failed if repair.is_some() => {
            next.push(format!("helm-guard upgrade {name} …, which repairs it and deploys"));
            next.push(format!("helm-guard repair {name}, without a deploy"));
        }
        State::Uninstalling => next.push(format!("helm-guard uninstall {name}")),
        State::Deployed if repair.is_some_and(|planned| planned.strategy == map_apis::NAME) => {
            next.push(format!("helm-guard repair {name} --strategy map-apis, which a deploy does by itself"));
        }
        _ => {}
    }
    next
}

/// Every field has to be named, so that a new one is not forgotten.
impl Redact for Planned {
    fn redact(&mut self, by: &Redactor) {
        let Self { finding, why, steps, caveat, strategy: _ } = self;
        finding.redact(by);
        why.redact(by);
        steps.redact(by);
        caveat.redact(by);
    }
}

impl Redact for Standing {
    fn redact(&mut self, by: &Redactor) {
        let Self {
            summary,
            revisions,
            health,
            repair,
            schema_version: _,
            release: _,
            namespace: _,
            state: _,
            lock: _,
            next: _,
        } = self;
        summary.redact(by);
        revisions.redact(by);
        health.redact(by);
        repair.redact(by);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        ci::run::Owner,
        lock::{LeaseView, Life, holder::Holder},
        repair::{Strategy, adopt::Proof, standalone, tests::history},
    };

    /// How `records` stand with this lock: `free`, `alive`, `dead`, `fixed`, or no Lease.
    pub(super) fn example(records: &str, lock: &str, strategy: Strategy) -> Standing {
        let history = if records.is_empty() { History::default() } else { history(records) };
        let place =
            LockRef { release: "web".into(), namespace: "shop".into(), lease: "helm-guard-web".into() };
        let holder = Holder {
            lock_id: "3f9a1c07".into(),
            identity: "i".into(),
            owner: Owner { name: "ada@laptop".into(), actor: "ada".into(), ..Owner::default() },
            operation: "upgrade".into(),
            release: "web".into(),
            since: "2026-06-01T10:02:11.123456Z".into(),
        };
        let view = LeaseView {
            holder: (lock != "free").then_some(holder),
            renewed: "2026-06-01T10:04:41.000001Z".into(),
            duration: Duration::from_secs(15),
            members: Vec::new(),
        };
        let life = match lock {
            "alive" => Life::Alive,
            "dead" => Life::Dead,
            "fixed" => Life::Promised,
            _ => Life::Unknown,
        };
        let row = (!lock.is_empty()).then(|| Row::new("shop", &place.lease, &view, life, None));
        let answer = standalone::plan(&history, strategy, 10, &[], &Proof::None);
        Standing::new(&place, row, &history, answer)
    }

    #[test]
    fn stuck_is_what_is_pending_and_nobodys() {
        for (records, lock, expected) in [
            ("", "", "none"),
            ("", "alive", "deploying"),
            ("1 superseded, 2 deployed", "free", "deployed"),
            ("1 superseded, 2 deployed", "dead", "deployed"),
            ("1 deployed, 2 pending-upgrade", "", "stuck"),
            ("1 deployed, 2 pending-upgrade", "free", "stuck"),
            ("1 deployed, 2 pending-upgrade", "dead", "stuck"),
            ("1 deployed, 2 pending-upgrade", "alive", "deploying"),
            ("1 deployed, 2 pending-upgrade", "fixed", "deploying"),
            ("1 deployed, 2 failed", "free", "failed"),
            ("1 uninstalled", "free", "uninstalled"),
            ("1 uninstalling", "free", "uninstalling"),
        ] {
            let shown = example(records, lock, Strategy::Auto);
            assert_eq!(shown.state.as_str(), expected, "{records}, {lock}");
            assert_eq!(serde_json::to_value(shown.state).unwrap(), expected);
        }
    }

    #[test]
    fn a_living_holder_is_waited_for_and_a_dead_one_is_not() {
        let living = example("1 deployed, 2 pending-upgrade", "alive", Strategy::Auto);
        assert!(living.next[0].starts_with("wait until"), "{:?}", living.next);
        assert!(living.next[1].ends_with("--id 3f9a1c07 --force"), "{:?}", living.next);
        let dead = example("1 deployed, 2 pending-upgrade", "dead", Strategy::Auto);
        assert_eq!(dead.next[0], "helm-guard unlock web -n shop --id 3f9a1c07");
        assert!(dead.next[2].starts_with("helm-guard repair web -n shop"), "{:?}", dead.next);
    }
}
