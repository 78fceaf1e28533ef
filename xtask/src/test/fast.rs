//! `cargo xtask test --fast`: what fails most often, for the time between two edits.

use anyhow::{Context, bail};
use testbed::{Cluster, LEAVE_VARIABLE, Options, SHARED_CLUSTER_VARIABLE};

use super::{Table, begin_with, cargo, test};

/// One story of each kind that a change breaks most often, with both Helms in turn.
const FAST: [&str; 10] = [
    "diagnose::broken_pods::helm4",
    "lock::the_refusal_to_a_second_deploy",
    "locking::two_at_once_are_one_after_the_other::helm3",
    "preflight::a_check_alone_finds_the_same_and_writes_nothing::helm4",
    "progress::a_terminal_has_a_table::helm3",
    "settle::a_killed_run_is_settled::helm4",
    "stuck::a_stuck_install_is_installed_again::helm3",
    "stuck::a_stuck_rollback_is_repaired::helm4",
    "texts::a_stuck_upgrade::helm3",
    "unlock::a_dead_run_is_unlocked_and_settled::helm4",
];

/// For the time between two edits: under two minutes on two processors when the tests are built already.
pub(super) fn run() -> anyhow::Result<()> {
    let mut table = Table::default();
    table.step("format", || cargo(&["fmt", "--all", "--check"], &[]))?;
    table.step("lints", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])
    })?;
    table.step("build of the tests", || {
        test(&["--no-run", "--lib", "--bins", "--test", "architecture", "--test", "e2e"], &[])
    })?;
    let cluster = table.step("cluster", || Cluster::start(&Options::default()))?;
    let file = cluster.info().dir.join("cluster.json");
    let file = file.to_str().context("path of the cluster")?;
    let shared = [(SHARED_CLUSTER_VARIABLE, file), (LEAVE_VARIABLE, "1"), ("INSTA_UPDATE", "no")];
    // The stories wait more than they work: the unit tests run beside them.
    let mut stories = vec!["--test", "e2e", "--", "--exact", "--test-threads=4"];
    stories.extend(FAST);
    let stories = begin_with(&stories, &shared);
    let units = table.step("unit and snapshot tests, architecture", || {
        let environment = [("INSTA_UPDATE", "no"), ("CI", "true"), ("PROPTEST_RNG_SEED", "1")];
        test(&["--lib", "--bins", "--test", "architecture"], &environment)
    });
    let stories = table.beside("ten stories, beside them", stories);
    cluster.stop();
    units?;
    let output = stories?;
    // A story that was renamed is not run, and the test runner says nothing of it.
    let ran = format!("running {} tests", FAST.len());
    if !String::from_utf8_lossy(&output).contains(&ran) {
        bail!("some of the ten stories have other names now: correct FAST in xtask/src/test/fast.rs");
    }
    table.print();
    Ok(())
}
