//! `cargo xtask image`: the image of `dist/Dockerfile`, built by buildah without a daemon, and what is in it run.
//!
//! The two images that the Dockerfile starts from come from a registry. Where there is none, stand-ins take their place: the
//! machine's own Go, and Debian's static busybox. Everything else is done by the Dockerfile itself.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use testbed::tools::{self, Helm};

use crate::{
    dist::version_line,
    interrupt, product,
    screen::{Screen, now},
};

/// Build the image of dist/Dockerfile with buildah, and run what is in it
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Image to start from [default: a stand-in made of Debian's busybox-static]
    #[arg(long, value_name = "IMAGE")]
    base: Option<String>,
    /// Image with Go to build Helm in [default: a stand-in made of this machine's Go]
    #[arg(long, value_name = "IMAGE")]
    go: Option<String>,
    /// Keep the image in this file, an OCI archive
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The name of the image while it is here.
const NAME: &str = "localhost/helm-guard:built";

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    interrupt::end_all_on_signal()?;
    let started = now();
    let screen = Screen::new();
    let home = testbed::cache_dir()?.join("image");
    fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let scratch = tempfile::Builder::new().prefix("build-").tempdir_in(&home)?;
    let buildah = Buildah { home: scratch.path().to_owned() };
    let version = buildah.say(&["--version"]);
    let version = version.context("buildah is needed: as root: apt-get install buildah busybox-static")?;
    screen.heading(version.trim());
    let base = match &arguments.base {
        Some(image) => image.clone(),
        None => screen.step("a stand-in for the base image", |_| buildah.stand_in("base", None))?,
    };
    let go = match &arguments.go {
        Some(image) => image.clone(),
        None => {
            let root = go_env("GOROOT")?;
            screen.step("a stand-in for the image with Go", |_| buildah.stand_in("go", Some(&root)))?
        }
    };
    screen.step("the image, by its Dockerfile", |_| buildah.build(&base, &go))?;
    let facts = screen.step("run, as the user that it names", |_| buildah.check())?;
    println!("{facts}");
    if let Some(file) = &arguments.out {
        buildah.say(&["push", "--quiet", NAME, &format!("oci-archive:{}", file.display())])?;
    }
    screen.heading(&format!("All done: {:.0} s", started.elapsed().as_secs_f64()));
    Ok(())
}

struct Buildah {
    home: PathBuf,
}

impl Buildah {
    /// Runs it to its end. It keeps its images apart from the user's, and needs no overlay file system.
    fn say(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.home.join("storage")).arg("--runroot").arg(self.home.join("run"));
        output(command.args(["--storage-driver", "vfs"]).args(arguments))
    }

    /// An image with busybox under all its names; with Go in it if `go` says where that is.
    fn stand_in(&self, name: &str, go: Option<&Path>) -> Result<String> {
        let root = self.home.join(name);
        for directory in ["bin", "etc/ssl/certs", "root", "tmp"] {
            fs::create_dir_all(root.join(directory))?;
        }
        fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777))?;
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        let busybox = Path::new("/bin/busybox");
        fs::copy(busybox, root.join("bin/busybox"))
            .context("busybox is needed: as root: apt-get install busybox-static")?;
        for applet in output(Command::new(busybox).arg("--list"))?.lines().filter(|name| *name != "busybox") {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        let container = self.say(&["from", "scratch"])?;
        let container = container.trim();
        self.say(&["copy", "--quiet", container, &root.display().to_string(), "/"])?;
        if let Some(go) = go {
            self.say(&["copy", "--quiet", container, &go.display().to_string(), "/usr/local/go"])?;
            let bundle = "/etc/ssl/certs/ca-certificates.crt";
            self.say(&["copy", "--quiet", container, bundle, bundle])?;
            let path = "PATH=/usr/local/go/bin:/bin";
            let caches = ["--env", "GOPATH=/go", "--env", "GOCACHE=/go/build"];
            self.say(&[&["config", "--env", path], &caches[..], &[container]].concat())?;
        } else {
            let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
            self.say(&["config", "--env", path, "--cmd", "sh", container])?;
        }
        let image = format!("localhost/stand-in-{name}:here");
        self.say(&["commit", "--quiet", "--rm", container, &image])?;
        fs::remove_dir_all(root)?;
        Ok(image)
    }

    fn build(&self, base: &str, go: &str) -> Result<()> {
        // What Go has downloaded and built already spares minutes, and the network.
        let modules = format!("{}:/go/pkg/mod", go_env("GOMODCACHE")?.display());
        let built = format!("{}:/go/build", go_env("GOCACHE")?.display());
        let (base, go) = (format!("BASE={base}"), format!("GO={go}"));
        let proxy = format!("GOPROXY={}", go_env("GOPROXY")?.display());
        let root = product::root();
        let (file, ignore) = (root.join("dist/Dockerfile"), root.join("dist/Dockerfile.dockerignore"));
        let (file, ignore) = (file.display().to_string(), ignore.display().to_string());
        // Changing the root is all the isolation that a build of our own needs, and needs the least of the machine.
        let mut arguments = vec!["build", "--isolation=chroot", "--pull=missing", "--tag", NAME];
        arguments.extend([
            "--file",
            &file,
            "--ignorefile",
            &ignore,
            "--build-arg",
            &base,
            "--build-arg",
            &go,
        ]);
        arguments.extend(["--build-arg", &proxy, "--volume", &modules, "--volume", &built]);
        self.say(&arguments.into_iter().chain([root.to_str().context("path")?]).collect::<Vec<_>>()).map(drop)
    }

    /// Everything that the image promises, as its own user.
    fn check(&self) -> Result<String> {
        let container = self.say(&["from", "--pull-never", NAME])?;
        let container = container.trim();
        let inside = |script: &str| {
            let said = self.say(&["run", "--isolation=chroot", container, "--", "sh", "-ec", script]);
            said.with_context(|| format!("in the image: {script}"))
        };
        ensure!(inside("id -u")?.trim() == "65532", "it runs as root");
        inside("for name in sh cat sed grep awk; do command -v $name; done > /dev/null")?;
        inside("touch \"$HOME/chart\" /tmp/state && test -s /etc/ssl/certs/ca-certificates.crt")?;
        for (program, helm) in [("helm", Helm::V4), ("helm4", Helm::V4), ("helm3", Helm::V3)] {
            let (said, wanted) =
                (inside(&format!("{program} version --template '{{{{.Version}}}}'"))?, tools::version(helm));
            ensure!(said.trim() == format!("v{wanted}"), "{program} is {said}, not {wanted}");
        }
        let guard = inside("helm-guard --version")?;
        ensure!(guard == version_line(), "helm-guard is {guard}");
        let size = inside("du -sk / 2> /dev/null || true")?;
        let kib: u64 = size.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default();
        self.say(&["rm", container])?;
        Ok(format!(
            "helm-guard {}, Helm {} and {}, user 65532, {} MiB",
            product::VERSION,
            tools::version(Helm::V4),
            tools::version(Helm::V3),
            kib / 1024
        ))
    }
}

fn go_env(name: &str) -> Result<PathBuf> {
    let said = output(Command::new("go").args(["env", name])).context("go is needed, or --go IMAGE")?;
    Ok(PathBuf::from(said.trim()))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}",
            command.get_program().display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
