//! What is told of a release while Helm works on it: how far it is, which pod is in trouble, what hooks say.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use testbed::{ANNOTATION_PREFIX, Fate, Gate, Hold, Rule, tools::Helm};

use crate::{
    diagnose::{Any, deployment},
    screen::{Screen, Terminal},
    stage::{Stage, interrupt},
};

/// So many pods, one after the other.
fn stateful_set(replicas: u32, annotations: &[(&str, &str)]) -> Value {
    let mut set = deployment("db", annotations, json!({}));
    set["kind"] = "StatefulSet".into();
    set["spec"]["serviceName"] = "db".into();
    set["spec"]["replicas"] = replicas.into();
    set
}

/// A Job that is a hook.
fn hook(name: &str, event: &str, annotations: &[(&str, &str)], pod: Value) -> Value {
    let mut job = deployment(name, annotations, pod);
    job["apiVersion"] = "batch/v1".into();
    job["kind"] = "Job".into();
    job["metadata"]["annotations"] = json!({"helm.sh/hook": event});
    let mut template = job["spec"]["template"].clone();
    template["spec"]["restartPolicy"] = "Never".into();
    job["spec"] = json!({"backoffLimit": 0, "template": template});
    job
}

/// Lines that tell of a workload.
fn rollout(err: &str) -> Vec<&str> {
    err.lines().filter_map(|line| line.strip_prefix("helm-guard: rollout: ")).collect()
}

/// A deploy whose lines are read as they come.
pub struct Live {
    child: Child,
    lines: BufReader<ChildStderr>,
    read: String,
}

impl Live {
    pub fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines, read: String::new() }
    }

    /// Reads on until a line has this in it. One that never comes ends with Helm's timeout.
    #[track_caller]
    pub fn until(&mut self, text: &str) {
        loop {
            let before = self.read.len();
            assert!(self.lines.read_line(&mut self.read).unwrap() > 0, "{text}: {}", self.read);
            if self.read[before..].contains(text) {
                return;
            }
        }
    }

    /// The rest of it, and how it ended.
    pub fn end(mut self) -> (Option<i32>, String) {
        while self.lines.read_line(&mut self.read).unwrap() > 0 {}
        (self.child.wait().unwrap().code(), self.read)
    }
}

/// The count rises line by line, each is said once; and the API server was asked by watches alone.
fn a_rollout_is_told_as_it_goes_on(version: Helm) {
    let any = Any::new("rises", version);
    let objects = [stateful_set(3, &[("delay", "3s")]), deployment("web", &[], json!({}))];
    let said = Stage::ok(any.deploy(&objects, &["--wait", "--timeout=120s"]));
    let told: Vec<&str> =
        rollout(&said.err).into_iter().filter(|line| line.starts_with("StatefulSet/db")).collect();
    let counts: Vec<&str> = told.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!((counts.first(), counts.last()), (Some(&"0/3"), Some(&"3/3")), "{}", said.err);
    assert!(counts.len() >= 3 && counts.is_sorted(), "{}", said.err);
    assert!(rollout(&said.err).len() <= 10, "one screen: {}", said.err);
    assert!(
        said.err.contains("helm still runs after") && said.err.contains("StatefulSet/db 1/3"),
        "{}",
        said.err
    );

    let audit = any.stage.namespace.audit().unwrap();
    let own = audit.events().iter().filter(|event| event.user_agent.starts_with("helm-guard/"));
    let mut asked: Vec<String> = own
        .filter(|event| ["pods", "deployments", "statefulsets"].contains(&&*event.object_ref.resource))
        .filter(|event| ["list", "watch"].contains(&&*event.verb) && event.stage == "ResponseComplete")
        .map(|event| format!("{} {}", event.verb, event.object_ref.resource))
        .collect();
    asked.sort_unstable();
    let wanted = ["deployments", "pods", "statefulsets"];
    let wanted: Vec<String> =
        ["list", "watch"].iter().flat_map(|verb| wanted.map(|kind| format!("{verb} {kind}"))).collect();
    assert_eq!(asked, wanted, "one list and one watch of each, however long it took");
}

/// Which pod, since when and why; once, though it goes on.
fn a_pod_in_trouble_is_named(version: Helm) {
    let any = Any::new("trouble", version);
    let objects =
        [deployment("web", &[("behavior", "crash-loop")], json!({})), deployment("fine", &[], json!({}))];
    let mut live = Live::of(any.deploy(&objects, &["--wait", "--timeout=180s"]));
    live.until(": CrashLoopBackOff since ");
    for _ in 0..3 {
        live.until("helm still runs after");
    }
    interrupt(&live.child);
    let (code, err) = live.end();
    assert_eq!(code, Some(130), "{err}");
    let wanted = regex::Regex::new(
        r"^Deployment/web 0/1 ready: Pod/web-[a-z0-9]+-[a-z0-9]+ container app: CrashLoopBackOff since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: back-off 1m20s",
    );
    let wanted = wanted.unwrap();
    let told = rollout(&err);
    assert_eq!(told.iter().filter(|line| wanted.is_match(line)).count(), 1, "{err}");
    assert_eq!(err.matches("CrashLoopBackOff since").count(), 1, "{err}");
}

/// A broken rollout is not hidden by a pod of the revision before that still is ready.
fn an_old_pod_does_not_count(version: Helm) {
    let any = Any::new("old-pod", version);
    Stage::ok(any.deploy(&[deployment("web", &[], json!({}))], &["--wait", "--timeout=60s"]));
    let broken = [deployment("web", &[("behavior", "image-error")], json!({}))];
    let mut live = Live::of(any.deploy(&broken, &["--wait", "--timeout=180s"]));
    live.until("rollout: Deployment/web 0/1 ready");
    live.until("waiting for Deployment/web 0/1 (ImagePullBackOff)");
    let available = ["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"];
    assert_eq!(any.stage.namespace.kubectl(available).unwrap(), "1", "the old pod");
    interrupt(&live.child);
    let (code, err) = live.end();
    assert_eq!(code, Some(130), "{err}");
}

/// What a hook writes is there while it still runs, line by line; what is secret in it is not.
fn a_hooks_log_comes_while_it_runs(version: Helm) {
    let any = Any::new("hook-log", version);
    let log = "row 1 of 2\nlogin as canary-user-3141 with canary-value-2718";
    let pod = json!({"containers": [{"name": "app", "image": "app:1", "envFrom": [{"secretRef": {"name": "db"}}]}]});
    let import = hook("import", "pre-upgrade", &[("run-for", "300s"), ("logs", log)], pod);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"user": "canary-user-3141"}});
    let objects = [deployment("web", &[], json!({})), secret, import];
    Stage::ok(any.deploy(&objects, &["--wait", "--timeout=60s"]));
    let mut live =
        Live::of(any.deploy(&objects, &["--wait", "--timeout=120s", "--set=key=canary-value-2718"]));
    live.until("hook Job/import: started");
    live.until("hook Job/import: log: row 1 of 2");
    live.until("hook Job/import: log: login as [redacted] with [redacted]");
    let namespace = &any.stage.namespace;
    let pod = namespace.kubectl(["get", "pods", "-l", "job-name=import", "-o", "name"]).unwrap();
    let more = format!("{ANNOTATION_PREFIX}logs={log}\nrow 2 of 2");
    namespace.kubectl(["annotate", "--overwrite", pod.trim(), &more]).unwrap();
    live.until("hook Job/import: log: row 2 of 2");
    let job = namespace.kubectl_json(["get", "job", "import"]).unwrap();
    assert_eq!(
        (&job["status"]["active"], &job["status"]["succeeded"]),
        (&json!(1), &Value::Null),
        "it still runs"
    );
    any.stage.assert_history(&["deployed", "pending-upgrade"]);
    let done = json!({"status": {"phase": "Succeeded"}}).to_string();
    namespace.kubectl(["patch", pod.trim(), "--subresource=status", "--type=merge", "-p", &done]).unwrap();
    live.until("hook Job/import: ended after");
    let (code, err) = live.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(!err.contains("canary"), "{err}");
    assert_eq!(err.matches("row 1 of 2").count(), 1, "{err}");
}

/// That a hook failed is said, and what it said last.
fn a_hook_that_fails_is_told(version: Helm) {
    let any = Any::new("hook-fails", version);
    let annotations = [("behavior", "fail"), ("run-for", "3s"), ("logs", "ERROR: no such table")];
    let objects =
        [deployment("web", &[], json!({})), hook("migrate", "pre-install", &annotations, json!({}))];
    let said = Stage::run(any.deploy(&objects, &["--timeout=60s"]));
    assert_eq!(said.code, Some(1), "{}", said.err);
    let at = |text: &str| said.err.find(text).unwrap_or_else(|| panic!("{text}: {}", said.err));
    let order = [
        "hook Job/migrate: started",
        "hook Job/migrate: log: ERROR: no such table",
        "hook Job/migrate: failed after",
    ];
    assert!(order.map(at).is_sorted(), "{}", said.err);
}

/// Who may not watch a kind is told so once, and gets all else.
fn a_kind_that_may_not_be_watched_is_hidden(version: Helm) {
    let any = Any::new("hidden", version);
    let all = |groups, resources| Rule { groups, resources, verbs: &["*"] };
    let rules = [
        all(&[""], &["secrets", "configmaps", "pods", "pods/log", "events", "services"]),
        all(&["coordination.k8s.io"], &["leases"]),
        all(&["apps"], &["statefulsets"]),
        Rule {
            groups: &["apps"],
            resources: &["deployments"],
            verbs: &["get", "list", "create", "update", "patch", "delete"],
        },
        all(&["batch"], &["jobs"]),
    ];
    let file = any.stage.namespace.restricted_kubeconfig(7, &rules).unwrap();
    let objects = [
        deployment("web", &[("behavior", "crash-loop")], json!({})),
        stateful_set(1, &[("delay", "6s")]),
        hook("wait", "post-install", &[("run-for", "12s"), ("logs", "waiting")], json!({})),
    ];
    let said =
        Stage::run(any.deploy(&objects, &["--timeout=60s", &format!("--kubeconfig={}", file.display())]));
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.err.matches("deployments may not be listed and watched here").count(), 1, "{}", said.err);
    assert!(!said.err.contains("Deployment/web"), "{}", said.err);
    for text in
        ["rollout: StatefulSet/db 1/1 ready", "hook Job/wait: log: waiting", "hook Job/wait: ended after"]
    {
        assert!(said.err.contains(text), "{text}: {}", said.err);
    }
}

/// A watch that is cut off, or that has expired, goes on.
fn watches_survive(version: Helm) {
    let any = Any::new("cut-off", version);
    let mut cut = Vec::new();
    let gate = Gate::with(&any.stage.namespace, move |seen| {
        let own = seen.user_agent.starts_with("helm-guard/")
            && seen.uri.query().unwrap_or_default().contains("watch=true");
        let path = seen.uri.path().to_owned();
        if !own || cut.contains(&path) {
            return Fate::Pass;
        }
        let is_set = path.ends_with("/statefulsets");
        cut.push(path);
        if is_set { Fate::Answer(410, None) } else { Fate::Cut(Hold::Before) }
    });
    let gate = gate.unwrap();
    let objects = [stateful_set(2, &[("delay", "4s")]), deployment("web", &[("delay", "6s")], json!({}))];
    let flag = format!("--kubeconfig={}", gate.kubeconfig().display());
    let said = Stage::ok(any.deploy(&objects, &["--wait", "--timeout=60s", &flag]));
    for text in ["StatefulSet/db 1/2 ready", "StatefulSet/db 2/2 ready", "Deployment/web 1/1 ready"] {
        assert!(said.err.contains(&format!("rollout: {text}")), "{text}: {}", said.err);
    }
}

/// Hundreds of pods in trouble are a few lines, and little memory.
fn hundreds_of_pods_are_a_few_lines(version: Helm) {
    let any = Any::new("hundreds", version);
    let mut web = deployment("web", &[("behavior", "crash-loop")], json!({}));
    web["spec"]["replicas"] = 300.into();
    // So many pods are work for the whole machine: the lock gets more time than in other stories.
    let mut guard =
        any.stage.own(&["upgrade", "web", "--install", "--preflight=off", "--wait", "--timeout=180s"]);
    guard.arg(any.chart(&[web])).args(["--keepalive=10m", "--lease-duration=60s"]);
    let mut live = Live::of(guard);
    live.until("running helm");
    let process = live.child.id();
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().to_owned();
        most.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    };
    let before = memory();
    let all = |deployment: &Value| {
        deployment["status"]["unavailableReplicas"] == 300 && deployment["status"]["updatedReplicas"] == 300
    };
    live.until("rollout: Deployment/web 0/300 ready");
    any.stage.namespace.watch_until(["deployment", "web"], Duration::from_secs(150), all).unwrap();
    let after = memory();
    interrupt(&live.child);
    let (code, err) = live.end();
    assert_eq!(code, Some(130), "{err}");
    assert!((1..=12).contains(&rollout(&err).len()), "{err}");
    assert!(err.contains("Pod/web-") && err.contains("more pods: back-off"), "{err}");
    println!("{before} MiB before, {after} MiB with 300 pods");
    assert!(after < before + 40, "{before} MiB, then {after} MiB");
}

/// On a terminal a table is redrawn in place, and nothing is left of it at the end.
fn a_terminal_has_a_table(version: Helm) {
    let any = Any::new("table", version);
    let objects = [
        deployment("web", &[("behavior", "crash-loop")], json!({})),
        deployment("api", &[], json!({})),
        stateful_set(2, &[("behavior", "never-ready")]),
    ];
    let mut terminal = Terminal::start(any.deploy(&objects, &["--wait", "--timeout=120s"]), (24, 160));
    let is_drawn = |screen: &Screen| {
        let text = screen.text();
        let is_told = text.contains("CrashLoopBackOff: Pod/web-") && text.contains("StatefulSet/db");
        // In red what is in trouble, in yellow what is on its way.
        text.contains("1 ready") && is_told && screen.colors.contains(&31) && screen.colors.contains(&33)
    };
    let drawn = terminal.until(is_drawn);
    assert_eq!(drawn.matches("Deployment/web").count(), 1, "redrawn in place: {drawn}");
    crate::texts::hold(version, "table", &table(&any.stage, &drawn));
    // A Ctrl-C: the terminal shows it, and the signal comes.
    terminal.press("\u{3}");
    interrupt(terminal.child());
    let (code, end) = terminal.end();
    assert_eq!(code, Some(130), "{end}");
    assert!(!end.contains("helm runs for") && !end.contains("Deployment/web  "), "{end}");
    assert!(end.contains("Cancelled upgrade of web"), "{end}");
}

/// From the table's head on: what stands above is Helm's and ours, and tested elsewhere.
fn table(stage: &Stage, screen: &str) -> String {
    let lines = screen.lines().skip_while(|line| !line.contains("helm runs for"));
    let text: String = lines.map(|line| format!("{}\n", line.trim_end())).collect();
    let spinner = regex::Regex::new("(?m)^ *[\u{2800}-\u{28ff}]").unwrap();
    let padded = regex::Regex::new(r" {2,}\[DURATION\]").unwrap();
    padded.replace_all(&stage.normalise(&spinner.replace(&text, "*")), "  [DURATION]").into_owned()
}

/// A terminal that cannot be drawn on gets lines.
#[test]
fn a_dumb_terminal_has_lines() {
    let any = Any::new("dumb", Helm::V4);
    let mut command =
        any.deploy(&[deployment("web", &[("delay", "4s")], json!({}))], &["--wait", "--timeout=60s"]);
    command.env("TERM", "dumb");
    let (code, end) = Terminal::start(command, (40, 120)).end();
    assert_eq!(code, Some(0), "{end}");
    assert!(end.contains("helm-guard: rollout: Deployment/web 1/1 ready"), "{end}");
}

crate::with_both_helms! {
    a_rollout_is_told_as_it_goes_on a_pod_in_trouble_is_named an_old_pod_does_not_count a_hooks_log_comes_while_it_runs
    a_hook_that_fails_is_told a_kind_that_may_not_be_watched_is_hidden a_terminal_has_a_table
}
crate::with_either_helm! { V4 watches_survive V3 hundreds_of_pods_are_a_few_lines }
