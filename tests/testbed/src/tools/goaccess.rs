//! Building `tests/access`, which says how Helm's own client reaches a cluster.

use std::path::PathBuf;

use anyhow::Result;

use super::goyaml;

/// The path of `goaccess`: it answers questions about kubeconfigs, variables and certificates on standard input.
///
/// # Errors
/// The build fails; needs the Go module proxy on first use.
pub fn goaccess() -> Result<PathBuf> {
    goyaml::build("goaccess", "../access")
}
