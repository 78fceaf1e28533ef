//! What happened: the events that stages emit. The summary they add up to is in `report/summary.rs`.
//! Pure: no clock, no client, no environment; rendering for a sink is in the child files.

use crate::{
    ci::run::Owner,
    fence::write_log::Writes,
    lock::holder::Holder,
    workload::{PodTrouble, WarningEvent, Workload},
};
use std::time::Duration;

use serde::Serialize;

use crate::{
    diagnose::{Cause, Refusal},
    health,
    helm::phases::Phase,
    preflight::Finding,
    progress::{View, throttle::Change},
    release::{Revision, diff::Changes},
};

mod closing;
pub mod github;
pub mod gitlab;
pub mod json;
mod line;
mod live;
mod progress;
pub mod reporter;
mod secrets;
mod summary;
pub mod terminal;
mod timeline;

pub use summary::{
    HealthSummary, HelmSummary, LockSummary, PreflightSummary, RepairSummary, Span, Stage, Summary,
};

/// What the run is about; known before anything is touched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// `upgrade`, `install`, `rollback`, `uninstall`, `repair` or `check`.
    pub command: String,
    /// Release name.
    pub release: String,
    /// Kubernetes namespace of the release.
    pub namespace: String,
    /// Names (never values) of the Helm flags given, in order.
    pub helm_flags: Vec<String>,
    /// Who runs this: a CI run or `user@host`.
    pub owner: Owner,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Helm ended well and the release is deployed.
    Deployed,
    /// Helm ended well and the release is gone.
    Uninstalled,
    /// The release was stuck, and is not any more.
    Repaired,
    /// There was nothing to repair.
    Healthy,
    /// Helm failed.
    Failed,
    /// Helm failed and its automatic rollback brought the last good revision back.
    RolledBack,
    /// helm-guard did not start: no permission, a repair that must not be done, a bad request, a render that fails.
    Refused,
    /// A newer run of the same workflow and ref has deployed, or is about to: helm did not run.
    Outdated,
    /// The lock stayed taken for the whole `--lock-timeout`.
    LockTimeout,
    /// The lock was lost while Helm ran.
    LockLost,
    /// A signal ended the run.
    Cancelled,
}

impl Outcome {
    /// The word in outputs and JSON, e.g. `lock-timeout`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Uninstalled => "uninstalled",
            Self::Repaired => "repaired",
            Self::Healthy => "healthy",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
            Self::Refused => "refused",
            Self::Outdated => "outdated",
            Self::LockTimeout => "lock-timeout",
            Self::LockLost => "lock-lost",
            Self::Cancelled => "cancelled",
        }
    }

    /// Did the run do what was asked?
    pub fn is_success(self) -> bool {
        matches!(self, Self::Deployed | Self::Uninstalled | Self::Repaired | Self::Healthy)
    }
}

/// What is waited for while a release is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Awaited {
    /// Helm's end.
    #[default]
    Helm,
    /// The workloads of a revision that a repair brought back.
    Rollout,
}

/// What a stage tells. The only words between stages and reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The request is understood.
    Started(Subject),
    /// Something odd that stops nothing.
    Warning(String),
    /// Somebody else holds the lock.
    LockWaiting {
        /// Who.
        holder: Holder,
        /// How long this run has waited so far.
        waited: Duration,
        /// The command that ends that hold.
        unlock: String,
    },
    /// Somebody else held the lock to the end of the waiting.
    LockKept(Holder),
    /// The lock's holder is dead, as its CI system says: the lock is taken from it without waiting for it to run out.
    RunOver {
        /// Who held it.
        holder: Holder,
        /// What of it is over, and how: `its CI run is over: cancelled`.
        why: String,
    },
    /// The lock is ours.
    LockAcquired {
        /// Short id of this holding.
        lock_id: String,
        /// Lease name.
        lease: String,
        /// How long it took.
        waited: Duration,
        /// The dead holder it was taken from.
        taken_over: Option<Holder>,
    },
    /// The release's records as they stand after the lock was taken, oldest first.
    Looked(Vec<Revision>),
    /// The new manifest rendered without error; a repair follows.
    Proven {
        /// How long the render took.
        took: Duration,
    },
    /// Helm refuses the flags or cannot render the chart, so nothing is repaired.
    Disproven {
        /// The last lines of Helm's stderr, bounded. Untrusted text.
        error: String,
    },
    /// The API server was asked whether it would take what Helm is about to apply.
    Foreseen {
        /// What it has against it, the certain refusals first.
        findings: Vec<Finding>,
        /// How long that took.
        took: Duration,
        /// Whether the deploy is refused for them.
        refuses: bool,
    },
    /// What the release refers to, was to be made by it, and is not there when Helm has ended.
    StillMissing(Vec<Finding>),
    /// How the release fared before anything was changed.
    FaredBefore(health::Finding),
    /// How it fares at the end.
    FaresAfter(health::Finding),
    /// A StatefulSet was deleted so that Helm makes it anew, or Helm did; what is to be known of it.
    Recreated(String),
    /// What will be repaired and why.
    RepairPlanned {
        /// `rebase`, `adopt`, `mark-deployed`, `mark-failed`, `rollback`, `delete-record` or `uninstall`.
        strategy: String,
        /// One sentence: what was found.
        finding: String,
        /// One sentence: why this repair.
        why: String,
    },
    /// All records are saved as they were before the deploy.
    BackedUp {
        /// Path of the list of records.
        path: String,
    },
    /// Copies of the records that will change are saved.
    BackupSaved {
        /// Path of the file.
        path: String,
        /// Revisions in it.
        revisions: Vec<u32>,
    },
    /// One step of the repair is done: `revision 4: pending-upgrade → failed`.
    Repaired(String),
    /// One status was set right after Helm was gone: `revision 5: pending-upgrade → failed`.
    Settled(String),
    /// What Helm's run was made of, when that is known.
    HelmPhases(Vec<Phase>),
    /// Helm started.
    HelmStarted,
    /// What runs, as `helm version` prints it, e.g. `v4.3.1`; it may be known only when Helm has ended.
    HelmVersion(String),
    /// Still waiting for Helm.
    Progress {
        /// Since Helm started.
        elapsed: Duration,
        /// What it wrote so far; `None` where nobody sees it.
        writes: Option<Writes>,
        /// Workloads that are not ready.
        waiting_for: Vec<Workload>,
    },
    /// A signal arrived or a time limit passed; Helm is being stopped.
    Stopping {
        /// What, and how long Helm has: `SIGINT; it is killed if it still runs after 6s`.
        cause: String,
    },
    /// Helm ended.
    HelmEnded {
        /// Exit code; `None` if a signal ended it.
        code: Option<i32>,
        /// How long it ran.
        took: Duration,
        /// The last lines of Helm's stderr, bounded. Untrusted text.
        error: String,
    },
    /// Why Helm failed, as far as that is known.
    Diagnosed {
        /// The most telling first.
        causes: Vec<Cause>,
        /// Helm's writes that the API server refused.
        refusals: Vec<Refusal>,
    },
    /// State of the cluster after a failure.
    Trouble {
        /// Pods not ready.
        pods: Vec<PodTrouble>,
        /// Recent warning events.
        events: Vec<WarningEvent>,
    },
    /// The release's records at the end, oldest first.
    LookedAgain(Vec<Revision>),
    /// What Helm's new revision changed.
    Changed(Changes),
    /// Still waiting until what a repair brought back is ready.
    Rollout {
        /// Since it is waited for.
        elapsed: Duration,
        /// Workloads that are not ready.
        waiting_for: Vec<Workload>,
    },
    /// All workloads of the revision that a repair brought back are ready.
    RolledOut,
    /// The release as watches show it, for whoever draws.
    Seen {
        /// What is waited for.
        awaited: Awaited,
        /// Since it is.
        elapsed: Duration,
        /// What it wrote so far; `None` where nobody sees it.
        writes: Option<Writes>,
        /// How far its objects are.
        view: View,
    },
    /// Something of the release is another than it was.
    Told(Change),
    /// The run is over.
    Finished {
        /// How it ended.
        outcome: Outcome,
        /// One sentence that says what and why; empty when there is nothing to add.
        reason: String,
        /// What to do next: shell commands or one-line advice.
        next: Vec<String>,
        /// The process's exit code.
        exit_code: u8,
    },
}

#[cfg(test)]
#[path = "report/examples.rs"]
pub(crate) mod examples;

#[cfg(test)]
#[path = "report/screen_tests.rs"]
mod screen_tests;
