//! The lock, model-checked: every order of events among some processes, one Lease, and a network that loses, delays and
//! repeats requests. What a process decides is decided by the functions that ship; here is only the world around them.
//! docs/lock.md says in words what is proven here, and under which assumptions.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a model that is not as it should be fails its test; figures are for people"
)]

mod process;
mod steps;
mod world;

use std::time::Duration;

use helm_guard::lock::Times;
use stateright::{Checker, HasDiscoveries, Model, Property};

use world::{Phase, World};

/// What is taken out of the protocol, to see that the model would notice, and what the clocks do.
#[derive(Clone, Copy, Debug)]
struct Rules {
    times: Times,
    /// By how many seconds a slow and a fast clock go on in one tick.
    rates: (u8, u8),
    /// Time may pass between a question about the Lease, its answer, and the decision on it. If not, it may still pass
    /// before and after, which comes to the same: what is written is compared with what was read.
    slow_readings: bool,
    /// A write of Helm's that has passed the fence takes effect, if ever, before so many ticks have begun.
    flight: u8,
    /// A write names the object that it replaces.
    uid: bool,
    /// What contenders annotate counts as a sign of life.
    annotations_live: bool,
    /// Silence is counted from before the reading was asked for.
    silence_from_asking: bool,
    /// A claim without an answer is the end.
    lost_answer_ends: bool,
}

impl Rules {
    /// Those that ship. One clock goes by a quarter faster than the other, and writes take effect at once.
    fn shipped() -> Self {
        Self {
            times: Times::new(Duration::from_secs(30)),
            rates: (8, 10),
            slow_readings: false,
            flight: 0,
            uid: true,
            annotations_live: false,
            silence_from_asking: false,
            lost_answer_ends: false,
        }
    }

    /// The same, but one clock goes by a fifth faster, and writes are under way for a sixth of the lease duration.
    fn in_flight() -> Self {
        Self { rates: (5, 6), flight: 1, ..Self::shipped() }
    }

    /// The same, but time passes while the Lease is read.
    fn slowly_read() -> Self {
        Self { slow_readings: true, ..Self::shipped() }
    }

    /// Both.
    fn closest() -> Self {
        Self { slow_readings: true, ..Self::in_flight() }
    }
}

/// Which world.
#[derive(Clone, Copy, Debug)]
struct Lock {
    rules: Rules,
    processes: usize,
    /// Requests that nobody waits for any more and that may yet arrive, at most.
    ghosts: usize,
    /// `None`: anybody may stall for any time. Else all but the first act as soon as they can, and so many answers are lost.
    prompt: Option<u8>,
}

const ONE_AFTER_THE_OTHER: &str = "no write of a holder follows one of a later holder";
const NOBODY_GIVES_UP: &str = "who wants the lock goes on until it has it";
const NOBODY_IS_KEPT_OUT: &str = "a dead holder is replaced";

fn properties(lock: &Lock) -> Vec<Property<Lock>> {
    let mut all = vec![
        Property::always(NOBODY_GIVES_UP, |_: &Lock, world: &World| !world.is_given_up),
        Property::always(ONE_AFTER_THE_OTHER, |_: &Lock, world: &World| !world.is_broken),
        Property::always(NOBODY_IS_KEPT_OUT, |lock: &Lock, world: &World| world.vacant <= lock.patience()),
    ];
    if lock.prompt.is_none() {
        all.push(Property::sometimes("a silent holder is followed", |lock: &Lock, world: &World| {
            let safe = world.processes.iter().filter(|process| lock.is_safe(process)).count();
            safe == 1 && world.processes.iter().filter(|process| process.is_holder()).count() == 2
        }));
        all.push(Property::sometimes(
            "a holder whose run is over is followed at once",
            |_: &Lock, world: &World| {
                world.processes.iter().any(|process| {
                    matches!(process.phase, Phase::Claiming { create: false, .. })
                        && process.seen.is_some_and(|(holder, _, since)| {
                            since == 0 && world.lease.is_some_and(|lease| lease.holder == Some(holder))
                        })
                })
            },
        ));
    }
    if lock.prompt != Some(0) {
        all.push(Property::sometimes("a claim without an answer was done", |_: &Lock, world: &World| {
            (0..).zip(&world.processes).any(|(who, process)| match process.phase {
                Phase::Idle => world.lease.is_some_and(|lease| lease.holder == Some(who)),
                _ => false,
            })
        }));
    }
    all
}

fn explore(lock: Lock) -> impl Checker<Lock> {
    explore_to(usize::MAX, lock)
}

/// All that may have happened after so many steps.
fn explore_to(depth: usize, lock: Lock) -> impl Checker<Lock> {
    let builder = lock.checker().threads(2).target_max_depth(depth);
    let checker = builder.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    eprintln!("{} states, {} steps deep: {lock:?}", checker.unique_state_count(), checker.max_depth());
    checker
}

/// The property must not hold when the rules are these.
fn finds(property: &'static str, lock: Lock) {
    // Without late requests there is less to look at, and enough goes wrong.
    let checker = explore(Lock { ghosts: 0, ..lock });
    assert!(checker.discovery(property).is_some(), "nothing was found: {lock:?}");
}

fn any_stalls(rules: Rules) -> Lock {
    Lock { rules, processes: 2, ghosts: 1, prompt: None }
}

fn prompt(rules: Rules) -> Lock {
    Lock { rules, processes: 2, ghosts: 1, prompt: Some(1) }
}

#[test]
fn writers_follow_one_another_whatever_stalls_is_lost_or_late() {
    explore(any_stalls(Rules::shipped())).assert_properties();
}

#[test]
fn a_dead_holder_is_replaced_however_many_annotate_its_lease() {
    explore(prompt(Rules::shipped())).assert_properties();
}

#[test]
fn without_the_uid_a_late_renewal_brings_a_deleted_lease_back() {
    finds(ONE_AFTER_THE_OTHER, any_stalls(Rules { uid: false, ..Rules::shipped() }));
}

#[test]
fn without_the_margin_two_write() {
    let mut rules = Rules::shipped();
    rules.times.give_up_after = rules.times.duration;
    finds(ONE_AFTER_THE_OTHER, any_stalls(rules));
}

#[test]
fn clocks_that_go_beyond_the_bound_let_two_write() {
    finds(ONE_AFTER_THE_OTHER, any_stalls(Rules { rates: (6, 10), ..Rules::shipped() }));
}

#[test]
fn silence_counted_from_before_a_slow_reading_lets_two_write() {
    finds(ONE_AFTER_THE_OTHER, any_stalls(Rules { silence_from_asking: true, ..Rules::slowly_read() }));
}

#[test]
fn annotations_that_count_as_life_keep_a_dead_holder_in() {
    finds(NOBODY_IS_KEPT_OUT, prompt(Rules { annotations_live: true, ..Rules::shipped() }));
}

#[test]
fn a_lost_answer_that_ends_a_claim_leaves_the_lock_to_nobody() {
    finds(NOBODY_GIVES_UP, prompt(Rules { lost_answer_ends: true, ..Rules::shipped() }));
}

/// Larger worlds: part of `cargo xtask soak`.
#[test]
#[ignore = "minutes: cargo xtask soak"]
fn larger_worlds() {
    /// Steps into a world whose end nobody has waited for: six million states.
    const DEPTH: usize = 22;
    let two = |rules, ghosts, prompt| Lock { rules, processes: 2, ghosts, prompt };
    explore(two(Rules::shipped(), 2, None)).assert_properties();
    explore(two(Rules::in_flight(), 1, None)).assert_properties();
    explore(two(Rules::slowly_read(), 1, None)).assert_properties();
    explore(two(Rules::closest(), 1, Some(2))).assert_properties();
    explore_to(DEPTH, two(Rules::closest(), 1, None)).assert_properties();
    explore(Lock { processes: 3, ..two(Rules::shipped(), 0, Some(1)) }).assert_properties();
}
