//! The committed binaries: all there, whole, and of this version. `cargo xtask dist` makes them.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

/// The action takes one of these.
const BINARIES: [&str; 2] = ["helm-guard-linux-amd64", "helm-guard-linux-arm64"];

const HINT: &str = "run cargo xtask dist and commit dist/";

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dist")
}

#[test]
fn every_binary_is_there_and_can_be_run_by_all() {
    for name in BINARIES {
        let found = fs::metadata(directory().join(name));
        let mode = found.unwrap_or_else(|error| panic!("{name}: {error}: {HINT}")).permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{name} is not executable");
    }
}

#[test]
fn the_sums_are_those_of_the_binaries_and_of_nothing_else() {
    let sums = fs::read_to_string(directory().join("SHA256SUMS")).expect(HINT);
    let named: BTreeSet<_> = sums.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(named, BTreeSet::from(BINARIES));
    let mut check = Command::new("sha256sum");
    let said = check.args(["--check", "--strict", "SHA256SUMS"]).current_dir(directory()).output().unwrap();
    assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
}

#[test]
fn the_binary_of_this_machine_is_of_this_version() {
    let name = match std::env::consts::ARCH {
        "x86_64" => BINARIES[0],
        "aarch64" => BINARIES[1],
        other => panic!("no binary for {other}"),
    };
    let said = Command::new(directory().join(name)).arg("--version").output().expect(HINT);
    assert_eq!(text(&said.stdout), concat!("helm-guard ", env!("CARGO_PKG_VERSION"), "\n"), "{HINT}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
