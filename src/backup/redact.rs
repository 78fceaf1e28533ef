//! A record's body without what is secret: the values that somebody gave, what Secrets hold, and every other place where
//! one of them stands. Pure.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::manifest::Manifest;

/// What stands in place of a secret.
pub const GONE: &str = "[redacted]";

/// A text as short as this is no secret by itself: it would be found everywhere.
const SHORT: usize = 4;

/// The body without secrets. The chart is left out but for its name and version: it is in its repository, and its default
/// values are anybody's guess.
pub fn body(mut body: Value, namespace: &str) -> Value {
    let mut secrets = BTreeSet::new();
    leaves(&body["config"], &mut |leaf| add(&mut secrets, leaf));
    let manifests = texts(&mut body);
    let parsed: Vec<Option<Manifest>> =
        manifests.into_iter().map(|text| Manifest::parse(text, namespace).ok()).collect();
    for (_, object) in parsed.iter().flatten().flat_map(|manifest| &manifest.objects) {
        of_secret(object, &mut secrets);
    }
    let mut parsed = parsed.into_iter();
    for text in texts(&mut body) {
        *text = match parsed.next().flatten() {
            Some(mut manifest) => {
                manifest.objects.iter_mut().for_each(|(_, object)| hide_in_object(object, &secrets));
                manifest.text()
            }
            // Nobody knows what is in it.
            None => GONE.to_owned(),
        };
    }
    let Some(fields) = body.as_object_mut() else { return Value::Null };
    for (name, value) in fields {
        match name.as_str() {
            "config" => replace(value),
            "chart" => *value = serde_json::json!({ "metadata": value["metadata"].take() }),
            // Done above.
            "manifest" | "name" | "namespace" => {}
            _ => hide(value, &secrets),
        }
    }
    body
}

/// The manifests in a body: its own, and those of hooks.
fn texts(body: &mut Value) -> Vec<&mut String> {
    let Some(fields) = body.as_object_mut() else { return Vec::new() };
    let mut found = Vec::new();
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("manifest", Value::String(text)) => found.push(text),
            ("hooks", Value::Array(hooks)) => {
                for hook in hooks {
                    if let Some(Value::String(text)) = hook.get_mut("manifest") {
                        found.push(text);
                    }
                }
            }
            _ => {}
        }
    }
    found
}

fn leaves(value: &Value, found: &mut impl FnMut(&Value)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| leaves(field, found)),
        leaf => found(leaf),
    }
}

/// A text, or a number that somebody may have typed as one, as it may stand elsewhere: plain or encoded.
fn add(secrets: &mut BTreeSet<String>, leaf: &Value) {
    let text = match leaf {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return,
    };
    if !text.is_empty() {
        secrets.insert(STANDARD.encode(&text));
        secrets.insert(text);
    }
}

/// What a Secret holds. A record of Helm's is none of them.
fn of_secret(object: &Value, secrets: &mut BTreeSet<String>) {
    if object["kind"] != "Secret" {
        return;
    }
    leaves(&object["stringData"], &mut |leaf| add(secrets, leaf));
    leaves(&object["data"], &mut |leaf| {
        let plain = leaf.as_str().and_then(|text| STANDARD.decode(text.trim()).ok());
        if let Some(text) = plain.and_then(|bytes| String::from_utf8(bytes).ok()) {
            add(secrets, &Value::String(text));
        }
        add(secrets, leaf);
    });
}

/// An object of a manifest. What it is stays: its kind and its name.
fn hide_in_object(object: &mut Value, secrets: &BTreeSet<String>) {
    let is_secret = object["kind"] == "Secret";
    let Some(fields) = object.as_object_mut() else { return };
    for (name, value) in fields {
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "data" | "stringData" if is_secret => replace(value),
            "metadata" => {
                let kept = ["name", "namespace"].map(|name| (name, value[name].clone()));
                hide(value, secrets);
                for (name, kept) in kept.into_iter().filter(|(_, kept)| !kept.is_null()) {
                    value[name] = kept;
                }
            }
            _ => hide(value, secrets),
        }
    }
}

/// Every leaf in which a secret stands.
fn hide(value: &mut Value, secrets: &BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, secrets)),
        Value::Object(fields) => fields.values_mut().for_each(|field| hide(field, secrets)),
        Value::String(text) if is_told(text, secrets) => *value = Value::String(GONE.to_owned()),
        Value::Number(number) if is_told(&number.to_string(), secrets) => {
            *value = Value::String(GONE.to_owned());
        }
        _ => {}
    }
}

fn is_told(text: &str, secrets: &BTreeSet<String>) -> bool {
    secrets.iter().any(|secret| secret.len() >= SHORT && text.contains(secret.as_str()))
}

/// Every leaf there is.
fn replace(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(replace),
        Value::Object(fields) => fields.values_mut().for_each(replace),
        Value::Null => {}
        leaf => *leaf = Value::String(GONE.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted() -> (String, Value) {
        let manifest = "kind: Secret\napiVersion: v1\nmetadata: {name: web}\ndata: {password: Z2VuZXJhdGVk}\n\
            ---\nkind: Deployment\napiVersion: apps/v1\nmetadata: {name: web, annotations: {note: a canary1 here}}\n\
            spec: {replicas: 2, env: [{name: A, value: generated}, {name: B, value: Y2FuYXJ5MQ==}, {name: C, value: fine}]}\n";
        let body = serde_json::json!({
            "name": "web", "version": 3, "namespace": "shop", "manifest": manifest,
            "info": {"status": "deployed", "description": "Upgrade complete", "notes": "the password is canary1"},
            "chart": {"metadata": {"name": "web", "version": "1.0.0"}, "values": {"secret": "default1"}},
            "config": {"token": "canary1", "pin": 20_261_122, "replicas": 2, "list": [true, {"deep": "canary2"}]},
            "hooks": [
                {"name": "migrate", "kind": "Job", "manifest": "kind: Job\nmetadata: {name: migrate}\nspec: {arg: 20261122}\n"},
                {"name": "odd", "kind": "Job", "manifest": ": canary2"},
            ],
            "later": {"field": "canary2 too", "kept": "yes"},
        });
        let body = super::body(body, "shop");
        (body.to_string(), body)
    }

    #[test]
    fn no_secret_is_left_wherever_it_stands() {
        let (text, _) = redacted();
        for secret in ["canary", "Y2FuYXJ5", "generated", "Z2VuZXJhdGVk", "20261122", "default1"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }

    #[test]
    fn what_the_release_was_can_still_be_told() {
        let (_, body) = redacted();
        assert_eq!((&body["version"], &body["info"]["status"]), (&3.into(), &"deployed".into()));
        assert_eq!(body["chart"], serde_json::json!({"metadata": {"name": "web", "version": "1.0.0"}}));
        assert_eq!(body["config"]["list"][1]["deep"], GONE);
        let manifest = Manifest::parse(body["manifest"].as_str().unwrap(), "shop").unwrap();
        let names: Vec<String> = manifest.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["Secret/web", "Deployment/web"]);
        let spec = &manifest.objects[1].1["spec"];
        assert_eq!((&spec["replicas"], &spec["env"][2]["value"]), (&2.into(), &"fine".into()));
        assert_eq!(body["hooks"][1]["manifest"], GONE, "what is no YAML may be anything");
        assert_eq!(body["later"], serde_json::json!({"field": GONE, "kept": "yes"}));
    }
}
