//! `cargo xtask dist`: the binaries that are handed out, static and checked, on any machine that can get a toolchain.

mod check;
mod machine;
mod route;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::{
    interrupt,
    product::{self, VERSION},
    screen::{Screen, now},
};
pub(crate) use check::LARGEST;
use machine::Machine;

/// What one binary is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// As file names have it.
    pub(crate) architecture: &'static str,
    /// As Rust has it.
    pub(crate) triple: &'static str,
    /// As the kernel has it, and QEMU.
    pub(crate) machine: &'static str,
    elf: object::Architecture,
}

const TARGETS: [Target; 2] = [
    Target {
        architecture: "amd64",
        triple: "x86_64-unknown-linux-musl",
        machine: "x86_64",
        elf: object::Architecture::X86_64,
    },
    Target {
        architecture: "arm64",
        triple: "aarch64-unknown-linux-musl",
        machine: "aarch64",
        elf: object::Architecture::Aarch64,
    },
];

impl Target {
    /// The name of the file that is handed out.
    pub(crate) fn file_name(&self) -> String {
        format!("helm-guard-linux-{}", self.architecture)
    }
}

/// Make dist/: static binaries for linux-amd64 and linux-arm64, checked, with their sums
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where Rust's standard library for musl comes from
    #[arg(long, value_enum, default_value = "auto")]
    route: Choice,
    /// Do not run the binary of the other architecture; by default QEMU must
    #[arg(long)]
    no_emulation: bool,
    /// Where the files go [default: dist in the checkout]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Where Rust's standard library for musl comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// From rustup if it has it, else from packages
    Auto,
    /// Ready-made, by rustup
    Rustup,
    /// Built from the source in Debian's packages
    Packages,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    interrupt::end_all_on_signal()?;
    let started = now();
    let screen = Screen::new();
    let machine = Machine::look();
    // All that can be missing is found before the minutes of building.
    let mut plan = Vec::new();
    for target in TARGETS {
        let (route, why) = route::choose(arguments.route, &target, &machine).map_err(anyhow::Error::msg)?;
        let runner = if arguments.no_emulation && target.machine != machine.architecture {
            Runner::None
        } else {
            Runner::find(&target, &machine)?
        };
        plan.push((target, route, why, runner));
    }
    let directory = arguments.out.clone().unwrap_or_else(|| product::root().join("dist"));
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let zig = screen.step("Zig, the linker, from the cache or a package", |_| tools::zig())?;
    for (target, route, why, runner) in &plan {
        screen.heading(&format!("{} by {}: {why}", target.file_name(), route.name()));
        let built = screen.step("built", |note| {
            let mut cargo = route.cargo(target, &machine, &zig)?;
            product::run_cargo(&mut cargo, note)
        })?;
        let facts = check::check(&built, target, &machine.paths(), runner)?;
        println!("{facts}");
        put(&built, &directory.join(target.file_name()))?;
    }
    let names: Vec<String> = plan.iter().map(|(target, ..)| target.file_name()).collect();
    fs::write(directory.join("SHA256SUMS"), sums(&directory, &names)?).context("write the sums")?;
    screen.heading(&format!("All in {}: {:.0} s", directory.display(), started.elapsed().as_secs_f64()));
    Ok(())
}

/// How a binary is run to see that it works.
#[derive(Debug)]
pub(crate) enum Runner {
    /// This machine runs it.
    Host,
    /// By QEMU.
    Emulator(PathBuf),
    /// Not at all, as the user wishes.
    None,
}

impl Runner {
    fn find(target: &Target, machine: &Machine) -> Result<Self> {
        if target.machine == machine.architecture {
            return Ok(Self::Host);
        }
        let name = format!("qemu-{}-static", target.machine);
        let found = machine.program(&name).with_context(|| {
            format!(
                "{name} is needed to run {}: as root: apt-get install qemu-user-static, or give --no-emulation",
                target.file_name()
            )
        })?;
        Ok(Self::Emulator(found))
    }
}

/// Puts a file in its place in one step, so that nobody finds half of it.
fn put(from: &Path, to: &Path) -> Result<()> {
    let part = to.with_extension("part");
    fs::copy(from, &part).with_context(|| format!("write {}", part.display()))?;
    fs::rename(&part, to).with_context(|| format!("write {}", to.display()))
}

/// What `sha256sum` says of the files; `sha256sum --check` reads it.
fn sums(directory: &Path, names: &[String]) -> Result<Vec<u8>> {
    let output =
        Command::new("sha256sum").args(names).current_dir(directory).output().context("sha256sum")?;
    if !output.status.success() {
        bail!("sha256sum failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    ensure!(!output.stdout.is_empty(), "sha256sum said nothing");
    Ok(output.stdout)
}

/// `helm-guard --version` prints this.
pub(crate) fn version_line() -> String {
    format!("helm-guard {VERSION}\n")
}
