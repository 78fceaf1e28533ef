//! Texts in flags and variables as Go's library reads them: durations, numbers, booleans, and lines of comma-separated values.
//! Pure.

use std::time::Duration;

/// The fields of one line of comma-separated values, as Go’s reader parts them.
pub(super) fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let Some(field) = fields.last_mut() else { break };
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => field.push(letter),
        }
    }
    fields
}

/// Reads a boolean as `strconv.ParseBool` does.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a number as `strconv.Atoi` does: digits with a sign before them or none.
pub fn decimal(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Reads a number of a flag, as `strconv.ParseInt` does with base 0: `0x1f`, `0b1`, `0o17`, `017`, `1_000`.
pub fn integer(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, rest) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &*lower),
    };
    // Between digits, and behind the sign of the base.
    let is_grouped = |rest: &str| !rest.starts_with('_') || base != 10;
    let is_odd =
        rest.ends_with('_') || rest.contains("__") || !is_grouped(rest) || rest.starts_with(['+', '-']);
    if is_odd || rest.is_empty() {
        return None;
    }
    let number = i128::from_str_radix(&rest.replace('_', ""), base).ok()?;
    i64::try_from(if is_negative { -number } else { number }).ok()
}

/// Reads a duration by the rules of Go’s `time.ParseDuration`; a negative one is over at once.
pub fn duration(text: &str) -> Option<Duration> {
    /// Go counts nanoseconds in 63 bits.
    const LIMIT: u128 = 1 << 63;
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
        let (number, tail) = rest.split_at(rest.find(|letter| !is_number(letter))?);
        let (unit, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        // More digits than these are less than a nanosecond.
        let digits: String = fraction.chars().take(18).collect();
        let power = 10_u128.pow(u32::try_from(digits.len()).ok()?);
        let part = digits.parse::<u128>().unwrap_or_default() * scale / power;
        total += whole.checked_mul(scale).filter(|whole| *whole <= LIMIT)? + part;
        if total > LIMIT {
            return None;
        }
        rest = tail;
    }
    match is_negative {
        true => Some(Duration::ZERO),
        false if total == LIMIT => None,
        false => u64::try_from(total).ok().map(Duration::from_nanos),
    }
}

/// A field of such a line, as it is read back.
pub(super) fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) || text.starts_with(' ') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
