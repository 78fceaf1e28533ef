//! The one redaction: takes secrets out of text that is shown or saved.
//! Pure. What is a secret is decided in `redact/secrets.rs`, how it may be encoded in `redact/decode.rs`, and what looks like
//! one although nobody knows it in `redact/looks.rs`.
//!
//! The search does not enumerate encodings of a secret: it decodes the text. Each decoding of the text (percent, backslash,
//! HTML, quotes, base64, hexadecimal, and these within each other) is searched for the plain secret, so that upper and lower
//! case digits, escapes that need not be, missing padding, and a secret in the middle of what was encoded are all found.

mod decode;
mod looks;
mod secrets;
mod stream;

use std::{collections::HashMap, ops::Range, sync::Arc};

pub use secrets::Secrets;
pub(crate) use secrets::is_telling;
pub use stream::Stream;

/// What stands in the place of a secret, in every output.
pub const MASK: &str = "[redacted]";

/// Length of the shortest secret, bytes. Shorter ones are in every text, and a PIN has four digits.
pub const SHORTEST: usize = 4;

/// Secrets shorter than this, bytes, are found only as whole words: `test` must not be masked in `latest`.
const INSIDE_WORDS: usize = 8;

/// How many encodings within each other are undone in a text of this many bytes: a password in the `auth` of a Docker
/// configuration in a Secret in a JSON text is three. Each takes several looks at the whole text, so a longer one gets fewer.
fn depth(length: usize) -> usize {
    match length {
        0..0x8000 => 4,
        0x8000..0x4_0000 => 3,
        _ => 2,
    }
}

/// Knows what may not be shown.
#[derive(Clone, Default)]
pub struct Redactor(Arc<Known>);

#[derive(Default)]
struct Known {
    /// The longest first: of those that begin at one place the longest is taken.
    texts: Vec<Box<[u8]>>,
    /// Positions in `texts`, by the first bytes.
    beginnings: HashMap<[u8; SHORTEST], Vec<u32>>,
    /// The first two bytes of each, a bit for each pair: most places of a text are passed over by one look.
    pairs: Vec<u64>,
}

/// Where in [`Known::pairs`] a pair of bytes is.
fn pair(first: u8, second: u8) -> (usize, u64) {
    let at = usize::from(first) << 8 | usize::from(second);
    (at / 64, 1 << (at % 64))
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.0.texts.len())
    }
}

impl Redactor {
    /// Of plain secrets, each as it stands. Those shorter than [`SHORTEST`] are left out.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut texts: Vec<Box<[u8]>> = secrets
            .into_iter()
            .filter(|secret| secret.len() >= SHORTEST && !MASK.contains(secret.as_str()))
            .map(|secret| secret.into_bytes().into_boxed_slice())
            .collect();
        texts.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        texts.dedup();
        let mut beginnings: HashMap<[u8; SHORTEST], Vec<u32>> = HashMap::new();
        let mut pairs = vec![0; 1 << 10];
        for (at, text) in texts.iter().enumerate() {
            if let (Some(first), Ok(at)) = (text.first_chunk(), u32::try_from(at)) {
                beginnings.entry(*first).or_default().push(at);
                let (index, bit) = pair(first[0], first[1]);
                pairs[index] |= bit;
            }
        }
        Self(Arc::new(Known { texts, beginnings, pairs }))
    }

    /// The text without secrets, and without passwords in URLs.
    pub fn clean(&self, text: &str) -> String {
        looks::without_userinfo(&self.known(text))
    }

    /// A log without secrets, and without what looks like one. A log is anybody's text, so more of it is taken out.
    pub fn clean_log(&self, text: &str) -> String {
        looks::without_lookalikes(&self.known(text))
    }

    /// Does a secret stand in it, in whatever encoding?
    pub fn finds(&self, text: &str) -> bool {
        self.contains(text.as_bytes(), depth(text.len()))
    }

    fn known(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }

    /// The bytes without secrets.
    fn bytes(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        for found in self.places(text) {
            out.extend_from_slice(&text[at..found.start]);
            out.extend_from_slice(MASK.as_bytes());
            at = found.end;
        }
        out.extend_from_slice(&text[at..]);
        out
    }

    /// Where secrets stand: in order, apart from each other.
    fn places(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if !self.0.texts.is_empty() {
            self.find(text, depth(text.len()), &mut |place| {
                found.push(place);
                true
            });
        }
        found.sort_by_key(|place| (place.start, place.end));
        let mut apart: Vec<Range<usize>> = Vec::new();
        for place in found {
            match apart.last_mut().filter(|last| place.start < last.end) {
                Some(last) => last.end = last.end.max(place.end),
                None => apart.push(place),
            }
        }
        apart
    }

    fn contains(&self, text: &[u8], depth: usize) -> bool {
        let mut is_in = false;
        if !self.0.texts.is_empty() {
            self.find(text, depth, &mut |_| {
                is_in = true;
                false
            });
        }
        is_in
    }

    /// Tells every place where a secret stands, as long as `tell` wants more.
    fn find(&self, text: &[u8], depth: usize, tell: &mut dyn FnMut(Range<usize>) -> bool) -> bool {
        if !self.plain(text, tell) {
            return false;
        }
        let Some(deeper) = depth.checked_sub(1) else { return true };
        for run in decode::runs(text) {
            if run.decoded().any(|decoded| self.contains(&decoded, deeper)) && !tell(run.place) {
                return false;
            }
        }
        decode::views(text).all(|view| self.find(&view.bytes, deeper, &mut |place| tell(view.place(place))))
    }

    fn plain(&self, text: &[u8], tell: &mut dyn FnMut(Range<usize>) -> bool) -> bool {
        for (at, first) in text.windows(SHORTEST).enumerate() {
            let (index, bit) = pair(first[0], first[1]);
            if self.0.pairs[index] & bit == 0 {
                continue;
            }
            let Some(candidates) = self.0.beginnings.get(first) else { continue };
            let found = candidates.iter().map(|index| &self.0.texts[*index as usize]).find(|secret| {
                text[at..].starts_with(secret)
                    && (secret.len() >= INSIDE_WORDS || is_word(text, at..at + secret.len()))
            });
            if found.is_some_and(|secret| !tell(at..at + secret.len())) {
                return false;
            }
        }
        true
    }

    /// From where on the end of a text may be the beginning of a secret whose rest has not come yet.
    fn begun(&self, text: &[u8]) -> usize {
        let longest = self.0.texts.first().map_or(0, |secret| secret.len());
        let from = text.len().saturating_sub(longest);
        let begins = |at: &usize| {
            let rest = &text[*at..];
            self.0.texts.iter().any(|secret| secret.len() > rest.len() && secret.starts_with(rest))
        };
        (from..text.len()).find(begins).unwrap_or(text.len())
    }
}

/// Is what stands there no part of a longer word?
fn is_word(text: &[u8], place: Range<usize>) -> bool {
    let joins = |one: Option<&u8>, other: Option<&u8>| {
        one.is_some_and(u8::is_ascii_alphanumeric) && other.is_some_and(u8::is_ascii_alphanumeric)
    };
    let before = place.start.checked_sub(1).and_then(|at| text.get(at));
    !joins(before, text.get(place.start)) && !joins(text.get(place.end - 1), text.get(place.end))
}

/// What holds text that is not this program's own.
pub trait Redact {
    /// Takes the secrets out of all of it.
    fn redact(&mut self, by: &Redactor);
}

impl Redact for String {
    fn redact(&mut self, by: &Redactor) {
        if !self.is_empty() {
            *self = by.clean(self);
        }
    }
}

impl<T: Redact> Redact for Vec<T> {
    fn redact(&mut self, by: &Redactor) {
        self.iter_mut().for_each(|item| item.redact(by));
    }
}

impl<T: Redact> Redact for Option<T> {
    fn redact(&mut self, by: &Redactor) {
        self.iter_mut().for_each(|item| item.redact(by));
    }
}

impl Redact for serde_json::Value {
    fn redact(&mut self, by: &Redactor) {
        match self {
            Self::String(text) => text.redact(by),
            Self::Array(items) => items.redact(by),
            Self::Object(fields) => {
                for (name, mut value) in std::mem::take(fields) {
                    value.redact(by);
                    fields.insert(by.clean(&name), value);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
