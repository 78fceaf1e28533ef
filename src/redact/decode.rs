//! Encodings in which a secret may stand, undone. Pure, and total: what is no valid encoding is left as it is.

use std::ops::Range;

/// A text with one kind of encoding undone.
pub(super) struct View {
    /// The decoded text.
    pub(super) bytes: Vec<u8>,
    /// Where each byte of it comes from.
    from: Vec<Range<usize>>,
}

impl View {
    /// Where in the text a part of the decoded text comes from.
    pub(super) fn place(&self, decoded: Range<usize>) -> Range<usize> {
        self.from[decoded.start].start..self.from[decoded.end - 1].end
    }
}

/// Reads one encoded unit at the beginning of a text: how many bytes it takes, and what it stands for.
type Unit = fn(&[u8]) -> Option<(usize, Vec<u8>)>;

/// A quotation mark within single quotes: as a shell, Python's `shlex` and YAML write it. Each is a view of its own: in
/// `''"'"'x'` the third form would take the beginning of the second away.
const QUOTED: [&[u8]; 3] = [br"'\''", br#"'"'"'"#, b"''"];

/// The views in which something is decoded.
pub(super) fn views(text: &[u8]) -> impl Iterator<Item = View> {
    const KINDS: [(&[u8], Unit); 4] = [(b"%", percent), (b"%+", form), (b"\\", backslash), (b"&", html)];
    // The words of a form are those of a URL, and blanks.
    let kinds = KINDS.into_iter().filter(|(signs, _)| {
        let last = signs.last().copied().unwrap_or_default();
        text.contains(&last)
    });
    let quoted = QUOTED.into_iter().filter_map(|form| {
        view(text, b"'", |rest| rest.starts_with(form).then(|| (form.len(), b"'".to_vec())))
    });
    kinds.filter_map(|(signs, unit)| view(text, signs, unit)).chain(quoted)
}

/// `None` when nothing of that kind is in it.
fn view(text: &[u8], signs: &[u8], unit: impl Fn(&[u8]) -> Option<(usize, Vec<u8>)>) -> Option<View> {
    let mut view = View { bytes: Vec::with_capacity(text.len()), from: Vec::with_capacity(text.len()) };
    if !signs.iter().any(|sign| text.contains(sign)) {
        return None;
    }
    let (mut at, mut is_other) = (0, false);
    while at < text.len() {
        let decoded = if signs.contains(&text[at]) { unit(&text[at..]) } else { None };
        let (length, bytes) = match decoded {
            Some(decoded) => {
                is_other = true;
                decoded
            }
            None => (1, vec![text[at]]),
        };
        view.from.extend(bytes.iter().map(|_| at..at + length));
        view.bytes.extend(bytes);
        at += length;
    }
    is_other.then_some(view)
}

/// `%2B`.
fn percent(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    Some((3, vec![u8::try_from(number(text.get(1..3)?, 16)?).ok()?]))
}

/// The same, and `+` for a blank.
fn form(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    if text[0] == b'+' { Some((1, b" ".to_vec())) } else { percent(text) }
}

/// As in JSON, in Go's `%q`, in YAML's double quotes and in a shell.
fn backslash(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    let digits = |count: usize| number(text.get(2..2 + count)?, 16);
    let letter = |code: u32| char::from_u32(code).map(|letter| letter.to_string().into_bytes());
    let byte = |byte: u8| Some((2, vec![byte]));
    match *text.get(1)? {
        b'n' => byte(b'\n'),
        b'r' => byte(b'\r'),
        b't' => byte(b'\t'),
        b'a' => byte(7),
        b'b' => byte(8),
        b'f' => byte(12),
        b'v' => byte(11),
        b'e' => byte(27),
        b'x' => Some((4, vec![u8::try_from(digits(2)?).ok()?])),
        b'u' => {
            let high = digits(4)?;
            if !(0xd800..0xdc00).contains(&high) {
                return Some((6, letter(high)?));
            }
            let low = number(text.get(6..12)?.strip_prefix(b"\\u")?, 16)?;
            Some((12, letter(0x10000 + ((high - 0xd800) << 10) + low.checked_sub(0xdc00)?)?))
        }
        b'U' => Some((10, letter(digits(8)?)?)),
        b'0'..=b'7' => match text.get(1..4).and_then(|digits| number(digits, 8)) {
            Some(code) => Some((4, vec![u8::try_from(code).ok()?])),
            None => byte(text[1]),
        },
        other => byte(other),
    }
}

/// `&amp;`, `&#38;`, `&#x26;`.
fn html(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    let end = text.iter().take(12).position(|byte| *byte == b';')?;
    let decoded = match &text[1..end] {
        b"amp" => b"&".to_vec(),
        b"lt" => b"<".to_vec(),
        b"gt" => b">".to_vec(),
        b"quot" => b"\"".to_vec(),
        b"apos" => b"'".to_vec(),
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(number(digits, 16)?)?.to_string().into_bytes(),
        [b'#', digits @ ..] => char::from_u32(number(digits, 10)?)?.to_string().into_bytes(),
        _ => return None,
    };
    Some((end + 1, decoded))
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_alphanumeric);
    u32::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| plain)?, radix).ok()
}

/// A run of letters that may be base64 or hexadecimal digits.
pub(super) struct Run<'a> {
    /// Where it stands, padding included.
    pub(super) place: Range<usize>,
    digits: &'a [u8],
}

/// Base64 of the shortest secret.
const SHORTEST_RUN: usize = super::SHORTEST * 4 / 3 + 1;

/// All runs that are long enough for a secret.
pub(super) fn runs(text: &[u8]) -> impl Iterator<Item = Run<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let start = at + text[at..].iter().position(|byte| sextet(*byte).is_some())?;
            let length = text[start..].iter().take_while(|byte| sextet(**byte).is_some()).count();
            let padding = text[start + length..].iter().take(2).take_while(|byte| **byte == b'=').count();
            at = start + length + padding;
            if length >= SHORTEST_RUN {
                return Some(Run { place: start..at, digits: &text[start..start + length] });
            }
        }
        None
    })
}

impl<'a> Run<'a> {
    /// What it may stand for. What was encoded may begin within the run: something else may stand right before it.
    pub(super) fn decoded(&self) -> impl Iterator<Item = Vec<u8>> + use<'a> {
        let digits = self.digits;
        let base64 = (0..4).map(move |skipped| packed(&digits[skipped..], 6, sextet));
        let hexadecimal = (0..2).filter_map(move |skipped| {
            let digits = &digits[skipped..];
            let all = digits.iter().all(u8::is_ascii_hexdigit);
            all.then(|| {
                packed(digits, 4, |byte| char::from(byte).to_digit(16).and_then(|d| d.try_into().ok()))
            })
        });
        base64.chain(hexadecimal)
    }
}

fn packed(digits: &[u8], width: u32, value: impl Fn(u8) -> Option<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(digits.len() * width as usize / 8);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for digit in digits {
        held = (held << width) | u32::from(value(*digit).unwrap_or_default());
        bits += width;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits & 0xff) as u8);
            held &= (1 << bits) - 1;
        }
    }
    out
}

/// The value of a digit of base64, the standard alphabet or that for URLs.
fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}
