//! A release's standing for people: columns for a terminal, Markdown for a job summary, JSON and YAML for programs.
//! Pure: text only. What records and Leases say is untrusted, and made harmless here.

use jiff::Timestamp;
use serde::Serialize;

use super::{Planned, Standing};
use crate::{
    display::Display,
    lock::{
        holder::{LockRef, who},
        table::State as LockState,
    },
    output::Format,
    release::{History, Revision},
    report::github,
    table::{aligned, facts},
    text::{age, markdown_cell, terminal_safe, to_the_second},
};

/// Revisions in the short form.
const FEW: usize = 10;

/// In a format, with a line break at the end.
pub fn render(standing: &Standing, format: Format, now: Timestamp, on: Display) -> String {
    match format {
        Format::Table => text(standing, false, now, on),
        Format::Wide => text(standing, true, now, on),
        // Neither can fail: the keys are strings.
        Format::Json => serde_json::to_string_pretty(standing).unwrap_or_default() + "\n",
        Format::Yaml => serde_yaml::to_string(standing).unwrap_or_default(),
    }
}

fn text(standing: &Standing, wide: bool, now: Timestamp, on: Display) -> String {
    let mut told = vec![
        ("RELEASE", standing.release.clone()),
        ("NAMESPACE", standing.namespace.clone()),
        ("STATE", standing.state.as_str().to_owned()),
        ("LOCK", lock(standing)),
    ];
    if let Some(health) = &standing.health {
        told.push(("HEALTH", format!("{}, beside revision {}", health.health, health.revision)));
        told.extend(health.reasons.iter().map(|reason| ("", format!("- {reason}"))));
    }
    if let (true, Some(row)) = (wide, &standing.lock) {
        told.push(("", format!("lease {}, believed for {}s", row.lease, row.lease_duration_seconds)));
        told.extend(row.holder.as_ref().map(|holder| ("", holder.identity.clone())));
    }
    let deployed = standing.lock.as_ref().and_then(|row| row.deployed.as_ref());
    told.extend(deployed.map(|deployed| ("LAST DEPLOY", deployed.text())));
    if let Some(planned) = &standing.repair {
        told.push(("REPAIR", plan(planned)));
        told.extend(planned.steps.iter().map(|step| ("", format!("- {step}"))));
        told.extend((!planned.caveat.is_empty()).then(|| ("", format!("but {}", planned.caveat))));
    }
    let name = |at| if at == 0 { "NEXT" } else { "" };
    told.extend(standing.next.iter().enumerate().map(|(at, next)| (name(at), next.clone())));
    let told = told.into_iter().map(|(name, value)| (name, terminal_safe(&value))).collect();
    let mut out = facts(told, on);
    let rows = &standing.revisions;
    let shown = if wide { &rows[..] } else { &rows[rows.len().saturating_sub(FEW)..] };
    if !shown.is_empty() {
        out.push('\n');
        out.push_str(&table(shown, (!wide).then_some(now), on));
        if shown.len() < rows.len() {
            out.push_str(&format!("({} earlier with -o wide)\n", rows.len() - shown.len()));
        }
    }
    out
}

/// Revisions, one a line, with a header. With the present time, how old each is, else when it was made.
pub(crate) fn table(rows: &[Revision], now: Option<Timestamp>, on: Display) -> String {
    let time = if now.is_some() { "AGE" } else { "UPDATED" };
    let mut lines =
        vec![["REVISION", "STATUS", "CHART", "APP", time, "DESCRIPTION"].map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|row| {
        let about = if row.undecodable.is_empty() { &row.description } else { &row.undecodable };
        let status = if row.undecodable.is_empty() { row.status.as_str() } else { "unreadable" };
        let made = row.updated.parse::<Timestamp>();
        let updated = match (now, made) {
            (Some(now), Ok(made)) => age(now.duration_since(made).as_secs()),
            _ => github::to_the_second(&row.updated),
        };
        let revision = row.revision.to_string();
        let cells = [revision.as_str(), status, &row.chart, &row.app_version, &updated, about.as_str()];
        cells
            .iter()
            .map(|cell| terminal_safe(cell))
            .map(|c| if c.is_empty() { "-".into() } else { c })
            .collect()
    }));
    aligned(lines, on)
}

/// A history as programs read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Past<'a> {
    /// Raised when a field changes its meaning or goes; a new field does not raise it.
    schema_version: u32,
    release: &'a str,
    namespace: &'a str,
    /// The last revision whose record says that it completed: where a repair goes back to.
    last_good: Option<u32>,
    revisions: &'a [Revision],
}

/// A release's history in a format, with a line break at the end.
pub fn history(place: &LockRef, history: &History, format: Format, now: Timestamp, on: Display) -> String {
    let revisions = history.rows();
    let last_good = history.last_good().map(|record| record.revision);
    let LockRef { release, namespace, .. } = place;
    let past = Past { schema_version: 1, release, namespace, last_good, revisions: &revisions };
    match format {
        Format::Table | Format::Wide => {
            let good = last_good.map_or("no revision ever completed".to_owned(), |good| {
                format!("the last good revision is {good}")
            });
            let now = (format == Format::Table).then_some(now);
            format!("{}\n{good}\n", table(&revisions, now, on))
        }
        // Neither can fail: the keys are strings.
        Format::Json => serde_json::to_string_pretty(&past).unwrap_or_default() + "\n",
        Format::Yaml => serde_yaml::to_string(&past).unwrap_or_default(),
    }
}

fn lock(standing: &Standing) -> String {
    let Some(row) = &standing.lock else { return "none: no run of helm-guard has been here".into() };
    let held = |state: &str| {
        let holder = row.holder.clone().unwrap_or_default();
        format!("{state}: {}, {}", crate::lock::holder::id(&holder), who(&holder))
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
    use crate::repair::{Strategy, tests::history};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_stuck_release_in_every_format() {
        let stuck = example("1 superseded, 2 deployed, 3 pending-upgrade", "dead", Strategy::Rollback);
        let shown: Vec<String> = [("table", Format::Table), ("wide", Format::Wide), ("json", Format::Json)]
            .into_iter()
            .map(|(name, format)| format!("--- {name}\n{}", render(&stuck, format, NOW, Display::default())))
            .chain([format!("--- markdown\n{}", markdown(&stuck, "Before"))])
            .collect();
        insta::assert_snapshot!(shown.concat());
    }

    #[test]
    fn a_history_says_which_revision_is_the_last_good_one() {
        let place = LockRef { release: "web".into(), namespace: "shop".into(), lease: String::new() };
        let shown = |records: &str, format| {
            super::history(&place, &history(records), format, NOW, Display::default())
        };
        let stuck = "1 superseded, 2 deployed, 3 pending-upgrade";
        let table = shown(stuck, Format::Table);
        assert!(table.ends_with("\nthe last good revision is 2\n"), "{table}");
        assert_eq!(table.lines().count(), 6, "{table}");
        assert!(shown("1 pending-install", Format::Wide).ends_with("\nno revision ever completed\n"));
        let json: serde_json::Value = serde_json::from_str(&shown(stuck, Format::Json)).unwrap();
        assert_eq!(
            (&json["lastGood"], &json["revisions"][2]["status"]),
            (&2.into(), &"pending-upgrade".into())
        );
        let none: serde_json::Value = serde_json::from_str(&shown("1 failed", Format::Json)).unwrap();
        assert!(none["lastGood"].is_null());
    }

    #[test]
    fn what_a_lease_says_stays_in_its_line_and_is_no_markup() {
        let mut stuck = example("1 deployed, 2 pending-upgrade", "dead", Strategy::Auto);
        let row = stuck.lock.as_mut().unwrap();
        row.holder.as_mut().unwrap().owner.name = "x\n::error::y\u{1b}[31m<b>@all".into();
        let before = example("1 deployed, 2 pending-upgrade", "dead", Strategy::Auto);
        let lines =
            |standing: &Standing| render(standing, Format::Table, NOW, Display::default()).lines().count();
        assert_eq!(lines(&stuck), lines(&before));
        assert!(!render(&stuck, Format::Table, NOW, Display::default()).contains('\u{1b}'));
        let text = markdown(&stuck, "");
        assert!(!text.contains("<b>") && !text.contains("@all") && !text.contains("\n::"), "{text}");
    }
}
