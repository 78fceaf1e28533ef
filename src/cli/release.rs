//! The commands that show and repair releases.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{
    BackupFlags, ClusterFlags, RunFlags, duration,
    heading::{BACKUP, LOCK, OUTPUT},
};
use crate::output::{Format, Json};
use crate::{release::removed_apis, repair::Strategy};

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Release name [default: all that need attention]
    ///
    /// Without a name, releases that are stuck, failed, partly uninstalled or being deployed are listed.
    pub release: Option<String>,
    /// List the releases of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Also list healthy releases
    #[arg(long, conflicts_with = "release")]
    pub all: bool,
    /// In a list, check whether lock holders are alive
    ///
    /// Watch each holder for its lease duration: one that renews its lock is alive.
    #[arg(long)]
    pub check: bool,
    /// In a list, also show the health of each release
    ///
    /// The record of each release is read, and each of its objects is compared with the cluster.
    #[arg(long)]
    pub health: bool,
    /// Show releases with APIs that this version removed
    ///
    /// Show which releases have objects of APIs that this version of Kubernetes removed. Without a value, the version of the cluster
    /// is used. In a list, one record of each release is read for this.
    #[arg(long, num_args = 0..=1, default_missing_value = "cluster", value_name = "VERSION")]
    pub kubernetes_version: Option<KubernetesVersion>,
    /// Format: table, wide, json or yaml
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT", help_heading = OUTPUT)]
    pub output: Format,
    /// Name of the Lease [default: helm-guard-RELEASE]
    #[arg(long, value_name = "NAME", help_heading = LOCK)]
    pub lock_name: Option<String>,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// A version of Kubernetes whose APIs are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubernetesVersion {
    /// The cluster's own.
    OfCluster,
    /// This minor release of Kubernetes 1.
    Minor(u32),
}

impl std::str::FromStr for KubernetesVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "cluster" { Ok(Self::OfCluster) } else { removed_apis::minor(text).map(Self::Minor) }
    }
}

/// `diagnose`.
#[derive(Debug, Args)]
pub struct Diagnose {
    /// Release name
    pub release: String,
    /// Format: table, wide, json or yaml
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT", help_heading = OUTPUT)]
    pub output: Format,
    /// Also save the evidence as JSON, without secrets
    ///
    /// The file holds what was read from the cluster, without secrets, for support.
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub save: Option<PathBuf>,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// `history`.
#[derive(Debug, Args)]
pub struct History {
    /// Release name
    pub release: String,
    /// Format: table, wide, json or yaml
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT", help_heading = OUTPUT)]
    pub output: Format,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// `repair`.
#[derive(Clone, Debug, Args)]
pub struct Repair {
    /// Release name [default: all stuck releases]
    pub release: Option<String>,
    /// Repair releases of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "release"])]
    pub all_namespaces: bool,
    /// How to repair [default: ask, or auto]
    ///
    /// Without this flag, helm-guard asks at a terminal; elsewhere it uses auto.
    #[arg(long, value_enum, value_name = "STRATEGY")]
    pub strategy: Option<AloneStrategy>,
    /// Do not ask; use one strategy for all
    #[arg(short, long)]
    pub yes: bool,
    /// Also replace APIs that this version removed
    ///
    /// Also replace, in records, the APIs that this version of Kubernetes removed, before the cluster is upgraded to it.
    #[arg(long, value_name = "1.N", value_parser = removed_apis::minor)]
    pub kubernetes_version: Option<u32>,
    /// Show what would be done; write nothing
    ///
    /// A dry run takes no lock.
    #[arg(long, requires = "release")]
    pub dry_run: bool,
    /// How long to wait for readiness
    ///
    /// After a rollback or an adoption, helm-guard waits until the revision that it brought back is ready. 0s does not wait.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub rollout_timeout: Duration,
    /// Helm binary [default: $HELM_BIN, else helm]
    ///
    /// Only the strategies rollback and uninstall run Helm.
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub helm_bin: Option<PathBuf>,
    /// Name of the Lease [default: helm-guard-RELEASE]
    #[arg(long, value_name = "NAME", help_heading = LOCK, hide_short_help = true)]
    pub lock_name: Option<String>,
    /// How long to wait for the lock
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration, help_heading = LOCK)]
    pub lock_timeout: Duration,
    /// The flags of every command that changes a release under its lock
    #[command(flatten)]
    pub run: RunFlags,
    /// Format of a dry run
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT", help_heading = OUTPUT)]
    pub output: Format,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// The strategies that need no new manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AloneStrategy {
    /// Adopt the dead revision if that is safe, else mark it failed; no object is changed.
    #[default]
    Auto,
    /// Mark the dead revision deployed, if all its objects exist as it describes and are ready; change nothing else.
    Adopt,
    /// Only mark dead revisions as failed, also those of a dead uninstall.
    MarkFailed,
    /// Roll back to the last good revision, without hooks, and remove what dead revisions left.
    Rollback,
    /// Delete the records of dead revisions; the objects that they created stay.
    DeleteRecord,
    /// Uninstall a first install that never finished; list what is deleted, and refuse what the release did not create.
    Uninstall,
    /// Only replace APIs in records that the cluster does not serve; statuses stay as they are.
    MapApis,
}

impl From<AloneStrategy> for Strategy {
    fn from(strategy: AloneStrategy) -> Self {
        match strategy {
            AloneStrategy::Auto => Self::Auto,
            AloneStrategy::Adopt => Self::Adopt,
            AloneStrategy::MarkFailed => Self::MarkFailed,
            AloneStrategy::Rollback => Self::Rollback,
            AloneStrategy::DeleteRecord => Self::DeleteRecord,
            AloneStrategy::Uninstall => Self::Uninstall,
            AloneStrategy::MapApis => Self::MapApis,
        }
    }
}

/// `unlock`.
#[derive(Debug, Args)]
pub struct Unlock {
    /// Release name
    pub release: String,
    /// ID of the lock to free; no other lock is freed
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Also free the lock of a living run
    ///
    /// This stops the Helm of that run. It also sets a pending record right for which there is no lock.
    #[arg(long)]
    pub force: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
    /// Show what would be done; write nothing
    ///
    /// The holder is watched.
    #[arg(long)]
    pub dry_run: bool,
    /// Name of the Lease [default: helm-guard-RELEASE]
    #[arg(long, value_name = "NAME", help_heading = LOCK)]
    pub lock_name: Option<String>,
    /// Directory for copies of records
    ///
    /// A copy of each record is saved before it is changed. [default: helm-guard/backups in the user's state directory; in CI a directory of the job]
    #[arg(long, value_name = "DIR", help_heading = BACKUP)]
    pub backup_dir: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(short, long, value_enum, value_name = "json", hide_possible_values = true, help_heading = OUTPUT)]
    pub output: Option<Json>,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// `backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// Release name
    pub release: String,
    /// Backups
    #[command(flatten)]
    pub backups: BackupFlags,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// Backup file
    ///
    /// `helm-guard backup` and each run that saves a backup print its path.
    pub file: PathBuf,
    /// How long to wait for the lock
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration, help_heading = LOCK)]
    pub lock_timeout: Duration,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// `settle`.
#[derive(Debug, Args)]
pub struct Settle {
    /// State file of the run [default: all of this CI job]
    pub state: Option<PathBuf>,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}
