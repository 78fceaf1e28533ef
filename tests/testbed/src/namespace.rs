//! A namespace that is one test's own. Knows nothing of what is in it.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::cache::variable;
use crate::{Audit, Cluster, Kubectl, Rule};

/// Names a file to which each test adds a line: the seconds it had its namespace for, a tab, its name.
pub const TIMES_VARIABLE: &str = "HELM_GUARD_TEST_TIMES";

/// If it is set, namespaces are left to go with their cluster: a third of what a test costs the control plane is the deletion.
pub const LEAVE_VARIABLE: &str = "HELM_GUARD_TEST_LEAVES_NAMESPACES";

/// A namespace that is deleted when this is dropped, by a test that fails too.
#[derive(Debug)]
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    name: String,
    kubectl: Kubectl,
    kubeconfig: PathBuf,
    began: Instant,
    _directory: TempDir,
}

impl<'a> Namespace<'a> {
    #[expect(clippy::disallowed_methods, reason = "a time table is for people, and nothing is decided by it")]
    pub(crate) fn create(cluster: &'a Cluster, stem: &str) -> Result<Self> {
        let began = Instant::now();
        // A hasher's random keys: names need to differ, not to be a secret.
        let suffix = RandomState::new().build_hasher().finish() & 0xff_ffff;
        let name = format!("{stem}-t{suffix:06x}"); // `normalise` knows the form
        let directory = tempfile::Builder::new().prefix("hg-namespace-").tempdir()?;
        let kubeconfig = directory.path().join("kubeconfig");
        let admin = fs::read_to_string(cluster.kubeconfig())?;
        fs::write(&kubeconfig, admin.replace("namespace: default\n", &format!("namespace: {name}\n")))?;
        cluster.kubectl(["create", "namespace", &name]).context("create a namespace")?;
        let kubectl = cluster.with_kubeconfig(&kubeconfig);
        Ok(Self { cluster, name, kubectl, kubeconfig, began, _directory: directory })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster it is in.
    #[must_use]
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// The administrator's kubeconfig, with this namespace as that of its context. In a file that no other test has.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// As [`Cluster::restricted_kubeconfig`], for this namespace.
    ///
    /// # Errors
    /// As there.
    pub fn restricted_kubeconfig(&self, user: usize, rules: &[Rule<'_>]) -> Result<PathBuf> {
        self.cluster.restricted_kubeconfig(user, &self.name, rules)
    }

    /// What was asked of the API server about this namespace.
    ///
    /// # Errors
    /// As [`Cluster::audit`].
    pub fn audit(&self) -> Result<Audit> {
        Audit::of_namespace(self.cluster.audit_log(), &self.name)
    }
}

/// A namespace can do all that `kubectl` can, as the administrator, in this namespace.
impl std::ops::Deref for Namespace<'_> {
    type Target = Kubectl;

    fn deref(&self) -> &Kubectl {
        &self.kubectl
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if variable(LEAVE_VARIABLE).is_none() {
            let _ = self.cluster.kubectl(["delete", "namespace", &self.name, "--wait=false"]);
        }
        if let (Some(file), Some(test)) = (variable(TIMES_VARIABLE), std::thread::current().name()) {
            let line = format!("{:.1}\t{test}\n", self.began.elapsed().as_secs_f64());
            let file = fs::OpenOptions::new().append(true).create(true).open(file);
            // In one piece, since tests run beside each other. Without it only a line of the table is missing.
            let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
        }
    }
}
