//! Redacts messages of the API server, which quote values, some of them secret.
//! Pure.

use serde_json::Value;

use crate::{
    manifest::{Manifest, ObjectKey},
    redact::{Redactor, Secrets},
    text::shorten,
};

/// Texts that must not be seen: what Secrets and ConfigMaps hold, and what is put into the environment of containers.
pub(super) fn secrets_of(manifest: &Manifest) -> Redactor {
    fn environment(value: &Value, found: &mut Secrets) {
        match value {
            Value::Object(fields) => {
                for (name, inner) in fields {
                    match inner.as_array().filter(|_| name == "env") {
                        Some(list) => list.iter().for_each(|item| found.add_all(&item["value"])),
                        None => environment(inner, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| environment(item, found)),
            _ => {}
        }
    }
    let mut found = Secrets::default();
    for (key, object) in &manifest.objects {
        found.add_object(object);
        if matches!(key.kind.as_str(), "Secret" | "ConfigMap") {
            ["data", "stringData"].into_iter().for_each(|name| found.add_all(&object[name]));
        } else {
            environment(object, &mut found);
        }
    }
    found.redactor()
}

/// The API server's words without what it quotes at length, and without what must not be seen.
pub(super) fn said(message: &str, key: &ObjectKey, secrets: &Redactor) -> String {
    // It quotes values of a kind that it does not know as such.
    if key.kind == "Secret" && message.contains("alue: ") {
        return "the API server refuses a value of it, which is not shown".to_owned();
    }
    let line = message.split('\n').next().unwrap_or_default();
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = [rest.find("value: {"), rest.find("value: [")].into_iter().flatten().min() {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        out.push_str("value: …");
        let end = if after.contains("}: ") { "}: " } else { "]: " };
        rest = after.split_once(end).map_or("", |(_, rest)| rest);
        if !rest.is_empty() {
            out.push_str(": ");
        }
    }
    out.push_str(rest);
    shorten(&secrets.clean(&out), 500)
}
