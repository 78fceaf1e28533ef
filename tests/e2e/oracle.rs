//! The oracle: what lives after a repair is what would live if no revision had died. Random histories of random objects
//! happen twice, once without deaths and once with; then both namespaces are compared, object by object and field by field.

mod compare;
mod deaths;
mod draws;
mod fields;
mod history;
mod objects;
mod pods;
mod rng;
mod rows;
mod sides;
mod verdict;

use std::thread;

use deaths::Act;
use history::{History, Mode};
use verdict::{Controls, Lost, Verdict, judge, judge_end};

use helm_guard::exit;

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
    redrawn: usize,
    /// Rounds in which helm-guard lost its lock: this machine has too much to do.
    lost: usize,
}

impl Tally {
    fn add(&mut self, head: &str, verdict: Verdict) {
        self.rounds += 1;
        self.bad += usize::from(!verdict.faults.is_empty());
        self.notes += verdict.notes.len();
        verdict.notes.iter().for_each(|note| println!("NOTE {head}\n{note}"));
        for fault in verdict.faults {
            println!("FAULT {head}\n{fault}");
            self.faults.push(format!("{head}\n{fault}"));
        }
    }

    #[track_caller]
    fn hold(self, mode: Mode) {
        let Self { rounds, bad, faults, notes, redrawn, lost } = self;
        let of = format!("{bad} of {rounds} rounds differ: {} faults", faults.len());
        println!(
            "{mode:?}: {of}; {notes} differences of Helm's own, {redrawn} histories drawn again, {lost} locks lost"
        );
        assert!(faults.is_empty(), "{of}\n{}", faults.join("\n"));
        assert!(lost <= rounds, "{lost} locks lost");
    }
}

/// The numbers of the histories: chosen ones, or by the sweeps' seed.
fn numbers(histories: u64) -> Vec<u64> {
    match std::env::var("HELM_GUARD_ORACLE_ROUNDS") {
        Ok(chosen) => chosen.split(',').map(|number| number.parse().unwrap()).collect(),
        Err(_) => (0..histories).map(|point| seed() * 1000 + point).collect(),
    }
}

/// The rounds of a mode; `share` modes share the points.
fn oracle(mode: Mode, share: u64) {
    let histories = points("oracle").div_ceil(VARIANTS * share);
    let mut tally = Tally::default();
    for number in numbers(histories) {
        let deploys = (0..ATTEMPTS).any(|attempt| {
            let drawn = number + (attempt << 32);
            let history = History::draw(mode, drawn);
            let acts: Vec<_> = (0..VARIANTS).map(|variant| deaths::draw(&history, drawn, variant)).collect();
            rounds(&format!("{mode:?} HELM_GUARD_ORACLE_ROUNDS={number}"), &history, &acts, &mut tally)
        });
        assert!(deploys, "{mode:?} {number}: plain Helm can deploy none of {ATTEMPTS} histories");
    }
    tally.hold(mode);
}

/// Holds repaired sides of a history against the clean one. Says no if plain Helm cannot deploy the history.
fn rounds(head: &str, history: &History, acts: &[Vec<Act>], tally: &mut Tally) -> bool {
    let all: Vec<usize> = (0..history.revisions.len()).collect();
    let clean = match sides::clean(history, &all) {
        Ok(clean) => clean,
        Err(broken) => {
            let error = broken.said.err.lines().rfind(|line| line.contains("rror")).unwrap_or_default();
            println!("{head}: plain Helm cannot deploy revision {}: {error}", broken.at + 1);
            tally.redrawn += 1;
            return false;
        }
    };
    let repaired = thread::scope(|scope| {
        let start = |acts: &'_ Vec<Act>| {
            let acts = acts.clone();
            scope.spawn(move || sides::repaired(history, &acts))
        };
        let started: Vec<_> = acts.iter().map(start).collect();
        started.into_iter().map(|side| side.join().unwrap()).collect::<Vec<_>>()
    });
    let controls: Vec<_> = all.iter().map(|at| Controls::new(history, *at)).collect();
    for (acts, repaired) in acts.iter().zip(repaired) {
        let head = format!("{head} {acts:?}");
        println!("ROUND {head}");
        let mut verdict = Verdict::default();
        match repaired {
            Err(broken) if broken.said.code == Some(i32::from(exit::LOCK_LOST)) => {
                tally.lost += 1;
                continue;
            }
            Err(broken) => verdict.add(judge_end(&controls[broken.at], &broken), &broken.said),
            Ok(steps) => {
                let mut lost = Lost::new();
                for step in &steps {
                    let found = judge(&controls[step.at], &clean[&step.at], step, &mut lost);
                    verdict.add(found, &step.said);
                }
            }
        }
        tally.add(&head, verdict);
    }
    true
}

/// What was found is held, each in the smallest history that showed it.
fn what_was_found(mode: Mode) {
    let mut tally = Tally::default();
    assert!(
        rounds("rows", &rows::history(mode), &rows::deaths(), &mut tally),
        "plain Helm cannot deploy the rows"
    );
    tally.hold(mode);
}

#[test]
fn what_was_found_helm3() {
    what_was_found(Mode::Helm3);
}

#[test]
fn what_was_found_helm4_client_side() {
    what_was_found(Mode::Helm4ClientSide);
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
