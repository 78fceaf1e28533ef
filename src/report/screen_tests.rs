//! What a person reads while it runs and when it is over: in a log, and on terminals of several widths.

use insta::assert_snapshot;
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::{line::Line, *};
use crate::{
    display::{Display, Volume},
    report::examples as ex,
    text::tests::hostile,
};

/// What is printed of a run: while it goes on, and at its end.
fn printed(events: &[Event], volume: Volume) -> Vec<Line> {
    let live = events.iter().flat_map(live::lines);
    let all = live.chain(closing::lines(&ex::summary(events), volume));
    all.filter(|line| line.is_shown(volume)).collect()
}

/// As a log has it, and a terminal that draws nothing (`TERM=dumb`).
fn log(events: &[Event], volume: Volume, color: bool) -> String {
    joined(printed(events, volume).iter().flat_map(|line| line.plain(color)))
}

fn screen(events: &[Event], width: Option<usize>, color: bool) -> String {
    let display = Display { color, width };
    joined(printed(events, Volume::Normal).iter().flat_map(|line| line.drawn(display)))
}

/// Escape sequences that a reader of a snapshot sees.
fn joined(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n").replace('\u{1b}', "␛")
}

fn shown(events: &[Event]) -> String {
    let (log, screen) = (log(events, Volume::Normal, false), screen(events, Some(80), false));
    format!("--- log\n{log}\n--- terminal of 80 columns\n{screen}")
}

#[test]
fn a_healthy_deploy() {
    assert_snapshot!(shown(&ex::healthy()));
}

#[test]
fn a_rebase_repair() {
    assert_snapshot!(shown(&ex::rebase_repair()));
}

#[test]
fn a_refusal_that_was_foreseen() {
    assert_snapshot!(shown(&ex::foreseen()));
}

#[test]
fn a_lock_timeout() {
    assert_snapshot!(shown(&ex::lock_timeout()));
}

#[test]
fn a_lock_whose_run_is_over() {
    assert_snapshot!(shown(&ex::run_over()));
}

#[test]
fn an_outdated_run() {
    assert_snapshot!(shown(&ex::outdated()));
}

#[test]
fn a_missing_permission() {
    assert_snapshot!(shown(&ex::refused()));
}

#[test]
fn a_cancelled_run() {
    assert_snapshot!(shown(&ex::cancelled()));
}

#[test]
fn a_killed_run() {
    assert_snapshot!(shown(&ex::killed()));
}

#[test]
fn a_failing_chart() {
    let run = ex::crash_loop();
    let parts = [
        ("log, or TERM=dumb", log(&run, Volume::Normal, false)),
        ("log in colour", log(&run, Volume::Normal, true)),
        ("quiet log", log(&run, Volume::Quiet, false)),
        ("verbose log", log(&run, Volume::Verbose, false)),
        ("terminal of 80 columns", screen(&run, Some(80), false)),
        ("terminal of 120 columns, in colour", screen(&run, Some(120), true)),
        ("terminal of unknown width", screen(&run, None, false)),
    ];
    let parts: Vec<String> = parts.into_iter().map(|(name, text)| format!("--- {name}\n{text}\n")).collect();
    assert_snapshot!(parts.concat());
}

fn examples() -> [(&'static str, Vec<Event>); 10] {
    [
        ("healthy", ex::healthy()),
        ("repaired", ex::rebase_repair()),
        ("failing", ex::crash_loop()),
        ("lock timeout", ex::lock_timeout()),
        ("run over", ex::run_over()),
        ("outdated", ex::outdated()),
        ("refused", ex::refused()),
        ("foreseen", ex::foreseen()),
        ("cancelled", ex::cancelled()),
        ("killed", ex::killed()),
    ]
}

/// The text of a line of the log, without what says of which kind it is.
fn told(line: &str) -> &str {
    let text = line.trim_start_matches("helm-guard: ").trim_start();
    let labels = ["cause: ", "reason: ", "hint: ", "health: ", "backup: ", "stages: "];
    labels.iter().find_map(|label| text.strip_prefix(label)).unwrap_or(text)
}

#[test]
fn nothing_stands_twice_at_the_end() {
    let mut runs: Vec<(&str, Vec<Event>)> = examples().into();
    // One word as every text: the worst that a chart can do.
    runs.push(("one word", ex::hostile_run("word")));
    for (name, events) in runs {
        for volume in [Volume::Quiet, Volume::Normal, Volume::Verbose] {
            let lines = closing::lines(&ex::summary(&events), volume);
            let lines: Vec<String> = lines.iter().flat_map(|line| line.plain(false)).collect();
            for (at, line) in lines.iter().enumerate() {
                let others = lines.iter().enumerate().filter(|(other, _)| *other != at);
                for (_, other) in others {
                    assert!(
                        !told(other).contains(told(line)),
                        "{name}: {line:?} is said in {other:?}: {lines:#?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_end_says_what_happened_why_and_what_to_do_before_anything_else() {
    for (name, events) in examples() {
        let summary = ex::summary(&events);
        let lines = log_of_end(&summary);
        assert!(lines[0].ends_with(&terminal::outcome(&summary)), "{name}: {lines:#?}");
        let hints = lines.iter().filter(|line| line.starts_with("helm-guard: hint: ")).count();
        assert_eq!(hints, summary.next.len().min(4), "{name}: {lines:#?}");
        let is_why = |line: &&String| line.contains(": cause: ") || line.contains(": reason: ");
        let has_why = !summary.reason.is_empty() || !summary.causes.is_empty();
        assert_eq!(
            lines.iter().skip(1).take(1).filter(is_why).count(),
            usize::from(has_why),
            "{name}: {lines:#?}"
        );
        let quiet = closing::lines(&summary, Volume::Quiet);
        let quiet =
            quiet.iter().filter(|line| line.is_shown(Volume::Quiet)).flat_map(|line| line.plain(false));
        let quiet: Vec<String> = quiet.collect();
        assert_eq!(quiet, lines[..quiet.len()], "{name}: what is quiet comes first");
        assert!(lines.len() <= 16, "{name}: {lines:#?}");
    }
}

fn log_of_end(summary: &Summary) -> Vec<String> {
    closing::lines(summary, Volume::Normal).iter().flat_map(|line| line.plain(false)).collect()
}

/// Only a word or a command that is to be copied may be wider.
#[test]
fn a_terminals_lines_are_no_wider_than_it_is() {
    for (name, events) in examples() {
        for width in [40, 80, 120] {
            for line in screen(&events, Some(width), false).lines() {
                let is_copied = ["helm-guard ", "kubectl "].iter().any(|program| line.contains(program));
                let is_word = line.split_whitespace().any(|word| word.width() + line::MARGIN > width);
                assert!(line.width() <= width || is_copied || is_word, "{name}, {width}: {line}");
            }
        }
    }
}

#[test]
fn how_a_repaired_release_fares_is_told() {
    let finding = |health, reasons: &[&str]| {
        let reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        Some(health::Finding { health, revision: 2, reasons })
    };
    let stuck = || finding(health::Health::Stuck, &["revision 2 is pending"]);
    let well = || finding(health::Health::Healthy, &[]);
    for (command, before, after, expected) in [
        ("repair", stuck(), well(), Some("helm-guard: health: Stuck → Healthy")),
        (
            "repair",
            stuck(),
            finding(health::Health::Missing, &["ConfigMap/one is not there"]),
            Some("helm-guard: health: Stuck → Missing: ConfigMap/one is not there"),
        ),
        ("repair", well(), well(), None),
        ("repair", None, None, None),
        ("upgrade", stuck(), well(), None),
    ] {
        let mut summary = Summary { health: HealthSummary { before, after }, ..Summary::default() };
        summary.subject.command = command.to_owned();
        let told: Vec<String> =
            log_of_end(&summary).into_iter().filter(|line| line.contains("health")).collect();
        assert_eq!(told.first().map(String::as_str), expected, "{command}");
    }
}

proptest! {
    #[test]
    fn hostile_text_stays_on_its_line(text in hostile()) {
        for line in printed(&ex::hostile_run(&text), Volume::Verbose) {
            for plain in line.plain(false) {
                prop_assert!(plain.starts_with("helm-guard: "));
                prop_assert!(!plain.chars().any(char::is_control), "{plain:?}");
            }
            for drawn in line.drawn(Display { color: false, width: Some(80) }) {
                prop_assert!(!drawn.chars().any(char::is_control), "{drawn:?}");
            }
        }
    }
}
