//! Which toolchain builds a binary, why, and with which command line.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{
    Choice, Target,
    machine::{self, Machine, PACKAGED_CARGO, PACKAGED_RUSTC, Packages, Rustup},
    tools::Zig,
};
use crate::product;

/// The oldest Rust that builds helm-guard.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");
const INSTALL_PACKAGES: &str = "as root: apt-get install rustc-web cargo-web rust-web-src";

/// Where Rust's standard library comes from; Zig links in either case, so both make the same kind of binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// It is there, ready-made.
    Rustup(Rustup),
    /// It is built from this source.
    Packages(PathBuf),
}

/// Chooses; the second value says why.
///
/// # Errors
/// With a sentence that names what to install.
pub(super) fn choose(wanted: Choice, target: &Target, machine: &Machine) -> Result<(Route, String), String> {
    match wanted {
        Choice::Rustup => rustup(target, machine),
        Choice::Packages => packages(machine),
        Choice::Auto => rustup(target, machine).or_else(|no_rustup| {
            let (route, why) =
                packages(machine).map_err(|no_packages| format!("{no_rustup}; or {no_packages}"))?;
            Ok((route, format!("{why} ({no_rustup})")))
        }),
    }
}

fn rustup(target: &Target, machine: &Machine) -> Result<(Route, String), String> {
    let triple = target.triple;
    match &machine.rustup {
        None => Err("there is no rustup".to_owned()),
        Some(rustup) if rustup.targets.iter().any(|installed| installed == triple) => {
            Ok((Route::Rustup(rustup.clone()), format!("it has the standard library for {triple}")))
        }
        Some(_) => Err(format!("rustup has no standard library for it: rustup target add {triple}")),
    }
}

fn packages(machine: &Machine) -> Result<(Route, String), String> {
    match &machine.packages {
        None => Err(format!("there is no {PACKAGED_RUSTC}: {INSTALL_PACKAGES}")),
        Some(Packages { version, .. }) if numbers(version) < numbers(OLDEST) => {
            Err(format!("{PACKAGED_RUSTC} is Rust {version} and Rust {OLDEST} is needed: {INSTALL_PACKAGES}"))
        }
        Some(Packages { cargo: false, .. }) => {
            Err(format!("there is no {PACKAGED_CARGO}: {INSTALL_PACKAGES}"))
        }
        Some(Packages { source: None, .. }) => {
            Err(format!("the source of Rust's standard library is not there: {INSTALL_PACKAGES}"))
        }
        Some(Packages { source: Some(source), version, .. }) => Ok((
            Route::Packages(source.clone()),
            format!("Rust {version} and the source of its standard library are installed"),
        )),
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|number| number.parse().ok()).collect()
}

impl Route {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Rustup(_) => "rustup",
            Self::Packages(_) => "packages",
        }
    }

    /// The command that builds helm-guard for a target.
    pub(super) fn cargo(&self, target: &Target, machine: &Machine, zig: &Zig) -> Result<Command> {
        let mut cargo = zig.cargo();
        let (program, rustc) = match self {
            Self::Rustup(rustup) => (rustup.cargo.as_path(), rustup.rustc.as_path()),
            Self::Packages(_) => (Path::new(PACKAGED_CARGO), Path::new(PACKAGED_RUSTC)),
        };
        // First, because what it downloads has names that the flags must know.
        fetch(program, rustc)?;
        isolate(&mut cargo, program, rustc, machine)?;
        cargo.args(["zigbuild", "--release", "--locked", "--package=helm-guard", "--bin=helm-guard"]);
        cargo.arg(format!("--target={}", target.triple));
        // Each route has a directory of its own, or each would build all of the other's again.
        cargo.arg("--target-dir").arg(machine::target_directory().join("dist").join(self.name()));
        if let Self::Packages(_) = self {
            // Building the standard library is not stable, but is how it is when there is no ready-made one.
            cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
        }
        let flags = self.flags()?.join(&OsString::from("\u{1f}"));
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags).env_remove("RUSTFLAGS");
        Ok(cargo)
    }

    /// rustc's flags: static, and without this machine's paths.
    fn flags(&self) -> Result<Vec<OsString>> {
        let mut flags: Vec<OsString> =
            vec!["-Ctarget-feature=+crt-static".into(), "-Crelocation-model=static".into()];
        let mut remap = |from: &Path, to: &str| {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push(format!("={to}"));
            flags.push(flag);
        };
        // rustc takes the last that fits.
        remap(&machine::cargo_home(), "cargo");
        remap(product::root(), "helm-guard");
        let sources = machine::cargo_home().join("registry/src");
        for registry in fs::read_dir(&sources).with_context(|| format!("read {}", sources.display()))? {
            remap(&registry?.path(), "crates");
        }
        if let Self::Packages(source) = self {
            // Both the link and where it leads.
            remap(source, "rust");
            remap(&source.canonicalize().context("find the source of the standard library")?, "rust");
            // rustc has no C library of its own to link: Zig brings it.
            flags.push("-Clink-self-contained=no".into());
        }
        Ok(flags)
    }
}

/// Downloads the dependencies.
fn fetch(cargo: &Path, rustc: &Path) -> Result<()> {
    let mut fetch = Command::new(cargo);
    product::forget_this_package(&mut fetch);
    fetch.args(["fetch", "--locked", "--quiet"]).current_dir(product::root()).env("RUSTC", rustc);
    let output = fetch.env_remove("LD_LIBRARY_PATH").output().context("run cargo fetch")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Makes this very toolchain be used, whichever another tool would find.
fn isolate(command: &mut Command, cargo: &Path, rustc: &Path, machine: &Machine) -> Result<()> {
    product::forget_this_package(command);
    let first = cargo.parent().map(Path::to_owned);
    let path = std::env::join_paths(first.into_iter().chain(machine.path.iter().cloned()))?;
    command.env("PATH", path).env("CARGO", cargo).env("RUSTC", rustc).current_dir(product::root());
    // An outer Cargo leaves a path of its own libraries, which another rustc must not load.
    command.env_remove("LD_LIBRARY_PATH").env_remove("RUSTDOC");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::TARGETS;

    fn with_rustup(targets: &[&str]) -> Option<Rustup> {
        let targets = targets.iter().map(|target| (*target).to_owned()).collect();
        Some(Rustup { targets, ..Rustup::default() })
    }

    fn with_packages(version: &str, source: Option<&str>) -> Option<Packages> {
        Some(Packages { version: version.to_owned(), source: source.map(PathBuf::from), cargo: true })
    }

    #[test]
    fn the_route_follows_from_what_is_there() {
        let [amd64, arm64] = TARGETS;
        let musl = with_rustup(&["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"]);
        let new = with_packages("1.96.0", Some("/usr/lib/rustlib/src/rust"));
        for (story, wanted, target, rustup, packages, expected) in [
            ("rustup is preferred", Choice::Auto, amd64, musl.clone(), new.clone(), "rustup"),
            ("each target by itself", Choice::Auto, arm64, musl.clone(), new.clone(), "packages"),
            ("no rustup at all", Choice::Auto, amd64, None, new.clone(), "packages"),
            ("as the user wishes", Choice::Packages, amd64, musl.clone(), new.clone(), "packages"),
            ("nothing is there", Choice::Auto, amd64, None, None, "no rustup; or there is no /usr/bin/rustc"),
            ("a wish that cannot be met", Choice::Rustup, arm64, musl, new, "rustup target add aarch64"),
            (
                "too old a package",
                Choice::Packages,
                amd64,
                None,
                with_packages("1.63.0", Some("/usr")),
                "apt-get install rustc-web",
            ),
            (
                "no source",
                Choice::Packages,
                amd64,
                None,
                with_packages("1.96.0", None),
                "the source of Rust's standard library is not there: as root: apt-get install",
            ),
        ] {
            let machine = Machine { rustup, packages, ..Machine::default() };
            match choose(wanted, &target, &machine) {
                Ok((route, _)) => assert_eq!(route.name(), expected, "{story}"),
                Err(sentence) => assert!(sentence.contains(expected), "{story}: {sentence}"),
            }
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(numbers("1.96.0") > numbers("1.95"));
        assert!(numbers("1.100.0") > numbers("1.96"));
        assert!(numbers("1.95.0") >= numbers("1.95"));
    }
}
