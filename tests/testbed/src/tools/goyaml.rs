//! Building `tests/yaml`, which reads manifests with Go's own code.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{go, testcluster};
use crate::cache::build_once;
use crate::process::output;

/// The path of `goyaml`: it answers texts on standard input with what Helm's client reads in them.
///
/// # Errors
/// The build fails; needs the Go module proxy on first use.
pub fn goyaml() -> Result<PathBuf> {
    build("goyaml", "../yaml")
}

/// Builds a Go module beside the test bed, once for each of its states.
pub(super) fn build(name: &str, source: &str) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let files = testcluster::sources(&source)?;
    let key = format!("{name}-{:016x}", testcluster::hash(&files));
    let directory = build_once(&key, |directory| {
        let module = directory.join("module");
        fs::create_dir(&module)?;
        for (name, content) in &files {
            fs::write(module.join(name), content)?;
        }
        let mut build = go::command().context("find Go")?;
        build.arg("build").args(go::build_arguments("")).arg("-o").arg(directory.join(name)).arg(".");
        output(build.current_dir(&module))?;
        Ok(fs::remove_dir_all(module)?)
    })?;
    Ok(directory.join(name))
}
