//! Building `tests/cluster` for a version of Kubernetes; what the binary does is told there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::go;
use crate::cache::build_once;
use crate::process::{output, progress};

/// The version of Kubernetes that the committed `go.mod` is for.
pub const KUBERNETES_VERSION: &str = "1.37.1";

/// The path of `testcluster` for a version of Kubernetes such as `1.36.3`.
///
/// # Errors
/// The version is none, or the build fails; needs the Go module proxy on first use.
pub fn testcluster(kubernetes: &str) -> Result<PathBuf> {
    Ok(directory(kubernetes)?.join("testcluster"))
}

/// The path of the `kubectl` of a version of Kubernetes.
///
/// # Errors
/// As [`testcluster`].
pub fn kubectl(kubernetes: &str) -> Result<PathBuf> {
    Ok(directory(kubernetes)?.join("kubectl"))
}

fn directory(kubernetes: &str) -> Result<PathBuf> {
    let minor = minor(kubernetes)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster");
    let files = sources(&source)?;
    let key = format!("testcluster-{kubernetes}-{:016x}", hash(&files));
    build_once(&key, |directory| {
        let module = directory.join("module");
        fs::create_dir(&module)?;
        for (name, content) in &files {
            let file = module.join(name);
            fs::create_dir_all(file.parent().context("a file is in a folder")?)?;
            fs::write(file, content)?;
        }
        if kubernetes != KUBERNETES_VERSION {
            require(&module, kubernetes).with_context(|| format!("require Kubernetes {kubernetes}"))?;
        }
        // Without a version clients see v0.0.0-master.
        let component = "k8s.io/component-base/version";
        let flags = format!(
            "-X {component}.gitVersion=v{kubernetes} -X {component}.gitMajor=1 -X {component}.gitMinor={minor} \
             -X {component}.gitTreeState=clean"
        );
        let mut build = go::command()?;
        build
            .arg("build")
            .args(go::build_arguments(&flags))
            .arg("-o")
            .arg(directory)
            .args([".", "./kubectl"]);
        output(build.current_dir(&module))?;
        Ok(fs::remove_dir_all(module)?)
    })
}

fn minor(kubernetes: &str) -> Result<u32> {
    let numbers: Vec<_> = kubernetes.split('.').map(str::parse::<u32>).collect();
    match numbers.as_slice() {
        [Ok(1), Ok(minor), Ok(_)] => Ok(*minor),
        _ => bail!("not a version of Kubernetes such as {KUBERNETES_VERSION}: {kubernetes}"),
    }
}

/// Rewrites `go.mod` for another version of Kubernetes, from what that version requires itself.
fn require(module: &Path, kubernetes: &str) -> Result<()> {
    progress(&format!("finding out what Kubernetes {kubernetes} requires"));
    let download = output(
        go::command()?
            .args(["mod", "download", "-json", &format!("k8s.io/kubernetes@v{kubernetes}")])
            .current_dir(module),
    )?;
    let download: serde_json::Value = serde_json::from_str(&download)?;
    let go_mod = download["GoMod"].as_str().context("read what go mod download says")?;
    let upstream = fs::read_to_string(go_mod)?;
    let committed = fs::read_to_string(module.join("go.mod"))?;
    fs::write(module.join("go.mod"), go_mod_for(kubernetes, &upstream, &committed)?)?;
    fs::remove_file(module.join("go.sum"))?;
    output(go::command()?.args(["mod", "tidy"]).current_dir(module))?;
    Ok(())
}

/// The `go.mod` for a version of Kubernetes, before `go mod tidy` adds the rest. `upstream` is Kubernetes' own.
fn go_mod_for(kubernetes: &str, upstream: &str, committed: &str) -> Result<String> {
    let staging = kubernetes.strip_prefix("1.").context("read the version")?;
    let replaced: Vec<_> = upstream
        .lines()
        .filter_map(|line| line.trim().split_once(" => ./staging/").map(|(name, _)| name))
        .map(|name| format!("\t{name} => {name} v0.{staging}\n"))
        .collect();
    if replaced.is_empty() {
        bail!("no staging modules in the go.mod of Kubernetes {kubernetes}");
    }
    let version_of = |text: &str, module: &str| -> Result<String> {
        let line = text.lines().map(str::trim).find(|line| line.starts_with(&format!("{module} ")));
        let version = line.and_then(|line| line.split(' ').nth(1));
        Ok(version.with_context(|| format!("find the version of {module}"))?.to_owned())
    };
    let etcd = version_of(upstream, "go.etcd.io/etcd/client/v3")?;
    let kwok = version_of(committed, "sigs.k8s.io/kwok")?;
    let go = version_of(upstream, "go")?;
    Ok(format!(
        "module helm-guard.dev/testcluster\n\ngo {go}\n\nrequire (\n\tgo.etcd.io/etcd/server/v3 {etcd}\n\
         \tk8s.io/kubernetes v{kubernetes}\n\tsigs.k8s.io/kwok {kwok}\n)\n\nreplace (\n{})\n",
        replaced.concat()
    ))
}

/// Every file of the Go module but its tests, by its path in it.
pub(super) fn sources(directory: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            let below = sources(&entry.path())?.into_iter();
            files.extend(below.map(|(path, content)| (format!("{name}/{path}"), content)));
        } else if !name.ends_with("_test.go") {
            files.push((name, fs::read(entry.path())?));
        }
    }
    files.sort();
    Ok(files)
}

/// FNV-1a: tells versions of our own sources apart, and is the same on every machine and Rust.
pub(super) fn hash(files: &[(String, Vec<u8>)]) -> u64 {
    let bytes =
        files.iter().flat_map(|(name, content)| name.bytes().chain([0]).chain(content.iter().copied()));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_mod_replaces_what_kubernetes_stages() {
        let upstream = "go 1.26.0\nrequire (\n\tgo.etcd.io/etcd/client/v3 v3.6.5\n)\n\
                        replace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n";
        let text = go_mod_for("1.36.3", upstream, "\tsigs.k8s.io/kwok v0.8.0\n").expect("a go.mod");
        assert!(text.contains("\tk8s.io/api => k8s.io/api v0.36.3\n"), "{text}");
        assert!(text.contains("\tgo.etcd.io/etcd/server/v3 v3.6.5\n"), "{text}");
    }

    #[test]
    fn committed_go_mod_is_for_the_default_version() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster/go.mod");
        let text = fs::read_to_string(path).expect("go.mod");
        assert!(text.contains(&format!("k8s.io/kubernetes v{KUBERNETES_VERSION}\n")));
    }

    #[test]
    fn refuses_what_is_no_version() {
        for version in ["latest", "1.37", "v1.37.1", "2.0.0"] {
            assert!(minor(version).is_err(), "{version}");
        }
    }
}
