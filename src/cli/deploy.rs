//! The commands that run Helm, and the flags they share.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{LogFlags, duration, ttl};
use crate::{helm::OwnFlag, repair::Strategy};

pub(super) const CHECK: &str = "\
The preflight of `helm-guard upgrade`, alone: no lock, nothing written. It takes RELEASE, CHART and the flags of `helm \
upgrade`; a release that is not there yet is checked as a first install. Findings, and what to do about each, are printed; -o \
json prints the whole report.

Exit codes: 0 nothing is certain to fail; 1 the chart does not render; 64 bad usage; 69 cluster or Helm unavailable; 77 the \
API server would refuse it.

Example:
  helm-guard check web ./chart -n shop -f values.yaml";

/// A Helm command line with helm-guard's flags in it.
#[derive(Debug, Args)]
pub struct Deploy {
    /// helm-guard's own flags
    #[command(flatten)]
    pub guard: GuardFlags,
    /// As for Helm: RELEASE, CHART and any of Helm's flags
    #[arg(value_name = "HELM ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub helm: Vec<String>,
}

/// Whether to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lock {
    /// Take the Lease, refuse without it.
    On,
    /// Nobody is kept out. For clusters without Leases.
    Off,
}

/// What an outdated run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Outdated {
    /// It does not deploy, and that is well: exit code 0.
    Skip,
    /// It does not deploy: exit code 78.
    Fail,
    /// It deploys, over what is newer.
    Allow,
}

/// What is done about what the API server would refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Preflight {
    /// What is certain to fail is refused before anything is changed.
    #[default]
    Enforce,
    /// Whatever the API server refuses now is refused, also where it may be otherwise when Helm asks.
    Strict,
    /// It is said, and Helm runs.
    Warn,
    /// Nobody asks.
    Off,
}

/// Whether Helm works behind the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fence {
    /// Helm reaches the API server only through this program, and only while the lock is held.
    On,
    /// Helm talks to the API server itself.
    Off,
}

/// Where backups go, how many stay, and what is in them.
#[derive(Clone, Debug, Args)]
pub struct BackupFlags {
    /// Where backups of a release go, and copies of records before they are changed [default: helm-guard/backups in the user's state directory; in CI a directory of the job]
    #[arg(long = "backup-dir", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How many backups of a release are kept there; with 0 none is made before a deploy
    #[arg(long = "backup-keep", value_name = "NUMBER", default_value = "10")]
    pub keep: u32,
    /// Leave values and Secrets out of backups
    #[arg(long = "backup-redact", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true, hide_possible_values = true)]
    pub redacted: bool,
}

/// What whatever works on a release under its lock has in common.
#[derive(Clone, Debug, Args)]
pub struct RunFlags {
    /// A holder silent for this long is dead
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = ttl)]
    pub lease_duration: Duration,
    /// Let Helm reach the cluster only through a local proxy that shuts when the lock is lost
    #[arg(long, value_enum, default_value = "on")]
    pub fence: Fence,
    /// Backups
    #[command(flatten)]
    pub backups: BackupFlags,
    /// Say what is being waited for at least this often
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub keepalive: Duration,
    /// How long Helm may take to stop after a signal before it is killed; setting the records right comes after that
    #[arg(long, value_name = "DURATION", default_value = "6s", value_parser = duration)]
    pub stop_timeout: Duration,
    /// Write a JSON report here
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write what GitHub's job summary has here, as Markdown: for a merge request, or wherever there is no such summary
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Write the outputs here, as NAME=VALUE lines: a dotenv report of GitLab's
    #[arg(long, value_name = "FILE")]
    pub dotenv: Option<PathBuf>,
    /// How much is logged
    #[command(flatten)]
    pub log: LogFlags,
}

/// helm-guard's own flags; each is also `HELM_GUARD_<NAME>`.
#[derive(Clone, Debug, Args)]
pub struct GuardFlags {
    /// Helm binary [default: $HELM_BIN, else helm]
    #[arg(long, value_name = "PATH")]
    pub helm_bin: Option<PathBuf>,
    /// Take the release's lock first
    #[arg(long, value_enum, default_value = "on")]
    pub lock: Lock,
    /// Name of the Lease [default: helm-guard-RELEASE]
    #[arg(long, value_name = "NAME")]
    pub lock_name: Option<String>,
    /// How long to wait for the lock; never bounds the deploy
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub lock_timeout: Duration,
    /// What a run does that a newer one of its workflow and ref has outdated
    #[arg(long, value_enum, default_value = "skip")]
    pub outdated: Outdated,
    /// How to repair a stuck release
    #[arg(long, value_enum, default_value = "auto")]
    pub repair: Strategy,
    /// Whether what the API server would refuse stops an upgrade or install before anything is changed
    #[arg(long, value_enum, default_value = "enforce")]
    pub preflight: Preflight,
    /// Delete StatefulSets whose change the API server refuses; pods and volumes stay, and Helm makes the sets anew. Claims of a
    /// template that grew keep their size: the log names the command for each
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_name = "BOOL", hide_default_value = true, hide_possible_values = true)]
    pub recreate_statefulsets: bool,
    /// How it works under the lock
    #[command(flatten)]
    pub run: RunFlags,
}

/// The own flags as the argument splitter needs them.
pub const OWN_FLAGS: [OwnFlag; 20] = [
    OwnFlag { name: "helm-bin", takes_value: true },
    OwnFlag { name: "lock", takes_value: true },
    OwnFlag { name: "lock-name", takes_value: true },
    OwnFlag { name: "lock-timeout", takes_value: true },
    OwnFlag { name: "lease-duration", takes_value: true },
    OwnFlag { name: "outdated", takes_value: true },
    OwnFlag { name: "fence", takes_value: true },
    OwnFlag { name: "repair", takes_value: true },
    OwnFlag { name: "preflight", takes_value: true },
    OwnFlag { name: "recreate-statefulsets", takes_value: false },
    OwnFlag { name: "backup-dir", takes_value: true },
    OwnFlag { name: "backup-keep", takes_value: true },
    OwnFlag { name: "backup-redact", takes_value: false },
    OwnFlag { name: "keepalive", takes_value: true },
    OwnFlag { name: "stop-timeout", takes_value: true },
    OwnFlag { name: "report", takes_value: true },
    OwnFlag { name: "summary", takes_value: true },
    OwnFlag { name: "dotenv", takes_value: true },
    OwnFlag { name: "quiet", takes_value: false },
    OwnFlag { name: "verbose", takes_value: false },
];
