//! Writes a JSON value as a YAML document that Go reads as that value. JSON itself is not always: YAML takes some characters
//! only as escapes, folds lines at others, and looks no further than 1024 characters for the colon of a key.

use std::fmt::Write;

use serde_json::Value;

use super::scanner::MAX_SIMPLE_KEY;

/// Appends the value as one line of text.
pub fn write(value: &Value, into: &mut String) {
    match value {
        Value::Object(fields) => {
            into.push('{');
            for (n, (key, value)) in fields.iter().enumerate() {
                if n > 0 {
                    into.push(',');
                }
                let start = into.len();
                text(key, into);
                if into.len() - start >= MAX_SIMPLE_KEY {
                    into.insert_str(start, "? ");
                }
                into.push(':');
                write(value, into);
            }
            into.push('}');
        }
        Value::Array(items) => {
            into.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    into.push(',');
                }
                write(item, into);
            }
            into.push(']');
        }
        Value::String(string) => text(string, into),
        scalar => {
            let _ = write!(into, "{scalar}");
        }
    }
}

fn text(text: &str, into: &mut String) {
    into.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => into.extend(['\\', character]),
            '\n' => into.push_str("\\n"),
            // Control characters, what YAML takes for line breaks, and what is no character.
            '\0'..' '
            | '\u{7f}'..'\u{a0}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                let _ = write!(into, "\\u{:04x}", u32::from(character));
            }
            _ => into.push(character),
        }
    }
    into.push('"');
}
