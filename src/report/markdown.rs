//! The job summary: what happened to one release, as GitHub-flavoured Markdown.
//! Pure. Every piece of text that is not a literal here goes through `markdown_cell` or `markdown_code_block`.

use std::fmt::Write as _;

use super::text::{markdown_cell, markdown_code_block};
use super::wording::{self, seconds};
use super::{Holder, Outcome, Owner, Summary};
use crate::release::Revision;

/// Rows of a history table.
const HISTORY: usize = 10;
/// Rows of any other table or list.
const ROWS: usize = 20;
/// Last lines of Helm's stderr.
const ERROR_LINES: usize = 40;
/// Room kept for the note that something was left out.
const NOTE: usize = 80;

/// A part that stands alone, so that leaving it out never cuts Markdown in half.
struct Section {
    /// What it is called when it is left out.
    name: &'static str,
    /// Greater means missed more.
    weight: u8,
    markdown: String,
}

/// The summary of a run, in at most `budget` bytes. Least important parts are left out first and a note names them; if
/// not even the first sentence fits, the answer is empty.
pub fn summary(summary: &Summary, budget: usize) -> String {
    let mut sections = sections(summary);
    sections.retain(|section| !section.markdown.is_empty());
    let mut left_out: Vec<&str> = Vec::new();
    loop {
        let text = join(&sections, &left_out);
        if text.len() <= budget {
            return text;
        }
        let least = sections.iter().enumerate().min_by_key(|(_, section)| section.weight).map(|(at, _)| at);
        match least {
            Some(at) if sections.len() > 1 => left_out.push(sections.remove(at).name),
            _ => break,
        }
    }
    // Only the headline is left. Without the note it may still fit.
    sections.pop().map(|section| section.markdown).filter(|text| text.len() <= budget).unwrap_or_default()
}

fn join(sections: &[Section], left_out: &[&str]) -> String {
    let mut text = sections.iter().map(|section| section.markdown.as_str()).collect::<Vec<_>>().join("\n");
    if !left_out.is_empty() {
        text.reserve(NOTE);
        let _ = writeln!(text, "\n_Left out for lack of room: {}._", left_out.join(", "));
    }
    text
}

/// All sections in reading order.
fn sections(summary: &Summary) -> Vec<Section> {
    let failed = !summary.outcome.is_some_and(Outcome::is_success);
    let section = |name, weight, markdown| Section { name, weight, markdown };
    let mut sections = vec![
        section("headline", 255, headline(summary)),
        section("helm's error", 90, if failed { helm_error(summary) } else { String::new() }),
        section("next commands", 85, next(summary)),
        section("pods", 70, if failed { pods(summary) } else { String::new() }),
        section("warning events", 30, if failed { events(summary) } else { String::new() }),
        section("repair", 80, repair(summary)),
        section("lock", 60, lock(summary)),
        section("warnings", 50, warnings(summary)),
    ];
    sections.extend(histories(summary));
    sections.push(section("run", 20, run(summary)));
    sections
}

fn headline(summary: &Summary) -> String {
    let icon = match summary.outcome {
        Some(Outcome::Deployed | Outcome::Uninstalled) => "✅",
        Some(Outcome::Failed | Outcome::LockLost) => "❌",
        Some(Outcome::RolledBack) => "↩️",
        Some(Outcome::Refused) => "⛔",
        Some(Outcome::LockTimeout) => "🔒",
        Some(Outcome::Cancelled) | None => "🛑",
    };
    let mut text = format!("### {icon} {}\n", markdown_cell(&wording::headline(summary)));
    let mut details = Vec::new();
    if !summary.reason.is_empty() {
        details.push(sentence(&summary.reason));
    }
    if let Some(repair) = summary.repair.as_ref().filter(|repair| !repair.steps.is_empty()) {
        details.push(format!("Repaired first by {}.", markdown_cell(&repair.strategy)));
    }
    let took = wording::took(summary);
    if !took.is_empty() {
        details.push(sentence(&took));
    }
    if !details.is_empty() {
        let _ = writeln!(text, "\n{}", details.join(" "));
    }
    text
}

/// A fragment as a sentence: these stand in a paragraph, unlike the lines of a terminal.
fn sentence(fragment: &str) -> String {
    let mut chars = fragment.trim().chars();
    let upper: String = chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default();
    let stop = if upper.ends_with(['.', '!', '?', ':']) { "" } else { "." };
    format!("{}{stop}", markdown_cell(&upper))
}

fn helm_error(summary: &Summary) -> String {
    let Some(helm) = &summary.helm else { return String::new() };
    let mut text = String::new();
    if !helm.error.trim().is_empty() {
        let _ = write!(text, "**Helm's error**\n\n{}", markdown_code_block(&helm.error, "text", ERROR_LINES));
    }
    if !helm.waiting_for.is_empty() {
        let waiting = wording::workloads(&helm.waiting_for, ROWS);
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}Last waited for: {}.", markdown_cell(&waiting));
    }
    text
}

fn next(summary: &Summary) -> String {
    if summary.next.is_empty() {
        return String::new();
    }
    format!("**Next**\n\n{}", markdown_code_block(&summary.next.join("\n"), "sh", ROWS))
}

fn pods(summary: &Summary) -> String {
    let rows = summary.pods.iter().map(|pod| {
        let who = if pod.container.is_empty() {
            pod.pod.clone()
        } else {
            format!("{} / {}", pod.pod, pod.container)
        };
        vec![who, pod.reason.clone(), pod.restarts.to_string(), pod.message.clone()]
    });
    titled_table(
        "Pods that are not ready",
        &["Pod / container", "Reason", "Restarts", "Message"],
        rows.collect(),
    )
}

fn events(summary: &Summary) -> String {
    let rows = summary.events.iter().map(|event| {
        vec![event.object.clone(), event.reason.clone(), event.count.to_string(), event.message.clone()]
    });
    titled_table("Recent warning events", &["Object", "Reason", "Seen", "Message"], rows.collect())
}

fn repair(summary: &Summary) -> String {
    let Some(repair) = &summary.repair else { return String::new() };
    let done = !repair.steps.is_empty();
    let title = if done { "Repaired" } else { "Planned, but not repaired" };
    let mut text = format!("**{title}: {}**\n\n", markdown_cell(&repair.strategy));
    let _ = writeln!(text, "- Found: {}", markdown_cell(&repair.finding));
    if !repair.why.is_empty() {
        let _ = writeln!(text, "- Why so: {}", markdown_cell(&repair.why));
    }
    for step in repair.steps.iter().take(ROWS) {
        let _ = writeln!(text, "- Done: {}", markdown_cell(step));
    }
    if repair.steps.len() > ROWS {
        let _ = writeln!(text, "- and {} more steps", repair.steps.len() - ROWS);
    }
    if !repair.backup.is_empty() {
        let _ = writeln!(text, "- Backup: {}", markdown_cell(&repair.backup));
    }
    text
}

fn lock(summary: &Summary) -> String {
    let lock = &summary.lock;
    let mut text = String::new();
    let mut other = |what: &str, holder: &Holder| {
        let held = markdown_cell(&wording::held(holder));
        let _ = writeln!(text, "- {what}: {held}, {}", run_link(&holder.owner, &summary.subject.owner));
    };
    if let Some(holder) = &lock.taken_over {
        other("Taken over from a dead run", holder);
    }
    if let Some(holder) = lock.waited_for.as_ref().filter(|holder| lock.taken_over.as_ref() != Some(holder)) {
        other(&format!("Waited {} for", seconds(lock.waited_seconds)), holder);
    }
    if text.is_empty() { text } else { format!("**Lock**\n\n{text}") }
}

fn warnings(summary: &Summary) -> String {
    if summary.warnings.is_empty() {
        return String::new();
    }
    let mut text = "**Warnings**\n\n".to_owned();
    for warning in summary.warnings.iter().take(ROWS) {
        let _ = writeln!(text, "- ⚠️ {}", markdown_cell(warning));
    }
    if summary.warnings.len() > ROWS {
        let _ = writeln!(text, "- and {} more", summary.warnings.len() - ROWS);
    }
    text
}

/// Before and after, or one table when nothing changed or only one is known.
fn histories(summary: &Summary) -> Vec<Section> {
    let before = |title| Section {
        name: "history before",
        weight: 40,
        markdown: history(title, &summary.before, &[]),
    };
    if summary.before == summary.after {
        return vec![before("History, unchanged")];
    }
    if summary.after.is_empty() && summary.outcome != Some(Outcome::Uninstalled) {
        return vec![before("History before")];
    }
    let after = history("History after", &summary.after, &summary.before);
    vec![before("History before"), Section { name: "history after", weight: 65, markdown: after }]
}

/// The last rows, newest last; the status in bold where it is not as in `before`.
fn history(title: &str, history: &[Revision], before: &[Revision]) -> String {
    if history.is_empty() {
        return String::new();
    }
    let skipped = history.len().saturating_sub(HISTORY);
    let mut text = format!(
        "**{title}**{}\n\n",
        if skipped > 0 { format!(" (last {HISTORY} of {})", history.len()) } else { String::new() }
    );
    text.push_str("| Revision | Status | Updated | Chart | App version | Description |\n");
    text.push_str("| ---: | --- | --- | --- | --- | --- |\n");
    for row in &history[skipped..] {
        let known = before.iter().find(|known| known.revision == row.revision);
        let changed = !before.is_empty() && known.is_none_or(|known| known.status != row.status);
        let bold = if changed { "**" } else { "" };
        let _ = writeln!(
            text,
            "| {} | {bold}{}{bold} | {} | {} | {} | {} |",
            row.revision,
            row.status.as_str(),
            markdown_cell(&wording::time(&row.updated)),
            markdown_cell(&row.chart),
            markdown_cell(&row.app_version),
            markdown_cell(&wording::description(row)),
        );
    }
    text
}

fn titled_table(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text =
        format!("**{title}**\n\n| {} |\n|{}\n", columns.join(" | "), " --- |".repeat(columns.len()));
    for row in rows.iter().take(ROWS) {
        let cells: Vec<String> = row.iter().map(|cell| markdown_cell(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    if rows.len() > ROWS {
        let _ = writeln!(text, "\nand {} more", rows.len() - ROWS);
    }
    text
}

/// Who ran what, folded.
fn run(summary: &Summary) -> String {
    let subject = &summary.subject;
    let owner = &subject.owner;
    let mut text = "<details><summary>Run</summary>\n\n".to_owned();
    let mut item = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "- {name}: {value}");
        }
    };
    item("Run", run_link(owner, owner));
    item("Started by", markdown_cell(&owner.actor));
    item("Commit", markdown_cell(&owner.commit));
    item("Ref", markdown_cell(&owner.git_ref));
    item("Workflow", markdown_cell(&owner.workflow));
    item("Job", markdown_cell(&owner.job));
    item("Helm flags", markdown_cell(&subject.helm_flags.join(" ")));
    item("Helm", summary.helm.as_ref().map(|helm| markdown_cell(&helm.version)).unwrap_or_default());
    item("Lock", markdown_cell(&summary.lock.id));
    item("Lease", markdown_cell(&summary.lock.lease));
    item("Exit code", summary.exit_code.map(|code| code.to_string()).unwrap_or_default());
    text.push_str("\n</details>\n");
    text
}

/// The run in words, its URL as a link if it leads to where we run ourselves: anybody who may write a Lease can put any
/// URL there.
fn run_link(owner: &Owner, ours: &Owner) -> String {
    let words = wording::run(owner);
    let url = &owner.run_url;
    if is_plain_url(url) && origin(url).is_some() && origin(url) == origin(&ours.run_url) {
        let rest = words.strip_prefix(url.as_str()).unwrap_or_default();
        return format!("<{url}>{}", markdown_cell(rest));
    }
    markdown_cell(&words)
}

/// Nothing in it that Markdown or a browser could take for anything but a path.
fn is_plain_url(url: &str) -> bool {
    url.len() <= 300 && url.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/:".contains(&b))
}

/// `https://host:port`.
fn origin(url: &str) -> Option<&str> {
    let host = url.find("://").filter(|at| matches!(&url[..*at], "https" | "http"))? + 3;
    let end = url[host..].find('/').map_or(url.len(), |at| host + at);
    (end > host).then(|| &url[..end])
}

#[cfg(test)]
#[path = "markdown_tests.rs"]
mod tests;
