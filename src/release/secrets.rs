//! What a record knows not to be shown: the values that its release was given, and what its Secrets hold. Pure.

use serde_json::Value;

use super::{History, MARK, Record, codec};
use crate::{manifest::Manifest, redact::Secrets};

impl Record {
    /// All that it knows.
    pub fn secrets(&self) -> Secrets {
        let json = codec::decode(self.stored.payload());
        json.map(|json| of_body(&json)).unwrap_or_default()
    }

    /// The values it was given; far less to read than the manifest.
    pub fn given(&self) -> Secrets {
        let json = codec::decode(self.stored.payload());
        json.map(|json| of_config(&json)).unwrap_or_default()
    }
}

impl History {
    /// What all of its records know: the description of one may quote what only the one before it was given.
    pub fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        self.records.iter().for_each(|record| secrets.join(&record.secrets()));
        secrets
    }
}

/// What a decoded body knows.
pub fn of_body(json: &[u8]) -> Secrets {
    let mut secrets = Secrets::default();
    add_config(json, &mut secrets);
    if let Ok((release, _)) = codec::identity(json) {
        secrets.add_name(&release);
    }
    let texts = codec::texts(json).unwrap_or_default();
    for text in std::iter::once(&texts.manifest).chain(&texts.hooks) {
        add_manifest(text, &mut secrets);
    }
    secrets
}

/// The values in a decoded body.
pub fn of_config(json: &[u8]) -> Secrets {
    let mut secrets = Secrets::default();
    add_config(json, &mut secrets);
    secrets
}

fn add_config(json: &[u8], secrets: &mut Secrets) {
    let config = codec::config(json).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    secrets.add_values(&config.unwrap_or_default());
}

/// Object by object where it cannot be read as a whole.
fn add_manifest(text: &str, secrets: &mut Secrets) {
    let documents = match Manifest::parse(text, "") {
        Ok(manifest) => vec![manifest],
        Err(_) => text.split("\n---").filter_map(|text| Manifest::parse(text, "").ok()).collect(),
    };
    for (_, object) in documents.iter().flat_map(|manifest| &manifest.objects) {
        secrets.add_object(object);
    }
}

/// Is it one of Helm's own descriptions, or of this program's, that quote nothing?
pub(super) fn is_plain(description: &str) -> bool {
    const PLAIN: [&str; 8] = [
        "",
        "Install complete",
        "Upgrade complete",
        "Preparing upgrade",
        "Initial install underway",
        "Uninstallation complete",
        "Deletion in progress (or silently failed)",
        "superseded by new release",
    ];
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_marked = || {
        let words = description.strip_prefix("died while pending-").and_then(|rest| rest.strip_suffix(MARK));
        words.is_some_and(|word| matches!(word, "install; " | "upgrade; " | "rollback; "))
    };
    PLAIN.contains(&description)
        || description.strip_prefix("Rollback to ").is_some_and(is_number)
        || is_marked()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{redact::MASK, release::stored_record::Stored};

    /// A record whose release was given `config`, and whose Helm said `description`.
    fn record(revision: u32, config: &Value, description: &str) -> Record {
        let manifest =
            "kind: Secret\napiVersion: v1\nmetadata: {name: web}\nstringData: {generated: swordfish}\n";
        let body = serde_json::json!({"name": "web", "version": revision, "manifest": manifest, "config": config,
            "info": {"status": "failed", "description": description}});
        let payload = codec::encode(body.to_string().as_bytes(), codec::MAX_STORED).unwrap();
        let map = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("sh.helm.release.v1.web.v{revision}")},
            "data": {"release": String::from_utf8(payload).unwrap()}});
        Stored::ConfigMap(Box::new(serde_json::from_value(map).unwrap())).record()
    }

    #[test]
    fn a_description_is_shown_without_what_any_record_knows() {
        let quoted = "Upgrade \"web\" failed: spec.replicas: Invalid value: \"hunter22\", not swordfish, not \"b\\u003copensesame\"";
        let records = vec![
            record(1, &serde_json::json!({"old": {"token": "b<opensesame"}}), "Install complete"),
            record(2, &serde_json::json!({"password": "hunter22"}), quoted),
        ];
        let rows = History::new(records).rows();
        assert_eq!(
            rows[1].description,
            format!(
                "Upgrade \"web\" failed: spec.replicas: Invalid value: \"{MASK}\", not {MASK}, not \"{MASK}\""
            )
        );
        assert_eq!(rows[0].description, "Install complete");
    }

    #[test]
    fn one_record_alone_is_shown_without_what_it_knows_itself() {
        let row =
            record(2, &serde_json::json!({"password": "hunter22"}), "Release \"web\" failed: hunter22").row();
        assert_eq!(row.description, format!("Release \"web\" failed: {MASK}"));
    }

    #[test]
    fn only_descriptions_that_quote_nothing_are_plain() {
        for (description, expected) in [
            ("Upgrade complete", true),
            ("Rollback to 12", true),
            ("Rollback to 12x", false),
            ("died while pending-upgrade; marked by helm-guard", true),
            ("died while pending-x; marked by helm-guard", false),
            ("Upgrade complete!", false),
        ] {
            assert_eq!(is_plain(description), expected, "{description}");
        }
    }
}
