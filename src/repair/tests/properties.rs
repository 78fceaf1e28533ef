//! Any history, any strategy, a kill anywhere: the records always end in order. Helm is played by a few lines that
//! follow its storage.go, upgrade.go, install.go, rollback.go and uninstall.go, as far as they write records.

use std::collections::BTreeMap;

use proptest::{prelude::*, strategy::Strategy as Generator};

use super::*;
use crate::repair::Strategy;

/// The records of a release, and what a run of helm-guard remembers.
#[derive(Clone, Debug)]
struct World {
    history: History,
    written: u64,
    /// Copies of the records that were lent something.
    lent: BTreeMap<u32, Record>,
}

/// How a run of Helm ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It is killed, or refuses, before it writes.
    NothingWritten,
    Fails,
    /// It fails, and goes back by itself (`--atomic`).
    GoesBack,
    /// It fails, and is killed while it goes back.
    KilledGoingBack,
    /// It is killed while it applies or waits.
    Killed,
    /// It is killed between its two last saves.
    KilledInFinalSave,
    Succeeds,
}

impl World {
    fn new(history: History) -> Self {
        Self { history, written: 2000, lent: BTreeMap::new() }
    }

    fn put(&mut self, revision: u32, status: Status, description: Option<&str>) {
        self.written += 1;
        let Some(record) = self.history.records.iter_mut().find(|record| record.revision == revision) else {
            return;
        };
        record.label = status;
        if let Ok(body) = &mut record.body {
            body.status = status;
            if let Some(description) = description {
                body.description = description.to_owned();
            }
        }
        if let Stored::Secret(secret) = &mut record.stored {
            secret.metadata.resource_version = Some(self.written.to_string());
        }
    }

    fn set_aside(&mut self, revision: u32, set_aside: bool) {
        let record = self.history.records.iter_mut().find(|record| record.revision == revision);
        if let Some(Ok(body)) = record.map(|record| &mut record.body) {
            body.set_aside = set_aside;
        }
    }

    fn delete(&mut self, revision: u32) {
        self.history.records.retain(|record| record.revision != revision);
    }

    /// As `steps.rs` and `deploy.rs` do it.
    fn act(&mut self, step: &Step, max: u32) {
        match step {
            Step::Mark { revision, status, description } => {
                self.put(*revision, *status, description.as_deref());
            }
            Step::Lend { revision, union_of, .. } => {
                for lender in union_of {
                    assert!(self.history.get(*lender).is_some(), "a lender is deleted before it lends");
                }
                let Some(record) = self.history.get(*revision).cloned() else { return };
                self.put(*revision, Status::Failed, finish_install::death(&record).as_deref());
                self.lent.insert(*revision, record);
            }
            Step::Return { revision } => {
                let Some(copy) = self.lent.get(revision) else { return };
                let own = copy.body.as_ref().map_or(String::new(), |body| body.description.clone());
                let description = finish_install::death(copy).unwrap_or(own);
                let set_aside = copy.is_set_aside();
                self.put(*revision, Status::Failed, Some(&description));
                self.set_aside(*revision, set_aside);
            }
            Step::Delete { revision } => self.delete(*revision),
            // No status changes.
            Step::MapApis { .. } => {}
            Step::Rollback { to } => drop(self.rollback(*to, max, Ending::Succeeds)),
            Step::SetAside { revision, .. } => {
                let Some(record) = self.history.get(*revision).cloned() else { return };
                let description = dead_description(record.status());
                if !(record.is_set_aside() && record.status() == Status::Uninstalled) {
                    self.put(*revision, Status::Uninstalled, description.as_deref());
                    self.set_aside(*revision, true);
                }
            }
            Step::EndAside { revision } => {
                let Some(record) = self.history.get(*revision).cloned() else { return };
                self.put(*revision, Status::Failed, finish_install::death(&record).as_deref());
                self.set_aside(*revision, false);
            }
            Step::Uninstall => self.history.records.retain(|record| record.body.is_err()),
        }
    }

    /// Helm's `removeLeastRecent` and create.
    fn create(&mut self, revision: u32, status: Status, max: u32) -> Option<u32> {
        let readable: Vec<u32> =
            self.history.records.iter().filter(|r| r.body.is_ok()).map(|r| r.revision).collect();
        let deployed =
            self.history.records.iter().rev().find(|r| r.body.is_ok() && r.label == Status::Deployed);
        let deployed = deployed.map(|record| record.revision);
        if max > 0 {
            let surplus = (readable.len() + 1).saturating_sub(max as usize);
            for pruned in readable.into_iter().filter(|revision| Some(*revision) != deployed).take(surplus) {
                self.delete(pruned);
            }
        }
        if self.history.get(revision).is_some() {
            return None;
        }
        self.written += 1;
        let new = record(revision, status.as_str(), self.written);
        self.history.records.push(new);
        self.history = History::new(std::mem::take(&mut self.history.records));
        Some(revision)
    }

    /// `helm upgrade`. Whether it wrote anything.
    fn upgrade(&mut self, installing: bool, max: u32, ending: Ending) -> bool {
        if ending == Ending::NothingWritten {
            return false;
        }
        let last = self.history.last().map(|last| (last.revision, last.status()));
        let (revision, status) = match last {
            None if installing => return self.install(1, max, ending),
            None => return false,
            Some((revision, Status::Uninstalled)) if installing => {
                self.put(revision, Status::Superseded, Some("superseded by new release"));
                return self.install(revision + 1, max, ending);
            }
            Some(last) => last,
        };
        let deployed =
            self.history.records.iter().rev().find(|r| r.body.is_ok() && r.label == Status::Deployed);
        let base = match (status, deployed) {
            _ if status.is_pending() => return false,
            (Status::Deployed, _) => revision,
            (_, Some(deployed)) => deployed.revision,
            (Status::Failed | Status::Superseded, None) => revision,
            _ => return false,
        };
        let Some(new) = self.create(revision + 1, Status::PendingUpgrade, max) else { return false };
        match ending {
            Ending::NothingWritten | Ending::Killed => {}
            Ending::Fails | Ending::GoesBack | Ending::KilledGoingBack => {
                self.put(new, Status::Failed, Some("Upgrade \"web\" failed: timed out"));
                self.go_back(ending);
            }
            Ending::KilledInFinalSave => self.put(base, Status::Superseded, None),
            Ending::Succeeds => {
                self.put(base, Status::Superseded, None);
                self.put(new, Status::Deployed, Some("Upgrade complete"));
            }
        }
        true
    }

    fn install(&mut self, revision: u32, max: u32, ending: Ending) -> bool {
        let Some(new) = self.create(revision, Status::PendingInstall, max) else { return false };
        match ending {
            Ending::NothingWritten | Ending::Killed | Ending::KilledInFinalSave => {}
            Ending::Fails => self.put(new, Status::Failed, Some("Release \"web\" failed: timed out")),
            Ending::GoesBack => self.history.records.retain(|record| record.body.is_err()),
            Ending::KilledGoingBack => {
                self.put(new, Status::Uninstalling, Some("Deletion in progress (or silently failed)"))
            }
            Ending::Succeeds => self.put(new, Status::Deployed, Some("Install complete")),
        }
        true
    }

    /// The automatic rollback: to the highest revision that is superseded or deployed, pruning nothing.
    fn go_back(&mut self, ending: Ending) {
        let is_good = |record: &&Record| matches!(record.status(), Status::Superseded | Status::Deployed);
        let Some(good) = self.history.records.iter().rev().find(is_good).map(|good| good.revision) else {
            return;
        };
        match ending {
            Ending::GoesBack => drop(self.rollback(good, 0, Ending::Succeeds)),
            Ending::KilledGoingBack => drop(self.rollback(good, 0, Ending::Killed)),
            _ => {}
        }
    }

    fn rollback(&mut self, to: u32, max: u32, ending: Ending) -> Option<()> {
        self.history.get(to)?;
        let last = self.history.last()?.revision;
        let new = self.create(last + 1, Status::PendingRollback, max)?;
        if ending == Ending::Killed {
            return Some(());
        }
        let deployed: Vec<u32> =
            self.history.records.iter().filter(|r| r.label == Status::Deployed).map(|r| r.revision).collect();
        for revision in deployed {
            self.put(revision, Status::Superseded, None);
        }
        if ending == Ending::Succeeds {
            self.put(new, Status::Deployed, None);
        }
        Some(())
    }
}

/// What a run is given, the same for every run of a test.
#[derive(Clone, Copy, Debug)]
struct Given {
    command: Command,
    installing: bool,
    strategy: Strategy,
    reuses_values: bool,
    max: u32,
    claim: bool,
}

impl Given {
    fn answer(&self, history: &History) -> Answer {
        let claim = "kind: PersistentVolumeClaim\napiVersion: v1\nmetadata: {name: data}\n";
        let manifest = crate::manifest::Manifest::parse(claim, "ns").unwrap();
        // As deploy.rs asks: only where nothing is good.
        let asked = self.claim && history.last_good().is_none();
        let precious: Vec<String> = manifest.keys().filter(|_| asked).map(ToString::to_string).collect();
        plan(&Question {
            command: self.command,
            installing: self.installing,
            history,
            strategy: self.strategy,
            reuses_values: self.reuses_values,
            history_max: self.max,
            precious: &precious,
            proof: &Proof::None,
            alone: false,
        })
    }

    /// A run of helm-guard that ends by itself. Whether Helm was started and how it then ended.
    fn run(&self, world: &mut World, ending: Ending) -> Option<bool> {
        world.lent.clear();
        let plan = match self.answer(&world.history) {
            Answer::Refuse { .. } => return None,
            Answer::Healthy => None,
            Answer::Repair(plan) => Some(plan),
        };
        for step in plan.iter().flat_map(|plan| &plan.steps) {
            world.act(step, self.max);
        }
        let wrote = world.upgrade(self.installing, self.max, ending);
        for step in settle(plan.as_ref(), &world.history) {
            world.act(&step, self.max);
        }
        Some(wrote && ending == Ending::Succeeds)
    }
}

fn statuses(history: &History) -> String {
    history
        .records
        .iter()
        .map(|r| {
            format!("{} {}", r.revision, if r.body.is_ok() { r.status().as_str() } else { "unreadable" })
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// What must hold when a run has ended, of which the last good revision was `good`.
fn assert_in_order(world: &World, good: Option<u32>, succeeded: bool) -> Result<(), TestCaseError> {
    let history = &world.history;
    let said = statuses(history);
    let readable = || history.records.iter().filter(|record| record.body.is_ok());
    prop_assert!(!readable().any(|record| record.status().is_pending()), "pending: {}", said);
    prop_assert!(history.deployed().count() <= 1, "several deployed: {}", said);
    let hidden =
        history.last().is_some_and(|last| last.is_set_aside() && last.status() == Status::Uninstalled);
    prop_assert!(!hidden, "set aside still: {}", said);
    let labels = readable().filter(|record| record.label == Status::Deployed).count();
    prop_assert!(labels <= 1, "several labelled deployed: {}", said);
    if succeeded {
        prop_assert_eq!(history.last().map(Record::status), Some(Status::Deployed), "{}", said);
    } else if let Some(good) = good {
        let deployed = history.deployed().next().map(|record| record.revision);
        // Helm's own rollback to it, or Helm's work that lacked only its last save, is good as well.
        prop_assert!(deployed.is_some_and(|deployed| deployed >= good), "not good again: {}", said);
    }
    Ok(())
}

/// Up to six records, as [`history`] reads them.
fn histories() -> impl Generator<Value = String> {
    let status = prop::sample::select(
        "deployed deployed superseded superseded superseded! superseded? failed uninstalled uninstalling replaced \
         pending-install pending-install+hook pending-upgrade pending-upgrade pending-rollback unreadable unknown \
         pending-upgrade~failed pending-upgrade~deployed aside aside+hook replaced-aside failed-aside dead-install+hook"
            .split_whitespace()
            .collect::<Vec<_>>(),
    );
    (1..4, prop::collection::vec(status, 1..=6)).prop_map(|(first, statuses)| {
        let one = |(revision, status): (i32, &str)| format!("{revision} {status}");
        (first..).zip(statuses).map(one).collect::<Vec<_>>().join(", ")
    })
}

fn givens() -> impl Generator<Value = Given> {
    let strategies = vec![
        Strategy::Auto,
        Strategy::Rebase,
        Strategy::Rollback,
        Strategy::MarkFailed,
        Strategy::DeleteRecord,
        Strategy::Uninstall,
    ];
    let max = prop::sample::select(vec![10, 0, 1, 2, 3, 4, 5, 6]);
    (any::<bool>(), prop::sample::select(strategies), any::<bool>(), max, any::<bool>()).prop_map(
        |(installing, strategy, reuses_values, max, claim)| Given {
            command: Command::Upgrade,
            installing,
            strategy,
            reuses_values,
            max,
            claim,
        },
    )
}

fn endings() -> impl Generator<Value = Ending> {
    prop::sample::select(vec![
        Ending::NothingWritten,
        Ending::Fails,
        Ending::GoesBack,
        Ending::KilledGoingBack,
        Ending::Killed,
        Ending::KilledInFinalSave,
        Ending::Succeeds,
    ])
}

/// The revision that must be `deployed` again after a failure, that or a newer one: the last good one, or an older one
/// that was deployed all the time. There is none below an uninstall that died.
fn good(history: &History) -> Option<u32> {
    let uninstalling = history.last().is_some_and(|last| last.status() == Status::Uninstalling);
    let good = history.last_good().filter(|_| !uninstalling)?.revision;
    Some(history.deployed().next_back().map_or(good, |deployed| deployed.revision.min(good)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_plan_deletes_or_fails_the_last_good_record(text in histories(), given in givens(), command in prop::sample::select(
        vec![Command::Upgrade, Command::Install, Command::Rollback, Command::Uninstall],
    )) {
        let history = history(&text);
        let uninstalling = history.last().is_some_and(|last| last.status() == Status::Uninstalling);
        let good = history.last_good().filter(|_| !uninstalling).map(|good| good.revision);
        if let Answer::Repair(plan) = (Given { command, ..given }).answer(&history) {
            for step in &plan.steps {
                let touched = step.revision().is_some() && step.revision() == good;
                let harmless = matches!(step, Step::Mark { status: Status::Deployed | Status::Superseded, .. });
                prop_assert!(!touched || harmless, "{:?}", step);
                let asked_for = given.strategy == Strategy::Uninstall && good.is_none();
                prop_assert!(asked_for || *step != Step::Uninstall, "{:?}", step);
            }
        }
    }

    #[test]
    fn every_run_leaves_the_records_in_order(text in histories(), given in givens(), ending in endings()) {
        let history = history(&text);
        let good = good(&history);
        let mut world = World::new(history);
        if let Some(succeeded) = given.run(&mut world, ending) {
            assert_in_order(&world, good, succeeded)?;
        }
    }

    #[test]
    fn a_run_after_a_killed_one_leaves_them_in_order(
        text in histories(), given in givens(), kill in any::<prop::sample::Index>(), ending in endings(), again in endings(),
    ) {
        let history = history(&text);
        let good = good(&history);
        let mut world = World::new(history);
        let Answer::Repair(plan) = given.answer(&world.history) else { return Ok(()) };
        let done = kill.index(plan.steps.len() + 1);
        for step in &plan.steps[..done] {
            world.act(step, given.max);
        }
        // A kill in the middle of Helm's own work, be it the repair's rollback or the upgrade.
        match plan.steps.get(done) {
            Some(Step::Rollback { to }) if ending != Ending::NothingWritten => drop(world.rollback(*to, given.max, ending)),
            Some(_) => {}
            None => drop(world.upgrade(given.installing, given.max, ending)),
        }
        if let Some(succeeded) = given.run(&mut world, again) {
            assert_in_order(&world, good, succeeded)?;
        }
    }
}
