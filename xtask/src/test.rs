//! `cargo xtask test`: all that must hold before a change lands, in one command, with a time table at the end.

use std::{
    io::{self, Write},
    path::Path,
    process::{Command, Output, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use testbed::{Cluster, LEAVE_VARIABLE, Options, SHARED_CLUSTER_VARIABLE, TIMES_VARIABLE, tools};

use crate::{interrupt, product};

mod fast;

/// The files of `tests`, and of those of the test bed.
const TESTS: [&str; 12] = [
    "action",
    "architecture",
    "cluster",
    "dist",
    "e2e",
    "go_access",
    "go_yaml",
    "golden",
    "helm_flags",
    "lock_model",
    "memory",
    "pipeline",
];

/// Format, lints, docs, unit, snapshot and end-to-end tests
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only what fails most often: format, lints, unit and snapshot tests, architecture, ten stories
    #[arg(long)]
    fast: bool,
    /// End-to-end tests at once
    #[arg(long, default_value_t = 4)]
    at_once: u8,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    interrupt::end_all_on_signal()?;
    if arguments.fast {
        return fast::run();
    }
    let mut table = Table::default();
    table.step("format", || cargo(&["fmt", "--all", "--check"], &[]))?;
    table.step("lints", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])
    })?;
    table.step("docs", || {
        cargo(
            &["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        )
    })?;
    // All at once: one after the other, each would leave a processor idle.
    table.step("build of the tests", || {
        let named = TESTS.iter().flat_map(|test| ["--test", test]);
        test(&["--no-run", "--lib", "--bins"].into_iter().chain(named).collect::<Vec<_>>(), &[])
    })?;
    table.step("tools: helm 3 and 4, control plane, postgres", || {
        tools::helm(tools::Helm::V3)?;
        tools::helm(tools::Helm::V4)?;
        tools::testcluster(tools::KUBERNETES_VERSION)?;
        tools::postgres()?;
        Ok(())
    })?;
    // It waits more than it works, for clusters that start: beside it the tests that work run.
    let bed = begin(&["--test", "cluster", "--", "--test-threads=4"]);
    table.step("unit and snapshot tests", || {
        // A fixed seed: what lands must not depend on luck. Run `cargo test --lib` for fresh ones.
        test(&["--lib", "--bins"], &[("INSTA_UPDATE", "no"), ("CI", "true"), ("PROPTEST_RNG_SEED", "1")])
    })?;
    table.step("architecture, golden records, committed binaries", || {
        test(&["--test", "architecture", "--test", "golden", "--test", "dist"], &[])
    })?;
    table.step("memory that strangers' words take", || test(&["--test", "memory"], &[]))?;
    table.step("model of the lock", || test(&["--test", "lock_model"], &[]))?;
    table.step("flags against the real Helms", || test(&["--test", "helm_flags"], &[]))?;
    table.step("ways to clusters against Go's", || test(&["--test", "go_access"], &[]))?;
    table.step("YAML against Go's reader", || test(&["--test", "go_yaml"], &[]))?;
    table.step("workflows and action.yml: actionlint, zizmor", workflows)?;
    table.beside("the test bed itself, beside those before", bed)?;
    let cluster = table.step("cluster", || Cluster::start(&Options::default()))?;
    let file = cluster.info().dir.join("cluster.json");
    let file = file.to_str().context("path of the cluster")?;
    let threads = format!("--test-threads={}", arguments.at_once.min(4));
    let times = tempfile::NamedTempFile::new()?;
    let times = times.path().to_str().context("path of a temporary file")?;
    let shared = [(SHARED_CLUSTER_VARIABLE, file), (LEAVE_VARIABLE, "1"), ("INSTA_UPDATE", "no")];
    let with_times = [&shared[..], &[(TIMES_VARIABLE, times)]].concat();
    let answer = table.step("end to end", || test(&["--test", "e2e", "--", &threads], &with_times));
    let answer = answer.and_then(|()| {
        table.step("the action in a real workflow runner", || {
            test(&["--test", "action", "--", &threads], &shared)
        })
    });
    let answer = answer.and_then(|()| {
        table.step("the component in a real pipeline", || {
            test(&["--test", "pipeline", "--", &threads], &shared)
        })
    });
    cluster.stop();
    answer?;
    table.print();
    println!("== the stories that took longest, beside others");
    for (seconds, story) in slowest(&std::fs::read_to_string(times)?) {
        println!("{seconds:>7.1} s  {story}");
    }
    Ok(())
}

/// The ten longest of the lines that the test bed writes.
fn slowest(times: &str) -> Vec<(f64, &str)> {
    let lines = times.lines().filter_map(|line| line.split_once('\t'));
    let mut times: Vec<(f64, &str)> =
        lines.filter_map(|(seconds, story)| Some((seconds.parse().ok()?, story))).collect();
    times.sort_by(|one, other| other.0.total_cmp(&one.0));
    times.truncate(10);
    times
}

/// Offline: what is checked is in these files.
fn workflows() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // What else is installed on this machine must not decide: actionlint runs other linters where it finds them.
    let mut actionlint = Command::new(tools::actionlint()?);
    // GitHub added these properties after this actionlint.
    let ignore = "-ignore=property \"workflow_(repository|sha)\" is not defined in object type";
    run_to_end(actionlint.args(["-shellcheck=", "-pyflakes=", ignore]).current_dir(&root))?;
    let mut zizmor = Command::new(tools::zizmor()?);
    zizmor.args(["--offline", "--no-config", "--no-progress", "--quiet", "--persona=pedantic"]);
    run_to_end(zizmor.args([".github/workflows", "action.yml"]).current_dir(&root))
}

fn run_to_end(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if status.success() { Ok(()) } else { bail!("{command:?}: {status}") }
}

/// `cargo test`, always of all packages: with fewer, their dependencies have other features, and all is built once more.
fn test(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    cargo(&[&["test", "--locked", "--workspace"], arguments].concat(), environment)
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut cargo = product::cargo();
    let status = cargo.args(arguments).envs(environment.iter().copied()).status().context("cargo")?;
    if status.success() { Ok(()) } else { bail!("cargo {} failed", arguments.join(" ")) }
}

/// Tests that run beside others, and how long they took.
type Beside = JoinHandle<(io::Result<Output>, Duration)>;

/// As [`begin_with`], in the environment of this program.
fn begin(arguments: &[&str]) -> Beside {
    begin_with(arguments, &[])
}

/// As [`test()`], with its output kept for later.
#[expect(clippy::disallowed_methods, reason = "the time table of a test run is for people")]
fn begin_with(arguments: &[&str], environment: &[(&str, &str)]) -> Beside {
    let mut command = product::cargo();
    command.args(["test", "--locked", "--workspace"]).args(arguments).stderr(Stdio::inherit());
    command.envs(environment.iter().copied());
    std::thread::spawn(move || {
        let started = Instant::now();
        (command.output(), started.elapsed())
    })
}

/// How long each step took.
#[derive(Default)]
struct Table {
    rows: Vec<(&'static str, Duration)>,
}

impl Table {
    #[expect(clippy::disallowed_methods, reason = "the time table of a test run is for people")]
    fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        println!("== {name}");
        let started = Instant::now();
        let answer = work();
        self.rows.push((name, started.elapsed()));
        if answer.is_err() {
            self.print();
        }
        answer
    }

    /// The output of what was begun earlier, when it ends.
    fn beside(
        &mut self,
        name: &'static str,
        work: JoinHandle<(io::Result<Output>, Duration)>,
    ) -> anyhow::Result<Vec<u8>> {
        println!("== {name}");
        let (output, took) = work.join().map_err(|_| anyhow::anyhow!("{name} panicked"))?;
        let output = output.context("cargo")?;
        io::stdout().write_all(&output.stdout)?;
        self.rows.push((name, took));
        if !output.status.success() {
            self.print();
            bail!("{name}: {}", output.status);
        }
        Ok(output.stdout)
    }

    fn print(&self) {
        println!("== time table");
        for (name, took) in &self.rows {
            println!("{:>7.1} s  {name}", took.as_secs_f64());
        }
    }
}
