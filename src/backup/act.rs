//! Writes backups, throws old ones away, and is the command `backup`.
//! What is in them is decided in `backup.rs`.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use super::render;
use crate::{
    cli::Backup,
    commands::session::{CommandError, past, say},
    copies::{self, Kind, Shelf},
    env::Env,
    exit,
    id::random,
    release::History,
    request,
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

/// Runs `backup`. Gives the exit code.
pub async fn backup(args: &Backup, env: &Env) -> u8 {
    let saved = async {
        let (cluster, history) = past(&args.release, &args.cluster, env).await?;
        let directory = args.backups.dir.clone().unwrap_or_else(|| request::backup_dir(env));
        let order = Order {
            release: &args.release,
            namespace: &cluster.namespace,
            directory: &directory,
            redacted: args.backups.redacted,
            keep: args.backups.keep,
        };
        let path = save(&order, &history, &random());
        let path = path.map_err(|error| {
            CommandError::new(exit::REFUSED, format!("{error:#}"), &["choose another --backup-dir"])
        })?;
        let what = if args.backups.redacted { "without values and Secrets" } else { "complete" };
        say(&format!("records of {} revisions saved, {what}: {}", history.records.len(), path.display()));
        let _ = writeln!(std::io::stdout(), "{}", path.display());
        Ok(())
    };
    saved.await.map_or_else(CommandError::tell, |()| 0)
}
