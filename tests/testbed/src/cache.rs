//! The directory outside the source tree where everything built is kept, and building into it once.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::progress;

/// `$HELM_GUARD_CACHE`, else `$XDG_CACHE_HOME/helm-guard`, else `~/.cache/helm-guard`.
///
/// # Errors
/// None of the three variables is set.
pub fn cache_dir() -> Result<PathBuf> {
    let named = variable("HELM_GUARD_CACHE").map(PathBuf::from);
    let shared = || variable("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("helm-guard"));
    let home = || variable("HOME").map(|home| Path::new(&home).join(".cache/helm-guard"));
    named.or_else(shared).or_else(home).context("find a cache directory: set HELM_GUARD_CACHE")
}

/// A variable of the environment that is set and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "the test bed is the rim: it has no main to pass the environment in"
)]
pub(crate) fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The cache's directory `key`, which `build` fills on first use.
///
/// `build` gets an empty directory that takes its place in one step once it is complete: a build that is
/// interrupted leaves nothing that looks finished. Other processes that want the same `key` wait.
pub(crate) fn build_once(key: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let tools = cache_dir()?.join("tools");
    let finished = tools.join(key);
    if finished.is_dir() {
        return Ok(finished);
    }
    fs::create_dir_all(&tools).with_context(|| format!("create {}", tools.display()))?;
    let _lock = lock(&tools.join(format!("{key}.lock")), key)?;
    if finished.is_dir() {
        return Ok(finished);
    }
    progress(&format!("building {key}: once, and it can take minutes"));
    let scratch = tempfile::Builder::new().prefix(&format!(".{key}-")).tempdir_in(&tools)?;
    build(scratch.path()).with_context(|| format!("build {key}"))?;
    fs::rename(scratch.keep(), &finished).with_context(|| format!("put {key} into the cache"))?;
    Ok(finished)
}

/// Holds the lock until the file is dropped, or its process is gone.
fn lock(path: &Path, key: &str) -> Result<File> {
    let lock = File::create(path).with_context(|| format!("create {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => progress(&format!("waiting for another process that builds {key}")),
        Err(TryLockError::Error(error)) => return Err(error).context("lock the cache"),
    }
    lock.lock().context("lock the cache")?;
    Ok(lock)
}
