//! Helm 3 and 4: argument vectors, versions.
//! Pure: the child process is in `helm/child.rs`.

/// The Helm commands that change a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command { Upgrade, Install, Rollback, Uninstall }
