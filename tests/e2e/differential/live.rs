//! What lives in a namespace, and which records it has, in a form that is the same in any namespace.

use std::{collections::BTreeMap, io::Read};

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::read::GzDecoder;
use regex::Regex;
use serde_json::{Value, json};

/// Where the API has the kinds of the stories' objects.
const PLURALS: [(&str, &str, &str); 18] = [
    ("ConfigMap", "/api/v1", "configmaps"),
    ("Secret", "/api/v1", "secrets"),
    ("Service", "/api/v1", "services"),
    ("Pod", "/api/v1", "pods"),
    ("PersistentVolumeClaim", "/api/v1", "persistentvolumeclaims"),
    ("LimitRange", "/api/v1", "limitranges"),
    ("ResourceQuota", "/api/v1", "resourcequotas"),
    ("ServiceAccount", "/api/v1", "serviceaccounts"),
    ("Deployment", "/apis/apps/v1", "deployments"),
    ("StatefulSet", "/apis/apps/v1", "statefulsets"),
    ("Job", "/apis/batch/v1", "jobs"),
    ("Ingress", "/apis/networking.k8s.io/v1", "ingresses"),
    ("Role", "/apis/rbac.authorization.k8s.io/v1", "roles"),
    ("RoleBinding", "/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    ("PodDisruptionBudget", "/apis/policy/v1", "poddisruptionbudgets"),
    ("ClusterRole", "/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    ("PriorityClass", "/apis/scheduling.k8s.io/v1", "priorityclasses"),
    ("CustomResourceDefinition", "/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
];

/// Where to look for what a story may leave. `NAMESPACE` in a path is the side's.
pub fn paths(story: &super::story::Story) -> Vec<String> {
    let mut all: std::collections::BTreeSet<String> =
        ["configmaps", "secrets"].map(|kind| format!("/api/v1/namespaces/NAMESPACE/{kind}")).into();
    for object in story.part.objects() {
        let kind = object["kind"].as_str().unwrap_or("ConfigMap");
        let of_the_cluster = super::objects::OF_THE_CLUSTER.contains(&kind);
        let path = match PLURALS.iter().find(|(known, ..)| *known == kind) {
            Some((_, api, plural)) if of_the_cluster => {
                format!("{api}/{plural}/{}", object["metadata"]["name"].as_str().unwrap())
            }
            Some((_, api, plural)) => format!("{api}/namespaces/NAMESPACE/{plural}"),
            None if kind == "Namespace" => {
                // It is waited for where it is about to go.
                all.insert("/api/v1/namespaces/NAMESPACE-own".to_owned());
                "/api/v1/namespaces/NAMESPACE-own/configmaps".to_owned()
            }
            // What others put there is not changed by a release.
            None if of_the_cluster => continue,
            None => {
                let plural = kind.to_lowercase();
                format!("/apis/NAMESPACE.example.com/v1/namespaces/NAMESPACE/{plural}s")
            }
        };
        all.insert(path);
    }
    all.into_iter().collect()
}

/// What is there after a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// By `Kind/name`.
    pub objects: BTreeMap<String, Value>,
    /// By revision.
    pub records: BTreeMap<String, Value>,
    /// Is something about to go?
    pub goes: bool,
}

impl Live {
    /// `paths`: where to look; `port`: the side's node port.
    pub fn look(namespace: &testbed::Namespace<'_>, paths: &[String], port: u64) -> Self {
        let name = namespace.name();
        let items = paths.iter().flat_map(|path| {
            // Without its list of kinds `kubectl` is ten times as fast.
            let found = namespace.kubectl(["get", &format!("--raw={path}")]);
            list(&found.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
        });
        let mut live = Self::default();
        for item in items {
            if item["type"] == "helm.sh/release.v1" {
                let revision = item["metadata"]["labels"]["version"].as_str().unwrap().to_owned();
                live.records.insert(revision, record(&item, name, port));
            } else if !item["metadata"]["deletionTimestamp"].is_null() {
                live.goes = true;
            } else if !is_of_others(&item) {
                let text = |at: &str| item.pointer(at).unwrap().as_str().unwrap().to_owned();
                let key = format!("{}/{}", text("/kind"), text("/metadata/name")).replace(name, "NAMESPACE");
                live.objects.insert(key, plain(&item, name));
            }
        }
        live
    }

    /// Is there a revision that an upgrade can start from?
    pub fn is_deployed(&self) -> bool {
        self.records.values().any(|record| record["status"] == "deployed")
    }

    /// What is not the same in another place, with both.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let objects = differing(&self.objects, &other.objects);
        let records = differing(&self.records, &other.records);
        objects.into_iter().chain(records.into_iter().map(|one| format!("revision {one}"))).collect()
    }
}

/// The items of a list, each with the kind that the list has said, or the one object.
fn list(list: &Value) -> Vec<Value> {
    let Some(items) = list["items"].as_array() else {
        return if list["kind"].is_string() { vec![list.clone()] } else { Vec::new() };
    };
    let kind = list["kind"].as_str().unwrap_or_default().trim_end_matches("List");
    let with_kind = |item: &Value| {
        let mut item = item.clone();
        item["kind"] = kind.into();
        item["apiVersion"] = list["apiVersion"].clone();
        item
    };
    items.iter().map(with_kind).collect()
}

/// Is it made by controllers?
fn is_of_others(item: &Value) -> bool {
    let named = |kind: &str, name: &str| item["kind"] == kind && item["metadata"]["name"] == name;
    named("ConfigMap", "kube-root-ca.crt")
        || named("ServiceAccount", "default")
        || item["metadata"]["ownerReferences"].is_array()
        // It goes by itself some time after it has ended.
        || !item["spec"]["ttlSecondsAfterFinished"].is_null()
}

fn differing(one: &BTreeMap<String, Value>, other: &BTreeMap<String, Value>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let told = |object: Option<&Value>| object.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let differs = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
    differs
        .map(|name| match (one.get(name), other.get(name)) {
            (Some(one), Some(other)) => {
                let parts = fields(one, other, "");
                format!("{name}: {}", parts.join("; "))
            }
            (one, other) => format!("{name}: {} | {}", told(one), told(other)),
        })
        .collect()
}

/// Paths at which two values are not the same, with both values.
fn fields(one: &Value, other: &Value, path: &str) -> Vec<String> {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let differs = names.into_iter().filter(|name| a.get(*name) != b.get(*name));
            differs.flat_map(|name| fields(&one[name], &other[name], &format!("{path}/{name}"))).collect()
        }
        _ => vec![format!("{path}: {one} | {other}")],
    }
}

/// A text as it would be in any namespace.
fn anywhere(text: &str, namespace: &str) -> String {
    let made_up = Regex::new("rnd-[A-Za-z0-9]{8}").unwrap();
    made_up.replace_all(&text.replace(namespace, "NAMESPACE"), "rnd-").into_owned()
}

/// An object without what differs between two namespaces and from moment to moment.
fn plain(item: &Value, namespace: &str) -> Value {
    let mut object = item.clone();
    object.as_object_mut().unwrap().remove("status");
    let metadata = object["metadata"].as_object_mut().unwrap();
    let managers = metadata.remove("managedFields").unwrap_or_default();
    for name in ["uid", "resourceVersion", "creationTimestamp", "namespace", "generation"] {
        metadata.remove(name);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !name.contains("kubernetes.io/") || name.starts_with("app."));
    }
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.retain(|name, _| !name.ends_with("controller-uid"));
    }
    let kind = item["kind"].as_str().unwrap().to_owned();
    if kind == "Pod" || kind == "Namespace" {
        object.as_object_mut().unwrap().remove("spec");
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let volatile: &[&str] = match kind.as_str() {
            "Job" => &["selector", "template"],
            "Service" => &["clusterIP", "clusterIPs", "healthCheckNodePort"],
            "PersistentVolumeClaim" => &["volumeName"],
            _ => &[],
        };
        spec.retain(|name, _| !volatile.contains(&name.as_str()));
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            port.as_object_mut().unwrap().remove("nodePort");
        }
    }
    object["helm"] = of_helm(&managers);
    serde_json::from_str(&anywhere(&object.to_string(), namespace)).unwrap()
}

/// The fields that Helm owns, by operation.
fn of_helm(managers: &Value) -> Value {
    let all = managers.as_array().map_or(&[][..], Vec::as_slice);
    let own = all.iter().filter(|one| one["manager"] == "helm" && one["subresource"].is_null());
    let mut own: Vec<(String, &Value)> =
        own.map(|one| (one["operation"].to_string(), &one["fieldsV1"])).collect();
    own.sort_by(|one, other| one.0.cmp(&other.0));
    json!(own)
}

/// What of a record is the same in any namespace and at any time.
fn record(item: &Value, namespace: &str, port: u64) -> Value {
    let text = STANDARD.decode(item["data"]["release"].as_str().unwrap()).unwrap();
    let mut json = Vec::new();
    GzDecoder::new(&*STANDARD.decode(text).unwrap()).read_to_end(&mut json).unwrap();
    let release: Value = serde_json::from_slice(&json).unwrap();
    let hooks = release["hooks"].as_array().map_or(&[][..], Vec::as_slice);
    let record = json!({
        "status": item["metadata"]["labels"]["status"],
        "manifest": release["manifest"],
        "config": release["config"],
        "hooks": hooks.iter().map(|hook| json!([hook["manifest"], hook["last_run"]["phase"]])).collect::<Vec<_>>(),
        "applied": release["apply_method"],
    });
    let text = anywhere(&record.to_string(), namespace).replace(&port.to_string(), "PORT");
    serde_json::from_str(&text).unwrap()
}
