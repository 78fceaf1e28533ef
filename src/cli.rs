//! The command line. helm-guard's own flags are long, stand anywhere among Helm's, and each has an environment variable.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{helm::OwnFlag, repair::Strategy};

/// Guards a Helm deploy: one at a time, repairs stuck releases, says why it failed.
#[derive(Debug, Parser)]
#[command(name = "helm-guard", version, args_override_self = true, max_term_width = 110)]
#[command(
    after_help = "Exit codes: Helm's own; 64 bad usage, 69 cluster or Helm unavailable, 75 lock timeout, \
    76 lock lost, 77 refused, 130/143 cancelled.\n\nExample:\n  helm-guard upgrade web ./chart --install -n shop -f values.yaml --wait"
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
    /// Put records back from a backup file, under the lock
    Restore(Restore),
    /// Settle what a killed run of this job left: its pending record and its lock (the action's last step)
    Settle(Settle),
    /// Read the command line from the GitHub Action's inputs and run it (the action's main step)
    Action,
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

/// Whether Helm works behind the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fence {
    /// Helm reaches the API server only through this program, and only while the lock is held.
    On,
    /// Helm talks to the API server itself.
    Off,
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
    /// A holder silent for this long is dead
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub lease_duration: Duration,
    /// Let Helm reach the cluster only through a local proxy that shuts when the lock is lost
    #[arg(long, value_enum, default_value = "on")]
    pub fence: Fence,
    /// How to repair a stuck release
    #[arg(long, value_enum, default_value = "auto")]
    pub repair: Strategy,
    /// Where copies of records go before they are changed [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub backup_dir: Option<PathBuf>,
    /// Say what is being waited for at least this often
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub keepalive: Duration,
    /// How long Helm may take to stop after a signal before it is killed
    #[arg(long, value_name = "DURATION", default_value = "6s", value_parser = duration)]
    pub stop_timeout: Duration,
    /// Write a JSON report here
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// The own flags as the argument splitter needs them.
pub const OWN_FLAGS: [OwnFlag; 11] = [
    OwnFlag { name: "helm-bin", takes_value: true },
    OwnFlag { name: "lock", takes_value: true },
    OwnFlag { name: "lock-name", takes_value: true },
    OwnFlag { name: "lock-timeout", takes_value: true },
    OwnFlag { name: "lease-duration", takes_value: true },
    OwnFlag { name: "fence", takes_value: true },
    OwnFlag { name: "repair", takes_value: true },
    OwnFlag { name: "backup-dir", takes_value: true },
    OwnFlag { name: "keepalive", takes_value: true },
    OwnFlag { name: "stop-timeout", takes_value: true },
    OwnFlag { name: "report", takes_value: true },
];

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
    /// State file of the run to settle [default: all in $RUNNER_TEMP]
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
}
