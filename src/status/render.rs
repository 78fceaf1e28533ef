//! A release's standing for people: columns for a terminal, Markdown for a job summary, JSON and YAML for programs.
//! Pure: text only. What records and Leases say is untrusted, and made harmless here.

use super::{Planned, Standing};
use crate::{
    cli::Format,
    lock::table::{State as LockState, aligned},
    report::{
        github,
        terminal::{to_the_second, who},
        text::{markdown_cell, terminal_safe},
    },
};

/// Revisions in the short form.
const FEW: usize = 10;

/// In a format, with a line break at the end.
pub fn render(standing: &Standing, format: Format) -> String {
    match format {
        Format::Table => text(standing, false),
        Format::Wide => text(standing, true),
        // Neither can fail: the keys are strings.
        Format::Json => serde_json::to_string_pretty(standing).unwrap_or_default() + "\n",
        Format::Yaml => serde_yaml::to_string(standing).unwrap_or_default(),
    }
}

fn text(standing: &Standing, wide: bool) -> String {
    let mut facts = vec![
        ("RELEASE", standing.release.clone()),
        ("NAMESPACE", standing.namespace.clone()),
        ("STATE", standing.state.as_str().to_owned()),
        ("LOCK", lock(standing)),
    ];
    if let (true, Some(row)) = (wide, &standing.lock) {
        facts.push(("", format!("lease {}, believed for {}s", row.lease, row.lease_duration_seconds)));
        facts.extend(row.holder.as_ref().map(|holder| ("", holder.identity.clone())));
    }
    let deployed = standing.lock.as_ref().and_then(|row| row.deployed.as_ref());
    facts.extend(deployed.map(|deployed| ("LAST DEPLOY", deployed.text())));
    if let Some(planned) = &standing.repair {
        facts.push(("REPAIR", plan(planned)));
        facts.extend(planned.steps.iter().map(|step| ("", format!("- {step}"))));
        facts.extend((!planned.caveat.is_empty()).then(|| ("", format!("but {}", planned.caveat))));
    }
    let name = |at| if at == 0 { "NEXT" } else { "" };
    facts.extend(standing.next.iter().enumerate().map(|(at, next)| (name(at), next.clone())));
    let facts = facts.into_iter().map(|(name, value)| vec![name.to_owned(), terminal_safe(&value)]).collect();
    let mut out = aligned(facts);
    let rows = &standing.revisions;
    let shown = if wide { &rows[..] } else { &rows[rows.len().saturating_sub(FEW)..] };
    if !shown.is_empty() {
        let mut lines = vec![
            ["REVISION", "STATUS", "CHART", "APP", "UPDATED", "DESCRIPTION"].map(str::to_owned).to_vec(),
        ];
        lines.extend(shown.iter().map(|row| {
            let about = if row.undecodable.is_empty() { &row.description } else { &row.undecodable };
            let status = if row.undecodable.is_empty() { row.status.as_str() } else { "unreadable" };
            let updated = github::to_the_second(&row.updated);
            let revision = row.revision.to_string();
            let cells = [revision.as_str(), status, &row.chart, &row.app_version, &updated, about.as_str()];
            cells
                .iter()
                .map(|cell| terminal_safe(cell))
                .map(|c| if c.is_empty() { "-".into() } else { c })
                .collect()
        }));
        out.push('\n');
        out.push_str(&aligned(lines));
        if shown.len() < rows.len() {
            out.push_str(&format!("({} earlier with -o wide)\n", rows.len() - shown.len()));
        }
    }
    out
}

fn lock(standing: &Standing) -> String {
    let Some(row) = &standing.lock else { return "none: no run of helm-guard has been here".into() };
    let held = |state: &str| {
        let holder = row.holder.clone().unwrap_or_default();
        format!("{state}: {}, {}", crate::unlock::id(&holder), who(&holder))
    };
    match row.state {
        LockState::Free => "free".into(),
        LockState::Held => held("held for a fixed time"),
        LockState::Alive => held("held, its holder is alive"),
        LockState::Dead => {
            let renewed = to_the_second(&row.renewed);
            format!("{}, last renewed {renewed}", held("held, its holder is dead"))
        }
    }
}

fn plan(planned: &Planned) -> String {
    let strategy = if planned.strategy.is_empty() { "refused" } else { &planned.strategy };
    format!("{strategy}: {}; {}", planned.finding, planned.why)
}

/// A part of a job summary.
pub fn markdown(standing: &Standing, title: &str) -> String {
    let parts: Vec<String> = [title, &standing.summary]
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| markdown_cell(part))
        .collect();
    let mut out = format!("### {}\n\n", parts.join(": "));
    out.push_str(&format!("- Lock: {}\n", markdown_cell(&lock(standing))));
    if let Some(planned) = &standing.repair {
        out.push_str(&format!("- A repair would be {}\n", markdown_cell(&plan(planned))));
        for step in &planned.steps {
            out.push_str(&format!("  - {}\n", markdown_cell(step)));
        }
        if !planned.caveat.is_empty() {
            out.push_str(&format!("  - But {}\n", markdown_cell(&planned.caveat)));
        }
    }
    out.push('\n');
    if let Some(history) = github::revisions("History", &standing.revisions) {
        out.push_str(&history);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{super::tests::example, *};
    use crate::repair::Strategy;

    #[test]
    fn a_stuck_release_in_every_format() {
        let stuck = example("1 superseded, 2 deployed, 3 pending-upgrade", "dead", Strategy::Rollback);
        let shown: Vec<String> = [("table", Format::Table), ("wide", Format::Wide), ("json", Format::Json)]
            .into_iter()
            .map(|(name, format)| format!("--- {name}\n{}", render(&stuck, format)))
            .chain([format!("--- markdown\n{}", markdown(&stuck, "Before"))])
            .collect();
        insta::assert_snapshot!(shown.concat());
    }

    #[test]
    fn what_a_lease_says_stays_in_its_line_and_is_no_markup() {
        let mut stuck = example("1 deployed, 2 pending-upgrade", "dead", Strategy::Auto);
        let row = stuck.lock.as_mut().unwrap();
        row.holder.as_mut().unwrap().owner.name = "x\n::error::y\u{1b}[31m<b>@all".into();
        let before = example("1 deployed, 2 pending-upgrade", "dead", Strategy::Auto);
        let lines = |standing: &Standing| render(standing, Format::Table).lines().count();
        assert_eq!(lines(&stuck), lines(&before));
        assert!(!render(&stuck, Format::Table).contains('\u{1b}'));
        let text = markdown(&stuck, "");
        assert!(!text.contains("<b>") && !text.contains("@all") && !text.contains("\n::"), "{text}");
    }
}
