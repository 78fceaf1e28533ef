//! A record's body without what is secret: the values that somebody gave, what Secrets hold, and every other place where
//! one of them stands. Pure.

use serde_json::{Map, Value};

use crate::{
    manifest::Manifest,
    redact::{MASK, Redactor, Secrets},
};

/// The body without secrets. The chart is left out but for its name and version: it is in its repository, and its default
/// values are anybody's guess.
pub fn body(mut body: Value, namespace: &str) -> Value {
    let mut secrets = Secrets::default();
    secrets.add_all(&body["config"]);
    let manifests = texts(&mut body);
    let parsed: Vec<Option<Manifest>> =
        manifests.into_iter().map(|text| Manifest::parse(text, namespace).ok()).collect();
    for (_, object) in parsed.iter().flatten().flat_map(|manifest| &manifest.objects) {
        if object["kind"] == "Secret" {
            secrets.add_object(object);
            // As it stands too.
            secrets.add_all(&object["data"]);
        }
    }
    let secrets = secrets.redactor();
    let mut parsed = parsed.into_iter();
    for text in texts(&mut body) {
        *text = match parsed.next().flatten() {
            Some(mut manifest) => {
                manifest.objects.iter_mut().for_each(|(_, object)| hide_in_object(object, &secrets));
                manifest.text()
            }
            // Nobody knows what is in it.
            None => MASK.to_owned(),
        };
    }
    let Some(fields) = body.as_object_mut() else { return Value::Null };
    for (name, value) in fields {
        match name.as_str() {
            "config" => replace(value, &secrets),
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

/// An object of a manifest. What it is stays: its kind and its name.
fn hide_in_object(object: &mut Value, secrets: &Redactor) {
    let is_secret = object["kind"] == "Secret";
    let Some(fields) = object.as_object_mut() else { return };
    for (name, value) in fields {
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "data" | "stringData" if is_secret => replace(value, secrets),
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

/// Every leaf and every key in which a secret stands.
fn hide(value: &mut Value, secrets: &Redactor) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, secrets)),
        Value::Object(fields) => {
            hide_keys(fields, secrets);
            fields.values_mut().for_each(|field| hide(field, secrets));
        }
        Value::String(text) if secrets.finds(text) => *value = Value::String(MASK.to_owned()),
        Value::Number(number) if secrets.finds(&number.to_string()) => {
            *value = Value::String(MASK.to_owned());
        }
        _ => {}
    }
}

/// Every leaf there is, and every key in which a secret stands.
fn replace(value: &mut Value, secrets: &Redactor) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, secrets)),
        Value::Object(fields) => {
            hide_keys(fields, secrets);
            fields.values_mut().for_each(|field| replace(field, secrets));
        }
        Value::Null => {}
        leaf => *leaf = Value::String(MASK.to_owned()),
    }
}

/// Keys stay apart from each other.
fn hide_keys(fields: &mut Map<String, Value>, secrets: &Redactor) {
    if !fields.keys().any(|key| secrets.finds(key)) {
        return;
    }
    let mut count = 0;
    for (key, value) in std::mem::take(fields) {
        let key = if secrets.finds(&key) {
            count += 1;
            if count == 1 { MASK.to_owned() } else { format!("{MASK} {count}") }
        } else {
            key
        };
        fields.insert(key, value);
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
            "later": {"field": "canary2 too", "kept": "yes", "of canary2": {"canary2": 1}},
            "urls": ["https://h/?q=c%61nary2", "dXNlcjpjYW5hcnky", "63616e61727932", {"user:canary2": "kept too"}],
        });
        let body = super::body(body, "shop");
        (body.to_string(), body)
    }

    #[test]
    fn no_secret_is_left_wherever_it_stands() {
        let (text, _) = redacted();
        for secret in [
            "canary",
            "Y2FuYXJ5",
            "c%61nary",
            "jYW5hcnky",
            "63616e6172",
            "generated",
            "Z2VuZXJhdGVk",
            "20261122",
            "default1",
        ] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }

    #[test]
    fn what_the_release_was_can_still_be_told() {
        let (_, body) = redacted();
        assert_eq!((&body["version"], &body["info"]["status"]), (&3.into(), &"deployed".into()));
        assert_eq!(body["chart"], serde_json::json!({"metadata": {"name": "web", "version": "1.0.0"}}));
        assert_eq!(body["config"]["list"][1]["deep"], MASK);
        let manifest = Manifest::parse(body["manifest"].as_str().unwrap(), "shop").unwrap();
        let names: Vec<String> = manifest.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["Secret/web", "Deployment/web"]);
        let spec = &manifest.objects[1].1["spec"];
        assert_eq!((&spec["replicas"], &spec["env"][2]["value"]), (&2.into(), &"fine".into()));
        assert_eq!(body["hooks"][1]["manifest"], MASK, "what is no YAML may be anything");
        assert_eq!(body["later"], serde_json::json!({"field": MASK, "kept": "yes", MASK: {MASK: 1}}));
        assert_eq!(body["urls"], serde_json::json!([MASK, MASK, MASK, {MASK: "kept too"}]));
    }
}
