//! The test bed does what its documentation promises. Nothing of helm-guard is tested here.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that starts itself has to hear and to speak"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::tools::{self, Helm};
use testbed::{ANNOTATION_PREFIX, Cluster, Namespace, Options, Rule};

const LIMIT: Duration = Duration::from_secs(20);

fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (format!("{ANNOTATION_PREFIX}{name}"), (*value).to_owned())).collect()
}

/// A pod with one init container and one container.
fn pod(name: &str, restart: &str, pairs: &[(&str, &str)]) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations(pairs)},
        "spec": {
            "restartPolicy": restart,
            "initContainers": [{"name": "setup", "image": "setup"}],
            "containers": [{"name": "app", "image": "app"}],
        },
    })
    .to_string()
}

/// What tells how a pod fares: its phase, then of its containers whether one is ready, why it waits or
/// ended, how it ended before, and how often it was restarted.
fn fares(pod: &Value) -> Option<String> {
    let phase = pod["status"]["phase"].as_str()?;
    let all = |kind: &str| pod["status"][kind].as_array().cloned().unwrap_or_default();
    let stuck = all("initContainerStatuses").into_iter().find(|status| !status["state"]["waiting"].is_null());
    let status = stuck.or_else(|| all("containerStatuses").first().cloned())?;
    let ready = if status["ready"] == true { "ready" } else { "not ready" };
    let reason = status.pointer("/state/waiting/reason").or(status.pointer("/state/terminated/reason"));
    let last = &status["lastState"]["terminated"];
    let mut text = format!("{phase}, {ready}");
    let restarts = status.get("restartCount").filter(|count| **count != json!(0));
    for part in [reason, last.get("reason"), last.get("exitCode"), restarts].into_iter().flatten() {
        text += &format!(", {}", part.to_string().trim_matches('"'));
    }
    Some(text)
}

fn wait_for_pod(namespace: &Namespace<'_>, name: &str, expected: &str) -> Result<()> {
    let reached = namespace.watch_until(["pod", name], LIMIT, |pod| fares(pod).as_deref() == Some(expected));
    reached.with_context(|| format!("pod {name} should be: {expected}"))?;
    Ok(())
}

#[test]
fn every_behaviour_shows_the_state_it_is_named_for() -> Result<()> {
    let namespace = Cluster::shared()?.namespace("pods")?;
    let rows = [
        ("ready", "Always", "Running, ready"),
        ("never-ready", "Always", "Running, not ready"),
        ("crash-loop", "Always", "Running, not ready, CrashLoopBackOff, Error, 1, 4"),
        ("oom", "Always", "Running, not ready, CrashLoopBackOff, OOMKilled, 137, 4"),
        ("init-crash-loop", "Always", "Pending, not ready, CrashLoopBackOff, Error, 1, 4"),
        ("liveness", "Always", "Running, not ready, CrashLoopBackOff, Error, 137, 4"),
        ("startup", "Always", "Running, not ready"),
        ("config-error", "Always", "Pending, not ready, CreateContainerConfigError"),
        ("image-error", "Always", "Pending, not ready, ImagePullBackOff"),
        ("image-pull-error", "Always", "Pending, not ready, ErrImagePull"),
        ("stuck-creating", "Always", "Pending, not ready, ContainerCreating"),
        ("fail", "Never", "Failed, not ready, Error"),
        ("ready", "Never", "Succeeded, not ready, Completed"),
    ];
    let name = |behavior: &str, restart: &str| format!("{behavior}-{}", restart.to_lowercase());
    let pods: Vec<_> = rows
        .iter()
        .map(|(behavior, restart, _)| pod(&name(behavior, restart), restart, &[("behavior", behavior)]))
        .collect();
    namespace.apply(&pods.join("\n---\n"))?;
    for (behavior, restart, expected) in rows {
        wait_for_pod(&namespace, &name(behavior, restart), expected)?;
    }
    Ok(())
}

#[test]
fn a_delayed_pod_runs_before_it_is_ready() -> Result<()> {
    let namespace = Cluster::shared()?.namespace("delay")?;
    namespace.apply(&pod("slow", "Always", &[("delay", "1s")]))?;
    wait_for_pod(&namespace, "slow", "Running, not ready")?;
    wait_for_pod(&namespace, "slow", "Running, ready")
}

#[test]
fn a_job_runs_for_as_long_as_it_is_told() -> Result<()> {
    let namespace = Cluster::shared()?.namespace("job")?;
    let job = |name: &str, pairs: &[(&str, &str)]| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {
                "metadata": {"annotations": annotations(pairs)},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "app"}]},
            }},
        })
        .to_string()
    };
    namespace
        .apply(&[job("runs", &[("run-for", "1s")]), job("fails", &[("behavior", "fail")])].join("\n---\n"))?;
    namespace.watch_until(["pod", "-l", "job-name=runs"], LIMIT, |pod| {
        fares(pod).as_deref() == Some("Running, ready")
    })?;
    namespace.wait_for("job/runs", "condition=Complete", LIMIT)?;
    namespace.wait_for("job/fails", "condition=Failed", LIMIT)
}

#[test]
fn workloads_and_claims_become_available() -> Result<()> {
    let namespace = Cluster::shared()?.namespace("apps")?;
    namespace.apply(
        r#"
kind: Deployment
apiVersion: apps/v1
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { containers: [{ name: app, image: app }] }
---
kind: StatefulSet
apiVersion: apps/v1
metadata: { name: store }
spec:
  replicas: 2
  serviceName: store
  selector: { matchLabels: { app: store } }
  template:
    metadata: { labels: { app: store } }
    spec: { containers: [{ name: app, image: app, volumeMounts: [{ name: data, mountPath: /data }] }] }
  volumeClaimTemplates:
  - metadata: { name: data }
    spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } }
"#,
    )?;
    namespace.wait_for("deployment/web", "condition=Available", LIMIT)?;
    namespace.wait_for("statefulset/store", "jsonpath={.status.readyReplicas}=2", LIMIT)?;
    namespace.wait_for("pvc/data-store-1", "jsonpath={.status.phase}=Bound", LIMIT)?;
    let patch = r#"{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}"#;
    let refusal =
        namespace.kubectl(["patch", "pvc/data-store-0", "--dry-run=server", "--patch", patch]).unwrap_err();
    ensure!(format!("{refusal:#}").contains("must support resize"), "{refusal:#}");
    // Taking it all down again needs the controllers' and kwok's part too.
    namespace.kubectl(["delete", "deployments,statefulsets,pvc", "--all"])?;
    namespace.kubectl(["wait", "pods", "--all", "--for=delete", "--timeout=20s"])?;
    Ok(())
}

#[test]
fn logs_are_what_the_annotations_say() -> Result<()> {
    let namespace = Cluster::shared()?.namespace("logs")?;
    let logs =
        [("behavior", "crash-loop"), ("logs", "one\ntwo\nthree"), ("previous-logs", "panic: no database")];
    namespace.apply(
        &[pod("crashes", "Always", &logs), pod("pulls", "Always", &[("behavior", "image-error")])]
            .join("\n---\n"),
    )?;
    wait_for_pod(&namespace, "crashes", "Running, not ready, CrashLoopBackOff, Error, 1, 4")?;
    wait_for_pod(&namespace, "pulls", "Pending, not ready, ImagePullBackOff")?;
    assert_eq!(namespace.kubectl(["logs", "crashes", "--tail=2"])?, "two\nthree\n");
    assert_eq!(namespace.kubectl(["logs", "crashes", "--previous"])?, "panic: no database\n");
    let refusal = format!("{:#}", namespace.kubectl(["logs", "pulls"]).unwrap_err());
    ensure!(refusal.contains("is waiting to start: trying and failing to pull image"), "{refusal}");
    Ok(())
}

#[test]
fn users_can_do_what_their_rules_say_and_the_audit_log_tells() -> Result<()> {
    let namespace = Cluster::shared()?.namespace("rbac")?;
    let rules = [Rule { groups: &[""], resources: &["secrets"], verbs: &["get", "list"] }];
    let user = namespace.with_kubeconfig(&namespace.restricted_kubeconfig(3, &rules)?);
    user.kubectl(["get", "secrets"])?;
    let refusal = format!("{:#}", user.kubectl(["create", "secret", "generic", "key"]).unwrap_err());
    ensure!(refusal.contains(r#"User "user-3" cannot create resource "secrets""#), "{refusal}");
    let seen = namespace.audit()?.user("user-3").user_agent("kubectl").resource("secrets");
    assert_eq!(seen.lines(), ["list secrets 200", "create secrets 403"]);
    Ok(())
}

#[test]
fn leases_are_in_the_audit_log_with_their_holders() -> Result<()> {
    let namespace = Cluster::shared()?.namespace("leases")?;
    namespace.apply("{kind: Lease, apiVersion: coordination.k8s.io/v1, metadata: {name: web}, spec: {holderIdentity: run-42}}")?;
    let seen = namespace.audit()?.resource("leases").writes();
    let holder = seen
        .events()
        .first()
        .context("the write of the lease")?
        .request_object
        .pointer("/spec/holderIdentity")
        .cloned();
    assert_eq!(holder, Some(json!("run-42")));
    Ok(())
}

#[test]
fn a_dropped_namespace_is_deleted() -> Result<()> {
    let cluster = Cluster::shared()?;
    let namespace = cluster.namespace("dropped")?;
    let name = namespace.name().to_owned();
    namespace.apply("{kind: ConfigMap, apiVersion: v1, metadata: {name: settings}}")?;
    drop(namespace);
    cluster.wait_for(&format!("namespace/{name}"), "delete", LIMIT)
}

#[test]
fn real_helms_install_and_say_their_versions() -> Result<()> {
    let cluster = Cluster::shared()?;
    for (helm, version) in [(Helm::V3, "v3.22.0"), (Helm::V4, "v4.3.1")] {
        let namespace = cluster.namespace("helm")?;
        let chart = tempfile::tempdir()?;
        std::fs::create_dir(chart.path().join("templates"))?;
        std::fs::write(chart.path().join("Chart.yaml"), "{apiVersion: v2, name: web, version: 1.0.0}")?;
        std::fs::write(chart.path().join("templates/pod.yaml"), pod("web", "Always", &[]))?;
        let run = |arguments: &[&str]| -> Result<String> {
            let mut command = Command::new(tools::helm(helm)?);
            command.args(arguments).env("KUBECONFIG", namespace.kubeconfig());
            let output = command.output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(String::from_utf8(output.stdout)?)
        };
        assert_eq!(run(&["version", "--template={{.Version}}"])?, version);
        run(&["install", "web", chart.path().to_str().context("a path")?, "--wait"])?;
        let records = namespace.kubectl_json(["get", "secrets", "--selector=owner=helm,status=deployed"])?;
        assert_eq!(records.pointer("/items/0/metadata/name"), Some(&json!("sh.helm.release.v1.web.v1")));
        ensure!(
            !namespace.audit()?.user_agent("Helm/").verb("create").resource("secrets").events().is_empty()
        );
    }
    Ok(())
}

#[test]
fn two_clusters_run_side_by_side_and_end_with_their_owner() -> Result<()> {
    let shared = Cluster::shared()?;
    let other = Cluster::start(&Options::default())?;
    ensure!(shared.server() != other.server());
    let namespace = other.namespace("elsewhere")?;
    ensure!(shared.kubectl(["get", "namespace", namespace.name()]).is_err());
    drop(namespace);
    let (dir, pids) = (other.info().dir.clone(), other.pids().collect::<Vec<_>>());
    assert_eq!(pids.len(), 6);
    ensure!(pids.iter().all(|pid| process_exists(*pid)));
    drop(other);
    assert_eq!(pids.iter().filter(|pid| process_exists(**pid)).count(), 0);
    ensure!(!dir.exists());
    Ok(())
}

/// Not a test of its own: the process that `nothing_outlives_an_owner_that_is_killed` kills. It prints the
/// cluster's directory once the cluster runs, and then waits for its end.
#[test]
#[ignore = "is run by another test"]
fn owner_to_be_killed() -> Result<()> {
    let cluster = Cluster::start(&Options::default())?;
    std::fs::write(std::env::var("TESTBED_REPORT")?, serde_json::to_string(cluster.info())?)?;
    println!("ready");
    std::thread::park();
    Ok(())
}

#[test]
fn nothing_outlives_an_owner_that_is_killed() -> Result<()> {
    let report = tempfile::NamedTempFile::new()?;
    let mut owner = Command::new(std::env::current_exe()?)
        .args(["owner_to_be_killed", "--ignored", "--exact", "--nocapture"])
        .env("TESTBED_REPORT", report.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = std::io::BufRead::lines(std::io::BufReader::new(owner.stdout.take().context("a pipe")?));
    let ready = lines.map_while(Result::ok).any(|line| line.contains("ready"));
    ensure!(ready, "the owner's cluster did not start");
    let info: testbed::Info = serde_json::from_str(&std::fs::read_to_string(report.path())?)?;
    owner.kill()?; // SIGKILL: nothing of its own runs any more
    owner.wait()?;
    // Strangers' ends cannot be waited for, only looked for; the supervisor takes milliseconds.
    let pids: Vec<_> = info.children.values().copied().chain([info.pid]).collect();
    for _ in 0..200 {
        if !pids.iter().any(|pid| process_exists(*pid)) && !info.dir.exists() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("left: {:?}", pids.iter().filter(|pid| process_exists(**pid)).collect::<Vec<_>>());
}

/// Whether a process runs. One that is dead but not yet waited for does not.
fn process_exists(pid: u32) -> bool {
    let stat =
        std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim_start().starts_with('Z'))
}
