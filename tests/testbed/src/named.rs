//! Clusters that outlive the command that starts them, by name; for people and for whole test runs.

use std::fs::{self, File, TryLockError};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::output;
use crate::{Info, Options, cache_dir, tools};

/// A cluster with a name, which may be running or not.
#[derive(Clone, Debug)]
pub struct Named {
    name: String,
    dir: PathBuf,
}

impl Named {
    /// The cluster of that name.
    ///
    /// # Errors
    /// The name is not made of lower-case letters, digits and dashes.
    pub fn new(name: &str) -> Result<Self> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || !name.chars().all(good) {
            bail!("a cluster's name has lower-case letters, digits and dashes only: {name:?}");
        }
        Ok(Self { name: name.to_owned(), dir: cache_dir()?.join("clusters").join(name) })
    }

    /// Every cluster there is a directory of.
    ///
    /// # Errors
    /// The directory of clusters cannot be read.
    pub fn all() -> Result<Vec<Self>> {
        let Ok(entries) = fs::read_dir(cache_dir()?.join("clusters")) else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for entry in entries {
            all.push(Self::new(&entry?.file_name().to_string_lossy())?);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file for [`crate::SHARED_CLUSTER_VARIABLE`].
    #[must_use]
    pub fn cluster_json(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }

    /// What it says of itself, if it is running.
    ///
    /// # Errors
    /// Its files cannot be read.
    pub fn running(&self) -> Result<Option<Info>> {
        // The supervisor holds the lock for life. A PID could be somebody else's by now.
        let Ok(lock) = File::open(self.dir.join("lock")) else { return Ok(None) };
        match lock.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => match fs::read_to_string(self.cluster_json()) {
                Ok(text) => Ok(Some(serde_json::from_str(&text).context("read the cluster's file")?)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    bail!("cluster {} is being started or stopped", self.name)
                }
                Err(error) => Err(error).context("read the cluster's file"),
            },
            Err(TryLockError::Error(error)) => Err(error).context("look at the cluster's lock"),
        }
    }

    /// Starts it and leaves it running.
    ///
    /// # Errors
    /// It is running already, or does not start.
    pub fn start(&self, options: &Options) -> Result<Info> {
        let program = tools::testcluster(&options.kubernetes)?;
        // One start at a time: nobody may clear a directory that another is about to use.
        let starting = File::create(cache_dir()?.join("clusters.lock")).context("create a lock")?;
        starting.lock().context("wait for another start")?;
        if self.running()?.is_none() && self.dir.exists() {
            fs::remove_dir_all(&self.dir).context("remove what an earlier cluster left")?;
        }
        fs::create_dir_all(&self.dir)?;
        let line = output(Command::new(program).args(["supervise", "--detach", "--dir"]).arg(&self.dir))?;
        serde_json::from_str(&line).context("read the cluster's line")
    }

    /// Ends it, waits until every process of it is gone, and removes its files.
    ///
    /// # Errors
    /// It cannot be signalled, or its files cannot be removed.
    pub fn stop(&self) -> Result<()> {
        if let Some(info) = self.running()? {
            let pid = i32::try_from(info.pid).context("read the supervisor's process id")?;
            match kill(Pid::from_raw(pid), Signal::SIGTERM) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).context("end the cluster"),
            }
            // The supervisor lets go of the lock when it has seen every other process end.
            File::open(self.dir.join("lock"))?.lock()?;
        }
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("remove the cluster's files")
            }
            _ => Ok(()),
        }
    }
}
