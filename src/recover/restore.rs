//! `restore`: records put back from a backup, under the lock. A redacted backup gives back what it has.

use anyhow::{Context, bail};

use super::{say, target};
use crate::{
    backup::{self, Backup, Redacted},
    ci::{self, Env},
    cli::Restore,
    clock::Clock,
    cluster::Cluster,
    lock::{
        Times,
        lease::{self, Claims},
        lease_name,
        queue::Queue,
    },
    release::{
        History, Record, Status,
        database::CONNECTION,
        store::{Driver, Storage, Store},
    },
    report::Holder,
    request,
};

/// Which release a backup is of.
struct Subject {
    release: String,
    namespace: Option<String>,
    driver: Driver,
}

fn subject(backup: &Backup) -> Option<Subject> {
    match backup {
        Backup::Complete(records) => {
            let first = records.first()?;
            let name = first.stored.name().trim_start_matches("sh.helm.release.v1.");
            let release = name.rsplit_once(".v").map_or(name, |(release, _)| release).to_owned();
            Some(Subject { release, namespace: first.stored.namespace(), driver: first.stored.driver() })
        }
        Backup::Redacted(Redacted { release, namespace, storage, .. }) => {
            Some(Subject { release: release.clone(), namespace: Some(namespace.clone()), driver: *storage })
        }
    }
}

/// Puts back what is in the file.
///
/// # Errors
/// When it is no backup, the lock is taken, the API server refuses, or not all could be put back.
pub(super) async fn restore(args: &Restore, env: &Env, clock: Clock) -> anyhow::Result<()> {
    let file = || args.file.display().to_string();
    let text = std::fs::read_to_string(&args.file).with_context(file)?;
    let backup = backup::read(&text).map_err(anyhow::Error::msg).with_context(file)?;
    let Some(Subject { release, namespace, driver }) = subject(&backup) else {
        bail!("{}: no record in it", args.file.display())
    };
    // Records go back to where they were. Which database that was, a backup does not say.
    let storage = match driver {
        Driver::Secrets => Storage::Secrets,
        Driver::ConfigMaps => Storage::ConfigMaps,
        Driver::Sql => match request::storage(env).map_err(anyhow::Error::msg)? {
            storage @ Storage::Sql(_) => storage,
            _ => bail!("these records are of a database: set HELM_DRIVER=sql and {CONNECTION}"),
        },
    };
    let mut target = target(&args.cluster, env);
    target.namespace = target.namespace.or(namespace);
    let cluster = Cluster::connect(&target).await?;
    let store = Store::new(cluster.client.clone(), &cluster.namespace, &storage);
    let owner = ci::owner(env, "restore");
    let lock_id = crate::deploy::random_id();
    let wanted = lease::Request {
        lease: lease_name(&release),
        namespace: cluster.namespace.clone(),
        me: Holder {
            identity: format!("{}-restore-{lock_id}", owner.name),
            lock_id,
            owner,
            operation: "restore".into(),
            release: release.clone(),
            since: clock.wall().to_string(),
        },
        times: Times::new(std::time::Duration::from_secs(15)),
        timeout: args.lock_timeout,
        within: None,
    };
    let waiting = |holder: &Holder, _| say(&format!("waiting for {}", holder.owner.name));
    let never = std::future::pending();
    let mut queue = Queue::alone(clock);
    let acquired = lease::acquire(cluster.client.clone(), &wanted, clock, &mut queue, never, waiting).await?;
    let lock = Claims::new(vec![acquired.held.claim()], clock);
    let store = store.under(&cluster.wire, lock, acquired.held.lock_id());
    let put_back = async {
        let history = store.history(&release).await?;
        match &backup {
            Backup::Complete(copies) => put_back(&store, &history, copies).await,
            Backup::Redacted(backup) => set_right(&store, &history, backup, clock).await,
        }?;
        let after = store.history(&release).await?;
        if after.deployed().count() > 1 {
            let newest = after.last().map_or(0, |last| last.revision);
            say(&format!(
                "warning: several revisions are deployed: revision {newest} is newer than the backup"
            ));
            say(&format!(
                "hint: helm-guard rollback {release} -n {} REVISION makes the cluster what one of them says",
                cluster.namespace
            ));
        }
        anyhow::Ok(())
    }
    .await;
    acquired.held.release(false).await?;
    put_back
}

async fn put_back(store: &Store, history: &History, copies: &[Record]) -> anyhow::Result<()> {
    for copy in copies {
        match history.get(copy.revision) {
            Some(current) => drop(store.put_back(current, copy).await?),
            None => store.create(&copy.stored).await?,
        }
        say(&format!("revision {} restored: {}", copy.revision, copy.status()));
    }
    Ok(())
}

/// Of a redacted backup there is no more than statuses and descriptions, for records that are still there.
async fn set_right(store: &Store, history: &History, backup: &Redacted, clock: Clock) -> anyhow::Result<()> {
    say("this backup is redacted: values, Secrets and manifests cannot be restored from it, statuses can");
    let mut gone = Vec::new();
    for copy in &backup.revisions {
        let current = history.get(copy.revision).filter(|record| record.body.is_ok());
        let (Some(current), Some(edit)) = (current, copy.edit()) else {
            gone.push(copy.revision.to_string());
            continue;
        };
        let status = edit.status.unwrap_or(Status::Unknown);
        if current.status() != status || current.label != status {
            store.edit(current, &edit, clock.wall().as_second()).await?;
            say(&format!("revision {}: its status is restored: {status}", copy.revision));
        }
    }
    if gone.is_empty() {
        return Ok(());
    }
    bail!("not restored, because what was redacted is needed for it: revision {}", gone.join(", "))
}
