//! After the fact: records put back from a backup, and what a killed run of this job left.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde::{Deserialize, Serialize};

use crate::{
    ci::{self, Env},
    cli::{ClusterFlags, Command, Restore, Settle},
    clock::Clock,
    cluster::{Cluster, Target},
    exit,
    lock::{Times, lease},
    release::store::{Driver, Store, Stored, read_backup},
    repair::{self, Plan, Step, steps::Hands},
    report::Holder,
};

/// What a run leaves beside it while it works, so that `settle` can end its work if it is killed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Namespace.
    pub namespace: String,
    /// Leases held.
    pub leases: Vec<String>,
    /// Identity under which they are held.
    pub identity: String,
    /// Are records in ConfigMaps?
    pub config_maps: bool,
    /// Releases, each with what a repair has to set right.
    pub releases: BTreeMap<String, Debt>,
}

/// What a repair has to set right after Helm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// The last good revision.
    pub good: Option<u32>,
    /// Revisions that were lent something.
    pub lent: Vec<u32>,
    /// Where the copies of the records are.
    pub backup: Option<PathBuf>,
}

impl State {
    /// Path of the state file of a run.
    pub fn path(directory: &Path, lock_id: &str) -> PathBuf {
        directory.join(format!("helm-guard-state-{lock_id}.json"))
    }

    /// Writes the file, replacing what was there in one step.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let beside = path.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(self).unwrap_or_default())?;
        std::fs::rename(beside, path)
    }
}

/// Runs `restore` or `settle`. Gives the exit code.
pub async fn run(command: Command, env: &Env, clock: Clock) -> u8 {
    let answer = match command {
        Command::Restore(args) => restore(&args, env, clock).await,
        Command::Settle(args) => settle_all(&args, env, clock).await,
        Command::Upgrade(_)
        | Command::Install(_)
        | Command::Rollback(_)
        | Command::Uninstall(_)
        | Command::Action => Ok(()),
    };
    match answer {
        Ok(()) => 0,
        Err(error) => {
            say(&format!("error: {error:#}"));
            exit::REFUSED
        }
    }
}

fn say(line: &str) {
    use std::io::Write;
    // A closed terminal must not stop the work.
    let _ = writeln!(std::io::stderr(), "helm-guard: {line}");
}

fn target(flags: &ClusterFlags, env: &Env) -> Target {
    let get = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
    let files =
        get("KUBECONFIG").map(|list| list.split(':').filter(|f| !f.is_empty()).map(PathBuf::from).collect());
    Target {
        kubeconfig: flags.kubeconfig.clone().map(|file| vec![file]).or(files).unwrap_or_default(),
        context: flags.kube_context.clone().or_else(|| get("HELM_KUBECONTEXT")),
        token: get("HELM_KUBETOKEN"),
        server: get("HELM_KUBEAPISERVER"),
        ca_file: get("HELM_KUBECAFILE").map(PathBuf::from),
        namespace: flags.namespace.clone().or_else(|| get("HELM_NAMESPACE")),
        ..Target::default()
    }
}

async fn restore(args: &Restore, env: &Env, clock: Clock) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.file).with_context(|| args.file.display().to_string())?;
    let copies =
        read_backup(&text).map_err(anyhow::Error::msg).with_context(|| args.file.display().to_string())?;
    let Some(first) = copies.first() else { bail!("{}: no record in it", args.file.display()) };
    let mut target = target(&args.cluster, env);
    target.namespace = target.namespace.or_else(|| first.namespace());
    let name = first.stored.name().trim_start_matches("sh.helm.release.v1.");
    let release = name.rsplit_once(".v").map_or(name, |(release, _)| release).to_owned();
    let driver = if matches!(first.stored, Stored::Secret(_)) { Driver::Secrets } else { Driver::ConfigMaps };
    let cluster = Cluster::connect(&target).await?;
    let store = Store::new(cluster.client.clone(), &cluster.namespace, driver);
    let owner = ci::owner(env, "restore");
    let lock_id = format!("{:08x}", std::process::id());
    let wanted = lease::Request {
        lease: format!("helm-guard-{release}"),
        namespace: cluster.namespace.clone(),
        me: Holder {
            identity: format!("{}-restore-{lock_id}", owner.name),
            lock_id,
            owner,
            operation: "restore".into(),
            since: clock.wall().to_string(),
        },
        times: Times::new(std::time::Duration::from_secs(15)),
        timeout: args.lock_timeout,
    };
    let waiting = |holder: &Holder, _| say(&format!("waiting for {}", holder.owner.name));
    let acquired = lease::acquire(cluster.client.clone(), &wanted, clock, waiting).await?;
    let put_back = async {
        let history = store.history(&release).await?;
        for copy in &copies {
            match history.get(copy.revision) {
                Some(current) => drop(store.put_back(current, copy).await?),
                None => store.create(&copy.stored).await?,
            }
            say(&format!("revision {} restored: {}", copy.revision, copy.status()));
        }
        anyhow::Ok(())
    }
    .await;
    acquired.held.release(false).await?;
    put_back
}

async fn settle_all(args: &Settle, env: &Env, clock: Clock) -> anyhow::Result<()> {
    let mut files: Vec<PathBuf> = args.state.clone().into_iter().collect();
    if files.is_empty() {
        let Some(directory) = env.get("RUNNER_TEMP") else {
            bail!("name a state file: RUNNER_TEMP is not set")
        };
        let is_state = |name: &str| name.starts_with("helm-guard-state-") && name.ends_with(".json");
        for entry in std::fs::read_dir(directory).with_context(|| directory.clone())?.flatten() {
            if is_state(&entry.file_name().to_string_lossy()) {
                files.push(entry.path());
            }
        }
    }
    if files.is_empty() {
        say("nothing to settle");
    }
    for file in files {
        let text = std::fs::read(&file).with_context(|| file.display().to_string())?;
        let state: State = serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
        settle(&state, args, env, clock).await?;
        std::fs::remove_file(&file).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Ends the work of a killed run, while its locks are still its own: nobody else has touched the release since.
async fn settle(state: &State, args: &Settle, env: &Env, clock: Clock) -> anyhow::Result<()> {
    let mut target = target(&args.cluster, env);
    target.namespace = Some(state.namespace.clone());
    let cluster = Cluster::connect(&target).await?;
    let driver = if state.config_maps { Driver::ConfigMaps } else { Driver::Secrets };
    let store = Store::new(cluster.client.clone(), &cluster.namespace, driver);
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    for name in &state.leases {
        let holder = api.get_opt(name).await?.as_ref().map(lease::view).and_then(|view| view.holder);
        if holder.is_none_or(|holder| holder.identity != state.identity) {
            say(&format!("lock {name} is not this run's any more: its next owner repairs what is left"));
            return Ok(());
        }
    }
    for (release, debt) in &state.releases {
        let mut history = store.history(release).await?;
        let copies = debt.backup.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        let copies = copies.and_then(|text| read_backup(&text).ok()).unwrap_or_default();
        let lent = copies.into_iter().filter(|copy| debt.lent.contains(&copy.revision));
        let steps = debt.lent.iter().map(|revision| Step::Lend {
            revision: *revision,
            union_of: Vec::new(),
            good: None,
            values_of: None,
        });
        let plan = Plan { good: debt.good, steps: steps.collect(), ..Plan::default() };
        let mut hands = Hands {
            store: &store,
            cluster: &cluster,
            clock,
            release: release.clone(),
            namespace: &cluster.namespace,
            lent: lent.map(|copy| (copy.revision, copy)).collect(),
        };
        for step in repair::settle(Some(&plan), &history) {
            if let Some(said) = hands.act(&step, &mut history).await? {
                say(&said);
            }
        }
    }
    for name in &state.leases {
        lease::vacate(&api, name, &state.identity, false).await?;
        say(&format!("lock {name} given back"));
    }
    Ok(())
}
