//! `restore`: records put back from a backup, under the lock. A redacted backup gives back what it has.

use crate::commands::session::say;
use crate::{
    backup::{
        self, Backup, Redacted,
        check::{self, Subject},
    },
    cli::{LockWanted, Restore},
    clock::Clock,
    commands::{
        lock::{take, wanted},
        session::{CommandError, connect, listen},
    },
    env::Env,
    exit,
    lock::lease::Claims,
    private_file,
    release::{History, Record, Status, stored_record::Driver},
    request,
    signals::Signals,
    storage::{Storage, Store, StoreError, dsn::CONNECTION},
};

/// Lease duration of the hold under which records are put back.
const OURS: std::time::Duration = std::time::Duration::from_secs(15);

/// Reads the file, all of it, before anything is written.
fn copies(args: &Restore) -> Result<(Backup, Subject), CommandError> {
    let refuse = |why: String| {
        let next = [
            "take another backup, of before or after it",
            "helm-guard status RELEASE -n NAMESPACE shows the state of the release",
        ];
        let file = args.file.display();
        CommandError::new(exit::REFUSED, format!("backup {file}: {why}; nothing was restored"), &next)
    };
    let text = private_file::read(&args.file, backup::LARGEST).map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => refuse("it is larger than any backup".to_owned()),
        std::io::ErrorKind::PermissionDenied => {
            let mut refusal = refuse(error.to_string());
            refusal.next.insert(0, "read it, copy it to a file of your own, and restore the copy".to_owned());
            refusal
        }
        _ => refuse(error.to_string()),
    })?;
    let text = String::from_utf8(text)
        .map_err(|_| refuse("not a backup of helm-guard: it is not text".to_owned()))?;
    let backup = backup::read(&text).map_err(refuse)?;
    let subject = check::subject(&backup).map_err(refuse)?;
    Ok((backup, subject))
}

/// Runs `restore`. Gives the exit code.
pub async fn restore(args: &Restore, env: &Env, host: &str, clock: Clock) -> u8 {
    restore_file(args, env, host, clock).await.map_or_else(CommandError::tell, |()| 0)
}

/// Puts back what is in the file.
///
/// # Errors
/// With the exit code, when it is no backup, the lock is taken, the API server refuses, or not all could be put back.
async fn restore_file(args: &Restore, env: &Env, host: &str, clock: Clock) -> Result<(), CommandError> {
    let (backup, Subject { release, namespace, driver }) = copies(args)?;
    let storage = storage(driver, env)?;
    let signals = listen()?;
    let mut flags = args.cluster.clone();
    flags.namespace = flags.namespace.or(namespace_of(env)).or(namespace);
    let cluster = connect(&flags, env).await?;
    let store = Store::new(cluster.client.clone(), &cluster.namespace, &storage);
    let lock = LockWanted {
        release: release.clone(),
        lock_name: None,
        lock_timeout: args.lock_timeout,
        cluster: flags,
    };
    let wanted = wanted(&lock, &cluster, "restore", OURS, env, host, clock);
    let held = take(&wanted, &cluster, &signals, clock).await?.held;
    let store = store.under(&cluster.wire, Claims::new(vec![held.claim()], clock), held.lock_id());
    let mut work = Work { store, release, driver, signals, clock, changed: false };
    let done = work.run(&backup, &cluster.namespace).await;
    if held.release(false).await.is_err() {
        say("warning: the lock could not be given back; it runs out by itself");
    }
    done
}

/// Helm's own variable stands before what the backup says, and behind the flag.
fn namespace_of(env: &Env) -> Option<String> {
    env.get("HELM_NAMESPACE").filter(|namespace| !namespace.is_empty()).cloned()
}

/// Records go back to where they were. Which database that was, a backup does not say.
fn storage(driver: Driver, env: &Env) -> Result<Storage, CommandError> {
    match driver {
        Driver::Secrets => Ok(Storage::Secrets),
        Driver::ConfigMaps => Ok(Storage::ConfigMaps),
        Driver::Sql => match request::storage(env).map_err(|why| CommandError::new(exit::USAGE, why, &[]))? {
            storage @ Storage::Sql(_) => Ok(storage),
            _ => {
                let next = format!("set HELM_DRIVER=sql and {CONNECTION}");
                Err(CommandError::new(exit::USAGE, "these records are of a database", &[&next]))
            }
        },
    }
}

/// Records that are put back under the lock.
struct Work {
    store: Store,
    release: String,
    driver: Driver,
    signals: Signals,
    clock: Clock,
    /// Is a record another than it was?
    changed: bool,
}

impl Work {
    async fn run(&mut self, backup: &Backup, namespace: &str) -> Result<(), CommandError> {
        let history = self.history().await?;
        match backup {
            Backup::Complete(copies) => self.put_back(&history, copies).await,
            Backup::Redacted(backup) => self.set_right(&history, backup).await,
        }?;
        let after = self.history().await?;
        if after.deployed().count() > 1 {
            let newest = after.last().map_or(0, |last| last.revision);
            say(&format!(
                "warning: several revisions are deployed: revision {newest} is newer than the backup"
            ));
            say(&format!(
                "hint: helm-guard rollback {} -n {namespace} REVISION brings the cluster to the state of one of them",
                self.release
            ));
        }
        Ok(())
    }

    async fn history(&self) -> Result<History, CommandError> {
        self.store.history(&self.release).await.map_err(|error| self.failed(error))
    }

    /// Nothing more is begun when somebody asks to stop.
    fn goes_on(&self) -> Result<(), CommandError> {
        let Some(signal) = self.signals.heard() else { return Ok(()) };
        let done = if self.changed { "not all is restored" } else { "nothing was changed" };
        Err(CommandError::new(
            exit::cancelled(signal.number()),
            format!("{}: {done}", signal.name()),
            &["run the same command again"],
        ))
    }

    /// What is refused before anything is changed is refused; else it is half done.
    fn failed(&self, error: StoreError) -> CommandError {
        let (code, next) = match &error {
            StoreError::LockLost(_) => (exit::LOCK_LOST, "run the same command again".to_owned()),
            StoreError::Conflict(_) | StoreError::Codec(..) => {
                (exit::REFUSED, "another helm may be running: run the command again".to_owned())
            }
            error => error.advice(self.driver, "your Role", "get, list, create, update"),
        };
        let error = anyhow::Error::new(error).context(format!("records of release {}", self.release));
        self.unless_changed(code, format!("{error:#}"), &next)
    }

    fn unless_changed(&self, code: u8, why: String, next: &str) -> CommandError {
        if self.changed && code == exit::REFUSED {
            return CommandError::new(1, format!("not all is restored: {why}"), &[next]);
        }
        CommandError::new(code, why, &[next])
    }

    async fn put_back(&mut self, history: &History, copies: &[Record]) -> Result<(), CommandError> {
        for copy in copies {
            self.goes_on()?;
            let done = match history.get(copy.revision) {
                Some(current) => self.store.put_back(current, copy).await.map(drop),
                None => self.store.create(&copy.stored).await,
            };
            done.map_err(|error| self.failed(error))?;
            self.changed = true;
            say(&format!("revision {} restored: {}", copy.revision, copy.status()));
        }
        Ok(())
    }

    /// Of a redacted backup there is no more than statuses and descriptions, for records that are still there.
    async fn set_right(&mut self, history: &History, backup: &Redacted) -> Result<(), CommandError> {
        say(
            "this backup is redacted: values, Secrets and manifests cannot be restored from it, statuses can",
        );
        let mut gone = Vec::new();
        for copy in &backup.revisions {
            self.goes_on()?;
            let current = history.get(copy.revision).filter(|record| record.body.is_ok());
            let (Some(current), Some(edit)) = (current, copy.edit()) else {
                gone.push(copy.revision.to_string());
                continue;
            };
            let status = edit.status.unwrap_or(Status::Unknown);
            if current.status() != status || current.label != status {
                let edited = self.store.edit(current, &edit, self.clock.wall().as_second()).await;
                edited.map_err(|error| self.failed(error))?;
                self.changed = true;
                say(&format!("revision {}: its status is restored: {status}", copy.revision));
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let why = format!("what was redacted is needed for it: revision {}", gone.join(", "));
        Err(self.unless_changed(exit::REFUSED, why, "restore it from a complete backup, if there is one"))
    }
}
