//! A Helm release record: codec, status, history.
//! Pure: reading and writing records is in the child files.

use serde::Serialize;

/// Status of a revision, Helm's closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Helm does not know, or a word this program does not know.
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
