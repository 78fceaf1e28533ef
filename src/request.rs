//! Flags and a passed-in environment become a validated request.
//! Pure: nothing is read here, neither files nor the environment.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;

use crate::{
    bytes,
    ci::{self, run::Owner, workflow_lint::Limits},
    cli::{self, Cli, ClusterFlags, GuardFlags, OWN_FLAGS},
    cluster::{Target, http_proxy::Proxies},
    env::Env,
    helm::{Command, Invocation, env_settings, gc_tuning::Decided, go_syntax::boolean, split},
    lock::lease_name,
    private_file,
    repair::Strategy,
    report::Subject,
    storage::{
        Storage,
        dsn::{CONNECTION, Database},
    },
};

/// What is to be done about a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Helm's command, after a repair if one is needed.
    Helm,
    /// The repair alone.
    Repair,
    /// The preflight alone.
    Check,
}

/// All that is known before anything is touched.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is to be done.
    pub task: Task,
    /// The Helm command line, understood.
    pub invocation: Invocation,
    /// helm-guard's own flags.
    pub guard: GuardFlags,
    /// Which cluster.
    pub target: Target,
    /// Who runs this.
    pub owner: Owner,
    /// Where records are.
    pub storage: Storage,
    /// Helm binary.
    pub helm: PathBuf,
    /// What of Helm's memory is not ours to decide.
    pub helm_memory: Decided,
    /// What is odd but stops nothing.
    pub warnings: Vec<String>,
    /// `--history-max`, else `HELM_MAX_HISTORY`, else Helm's 10.
    pub history_max: u32,
    /// How long a repair without a deploy waits for what it brought back; nothing is not waited for.
    pub rollout_timeout: Duration,
    /// Directory for backups.
    pub backup_dir: PathBuf,
    /// Directory for the copies that a repair is undone from.
    pub copies_dir: PathBuf,
    /// Where the state for `settle` is kept, in CI.
    pub state_dir: Option<PathBuf>,
    /// Where our CI system answers questions about other runs.
    pub desk: Option<ci::Desk>,
    /// Lock ID of the hold that this command was started under.
    pub within: Option<String>,
    /// Directory for files that are gone when the run is.
    pub temporary: PathBuf,
    /// The user's cache directory.
    pub cache_dir: Option<PathBuf>,
    /// Whether a CI system started this.
    pub in_ci: bool,
    /// A minor release of Kubernetes 1 whose removed APIs a repair replaces too, ahead of the cluster's upgrade.
    pub kubernetes_version: Option<u32>,
}

/// How many revisions Helm keeps where no flag says it; 0 is no limit.
pub(crate) fn history_max(env: &Env) -> u32 {
    u32::try_from(env_settings::max_history(env).max(0)).unwrap_or(u32::MAX)
}

/// Where records are, as `HELM_DRIVER` says.
///
/// # Errors
/// With the sentence to print, when it is another storage, or the way to the database cannot be read.
pub fn storage(env: &Env) -> Result<Storage, String> {
    match env.get("HELM_DRIVER").map_or("", String::as_str) {
        "" | "secret" | "secrets" => Ok(Storage::Secrets),
        "configmap" | "configmaps" => Ok(Storage::ConfigMaps),
        "sql" => {
            let connection = env.get(CONNECTION).map_or("", String::as_str);
            Database::parse(connection, env).map(|database| Storage::Sql(Box::new(database)))
        }
        other => Err(format!("HELM_DRIVER={other}: helm-guard knows secret, configmap and sql")),
    }
}

/// Where files go that need not last: in CI where its later steps find them.
fn temporary(env: &Env) -> PathBuf {
    ci::job_directory(env).or_else(|| directory(env, "TMPDIR")).unwrap_or_else(|| "/tmp".into())
}

fn directory(env: &Env, name: &str) -> Option<PathBuf> {
    env.get(name).filter(|directory| !directory.is_empty()).map(PathBuf::from)
}

/// Where backups go when nobody says. In CI they outlast a job where its runner's directory does (GitLab's shell executor), and
/// so are in one place for all jobs of the project: of how many there are, none could know otherwise. Elsewhere they are in the
/// user's own state directory: what is shared with other users is no place for what `restore` trusts. Where a user has no
/// directory that can be written, a private one in the temporary directory is all there is.
pub fn backup_dir(env: &Env) -> PathBuf {
    if let Some(job) = ci::job_directory(env) {
        let all = job.parent().filter(|_| ci::system(env) == ci::System::GitLab);
        return all.unwrap_or(&job).join("helm-guard-backups");
    }
    private_dir(env, "backups")
}

/// A directory of the user's own for files that stay, outside of CI.
fn private_dir(env: &Env, what: &str) -> PathBuf {
    let absolute = |name: &str| directory(env, name).filter(|directory| directory.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    let state = absolute("XDG_STATE_HOME").or_else(home).map(|state| state.join("helm-guard").join(what));
    let temporary = temporary(env).join(format!("helm-guard-{what}-{}", private_file::user()));
    private_file::first_usable(state.into_iter().chain([temporary]).collect())
}

impl Request {
    /// Reads `tokens`, which follow the command's word.
    ///
    /// # Errors
    /// With the sentence to print, exit code [`crate::exit::USAGE`].
    pub fn parse(command: Command, tokens: &[String], env: &Env, host: &str) -> Result<Self, String> {
        let split = split(command, tokens, &OWN_FLAGS).map_err(|error| error.to_string())?;
        let invocation = Invocation::parse(command, &split.helm).map_err(|error| error.to_string())?;
        let (flags, mut warnings) = from_env(env);
        let own: Vec<String> = flags.into_iter().chain(split.own).collect();
        let is_outdated = |word: &String| word == "--outdated" || word.starts_with("--outdated=");
        let is_outdated_chosen = own.iter().any(is_outdated);
        let argv = ["helm-guard".to_owned(), command.as_str().to_owned()].into_iter().chain(own);
        let cli = Cli::try_parse_from(argv.map(|word| bytes::to_bytes(&word)))
            .map_err(|error| error.render().to_string())?;
        let mut guard = match cli.command {
            cli::Command::Upgrade(deploy)
            | cli::Command::Install(deploy)
            | cli::Command::Rollback(deploy)
            | cli::Command::Uninstall(deploy) => deploy.guard,
            cli::Command::Restore(_)
            | cli::Command::Settle(_)
            | cli::Command::Check(_)
            | cli::Command::Status(_)
            | cli::Command::History(_)
            | cli::Command::Backup(_)
            | cli::Command::Diagnose(_)
            | cli::Command::Repair(_)
            | cli::Command::Unlock(_)
            | cli::Command::Lock(_)
            | cli::Command::Action => return Err("not a Helm command".into()),
        };
        if !is_outdated_chosen && env.get("CI_JOB_MANUAL").is_some_and(|manual| manual == "true") {
            // GitLab counts no attempts: whoever starts a job by hand means it, unless another choice was made.
            guard.outdated = cli::Outdated::Allow;
        }
        warnings.sort();
        Self::of(Task::Helm, invocation, guard, warnings, env, host)
    }

    /// A preflight alone, with the tokens of an upgrade. Also says whether the report is to be printed as JSON.
    ///
    /// # Errors
    /// As [`Request::parse`].
    pub fn check(tokens: &[String], env: &Env, host: &str) -> Result<(Self, bool), String> {
        let mut request = Self::parse(Command::Upgrade, tokens, env, host)?;
        let json = match request.invocation.value("output") {
            None => false,
            Some("json") => true,
            Some(other) => return Err(format!("check: --output {other}: only json is printed")),
        };
        if request.invocation.chart().is_none() {
            return Err("check: name the release and its chart".to_owned());
        }
        request.invocation = request.invocation.without(&["output"]).map_err(|error| error.to_string())?;
        request.task = Task::Check;
        request.state_dir = None;
        // Nothing is written, so nothing is held, and Helm needs no fence.
        let guard = &mut request.guard;
        (guard.lock, guard.run.fence, guard.outdated) =
            (cli::Lock::Off, cli::Fence::Off, cli::Outdated::Allow);
        if guard.preflight == cli::Preflight::Off {
            guard.preflight = cli::Preflight::Enforce;
        }
        Ok((request, json))
    }

    /// A repair alone.
    ///
    /// # Errors
    /// As [`Request::parse`].
    pub fn repair(args: &cli::Repair, env: &Env, host: &str) -> Result<Self, String> {
        let release = args.release.clone().ok_or("repair: name the release")?;
        let cluster = &args.cluster;
        let flag = |name: &str, value: Option<String>| value.map(|value| format!("--{name}={value}"));
        let kubeconfig = cluster.kubeconfig.as_ref().map(|path| path.display().to_string());
        let mut tokens: Vec<String> = [
            flag("kubeconfig", kubeconfig),
            flag("kube-context", cluster.kube_context.clone()),
            flag("namespace", cluster.namespace.clone()),
        ]
        .into_iter()
        .flatten()
        .collect();
        tokens.extend(["--".to_owned(), release]);
        // Helm gets these flags for the steps that are its own.
        let invocation = Invocation::parse(Command::Upgrade, &tokens).map_err(|error| error.to_string())?;
        let guard = GuardFlags {
            helm_bin: args.helm_bin.clone(),
            lock: cli::Lock::On,
            lock_name: args.lock_name.clone(),
            lock_timeout: args.lock_timeout,
            // It deploys nothing, so it brings nothing old.
            outdated: cli::Outdated::Allow,
            repair: args.strategy.unwrap_or_default().into(),
            preflight: cli::Preflight::Off,
            recreate_statefulsets: false,
            run: args.run.clone(),
        };
        let request = Self::of(Task::Repair, invocation, guard, Vec::new(), env, host)?;
        let (rollout_timeout, kubernetes_version) = (args.rollout_timeout, args.kubernetes_version);
        Ok(Self { rollout_timeout, kubernetes_version, ..request })
    }

    fn of(
        task: Task,
        invocation: Invocation,
        guard: GuardFlags,
        warnings: Vec<String>,
        env: &Env,
        host: &str,
    ) -> Result<Self, String> {
        let command = invocation.command;
        let storage = storage(env)?;
        let history_max = invocation.history_max().unwrap_or_else(|| history_max(env));
        let helm = guard
            .helm_bin
            .clone()
            .or_else(|| env.get("HELM_BIN").filter(|bin| !bin.is_empty()).map(PathBuf::from));
        let dir = |name: &str| directory(env, name);
        let ci_dir = ci::job_directory(env);
        let temporary = temporary(env);
        let backup_dir = guard.run.backups.dir.clone().unwrap_or_else(|| backup_dir(env));
        // A directory whose files go elsewhere, without secrets, is no place for copies with them.
        let copies_dir = if guard.run.backups.redacted {
            match &ci_dir {
                Some(job) => job.join("helm-guard-repairs"),
                None => private_dir(env, "repairs"),
            }
        } else {
            backup_dir.clone()
        };
        let cache_dir = dir("XDG_CACHE_HOME").or_else(|| dir("HOME").map(|home| home.join(".cache")));
        if invocation.generate_name() && invocation.releases().is_empty() {
            return Err(
                "--generate-name: a name that is made up later cannot be locked now; name the release".into(),
            );
        }
        if invocation.releases().is_empty() {
            return Err(format!("{}: name the release, as for helm {}", command.as_str(), command.as_str()));
        }
        Ok(Self {
            task,
            target: target(&invocation, env)?,
            helm_memory: Decided::of(env),
            owner: ci::owner(env, host),
            storage,
            helm: helm.unwrap_or_else(|| "helm".into()),
            warnings,
            history_max,
            rollout_timeout: Duration::ZERO,
            backup_dir,
            copies_dir,
            state_dir: ci_dir,
            desk: ci::desk(env, Proxies::of(env)),
            within: env.get(crate::env::LOCK_ID_ENV).filter(|id| !id.is_empty()).cloned(),
            temporary,
            cache_dir,
            in_ci: ci::system(env) != ci::System::Terminal,
            kubernetes_version: None,
            invocation,
            guard,
        })
    }

    /// The lock names, one a release, in the order in which they are taken.
    pub fn releases(&self) -> Vec<String> {
        let mut releases: Vec<String> = self.invocation.releases().into_iter().map(str::to_owned).collect();
        releases.sort();
        releases.dedup();
        releases
    }

    /// Name of the Lease of a release.
    pub fn lease(&self, release: &str) -> String {
        self.guard.lock_name.clone().unwrap_or_else(|| lease_name(release))
    }

    /// Does Helm run? A repair that sets only records right can do without.
    pub fn needs_helm(&self) -> bool {
        self.task != Task::Repair || matches!(self.guard.repair, Strategy::Rollback | Strategy::Uninstall)
    }

    /// What is done, in one word.
    pub fn operation(&self) -> &'static str {
        match self.task {
            Task::Helm => self.invocation.command.as_str(),
            Task::Repair => "repair",
            Task::Check => "check",
        }
    }

    /// How long this may take, as far as the command line says. Helm's own default is five minutes.
    pub fn limits(&self) -> Limits {
        let is_locked = self.guard.lock == cli::Lock::On;
        Limits {
            lock: if is_locked { self.guard.lock_timeout } else { Duration::ZERO },
            helm: self.invocation.timeout().unwrap_or(Duration::from_secs(300)),
            rolls_back: self.invocation.atomic(),
        }
    }

    /// For the report.
    pub fn subject(&self, release: &str, namespace: &str) -> Subject {
        Subject {
            command: self.operation().to_owned(),
            release: release.to_owned(),
            namespace: namespace.to_owned(),
            helm_flags: if self.task != Task::Repair { self.invocation.flag_names() } else { Vec::new() },
            owner: self.owner.clone(),
        }
    }
}

/// `HELM_GUARD_LOCK_TIMEOUT=1m` is `--lock-timeout=1m`; a name that is not known is a warning.
fn from_env(env: &Env) -> (Vec<String>, Vec<String>) {
    /// Used by the program for other things than flags.
    const OTHERS: [&str; 7] = [
        "HELM_GUARD_TEST_CLUSTER",
        "HELM_GUARD_CACHE",
        "HELM_GUARD_KUBECONFIG",
        "HELM_GUARD_STATE",
        crate::env::LOCK_ID_ENV,
        crate::env::CI_TOKEN,
        ci::JOB_ID,
    ];
    let (mut flags, mut warnings) = (Vec::new(), Vec::new());
    for (name, value) in env {
        let Some(rest) = name.strip_prefix("HELM_GUARD_") else { continue };
        let flag = rest.to_ascii_lowercase().replace('_', "-");
        if OWN_FLAGS.iter().any(|own| own.name == flag) {
            if !value.is_empty() {
                flags.push(format!("--{flag}={value}"));
            }
        } else if !OTHERS.contains(&name.as_str()) {
            warnings.push(format!("{name}: no flag of that name; ignored"));
        }
    }
    (flags, warnings)
}

/// The cluster that helm-guard's own commands mean: the flags that all of them have, then Helm's variables.
pub fn cluster_target(flags: &ClusterFlags, env: &Env) -> Target {
    chosen(flags.kube_context.as_deref(), flags.namespace.as_deref(), flags.kubeconfig.as_deref(), env)
}

/// The cluster of Helm's variables, with what flags say instead. A flag that is given empty hides its variable.
fn chosen(context: Option<&str>, namespace: Option<&str>, kubeconfig: Option<&Path>, env: &Env) -> Target {
    let mut target = env_settings::target(env);
    if let Some(context) = context {
        target.context = Some(context.to_owned()).filter(|context| !context.is_empty());
    }
    if let Some(namespace) = namespace {
        target.namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
    }
    if let Some(file) = kubeconfig.filter(|file| !file.as_os_str().is_empty()) {
        (target.kubeconfig, target.is_explicit) = (vec![file.to_owned()], true);
    }
    target
}

const INSECURE: &str = "kube-insecure-skip-tls-verify";

/// Helm's flags, then its variables, which are the flags' defaults. A flag that is given empty says nothing, and hides its
/// variable.
fn target(invocation: &Invocation, env: &Env) -> Result<Target, String> {
    let file = invocation.value("kubeconfig").map(bytes::to_bytes);
    let (context, namespace) = (invocation.value("kube-context"), invocation.value("namespace"));
    let mut target = chosen(context, namespace, file.as_deref().map(Path::new), env);
    let set = |field: &mut Option<String>, flag: &str| {
        if let Some(value) = invocation.value(flag) {
            *field = Some(value.to_owned()).filter(|value| !value.is_empty());
        }
    };
    set(&mut target.server, "kube-apiserver");
    set(&mut target.token, "kube-token");
    set(&mut target.as_user, "kube-as-user");
    set(&mut target.tls_server_name, "kube-tls-server-name");
    if let Some(file) = invocation.value("kube-ca-file") {
        target.ca_file = Some(file).filter(|file| !file.is_empty()).map(|file| bytes::to_bytes(file).into());
    }
    let as_groups = invocation.values("kube-as-group");
    if !as_groups.is_empty() {
        target.as_groups = as_groups.into_iter().map(str::to_owned).collect();
    }
    // Helm does not get this flag, so it cannot refuse it.
    for value in invocation.values(INSECURE) {
        target.insecure = boolean(value).ok_or_else(|| format!("--{INSECURE}={value}: true or false"))?;
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_certificates_are_looked_at_is_read_as_helm_reads_it() {
        for (variable, flag, insecure) in [
            ("true", "", true),
            ("1", "", true),
            ("t", "", true),
            ("T", "", true),
            ("TRUE", "", true),
            ("True", "", true),
            ("tRUE", "", false),
            ("yes", "", false),
            ("0", "", false),
            ("", "", false),
            ("true", "--kube-insecure-skip-tls-verify=false", false),
            ("false", "--kube-insecure-skip-tls-verify", true),
        ] {
            let env: Env = [("HELM_KUBEINSECURE_SKIP_TLS_VERIFY".to_owned(), variable.to_owned())].into();
            let tokens: Vec<String> = ["web", "chart", flag]
                .iter()
                .filter(|token| !token.is_empty())
                .map(|t| (*t).to_owned())
                .collect();
            let request = Request::parse(Command::Upgrade, &tokens, &env, "host").unwrap();
            assert_eq!(request.target.insecure, insecure, "{variable} {flag}");
        }
    }

    #[test]
    fn a_manual_job_is_not_outdated_unless_another_choice_was_made() {
        use cli::Outdated::{Allow, Fail, Skip};
        for (manual, variable, flags, expected) in [
            ("true", "", &[][..], Allow),
            ("false", "", &[], Skip),
            ("true", "", &["--outdated=skip"], Skip),
            ("true", "", &["--outdated", "fail"], Fail),
            ("true", "fail", &[], Fail),
            ("true", "skip", &["--outdated=allow"], Allow),
        ] {
            let env = [("CI_JOB_MANUAL", manual), ("HELM_GUARD_OUTDATED", variable)];
            let env: Env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let tokens: Vec<String> = ["web", "chart"].iter().chain(flags).map(|t| (*t).to_owned()).collect();
            let request = Request::parse(Command::Upgrade, &tokens, &env, "host").unwrap();
            assert_eq!(request.guard.outdated, expected, "{manual} {variable:?} {flags:?}");
        }
    }

    #[test]
    fn backups_go_to_the_user_s_state_directory_or_to_the_job_s() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        let (home, file) = (home.path().to_str().unwrap(), file.to_str().unwrap());
        for (variables, wanted) in [
            (vec![("HOME", home)], format!("{home}/.local/state/helm-guard/backups")),
            (vec![("HOME", home), ("XDG_STATE_HOME", "/tmp")], "/tmp/helm-guard/backups".to_owned()),
            (vec![("HOME", home), ("RUNNER_TEMP", "/r")], "/r/helm-guard-backups".to_owned()),
            (
                vec![("HOME", file), ("TMPDIR", home)],
                format!("{home}/helm-guard-backups-{}", private_file::user()),
            ),
            (vec![("TMPDIR", home)], format!("{home}/helm-guard-backups-{}", private_file::user())),
        ] {
            let env: Env =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(backup_dir(&env).to_str(), Some(wanted.as_str()), "{variables:?}");
        }
    }
}
