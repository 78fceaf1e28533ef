//! A cluster of its own with real Helms and helm-guard in front of it, for the demo and the bench.
//! All files are in the cluster's directory, so they go when it goes, however this process ends.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use testbed::{
    Audit, Cluster, Kubectl, Options,
    tools::{self, Helm},
};

use crate::{
    product,
    screen::{Screen, variable},
};

/// How long anything on the test bed may take before it counts as broken.
const LIMIT: Duration = Duration::from_secs(60);

/// The chart that is deployed, from the checkout.
pub(crate) const CHART: &str = "tests/charts/web";

/// A running cluster, and the programs to use with it.
#[derive(Debug)]
pub(crate) struct Lab {
    cluster: Cluster,
    home: PathBuf,
}

impl Lab {
    /// Starts a cluster; `guard` is the helm-guard to use, by its absolute path.
    pub(crate) fn start(screen: &Screen, helms: &[Helm], guard: &Path) -> Result<Self> {
        for helm in helms {
            screen.step(&format!("Helm {} from its source or the cache", major(*helm)), |_| {
                tools::helm(*helm)
            })?;
        }
        let version = tools::KUBERNETES_VERSION;
        screen.step(&format!("Kubernetes {version} from its source or the cache"), |_| {
            tools::testcluster(version)
        })?;
        let cluster =
            screen.step("a control plane of its own, started", |_| Cluster::start(&Options::default()))?;
        let home = cluster.info().dir.join("lab");
        // Under the name that is typed, whatever the file is called.
        let bin = home.join("bin");
        fs::create_dir_all(&bin).context("create a directory for the lab")?;
        std::os::unix::fs::symlink(guard, bin.join("helm-guard")).context("link helm-guard")?;
        Ok(Self { cluster, home })
    }

    /// A fresh namespace, and the commands for it.
    pub(crate) fn place(&self, namespace: &str, helm: Helm) -> Result<Place<'_>> {
        self.cluster.kubectl(["create", "namespace", namespace])?;
        let kubeconfig = self.cluster.user_kubeconfig("admin", namespace)?;
        let kubectl = tools::kubectl(tools::KUBERNETES_VERSION)?;
        let inherited = variable("PATH").unwrap_or_default();
        let programs = [tools::helm(helm)?, kubectl];
        let own = programs.iter().filter_map(|program| program.parent()).map(Path::to_owned);
        let own = own.chain([self.home.join("bin")]);
        let path = std::env::join_paths(own.chain(std::env::split_paths(&inherited)))?;
        let kubectl = self.cluster.with_kubeconfig(&kubeconfig);
        Ok(Place { lab: self, kubeconfig, path, kubectl })
    }

    /// Ends the cluster and waits until it is gone.
    pub(crate) fn stop(self) {
        self.cluster.stop();
    }
}

/// A namespace with one Helm.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    lab: &'a Lab,
    kubeconfig: PathBuf,
    path: OsString,
    kubectl: Kubectl,
}

impl Place<'_> {
    /// The kubeconfig of those commands.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The same place by another way to the API server.
    pub(crate) fn through(&self, kubeconfig: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), ..self.clone() }
    }

    /// `helm`, `helm-guard` or `kubectl`, run from the checkout, with as little of the user's environment as will do.
    pub(crate) fn command<I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        program: &str,
        arguments: I,
    ) -> Command {
        // Not by its name alone: the name is looked up in this process's own PATH.
        let found = std::env::split_paths(&self.path).map(|directory| directory.join(program));
        let program = found.into_iter().find(|path| path.is_file()).unwrap_or_else(|| program.into());
        let mut command = Command::new(program);
        command.args(arguments).current_dir(product::root()).env_clear();
        for name in ["TERM", "NO_COLOR", "LANG", "LC_ALL", "USER", "COLUMNS"] {
            command.envs(variable(name).map(|value| (name, value)));
        }
        command.env("PATH", &self.path).env("KUBECONFIG", &self.kubeconfig);
        command.env("HOME", &self.lab.home).env("TMPDIR", &self.lab.home).stdin(Stdio::null());
        command
    }

    /// What this place's user asked the API server for, here or elsewhere.
    pub(crate) fn audit(&self) -> Result<Audit> {
        Ok(self.lab.cluster.audit()?.user("admin"))
    }

    /// A file of the lab.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.lab.home.join(name)
    }

    /// Leaves release `web` stuck, as the death of a machine does: Helm is killed once it has applied the upgrade and
    /// waits for the pods. The arguments must keep a pod from becoming ready.
    pub(crate) fn leave_stuck(&self, helm_arguments: &[&str]) -> Result<()> {
        let errors = self.file("killed-helm");
        let mut helm = self.command("helm", helm_arguments);
        let mut helm = helm.stdout(Stdio::null()).stderr(File::create(&errors)?).spawn()?;
        let seen = self.wait_until_half_done();
        helm.kill().context("kill helm")?;
        helm.wait()?;
        seen.with_context(|| {
            format!("helm never got half way: {}", fs::read_to_string(errors).unwrap_or_default().trim())
        })
    }

    fn wait_until_half_done(&self) -> Result<()> {
        let pending = "owner=helm,name=web,status=pending-upgrade";
        self.kubectl.watch_until(["secrets", "-l", pending], LIMIT, |object| object["kind"] == "Secret")?;
        // The record is pending before anything is applied; what is applied shows in the Deployment.
        self.kubectl.watch_until(["deployments", "web"], LIMIT, |web| {
            web["metadata"]["generation"] == web["status"]["observedGeneration"]
                && web["status"]["unavailableReplicas"].as_u64().is_some_and(|count| count > 0)
        })?;
        Ok(())
    }

    /// Revision and status of the release's records, oldest first.
    pub(crate) fn history(&self) -> Result<Vec<(u64, String)>> {
        let output = self.command("helm", ["history", "web", "--output=json"]).output()?;
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).context("read helm's history")?;
        let row = |row: &Value| Some((row["revision"].as_u64()?, row["status"].as_str()?.to_owned()));
        rows.iter().map(|value| row(value).context("read helm's history")).collect()
    }
}

/// `3` or `4`.
pub(crate) fn major(helm: Helm) -> u8 {
    match helm {
        Helm::V3 => 3,
        Helm::V4 => 4,
    }
}
