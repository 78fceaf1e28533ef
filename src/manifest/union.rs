//! The union of manifests: all that several revisions together may have left in a cluster, in the form in which Helm merges
//! from it. Pure.
//!
//! As the base of Helm's merge it must lead to what the same revisions would have led to had each of them finished. What
//! Helm 3.22 and 4.3 do with a base (`pkg/kube/client.go`, `createPatch`):
//!
//! - **Kubernetes' own kinds, client-side:** the strategic three-way patch. From the base it takes only what is to go: a
//!   field or an item of the base that the new manifest does not have. Values in the base do not matter, merge keys do.
//! - **All other kinds, client-side:** a JSON merge patch from the base to the new manifest; the live object is not looked
//!   at. What is equal in both is not sent, so a field that one revision had and another had not, or had otherwise, must be
//!   in the base with a value that no new manifest has: else the field stays as the other revision left it.
//! - **Server-side apply and `--force`:** only which objects are in the base matters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value, json};

use super::{
    Manifest, ObjectKey,
    merge_keys::{Field, List, Type},
};

/// Stands in the base for a value about which revisions disagree, in kinds that Helm merges by JSON merge patches. Helm
/// compares it with the new manifest's value, and never sends it. Were somebody to roll back to the record while it is the
/// base, an API server that knows the type of the field would refuse it: no list has a `null` in it.
pub fn disagreement() -> Value {
    json!([null, "not the same in all revisions: this is a temporary merge base of helm-guard"])
}

type Fields = Map<String, Value>;

impl Manifest {
    /// Everything that a sequence of revisions, oldest first, may have left in the cluster: each object that any of
    /// them names, with each field that any of them sets. Where two disagree the newest wins, except in kinds that are
    /// not Kubernetes' own: there [`disagreement`] stands instead.
    ///
    /// As the base of Helm's merge it makes an upgrade remove all that the new manifest does not want, whichever revision
    /// brought it, and bring all that it wants, whichever revision removed it.
    pub fn union(revisions: &[&Manifest]) -> Manifest {
        let mut objects: Vec<(ObjectKey, Value)> = Vec::new();
        let mut index: BTreeMap<(String, String, String, String), usize> = BTreeMap::new();
        for manifest in revisions {
            let mut named = BTreeSet::new();
            for (key, value) in &manifest.objects {
                let own = Type::of(&key.api_version, &key.kind);
                let (group, kind, namespace, name) = key.identity();
                let identity = (group.to_owned(), kind.to_owned(), namespace.to_owned(), name.to_owned());
                let at = *index.entry(identity).or_insert(objects.len());
                match objects.get_mut(at) {
                    Some((known, old)) => {
                        unite(old, value, own);
                        *known = key.clone();
                    }
                    None => {
                        let mut value = value.clone();
                        if let (Some(own), Value::Object(fields)) = (own, &mut value) {
                            tidy(fields, own);
                        }
                        objects.push((key.clone(), value));
                    }
                }
                named.insert(at);
            }
            let others = objects.iter_mut().enumerate().filter(|(at, _)| !named.contains(at));
            for (_, (key, object)) in others {
                if let (Some(own), Value::Object(fields)) = (Type::of(&key.api_version, &key.kind), object) {
                    thin(fields, own);
                }
            }
        }
        Manifest { objects }
    }
}

/// Unites two versions of one object.
fn unite(old: &mut Value, new: &Value, own: Option<Type>) {
    let (Value::Object(fields), Value::Object(newer)) = (&mut *old, new) else {
        *old = new.clone();
        return;
    };
    match own {
        Some(own) => {
            let mut newer = newer.clone();
            tidy(&mut newer, own);
            merge_fields(fields, newer, own);
        }
        None => {
            compare_fields(fields, newer);
            name_as(fields, newer);
        }
    }
}

/// Takes out what Helm's patch stumbles over: items of a merged list that the list cannot be merged by. They are in a
/// manifest that the API server refused, so they do not live.
fn tidy(fields: &mut Fields, own: Type) {
    for (name, value) in fields.iter_mut() {
        let Some(field) = own.field(name) else { continue };
        match (value, &field.list) {
            (Value::Object(inner), _) => tidy(inner, field.target()),
            (Value::Array(items), List::Set) => items.retain(|item| item.is_string() || item.is_number()),
            (Value::Array(items), List::Map(_)) => {
                let key = field.list.key().unwrap_or_default();
                items.retain(|item| item.get(key).is_some_and(is_scalar));
                for item in items {
                    if let Value::Object(inner) = item {
                        tidy(inner, field.target());
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_scalar(value: &Value) -> bool {
    value.is_string() || value.is_number() || value.is_boolean()
}

fn merge_fields(old: &mut Fields, new: Fields, own: Type) {
    for (name, was) in old.iter_mut() {
        if !new.contains_key(name) {
            thin_value(was, own.field(name));
        }
    }
    for (name, value) in new {
        match old.get_mut(&name) {
            Some(was) => merge(was, value, own.field(&name)),
            None => {
                old.insert(name, value);
            }
        }
    }
}

fn merge(old: &mut Value, new: Value, field: Option<&Field>) {
    let list = field.map_or(&List::Atomic, |field| &field.list);
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if !field.is_some_and(|field| field.replace) => {
            merge_fields(old, new, field.map_or(Type::PLAIN, Field::target));
        }
        (Value::Array(old), Value::Array(new)) if *list == List::Set => {
            for item in new {
                if !old.contains(&item) {
                    old.push(item);
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if list.key().is_some() => {
            merge_items(old, new, list.key().unwrap_or_default(), field.map_or(Type::PLAIN, Field::target));
        }
        // Only what has parts can lose some: `null` in one revision does not say that another's parts are gone.
        (old @ (Value::Object(_) | Value::Array(_)), new) if !new.is_object() && !new.is_array() => {
            thin_value(old, field);
        }
        (old, new) => *old = new,
    }
}

/// Two ports of one number, or two variables of one name, have one merge key. Helm pairs such items by their order, and when
/// the base has more of them than the new manifest it deletes **all** that live, wanted or not; a field that goes, goes from
/// the first that lives. So there are as many as the newest revision has, which is what Helm would have merged from had that
/// revision finished, with those fields of older ones that none of them has; and one if it has none.
fn merge_items(old: &mut Vec<Value>, new: Vec<Value>, key: &str, of: Type) {
    let mut newer: BTreeMap<String, VecDeque<Value>> = BTreeMap::new();
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut order = Vec::new();
    let same = |items: &[Value], name: &Value| items.iter().filter(|item| item[key] == *name).count();
    let single: Vec<bool> =
        old.iter().map(|item| [&old[..], &new].iter().all(|items| same(items, &item[key]) <= 1)).collect();
    for item in new {
        let name = item[key].to_string();
        order.push(name.clone());
        let names = item.as_object().into_iter().flat_map(Fields::keys).cloned();
        named.entry(name.clone()).or_default().extend(names);
        newer.entry(name).or_default().push_back(item);
    }
    let mut kept = Vec::new();
    for (mut item, single) in std::mem::take(old).into_iter().zip(single) {
        match newer.get_mut(&item[key].to_string()).map(VecDeque::pop_front) {
            None => keep_one(&mut kept, item, key, of),
            Some(Some(Value::Object(mut newer))) if !single => {
                let named = named.get(&item[key].to_string());
                for (name, value) in item.as_object_mut().map(std::mem::take).into_iter().flatten() {
                    if named.is_none_or(|named| !named.contains(&name)) {
                        newer.insert(name, value);
                    }
                }
                kept.push(Value::Object(newer));
            }
            Some(Some(Value::Object(newer))) => {
                if let Value::Object(fields) = &mut item {
                    merge_fields(fields, newer, of);
                }
                kept.push(item);
            }
            Some(_) => {}
        }
    }
    kept.extend(order.iter().filter_map(|name| newer.get_mut(name)?.pop_front()));
    *old = kept;
}

/// Adds an item that no newer revision has, unless one with its key is there: that one then has only the fields that both
/// have. Helm may pair it with any new item of its key, and takes the fields that this one has not from the first that lives.
fn keep_one(kept: &mut Vec<Value>, mut item: Value, key: &str, of: Type) {
    let known = kept.iter_mut().find(|other| other[key] == item[key]);
    match (known, &mut item) {
        (Some(Value::Object(known)), Value::Object(fields)) => keep_common(known, fields),
        (_, Value::Object(fields)) => {
            thin(fields, of);
            kept.push(item);
        }
        _ => {}
    }
}

fn keep_common(fields: &mut Fields, others: &Fields) {
    fields.retain(|name, _| others.contains_key(name));
    for (name, value) in fields {
        if let (Value::Object(value), Some(Value::Object(other))) = (value, others.get(name)) {
            keep_common(value, other);
        }
    }
}

/// Leaves one item of each key in what the newest revision does not have.
fn thin(fields: &mut Fields, own: Type) {
    for (name, value) in fields {
        thin_value(value, own.field(name));
    }
}

fn thin_value(value: &mut Value, field: Option<&Field>) {
    let Some(field) = field else { return };
    match (value, field.list.key()) {
        (Value::Object(fields), _) => thin(fields, field.target()),
        (Value::Array(items), Some(key)) => {
            let mut kept = Vec::new();
            for item in std::mem::take(items) {
                keep_one(&mut kept, item, key, field.target());
            }
            *items = kept;
        }
        _ => {}
    }
}

/// For kinds that Helm merges by JSON merge patches: what is the same in both stays, all else differs from whatever a new
/// manifest has.
fn compare_fields(old: &mut Fields, new: &Fields) {
    for (name, was) in old.iter_mut() {
        match new.get(name) {
            Some(value) => compare(was, value),
            None => disagree(was),
        }
    }
    for (name, value) in new {
        if !old.contains_key(name) {
            let mut value = value.clone();
            disagree(&mut value);
            old.insert(name.clone(), value);
        }
    }
}

fn compare(old: &mut Value, new: &Value) {
    match (&mut *old, new) {
        (Value::Object(old), Value::Object(new)) => compare_fields(old, new),
        (Value::Object(_), _) => disagree(old),
        (_, Value::Object(_)) => {
            *old = new.clone();
            disagree(old);
        }
        (old, new) if old == new => {}
        _ => *old = disagreement(),
    }
}

/// Objects keep the names of their fields, so that each of them goes if it is not wanted.
fn disagree(value: &mut Value) {
    match value {
        Value::Object(fields) if !fields.is_empty() => fields.values_mut().for_each(disagree),
        value => *value = disagreement(),
    }
}

/// What Helm finds the object by is the newest revision's.
fn name_as(fields: &mut Fields, newer: &Fields) {
    for name in ["apiVersion", "kind"] {
        if let Some(value) = newer.get(name) {
            fields.insert(name.to_owned(), value.clone());
        }
    }
    let Some(Value::Object(metadata)) = fields.get_mut("metadata") else { return };
    for name in ["name", "namespace"] {
        match newer.get("metadata").and_then(|metadata| metadata.get(name)) {
            Some(value) => metadata.insert(name.to_owned(), value.clone()),
            None => metadata.remove(name),
        };
    }
}

#[cfg(test)]
mod tests;
