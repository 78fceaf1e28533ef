//! Building helm-guard itself, for commands that run it.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::screen::{Note, variable};

/// Which of Cargo's profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quickly built.
    Debug,
    /// As it is handed out, but for the host.
    Release,
}

/// The checkout.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// helm-guard's version, which is also that of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Builds helm-guard for this machine and returns where it is.
pub(crate) fn build(profile: Profile, note: &Note) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--package=helm-guard", "--bin=helm-guard", "--locked"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    run_cargo(cargo.current_dir(root()), note)
}

/// The Cargo that runs this program, or the one on `PATH`, as a shell would start it.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_this_package(&mut cargo);
    cargo
}

/// Takes away what the Cargo that runs this program says of this package. Build scripts look at it (ring's does), so
/// that with it everything above them is built again whenever builds from here and from a shell take turns.
#[expect(
    clippy::disallowed_methods,
    reason = "these commands are the rim: no main passes the environment in"
)]
pub(crate) fn forget_this_package(cargo: &mut Command) {
    let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| own.iter().any(|own| name.starts_with(own))) {
            cargo.env_remove(name);
        }
    }
}

/// Runs a `cargo build` or the like, and returns the executable that it names. What it is compiling goes to `note`;
/// all that it said is in the error if it fails.
pub(crate) fn run_cargo(cargo: &mut Command, note: &Note) -> Result<PathBuf> {
    let mut child = cargo
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {}", cargo.get_program().display()))?;
    let (stdout, stderr) = child.stdout.take().zip(child.stderr.take()).context("read from cargo")?;
    let (messages, said) = thread::scope(|scope| {
        let messages = scope.spawn(move || {
            let mut text = String::new();
            BufReader::new(stdout).read_to_string(&mut text).map(|_| text)
        });
        let mut said = Vec::new();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            note.set(line.trim().to_owned());
            said.push(line);
        }
        (messages.join(), said)
    });
    if !child.wait()?.success() {
        bail!("cargo failed:\n{}", said.join("\n"));
    }
    let messages = messages.ok().context("read from cargo")??;
    executable(&messages).context("cargo named no executable")
}

/// The last executable that Cargo's messages name.
fn executable(messages: &str) -> Option<PathBuf> {
    let of_line = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    };
    messages.lines().rev().find_map(of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_other_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/helm-guard\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/release/helm-guard")));
        assert_eq!(executable("{\"reason\":\"build-finished\"}"), None);
    }
}
