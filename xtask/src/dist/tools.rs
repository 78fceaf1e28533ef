//! Zig and the Cargo command that links with it: Python packages, in the cache like the tools of the tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// Pinned: Zig brings the C library that is linked in, so its version is part of the binary.
const PACKAGES: [(&str, &str); 2] = [("ziglang", "0.17.0"), ("cargo-zigbuild", "0.24.0")];

/// An installed Zig.
#[derive(Debug)]
pub(super) struct Zig {
    directory: PathBuf,
}

/// Finds Zig in the cache, or installs it there.
pub(super) fn zig() -> Result<Zig> {
    let key: Vec<String> = PACKAGES.iter().map(|(name, version)| format!("{name}-{version}")).collect();
    let tools = testbed::cache_dir()?.join("tools");
    let finished = tools.join(key.join("-"));
    if !finished.is_dir() {
        install(&tools, &finished)?;
    }
    Ok(Zig { directory: finished })
}

fn install(tools: &Path, finished: &Path) -> Result<()> {
    let has_pip = Command::new("python3").args(["-m", "pip", "--version"]).output();
    if !has_pip.is_ok_and(|output| output.status.success()) {
        bail!("python3 with pip is needed for Zig: as root: apt-get install python3-pip");
    }
    fs::create_dir_all(tools).with_context(|| format!("create {}", tools.display()))?;
    let scratch = tempfile::Builder::new().prefix(".zig-").tempdir_in(tools)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--only-binary", ":all:", "--target"]).arg(scratch.path());
    pip.args(PACKAGES.iter().map(|(name, version)| format!("{name}=={version}")));
    let output = pip.output().context("run pip")?;
    ensure!(output.status.success(), "pip failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    // In its place in one step. Whoever was quicker has put the same there.
    if let Err(error) = fs::rename(scratch.path(), finished) {
        ensure!(finished.is_dir(), "put Zig into the cache: {error}");
    }
    Ok(())
}

impl Zig {
    /// `cargo-zigbuild`, which wants `zigbuild` and Cargo's arguments.
    pub(super) fn cargo(&self) -> Command {
        let mut cargo = Command::new(self.directory.join("bin/cargo-zigbuild"));
        cargo.env("CARGO_ZIGBUILD_ZIG_PATH", self.directory.join("ziglang/zig"));
        // All that it leaves belongs to the cache too, and not to the user's home.
        let mut cache = self.directory.clone().into_os_string();
        cache.push(".cache"); // beside it: what is installed is never written to again
        let cache = PathBuf::from(cache);
        for (variable, name) in [
            ("CARGO_ZIGBUILD_CACHE_DIR", "zigbuild"),
            ("ZIG_GLOBAL_CACHE_DIR", "global"),
            ("ZIG_LOCAL_CACHE_DIR", "local"),
        ] {
            cargo.env(variable, cache.join(name));
        }
        cargo
    }
}
