//! What stands at the end of the log: the outcome, why, what shows it and what to do; then what changed, the history and
//! the durations. Pure.
//!
//! Nothing is said twice, by construction: every text goes through [`Told`], which takes none that is a part of another.

use super::{
    Outcome, Summary,
    line::Line,
    terminal::{self, changed, durations, of_object, revision, slashed},
};
use crate::{
    color::Severity,
    display::Volume,
    health::{Finding, Health},
    lock::holder,
    release::Revision,
    text::{duration, shorten, terminal_safe},
};

/// Rows of the history.
const HISTORY: usize = 3;
/// Lines that show a cause.
const EVIDENCE: usize = 4;
/// Lines of what to do.
const TODO: usize = 4;

/// What stands at the end, each text once.
pub(super) fn lines(summary: &Summary, volume: Volume) -> Vec<Line> {
    let mut told = Told::default();
    let outcome = terminal::outcome(summary);
    told.once(&outcome);
    // Why and what to do matter most: they are told before what may repeat them.
    let why = why(summary).and_then(|why| told.once(&why));
    let todo: Vec<String> = summary.next.iter().filter_map(|next| told.once(next)).collect();
    let undo = summary.repair.as_ref().filter(|repair| !repair.backup.is_empty());
    let undo = undo.and_then(|repair| told.once(&format!("helm-guard restore {}", repair.backup)));
    let limit = if volume == Volume::Verbose { usize::MAX } else { EVIDENCE };
    let evidence = evidence(summary, why.as_deref().unwrap_or_default(), volume);
    let evidence: Vec<String> = evidence.iter().filter_map(|seen| told.once(seen)).take(limit).collect();

    let (verb, severity, text) = headline(summary);
    let mut out = vec![Line::said(verb, severity, &text, &outcome)];
    let (word, label) = if is_failure(summary) { ("Cause", "cause") } else { ("Reason", "reason") };
    out.extend(why.map(|why| Line::said(word, severity, &why, &format!("{label}: {why}"))));
    out.extend(evidence.iter().map(|seen| Line::detail(seen)));
    if !todo.is_empty() && severity != Severity::Ok {
        // Beside the commands it would be copied with them.
        out.push(Line::said("What to do", Severity::None, "", ""));
    }
    let limit = if volume == Volume::Verbose { usize::MAX } else { TODO };
    out.extend(todo.iter().take(limit).map(|next| Line::hint(next)));
    let block = out.into_iter().map(|line| line.at(Volume::Quiet));
    let mut out: Vec<Line> = std::iter::once(Line::gap()).chain(block).collect();
    out.extend(facts(summary, volume, undo, &mut told));
    out
}

/// Takes each text once.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    /// The text, unless it is a part of one that was told, or one of them is a part of it.
    fn once(&mut self, text: &str) -> Option<String> {
        let text = terminal_safe(text);
        let is_told = self.0.iter().any(|told| told.contains(&text) || text.contains(told.as_str()));
        if text.is_empty() || is_told {
            return None;
        }
        self.0.push(text.clone());
        Some(text)
    }
}

/// The reason for the outcome in one line: the first cause, else what Helm or the stage says.
fn why(summary: &Summary) -> Option<String> {
    let more = match summary.causes.len().saturating_sub(1) {
        0 => String::new(),
        1 => " (and one more cause)".to_owned(),
        more => format!(" (and {more} more causes)"),
    };
    let cause = summary.causes.first().map(|cause| format!("{}{more}", shorten(&of_object(cause), 400)));
    cause.or_else(|| (!summary.reason.is_empty()).then(|| summary.reason.clone()))
}

/// What shows the cause, the most telling first.
fn evidence(summary: &Summary, why: &str, volume: Volume) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(cause) = summary.causes.first() {
        // A log tells most at its end.
        let seen = match &cause.evidence[..] {
            [first, .., last] if volume < Volume::Verbose => vec![first, last],
            all => all.iter().collect(),
        };
        out.extend(seen.into_iter().map(|seen| shorten(seen, 300)));
        // In Helm's words.
        out.push(summary.reason.clone());
        let shown = if volume < Volume::Verbose { 1 } else { usize::MAX };
        let others = summary.causes.iter().skip(1).take(shown);
        out.extend(others.map(|other| format!("also {}", shorten(&of_object(other), 300))));
    }
    // The first is the reason.
    let refused = if summary.foreseen() { stopping_findings(summary) } else { Vec::new() };
    out.extend(refused.into_iter().skip(1));
    if let (Some(Outcome::LockTimeout), Some(held)) = (summary.outcome, &summary.lock.waited_for) {
        let facts = holder::facts(held).into_iter().filter(|(_, value)| !why.contains(value.as_str()));
        out.extend(facts.map(|(fact, value)| format!("{fact}: {value}")));
    }
    // One pod stands for the others: most often they fail alike. A cause says more.
    if let Some(pod) = summary.pods.first().filter(|_| summary.causes.is_empty()) {
        let name = slashed(&pod.pod, &pod.container);
        let more = summary.pods.len() - 1;
        let more = if more > 0 { format!(" (and {more} more pods)") } else { String::new() };
        let message = if pod.message.is_empty() { String::new() } else { format!(": {}", pod.message) };
        out.push(format!("pod {name}{more}: {}, {} restarts{message}", pod.reason, pod.restarts));
    }
    out
}

fn stopping_findings(summary: &Summary) -> Vec<String> {
    let findings = summary.preflight.as_ref().map(|preflight| terminal::stopping(&preflight.findings));
    findings.unwrap_or_default().into_iter().map(crate::preflight::Finding::sentence).collect()
}

/// What only some read.
fn facts(summary: &Summary, volume: Volume, undo: Option<String>, told: &mut Told) -> Vec<Line> {
    let mut out = Vec::new();
    if let Some(repair) = &summary.repair {
        let (verb, word) =
            if summary.repaired() { ("Repair", "repaired") } else { ("Repair", "repair not done") };
        let by = format!("by {}", repair.strategy);
        out.extend(told.once(&format!("{word} {by}")).map(|plain| Line::fact(verb, &by, &plain)));
        out.extend(undo.map(|undo| Line::fact("Undo", &undo, &format!("to undo the repair: {undo}"))));
    }
    if let Some(changes) = &summary.changes {
        let text = changed(changes);
        out.extend(told.once(&text).map(|text| Line::fact("Changes", &text, &format!("changes {text}"))));
    }
    // After a deploy it is in the report; why it failed stands above.
    if summary.subject.command == "repair" {
        let text = health(summary).and_then(|health| told.once(&health));
        out.extend(text.map(|text| Line::fact("Health", &text, &format!("health: {text}"))));
    }
    let history = summary.last_history();
    let mut verb = "History";
    for row in history.iter().skip(history.len().saturating_sub(HISTORY)) {
        // Helm's description of a failure often repeats the cause.
        let bare = || Revision { description: String::new(), ..row.clone() };
        let text = told.once(&revision(row)).or_else(|| told.once(&revision(&bare())));
        out.extend(text.map(|text| Line::row(std::mem::take(&mut verb), &text)));
    }
    if volume == Volume::Verbose {
        let backup = (!summary.backup.is_empty()).then(|| told.once(&summary.backup)).flatten();
        out.extend(backup.map(|path| Line::fact("Backup", &path, &format!("backup: {path}"))));
        let stages = stages(summary);
        out.extend(told.once(&stages).map(|text| Line::fact("Stages", &text, &format!("stages: {text}"))));
    }
    let durations = durations(summary).and_then(|durations| told.once(&durations));
    out.extend(durations.map(|text| Line::fact("Took", &text, &text)));
    if !out.is_empty() {
        out.insert(0, Line::gap());
    }
    out
}

/// Health before and after, where that is news.
fn health(summary: &Summary) -> Option<String> {
    let health = terminal::health(&summary.health)?;
    let ails = |finding: &&Finding| finding.health != Health::Healthy;
    summary.health.before.iter().chain(&summary.health.after).find(ails)?;
    let reasons = summary.health.after.as_ref().filter(ails).map_or(&[][..], |after| &after.reasons);
    let why =
        if reasons.is_empty() { String::new() } else { format!(": {}", shorten(&reasons.join("; "), 200)) };
    Some(format!("{health}{why}"))
}

/// `waiting for the lock 3s, running helm 12s`.
fn stages(summary: &Summary) -> String {
    let stages = &summary.stages;
    let lasted = stages.iter().zip(stages.iter().skip(1)).map(|(stage, next)| {
        format!("{} {}", stage.name, duration(next.began_seconds - stage.began_seconds))
    });
    lasted.collect::<Vec<_>>().join(", ")
}

fn is_failure(summary: &Summary) -> bool {
    !matches!(summary.outcome, Some(outcome) if outcome.is_success() || outcome == Outcome::Outdated)
}

/// The outcome for a terminal: a verb, how it stands, and the rest of the sentence.
fn headline(summary: &Summary) -> (&'static str, Severity, String) {
    use Severity::{Error, Ok, Warning};
    let name = terminal::name(summary);
    let at = summary.revision().map(|revision| format!(" at revision {revision}")).unwrap_or_default();
    let command = terminal::command(summary);
    let of = format!("{command} of {name}");
    let state = terminal::state(summary);
    match summary.outcome {
        Some(Outcome::Deployed) => ("Deployed", Ok, format!("{name}{at}")),
        Some(Outcome::Uninstalled) => ("Uninstalled", Ok, name),
        Some(Outcome::Repaired) => ("Repaired", Ok, format!("{name}{state}")),
        Some(Outcome::Healthy) if command == "check" => {
            ("Checked", Ok, format!("{name}: nothing is certain to fail"))
        }
        Some(Outcome::Healthy) => ("Healthy", Ok, format!("{name} needs no repair{state}")),
        Some(Outcome::Failed) => ("Failed", Error, of),
        Some(Outcome::RolledBack) => ("Rolled back", Error, format!("{name}{at}: the {command} failed")),
        Some(Outcome::Refused) if summary.foreseen() => {
            ("Refused", Error, format!("{of} by the preflight: nothing was changed"))
        }
        Some(Outcome::Refused) => ("Refused", Error, format!("{of}: helm did not run")),
        Some(Outcome::Outdated) => ("Skipped", Warning, format!("{of}: a newer run outdates this one")),
        Some(Outcome::LockTimeout) => ("Timed out", Error, format!("{of}: the lock stayed taken")),
        Some(Outcome::LockLost) => ("Lost lock", Error, format!("{of}, while helm ran")),
        Some(Outcome::Cancelled) => ("Cancelled", Warning, of),
        None => ("Unfinished", Warning, format!("{of}: last known stage {}", terminal::stage(summary))),
    }
}
