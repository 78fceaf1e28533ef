//! The values that a prepared release is: what the repair left to set right, and what the preflight knows of it.

use super::verdict::{Known, Set};
use crate::{
    manifest::ObjectKey,
    release::{
        History, Record,
        diff::{self, Changes, Side},
        rendered::read_manifest,
    },
    repair::{Plan, execute},
};

/// An object, and when the first record that names it was stored, unix seconds by the API server's clock.
pub(super) type Named = (ObjectKey, Option<i64>);

/// A release that may be deployed, and what must be set right afterwards.
pub(super) struct Prepared<'a> {
    pub(super) plan: Option<Plan>,
    /// The revision that was deployed, where an upgrade starts without a repair.
    pub(super) base: Option<u32>,
    /// What is known of the release, where what Helm is about to apply is looked at when Helm has rendered it.
    pub(super) known: Option<Known>,
    /// StatefulSets to be made anew, as they live.
    pub(super) sets: Vec<Set>,
    pub(super) hands: execute::Hands<'a>,
    /// With `--repair off`: up to this revision nothing is changed.
    pub(super) untouchable: Option<u32>,
    /// The good revision that a rollback without a revision means, where Helm would take a dead one.
    pub(super) rollback_to: Option<u32>,
    /// When the records were stored first, by revision, unix seconds by the API server's clock.
    pub(super) created: std::collections::BTreeMap<u32, i64>,
    /// What a dead install over which Helm installs named, and since when.
    pub(super) over: Vec<Named>,
    /// The records before anything was done.
    pub(super) before: Before,
}

/// Of a history that may be pruned since.
pub(super) struct Before {
    pub(super) last: Option<u32>,
    pub(super) good: Option<Record>,
}

impl Before {
    /// What the revision that came since then has changed; `None` without one, and where the one before it cannot be read.
    pub(super) fn changes(&self, history: &History, namespace: &str) -> Option<Changes> {
        let new = history.last().filter(|new| Some(new.revision) > self.last)?;
        if self.good.is_none() && self.last.is_some() {
            return None;
        }
        let rows = (self.good.as_ref().map(Record::row), new.row());
        let manifests =
            (self.good.as_ref().map(|good| read_manifest(good, namespace)), read_manifest(new, namespace)?);
        let before = match (&rows.0, &manifests.0) {
            (Some(row), Some(manifest)) => Some(Side { row, manifest: manifest.as_ref()? }),
            _ => None,
        };
        Some(diff::between(before, Side { row: &rows.1, manifest: &manifests.1 }, namespace))
    }
}
