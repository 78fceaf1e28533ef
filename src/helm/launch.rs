//! How Helm is started, whatever for: the one place that builds its command. What must not reach Helm, its plugins and
//! post-renderers is taken out of the environment here (`tests/architecture.rs` allows no other place).

use crate::env::LOCK_ID_ENV;
use crate::process::without_secrets;
use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use super::{
    gc_tuning::{self, Decided},
    terminal::{Place, Prepared},
};
use crate::{bytes, exit, private_file::InMemory, redact::Redactor};

/// How Helm is started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The binary.
    pub helm: PathBuf,
    /// Short id of the hold of the lock, for [`LOCK_ID_ENV`]; empty without a lock of this run's own.
    pub lock_id: String,
    /// Variables that are set for it, and those that are taken from it.
    pub environment: Vec<(&'static str, Option<String>)>,
    /// What the user has decided of its memory.
    pub memory: Decided,
    /// What must not be seen of what it prints when it only answers.
    pub redactor: Redactor,
    /// Where it runs.
    pub place: Place,
    /// What it reads as its standard input, from the beginning each time it is started. Else this process's own.
    pub input: Option<Arc<InMemory>>,
}

impl Launch {
    /// A Helm that dies with this program: the hidden step, which becomes it. `shielded`: a terminal's Ctrl-C is kept from it.
    pub(crate) fn bound(&self, argv: &[String], shielded: bool) -> tokio::process::Command {
        self.step(argv, true, shielded)
    }

    /// A Helm that changes nothing.
    pub(crate) fn unbound(&self, argv: &[String]) -> tokio::process::Command {
        match self.place {
            Place::Session => self.step(argv, false, false),
            Place::Terminal | Place::Group => self.placed(Command::new(&self.helm), argv),
        }
    }

    fn step(&self, argv: &[String], dies_with_parent: bool, shielded: bool) -> tokio::process::Command {
        // This program, even when its file has been replaced.
        let mut step = Command::new("/proc/self/exe");
        let prepared = Prepared { place: self.place, dies_with_parent, shielded, outlives_terminal: true };
        step.args(prepared.arguments(&self.helm));
        self.placed(step, argv)
    }

    fn placed(&self, mut command: Command, argv: &[String]) -> tokio::process::Command {
        command.args(argv.iter().map(|word| bytes::to_bytes(word)));
        self.prepare(&mut command);
        if self.place == Place::Group {
            command.process_group(0);
        }
        command.into()
    }

    /// What Helm reads as its standard input.
    pub(crate) fn stdin(&self) -> std::io::Result<Stdio> {
        match &self.input {
            None => Ok(Stdio::inherit()),
            Some(text) => Ok(text.open()?.into()),
        }
    }

    /// Why the step did not become Helm, if that is what it printed. Helm has no such exit code.
    pub(crate) fn not_started(&self, code: Option<i32>, error: &str) -> Option<std::io::Error> {
        let why =
            error.strip_prefix("helm-guard: error: ").filter(|_| code == Some(exit::UNAVAILABLE.into()))?;
        let known = format!("helm binary {}: ", self.helm.display());
        Some(std::io::Error::other(why.strip_prefix(&known).unwrap_or(why).to_owned()))
    }

    /// A Helm that this program is not needed beside: it takes this process over, or is waited for.
    pub fn alone(&self, argv: &[String]) -> Command {
        let mut helm = Command::new(&self.helm);
        helm.args(argv.iter().map(|word| bytes::to_bytes(word)));
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
            command.env(LOCK_ID_ENV, &self.lock_id);
        }
    }
}

/// Bytes; `None` where the system does not tell.
fn memory_available() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let files = gc_tuning::limit_files(&read("/proc/self/cgroup").unwrap_or_default());
    let limits: Vec<String> = files.iter().filter_map(|path| read(path)).collect();
    gc_tuning::available(&read("/proc/meminfo")?, limits.iter().map(String::as_str))
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
mod tests {}
