//! Does an object live as a manifest has it, so surely that a dry run of its apply says nothing new?
//! Pure, and on the safe side: where it says no, the API server is asked.

use serde_json::Value;

/// The field manager that Helm's writes have.
const HELM: &str = "helm";

/// Whether to apply `wanted` would leave `live` as it is. Two things together say so:
///
/// * Each field of `wanted` has the same value in `live`, item by item in lists of the same length. What is `null` in `wanted`,
///   or written in another way than the API server keeps it (`stringData`, `1000m`), counts as other.
/// * Nobody but Helm has written the object, its status and other subresources aside. So what `live` has besides are defaults,
///   which the API server would add again, also in the maps and lists that an apply replaces as a whole.
pub fn is_as_written(live: &Value, wanted: &Value) -> bool {
    live.pointer("/metadata/deletionTimestamp").is_none() && is_helms_alone(live) && includes(live, wanted)
}

/// Has nobody but Helm written it, as far as the API server tells?
fn is_helms_alone(live: &Value) -> bool {
    let managers = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    managers.is_some_and(|managers| {
        let is_own = |one: &Value| one["subresource"].is_string() || one["manager"] == HELM;
        managers.iter().any(|one| one["manager"] == HELM) && managers.iter().all(is_own)
    })
}

fn includes(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (_, Value::Null) => false,
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| live.get(name).is_some_and(|live| includes(live, wanted)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| includes(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(data: Value, managers: Value) -> Value {
        json!({
            "kind": "ConfigMap", "apiVersion": "v1", "data": data,
            "metadata": {"name": "a", "namespace": "shop", "uid": "1", "resourceVersion": "7", "managedFields": managers},
        })
    }

    #[test]
    fn only_what_is_there_in_the_same_words_and_written_by_helm_alone_is_as_written() {
        let helm = json!([{"manager": "helm", "operation": "Apply"}]);
        let status =
            json!([{"manager": "helm", "operation": "Update"}, {"manager": "kcm", "subresource": "status"}]);
        let edited = json!([{"manager": "helm", "operation": "Apply"}, {"manager": "kubectl-edit", "operation": "Update"}]);
        let others = json!([{"manager": "kcm", "subresource": "status"}]);
        for (what, live, managers, wanted, is_same) in [
            ("the same", json!({"a": "1"}), &helm, json!({"a": "1"}), true),
            ("with defaults", json!({"a": "1", "b": "2"}), &helm, json!({"a": "1"}), true),
            ("defaults in a list", json!([{"a": 1, "b": 2}]), &helm, json!([{"a": 1}]), true),
            ("a controller reports its status", json!({"a": "1"}), &status, json!({"a": "1"}), true),
            ("another value", json!({"a": "1"}), &helm, json!({"a": "2"}), false),
            ("a field more", json!({"a": "1"}), &helm, json!({"a": "1", "b": "2"}), false),
            ("an item more", json!([1, 2]), &helm, json!([1]), false),
            ("items in another order", json!([1, 2]), &helm, json!([2, 1]), false),
            ("a field that is to go", json!({"a": "1"}), &helm, json!({"a": "1", "b": null}), false),
            ("other words", json!({"cpu": "1"}), &helm, json!({"cpu": "1000m"}), false),
            ("somebody has edited it", json!({"a": "1"}), &edited, json!({"a": "1"}), false),
            ("nobody knows who wrote it", json!({"a": "1"}), &json!([]), json!({"a": "1"}), false),
            ("Helm did not", json!({"a": "1"}), &others, json!({"a": "1"}), false),
            ("not told", json!({"a": "1"}), &Value::Null, json!({"a": "1"}), false),
        ] {
            let wanted =
                json!({"kind": "ConfigMap", "apiVersion": "v1", "data": wanted, "metadata": {"name": "a"}});
            assert_eq!(is_as_written(&object(live, managers.clone()), &wanted), is_same, "{what}");
        }
        let mut going = object(json!({}), helm);
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert!(!is_as_written(&going, &json!({})));
    }
}
