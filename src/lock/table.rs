//! The locks as a list: rows from Leases, and the list as columns, JSON or YAML.
//! Pure: no clock, and no other machine's is compared.

use crate::{display::Display, table::aligned};
use serde::Serialize;

use super::{LeaseView, Life, run_history::Deployed};

use crate::{
    lock::holder::Holder,
    output::Format,
    text::{terminal_safe, to_the_second},
};

/// How a lock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nobody holds it.
    Free,
    /// Somebody does; whether they live was not watched, or cannot be seen.
    Held,
    /// Its holder renewed it while it was watched.
    Alive,
    /// Its holder was silent for its lease duration.
    Dead,
}

/// One lock.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Namespace.
    pub namespace: String,
    /// Release, or releases.
    pub release: String,
    /// Lease name.
    pub lease: String,
    /// How it stands.
    pub state: State,
    /// Who holds it.
    pub holder: Option<Holder>,
    /// When the holder last renewed it, RFC 3339, by its own clock.
    pub renewed: String,
    /// For how long the holder is believed without a renewal.
    pub lease_duration_seconds: u64,
    /// What was deployed last under it by a run that CI counts.
    pub deployed: Option<Deployed>,
}

/// The list as programs read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    /// Raised when a field changes its meaning or goes; a new field does not raise it.
    schema_version: u32,
    items: &'a [Row],
}

impl Row {
    /// What a Lease, and what was seen of its holder's life, say.
    pub fn new(
        namespace: &str,
        lease: &str,
        view: &LeaseView,
        life: Life,
        deployed: Option<Deployed>,
    ) -> Self {
        let state = match (&view.holder, life) {
            (None, _) => State::Free,
            (Some(_), Life::Alive) => State::Alive,
            (Some(_), Life::Dead) => State::Dead,
            (Some(_), Life::Unknown | Life::Promised) => State::Held,
        };
        // Leases that an earlier version wrote do not say which release they are for.
        let named = view.holder.as_ref().map(|holder| holder.release.clone()).unwrap_or_default();
        let release = if named.is_empty() {
            lease.strip_prefix("helm-guard-").unwrap_or(lease).to_owned()
        } else {
            named
        };
        Self {
            namespace: namespace.to_owned(),
            release,
            lease: lease.to_owned(),
            state,
            holder: view.holder.clone(),
            renewed: view.renewed.clone(),
            lease_duration_seconds: view.duration.as_secs(),
            deployed,
        }
    }

    /// Header and value of each column.
    fn columns(&self, namespaces: bool, wide: bool) -> Vec<(&'static str, String)> {
        let holder = self.holder.clone().unwrap_or_default();
        let mut columns = Vec::new();
        if namespaces {
            columns.push(("NAMESPACE", self.namespace.clone()));
        }
        let state = match self.state {
            State::Free => "free",
            State::Held => "held",
            State::Alive => "alive",
            State::Dead => "dead",
        };
        columns.extend([
            ("RELEASE", self.release.clone()),
            ("STATE", state.to_owned()),
            ("LOCK ID", holder.lock_id),
            ("OPERATION", holder.operation),
            ("SINCE", to_the_second(&holder.since)),
            ("HOLDER", holder.owner.name),
        ]);
        if wide {
            let renewed = if self.holder.is_some() { to_the_second(&self.renewed) } else { String::new() };
            columns.extend([
                ("RENEWED", renewed),
                ("DURATION", format!("{}s", self.lease_duration_seconds)),
                ("COMMIT", holder.owner.commit),
                ("ACTOR", holder.owner.actor),
                ("LEASE", self.lease.clone()),
                ("DEPLOYED LAST", self.deployed.as_ref().map(Deployed::text).unwrap_or_default()),
            ]);
        }
        columns
    }
}

/// The list in a format, with a line break at the end. No row, no column: whoever prints it says that there is none.
pub fn render(rows: &[Row], format: Format, namespaces: bool, on: Display) -> String {
    let list = List { schema_version: 1, items: rows };
    match format {
        Format::Table => columns(rows, namespaces, false, on),
        Format::Wide => columns(rows, namespaces, true, on),
        // Neither can fail: the keys are strings.
        Format::Json => serde_json::to_string_pretty(&list).unwrap_or_default() + "\n",
        Format::Yaml => serde_yaml::to_string(&list).unwrap_or_default(),
    }
}

fn columns(rows: &[Row], namespaces: bool, wide: bool, on: Display) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let header = first.columns(namespaces, wide).into_iter().map(|(name, _)| name.to_owned()).collect();
    let mut lines: Vec<Vec<String>> = vec![header];
    for row in rows {
        let cell = |(_, value): (_, String)| match terminal_safe(&value) {
            empty if empty.is_empty() => "-".to_owned(),
            value => value,
        };
        lines.push(row.columns(namespaces, wide).into_iter().map(cell).collect());
    }
    aligned(lines, on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ci::run::Owner;
    use std::time::Duration;

    const PLAIN: Display = Display { color: false, width: None };
    const COLOR: Display = Display { color: true, width: None };

    fn rows() -> Vec<Row> {
        let holder = |release: &str, operation: &str, owner: Owner| Holder {
            lock_id: "3f9a1c07".into(),
            identity: "i".into(),
            owner,
            operation: operation.into(),
            release: release.into(),
            since: "2026-06-01T10:02:11.123456Z".into(),
        };
        let ada = Owner { name: "ada@laptop".into(), actor: "ada".into(), ..Owner::default() };
        let url = "https://ci.example/shop/runs/8119";
        let ci = Owner {
            name: url.into(),
            run_url: url.into(),
            actor: "hubot".into(),
            commit: "4f1c0d9a7b3e".into(),
            ..Owner::default()
        };
        let view = |holder: Option<Holder>| LeaseView {
            holder,
            renewed: "2026-06-01T10:04:41.000001Z".into(),
            duration: Duration::from_secs(15),
            members: Vec::new(),
        };
        let deployed = serde_json::from_value(serde_json::json!({
            "number": 12, "id": "8118", "url": "https://ci.example/shop/runs/8118", "actor": "mona",
            "operation": "upgrade", "commit": "0a1b2c3d4e5f60718293", "at": "2026-05-31T17:20:04.5Z",
        }));
        let deployed = Some(deployed.unwrap());
        vec![
            Row::new("shop", "helm-guard-web", &view(Some(holder("", "upgrade", ci))), Life::Alive, deployed),
            Row::new(
                "shop",
                "one-for-all",
                &view(Some(holder("api, db", "lock run sh", ada))),
                Life::Unknown,
                None,
            ),
            Row::new("till", "helm-guard-pos", &view(None), Life::Unknown, None),
        ]
    }

    #[test]
    fn the_list_in_every_format() {
        let shown: Vec<String> = [
            ("table", Format::Table, false),
            ("table, all namespaces", Format::Table, true),
            ("wide", Format::Wide, true),
            ("json", Format::Json, false),
            ("yaml", Format::Yaml, false),
        ]
        .into_iter()
        .map(|(name, format, namespaces)| {
            format!("--- {name}\n{}", render(&rows(), format, namespaces, PLAIN))
        })
        .collect();
        insta::assert_snapshot!(shown.concat());
    }

    #[test]
    fn a_cell_stays_in_its_line() {
        let mut rows = rows();
        rows[0].release = "a\nb\u{1b}[31m".into();
        let table = render(&rows, Format::Table, false, PLAIN);
        assert_eq!(table.lines().count(), 4);
        assert!(!table.contains('\u{1b}'));
    }

    #[test]
    fn colour_is_in_the_words_that_say_how_it_stands_and_moves_nothing() {
        let plain = render(&rows(), Format::Wide, true, PLAIN);
        let colored = render(&rows(), Format::Wide, true, COLOR);
        assert!(colored.contains("\u{1b}[33malive\u{1b}[0m   "), "{colored}");
        let codes = ["31", "32", "33", "0"].map(|code| format!("\u{1b}[{code}m"));
        assert_eq!(codes.iter().fold(colored, |text, code| text.replace(code, "")), plain);
        assert_eq!(render(&rows(), Format::Json, true, COLOR), render(&rows(), Format::Json, true, PLAIN));
    }

    #[test]
    fn nothing_is_a_list_for_programs_and_no_column_for_people() {
        assert_eq!(render(&[], Format::Table, true, COLOR), "");
        assert!(render(&[], Format::Json, true, COLOR).contains("\"items\": []"));
    }
}
