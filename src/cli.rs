//! The command line. helm-guard's own flags are long, stand anywhere among Helm's, and each has an environment variable.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{helm::OwnFlag, repair::Strategy};

/// Guards a Helm deploy: one at a time, repairs stuck releases, says why it failed.
#[derive(Debug, Parser)]
#[command(name = "helm-guard", version, args_override_self = true, max_term_width = 110)]
#[command(
    after_help = "Exit codes: Helm's own; 64 bad usage, 69 cluster or Helm unavailable, 75 lock timeout, \
    76 lock lost, 77 refused, 78 outdated (--outdated fail), 130/143 cancelled.\n\nExample:\n  helm-guard upgrade web ./chart --install -n shop -f values.yaml --wait"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// `helm upgrade` under the lock, after repairing what is stuck. All Helm flags pass through
    Upgrade(Deploy),
    /// `helm install` under the lock
    Install(Deploy),
    /// `helm rollback` under the lock
    Rollback(Deploy),
    /// `helm uninstall` under the lock
    #[command(visible_aliases = ["delete"])]
    Uninstall(Deploy),
    /// Say how a release stands: its lock, its history, what a repair would do; without a name, which need somebody
    #[command(visible_alias = "show", after_help = STATUS)]
    Status(Status),
    /// List a release's revisions, and say which of them is the last good one
    #[command(after_help = HISTORY)]
    History(History),
    /// Repair a stuck release under the lock, without a deploy
    #[command(long_about = REPAIR, after_help = REPAIR_CODES)]
    Repair(Repair),
    /// Save a release's records, and its manifest beside them
    #[command(after_help = BACKUP)]
    Backup(Backup),
    /// Put records back from a backup file, under the lock
    Restore(Restore),
    /// Settle what a killed run of this job left: its pending record and its lock (the action's last step)
    Settle(Settle),
    /// Free the lock of a release whose run is dead, and settle its record
    #[command(long_about = UNLOCK, after_help = UNLOCK_CODES)]
    Unlock(Unlock),
    /// See the locks, or work under one with any command
    #[command(subcommand, long_about = LOCK)]
    Lock(LockCommand),
    /// Read the command line from the GitHub Action's inputs and run it (the action's main step)
    Action,
}

const STATUS: &str = "\
States: `none`; `deployed`; `failed`; `uninstalled`; `uninstalling`; `stuck`, which nobody works on; `deploying`, whose \
lock somebody holds. A holder is watched for at most its lease duration; in a list only with --check.

Health is the worst of what is found: Stuck; Missing, an object is not there; Degraded, a workload is not ready and its pods \
say why; Progressing, it is not ready yet; Drifted (OutOfSync), a dry run of applying the manifest would change what lives; \
Unknown, nobody may look; Healthy. Nothing is changed for it.

A list reads labels and no records, so it takes a moment for thousands of releases. Without a HELM_DRIVER it looks in Secrets \
and in ConfigMaps. Where all namespaces may not be listed at once, those are that may be.

Exit codes: 0 said; 64 bad usage; 69 cluster unavailable; 77 no permission.

Examples:
  helm-guard status -A                  # who needs somebody?
  helm-guard status web -n shop
  helm-guard status web -n shop -o json";

const HISTORY: &str = "\
Good is a revision whose record says that its install, upgrade or rollback completed: `superseded` alone does not.

Exit codes: 0 listed; 1 no such release; 64 bad usage; 69 cluster unavailable; 77 no permission.

Example:
  helm-guard history web -n shop -o json";

const BACKUP: &str = "\
Prints the path of the list of records, which `helm-guard restore` reads; the manifest of the revision that works is beside it, \
with the ending .yaml. A redacted backup has no values, no Secrets and nothing in which one of them stands: it tells how the \
release stood, and only statuses are restored from it.

Exit codes: 0 saved; 1 no such release; 64 bad usage; 69 cluster unavailable; 77 no permission.

Example:
  helm-guard restore $(helm-guard backup web -n shop)";

const REPAIR: &str = "\
Repair a stuck release under the lock, without a deploy and so without a chart.

By default only records are set right: what is pending becomes `failed` (or `deployed`, when all but Helm's last save was \
done), and the last good revision is `deployed` again if nothing is. Nothing that lives is touched; the next \
`helm-guard upgrade` cleans up what dead revisions left. A copy of the records is saved first.

A release whose holder is alive is left alone: its lock is waited for, for --lock-timeout.

At a terminal each stuck release is shown, with its history and the ways to repair it that fit, and you choose. Without a \
release those of the namespace are gone through, with -A those of all; one whose holder is alive is not among them. Scripts say \
--yes, and a --strategy.

Often there is no need for it: `helm-guard upgrade` repairs by itself.";

const REPAIR_CODES: &str = "\
Examples:
  helm-guard repair web -n shop --dry-run            # what would be done?
  helm-guard repair web -n shop                      # set the records right
  helm-guard repair web -n shop --strategy rollback  # and go back to the last good revision
  helm-guard repair -A                               # choose for each that is stuck
  helm-guard repair -A --yes                         # set the records of all right

Exit codes: 0 nothing is pending; 1 a repair failed; 64 bad usage; 69 cluster or Helm unavailable; 75 lock timeout; \
76 lock lost; 77 refused, nothing was changed; 130/143 cancelled.";

const UNLOCK: &str = "\
Free the lock of a release whose run is dead, and settle its record.

The holder is watched for one lease duration. If it renews it is alive, and its lock stays; if it is silent it is dead: \
its lock is freed, its pending record is marked `failed` (or `deployed`, when all but Helm's last save was done) after a copy \
is saved, and what the release then is, is read again and said.

The lock ID stands in the message of whoever waits, and in `helm-guard lock status`. It makes sure that the lock that is \
freed is the one you looked at, and not that of the next run.

--force takes the lock from a living run too, which stops its Helm. It asks at a terminal, and needs --yes elsewhere. The \
record is settled only when that run can write no more, one lease duration later.

Often there is no need for it: `helm-guard upgrade` takes over from a dead run by itself.";

const UNLOCK_CODES: &str = "\
Examples:
  helm-guard unlock web -n shop                        # who holds it?
  helm-guard unlock web -n shop --id 3f9a1c07          # free it, if that run is dead
  helm-guard unlock web -n shop --id 3f9a1c07 --force  # free it, whatever that run does

Exit codes: 0 nobody holds the lock and nothing is pending; 1 freed, but a record could not be settled; 64 bad usage; \
69 cluster unavailable; 77 refused, nothing was changed; 130/143 cancelled.";

const LOCK: &str = "\
See the locks, or work under one with any command.

A release's lock is a Lease in its namespace. `lock run` holds it while a command runs, so that kubectl, terraform or a \
script of several helm-guard commands has the release to itself. `lock acquire` and `lock release` do so across processes.

A helm-guard command that runs under `lock run`, or with HELM_GUARD_LOCK_ID set to the ID that `lock acquire` printed, works \
under that lock instead of waiting for it; two of them at once still work one after the other.";

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
    /// Only say what would be done; takes no lock and writes nothing
    #[arg(long, requires = "release")]
    pub dry_run: bool,
    /// How long to wait for the rollouts of a rollback that was chosen at the terminal, or for all releases
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
    /// Set the records right, and touch nothing that lives.
    #[default]
    Auto,
    /// The same, also for an uninstall that died.
    MarkFailed,
    /// Roll back to the last good revision, without hooks; what dead revisions left is removed.
    Rollback,
    /// Delete the records of dead revisions; what they created stays.
    DeleteRecord,
    /// Uninstall a first install that never finished.
    Uninstall,
}

impl From<AloneStrategy> for Strategy {
    fn from(strategy: AloneStrategy) -> Self {
        match strategy {
            AloneStrategy::Auto => Self::Auto,
            AloneStrategy::MarkFailed => Self::MarkFailed,
            AloneStrategy::Rollback => Self::Rollback,
            AloneStrategy::DeleteRecord => Self::DeleteRecord,
            AloneStrategy::Uninstall => Self::Uninstall,
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
    /// Where copies of records go before they are changed [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// Print what was done as JSON
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Json>,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// The one format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Json {
    /// JSON
    Json,
}

/// The formats of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns
    #[default]
    Table,
    /// More columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// `lock …`.
#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// List who holds which lock
    #[command(
        visible_alias = "list",
        after_help = "\
States: `free`; `held`; with --check `alive`, `dead`, or `held` for one that `lock acquire` took and nobody renews.
Times are by the holder's own clock. Exit codes: 0 listed; 64 bad usage; 69 cluster unavailable; 77 no permission.

Examples:
  helm-guard lock status -A
  helm-guard lock status web -n shop --check
  helm-guard lock status web -n shop -o json"
    )]
    Status(LockStatus),
    /// Take a release's lock for a fixed time, and print its ID
    #[command(after_help = "\
Nobody renews this lock: it ends when --ttl is over, or with `helm-guard lock release`. Longer work: `helm-guard lock run`.

Exit codes: 0 taken; 64 bad usage; 69 cluster unavailable; 75 lock timeout; 77 no permission.

Example:
  id=$(helm-guard lock acquire web -n shop --ttl 5m)
  HELM_GUARD_LOCK_ID=$id helm-guard upgrade web ./chart -n shop
  helm-guard lock release web -n shop --id $id")]
    Acquire(LockAcquire),
    /// Give back a lock that `lock acquire` took
    #[command(after_help = "\
Exit codes: 0 nobody holds the lock; 64 bad usage; 69 cluster unavailable; 76 somebody else has it by now; 77 refused.")]
    Release(LockRelease),
    /// Run a command under a release's lock
    #[command(after_help = "\
The lock is renewed while the command runs, and given back when it ends. The command finds the lock's ID in \
HELM_GUARD_LOCK_ID, and gets SIGINT and SIGTERM passed on. If the lock is lost it gets SIGTERM, and SIGKILL after \
--stop-timeout.

Exit codes: the command's own; 64 bad usage; 69 cluster unavailable; 75 lock timeout; 76 lock lost; 77 no permission; \
126 the command cannot be run; 127 it is not found; 128+N signal N ended it.

Examples:
  helm-guard lock run web -n shop -- kubectl rollout restart deployment/web -n shop
  helm-guard lock run web -n shop -- terraform apply")]
    Run(LockRun),
}

/// `lock status`.
#[derive(Debug, Args)]
pub struct LockStatus {
    /// Only this release's
    pub release: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Watch each holder for its lease duration and say whether it is alive
    #[arg(long)]
    pub check: bool,
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

/// Which lock to take, and how long to wait for it.
#[derive(Debug, Args)]
pub struct LockWanted {
    /// Release name
    pub release: String,
    /// Name of the Lease [default: helm-guard-RELEASE]
    #[arg(long, value_name = "NAME")]
    pub lock_name: Option<String>,
    /// How long to wait for the lock
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub lock_timeout: Duration,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// `lock acquire`.
#[derive(Debug, Args)]
pub struct LockAcquire {
    /// Which
    #[command(flatten)]
    pub wanted: LockWanted,
    /// How long it holds, from 1s to 10m
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = ttl)]
    pub ttl: Duration,
    /// Print what was taken as JSON
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Json>,
}

/// `lock release`.
#[derive(Debug, Args)]
pub struct LockRelease {
    /// Release name
    pub release: String,
    /// ID that `lock acquire` printed
    #[arg(long, value_name = "ID")]
    pub id: String,
    /// Name of the Lease [default: helm-guard-RELEASE]
    #[arg(long, value_name = "NAME")]
    pub lock_name: Option<String>,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// `lock run`.
#[derive(Debug, Args)]
pub struct LockRun {
    /// Which
    #[command(flatten)]
    pub wanted: LockWanted,
    /// A holder silent for this long is dead
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = ttl)]
    pub lease_duration: Duration,
    /// How long the command may take to stop after the lock is lost before it is killed
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub stop_timeout: Duration,
    /// The command, and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true, num_args = 1..)]
    pub command: Vec<std::ffi::OsString>,
}

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

/// Whether Helm works behind the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fence {
    /// Helm reaches the API server only through this program, and only while the lock is held.
    On,
    /// Helm talks to the API server itself.
    Off,
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
    /// Where copies of records go before a deploy, and before they are changed [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// How many backups of a release are kept there; with 0 none is made before a deploy
    #[arg(long, value_name = "NUMBER", default_value = "10")]
    pub backup_keep: u32,
    /// Leave values and Secrets out of the backup before a deploy
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true, hide_possible_values = true)]
    pub backup_redact: bool,
    /// Say what is being waited for at least this often
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub keepalive: Duration,
    /// How long Helm may take to stop after a signal before it is killed; setting the records right comes after that
    #[arg(long, value_name = "DURATION", default_value = "6s", value_parser = duration)]
    pub stop_timeout: Duration,
    /// Write a JSON report here
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write the outputs here, as NAME=VALUE lines: a dotenv report of GitLab's
    #[arg(long, value_name = "FILE")]
    pub dotenv: Option<PathBuf>,
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
    /// How it works under the lock
    #[command(flatten)]
    pub run: RunFlags,
}

/// The own flags as the argument splitter needs them.
pub const OWN_FLAGS: [OwnFlag; 15] = [
    OwnFlag { name: "helm-bin", takes_value: true },
    OwnFlag { name: "lock", takes_value: true },
    OwnFlag { name: "lock-name", takes_value: true },
    OwnFlag { name: "lock-timeout", takes_value: true },
    OwnFlag { name: "lease-duration", takes_value: true },
    OwnFlag { name: "outdated", takes_value: true },
    OwnFlag { name: "fence", takes_value: true },
    OwnFlag { name: "repair", takes_value: true },
    OwnFlag { name: "backup-dir", takes_value: true },
    OwnFlag { name: "backup-keep", takes_value: true },
    OwnFlag { name: "backup-redact", takes_value: false },
    OwnFlag { name: "keepalive", takes_value: true },
    OwnFlag { name: "stop-timeout", takes_value: true },
    OwnFlag { name: "report", takes_value: true },
    OwnFlag { name: "dotenv", takes_value: true },
];

/// `backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// Release name
    pub release: String,
    /// Directory [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// How many backups of the release are kept there
    #[arg(long, value_name = "NUMBER", default_value = "10")]
    pub backup_keep: u32,
    /// Leave values and Secrets out
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set, hide_default_value = true, hide_possible_values = true)]
    pub backup_redact: bool,
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

/// Which cluster, as Helm and kubectl have it.
#[derive(Clone, Debug, Args)]
pub struct ClusterFlags {
    /// Kubeconfig file
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context in it
    #[arg(long, value_name = "NAME")]
    pub kube_context: Option<String>,
    /// Namespace
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// `10m`, `1h30m`, `15s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| "not a duration such as 90s, 10m or 1h30m")?;
    Duration::try_from(parsed).map_err(|_| "a duration cannot be negative".to_owned())
}

/// A lease duration: what is longer would not be believed, see [`crate::lock::LONGEST_BELIEF`].
fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration(text)?;
    let allowed = Duration::from_secs(1)..=crate::lock::LONGEST_BELIEF;
    if allowed.contains(&ttl) { Ok(ttl) } else { Err("not between 1s and 10m".into()) }
}

/// What `HELM_GUARD_<NAME>` says of the flags of a command that clap reads, and behind how many words of the command it
/// belongs, so that what is typed wins. Only what is also a flag of a deploy has a variable.
pub fn from_variables(argv: &[String], env: &crate::ci::Env) -> (usize, Vec<String>) {
    use clap::CommandFactory;
    let mut command = Cli::command();
    let mut words = 0;
    while let Some(next) = argv.get(words).and_then(|word| command.find_subcommand(word)) {
        command = next.clone();
        words += 1;
    }
    let mut flags = Vec::new();
    for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
        let name = format!("HELM_GUARD_{}", flag.to_ascii_uppercase().replace('-', "_"));
        let known = OWN_FLAGS.iter().any(|own| own.name == flag);
        if let Some(value) = env.get(&name).filter(|value| known && !value.is_empty()) {
            flags.push(format!("--{flag}={value}"));
        }
    }
    (words, flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_splitter_knows_every_own_flag() {
        Cli::command().debug_assert();
        let cli = Cli::command();
        let upgrade = cli.find_subcommand("upgrade").unwrap();
        let mut declared: Vec<_> = upgrade.get_arguments().filter_map(clap::Arg::get_long).collect();
        declared.retain(|long| *long != "help");
        let mut known: Vec<_> = OWN_FLAGS.iter().map(|flag| flag.name).collect();
        declared.sort_unstable();
        known.sort_unstable();
        assert_eq!(declared, known);
    }

    /// Others believe no silent Lease for longer: its holder would write on when it is theirs.
    #[test]
    fn no_lease_is_asked_for_that_others_would_not_believe() {
        for command in ["upgrade", "rollback", "repair", "lock run"] {
            for (duration, is_right) in
                [("15s", true), ("10m", true), ("601s", false), ("1h", false), ("500ms", false)]
            {
                let behind = if command == "lock run" { " -- true" } else { "" };
                let line = format!("helm-guard {command} --lease-duration={duration} web{behind}");
                let parsed = Cli::try_parse_from(line.split(' '));
                assert_eq!(parsed.is_ok(), is_right, "{line}: {parsed:?}");
            }
        }
    }

    #[test]
    fn a_variable_is_a_flag_that_a_typed_one_beats() {
        let env = [("LOCK_NAME", "shared"), ("LOCK_TIMEOUT", "1m"), ("ID", "no"), ("FORCE", "no")];
        let env = env.map(|(name, value)| (format!("HELM_GUARD_{name}"), value.to_owned())).into();
        let argv = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (typed, words, flags) in [
            ("unlock web", 1, &["--lock-name=shared"][..]),
            ("lock acquire web", 2, &["--lock-name=shared", "--lock-timeout=1m"]),
            ("lock", 1, &[]),
            ("settle", 1, &[]),
            ("nonsense --x", 0, &[]),
        ] {
            let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            assert_eq!(from_variables(&argv(typed), &env), (words, flags), "{typed}");
        }
        let typed = argv("helm-guard unlock --lock-name=shared web --lock-name mine");
        let cli = Cli::try_parse_from(typed).unwrap();
        let Command::Unlock(unlock) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(unlock.lock_name.as_deref(), Some("mine"));
    }

    #[test]
    fn a_lock_is_taken_for_no_longer_than_it_is_believed() {
        for (text, taken) in [("1s", true), ("10m", true), ("10m1s", false), ("0s", false), ("soon", false)] {
            assert_eq!(ttl(text).is_ok(), taken, "{text}");
        }
    }
}
