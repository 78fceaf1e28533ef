//! Objects that the differential test's releases are made of. `NAMESPACE` in a text is the namespace of the side, `"PORT"` a
//! node port that no other side has.

use serde_json::{Value, json};

/// Kinds that belong to no namespace: their names have `NAMESPACE` in them, and they are deleted when a side ends.
pub const OF_THE_CLUSTER: [&str; 7] = [
    "ClusterRole",
    "CustomResourceDefinition",
    "Namespace",
    "PriorityClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

pub fn config(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": value}})
}

pub fn frozen(name: &str, value: &str) -> Value {
    let mut frozen = config(name, value);
    frozen["immutable"] = true.into();
    frozen
}

pub fn annotated(mut object: Value, name: &str, value: &str) -> Value {
    object["metadata"]["annotations"][name] = value.into();
    object
}

pub fn kept(object: Value) -> Value {
    annotated(object, "helm.sh/resource-policy", "keep")
}

pub fn service(name: &str, has_port: bool) -> Value {
    let mut spec =
        json!({"selector": {"app": name}, "type": "ClusterIP", "ports": [{"name": "http", "port": 80}]});
    if has_port {
        spec["type"] = "NodePort".into();
        spec["ports"][0]["nodePort"] = "PORT".into();
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

pub fn ingress(name: &str, path: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name},
        "spec": {"rules": [{"host": "example.com", "http": {"paths": [
            {"path": path, "pathType": "Prefix", "backend": {"service": {"name": "x", "port": {"number": 80}}}},
        ]}}]},
    })
}

pub fn claim(name: &str, size: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "kwok-volume", "resources": {"requests": {"storage": size}}},
    })
}

pub fn role(name: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": []})
}

pub fn binding(name: &str, role: &str, account: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "NAMESPACE"}],
    })
}

pub fn account(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
}

pub fn deployment(name: &str, label: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": label}},
            "template": {"metadata": {"labels": {"app": label}}, "spec": {"containers": [{"name": "c", "image": "example.com/c:1"}]}},
        },
    })
}

pub fn stateful_set(size: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db", "replicas": 1, "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "example.com/db:1"}]}},
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "kwok-volume", "resources": {"requests": {"storage": size}}},
            }],
        },
    })
}

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "example.com/c:1"}]},
    })
}

/// A Job whose pod runs so long, and fares so: `ready` ends well, `fail` does not.
pub fn job(name: &str, runs: &str, behavior: &str) -> Value {
    let annotations =
        json!({"testbed.helm-guard.dev/run-for": runs, "testbed.helm-guard.dev/behavior": behavior});
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {
            "metadata": {"annotations": annotations},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example.com/c:1"}]},
        }},
    })
}

pub fn hook(object: Value, events: &str) -> Value {
    annotated(object, "helm.sh/hook", events)
}

/// A CRD of the side's own group, `kind` such as `Widget`.
pub fn definition(kind: &str) -> Value {
    let singular = kind.to_lowercase();
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object", "required": ["size"],
        "properties": {"size": {"type": "integer", "maximum": 9}, "note": {"type": "string"}},
    }}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{singular}s.NAMESPACE.example.com")},
        "spec": {
            "group": "NAMESPACE.example.com", "scope": "Namespaced",
            "names": {"kind": kind, "plural": format!("{singular}s"), "singular": singular, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

pub fn custom(kind: &str, name: &str, size: &Value) -> Value {
    json!({"apiVersion": "NAMESPACE.example.com/v1", "kind": kind, "metadata": {"name": name}, "spec": {"size": size}})
}

pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}
