//! The sentences of the report that a terminal, a log and the summaries share, and what is drawn while something lasts.
//! Pure, and without colour. What each event says is in `live.rs`, what stands at the end in `closing.rs`.

use super::{Event, HealthSummary, Outcome, Summary};
use crate::fence::write_log::wrote;
use crate::{
    color::Severity,
    diagnose::Cause,
    display::cut,
    fence::write_log::Writes,
    lock::holder::who,
    preflight::Finding,
    release::{Revision, diff::Changes},
    text::{duration, shorten, terminal_safe},
    workload::Workload,
};

/// Workloads in a progress line.
const FEW: usize = 3;

/// What is drawn while `event` is the latest, a line or a table of at most `width` columns; `None` where it belongs into the
/// log.
pub fn status(event: &Event, width: Option<usize>) -> Option<Vec<(Severity, String)>> {
    let line = |text: String| {
        let text = terminal_safe(&text);
        // The spinner stands in front of it.
        let width = width.map(|width| width.saturating_sub(super::line::MARGIN));
        Some(vec![(Severity::None, width.map_or(text.clone(), |width| cut(&text, width)))])
    };
    match event {
        Event::Progress { elapsed, writes, waiting_for } => {
            line(progress(&time(*elapsed), writes.as_ref(), waiting_for))
        }
        // The first one is a line that stays.
        Event::Rollout { elapsed, waiting_for } if !elapsed.is_zero() => {
            line(format!("waiting for the rollout of {}", rollout(*elapsed, waiting_for)))
        }
        Event::Seen { awaited, elapsed, writes, view } => {
            Some(super::progress::table(*awaited, *elapsed, writes.as_ref(), view, width))
        }
        // The first one is a line that stays.
        Event::LockWaiting { holder, waited, .. } if !waited.is_zero() => {
            line(format!("waiting for the lock for {}: held by {}", time(*waited), who(holder)))
        }
        _ => None,
    }
}

/// Of the preflight's findings those for which a deploy is refused: what is certain to fail, or where nothing is, what may.
pub(super) fn stopping(findings: &[Finding]) -> Vec<&Finding> {
    let certain: Vec<&Finding> = findings.iter().filter(|finding| finding.is_certain()).collect();
    let uncertain = || findings.iter().filter(|finding| finding.weight.stops_strict()).collect();
    if certain.is_empty() { uncertain() } else { certain }
}

/// `Stuck → Healthy`, or the one that is known.
pub(super) fn health(health: &HealthSummary) -> Option<String> {
    match (&health.before, &health.after) {
        (Some(before), Some(after)) => Some(format!("{} → {}", before.health, after.health)),
        (Some(before), None) => Some(format!("{} before", before.health)),
        (None, Some(after)) => Some(after.health.to_string()),
        (None, None) => None,
    }
}

/// `Deployment/web: container web crashes: exit code 1`.
pub(super) fn of_object(cause: &Cause) -> String {
    if cause.object.is_empty() {
        cause.summary.clone()
    } else {
        format!("{}: {}", cause.object, cause.summary)
    }
}

/// The outcome as a sentence without a full stop, for every sink.
pub(super) fn outcome(summary: &Summary) -> String {
    let (name, command) = (name(summary), command(summary));
    let at = summary.revision().map(|n| format!(" at revision {n}")).unwrap_or_default();
    match summary.outcome {
        Some(Outcome::Deployed) => format!("{name} is deployed{at}"),
        Some(Outcome::Uninstalled) => format!("{name} is uninstalled"),
        Some(Outcome::Repaired) => format!("{name} is repaired{}", state(summary)),
        Some(Outcome::Healthy) if command == "check" => {
            format!("check of {name}: nothing is certain to fail")
        }
        Some(Outcome::Healthy) => format!("{name} needs no repair{}", state(summary)),
        Some(Outcome::Failed) => format!("{command} of {name} failed"),
        Some(Outcome::RolledBack) => format!("{command} of {name} failed and was rolled back{at}"),
        Some(Outcome::Refused) if summary.foreseen() => {
            format!("{command} of {name} refused by the preflight: nothing was changed")
        }
        Some(Outcome::Refused) => format!("{command} of {name} refused: helm did not run"),
        Some(Outcome::Outdated) => format!("{command} of {name} skipped: a newer run outdates this one"),
        Some(Outcome::LockTimeout) => format!("{command} of {name} did not start: the lock stayed taken"),
        Some(Outcome::LockLost) => format!("{command} of {name} lost its lock while helm ran"),
        Some(Outcome::Cancelled) => format!("{command} of {name} was cancelled"),
        None => format!("{command} of {name} did not finish: last known stage {}", stage(summary)),
    }
}

/// `web in namespace shop`, as far as it is known.
pub(super) fn name(summary: &Summary) -> String {
    let subject = &summary.subject;
    if subject.release.is_empty() {
        "the release".to_owned()
    } else if subject.namespace.is_empty() {
        subject.release.clone()
    } else {
        format!("{} in namespace {}", subject.release, subject.namespace)
    }
}

/// `upgrade`.
pub(super) fn command(summary: &Summary) -> &str {
    if summary.subject.command.is_empty() { "run" } else { &summary.subject.command }
}

/// How a release stands that was not deployed just now: `: deployed at revision 3`.
pub(super) fn state(summary: &Summary) -> String {
    match (summary.revision(), summary.last_history().last()) {
        (Some(revision), _) => format!(": deployed at revision {revision}"),
        (None, Some(last)) => format!(": revision {} is {}", last.revision, last.status),
        (None, None) => ": it has no revision".to_owned(),
    }
}

/// Against which revision something has changed.
pub(super) fn since(changes: &Changes) -> String {
    match changes.since {
        Some(revision) => format!("since revision {revision}"),
        None => "of the first install".to_owned(),
    }
}

/// `since revision 12: chart web-1.0.0 → web-1.1.0, 1 object added, 2 changed`.
pub(super) fn changed(changes: &Changes) -> String {
    let versions = changes
        .versions
        .iter()
        .take(FEW)
        .map(|one| shorten(&format!("{} {} → {}", one.what, one.before, one.after), 160));
    let more = changes.versions.len().saturating_sub(FEW);
    let more = (more > 0).then(|| format!("{more} more versions"));
    let counts = [
        (changes.added.len(), "added"),
        (changes.changed.len(), "changed"),
        (changes.removed.len(), "removed"),
    ];
    let mut said = false;
    let counts = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| {
        let plural = if count == 1 { "" } else { "s" };
        let noun =
            if std::mem::replace(&mut said, true) { String::new() } else { format!(" object{plural}") };
        format!("{count}{noun} {what}")
    });
    let parts: Vec<String> = versions.chain(more).chain(counts).collect();
    let what = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
    format!("{}: {what}", since(changes))
}

/// `lock wait 3s, helm 12s`; `None` when neither happened.
pub(super) fn durations(summary: &Summary) -> Option<String> {
    let lock = &summary.lock;
    let waited = (!lock.id.is_empty() || lock.waited_for.is_some())
        .then(|| format!("lock wait {}", duration(lock.waited_seconds)));
    let helm = summary.helm.as_ref().filter(|helm| helm.started && helm.seconds > 0.0);
    let helm =
        helm.map(|helm| format!("helm {} {}", helm.version, duration(helm.seconds)).replace("  ", " "));
    let parts: Vec<String> = [waited, helm].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `name` and, when it is known, the container behind it.
pub(super) fn slashed(name: &str, part: &str) -> String {
    if part.is_empty() { name.to_owned() } else { format!("{name}/{part}") }
}

/// `Deployment/web 1/3 (CrashLoopBackOff)`, at most a few workloads.
pub(crate) fn waiting(workloads: &[Workload]) -> String {
    let mut parts: Vec<String> = workloads.iter().take(FEW).map(workload).collect();
    if workloads.len() > FEW {
        parts.push(format!("{} more", workloads.len() - FEW));
    }
    parts.join(", ")
}

fn workload(w: &Workload) -> String {
    let reasons = if w.reasons.is_empty() { String::new() } else { format!(" ({})", w.reasons.join(", ")) };
    format!("{}/{} {}/{}{reasons}", w.kind, w.name, w.ready, w.wanted)
}

/// `helm still runs after 15s: waiting for Deployment/web 1/3 (CrashLoopBackOff); 4 writes, the last: patch deployments/web`.
pub(super) fn progress(elapsed: &str, writes: Option<&Writes>, waiting_for: &[Workload]) -> String {
    let waiting = (!waiting_for.is_empty()).then(|| format!("waiting for {}", waiting(waiting_for)));
    let parts: Vec<String> = waiting.into_iter().chain(writes.map(wrote)).collect();
    let colon = if parts.is_empty() { "" } else { ": " };
    format!("helm still runs after {elapsed}{colon}{}", parts.join("; "))
}

/// `Deployment/web 1/3 (CrashLoopBackOff), 15s so far`.
pub(super) fn rollout(elapsed: std::time::Duration, waiting_for: &[Workload]) -> String {
    let so_far = if elapsed.is_zero() { String::new() } else { format!(", {} so far", time(elapsed)) };
    let what = if waiting_for.is_empty() { "what is brought back".to_owned() } else { waiting(waiting_for) };
    format!("{what}{so_far}")
}

pub(super) fn revision(row: &Revision) -> String {
    if !row.undecodable.is_empty() {
        return format!("revision {} unreadable: {}", row.revision, shorten(&row.undecodable, 120));
    }
    let chart = if row.chart.is_empty() { String::new() } else { format!(" {}", row.chart) };
    let about = shorten(&row.description, 160);
    let tail = if about.is_empty() { String::new() } else { format!(": {about}") };
    format!("revision {} {}{chart}{tail}", row.revision, row.status.as_str())
}

pub(super) fn stage(summary: &Summary) -> &str {
    if summary.stage.is_empty() { "starting" } else { &summary.stage }
}

fn time(elapsed: std::time::Duration) -> String {
    duration(elapsed.as_secs_f64())
}
