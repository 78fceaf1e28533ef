//! Takes a stream of documents apart as Helm's client does: apimachinery's reader for YAML or JSON. It splits at lines that
//! begin with `---` before any YAML is read, so also where such a line is in a quoted text.

use std::borrow::Cow;

use serde_json::Value;

use super::{Budget, Fault, decode, first};

/// So far from the start the reader looks for the brace of a JSON document, bytes.
const LOOK_AHEAD: usize = 4096;

/// Calls `each` with every document that is not `null`.
pub(super) fn each_document(
    text: &str,
    budget: &mut Budget,
    each: &mut impl FnMut(Value) -> Result<(), String>,
) -> Result<(), super::Unread> {
    let begins = text.trim_start();
    if text.len() - begins.len() < LOOK_AHEAD && begins.starts_with('{') {
        json_then_yaml(text, budget, each)
    } else {
        yaml(text, 0, budget, each)
    }
}

/// JSON documents one after the other. What stops being JSON within the first two is YAML from there on.
fn json_then_yaml(
    text: &str,
    budget: &mut Budget,
    each: &mut impl FnMut(Value) -> Result<(), String>,
) -> Result<(), super::Unread> {
    // One value of a JSON text takes no less than that of YAML.
    let values = text.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    let maps = text.bytes().filter(|byte| *byte == b'{').count();
    budget.spend(text.len() + values * size_of::<Value>() + maps * decode::MAP)?;
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let (mut count, mut read) = (0, 0);
    while let Some(document) = documents.next() {
        match document {
            Ok(mut document) => {
                count += 1;
                read = documents.byte_offset();
                whole_numbers(&mut document);
                if !document.is_null() {
                    each(document)?;
                }
            }
            Err(error) if count > 1 => return Err(Fault::Syntax { line: error.line() }.into()),
            Err(error) => {
                let at = text.get(read..).and_then(end_of_json);
                let at = at.ok_or(Fault::Syntax { line: error.line() })? + read;
                let line = text.get(..at).unwrap_or_default().matches('\n').count();
                return yaml(text.get(at..).unwrap_or_default(), line, budget, each);
            }
        }
    }
    Ok(())
}

/// Where YAML begins behind JSON: behind the blanks and their first line break. `None` where Go's reader gives up: four bytes
/// before the end, and where more JSON begins, of which a part is read.
fn end_of_json(rest: &str) -> Option<usize> {
    let begins = rest.trim_start();
    let is_number =
        begins.strip_prefix('-').unwrap_or(begins).starts_with(|first: char| first.is_ascii_digit());
    if is_number || ["true", "false", "null"].iter().any(|word| begins.starts_with(word)) {
        return None;
    }
    for (at, next) in rest.char_indices() {
        if rest.len() - at < 4 {
            return None;
        }
        match next {
            '\n' => return Some(at + 1),
            next if !next.is_whitespace() => return Some(at),
            _ => {}
        }
    }
    None
}

/// Numbers of a JSON document as those of YAML are: one without a fraction is an integer.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(whole) = number.as_f64().and_then(decode::number) {
                *value = whole;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// `before` is the number of lines in front of the text.
fn yaml(
    text: &str,
    before: usize,
    budget: &mut Budget,
    each: &mut impl FnMut(Value) -> Result<(), String>,
) -> Result<(), super::Unread> {
    let (mut start, mut at, mut line, mut first_line) = (0, 0, before, before);
    let mut one = |chunk: &str, first_line: usize| -> Result<(), super::Unread> {
        let chunk = as_lines(chunk);
        let document = first(&chunk, budget).map_err(|fault| fault.below(first_line))?;
        if document.is_null() { Ok(()) } else { each(document).map_err(super::Unread::Refused) }
    };
    for piece in text.split_inclusive('\n') {
        let end = at + piece.len();
        line += 1;
        if let Some(rest) = piece.strip_prefix("---") {
            let rest = rest.trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                return Err(Fault::Syntax { line }.into());
            }
            if at > start {
                one(text.get(start..at).unwrap_or_default(), first_line)?;
                // The separator is gone, unless nothing came before it.
                (start, first_line) = (end, line);
            }
        }
        at = end;
    }
    if at > start { one(text.get(start..at).unwrap_or_default(), first_line) } else { Ok(()) }
}

/// Every line with `\n` at its end, and without `\r` before that.
fn as_lines(text: &str) -> Cow<'_, str> {
    if text.ends_with('\n') && !text.contains("\r\n") {
        return Cow::Borrowed(text);
    }
    let mut lines = text.replace("\r\n", "\n");
    if !lines.ends_with('\n') {
        lines.push('\n');
    }
    Cow::Owned(lines)
}
