//! How Helm is started, whatever for: the one place that builds its command. What must not reach Helm, its plugins and
//! post-renderers is taken out of the environment here (`tests/architecture.rs` allows no other place).

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{sys::signal::Signal, unistd::Pid};

use super::memory::{self, Decided};
use crate::redact::Redactor;

/// The variable by which Helm, and whatever it starts, is known as a run's own when the run itself is gone.
pub const MARK: &str = "HELM_GUARD_LOCK_ID";

/// What the variables of this program's own begin with.
const OWN: &str = "HELM_GUARD_";

/// How Helm is started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The binary.
    pub helm: PathBuf,
    /// Short id of the hold of the lock, for [`MARK`]; empty without a lock of this run's own.
    pub lock_id: String,
    /// Variables that are set for it, and those that are taken from it.
    pub environment: Vec<(&'static str, Option<String>)>,
    /// What the user has decided of its memory.
    pub memory: Decided,
    /// What must not be seen of what it prints when it only answers.
    pub redactor: Redactor,
}

impl Launch {
    /// A Helm that dies with this program: the hidden step, which becomes it.
    pub(super) fn bound(&self, argv: &[String]) -> tokio::process::Command {
        // This program, even when its file has been replaced.
        let mut step = Command::new("/proc/self/exe");
        step.arg(STEP).arg(std::process::id().to_string()).arg(&self.helm).args(argv);
        self.prepare(&mut step);
        step.process_group(0);
        step.into()
    }

    /// A Helm that changes nothing.
    pub(super) fn unbound(&self, argv: &[String]) -> tokio::process::Command {
        let mut helm = Command::new(&self.helm);
        helm.args(argv);
        self.prepare(&mut helm);
        helm.process_group(0);
        helm.into()
    }

    /// A Helm that this program is not needed beside: it takes this process over, or is waited for.
    pub fn alone(&self, argv: &[String]) -> Command {
        let mut helm = Command::new(&self.helm);
        helm.args(argv);
        self.prepare(&mut helm);
        helm
    }

    fn prepare(&self, command: &mut Command) {
        command.envs(self.memory.variables(memory_available()));
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        without_secrets(command);
        if !self.lock_id.is_empty() {
            command.env(MARK, &self.lock_id);
        }
    }
}

/// Takes this program's own secrets out of the environment of what it starts. `GITHUB_TOKEN` and the like are not its own:
/// they are the user's, who may have put them there for a plugin.
fn without_secrets(command: &mut Command) {
    #[expect(clippy::disallowed_methods, reason = "only names are read, to leave variables out")]
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_str().is_some_and(is_own_secret)) {
        command.env_remove(name);
    }
}

/// Does a variable hold a secret of this program's own: a token for the CI system's API, an input of the action?
pub fn is_own_secret(name: &str) -> bool {
    name.starts_with(crate::action::PREFIX) || (name.starts_with(OWN) && name.contains("TOKEN"))
}

/// Bytes; `None` where the system does not tell.
fn memory_available() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let files = memory::limit_files(&read("/proc/self/cgroup").unwrap_or_default());
    let limits: Vec<String> = files.iter().filter_map(|path| read(path)).collect();
    memory::available(&read("/proc/meminfo")?, limits.iter().map(String::as_str))
}

/// The hidden command that a Helm which changes things is started by: this program again, which asks the system to be
/// killed with its parent, and then becomes Helm. Only a process itself can ask that, and between `fork` and `exec` only
/// unsafe code could.
pub const STEP: &str = "exec-helm";

/// The step. `arguments` are the parent's process id, the binary and its arguments; returns only if it fails.
///
/// SIGKILL: a Helm whose fence is gone can save nothing, but would try for as long as its timeout.
pub fn become_helm(mut arguments: impl Iterator<Item = OsString>) -> String {
    let parent = arguments.next().and_then(|id| id.to_str()?.parse().ok());
    let (Some(parent), Some(helm)) = (parent, arguments.next()) else {
        return format!("{STEP}: for this program itself");
    };
    if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
        return format!("helm cannot be bound to this process: {error}");
    }
    // It may have died before the request was made.
    if nix::unistd::getppid() != Pid::from_raw(parent) {
        return "the process that started helm is gone".to_owned();
    }
    let mut command = Command::new(&helm);
    without_secrets(command.args(arguments));
    let error = command.exec();
    format!("helm binary {}: {error}", Path::new(&helm).display())
}

/// Whether there is a program to run at all, by path or on `PATH`. Else why not: better known before the lock is taken than
/// from the step that would become it.
///
/// # Errors
/// When there is none, or it may not be executed.
pub fn find(helm: &Path) -> std::io::Result<PathBuf> {
    which::which(helm).map_err(|_| match helm.components().count() {
        0 | 1 => std::io::Error::new(std::io::ErrorKind::NotFound, "not found on PATH"),
        _ => match std::fs::metadata(helm) {
            Ok(_) => std::io::Error::new(std::io::ErrorKind::PermissionDenied, "not executable"),
            Err(error) => error,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secrets_of_its_own_are_kept_from_helm() {
        for (name, is_own) in [
            ("HELM_GUARD_CI_TOKEN", true),
            ("HELM_GUARD_INPUT_KUBECONFIG", true),
            ("HELM_GUARD_INPUT_GITHUB_TOKEN", true),
            ("HELM_GUARD_LOCK_ID", false),
            ("HELM_GUARD_KUBECONFIG", false),
            ("HELM_DRIVER_SQL_CONNECTION_STRING", false),
            ("GITHUB_TOKEN", false),
        ] {
            assert_eq!(is_own_secret(name), is_own, "{name}");
        }
    }
}
