//! What a person reads while it runs and when it is over.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::report::examples as ex;
use crate::text::tests::hostile;

fn told(events: &[Event]) -> String {
    let live = events.iter().flat_map(lines).collect::<Vec<_>>().join("\n");
    let end = closing(&ex::summary(events));
    assert!(end.len() <= 12, "{} lines: {end:#?}", end.len());
    format!("{live}\n--- closing\n{}", end.join("\n"))
}

#[test]
fn a_healthy_deploy() {
    assert_snapshot!(told(&ex::healthy()));
}

#[test]
fn a_rebase_repair() {
    assert_snapshot!(told(&ex::rebase_repair()));
}

#[test]
fn a_failing_chart() {
    assert_snapshot!(told(&ex::crash_loop()));
}

#[test]
fn a_refusal_that_was_foreseen() {
    assert_snapshot!(told(&ex::foreseen()));
}

#[test]
fn a_lock_timeout() {
    assert_snapshot!(told(&ex::lock_timeout()));
}

#[test]
fn a_lock_whose_run_is_over() {
    assert_snapshot!(told(&ex::run_over()));
}

#[test]
fn an_outdated_run() {
    assert_snapshot!(told(&ex::outdated()));
}

#[test]
fn a_missing_permission() {
    assert_snapshot!(told(&ex::refused()));
}

#[test]
fn a_cancelled_run() {
    assert_snapshot!(told(&ex::cancelled()));
}

#[test]
fn a_killed_run() {
    assert_snapshot!(told(&ex::killed()));
}

#[test]
fn how_a_repaired_release_fares_is_told() {
    let finding = |health, reasons: &[&str]| {
        let reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        Some(Finding { health, revision: 2, reasons })
    };
    let stuck = || finding(Health::Stuck, &["revision 2 is pending"]);
    let well = || finding(Health::Healthy, &[]);
    for (command, before, after, expected) in [
        ("repair", stuck(), well(), Some("helm-guard: health: Stuck → Healthy")),
        (
            "repair",
            stuck(),
            finding(Health::Missing, &["ConfigMap/one is not there"]),
            Some("helm-guard: health: Stuck → Missing: ConfigMap/one is not there"),
        ),
        ("repair", well(), well(), None),
        ("repair", None, None, None),
        ("upgrade", stuck(), well(), None),
    ] {
        let mut summary = Summary { health: HealthSummary { before, after }, ..Summary::default() };
        summary.subject.command = command.to_owned();
        let told: Vec<String> =
            closing(&summary).into_iter().filter(|line| line.contains("health")).collect();
        assert_eq!(told.first().map(String::as_str), expected, "{command}");
    }
}

proptest! {
    #[test]
    fn hostile_text_stays_on_its_line(text in hostile()) {
        let summary = ex::summary(&ex::hostile_run(&text));
        for event in ex::hostile_run(&text) {
            for line in lines(&event).into_iter().chain(closing(&summary)) {
                prop_assert!(line.starts_with("helm-guard: "));
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}
