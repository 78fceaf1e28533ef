//! What is a secret: of values that were given, of objects, of whatever else is known not to be shown.
//! Pure.
//!
//! A value that a user gave can be anything, and to mask `1`, `true` or an image's tag would destroy what a message says. So:
//! what a Secret holds, and what is given under a telling key (`password`, `token`, …), is a secret from [`SHORTEST`] bytes on.
//! Another value is one if it looks like no word, number or name of Kubernetes' own ([`is_odd`]), and is not shown anyway: as
//! an object's name, as an image, as a host name.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{Redactor, SHORTEST};

/// A key with one of these in its name has a secret for a value.
const TELLING: [&str; 10] =
    ["pass", "pwd", "secret", "token", "key", "credential", "auth", "cert", "dsn", "connection"];

/// Keys whose values are names, whatever else their names say.
const NAMING: [&str; 6] =
    ["existingsecret", "secretname", "secretref", "imagepullsecrets", "existingsecretname", "issuer"];

/// Keys whose values are shown in the cluster, and are what an error is about.
const SHOWN: [&str; 19] = [
    "tag",
    "image",
    "repository",
    "registry",
    "name",
    "nameoverride",
    "fullnameoverride",
    "namespace",
    "version",
    "host",
    "hostname",
    "hosts",
    "path",
    "type",
    "class",
    "schedule",
    "size",
    "storage",
    "pullpolicy",
];

/// Words that a Secret may hold and that mean nothing by themselves.
const WORDS: [&str; 6] = ["true", "false", "null", "none", "default", "latest"];

/// Lines of a longer text shorter than this, bytes, are no secrets by themselves.
const LINE: usize = 8;

/// Secrets that are known so far.
#[derive(Clone, Default)]
pub struct Secrets {
    certain: BTreeSet<String>,
    /// By their looks alone.
    likely: BTreeSet<String>,
    /// Names of objects.
    names: BTreeSet<String>,
    /// Images and host names.
    shown: BTreeSet<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({} certain, {} likely)", self.certain.len(), self.likely.len())
    }
}

impl Secrets {
    /// A text that is certainly secret, and the secrets within it.
    pub fn add(&mut self, secret: &str) {
        self.add_within(secret, 3);
    }

    /// Every leaf of a value, a number too, is certainly secret.
    pub fn add_all(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Number(number) => self.add(&number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| self.add_all(item)),
            Value::Object(fields) => fields.values().for_each(|field| self.add_all(field)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Values that were given to a release.
    pub fn add_values(&mut self, values: &Value) {
        self.add_value("", false, values);
    }

    /// One value, by the path of its key.
    pub fn add_given(&mut self, key: &str, value: &Value) {
        let last = key.rsplit(['.', '[']).next().unwrap_or(key).trim_end_matches(']');
        let last = if last.bytes().all(|byte| byte.is_ascii_digit()) { key } else { last };
        self.add_value(last, is_telling(key) && !is_naming(last), value);
    }

    fn add_value(&mut self, key: &str, is_within: bool, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.add_value(name, !is_naming(name) && (is_within || is_telling(name)), value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add_value(key, is_within, item)),
            Value::String(text) if is_within => self.add(text),
            Value::String(text) => {
                let is_shown = SHOWN.contains(&key.to_ascii_lowercase().as_str()) || is_naming(key);
                if text.contains('\n') {
                    self.add_lines(text, 3);
                } else if is_odd(text) && !is_shown {
                    self.likely.insert(text.trim().to_owned());
                    self.add_userinfo(text);
                }
            }
            Value::Number(number) if is_within => self.add(&number.to_string()),
            Value::Number(_) | Value::Bool(_) | Value::Null => {}
        }
    }

    /// The password in an address.
    pub fn add_address(&mut self, address: &str) {
        self.add_userinfo(address);
    }

    /// What an object says: all that a Secret holds; of others what is shown of them anyway.
    pub fn add_object(&mut self, object: &Value) {
        for name in ["name", "namespace"] {
            self.names.extend(object["metadata"][name].as_str().map(str::to_owned));
        }
        if object["kind"] == "Secret" {
            self.add_all(&object["stringData"]);
            if let Some(data) = object["data"].as_object() {
                for text in data.values().filter_map(Value::as_str) {
                    match STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
                        Some(plain) => self.add(&plain),
                        // What is no text is known as it stands.
                        None => self.add_short(text.trim()),
                    }
                }
            }
        } else {
            self.add_shown("", object);
        }
    }

    fn add_shown(&mut self, key: &str, value: &Value) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| self.add_shown(name, value)),
            Value::Array(items) => items.iter().for_each(|item| self.add_shown(key, item)),
            Value::String(text) if matches!(key, "image" | "host" | "hosts") => {
                self.shown.insert(text.clone());
            }
            // Of a name only what is one: what the API server refuses as a name may be anything.
            Value::String(text) if key == "name" && is_name(text) => {
                self.shown.insert(text.clone());
            }
            _ => {}
        }
    }

    /// What must not be masked, such as the release's name.
    pub fn add_name(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    /// What others know.
    pub fn join(&mut self, other: &Self) {
        self.certain.extend(other.certain.iter().cloned());
        self.likely.extend(other.likely.iter().cloned());
        self.names.extend(other.names.iter().cloned());
        self.shown.extend(other.shown.iter().cloned());
    }

    /// What finds them all.
    pub fn redactor(&self) -> Redactor {
        let certain = self.certain.iter().filter(|secret| !self.names.contains(*secret));
        let likely = self.likely.iter().filter(|secret| {
            !self.names.contains(*secret) && !self.shown.iter().any(|shown| shown.contains(secret.as_str()))
        });
        Redactor::new(certain.chain(likely).cloned())
    }

    fn add_short(&mut self, secret: &str) {
        let is_word = WORDS.iter().any(|word| word.eq_ignore_ascii_case(secret));
        if secret.len() >= SHORTEST && !is_word {
            self.certain.insert(secret.to_owned());
        }
    }

    fn add_within(&mut self, secret: &str, depth: usize) {
        let secret = secret.trim();
        self.add_short(secret);
        if secret.contains('\n') {
            self.add_lines(secret, depth);
        }
        self.add_userinfo(secret);
        let Some(deeper) = depth.checked_sub(1) else { return };
        // A Docker configuration and what it has in base64, for example.
        match serde_json::from_str::<Value>(secret) {
            Ok(json @ (Value::Object(_) | Value::Array(_))) => self.add_leaves("", &json, deeper),
            _ => {
                let decoded = STANDARD.decode(secret).ok().filter(|_| secret.len() >= LINE);
                let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
                if let Some(text) = text.filter(|text| !text.chars().any(|c| c.is_control() && c != '\n')) {
                    self.add_within(&text, deeper);
                    // `user:password`.
                    self.add_short(text.split_once(':').map_or("", |(_, password)| password).trim());
                }
            }
        }
    }

    fn add_leaves(&mut self, key: &str, json: &Value, depth: usize) {
        match json {
            Value::Object(fields) => {
                fields.iter().for_each(|(key, value)| self.add_leaves(key, value, depth))
            }
            Value::Array(items) => items.iter().for_each(|item| self.add_leaves(key, item, depth)),
            Value::String(text) if is_telling(key) => self.add_within(text, depth),
            Value::String(text) if is_odd(text) => {
                self.likely.insert(text.trim().to_owned());
            }
            _ => {}
        }
    }

    /// Each line of a text, and the value in it where it has a key.
    fn add_lines(&mut self, text: &str, depth: usize) {
        for line in text.lines().map(str::trim) {
            // The frame of a key or a certificate is no secret.
            if line.len() < LINE || line.starts_with("-----") || line.starts_with('#') {
                continue;
            }
            let parts = line.split_once([':', '=']).filter(|(key, _)| !key.contains(char::is_whitespace));
            match parts {
                Some((key, value)) => {
                    let value = value.trim().trim_matches(['"', '\'']);
                    if is_telling(key) {
                        self.add_within(value, depth.saturating_sub(1));
                    } else if is_odd(value) {
                        self.likely.insert(value.to_owned());
                    }
                    self.add_userinfo(value);
                }
                None if is_odd(line) => {
                    self.certain.insert(line.to_owned());
                }
                None => {}
            }
        }
    }

    /// The password in a URL.
    fn add_userinfo(&mut self, text: &str) {
        let Some((_, rest)) = text.split_once("://") else { return };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if let Some((_, password)) = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
            self.add_short(password);
            let decoded = percent_encoding::percent_decode_str(password).decode_utf8_lossy();
            self.add_short(&decoded);
        }
    }
}

pub(crate) fn is_telling(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    TELLING.iter().any(|word| key.contains(word))
}

fn is_naming(key: &str) -> bool {
    NAMING.contains(&key.to_ascii_lowercase().as_str())
}

/// Does a value look like no word, number, quantity or name that occurs by itself? Letters with digits or punctuation from
/// eight bytes on; other words from twelve on, unless they are Kubernetes' own (`RollingUpdate`).
fn is_odd(text: &str) -> bool {
    let text = text.trim();
    let has_letter = text.chars().any(char::is_alphabetic);
    let is_mixed = text.chars().any(|c| !c.is_alphabetic() && !"-._/:".contains(c));
    let is_vocabulary =
        text.starts_with(|c: char| c.is_ascii_uppercase()) && text.bytes().all(|b| b.is_ascii_alphabetic());
    has_letter && ((text.len() >= 8 && is_mixed) || (text.len() >= 12 && !is_vocabulary))
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(values: Value) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.add_values(&values);
        secrets
    }

    #[test]
    fn values_are_secret_by_their_keys_or_their_looks() {
        for (values, text, is_secret) in [
            (json!({"db": {"password": "abcd"}}), "abcd", true),
            (json!({"db": {"password": "abc"}}), "abc", false),
            (json!({"db": {"password": "abcd"}}), "abcde", false),
            (json!({"pin": {"token": 2026}}), "2026", true),
            (json!({"auth": {"user": "ada-l", "list": ["third"]}}), "third", true),
            (json!({"level": "canary-91c2"}), "canary-91c2", true),
            (json!({"level": "open sesame now"}), "open sesame now", true),
            (json!({"level": "debug", "port": 8080, "on": true}), "debug 8080 true", false),
            (
                json!({"strategy": "RollingUpdate", "policy": "IfNotPresent"}),
                "RollingUpdate IfNotPresent",
                false,
            ),
            (json!({"image": {"tag": "2026.06-abc1234"}}), "web:2026.06-abc1234", false),
            (json!({"existingSecret": "db-credentials-1"}), "db-credentials-1", false),
            (json!({"password": "true"}), "true", false),
            (json!({"url": "postgres://ada:hunter22@db/x"}), "hunter22", true),
            (json!({"config": "server:\n  port: 8080\n  password: hunter22\n"}), "hunter22", true),
            (json!({"config": "server:\n  port: 8080\n  password: hunter22\n"}), "server: port: 8080", false),
        ] {
            assert_eq!(of(values.clone()).redactor().finds(text), is_secret, "{values} {text}");
        }
    }

    #[test]
    fn what_is_shown_anyway_is_no_secret() {
        let mut secrets =
            of(json!({"a": "registry.example/web1:v2-abc", "b": "shop1-frontend", "password": "shop"}));
        secrets
            .add_object(&json!({"kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"containers": [
            {"name": "shop1-frontend", "image": "registry.example/web1:v2-abc"}]}}));
        assert!(!secrets.redactor().finds("shop: registry.example/web1:v2-abc of shop1-frontend"));
    }

    #[test]
    fn a_secret_is_known_by_all_that_it_holds() {
        let docker = json!({"auths": {"registry.example": {"username": "ada", "password": "hunter22", "auth": "YWRhOmh1bnRlcjIy"}}});
        let pem =
            "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n";
        let mut secrets = Secrets::default();
        secrets.add_object(&json!({"kind": "Secret", "metadata": {"name": "web"},
            "stringData": {".dockerconfigjson": docker.to_string(), "key": pem, "short": "abc"},
            "data": {"plain": "Y2FuYXJ5LTMxNDE=", "binary": "/////w=="}}));
        let redactor = secrets.redactor();
        for text in ["hunter22", "hkiG9w0BAQEFAASC", "canary-3141", "/////w=="] {
            assert!(redactor.finds(text), "{text}");
        }
        for text in ["registry.example", "abc", "-----BEGIN PRIVATE KEY-----", "web"] {
            assert!(!redactor.finds(text), "{text}");
        }
        assert!(!format!("{secrets:?} {redactor:?}").contains("hunter"));
    }
}
