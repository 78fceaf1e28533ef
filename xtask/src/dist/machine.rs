//! What this machine has to build with. Looks, decides nothing.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{product, screen::variable};

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// Of this machine, as the kernel has it.
    pub(crate) architecture: &'static str,
    /// rustup's toolchain, if there is a rustup.
    pub(crate) rustup: Option<Rustup>,
    /// The toolchain of Debian's packages, if there is one.
    pub(crate) packages: Option<Packages>,
    /// Directories of programs.
    pub(crate) path: Vec<PathBuf>,
}

/// rustup's active toolchain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rustup {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    /// Those it has a standard library for.
    pub(crate) targets: Vec<String>,
}

/// Rust in `/usr`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packages {
    /// As `rustc --version` has it: `1.96.0`.
    pub(crate) version: String,
    /// Where the source of its standard library is; `None` if it is not there.
    pub(crate) source: Option<PathBuf>,
    /// Cargo is there too.
    pub(crate) cargo: bool,
}

/// Where Debian puts them. Not looked up: with rustup there too, the plain names are rustup's.
pub(crate) const PACKAGED_RUSTC: &str = "/usr/bin/rustc";
pub(crate) const PACKAGED_CARGO: &str = "/usr/bin/cargo";

impl Machine {
    pub(crate) fn look() -> Self {
        let path = variable("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        Self { architecture: std::env::consts::ARCH, rustup: rustup(), packages: packages(), path }
    }

    /// A program on the path.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().map(|directory| directory.join(name)).find(|program| program.is_file())
    }

    /// Paths of this machine that are nobody else's business.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let home = variable("HOME").map(PathBuf::from);
        let mut paths = vec![product::root().to_owned(), cargo_home(), target_directory()];
        paths.extend(home);
        paths.extend(testbed::cache_dir());
        // A path such as `/` is in every binary.
        paths.retain(|path| path.components().count() > 1);
        paths
    }
}

/// Where Cargo keeps what it downloads.
pub(crate) fn cargo_home() -> PathBuf {
    let home = || variable("HOME").map(|home| Path::new(&home).join(".cargo"));
    variable("CARGO_HOME").map(PathBuf::from).or_else(home).unwrap_or_else(|| "/".into())
}

/// Where Cargo builds.
pub(crate) fn target_directory() -> PathBuf {
    variable("CARGO_TARGET_DIR").map_or_else(|| product::root().join("target"), PathBuf::from)
}

fn rustup() -> Option<Rustup> {
    let which = |name| said("rustup", &["which", name]).map(|path| PathBuf::from(path.trim()));
    let targets = said("rustup", &["target", "list", "--installed"])?;
    let targets = targets.split_whitespace().map(str::to_owned).collect();
    Some(Rustup { cargo: which("cargo")?, rustc: which("rustc")?, targets })
}

fn packages() -> Option<Packages> {
    let version = said(PACKAGED_RUSTC, &["--version"])?.split(' ').nth(1)?.to_owned();
    let source = Path::new(said(PACKAGED_RUSTC, &["--print=sysroot"])?.trim()).join("lib/rustlib/src/rust");
    let source = source.join("library/std/Cargo.toml").is_file().then_some(source);
    Some(Packages { version, source, cargo: Path::new(PACKAGED_CARGO).is_file() })
}

/// What a program prints; `None` if it is not there or fails.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    // An outer Cargo leaves a path of its own libraries, which another rustc must not load.
    let output = Command::new(program).args(arguments).env_remove("LD_LIBRARY_PATH").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
