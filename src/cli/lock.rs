//! `helm-guard lock`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{ClusterFlags, duration, ttl};
use crate::output::{Format, Json};

pub(super) const LOCK: &str = "\
See the locks, or work under one with any command.

A release's lock is a Lease in its namespace. `lock run` holds it while a command runs, so that kubectl, terraform or a \
script of several helm-guard commands has the release to itself. `lock acquire` and `lock release` do so across processes.

A helm-guard command that runs under `lock run`, or with HELM_GUARD_LOCK_ID set to the ID that `lock acquire` printed, works \
under that lock instead of waiting for it; two of them at once still work one after the other.";

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
