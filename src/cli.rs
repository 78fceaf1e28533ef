//! The command line. helm-guard's own flags are long, may stand anywhere among Helm's, and each has an environment variable.

pub mod action_inputs;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

#[cfg(test)]
mod configuration_tests;
mod deploy;
mod help;
mod lock;
mod log;
mod pages;
mod release;

pub use deploy::{BackupFlags, Deploy, Fence, GuardFlags, Lock, OWN_FLAGS, Outdated, Preflight, RunFlags};
pub use help::parse;
pub use lock::{LockAcquire, LockCommand, LockRelease, LockRun, LockStatus, LockWanted};
pub use log::{LogFlags, behind_the_command};
pub use release::{
    AloneStrategy, Backup, Diagnose, History, KubernetesVersion, Repair, Restore, Settle, Status, Unlock,
};

/// The groups of flags in the help of a command, beside clap's own `Options`.
mod heading {
    pub(super) const LOCK: &str = "Lock";
    pub(super) const REPAIR: &str = "Repair";
    pub(super) const PREFLIGHT: &str = "Preflight";
    pub(super) const BACKUP: &str = "Backup";
    pub(super) const PROGRESS: &str = "Progress";
    pub(super) const OUTPUT: &str = "Output";
    pub(super) const CLUSTER: &str = "Cluster";
}

/// Guard Helm deploys: one at a time, stuck releases repaired, failures explained
#[derive(Debug, Parser)]
#[command(name = "helm-guard", version, args_override_self = true, max_term_width = 110)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands. The first line of each is its line in the list; `pages.rs` has the rest of its help.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Upgrade a release under its lock; repair it first if it is stuck
    Upgrade(Deploy),
    /// Install a release under its lock
    Install(Deploy),
    /// Roll a release back under its lock
    Rollback(Deploy),
    /// Uninstall a release under its lock
    #[command(visible_aliases = ["delete"])]
    Uninstall(Deploy),
    /// Ask the API server whether it would accept a deploy; change nothing
    Check(Deploy),
    /// Show a release, or list those that need attention
    #[command(visible_alias = "show")]
    Status(Status),
    /// List the revisions of a release and the last good one
    History(History),
    /// Explain why a release does not work: causes, evidence, commands
    Diagnose(Diagnose),
    /// Repair a stuck release under its lock, without a deploy
    Repair(Repair),
    /// Save the records and the manifest of a release
    Backup(Backup),
    /// Restore records from a backup file, under the lock
    Restore(Restore),
    /// Finish the work of a killed run of this CI job
    Settle(Settle),
    /// Free the lock of a dead run, and set its record right
    Unlock(Unlock),
    /// List locks, or run any command while holding one
    #[command(subcommand)]
    Lock(LockCommand),
    /// Run the command that the GitHub Action's inputs describe
    Action,
}

/// The cluster, by the flags that Helm and kubectl have for it.
#[derive(Clone, Debug, Args)]
pub struct ClusterFlags {
    /// Namespace [default: the context's]
    #[arg(short, long, value_name = "NAME", help_heading = heading::CLUSTER)]
    pub namespace: Option<String>,
    /// Context in the kubeconfig
    ///
    /// [default: the current context]
    #[arg(long, value_name = "NAME", help_heading = heading::CLUSTER)]
    pub kube_context: Option<String>,
    /// Kubeconfig file [default: $KUBECONFIG]
    ///
    /// Without that variable, ~/.kube/config is read.
    #[arg(long, value_name = "FILE", help_heading = heading::CLUSTER)]
    pub kubeconfig: Option<PathBuf>,
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
        let value = help::variable(flag).and_then(|name| env.get(&name));
        if let Some(value) = value.filter(|value| !value.is_empty()) {
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
