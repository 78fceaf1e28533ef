//! What the text of a scalar means to Go's YAML 1.1: a number, a truth value, nothing, or itself.
//! Numbers are read as `strconv` reads them.

use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

use super::Fault;

/// A scalar, read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Above the range of `i64`.
    Uint(u64),
    Float(f64),
    /// The text itself.
    Text(&'a str),
    /// What `!!binary` stands for.
    Decoded(String),
}

/// What Go reads from base64: padding is needed, bits that are left over are not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Reads a scalar. One with quotes and without a tag is not asked about: it is its text.
pub(super) fn resolve<'a>(tag: Option<&str>, text: &'a str) -> Result<Scalar<'a>, Fault> {
    let error = Fault::Content;
    let Some(tag) = tag else { return Ok(guess(text)) };
    let found = match tag.strip_prefix("tag:yaml.org,2002:") {
        Some("str") => return Ok(Scalar::Text(text)),
        Some("binary") => return decoded(text).map(Scalar::Decoded).ok_or(error),
        Some("timestamp") if text.starts_with(|first: char| first.is_ascii_digit()) && is_timestamp(text) => {
            return Ok(Scalar::Text(text));
        }
        Some("null" | "bool" | "int" | "float" | "timestamp") => guess(text),
        _ => return Ok(Scalar::Text(text)),
    };
    match (&tag[18..], found) {
        ("null", found @ Scalar::Null)
        | ("bool", found @ Scalar::Bool(_))
        | ("int", found @ (Scalar::Int(_) | Scalar::Uint(_)))
        | ("float", found @ Scalar::Float(_)) => Ok(found),
        ("float", Scalar::Int(whole)) => Ok(Scalar::Float(whole as f64)),
        _ => Err(error),
    }
}

/// The type of a text by its looks.
fn guess(text: &str) -> Scalar<'_> {
    let by_word = match text.as_bytes().first() {
        None => Some(Scalar::Null),
        Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~') => {
            return word(text).unwrap_or(Scalar::Text(text));
        }
        Some(b'+' | b'-' | b'.') => word(text),
        Some(b'0'..=b'9') => None,
        Some(_) => return Scalar::Text(text),
    };
    by_word.or_else(|| number(text)).unwrap_or(Scalar::Text(text))
}

fn word(text: &str) -> Option<Scalar<'static>> {
    Some(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => return None,
    })
}

fn number(text: &str) -> Option<Scalar<'static>> {
    if text.starts_with('.') {
        // Underscores may stand between digits.
        let bytes = text.as_bytes();
        let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let well_placed = |(at, byte): (usize, &u8)| *byte != b'_' || (is_digit(at - 1) && is_digit(at + 1));
        return bytes.iter().enumerate().all(well_placed).then(|| float(&text.replace('_', "")))?;
    }
    let plain = if text.contains('_') { &text.replace('_', "") } else { text };
    integer(plain).or_else(|| float(plain))
}

/// As `strconv.ParseInt` and `ParseUint` read it with base 0.
fn integer(text: &str) -> Option<Scalar<'static>> {
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'+' | b'-') => text.split_at(1),
        _ => ("", text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, base).ok()?;
    match sign {
        "-" => 0_i64.checked_sub_unsigned(magnitude).map(Scalar::Int),
        _ => match i64::try_from(magnitude) {
            Ok(whole) => Some(Scalar::Int(whole)),
            // `ParseUint` takes no sign.
            Err(_) => sign.is_empty().then_some(Scalar::Uint(magnitude)),
        },
    }
}

/// Digits with a point and an exponent, if that is in the range of a float.
fn float(text: &str) -> Option<Scalar<'static>> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_float = digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent)
        });
    text.parse().ok().filter(|float: &f64| is_float && float.is_finite()).map(Scalar::Float)
}

fn decoded(text: &str) -> Option<String> {
    let bytes = BASE64.decode(text.replace(['\n', '\r'], "")).ok()?;
    // As Go's JSON has it: each byte that is no character is one that replaces it.
    Some(bytes.utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        text
    }))
}

/// One of the forms of a date and time that Go's YAML knows.
fn is_timestamp(text: &str) -> bool {
    let number = |text: &str, most: u32| {
        (1..=2).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse::<u32>().is_ok_and(|number| number <= most)
    };
    let is_time = |time: &str| {
        let (time, fraction) =
            time.split_once(['.', ',']).map_or((time, None), |(time, rest)| (time, Some(rest)));
        let parts: Vec<&str> = time.split(':').collect();
        fraction.is_none_or(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
            && matches!(parts[..], [hour, minute, second] if number(hour, 23) && number(minute, 59) && number(second, 59))
    };
    let is_date = |date: &str| {
        let parts: Vec<&str> = date.split('-').collect();
        let [year, month, day] = parts[..] else { return false };
        let part = |text: &str| (1..=2).contains(&text.len()).then(|| text.parse::<i8>().ok()).flatten();
        let (Some(month), Some(day)) = (part(month), part(day)) else { return false };
        year.len() == 4
            && year.parse().is_ok_and(|year: i16| jiff::civil::Date::new(year, month, day).is_ok())
    };
    let zoned = |text: &str| {
        let (time, zone) = match text.find(['Z', '+', '-']) {
            Some(at) => text.split_at(at),
            None => return false,
        };
        let offset = |zone: &str| {
            matches!(zone.get(1..).and_then(|zone| zone.split_once(':')),
                Some((hour, minute)) if hour.len() == 2 && minute.len() == 2 && number(hour, 24) && number(minute, 60))
        };
        is_time(time) && (zone == "Z" || offset(zone))
    };
    match text.find(['T', 't', ' ']) {
        None => is_date(text),
        Some(at) => {
            let (date, time) = (&text[..at], &text[at + 1..]);
            is_date(date)
                && if text.as_bytes()[at] == b' ' {
                    is_time(time.trim_start_matches(' '))
                } else {
                    zoned(time)
                }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_gos_strconv_reads() {
        for (text, value) in [
            ("6e53421", Scalar::Text("6e53421")),
            ("1e3", Scalar::Float(1000.0)),
            ("08", Scalar::Float(8.0)),
            ("0o17", Scalar::Int(15)),
            ("0644", Scalar::Int(420)),
            ("0b11", Scalar::Int(3)),
            ("-0x10", Scalar::Int(-16)),
            ("1_000", Scalar::Int(1000)),
            ("_1", Scalar::Text("_1")),
            (".5_0", Scalar::Float(0.5)),
            ("._5", Scalar::Text("._5")),
            ("9223372036854775808", Scalar::Uint(1 << 63)),
            ("-9223372036854775808", Scalar::Int(i64::MIN)),
            ("+9223372036854775808", Scalar::Float(9_223_372_036_854_775_808.0)),
            ("0x", Scalar::Text("0x")),
            ("1.", Scalar::Float(1.0)),
            (".", Scalar::Text(".")),
            ("-", Scalar::Text("-")),
            ("+1", Scalar::Int(1)),
            ("+-1", Scalar::Text("+-1")),
            ("0x1p4", Scalar::Text("0x1p4")),
            ("Infinity", Scalar::Text("Infinity")),
            ("1:30", Scalar::Text("1:30")),
            ("y", Scalar::Bool(true)),
            ("oN", Scalar::Text("oN")),
            ("", Scalar::Null),
        ] {
            assert_eq!(resolve(None, text).unwrap(), value, "{text}");
        }
    }
}
