//! Fields that are not Helm's any more: what others have set through a subresource since the last revision left the field
//! out, as an autoscaler sets `spec.replicas`. Pure.
//!
//! The merge base names them, because an older revision had them. Had the revision that died finished, Helm would have
//! dropped the field at that time, and would leave alone what came after it. So they leave the base. Helm itself never
//! writes to a subresource; what it has set is left to Helm.

use serde_json::{Map, Value};

type Fields = Map<String, Value>;

/// Does the base name a field that the newest revision does not? Lists are not looked into.
pub fn has_older_fields(base: &Value, newest: &Value) -> bool {
    match (base, newest) {
        (Value::Object(base), Value::Object(newest)) => base
            .iter()
            .any(|(name, value)| newest.get(name).is_none_or(|newer| has_older_fields(value, newer))),
        _ => false,
    }
}

/// Takes those fields of `base` out that `newest` has not, and that are in `live` only as a subresource has set them.
pub fn forget(base: &mut Value, newest: &Value, live: &Value) {
    let entries = live["metadata"]["managedFields"].as_array();
    let owners: Vec<Owner<'_>> = entries
        .into_iter()
        .flatten()
        .map(|entry| Owner { fields: &entry["fieldsV1"], is_scaler: !entry["subresource"].is_null() })
        .collect();
    if let Value::Object(fields) = base {
        forget_fields(fields, newest, &owners);
    }
}

/// Who has set the fields of one object, as far as somebody has.
#[derive(Clone, Copy)]
struct Owner<'a> {
    fields: &'a Value,
    is_scaler: bool,
}

fn forget_fields(base: &mut Fields, newest: &Value, owners: &[Owner<'_>]) {
    base.retain(|name, value| {
        let inner: Vec<Owner<'_>> = owners
            .iter()
            .map(|owner| Owner { fields: &owner.fields[format!("f:{name}")], ..*owner })
            .filter(|owner| owner.fields.is_object())
            .collect();
        let newer = &newest[name];
        match value {
            Value::Object(fields) => {
                forget_fields(fields, newer, &inner);
                true
            }
            _ => !newer.is_null() || inner.is_empty() || inner.iter().any(|owner| !owner.is_scaler),
        }
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_autoscaler_has_set_since_leaves_the_base() {
        let older = json!({"spec": {"replicas": 3, "paused": true, "template": {"a": 1}}});
        let scaler = json!({"manager": "kube-controller-manager", "subresource": "scale",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        let helm = |fields: Value| json!({"manager": "helm", "fieldsV1": {"f:spec": fields}});
        for (what, newest, managers, left) in [
            (
                "it was dropped, and scaled",
                json!({"spec": {"template": {"a": 1}}}),
                json!([helm(json!({"f:paused": {}, "f:template": {"f:a": {}}})), scaler]),
                json!({"spec": {"paused": true, "template": {"a": 1}}}),
            ),
            (
                "it was not dropped",
                json!({"spec": {"template": {}}}),
                json!([helm(json!({"f:replicas": {}, "f:paused": {}}))]),
                older.clone(),
            ),
            (
                "both have set it",
                json!({"spec": {}}),
                json!([helm(json!({"f:replicas": {}})), scaler]),
                older.clone(),
            ),
            ("the newest revision sets it too", older.clone(), json!([scaler]), older.clone()),
            ("nothing is known", json!({}), json!(null), older.clone()),
        ] {
            let mut base = older.clone();
            forget(&mut base, &newest, &json!({"metadata": {"managedFields": managers}}));
            assert_eq!(base, left, "{what}");
        }
    }

    #[test]
    fn only_what_an_older_revision_alone_names_is_asked_about() {
        let base = json!({"spec": {"a": 1, "l": [1, 2]}});
        assert!(!has_older_fields(&base, &json!({"spec": {"a": 2, "l": [], "b": 1}})));
        assert!(has_older_fields(&base, &json!({"spec": {"a": 2}})));
        assert!(has_older_fields(&base, &json!({})));
    }
}
