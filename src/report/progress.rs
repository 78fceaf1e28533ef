//! A release's progress: as lines where a change is a line, as a table on a terminal.
//! Pure. Every line is safe to print as it is.

use std::time::Duration;

use super::{Awaited, terminal::wrote};
use crate::fence::write_log::Writes;
use crate::text::{duration, prefixed, to_the_second};
use crate::{
    color::Severity,
    text::{shorten, terminal_safe},
};
use unicode_width::UnicodeWidthStr;

use crate::{
    progress::{Hook, Row, Trouble, View, throttle::Change},
    workload::rollout::Count,
};

/// Rows of the table, its head aside.
const ROWS: usize = 12;
/// Columns for the names of objects, at most.
const NAMES: usize = 44;

/// What to print of a change. On a terminal rows are drawn, and only what would be lost is a line.
pub(super) fn lines(change: &Change, is_drawn: bool) -> Vec<String> {
    match change {
        Change::Row(_) | Change::Enough if is_drawn => Vec::new(),
        Change::Row(row) => {
            let Count { ready, wanted } = row.count;
            let why = row.trouble.as_ref().filter(|trouble| !row.count.is_whole() && !trouble.is_early);
            let why = why.map(|trouble| format!(": {}", told(trouble))).unwrap_or_default();
            one(format!("rollout: {} {ready}/{wanted} ready{why}", row.object))
        }
        Change::Began(hook) => one(format!("hook {hook}: started")),
        Change::Ended(hook) => {
            let ran = duration(hook.ran.as_secs_f64());
            one(match &hook.ended {
                Some(Err(why)) if why.is_empty() => format!("hook {}: failed after {ran}", hook.object),
                Some(Err(why)) => format!("hook {}: failed after {ran}: {why}", hook.object),
                Some(Ok(())) | None => format!("hook {}: ended after {ran}", hook.object),
            })
        }
        Change::Log { hook, container, line } => {
            let of = if container.is_empty() { String::new() } else { format!(" of {container}") };
            one(format!("hook {hook}: log{of}: {line}"))
        }
        Change::Hidden(kind) => {
            let verbs = if kind == "pods/log" { "read" } else { "listed and watched" };
            one(format!("rollout: {kind} may not be {verbs} here: nothing is said of them"))
        }
        Change::Partial(left) => {
            one(format!("rollout: not all of the release is watched: it would take {left} more watches"))
        }
        Change::Enough => one("rollout: more changes are not told one by one".to_owned()),
    }
}

fn one(text: String) -> Vec<String> {
    vec![prefixed(&text)]
}

/// `Pod/web-1 container web: CrashLoopBackOff since 2026-06-01T10:02:11Z, and 2 more pods: back-off 40s`.
fn told(trouble: &Trouble) -> String {
    let since = match trouble.since.as_str() {
        "" => String::new(),
        since => format!(" since {}", to_the_second(since)),
    };
    let more = match trouble.more {
        0 => String::new(),
        1 => ", and 1 more pod".to_owned(),
        more => format!(", and {more} more pods"),
    };
    let message =
        if trouble.pod.message.is_empty() { String::new() } else { format!(": {}", trouble.pod.message) };
    format!("{}{since}{more}{message}", named(trouble))
}

/// `Pod/web-1 container web: CrashLoopBackOff`.
fn named(trouble: &Trouble) -> String {
    let pod = &trouble.pod;
    let container =
        if pod.container.is_empty() { String::new() } else { format!(" container {}", pod.container) };
    format!("Pod/{}{container}: {}", pod.pod, pod.reason)
}

/// The table, each line with how what it tells of stands: what goes on, then each object that is not ready, the most telling first, and what is left in a line.
pub(super) fn table(
    awaited: Awaited,
    elapsed: Duration,
    writes: Option<&Writes>,
    view: &View,
) -> Vec<(Severity, String)> {
    let what = match awaited {
        Awaited::Helm => "helm runs",
        Awaited::Rollout => "waiting for the rollout",
    };
    let mut head = format!("{what} for {}", duration(elapsed.as_secs_f64()));
    if let Some(writes) = writes {
        head.push_str(&format!(": {}", wrote(writes)));
    }
    let hooks = view.hooks.iter().filter(|hook| hook.ended.is_none()).map(hook);
    let mut unready: Vec<&Row> = view.rows.iter().filter(|row| !row.count.is_whole()).collect();
    let ready = view.rows.len() - unready.len();
    unready.sort_by_key(|row| row.trouble.as_ref().is_none_or(|trouble| trouble.is_early));
    let cells: Vec<(Severity, [String; 3])> = hooks.chain(unready.into_iter().map(row)).collect();
    let shown = cells.len().min(ROWS);
    let names = cells.iter().take(shown).map(|(_, [object, ..])| object.width());
    let width = names.max().unwrap_or_default().min(NAMES);
    let mut lines = vec![(Severity::None, terminal_safe(&head))];
    lines.extend(cells.iter().take(shown).map(|(tone, [object, count, why])| {
        let object = shorten(object, NAMES);
        let blanks = " ".repeat(width.saturating_sub(object.width()));
        let line = format!("{object}{blanks}  {count:>7}  {why}");
        (*tone, format!("  {}", padded(&line)))
    }));
    let left = match (cells.len() - shown, ready) {
        (0, 0) => None,
        (0, ready) => Some(format!("{ready} ready")),
        (more, 0) => Some(format!("{more} more not ready")),
        (more, ready) => Some(format!("{more} more not ready, {ready} ready")),
    };
    let tone = if cells.is_empty() { Severity::Ok } else { Severity::None };
    lines.extend(left.map(|left| (tone, format!("  {left}"))));
    lines
}

/// Safe, with its blanks: what makes a text safe takes many blanks for one.
fn padded(line: &str) -> String {
    line.split(' ').map(terminal_safe).collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

fn row(row: &Row) -> (Severity, [String; 3]) {
    let Count { ready, wanted } = row.count;
    let is_late = row.trouble.as_ref().is_none_or(|trouble| trouble.is_early);
    let why = row.trouble.as_ref().map(seen).unwrap_or_default();
    (
        if is_late { Severity::Warning } else { Severity::Error },
        [row.object.clone(), format!("{ready}/{wanted}"), why],
    )
}

fn hook(hook: &Hook) -> (Severity, [String; 3]) {
    let runs = format!("runs for {}", duration(hook.ran.as_secs_f64()));
    let (tone, why) = match &hook.trouble {
        Some(trouble) if !trouble.is_early => (Severity::Error, seen(trouble)),
        Some(_) | None => (Severity::None, runs),
    };
    (tone, [hook.object.clone(), "hook".to_owned(), why])
}

/// `Pod/web-1 container web: CrashLoopBackOff for 12s, and 2 more: back-off 40s`.
fn seen(trouble: &Trouble) -> String {
    let more = if trouble.more == 0 { String::new() } else { format!(", and {} more", trouble.more) };
    let message =
        if trouble.pod.message.is_empty() { String::new() } else { format!(": {}", trouble.pod.message) };
    format!("{} for {}{more}{message}", named(trouble), duration(trouble.lasts.as_secs_f64()))
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
