//! The repair that makes a release deployable: takes the history, returns steps.
//! Pure: the steps are done in `repair/execute.rs`.
//!
//! The rule behind all of it: Helm's next operation must start from a base that describes everything that may live
//! in the cluster. So the last record, dead anyway, is *lent* the union of all manifests since the last good revision
//! (and the good revision's values where Helm would reuse values) for the time of one Helm run, with nothing
//! `deployed`, so that Helm merges from it. Helm then removes by itself what dead revisions left, objects and fields,
//! and what only the good revision had; nothing that the new manifest wants is ever deleted; one revision is added.

pub mod adopt;
pub mod execute;
pub mod finish_install;
pub mod leftovers;
pub mod map_apis;
pub mod odd_records;
pub mod standalone;
pub mod uninstall;

use adopt::Proof;

use crate::{
    helm::Command,
    manifest::ObjectKey,
    release::{History, MARK, Record, Status},
};

/// What the user chose with `--repair`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Strategy {
    /// Choose the strategy: rebase if it is safe.
    #[default]
    Auto,
    /// Let Helm merge from all objects that may exist, of all revisions.
    Rebase,
    /// Roll back to the last good revision first, without hooks.
    Rollback,
    /// Mark the dead revision as deployed, if all its objects exist as it describes and are ready.
    Adopt,
    /// Only mark dead revisions as failed.
    MarkFailed,
    /// Delete the records of dead revisions.
    DeleteRecord,
    /// Uninstall a first install that never finished; list what is deleted, and refuse what the release did not create.
    Uninstall,
    /// Only replace APIs in records that the cluster does not serve.
    MapApis,
    /// Change nothing; Helm may refuse.
    Off,
}

/// What a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Helm command that is to run.
    pub command: Command,
    /// `upgrade --install`, or `install`.
    pub installing: bool,
    /// The records, read after the lock was taken.
    pub history: &'a History,
    /// What the user chose.
    pub strategy: Strategy,
    /// Would Helm take values from the base revision?
    pub reuses_values: bool,
    /// `--history-max`; 0 is no limit.
    pub history_max: u32,
    /// What of the last revision lives that an uninstall would delete with its data, as [`at_stake`] has it.
    pub precious: &'a [String],
    /// May the last revision be adopted?
    pub proof: &'a Proof,
    /// The repair is all that was asked for: no deploy follows.
    pub alone: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing to repair, or nothing that this command needs repaired.
    Healthy,
    /// This is to be done.
    Repair(Plan),
    /// The chosen strategy must not be used here.
    Refuse {
        /// What was found.
        finding: String,
        /// Why not.
        why: String,
        /// What to do instead.
        next: String,
    },
}

/// Steps before Helm runs, and what to set right after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Name of the strategy.
    pub strategy: &'static str,
    /// One sentence: what was found.
    pub finding: String,
    /// One sentence: why this.
    pub why: String,
    /// In order. A kill between any two leaves what the next run repairs.
    pub steps: Vec<Step>,
    /// The last good revision, to be `deployed` again if nothing else is.
    pub good: Option<u32>,
    /// What will not be mended, for a warning.
    pub caveat: String,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Set the status of a record.
    Mark {
        /// Which.
        revision: u32,
        /// To what.
        status: Status,
        /// With which description; `None` keeps it.
        description: Option<String>,
    },
    /// Mark a dead record failed and lend it the union of manifests, and values, for one Helm run.
    Lend {
        /// Which.
        revision: u32,
        /// Revisions whose manifests are united, oldest first, this one included.
        union_of: Vec<u32>,
        /// The good one among them; its objects are the release's without question.
        good: Option<u32>,
        /// Revision whose chart and values are lent.
        values_of: Option<u32>,
    },
    /// Put back what was lent; the record stays failed.
    Return {
        /// Which.
        revision: u32,
    },
    /// Delete a record.
    Delete {
        /// Which.
        revision: u32,
    },
    /// Name the objects in a record by APIs that the cluster serves.
    MapApis {
        /// Which.
        revision: u32,
        /// What changes.
        changes: map_apis::Changes,
    },
    /// `helm rollback` to a revision, without hooks.
    Rollback {
        /// Which.
        to: u32,
    },
    /// Let Helm install over a dead record, which stays in the history (see `finish_install`).
    SetAside {
        /// Which.
        revision: u32,
        /// Revisions whose objects may live, oldest first, this one included.
        of: Vec<u32>,
    },
    /// End that: the record is failed, and nothing is left to be done for it.
    EndAside {
        /// Which.
        revision: u32,
    },
    /// `helm uninstall`, without hooks.
    Uninstall,
}

impl Step {
    /// The revision whose record this step changes or deletes.
    pub fn revision(&self) -> Option<u32> {
        match self {
            Self::Mark { revision, .. }
            | Self::Lend { revision, .. }
            | Self::Return { revision }
            | Self::SetAside { revision, .. }
            | Self::EndAside { revision }
            | Self::MapApis { revision, .. }
            | Self::Delete { revision } => Some(*revision),
            Self::Rollback { .. } | Self::Uninstall => None,
        }
    }
}

/// Description of a dead revision; `None` where Helm's own says why it failed.
pub fn dead_description(was: Status) -> Option<String> {
    (was != Status::Failed).then(|| format!("died while {was}; {MARK}"))
}

impl std::fmt::Display for Step {
    /// What it would do, for a dry run.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mark { revision, status, .. } => write!(f, "revision {revision} → {status}"),
            Self::Lend { revision, .. } => {
                write!(f, "revision {revision} → failed, and for one run of Helm the base of its merge")
            }
            Self::Return { revision } => write!(f, "revision {revision} as it was"),
            Self::Delete { revision } => write!(f, "delete the record of revision {revision}"),
            Self::SetAside { revision, .. } => {
                write!(f, "revision {revision} → set aside, so that helm installs over the live objects")
            }
            Self::EndAside { revision } => write!(f, "revision {revision} → failed"),
            Self::MapApis { revision, changes } => {
                write!(f, "the manifest of revision {revision}: {}", changes.lines().join(", "))
            }
            Self::Rollback { to } => write!(f, "helm rollback to revision {to}, without hooks"),
            Self::Uninstall => write!(f, "helm uninstall"),
        }
    }
}

fn fail(record: &Record) -> Step {
    let description = finish_install::death(record);
    Step::Mark { revision: record.revision, status: Status::Failed, description }
}

/// What an uninstall would delete with its data: the living objects that hold some, named. Of a manifest that cannot be
/// read (`None`) nobody can say that it holds none.
pub fn at_stake(living: Option<&[ObjectKey]>) -> Vec<String> {
    match living {
        Some(living) => living.iter().map(ToString::to_string).collect(),
        None => vec!["whatever its manifest, which cannot be read, brought".to_owned()],
    }
}

/// Decides.
pub fn plan(question: &Question<'_>) -> Answer {
    let history = question.history;
    if history.records.is_empty() || matches!(question.strategy, Strategy::Off | Strategy::MapApis) {
        return Answer::Healthy;
    }
    let case = Case::of(question);
    if let Some(answer) = case.unreadable() {
        return answer;
    }
    let Some(last) = history.last() else { return Answer::Healthy };
    if history.died_in_final_save() {
        return case.finished(last);
    }
    match question.strategy {
        Strategy::Adopt => case.adopted(last),
        Strategy::MarkFailed => case.marked(last),
        Strategy::DeleteRecord => case.deleted(last),
        Strategy::Rollback => case.rolled_back(last),
        Strategy::Uninstall => case.uninstalled(last),
        Strategy::Auto | Strategy::Rebase | Strategy::MapApis | Strategy::Off => case.automatic(last),
    }
}

/// Why of what somebody chose.
const ASKED_FOR: &str = "asked for";

/// A question with what follows from its history.
struct Case<'a> {
    question: &'a Question<'a>,
    good: Option<&'a Record>,
    /// After the last good revision, not completed; oldest first.
    dead: Vec<&'a Record>,
}

impl<'a> Case<'a> {
    fn of(question: &'a Question<'a>) -> Self {
        let history = question.history;
        // An uninstall that died was of the last revision: older ones are not what the cluster has.
        let uninstalling = history.last().is_some_and(|last| last.status() == Status::Uninstalling);
        let good = if uninstalling { None } else { history.last_good() };
        let after = good.map_or(0, |good| good.revision);
        let readable = history.records.iter().filter(|record| record.body.is_ok());
        let dead = readable.filter(|record| record.revision > after && !record.completed());
        let is_last = |record: &Record| history.last().is_some_and(|last| last.revision == record.revision);
        // What an earlier one that is set aside left is looked at when an install is complete.
        let is_dead = |record: &&Record| match record.is_set_aside() {
            true => is_last(record),
            false => record.status() != Status::Uninstalled,
        };
        let dead = match (uninstalling, history.last()) {
            (true, Some(last)) => vec![last],
            _ => dead.filter(is_dead).collect(),
        };
        Self { question, good, dead }
    }

    fn good_revision(&self) -> Option<u32> {
        self.good.map(|good| good.revision)
    }

    fn plan(&self, strategy: &'static str, why: impl Into<String>, steps: Vec<Step>) -> Answer {
        Answer::Repair(Plan {
            strategy,
            finding: self.finding(),
            why: why.into(),
            steps,
            good: self.good_revision(),
            caveat: String::new(),
        })
    }

    fn finding(&self) -> String {
        let dead: Vec<String> = self
            .dead
            .iter()
            .map(|record| match record.status() {
                Status::Uninstalled => format!("revision {} is set aside", record.revision),
                status => format!("revision {} is {status}", record.revision),
            })
            .collect();
        let dead = if dead.is_empty() { "the history is not in order".to_owned() } else { dead.join(", ") };
        match self.good {
            Some(good) => format!("{dead}; the last good revision is {}", good.revision),
            None => format!("{dead}; no revision ever completed"),
        }
    }

    /// The newest record cannot be read: Helm does not see it, and stumbles over its name.
    fn unreadable(&self) -> Option<Answer> {
        let last = self.question.history.last().map_or(0, |last| last.revision);
        let unreadable: Vec<&Record> =
            self.question.history.records.iter().filter(|r| r.body.is_err() && r.revision > last).collect();
        if unreadable.is_empty() {
            return None;
        }
        let steps: Vec<Step> = unreadable.iter().map(|r| Step::Delete { revision: r.revision }).collect();
        let names: Vec<String> = unreadable.iter().map(|r| r.revision.to_string()).collect();
        let mut answer = self.plan("delete-record", "Helm cannot read it and cannot replace it", steps);
        if let Answer::Repair(plan) = &mut answer {
            plan.finding = format!("the record of revision {} cannot be decoded", names.join(", "));
            // What lies beneath may be stuck as well.
            let readable = self.question.history.records.iter().filter(|r| r.body.is_ok()).cloned().collect();
            let beneath = History::new(readable);
            match self::plan(&Question { history: &beneath, ..*self.question }) {
                Answer::Healthy => {}
                Answer::Repair(more) => {
                    plan.finding = format!("{}; {}", plan.finding, more.finding);
                    plan.steps.extend(more.steps);
                    (plan.strategy, plan.why, plan.good, plan.caveat) =
                        (more.strategy, more.why, more.good, more.caveat);
                }
                refusal @ Answer::Refuse { .. } => return Some(refusal),
            }
        }
        Some(answer)
    }

    /// Helm died between its two final saves: all but the record had finished.
    fn finished(&self, last: &Record) -> Answer {
        let description = match last.status() {
            Status::PendingUpgrade => Some("Upgrade complete (saved by helm-guard)".to_owned()),
            _ => None,
        };
        let mut steps: Vec<Step> = self.tidy(Some(last.revision));
        steps.push(Step::Mark { revision: last.revision, status: Status::Deployed, description });
        let why = "Helm had superseded the old revision, which it does only after apply, wait and hooks: only the last save is missing";
        let mut answer = self.plan("mark-deployed", why, steps);
        if let Answer::Repair(plan) = &mut answer {
            plan.good = Some(last.revision);
        }
        answer
    }

    /// All but Helm's last saves was done, as what lives proves. They are made in Helm's order, so that a kill between them
    /// leaves what one of Helm would have left.
    fn adopted(&self, last: &Record) -> Answer {
        let refuse =
            |why: String, next: &str| Answer::Refuse { finding: self.finding(), why, next: next.into() };
        match self.question.proof {
            Proof::None if self.question.alone && last.status() == Status::Uninstalling => {
                refuse("an uninstall is nothing that could be adopted".into(), standalone::FINISH_UNINSTALL)
            }
            Proof::None if self.question.alone && last.status() == Status::Failed => refuse(
                format!(
                    "its record does not say what failed in revision {}, and so which hooks it had to run",
                    last.revision
                ),
                "deploy again",
            ),
            Proof::None if self.question.alone => self.tidied(),
            // A revision that failed is in no deploy's way.
            Proof::None => self.automatic(last),
            _ if self.question.command == Command::Install => refuse(
                "`helm install` needs the name to be free".into(),
                "use helm-guard upgrade --install, which goes over what is adopted",
            ),
            Proof::Fails(reasons) => refuse(
                format!("revision {} cannot be adopted: {}", last.revision, reasons.join("; ")),
                if self.question.alone {
                    "use --strategy mark-failed, and deploy again"
                } else {
                    "use --repair auto, which needs nothing to be ready"
                },
            ),
            Proof::Holds => {
                let mut steps = self.tidy(Some(last.revision));
                let mark = |revision, status, description| Step::Mark { revision, status, description };
                if let Some(base) = self.deployed().filter(|base| *base != last.revision) {
                    steps.push(mark(base, Status::Superseded, None));
                }
                steps.push(mark(last.revision, Status::Deployed, adopt::description(last)));
                let why = "all its objects exist and are ready, its hooks have ended, and no object of older revisions \
                           is left: only Helm's last save is missing";
                let mut answer = self.plan("adopt", why, steps);
                if let Answer::Repair(plan) = &mut answer {
                    plan.good = Some(last.revision);
                }
                answer
            }
        }
    }

    /// The revision that is deployed. An uninstall that keeps the history supersedes those before it (uninstall.go),
    /// but may have died before it did.
    fn deployed(&self) -> Option<u32> {
        let lives = self.question.history.records.iter().rev().take_while(|record| !record.is_gone());
        lives.filter(|record| record.status() == Status::Deployed).map(|record| record.revision).next()
    }

    /// Records that are wrong but in nobody's way; without `except`. Pending ones first, the newest of them before
    /// all: cut off between the others, it would look like a last save that is missing.
    fn tidy(&self, except: Option<u32>) -> Vec<Step> {
        let records = || self.question.history.records.iter().filter(|record| record.body.is_ok());
        let deployed = self.deployed();
        let mut steps = Vec::new();
        let last = self.question.history.last().map(|last| last.revision);
        for record in records().rev().filter(|record| Some(record.revision) != except) {
            if record.status().is_pending() {
                steps.push(fail(record));
            } else if record.is_set_aside() && Some(record.revision) == last {
                steps.push(Step::EndAside { revision: record.revision });
            } else if record.is_set_aside() && record.status() != Status::Failed {
                steps.push(fail(record));
            }
        }
        for record in
            records().filter(|record| Some(record.revision) != except && !record.status().is_pending())
        {
            if steps.iter().any(|step: &Step| step.revision() == Some(record.revision)) {
                continue;
            }
            let status = record.status();
            let mark = |status| Step::Mark { revision: record.revision, status, description: None };
            if status == Status::Deployed && Some(record.revision) != deployed {
                steps.push(mark(Status::Superseded));
            } else if status == Status::Superseded && !record.completed() {
                steps.push(mark(Status::Failed));
            } else if record.label != status
                || odd_records::needs_writing(record, Some(record.revision) == last)
            {
                steps.push(mark(status));
            }
        }
        steps
    }

    fn tidied(&self) -> Answer {
        let mut steps = self.tidy(None);
        self.restore_good(&mut steps);
        if steps.is_empty() {
            return Answer::Healthy;
        }
        let odd = |record: &Record| odd_records::needs_writing(record, true);
        let why = if self.question.history.records.iter().any(odd) {
            "records that helm cannot read or write are written again"
        } else {
            "the newest revision is fine; only the statuses of older ones are wrong"
        };
        self.plan("mark-failed", why, steps)
    }

    fn marked(&self, last: &Record) -> Answer {
        let mut steps = self.tidy(None);
        if last.status() == Status::Uninstalling && self.question.command == Command::Upgrade {
            steps.push(fail(last));
        }
        self.restore_good(&mut steps);
        if steps.is_empty() {
            return Answer::Healthy;
        }
        self.plan("mark-failed", ASKED_FOR, steps)
    }

    fn deleted(&self, last: &Record) -> Answer {
        let stuck = |record: &&&Record| {
            record.status().is_pending() || record.status() == Status::Uninstalling || record.is_set_aside()
        };
        let mut steps: Vec<Step> =
            self.dead.iter().filter(stuck).map(|record| Step::Delete { revision: record.revision }).collect();
        if steps.is_empty() && !last.status().is_pending() {
            return self.tidied();
        }
        let is_kept = |step: &Step| !steps.iter().any(|deleted| deleted.revision() == step.revision());
        let tidied: Vec<Step> = self.tidy(None).into_iter().filter(is_kept).collect();
        steps.extend(tidied);
        self.restore_good(&mut steps);
        self.plan("delete-record", ASKED_FOR, steps)
    }

    fn restore_good(&self, steps: &mut Vec<Step>) {
        let Some(good) = self.good.filter(|good| good.status() != Status::Deployed) else { return };
        if self.deployed().is_none() {
            steps.push(Step::Mark { revision: good.revision, status: Status::Deployed, description: None });
        }
    }

    fn rolled_back(&self, last: &Record) -> Answer {
        if self.dead.is_empty() || !matches!(self.question.command, Command::Upgrade) {
            return self.automatic(last);
        }
        let Some(good) = self.good else {
            return Answer::Refuse {
                finding: self.finding(),
                why: "there is no good revision to roll back to".into(),
                next: "use --repair auto, which needs none".into(),
            };
        };
        let mut steps = self.tidy(None);
        steps.push(Step::Rollback { to: good.revision });
        self.plan("rollback", ASKED_FOR, steps)
    }

    fn uninstalled(&self, last: &Record) -> Answer {
        if self.dead.is_empty() {
            return self.automatic(last);
        }
        let refuse = |why: String| Answer::Refuse {
            finding: self.finding(),
            why,
            next: if self.question.alone {
                "use --strategy auto, which deletes nothing".into()
            } else {
                "use --repair auto, which deletes nothing that the new manifest wants".into()
            },
        };
        match self.good {
            Some(good) => {
                refuse(format!("an uninstall would remove revision {}, which works", good.revision))
            }
            None if !self.question.installing => {
                refuse("without --install nothing would be installed again".into())
            }
            None if !self.question.precious.is_empty() => {
                refuse(format!("it would delete {}", self.precious()))
            }
            None => {
                // Of a release that counts as uninstalled Helm would delete the records, and no object.
                let ended = last.is_set_aside().then_some(Step::EndAside { revision: last.revision });
                self.plan("uninstall", ASKED_FOR, ended.into_iter().chain([Step::Uninstall]).collect())
            }
        }
    }

    fn precious(&self) -> String {
        self.question.precious.join(", ")
    }

    fn automatic(&self, last: &Record) -> Answer {
        match self.question.command {
            Command::Install if self.holds_the_name(last) => {
                self.install_over(last, "`helm install` needs the name to be free")
            }
            // Helm would not say that the name is in use, but fall over the record.
            Command::Install if last.body.as_ref().is_ok_and(|body| body.no_info) => self.tidied(),
            // The name is in use, and Helm says so.
            Command::Install => Answer::Healthy,
            Command::Upgrade if self.question.installing && self.is_dead_first_install(last) => {
                let hooks = last.unfinished_install_hooks();
                if last.is_set_aside() {
                    self.install_over(last, "an install over it was cut off")
                } else if hooks.is_empty() {
                    self.rebased(last)
                } else {
                    let hooks = hooks.join(", ");
                    let why = format!(
                        "install hooks did not finish ({hooks}), and an upgrade would never run them"
                    );
                    self.install_over(last, &why)
                }
            }
            Command::Uninstall if last.status() == Status::Uninstalling => Answer::Healthy,
            Command::Upgrade | Command::Rollback | Command::Uninstall => self.rebased(last),
        }
    }

    /// Nothing deployed, and the last record describes all that may live.
    fn rebased(&self, last: &Record) -> Answer {
        let upgrade = self.question.command == Command::Upgrade;
        // Of a status that Helm does not know it makes no base, and then there may be none.
        let stuck = last.status().is_pending()
            || (upgrade && last.status() == Status::Unknown)
            || (upgrade && last.status() == Status::Uninstalling)
            || (last.is_set_aside() && last.status() == Status::Uninstalled);
        let leftovers = self.dead.len() > usize::from(self.good.is_none());
        if self.dead.is_empty() || !(stuck || leftovers) {
            return self.tidied();
        }
        let max = self.question.history_max;
        // The good, the dead and the new revision: Helm prunes the oldest beyond that, with nothing deployed.
        if upgrade && (1..3).contains(&max) && self.good.is_some() {
            let mut answer = self.marked(last);
            if let Answer::Repair(plan) = &mut answer {
                plan.why =
                    format!("with --history-max {max} a rebase would make Helm prune the last good revision");
                plan.caveat = "fields that only dead revisions set may stay".into();
            }
            return answer;
        }
        if let Some(large) = self.good.iter().chain(&self.dead).find(|record| record.is_large()) {
            let mut answer = self.marked(last);
            if let Answer::Repair(plan) = &mut answer {
                plan.why =
                    format!("the record of revision {} is larger than helm-guard reads", large.revision);
                plan.caveat = "objects and fields that only dead revisions set may stay".into();
            }
            return answer;
        }
        let mut union_of: Vec<u32> = self.good_revision().into_iter().collect();
        union_of.extend(self.dead.iter().map(|record| record.revision));
        // First of all: while the dead record is pending, other writes could make it look like a missing last save.
        let mut steps = vec![Step::Lend {
            revision: last.revision,
            union_of,
            good: self.good_revision(),
            values_of: self.good_revision().filter(|_| upgrade && self.question.reuses_values),
        }];
        steps.extend(self.tidy(Some(last.revision)));
        if upgrade {
            // Only now: the manifests of what makes room are in the union.
            steps.extend(self.room(last, max));
            // One that is only written anew would stay `deployed`, and be Helm's base.
            steps.retain(|step| !matches!(step, Step::Mark { status: Status::Deployed, .. }));
            for record in self.question.history.deployed() {
                if !steps.iter().any(|step| step.revision() == Some(record.revision)) {
                    let (revision, status) = (record.revision, Status::Superseded);
                    steps.push(Step::Mark { revision, status, description: None });
                }
            }
        }
        let why = "Helm merges from all objects that may exist, so it removes leftovers and deletes nothing that the new manifest contains";
        let mut answer = self.plan("rebase", why, steps);
        let hooks = last.unfinished_install_hooks();
        if let (Answer::Repair(plan), true, None) = (&mut answer, upgrade && !hooks.is_empty(), self.good) {
            plan.caveat = format!(
                "install hooks never finished, and an upgrade does not run them: {}",
                hooks.join(", ")
            );
        }
        answer
    }

    /// With nothing deployed Helm prunes the oldest records, the last good one among them: makes room at its side.
    fn room(&self, last: &Record, max: u32) -> Vec<Step> {
        let records = &self.question.history.records;
        let readable = || records.iter().filter(|record| record.body.is_ok());
        let surplus = if max == 0 { 0 } else { (readable().count() + 1).saturating_sub(max as usize) };
        let keep = [Some(last.revision), self.good_revision()];
        readable()
            .filter(|record| !keep.contains(&Some(record.revision)))
            .take(surplus)
            .map(|record| Step::Delete { revision: record.revision })
            .collect()
    }
}

/// After Helm is gone: no record pending, what was lent returned, something `deployed` if anything is.
pub fn settle(plan: Option<&Plan>, history: &History) -> Vec<Step> {
    let mut steps = Vec::new();
    let finished = history.died_in_final_save();
    let last = history.last();
    for record in history.records.iter().filter(|record| record.body.is_ok()) {
        let is_last = last.is_some_and(|last| last.revision == record.revision);
        let lent = plan.is_some_and(|plan| {
            plan.steps
                .iter()
                .any(|s| matches!(s, Step::Lend { revision, .. } if *revision == record.revision))
        });
        let description = (record.status() == Status::PendingUpgrade)
            .then(|| "Upgrade complete (saved by helm-guard)".to_owned());
        if finished && is_last {
            steps.push(Step::Mark { revision: record.revision, status: Status::Deployed, description });
        } else if record.is_set_aside() && is_last && !lent {
            // Helm made no record: it is as it was, and dead.
            steps.push(Step::EndAside { revision: record.revision });
        } else if record.is_set_aside() && record.status() == Status::Superseded && !lent {
            steps.push(fail(record));
        } else if matches!(record.status(), Status::Uninstalled | Status::Uninstalling)
            && !record.is_set_aside()
        {
            // An uninstall works on the last record itself: what it was lent is what it removes.
        } else if lent {
            steps.push(Step::Return { revision: record.revision });
        } else if record.status().is_pending() {
            steps.push(fail(record));
        }
    }
    let lives = finished
        || history.deployed().next().is_some()
        || last.is_none_or(|last| matches!(last.status(), Status::Uninstalled | Status::Uninstalling));
    let good = plan.and_then(|plan| plan.good).and_then(|good| history.get(good));
    if let Some(good) = good.filter(|good| !lives && good.status() == Status::Superseded) {
        steps.push(Step::Mark { revision: good.revision, status: Status::Deployed, description: None });
    }
    steps
}

/// The same after an upgrade of a healthy release, whose revision `base` was `deployed` when Helm started.
///
/// Helm supersedes it when all else is done (upgrade.go). A signal between that and the last save makes it save `failed`
/// over what it had finished, and with `--atomic` go back besides: then nothing is `deployed`.
pub fn settle_upgrade(base: u32, history: &History) -> Vec<Step> {
    let mut steps = settle(None, history);
    let is_deployed = |step: &Step| matches!(step, Step::Mark { status: Status::Deployed, .. });
    let superseded = history.get(base).is_some_and(|base| base.status() == Status::Superseded);
    if history.deployed().next().is_some() || steps.iter().any(is_deployed) || !superseded {
        return steps;
    }
    let last = history.last().filter(|last| last.revision > base);
    let (revision, description) = match last {
        Some(last) if last.status() == Status::Failed => {
            (last.revision, Some("Upgrade complete (saved by helm-guard)".to_owned()))
        }
        _ => (base, None),
    };
    steps.push(Step::Mark { revision, status: Status::Deployed, description });
    steps
}

#[cfg(test)]
pub(crate) mod tests;
