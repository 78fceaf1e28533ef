//! `diagnose`: reads a release's last record and what lives of it, and says what is wrong with it.
//! What it means is decided in `diagnose.rs`. Writes nothing to the cluster.

use std::io::Write;

use crate::diagnose::{
    Snapshot, causes,
    collect::{self, Scope},
    render::{Diagnosis, facts, render},
};
use crate::{
    cli::Diagnose,
    commands::session::{CommandError, connect, no_release, unreadable},
    env::Env,
    exit,
    redact::Redact,
    release::Status,
    request,
    storage::Store,
};

/// Runs `diagnose`. Gives the exit code.
pub async fn diagnose(args: &Diagnose, env: &Env) -> u8 {
    match look(args, env).await {
        Ok(()) => 0,
        Err(stop) => stop.tell(),
    }
}

async fn look(args: &Diagnose, env: &Env) -> Result<(), CommandError> {
    let storage = request::storage(env).map_err(|error| CommandError::new(exit::USAGE, error, &[]))?;
    let cluster = connect(&args.cluster, env).await?;
    let store = Store::new(cluster.client.clone(), &cluster.namespace, &storage);
    let history =
        store.history(&args.release).await.map_err(|error| unreadable(&args.release, &storage, error))?;
    let last = history.last();
    let mut scope = last.map(|last| Scope::of(last, &cluster.namespace)).unwrap_or_default();
    scope.leaving = last.is_some_and(|last| last.status() == Status::Uninstalling);
    // Of a run that is over, this is what is left of Helm's words.
    let failed = last.filter(|last| last.status() == Status::Failed);
    let said = failed.and_then(|_| history.rows().into_iter().rev().find(|row| row.undecodable.is_empty()));
    let error = said.map(|row| format!("Error: {}", row.description)).unwrap_or_default();
    let redactor = history.secrets().redactor();
    let snapshot = Snapshot {
        release: args.release.clone(),
        namespace: cluster.namespace.clone(),
        error,
        hooks: scope.hooks.clone(),
        live: collect::live(&cluster, &scope).await,
        ..Snapshot::default()
    };
    if let Some(path) = &args.save {
        let mut shown = serde_json::to_value(&snapshot).unwrap_or_default();
        shown.redact(&redactor);
        let text = serde_json::to_string_pretty(&shown).unwrap_or_default() + "\n";
        std::fs::write(path, text).map_err(|error| {
            CommandError::new(exit::USAGE, format!("--save {}: {error}", path.display()), &[])
        })?;
    }
    if history.records.is_empty() {
        return Err(no_release(&args.release, &cluster.namespace));
    }
    let (pods, events) = facts(&snapshot.live);
    let mut diagnosis = Diagnosis {
        schema_version: 1,
        release: args.release.clone(),
        namespace: cluster.namespace.clone(),
        status: last.map(|last| last.status().to_string()).unwrap_or_default(),
        causes: causes(&snapshot),
        pods,
        events,
        hidden: snapshot.live.hidden,
    };
    diagnosis.redact(&redactor);
    let _ = write!(std::io::stdout(), "{}", render(&diagnosis, args.output));
    Ok(())
}
