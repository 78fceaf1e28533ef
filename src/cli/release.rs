//! The commands about releases as they stand.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{BackupFlags, ClusterFlags, RunFlags, duration};
use crate::output::{Format, Json};
use crate::{release::removed_apis, repair::Strategy};

pub(super) const STATUS: &str = "\
States: `none`; `deployed`; `failed`; `uninstalled`; `uninstalling`; `stuck`, which nobody works on; `deploying`, whose \
lock somebody holds. A holder is watched for at most its lease duration; in a list only with --check.

Health is the worst of what is found: Stuck; Missing, an object is not there; Degraded, a workload is not ready and its pods \
say why; Progressing, it is not ready yet; Drifted (OutOfSync), a dry run of applying the manifest would change what lives; \
Unknown, nobody may look; Healthy. Nothing is changed for it.

A list reads labels and no records, so it takes a moment for thousands of releases. With --kubernetes-version it reads one record \
of each release, which takes about a second for a thousand, and also lists the releases whose record has objects of APIs that \
this version of Kubernetes removed: once the cluster is upgraded, Helm fails on such a record, unless helm-guard deploys. Without a HELM_DRIVER it looks in Secrets \
and in ConfigMaps. Where all namespaces may not be listed at once, those are that may be.

Exit codes: 0 said; 64 bad usage; 69 cluster unavailable; 77 no permission.

Examples:
  helm-guard status -A                  # who needs somebody?
  helm-guard status -A --kubernetes-version 1.25  # who will, once the cluster is upgraded?
  helm-guard status web -n shop
  helm-guard status web -n shop -o json";

pub(super) const HISTORY: &str = "\
Good is a revision whose record says that its install, upgrade or rollback completed: `superseded` alone does not.

Exit codes: 0 listed; 1 no such release; 64 bad usage; 69 cluster unavailable; 77 no permission.

Example:
  helm-guard history web -n shop -o json";

pub(super) const BACKUP: &str = "\
Prints the path of the list of records, which `helm-guard restore` reads; the manifest of the revision that works is beside it, \
with the ending .yaml. A redacted backup has no values, no Secrets and nothing in which one of them stands: it tells how the \
release stood, and only statuses are restored from it.

Exit codes: 0 saved; 1 no such release; 64 bad usage; 69 cluster unavailable; 77 no permission.

Example:
  helm-guard restore $(helm-guard backup web -n shop)";

pub(super) const RESTORE: &str = "\
The whole file is looked at first: records of one release, each readable and what its name says. Else nothing is written.

Records go back to the namespace and the storage that they are of, each as it was; the cluster's other objects stay as they \
are. Of a redacted backup only statuses go back.

Exit codes: 0 restored; 1 not all could be restored; 64 bad usage; 69 cluster unavailable; 75 lock timeout; 76 lock lost; \
77 refused, nothing was changed; 130/143 cancelled.

Example:
  helm-guard restore backups/shop.web-3f9a1c07.json";

pub(super) const SETTLE: &str = "\
Exit codes: 0 nothing is left to settle; 1 not all could be settled; 64 bad usage.";

pub(super) const DIAGNOSE: &str = "\
Say why a release does not work: its pods, Jobs, hooks, claims and events, and the last words of Helm in its record, become \
causes, the most telling first, each with what shows it and the commands that help. Where no known cause fits, what was seen \
is shown. Reads only, and takes no lock; a kind that may not be read is left out.

Logs are bounded, and values of Secrets and of the release are taken out of them.

Exit codes: 0 said; 64 bad usage; 69 cluster unavailable; 77 no permission.";

pub(super) const REPAIR: &str = "\
Repair a stuck release under the lock, without a deploy and so without a chart.

By default only records are set right: what is pending becomes `failed` (or `deployed`, when all but Helm's last save was \
done), and the last good revision is `deployed` again if nothing is. Nothing that lives is touched; the next \
`helm-guard upgrade` cleans up what dead revisions left. A copy of the records is saved first.

All was done if Helm's own apply, made again as a dry run, would change nothing, every object is ready, the hooks are known \
to have ended, and nothing is left that only older revisions had. --strategy adopt marks the revision `deployed` then, and \
else says what is missing and changes nothing; it also takes one that Helm itself gave up.

What was rolled back to, or marked `deployed`, is then waited for, for --rollout-timeout, and looked at: every workload of it is \
to be ready, and every object there.

A record that names APIs which the cluster does not serve stops every deploy. Its objects are named by the versions that are \
served, where there are such and the objects live; others leave it. --strategy map-apis does this alone, and with \
--kubernetes-version ahead of the cluster's upgrade. Nothing else of a record changes.

A release whose holder is alive is left alone: its lock is waited for, for --lock-timeout.

At a terminal each stuck release is shown, with its history and the ways to repair it that fit, and you choose. Without a \
release those of the namespace are gone through, with -A those of all; one whose holder is alive is not among them. Scripts say \
--yes, and a --strategy.

Often there is no need for it: `helm-guard upgrade` repairs by itself.";

pub(super) const REPAIR_CODES: &str = "\
Examples:
  helm-guard repair web -n shop --dry-run            # what would be done?
  helm-guard repair web -n shop                      # set the records right
  helm-guard repair web -n shop --strategy adopt     # deployed, if all of it is there and ready
  helm-guard repair web -n shop --strategy rollback  # and go back to the last good revision
  helm-guard repair web -n shop --strategy map-apis --kubernetes-version 1.25
  helm-guard repair -A                               # choose for each that is stuck
  helm-guard repair -A --yes                         # set the records of all right

Exit codes: 0 nothing is pending; 1 a repair failed, or what it brought back is not ready in time; 64 bad usage; 69 cluster or Helm unavailable; 75 lock timeout; \
76 lock lost; 77 refused, nothing was changed; 130/143 cancelled.";

pub(super) const UNLOCK: &str = "\
Free the lock of a release whose run is dead, and settle its record.

The holder is watched for one lease duration. If it renews it is alive, and its lock stays; if it is silent it is dead: \
its lock is freed, its pending record is marked `failed` (or `deployed`, when all but Helm's last save was done) after a copy \
is saved, and what the release then is, is read again and said.

The lock ID stands in the message of whoever waits, and in `helm-guard lock status`. It makes sure that the lock that is \
freed is the one you looked at, and not that of the next run.

--force takes the lock from a living run too, which stops its Helm. It asks at a terminal, and needs --yes elsewhere. The \
record is settled only when that run can write no more, one lease duration later.

Often there is no need for it: `helm-guard upgrade` takes over from a dead run by itself.";

pub(super) const UNLOCK_CODES: &str = "\
Examples:
  helm-guard unlock web -n shop                        # who holds it?
  helm-guard unlock web -n shop --id 3f9a1c07          # free it, if that run is dead
  helm-guard unlock web -n shop --id 3f9a1c07 --force  # free it, whatever that run does

Exit codes: 0 nobody holds the lock and nothing is pending; 1 freed, but a record could not be settled; 64 bad usage; \
69 cluster unavailable, or the records cannot be read; 77 refused, nothing was changed; 130/143 cancelled.";

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Release name [default: every release that is stuck, failed, half uninstalled or being deployed]
    pub release: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// List what is well, too
    #[arg(long, conflicts_with = "release")]
    pub all: bool,
    /// Watch the holders of locks in a list for their lease durations, and say whether they are alive
    #[arg(long)]
    pub check: bool,
    /// Say in a list how each release fares, too: its record is read, and each of its objects is compared
    #[arg(long)]
    pub health: bool,
    /// Say which releases have objects of APIs that this version of Kubernetes does not have, by default the cluster's own:
    /// in a list, one record of each release is read for it
    #[arg(long, num_args = 0..=1, default_missing_value = "cluster", value_name = "VERSION")]
    pub kubernetes_version: Option<KubernetesVersion>,
    /// Format
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub output: Format,
    /// Name of the Lease [default: helm-guard-RELEASE]
    #[arg(long, value_name = "NAME")]
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
    /// Format
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub output: Format,
    /// Also save what was looked at as JSON, without what is secret, for those who are asked for help
    #[arg(long, value_name = "FILE")]
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
    /// Format
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub output: Format,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// `repair`.
#[derive(Clone, Debug, Args)]
pub struct Repair {
    /// Release name [default: every stuck release, one after the other]
    pub release: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "release"])]
    pub all_namespaces: bool,
    /// How to repair it [default: auto; at a terminal, ask]
    #[arg(long, value_enum)]
    pub strategy: Option<AloneStrategy>,
    /// Do not ask: repair every stuck release in the one way
    #[arg(short, long)]
    pub yes: bool,
    /// Also replace the APIs that this version of Kubernetes has removed, ahead of the cluster's upgrade to it
    #[arg(long, value_name = "VERSION", value_parser = removed_apis::minor)]
    pub kubernetes_version: Option<u32>,
    /// Only say what would be done; takes no lock and writes nothing
    #[arg(long, requires = "release")]
    pub dry_run: bool,
    /// How long to wait until what is rolled back to, or marked deployed, is ready; 0s does not wait
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub rollout_timeout: Duration,
    /// Format of a dry run
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub output: Format,
    /// Helm binary, for --strategy rollback and uninstall [default: $HELM_BIN, else helm]
    #[arg(long, value_name = "PATH")]
    pub helm_bin: Option<PathBuf>,
    /// Name of the Lease [default: helm-guard-RELEASE]
    #[arg(long, value_name = "NAME")]
    pub lock_name: Option<String>,
    /// How long to wait for the lock
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub lock_timeout: Duration,
    /// How it works under the lock
    #[command(flatten)]
    pub run: RunFlags,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// The strategies that need no new manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AloneStrategy {
    /// Adopt it where that is certain, else mark it failed; nothing that lives is touched.
    #[default]
    Auto,
    /// Mark the dead revision deployed if all that it wants lives as it says and is ready, and change nothing else.
    Adopt,
    /// Only set records right, also for an uninstall that died.
    MarkFailed,
    /// Roll back to the last good revision, without hooks; what dead revisions left is removed.
    Rollback,
    /// Delete the records of dead revisions; what they created stays.
    DeleteRecord,
    /// Uninstall a first install that never finished; lists what it deletes, and refuses what the release did not create.
    Uninstall,
    /// Only name the objects in records by APIs that the cluster serves; statuses stay as they are.
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
    /// ID of the lock to free, and of no other
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Free it from a living holder too, and settle a pending record that no lock explains
    #[arg(long)]
    pub force: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only say what would be done; the holder is watched, and nothing is written
    #[arg(long)]
    pub dry_run: bool,
    /// Name of the Lease [default: helm-guard-RELEASE]
    #[arg(long, value_name = "NAME")]
    pub lock_name: Option<String>,
    /// Where copies of records go before they are changed [default: helm-guard/backups in the user's state directory; in CI a directory of the job]
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// Print what was done as JSON
    #[arg(short, long, value_enum, value_name = "FORMAT")]
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
    /// Backup file, as its path was reported
    pub file: PathBuf,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
    /// How long to wait for the lock
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub lock_timeout: Duration,
}

/// `settle`.
#[derive(Debug, Args)]
pub struct Settle {
    /// State file of the run to settle [default: all of this job of GitHub or GitLab]
    pub state: Option<PathBuf>,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}
