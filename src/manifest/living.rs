//! The merge base of a repair, less what does not live. Pure.
//!
//! From the base of a strategic merge Helm takes only what is to go, and it does so without a look at the live object:
//!
//! - An item of a merged list that is to go becomes `{"$patch": "delete", "name": "x"}`. If it is in an item or a field that
//!   the live object does not have, the API server takes that as it is, less the directive (`removeDirectives` in
//!   strategicpatch): `{"name": "x"}` comes to life, or makes the whole patch invalid. A revision that died before it wrote
//!   the object leads there, if it brought a container which the new one has too, with other variables or mounts.
//! - Items that share one key are paired by their order, and more of them in the base than in the new manifest delete all
//!   that live. So the base has those that live, as the manifest wrote them from which they come: Helm merges as if that
//!   revision had been the last.

use serde_json::{Map, Value};

use super::merge_keys::{Field, List, Type};

type Fields = Map<String, Value>;

/// May what lives be less than the base of an object, or have other items of one key? Not if all revisions, oldest first, agree.
pub fn is_in_doubt(revisions: &[&Value]) -> bool {
    revisions.windows(2).any(|pair| pair[0] != pair[1])
}

/// Takes out of the base of one object what `live` does not have. `revisions` are the manifests that the base is made of.
pub fn keep(base: &mut Value, revisions: &[&Value], live: &Value, own: Type) {
    if let (Value::Object(base), Value::Object(live)) = (base, live) {
        keep_fields(base, revisions, live, own);
    }
}

fn keep_fields(base: &mut Fields, revisions: &[&Value], live: &Fields, own: Type) {
    base.retain(|name, value| {
        let has_parts = value.is_object() || value.is_array();
        // A scalar that does not live can stay: to delete it changes nothing, and `kind` and `name` are scalars.
        let Some(now) = live.get(name) else { return !has_parts };
        let field = own.field(name);
        let inside = field.map_or(Type::PLAIN, Field::target);
        let older: Vec<&Value> = revisions.iter().filter_map(|revision| revision.get(name)).collect();
        match (value, now, field.map(|field| &field.list)) {
            (Value::Object(value), Value::Object(now), _) => keep_fields(value, &older, now, inside),
            (Value::Array(items), Value::Array(now), Some(List::Map(keys))) => {
                if let Some(key) = keys.first() {
                    let older: Vec<&Value> =
                        older.into_iter().filter_map(Value::as_array).flatten().collect();
                    keep_items(items, &older, now, (key, inside));
                }
            }
            _ => {}
        }
        true
    });
}

fn keep_items(base: &mut Vec<Value>, revisions: &[&Value], live: &[Value], (key, of): (&str, Type)) {
    let mut kept: Vec<Value> = Vec::new();
    for item in &*base {
        let same = |other: &&Value| other[key] == item[key];
        if kept.iter().any(|other| same(&other)) {
            continue;
        }
        let group: Vec<&Value> = base.iter().filter(same).collect();
        let now: Vec<&Value> = live.iter().filter(same).collect();
        let older: Vec<&Value> = revisions.iter().copied().filter(same).collect();
        match (&group[..], &now[..]) {
            (_, []) => {}
            ([item], [now]) => {
                let mut item = (*item).clone();
                if let (Value::Object(fields), Value::Object(now)) = (&mut item, now) {
                    keep_fields(fields, &older, now, of);
                }
                kept.push(item);
            }
            _ => match now.iter().map(|now| written(now, &older)).collect::<Option<Vec<Value>>>() {
                Some(written) => kept.extend(written),
                // Not only Helm has changed them: nothing better is known.
                None => kept.extend(group.into_iter().cloned()),
            },
        }
    }
    *base = kept;
}

/// A live item as the newest manifest wrote it that is the same but for defaults.
fn written(live: &Value, revisions: &[&Value]) -> Option<Value> {
    revisions.iter().rev().find(|item| covers(live, item)).map(|item| (*item).clone())
}

/// Whether what lives has all that is wanted; it may have more, which the API server or others put there.
pub fn covers(live: &Value, wanted: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            wanted.iter().all(|(name, value)| match live.get(name) {
                Some(now) => covers(now, value),
                None => is_empty(value),
            })
        }
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(value, now)| covers(now, value))
        }
        // A quantity may be written as a number, and is read as a text.
        (Value::Number(wanted), Value::String(live)) => wanted.to_string() == *live,
        (wanted, live) => wanted == live,
    }
}

/// What an object is stored without.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

    /// A Deployment with this pod.
    fn deployment(pod: &str) -> Value {
        yaml(&format!("{{kind: Deployment, metadata: {{name: web}}, spec: {{template: {{spec: {pod}}}}}}}"))
    }

    #[test]
    fn what_does_not_live_leaves_the_base() {
        for (what, base, live, left) in [
            (
                "a list that only the dead revision has",
                "{containers: [{name: a, volumeMounts: [{mountPath: /x, name: v}]}], hostname: h}",
                "{containers: [{name: a, image: i}]}",
                "{containers: [{name: a}], hostname: h}",
            ),
            (
                "an item that does not live, with what is in it",
                "{containers: [{name: a, env: [{name: A}, {name: B}]}, {name: b, ports: [{containerPort: 1}]}]}",
                "{containers: [{name: a, env: [{name: B, value: x}, {name: C}]}]}",
                "{containers: [{name: a, env: [{name: B}]}]}",
            ),
            (
                "lists that are one value, and objects that live, stay",
                "{tolerations: [{key: a}], securityContext: {runAsUser: 1, sysctls: [{name: a}]}, affinity: {nodeAffinity: {}}}",
                "{tolerations: [{key: b}], securityContext: {runAsUser: 2}}",
                "{tolerations: [{key: a}], securityContext: {runAsUser: 1}}",
            ),
        ] {
            let mut base = deployment(base);
            let revisions = [base.clone()];
            let own = Type::of("apps/v1", "Deployment").unwrap();
            keep(&mut base, &revisions.each_ref(), &deployment(live), own);
            assert_eq!(base, deployment(left), "{what}");
        }
    }

    /// Two constraints for one topology key: the base has as many as live, as they were written.
    #[test]
    fn items_of_one_key_are_those_that_live() {
        let zone = |when: &str, app: &str| format!("{{topologyKey: zone, whenUnsatisfiable: {when}, {app}}}");
        let spread =
            |items: &[String]| deployment(&format!("{{topologySpreadConstraints: [{}]}}", items.join(", ")));
        let (first, second) = (zone("DoNotSchedule", "maxSkew: 2"), zone("ScheduleAnyway", "maxSkew: 1"));
        let dead = zone("DoNotSchedule", "maxSkew: 9");
        let lived = |item: &str| item.replace('}', ", minDomains: 1}");
        let revisions = [spread(&[first.clone(), second.clone()]), spread(std::slice::from_ref(&dead))];
        for (what, live, left) in [
            (
                "the dead revision was not applied",
                vec![lived(&first), lived(&second)],
                vec![first.clone(), second.clone()],
            ),
            ("it was", vec![lived(&dead)], vec![dead.clone()]),
            (
                "another has changed them",
                vec![zone("DoNotSchedule", "maxSkew: 5"), lived(&second)],
                vec![dead.clone()],
            ),
        ] {
            let mut base = spread(std::slice::from_ref(&dead));
            let own = Type::of("apps/v1", "Deployment").unwrap();
            keep(&mut base, &revisions.each_ref(), &spread(&live), own);
            assert_eq!(base, spread(&left), "{what}");
        }
    }

    #[test]
    fn what_all_revisions_have_alike_is_not_in_doubt() {
        let (one, other) = (yaml("{a: 1}"), yaml("{a: 2}"));
        assert!(!is_in_doubt(&[]) && !is_in_doubt(&[&one]) && !is_in_doubt(&[&one, &one]));
        assert!(is_in_doubt(&[&one, &one, &other]));
    }
}
