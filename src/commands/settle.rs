//! `settle`: a run was killed, and its CI job still has a moment. Ends the run's processes, sets its records right, gives
//! its lock back. What somebody else has taken over is left to them.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use crate::commands::session::say;
use crate::deploy::journal::{STATE_FILE, State};
use crate::{
    backup, ci,
    cli::{ClusterFlags, Settle, action_inputs},
    clock::Clock,
    cluster::{Cluster, Target},
    commands::session::CommandError,
    env::Env,
    exit,
    lock::lease::{self, Claims, Held},
    private_file,
    process::{self, Process},
    release::{History, Record, stored_record::read_backup},
    repair::{self, Plan, Step, execute::Hands},
    report::{github, gitlab},
    storage::Store,
};

/// Name of the file that held reused values in versions before 0.3.0.
const VALUES_FILE: &str = "helm-guard-values-";

/// More than any state file has, bytes.
const STATE: u64 = 16 << 20;

/// How long a run that is alive after its step may take to end by itself: Helm's stop timeout and the settling.
const GUARD: Duration = Duration::from_secs(20);
/// How long Helm may take to save its record.
const HELM: Duration = Duration::from_secs(10);

/// Runs `settle`. Gives the exit code.
pub async fn settle(args: &Settle, env: &Env, clock: Clock) -> u8 {
    settle_job(args, env, clock).await.map_or_else(CommandError::tell, |()| 0)
}

/// Settles one state file, or all of this job.
///
/// # Errors
/// With the first thing that could not be settled; all others are tried.
async fn settle_job(args: &Settle, env: &Env, clock: Clock) -> Result<(), CommandError> {
    let directory = ci::job_directory(env);
    if args.state.is_none() && directory.is_none() {
        return Err(CommandError::new(
            exit::USAGE,
            "name a state file: this is no job of GitHub or GitLab",
            &[],
        ));
    }
    let settled = settle_files(args, directory.as_deref(), env, clock).await;
    settled
        .map_err(|error| CommandError::new(1, format!("{error:#}"), &["the next run repairs what is left"]))
}

async fn settle_files(
    args: &Settle,
    directory: Option<&Path>,
    env: &Env,
    clock: Clock,
) -> anyhow::Result<()> {
    let files = match (&args.state, directory) {
        (Some(file), _) => vec![file.clone()],
        (None, Some(directory)) => beginning_with(directory, STATE_FILE)?,
        (None, None) => Vec::new(),
    };
    let files: Vec<PathBuf> = files.into_iter().filter(|file| !is_begun(file)).collect();
    if files.is_empty() {
        say("nothing to settle");
    }
    let mut answer = Ok(());
    for file in &files {
        let settled = settle_file(file, &args.cluster, env, clock).await;
        answer = answer.and(settled.with_context(|| file.display().to_string()));
    }
    if let (None, Some(directory)) = (&args.state, directory) {
        // Secrets: they go even if something is left to settle.
        for prefix in [action_inputs::KUBECONFIG_FILE, VALUES_FILE] {
            for file in beginning_with(directory, prefix)? {
                std::fs::remove_file(&file).with_context(|| file.display().to_string())?;
            }
        }
        // A state that was being written when its run was killed.
        for file in beginning_with(directory, STATE_FILE)?.iter().filter(|file| is_begun(file)) {
            std::fs::remove_file(file).with_context(|| file.display().to_string())?;
        }
        if ci::system(env) == ci::System::GitLab {
            // Made by this job. Backups in it stay.
            let _ = std::fs::remove_dir(directory);
        }
    }
    answer
}

fn is_begun(file: &Path) -> bool {
    file.extension() == Some(private_file::BEGUN.as_ref())
}

fn beginning_with(directory: &Path, prefix: &str) -> anyhow::Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let found = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    let mut found: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
    found.sort();
    Ok(found)
}

async fn settle_file(file: &Path, flags: &ClusterFlags, env: &Env, clock: Clock) -> anyhow::Result<()> {
    let state: State = serde_json::from_slice(&private_file::read(file, STATE)?)?;
    let guard: Vec<Process> =
        state.guard.into_iter().filter(|guard| Process::of(guard.pid) == Some(*guard)).collect();
    if !guard.is_empty() {
        // In a job container, for one, the runner's signals end only what runs outside.
        say("the run outlives its step: asking it to end");
        process::end(&guard, Some(GUARD), clock).await.context("the run's process")?;
        if !file.exists() {
            say("it ended its work itself");
            return Ok(());
        }
    }
    let mut done = Vec::new();
    let settled = settle_run(&state, &target(&state, flags), clock, &mut done).await;
    report(&state, &done, env);
    settled?;
    std::fs::remove_file(file)?;
    Ok(())
}

/// The run's cluster, unless this command line names another way to it.
fn target(state: &State, flags: &ClusterFlags) -> Target {
    let mut target = state.target.clone();
    if let Some(file) = &flags.kubeconfig {
        (target.kubeconfig, target.is_explicit) = (vec![file.clone()], true);
    }
    if flags.kube_context.is_some() {
        target.context.clone_from(&flags.kube_context);
    }
    target.namespace = Some(state.namespace.clone());
    target
}

/// Adds to `done` what was done, so that a failure half-way hides nothing.
async fn settle_run(
    state: &State,
    target: &Target,
    clock: Clock,
    done: &mut Vec<String>,
) -> anyhow::Result<()> {
    let mut note = |line: String| {
        say(&line);
        done.push(line);
    };
    let locks = locks(state, target, clock).await;
    // Helm may save its record while the lock is ours, or nobody can say whose it is. Beside another owner it may not
    // write a word more, and behind a fence that fell with its run it cannot.
    let fence = state.fence.as_ref().filter(|fence| fence.exists());
    let gently = match &locks {
        _ if fence.is_some() => None,
        Ok((_, locks)) if !locks.are_ours => None,
        Ok(_) | Err(_) => Some(HELM),
    };
    // What Helm starts while it is asked to end carries the mark too.
    for limit in [gently, None] {
        let lock_id = state.lock_id.clone();
        // It may have to wait for a process that just starts, and blocks its thread for that.
        let helm =
            tokio::task::spawn_blocking(move || process::carrying(crate::env::LOCK_ID_ENV, &lock_id)).await?;
        if !helm.is_empty() {
            process::end(&helm, limit, clock).await.context("helm's process")?;
            note(format!("helm was still running and is stopped: {}", processes(&helm)));
        }
    }
    if let Some(fence) = fence {
        std::fs::remove_dir_all(fence).with_context(|| fence.display().to_string())?;
    }
    let (cluster, locks) = locks?;
    let mut gone = false;
    if locks.are_ours {
        let claims = Claims::new(locks.held.iter().map(Held::claim).collect(), clock);
        let histories = records(state, &cluster, claims, clock, &mut note).await?;
        gone = !histories.is_empty() && histories.iter().all(|history| history.records.is_empty());
    }
    for lock in locks.held {
        let name = lock.name().to_owned();
        lock.release(gone).await.with_context(|| format!("lock {name}"))?;
        note(format!("lock {name} given back"));
    }
    Ok(())
}

fn processes(processes: &[Process]) -> String {
    let ids: Vec<String> = processes.iter().map(|process| process.pid.to_string()).collect();
    format!("process {}", ids.join(", "))
}

/// The run's locks, as far as they still are its own.
struct Locks {
    held: Vec<Held>,
    are_ours: bool,
}

/// Takes the run's locks up again, so that nobody takes them over meanwhile.
async fn locks(state: &State, target: &Target, clock: Clock) -> anyhow::Result<(Cluster, Locks)> {
    let cluster = Cluster::connect(target).await?;
    let mut locks = Locks { held: Vec::new(), are_ours: true };
    for name in &state.leases {
        let client = cluster.client.clone();
        let resumed = lease::resume(client, &cluster.namespace, name, &state.identity, clock).await;
        match resumed.with_context(|| format!("lock {name}"))? {
            Ok(held) => locks.held.push(held),
            Err(holder) => {
                locks.are_ours = false;
                say(&match holder {
                    Some(other) => {
                        format!("lock {name} is {}'s: the records are left to it", other.owner.name)
                    }
                    None => format!("lock {name} is not held: no record of this run is left open"),
                });
            }
        }
    }
    Ok((cluster, locks))
}

/// No record stays pending, and what a repair has lent is returned.
async fn records(
    state: &State,
    cluster: &Cluster,
    lock: Claims,
    clock: Clock,
    note: &mut impl FnMut(String),
) -> anyhow::Result<Vec<History>> {
    let store = Store::new(cluster.client.clone(), &cluster.namespace, &state.storage);
    let store = store.under(&cluster.wire, lock, &state.lock_id);
    let mut histories = Vec::new();
    for (release, debt) in &state.releases {
        let mut history =
            store.history(release).await.with_context(|| format!("records of release {release}"))?;
        let copies = match &debt.backup {
            None => Vec::new(),
            Some(file) => {
                let text = private_file::read(file, backup::LARGEST).and_then(|text| {
                    String::from_utf8(text).map_err(|_| std::io::Error::other("it is not text"))
                });
                let text = text.with_context(|| file.display().to_string())?;
                read_backup(&text).map_err(anyhow::Error::msg).with_context(|| file.display().to_string())?
            }
        };
        let is_missing =
            |copy: &&Record| debt.replaced.contains(&copy.revision) && history.get(copy.revision).is_none();
        let missing: Vec<&Record> = copies.iter().filter(is_missing).collect();
        for copy in &missing {
            let created = store.create(&copy.stored).await;
            created.with_context(|| format!("records of release {release}"))?;
            note(format!(
                "{release}: revision {} restored: the run was killed while it wrote the record again",
                copy.revision
            ));
        }
        if !missing.is_empty() {
            let read = store.history(release).await;
            history = read.with_context(|| format!("records of release {release}"))?;
        }
        let lent = copies.into_iter().filter(|copy| debt.lent.contains(&copy.revision));
        let lend = |revision: &u32| Step::Lend {
            revision: *revision,
            union_of: Vec::new(),
            good: None,
            values_of: None,
        };
        let plan = Plan { good: debt.good, steps: debt.lent.iter().map(lend).collect(), ..Plan::default() };
        let mut hands = Hands {
            store: &store,
            cluster,
            clock,
            release: release.clone(),
            namespace: &cluster.namespace,
            lent: lent.map(|copy| (copy.revision, copy)).collect(),
            apis: BTreeMap::new(),
        };
        for step in repair::settle(Some(&plan), &history) {
            let record = step.revision().and_then(|revision| history.get(revision));
            if state.leases.is_empty()
                && !record.is_some_and(|record| record.stored.is_written_by(&state.lock_id))
            {
                // Without a lock another run may be at work on it.
                let revision = step.revision().unwrap_or_default();
                say(&format!("{release}: revision {revision} is left as it is: this run held no lock"));
                continue;
            }
            let said = hands
                .act(&step, &mut history)
                .await
                .with_context(|| format!("records of release {release}"))?;
            if let Some(said) = said {
                note(format!("{release}: {said}"));
            }
        }
        histories.push(history);
    }
    Ok(histories)
}

/// The job's summary and outputs say it too: those of the killed run stop where it was killed.
fn report(state: &State, done: &[String], env: &Env) {
    if let (ci::System::GitLab, Some(path)) = (ci::system(env), env.get("HELM_GUARD_DOTENV")) {
        let written =
            std::fs::read_to_string(path).and_then(|text| std::fs::write(path, gitlab::settled(&text)));
        if let Err(error) = written {
            say(&format!("warning: cannot write {path}: {error}"));
        }
    }
    if done.is_empty() || ci::system(env) != ci::System::GitHub {
        return;
    }
    let releases: Vec<&str> = state.releases.keys().map(String::as_str).collect();
    let summary = github::settled(&releases.join(", "), &state.namespace, done);
    let outcome = github::encode_output("outcome", "cancelled", &state.lock_id);
    for (variable, text) in [("GITHUB_STEP_SUMMARY", summary), ("GITHUB_OUTPUT", outcome)] {
        let Some(path) = env.get(variable).filter(|path| !path.is_empty()) else { continue };
        let written = std::fs::OpenOptions::new().append(true).create(true).open(path);
        if let Err(error) = written.and_then(|mut file| file.write_all(text.as_bytes())) {
            say(&format!("warning: cannot write {variable}: {error}"));
        }
    }
}
