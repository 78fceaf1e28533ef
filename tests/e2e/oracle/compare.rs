//! What lives, without what differs from cluster to cluster and from run to run; and how two such pictures differ.
//! Pure: who asks the cluster is `sides.rs`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// `kind/name` to the object.
pub type Picture = BTreeMap<String, Value>;

/// Of metadata: who wrote it when, and where.
const OWN: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "namespace",
    "ownerReferences",
];
/// Annotations of controllers.
const CONTROLLERS: [&str; 2] =
    ["deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation"];
/// What the API server allocates for a Service.
const ALLOCATED: [&str; 3] = ["clusterIP", "clusterIPs", "healthCheckNodePort"];

/// A picture of the items of a list, and the UID of each.
pub fn picture(list: &Value, namespace: &str) -> (Picture, BTreeMap<String, String>) {
    let (mut picture, mut uids) = (Picture::new(), BTreeMap::new());
    for item in list["items"].as_array().unwrap() {
        let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let is_own = !["kube-root-ca.crt", "default"].contains(&name)
            && text("/type") != "helm.sh/release.v1"
            && item["metadata"]["deletionTimestamp"].is_null();
        if !is_own {
            continue;
        }
        let key = format!("{kind}/{name}");
        uids.insert(key.clone(), text("/metadata/uid").to_owned());
        picture.insert(key, plain(item, namespace));
    }
    (picture, uids)
}

fn plain(item: &Value, namespace: &str) -> Value {
    let text = item.to_string().replace(namespace, "[NAMESPACE]");
    let mut item: Value = serde_json::from_str(&text).unwrap();
    let without = |value: Option<&mut Value>, names: &[&str]| {
        if let Some(map) = value.and_then(Value::as_object_mut) {
            map.retain(|name, _| !names.contains(&name.as_str()));
        }
    };
    without(Some(&mut item), &["status"]);
    without(item.get_mut("metadata"), &OWN);
    without(item.pointer_mut("/metadata/annotations"), &CONTROLLERS);
    if item["kind"] == "Service" {
        without(item.get_mut("spec"), &ALLOCATED);
        for port in item["spec"]["ports"].as_array_mut().into_iter().flatten() {
            without(Some(port), &["nodePort"]);
        }
    }
    item
}

/// Names of the objects that are not the same in both.
pub fn differing(one: &Picture, other: &Picture) -> BTreeSet<String> {
    one.keys().chain(other.keys()).filter(|name| one.get(*name) != other.get(*name)).cloned().collect()
}

/// Where two objects differ.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference<'a> {
    pub path: String,
    pub clean: Option<&'a Value>,
    pub repaired: Option<&'a Value>,
}

/// All differences of two objects.
pub fn differences<'a>(clean: Option<&'a Value>, repaired: Option<&'a Value>) -> Vec<Difference<'a>> {
    let mut found = Vec::new();
    compare("", clean, repaired, &mut found);
    found
}

fn compare<'a>(
    path: &str,
    clean: Option<&'a Value>,
    repaired: Option<&'a Value>,
    found: &mut Vec<Difference<'a>>,
) {
    if clean == repaired {
        return;
    }
    match (clean, repaired) {
        (Some(Value::Object(clean)), Some(Value::Object(repaired))) => {
            let names: BTreeSet<&String> = clean.keys().chain(repaired.keys()).collect();
            for name in names {
                compare(&format!("{path}/{}", escaped(name)), clean.get(name), repaired.get(name), found);
            }
        }
        // Another list is told whole: its order and its other items matter.
        (Some(Value::Array(clean)), Some(Value::Array(repaired)))
            if clean.len() == repaired.len() && clean.iter().all(|item| item.get("image").is_some()) =>
        {
            for (at, (clean, repaired)) in clean.iter().zip(repaired).enumerate() {
                compare(&format!("{path}/{at}"), Some(clean), Some(repaired), found);
            }
        }
        _ => found.push(Difference { path: path.to_owned(), clean, repaired }),
    }
}

/// As a part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_namespace_and_a_cluster_make_of_an_object_is_no_difference_and_all_else_is() {
        let service = |uid: &str, namespace: &str, port: u16, more: &Value| {
            let metadata = json!({
                "name": "a", "namespace": namespace, "uid": uid, "resourceVersion": uid, "generation": 3,
                "annotations": {"meta.helm.sh/release-namespace": namespace, "own": more},
            });
            let spec =
                json!({"clusterIP": uid, "clusterIPs": [uid], "ports": [{"port": 80, "nodePort": port}]});
            let item = json!({"kind": "Service", "metadata": metadata, "spec": spec, "status": {"a": uid}});
            picture(&json!({"items": [item]}), namespace).0
        };
        let one = service("1", "ns-1", 30_000, &json!("x"));
        assert!(differing(&one, &service("2", "ns-2", 30_001, &json!("x"))).is_empty());
        let other = service("1", "ns-1", 30_000, &json!("y"));
        assert_eq!(differing(&one, &other), ["Service/a".to_owned()].into());
        let found = differences(one.get("Service/a"), other.get("Service/a"));
        let [found] = &found[..] else { panic!("{found:?}") };
        assert_eq!(found.path, "/metadata/annotations/own");
        assert_eq!((found.clean, found.repaired), (Some(&json!("x")), Some(&json!("y"))));
        assert_eq!(differences(one.get("Service/a"), None).len(), 1);
    }

    #[test]
    fn order_and_length_of_a_list_count() {
        let paths = |one: Value, other: Value| -> Vec<String> {
            differences(Some(&one), Some(&other)).into_iter().map(|found| found.path).collect()
        };
        assert_eq!(paths(json!({"a": [1, 2]}), json!({"a": [2, 1]})), ["/a"]);
        let containers = |args: u8| json!([{"image": "a"}, {"image": "b", "args": args}]);
        assert_eq!(paths(containers(1), containers(2)), ["/1/args"]);
        assert_eq!(paths(json!({"a": [1]}), json!({"a": [1, 2]})), ["/a"]);
        assert_eq!(paths(json!({"a/b": 1, "b": null}), json!({"b": 1})), ["/a~1b", "/b"]);
    }

    #[test]
    fn what_is_deleted_and_what_every_namespace_has_is_not_in_a_picture() {
        let item = |name: &str, deleted: Value| json!({"kind": "ConfigMap", "metadata": {"name": name, "deletionTimestamp": deleted}});
        let list = json!({"items": [item("kube-root-ca.crt", Value::Null), item("a", json!("now")), item("b", Value::Null)]});
        assert_eq!(picture(&list, "ns").0.into_keys().collect::<Vec<_>>(), ["ConfigMap/b"]);
    }
}
