//! Many releases at once: what the labels of records and the locks say of each, and the list of them.
//! Pure: both are read in `commands/list.rs`. No record's body is: a label is what Helm's own queries go by.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{State, state_of};
use crate::health::Finding;
use crate::{
    display::Display,
    lock::{
        holder::LockRef,
        table::{Row, State as LockState},
    },
    output::Format,
    release::{Status, stored_record::Driver},
    table::{aligned, fits},
    text::{age, terminal_safe, to_the_second},
};

/// A record as its metadata shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Namespace.
    pub namespace: String,
    /// Release name.
    pub release: String,
    /// Where it is stored.
    pub storage: Driver,
    /// Revision number.
    pub revision: u32,
    /// Status, by the label.
    pub status: Status,
    /// When the record was created, by the API server's clock.
    pub since: Option<Timestamp>,
}

impl Sighting {
    /// From a record's labels and the time of its creation; `None` when they are not those of one.
    pub fn new(
        storage: Driver,
        namespace: String,
        labels: &BTreeMap<String, String>,
        since: Option<Timestamp>,
    ) -> Option<Self> {
        let label = |name: &str| labels.get(name).map(String::as_str);
        Some(Self {
            namespace,
            release: label("name")?.to_owned(),
            storage,
            revision: label("version")?.parse().ok()?,
            status: Status::parse(label("status").unwrap_or_default()),
            since,
        })
    }

    fn key(&self) -> Key {
        (self.namespace.clone(), self.release.clone(), self.storage)
    }
}

/// Namespace, release, storage: the same name may be in both.
type Key = (String, String, Driver);

/// One release.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Namespace.
    pub namespace: String,
    /// Release name.
    pub release: String,
    /// Where its records are.
    pub storage: Driver,
    /// In one word.
    pub state: State,
    /// Its newest revision, or the newest pending one.
    pub revision: u32,
    /// Status of that revision.
    pub status: Status,
    /// When that revision began, RFC 3339.
    pub since: String,
    /// Seconds since then, by this machine's clock.
    pub age_seconds: Option<i64>,
    /// How it fares, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Finding>,
    /// Its lock, if somebody has it.
    pub lock: Option<Row>,
    /// APIs in its record that the version of Kubernetes which was asked about does not have, each as `policy/v1beta1
    /// PodDisruptionBudget`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed_apis: Vec<String>,
    /// In one sentence: why it is in the list.
    pub cause: String,
    /// The command that mends it; empty if none does, or none is needed.
    pub next: String,
}

/// The list as programs read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    /// Raised when a field changes its meaning or goes; a new field does not raise it.
    schema_version: u32,
    items: &'a [Entry],
    /// What could not be seen, a sentence each.
    unseen: &'a [String],
}

/// Each release once, sorted. What is well is left out unless `all` of it is wanted.
///
/// `seen` has, of each release that is to be judged, at least its newest record and every one that is pending. `usual` is
/// the storage that commands look in by themselves.
pub fn entries(seen: &[Sighting], locks: &[Row], all: bool, usual: Driver, now: Timestamp) -> Vec<Entry> {
    let mut releases: BTreeMap<Key, Vec<&Sighting>> = BTreeMap::new();
    for sighting in seen {
        releases.entry(sighting.key()).or_default().push(sighting);
    }
    let entries = releases.into_values().filter_map(|records| {
        let newest = *records.iter().max_by_key(|record| record.revision)?;
        let pending = records.iter().filter(|record| record.status.is_pending());
        let pending = pending.max_by_key(|record| record.revision).copied();
        let lock = lock_of(newest, locks);
        let at_work = lock.is_some_and(|row| row.state != LockState::Dead);
        let state = state_of(Some(newest.status), pending.is_some(), at_work);
        let shown = if state == State::Stuck { pending.unwrap_or(newest) } else { newest };
        let entry = Entry {
            namespace: shown.namespace.clone(),
            release: shown.release.clone(),
            storage: shown.storage,
            state,
            revision: shown.revision,
            status: shown.status,
            since: shown.since.map(|since| since.to_string()).unwrap_or_default(),
            age_seconds: shown.since.map(|since| now.duration_since(since).as_secs().max(0)),
            health: None,
            lock: lock.cloned(),
            removed_apis: Vec::new(),
            cause: cause(state, shown, lock),
            next: next(state, shown, lock, usual),
        };
        (all || needs_somebody(state)).then_some(entry)
    });
    entries.collect()
}

/// Whose locks are watched, to see whether their holders live. That takes as long as a holder is believed without a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Of all releases that may be in the list.
    All,
    /// Of those that have a pending record: the others are not stuck, whoever holds their locks.
    Pending,
}

/// Does it matter for the list who holds this lock? `seen` as for [`entries`].
pub fn is_watched(lock: &Row, seen: &[Sighting], whose: Watched) -> bool {
    let of = |sighting: &&Sighting| {
        sighting.namespace == lock.namespace && lock.release.split(", ").any(|name| name == sighting.release)
    };
    seen.iter().filter(of).any(|sighting| whose == Watched::All || sighting.status.is_pending())
}

fn needs_somebody(state: State) -> bool {
    !matches!(state, State::None | State::Deployed | State::Uninstalled)
}

impl Entry {
    /// Is it in the list of those that need somebody?
    pub fn needs_somebody(&self) -> bool {
        needs_somebody(self.state) || !self.removed_apis.is_empty()
    }

    /// Notes what of its record minor release `minor` of Kubernetes 1 does not have.
    pub fn note_removed(&mut self, apis: Vec<String>, minor: u32, usual: Driver) {
        if apis.is_empty() {
            return;
        }
        self.cause = format!("{}; Kubernetes 1.{minor} does not have its {}", self.cause, apis.join(", "));
        if self.next.is_empty() && self.state != State::Deploying {
            let (release, namespace) = (&self.release, &self.namespace);
            let command = format!(
                "helm-guard repair {release} -n {namespace} --strategy map-apis --kubernetes-version 1.{minor}"
            );
            self.next = in_storage(command, self.storage, usual);
        }
        self.removed_apis = apis;
    }
}

/// A Lease may be for several releases.
fn lock_of<'a>(of: &Sighting, locks: &'a [Row]) -> Option<&'a Row> {
    let held = locks.iter().filter(|row| row.state != LockState::Free && row.namespace == of.namespace);
    held.into_iter().find(|row| row.release.split(", ").any(|release| release == of.release))
}

fn cause(state: State, shown: &Sighting, lock: Option<&Row>) -> String {
    let revision = format!("revision {} is {}", shown.revision, shown.status);
    let holder = |said: &str| match lock.and_then(|row| row.holder.as_ref()) {
        Some(holder) => {
            let id = crate::lock::holder::id(holder);
            format!("{revision}, {} of {} {said} (lock {id})", holder.operation, holder.owner.name)
        }
        None => revision.clone(),
    };
    match (state, lock.map(|row| row.state)) {
        (State::Deploying, Some(LockState::Alive)) => holder("is alive"),
        (State::Deploying, _) => holder("holds the lock"),
        (_, Some(LockState::Dead)) => holder("is dead"),
        (State::Stuck, _) => format!("{revision}, and no run holds its lock"),
        (State::Uninstalling, _) => format!("{revision}, and no run continues it"),
        _ => revision,
    }
}

fn next(state: State, shown: &Sighting, lock: Option<&Row>, usual: Driver) -> String {
    let Sighting { namespace, release, .. } = shown;
    let command = match (state, lock.and_then(|row| Some((row, row.holder.as_ref()?)))) {
        (State::Stuck | State::Failed | State::Uninstalling, Some((row, holder))) => {
            let place =
                LockRef { release: release.clone(), namespace: namespace.clone(), lease: row.lease.clone() };
            place.unlock(crate::lock::holder::id(holder), "")
        }
        (State::Stuck, None) => format!("helm-guard repair {release} -n {namespace}"),
        (State::Uninstalling, None) => format!("helm-guard uninstall {release} -n {namespace}"),
        // The next deploy goes over what failed, and whoever works on it is waited for.
        _ => return String::new(),
    };
    in_storage(command, shown.storage, usual)
}

/// The command with the variable that makes it look there.
fn in_storage(command: String, storage: Driver, usual: Driver) -> String {
    match storage {
        storage if storage == usual => command,
        Driver::Secrets => format!("HELM_DRIVER=secret {command}"),
        Driver::ConfigMaps => format!("HELM_DRIVER=configmap {command}"),
        Driver::Sql => format!("HELM_DRIVER=sql {command}"),
    }
}

/// In a format, with a line break at the end. No entry, no column: whoever prints it says that there is none.
pub fn render(entries: &[Entry], unseen: &[String], format: Format, namespaces: bool, on: Display) -> String {
    let list = List { schema_version: 1, items: entries, unseen };
    match format {
        Format::Table => columns(entries, namespaces, false, on),
        Format::Wide => columns(entries, namespaces, true, on),
        // Neither can fail: the keys are strings.
        Format::Json => serde_json::to_string_pretty(&list).unwrap_or_default() + "\n",
        Format::Yaml => serde_yaml::to_string(&list).unwrap_or_default(),
    }
}

fn columns(entries: &[Entry], namespaces: bool, wide: bool, on: Display) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for entry in entries {
        let age = entry.age_seconds.map(age).unwrap_or_default();
        let mut cells = vec![
            ("NAMESPACE", entry.namespace.clone()),
            ("RELEASE", entry.release.clone()),
            ("STATE", entry.state.as_str().to_owned()),
            ("AGE", age),
        ];
        if entries.iter().any(|entry| entry.health.is_some()) {
            let health = entry.health.as_ref().map(|found| found.health.to_string());
            cells.push(("HEALTH", health.unwrap_or_default()));
        }
        if wide {
            cells.extend([
                ("REVISION", entry.revision.to_string()),
                ("STATUS", entry.status.to_string()),
                ("SINCE", to_the_second(&entry.since)),
                ("STORAGE", entry.storage.resource().to_owned()),
            ]);
        }
        cells.extend([("CAUSE", entry.cause.clone()), ("NEXT", entry.next.clone())]);
        if !namespaces {
            cells.remove(0);
        }
        if lines.is_empty() {
            lines.push(cells.iter().map(|(name, _)| (*name).to_owned()).collect());
        }
        let cell = |(_, value): (_, String)| match terminal_safe(&value) {
            empty if empty.is_empty() => "-".to_owned(),
            value => value,
        };
        lines.push(cells.into_iter().map(cell).collect());
    }
    if fits(&lines, on) {
        return aligned(lines, on);
    }
    // A command that is cut cannot be copied: below the table there is room for all of it.
    lines.iter_mut().for_each(|line| drop(line.pop()));
    let mut out = aligned(lines, on);
    let next = entries.iter().filter(|entry| !entry.next.is_empty());
    let next: String = next.map(|entry| format!("  {}\n", terminal_safe(&entry.next))).collect();
    if !next.is_empty() {
        out.push_str(&format!("\nNEXT\n{next}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        ci::run::Owner,
        lock::{LeaseView, Life, holder::Holder},
    };

    const NOW: &str = "2026-06-01T12:00:00Z";

    /// `1 deployed, 2 pending-upgrade`, of a release in namespace `shop`.
    fn seen(release: &str, records: &str) -> Vec<Sighting> {
        let records = records.split(", ").filter(|record| !record.is_empty()).map(|record| {
            let (revision, status) = record.split_once(' ').unwrap();
            let labels = [("name", release), ("version", revision), ("status", status), ("owner", "helm")];
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let since = Some("2026-06-01T10:02:11.5Z".parse().unwrap());
            Sighting::new(Driver::Secrets, "shop".into(), &labels, since).unwrap()
        });
        records.collect()
    }

    fn lock(releases: &str, life: Life) -> Row {
        let holder = Holder {
            lock_id: "3f9a1c07".into(),
            owner: Owner { name: "ada@laptop".into(), ..Owner::default() },
            operation: "upgrade".into(),
            release: releases.into(),
            ..Holder::default()
        };
        let view = LeaseView {
            holder: Some(holder),
            renewed: String::new(),
            duration: Duration::from_secs(15),
            members: Vec::new(),
        };
        Row::new("shop", "helm-guard-web", &view, life, None)
    }

    fn listed(seen: &[Sighting], locks: &[Row], all: bool) -> Vec<Entry> {
        entries(seen, locks, all, Driver::Secrets, NOW.parse().unwrap())
    }

    #[test]
    fn the_list_names_who_needs_somebody_why_and_what_mends_it() {
        let (dead, alive, unknown) =
            (lock("web", Life::Dead), lock("api, web", Life::Alive), lock("web", Life::Unknown));
        for (what, records, lock, expected) in [
            ("well", "1 superseded, 2 deployed", None, ""),
            ("gone", "1 uninstalled", None, ""),
            ("an old failure", "1 failed, 2 deployed", None, ""),
            (
                "a plain helm died",
                "1 deployed, 2 pending-upgrade",
                None,
                "stuck: revision 2 is pending-upgrade, and no run holds its lock: helm-guard repair web -n shop",
            ),
            (
                "below what works",
                "1 pending-upgrade, 2 deployed",
                None,
                "stuck: revision 1 is pending-upgrade, and no run holds its lock: helm-guard repair web -n shop",
            ),
            (
                "its run is dead",
                "1 deployed, 2 pending-upgrade",
                Some(&dead),
                "stuck: revision 2 is pending-upgrade, upgrade of ada@laptop is dead (lock 3f9a1c07): \
                 helm-guard unlock web -n shop --id 3f9a1c07",
            ),
            (
                "its run lives",
                "1 deployed, 2 pending-upgrade",
                Some(&alive),
                "deploying: revision 2 is pending-upgrade, upgrade of ada@laptop is alive (lock 3f9a1c07): ",
            ),
            (
                "nobody watched",
                "1 deployed",
                Some(&unknown),
                "deploying: revision 1 is deployed, upgrade of ada@laptop holds the lock (lock 3f9a1c07): ",
            ),
            ("failed", "1 deployed, 2 failed", None, "failed: revision 2 is failed: "),
            (
                "half gone",
                "1 uninstalling",
                None,
                "uninstalling: revision 1 is uninstalling, and no run continues it: helm-guard uninstall web -n shop",
            ),
        ] {
            let locks: Vec<Row> = lock.cloned().into_iter().collect();
            let found = listed(&seen("web", records), &locks, false);
            let said = found.iter().map(|e| format!("{}: {}: {}", e.state.as_str(), e.cause, e.next));
            assert_eq!(said.collect::<String>(), expected, "{what}: {records}");
            assert_eq!(listed(&seen("web", records), &locks, true).len(), 1, "{what}: {records}");
        }
    }

    #[test]
    fn the_same_name_in_another_storage_is_another_release() {
        let mut both = seen("web", "1 deployed");
        both.extend(
            seen("web", "1 pending-install")
                .into_iter()
                .map(|sighting| Sighting { storage: Driver::ConfigMaps, ..sighting }),
        );
        let found = listed(&both, &[], false);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].next, "HELM_DRIVER=configmap helm-guard repair web -n shop");
    }

    #[test]
    fn only_who_may_be_in_the_list_is_watched() {
        let held = lock("api, web", Life::Unknown);
        let elsewhere = Row { namespace: "bank".into(), ..held.clone() };
        for (records, all, pending) in
            [("", false, false), ("1 deployed", true, false), ("1 pending-upgrade, 2 deployed", true, true)]
        {
            let seen = seen("web", records);
            assert_eq!(is_watched(&held, &seen, Watched::All), all, "{records}");
            assert_eq!(is_watched(&held, &seen, Watched::Pending), pending, "{records}");
            assert!(!is_watched(&elsewhere, &seen, Watched::All), "{records}");
        }
    }

    #[test]
    fn labels_that_are_not_a_records_are_no_sighting() {
        for labels in [&[("name", "web")][..], &[("version", "1")], &[("name", "web"), ("version", "one")]] {
            let labels =
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(Sighting::new(Driver::Secrets, "shop".into(), &labels, None), None);
        }
    }

    #[test]
    fn the_list_in_every_format() {
        let mut all = seen("api", "1 superseded, 2 deployed, 3 failed");
        all.extend(seen("web", "1 deployed, 2 pending-upgrade"));
        let found = listed(&all, &[lock("web", Life::Dead)], false);
        let unseen = ["configmaps may not be listed".to_owned()];
        let shown: Vec<String> = [
            ("table", Format::Table, false),
            ("table, all namespaces", Format::Table, true),
            ("wide", Format::Wide, true),
            ("json", Format::Json, true),
        ]
        .into_iter()
        .map(|(name, format, namespaces)| {
            format!("--- {name}\n{}", render(&found, &unseen, format, namespaces, Display::default()))
        })
        .collect();
        insta::assert_snapshot!(shown.concat());
        assert_eq!(render(&[], &[], Format::Wide, true, Display::default()), "");
    }

    #[test]
    fn a_name_stays_in_its_cell() {
        let table = render(
            &listed(&seen("a\nb\u{1b}[31m", "1 failed"), &[], false),
            &[],
            Format::Wide,
            true,
            Display::default(),
        );
        assert_eq!(table.lines().count(), 2);
        assert!(!table.contains('\u{1b}'));
    }
}
