//! How events add up to a [`Summary`].
//! Pure: rendering a summary is in the sibling files.

use std::time::Duration;

use super::{Event, HelmSummary, RepairSummary, Summary};

/// Most warnings kept: a chart that warns in a loop must not grow the report without end.
const WARNINGS: usize = 50;
/// Most pods, events and workloads kept, for the same reason.
const ROWS: usize = 100;

impl Summary {
    /// Adds what `event` tells.
    pub fn apply(&mut self, event: &Event) {
        if let Some(stage) = self.stage_after(event) {
            self.stage = stage;
        }
        match event {
            Event::Started(subject) => self.subject = subject.clone(),
            Event::Warning(text) => self.warn(text),
            Event::LockWaiting { holder, waited } => {
                self.lock.waited_for = Some(holder.clone());
                self.lock.waited_seconds = seconds(*waited);
            }
            Event::LockAcquired { lock_id, lease, waited, taken_over } => {
                self.lock.id.clone_from(lock_id);
                self.lock.lease.clone_from(lease);
                self.lock.waited_seconds = seconds(*waited);
                self.lock.taken_over.clone_from(taken_over);
            }
            Event::Looked(history) => self.before.clone_from(history),
            Event::Proven { .. } | Event::Stopping { .. } => {}
            Event::RepairPlanned { strategy, finding, why } => {
                self.repair = Some(RepairSummary {
                    strategy: strategy.clone(),
                    finding: finding.clone(),
                    why: why.clone(),
                    ..RepairSummary::default()
                });
            }
            Event::BackupSaved { path, .. } => self.repair().backup.clone_from(path),
            Event::Repaired(step) => self.repair().steps.push(step.clone()),
            Event::HelmStarted { version } => self.helm().version.clone_from(version),
            Event::Progress { elapsed, waiting_for } => {
                let helm = self.helm();
                helm.seconds = seconds(*elapsed);
                helm.waiting_for = waiting_for.iter().take(ROWS).cloned().collect();
            }
            Event::HelmEnded { code, took, error } => {
                let helm = self.helm();
                helm.code = *code;
                helm.seconds = seconds(*took);
                helm.error.clone_from(error);
                if *code == Some(0) {
                    helm.waiting_for.clear();
                }
            }
            Event::Trouble { pods, events } => {
                self.pods = pods.iter().take(ROWS).cloned().collect();
                self.events = events.iter().take(ROWS).cloned().collect();
            }
            Event::LookedAgain(history) => self.after.clone_from(history),
            Event::Finished { outcome, reason, next, exit_code } => {
                self.outcome = Some(*outcome);
                self.reason.clone_from(reason);
                self.next.clone_from(next);
                self.exit_code = Some(*exit_code);
            }
        }
    }

    /// What the run does from this event on; `None` if the event changes nothing about that.
    fn stage_after(&self, event: &Event) -> Option<String> {
        let stage = match event {
            Event::Started(_) => "taking the lock",
            Event::LockWaiting { .. } => "waiting for the lock",
            Event::LockAcquired { .. } => "reading the release's history",
            Event::Looked(_) => "checking the release",
            Event::Proven { .. } => "planning the repair",
            Event::RepairPlanned { .. } => "backing up the release's records",
            Event::BackupSaved { .. } | Event::Repaired(_) => "repairing the release",
            Event::HelmStarted { .. } => return Some(format!("running helm {}", self.subject.command)),
            Event::Stopping { cause } => return Some(format!("stopping helm after {cause}")),
            Event::HelmEnded { .. } => "reading the release's history again",
            Event::LookedAgain(_) => "finishing",
            Event::Finished { .. } => "finished",
            Event::Warning(_) | Event::Progress { .. } | Event::Trouble { .. } => return None,
        };
        Some(stage.to_owned())
    }

    fn warn(&mut self, text: &str) {
        if self.warnings.len() > WARNINGS || self.warnings.iter().any(|known| known == text) {
            return;
        }
        let full = self.warnings.len() == WARNINGS;
        self.warnings.push(if full { "further warnings are left out".to_owned() } else { text.to_owned() });
    }

    /// The repair. A backup or a step without a plan is not expected, but must not be lost.
    fn repair(&mut self) -> &mut RepairSummary {
        self.repair.get_or_insert_default()
    }

    fn helm(&mut self) -> &mut HelmSummary {
        self.helm.get_or_insert_default()
    }
}

/// Seconds with millisecond precision: more digits are noise in a report.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn warnings_are_kept_once_and_bounded() {
        let mut summary = Summary::default();
        for n in 0..200 {
            summary.apply(&Event::Warning(format!("warning {}", n / 2)));
        }
        assert_eq!(summary.warnings.len(), WARNINGS + 1);
        assert_eq!(summary.warnings[1], "warning 1");
        assert_eq!(summary.warnings[WARNINGS], "further warnings are left out");
    }

    #[test]
    fn a_step_without_a_plan_is_not_lost() {
        let mut summary = Summary::default();
        summary.apply(&Event::Repaired("revision 4: pending-upgrade → failed".to_owned()));
        assert_eq!(summary.repair.unwrap().steps.len(), 1);
    }

    #[test]
    fn a_healthy_helm_waits_for_nothing() {
        let summary = samples::summary(&samples::healthy());
        assert_eq!(summary.helm.unwrap().waiting_for, []);
    }

    #[test]
    fn the_stage_tells_where_a_killed_run_was() {
        let mut summary = Summary::default();
        let stages: Vec<String> = samples::repaired()
            .iter()
            .map(|event| {
                summary.apply(event);
                summary.stage.clone()
            })
            .collect();
        insta::assert_snapshot!(stages.join("\n"));
    }
}
