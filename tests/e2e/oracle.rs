//! The oracle: what lives after a repair is what would live if no revision had died. Random histories of random objects
//! happen twice, once without deaths and once with; then both namespaces are compared, object by object and field by field.

mod compare;
mod deaths;
mod fields;
mod history;
mod objects;
mod pods;
mod rng;
mod sides;
mod verdict;

use std::thread;

use history::{History, Mode};
use verdict::{Controls, Verdict, judge};

use crate::sweep::{points, seed};

/// Repaired sides for each clean one, which costs as much as each of them.
const VARIANTS: u64 = 2;
/// Histories that plain Helm itself cannot deploy are drawn again.
const ATTEMPTS: u64 = 8;

/// What is told of all rounds.
#[derive(Debug, Default)]
struct Tally {
    rounds: usize,
    bad: usize,
    faults: Vec<String>,
    notes: usize,
    redrawn: u64,
}

/// The numbers of the histories: chosen ones, or by the sweeps' seed.
fn numbers(histories: u64) -> Vec<u64> {
    match std::env::var("HELM_GUARD_ORACLE_ROUNDS") {
        Ok(chosen) => chosen.split(',').map(|number| number.parse().unwrap()).collect(),
        Err(_) => (0..histories).map(|point| seed() * 1000 + point).collect(),
    }
}

fn oracle(mode: Mode, share: u64) {
    let histories = points("oracle").div_ceil(VARIANTS * share);
    let mut tally = Tally::default();
    for number in numbers(histories) {
        history_of(mode, number, &mut tally);
    }
    let Tally { rounds, bad, faults, notes, redrawn } = tally;
    println!(
        "{mode:?}: {bad} of {rounds} rounds differ, {} faults, {notes} differences of Helm's own, {redrawn} histories redrawn",
        faults.len()
    );
    assert!(faults.is_empty(), "{} faults in {bad} of {rounds} rounds:\n{}", faults.len(), faults.join("\n"));
}

/// One history with all its rounds.
fn history_of(mode: Mode, number: u64, tally: &mut Tally) {
    for attempt in 0..ATTEMPTS {
        let drawn = number + (attempt << 32);
        let history = History::draw(mode, drawn);
        let all: Vec<usize> = (0..history.revisions.len()).collect();
        let clean = match sides::clean(&history, &all) {
            Ok(clean) => clean,
            Err(broken) => {
                println!(
                    "{mode:?} {number}: plain Helm cannot deploy revision {}: {}",
                    broken.at + 1,
                    broken.said.err
                );
                tally.redrawn += 1;
                continue;
            }
        };
        let acts: Vec<_> = (0..VARIANTS).map(|variant| deaths::draw(&history, drawn, variant)).collect();
        let repaired = thread::scope(|scope| {
            let started: Vec<_> =
                acts.iter().map(|acts| scope.spawn(|| sides::repaired(&history, acts))).collect();
            started.into_iter().map(|side| side.join().unwrap()).collect::<Vec<_>>()
        });
        let controls: Vec<_> = all.iter().map(|at| Controls::new(&history, *at)).collect();
        for (acts, repaired) in acts.iter().zip(repaired) {
            tally.rounds += 1;
            let mut verdict = Verdict::default();
            let steps = repaired.unwrap_or_else(|broken| {
                let (at, said) = (broken.at + 1, broken.said);
                verdict
                    .faults
                    .push(format!("revision {at} ended with {:?}: {}\n{}", said.code, said.out, said.err));
                Vec::new()
            });
            for step in &steps {
                let mut judged = judge(&controls[step.at], &clean[&step.at], step);
                if let Some(last) = judged.faults.last_mut() {
                    last.push_str(&said(&step.said.err));
                }
                verdict.notes.append(&mut judged.notes);
                verdict.faults.append(&mut judged.faults);
            }
            let head = format!("{mode:?} HELM_GUARD_ORACLE_ROUNDS={number} {acts:?}");
            verdict.notes.iter().for_each(|note| println!("NOTE {head}\n{note}"));
            verdict.faults.iter().for_each(|fault| println!("FAULT {head}\n{fault}"));
            tally.bad += usize::from(!verdict.faults.is_empty());
            tally.notes += verdict.notes.len();
            tally.faults.extend(verdict.faults.into_iter().map(|fault| format!("{head}\n{fault}")));
        }
        return;
    }
    panic!("{mode:?} {number}: plain Helm can deploy none of {ATTEMPTS} histories");
}

/// What helm-guard and Helm said, without what is about the charts.
fn said(err: &str) -> String {
    let noise = ["warnings.go", "preflight: warning", "hint:", "waiting for the lock"];
    let lines = err.lines().filter(|line| !noise.iter().any(|noise| line.contains(noise)));
    lines.map(|line| format!("    {line}\n")).collect()
}

#[test]
fn a_repair_leaves_what_a_clean_history_leaves_helm3() {
    oracle(Mode::Helm3, 1);
}

#[test]
fn a_repair_leaves_what_a_clean_history_leaves_helm4_client_side() {
    oracle(Mode::Helm4ClientSide, 2);
}

#[test]
fn a_repair_leaves_what_a_clean_history_leaves_helm4_server_side() {
    oracle(Mode::Helm4ServerSide, 2);
}
