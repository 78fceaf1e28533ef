//! A Helm release: its records, their status, its history.
//! Pure: the encoding is in `codec`, reading and writing records in `store`, as what they are stored in `stored`.

pub mod codec;
pub mod diff;
pub mod large;
pub mod removed_apis;
pub mod rendered;
pub mod secrets;
pub mod set_aside;
pub mod stored_record;

use serde::Serialize;

use crate::redact::Redact;
use codec::{Essentials, HookRun};

/// Status of a revision, Helm's closed set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Helm does not know, or a word this program does not know.
    #[default]
    Unknown,
    /// The one that is in the cluster.
    Deployed,
    /// Removed with its history kept.
    Uninstalled,
    /// Was deployed, a newer one is.
    Superseded,
    /// Did not finish.
    Failed,
    /// Being removed.
    Uninstalling,
    /// An install runs, or died.
    PendingInstall,
    /// An upgrade runs, or died.
    PendingUpgrade,
    /// A rollback runs, or died.
    PendingRollback,
}

impl Status {
    /// Helm's own word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Deployed => "deployed",
            Self::Uninstalled => "uninstalled",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
            Self::Uninstalling => "uninstalling",
            Self::PendingInstall => "pending-install",
            Self::PendingUpgrade => "pending-upgrade",
            Self::PendingRollback => "pending-rollback",
        }
    }

    /// Reads Helm's word; an unknown one is [`Status::Unknown`], as it is for Helm.
    pub fn parse(word: &str) -> Self {
        const ALL: [Status; 8] = [
            Status::Deployed,
            Status::Uninstalled,
            Status::Superseded,
            Status::Failed,
            Status::Uninstalling,
            Status::PendingInstall,
            Status::PendingUpgrade,
            Status::PendingRollback,
        ];
        ALL.into_iter().find(|status| status.as_str() == word).unwrap_or(Self::Unknown)
    }

    /// Would `helm upgrade` say that another operation is in progress?
    pub fn is_pending(self) -> bool {
        matches!(self, Self::PendingInstall | Self::PendingUpgrade | Self::PendingRollback)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A row of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Revision number, from 1.
    pub revision: u32,
    /// Status in the record's body.
    pub status: Status,
    /// `name-version` of the chart.
    pub chart: String,
    /// App version of the chart.
    pub app_version: String,
    /// When it was last deployed, RFC 3339; empty if unknown.
    pub updated: String,
    /// Helm's description. Untrusted text.
    pub description: String,
    /// Why the record could not be read; empty if it could.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub undecodable: String,
}

/// One record as it is stored, and what its body says.
#[derive(Clone, Debug)]
pub struct Record {
    /// Revision number, from the record's name.
    pub revision: u32,
    /// Status in the `status` label, which is what Helm's query for deployed revisions reads.
    pub label: Status,
    /// The stored object with its metadata; what a backup saves and a write compares with.
    pub stored: stored_record::Stored,
    /// The parts of the body that decisions need, or why it cannot be read.
    pub body: Result<Essentials, String>,
}

impl Record {
    /// Status in the body, which is what Helm's pending check reads; `Unknown` when it cannot be decoded.
    pub fn status(&self) -> Status {
        self.body.as_ref().map_or(Status::Unknown, |body| body.status)
    }

    /// Is its body more than helm-guard holds? Its manifest and values are not known then, and Helm reads it all the same.
    pub fn is_large(&self) -> bool {
        self.body.as_ref().is_ok_and(|body| body.is_large)
    }

    /// Does the record itself say that its install, upgrade or rollback completed?
    ///
    /// `deployed` says so. `superseded` alone proves nothing: a failing rollback supersedes whatever was last
    /// (Helm's rollback.go). There the description decides, which Helm sets to its final text, or to the
    /// user's `--description`, only on success.
    pub fn completed(&self) -> bool {
        match &self.body {
            Ok(body) if body.status == Status::Deployed => true,
            Ok(body) if body.status == Status::Superseded => {
                !body.set_aside && !is_unfinished(&body.description)
            }
            _ => false,
        }
    }

    /// Was it uninstalled, with its history kept? An install over it supersedes its record (`replaceRelease` in Helm's
    /// install.go).
    pub fn is_gone(&self) -> bool {
        self.status() == Status::Uninstalled
            || self.body.as_ref().is_ok_and(|body| {
                body.status == Status::Superseded && body.description == "superseded by new release"
            })
    }

    /// Is it the record of a dead install that is set aside (see `set_aside`)?
    pub fn is_set_aside(&self) -> bool {
        self.body.as_ref().is_ok_and(|body| body.set_aside)
    }

    /// Install hooks that the record does not say succeeded: an upgrade over it would never run them.
    pub fn unfinished_install_hooks(&self) -> Vec<String> {
        let Ok(body) = &self.body else { return Vec::new() };
        body.hooks.iter().filter(|hook| hook.is_install() && !hook.succeeded()).map(HookRun::label).collect()
    }

    /// The row that people see: without the secrets that the record itself knows.
    pub fn row(&self) -> Revision {
        let mut row = self.raw_row();
        if !secrets::is_plain(&row.description) {
            row.description.redact(&self.secrets().redactor());
        }
        row
    }

    fn raw_row(&self) -> Revision {
        let (body, undecodable) = match &self.body {
            Ok(body) => (body.clone(), String::new()),
            Err(why) => (Essentials::default(), why.clone()),
        };
        Revision {
            revision: self.revision,
            status: self.status(),
            chart: body.chart,
            app_version: body.app_version,
            updated: body.last_deployed,
            description: body.description,
            undecodable,
        }
    }
}

/// Descriptions of an operation that has not ended, or has ended badly (Helm 3 and 4, and helm-guard's own).
fn is_unfinished(description: &str) -> bool {
    let failed = |prefix: &str| description.starts_with(prefix) && description.contains("\" failed: ");
    description.is_empty()
        || matches!(description, "Preparing upgrade" | "Initial install underway")
        || description.starts_with("Deletion in progress")
        || description.contains(MARK)
        || failed("Upgrade \"")
        || failed("Release \"")
        || failed("Rollback \"")
}

/// What every description that helm-guard gives a dead revision contains.
pub const MARK: &str = "marked by helm-guard";

/// The records of one release, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Records by revision, ascending, without repeats.
    pub records: Vec<Record>,
}

impl History {
    /// Sorts records by revision number: by name, v10 would come before v2.
    pub fn new(mut records: Vec<Record>) -> Self {
        records.sort_by_key(|record| record.revision);
        Self { records }
    }

    /// The newest record that can be decoded: what Helm calls the last release.
    pub fn last(&self) -> Option<&Record> {
        self.records.iter().rev().find(|record| record.body.is_ok())
    }

    /// The newest record that completed, whatever came after it but an uninstall.
    pub fn last_good(&self) -> Option<&Record> {
        self.records.iter().rev().take_while(|record| !record.is_gone()).find(|record| record.completed())
    }

    /// Where a rollback should go that names no revision, if not to where Helm would take it: Helm takes the revision
    /// before the last, dead or not; the newest good one before the last is meant.
    pub fn better_rollback(&self) -> Option<u32> {
        let last = self.last()?.revision;
        let before = self.records.iter().rev().filter(|record| record.revision < last);
        let good = before.take_while(|record| !record.is_gone()).find(|record| record.completed())?.revision;
        (good + 1 != last).then_some(good)
    }

    /// Records whose body says `deployed`.
    pub fn deployed(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.records.iter().filter(|record| record.status() == Status::Deployed)
    }

    /// The record of a revision.
    pub fn get(&self, revision: u32) -> Option<&Record> {
        self.records.iter().find(|record| record.revision == revision)
    }

    /// All rows, oldest first: without the secrets that any of the records knows. Helm writes into a description what the API
    /// server said, and that quotes values.
    pub fn rows(&self) -> Vec<Revision> {
        let mut rows: Vec<Revision> = self.records.iter().map(Record::raw_row).collect();
        if rows.iter().any(|row| !secrets::is_plain(&row.description)) {
            let by = self.secrets().redactor();
            rows.iter_mut().for_each(|row| row.description.redact(&by));
        }
        rows
    }

    /// Did Helm die between "the old one is superseded" and "the new one is deployed"?
    ///
    /// There the apply, the wait and the hooks had finished. Helm writes the base as `superseded` after the
    /// last write to the new record (upgrade.go, rollback.go), so the base was written later.
    /// An earlier rebase that was cut off looks alike but for that order.
    pub fn died_in_final_save(&self) -> bool {
        let Some(last) = self.last() else { return false };
        matches!(last.status(), Status::PendingUpgrade | Status::PendingRollback)
            && self.deployed().next().is_none()
            && self.records.iter().any(|record| {
                record.revision < last.revision
                    && record.status() == Status::Superseded
                    && record.stored.is_later_than(&last.stored)
            })
    }
}
