//! The patch that Helm's client-side apply sends for an object: what the last manifest, the new one and the live object make
//! of each other. Written so that the API server judges the same change, not so that the bytes are the same.
//! Pure.

use serde_json::{Map, Value, json};

use crate::manifest::{
    living::{covers, is_empty},
    merge_keys::{Field, List, Type},
};

/// What is to be sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The live object is as it is wanted: Helm sends nothing.
    None,
    /// A patch.
    Patch(Value),
    /// A list has two items with one key, and changes: what the API server would make of it is not foreseen here.
    Unforeseen,
}

/// The merge for types that Kubernetes' client knows: lists are merged by the keys of their items.
///
/// What `before` has and `wanted` has not goes; what `wanted` has and `live` has not, or has otherwise, comes.
pub fn strategic(own: Type, before: &Value, wanted: &Value, live: &Value) -> Change {
    let empty = Map::new();
    let object = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (before, live) = (object(before), object(live));
    match merge_maps((own, false), &before, wanted.as_object().unwrap_or(&empty), &live) {
        None => Change::Unforeseen,
        Some(patch) if patch.is_empty() => Change::None,
        Some(patch) => Change::Patch(Value::Object(patch)),
    }
}

/// The merge for all other types, which does not look at the live object.
pub fn plain(before: &Value, wanted: &Value) -> Change {
    match difference(before, wanted) {
        Value::Object(patch) if patch.is_empty() => Change::None,
        patch => Change::Patch(patch),
    }
}

/// All that is wanted, and the end of what only `before` has: the whole of an object as a merge patch, where it is not known
/// what of it lives.
pub fn whole(before: &Value, wanted: &Value) -> Value {
    let (Value::Object(before), Value::Object(wanted)) = (before, wanted) else { return wanted.clone() };
    let mut all = wanted.clone();
    for (name, was) in before {
        let value = wanted.get(name).map_or(Value::Null, |value| whole(was, value));
        all.insert(name.clone(), value);
    }
    Value::Object(all)
}

fn difference(before: &Value, wanted: &Value) -> Value {
    let (Value::Object(before), Value::Object(wanted)) = (before, wanted) else { return wanted.clone() };
    let gone = before.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let other = wanted.iter().filter_map(|(key, value)| match before.get(key) {
        Some(was) if was == value => None,
        Some(was) => Some((key.clone(), difference(was, value))),
        None => Some((key.clone(), value.clone())),
    });
    Value::Object(gone.chain(other).collect())
}

type Fields = Map<String, Value>;

/// `retain_keys` is the strategy of that name: what is not wanted goes, whoever set it; `rollingUpdate` when the type is
/// another, or the old source of a volume.
fn merge_maps(
    (own, retain_keys): (Type, bool),
    before: &Fields,
    wanted: &Fields,
    live: &Fields,
) -> Option<Fields> {
    let mut patch = Map::new();
    let mut nothing = Map::new();
    for (name, value) in wanted {
        let was = before.get(name).unwrap_or(&Value::Null);
        let Some(now) = live.get(name) else {
            let part = if is_empty(value) { &mut nothing } else { &mut patch };
            part.insert(name.clone(), value.clone());
            continue;
        };
        let field = own.field(name);
        match (value, now) {
            (Value::Object(value), Value::Object(now)) if !field.is_some_and(|field| field.replace) => {
                let empty = Map::new();
                let was = was.as_object().unwrap_or(&empty);
                let inner = merge_maps(inside(field), was, value, now)?;
                if !inner.is_empty() {
                    patch.insert(name.clone(), Value::Object(inner));
                }
            }
            (Value::Array(value), Value::Array(now)) => {
                let was = was.as_array().map_or(&[][..], Vec::as_slice);
                merge_lists(&mut patch, name, field, [was, value, now])?;
            }
            (value, now) if covers(now, value) => {}
            (value, _) => drop(patch.insert(name.clone(), value.clone())),
        }
    }
    for name in before.keys().filter(|name| !wanted.contains_key(*name) && live.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    if retain_keys && (!patch.is_empty() || live.keys().any(|name| !wanted.contains_key(name))) {
        patch.insert("$retainKeys".into(), wanted.keys().cloned().collect());
    }
    if !patch.is_empty() {
        // Such as `emptyDir: {}`. Alone it changes nothing.
        patch.extend(nothing.into_iter().filter(|(_, value)| !value.is_null()));
    }
    Some(patch)
}

/// The type of what is in a field, and whether it has the strategy `retainKeys`.
fn inside(field: Option<&Field>) -> (Type, bool) {
    field.map_or((Type::PLAIN, false), |field| (field.target(), field.retain_keys))
}

/// Before, wanted, live.
fn merge_lists(
    patch: &mut Fields,
    name: &str,
    field: Option<&Field>,
    [before, wanted, live]: [&[Value]; 3],
) -> Option<()> {
    let list = field.map_or(&List::Atomic, |field| &field.list);
    let key = list.key().filter(|key| wanted.iter().chain(live).all(|item| item.get(key).is_some()));
    match (list, key) {
        (_, Some(key)) => {
            let inner = merge_items(key, field, [before, wanted, live])?;
            if !inner.is_empty() || !in_order(key, wanted, live) {
                let order = wanted.iter().map(|item| json!({key: item[key]})).collect();
                patch.insert(format!("$setElementOrder/{name}"), order);
            }
            if !inner.is_empty() {
                patch.insert(name.to_owned(), Value::Array(inner));
            }
        }
        (List::Set, None) => {
            let new: Vec<Value> = wanted.iter().filter(|item| !live.contains(item)).cloned().collect();
            let goes = |item: &&Value| !wanted.contains(item) && live.contains(item);
            let gone: Vec<Value> = before.iter().filter(goes).cloned().collect();
            if !new.is_empty() {
                patch.insert(name.to_owned(), Value::Array(new));
            }
            if !gone.is_empty() {
                patch.insert(format!("$deleteFromPrimitiveList/{name}"), Value::Array(gone));
            }
        }
        _ if wanted.len() == live.len() && wanted.iter().zip(live).all(|(value, now)| covers(now, value)) => {
        }
        _ => drop(patch.insert(name.to_owned(), Value::Array(wanted.to_vec()))),
    }
    Some(())
}

fn merge_items(
    key: &str,
    field: Option<&Field>,
    [before, wanted, live]: [&[Value]; 3],
) -> Option<Vec<Value>> {
    let of = |list: &[Value], item: &Value| list.iter().find(|other| other[key] == item[key]).cloned();
    if [before, wanted, live].iter().any(|list| repeats(list, key)) {
        let count =
            |list: &[Value], item: &Value| list.iter().filter(|other| other[key] == item[key]).count();
        let alike = wanted.len() == live.len()
            && wanted.iter().all(|item| live.iter().any(|now| covers(now, item)))
            && before.iter().all(|item| count(before, item) <= count(wanted, item));
        return alike.then(Vec::new);
    }
    let mut patch = Vec::new();
    for item in wanted {
        let (Some(value), Some(Value::Object(now))) = (item.as_object(), of(live, item)) else {
            patch.push(item.clone());
            continue;
        };
        let was = of(before, item).and_then(|was| was.as_object().cloned()).unwrap_or_default();
        let mut inner = merge_maps(inside(field), &was, value, &now)?;
        if inner.is_empty() {
            continue;
        }
        inner.insert(key.to_owned(), item[key].clone());
        patch.push(Value::Object(inner));
    }
    let gone = before.iter().filter(|item| of(wanted, item).is_none() && of(live, item).is_some());
    patch.extend(gone.map(|item| json!({"$patch": "delete", key: item[key]})));
    Some(patch)
}

/// Do the items that are wanted live in this order? Others may live between them.
fn in_order(key: &str, wanted: &[Value], live: &[Value]) -> bool {
    let known =
        live.iter().map(|item| &item[key]).filter(|name| wanted.iter().any(|item| item[key] == **name));
    known.eq(wanted.iter().map(|item| &item[key]))
}

fn repeats(list: &[Value], key: &str) -> bool {
    list.iter().enumerate().any(|(at, item)| list[..at].iter().any(|other| other[key] == item[key]))
}

/// Paths of the fields in which `wanted` differs from `live`, each with both values, in the order of `wanted`. A list whose
/// items have names is looked into; any other is one value.
pub fn differences(live: &Value, wanted: &Value, path: &str) -> Vec<(String, Value, Value)> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted
            .iter()
            .flat_map(|(name, value)| {
                let path = format!("{path}.{name}");
                match live.get(name) {
                    Some(now) => differences(now, value, &path),
                    None if is_empty(value) => Vec::new(),
                    None => vec![(path, Value::Null, value.clone())],
                }
            })
            .collect(),
        (Value::Array(wanted), Value::Array(live)) if wanted.len() == live.len() => {
            let name = |item: &Value| item.pointer("/metadata/name").or(item.get("name")).cloned();
            let same = |(value, now): (&Value, &Value)| name(value).is_some() && name(value) == name(now);
            if !wanted.iter().zip(live).all(same) {
                let all = Value::Array(live.clone());
                return if covers(&all, &Value::Array(wanted.clone())) {
                    Vec::new()
                } else {
                    vec![(path.to_owned(), all, Value::Array(wanted.clone()))]
                };
            }
            let inner = wanted.iter().zip(live).flat_map(|(value, now)| {
                let name = name(value).unwrap_or_default();
                differences(now, value, &format!("{path}[{}]", name.as_str().unwrap_or_default()))
            });
            inner.collect()
        }
        (wanted, live) if covers(live, wanted) => Vec::new(),
        (wanted, live) => vec![(path.to_owned(), live.clone(), wanted.clone())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn a_strategic_patch_is_what_changes() {
        for (what, before, wanted, live, patch) in [
            ("nothing changes", "{a: 1}", "{a: 1}", "{a: 1, b: 2}", "{}"),
            (
                "a default is not missed",
                "{s: {x: 1}}",
                "{s: {x: 1, e: {}, n: null}}",
                "{s: {x: 1, d: 1}}",
                "{}",
            ),
            ("a quantity as number", "{cpu: 1}", "{cpu: 1}", "{cpu: '1'}", "{}"),
            ("another value", "{a: 1}", "{a: 2}", "{a: 1}", "{a: 2}"),
            ("drift is undone", "{a: 1}", "{a: 1}", "{a: 3}", "{a: 1}"),
            ("what only others set stays", "{}", "{}", "{a: 3}", "{}"),
            (
                "a field goes",
                "{a: 1, b: {c: 1, d: 1}}",
                "{b: {d: 1}}",
                "{a: 1, b: {c: 1, d: 1}}",
                "{a: null, b: {c: null}}",
            ),
            ("what is gone need not go", "{a: 1}", "{}", "{}", "{}"),
            ("a plain list is one value", "{args: [a]}", "{args: [a, b]}", "{args: [a]}", "{args: [a, b]}"),
        ] {
            let change = strategic(Type::PLAIN, &yaml(before), &yaml(wanted), &yaml(live));
            let expected = match yaml(patch) {
                Value::Object(patch) if patch.is_empty() => Change::None,
                patch => Change::Patch(patch),
            };
            assert_eq!(change, expected, "{what}");
        }
    }

    /// As a pod of a Deployment has it; what is deeper is at its place there.
    #[test]
    fn what_kubernetes_merges_is_merged_as_it_says() {
        for (what, kind, before, wanted, live, patch) in [
            (
                "items are told apart by their key",
                "PodSpec",
                "{imagePullSecrets: [{name: A}, {name: B}]}",
                "{imagePullSecrets: [{name: A}, {name: C}]}",
                "{imagePullSecrets: [{name: A}, {name: B}, {name: X}]}",
                "{imagePullSecrets: [{name: C}, {$patch: delete, name: B}],
                  $setElementOrder/imagePullSecrets: [{name: A}, {name: C}]}",
            ),
            (
                "one volume at two places",
                "Container",
                "{volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: /b}]}",
                "{volumeMounts: [{name: v, mountPath: /a}]}",
                "{volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: /b}]}",
                "{volumeMounts: [{$patch: delete, mountPath: /b}], $setElementOrder/volumeMounts: [{mountPath: /a}]}",
            ),
            (
                "another order",
                "PodSpec",
                "{imagePullSecrets: [{name: A}, {name: B}]}",
                "{imagePullSecrets: [{name: B}, {name: A}]}",
                "{imagePullSecrets: [{name: A}, {name: X}, {name: B}]}",
                "{$setElementOrder/imagePullSecrets: [{name: B}, {name: A}]}",
            ),
            (
                "a volume of another kind keeps nothing of the old one",
                "PodSpec",
                "{volumes: [{name: v, emptyDir: {}}]}",
                "{volumes: [{name: v, secret: {secretName: s}}]}",
                "{volumes: [{name: v, emptyDir: {}}]}",
                "{volumes: [{name: v, secret: {secretName: s}, emptyDir: null, $retainKeys: [name, secret]}],
                  $setElementOrder/volumes: [{name: v}]}",
            ),
            (
                "an empty source is one",
                "PodSpec",
                "{volumes: [{name: v, secret: {secretName: s}}]}",
                "{volumes: [{name: v, emptyDir: {}}]}",
                "{volumes: [{name: v, secret: {secretName: s, defaultMode: 420}}]}",
                "{volumes: [{name: v, emptyDir: {}, secret: null, $retainKeys: [emptyDir, name]}],
                  $setElementOrder/volumes: [{name: v}]}",
            ),
            (
                "a strategy of another type keeps no parameters",
                "DeploymentSpec",
                "{}",
                "{strategy: {type: Recreate}}",
                "{strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1}}}",
                "{strategy: {type: Recreate, $retainKeys: [type]}}",
            ),
            (
                "two ports of one number, unchanged",
                "Container",
                "{ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}]}",
                "{ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}]}",
                "{ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}]}",
                "{}",
            ),
            (
                "a set",
                "Metadata",
                "{finalizers: [a/a, a/b]}",
                "{finalizers: [a/b, a/c]}",
                "{finalizers: [a/a, a/b, x/x]}",
                "{finalizers: [a/c], $deleteFromPrimitiveList/finalizers: [a/a]}",
            ),
            (
                "a list that the API takes for one value",
                "PodSpec",
                "{tolerations: [{key: a}]}",
                "{tolerations: [{key: b}]}",
                "{tolerations: [{key: a}, {key: x}]}",
                "{tolerations: [{key: b}]}",
            ),
        ] {
            let expected = match yaml(patch) {
                Value::Object(patch) if patch.is_empty() => Change::None,
                patch => Change::Patch(patch),
            };
            let change = strategic(part(kind), &yaml(before), &yaml(wanted), &yaml(live));
            assert_eq!(change, expected, "{what}");
        }
    }

    fn part(kind: &str) -> Type {
        let path = match kind {
            "Metadata" => "metadata",
            "DeploymentSpec" => "spec",
            "PodSpec" => "spec.template.spec",
            _ => "spec.template.spec.containers",
        };
        let deployment = Type::of("apps/v1", "Deployment").unwrap();
        path.split('.').fold(deployment, |own, name| own.field(name).unwrap().target())
    }

    /// The API server would merge both into one, or delete both.
    #[test]
    fn two_items_of_one_key_that_change_are_not_foreseen() {
        let both = yaml("{ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}]}");
        let one = yaml("{ports: [{containerPort: 53, protocol: UDP}]}");
        for (before, wanted, live) in [(&one, &both, &one), (&both, &one, &both), (&both, &one, &one)] {
            assert_eq!(strategic(part("Container"), before, wanted, live), Change::Unforeseen);
        }
    }

    #[test]
    fn a_plain_patch_looks_at_the_manifests_alone() {
        for (before, wanted, patch) in [
            ("{a: 1}", "{a: 1}", None),
            ("{a: 1, b: 1}", "{a: 2}", Some("{a: 2, b: null}")),
            ("{s: {x: 1, y: 1}}", "{s: {x: 1}}", Some("{s: {y: null}}")),
            ("{l: [1, 2]}", "{l: [1]}", Some("{l: [1]}")),
        ] {
            let expected = patch.map_or(Change::None, |patch| Change::Patch(yaml(patch)));
            assert_eq!(plain(&yaml(before), &yaml(wanted)), expected, "{before} {wanted}");
        }
    }

    #[test]
    fn differences_are_named_to_the_field() {
        let live = yaml(
            "{serviceName: a, volumeClaimTemplates: [{metadata: {name: data}, spec: {resources: {requests: {storage: 1Gi}}}}]}",
        );
        let wanted = yaml(
            "{serviceName: b, volumeClaimTemplates: [{metadata: {name: data}, spec: {resources: {requests: {storage: 2Gi}}}}]}",
        );
        let paths: Vec<String> =
            differences(&live, &wanted, "spec").into_iter().map(|found| found.0).collect();
        assert_eq!(
            paths,
            ["spec.serviceName", "spec.volumeClaimTemplates[data].spec.resources.requests.storage"]
        );
        assert!(differences(&live, &live, "spec").is_empty());
    }
}
