//! The API server's words as they may be shown: it quotes values, and some of them are secret.
//! Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    manifest::{Manifest, ObjectKey},
    report::text::shorten,
};

/// Texts that must not be seen: what Secrets hold, and what is put into the environment of containers.
pub(super) fn secrets_of(manifest: &Manifest) -> BTreeSet<String> {
    fn environment(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, inner) in fields {
                    match inner.as_array().filter(|_| name == "env") {
                        Some(list) => found
                            .extend(list.iter().filter_map(|item| item["value"].as_str()).map(str::to_owned)),
                        None => environment(inner, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| environment(item, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    for (key, object) in &manifest.objects {
        if matches!(key.kind.as_str(), "Secret" | "ConfigMap") {
            let maps = ["data", "stringData"].into_iter().filter_map(|name| object[name].as_object());
            found.extend(maps.flat_map(|map| map.values()).filter_map(Value::as_str).map(str::to_owned));
        } else {
            environment(object, &mut found);
        }
    }
    // Shorter ones say nothing, and are in every text.
    found.retain(|text| text.len() >= 5);
    found
}

pub(super) fn redacted(text: &str, secrets: &BTreeSet<String>) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| {
        if text.contains(secret.as_str()) { text.replace(secret.as_str(), "(hidden)") } else { text }
    })
}

/// The API server's words without what it quotes at length, and without what must not be seen.
pub(super) fn said(message: &str, key: &ObjectKey, secrets: &BTreeSet<String>) -> String {
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
    shorten(&redacted(&out, secrets), 500)
}
