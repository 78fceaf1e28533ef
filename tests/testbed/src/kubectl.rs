//! The real `kubectl` with one kubeconfig: asking, applying, and waiting by watching.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{output, output_with_input};

/// For programs in Go: they collect their garbage seldom, which takes a fifth of their processor time away. Tests have the
/// memory, and wait for processors.
pub const COLLECTOR: (&str, &str) = ("GOGC", "400");

/// `kubectl` with one kubeconfig, and so with one user and one namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig }
    }

    /// The same `kubectl` with another kubeconfig.
    #[must_use]
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        Self { program: self.program.clone(), kubeconfig: kubeconfig.to_owned() }
    }

    /// A command to run at will.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBERC", "off").env(COLLECTOR.0, COLLECTOR.1);
        command
    }

    /// What `kubectl` prints.
    ///
    /// # Errors
    /// `kubectl` fails; the error quotes what it says.
    pub fn kubectl<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Result<String> {
        output(self.command().args(arguments))
    }

    /// What `kubectl … --output=json` prints.
    ///
    /// # Errors
    /// As [`Kubectl::kubectl`].
    pub fn kubectl_json<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Result<Value> {
        let text = output(self.command().args(arguments).arg("--output=json"))?;
        serde_json::from_str(&text).context("read the JSON that kubectl prints")
    }

    /// Applies a manifest, YAML or JSON, server-side; any number of documents.
    ///
    /// # Errors
    /// As [`Kubectl::kubectl`].
    pub fn apply(&self, manifest: &str) -> Result<String> {
        output_with_input(self.command().args(["apply", "--server-side", "--filename=-"]), manifest)
    }

    /// Waits until an object such as `deployment/web` exists and meets a condition of `kubectl wait --for`, such as
    /// `condition=Available`, `delete` or `jsonpath={.status.phase}=Bound`.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub fn wait_for(&self, object: &str, condition: &str, limit: Duration) -> Result<()> {
        let timeout = format!("--timeout={}ms", limit.as_millis());
        if condition != "create" && condition != "delete" {
            self.kubectl(["wait", object, "--for=create", &timeout])?;
        }
        self.kubectl(["wait", object, &format!("--for={condition}"), &timeout])?;
        Ok(())
    }

    /// Watches objects, as named by arguments of `kubectl get`, until `done` says so of one, and returns that one.
    /// They are looked at as they are now, and then whenever one changes.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub fn watch_until<I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        arguments: I,
        limit: Duration,
        mut done: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let mut command = self.command();
        command.arg("get").args(arguments).args(["--watch", "--output=json"]);
        command.arg(format!("--request-timeout={}ms", limit.as_millis()));
        let mut watch = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = watch.stdout.take().context("watch")?;
        let mut last = None;
        let mut found = None;
        for object in serde_json::Deserializer::from_reader(output).into_iter() {
            let Ok(object) = object else { break };
            if done(&object) {
                found = Some(object);
                break;
            }
            last = Some(object);
        }
        let _ = watch.kill();
        watch.wait()?;
        match (found, last) {
            (Some(object), _) => Ok(object),
            (None, Some(last)) => bail!("not within {limit:?}; the last that changed is {last:#}"),
            (None, None) => bail!("not within {limit:?}: nothing was seen"),
        }
    }
}
