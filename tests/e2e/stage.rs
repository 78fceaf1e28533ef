//! What the stories share: a namespace, raw Helm, helm-guard, and ways to leave a release stuck.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use testbed::{COLLECTOR, Cluster, Gate, Hold, Namespace, Seen, tools::Helm};

/// Where one story plays.
pub struct Stage {
    pub namespace: Namespace<'static>,
    pub helm: PathBuf,
    /// `HELM_DRIVER`.
    pub driver: &'static str,
    /// Where records are with the driver `sql`.
    pub database: Option<testbed::Database>,
    pub temporary: tempfile::TempDir,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Lease times for tests, long enough that a busy machine loses no lock; one test uses the defaults.
pub const QUICK: [&str; 2] = ["--lease-duration=6s", "--keepalive=1s"];
/// For a holder that is going to be killed: the next one waits this long.
pub const SHORT_LIVED: &str = "--lease-duration=3s";

/// What Helm spends most of its time on, and no story about the chart of all stories is about. Those about what Helm and the
/// API server refuse have charts of their own, and leave it in.
pub const UNVALIDATED: &str = "--disable-openapi-validation";

impl Stage {
    pub fn new(stem: &str, version: Helm) -> Self {
        Self::on(Cluster::shared().unwrap(), stem, version)
    }

    /// On a cluster that is not everybody's.
    pub fn on(cluster: &'static Cluster, stem: &str, version: Helm) -> Self {
        let namespace = cluster.namespace(stem).unwrap();
        let helm = testbed::tools::helm(version).unwrap();
        Self { namespace, helm, driver: "secret", database: None, temporary: tempfile::tempdir().unwrap() }
    }

    /// With records in a database of its own.
    pub fn in_sql(stem: &str, version: Helm) -> Self {
        let database = testbed::Postgres::shared().unwrap().database().unwrap();
        Self { driver: "sql", database: Some(database), ..Self::new(stem, version) }
    }

    /// From now on Helm is the child of a script, so that it does not die with helm-guard; beside it runs `beside`.
    pub fn wrap_helm(&mut self, beside: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.temporary.path().join("helm");
        let helm = self.helm.display();
        let script = format!("#!/bin/sh\n{beside}\n'{helm}' \"$@\"\ncode=$?\nkill $! 2>&-\nexit $code\n");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        self.helm = path;
    }

    pub fn chart() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/charts/web")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.temporary.path()).env("TMPDIR", self.temporary.path()).env("USER", "ada");
        command
            .env("KUBECONFIG", self.namespace.kubeconfig())
            .env("HELM_BIN", &self.helm)
            .env("HELM_DRIVER", self.driver)
            .env(COLLECTOR.0, COLLECTOR.1)
            .stdin(Stdio::null());
        if let Some(database) = &self.database {
            command.env("HELM_DRIVER_SQL_CONNECTION_STRING", database.connection());
        }
        command
    }

    /// Raw Helm with these words.
    pub fn helm(&self, arguments: &[&str]) -> Command {
        let mut helm = self.command(&self.helm);
        helm.args(arguments);
        helm
    }

    /// Raw Helm with the chart: `helm upgrade web CHART …`.
    pub fn raw(&self, command: &str, more: &[&str]) -> Command {
        self.raw_of("web", command, more)
    }

    /// Raw Helm has done it, and the pods are ready. Helm 3's own `--wait` would look only every two seconds.
    #[track_caller]
    pub fn ready(&self, command: &str, more: &[&str]) {
        Self::ok(self.raw(command, more));
        let is_rolled_out = |object: &Value| {
            let (status, wanted) = (&object["status"], &object["spec"]["replicas"]);
            let counts = ["replicas", "updatedReplicas", "availableReplicas"];
            object["metadata"]["generation"] == status["observedGeneration"]
                && counts.iter().all(|count| &status[count] == wanted)
        };
        self.namespace.watch_until(["deployments", "web"], Duration::from_secs(60), is_rolled_out).unwrap();
    }

    /// The same for another release.
    pub fn raw_of(&self, release: &str, command: &str, more: &[&str]) -> Command {
        let mut helm = self.command(&self.helm);
        helm.arg(command).arg(release);
        if matches!(command, "upgrade" | "install") {
            helm.arg(Self::chart()).arg(UNVALIDATED);
        }
        helm.args(more);
        helm
    }

    /// Raw Helm with a chart of a story's own.
    pub fn raw_with(&self, command: &str, chart: &Path, more: &[&str]) -> Command {
        let mut helm = self.command(&self.helm);
        helm.arg(command).arg("web").arg(chart).args(more);
        helm
    }

    /// helm-guard with the chart: `helm-guard upgrade web CHART …`.
    pub fn guard(&self, command: &str, more: &[&str]) -> Command {
        let mut guard = self.command(Path::new(env!("CARGO_BIN_EXE_helm-guard")));
        guard.arg(command).arg("web").args(QUICK);
        if matches!(command, "upgrade" | "install") {
            guard.arg(Self::chart()).arg(UNVALIDATED);
        }
        guard.args(more);
        guard
    }

    /// helm-guard's other commands.
    pub fn own(&self, arguments: &[&str]) -> Command {
        let mut guard = self.command(Path::new(env!("CARGO_BIN_EXE_helm-guard")));
        guard.args(arguments);
        guard
    }

    pub fn run(mut command: Command) -> Said {
        command.output().unwrap().into()
    }

    #[track_caller]
    pub fn ok(command: Command) -> Said {
        let said = Self::run(command);
        assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
        said
    }

    /// Leaves the release stuck: raw Helm is killed when all is applied and it waits for the pods, which are not ready.
    pub fn stick(&self, command: &str, more: &[&str]) {
        let mut helm = self.raw(command, more);
        let before = self.generation();
        helm.args(["--wait", "--timeout=300s"]);
        let gate = Gate::open(&self.namespace, the_wait()).unwrap();
        helm.env("KUBECONFIG", gate.kubeconfig()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = helm.spawn().unwrap();
        let held = gate.wait(Duration::from_secs(60));
        let seen = held.and_then(|_| self.wait_for_unready(before));
        kill(&mut child);
        drop(gate);
        seen.unwrap();
    }

    /// Waits until a record has this status.
    pub fn wait_for_record(&self, status: &str) -> anyhow::Result<()> {
        if let Some(database) = &self.database {
            let row = format!("SELECT 1 FROM releases_v1 WHERE name = 'web' AND status = '{status}'");
            return database.wait_for(&row, Duration::from_secs(60));
        }
        let selector = format!("owner=helm,name=web,status={status}");
        let is_record = |object: &Value| object["kind"] == "Secret" || object["kind"] == "ConfigMap";
        self.namespace.watch_until([self.resource(), "-l", &selector], Duration::from_secs(60), is_record)?;
        Ok(())
    }

    /// What of the cluster holds records.
    pub fn resource(&self) -> &'static str {
        if self.driver == "configmap" { "configmaps" } else { "secrets" }
    }

    /// Of the Deployment; 0 if there is none.
    pub fn generation(&self) -> u64 {
        let deployments =
            self.namespace.kubectl_json(["get", "deployments", "web", "--ignore-not-found", "-o", "json"]);
        deployments.map_or(0, |deployment| deployment["metadata"]["generation"].as_u64().unwrap_or_default())
    }

    /// Waits until the Deployment was written after `generation`, and its pods are not ready: a revision before may have
    /// left them so.
    pub fn wait_for_unready(&self, generation: u64) -> anyhow::Result<()> {
        let is_unready = |object: &Value| {
            object["metadata"]["generation"].as_u64() > Some(generation)
                && object["metadata"]["generation"] == object["status"]["observedGeneration"]
                && object["status"]["unavailableReplicas"].as_u64().is_some_and(|count| count > 0)
        };
        self.namespace.watch_until(["deployments", "web"], Duration::from_secs(60), is_unready)?;
        Ok(())
    }

    /// Waits until the probe of a pod that never becomes ready (`behavior=never-ready`) has failed, and its event is there:
    /// whoever looks from then on sees both. Gives the pod's name.
    pub fn wait_for_failing_probe(&self) -> String {
        let fails = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
            pod["metadata"]["deletionTimestamp"].is_null()
                && ready.any(|condition| condition["reason"] == "ContainersNotReady")
        };
        let limit = Duration::from_secs(60);
        let pod = self.namespace.watch_until(["pods", "-l", "app=web"], limit, fails).unwrap();
        let name = pod["metadata"]["name"].as_str().unwrap();
        let of_it = format!("--field-selector=reason=Unhealthy,involvedObject.name={name}");
        self.namespace.watch_until(["events", &of_it], limit, |_| true).unwrap();
        name.to_owned()
    }

    /// From now on that pod answers its probe; the rollout is waited for. A delay instead would be a race with the machine.
    pub fn let_pod_become_ready(&self) {
        let pod = self.wait_for_failing_probe();
        let ready = ["annotate", "pod", &pod, "--overwrite", "testbed.helm-guard.dev/behavior=ready"];
        self.namespace.kubectl(ready).unwrap();
        self.namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=60s"]).unwrap();
    }

    /// Revision, status of all records, oldest first.
    pub fn history(&self) -> Vec<(u32, String)> {
        let said = Self::ok(self.raw("history", &["--max=50", "-o=json"]));
        let rows: Vec<Value> = serde_json::from_str(&said.out).unwrap();
        let row = |row: &Value| {
            let revision = u32::try_from(row["revision"].as_u64().unwrap()).unwrap();
            (revision, row["status"].as_str().unwrap().to_owned())
        };
        rows.iter().map(row).collect()
    }

    #[track_caller]
    pub fn assert_history(&self, wanted: &[&str]) {
        let statuses: Vec<String> = self.history().into_iter().map(|(_, status)| status).collect();
        assert_eq!(statuses, wanted);
    }

    /// The last revision is the one that is deployed, and none is pending.
    #[track_caller]
    pub fn assert_deployed(&self) {
        let history = self.history();
        let deployed: Vec<u32> = history
            .iter()
            .filter(|(_, status)| status == "deployed")
            .map(|(revision, _)| *revision)
            .collect();
        assert_eq!(deployed, [history.last().unwrap().0], "{history:?}");
        assert!(!history.iter().any(|(_, status)| status.starts_with("pending")), "{history:?}");
    }

    /// `kind/name` to UID of what lives in the namespace, records aside.
    pub fn uids(&self) -> BTreeMap<String, String> {
        let list = self.namespace.kubectl_json(["get", "deployments,configmaps,pvc", "-o", "json"]).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        items
            .filter(|item| {
                let name = item["metadata"]["name"].as_str().unwrap();
                let is_own = name != "kube-root-ca.crt" && !name.starts_with("sh.helm.release.");
                is_own && item["metadata"]["deletionTimestamp"].is_null()
            })
            .map(|item| {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let name = format!("{}/{}", text(&item["kind"]), text(&item["metadata"]["name"]));
                (name, text(&item["metadata"]["uid"]))
            })
            .collect()
    }

    /// Names of the container's environment variables.
    pub fn env(&self) -> Vec<String> {
        let path = "jsonpath={.spec.template.spec.containers[0].env[*].name}";
        let names = self.namespace.kubectl(["get", "deployment", "web", "-o", path]).unwrap();
        let mut names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Resource version and data of all records: equal only if nothing was written.
    pub fn records(&self) -> Vec<(String, Value, Value)> {
        if let Some(database) = &self.database {
            let rows =
                database.query("SELECT key, xmin, body, status FROM releases_v1 ORDER BY key").unwrap();
            let record = |row: Vec<String>| {
                let [key, version, body, status] = <[String; 4]>::try_from(row).unwrap();
                (key, version.into(), serde_json::json!([body, status]))
            };
            return rows.into_iter().map(record).collect();
        }
        let list = ["get", self.resource(), "-l", "owner=helm", "-o", "json"];
        let list = self.namespace.kubectl_json(list).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|item| {
                let name = item["metadata"]["name"].as_str().unwrap().to_owned();
                (name, item["metadata"]["resourceVersion"].clone(), item["data"].clone())
            })
            .collect()
    }

    /// The copy that the repair of a deploy is undone from.
    pub fn copy_of_the_repair(&self) -> PathBuf {
        let files = std::fs::read_dir(self.backups()).unwrap();
        let mut files = files.map(|entry| entry.unwrap().path());
        files.find(|path| path.to_str().unwrap().ends_with(".repair.json")).unwrap()
    }

    /// Where copies go outside of CI: the user's state directory.
    pub fn backups(&self) -> PathBuf {
        self.temporary.path().join(".local/state/helm-guard/backups")
    }

    /// Text as a snapshot wants it: without what changes from run to run.
    pub fn normalise(&self, text: &str) -> String {
        let text = text
            .replace(self.namespace.name(), "[NAMESPACE]")
            .replace(&self.temporary.path().display().to_string(), "[TMP]")
            .replace(&self.helm.display().to_string(), "[HELM]")
            .replace(env!("CARGO_MANIFEST_DIR"), "[ROOT]");
        testbed::normalise(&text)
    }
}

/// Chooses Helm's first look at a Deployment that it has written: all is applied, and what is to go is gone.
fn the_wait() -> impl FnMut(&Seen) -> Option<Hold> + Send + 'static {
    let mut is_written = false;
    move |seen| {
        if !seen.user_agent.starts_with("Helm/") || !seen.object().starts_with("deployments") {
            return None;
        }
        is_written |= seen.is_write();
        (is_written && !seen.is_write()).then_some(Hold::Before)
    }
}

pub fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// SIGINT, as a Ctrl-C or GitHub's cancel sends it.
pub fn interrupt(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}

/// The test once for each Helm.
#[macro_export]
macro_rules! with_both_helms {
    ($($name:ident)*) => { $(mod $name {
        #[test] fn helm3() { super::$name(testbed::tools::Helm::V3); }
        #[test] fn helm4() { super::$name(testbed::tools::Helm::V4); }
    })* };
}

/// For stories in which Helm is just somebody who writes: one of the two.
#[macro_export]
macro_rules! with_either_helm {
    ($($version:ident $name:ident)*) => { $(mod $name {
        #[test] fn either() { super::$name(testbed::tools::Helm::$version); }
    })* };
}
