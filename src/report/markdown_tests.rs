//! The job summary of each ending, and what hostile text may not do to it.

use proptest::prelude::*;

use super::*;
use crate::release::Status;
use crate::report::text::tests::{github_html, hostile};
use crate::report::{PodTrouble, samples};

const ROOMY: usize = 1024 * 1024;

macro_rules! endings {
    ($($name:ident: $sample:ident,)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(summary(&samples::summary(&samples::$sample()), ROOMY));
        }
    )*};
}

endings! {
    a_healthy_deploy: healthy,
    a_stuck_release_is_repaired: repaired,
    pods_crash_until_the_timeout: crashing,
    helm_rolls_back: rolled_back,
    the_lock_stays_taken: lock_timeout,
    a_permission_is_missing: refused,
    somebody_cancels: cancelled,
    killed_in_the_middle: killed,
    everything_is_uninstalled: uninstalled,
}

#[test]
fn an_unchanged_history_is_printed_once() {
    let mut known = samples::summary(&samples::healthy());
    known.after.clone_from(&known.before);
    let text = summary(&known, ROOMY);
    assert_eq!(text.matches("| Revision |").count(), 1, "{text}");
    assert!(text.contains("History, unchanged"));
}

#[test]
fn a_long_history_ends_with_the_newest() {
    let mut known = samples::summary(&samples::healthy());
    known.after =
        (1..=25).map(|n| samples::revision(n, Status::Superseded, "web-1.0.0", "Upgrade complete")).collect();
    let text = summary(&known, ROOMY);
    let after = text.split("History after").nth(1).unwrap();
    assert!(after.starts_with("** (last 10 of 25)"), "{after}");
    assert!(after.contains("| 25 |") && after.contains("| 16 |") && !after.contains("| 15 |"), "{after}");
}

#[test]
fn links_lead_only_to_where_this_run_is() {
    let known = samples::summary(&samples::lock_timeout());
    let ours = &known.subject.owner;
    let with = |url: &str| run_link(&Owner { run_url: url.to_owned(), ..Owner::default() }, ours);
    assert_eq!(
        with("https://github.com/acme/shop/actions/runs/1"),
        "<https://github.com/acme/shop/actions/runs/1>"
    );
    for foreign in [
        "https://evil.example/acme",
        "https://github.com.evil.example/",
        "https://github.com@evil.example/",
        "https://github.com/a>b",
        "https://github.com/a b",
        "javascript:alert(1)",
        "",
    ] {
        assert!(!with(foreign).contains('<'), "{foreign}");
    }
}

/// A failed run in which everything is as large as it gets.
fn huge() -> Summary {
    let mut known = samples::summary(&samples::crashing());
    let long = "x [y](z) <b> ".repeat(2000);
    known.warnings = vec![long.clone(); 50];
    known.pods = vec![PodTrouble { pod: long.clone(), message: long.clone(), ..PodTrouble::default() }; 100];
    known.reason.clone_from(&long);
    known.next = vec![long.clone(); 100];
    if let Some(helm) = &mut known.helm {
        helm.error = format!("{long}\n").repeat(500);
    }
    for row in &mut known.after {
        row.description.clone_from(&long);
    }
    known
}

#[test]
fn the_largest_summary_is_far_below_the_limit() {
    let text = summary(&huge(), usize::MAX);
    assert!(text.len() < 512 * 1024, "{} bytes", text.len());
}

#[test]
fn the_least_important_goes_first_and_nothing_is_cut_in_half() {
    let known = huge();
    let all: Vec<String> =
        sections(&known).into_iter().map(|s| s.markdown).filter(|m| !m.is_empty()).collect();
    for budget in (0..120_000).step_by(997) {
        let text = summary(&known, budget);
        assert!(text.len() <= budget, "{} > {budget}", text.len());
        // What is there is whole.
        let mut rest = text.as_str();
        for section in &all {
            rest = rest.strip_prefix(section.as_str()).map_or(rest, |rest| rest.trim_start_matches('\n'));
        }
        assert!(rest.is_empty() || rest.starts_with("_Left out for lack of room: "), "{budget}: {rest:.80}");
    }
    assert!(summary(&known, 20_000).starts_with("### ❌"));
    assert_eq!(summary(&known, 10), "");
}

proptest! {
    #[test]
    fn hostile_text_adds_no_markup(text in hostile()) {
        let html = github_html(&summary(&samples::summary(&samples::poisoned(&text)), ROOMY));
        let harmless = github_html(&summary(&samples::summary(&samples::poisoned("harmless")), ROOMY));
        // Tags in order, without text: the same whatever the text is, except that empty parts are left out.
        if !text.trim().is_empty() {
            for tag in ["<a ", "<a>", "<img", "<script", "<del>", "<em>", "<input", "<sup", "<math", "<blockquote", "<hr", "<b>"] {
                prop_assert!(!html.contains(tag), "{} in {}", tag, html);
            }
            for tag in ["<details>", "</details>", "<h3>", "<table>"] {
                prop_assert_eq!(html.matches(tag).count(), harmless.matches(tag).count(), "{}", html);
            }
        }
    }
}
