//! What GitHub shows, and what hostile text cannot make it show.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::text::tests::{github_html, hostile, is_workflow_command};
use crate::{
    ci::run::Owner,
    report::{Event, examples as ex},
};

const PLENTY: usize = 1 << 20;

fn told(events: &[Event]) -> String {
    let known = ex::summary(events);
    format!("{}\n--- annotations\n{}", summary(&known, PLENTY), annotations(&known).join("\n"))
}

#[test]
fn times_are_to_the_second_and_what_is_none_stays() {
    for (time, expected) in [
        ("2026-11-21T16:06:22.507309808Z", "2026-11-21T16:06:22Z"),
        ("2026-11-21T17:06:22+01:00", "2026-11-21T16:06:22Z"),
        ("", ""),
        ("yesterday", "yesterday"),
    ] {
        assert_eq!(to_the_second(time), expected);
    }
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
fn a_refusal_that_was_foreseen() {
    assert_snapshot!(told(&ex::foreseen()));
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
fn an_unchanged_history_is_printed_once() {
    let mut known = ex::summary(&ex::healthy());
    known.after.clone_from(&known.before);
    let text = summary(&known, PLENTY);
    assert_eq!(text.matches("**History").count(), 1, "{text}");
    assert!(text.contains("**History, unchanged"), "{text}");
}

#[test]
fn links_lead_only_to_where_this_run_is() {
    let ours = Owner { run_url: "https://ci.example/shop/runs/2".to_owned(), ..Owner::default() };
    assert_eq!(
        linked("https://ci.example/shop/runs/1 by bob", "https://ci.example/shop/runs/1", &ours),
        "<https://ci.example/shop/runs/1> by bob"
    );
    for foreign in [
        "https://evil.example/shop",
        "https://ci.example.evil.example/",
        "https://ci.example@evil.example/",
        "https://ci.example/a>b",
        "https://ci.example/a b",
        "javascript:alert(1)",
        "",
    ] {
        assert!(!linked(foreign, foreign, &ours).contains('<'), "{foreign}");
    }
}

#[test]
fn outputs_of_a_repair() {
    let all = outputs(&ex::summary(&ex::rebase_repair()), "report.json");
    let text: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_snapshot!(text.join("\n"), @r"
    outcome=deployed
    revision=6
    previous-revision=4
    repaired=true
    waited-seconds=62
    lock-id=p7x2mf
    report=report.json
    backup=backups/shop.web-p7x2mf.json
    ");
}

#[test]
fn the_least_important_goes_first() {
    let known = ex::summary(&ex::crash_loop());
    let whole = summary(&known, PLENTY);
    let less = summary(&known, whole.len() - 1);
    assert!(less.contains("_Left out to stay within the size limit: about this run._"), "{less}");
    assert!(less.contains("History before"));
    let little = summary(&known, 520);
    assert!(little.contains("**Reason:**") && !little.contains("History"), "{little}");
}

#[test]
fn no_budget_is_too_small() {
    let known = ex::summary(&ex::crash_loop());
    for budget in 0..summary(&known, PLENTY).len() {
        assert!(summary(&known, budget).len() <= budget);
    }
}

#[test]
fn ten_annotations_of_a_level() {
    let mut known = ex::summary(&ex::crash_loop());
    known.causes = vec![known.causes[0].clone(); 30];
    known.warnings = (0..30).map(|n| n.to_string()).collect();
    let all = annotations(&known);
    assert_eq!(all.iter().filter(|a| a.starts_with("::error ")).count(), 10);
    assert_eq!(all.iter().filter(|a| a.starts_with("::warning ")).count(), 10);
}

#[test]
fn an_output_cannot_end_itself() {
    assert_eq!(encode_output("outcome", "deployed", "D1"), "outcome<<D1\ndeployed\nD1\n");
    assert_eq!(encode_output("report", "a\nD1\nx=y", "D1"), "report<<D1_\na\nD1\nx=y\nD1_\n");
}

proptest! {
    #[test]
    fn hostile_text_is_only_text(text in hostile()) {
        let mut known = ex::summary(&ex::hostile_run(&text));
        // Where this run is comes from the runner, not from strangers; links to there are meant.
        known.subject.owner.run_url = "https://ci.example/shop/runs/1".to_owned();
        let html = github_html(&summary(&known, PLENTY));
        let html = html.replace("<a href=\"https://ci.example/shop/runs/1\">", "");
        for tag in ["<a", "<img", "<script", "<!--", "<em", "<del", "<h1", "<blockquote", "<input", "<sup", "<hr", "<span"] {
            prop_assert!(!html.contains(tag), "{tag} in {html}");
        }
        // What to do about findings, why it fared so, the timeline, and about this run.
        prop_assert_eq!(html.matches("<details").count(), 4);
        prop_assert_eq!(html.matches("</details").count(), 4);
        prop_assert_eq!(html.matches("<h3").count(), 1);
    }

    #[test]
    fn an_annotation_is_one_line_and_the_only_command_in_it(text in hostile()) {
        for line in annotations(&ex::summary(&ex::hostile_run(&text))) {
            prop_assert!(!line.contains(['\r', '\n']));
            prop_assert!(!is_workflow_command(&format!("x{line}")), "{line}");
        }
    }
}
