//! Records that name APIs which the cluster does not serve any more, as an upgrade of the cluster leaves them: every command
//! works as if the record had always named what is served. The records are those of real releases, with older words in them.

use std::{collections::BTreeMap, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use helm_guard::release::{
    Status,
    codec::{self, Edit},
};
use serde_json::{Value, json};
use testbed::tools::Helm;

use crate::{
    preflight::chart,
    records::set_status_of,
    stage::{Said, Stage},
};

/// No holder dies here, so a lock may be held for long on a busy machine.
const CALM: [&str; 2] = ["--lease-duration=60s", "--keepalive=5s"];

const OLD: &str = "
# How many may be away
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: only-old}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, labels: {old: yes-1}}
spec:
  defaultBackend: {service: {name: web, port: {number: 80}}}
  rules: [{host: old, http: {paths: [{path: /, pathType: ImplementationSpecific, backend: {service: {name: web, port: {number: 80}}}}]}}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: web}
spec:
  schedule: '0 0 1 1 *'
  suspend: true
  startingDeadlineSeconds: 60
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: 'a:1', env: [{name: OLD, value: a}]}]}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: none}
  minReplicas: 2
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {old: a}
";

const DEAD: &str = "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: only-dead}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: web}
spec:
  schedule: '0 0 1 1 *'
  suspend: true
  concurrencyPolicy: Forbid
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: 'a:1', env: [{name: DEAD, value: a}]}]}}}}
";

const NEW: &str = "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules: [{host: new, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 81}}}}]}}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: web}
spec:
  schedule: '0 0 1 1 *'
  suspend: true
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: 'a:1', env: [{name: NEW, value: a}]}]}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: none}
  maxReplicas: 4
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]
";

/// The same manifest as an older cluster had it: other versions, fields in other places, and kinds that are gone.
fn aged(text: &str) -> String {
    let mut text = text.to_owned();
    for (now, then) in [
        ("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n"),
        ("apiVersion: networking.k8s.io/v1\n", "apiVersion: networking.k8s.io/v1beta1\n"),
        ("apiVersion: batch/v1\n", "apiVersion: batch/v1beta1\n"),
        ("apiVersion: autoscaling/v2\n", "apiVersion: autoscaling/v2beta2\n"),
        (
            "defaultBackend: {service: {name: web, port: {number: 80}}}",
            "backend: {serviceName: web, servicePort: 80}",
        ),
        ("{service: {name: web, port: {number: 80}}}", "{serviceName: web, servicePort: 80}"),
    ] {
        text = text.replace(now, then);
    }
    text + "---\n# Source: web/templates/gone.yaml\napiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata: {name: gone}\n\
            ---\n# Source: web/templates/crd.yaml\napiVersion: gone.example.com/v1\nkind: Widget\nmetadata: {name: gone}\n"
}

/// Helm alone.
fn helm(stage: &Stage, arguments: &[&str]) -> Command {
    let mut helm = Command::new(&stage.helm);
    helm.args(arguments).env("KUBECONFIG", stage.namespace.kubeconfig());
    helm.args(["-n", stage.namespace.name()]);
    helm
}

fn deployed(stage: &Stage, command: &str, template: &str) {
    let chart = chart(stage, template);
    Stage::ok(helm(stage, &[command, "web", chart.to_str().unwrap()]));
}

fn guarded(stage: &Stage, template: &str, more: &[&str]) -> Said {
    let mut guard = stage.own(&["upgrade", "web"]);
    guard.arg(chart(stage, template)).args(CALM).args(more);
    Stage::run(guard)
}

fn manifest(stage: &Stage, revision: &str) -> String {
    Stage::ok(helm(stage, &["get", "manifest", "web", "--revision", revision])).out
}

/// Changes the manifest in a record behind Helm's back.
fn rewrite(stage: &Stage, revision: u32, change: impl Fn(&str) -> String) {
    let name = format!("sh.helm.release.v1.web.v{revision}");
    let secret = stage.namespace.kubectl_json(["get", "secret", &name]).unwrap();
    let inner = STANDARD.decode(secret["data"]["release"].as_str().unwrap()).unwrap();
    let body = codec::decode(&inner).unwrap();
    let manifest = change(&codec::manifest(&body).unwrap());
    let edited = codec::edit(&body, &Edit { manifest: Some(manifest), ..Edit::default() }).unwrap();
    let payload = STANDARD.encode(codec::encode(&edited, codec::MAX_STORED).unwrap());
    let patch = json!({"data": {"release": payload}}).to_string();
    stage.namespace.kubectl(["patch", "secret", &name, "-p", &patch]).unwrap();
}

/// What lives, field by field, without what no two runs share.
fn living(stage: &Stage) -> BTreeMap<String, Value> {
    let kinds = "poddisruptionbudgets,ingresses,cronjobs,horizontalpodautoscalers,configmaps,deployments";
    let list = stage.namespace.kubectl_json(["get", kinds]).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items
        .filter(|item| item["metadata"]["name"] != "kube-root-ca.crt")
        .filter(|item| item["metadata"]["deletionTimestamp"].is_null())
        .map(|item| {
            let name =
                format!("{}/{}", item["kind"].as_str().unwrap(), item["metadata"]["name"].as_str().unwrap());
            let fields = json!([item["metadata"]["labels"], item["spec"], item["data"]]);
            (name, fields)
        })
        .collect()
}

fn names(stage: &Stage) -> Vec<String> {
    living(stage).into_keys().collect()
}

/// A plain Helm goes back to the first revision of both, and leaves the same.
#[track_caller]
fn both_go_back(stage: &Stage, clean: &Stage) {
    for one in [stage, clean] {
        Stage::ok(helm(one, &["rollback", "web", "1"]));
    }
    assert_eq!(living(stage), living(clean));
}

/// The finding of an upgrade: a plain Helm fails, the guarded one leaves what a history without old words would have left.
fn an_upgrade_goes_over_them(version: Helm) {
    let clean = Stage::new("apis-clean", version);
    deployed(&clean, "install", OLD);
    deployed(&clean, "upgrade", NEW);

    let stage = Stage::new("apis", version);
    deployed(&stage, "install", OLD);
    rewrite(&stage, 1, aged);
    let chart = chart(&stage, NEW);
    let failed = Stage::run(helm(&stage, &["upgrade", "web", chart.to_str().unwrap()]));
    assert!(
        failed.err.contains("unable to build kubernetes objects from current release manifest"),
        "{}",
        failed.err
    );

    let said = guarded(&stage, NEW, &[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("PodDisruptionBudget/web policy/v1beta1 → policy/v1"), "{}", said.err);
    assert_eq!(living(&stage), living(&clean), "{}", said.err);
    assert!(!names(&stage).contains(&"PodDisruptionBudget/only-old".to_owned()));
    stage.assert_history(&["superseded", "deployed"]);
    // Helm can read it again, and go back to it.
    both_go_back(&stage, &clean);
}

/// The last good revision and the dead one name them both: the union of the two is named by what is served.
fn a_stuck_release_names_them(version: Helm) {
    let stage = Stage::new("apis-stuck", version);
    deployed(&stage, "install", OLD);
    deployed(&stage, "upgrade", DEAD);
    set_status_of(&stage, "web", 1, Status::Deployed);
    set_status_of(&stage, "web", 2, Status::PendingUpgrade);
    rewrite(&stage, 1, aged);
    rewrite(&stage, 2, aged);
    let said = guarded(&stage, NEW, &[]);
    assert_eq!(said.code, Some(0), "{}", said.err);

    let clean = Stage::new("apis-clean", version);
    deployed(&clean, "install", OLD);
    deployed(&clean, "upgrade", DEAD);
    deployed(&clean, "upgrade", NEW);
    assert_eq!(living(&stage), living(&clean), "{}", said.err);
    stage.assert_history(&["superseded", "failed", "deployed"]);
    assert!(
        manifest(&stage, "1").contains("policy/v1\n"),
        "the record that Helm would go back to is put right"
    );
    let dead = manifest(&stage, "2");
    assert!(
        dead.contains("only-dead") && dead.contains("policy/v1beta1"),
        "what was lent is returned: {dead}"
    );
    // What the dead revision had removed comes back with the good one.
    both_go_back(&stage, &clean);
}

/// Helm goes back to a revision that names them, by itself and when it is told to; and it removes one.
fn rollbacks_and_uninstalls_go_over_them(version: Helm) {
    let stage = Stage::new("apis-back", version);
    deployed(&stage, "install", OLD);
    let old = living(&stage);
    rewrite(&stage, 1, aged);
    let atomic = if version == Helm::V3 { "--atomic" } else { "--rollback-on-failure" };
    let never = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: never}\nspec: {selector: {matchLabels: {a: b}}, \
                 template: {metadata: {labels: {a: b}}, spec: {nodeSelector: {no: node}, containers: [{name: a, image: 'a:1'}]}}}";
    let said = guarded(&stage, &format!("{NEW}---\n{never}\n"), &[atomic, "--wait", "--timeout=5s"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!(living(&stage), old, "{}", said.err);
    stage.assert_history(&["superseded", "failed", "deployed"]);

    deployed(&stage, "upgrade", NEW);
    rewrite(&stage, 1, aged);
    let failed = Stage::run(helm(&stage, &["rollback", "web", "1"]));
    assert!(
        failed.err.contains("unable to build kubernetes objects from new release manifest"),
        "{}",
        failed.err
    );
    let mut guard = stage.own(&["rollback", "web", "1"]);
    guard.args(CALM);
    let said = Stage::ok(guard);
    assert_eq!(living(&stage), old, "{}", said.err);

    let last = stage.history().last().unwrap().0;
    rewrite(&stage, last, aged);
    let mut guard = stage.own(&["uninstall", "web"]);
    guard.args(CALM);
    let said = Stage::ok(guard);
    assert_eq!((names(&stage), stage.records().len()), (Vec::new(), 0), "{}", said.err);
}

/// Whatever happens, the kinds of all namespaces are as they were.
struct Definition<'a>(&'a Stage, String);

impl Drop for Definition<'_> {
    fn drop(&mut self) {
        let _ = self.0.namespace.kubectl(["delete", "crd", &self.1, "--wait=false"]);
    }
}

/// `repair` does it without a deploy, ahead of an upgrade of the cluster too; `status` says which releases need it, and
/// `restore` undoes it.
fn a_repair_alone_puts_the_record_right_and_restore_undoes_it(version: Helm) {
    let stage = Stage::new("apis-alone", version);
    let group = format!("{}.example.com", stage.namespace.name());
    let definition = Definition(&stage, format!("widgets.{group}"));
    let schema = "{openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}";
    let crd = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: widgets.{group}}}\n\
         spec: {{group: {group}, scope: Namespaced, names: {{kind: Widget, plural: widgets}}, versions: [\
         {{name: v1, served: true, storage: true, schema: {schema}}}, \
         {{name: v1beta1, served: false, storage: false, schema: {schema}}}]}}\n"
    );
    stage.namespace.apply(&crd).unwrap();
    stage
        .namespace
        .kubectl(["wait", "crd", &definition.1, "--for=condition=Established", "--timeout=60s"])
        .unwrap();
    let widget =
        format!("---\napiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: w}}\nspec: {{size: 1}}\n");
    deployed(&stage, "install", &format!("{OLD}{widget}"));
    let list = |more: &[&str]| -> Value {
        let said = Stage::ok(stage.own(&[&["status", "-o", "json"], more].concat()));
        serde_json::from_str::<Value>(&said.out).unwrap()["items"].take()
    };
    assert_eq!(list(&["--kubernetes-version", "1.99"]), json!([]), "what is up to date needs nothing");
    let older = |text: &str| aged(&text.replace(&format!("{group}/v1\n"), &format!("{group}/v1beta1\n")));
    rewrite(&stage, 1, older);
    let before = manifest(&stage, "1");
    stage.namespace.kubectl(["delete", "pdb", "only-old"]).unwrap();

    assert_eq!(list(&[]), json!([]), "a list reads no records unless it is asked to");
    let apis = |version: &str| list(&["--kubernetes-version", version])[0]["removedApis"].clone();
    let custom = [format!("{group}/v1beta1 Widget"), "gone.example.com/v1 Widget".to_owned()];
    let mut expected = custom.to_vec();
    expected.sort();
    assert_eq!(apis("1.16"), json!(expected), "custom kinds are not served, whatever the version");
    expected.extend(["networking.k8s.io/v1beta1 Ingress".to_owned()]);
    expected.sort();
    assert_eq!(apis("1.22"), json!(expected));
    expected
        .extend(["autoscaling/v2beta2 HorizontalPodAutoscaler", "batch/v1beta1 CronJob"].map(str::to_owned));
    expected.extend(
        ["policy/v1beta1 PodDisruptionBudget", "policy/v1beta1 PodSecurityPolicy"].map(str::to_owned),
    );
    expected.sort();
    assert_eq!(apis("cluster"), json!(expected));

    let records = stage.records();
    let said = Stage::ok(stage.own(&["status", "web", "-o", "json"]));
    let shown: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&shown["state"], &shown["repair"]["strategy"]), (&json!("deployed"), &json!("map-apis")));
    let said = Stage::ok(stage.own(&["repair", "web", "--dry-run"]));
    for words in [
        "Ingress/web networking.k8s.io/v1beta1 → networking.k8s.io/v1",
        "PodDisruptionBudget/only-old leaves it (it does not exist any more)",
        "PodSecurityPolicy/gone leaves it (policy/v1beta1 is gone, without a successor)",
        "Widget/gone leaves it",
        &format!("Widget/w {group}/v1beta1 → {group}/v1"),
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    assert_eq!(stage.records(), records, "a dry run writes nothing");

    Stage::ok(stage.own(&["repair", "web", "--lease-duration=15s"]));
    stage.assert_history(&["deployed"]);
    let after = manifest(&stage, "1");
    // A document that was written anew has a comment that says what it was.
    let said: Vec<&str> = after.lines().filter(|line| !line.starts_with("# Was ")).collect();
    let said = said.join("\n");
    for word in ["beta", "gone", "only-old"] {
        assert!(!said.contains(word), "{word}: {after}");
    }
    assert!(after.contains("# How many may be away\napiVersion: policy/v1\n"), "{after}");
    let same = |text: &str| text.split("---\n").filter(|part| part.contains("ConfigMap")).collect::<String>();
    assert_eq!(same(&after), same(&before), "what is served keeps its bytes");
    assert_eq!(list(&["--kubernetes-version"]), json!([]));
    Stage::ok(helm(
        &stage,
        &["upgrade", "web", chart(&stage, &format!("{NEW}{widget}")).to_str().unwrap(), "--dry-run"],
    ));

    let copy = stage.copy_of_the_repair();
    Stage::ok(stage.own(&["restore", copy.to_str().unwrap()]));
    assert_eq!(manifest(&stage, "1"), before);
    let off = guarded(&stage, &format!("{NEW}{widget}"), &["--repair=off"]);
    assert_eq!(off.code, Some(1), "{}", off.err);
    assert!(off.err.contains("helm-guard repair web -n"), "the cause says what to do: {}", off.err);
}

crate::with_both_helms! {
    an_upgrade_goes_over_them a_stuck_release_names_them rollbacks_and_uninstalls_go_over_them
    a_repair_alone_puts_the_record_right_and_restore_undoes_it
}
