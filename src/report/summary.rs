//! What a run was: the sum of its events.
//! Pure.

use std::time::Duration;

use serde::Serialize;

use super::{Event, Outcome, Subject};
use crate::{
    diagnose::{Cause, Refusal},
    health::{self, Finding, Health},
    helm::phases::Phase,
    preflight,
    release::{Revision, Status, diff::Changes},
};
use crate::{
    fence::write_log::Writes,
    lock::holder::Holder,
    workload::{PodTrouble, WarningEvent, Workload},
};

/// The stage in which Helm is at work.
const RUNNING_HELM: &str = "running helm";

/// Everything known so far; each event adds to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// What the run is about.
    pub subject: Subject,
    /// How it ended; `None` while it runs (or when it was killed).
    pub outcome: Option<Outcome>,
    /// Why.
    pub reason: String,
    /// What to do next.
    pub next: Vec<String>,
    /// The process's exit code.
    pub exit_code: Option<u8>,
    /// What the run was doing last, e.g. `waiting for the lock`.
    pub stage: String,
    /// Warnings, in order, without repeats.
    pub warnings: Vec<String>,
    /// Lock.
    pub lock: LockSummary,
    /// History before.
    pub before: Vec<Revision>,
    /// History after.
    pub after: Vec<Revision>,
    /// How the release fared, and how it fares now.
    #[serde(skip_serializing_if = "HealthSummary::is_unknown")]
    pub health: HealthSummary,
    /// Where the records are saved as they were before the deploy; empty if they are not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub backup: String,
    /// What was foreseen, if the API server was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preflight: Option<PreflightSummary>,
    /// Repair, if one was needed.
    pub repair: Option<RepairSummary>,
    /// Statuses that were set right after Helm was gone.
    pub settled: Vec<String>,
    /// Helm's run.
    pub helm: Option<HelmSummary>,
    /// What Helm's new revision changed; `None` if it made none, or the one before is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// The stages that the run entered, in order.
    pub stages: Vec<Stage>,
    /// What is known of what went on meanwhile, in order: the preflight, and the phases of Helm's run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Span>,
    /// Why Helm failed, the most telling cause first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Helm's writes that the API server refused, after a failure.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// Pods not ready after a failure.
    pub pods: Vec<PodTrouble>,
    /// Recent warning events after a failure.
    pub events: Vec<WarningEvent>,
}

/// How a release fares, in a summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthSummary {
    /// Before anything was changed; `None` where nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Finding>,
    /// At the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Finding>,
}

impl HealthSummary {
    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// A stage that the run entered.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// As in [`Summary::stage`].
    pub name: String,
    /// When it began, in seconds since the run did.
    pub began_seconds: f64,
}

/// Something that lasted, within a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// `preflight`, `hook Job/migrate`, `rollout`, `applying`, `rolling back`. Names of objects are untrusted text.
    pub name: String,
    /// When it began, in seconds since the run did.
    pub began_seconds: f64,
    /// When it ended, in the same.
    pub ended_seconds: f64,
}

/// The lock, in a summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockSummary {
    /// Short id of this holding; empty before the lock is taken.
    pub id: String,
    /// Lease name.
    pub lease: String,
    /// Seconds waited.
    pub waited_seconds: f64,
    /// Who held it while this run waited.
    pub waited_for: Option<Holder>,
    /// The dead holder it was taken from.
    pub taken_over: Option<Holder>,
    /// How it was known that the holder is dead before its Lease ran out; empty when that was waited for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub run_over: String,
}

/// What was foreseen, in a summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreflightSummary {
    /// Seconds it took.
    pub seconds: f64,
    /// The certain refusals first.
    pub findings: Vec<preflight::Finding>,
    /// StatefulSets that were made anew, step by step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recreated: Vec<String>,
}

/// The repair, in a summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RepairSummary {
    /// Strategy.
    pub strategy: String,
    /// What was found.
    pub finding: String,
    /// Why this repair.
    pub why: String,
    /// What was done, in order.
    pub steps: Vec<String>,
    /// Where the copies of the records are.
    pub backup: String,
}

/// Helm's run, in a summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HelmSummary {
    /// Did it run, or only render?
    pub started: bool,
    /// Version.
    pub version: String,
    /// Exit code; `None` while it runs or when a signal ended it.
    pub code: Option<i32>,
    /// Seconds it ran.
    pub seconds: f64,
    /// Last lines of its stderr. Untrusted text.
    pub error: String,
    /// What it wrote, as last told while it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writes: Option<Writes>,
    /// Workloads it last waited for.
    pub waiting_for: Vec<Workload>,
}

/// Warnings kept; a chart that warns about every object must not fill the report.
const WARNINGS: usize = 50;

impl Summary {
    /// Adds what an event tells that happened so long after the run began.
    pub fn apply(&mut self, event: &Event, at: Duration) {
        self.add(event, at);
        if self.stages.last().is_none_or(|last| last.name != self.stage) {
            let stage = Stage { name: self.stage.clone(), began_seconds: at.as_secs_f64() };
            self.stages.push(stage);
        }
    }

    fn add(&mut self, event: &Event, at: Duration) {
        match event {
            Event::Started(subject) => {
                self.subject = subject.clone();
                self.enter("checking the request");
            }
            Event::Warning(text) => self.warn(text),
            Event::LockKept(holder) => self.lock.waited_for = Some(holder.clone()),
            Event::RunOver { why, .. } => self.lock.run_over.clone_from(why),
            Event::LockWaiting { holder, waited, .. } => {
                self.enter("waiting for the lock");
                self.lock.waited_seconds = waited.as_secs_f64();
                self.lock.waited_for = Some(holder.clone());
            }
            Event::LockAcquired { lock_id, lease, waited, taken_over } => {
                self.enter("reading the history");
                self.lock.id.clone_from(lock_id);
                self.lock.lease.clone_from(lease);
                self.lock.waited_seconds = waited.as_secs_f64();
                self.lock.taken_over.clone_from(taken_over);
            }
            Event::Looked(revisions) => {
                self.enter("deciding what to do");
                self.before.clone_from(revisions);
            }
            Event::Proven { .. } => self.enter("planning the repair"),
            Event::Foreseen { findings, took, .. } => {
                let preflight = self.preflight.get_or_insert_default();
                preflight.seconds = took.as_secs_f64();
                preflight.findings.clone_from(findings);
                self.span("preflight", at.saturating_sub(*took), at);
            }
            Event::StillMissing(findings) => {
                let preflight = self.preflight.get_or_insert_default();
                // Each takes the place of the note about it.
                let told = |own: &preflight::Finding| {
                    findings.iter().any(|now| now.object == own.object && now.field == own.field)
                };
                preflight.findings.retain(|own| !own.weight.is_note() || !told(own));
                preflight.findings.extend(findings.iter().cloned());
            }
            // What lives tells nothing of the records.
            Event::FaredBefore(finding) => {
                let stuck = stuck(&self.before, finding.reasons.clone());
                let revision = deployed(&self.before).unwrap_or(finding.revision);
                self.health.before = stuck.or_else(|| Some(Finding { revision, ..finding.clone() }));
            }
            Event::FaresAfter(finding) => self.health.after = Some(finding.clone()),
            Event::Recreated(step) => self.preflight.get_or_insert_default().recreated.push(step.clone()),
            Event::Disproven { error } => self.helm.get_or_insert_default().error.clone_from(error),
            Event::RepairPlanned { strategy, finding, why } => {
                self.enter("repairing the release");
                let repair = self.repair.get_or_insert_default();
                repair.strategy.clone_from(strategy);
                repair.finding.clone_from(finding);
                repair.why.clone_from(why);
            }
            Event::BackedUp { path } => self.backup.clone_from(path),
            Event::BackupSaved { path, .. } => self.repair.get_or_insert_default().backup.clone_from(path),
            Event::Repaired(step) => self.repair.get_or_insert_default().steps.push(step.clone()),
            Event::Settled(step) => self.settled.push(step.clone()),
            Event::HelmPhases(phases) => self.add_phases(phases),
            Event::HelmStarted => {
                self.enter(RUNNING_HELM);
                // A later start is another run of Helm: nothing of the earlier one may look like its result.
                self.helm = Some(HelmSummary { started: true, ..HelmSummary::default() });
            }
            Event::HelmVersion(version) => self.helm.get_or_insert_default().version.clone_from(version),
            Event::Progress { elapsed, writes, waiting_for } => {
                let helm = self.helm.get_or_insert_default();
                helm.seconds = elapsed.as_secs_f64();
                helm.writes.clone_from(writes);
                helm.waiting_for.clone_from(waiting_for);
            }
            Event::Rollout { .. } => self.enter("waiting for the rollout"),
            Event::Stopping { cause } => self.stage = format!("stopping helm: {cause}"),
            Event::HelmEnded { code, took, error } => {
                self.enter("settling after helm");
                let helm = self.helm.get_or_insert_default();
                helm.code = *code;
                helm.seconds = took.as_secs_f64();
                helm.error.clone_from(error);
                if *code == Some(0) {
                    helm.waiting_for.clear();
                }
            }
            Event::Diagnosed { causes, refusals } => {
                self.causes.clone_from(causes);
                self.refusals.clone_from(refusals);
            }
            Event::Trouble { pods, events } => {
                self.pods.clone_from(pods);
                self.events.clone_from(events);
            }
            Event::LookedAgain(revisions) => self.after.clone_from(revisions),
            Event::Changed(changes) => self.changes = Some(changes.clone()),
            // It changes too often to be kept.
            Event::Seen { .. } | Event::Told(_) | Event::RolledOut => {}
            Event::Finished { outcome, reason, next, exit_code } => {
                self.enter("finished");
                self.outcome = Some(*outcome);
                self.reason.clone_from(reason);
                self.next.clone_from(next);
                self.exit_code = Some(*exit_code);
            }
        }
    }

    fn add_phases(&mut self, phases: &[Phase]) {
        let Some(helm) = self.stages.iter().rfind(|stage| stage.name == RUNNING_HELM) else { return };
        let start = Duration::from_secs_f64(helm.began_seconds);
        for phase in phases {
            self.span(&phase.name, start + phase.began, start + phase.ended);
        }
    }

    /// One comes after the other: Helm's record is older than the preflight for which Helm waits.
    fn span(&mut self, name: &str, began: Duration, ended: Duration) {
        let free = self.phases.last().map_or(0.0, |last| last.ended_seconds);
        let began_seconds = began.as_secs_f64().max(free);
        if ended.as_secs_f64() > began_seconds {
            let span = Span { name: name.to_owned(), began_seconds, ended_seconds: ended.as_secs_f64() };
            self.phases.push(span);
        }
    }

    /// Was the release changed before Helm ran? A plan alone is no repair.
    pub fn repaired(&self) -> bool {
        self.repair.as_ref().is_some_and(|repair| !repair.steps.is_empty())
    }

    /// Was it refused because of what was foreseen?
    pub fn foreseen(&self) -> bool {
        let stops = |preflight: &PreflightSummary| {
            preflight.findings.iter().any(|finding| finding.weight.stops_strict())
        };
        self.outcome == Some(Outcome::Refused) && self.preflight.as_ref().is_some_and(stops)
    }

    /// The revision that is deployed at the end, or before if the end is not known.
    pub fn revision(&self) -> Option<u32> {
        deployed(self.last_history())
    }

    /// The revision that was deployed before.
    pub fn previous_revision(&self) -> Option<u32> {
        deployed(&self.before)
    }

    /// The history as it was read last.
    pub(crate) fn last_history(&self) -> &[Revision] {
        // After an uninstall, no history is the news, not a gap.
        let gone = self.outcome == Some(Outcome::Uninstalled);
        if self.after.is_empty() && !gone { &self.before } else { &self.after }
    }

    fn enter(&mut self, stage: &str) {
        stage.clone_into(&mut self.stage);
    }

    fn warn(&mut self, text: &str) {
        if self.warnings.len() < WARNINGS && !self.warnings.iter().any(|known| known == text) {
            self.warnings.push(text.to_owned());
        }
    }
}

/// How a release fares of which a revision is pending.
fn stuck(history: &[Revision], mut reasons: Vec<String>) -> Option<Finding> {
    let pending = history.iter().rev().find(|row| row.status.is_pending())?;
    let why = health::stuck(pending.revision);
    if !reasons.contains(&why) {
        reasons.insert(0, why);
    }
    Some(Finding { health: Health::Stuck, revision: pending.revision, reasons })
}

/// The newest deployed revision.
fn deployed(history: &[Revision]) -> Option<u32> {
    history.iter().rev().find(|row| row.status == Status::Deployed).map(|row| row.revision)
}
