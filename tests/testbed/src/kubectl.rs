//! The real `kubectl` with one kubeconfig: asking, applying, and waiting by watching.

mod server;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use server::{Call, Server};

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
        let arguments = words(arguments);
        let output = self.call(&arguments)?.output();
        output.with_context(|| format!("kubectl {} failed", arguments.join(" ")))
    }

    /// Begins a command in the one process that runs them all.
    fn call(&self, arguments: &[String]) -> Result<Call> {
        Server::of(&self.program)?.call(&self.kubeconfig, arguments)
    }

    /// What `kubectl … --output=json` prints.
    ///
    /// # Errors
    /// As [`Kubectl::kubectl`].
    pub fn kubectl_json<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Result<Value> {
        let mut arguments = words(arguments);
        arguments.push("--output=json".to_owned());
        let text = self.kubectl(arguments)?;
        serde_json::from_str(&text).context("read the JSON that kubectl prints")
    }

    /// Applies a manifest, YAML or JSON, server-side; any number of documents.
    ///
    /// # Errors
    /// As [`Kubectl::kubectl`].
    pub fn apply(&self, manifest: &str) -> Result<String> {
        let mut file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
        file.write_all(manifest.as_bytes())?;
        self.kubectl([
            OsStr::new("apply"),
            "--server-side".as_ref(),
            "--filename".as_ref(),
            file.path().as_ref(),
        ])
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
    /// They are looked at as they are now, and then whenever one changes. What is named may not be there yet.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub fn watch_until<I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        arguments: I,
        limit: Duration,
        mut done: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let mut words = words(arguments);
        if let Some(name) = words.get_mut(1).filter(|word| !word.starts_with('-')) {
            // Asked for by its name, what is not there is an error.
            *name = format!("--field-selector=metadata.name={name}");
        }
        words.insert(0, "get".to_owned());
        words.extend(["--watch".to_owned(), "--output=json".to_owned()]);
        words.push(format!("--request-timeout={}ms", limit.as_millis()));
        let mut call = self.call(&words)?;
        let mut last = None;
        for object in serde_json::Deserializer::from_reader(&mut call).into_iter() {
            let Ok(object) = object else { break };
            if done(&object) {
                return Ok(object);
            }
            last = Some(object);
        }
        let said = call.output().err().map(|error| format!(": {error:#}")).unwrap_or_default();
        match last {
            Some(last) => bail!("not within {limit:?}; the last that changed is {last:#}{said}"),
            None => bail!("not within {limit:?}: nothing was seen{said}"),
        }
    }
}

fn words(arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Vec<String> {
    arguments.into_iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect()
}
