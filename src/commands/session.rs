//! What the commands share: the way to the cluster, a release's records, lines on stderr, and the error that ends a command.

use crate::status::list_entry::Entry;
use crate::{
    ci::{self, System},
    clock::Clock,
    display::Volume,
    id,
    report::{
        Event, Outcome, Subject,
        reporter::{Reporter, Sinks},
    },
};
use crate::{
    cli::ClusterFlags,
    cluster::Cluster,
    display::Display,
    env::Env,
    exit,
    lock::lease::LockError,
    release::History,
    request::{self, cluster_target},
    signals::Signals,
    storage::{Storage, Store, StoreError},
    text::{inert_line, terminal_safe},
};
use std::io::{IsTerminal, Write};

/// Why a command ends before its time.
pub(crate) struct CommandError {
    pub(crate) code: u8,
    pub(crate) why: String,
    pub(crate) details: Vec<String>,
    pub(crate) next: Vec<String>,
}

impl CommandError {
    pub(crate) fn new(code: u8, why: impl Into<String>, next: &[&str]) -> Self {
        let next = next.iter().map(|line| (*line).to_owned()).collect();
        Self { code, why: why.into(), details: Vec::new(), next }
    }

    /// Says it, and gives the exit code.
    pub(crate) fn tell(self) -> u8 {
        say(&format!("error: {}", self.why));
        self.details.iter().for_each(|line| print(line));
        self.next.iter().for_each(|line| say(&format!("hint: {line}")));
        self.code
    }
}

impl From<LockError> for CommandError {
    fn from(error: LockError) -> Self {
        match &error {
            LockError::Forbidden { verb: "list", .. } => Self::new(
                exit::REFUSED,
                error.to_string(),
                &[
                    "add this rule to your Role, or ClusterRole for -A: {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [list]}",
                    "or name the release: that needs only the permissions of a deploy",
                ],
            ),
            LockError::Forbidden { .. } => Self::new(
                exit::REFUSED,
                error.to_string(),
                &[
                    "add this rule to your Role: {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update, delete]}",
                ],
            ),
            LockError::NoNamespace(_) => Self::new(exit::REFUSED, error.to_string(), &[]),
            LockError::Timeout { .. } | LockError::Outdated(_) | LockError::Stopped { .. } => {
                Self::new(exit::LOCK_TIMEOUT, error.to_string(), &[])
            }
            LockError::Api(_) => {
                Self::new(exit::UNAVAILABLE, error.to_string(), &["kubectl get --raw /readyz"])
            }
        }
    }
}

pub(crate) async fn connect(flags: &ClusterFlags, env: &Env) -> Result<Cluster, CommandError> {
    let connected = Cluster::connect(&cluster_target(flags, env)).await;
    connected.map_err(|error| {
        let next = "check --kubeconfig, --kube-context and KUBECONFIG";
        CommandError::new(exit::UNAVAILABLE, format!("{error:#}"), &[next])
    })
}

pub(crate) fn listen() -> Result<Signals, CommandError> {
    Signals::listen().map_err(|error| {
        CommandError::new(exit::UNAVAILABLE, format!("cannot listen for signals: {error}"), &[])
    })
}

/// The records of a release that must be there.
pub(crate) async fn past(
    release: &str,
    flags: &ClusterFlags,
    env: &Env,
) -> Result<(Cluster, History), CommandError> {
    let storage = request::storage(env).map_err(|error| CommandError::new(exit::USAGE, error, &[]))?;
    let cluster = connect(flags, env).await?;
    let store = Store::new(cluster.client.clone(), &cluster.namespace, &storage);
    let history = store.history(release).await.map_err(|error| unreadable(release, &storage, error))?;
    if history.records.is_empty() {
        return Err(no_release(release, &cluster.namespace));
    }
    Ok((cluster, history))
}

/// Nobody has heard of it.
pub(crate) fn no_release(release: &str, namespace: &str) -> CommandError {
    let why = format!("no release {release} in namespace {namespace}");
    CommandError::new(1, why, &["helm-guard status -A --all lists all releases"])
}

pub(crate) fn unreadable(release: &str, storage: &Storage, error: StoreError) -> CommandError {
    let (code, next) = error.advice(storage.driver(), "your Role", "get, list");
    let why = anyhow::Error::new(error).context(format!("records of release {release}"));
    CommandError::new(code, format!("{why:#}"), &[&next])
}

/// What is known of the place where stdout is shown: a table on a terminal is cut to its width.
pub(crate) fn stdout_display(env: &Env) -> Display {
    let is_terminal = std::io::stdout().is_terminal();
    let colors = is_terminal && crate::ci::terminal::colors(env);
    let size = is_terminal.then(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok()).flatten();
    Display {
        color: colors || crate::ci::terminal::forces_color(env),
        width: size.map(|size| size.ws_col.into()).filter(|width| *width > 0),
    }
}

pub(crate) fn say(text: &str) {
    print(&format!("helm-guard: {}", terminal_safe(text)));
}

/// Names in Leases are anybody's, and a closed terminal must not stop the work.
pub(crate) fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", inert_line(line));
}

/// Says why a command does not begin, and gives its exit code.
pub fn complain(message: &str, code: u8) -> u8 {
    // Its lines stay: those of a wrong flag are the parser's, with its usage.
    let message = message.trim_start_matches("error: ").trim_end();
    let _ = writeln!(std::io::stderr(), "helm-guard: error: {message}");
    code
}

/// Where a run reports to, as the environment says it; the flags may add files.
pub(crate) fn sinks(env: &Env) -> Sinks {
    let system = ci::system(env);
    // One that cannot be drawn on gets lines, as a file does.
    let terminal = std::io::stderr().is_terminal() && ci::terminal::draws(env);
    let file = |name: &str| env.get(name).filter(|path| !path.is_empty()).map(Into::into);
    Sinks {
        color: (terminal && ci::terminal::colors(env)) || ci::terminal::forces_color(env),
        terminal,
        stdout_terminal: std::io::stdout().is_terminal(),
        volume: Volume::default(),
        github: system == System::GitHub,
        gitlab: system == System::GitLab,
        report_file: None,
        summary_file: None,
        dotenv: None,
        step_summary: file("GITHUB_STEP_SUMMARY"),
        github_output: file("GITHUB_OUTPUT"),
        delimiter: std::iter::repeat_with(id::random).take(4).collect(),
    }
}

/// Input that cannot be meant. On GitHub it is reported like any other refusal, for the later steps and the summary.
pub(crate) fn misused(command: &str, error: &str, env: &Env, clock: Clock) -> u8 {
    if ci::system(env) != System::GitHub {
        return complain(error, exit::USAGE);
    }
    let reporter = Reporter::new(sinks(env), clock);
    reporter.emit(Event::Started(Subject {
        command: command.to_owned(),
        owner: ci::owner(env, ""),
        ..Subject::default()
    }));
    reporter.emit(Event::Finished {
        outcome: Outcome::Refused,
        reason: error.trim_end().to_owned(),
        next: Vec::new(),
        exit_code: exit::USAGE,
    });
    exit::USAGE
}

/// Requests at once.
pub(crate) const AT_ONCE: usize = 8;

/// The store in which an entry's records are.
pub(crate) fn store(cluster: &Cluster, entry: &Entry, storages: &[Storage]) -> Option<Store> {
    let storage = storages.iter().find(|storage| storage.driver() == entry.storage)?;
    Some(Store::new(cluster.client.clone(), &entry.namespace, storage))
}
