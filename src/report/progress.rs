//! A release's progress: as lines where a change is a line, as a table on a terminal.
//! Pure. Every line is safe to print as it is.

use std::time::Duration;

use super::{
    Awaited,
    line::{Line, MARGIN},
};
use crate::fence::write_log::wrote;
use crate::{
    color::Severity,
    display::cut,
    fence::write_log::Writes,
    text::{duration, terminal_safe, to_the_second},
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

/// What to print of a change. Rows are drawn on a terminal, so that [`is_drawn`] ones are no lines there.
pub(super) fn lines(change: &Change) -> Vec<Line> {
    let (verb, text) = match change {
        Change::Row(row) => {
            let Count { ready, wanted } = row.count;
            let why = row.trouble.as_ref().filter(|trouble| !row.count.is_whole() && !trouble.is_early);
            let why = why.map(|trouble| format!(": {}", told(trouble))).unwrap_or_default();
            ("Rollout", format!("{} {ready}/{wanted} ready{why}", row.object))
        }
        Change::Began(hook) => ("Hook", format!("{hook}: started")),
        Change::Ended(hook) => {
            let ran = duration(hook.ran.as_secs_f64());
            let text = match &hook.ended {
                Some(Err(why)) if why.is_empty() => format!("{}: failed after {ran}", hook.object),
                Some(Err(why)) => format!("{}: failed after {ran}: {why}", hook.object),
                Some(Ok(())) | None => format!("{}: ended after {ran}", hook.object),
            };
            ("Hook", text)
        }
        Change::Log { hook, container, line } => {
            let of = if container.is_empty() { String::new() } else { format!(" of {container}") };
            ("Hook", format!("{hook}: log{of}: {line}"))
        }
        Change::Hidden(kind) => {
            let verbs = if kind == "pods/log" { "read" } else { "listed and watched" };
            ("Rollout", format!("{kind} may not be {verbs} here: nothing is said of them"))
        }
        Change::Partial(left) => {
            ("Rollout", format!("not all of the release is watched: it would take {left} more watches"))
        }
        Change::Enough => ("Rollout", "more changes are not told one by one".to_owned()),
    };
    let severity = match change {
        Change::Ended(Hook { ended: Some(Err(_)), .. }) => Severity::Error,
        _ => Severity::None,
    };
    let plain = if verb == "Hook" { format!("hook {text}") } else { format!("rollout: {text}") };
    vec![Line::said(verb, severity, &text, &plain)]
}

/// Is the change seen in the table that a terminal has?
pub(super) fn is_drawn(change: &Change) -> bool {
    matches!(change, Change::Row(_) | Change::Enough)
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

/// A row of the table: what it tells of, how far that is, for how long, and what is in the way.
struct Cells {
    severity: Severity,
    object: String,
    count: String,
    age: String,
    why: String,
}

/// The table, each line with how what it tells of stands: what goes on, then each object that is not ready, the most telling
/// first, and what is left in a line. No line is wider than the terminal.
pub(super) fn table(
    awaited: Awaited,
    elapsed: Duration,
    writes: Option<&Writes>,
    view: &View,
    width: Option<usize>,
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
    let cells: Vec<Cells> = hooks.chain(unready.into_iter().map(row)).collect();
    let shown = &cells[..cells.len().min(ROWS)];
    let widest = |of: fn(&Cells) -> &str| shown.iter().map(|row| of(row).width()).max().unwrap_or_default();
    // The pod in trouble says more than the end of a long name.
    let names = widest(|row| &row.object).min(NAMES).min(width.map_or(NAMES, |width| width * 2 / 5));
    let (counts, ages) = (widest(|row| &row.count), widest(|row| &row.age));
    // A wide terminal has room to stand below the verbs.
    let indent = if width.is_none_or(|width| width >= 100) { MARGIN } else { 2 };
    let fit = |line: String| match width {
        Some(width) => cut(&line, width),
        None => line,
    };
    let head = terminal_safe(&head);
    let mut lines =
        vec![(Severity::None, width.map_or(head.clone(), |width| cut(&head, width.saturating_sub(MARGIN))))];
    lines.extend(shown.iter().map(|row| {
        let Cells { severity, object, count, age, why } = row;
        let object = cut(&terminal_safe(object), names);
        let blanks = " ".repeat(names.saturating_sub(object.width()));
        let line = format!("{object}{blanks}  {count:>counts$}  {age:>ages$}  {}", terminal_safe(why));
        (*severity, fit(format!("{:indent$}{}", "", line.trim_end())))
    }));
    let left = match (cells.len() - shown.len(), ready) {
        (0, 0) => None,
        (0, ready) => Some(format!("{ready} ready")),
        (more, 0) => Some(format!("{more} more not ready")),
        (more, ready) => Some(format!("{more} more not ready, {ready} ready")),
    };
    let severity = if cells.is_empty() { Severity::Ok } else { Severity::None };
    lines.extend(left.map(|left| (severity, fit(format!("{:indent$}{left}", "")))));
    lines
}

fn row(row: &Row) -> Cells {
    let Count { ready, wanted } = row.count;
    let is_late = row.trouble.as_ref().is_none_or(|trouble| trouble.is_early);
    Cells {
        severity: if is_late { Severity::Warning } else { Severity::Error },
        object: row.object.clone(),
        count: format!("{ready}/{wanted}"),
        age: row.trouble.as_ref().map(|trouble| duration(trouble.lasts.as_secs_f64())).unwrap_or_default(),
        why: row.trouble.as_ref().map(seen).unwrap_or_default(),
    }
}

fn hook(hook: &Hook) -> Cells {
    let trouble = hook.trouble.as_ref().filter(|trouble| !trouble.is_early);
    Cells {
        severity: if trouble.is_some() { Severity::Error } else { Severity::None },
        object: hook.object.clone(),
        count: "hook".to_owned(),
        age: duration(hook.ran.as_secs_f64()),
        why: trouble.map_or_else(|| "running".to_owned(), seen),
    }
}

/// `CrashLoopBackOff: Pod/web-1 container web, and 2 more: back-off 40s`: the word first that a narrow terminal must have.
fn seen(trouble: &Trouble) -> String {
    let pod = &trouble.pod;
    let container =
        if pod.container.is_empty() { String::new() } else { format!(" container {}", pod.container) };
    let more = if trouble.more == 0 { String::new() } else { format!(", and {} more", trouble.more) };
    let message = if pod.message.is_empty() { String::new() } else { format!(": {}", pod.message) };
    format!("{}: Pod/{}{container}{more}{message}", pod.reason, pod.pod)
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
