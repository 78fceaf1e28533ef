//! The command line. helm-guard's own flags are long, stand anywhere among Helm's, and each has an environment variable.

pub mod action_inputs;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

mod deploy;
mod lock;
mod log;
mod release;

pub use deploy::{BackupFlags, Deploy, Fence, GuardFlags, Lock, OWN_FLAGS, Outdated, Preflight, RunFlags};
pub use lock::{LockAcquire, LockCommand, LockRelease, LockRun, LockStatus, LockWanted};
pub use log::{LogFlags, behind_the_command};
pub use release::{
    AloneStrategy, Backup, Diagnose, History, KubernetesVersion, Repair, Restore, Settle, Status, Unlock,
};

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
    /// Ask the API server whether it would take an upgrade or first install, and change nothing
    #[command(after_help = deploy::CHECK)]
    Check(Deploy),
    /// Say how a release stands: its lock, its history, what a repair would do; without a name, which need somebody
    #[command(visible_alias = "show", after_help = release::STATUS)]
    Status(Status),
    /// List a release's revisions, and say which of them is the last good one
    #[command(after_help = release::HISTORY)]
    History(History),
    /// Say why a release does not work: causes, what shows them, what to do
    #[command(long_about = release::DIAGNOSE)]
    Diagnose(Diagnose),
    /// Repair a stuck release under the lock, without a deploy
    #[command(long_about = release::REPAIR, after_help = release::REPAIR_CODES)]
    Repair(Repair),
    /// Save a release's records, and its manifest beside them
    #[command(after_help = release::BACKUP)]
    Backup(Backup),
    /// Put records back from a backup file, under the lock
    #[command(after_help = release::RESTORE)]
    Restore(Restore),
    /// Settle what a killed run of this job left: its pending record and its lock (the action's last step)
    #[command(after_help = release::SETTLE)]
    Settle(Settle),
    /// Free the lock of a release whose run is dead, and settle its record
    #[command(long_about = release::UNLOCK, after_help = release::UNLOCK_CODES)]
    Unlock(Unlock),
    /// See the locks, or work under one with any command
    #[command(subcommand, long_about = lock::LOCK)]
    Lock(LockCommand),
    /// Read the command line from the GitHub Action's inputs and run it (the action's main step)
    Action,
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
pub fn from_variables(argv: &[String], env: &crate::env::Env) -> (usize, Vec<String>) {
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
