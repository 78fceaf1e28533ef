//! The fence: what Helm writes passes while the lock is held and not a moment longer. The judge is the API server's audit
//! log, where each request that came through carries the lock's id.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::sys::signal::Signal;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde_json::{Value, json};
use testbed::{Audit, COLLECTOR, Event, tools::Helm};

use crate::stage::{Said, Stage, kill};

/// A run of helm-guard whose Helm waits for what never becomes ready.
struct Run {
    child: Child,
    lock_id: String,
}

impl Run {
    fn start(stage: &Stage, more: &[&str]) -> Self {
        let mut guard = stage.guard("upgrade", &["--set=behavior=never-ready", "--wait", "--timeout=300s"]);
        guard.args(more);
        Self::of(stage, guard)
    }

    fn of(stage: &Stage, mut guard: Command) -> Self {
        let before = stage.generation();
        let mut child = guard.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let seen = stage.wait_for_record("pending-upgrade").and_then(|()| stage.wait_for_unready(before));
        if let Err(error) = seen {
            kill(&mut child);
            panic!("{error:#}");
        }
        Self { child, lock_id: lock_id(stage) }
    }

    fn helm(&self) -> Vec<i32> {
        children(i32::try_from(self.child.id()).unwrap())
    }

    fn signal(&self, signal: Signal) {
        signal_to(i32::try_from(self.child.id()).unwrap(), signal);
    }

    fn finish(self) -> Said {
        self.child.wait_with_output().unwrap().into()
    }
}

fn signal_to(pid: i32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

fn children(pid: i32) -> Vec<i32> {
    let found = Command::new("pgrep").args(["-P", &pid.to_string()]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn lock_id(stage: &Stage) -> String {
    let lease = stage.namespace.kubectl_json(["get", "lease", "helm-guard-web"]).unwrap();
    lease["metadata"]["annotations"]["helm-guard.dev/lock-id"].as_str().unwrap().to_owned()
}

/// What came through the fence of one run.
fn through(stage: &Stage, lock_id: &str) -> Audit {
    stage.namespace.audit().unwrap().user_agent(&format!("lock/{lock_id}"))
}

/// Waits until a process has ended.
fn ends_within(pid: i32, seconds: i64) -> bool {
    let Ok(handle) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) else { return true };
    let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
    poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit)).unwrap() == 1
}

/// An executable file.
fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// What the fence leaves behind in the directory for temporary files.
fn left_behind(stage: &Stage) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(stage.temporary.path()).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("helm-guard-fence"))
        .collect()
}

/// helm-guard is killed outright: its Helm is gone within a second and has written nothing since.
fn an_orphan_dies_at_once(version: Helm) {
    let stage = Stage::new("orphan", version);
    stage.ready("install", &[]);
    let mut run = Run::start(&stage, &[]);
    let helm = run.helm();
    assert_eq!(helm.len(), 1);
    let before = through(&stage, &run.lock_id).writes().lines();
    let records = stage.records();
    kill(&mut run.child);
    assert!(ends_within(helm[0], 1), "helm lives on");
    assert_eq!(stage.records(), records);
    assert_eq!(through(&stage, &run.lock_id).writes().lines(), before);
    Stage::ok(stage.guard("upgrade", &["--wait", "--timeout=60s"]));
    stage.assert_deployed();
    assert_eq!(through(&stage, &run.lock_id).writes().lines(), before);
}

/// A Helm that is a child of a wrapper outlives both, but has no way to the cluster any more.
fn an_orphan_behind_a_wrapper_writes_nothing(version: Helm) {
    let mut stage = Stage::new("wrapped", version);
    stage.ready("install", &[]);
    stage.wrap_helm("");
    let mut run = Run::start(&stage, &[]);
    let wrapper = run.helm()[0];
    let helm = children(wrapper)[0];
    let before = through(&stage, &run.lock_id).writes().lines();
    kill(&mut run.child);
    assert!(ends_within(wrapper, 1), "the wrapper lives on");
    // It wants to save that it failed.
    signal_to(helm, Signal::SIGTERM);
    assert!(ends_within(helm, 60));
    assert_eq!(through(&stage, &run.lock_id).writes().lines(), before);
    Stage::ok(stage.guard("upgrade", &["--wait", "--timeout=60s"]));
    stage.assert_deployed();
}

/// Somebody else has the lock by force: Helm is refused its last word, in a sentence that it prints.
fn after_the_loss_nothing_is_written(version: Helm) {
    let stage = Stage::new("lost", version);
    stage.ready("install", &[]);
    let run = Run::start(&stage, &[]);
    let lock_id = run.lock_id.clone();
    let before = through(&stage, &lock_id).writes().lines();
    let records = stage.records();
    let other = json!({"spec": {"holderIdentity": "other"}, "metadata": {"annotations": {"helm-guard.dev/owner": "bob@laptop"}}});
    let patch =
        ["patch", "lease", "helm-guard-web", "--type=merge", "-p", &other.to_string()].map(str::to_owned);
    stage.namespace.kubectl(patch).unwrap();
    let said = run.finish();
    assert_eq!(said.code, Some(76), "{}", said.err);
    assert!(said.err.contains("the lock was lost while helm ran: bob@laptop has it"), "{}", said.err);
    // Helm 3 keeps to itself that it could not save its record.
    let refused =
        said.err.contains("helm-guard: the lock is lost, nothing more is written: bob@laptop has it");
    assert_eq!(refused, version == Helm::V4, "{}", said.err);
    assert_eq!(stage.records(), records, "{}", said.err);
    assert_eq!(through(&stage, &lock_id).writes().lines(), before, "{}", said.err);
    let lease = stage.namespace.kubectl_json(["get", "lease", "helm-guard-web"]).unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "other");
    assert!(left_behind(&stage).is_empty());
}

/// helm-guard is stopped beyond its lease while its Helm has a write to make, and goes on when another run has deployed.
fn a_run_that_was_stopped_for_too_long_writes_nothing(version: Helm) {
    let stage = Stage::new("stopped", version);
    stage.ready("install", &[]);
    let run = Run::start(&stage, &[]);
    let lock_id = run.lock_id.clone();
    let helm = run.helm()[0];
    run.signal(Signal::SIGSTOP);
    let before = through(&stage, &lock_id).writes().lines();
    // Helm wants to save that it failed; nobody takes its request for now.
    signal_to(helm, Signal::SIGTERM);
    let said = Stage::ok(stage.guard("upgrade", &["--set=configs={other}", "--wait", "--timeout=60s"]));
    assert!(said.err.contains("ada@"), "{}", said.err);
    stage.assert_deployed();
    let records = stage.records();
    run.signal(Signal::SIGCONT);
    let said = run.finish();
    assert_eq!(said.code, Some(76), "{}", said.err);
    assert_eq!(stage.records(), records, "{}", said.err);
    assert_eq!(through(&stage, &lock_id).writes().lines(), before, "{}", said.err);
    stage.assert_deployed();
}

/// Everything Helm does goes through; only writes of records carry the lock's id as field manager; nothing is left behind.
fn all_of_helm_goes_through(version: Helm) {
    let stage = Stage::new("through", version);
    let names: Vec<String> = (0..40).map(|number| format!("c{number}")).collect();
    let many = format!("--set=configs={{{}}}", names.join(","));
    for arguments in [
        &["--install", "--set=hooks.pre-install=100ms", &many][..],
        &["--wait", "--history-max=1", "--set=configs={keep}"],
    ] {
        let said = Stage::ok(stage.guard("upgrade", arguments));
        let (id, audit) = (lock_id(&stage), stage.namespace.audit().unwrap());
        let fenced = through(&stage, &id);
        assert!(!fenced.events().is_empty(), "{}", said.err);
        let product = format!("Helm/{}", if version == Helm::V3 { "3" } else { "4" });
        assert!(fenced.events().iter().all(|event| event.user_agent.starts_with(&product)), "{}", said.err);
        // None went another way.
        let all = audit.user_agent("Helm/");
        let other = all.events().iter().filter(|event| !event.user_agent.contains(" helm-guard/"));
        assert_eq!(other.count(), 0);
        let ours = format!("fieldManager={id}");
        let is_record = |event: &&Event| event.object_ref.resource == "secrets";
        let writes = fenced.writes();
        let (records, others): (Vec<&Event>, Vec<&Event>) = writes.events().iter().partition(is_record);
        assert!(records.len() >= 2 && !others.is_empty(), "{:#?}", writes.lines());
        assert!(records.iter().all(|event| event.request_uri.contains(&ours)), "{records:#?}");
        assert!(!others.iter().any(|event| event.request_uri.contains(&ours)), "{others:#?}");
    }
    let list = stage
        .namespace
        .kubectl_json(["get", "secrets", "-l", "owner=helm", "--show-managed-fields"])
        .unwrap();
    let last = list["items"].as_array().unwrap().last().unwrap();
    assert_eq!(last["metadata"]["managedFields"][0]["manager"], json!(lock_id(&stage)), "{last:#}");
    let deployment =
        stage.namespace.kubectl_json(["get", "deployment", "web", "--show-managed-fields"]).unwrap();
    let managers = deployment["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|entry| entry["manager"] == "helm"), "{managers:#?}");
    assert_eq!(stage.uids().len(), 2);
    assert!(left_behind(&stage).is_empty());
}

/// Every flag and variable by which Helm chooses cluster and user is heeded, and would lead Helm astray if it got it.
fn what_chooses_the_cluster_is_heeded(version: Helm) {
    let stage = Stage::new("choose", version);
    let cluster = stage.namespace.cluster();
    let read: Value = serde_json::from_str(
        &stage.namespace.kubectl(["config", "view", "--raw", "--flatten", "-o", "json"]).unwrap(),
    )
    .unwrap();
    let (server, token) = (cluster.server(), read["users"][0]["user"]["token"].as_str().unwrap());
    let authority = read["clusters"][0]["cluster"]["certificate-authority-data"].as_str().unwrap();
    let authority = {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let path = stage.temporary.path().join("ca.crt");
        std::fs::write(&path, STANDARD.decode(authority).unwrap()).unwrap();
        path.display().to_string()
    };
    // By itself it leads nowhere, in one way for each flag.
    let write = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut config = read.clone();
        change(&mut config);
        let path = stage.temporary.path().join(name);
        std::fs::write(&path, config.to_string()).unwrap();
        path.display().to_string()
    };
    let good = stage.namespace.kubeconfig().display().to_string();
    let nowhere =
        |config: &mut Value| config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    let no_server = write("no-server", &nowhere);
    let no_token = write("no-token", &|config| config["users"][0]["user"] = json!({}));
    let no_authority = write("no-authority", &|config| {
        config["clusters"][0]["cluster"].as_object_mut().unwrap().remove("certificate-authority-data");
    });
    let wrong_name = write("wrong-name", &|config| {
        config["clusters"][0]["cluster"]["tls-server-name"] = json!("elsewhere.example");
    });
    let two_contexts = write("two-contexts", &|config| {
        let other = json!({"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}});
        config["clusters"].as_array_mut().unwrap().push(other);
        let context = json!({"name": "nowhere", "context": {"cluster": "nowhere", "user": "admin"}});
        config["contexts"].as_array_mut().unwrap().push(context);
        config["current-context"] = json!("nowhere");
    });
    let context = read["current-context"].as_str().unwrap();
    let rows: [(&str, &str, &str, &str); 7] = [
        ("kubeconfig", "KUBECONFIG", &good, &no_server),
        ("kube-context", "HELM_KUBECONTEXT", context, &two_contexts),
        ("kube-apiserver", "HELM_KUBEAPISERVER", server, &no_server),
        ("kube-token", "HELM_KUBETOKEN", token, &no_token),
        ("kube-ca-file", "HELM_KUBECAFILE", &authority, &no_authority),
        ("kube-insecure-skip-tls-verify", "HELM_KUBEINSECURE_SKIP_TLS_VERIFY", "true", &no_authority),
        ("kube-tls-server-name", "HELM_KUBETLS_SERVER_NAME", "127.0.0.1", &wrong_name),
    ];
    for (flag, variable, value, kubeconfig) in rows {
        let plain = || {
            let mut guard = stage.guard("upgrade", &["--install"]);
            guard.env("KUBECONFIG", kubeconfig);
            guard
        };
        let mut flagged = plain();
        flagged.arg(format!("--{flag}={value}"));
        Stage::ok(flagged);
        let mut told = plain();
        told.env(variable, value);
        Stage::ok(told);
        assert_ne!(Stage::run(plain()).code, Some(0), "--{flag} is of no use in this test");
    }
    assert!(
        stage
            .namespace
            .audit()
            .unwrap()
            .user_agent("Helm/")
            .events()
            .iter()
            .all(|event| { event.user_agent.contains(" lock/") })
    );
}

/// Impersonation is the fence's, for Helm and for helm-guard alike.
fn impersonation_is_kept(version: Helm) {
    let stage = Stage::new("as", version);
    let all = testbed::Rule { groups: &["*"], resources: &["*"], verbs: &["*"] };
    stage.namespace.restricted_kubeconfig(5, &[all]).unwrap();
    let flags = ["--install", "--kube-as-user=user-5", "--kube-as-group=deployers", "--wait"];
    Stage::ok(stage.guard("upgrade", &flags));
    let mut told = stage.guard("upgrade", &["--wait"]);
    told.env("HELM_KUBEASUSER", "user-5").env("HELM_KUBEASGROUPS", "deployers,others");
    Stage::ok(told);
    let audit = stage.namespace.audit().unwrap();
    let ours: Vec<&Event> = audit.events().iter().filter(|event| event.user.username == "admin").collect();
    let leases = |event: &&&Event| event.object_ref.resource == "leases" && event.verb != "get";
    let helms = |event: &&&Event| event.user_agent.starts_with("Helm/");
    let of_stage = ours.iter().filter(|event| leases(event) || helms(event));
    let (mut leases, mut helms) = (0, 0);
    for event in of_stage {
        assert_eq!(event.impersonated_user.username, "user-5", "{event:#?}");
        assert!(event.impersonated_user.groups.contains(&"deployers".to_owned()), "{event:#?}");
        if event.user_agent.starts_with("Helm/") { helms += 1 } else { leases += 1 }
    }
    assert!(leases > 0 && helms > 5, "{leases} {helms}");
}

/// Without the fence Helm goes to the cluster itself, with what it was given.
fn without_the_fence_helm_goes_itself(version: Helm) {
    let stage = Stage::new("off", version);
    let mut guard = stage.guard("upgrade", &["--install", "--wait", "--fence=off"]);
    let kubeconfig = format!("--kubeconfig={}", stage.namespace.kubeconfig().display());
    guard.arg(kubeconfig).env_remove("KUBECONFIG");
    Stage::ok(guard);
    let helm = stage.namespace.audit().unwrap().user_agent("Helm/");
    assert!(!helm.events().is_empty());
    assert!(!helm.events().iter().any(|event| event.user_agent.contains("lock/")));
    stage.assert_deployed();
}

/// What Helm starts finds the cluster through the fence, and the user's own kubeconfig beside it.
#[test]
fn a_post_renderer_finds_the_cluster_and_a_chart_looks_things_up() {
    let stage = Stage::new("render", Helm::V3);
    let kubectl = stage.namespace.command().get_program().to_owned();
    let renderer = script(
        stage.temporary.path(),
        "renderer",
        &format!(
            "cat\n'{0}' create configmap rendered --from-literal=original=\"$HELM_GUARD_KUBECONFIG\" \
             --from-literal=collector=\"$GOGC${{GOMEMLIMIT:+ with a limit}}\" >&2\n\
             '{0}' config current-context >&2\ncase $KUBECONFIG in */helm-guard-fence-*) ;; *) exit 3;; esac",
            kubectl.display()
        ),
    );
    let chart = stage.temporary.path().join("chart");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "{apiVersion: v2, name: seer, version: 1.0.0}").unwrap();
    let template = "{apiVersion: v1, kind: ConfigMap, metadata: {name: seen}, data: {seen: {{ (lookup \"v1\" \"ConfigMap\" .Release.Namespace \"there\").data.word | quote }}}}";
    std::fs::write(chart.join("templates/all.yaml"), template).unwrap();
    stage
        .namespace
        .apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: there}, data: {word: hello}}")
        .unwrap();

    let mut guard = stage.own(&["upgrade", "web"]);
    guard.arg(&chart).args(["--install", "--post-renderer"]).arg(renderer).env_remove(COLLECTOR.0);
    let said = Stage::ok(guard);
    let seen = stage.namespace.kubectl_json(["get", "configmap", "seen"]).unwrap();
    assert_eq!(seen["data"]["seen"], "hello", "{}", said.err);
    let rendered = stage.namespace.kubectl_json(["get", "configmap", "rendered"]).unwrap();
    let original = stage.namespace.kubeconfig().display().to_string();
    assert_eq!(rendered["data"]["original"], json!(original), "{}", said.err);
    assert_eq!(rendered["data"]["collector"], "400 with a limit", "what makes Helm quicker");
    let id = lock_id(&stage);
    let kubectls = through(&stage, &id);
    let created = kubectls
        .events()
        .iter()
        .find(|event| event.verb == "create" && event.user_agent.starts_with("kubectl"));
    assert!(created.is_some(), "{}", said.err);
}

/// A record of three quarters of a megabyte goes through whole, and again when it is superseded.
fn a_large_record_goes_through(version: Helm) {
    let stage = Stage::new("large", version);
    let chart = stage.temporary.path().join("chart");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "{apiVersion: v2, name: large, version: 1.0.0}").unwrap();
    std::fs::write(
        chart.join("templates/all.yaml"),
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}",
    )
    .unwrap();
    // What does not compress.
    let mut noise = vec![0; 560 << 10];
    getrandom::fill(&mut noise).unwrap();
    std::fs::write(chart.join("noise"), noise).unwrap();
    for _ in 0..2 {
        let mut guard = stage.own(&["upgrade", "web", "--install"]);
        Stage::ok({
            guard.arg(&chart);
            guard
        });
    }
    stage.assert_history(&["superseded", "deployed"]);
    let size = stage.records()[0].2["release"].as_str().unwrap().len();
    assert!(size > 900 << 10, "{size}");
}

/// A credential that expires while Helm runs is replaced: the plugin is asked again, and Helm never knows.
fn credentials_are_renewed_under_a_running_helm(version: Helm) {
    let stage = Stage::new("exec", version);
    let name = stage.namespace.name();
    let binding = format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: robot}}, roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}, subjects: [{{kind: ServiceAccount, name: robot, namespace: {name}}}]}}"
    );
    stage.namespace.kubectl(["create", "serviceaccount", "robot"]).unwrap();
    stage.namespace.apply(&binding).unwrap();
    let token = |secret: &str| {
        let text = format!("{{apiVersion: v1, kind: Secret, metadata: {{name: {secret}}}}}");
        stage.namespace.apply(&text).unwrap();
        let flags = ["create", "token", "robot", "--bound-object-kind=Secret", "--bound-object-name", secret];
        stage.namespace.kubectl(flags).unwrap().trim().to_owned()
    };
    let file = stage.temporary.path().join("token");
    std::fs::write(&file, token("first")).unwrap();
    let plugin = script(
        stage.temporary.path(),
        "plugin",
        &format!(
            "echo asked >> '{0}.log'\nprintf '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{{\"token\":\"%s\",\"expirationTimestamp\":\"2020-01-01T00:00:00Z\"}}}}' \"$(cat '{0}')\"",
            file.display()
        ),
    );
    let mut config: Value = serde_json::from_str(
        &stage.namespace.kubectl(["config", "view", "--raw", "--flatten", "-o", "json"]).unwrap(),
    )
    .unwrap();
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": plugin, "interactiveMode": "Never"});
    config["users"][0]["user"] = json!({ "exec": exec });
    let kubeconfig = stage.temporary.path().join("exec-kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).unwrap();

    stage.ready("install", &[]);
    let mut guard = stage.guard("upgrade", &["--set=delay=14s", "--wait", "--timeout=120s"]);
    guard.env("KUBECONFIG", &kubeconfig);
    let run = Run::of(&stage, guard);
    std::fs::write(&file, token("second")).unwrap();
    // The first token ends with what it is bound to; the API server remembers it for ten seconds at most.
    stage.namespace.kubectl(["delete", "secret", "first"]).unwrap();
    let said = run.finish();
    assert_eq!(said.code, Some(0), "{}", said.err);
    stage.assert_deployed();
    let asked = std::fs::read_to_string(file.with_extension("log")).unwrap();
    assert!(asked.lines().count() > 2, "{asked}");
    // All the while it says what Helm has done: the fence sees it.
    assert!(said.err.contains(" writes, the last: patch deployments/web\n"), "{}", said.err);
}

crate::with_both_helms! {
    an_orphan_dies_at_once an_orphan_behind_a_wrapper_writes_nothing after_the_loss_nothing_is_written
    a_run_that_was_stopped_for_too_long_writes_nothing all_of_helm_goes_through what_chooses_the_cluster_is_heeded
    impersonation_is_kept without_the_fence_helm_goes_itself a_large_record_goes_through
    credentials_are_renewed_under_a_running_helm
}
