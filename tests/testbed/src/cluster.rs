//! A running cluster and its users. What can be done with one is in `kubectl` and `namespace`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cache::variable;
use crate::process::progress;
use crate::tools::{self, KUBERNETES_VERSION};
use crate::{Audit, COLLECTOR, Kubectl, Namespace};

/// Names the `cluster.json` of a running cluster for [`Cluster::shared`] to use.
pub const SHARED_CLUSTER_VARIABLE: &str = "HELM_GUARD_TEST_CLUSTER";

/// How many users without rights there are: `user-0` and so on.
const UNPRIVILEGED_USERS: usize = 16;

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The version of Kubernetes, such as `1.36.3`.
    pub kubernetes: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { kubernetes: KUBERNETES_VERSION.to_owned() }
    }
}

/// What a cluster's `cluster.json` says.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Info {
    /// The directory of all its files.
    pub dir: PathBuf,
    /// The supervisor's process.
    pub pid: u32,
    /// The other processes, by name.
    pub children: std::collections::BTreeMap<String, u32>,
    /// The API server's URL.
    pub server: String,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The directory of every user's kubeconfig.
    pub users: PathBuf,
    /// The API server's audit log.
    pub audit_log: PathBuf,
    /// As `kubectl version` says it: `v1.37.1`.
    pub kubernetes_version: String,
    /// How long the start took, in milliseconds.
    pub started_in_millis: u64,
}

/// A rule of a Role.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// API groups; `""` is the core group.
    pub groups: &'a [&'a str],
    /// Resources, such as `secrets`.
    pub resources: &'a [&'a str],
    /// Verbs, such as `get`.
    pub verbs: &'a [&'a str],
}

/// A running cluster. If this process started it, it ends when this is dropped, or with the process however
/// that ends: the supervisor watches a pipe that only this process holds.
#[derive(Debug)]
pub struct Cluster {
    info: Info,
    kubectl: Kubectl,
    supervisor: Option<Supervisor>,
}

#[derive(Debug)]
struct Supervisor {
    process: Child,
    lifeline: Option<ChildStdin>,
}

impl Supervisor {
    /// What an ended supervisor says of its end.
    fn last_words(&mut self) -> String {
        let mut words = String::new();
        if let Some(mut errors) = self.process.stderr.take() {
            let _ = errors.read_to_string(&mut words);
        }
        words.trim().to_owned()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.process.try_wait() {
            progress(&format!("the cluster ended before its time: {}", self.last_words()));
            return;
        }
        drop(self.lifeline.take());
        let _ = self.process.wait();
    }
}

impl Cluster {
    /// Starts a cluster, which takes some seconds, and minutes if it has to be built first.
    ///
    /// # Errors
    /// It cannot be built, or does not become ready within 90 s.
    pub fn start(options: &Options) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("hg-cluster-").tempdir()?;
        let mut process = Command::new(tools::testcluster(&options.kubernetes)?)
            .args(["supervise", "--lifeline", "--ephemeral", "--dir"])
            .arg(dir.path())
            .env(COLLECTOR.0, COLLECTOR.1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start the cluster")?;
        let lifeline = process.stdin.take();
        let output = process.stdout.take();
        let mut supervisor = Supervisor { process, lifeline };
        let mut line = String::new();
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut line)?;
        }
        if line.is_empty() {
            bail!("the cluster did not start: {}", supervisor.last_words());
        }
        let info: Info = serde_json::from_str(&line).context("read the cluster's line")?;
        let _ = dir.keep(); // the supervisor's to remove, which outlives this process
        Self::new(info, Some(supervisor))
    }

    /// The cluster that the tests of this process share: the one that [`SHARED_CLUSTER_VARIABLE`] names, else
    /// one that is started on first use and ends with the process.
    ///
    /// # Errors
    /// As [`Cluster::start`] and [`Cluster::open`].
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let cluster = match variable(SHARED_CLUSTER_VARIABLE) {
                Some(path) => Self::open(Path::new(&path)),
                None => Self::start(&Options::default()),
            };
            cluster.map_err(|error| format!("{error:#}"))
        });
        shared.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// A cluster that somebody else runs, by its `cluster.json`.
    ///
    /// # Errors
    /// The file is missing, or no cluster's.
    pub fn open(cluster_json: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(cluster_json).with_context(|| format!("read {}", cluster_json.display()))?;
        Self::new(serde_json::from_str(&text).context("read the cluster's file")?, None)
    }

    fn new(info: Info, supervisor: Option<Supervisor>) -> Result<Self> {
        let version = info.kubernetes_version.trim_start_matches('v');
        let kubectl = Kubectl::new(tools::kubectl(version)?, info.kubeconfig.clone());
        Ok(Self { info, kubectl, supervisor })
    }

    /// What the cluster's `cluster.json` says.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The administrator's kubeconfig; its namespace is `default`.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.info.kubeconfig
    }

    /// The API server's URL.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.info.server
    }

    /// The file that the API server writes its audit log to; see [`Cluster::audit`].
    #[must_use]
    pub fn audit_log(&self) -> &Path {
        &self.info.audit_log
    }

    /// Every process of the cluster, the supervisor's first.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.info.pid).chain(self.info.children.values().copied())
    }

    /// What was asked of the API server so far. A request is in it before its client has the answer.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn audit(&self) -> Result<Audit> {
        Audit::read(self.audit_log(), |_| true)
    }

    /// Creates a namespace with a name of its own that begins with `stem`.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn namespace(&self, stem: &str) -> Result<Namespace<'_>> {
        Namespace::create(self, stem)
    }

    /// A user's kubeconfig with a namespace set. A file of its own for each call, gone with the cluster.
    ///
    /// # Errors
    /// There is no such user.
    pub fn user_kubeconfig(&self, user: &str, namespace: &str) -> Result<PathBuf> {
        let source = self.info.users.join(format!("{user}.kubeconfig"));
        let text = fs::read_to_string(source).with_context(|| format!("find the kubeconfig of {user}"))?;
        let file = tempfile::Builder::new().prefix(&format!("{user}-")).tempfile_in(&self.info.users)?;
        fs::write(file.path(), text.replace("namespace: default\n", &format!("namespace: {namespace}\n")))?;
        Ok(file.into_temp_path().keep()?)
    }

    /// Gives `user-0` … `user-15`, who have no rights, those of `rules` in one namespace, and returns the user's kubeconfig.
    ///
    /// # Errors
    /// There is no such user, or the API server refuses.
    pub fn restricted_kubeconfig(&self, user: usize, namespace: &str, rules: &[Rule<'_>]) -> Result<PathBuf> {
        if user >= UNPRIVILEGED_USERS {
            bail!("there are only {UNPRIVILEGED_USERS} users without rights");
        }
        let user = format!("user-{user}");
        let rules: Vec<_> = rules
            .iter()
            .map(|rule| json!({"apiGroups": rule.groups, "resources": rule.resources, "verbs": rule.verbs}))
            .collect();
        let group = "rbac.authorization.k8s.io";
        let version = format!("{group}/v1");
        let metadata = json!({"name": user, "namespace": namespace});
        let role = json!({"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules});
        let binding = json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": user},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        });
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [role, binding]}).to_string())?;
        self.user_kubeconfig(&user, namespace)
    }

    /// Kills the API server in the middle of whatever it does and starts it again, on the same port with the same data.
    /// Returns when it answers. Not for a cluster that others use.
    ///
    /// # Errors
    /// It does not come back.
    pub fn restart_api_server(&self) -> Result<()> {
        let name = format!("testcluster-{}-restart", self.info.pid);
        let address = SocketAddr::from_abstract_name(name)?;
        let mut supervisor = UnixStream::connect_addr(&address).context("ask for a restart")?;
        // It says nothing, and hangs up when it is done.
        supervisor.read_to_end(&mut Vec::new()).context("restart the API server")?;
        self.kubectl(["get", "--raw=/readyz"]).map(drop)
    }

    /// Puts an object where the API server keeps it, past all that it checks: as one that an older API server let in.
    /// `key` is such as `validatingwebhookconfigurations/old`.
    ///
    /// # Errors
    /// etcd does not take it.
    pub fn store(&self, key: &str, object: &Value) -> Result<()> {
        let coded = |text: &str| STANDARD.encode(text);
        let body = json!({"key": coded(&format!("/registry/{key}")), "value": coded(&object.to_string())});
        let body = body.to_string();
        let mut etcd = UnixStream::connect(self.info.dir.join("etcd.sock")).context("connect to etcd")?;
        let length = body.len();
        let head = "POST /v3/kv/put HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n";
        write!(etcd, "{head}Content-Length: {length}\r\n\r\n{body}")?;
        let mut answer = String::new();
        etcd.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 200 ") {
            bail!("etcd does not take {key}: {answer}");
        }
        Ok(())
    }

    /// Ends a cluster that this process started, and waits until it has. Dropping it does the same.
    pub fn stop(mut self) {
        drop(self.supervisor.take());
    }
}

/// A cluster can do all that `kubectl` can, as its administrator.
impl std::ops::Deref for Cluster {
    type Target = Kubectl;

    fn deref(&self) -> &Kubectl {
        &self.kubectl
    }
}
