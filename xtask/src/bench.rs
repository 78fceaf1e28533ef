//! `cargo xtask bench`: what helm-guard costs beside raw Helm. Raw and guarded take turns in one run on one cluster, so
//! that a busy machine slows both; each round's pair makes a ratio, and the middle one counts.

mod charts;
mod finding;
mod fleet;
mod memory;
mod preflight;
mod stats;
mod takeover;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use testbed::tools::Helm;

use crate::{
    dist::LARGEST,
    interrupt,
    lab::{CHART, Lab, Place, major},
    product::{self, Profile},
    screen::{Note, Screen, now, shell_line, waiting},
};
use finding::{Finding, Unit};
use stats::Samples;

/// A guarded deploy may take this many times what a raw one takes.
const NO_OP_LIMIT: f64 = 1.10;
/// Rounds of it for each round of the others: it is short, so that chance weighs more.
const NO_OP_ROUNDS: usize = 3;
/// Rounds of the others for each round of whole charts, which take minutes.
const CHART_ROUNDS: usize = 4;
/// Requests of a guarded deploy that a raw one does not make, renewals of the lock and the preflight, which has one or two
/// for each object, aside.
const REQUESTS_LIMIT: f64 = 8.0;
/// From the start to the end of a run that follows one whose CI job is over, in milliseconds.
const TAKEOVER_LIMIT: f64 = 1000.0;
/// Runs of which the requests are counted, of each kind.
const COUNTED: usize = 5;
/// From stuck to deployed: no slower than by hand.
const STUCK_LIMIT: f64 = 1.0;
/// `helm-guard --version`, in milliseconds.
const START_LIMIT: f64 = 10.0;
/// helm-guard's own memory, in megabytes: runners share machines.
const MEMORY_LIMIT: f64 = 25.0;
/// Helm keeps so many revisions; with fewer each upgrade costs more than the one before.
const HISTORY: usize = 10;
/// ConfigMaps of the stuck release and of those of the fleet, beside its Deployment: as many objects as charts have that people deploy. A rollback
/// by hand reads and patches each of them, one after the other.
const CONFIGS: usize = 20;
/// Runs of `--version`.
const STARTS: usize = 51;
/// Runs whose memory is looked at, of each kind.
const MEMORY_RUNS: usize = 3;

/// Measure raw against guarded deploys, start, memory and size; fails if a limit is missed
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Rounds of each comparison; a round runs raw and guarded once each
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(3..))]
    rounds: u16,
    /// Only the comparisons with this in their names: no-op, charts, preflight, stuck, takeover, start, memory, fleet, size
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    only: String,
    /// Write all figures here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The helm-guard to measure [default: a release build for this machine]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    interrupt::end_all_on_signal()?;
    let screen = Screen::new();
    screen.heading("helm-guard beside raw Helm");
    let guard = match &arguments.binary {
        Some(binary) => binary.canonicalize().with_context(|| format!("find {}", binary.display()))?,
        None => screen.step("helm-guard, release build", |note| product::build(Profile::Release, note))?,
    };
    let lab = Lab::start(&screen, &Helm::ALL, &guard)?;
    let rounds = usize::from(arguments.rounds);
    let mut findings = Vec::new();
    let wanted = |part: &str| part.contains(arguments.only.as_str());
    for helm in Helm::ALL {
        let version = major(helm);
        if wanted("no-op") {
            let place = lab.place(&format!("no-op-helm{version}"), helm)?;
            findings.push(waiting(&format!("no-op upgrade, Helm {version}"), |note| {
                no_op(&place, helm, NO_OP_ROUNDS * rounds, note)
            })?);
            findings.push(requests(&place, helm)?);
        }
        if wanted("charts") {
            findings.extend(charts::compare(&lab, helm, rounds.div_ceil(CHART_ROUNDS).max(3))?);
        }
        if wanted("preflight") {
            let place = lab.place(&format!("preflight-helm{version}"), helm)?;
            findings.push(waiting(&format!("preflight, Helm {version}"), |note| {
                preflight::share(&place, helm, NO_OP_ROUNDS * rounds, note)
            })?);
            let place = lab.place(&format!("large-helm{version}"), helm)?;
            findings.push(waiting(&format!("preflight of a large release, Helm {version}"), |note| {
                preflight::large(&place, helm, rounds, note)
            })?);
        }
        if wanted("stuck") {
            let place = lab.place(&format!("stuck-helm{version}"), helm)?;
            findings.push(waiting(&format!("stuck to deployed, Helm {version}"), |note| {
                stuck(&place, helm, rounds, note)
            })?);
        }
    }
    if wanted("takeover") {
        let place = lab.place("takeover", Helm::V4)?;
        findings.push(waiting("takeover of a finished run", |note| takeover(&place, rounds, note))?);
    }
    if wanted("start") {
        findings.push(waiting("start", |_| start(&guard))?);
    }
    if wanted("memory") {
        let place = lab.place("memory", Helm::V4)?;
        findings.push(waiting("memory", |note| memory(&place, note))?);
    }
    if wanted("fleet") {
        findings.extend(waiting("the whole fleet", |note| fleet::compare(&lab, rounds, note))?);
    }
    if wanted("size") {
        findings.push(size(&guard)?);
    }
    lab.stop();
    finding::print(&screen, &findings);
    if let Some(file) = &arguments.json {
        fs::write(file, finding::json(&findings)).with_context(|| format!("write {}", file.display()))?;
    }
    let missed: Vec<_> = findings.iter().filter(|finding| !finding.within()).map(Finding::name).collect();
    if !missed.is_empty() {
        bail!("limits missed: {}", missed.join("; "));
    }
    Ok(())
}

/// A program, and the flag that makes it do without what is measured by itself.
const RAW: (&str, Option<&str>) = ("helm", None);
const GUARDED: (&str, Option<&str>) = ("helm-guard", Some("--preflight=off"));

const UPGRADE: [&str; 4] = ["upgrade", "web", CHART, "--wait"];

/// An upgrade that changes nothing, so that all that is measured is Helm and what stands before it. The preflight's share is
/// measured by itself.
fn no_op(place: &Place<'_>, helm: Helm, rounds: usize, note: &Note) -> Result<Finding> {
    timed(place, "helm", &["install", "web", CHART, "--wait"])?;
    for run in 0..HISTORY {
        note.set(format!("warming up {run} of {HISTORY}"));
        timed(place, if run % 2 == 0 { "helm" } else { "helm-guard" }, &UPGRADE)?;
    }
    let samples = take_turns(rounds, note, |guarded| {
        let (program, mode) = if guarded { GUARDED } else { RAW };
        timed(place, program, &UPGRADE.into_iter().chain(mode).collect::<Vec<_>>())
    })?;
    Ok(Finding::pairs("no-op upgrade --wait", Some(helm), samples, NO_OP_LIMIT))
}

/// What the API server was asked beyond what a raw upgrade asks, by its audit log. The release is there already.
fn requests(place: &Place<'_>, helm: Helm) -> Result<Finding> {
    let mut samples = Samples::default();
    for _ in 0..COUNTED {
        let raw = counted(place, RAW)?;
        samples.push(counted(place, GUARDED)? - raw);
    }
    Ok(Finding::single("API requests added", Unit::Requests, samples, REQUESTS_LIMIT)
        .of(helm)
        .by_its_largest())
}

/// Requests of one upgrade without preflight. A renewal of the lock is none of them: there are as many as the deploy is long.
fn counted(place: &Place<'_>, (program, mode): (&str, Option<&str>)) -> Result<f64> {
    let before = place.audit()?.events().len();
    timed(place, program, &UPGRADE.into_iter().chain(mode).collect::<Vec<_>>())?;
    let audit = place.audit()?;
    let events = audit.events().get(before..).unwrap_or_default();
    let of_lease =
        events.iter().filter(|event| event.object_ref.resource == "leases" && event.verb == "update");
    // It is taken and given back.
    let renewals = of_lease.count().saturating_sub(2);
    Ok((events.len() - renewals) as f64)
}

fn takeover(place: &Place<'_>, rounds: usize, note: &Note) -> Result<Finding> {
    let api = takeover::Api::start()?;
    let mut samples = Samples::default();
    for round in 0..rounds {
        note.set(format!("round {} of {rounds}", round + 1));
        samples.push(takeover::follow(place, &api)? * 1e3);
    }
    let what = "a finished run is followed";
    Ok(Finding::single(what, Unit::Milliseconds, samples, TAKEOVER_LIMIT).by_its_largest())
}

/// A release that a killed Helm left pending: by hand (which needs no thought here, no look at the history, and no
/// waiting for what the rollback brings back), and guarded. Leaving it stuck is not measured. What is deployed in the
/// end is new, as it is in life: pods change in either case, and `--wait` has something to wait for.
fn stuck(place: &Place<'_>, helm: Helm, rounds: usize, note: &Note) -> Result<Finding> {
    let configs = configs();
    timed(place, "helm", &["install", "web", CHART, "--wait", &configs])?;
    let mut build = 0;
    let samples = take_turns(rounds, note, |guarded| {
        build += 1;
        let new = format!("--set-string=env.BUILD={build}");
        let upgrade = ["upgrade", "web", CHART, "--wait", &configs, &new];
        place.leave_stuck(&["upgrade", "web", CHART, "--wait", &configs, "--set=delay=10m"])?;
        let took = if guarded {
            timed(place, "helm-guard", &upgrade)?
        } else {
            timed(place, "helm", &["rollback", "web"])? + timed(place, "helm", &upgrade)?
        };
        let last = place.history()?.pop().map(|(_, status)| status);
        ensure!(last.as_deref() == Some("deployed"), "the release is {last:?} and not deployed");
        Ok(took)
    })?;
    Ok(Finding::pairs("stuck to deployed", Some(helm), samples, STUCK_LIMIT))
}

/// The flag that gives a release its ConfigMaps.
fn configs() -> String {
    let names: Vec<String> = (1..=CONFIGS).map(|n| format!("settings-{n}")).collect();
    format!("--set=configs={{{}}}", names.join(","))
}

/// Runs raw and guarded once each a round; who is first changes from round to round.
fn take_turns(
    rounds: usize,
    note: &Note,
    mut measure: impl FnMut(bool) -> Result<f64>,
) -> Result<[Samples; 2]> {
    let mut samples = [Samples::default(), Samples::default()];
    for round in 0..rounds {
        note.set(format!("round {} of {rounds}", round + 1));
        for turn in 0..2 {
            let guarded = (round + turn) % 2 == 1;
            samples[usize::from(guarded)].push(measure(guarded)?);
        }
    }
    Ok(samples)
}

/// Runs a command to its end and returns how long it took, in seconds. It must succeed.
fn timed(place: &Place<'_>, program: &str, arguments: &[&str]) -> Result<f64> {
    let errors = place.file("errors");
    let mut command = place.command(program, arguments);
    command.stdout(Stdio::null()).stderr(fs::File::create(&errors)?);
    let started = now();
    let status = command.status().with_context(|| format!("run {program}"))?;
    let took = started.elapsed().as_secs_f64();
    if !status.success() {
        let said = fs::read_to_string(&errors).unwrap_or_default();
        bail!("{program} {} failed ({status}): {}", shell_line(arguments), said.trim());
    }
    Ok(took)
}

fn start(guard: &Path) -> Result<Finding> {
    let mut samples = Samples::default();
    for _ in 0..STARTS {
        let mut command = Command::new(guard);
        command.arg("--version").stdout(Stdio::null());
        let started = now();
        ensure!(command.status()?.success(), "helm-guard --version failed");
        samples.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Finding::single("helm-guard --version", Unit::Milliseconds, samples, START_LIMIT))
}

/// The most that helm-guard itself had in memory, in upgrades and in repairs with a full history. Helm's is not in it.
fn memory(place: &Place<'_>, note: &Note) -> Result<Finding> {
    timed(place, "helm", &["install", "web", CHART, "--wait"])?;
    for run in 0..HISTORY {
        note.set(format!("warming up {run} of {HISTORY}"));
        timed(place, "helm", &UPGRADE)?;
    }
    let mut samples = Samples::default();
    for run in 0..2 * MEMORY_RUNS {
        note.set(format!("run {} of {}", run + 1, 2 * MEMORY_RUNS));
        if run % 2 == 1 {
            place.leave_stuck(&["upgrade", "web", CHART, "--wait", "--set=delay=10m"])?;
        }
        let mut command = place.command("helm-guard", UPGRADE);
        samples.push(memory::peak(command.stdout(Stdio::null()).stderr(Stdio::null()))? / 1e6);
    }
    Ok(Finding::single("peak memory of helm-guard alone", Unit::Megabytes, samples, MEMORY_LIMIT)
        .by_its_largest())
}

fn size(guard: &Path) -> Result<Finding> {
    let mut samples = Samples::default();
    samples.push(fs::metadata(guard)?.len() as f64 / 1e6);
    Ok(Finding::single("size of the binary", Unit::Megabytes, samples, LARGEST as f64 / 1e6))
}
