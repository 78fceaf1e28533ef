//! Writes backups, throws old ones away, and is the command `backup`.
//! What is in them is decided in `backup.rs`.

use std::{
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{render, stem, surplus};
use crate::{
    ci::Env,
    cli::Backup,
    deploy::random_id,
    exit,
    lock::command::{Stop, say},
    release::History,
    request,
    status::act::past,
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
    let Order { release, namespace, directory, .. } = *order;
    let at = || format!("backup directory {}", directory.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(at)?;
    let (records, manifest) = render(history, release, namespace, order.redacted);
    let stem = stem(namespace, release, id);
    let path = directory.join(format!("{stem}.json"));
    for (path, text) in [(&path, records), (&directory.join(format!("{stem}.yaml")), manifest)] {
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("backup file {}", path.display()))?;
    }
    throw_away(order);
    Ok(path)
}

fn throw_away(order: &Order<'_>) {
    let Ok(entries) = std::fs::read_dir(order.directory) else { return };
    let aged = entries.flatten().filter_map(|entry| {
        let changed = entry.metadata().and_then(|meta| meta.modified()).ok()?;
        Some((changed, entry.file_name().into_string().ok()?))
    });
    let mut files: Vec<_> = aged.collect();
    files.sort();
    let files: Vec<String> = files.into_iter().map(|(_, name)| name).collect();
    let keep = usize::try_from(order.keep.max(1)).unwrap_or(usize::MAX);
    for name in surplus(&files, order.namespace, order.release, keep) {
        // Somebody else may have been quicker.
        let _ = std::fs::remove_file(order.directory.join(name));
    }
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
        let path = save(&order, &history, &random_id());
        let path = path.map_err(|error| {
            Stop::new(exit::REFUSED, format!("{error:#}"), &["choose another --backup-dir"])
        })?;
        let what = if args.backups.redacted { "without values and Secrets" } else { "complete" };
        say(&format!("records of {} revisions saved, {what}: {}", history.records.len(), path.display()));
        let _ = writeln!(std::io::stdout(), "{}", path.display());
        Ok(())
    };
    saved.await.map_or_else(Stop::tell, |()| 0)
}
