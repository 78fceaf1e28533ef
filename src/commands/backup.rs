//! `backup`: saves a release's records and its manifest.

use std::io::Write;

use super::session::{CommandError, past, say};
use crate::{
    backup::act::{Order, save},
    cli::Backup,
    env::Env,
    exit,
    id::random,
    request,
};

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
