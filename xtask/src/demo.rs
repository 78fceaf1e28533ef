//! `cargo xtask demo`: a release gets stuck and is deployed again, for somebody who has a minute.
//! Every line that is shown is run, and what is claimed is checked.

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use testbed::tools::Helm;

use crate::{
    interrupt,
    lab::{CHART, Lab, Place, major},
    product::{self, Profile},
    screen::{Screen, now, shell_line, waiting},
};

/// Show a stuck release and its repair on a real control plane, in a minute
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which Helm
    #[arg(long, value_name = "VERSION", default_value_t = 4, value_parser = clap::value_parser!(u8).range(3..=4))]
    helm: u8,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    interrupt::end_all_on_signal()?;
    let started = now();
    let screen = Screen::new();
    let helm = if arguments.helm == 3 { Helm::V3 } else { Helm::V4 };
    screen.heading(&format!("A release gets stuck, and is deployed again: helm-guard {}", product::VERSION));
    let guard = screen.step("helm-guard, built", |note| product::build(Profile::Debug, note))?;
    let lab = Lab::start(&screen, &[helm], &guard)?;
    let place = lab.place("shop", helm)?;
    tell(&screen, &place)?;
    lab.stop();
    screen.heading(&format!("That was all: {:.0} s. The cluster is gone.", started.elapsed().as_secs_f64()));
    println!("Try your own on one that stays: cargo xtask cluster up; eval \"$(cargo xtask cluster env)\"");
    println!("The other Helm: cargo xtask demo --helm {}", 7 - major(helm));
    Ok(())
}

fn tell(screen: &Screen, place: &Place<'_>) -> Result<()> {
    let upgrade = ["upgrade", "web", CHART, "--wait", "--set=configs={keep,new}"];

    screen.heading("1. A deploy as on every day.");
    succeeds(&show(screen, place, "helm", &["install", "web", CHART, "--wait", "--hide-notes"])?)?;

    screen.heading("2. The next one's pods take long, and the machine that runs Helm dies (SIGKILL).");
    let dying = ["upgrade", "web", CHART, "--wait", "--set=delay=10m,configs={keep,half-done}"];
    screen.command(&format!("{} &", line("helm", &dying)));
    waiting("helm is at work, and about to be killed", |_| place.leave_stuck(&dying))?;
    screen.command("kill -KILL $!");
    show(screen, place, "helm", &["history", "web"])?;

    screen.heading("3. From now on Helm refuses every deploy, good ones too.");
    let refused = show(screen, place, "helm", &upgrade)?;
    ensure!(String::from_utf8_lossy(&refused.stderr).contains("is in progress"), "helm did not refuse");

    screen.heading("4. The same command, guarded: the lock, the repair, then Helm as always.");
    let summary = place.file("summary.md");
    screen.command(&line("helm-guard", &upgrade));
    let mut guarded = place.command("helm-guard", upgrade);
    // Live, so that it knows a terminal when it sees one. The summary is what GitHub would get.
    let status = guarded.env("GITHUB_STEP_SUMMARY", &summary).status().context("run helm-guard")?;
    ensure!(status.success(), "helm-guard failed: {status}");

    screen.heading("5. Nothing is pending, and what only the dead deploy had made (half-done) is gone.");
    show(screen, place, "helm", &["history", "web"])?;
    let left = show(screen, place, "kubectl", &["get", "configmaps"])?;
    ensure!(!String::from_utf8_lossy(&left.stdout).contains("half-done"), "half-done is still there");
    let statuses: Vec<_> = place.history()?.into_iter().map(|(_, status)| status).collect();
    ensure!(statuses == ["superseded", "failed", "deployed"], "an unexpected history: {statuses:?}");

    screen.heading("6. In a GitHub workflow this would be the job's summary.");
    print!("{}", fs::read_to_string(&summary).context("read the job summary")?);
    Ok(())
}

/// Shows a command line, runs it, and shows what it printed.
fn show(screen: &Screen, place: &Place<'_>, program: &str, arguments: &[&str]) -> Result<Output> {
    let line = line(program, arguments);
    screen.command(&line);
    let mut command: Command = place.command(program, arguments);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = waiting(program, |_| command.output()).with_context(|| format!("run {line}"))?;
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

fn succeeds(output: &Output) -> Result<()> {
    ensure!(output.status.success(), "the command above failed: {}", output.status);
    Ok(())
}

fn line(program: &str, arguments: &[&str]) -> String {
    let words: Vec<&str> = std::iter::once(program).chain(arguments.iter().copied()).collect();
    shell_line(&words)
}
