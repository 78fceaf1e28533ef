//! What a run writes down while it works, from which `settle` finishes the work if the run is killed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::helm::launch;
use crate::{cluster::Target, private_file, process::Process, storage::Storage};

/// What names of state files begin with.
pub(crate) const STATE_FILE: &str = "helm-guard-state-";

/// What a run leaves beside it while it works, so that `settle` can end its work if it is killed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Short id of the run's hold of its locks; the processes that it started carry it, see [`crate::env::LOCK_ID_ENV`].
    pub lock_id: String,
    /// The run's own process.
    pub guard: Option<Process>,
    /// The cluster. Its token, if one was given on the command line, is why the file is for its owner's eyes.
    pub target: Target,
    /// Namespace.
    pub namespace: String,
    /// Leases that are held or about to be taken.
    pub leases: Vec<String>,
    /// Identity under which they are held.
    pub identity: String,
    /// Where the records are. The way to a database has its password in it.
    #[serde(default)]
    pub storage: Storage,
    /// The fence's own directory.
    #[serde(default)]
    pub fence: Option<PathBuf>,
    /// Releases, each with what a repair has to set right.
    pub releases: BTreeMap<String, Debt>,
}

/// What a repair has to set right after Helm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// The last good revision.
    pub good: Option<u32>,
    /// Revisions that were lent something.
    pub lent: Vec<u32>,
    /// Revisions whose records cannot be written, but only be deleted and created anew.
    #[serde(default)]
    pub replaced: Vec<u32>,
    /// Where the copies of the records are.
    pub backup: Option<PathBuf>,
}

/// The state in its file, which is there as long as there may be something to settle.
#[derive(Debug)]
pub struct Ledger {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

impl Ledger {
    /// Nothing is written yet, and never without a directory: only CI settles.
    pub fn new(directory: Option<&Path>, state: State) -> Self {
        let path = directory.map(|directory| directory.join(format!("{STATE_FILE}{}.json", state.lock_id)));
        Self { path, state: Mutex::new(state) }
    }

    /// Changes the state and writes it, replacing the file in one step.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn save(&self, change: impl FnOnce(&mut State)) -> std::io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let Some(path) = &self.path else { return Ok(()) };
        private_file::replace(path, &serde_json::to_vec(&*state)?)
    }

    /// Nothing is left to settle.
    pub fn close(&self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
