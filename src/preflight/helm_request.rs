//! Which request Helm sends for an object: reconstructed from Helm's own decision, by version, apply method and flags.
//! Pure: the object as it lives is looked at in `preflight/dry_run.rs`.
//!
//! Sources: `performInstall` and `performUpgrade` (action/install.go, action/upgrade.go), `Client.update`, `createPatch` and
//! `updateResource` (kube/client.go) of Helm 3.22 and 4.3.

use serde_json::{Map, Value};

use super::merge_patch::{self, Change};
use crate::manifest::{ObjectKey, merge_keys::Type};

/// How Helm writes an object that lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Apply {
    /// Helm 3, and Helm 4 with `--server-side=false`: a patch made of three manifests.
    #[default]
    ClientSide,
    /// Server-side apply.
    ServerSide {
        /// `--force-conflicts`.
        force: bool,
    },
    /// `--force`, `--force-replace`: the whole object.
    Replace,
}

/// What a deploy says about all its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// How what lives is written.
    pub apply: Apply,
    /// An install, also by `upgrade --install`: no older manifest counts.
    pub installs: bool,
    /// `--take-ownership`.
    pub takes_ownership: bool,
    /// Helm 4.
    pub is_v4: bool,
    /// Helm's last release applied on the client's side, or it is an install: before its first server-side apply of an object
    /// Helm turns the fields that its client-side apply has set into applied ones.
    pub takes_over_fields: bool,
}

/// A request, or none.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// POST of the whole object.
    Create,
    /// A server-side apply of the whole object.
    Apply {
        /// Take fields of other managers over.
        force: bool,
    },
    /// PUT of the whole object.
    Replace,
    /// A patch.
    Patch {
        /// Media type.
        content: &'static str,
        /// Its body.
        patch: Value,
    },
    /// Helm sees no difference and sends nothing.
    Nothing,
    /// It is not foreseen what Helm sends.
    Unforeseen,
}

const STRATEGIC: &str = "application/strategic-merge-patch+json";
const MERGE: &str = "application/merge-patch+json";

/// The request for an object of the manifest. `before`: the object in the release that Helm takes for the one in force;
/// `wanted` has Helm's marks; `live` is `None` where no such object lives. A server-side apply asks for no live object.
pub fn request(
    manner: Manner,
    key: &ObjectKey,
    before: Option<&Value>,
    wanted: &Value,
    live: Option<&Value>,
) -> Request {
    let live = match (manner.apply, live) {
        (Apply::ServerSide { force }, _) => return Request::Apply { force },
        (_, None) => return Request::Create,
        (Apply::Replace, Some(_)) => return Request::Replace,
        (Apply::ClientSide, Some(live)) => live,
    };
    // What Helm adopts is its own original: nothing of it goes, whatever else lives in it. So of an object that lives as it is
    // wanted nothing is sent.
    let base = before.filter(|_| !manner.installs).unwrap_or(wanted);
    let (change, content) = if let Some(own) = Type::of(&key.api_version, &key.kind) {
        (merge_patch::strategic(own, base, wanted, live), STRATEGIC)
    } else if manner.installs && manner.takes_ownership {
        (three_way(wanted, live), MERGE)
    } else {
        (merge_patch::plain(base, wanted), MERGE)
    };
    match change {
        Change::None => Request::Nothing,
        Change::Patch(patch) => Request::Patch { content, patch },
        Change::Unforeseen => Request::Unforeseen,
    }
}

/// The three-way merge of objects without a known type, for what is adopted: what is wanted and lives otherwise
/// (`jsonmergepatch.CreateThreeWayJSONMergePatch` with the same original and modified object).
fn three_way(wanted: &Value, live: &Value) -> Change {
    match added(wanted, live) {
        Some(patch) => Change::Patch(patch),
        None => Change::None,
    }
}

fn added(wanted: &Value, live: &Value) -> Option<Value> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let fields: Map<String, Value> = wanted
                .iter()
                .filter_map(|(name, value)| match live.get(name) {
                    Some(now) => Some((name.clone(), added(value, now)?)),
                    None => (!value.is_null()).then(|| (name.clone(), value.clone())),
                })
                .collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        (wanted, live) => (wanted != live && !wanted.is_null()).then(|| wanted.clone()),
    }
}

/// Has Helm fields in a live object that its client-side apply set?
pub fn has_client_side_fields(live: &Value) -> bool {
    let managers = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    managers.is_some_and(|managers| {
        managers.iter().any(|one| one["manager"] == "helm" && one["operation"] == "Update")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(api_version: &str, kind: &str) -> ObjectKey {
        ObjectKey {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: "shop".into(),
            name: "x".into(),
        }
    }

    /// What Helm sends, in one word.
    fn word(request: &Request) -> String {
        match request {
            Request::Patch { content, patch } => {
                let short = content.trim_start_matches("application/").trim_end_matches("-patch+json");
                format!("{short} {patch}")
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_helm_sends_for_an_object() {
        let plain = Manner {
            apply: Apply::ClientSide,
            installs: false,
            takes_ownership: false,
            is_v4: false,
            takes_over_fields: false,
        };
        let install = Manner { installs: true, ..plain };
        let owns = Manner { takes_ownership: true, ..install };
        let native = key("v1", "PersistentVolumeClaim");
        let custom = key("example.com/v1", "Widget");
        // As the API server stores it: with what it and controllers have added.
        let live = json!({"metadata": {"resourceVersion": "7", "labels": {"m": "h"}}, "spec": {"size": 1, "volumeName": "v"}});
        let same = json!({"metadata": {"labels": {"m": "h"}}, "spec": {"size": 1}});
        let other = json!({"metadata": {"labels": {"m": "h"}}, "spec": {"size": 2}});
        let old = json!({"spec": {"size": 1, "gone": 1}});
        let unmarked = json!({"spec": {"size": 1}});
        for (what, manner, key, before, wanted, live, sent) in [
            ("a new object", plain, &native, None, &same, None, "Create"),
            (
                "one that is in force and unchanged",
                plain,
                &native,
                Some(&unmarked),
                &same,
                Some(&live),
                "Nothing",
            ),
            (
                "one that changes",
                plain,
                &native,
                Some(&unmarked),
                &other,
                Some(&live),
                "strategic-merge {\"spec\":{\"size\":2}}",
            ),
            // The claim that an uninstall kept.
            ("one that an install takes back", install, &native, None, &same, Some(&live), "Nothing"),
            ("one that an upgrade takes back", plain, &native, None, &same, Some(&live), "Nothing"),
            (
                "one that is taken back and changes",
                install,
                &native,
                None,
                &other,
                Some(&live),
                "strategic-merge {\"spec\":{\"size\":2}}",
            ),
            (
                "an older manifest does not count in an install",
                install,
                &native,
                Some(&old),
                &same,
                Some(&live),
                "Nothing",
            ),
            (
                "a custom resource that is taken back is never changed",
                install,
                &custom,
                None,
                &other,
                Some(&live),
                "Nothing",
            ),
            (
                "but with --take-ownership it is",
                owns,
                &custom,
                None,
                &other,
                Some(&live),
                "merge {\"spec\":{\"size\":2}}",
            ),
            ("unless it is as wanted", owns, &custom, None, &same, Some(&live), "Nothing"),
            (
                "a custom resource gets its marks with each upgrade",
                plain,
                &custom,
                Some(&unmarked),
                &same,
                Some(&live),
                "merge {\"metadata\":{\"labels\":{\"m\":\"h\"}}}",
            ),
            (
                "replaced as a whole",
                Manner { apply: Apply::Replace, ..plain },
                &native,
                Some(&unmarked),
                &same,
                Some(&live),
                "Replace",
            ),
            (
                "which needs one",
                Manner { apply: Apply::Replace, ..plain },
                &native,
                None,
                &same,
                None,
                "Create",
            ),
            (
                "server-side, always",
                Manner { apply: Apply::ServerSide { force: true }, ..plain },
                &native,
                Some(&unmarked),
                &same,
                None,
                "Apply { force: true }",
            ),
        ] {
            assert_eq!(word(&request(manner, key, before, wanted, live)), sent, "{what}");
        }
    }

    #[test]
    fn fields_of_a_client_side_apply_are_seen() {
        let live = |operation: &str| json!({"metadata": {"managedFields": [{"manager": "helm", "operation": operation}]}});
        assert!(has_client_side_fields(&live("Update")));
        assert!(!has_client_side_fields(&live("Apply")) && !has_client_side_fields(&json!({})));
    }
}
