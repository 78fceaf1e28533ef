//! Writes backups and throws old ones away. What is in them is decided in `backup.rs`.

use std::path::{Path, PathBuf};

use super::render;
use crate::{
    copies::{self, Kind, Shelf},
    release::History,
};

/// Whose records, where they go, and how many backups stay.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Release name.
    pub release: &'a str,
    /// Namespace.
    pub namespace: &'a str,
    /// Directory; made if it is not there.
    pub directory: &'a Path,
    /// Without what is secret.
    pub redacted: bool,
    /// How many of this release's are left, this one included.
    pub keep: u32,
}

/// Writes a backup into new files of its own, readable by their owner only, and gives the path of the list of records.
///
/// # Errors
/// When a file cannot be written. That an old one cannot be thrown away is none.
pub fn save(order: &Order<'_>, history: &History, id: &str) -> anyhow::Result<PathBuf> {
    let Order { release, namespace, directory, keep, redacted } = *order;
    let (records, manifest) = render(history, release, namespace, redacted);
    let shelf = Shelf { directory, namespace, keep };
    copies::save(&shelf, Kind::Backup, release, id, &[records.as_bytes(), manifest.as_bytes()])
}
