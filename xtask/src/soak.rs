//! `cargo xtask soak`: the long versions of what `cargo xtask test` does briefly. The storm, the sweeps of kills and cancels,
//! the oracle and the larger models, round after round, each with a seed of its own that can be run again.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use testbed::{Cluster, Options, SHARED_CLUSTER_VARIABLE};

use crate::{interrupt, product};

/// Storms, sweeps of kills, rounds of the oracle and larger models, for as long as asked; every seed is printed and can be run again
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Start no new round after so many minutes
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// At most so many rounds
    #[arg(long, value_name = "N")]
    rounds: Option<u64>,
    /// The first round's seed; each round has the next. Default: by the time of day
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Points of each sweep of a round
    #[arg(long, value_name = "N", default_value_t = 200)]
    points: u32,
    /// Only end-to-end tests with this in their names
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

#[expect(clippy::disallowed_methods, reason = "a soak is bounded by time, and its figures are for people")]
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    interrupt::end_all_on_signal()?;
    let started = Instant::now();
    let limit = Duration::from_secs(arguments.minutes * 60);
    let first = match arguments.seed {
        Some(seed) => seed,
        None => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() % 1_000_000,
    };
    if arguments.only.is_none() {
        // No seed: it looks at everything.
        step("larger models of the lock", || {
            cargo(&["--release", "--test", "lock_model", "--", "--ignored", "--nocapture"], &[])
        })?;
    }
    let cluster = Cluster::start(&Options::default())?;
    let file = cluster.info().dir.join("cluster.json");
    let file = file.to_str().context("path of the cluster")?;
    let mut seed = first;
    let answer = loop {
        let (name, points) = (seed.to_string(), arguments.points.to_string());
        let environment = [
            (SHARED_CLUSTER_VARIABLE, file),
            ("HELM_GUARD_SWEEP_SEED", &*name),
            ("HELM_GUARD_SWEEP_POINTS", &*points),
        ];
        let mut test = vec!["--test", "e2e", "--", "--include-ignored", "--nocapture", "--test-threads=1"];
        match &arguments.only {
            Some(only) => test.push(only),
            // The sweeps, the oracle, and the storm that is too long for every change.
            None => test.extend(["_anywhere", "oracle::", "storm::a_hundred"]),
        }
        let answer = step(&format!("seed {seed}: YAML against Go's reader"), || {
            cargo(&["--test", "go_yaml"], &environment[1..])
        });
        let answer = answer.and_then(|()| {
            step(&format!("seed {seed}: ways to clusters against Go's"), || {
                cargo(&["--test", "go_access"], &environment[1..])
            })
        });
        let answer = answer
            .and_then(|()| step(&format!("seed {seed}: storm and sweeps"), || cargo(&test, &environment)));
        if answer.is_err() {
            println!("hint: cargo xtask soak --rounds 1 --seed {seed} --points {points}");
            break answer;
        }
        seed += 1;
        if started.elapsed() >= limit || arguments.rounds.is_some_and(|rounds| seed - first >= rounds) {
            break Ok(());
        }
    };
    cluster.stop();
    println!(
        "== {} rounds held, seeds from {first}, {:.1} minutes",
        seed - first,
        started.elapsed().as_secs_f64() / 60.0
    );
    answer
}

#[expect(clippy::disallowed_methods, reason = "how long it took is for people")]
fn step(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("== {name}");
    let started = Instant::now();
    let answer = work();
    let how = if answer.is_ok() { "held" } else { "FAILED" };
    println!("== {name}: {how} after {:.1} s", started.elapsed().as_secs_f64());
    answer
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut command = product::cargo();
    // All packages, as `cargo xtask test` does: with fewer, their dependencies have other features and are built again.
    command.args(["test", "--locked", "--workspace"]).args(arguments).envs(environment.iter().copied());
    let status = command.status().context("cargo")?;
    if status.success() { Ok(()) } else { bail!("cargo test {} failed", arguments.join(" ")) }
}
