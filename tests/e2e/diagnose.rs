//! Why did it fail? Each cause is brought about for real, and named: by the API server's own refusals, and by pods that
//! fare as a kubelet would show it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use testbed::{ANNOTATION_PREFIX, Fate, Gate, Hold, Rule, tools::Helm};

use crate::stage::{Said, Stage};

/// What is known of one deploy.
pub struct Told {
    pub said: Said,
    pub report: Value,
}

/// A release of any objects.
pub struct Any {
    pub stage: Stage,
}

impl Any {
    pub fn new(stem: &str, version: Helm) -> Self {
        Self { stage: Stage::new(stem, version) }
    }

    /// A chart of these objects. They are no values: what a log says of values is redacted.
    pub fn chart(&self, objects: &[Value]) -> PathBuf {
        let chart = self.stage.temporary.path().join("chart");
        std::fs::create_dir_all(chart.join("templates")).unwrap();
        std::fs::write(chart.join("Chart.yaml"), "{apiVersion: v2, name: any, version: 1.0.0}").unwrap();
        let text: String = objects.iter().map(|object| format!("---\n{object}\n")).collect();
        std::fs::write(chart.join("templates/all.yaml"), text).unwrap();
        chart
    }

    /// helm-guard upgrade --install of these objects, without a preflight, so that it is Helm whom the API server refuses.
    pub fn deploy(&self, objects: &[Value], more: &[&str]) -> Command {
        let mut guard = self.guarded(objects);
        guard.arg("--preflight=off").args(more);
        guard
    }

    /// The same with all that helm-guard does by itself.
    pub fn guarded(&self, objects: &[Value]) -> Command {
        let mut guard = self.stage.own(&["upgrade", "web", "--install", &self.report()]);
        guard.arg(self.chart(objects)).args(crate::stage::QUICK);
        guard
    }

    /// What a preflight of these objects finds, which is all that is done.
    #[track_caller]
    pub fn findings(&self, objects: &[Value], more: &[&str]) -> Vec<Found> {
        let mut check = self.stage.own(&["check", "web", "-o", "json"]);
        check.arg(self.chart(objects)).args(more);
        let said = Stage::run(check);
        let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
        let findings = report["preflight"]["findings"].as_array().unwrap_or_else(|| panic!("{report:#}"));
        let found: Vec<Found> = findings.iter().map(Found::of).collect();
        let is_refused = found.iter().any(|found| found.certain);
        assert_eq!(said.code, Some(if is_refused { 77 } else { 0 }), "{}", said.err);
        found
    }

    /// What others may change only warns; with `--preflight strict` it is refused before Helm has written anything, for this.
    #[track_caller]
    pub fn refused(&self, objects: &[Value]) -> Found {
        let (records, uids) = (self.stage.records(), self.stage.uids());
        let mut strict = self.guarded(objects);
        strict.arg("--preflight=strict");
        let told = self.ends(strict, 77);
        assert_eq!((self.stage.records(), self.stage.uids()), (records, uids), "{}", told.said.err);
        let findings = told.report["preflight"]["findings"].as_array().unwrap();
        let doubtful = findings.iter().find(|finding| finding["doubt"].is_string());
        Found::of(doubtful.unwrap_or_else(|| panic!("{findings:#?}")))
    }

    pub fn report(&self) -> String {
        format!("--report={}", self.stage.temporary.path().join("report.json").display())
    }

    /// It is to fail in Helm.
    #[track_caller]
    pub fn fails(&self, command: Command) -> Told {
        self.ends(command, 1)
    }

    #[track_caller]
    pub fn ends(&self, command: Command, code: i32) -> Told {
        let said = Stage::run(command);
        assert_eq!(said.code, Some(code), "{}\n{}", said.out, said.err);
        let text = std::fs::read_to_string(self.stage.temporary.path().join("report.json")).unwrap();
        Told { said, report: serde_json::from_str(&text).unwrap() }
    }

    /// `diagnose` and what it saw, as JSON.
    fn diagnose(&self) -> (Value, Value) {
        let (said, saved) = self.look();
        assert_eq!(said.code, Some(0), "{}", said.err);
        (serde_json::from_str(&said.out).unwrap(), saved)
    }

    /// The same, of a release that may have no record.
    fn look(&self) -> (Said, Value) {
        let file = self.stage.temporary.path().join("snapshot.json");
        let save = format!("--save={}", file.display());
        let said = Stage::run(self.stage.own(&["diagnose", "web", "-o", "json", &save]));
        let saved = std::fs::read_to_string(file).unwrap();
        (said, serde_json::from_str(&saved).unwrap())
    }
}

/// A finding of a preflight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub id: String,
    pub object: String,
    pub certain: bool,
    /// The whole of it.
    pub text: String,
}

impl Found {
    fn of(finding: &Value) -> Self {
        let text = |field: &str| finding[field].as_str().unwrap().to_owned();
        Self {
            id: text("id"),
            object: text("object"),
            certain: finding["certain"] == true,
            text: finding.to_string(),
        }
    }

    /// It is about this, is as certain as that, and has these words in it.
    #[track_caller]
    pub fn is(&self, id: &str, object: &str, certain: bool, words: &[&str]) {
        assert_eq!((&*self.id, &*self.object, self.certain), (id, object, certain), "{self:#?}");
        has(&self.text, words);
    }
}

/// The one that is found.
#[track_caller]
pub fn only(findings: &[Found]) -> &Found {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    &findings[0]
}

impl Told {
    /// Rule and object of the causes, in their order.
    fn causes(&self) -> Vec<(&str, &str)> {
        causes(&self.report)
    }

    /// The first cause, as text.
    #[track_caller]
    pub fn first(&self, id: &str) -> String {
        let first = &self.report["causes"][0];
        assert_eq!(first["id"], id, "{:#}\n{}", self.report["causes"], self.said.err);
        first.to_string()
    }
}

fn causes(of: &Value) -> Vec<(&str, &str)> {
    let causes = of["causes"].as_array().map_or(&[][..], Vec::as_slice);
    causes.iter().map(|cause| (cause["id"].as_str().unwrap(), cause["object"].as_str().unwrap())).collect()
}

#[track_caller]
pub fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
}

/// A Deployment of one pod; annotations without their prefix.
pub fn deployment(name: &str, annotations: &[(&str, &str)], pod: Value) -> Value {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(name, value)| (format!("{ANNOTATION_PREFIX}{name}"), json!(value)))
        .collect();
    let mut spec = json!({"containers": [{"name": "app", "image": format!("registry.example/{name}:1")}]});
    for (field, value) in pod.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}, "annotations": annotations}, "spec": spec},
        },
    })
}

/// The kubelet's words of an image that cannot be pulled.
fn pull(image: &str, why: &str) -> String {
    format!(
        "Back-off pulling image \"{image}\": ErrImagePull: failed to pull and unpack image \"{image}\": failed to resolve \
         reference \"{image}\": {why}"
    )
}

/// A log that tells a Secret's value, one that was given by `--set`, and a password of unknown origin.
const SECRETIVE: &str = "login as canary-user-3141 with canary-value-2718\nDB_PASSWORD=canary-word-1618\npanic: no such table: users";

/// The kubelet's words of a pod that fills its node's disk.
const HOARDS: &str = "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ";

/// What is wrong with each of a release's many pods is told apart.
fn broken_pods(version: Helm) {
    let any = Any::new("pods", version);
    let missing = pull("registry.example/typo:1", "registry.example/typo:1: not found");
    let private = pull(
        "registry.example/private:1",
        "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
    );
    let limited = pull(
        "registry.example/popular:1",
        "unexpected status from HEAD request to https://registry.example/v2/popular/manifests/1: 429 Too Many Requests - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit.",
    );
    let offline =
        pull("registry.example/offline:1", "dial tcp: lookup registry.example on 10.0.0.10:53: no such host");
    let key = format!("couldn't find key password in Secret {}/db", any.stage.namespace.name());
    let volume = json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "nowhere"}}]});
    let lost = json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "lost"}}]});
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "nowhere"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "no-such-class", "resources": {"requests": {"storage": "1Gi"}}},
    });
    let init = json!({"initContainers": [{"name": "migrate", "image": "migrate:1"}]});
    let sidecar =
        json!({"initContainers": [{"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"}]});
    let probed = |probe: &str| json!({"containers": [{"name": "app", "image": "app:1", probe: {"httpGet": {"path": "/healthz", "port": 8080}}}]});
    let limit = json!({"containers": [{"name": "app", "image": "app:1", "resources": {"limits": {"memory": "64Mi"}}}]});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "postgres"}, "spec": {"selector": {"app": "postgres"}, "ports": [{"port": 5432}]}});
    let objects = [
        deployment("typo", &[("behavior", "image-error"), ("message", &missing)], json!({})),
        deployment("private", &[("behavior", "image-error"), ("message", &private)], json!({})),
        deployment("popular", &[("behavior", "image-error"), ("message", &limited)], json!({})),
        deployment("offline", &[("behavior", "image-pull-error"), ("message", &offline)], json!({})),
        deployment("secretless", &[("behavior", "config-error")], json!({})),
        deployment("keyless", &[("behavior", "config-error"), ("message", &key)], json!({})),
        deployment(
            "rootless",
            &[
                ("behavior", "config-error"),
                ("message", "container has runAsNonRoot and image will run as root"),
            ],
            json!({}),
        ),
        deployment("mistyped", &[("behavior", "start-error")], json!({})),
        deployment("evicted", &[("behavior", "evicted")], json!({})),
        deployment("hoarder", &[("behavior", "evicted"), ("message", HOARDS)], json!({})),
        deployment("greedy", &[("behavior", "oom")], limit),
        deployment(
            "panics",
            &[("behavior", "crash-loop"), ("previous-logs", SECRETIVE)],
            json!({"containers": [{"name": "app", "image": "app:1", "envFrom": [{"secretRef": {"name": "db"}}]}]}),
        ),
        deployment(
            "early",
            &[
                ("behavior", "crash-loop"),
                ("previous-logs", "connecting\ndial tcp postgres:5432: connect: connection refused"),
            ],
            json!({}),
        ),
        deployment("silent", &[("behavior", "liveness")], probed("livenessProbe")),
        deployment(
            "migrates",
            &[("behavior", "init-crash-loop"), ("previous-logs", "duplicate column")],
            init.clone(),
        ),
        deployment(
            "proxied",
            &[("behavior", "init-crash-loop"), ("previous-logs", "no certificate")],
            sidecar,
        ),
        deployment("waits", &[("behavior", "init-stuck"), ("logs", "3 of 8000 rows")], init),
        deployment("slow", &[("behavior", "startup")], probed("startupProbe")),
        deployment("unready", &[("behavior", "never-ready")], probed("readinessProbe")),
        deployment("unmounted", &[("behavior", "stuck-creating")], json!({})),
        deployment("unplaced", &[], json!({"nodeSelector": {"disk": "ssd"}})),
        deployment("unbound", &[], volume),
        deployment("claimless", &[], lost),
        claim,
        service,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"user": "canary-user-3141"}}),
    ];
    let told = any.fails(any.deploy(&objects, &["--wait", "--timeout=4s", "--set=key=canary-value-2718"]));
    // What is only warned of may come a little later.
    for name in ["silent-", "slow-", "unready-", "unmounted-", "evicted-", "hoarder-"] {
        let is_of =
            |event: &Value| event["involvedObject"]["name"].as_str().is_some_and(|own| own.starts_with(name));
        let warns = |event: &Value| event["type"] == "Warning" && is_of(event);
        any.stage.namespace.watch_until(["events"], Duration::from_secs(30), warns).unwrap();
    }
    let (diagnosis, snapshot) = any.diagnose();
    let mut expected = [
        (
            "image-not-found",
            "Deployment/typo",
            &["container app", "does not exist", "registry.example/typo:1"][..],
        ),
        ("image-denied", "Deployment/private", &["imagePullSecrets"]),
        ("image-rate-limit", "Deployment/popular", &["rate limit"]),
        ("image-pull-failed", "Deployment/offline", &["no such host"]),
        ("config-missing", "Deployment/secretless", &["Secret/missing does not exist"]),
        ("config-missing", "Deployment/keyless", &["key password is not in Secret/db"]),
        ("container-refused", "Deployment/rootless", &["runAsNonRoot"]),
        (
            "container-refused",
            "Deployment/mistyped",
            &[
                "StartError: failed to create containerd task",
                "\"serve\": executable file not found in $PATH",
            ],
        ),
        (
            "evicted",
            "Deployment/evicted",
            &["its node runs short of memory", "resources.requests", "kubectl describe node node-0"],
        ),
        ("evicted", "Deployment/hoarder", &["exceeds the total limit of containers 1Gi", "sizeLimit"]),
        (
            "out-of-memory",
            "Deployment/greedy",
            &["more memory than its limit of 64Mi", "OOMKilled, exit code 137, 4 restarts"],
        ),
        (
            "dependency-not-ready",
            "Deployment/early",
            &["Service/postgres, which has no ready endpoint", "connection refused"],
        ),
        ("liveness-probe", "Deployment/silent", &["GET /healthz on port 8080", "Client.Timeout exceeded"]),
        (
            "crash-loop",
            "Deployment/panics",
            &["exit code 1", "log: panic: no such table: users", "--previous"],
        ),
        ("crash-loop", "Deployment/migrates", &["init container migrate", "log: duplicate column"]),
        ("crash-loop", "Deployment/proxied", &["sidecar proxy", "log: no certificate"]),
        ("claim-pending", "PersistentVolumeClaim/nowhere", &["no-such-class", "not found", "Pod/unbound-"]),
        ("claim-missing", "Deployment/claimless", &["claim lost, which does not exist"]),
        ("volume-not-mounted", "Deployment/unmounted", &["volume data cannot be mounted: timed out"]),
        (
            "unschedulable",
            "Deployment/unplaced",
            &["didn't match Pod's node affinity/selector", "kubectl get nodes -l disk=ssd"],
        ),
        ("init-stuck", "Deployment/waits", &["init container migrate does not end", "log: 3 of 8000 rows"]),
        ("startup-probe", "Deployment/slow", &["GET /healthz on port 8080", "connection refused"]),
        ("readiness-probe", "Deployment/unready", &["GET /healthz on port 8080", "statuscode: 503"]),
    ];
    let found = diagnosis["causes"].as_array().unwrap();
    for (id, object, words) in expected {
        let cause = found.iter().find(|cause| cause["object"] == object);
        let cause = cause.unwrap_or_else(|| panic!("{object}: {diagnosis:#}"));
        assert_eq!(cause["id"], id, "{cause:#}");
        has(&cause.to_string().replace("\\\"", "\""), words);
    }
    let mut told_ids = causes(&diagnosis);
    told_ids.sort_unstable();
    expected.sort_unstable_by_key(|(id, object, _)| (*id, *object));
    assert_eq!(told_ids, expected.map(|(id, object, _)| (id, object)));
    // The deploy said as much of it as there was to see when Helm gave up, the first of it in the log.
    assert!(!told.causes().is_empty(), "{}", told.said.err);
    has(&told.said.err, &["helm-guard: cause: "]);
    for text in
        [told.said.err, told.said.out, told.report.to_string(), diagnosis.to_string(), snapshot.to_string()]
    {
        assert!(!text.contains("canary"), "{text}");
    }
    record(&any, version, "pods", &snapshot);
}

/// What is real is kept, for the rules' own test: with this variable set, where the rules' test looks for it.
const RECORD: &str = "HELM_GUARD_RECORD";

fn record(any: &Any, version: Helm, case: &str, snapshot: &Value) {
    if std::env::var_os(RECORD).is_none() {
        return;
    }
    let name = format!("tests/diagnose/{case}-{version:?}.json").to_lowercase();
    let text = snapshot.to_string().replace(any.stage.namespace.name(), "shop") + "\n";
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(name), text).unwrap();
}

/// What a deploy knew of its failure.
pub fn record_deploy(any: &Any, version: Helm, case: &str, told: &Told, timeout: Option<u64>) {
    if std::env::var_os(RECORD).is_some() {
        record(any, version, case, &known(any, told, timeout));
    }
}

fn known(any: &Any, told: &Told, timeout: Option<u64>) -> Value {
    let (_, mut snapshot) = any.look();
    let report = &told.report;
    snapshot["command"] = report["subject"]["command"].clone();
    snapshot["error"] = report["helm"]["error"].clone();
    snapshot["refusals"] = report.get("refusals").cloned().unwrap_or(json!([]));
    snapshot["timeout"] = json!(timeout);
    snapshot
}

pub fn config(name: &str, more: Value) -> Value {
    let mut object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}});
    for (field, value) in more.as_object().unwrap() {
        object[field] = value.clone();
    }
    object
}

fn claim(size: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
    })
}

fn stateful_set(service: &str) -> Value {
    let mut object = deployment("db", &[], json!({}));
    object["kind"] = "StatefulSet".into();
    object["spec"]["serviceName"] = service.into();
    object
}

/// What the API server refuses is told apart by its own words.
fn refused_writes(version: Helm) {
    let any = Any::new("refused", version);
    let ready = json!({});
    let frozen = |value: &str| {
        let fields = json!({"immutable": true, "data": {"a": value}});
        config("frozen", fields)
    };
    let good = [
        deployment("web", &[], ready),
        stateful_set("db"),
        claim("1Gi"),
        frozen("1"),
        config("keep", json!({})),
    ];
    Stage::ok(any.deploy(&good, &["--wait", "--timeout=60s"]));
    any.stage
        .namespace
        .wait_for("pvc/data", "jsonpath={.status.phase}=Bound", Duration::from_secs(30))
        .unwrap();
    let with = |change: Value| -> Vec<Value> {
        let same = |object: &&Value| {
            object["kind"] != change["kind"] || object["metadata"]["name"] != change["metadata"]["name"]
        };
        good.iter().filter(same).cloned().chain([change.clone()]).collect()
    };
    // Beforehand, and all at once.
    let mut selector = deployment("web", &[], json!({}));
    selector["spec"]["selector"]["matchLabels"]["tier"] = "front".into();
    selector["spec"]["template"]["metadata"]["labels"]["tier"] = "front".into();
    let mut empty = deployment("web", &[], json!({}));
    empty["spec"]["template"]["spec"]["containers"] = json!([]);
    let mut claiming = stateful_set("db");
    claiming["spec"]["volumeClaimTemplates"] =
        json!([{"metadata": {"name": "data"}, "spec": claim("1Gi")["spec"]}]);
    let found = any.findings(&[selector.clone(), stateful_set("other"), claim("2Gi"), frozen("2")], &[]);
    let found: Vec<_> = found.iter().map(|one| (&*one.id, &*one.object, one.certain)).collect();
    assert_eq!(
        found,
        [
            ("immutable-field", "ConfigMap/frozen", true),
            ("immutable-field", "Deployment/web", true),
            ("claim-not-resizable", "PersistentVolumeClaim/data", true),
            ("statefulset-immutable", "StatefulSet/db", true),
        ]
    );
    let found = any.findings(&with(empty.clone()), &[]);
    only(&found).is("schema-refused", "Deployment/web", true, &["containers", "Required value"]);

    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "gear"}});
    let stale =
        config("keep", json!({"metadata": {"name": "keep", "resourceVersion": "1"}, "data": {"a": "2"}}));
    for (id, object, change, words) in [
        (
            "crd-missing",
            "Widget/gear",
            widget,
            &["no kind Widget in example.com/v1", "kubectl api-resources --api-group=example.com"][..],
        ),
        (
            "api-removed",
            "PodDisruptionBudget/old",
            json!({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "old"}}),
            &["has removed policy/v1beta1 PodDisruptionBudget", "apiVersion: policy/v1 for"],
        ),
        ("schema-refused", "Deployment/web", empty, &["containers: Required value"]),
        ("selector-immutable", "Deployment/web", selector, &["spec.selector"]),
        (
            "statefulset-immutable",
            "StatefulSet/db",
            claiming,
            &["kubectl delete statefulset db", "spec.volumeClaimTemplates changed"],
        ),
        (
            "statefulset-immutable",
            "StatefulSet/db",
            stateful_set("other"),
            &["spec.serviceName changed", "--cascade=orphan"],
        ),
        (
            "claim-not-resizable",
            "persistentvolumeclaims/data",
            claim("2Gi"),
            &["it has 1Gi, of class kwok-volume"],
        ),
        ("immutable-field", "ConfigMap/frozen", frozen("2"), &["field is immutable"]),
        ("changed-meanwhile", "configmaps/keep", stale, &["another client changed it"]),
    ] {
        let told = any.fails(any.deploy(&with(change), &["--timeout=20s"]));
        let first = told.first(id);
        has(&first, words);
        assert_eq!(told.report["causes"][0]["object"], object, "{first}");
        has(&told.said.err, &["helm-guard: cause: "]);
        record_deploy(&any, version, id, &told, None);
    }
    // Another that has the name: Helm 4 applies it over none, Helm 3 puts it in the place of one.
    let (name, more) = if version == Helm::V4 { ("gone", "--timeout=20s") } else { ("keep", "--force") };
    let bound = json!({"metadata": {"name": name, "uid": "6f1d8a52-0f0e-4c7c-9a53-0d2f7b1c9e10"}});
    let told = any.fails(any.deploy(&[config(name, bound)], &[more]));
    has(&told.first("changed-meanwhile"), &["deleted and created again", "which it must not"]);
    record_deploy(&any, version, "uid-mismatch", &told, None);
    if version == Helm::V4 {
        let theirs = config("keep", json!({"data": {"a": "theirs"}})).to_string();
        let mut apply = any.stage.namespace.command();
        apply.args(["apply", "--server-side", "--force-conflicts", "--field-manager=hpa-tuner", "-f"]);
        let file = any.stage.temporary.path().join("theirs.json");
        std::fs::write(&file, theirs).unwrap();
        Stage::ok({
            apply.arg(file);
            apply
        });
        let told =
            any.fails(any.deploy(&with(config("keep", json!({"data": {"a": "ours"}}))), &["--timeout=20s"]));
        has(&told.first("field-conflict"), &["hpa-tuner owns .data.a", "--force-conflicts"]);
        record_deploy(&any, version, "field-conflict", &told, None);
    }
}

/// A right that the deploy lacks is named as the rule that gives it.
fn without_a_right(version: Helm) {
    let any = Any::new("right", version);
    let rules = [
        Rule { groups: &["coordination.k8s.io"], resources: &["leases"], verbs: &["*"] },
        Rule { groups: &[""], resources: &["secrets"], verbs: &["*"] },
        Rule { groups: &[""], resources: &["configmaps"], verbs: &["get"] },
    ];
    let file = any.stage.namespace.restricted_kubeconfig(3, &rules).unwrap();
    let flag = format!("--kubeconfig={}", file.display());
    let told = any.fails(any.deploy(&[config("keep", json!({}))], &["--timeout=20s", &flag]));
    // Helm 4 applies.
    let verb = if version == Helm::V3 { "create" } else { "patch" };
    let rule = format!("resources: [configmaps], verbs: [{verb}]");
    has(&told.first("forbidden"), &["user-3 may not", &rule]);
    let found = any.findings(&[config("keep", json!({}))], &[&flag]);
    let found = found.iter().find(|one| one.certain && one.object == "ConfigMap/keep").unwrap();
    found.is("forbidden", "ConfigMap/keep", true, &[&rule, "user-3"]);
    record_deploy(&any, version, "forbidden", &told, None);
    // What may not be read is only named.
    let said = Stage::ok(any.stage.own(&["diagnose", "web", &flag]));
    has(&said.out, &["not seen, no permission to read:", "deployments"]);
}

fn hook(name: &str, event: &str, annotations: &[(&str, &str)]) -> Value {
    let mut object = deployment(name, annotations, json!({"restartPolicy": "Never"}));
    object["apiVersion"] = "batch/v1".into();
    object["kind"] = "Job".into();
    object["metadata"]["annotations"] = json!({"helm.sh/hook": event});
    object["spec"]["backoffLimit"] = 0.into();
    object["spec"].as_object_mut().unwrap().remove("selector");
    object
}

/// A hook that fails tells why in its log, and one that goes on is told from it.
fn hooks_that_fail(version: Helm) {
    let any = Any::new("hooks", version);
    let failing = hook(
        "migrate",
        "pre-install,pre-upgrade",
        &[("behavior", "fail"), ("logs", "migrating\nERROR: relation exists")],
    );
    let told = any.fails(any.deploy(&[failing], &["--timeout=20s"]));
    let first = told.first("hook-failed");
    has(
        &first,
        &["hook Job/migrate failed: exit code 1", "log: ERROR: relation exists", "kubectl logs job/migrate"],
    );
    has(&told.said.err, &["\nhelm-guard:   "]);
    record_deploy(&any, version, "hook-failed", &told, Some(20));
    let mut deleted =
        hook("seed", "pre-install,pre-upgrade", &[("behavior", "fail"), ("logs", "ERROR: no seed")]);
    deleted["metadata"]["annotations"]["helm.sh/hook-delete-policy"] = "hook-failed".into();
    let told = any.fails(any.deploy(&[deleted], &["--timeout=20s"]));
    has(&told.first("hook-failed"), &["hook Job/seed failed: exit code 1", "log: ERROR: no seed"]);
    let endless = hook("import", "pre-install,pre-upgrade", &[("run-for", "300s"), ("logs", "row 1 of 9")]);
    let told = any.fails(any.deploy(&[endless], &["--timeout=2s"]));
    has(
        &told.first("hook-running"),
        &["hook Job/import did not end within the timeout of 2 s", "log: row 1 of 9"],
    );
    record_deploy(&any, version, "hook-running", &told, Some(2));
}

/// Nothing is wrong but the timeout.
fn too_little_time(version: Helm) {
    let any = Any::new("time", version);
    let slow = |image: &str, delay: &str| {
        let pod = json!({"containers": [{"name": "app", "image": image}]});
        [deployment("web", &[("delay", delay)], pod)]
    };
    Stage::ok(any.deploy(&slow("app:1", "3s"), &["--wait", "--timeout=60s"]));
    let told = any.fails(any.deploy(&slow("app:2", "60s"), &["--wait", "--timeout=2s"]));
    let first = told.first("timeout-too-short");
    has(&first, &["Deployment/web", "timeout of 2 s is too short", "run it again with --timeout"]);
    let before = ["it took 3 s before", "it took 4 s before", "it took 5 s before"];
    assert!(before.iter().any(|words| first.contains(words)), "{first}");
    assert_eq!(told.causes().len(), 1);
    record_deploy(&any, version, "timeout-too-short", &told, Some(2));
}

/// Something that is deleted and does not go.
fn a_delete_that_is_blocked(version: Helm) {
    let any = Any::new("delete", version);
    let kept = config("kept", json!({"metadata": {"name": "kept", "finalizers": ["example.com/never"]}}));
    Stage::ok(any.deploy(&[kept], &[]));
    let mut uninstall = any.stage.own(&["uninstall", "web", "--wait", "--timeout=2s", &any.report()]);
    uninstall.args(crate::stage::QUICK);
    let told = any.fails(uninstall);
    has(
        &told.first("delete-blocked"),
        &["ConfigMap/kept", "finalizer example.com/never is not done", "kubectl patch configmap kept"],
    );
    // Its record is gone, and with it what `diagnose` could know of it.
    let mut snapshot = known(&any, &told, Some(2));
    let blocked =
        any.stage.namespace.kubectl_json(["get", "configmap", "kept", "--show-managed-fields=false"]);
    snapshot["live"]["terminating"] = json!([blocked.unwrap()]);
    record(&any, version, "delete-blocked", &snapshot);
    any.stage
        .namespace
        .kubectl(["patch", "configmap", "kept", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#])
        .unwrap();
}

/// What Helm refuses by itself.
fn helms_own_words(version: Helm) {
    let any = Any::new("words", version);
    let guard = |command: &str, more: &[&str]| {
        let mut guard = any.stage.own(&[command, "web", &any.report()]);
        if matches!(command, "upgrade" | "install") {
            guard.arg(any.chart(&[config("keep", json!({}))]));
        }
        guard.args(crate::stage::QUICK).args(more);
        guard
    };
    let told = any.fails(guard("upgrade", &[]));
    has(&told.first("never-installed"), &["--install"]);
    record_deploy(&any, version, "never-installed", &told, None);
    let told = any.fails(guard("uninstall", &[]));
    has(&told.first("not-found"), &["--ignore-not-found"]);
    record_deploy(&any, version, "not-found", &told, None);
    let said = Stage::run(any.stage.own(&["diagnose", "web"]));
    assert_eq!(said.code, Some(1), "{}", said.out);
    has(&said.err, &["no release web in namespace", "hint: helm-guard status -A --all"]);
    Stage::ok(guard("install", &[]));
    let told = any.fails(guard("install", &[]));
    has(&told.first("name-in-use"), &["upgrade --install"]);
    record_deploy(&any, version, "name-in-use", &told, None);
    let said = Stage::ok(any.stage.own(&["diagnose", "web"]));
    has(&said.out, &["is deployed: nothing wrong is seen"]);
}

/// A release that a dead run left pending, and nobody may repair.
fn a_stuck_release_without_repair(version: Helm) {
    let any = Any::new("stuck", version);
    any.stage.ready("install", &[]);
    any.stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let told = any.fails(any.stage.guard("upgrade", &["--repair=off", &any.report()]));
    has(&told.first("in-progress"), &["without --repair off"]);
    record_deploy(&any, version, "in-progress", &told, None);
}

/// The API server goes away in the middle, is not there at all, or does not know the token any more.
fn without_an_api_server(version: Helm) {
    let any = Any::new("away", version);
    let gate = Gate::with(&any.stage.namespace, |seen| {
        let is_write = seen.is_write() && seen.object().starts_with("configmaps");
        if is_write { Fate::Cut(Hold::Before) } else { Fate::Pass }
    });
    let gate = gate.unwrap();
    let flag = format!("--kubeconfig={}", gate.kubeconfig().display());
    let told = any.fails(any.deploy(&[config("keep", json!({}))], &["--timeout=20s", &flag]));
    told.first("api-unreachable");
    record_deploy(&any, version, "api-unreachable", &told, None);

    let admin = std::fs::read_to_string(any.stage.namespace.kubeconfig()).unwrap();
    let stale: String = admin
        .lines()
        .map(|line| match line.split_once("token: ") {
            Some((before, _)) => format!("{before}token: no-longer-3141\n"),
            None => format!("{line}\n"),
        })
        .collect();
    assert_ne!(stale, admin);
    let file = any.stage.temporary.path().join("stale");
    std::fs::write(&file, stale).unwrap();
    let flag = format!("--kubeconfig={}", file.display());
    let told = any.ends(any.deploy(&[config("keep", json!({}))], &[&flag]), 69);
    has(&told.first("credentials-expired"), &["log in again"]);
    assert!(!told.said.err.contains("no-longer-3141"), "{}", told.said.err);
    let error = format!("Error: {}", told.report["reason"].as_str().unwrap());
    record(
        &any,
        version,
        "credentials-expired",
        &json!({"command": "upgrade", "release": "web", "error": error}),
    );
}

/// Helm goes back by itself, and with that all is gone that shows why.
fn an_automatic_rollback(version: Helm) {
    let any = Any::new("atomic", version);
    let pod = |image: &str| json!({"containers": [{"name": "app", "image": image}]});
    Stage::ok(any.deploy(&[deployment("web", &[], pod("app:1"))], &["--wait", "--timeout=60s"]));
    let bad = [("behavior", "crash-loop"), ("previous-logs", "panic: no database")];
    let flag = if version == Helm::V3 { "--atomic" } else { "--rollback-on-failure" };
    let told = any.fails(any.deploy(&[deployment("web", &bad, pod("app:2"))], &[flag, "--timeout=4s"]));
    assert_eq!(told.report["outcome"], "rolled-back", "{}", told.said.err);
    has(&told.first("crash-loop"), &["Deployment/web", "log: panic: no database"]);
    any.stage.assert_deployed();

    // An install is undone altogether.
    Stage::ok(any.stage.own(&["uninstall", "web", "--wait"]));
    let told = any.fails(any.deploy(&[deployment("web", &bad, pod("app:2"))], &[flag, "--timeout=4s"]));
    has(&told.first("crash-loop"), &["log: panic: no database"]);
}

crate::with_both_helms! {
    broken_pods refused_writes without_a_right hooks_that_fail too_little_time a_delete_that_is_blocked
    helms_own_words an_automatic_rollback a_stuck_release_without_repair without_an_api_server
}
