//! `helm-guard lock`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{
    ClusterFlags, duration,
    heading::{LOCK, OUTPUT},
    ttl,
};
use crate::output::{Format, Json};

/// `lock …`.
#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// List the locks and their holders
    #[command(visible_alias = "list")]
    Status(LockStatus),
    /// Take a release's lock for a fixed time and print its ID
    Acquire(LockAcquire),
    /// Give back a lock that `lock acquire` took
    Release(LockRelease),
    /// Run a command while holding a release's lock
    Run(LockRun),
}

/// `lock status`.
#[derive(Debug, Args)]
pub struct LockStatus {
    /// Only the lock of this release
    pub release: Option<String>,
    /// List the locks of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Also check whether the holders are alive
    ///
    /// Watch each holder for its lease duration: one that renews its lock is alive.
    #[arg(long)]
    pub check: bool,
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

/// Which lock to take, and how long to wait for it.
#[derive(Debug, Args)]
pub struct LockWanted {
    /// Release name
    pub release: String,
    /// Name of the Lease [default: helm-guard-RELEASE]
    #[arg(long, value_name = "NAME", help_heading = LOCK)]
    pub lock_name: Option<String>,
    /// How long to wait for the lock
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration, help_heading = LOCK)]
    pub lock_timeout: Duration,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// `lock acquire`.
#[derive(Debug, Args)]
pub struct LockAcquire {
    /// How long to hold the lock
    ///
    /// From 1s to 10m. The lock is not renewed.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = ttl, help_heading = LOCK)]
    pub ttl: Duration,
    /// Print the lock as JSON
    #[arg(short, long, value_enum, value_name = "json", hide_possible_values = true, help_heading = OUTPUT)]
    pub output: Option<Json>,
    /// The lock to take
    #[command(flatten)]
    pub wanted: LockWanted,
}

/// `lock release`.
#[derive(Debug, Args)]
pub struct LockRelease {
    /// Release name
    pub release: String,
    /// Lock ID that `lock acquire` printed
    #[arg(long, value_name = "ID")]
    pub id: String,
    /// Name of the Lease [default: helm-guard-RELEASE]
    #[arg(long, value_name = "NAME", help_heading = LOCK)]
    pub lock_name: Option<String>,
    /// The cluster
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// `lock run`.
#[derive(Debug, Args)]
pub struct LockRun {
    /// The lock to take
    #[command(flatten)]
    pub wanted: LockWanted,
    /// A lock holder that does not renew for this long is dead
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = ttl, help_heading = LOCK, hide_short_help = true)]
    pub lease_duration: Duration,
    /// Time to stop if the lock is lost
    ///
    /// The command gets SIGTERM when the lock is lost, and SIGKILL after this time.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub stop_timeout: Duration,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true, num_args = 1..)]
    pub command: Vec<std::ffi::OsString>,
}
