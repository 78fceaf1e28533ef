//! Which fields of a release come out otherwise each time that its chart is rendered, and whether a refusal is about one of them.
//! Pure.
//!
//! A revision in a ConfigMap makes one field unknown, not the whole object: a refusal of another field is as certain as before.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ground;
use crate::cluster::raw_request::Refusal;
use crate::manifest::{Manifest, ObjectKey};

/// The fields that are not the same in two renderings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Varying(BTreeMap<ObjectKey, Fields>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fields {
    /// The object is in one of the renderings alone, as where its name varies.
    All,
    /// Paths. Of a list, only the path of the list: an item has no place of its own.
    At(Vec<Vec<String>>),
}

impl Varying {
    /// What varies of the objects of the first rendering.
    pub fn between<'a>(objects: impl IntoIterator<Item = &'a (ObjectKey, Value)>, again: &Manifest) -> Self {
        let varies = objects.into_iter().filter_map(|(key, object)| {
            let fields = match again.objects.iter().find(|(other, _)| other == key) {
                None => Fields::All,
                Some((_, other)) if other == object => return None,
                Some((_, other)) => {
                    let mut paths = Vec::new();
                    collect(object, other, &mut Vec::new(), &mut paths);
                    Fields::At(paths)
                }
            };
            Some((key.clone(), fields))
        });
        Self(varies.collect())
    }

    /// Is every object the same?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does it vary at all?
    pub fn has(&self, key: &ObjectKey) -> bool {
        self.0.contains_key(key)
    }

    /// Does the object vary in all that a refusal is about? `at_fault`: paths as the API server writes them. One that is the same
    /// in both renderings is refused whatever the others are. Without any path the whole object is meant.
    pub fn decides(&self, key: &ObjectKey, at_fault: &[String]) -> bool {
        match self.0.get(key) {
            None => false,
            Some(Fields::All) => true,
            Some(Fields::At(paths)) => at_fault.iter().all(|field| {
                let field = segments(field);
                paths.iter().any(|path| path.iter().zip(&field).all(|(one, other)| one == other))
            }),
        }
    }
}

fn collect(one: &Value, other: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let (Value::Object(one), Value::Object(other)) = (one, other) else {
        if one != other {
            found.push(path.clone());
        }
        return;
    };
    let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
    for name in names {
        let depth = path.len();
        path.extend(segments(name));
        let value = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
        collect(&value(one), &value(other), path, found);
        path.truncate(depth);
    }
}

/// The parts of a path such as `.spec.ports[0].port` or `data[a.b]`.
fn segments(path: &str) -> Vec<String> {
    let parts = path.split(['.', '[', ']', '"']);
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The paths that a refusal is about; none if it does not say.
pub(super) fn at_fault(key: &ObjectKey, refusal: &Refusal) -> Vec<String> {
    let message = refusal.message.as_str();
    let one = |path: &str| vec![path.to_owned()];
    if ground::lacks_right(refusal) {
        // Which rights are given away is in the object, else only which object it is counts.
        return match key.kind.as_str() {
            _ if !message.contains("attempting to grant") => one("metadata.name"),
            "Role" | "ClusterRole" => one("rules"),
            _ => one("roleRef"),
        };
    }
    if refusal.code == 404 && message.contains("namespaces \"") {
        return one("metadata.namespace");
    }
    if key.kind == "PersistentVolumeClaim" && message.contains("can be resized") {
        return one("spec.resources.requests");
    }
    let fields: Vec<String> = refusal
        .causes
        .iter()
        .filter(|cause| !cause.field.is_empty() && cause.field != "<nil>")
        .map(|cause| cause.field.clone())
        .collect();
    if fields.is_empty() { in_words(message).into_iter().collect() } else { fields }
}

/// The field that an error of types names: `unknown field "spec.x"`, `.spec.replicas: expected numeric`.
fn in_words(message: &str) -> Option<String> {
    if let Some((_, rest)) = message.split_once("unknown field \"") {
        return rest.split('"').next().map(str::to_owned);
    }
    let words = message.split_whitespace();
    let path = words.filter_map(|word| word.trim_start_matches('(').strip_suffix(':'));
    path.filter(|word| word.starts_with('.') && word.len() > 1).map(str::to_owned).next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::raw_request::Cause;

    fn key(kind: &str) -> ObjectKey {
        ObjectKey { api_version: "v1".into(), kind: kind.into(), namespace: "shop".into(), name: "x".into() }
    }

    #[test]
    fn only_what_touches_a_field_that_varies_is_unknown() {
        let object = json!({"metadata": {"name": "x", "labels": {"a.b/c": "1"}}, "data": {"revision": "1", "kept": "k"}, "list": [{"a": 1}, {"a": 2}]});
        let mut other = object.clone();
        other["data"]["revision"] = "2".into();
        other["list"][1]["a"] = 3.into();
        other["metadata"]["labels"]["a.b/c"] = "2".into();
        let again = Manifest { objects: vec![(key("ConfigMap"), other)] };
        let varying = Varying::between(&[(key("ConfigMap"), object), (key("Secret"), json!({}))], &again);
        for (what, fields, decides) in [
            ("another field", &["data[kept]"][..], false),
            ("a field of the same beginning", &["data.revisions"], false),
            ("the name", &["metadata.name"], false),
            ("the very field", &["data[revision]"], true),
            ("what is around it", &["data"], true),
            ("a label", &["metadata.labels"], true),
            ("an item of a list of which another varies", &["list[0].a"], true),
            ("two, of which one varies", &["data[revision]", "data[kept]"], false),
            ("two that vary", &["data[revision]", "list[1].a"], true),
            ("no field that is named", &[], true),
        ] {
            let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
            assert_eq!(varying.decides(&key("ConfigMap"), &fields), decides, "{what}");
        }
        assert!(
            varying.decides(&key("Secret"), &["metadata.name".to_owned()]),
            "one that is not rendered again"
        );
        assert!(!varying.decides(&key("Service"), &[]), "one that is the same");
    }

    #[test]
    fn the_field_of_a_refusal() {
        let cause = |field: &str| Cause { field: field.to_owned(), ..Cause::default() };
        for (kind, code, message, causes, fields) in [
            ("ConfigMap", 422, "Invalid value", &["metadata.name", "data[x]"][..], "metadata.name data[x]"),
            ("Pod", 400, "strict decoding error: unknown field \"spec.nonsense\"", &[], "spec.nonsense"),
            (
                "Pod",
                500,
                "failed to create typed patch object (n/x; v1, Kind=Pod): .spec.replicas: expected numeric (int or float), got string",
                &[],
                ".spec.replicas",
            ),
            ("Pod", 403, "User \"u\" cannot patch resource \"pods\" in API group \"\"", &[], "metadata.name"),
            ("Pod", 404, "namespaces \"n\" not found", &[], "metadata.namespace"),
            (
                "PersistentVolumeClaim",
                403,
                "only dynamically provisioned pvc can be resized",
                &[],
                "spec.resources.requests",
            ),
            ("Pod", 400, "json: cannot unmarshal string into Go struct field", &[], ""),
        ] {
            let causes = causes.iter().copied().map(cause).collect();
            let refusal = Refusal { code, message: message.to_owned(), causes, ..Refusal::default() };
            assert_eq!(at_fault(&key(kind), &refusal).join(" "), fields, "{message}");
        }
    }
}
