//! Changing fields of an object at random: which fields, and what they may become, are tables.

use serde_json::{Map, Value};

use super::rng::Rng;

/// What may be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Two items of a list with equal keys: server-side apply refuses them in what is applied.
    pub duplicates: bool,
    /// Two items that differ only in the second of their keys, such as a port for TCP and for UDP: client-side apply knows
    /// the first key alone, and loses some of them by itself.
    pub pairs: bool,
    /// Pods, which may never become ready.
    pub pods: bool,
    /// Server-side apply leaves a default until a manifest says `null`.
    pub nulls: bool,
}

/// Draws a field; `None` leaves it out, which `null` does not.
pub type Draw = fn(&mut Rng, Rules) -> Option<Value>;

/// Draws each of the fields anew with this probability.
pub fn mutate(rng: &mut Rng, rules: Rules, object: &mut Value, fields: &[(&str, Draw)], percent: usize) {
    for (path, draw) in fields {
        if rng.chance(percent) {
            let value = draw(rng, rules);
            put(object, path, value);
        }
    }
}

/// Sets a field, with the maps on the way to it; or takes it out, and leaves those.
fn put(object: &mut Value, path: &str, value: Option<Value>) {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let mut parent_of = object;
    for step in parent.split('/').skip(1) {
        let map = parent_of.as_object_mut().unwrap();
        let next = map.entry(step.replace("~1", "/")).or_insert_with(|| Value::Object(Map::new()));
        if next.is_null() {
            *next = Value::Object(Map::new());
        }
        parent_of = next;
    }
    let map = parent_of.as_object_mut().unwrap();
    match value {
        Some(value) => drop(map.insert(name.to_owned(), value)),
        None => drop(map.remove(name)),
    }
}

/// A list; none where it would be empty.
pub fn list(items: Vec<Value>) -> Option<Value> {
    (!items.is_empty()).then_some(Value::Array(items))
}

/// A list of texts.
pub fn texts(rng: &mut Rng, from: &[&str]) -> Option<Value> {
    list(rng.some(from).into_iter().map(Value::from).collect())
}

/// A map of texts, each with one of two values.
pub fn map(rng: &mut Rng, keys: &[&str], values: &[&str]) -> Option<Value> {
    let some = rng.some(keys);
    let fields: Map<String, Value> =
        some.into_iter().map(|key| (key.to_owned(), rng.pick(values).into())).collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}
