//! What each event says while the run goes on.
//! Pure.

use super::{Event, terminal};
use crate::{
    color::Severity,
    display::Volume,
    lock::holder::who,
    preflight,
    release::Status,
    report::{line::Line, progress},
    text::duration,
};

/// Findings of the preflight that are shown.
const FINDINGS: usize = 20;

/// What to print when `event` happens; often nothing.
pub(super) fn lines(event: &Event) -> Vec<Line> {
    use Severity::{Error, Ok, Warning};
    match event {
        // Without a namespace the cluster is not reached yet, and this is said again.
        Event::Started(subject) if subject.namespace.is_empty() => Vec::new(),
        Event::Started(subject) => {
            let of = format!("{} in namespace {}", subject.release, subject.namespace);
            let verb = match subject.command.as_str() {
                "upgrade" => "Upgrading",
                "install" => "Installing",
                "rollback" => "Rolling back",
                "uninstall" => "Uninstalling",
                "check" => "Checking",
                "repair" => "Repairing",
                _ => "Starting",
            };
            one(verb, Severity::None, &of, &format!("{} of {of}", subject.command))
        }
        Event::Warning(text) => {
            vec![Line::said("Warning", Warning, text, &format!("warning: {text}")).at(Volume::Quiet)]
        }
        Event::LockWaiting { holder, waited, unlock } if waited.is_zero() => {
            let held = format!("held by {}", who(holder));
            let text = format!("for the lock: {held}");
            let mut out = one("Waiting", Warning, &text, &format!("waiting for the lock: {held}"));
            if !unlock.is_empty() {
                out.push(Line::hint(&format!("to free the lock: {unlock}")));
            }
            out
        }
        Event::LockWaiting { holder, waited, .. } => {
            let text = format!("for the lock, {} so far: held by {}", time(*waited), who(holder));
            one("Waiting", Warning, &text, &format!("waiting {text}"))
        }
        Event::RunOver { why, .. } => {
            let text = format!("the lock's holder is dead: {why}");
            one("Taking over", Warning, &text, &text)
        }
        Event::LockAcquired { lock_id, lease, waited, taken_over } => {
            let text = format!("lease {lease} in {} (lock {lock_id})", time(*waited));
            let plain = format!("lock {lock_id} taken in {}: lease {lease}", time(*waited));
            let mut out = one("Locked", Ok, &text, &plain);
            if let Some(dead) = taken_over {
                let text = format!("from a dead holder: {}", who(dead));
                out.extend(one("Taken over", Warning, &text, &format!("lock taken over {text}")));
            }
            out
        }
        Event::Looked(revisions) => match revisions.last() {
            Some(last) => {
                let severity = match last.status {
                    status if status.is_pending() => Warning,
                    Status::Failed => Warning,
                    _ => Severity::None,
                };
                let text = terminal::revision(last);
                one("Found", severity, &text, &format!("last revision: {text}"))
            }
            None => one("Found", Severity::None, "no revision yet", "no revision yet"),
        },
        Event::Proven { took } => {
            let text = format!("the new manifest, without error: {}", time(*took));
            one("Rendered", Ok, &text, &format!("new manifest renders without error: {}", time(*took)))
        }
        Event::Foreseen { findings, took, refuses } => foreseen(findings, &time(*took), *refuses),
        Event::StillMissing(findings) => findings.iter().take(FINDINGS).flat_map(finding).collect(),
        Event::Recreated(step) => one("Recreating", Warning, step, &format!("recreating: {step}")),
        Event::RepairPlanned { strategy, finding, why } => vec![
            Line::said("Needs repair", Warning, finding, &format!("repair needed: {finding}")),
            Line::said(
                "Repairing",
                Severity::None,
                &format!("by {strategy}: {why}"),
                &format!("repairing by {strategy}: {why}"),
            ),
        ],
        Event::BackedUp { path } => {
            verbose("Saved", &format!("all records: {path}"), &format!("all records saved: {path}"))
        }
        Event::BackupSaved { path, revisions } => {
            let list = revisions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            let plural = if revisions.len() == 1 { "" } else { "s" };
            let what = format!("record{plural} of revision{plural} {list}");
            one("Saved", Severity::None, &format!("{what}: {path}"), &format!("{what} saved: {path}"))
        }
        Event::Repaired(step) => one("Repaired", Ok, step, &format!("repaired: {step}")),
        Event::Settled(step) => one("Settled", Ok, step, &format!("settled: {step}")),
        Event::HelmStarted => one("Running", Severity::None, "helm", "running helm"),
        Event::HelmVersion(version) => verbose("Helm", version, &format!("helm version {version}")),
        Event::Progress { elapsed, writes, waiting_for } => {
            let text = terminal::progress(&time(*elapsed), writes.as_ref(), waiting_for);
            one("Running", Severity::None, &text, &text)
        }
        Event::Rollout { elapsed, waiting_for } => {
            let text = terminal::rollout(*elapsed, waiting_for);
            one(
                "Waiting",
                Severity::None,
                &format!("for the rollout of {text}"),
                &format!("rollout: waiting for {text}"),
            )
        }
        Event::RolledOut => one("Ready", Ok, "every workload is ready", "every workload is ready"),
        Event::Stopping { cause } => {
            one("Stopping", Warning, &format!("helm: {cause}"), &format!("stopping helm: {cause}"))
        }
        Event::HelmEnded { code, took, .. } => {
            let took = time(*took);
            match code {
                Some(0) => {
                    verbose("Finished", &format!("helm in {took}"), &format!("helm ended after {took}"))
                }
                Some(code) => {
                    let text = format!("helm after {took}: exit code {code}");
                    one("Failed", Error, &text, &format!("helm failed after {took}: exit code {code}"))
                }
                None => {
                    let text = format!("helm after {took}: ended by a signal");
                    one("Failed", Error, &text, &format!("helm ended after {took}: by a signal"))
                }
            }
        }
        Event::FaredBefore(found) => {
            let text = format!("{} before", found.health);
            verbose("Health", &text, &format!("health {text}"))
        }
        Event::Told(change) => progress::lines(change),
        // What stands at the end has these.
        Event::Disproven { .. }
        | Event::Diagnosed { .. }
        | Event::Trouble { .. }
        | Event::LookedAgain(_)
        | Event::Changed(_)
        | Event::HelmPhases(_)
        | Event::FaresAfter(_)
        | Event::LockKept(_)
        | Event::Seen { .. }
        | Event::Finished { .. } => Vec::new(),
    }
}

/// What the preflight found. What the deploy is refused for stands at the end, with what to do about it.
fn foreseen(findings: &[preflight::Finding], took: &str, refuses: bool) -> Vec<Line> {
    // Notes are only in the report.
    let told: Vec<_> = findings.iter().filter(|finding| !finding.weight.is_note()).collect();
    let stopping = if refuses { terminal::stopping(findings) } else { Vec::new() };
    let shown: Vec<_> = told.into_iter().filter(|finding| !stopping.contains(finding)).collect();
    let mut out: Vec<Line> = shown.iter().take(FINDINGS).flat_map(|one| finding(one)).collect();
    let more = shown.len().saturating_sub(FINDINGS);
    if more > 0 {
        let text = format!("{more} more findings, see the report");
        out.extend(one("Preflight", Severity::Warning, &text, &format!("preflight: {text}")));
    }
    if shown.is_empty() && stopping.is_empty() {
        let text = format!("with the API server in {took}: nothing is certain to fail");
        out.extend(verbose("Checked", &text, &format!("preflight: checked {text}")));
    }
    out
}

/// What was found, and what to do about it.
fn finding(finding: &preflight::Finding) -> Vec<Line> {
    let (word, severity) = match finding.is_certain() {
        true => ("will fail", Severity::Error),
        false => ("warning", Severity::Warning),
    };
    let sentence = finding.sentence();
    let (text, plain) = (format!("{word}: {sentence}"), format!("preflight: {word}: {sentence}"));
    let mut out = vec![Line::said("Preflight", severity, &text, &plain)];
    out.extend(finding.remedy.iter().map(|remedy| Line::hint(remedy)));
    out.into_iter().map(|line| line.at(Volume::Quiet)).collect()
}

fn one(verb: &'static str, severity: Severity, text: &str, plain: &str) -> Vec<Line> {
    vec![Line::said(verb, severity, text, plain)]
}

fn verbose(verb: &'static str, text: &str, plain: &str) -> Vec<Line> {
    vec![Line::said(verb, Severity::None, text, plain).at(Volume::Verbose)]
}

fn time(elapsed: std::time::Duration) -> String {
    duration(elapsed.as_secs_f64())
}
