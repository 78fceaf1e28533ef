//! A diagnosis for people and for programs.
//! Pure. What the cluster says is untrusted, and made harmless here.

use serde::Serialize;
use serde_json::Value;

use super::{Cause, Live, containers, list, number, text};
use crate::{
    display::Display,
    output::Format,
    table::aligned,
    text::terminal_safe,
    workload::{PodTrouble, WarningEvent},
};

/// Facts of one kind that are shown.
const MOST: usize = 20;

/// All that `diagnose` says of a release.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// Raised when a field changes its meaning or goes; a new field does not raise it.
    pub schema_version: u32,
    /// Release name.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// Status of its last revision; empty without one.
    pub status: String,
    /// The most telling first.
    pub causes: Vec<Cause>,
    /// Pods not ready.
    pub pods: Vec<PodTrouble>,
    /// Recent warning events, the newest first.
    pub events: Vec<WarningEvent>,
    /// Kinds that may not be read.
    pub hidden: Vec<String>,
}

/// Pods that are not ready, and what was warned of, the newest first: what is shown whether or not a rule applies.
pub fn facts(live: &Live) -> (Vec<PodTrouble>, Vec<WarningEvent>) {
    let unready = live.pods.iter().filter(|pod| !containers::is_ready(pod));
    let events = live.events.iter().rev().map(|event| WarningEvent {
        object: format!("{}/{}", text(event, "/involvedObject/kind"), text(event, "/involvedObject/name")),
        reason: text(event, "/reason").to_owned(),
        message: text(event, "/message").to_owned(),
        count: u32::try_from(number(event, "/count")).unwrap_or_default().max(1),
    });
    (unready.map(trouble).take(MOST).collect(), events.take(MOST).collect())
}

/// Why a pod is not ready, as far as one word says it.
pub(crate) fn trouble(pod: &Value) -> PodTrouble {
    let name = text(pod, "/metadata/name").to_owned();
    if let Some(reason) = containers::ended_by(pod) {
        let (reason, message) = (reason.to_owned(), text(pod, "/status/message").to_owned());
        return PodTrouble { pod: name, reason, message, ..PodTrouble::default() };
    }
    for seat in containers::of(pod) {
        let restarts = u32::try_from(number(seat.status, "/restartCount")).unwrap_or_default();
        let ended = seat.status.pointer("/state/terminated").filter(|ended| number(ended, "/exitCode") != 0);
        let told = match (seat.waits(), ended) {
            ("ContainerCreating" | "PodInitializing" | "", None) => continue,
            ("", Some(ended)) => {
                (text(ended, "/reason"), format!("exit code {}", number(ended, "/exitCode")))
            }
            (reason, _) => (reason, seat.message().to_owned()),
        };
        let (reason, message) = (told.0.to_owned(), told.1);
        return PodTrouble { pod: name, container: seat.name().to_owned(), reason, message, restarts };
    }
    let unplaced = list(pod, "/status/conditions")
        .iter()
        .find(|one| one["type"] == "PodScheduled" && one["status"] == "False" && one["reason"].is_string());
    let (reason, message) = match unplaced {
        Some(condition) => (text(condition, "/reason"), text(condition, "/message")),
        None => match (text(pod, "/status/reason"), text(pod, "/status/phase")) {
            ("", "Running" | "") => ("NotReady", text(pod, "/status/message")),
            ("", phase) => (phase, text(pod, "/status/message")),
            (reason, _) => (reason, text(pod, "/status/message")),
        },
    };
    PodTrouble { pod: name, reason: reason.to_owned(), message: message.to_owned(), ..PodTrouble::default() }
}

/// In a format, with a line break at the end.
pub fn render(diagnosis: &Diagnosis, format: Format) -> String {
    match format {
        Format::Table | Format::Wide => columns(diagnosis),
        // Neither can fail: the keys are strings.
        Format::Json => serde_json::to_string_pretty(diagnosis).unwrap_or_default() + "\n",
        Format::Yaml => serde_yaml::to_string(diagnosis).unwrap_or_default(),
    }
}

fn columns(diagnosis: &Diagnosis) -> String {
    let of = format!("{} in namespace {}", diagnosis.release, diagnosis.namespace);
    let status = if diagnosis.status.is_empty() { "without a revision" } else { &diagnosis.status };
    let found = match diagnosis.causes.len() {
        0 if diagnosis.pods.is_empty() && diagnosis.events.is_empty() => "nothing wrong is seen".to_owned(),
        0 => "no known cause; this was seen".to_owned(),
        1 => "1 cause".to_owned(),
        count => format!("{count} causes, the most telling first"),
    };
    let mut out = format!("{}\n", terminal_safe(&format!("{of} is {status}: {found}")));
    for (at, cause) in diagnosis.causes.iter().enumerate() {
        out.push('\n');
        for line in cause_lines(at + 1, cause) {
            out.push_str(&line);
            out.push('\n');
        }
    }
    if diagnosis.causes.is_empty() {
        out.push_str(&fact_columns(diagnosis));
    }
    if !diagnosis.hidden.is_empty() {
        let hidden = format!("not seen, no permission to read: {}", diagnosis.hidden.join(", "));
        out.push_str(&format!("\n{}\n", terminal_safe(&hidden)));
    }
    out
}

/// A cause as lines that are safe to print: what, what shows it, what to do.
fn cause_lines(number: usize, cause: &Cause) -> Vec<String> {
    let object = if cause.object.is_empty() { String::new() } else { format!("{}: ", cause.object) };
    let mut lines = vec![terminal_safe(&format!("{number}. {object}{} ({})", cause.summary, cause.id))];
    lines.extend(cause.evidence.iter().map(|line| format!("     {}", terminal_safe(line))));
    lines.extend(cause.remedy.iter().map(|line| format!("   → {}", terminal_safe(line))));
    lines
}

fn fact_columns(diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    let mut table = |header: [&str; 4], rows: Vec<[String; 4]>| {
        if rows.is_empty() {
            return;
        }
        let mut lines = vec![header.map(str::to_owned).to_vec()];
        let shown = |cell: &String| if cell.is_empty() { "-".to_owned() } else { terminal_safe(cell) };
        lines.extend(rows.iter().map(|row| row.iter().map(shown).collect()));
        out.push('\n');
        out.push_str(&aligned(lines, Display::default()));
    };
    let pods = diagnosis.pods.iter();
    let pods = pods.map(|p| [p.pod.clone(), p.reason.clone(), p.restarts.to_string(), p.message.clone()]);
    table(["POD", "REASON", "RESTARTS", "MESSAGE"], pods.collect());
    let events = diagnosis.events.iter();
    let events = events.map(|e| [e.object.clone(), e.reason.clone(), e.count.to_string(), e.message.clone()]);
    table(["WARNING EVENT OF", "REASON", "COUNT", "MESSAGE"], events.collect());
    out
}
