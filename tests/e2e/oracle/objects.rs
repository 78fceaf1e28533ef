//! Random objects of many kinds: as the first revision has them, and made another by each that follows.

use serde_json::{Value, json};

use super::{
    draws::{
        by_name, daemon_strategy, data, free, ingress_rules, ingress_tls, metrics, network_rules, role_rules,
        service_ports, set_strategy, strategy, subjects, widget_items,
    },
    fields::{Draw, Rules, map, mutate, texts},
    pods::{named, pod},
    rng::Rng,
};

/// Group of the custom resource.
pub const GROUP: &str = "oracle.helm-guard.example";

/// A kind of object.
#[derive(Debug)]
pub struct Sort {
    pub kind: &'static str,
    pub resource: &'static str,
    /// What never changes.
    skeleton: fn(&str) -> Value,
    fields: &'static [(&'static str, Draw)],
    /// Where the pod template is.
    template: Option<&'static str>,
}

/// Fields of every object.
const METADATA: &[(&str, Draw)] = &[
    ("/metadata/labels", |rng, _| map(rng, &["tier", "team", "app"], &["a", "b"])),
    ("/metadata/annotations", annotations),
];

fn annotations(rng: &mut Rng, _: Rules) -> Option<Value> {
    if rng.chance(5) {
        return Some(Value::Null);
    }
    let mut map = map(rng, &["note", "example.com/owner", "empty"], &["1", "", "true"]);
    if rng.chance(8) {
        map.get_or_insert_with(|| json!({}))["helm.sh/resource-policy"] = "keep".into();
    }
    map
}

fn basic(api: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}})
}

fn with(mut object: Value, spec: &Value) -> Value {
    let fields = spec.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(fields);
    object
}

fn workload(kind: &str, name: &str, more: &Value) -> Value {
    let spec = json!({"selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}}, "spec": {}}});
    with(basic("apps/v1", kind, name), &json!({"spec": with(spec, more)}))
}

type Fields = &'static [(&'static str, Draw)];

const DEPLOYMENT: Fields = &[
    ("/spec/replicas", |rng, rules| Some(json!(0)).filter(|_| !rules.pods || rng.chance(75))),
    ("/spec/strategy", strategy),
    ("/spec/minReadySeconds", |rng, _| rng.pick(&[None, Some(json!(1))])),
    ("/spec/revisionHistoryLimit", |rng, _| rng.pick(&[None, Some(json!(2)), Some(json!(0))])),
    ("/spec/progressDeadlineSeconds", |rng, _| rng.pick(&[None, Some(json!(100))])),
    ("/spec/template/metadata/annotations", |rng, _| map(rng, &["checksum", "note"], &["1", "2"])),
];
const STATEFUL_SET: Fields = &[
    ("/spec/updateStrategy", set_strategy),
    ("/spec/template/metadata/annotations", |rng, _| map(rng, &["checksum", "note"], &["1", "2"])),
    ("/spec/persistentVolumeClaimRetentionPolicy", |rng, _| {
        rng.pick(&[None, Some(json!({"whenDeleted": "Delete"})), Some(json!({"whenScaled": "Delete"}))])
    }),
];
const DAEMON_SET: Fields = &[
    ("/spec/updateStrategy", daemon_strategy),
    ("/spec/template/metadata/labels/more", |rng, _| rng.pick(&[None, Some(json!("a"))])),
];
const CRON_JOB: Fields = &[
    ("/spec/schedule", |rng, _| Some(rng.pick(&[json!("0 0 1 1 *"), json!("5 0 1 1 *")]))),
    ("/spec/concurrencyPolicy", |rng, _| rng.pick(&[None, Some(json!("Forbid"))])),
    ("/spec/jobTemplate/spec/backoffLimit", |rng, _| rng.pick(&[None, Some(json!(1))])),
    ("/spec/timeZone", |rng, _| rng.pick(&[None, Some(json!("Etc/UTC"))])),
];
const CONFIG_MAP: Fields =
    &[("/data", data), ("/binaryData", |rng, _| map(rng, &["bin", "blob"], &["AAAA", "AQID"]))];
const SECRET: Fields = &[
    ("/data", |rng, _| map(rng, &["user", "token"], &["YQ==", "Yg=="])),
    ("/stringData", |rng, _| if rng.chance(70) { None } else { map(rng, &["text"], &["1", "2"]) }),
];
const SERVICE: Fields = &[
    ("/spec/ports", service_ports),
    ("/spec/selector", |rng, _| map(rng, &["app", "tier"], &["a", "b"])),
    ("/spec/sessionAffinity", |rng, _| rng.pick(&[None, Some(json!("ClientIP")), Some(json!("None"))])),
    ("/spec/externalIPs", |rng, _| texts(rng, &["10.9.0.1", "10.9.0.2"])),
    ("/spec/publishNotReadyAddresses", |rng, _| rng.pick(&[None, Some(json!(true))])),
];
const INGRESS: Fields = &[
    ("/spec/rules", ingress_rules),
    ("/spec/tls", ingress_tls),
    ("/spec/ingressClassName", |rng, _| rng.pick(&[None, Some(json!("one")), Some(json!("two"))])),
];
const ROLE: Fields = &[("/rules", role_rules)];
const BINDING: Fields = &[("/subjects", subjects)];
const AUTOSCALER: Fields = &[
    ("/spec/metrics", metrics),
    ("/spec/minReplicas", |rng, _| rng.pick(&[None, Some(json!(2))])),
    ("/spec/behavior", |rng, _| {
        rng.pick(&[None, Some(json!({"scaleDown": {"stabilizationWindowSeconds": 60}}))])
    }),
];
const ACCOUNT: Fields = &[
    ("/imagePullSecrets", |rng, rules| named(rng, rules, &["pull-a", "pull-b", "pull-c"])),
    ("/secrets", |rng, rules| named(rng, Rules { duplicates: false, ..rules }, &["one", "two"])),
    ("/automountServiceAccountToken", |rng, _| rng.pick(&[None, Some(json!(false)), Some(json!(true))])),
];
const POLICY: Fields = &[
    ("/spec/ingress", network_rules),
    ("/spec/podSelector", |rng, _| Some(rng.pick(&[json!({}), json!({"matchLabels": {"app": "a"}})]))),
    ("/spec/policyTypes", |rng, _| texts(rng, &["Ingress", "Egress"])),
];
const BUDGET: Fields = &[("/spec", |rng, _| {
    let selector = json!({"matchLabels": {"app": rng.pick(&["a", "b"])}});
    Some(rng.pick(&[
        json!({"selector": selector, "minAvailable": 1}),
        json!({"selector": selector, "maxUnavailable": "50%"}),
        json!({"selector": selector, "maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}),
    ]))
})];
const WIDGET: Fields = &[
    ("/spec/text", |rng, _| rng.pick(&[None, Some(json!("a")), Some(json!("b")), Some(json!(""))])),
    ("/spec/number", |rng, _| rng.pick(&[None, Some(json!(0)), Some(json!(7))])),
    ("/spec/map", |rng, _| map(rng, &["a", "b", "c"], &["1", "2"])),
    ("/spec/items", widget_items),
    ("/spec/byName", by_name),
    ("/spec/set", |rng, _| texts(rng, &["a", "b", "c"])),
    ("/spec/free", free),
];

/// All kinds.
pub const SORTS: &[Sort] = &[
    Sort {
        kind: "Deployment",
        resource: "deployments.apps",
        skeleton: |name| workload("Deployment", name, &json!({"replicas": 0})),
        fields: DEPLOYMENT,
        template: Some("/spec/template/spec"),
    },
    // All lists of a pod, and no controller that makes anything of it.
    Sort {
        kind: "PodTemplate",
        resource: "podtemplates",
        skeleton: |name| {
            let template = json!({"template": {"metadata": {"labels": {"app": name}}, "spec": {}}});
            with(basic("v1", "PodTemplate", name), &template)
        },
        fields: &[],
        template: Some("/template/spec"),
    },
    Sort {
        kind: "StatefulSet",
        resource: "statefulsets.apps",
        skeleton: |name| workload("StatefulSet", name, &json!({"replicas": 0, "serviceName": "none"})),
        fields: STATEFUL_SET,
        template: Some("/spec/template/spec"),
    },
    Sort {
        kind: "DaemonSet",
        resource: "daemonsets.apps",
        // No node has it.
        skeleton: |name| {
            let mut set = workload("DaemonSet", name, &json!({}));
            set["spec"]["template"]["spec"] = json!({"nodeName": "no-such-node"});
            set
        },
        fields: DAEMON_SET,
        template: Some("/spec/template/spec"),
    },
    Sort {
        kind: "CronJob",
        resource: "cronjobs.batch",
        skeleton: |name| {
            let pod = json!({"restartPolicy": "OnFailure"});
            let spec = json!({"suspend": true, "schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": pod}}}});
            with(basic("batch/v1", "CronJob", name), &json!({"spec": spec}))
        },
        fields: CRON_JOB,
        template: Some("/spec/jobTemplate/spec/template/spec"),
    },
    simple("ConfigMap", "configmaps", |name| basic("v1", "ConfigMap", name), CONFIG_MAP),
    simple("Secret", "secrets", |name| basic("v1", "Secret", name), SECRET),
    simple(
        "Service",
        "services",
        |name| with(basic("v1", "Service", name), &json!({"spec": {"ports": [{"port": 80}]}})),
        SERVICE,
    ),
    simple(
        "Ingress",
        "ingresses.networking.k8s.io",
        |name| {
            let backend = json!({"service": {"name": "default", "port": {"number": 80}}});
            with(
                basic("networking.k8s.io/v1", "Ingress", name),
                &json!({"spec": {"defaultBackend": backend}}),
            )
        },
        INGRESS,
    ),
    simple(
        "Role",
        "roles.rbac.authorization.k8s.io",
        |name| basic("rbac.authorization.k8s.io/v1", "Role", name),
        ROLE,
    ),
    simple(
        "RoleBinding",
        "rolebindings.rbac.authorization.k8s.io",
        |name| {
            let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one"});
            with(basic("rbac.authorization.k8s.io/v1", "RoleBinding", name), &json!({"roleRef": role}))
        },
        BINDING,
    ),
    simple(
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers.autoscaling",
        |name| {
            let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "nothing"});
            let spec = json!({"spec": {"scaleTargetRef": target, "maxReplicas": 5}});
            with(basic("autoscaling/v2", "HorizontalPodAutoscaler", name), &spec)
        },
        AUTOSCALER,
    ),
    simple("ServiceAccount", "serviceaccounts", |name| basic("v1", "ServiceAccount", name), ACCOUNT),
    simple(
        "NetworkPolicy",
        "networkpolicies.networking.k8s.io",
        |name| {
            with(basic("networking.k8s.io/v1", "NetworkPolicy", name), &json!({"spec": {"podSelector": {}}}))
        },
        POLICY,
    ),
    simple(
        "PodDisruptionBudget",
        "poddisruptionbudgets.policy",
        |name| with(basic("policy/v1", "PodDisruptionBudget", name), &json!({"spec": {"minAvailable": 1}})),
        BUDGET,
    ),
    simple(
        "Widget",
        "widgets.oracle.helm-guard.example",
        |name| with(basic("oracle.helm-guard.example/v1", "Widget", name), &json!({"spec": {}})),
        WIDGET,
    ),
];

const fn simple(
    kind: &'static str,
    resource: &'static str,
    skeleton: fn(&str) -> Value,
    fields: Fields,
) -> Sort {
    Sort { kind, resource, skeleton, fields, template: None }
}

impl Sort {
    /// As the first revision has it.
    pub fn first(&self, rng: &mut Rng, rules: Rules, name: &str) -> Value {
        let mut object = (self.skeleton)(name);
        self.change(rng, rules, &mut object, 60);
        object
    }

    /// Makes another of it: each field is drawn anew with this probability.
    pub fn change(&self, rng: &mut Rng, rules: Rules, object: &mut Value, percent: usize) {
        mutate(rng, rules, object, METADATA, percent);
        mutate(rng, rules, object, self.fields, percent);
        if let Some(template) = self.template {
            pod(rng, rules, object.pointer_mut(template).unwrap(), percent);
        }
    }
}

/// The definition of the custom resource: a list of each way to merge it.
pub fn definition() -> Value {
    let text = json!({"type": "string"});
    let item = json!({"type": "object", "properties": {"name": text, "value": text, "tags": {"type": "array", "items": text}}});
    let mut keyed = item.clone();
    keyed["required"] = json!(["name"]);
    let spec = json!({"type": "object", "properties": {
        "text": text,
        "number": {"type": "integer"},
        "map": {"type": "object", "additionalProperties": text},
        "items": {"type": "array", "items": item},
        "byName": {"type": "array", "items": keyed, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{GROUP}")},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}
