//! The claims of a StatefulSet that is made anew: Kubernetes makes claims from a template once and never changes them, so a new
//! set with a larger template gets the old claims with the old size.
//! Pure: which of the claims there are is read in `preflight/claims/look.rs`.

pub mod look;

use serde_json::Value;

use crate::manifest::ObjectKey;

const SIZE: &str = "/spec/resources/requests/storage";

/// A claim that a set may have made, and the size that the new template gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Name of the claim.
    pub name: String,
    /// The size in the new template, as it is written there.
    pub wanted: String,
}

/// The claims of the set whose template has another size in the new set.
pub fn of(key: &ObjectKey, live: &Value, wanted: &Value) -> Vec<Claim> {
    let size = |template: &Value| text(template.pointer(SIZE));
    let name = |template: &Value| text(template.pointer("/metadata/name"));
    let templates = |set: &Value| {
        set.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let number = |set: &Value, path: &str| set.pointer(path).and_then(Value::as_u64);
    let start = number(live, "/spec/ordinals/start").unwrap_or(0);
    let replicas = number(live, "/spec/replicas").unwrap_or(1);
    let old = templates(live);
    let changed = templates(wanted).into_iter().filter_map(|new| {
        let was = old.iter().find(|was| name(was) == name(&new))?;
        let (was, wanted) = (size(was), size(&new));
        (!wanted.is_empty() && !is_same(&was, &wanted)).then(|| (name(&new), wanted))
    });
    let claims = changed.flat_map(|(template, wanted)| {
        (start..start + replicas.min(1000)).map(move |ordinal| Claim {
            name: format!("{template}-{}-{ordinal}", key.name),
            wanted: wanted.clone(),
        })
    });
    claims.collect()
}

/// What is said of a claim that lives: `None` if it has the wanted size. `expands` is whether its storage class allows to
/// make it larger, if that is known.
pub fn kept(claim: &Claim, namespace: &str, live: &Value, expands: Option<bool>) -> Option<String> {
    let (name, wanted) = (&claim.name, &claim.wanted);
    let is = text(live.pointer(SIZE));
    if is_same(&is, wanted) {
        return None;
    }
    let class = text(live.pointer("/spec/storageClassName"));
    let what = match (bytes(&is), bytes(wanted)) {
        (Some(is), Some(wanted)) if wanted < is => {
            "a claim cannot be made smaller: move its data to a new one".to_owned()
        }
        _ if expands == Some(false) || class.is_empty() => {
            let class = if class.is_empty() {
                "it has no storage class".to_owned()
            } else {
                format!("its storage class {class} does not allow it")
            };
            format!("it cannot be made larger ({class}): move its data to a new one")
        }
        _ => format!(
            "to make it larger: kubectl patch pvc {name} -n {namespace} -p \
             '{{\"spec\":{{\"resources\":{{\"requests\":{{\"storage\":\"{wanted}\"}}}}}}}}'"
        ),
    };
    Some(format!(
        "PersistentVolumeClaim/{name} keeps its {is}, and the new StatefulSet requests {wanted}; {what}"
    ))
}

/// Of a storage class.
pub fn expands(class: &Value) -> bool {
    class["allowVolumeExpansion"] == true
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// `1Gi` and `1024Mi` are the same.
fn is_same(one: &str, other: &str) -> bool {
    one == other
        || matches!((bytes(one), bytes(other)), (Some(one), Some(other)) if (one - other).abs() < 0.5)
}

/// A quantity of Kubernetes in bytes.
fn bytes(quantity: &str) -> Option<f64> {
    let digits = quantity.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let (power, base) = match &quantity[digits.len()..] {
        "" => (0, 1000_f64),
        "k" => (1, 1000.0),
        "M" => (2, 1000.0),
        "G" => (3, 1000.0),
        "T" => (4, 1000.0),
        "P" => (5, 1000.0),
        "E" => (6, 1000.0),
        "Ki" => (1, 1024.0),
        "Mi" => (2, 1024.0),
        "Gi" => (3, 1024.0),
        "Ti" => (4, 1024.0),
        "Pi" => (5, 1024.0),
        "Ei" => (6, 1024.0),
        _ => return quantity.parse().ok(),
    };
    Some(digits.parse::<f64>().ok()? * base.powi(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

    fn set(spec: &str) -> Value {
        yaml(&format!("{{spec: {spec}}}"))
    }

    fn template(name: &str, size: &str) -> String {
        format!("{{metadata: {{name: {name}}}, spec: {{resources: {{requests: {{storage: {size}}}}}}}}}")
    }

    #[test]
    fn the_claims_of_a_template_that_has_another_size_are_named() {
        let key = ObjectKey {
            api_version: "apps/v1".into(),
            kind: "StatefulSet".into(),
            namespace: "shop".into(),
            name: "db".into(),
        };
        let (small, large) = (template("data", "1Gi"), template("data", "2Gi"));
        for (what, live, wanted, expected) in [
            (
                "it grew",
                format!("{{replicas: 2, t: [{small}]}}"),
                format!("{{replicas: 3, t: [{large}]}}"),
                "data-db-0, data-db-1",
            ),
            ("one replica by default", format!("{{t: [{small}]}}"), format!("{{t: [{large}]}}"), "data-db-0"),
            (
                "other ordinals",
                format!("{{ordinals: {{start: 5}}, t: [{small}]}}"),
                format!("{{t: [{large}]}}"),
                "data-db-5",
            ),
            ("the same", format!("{{t: [{small}]}}"), format!("{{t: [{}]}}", template("data", "1024Mi")), ""),
            ("a new template", "{}".to_owned(), format!("{{t: [{large}]}}"), ""),
            (
                "one of two",
                format!("{{t: [{small}, {}]}}", template("log", "1Gi")),
                format!("{{t: [{}, {large}]}}", template("log", "1Gi")),
                "data-db-0",
            ),
        ] {
            let spec = |text: &str| set(&text.replace("t: [", "volumeClaimTemplates: ["));
            let names: Vec<String> =
                of(&key, &spec(&live), &spec(&wanted)).into_iter().map(|claim| claim.name).collect();
            assert_eq!(names.join(", "), expected, "{what}");
        }
    }

    #[test]
    fn a_claim_that_keeps_its_size_is_told_with_what_to_do() {
        let claim = |wanted: &str| Claim { name: "data-db-0".into(), wanted: wanted.into() };
        let live = |class: &str| set(&format!("{{{class}resources: {{requests: {{storage: 1Gi}}}}}}"));
        let fast = live("storageClassName: fast, ");
        let patch = "PersistentVolumeClaim/data-db-0 keeps its 1Gi, and the new StatefulSet requests 2Gi; to make it larger: \
                     kubectl patch pvc data-db-0 -n shop -p '{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"2Gi\"}}}}'";
        for (what, wanted, live, expands, expected) in [
            ("it can", "2Gi", &fast, Some(true), patch),
            ("nobody knows", "2Gi", &fast, None, patch),
            ("it has it", "1024Mi", &fast, Some(true), ""),
            (
                "its class cannot",
                "2Gi",
                &fast,
                Some(false),
                "PersistentVolumeClaim/data-db-0 keeps its 1Gi, and the new StatefulSet requests 2Gi; it cannot be made larger \
                 (its storage class fast does not allow it): move its data to a new one",
            ),
            (
                "it has none",
                "2Gi",
                &live(""),
                None,
                "PersistentVolumeClaim/data-db-0 keeps its 1Gi, and the new StatefulSet requests 2Gi; it cannot be made larger \
                 (it has no storage class): move its data to a new one",
            ),
            (
                "nothing shrinks",
                "500Mi",
                &fast,
                Some(true),
                "PersistentVolumeClaim/data-db-0 keeps its 1Gi, and the new StatefulSet requests 500Mi; a claim cannot be made smaller: \
                 move its data to a new one",
            ),
        ] {
            let said = kept(&claim(wanted), "shop", live, expands).unwrap_or_default();
            assert_eq!(said, expected, "{what}");
        }
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("1Gi", Some(1_073_741_824.0)),
            ("1.5k", Some(1500.0)),
            ("100", Some(100.0)),
            ("1e3", Some(1000.0)),
            ("x", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
