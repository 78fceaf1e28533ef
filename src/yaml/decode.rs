//! Makes a JSON value of the nodes of a document, as Go makes it: aliases are copied and counted, of two equal keys the last
//! counts, keys become text.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::{
    Budget, Fault,
    resolve::{Scalar, resolve},
    tree::{Id, Node, Tree},
};

/// Memory of a map with up to eleven keys, bytes, and of a value in a list or map.
pub(super) const MAP: usize = 640;
const VALUE: usize = size_of::<Value>();

pub(super) struct Decoder<'a, 'b> {
    pub(super) tree: Tree<'a>,
    pub(super) budget: &'b mut Budget,
    /// Nodes that were read, and those of them that an alias stands for.
    count: usize,
    of_aliases: usize,
    alias_depth: usize,
}

impl<'a, 'b> Decoder<'a, 'b> {
    pub(super) fn new(tree: Tree<'a>, budget: &'b mut Budget) -> Self {
        // The document is a node too.
        Self { tree, budget, count: 1, of_aliases: 0, alias_depth: 0 }
    }

    fn count(&mut self) -> Result<(), Fault> {
        self.count += 1;
        self.of_aliases += usize::from(self.alias_depth > 0);
        let too_many = self.of_aliases > 100
            && self.count > 1000
            && self.of_aliases as f64 / self.count as f64 > allowed_ratio(self.count);
        if too_many { Err(Fault::Content) } else { Ok(()) }
    }

    pub(super) fn value(&mut self, id: Id) -> Result<Value, Fault> {
        self.count()?;
        self.budget.spend(VALUE)?;
        match self.tree.nodes.get(id) {
            Some(Node::Scalar(..)) => self.scalar(id),
            Some(Node::Sequence(items)) => {
                let length = items.len();
                let mut list = Vec::with_capacity(length);
                for at in 0..length {
                    list.extend(self.child(id, at).map(|item| self.value(item)).transpose()?);
                }
                Ok(Value::Array(list))
            }
            Some(Node::Mapping(_)) => {
                self.budget.spend(MAP)?;
                let mut map = Map::new();
                self.mapping(id, &mut map)?;
                Ok(Value::Object(map))
            }
            Some(Node::Alias(..)) => self.through_alias(id, Self::value),
            None => Err(Fault::Content),
        }
    }

    /// A child of a sequence or mapping.
    fn child(&self, id: Id, at: usize) -> Option<Id> {
        match self.tree.nodes.get(id)? {
            Node::Sequence(items) | Node::Mapping(items) => items.get(at).copied(),
            _ => None,
        }
    }

    fn through_alias<T>(
        &mut self,
        id: Id,
        read: impl FnOnce(&mut Self, Id) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let Some(Node::Alias(target, is_open)) = self.tree.nodes.get_mut(id) else {
            return Err(Fault::Content);
        };
        let target = *target;
        if std::mem::replace(is_open, true) {
            // It contains itself.
            return Err(Fault::Content);
        }
        self.alias_depth += 1;
        let value = read(self, target);
        self.alias_depth -= 1;
        if let Some(Node::Alias(_, is_open)) = self.tree.nodes.get_mut(id) {
            *is_open = false;
        }
        value
    }

    fn scalar(&mut self, id: Id) -> Result<Value, Fault> {
        let Some(Node::Scalar(text, tag, is_plain)) = self.tree.nodes.get_mut(id) else {
            return Err(Fault::Content);
        };
        let resolved = match tag {
            None if !*is_plain => Scalar::Text(text),
            tag => resolve(tag.as_deref(), text)?,
        };
        Ok(match resolved {
            Scalar::Null => Value::Null,
            Scalar::Bool(is) => Value::Bool(is),
            Scalar::Int(whole) => Value::from(whole),
            Scalar::Uint(whole) => Value::from(whole),
            Scalar::Float(float) => number(float).ok_or(Fault::Content)?,
            Scalar::Text(_) => {
                self.budget.spend(text.len())?;
                Value::String(text.clone().into_owned())
            }
            Scalar::Decoded(text) => {
                self.budget.spend(text.len())?;
                Value::String(text)
            }
        })
    }

    fn mapping(&mut self, id: Id, map: &mut Map<String, Value>) -> Result<(), Fault> {
        let mut at = 0;
        while let (Some(key), Some(value)) = (self.child(id, at), self.child(id, at + 1)) {
            at += 2;
            if self.is_merge(key) {
                self.merge(value, map)?;
                continue;
            }
            let key = self.key(key)?;
            self.budget.spend(size_of::<String>() + key.len())?;
            let value = self.value(value)?;
            map.insert(key, value);
        }
        Ok(())
    }

    fn is_merge(&self, key: Id) -> bool {
        match self.tree.nodes.get(key) {
            Some(Node::Scalar(text, tag, is_plain)) => {
                text == "<<" && (*is_plain || tag.as_deref() == Some("tag:yaml.org,2002:merge"))
            }
            _ => false,
        }
    }

    /// Takes over the fields of a mapping, or of several: of those the first counts.
    fn merge(&mut self, id: Id, map: &mut Map<String, Value>) -> Result<(), Fault> {
        let Some(Node::Sequence(items)) = self.tree.nodes.get(id) else {
            return self.merge_one(id, map);
        };
        for item in items.clone().into_iter().rev() {
            self.merge_one(item, map)?;
        }
        Ok(())
    }

    fn merge_one(&mut self, id: Id, map: &mut Map<String, Value>) -> Result<(), Fault> {
        match self.tree.nodes.get(id) {
            Some(Node::Mapping(_)) => {
                self.count()?;
                self.mapping(id, map)
            }
            Some(Node::Alias(target, _))
                if matches!(self.tree.nodes.get(*target), Some(Node::Mapping(_))) =>
            {
                self.count()?;
                self.through_alias(id, |this, target| {
                    this.count()?;
                    this.mapping(target, map)
                })
            }
            _ => Err(Fault::Content),
        }
    }

    /// A key as JSON has it: text.
    fn key(&mut self, id: Id) -> Result<String, Fault> {
        self.count()?;
        match self.tree.nodes.get(id) {
            Some(Node::Scalar(text, tag, is_plain)) => {
                let resolved = match tag {
                    None if !*is_plain => Scalar::Text(text),
                    tag => resolve(tag.as_deref(), text)?,
                };
                match resolved {
                    Scalar::Text(text) => Ok(text.to_owned()),
                    Scalar::Decoded(text) => Ok(text),
                    Scalar::Bool(is) => Ok(is.to_string()),
                    Scalar::Int(whole) => Ok(whole.to_string()),
                    Scalar::Float(float) => Ok(shortest(float as f32).into_owned()),
                    Scalar::Null | Scalar::Uint(_) => Err(Fault::Content),
                }
            }
            Some(Node::Alias(..)) => self.through_alias(id, Self::key),
            _ => Err(Fault::Content),
        }
    }
}

/// How much of a document aliases may stand for: 99 % of a small one, 10 % of one with four million values.
fn allowed_ratio(count: usize) -> f64 {
    const LOW: usize = 400_000;
    const HIGH: usize = 4_000_000;
    match count {
        ..=LOW => 0.99,
        HIGH.. => 0.10,
        _ => 0.99 - 0.89 * ((count - LOW) as f64 / (HIGH - LOW) as f64),
    }
}

/// A float as Go's JSON writes it and reads it back: one without a fraction is an integer, if that holds it.
pub(super) fn number(float: f64) -> Option<Value> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if float.fract() == 0.0 && (-LIMIT..LIMIT).contains(&float) {
        // What is written is the shortest text that is this float, and it may be another integer.
        return float.to_string().parse::<i64>().ok().map(Value::from);
    }
    Number::from_f64(float).map(Value::Number)
}

/// The shortest text of a float, as `strconv.FormatFloat(f, 'g', -1, 32)` writes it.
fn shortest(float: f32) -> Cow<'static, str> {
    if float.is_nan() {
        return ".nan".into();
    } else if float.is_infinite() {
        return if float > 0.0 { ".inf" } else { "-.inf" }.into();
    }
    let scientific = format!("{float:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent @ ..-4) => format!("{mantissa}e-{:02}", -exponent).into(),
        Ok(exponent @ 6..) => format!("{mantissa}e+{exponent:02}").into(),
        _ => float.to_string().into(),
    }
}
