//! What lives after a repair is what lives after the same revisions all finished: for every way in which Helm and Kubernetes
//! merge an object, with a death before and after the dead revision was applied.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use testbed::tools::Helm;

use crate::{
    preflight::{chart, deploy},
    stage::{Stage, UNVALIDATED, kill},
};

/// Kind, name, and the content in the good, the dead and the new revision; empty where a revision does not have the object.
/// `Pod` is the pod of a Deployment, `Container` the container in it.
const ROWS: [(&str, &str, [&str; 3]); 30] = [
    // One volume at two paths: all mounts have one name.
    (
        "Container",
        "mounts",
        [
            "volumeMounts: [{name: v, mountPath: /a, subPath: a}, {name: v, mountPath: /b, subPath: b}]",
            "volumeMounts: [{name: v, mountPath: /a, subPath: a}, {name: v, mountPath: /b, subPath: b}]",
            "volumeMounts: [{name: v, mountPath: /a, subPath: a}, {name: v, mountPath: /b, subPath: b}]",
        ],
    ),
    (
        "Container",
        "mount-moves",
        [
            "volumeMounts: [{name: v, mountPath: /a, subPath: a}, {name: v, mountPath: /b}]",
            "volumeMounts: [{name: v, mountPath: /c, subPath: a}, {name: v, mountPath: /b}, {name: v, mountPath: /d}]",
            "volumeMounts: [{name: v, mountPath: /b}, {name: v, mountPath: /d, subPath: d}]",
        ],
    ),
    (
        "Container",
        "port-renamed",
        [
            "ports: [{name: http, containerPort: 80}, {name: admin, containerPort: 81}]",
            "ports: [{name: web, containerPort: 80}, {name: http, containerPort: 82}]",
            "ports: [{name: web, containerPort: 80}]",
        ],
    ),
    (
        "Container",
        "port-renumbered",
        [
            "ports: [{name: http, containerPort: 80}]",
            "ports: [{name: http, containerPort: 8080}]",
            "ports: [{name: http, containerPort: 8080}]",
        ],
    ),
    (
        "Container",
        "port-and-protocol",
        [
            "ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns-tcp, containerPort: 53, protocol: TCP}]",
            "ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns-tcp, containerPort: 53, protocol: TCP}]",
            "ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns-tcp, containerPort: 53, protocol: TCP}]",
        ],
    ),
    // Helm merges or deletes two ports of one number together, in a clean history too.
    (
        "Container",
        "protocol-comes",
        [
            "ports: [{name: dns, containerPort: 53, protocol: UDP}]",
            "ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns-tcp, containerPort: 53, protocol: TCP}]",
            "ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns-tcp, containerPort: 53, protocol: TCP}]",
        ],
    ),
    (
        "Container",
        "protocol-goes",
        [
            "ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns-tcp, containerPort: 53, protocol: TCP}]",
            "ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns-tcp, containerPort: 53, protocol: TCP}]",
            "ports: [{name: dns, containerPort: 53, protocol: UDP}]",
        ],
    ),
    (
        "Container",
        "protocol-is-tried",
        [
            "ports: [{name: dns, containerPort: 53, protocol: UDP}]",
            "ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns-tcp, containerPort: 53, protocol: TCP}]",
            "ports: [{name: dns, containerPort: 53, protocol: UDP}]",
        ],
    ),
    (
        "Container",
        "port-comes-and-goes",
        ["ports: [{containerPort: 80, hostPort: 80}]", "image: 'c:1'", "ports: [{containerPort: 80}]"],
    ),
    (
        "Container",
        "env-twice",
        [
            "env: [{name: A, value: '1'}, {name: A, value: '2'}, {name: B, value: b}]",
            "env: [{name: A, value: '1'}, {name: A, value: '2'}, {name: C, value: c}]",
            "env: [{name: A, value: '1'}, {name: A, value: '2'}, {name: D, value: d}]",
        ],
    ),
    (
        "Container",
        "env-source",
        [
            "env: [{name: A, value: a}, {name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
            "env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: B, value: b}]",
            "env: [{name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: A, value: a}]",
        ],
    ),
    (
        "Container",
        "resources",
        [
            "resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 100m}}",
            "resources: {limits: {cpu: 2}}",
            "resources: {requests: {cpu: 200m, memory: 1Gi}}",
        ],
    ),
    ("Container", "args", ["args: [a, b]", "args: [c]", "args: [a]"]),
    (
        "Pod",
        "spread",
        [
            "topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]",
            "topologySpreadConstraints: [{topologyKey: zone, maxSkew: 2, whenUnsatisfiable: ScheduleAnyway},
          {topologyKey: host, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]",
            "topologySpreadConstraints: [{topologyKey: host, maxSkew: 1, whenUnsatisfiable: DoNotSchedule}]",
        ],
    ),
    (
        "Pod",
        "spread-twice",
        [
            "topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule},
          {topologyKey: zone, maxSkew: 2, whenUnsatisfiable: ScheduleAnyway}]",
            "topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule},
          {topologyKey: zone, maxSkew: 2, whenUnsatisfiable: ScheduleAnyway}]",
            "topologySpreadConstraints: [{topologyKey: zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule},
          {topologyKey: zone, maxSkew: 2, whenUnsatisfiable: ScheduleAnyway}]",
        ],
    ),
    (
        "Pod",
        "aliases",
        [
            "hostAliases: [{ip: 10.0.0.1, hostnames: [a]}, {ip: 10.0.0.2, hostnames: [b]}]",
            "hostAliases: [{ip: 10.0.0.2, hostnames: [c]}, {ip: 10.0.0.3, hostnames: [d]}]",
            "hostAliases: [{ip: 10.0.0.2, hostnames: [c]}, {ip: 10.0.0.4, hostnames: [a]}]",
        ],
    ),
    (
        "Pod",
        "volume-goes-back",
        [
            "volumes: [{name: v, emptyDir: {medium: Memory}}, {name: w, secret: {secretName: s}}]",
            "volumes: [{name: v, configMap: {name: c}}, {name: w, emptyDir: {}}]",
            "volumes: [{name: w, secret: {secretName: s}}, {name: v, emptyDir: {}}]",
        ],
    ),
    (
        "Pod",
        "volume-goes-on",
        [
            "volumes: [{name: v, secret: {secretName: s}}]",
            "volumes: [{name: v, emptyDir: {}}]",
            "volumes: [{name: v, configMap: {name: c}}]",
        ],
    ),
    (
        "Pod",
        "tolerations",
        [
            "tolerations: [{key: a, operator: Exists}]",
            "tolerations: [{key: b, operator: Exists}, {key: c, operator: Exists}]",
            "tolerations: [{key: b, operator: Exists}]",
        ],
    ),
    ("Pod", "node-selector", ["nodeSelector: {a: b}", "nodeSelector: {c: d}", "priority: null"]),
    (
        "Deployment",
        "strategy",
        [
            "strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 2}}",
            "strategy: {type: Recreate}",
            "strategy: {type: RollingUpdate}",
        ],
    ),
    (
        "Deployment",
        "strategy-back",
        [
            "strategy: {type: Recreate}",
            "strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 2}}",
            "strategy: {type: Recreate}",
        ],
    ),
    (
        "Service",
        "service",
        [
            "ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}]",
            "ports: [{name: web, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}]",
            "ports: [{name: web, port: 80}, {name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}]",
        ],
    ),
    (
        "Service",
        "service-renumbered",
        [
            "ports: [{name: http, port: 80}]",
            "ports: [{name: http, port: 81}, {name: admin, port: 80}]",
            "ports: [{name: http, port: 81}]",
        ],
    ),
    (
        "PodDisruptionBudget",
        "budget",
        [
            "{minAvailable: 1, selector: {matchLabels: {a: b, c: d}}}",
            "{maxUnavailable: 1, selector: {matchLabels: {a: c, e: f}}}",
            "{maxUnavailable: 2, selector: {matchLabels: {a: c}}}",
        ],
    ),
    (
        "ServiceAccount",
        "account",
        [
            "{secrets: [{name: a}, {name: b}], imagePullSecrets: [{name: a}, {name: b}]}",
            "{secrets: [{name: b}, {name: c}], imagePullSecrets: [{name: c}]}",
            "{secrets: [{name: d}, {name: b}], imagePullSecrets: [{name: b}, {name: d}]}",
        ],
    ),
    // What the dead revision took away, or made otherwise, comes back.
    (
        "Widget",
        "back",
        [
            "{a: 1, b: x, l: [1, 2], m: {x: 1, y: 1}, n: {x: 1}}",
            "{a: 2, l: [3], m: {x: 1}}",
            "{a: 1, b: x, l: [1, 2], m: {x: 1, y: 1}, n: {x: 1}}",
        ],
    ),
    // What only it brought goes, or comes if it had not come.
    (
        "Widget",
        "forth",
        ["{a: 1}", "{a: 1, b: x, l: [1], m: {x: 1, y: 1}, n: {x: 1}}", "{a: 1, b: x, m: {x: 1}}"],
    ),
    (
        "Loose",
        "loose",
        [
            "{a: 1, b: {}, c: {d: [{x: 1}], e: null}, f: {g: 1}}",
            "{a: {z: 1}, c: {d: [{x: 1}, {y: 1}]}, f: 1, h: {}}",
            "{a: {y: 1}, b: {}, c: {d: [{x: 1}]}, f: {g: 1}, h: {}}",
        ],
    ),
    ("Loose", "made-by-the-dead", ["", "{a: 1, b: 2}", "{a: 1, c: 3}"]),
];

/// The deployment that the dead revision waits for in vain.
const GATE: &str = "gate";

/// The kinds that Helm knows nothing of, in a group of their own.
struct Definitions<'a> {
    stage: &'a Stage,
    group: String,
}

impl<'a> Definitions<'a> {
    fn new(stage: &'a Stage) -> Self {
        let own = Self { stage, group: format!("{}.example.com", stage.namespace.name()) };
        let number = json!({"type": "integer"});
        let map = json!({"type": "object", "properties": {"x": number, "y": number}});
        let spec = json!({"type": "object", "properties": {
            "a": number, "b": {"type": "string"}, "l": {"type": "array", "items": number}, "m": map, "n": map,
        }});
        let loose = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        for (kind, spec) in [("Widget", spec), ("Loose", loose)] {
            let plural = plural(kind);
            let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
            let definition = json!({
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.{}", own.group)},
                "spec": {
                    "group": own.group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
                },
            });
            stage.namespace.apply(&definition.to_string()).unwrap();
            let name = format!("crd/{plural}.{}", own.group);
            stage.namespace.wait_for(&name, "condition=Established", Duration::from_secs(30)).unwrap();
        }
        own
    }

    /// The objects of a revision: 0 is the good one, 1 the dead, 2 the new.
    fn manifest(&self, revision: usize, is_server_side: bool) -> String {
        let mut text = String::new();
        // With server-side apply the API server takes no two variables of one name.
        for (kind, name, contents) in ROWS.into_iter().filter(|row| !is_server_side || row.1 != "env-twice") {
            let content: Value = serde_yaml::from_str(contents[revision]).unwrap_or_default();
            if content.is_null() {
                continue;
            }
            let mut object = match kind {
                "Service" => json!({"apiVersion": "v1", "kind": kind, "spec": content}),
                "PodDisruptionBudget" => json!({"apiVersion": "policy/v1", "kind": kind, "spec": content}),
                "ServiceAccount" => {
                    let mut account = content;
                    account["apiVersion"] = "v1".into();
                    account["kind"] = kind.into();
                    account
                }
                "Widget" | "Loose" => {
                    json!({"apiVersion": format!("{}/v1", self.group), "kind": kind, "spec": content})
                }
                _ => deployment(kind, name, content),
            };
            object["metadata"]["name"] = name.into();
            let only = format!("only-{revision}");
            object["metadata"]["labels"] = json!({"revision": revision.to_string(), only: "here"});
            text.push_str(&format!("---\n{object}\n"));
        }
        let mut gate = deployment("Pod", GATE, json!({}));
        gate["metadata"] = json!({"name": GATE});
        gate["spec"]["replicas"] = 1.into();
        let behavior = if revision == 1 { "never-ready" } else { "ready" };
        let annotation = format!("{}behavior", testbed::ANNOTATION_PREFIX);
        gate["spec"]["template"]["metadata"]["annotations"] = json!({annotation: behavior});
        text.push_str(&format!("---\n{gate}\n"));
        text
    }
}

impl Drop for Definitions<'_> {
    fn drop(&mut self) {
        for kind in ["Widget", "Loose"] {
            let name = format!("{}.{}", plural(kind), self.group);
            drop(self.stage.namespace.kubectl([
                "delete",
                "crd",
                &name,
                "--wait=false",
                "--ignore-not-found",
            ]));
        }
    }
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

/// Without pods, so that nothing happens but what Helm does.
fn deployment(kind: &str, name: &str, content: Value) -> Value {
    let mut container = json!({"name": "c", "image": "c:1"});
    let mut pod = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let mut spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": name}}});
    let part = match kind {
        "Container" => &mut container,
        "Pod" => &mut pod,
        _ => &mut spec,
    };
    part.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
    pod["containers"] = json!([container]);
    spec["template"] = json!({"metadata": {"labels": {"app": name}}, "spec": pod});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": spec})
}

/// What holds Helm before it applies anything.
const HOOK: &str = r#"---
apiVersion: batch/v1
kind: Job
metadata: {name: hold, annotations: {helm.sh/hook: pre-upgrade}}
spec:
  template:
    metadata: {annotations: {testbed.helm-guard.dev/run-for: 600s}}
    spec: {restartPolicy: Never, containers: [{name: c, image: 'c:1'}]}
"#;

fn helm(stage: &Stage, manifest: &str, more: &[&str]) -> Command {
    let chart: PathBuf = chart(stage, manifest);
    let mut helm = Command::new(&stage.helm);
    helm.args(["upgrade", "web", "--install"]).arg(chart).args([UNVALIDATED]).args(more);
    helm.env("KUBECONFIG", stage.namespace.kubeconfig()).env("HOME", stage.temporary.path());
    helm.stdin(Stdio::null());
    helm
}

/// Everything about the objects that a revision decides.
fn living(stage: &Stage, group: &str) -> BTreeMap<String, Value> {
    let kinds = format!("deployments,services,poddisruptionbudgets,widgets.{group},looses.{group}");
    let list = stage.namespace.kubectl_json(["get", &kinds]).unwrap();
    let account = stage.namespace.kubectl_json(["get", "serviceaccount", "account"]).unwrap();
    let items = list["items"].as_array().unwrap().iter().chain([&account]);
    items
        .map(|item| {
            let name =
                format!("{}/{}", item["kind"].as_str().unwrap(), item["metadata"]["name"].as_str().unwrap());
            let mut object = item.clone();
            object["metadata"] = item["metadata"]["labels"].clone();
            object.as_object_mut().unwrap().remove("status");
            if item["kind"] == "Service" {
                for name in ["clusterIP", "clusterIPs"] {
                    object["spec"].as_object_mut().unwrap().remove(name);
                }
            }
            (name, object)
        })
        .collect()
}

/// Here Helm itself loses what the last manifest wants: of two ports of one number that become one it deletes both. A repair may
/// leave what a first install of that manifest leaves.
const LOST_BY_HELM: &str = "Deployment/protocol-is-tried";

/// The same three revisions, once all finished and once with the second one killed.
fn a_repair_leaves_what_a_clean_history_leaves(version: Helm, more: &[&str], is_applied: bool) {
    let stage = Stage::new("merged", version);
    let clean = Stage::new("clean", version);
    let definitions = Definitions::new(&stage);
    let is_server_side = more.contains(&"--server-side=true");
    let manifests = [0, 1, 2].map(|revision| definitions.manifest(revision, is_server_side));
    for manifest in &manifests {
        Stage::ok(helm(&clean, manifest, more));
    }

    Stage::ok(helm(&stage, &manifests[0], more));
    let (dead, sign) = if is_applied {
        (manifests[1].clone(), format!("widgets.{}", definitions.group))
    } else {
        (manifests[1].clone() + HOOK, "jobs".to_owned())
    };
    let mut helm = helm(&stage, &dead, more);
    helm.args(["--wait", "--timeout=300s"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = helm.spawn().unwrap();
    // Helm applies kinds that it does not know last, in the order of their names and of the manifest.
    let is_there = |object: &Value| {
        let name = &object["metadata"]["name"];
        *name == "hold" || (*name == "forth" && object["metadata"]["labels"]["revision"] == "1")
    };
    let seen = stage.namespace.watch_until([sign], Duration::from_secs(60), is_there).map(drop);
    kill(&mut child);
    seen.unwrap();

    let mut guard = deploy(&stage, &manifests[2], more);
    guard.arg(UNVALIDATED);
    let said = Stage::ok(guard);
    let (is, wanted) = (living(&stage, &definitions.group), living(&clean, &definitions.group));
    let mut other: Vec<_> = wanted.iter().filter(|(name, object)| is.get(*name) != Some(object)).collect();
    if other.iter().any(|(name, _)| *name == LOST_BY_HELM) {
        let first = Stage::new("first", version);
        Stage::ok(self::helm(&first, &manifests[2], more));
        let first = living(&first, &definitions.group);
        other.retain(|(name, _)| *name != LOST_BY_HELM || is.get(*name) != first.get(*name));
    }
    let differs: Vec<String> = other
        .into_iter()
        .map(|(name, object)| {
            let is = is.get(name).cloned().unwrap_or_default();
            let paths = differences(&is, object, "");
            format!("{name}:\n  {}", paths.join("\n  "))
        })
        .collect();
    assert!(differs.is_empty(), "{}\n{}", differs.join("\n"), said.err);
    assert_eq!(is.len(), wanted.len());
    stage.assert_deployed();
}

fn differences(is: &Value, wanted: &Value, path: &str) -> Vec<String> {
    match (is, wanted) {
        (Value::Object(is), Value::Object(wanted)) => {
            let names = is.keys().chain(wanted.keys().filter(|name| !is.contains_key(*name)));
            let value = |fields: &serde_json::Map<String, Value>, name: &str| {
                fields.get(name).cloned().unwrap_or_default()
            };
            names
                .flat_map(|name| {
                    differences(&value(is, name), &value(wanted, name), &format!("{path}.{name}"))
                })
                .collect()
        }
        (is, wanted) if is == wanted => Vec::new(),
        (is, wanted) => vec![format!("{path}: is {is}, not {wanted}")],
    }
}

/// The dead revision left `replicas` to an autoscaler, which has scaled since: a repair does not scale back to one.
fn what_was_scaled_after_the_death_stays(version: Helm) {
    let stage = Stage::new("scaled", version);
    let more: &[&str] = if version == Helm::V4 { &["--server-side=false"] } else { &[] };
    let web = |replicas: Option<u32>, behavior: &str| {
        let annotation = format!("{}behavior", testbed::ANNOTATION_PREFIX);
        let mut object = deployment("Pod", "web", json!({}));
        object["metadata"]["name"] = "web".into();
        object["spec"]["template"]["metadata"]["annotations"] = json!({annotation: behavior});
        match replicas {
            Some(count) => object["spec"]["replicas"] = count.into(),
            None => drop(object["spec"].as_object_mut().unwrap().remove("replicas")),
        }
        object.to_string()
    };
    Stage::ok(helm(&stage, &web(Some(3), "ready"), more));
    let mut dying = helm(&stage, &web(None, "never-ready"), more);
    dying.args(["--wait", "--timeout=300s"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = dying.spawn().unwrap();
    let seen = stage.wait_for_unready(1);
    kill(&mut child);
    seen.unwrap();
    stage.namespace.kubectl(["scale", "deployment", "web", "--replicas=4"]).unwrap();

    let mut guard = deploy(&stage, &web(None, "ready"), more);
    guard.arg(UNVALIDATED);
    let said = Stage::ok(guard);
    let live = stage.namespace.kubectl_json(["get", "deployment", "web"]).unwrap();
    assert_eq!(live["spec"]["replicas"], 4, "{}", said.err);
    stage.assert_deployed();
}

crate::with_both_helms! { what_was_scaled_after_the_death_stays }

#[test]
fn helm3_killed_after_the_apply() {
    a_repair_leaves_what_a_clean_history_leaves(Helm::V3, &[], true);
}

#[test]
fn helm3_killed_before_the_apply() {
    a_repair_leaves_what_a_clean_history_leaves(Helm::V3, &[], false);
}

#[test]
fn helm4_client_side_killed_after_the_apply() {
    a_repair_leaves_what_a_clean_history_leaves(Helm::V4, &["--server-side=false"], true);
}

#[test]
fn helm4_client_side_killed_before_the_apply() {
    a_repair_leaves_what_a_clean_history_leaves(Helm::V4, &["--server-side=false"], false);
}

#[test]
fn helm4_server_side_killed_after_the_apply() {
    a_repair_leaves_what_a_clean_history_leaves(Helm::V4, &["--server-side=true"], true);
}
