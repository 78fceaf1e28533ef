//! The report for GitHub Actions: job summary, annotations and outputs.
//! Pure: text only, writing is the sink's. Text from elsewhere is inert in all of it.

use super::terminal::{durations, of_object, outcome, since, slashed, waiting};
use super::{Outcome, Summary, terminal, timeline};
use crate::diagnose::Cause;
use crate::lock::holder::who;
use crate::release::Revision;
use crate::text::folded;
use crate::text::{markdown_cell, markdown_code_block, terminal_safe, workflow_data, workflow_property};
use crate::{ci::run::Owner, lock::holder::Holder};

/// Rows of a history table.
const HISTORY: usize = 10;
/// Rows of the pod and event tables, and entries of a list.
const ROWS: usize = 20;
/// Annotations of one level that GitHub keeps for a step.
const ANNOTATIONS: usize = 10;

/// A part of the job summary that is shown whole or not at all.
struct Section {
    /// What a reader misses when it is left out.
    name: &'static str,
    /// The least important goes first.
    importance: u8,
    markdown: String,
}

/// The job summary as Markdown, in the order of what stands at the end of the log: outcome, cause, what to do; then what
/// shows it, what changed, the history, and what only some open. Never more than `budget` bytes: GitHub drops a larger one whole.
pub fn summary(summary: &Summary, budget: usize) -> String {
    let headline = format!("### {}\n", headline(summary));
    let unchanged = summary.before == summary.after;
    let mut sections: Vec<Section> = [
        causes(summary),
        reason(summary),
        next(summary),
        foreseen(summary),
        repair(summary),
        after_helm(summary),
        changes(summary),
        health(summary),
        pods(summary),
        error(summary),
        events(summary),
        warnings(summary),
        history_after(summary, unchanged),
        history_before(summary, unchanged),
        lock(summary),
        timing(summary),
        timeline::gantt(summary).map(|markdown| section("timeline", 35, markdown)),
        run(summary),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut left_out: Vec<&str> = Vec::new();
    loop {
        let text = join(&headline, &sections, &left_out);
        if text.len() <= budget {
            return text;
        }
        let least = sections.iter().enumerate().min_by_key(|(_, s)| s.importance).map(|(at, _)| at);
        match least {
            Some(at) => left_out.push(sections.remove(at).name),
            None if headline.len() <= budget => return headline,
            None => return String::new(),
        }
    }
}

/// Workflow commands, one a line, at most ten of each level.
pub fn annotations(summary: &Summary) -> Vec<String> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let mut notices = Vec::new();
    if !summary.outcome.is_some_and(Outcome::is_success) {
        let text = sentence(&outcome(summary), &summary.reason);
        let is_mild = summary.outcome == Some(Outcome::Cancelled) || summary.exit_code == Some(0);
        if is_mild { &mut warnings } else { &mut errors }.push(("helm-guard".to_owned(), text));
    }
    for cause in &summary.causes {
        let object = if cause.object.is_empty() { cause.id } else { &cause.object };
        errors.push((object.to_owned(), cause.summary.clone()));
    }
    // Causes say the same, and more.
    for pod in summary.pods.iter().filter(|_| summary.causes.is_empty()) {
        let text = sentence(&format!("{}, {} restarts", pod.reason, pod.restarts), &pod.message);
        errors.push((format!("pod {}", slashed(&pod.pod, &pod.container)), text));
    }
    warnings.extend(summary.warnings.iter().map(|text| ("helm-guard".to_owned(), text.clone())));
    if let Some(repair) = summary.repair.as_ref().filter(|_| summary.repaired()) {
        notices.push((
            format!("release repaired by {}", repair.strategy),
            sentence(&repair.finding, &repair.why),
        ));
    }
    if let Some(dead) = &summary.lock.taken_over {
        let how = because(&summary.lock.run_over);
        notices.push(("lock taken over".to_owned(), format!("from a dead holder{how}: {}", who(dead))));
    }
    [("error", errors), ("warning", warnings), ("notice", notices)]
        .into_iter()
        .flat_map(|(level, all)| all.into_iter().take(ANNOTATIONS).map(move |a| (level, a)))
        .map(|(level, (title, text))| {
            format!("::{level} title={}::{}", workflow_property(&title), workflow_data(&text))
        })
        .collect()
}

/// The step's outputs; what is not known is empty.
pub fn outputs(summary: &Summary, report_path: &str) -> Vec<(String, String)> {
    let number = |n: Option<u32>| n.map(|n| n.to_string()).unwrap_or_default();
    [
        ("outcome", summary.outcome.map(|o| o.as_str().to_owned()).unwrap_or_default()),
        ("revision", number(summary.revision())),
        ("previous-revision", number(summary.previous_revision())),
        ("repaired", summary.repaired().to_string()),
        ("waited-seconds", format!("{:.0}", summary.lock.waited_seconds.max(0.0))),
        ("lock-id", summary.lock.id.clone()),
        ("report", report_path.to_owned()),
        ("backup", summary.backup.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// An entry of the `GITHUB_OUTPUT` file. A delimiter that occurs in the value is made longer until it does not.
pub fn encode_output(name: &str, value: &str, delimiter: &str) -> String {
    let mut delimiter = delimiter.to_owned();
    while delimiter.is_empty() || value.contains(&delimiter) {
        delimiter.push('_');
    }
    format!("{name}<<{delimiter}\n{value}\n{delimiter}\n")
}

/// The summary of the step that ended what a killed run left.
pub fn settled(release: &str, namespace: &str, done: &[String]) -> String {
    let subject = markdown_cell(&format!("{release} in namespace {namespace}"));
    let mut out = format!("### 🧹 A killed run of {subject} is settled\n\n");
    for line in done.iter().take(ROWS) {
        out.push_str(&format!("- Done: {}\n", markdown_cell(line)));
    }
    out.push_str("\nThe release can be deployed again: run the job once more.\n");
    out
}

fn join(headline: &str, sections: &[Section], left_out: &[&str]) -> String {
    let mut out = headline.to_owned();
    for section in sections {
        out.push('\n');
        out.push_str(&section.markdown);
    }
    if !left_out.is_empty() {
        out.push_str(&format!("\n_Left out to stay within the size limit: {}._\n", left_out.join(", ")));
    }
    out
}

fn headline(summary: &Summary) -> String {
    let icon = match summary.outcome {
        Some(Outcome::Deployed | Outcome::Uninstalled | Outcome::Repaired | Outcome::Healthy) => "✅",
        Some(Outcome::RolledBack) => "↩️",
        Some(Outcome::Refused) => "⛔",
        Some(Outcome::Outdated) => "⏭️",
        Some(Outcome::LockTimeout) => "⏳",
        Some(Outcome::Cancelled) => "🛑",
        Some(Outcome::Failed | Outcome::LockLost) => "❌",
        None => "⚠️",
    };
    format!("{icon} {}", markdown_cell(&outcome(summary)))
}

/// Causes that are shown whole.
const CAUSES: usize = 5;

fn causes(summary: &Summary) -> Option<Section> {
    let mut out = String::new();
    for cause in summary.causes.iter().take(CAUSES) {
        out.push_str(&format!("**Cause:** {}\n\n", markdown_cell(&of_object(cause))));
        let evidence: Vec<String> = cause.evidence.iter().map(|line| terminal_safe(line)).collect();
        if !evidence.is_empty() {
            out.push_str(&markdown_code_block(&evidence.join("\n"), "text", ROWS));
            out.push('\n');
        }
    }
    for cause in summary.causes.iter().skip(CAUSES) {
        out.push_str(&format!("- {}\n", markdown_cell(&of_object(cause))));
    }
    (!out.is_empty()).then(|| section("causes", 98, format!("{}\n", out.trim_end())))
}

fn reason(summary: &Summary) -> Option<Section> {
    // A cause may have Helm's words already.
    let told = summary.causes.iter().take(CAUSES);
    let is_told = |cause: &Cause| {
        of_object(cause).contains(&summary.reason)
            || cause.evidence.iter().any(|seen| seen.contains(&summary.reason))
    };
    let is_failure =
        !summary.outcome.is_some_and(|outcome| outcome.is_success() || outcome == Outcome::Outdated);
    let word = if is_failure && summary.causes.is_empty() { "Cause" } else { "Reason" };
    let markdown = format!("**{word}:** {}\n", markdown_cell(&summary.reason));
    let is_new = !summary.reason.is_empty() && !told.into_iter().any(is_told);
    is_new.then(|| section("reason", 100, markdown))
}

fn repair(summary: &Summary) -> Option<Section> {
    let repair = summary.repair.as_ref()?;
    let word = if summary.repaired() { "Repaired" } else { "Repair planned, not done" };
    let mut out = format!("**{word}:** {}", markdown_cell(&repair.finding));
    out.push_str(&format!(
        "\n\n**Why {}:** {}\n\n",
        markdown_cell(&repair.strategy),
        markdown_cell(&repair.why)
    ));
    for step in repair.steps.iter().take(ROWS) {
        out.push_str(&format!("- Done: {}\n", markdown_cell(step)));
    }
    if !repair.backup.is_empty() {
        out.push_str(&format!("- Backup of the records: {}\n", markdown_cell(&repair.backup)));
    }
    Some(section("repair", 90, out))
}

/// What the API server has against the release, with the remedies folded.
fn foreseen(summary: &Summary) -> Option<Section> {
    let preflight = summary.preflight.as_ref()?;
    let mut out: String = preflight
        .recreated
        .iter()
        .take(ROWS)
        .map(|step| format!("- Recreating: {}\n", markdown_cell(step)))
        .collect();
    let findings = &preflight.findings;
    let rows = findings.iter().take(ROWS).map(|finding| {
        let word = match &finding.weight {
            weight if weight.is_certain() => "will fail",
            weight if weight.is_note() => "note",
            _ => "warning",
        };
        let change = match (finding.live.as_str(), finding.wanted.as_str()) {
            ("", wanted) => wanted.to_owned(),
            (live, "") => live.to_owned(),
            (live, wanted) => format!("{live} → {wanted}"),
        };
        let cause = match finding.weight.doubt() {
            "" => finding.cause.clone(),
            doubt => format!("{} (not certain: {doubt})", finding.cause),
        };
        [word, &finding.object, &finding.field, &change, &cause].map(str::to_owned).to_vec()
    });
    let table = table(&["Preflight", "Object", "Field", "Is → wanted", "Cause"], rows.collect());
    if !table.is_empty() {
        let gap = if out.is_empty() { "" } else { "\n" };
        out.push_str(&format!("{gap}{table}\n"));
        let remedies = findings.iter().take(ROWS).flat_map(|finding| {
            let title = format!("# {}", terminal_safe(&finding.object));
            std::iter::once(title).chain(finding.remedy.iter().map(|line| terminal_safe(line)))
        });
        let block = markdown_code_block(&remedies.collect::<Vec<_>>().join("\n"), "sh", 5 * ROWS);
        out.push_str(&format!("<details><summary>What to do about it</summary>\n\n{block}\n</details>\n"));
    }
    (!out.is_empty()).then(|| section("preflight", 92, out))
}

fn next(summary: &Summary) -> Option<Section> {
    // One line each: a line break in a name must not become a command of its own.
    let commands: Vec<String> = summary.next.iter().map(|command| terminal_safe(command)).collect();
    let block = markdown_code_block(&commands.join("\n"), "text", ROWS);
    (!commands.is_empty()).then(|| section("next commands", 95, format!("**What to do:**\n\n{block}")))
}

fn changes(summary: &Summary) -> Option<Section> {
    let changes = summary.changes.as_ref()?;
    let since = since(changes);
    if changes.is_nothing() {
        return Some(section("changes", 75, format!("**Changes {since}:** nothing\n")));
    }
    let objects = |what: &'static str, names: &[String]| {
        names.iter().map(move |name| vec![name.clone(), what.to_owned()]).collect::<Vec<_>>()
    };
    let versions =
        changes.versions.iter().map(|one| vec![one.what.clone(), format!("{} → {}", one.before, one.after)]);
    let rows = [
        versions.collect(),
        objects("added", &changes.added),
        objects("changed", &changes.changed),
        objects("removed", &changes.removed),
    ];
    let table = table(&["What", "Change"], rows.concat());
    Some(section("changes", 75, format!("**Changes {since}**\n\n{table}")))
}

/// How the release fared and how it fares, with the reasons folded.
fn health(summary: &Summary) -> Option<Section> {
    let mut out = format!("**Health:** {}\n", terminal::health(&summary.health)?);
    let sides = [("Before", &summary.health.before), ("After", &summary.health.after)];
    let reasons = sides.into_iter().flat_map(|(side, found)| {
        let reasons = found.iter().flat_map(|found| &found.reasons);
        reasons.map(move |reason| format!("- {side}: {}\n", markdown_cell(reason)))
    });
    let list: String = reasons.take(ROWS).collect();
    if !list.is_empty() {
        out.push_str(&format!("\n{}", folded("Why", &list)));
    }
    Some(section("health", 65, out))
}

fn pods(summary: &Summary) -> Option<Section> {
    let mut out = String::new();
    if let Some(helm) = summary.helm.as_ref().filter(|helm| !helm.waiting_for.is_empty()) {
        out.push_str(&format!("**Waiting for:** {}\n\n", markdown_cell(&waiting(&helm.waiting_for))));
    }
    let rows = summary.pods.iter().map(|p| {
        vec![slashed(&p.pod, &p.container), p.reason.clone(), p.restarts.to_string(), p.message.clone()]
    });
    out.push_str(&table(&["Pod", "Reason", "Restarts", "Message"], rows.collect()));
    (!out.is_empty()).then(|| section("pods", 85, out))
}

fn after_helm(summary: &Summary) -> Option<Section> {
    let list: String = summary
        .settled
        .iter()
        .take(ROWS)
        .map(|step| format!("- Settled: {}\n", markdown_cell(step)))
        .collect();
    (!list.is_empty()).then(|| section("what was settled", 70, list))
}

fn error(summary: &Summary) -> Option<Section> {
    let helm = summary.helm.as_ref()?;
    let failed = !helm.error.is_empty() && helm.code != Some(0);
    let block = markdown_code_block(&helm.error, "text", 40);
    failed.then(|| section("helm's error", 80, format!("**Helm's last words:**\n\n{block}")))
}

fn events(summary: &Summary) -> Option<Section> {
    let rows = summary
        .events
        .iter()
        .map(|e| vec![e.object.clone(), e.reason.clone(), e.count.to_string(), e.message.clone()]);
    let table = table(&["Warning event of", "Reason", "Count", "Message"], rows.collect());
    (!table.is_empty()).then(|| section("events", 60, table))
}

fn warnings(summary: &Summary) -> Option<Section> {
    let list: String =
        summary.warnings.iter().map(|text| format!("- Warning: {}\n", markdown_cell(text))).collect();
    (!list.is_empty()).then(|| section("warnings", 50, list))
}

fn history_after(summary: &Summary, unchanged: bool) -> Option<Section> {
    let title = if unchanged { "History, unchanged" } else { "History after" };
    revisions(title, &summary.after).map(|markdown| section("history after", 40, markdown))
}

fn history_before(summary: &Summary, unchanged: bool) -> Option<Section> {
    let (title, table) = titled("History before", &summary.before).filter(|_| !unchanged)?;
    Some(section("history before", 30, folded(&title, &table)))
}

/// The last revisions as a table under its title; `None` without any.
pub(crate) fn revisions(title: &str, rows: &[Revision]) -> Option<String> {
    titled(title, rows).map(|(title, table)| format!("**{title}**\n\n{table}"))
}

fn titled(title: &str, rows: &[Revision]) -> Option<(String, String)> {
    let last = &rows[rows.len().saturating_sub(HISTORY)..];
    let cells = last.iter().map(|row| {
        let about = if row.undecodable.is_empty() {
            row.description.clone()
        } else {
            format!("unreadable: {}", row.undecodable)
        };
        let status = row.status.as_str().to_owned();
        vec![
            row.revision.to_string(),
            status,
            row.chart.clone(),
            row.app_version.clone(),
            to_the_second(&row.updated),
            about,
        ]
    });
    let table = table(&["Revision", "Status", "Chart", "App", "Updated", "Description"], cells.collect());
    let earlier = rows.len() - last.len();
    let title = if earlier > 0 { format!("{title} ({earlier} earlier not shown)") } else { title.to_owned() };
    (!last.is_empty()).then_some((title, table))
}

fn lock(summary: &Summary) -> Option<Section> {
    let lock = &summary.lock;
    let mut out = String::new();
    if let Some(holder) = &lock.waited_for {
        out.push_str(&format!("- Waited for the lock, held by {}\n", linked_holder(holder, summary)));
    }
    if let Some(dead) = &lock.taken_over {
        let how = because(&markdown_cell(&lock.run_over));
        let dead = linked_holder(dead, summary);
        out.push_str(&format!("- Lock taken over from a dead holder{how}: {dead}\n"));
    }
    (!out.is_empty()).then(|| section("lock", 70, out))
}

fn timing(summary: &Summary) -> Option<Section> {
    durations(summary)
        .map(|text| section("durations", 65, format!("**Durations:** {}\n", markdown_cell(&text))))
}

fn run(summary: &Summary) -> Option<Section> {
    let subject = &summary.subject;
    let owner = &subject.owner;
    let helm = summary.helm.as_ref().map(|helm| helm.version.clone()).unwrap_or_default();
    let exit = summary.exit_code.map(|code| code.to_string()).unwrap_or_default();
    let rows: Vec<Vec<String>> = [
        ("Command", subject.command.clone()),
        ("Release", subject.release.clone()),
        ("Namespace", subject.namespace.clone()),
        ("Helm flags", subject.helm_flags.join(" ")),
        ("Helm", helm),
        ("Exit code", exit),
        ("Lock", summary.lock.id.clone()),
        ("Lease", summary.lock.lease.clone()),
        ("Attempt", owner.run_attempt.clone()),
        ("Workflow", owner.workflow.clone()),
        ("Job", owner.job.clone()),
        ("Ref", owner.git_ref.clone()),
        ("Commit", owner.commit.clone()),
        ("Actor", owner.actor.clone()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| vec![name.to_owned(), value])
    .collect();
    let table = table(&["Fact", "Value"], rows);
    let link = linked(&owner.name, &owner.run_url, owner);
    let link = if link.is_empty() { link } else { format!("Run {link}\n\n") };
    let markdown = folded("About this run", &format!("{link}{table}"));
    (!table.is_empty()).then(|| section("about this run", 20, markdown))
}

fn linked_holder(holder: &Holder, summary: &Summary) -> String {
    linked(&who(holder), &holder.owner.run_url, &summary.subject.owner)
}

/// Text that may begin with a run's URL, which becomes a link if it leads to where this run is itself: anybody who may
/// write a Lease can put any URL there. Escaped, a URL has a zero-width space in it and cannot be copied.
fn linked(text: &str, url: &str, ours: &Owner) -> String {
    let is_plain =
        url.len() <= 300 && url.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/:".contains(&b));
    let is_ours = origin(url).is_some() && origin(url) == origin(&ours.run_url);
    match text.strip_prefix(url) {
        Some(rest) if is_plain && is_ours => {
            // The blank in between is lost to the escaping.
            let blank = if rest.starts_with(' ') { " " } else { "" };
            format!("<{url}>{blank}{}", markdown_cell(rest))
        }
        _ => markdown_cell(text),
    }
}

/// `https://host:port`.
fn origin(url: &str) -> Option<&str> {
    let host = url.find("://").filter(|at| matches!(&url[..*at], "https" | "http"))? + 3;
    let end = url[host..].find('/').map_or(url.len(), |at| host + at);
    (end > host).then(|| &url[..end])
}

/// A time as Helm writes it, without the nanoseconds that make a table wide.
pub(crate) fn to_the_second(time: &str) -> String {
    let parsed = time.parse::<jiff::Timestamp>();
    parsed.map_or_else(|_| time.to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A table of untrusted cells; empty without rows.
fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut out = format!("| {} |\n|{}\n", header.join(" | "), " --- |".repeat(header.len()));
    for row in rows.iter().take(ROWS) {
        let cells: Vec<String> = row.iter().map(|cell| markdown_cell(cell)).collect();
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    if rows.len() > ROWS {
        out.push_str(&format!("\n… and {} more\n", rows.len() - ROWS));
    }
    out
}

fn section(name: &'static str, importance: u8, markdown: String) -> Section {
    Section { name, importance, markdown }
}

/// In parentheses behind a blank; nothing when it is not known.
fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

fn sentence(what: &str, why: &str) -> String {
    if why.is_empty() { what.to_owned() } else { format!("{what}: {why}") }
}

#[cfg(test)]
#[path = "github_tests.rs"]
mod tests;
