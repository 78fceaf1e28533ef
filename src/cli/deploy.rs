//! The commands that run Helm, and the flags they share.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{
    LogFlags, duration,
    heading::{BACKUP, LOCK, OUTPUT, PREFLIGHT, PROGRESS, REPAIR},
    ttl,
};
use crate::{helm::OwnFlag, repair::Strategy};

/// A Helm command line with helm-guard's flags in it.
#[derive(Debug, Args)]
pub struct Deploy {
    /// helm-guard's own flags
    #[command(flatten)]
    pub guard: GuardFlags,
    /// RELEASE and the arguments and flags of the Helm command
    #[arg(value_name = "HELM ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub helm: Vec<String>,
}

/// Whether to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lock {
    /// Take the lock, a Lease in the release's namespace; without it, do not deploy.
    On,
    /// Do not lock. For clusters without the Lease API.
    Off,
}

/// What to do when a newer run of the same workflow and ref exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Outdated {
    /// Skip the deploy and exit 0.
    Skip,
    /// Skip the deploy and exit 78.
    Fail,
    /// Deploy anyway, over the newer run.
    Allow,
}

/// What to do about an object that the API server would refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Preflight {
    /// Refuse a deploy that cannot succeed.
    #[default]
    Enforce,
    /// Also refuse what the API server refuses now but may accept later.
    Strict,
    /// Only warn.
    Warn,
    /// No preflight.
    Off,
}

/// Whether Helm reaches the cluster through the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fence {
    /// Helm reaches the API server only through helm-guard, which refuses writes when the lock is lost.
    On,
    /// Helm connects to the API server directly.
    Off,
}

/// The flags of backups: directory, number, and redaction.
#[derive(Clone, Debug, Args)]
pub struct BackupFlags {
    /// Directory for backups and copies of records
    ///
    /// A backup is saved before each deploy, and a copy of each record before it is changed. [default: helm-guard/backups in the
    /// user's state directory; in CI a directory of the job]
    #[arg(long = "backup-dir", value_name = "DIR", help_heading = BACKUP)]
    pub dir: Option<PathBuf>,
    /// Number of backups to keep
    ///
    /// This many backups of a release stay in the directory; older ones are deleted. With 0, no backup is made before a deploy.
    #[arg(long = "backup-keep", value_name = "NUMBER", default_value = "10", help_heading = BACKUP)]
    pub keep: u32,
    /// Leave values and Secrets out of backups
    ///
    /// A redacted backup can be kept as an artifact. Only statuses are restored from it.
    #[arg(long = "backup-redact", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true, hide_possible_values = true, help_heading = BACKUP)]
    pub redacted: bool,
}

/// The flags that every command which changes a release under its lock has.
#[derive(Clone, Debug, Args)]
pub struct RunFlags {
    /// A lock holder that does not renew for this long is dead
    ///
    /// From 1s to 10m. A short duration frees the lock of a dead run sooner; a long one survives longer outages of the API server.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = ttl, help_heading = LOCK, hide_short_help = true)]
    pub lease_duration: Duration,
    /// Let Helm reach the cluster only through a local proxy
    ///
    /// The proxy refuses Helm's writes when the lock is lost.
    #[arg(long, value_enum, value_name = "on|off", default_value = "on", help_heading = LOCK, hide_short_help = true)]
    pub fence: Fence,
    /// Backups
    #[command(flatten)]
    pub backups: BackupFlags,
    /// Print what Helm waits for at least this often
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration, help_heading = PROGRESS, hide_short_help = true)]
    pub keepalive: Duration,
    /// How long Helm may take to stop after a signal
    ///
    /// After that time Helm is killed. Then helm-guard sets the records right and gives the lock back, so the CI system has to wait
    /// some seconds longer than this before it kills the job.
    #[arg(long, value_name = "DURATION", default_value = "6s", value_parser = duration, hide_short_help = true)]
    pub stop_timeout: Duration,
    /// Write a JSON report to this file
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub report: Option<PathBuf>,
    /// Write a Markdown summary to this file
    ///
    /// It has the text of the job summary of GitHub.
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub summary: Option<PathBuf>,
    /// Write outputs to this file as NAME=VALUE
    ///
    /// One output a line. GitLab reads such a file as a dotenv report.
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub dotenv: Option<PathBuf>,
    /// How much is logged
    #[command(flatten)]
    pub log: LogFlags,
}

/// helm-guard's own flags of the commands that run Helm; each is also `HELM_GUARD_<NAME>`.
#[derive(Clone, Debug, Args)]
pub struct GuardFlags {
    /// Helm binary [default: $HELM_BIN, else helm]
    ///
    /// Helm 3 or Helm 4.
    #[arg(long, value_name = "PATH")]
    pub helm_bin: Option<PathBuf>,
    /// Take the release's lock first
    #[arg(long, value_enum, value_name = "on|off", default_value = "on", help_heading = LOCK)]
    pub lock: Lock,
    /// Name of the Lease [default: helm-guard-RELEASE]
    ///
    /// Releases whose locks have one name are deployed one at a time.
    #[arg(long, value_name = "NAME", help_heading = LOCK, hide_short_help = true)]
    pub lock_name: Option<String>,
    /// How long to wait for the lock
    ///
    /// It does not limit the deploy itself.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration, help_heading = LOCK)]
    pub lock_timeout: Duration,
    /// Action if a newer run exists
    ///
    /// What to do when a newer run of the same workflow and ref exists.
    #[arg(long, value_enum, value_name = "MODE", default_value = "skip", help_heading = LOCK)]
    pub outdated: Outdated,
    /// How to repair a stuck release
    #[arg(long, value_enum, value_name = "STRATEGY", default_value = "auto", help_heading = REPAIR)]
    pub repair: Strategy,
    /// Check all objects first
    ///
    /// What to do if the API server would refuse an object. Before anything is changed, each object is sent to the API server as a dry
    /// run, and what the workloads refer to is looked up.
    #[arg(long, value_enum, value_name = "MODE", default_value = "enforce", help_heading = PREFLIGHT)]
    pub preflight: Preflight,
    /// Recreate StatefulSets if necessary
    ///
    /// Delete StatefulSets whose change the API server refuses. Their pods and volumes stay, and Helm creates the StatefulSets again.
    /// Claims of a template that grew keep their size: the log names the command for each.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_name = "BOOL", hide_default_value = true, hide_possible_values = true, help_heading = PREFLIGHT)]
    pub recreate_statefulsets: bool,
    /// The flags of every command that changes a release under its lock
    #[command(flatten)]
    pub run: RunFlags,
}

/// The own flags, as the splitter of command lines needs them.
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
