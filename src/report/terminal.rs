//! The report as lines for a terminal or a plain log.
//! Pure, and without colour: the sink decorates. Every line is safe to print as it is.

use super::{Event, HealthSummary, Outcome, Summary};
use crate::color::Severity;
use crate::lock::holder::{card, who};
use crate::text::duration;
use crate::text::prefixed;
use crate::text::{shorten, terminal_safe};
use crate::{
    diagnose::Cause,
    health::{Finding, Health},
    preflight,
    release::{Revision, diff::Changes},
};
use crate::{fence::write_log::Writes, workload::Workload};

/// Rows of the history in the closing report.
const HISTORY: usize = 4;
/// Workloads in a progress line.
const FEW: usize = 3;
/// Findings of the preflight that are shown.
const FINDINGS: usize = 20;

/// What to print when `event` happens; often nothing.
pub fn lines(event: &Event) -> Vec<String> {
    match event {
        // Without a namespace the cluster is not reached yet, and this is said again.
        Event::Started(subject) if subject.namespace.is_empty() => Vec::new(),
        Event::Started(subject) => {
            one(format!("{} of {} in namespace {}", subject.command, subject.release, subject.namespace))
        }
        Event::Warning(text) => one(format!("warning: {text}")),
        Event::LockWaiting { holder, waited, unlock } if waited.is_zero() => {
            let mut out = one(format!("waiting for the lock: held by {}", who(holder)));
            if !unlock.is_empty() {
                out.push(prefixed(&format!("hint: to end that hold: {unlock}")));
            }
            out
        }
        Event::LockWaiting { holder, waited, .. } => {
            one(format!("waiting for the lock, {} so far: held by {}", time(*waited), who(holder)))
        }
        Event::RunOver { why, .. } => one(format!("the lock's holder is dead: {why}")),
        Event::LockAcquired { lock_id, lease, waited, taken_over } => {
            let mut out = one(format!("lock {lock_id} taken in {}: lease {lease}", time(*waited)));
            if let Some(dead) = taken_over {
                out.push(prefixed(&format!("lock taken over from a dead holder: {}", who(dead))));
            }
            out
        }
        Event::Looked(revisions) => one(match revisions.last() {
            Some(last) => format!("last revision: {}", revision(last)),
            None => "no revision yet".to_owned(),
        }),
        Event::Proven { took } => one(format!("new manifest renders without error: {}", time(*took))),
        Event::Foreseen { findings, .. } => {
            // Of what nobody knows yet only the report tells.
            let told = || findings.iter().filter(|finding| !finding.weight.is_note());
            let more = told().count().saturating_sub(FINDINGS);
            let mut out: Vec<String> = told().take(FINDINGS).flat_map(finding).collect();
            if more > 0 {
                out.push(prefixed(&format!("preflight: {more} more findings, see the report")));
            }
            out
        }
        Event::StillMissing(findings) => findings.iter().take(FINDINGS).flat_map(finding).collect(),
        Event::Recreated(step) => one(format!("recreating: {step}")),
        Event::RepairPlanned { strategy, finding, why } => {
            vec![
                prefixed(&format!("repair needed: {finding}")),
                prefixed(&format!("repairing by {strategy}: {why}")),
            ]
        }
        // Of a deploy that goes well nobody needs it: it is in the report.
        Event::BackedUp { .. } => Vec::new(),
        Event::BackupSaved { path, revisions } => {
            let list = revisions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            let plural = if revisions.len() == 1 { "" } else { "s" };
            one(format!("record{plural} of revision{plural} {list} saved: {path}"))
        }
        Event::Repaired(step) => one(format!("repaired: {step}")),
        Event::Settled(step) => one(format!("settled: {step}")),
        Event::HelmStarted => one("running helm".to_owned()),
        Event::Progress { elapsed, writes, waiting_for } => {
            one(progress(&time(*elapsed), writes.as_ref(), waiting_for))
        }
        Event::Rollout { elapsed, waiting_for } => one(rollout(*elapsed, waiting_for)),
        Event::RolledOut => one("every workload is ready".to_owned()),
        Event::Stopping { cause } => one(format!("stopping helm: {cause}")),
        Event::HelmEnded { code, took, .. } => one(match code {
            Some(0) => return Vec::new(),
            Some(code) => format!("helm failed after {}: exit code {code}", time(*took)),
            None => format!("helm ended after {}: by a signal", time(*took)),
        }),
        // The closing report has these, the version too, which may be known only when Helm is through. Why Helm refused
        // stands above, in its own words.
        Event::Disproven { .. }
        | Event::HelmVersion(_)
        | Event::Diagnosed { .. }
        | Event::Trouble { .. }
        | Event::LookedAgain(_)
        | Event::Changed(_)
        | Event::HelmPhases(_)
        | Event::FaredBefore(_)
        | Event::FaresAfter(_)
        | Event::LockKept(_)
        | Event::Seen { .. }
        | Event::Finished { .. } => Vec::new(),
        Event::Told(change) => super::progress::lines(change, false),
    }
}

/// What was found, and what to do about it.
fn finding(finding: &preflight::Finding) -> Vec<String> {
    let word = if finding.is_certain() { "will fail" } else { "warning" };
    let mut out = one(format!("preflight: {word}: {}", finding.sentence()));
    out.extend(finding.remedy.iter().map(|remedy| prefixed(&format!("  hint: {remedy}"))));
    out
}

/// What the status says while `event` is the latest, a line or a table; `None` where it belongs into the log.
pub fn status(event: &Event) -> Option<Vec<(Severity, String)>> {
    let line = |text: String| Some(vec![(Severity::None, terminal_safe(&text))]);
    match event {
        Event::Progress { elapsed, writes, waiting_for } => {
            line(progress(&time(*elapsed), writes.as_ref(), waiting_for))
        }
        // The first one is a line that stays.
        Event::Rollout { elapsed, waiting_for } if !elapsed.is_zero() => line(rollout(*elapsed, waiting_for)),
        Event::Seen { awaited, elapsed, writes, view } => {
            Some(super::progress::table(*awaited, *elapsed, writes.as_ref(), view))
        }
        // The first one is a line that stays.
        Event::LockWaiting { holder, waited, .. } if !waited.is_zero() => {
            line(format!("waiting for the lock for {}: held by {}", time(*waited), who(holder)))
        }
        _ => None,
    }
}

/// The last words, at most twelve lines: pods and hints make room for a repair and for each other.
pub fn closing(summary: &Summary) -> Vec<String> {
    let mut out = one(outcome(summary));
    out.extend(causes(summary));
    if !summary.reason.is_empty() {
        out.push(prefixed(&format!("reason: {}", summary.reason)));
    }
    if let (Some(Outcome::LockTimeout), Some(holder)) = (summary.outcome, &summary.lock.waited_for) {
        out.extend(card(holder));
    }
    if let Some(repair) = &summary.repair {
        let word = if summary.repaired() { "repaired" } else { "repair not done" };
        out.push(prefixed(&format!("{word} by {}: {}", repair.strategy, shorten(&repair.finding, 200))));
        if !repair.backup.is_empty() {
            out.push(prefixed(&format!("to undo the repair: helm-guard restore {}", repair.backup)));
        }
    }
    // One pod stands for the others: most often they fail alike. A cause says more.
    if let Some(pod) = summary.pods.first().filter(|_| summary.causes.is_empty()) {
        let name = slashed(&pod.pod, &pod.container);
        let more = summary.pods.len() - 1;
        let more = if more > 0 { format!(" (and {more} more pods)") } else { String::new() };
        let message = if pod.message.is_empty() { String::new() } else { format!(": {}", pod.message) };
        out.push(prefixed(&format!("pod {name}{more}: {}, {} restarts{message}", pod.reason, pod.restarts)));
    }
    if let Some(changes) = &summary.changes {
        out.push(prefixed(&changed(changes)));
    }
    // Of a deploy it is in the report; why it failed stands above.
    if let Some(health) = health(&summary.health).filter(|_| summary.subject.command == "repair") {
        let ails = |finding: &&Finding| finding.health != Health::Healthy;
        let reasons = summary.health.after.as_ref().filter(ails).map_or(&[][..], |after| &after.reasons);
        let is_news = summary.health.before.iter().chain(&summary.health.after).any(|found| ails(&found));
        let why = if reasons.is_empty() {
            String::new()
        } else {
            format!(": {}", shorten(&reasons.join("; "), 200))
        };
        out.extend(is_news.then(|| prefixed(&format!("health: {health}{why}"))));
    }
    let history = summary.last_history();
    let rows = if summary.causes.is_empty() { HISTORY } else { HISTORY / 2 };
    out.extend(history.iter().skip(history.len().saturating_sub(rows)).map(|r| prefixed(&revision(r))));
    if let Some(durations) = durations(summary) {
        out.push(prefixed(&durations));
    }
    let room = 12usize.saturating_sub(out.len()).max(1);
    out.extend(summary.next.iter().take(room).map(|command| prefixed(&format!("hint: {command}"))));
    out
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

/// Why it failed: the first cause with what shows it, and the second.
fn causes(summary: &Summary) -> Vec<String> {
    let mut out = Vec::new();
    for (at, cause) in summary.causes.iter().take(2).enumerate() {
        let left = summary.causes.len() - 2.min(summary.causes.len());
        let more = if at == 1 && left > 0 { format!(" (and {left} more)") } else { String::new() };
        out.push(prefixed(&format!("cause: {}{more}", shorten(&of_object(cause), 400))));
        // What Helm says of it stands below.
        let is_new = |seen: &&String| {
            let words = seen
                .strip_prefix("helm: Error: ")
                .or_else(|| Some(seen.strip_prefix("HTTP ")?.split_once(": ")?.1));
            !summary.reason.contains(words.unwrap_or(seen).lines().next().unwrap_or_default())
        };
        // A log tells most at its end.
        let told: Vec<&String> = cause.evidence.iter().filter(|_| at == 0).filter(is_new).collect();
        let few = if told.len() > 2 { vec![told[0], told[told.len() - 1]] } else { told };
        out.extend(few.into_iter().map(|seen| prefixed(&format!("seen: {}", shorten(seen, 300)))));
    }
    out
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
    let subject = &summary.subject;
    let name = if subject.release.is_empty() {
        "the release".to_owned()
    } else if subject.namespace.is_empty() {
        subject.release.clone()
    } else {
        format!("{} in namespace {}", subject.release, subject.namespace)
    };
    let at = summary.revision().map(|n| format!(" at revision {n}")).unwrap_or_default();
    let command = if subject.command.is_empty() { "run" } else { &subject.command };
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

/// How a release stands that was not deployed just now: `: deployed at revision 3`.
fn state(summary: &Summary) -> String {
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

/// `changes since revision 12: chart web-1.0.0 → web-1.1.0, 1 object added, 2 changed`.
fn changed(changes: &Changes) -> String {
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
    format!("changes {}: {what}", since(changes))
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
fn progress(elapsed: &str, writes: Option<&Writes>, waiting_for: &[Workload]) -> String {
    let waiting = (!waiting_for.is_empty()).then(|| format!("waiting for {}", waiting(waiting_for)));
    let parts: Vec<String> = waiting.into_iter().chain(writes.map(wrote)).collect();
    let colon = if parts.is_empty() { "" } else { ": " };
    format!("helm still runs after {elapsed}{colon}{}", parts.join("; "))
}

/// `rollout: waiting for Deployment/web 1/3 (CrashLoopBackOff), 15s so far`.
fn rollout(elapsed: std::time::Duration, waiting_for: &[Workload]) -> String {
    let so_far = if elapsed.is_zero() { String::new() } else { format!(", {} so far", time(elapsed)) };
    let what = if waiting_for.is_empty() { "what is brought back".to_owned() } else { waiting(waiting_for) };
    format!("rollout: waiting for {what}{so_far}")
}

/// `4 writes, the last: patch deployments/web`.
pub(super) fn wrote(writes: &Writes) -> String {
    match writes.count {
        0 => "nothing written yet".to_owned(),
        1 => format!("1 write: {}", shorten(&writes.last, 120)),
        count => format!("{count} writes, the last: {}", shorten(&writes.last, 120)),
    }
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

fn stage(summary: &Summary) -> &str {
    if summary.stage.is_empty() { "starting" } else { &summary.stage }
}

fn time(elapsed: std::time::Duration) -> String {
    duration(elapsed.as_secs_f64())
}

fn one(text: String) -> Vec<String> {
    vec![prefixed(&text)]
}

#[cfg(test)]
#[path = "terminal_tests.rs"]
mod tests;
