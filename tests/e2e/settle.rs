//! `settle`: what a killed run leaves is ended by the next step of its job.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use helm_guard::{env::LOCK_ID_ENV, process};
use serde_json::{Value, json};
use testbed::tools::Helm;

use crate::stage::{Said, Stage, kill};

/// A child of Helm's that outlives it: a Helm without a way to the cluster may end at any time.
const BESIDE: &str = "sleep 300 <&- >&- 2>&- &";

/// A job of CI: its directory for temporary files, and its commands.
struct Job {
    stage: Stage,
    directory: tempfile::TempDir,
}

impl Job {
    fn new(stem: &str, version: Helm) -> Self {
        Self { stage: Stage::new(stem, version), directory: tempfile::tempdir().unwrap() }
    }

    /// helm-guard at work on an upgrade that never becomes ready; given back when Helm waits for it.
    fn start(&self, revision: u32, more: &[&str]) -> Child {
        let mut guard =
            self.stage.guard("upgrade", &["--set=behavior=never-ready", "--wait", "--timeout=300s"]);
        // The way to the cluster is the run's own: `settle` is told none.
        guard
            .args(more)
            .env_remove("KUBECONFIG")
            .arg("--kubeconfig=kubeconfig")
            .current_dir(self.directory.path());
        std::fs::copy(self.stage.namespace.kubeconfig(), self.directory.path().join("kubeconfig")).unwrap();
        guard.env("RUNNER_TEMP", self.directory.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = guard.spawn().unwrap();
        let selector = format!("owner=helm,name=web,status=pending-upgrade,version={revision}");
        let any = |object: &Value| object["kind"] == "Secret";
        let seen =
            self.stage.namespace.watch_until(["secrets", "-l", &selector], Duration::from_secs(60), any);
        if let Err(error) = seen {
            kill(&mut child);
            panic!("{error:#}");
        }
        child
    }

    fn settle(&self) -> Said {
        let mut settle = self.stage.own(&["settle"]);
        Stage::run({
            settle.env_remove("KUBECONFIG").env("RUNNER_TEMP", self.directory.path());
            settle
        })
    }

    /// The state file of the one run there is.
    fn state(&self) -> Option<PathBuf> {
        self.only("helm-guard-state-")
    }

    /// The directory of its fence.
    fn fence(&self) -> Option<PathBuf> {
        self.only("helm-guard-fence-")
    }

    fn only(&self, prefix: &str) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let begins = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
        let files: Vec<PathBuf> = entries.filter(begins).collect();
        assert!(files.len() < 2, "{files:?}");
        files.into_iter().next()
    }

    /// The Helms of the run that has not ended its work.
    fn orphans(&self) -> Vec<process::Process> {
        let state: Value = serde_json::from_slice(&std::fs::read(self.state().unwrap()).unwrap()).unwrap();
        process::carrying(LOCK_ID_ENV, state["lock_id"].as_str().unwrap())
    }

    fn lease(&self) -> Value {
        self.stage.namespace.kubectl_json(["get", "lease", "helm-guard-web"]).unwrap()
    }

    /// What Helm says of a revision.
    fn get(&self, what: &str, revision: &str) -> String {
        let mut helm = Command::new(&self.stage.helm);
        helm.args(["get", what, "web", "--revision", revision])
            .env("KUBECONFIG", self.stage.namespace.kubeconfig());
        Stage::ok(helm).out
    }
}

/// Killed while Helm waits: Helm is ended, its record marked, the lock given back, secret files removed.
fn a_killed_run_is_settled(version: Helm) {
    let mut job = Job::new("settle", version);
    job.stage.wrap_helm(BESIDE);
    job.stage.ready("install", &[]);
    let secrets = ["helm-guard-kubeconfig-1", "helm-guard-values-web-1.json"];
    let secrets = secrets.map(|name| job.directory.path().join(name));
    secrets.iter().for_each(|secret| std::fs::write(secret, "secret").unwrap());
    let mut guard = job.start(2, &[]);
    kill(&mut guard);
    let orphans = job.orphans();
    assert!(!orphans.is_empty(), "Helm lives on");
    assert!(job.fence().is_some_and(|fence| fence.join("kubeconfig").exists()));

    let said = job.settle();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("helm was still running and is stopped"), "{}", said.err);
    assert!(orphans.iter().all(|helm| process::Process::of(helm.pid) != Some(*helm)), "{}", said.err);
    job.stage.assert_history(&["deployed", "failed"]);
    assert!(job.lease()["spec"]["holderIdentity"].is_null(), "{}", said.err);
    assert!(job.fence().is_none() && job.state().is_none());
    assert!(!secrets.iter().any(|secret| secret.exists()), "{secrets:?}");

    let said = job.settle();
    assert!(said.code == Some(0) && said.err.contains("nothing to settle"), "{}", said.err);
}

/// Killed with a repair under way: what the dead revision was lent is returned, and the next deploy finds all in order.
fn a_killed_repair_is_settled(version: Helm) {
    let job = Job::new("lent", version);
    job.stage.ready("install", &["--set=configs={good}"]);
    job.stage.stick("upgrade", &["--set=configs={dead}", "--set=behavior=never-ready"]);
    let dead = [job.get("manifest", "2"), job.get("values", "2")];
    let mut guard = job.start(3, &["--set=configs={new}"]);
    kill(&mut guard);
    assert_ne!(
        job.get("manifest", "2"),
        dead[0],
        "the dead revision has been lent the union of all manifests"
    );

    let said = job.settle();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!([job.get("manifest", "2"), job.get("values", "2")], dead, "{}", said.err);
    job.stage.assert_history(&["deployed", "failed", "failed"]);

    Stage::ok(job.stage.guard("upgrade", &["--set=configs={last}", "--wait", "--timeout=60s"]));
    let configs: Vec<String> =
        job.stage.uids().into_keys().filter(|name| name.starts_with("ConfigMap/")).collect();
    assert_eq!(configs, ["ConfigMap/last"]);
}

/// Another run has the lock by now: its Lease and the records are left alone, but our own Helm may not write beside it.
fn what_another_run_has_taken_over_is_left_alone(version: Helm) {
    let mut job = Job::new("foreign", version);
    job.stage.wrap_helm(BESIDE);
    job.stage.ready("install", &[]);
    let mut guard = job.start(2, &[]);
    kill(&mut guard);
    let other = json!({"spec": {"holderIdentity": "other"}, "metadata": {"annotations": {"helm-guard.dev/owner": "bob@laptop"}}});
    job.stage
        .namespace
        .kubectl(["patch", "lease", "helm-guard-web", "--type=merge", "-p", &other.to_string()])
        .unwrap();
    let (records, lease, orphans) = (job.stage.records(), job.lease(), job.orphans());
    assert!(!orphans.is_empty());

    let said = job.settle();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("bob@laptop"), "{}", said.err);
    assert!(orphans.iter().all(|helm| process::Process::of(helm.pid) != Some(*helm)), "{}", said.err);
    assert_eq!(job.stage.records(), records, "{}", said.err);
    assert_eq!(job.lease(), lease, "{}", said.err);
    assert!(job.state().is_none());
}

/// A run that its step did not take with it, as happens in job containers, is asked to end, and does.
#[test]
fn a_run_that_outlives_its_step_is_ended() {
    let job = Job::new("outlives", Helm::V4);
    job.stage.ready("install", &[]);
    let mut guard = job.start(2, &[]);
    let said = job.settle();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(guard.wait().unwrap().code(), Some(143), "{}", said.err);
    assert!(said.err.contains("it ended its work itself"), "{}", said.err);
    job.stage.assert_history(&["deployed", "failed"]);
    assert!(job.lease()["spec"]["holderIdentity"].is_null(), "{}", said.err);
}

/// Without a lock another run may be at work: only what the killed run wrote itself is set right.
fn without_a_lock_only_its_own_records_are_settled(version: Helm) {
    let job = Job::new("unlocked", version);
    job.stage.ready("install", &[]);
    let mut guard = job.start(2, &["--lock=off"]);
    kill(&mut guard);
    // Only this command of Helm's passes a pending revision.
    let mut living = job.stage.raw("rollback", &["2", "--wait", "--timeout=300s"]);
    let mut living = living.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pending = job.stage.wait_for_record("pending-rollback");
    let said = job.settle();
    let history = job.stage.history();
    kill(&mut living);
    pending.unwrap();
    assert_eq!(said.code, Some(0), "{}", said.err);
    let statuses: Vec<&str> = history.iter().map(|(_, status)| status.as_str()).collect();
    assert_eq!(statuses, ["deployed", "failed", "pending-rollback"], "{}", said.err);
    assert!(said.err.contains("revision 3 is left as it is: this run held no lock"), "{}", said.err);
    assert!(job.state().is_none());
}

/// A state file that was being written when its run was killed may have a token in it.
#[test]
fn a_begun_state_file_is_removed() {
    let job = Job::new("begun", Helm::V4);
    let begun = job.directory.path().join("helm-guard-state-0a1b2c3d.new");
    std::fs::write(&begun, "{\"target\": {\"token\": \"secret\"").unwrap();
    let said = job.settle();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(!begun.exists());
}

crate::with_both_helms! {
    without_a_lock_only_its_own_records_are_settled
    a_killed_run_is_settled a_killed_repair_is_settled what_another_run_has_taken_over_is_left_alone
}
