//! YAML as Helm and client-go read it: `sigs.k8s.io/yaml` on `go.yaml.in/yaml/v2`, a port of libyaml that knows YAML 1.1.
//! Stricter or newer parsers read other values, or refuse what Helm takes. Files of helm-guard's own are read by serde-saphyr.
//!
//! `tests/go_yaml.rs` compares this with Go's own code. Pure: texts in, values out.

mod decode;
mod properties;
mod resolve;
mod scalars;
mod scanner;
mod stream;
mod tree;
mod write;

use serde_json::Value;

pub use write::write;

/// Deepest nesting that is read. Go reads ten times as much, the API server does not.
const MAX_DEPTH: usize = 1000;

/// Most memory that the values of one text may take, bytes.
const MAX_MEMORY: usize = 192 << 20;

/// Why a text cannot be read. No text is quoted: it may be a Secret's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Helm cannot read it either.
    #[error("not YAML (near line {0})")]
    NotYaml(usize),
    /// Helm cannot read it either: its YAML is well-formed, and no JSON can say what it says.
    #[error("not YAML that Kubernetes takes")]
    NotJson,
    /// It is YAML of something else than what was expected.
    #[error("{0}")]
    Refused(String),
    /// Helm may read it; helm-guard does not try.
    #[error("beyond what helm-guard reads ({0})")]
    BeyondLimits(&'static str),
}

impl From<String> for Unread {
    fn from(why: String) -> Self {
        Self::Refused(why)
    }
}

impl From<Unread> for String {
    fn from(unread: Unread) -> Self {
        unread.to_string()
    }
}

impl From<Fault> for Unread {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Syntax { line } => Self::NotYaml(line),
            Fault::Content => Self::NotJson,
            Fault::TooDeep => Self::BeyondLimits("too deeply nested"),
            Fault::TooLarge => Self::BeyondLimits("too many values"),
        }
    }
}

/// What stops the reading of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Line, from 1.
    Syntax {
        line: usize,
    },
    /// A value that Go refuses.
    Content,
    TooDeep,
    TooLarge,
}

impl Fault {
    /// The same in a text that has so many lines more before this one.
    fn below(self, lines: usize) -> Self {
        match self {
            Self::Syntax { line } => Self::Syntax { line: line + lines },
            other => other,
        }
    }
}

/// Memory that may still be taken, bytes.
struct Budget(usize);

impl Budget {
    fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        self.0 = self.0.checked_sub(bytes).ok_or(Fault::TooLarge)?;
        Ok(())
    }
}

/// Calls `each` with every document of a manifest, as Helm's client takes the text apart. Empty ones are left out.
///
/// # Errors
/// When one of them is not YAML, or `each` refuses it.
pub fn each_document(text: &str, mut each: impl FnMut(Value) -> Result<(), String>) -> Result<(), Unread> {
    stream::each_document(text, &mut Budget(MAX_MEMORY), &mut each)
}

/// Reads the first document of a text, as client-go reads a kubeconfig and Helm a file of values. `Null` if there is none.
///
/// # Errors
/// When it is not YAML.
pub fn document(text: &str) -> Result<Value, Unread> {
    Ok(first(text, &mut Budget(MAX_MEMORY))?)
}

fn first(text: &str, budget: &mut Budget) -> Result<Value, Fault> {
    if let Some(at) = text.find(is_control) {
        return Err(Fault::Syntax { line: text.get(..at).unwrap_or_default().matches('\n').count() + 1 });
    }
    // The nodes are gone when the value is made.
    let mut for_nodes = Budget(budget.0);
    let Some((tree, root)) = tree::first_document(text, &mut for_nodes)? else { return Ok(Value::Null) };
    let mut for_values = Budget(for_nodes.0);
    let value = decode::Decoder::new(tree, &mut for_values).value(root)?;
    budget.spend(for_nodes.0 - for_values.0)?;
    Ok(value)
}

/// Characters that YAML takes only as escapes.
fn is_control(character: char) -> bool {
    !matches!(character,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
#[path = "yaml/tests.rs"]
mod tests;
