//! Helm's errors without what was given on its command line: it quotes a `--set-json` that it cannot parse, and the API
//! server quotes a field that it refuses.
//! Pure: bytes in, bytes out.

use serde_json::Value;

use super::Invocation;

/// What is printed instead.
const INSTEAD: &[u8] = b"***";
/// Shorter ones are found by chance, and say little. Bytes.
const SHORTEST: usize = 4;
/// A key with one of these in its name has a secret for a value.
const SECRET: [&str; 10] =
    ["pass", "pwd", "secret", "token", "key", "credential", "auth", "cert", "dsn", "connection"];

/// What must not be printed.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    /// Longest first: one may be part of another.
    secrets: Vec<Vec<u8>>,
    /// Bytes that may be the beginning of a secret whose rest has not come yet.
    held: Vec<u8>,
}

impl Mask {
    /// Of the values on a command line: what is given to a `--set…` flag as a whole, and in it the values of keys that by
    /// their names are secret. Other values, such as an image's tag, are what an error is about.
    pub fn of(invocation: &Invocation) -> Self {
        let mut secrets: Vec<String> = Vec::new();
        for flag in ["set", "set-string", "set-json", "set-literal"] {
            for given in invocation.values(flag) {
                secrets.push(given.to_owned());
                secrets.extend(values(flag, given));
            }
        }
        Self::new(secrets)
    }

    /// And these.
    #[must_use]
    pub fn and(self, more: Vec<String>) -> Self {
        let known = self.secrets.into_iter().map(|secret| String::from_utf8_lossy(&secret).into_owned());
        Self::new(known.chain(more).collect())
    }

    fn new(secrets: Vec<String>) -> Self {
        let mut secrets: Vec<Vec<u8>> = secrets.into_iter().map(String::into_bytes).collect();
        secrets.retain(|secret| secret.len() >= SHORTEST);
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        secrets.dedup();
        Self { secrets, held: Vec::new() }
    }

    /// The next bytes of a stream, masked; what may be the beginning of a secret comes with the bytes after it.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while at < self.held.len() {
            let rest = &self.held[at..];
            if self.secrets.iter().any(|secret| secret.len() > rest.len() && secret.starts_with(rest)) {
                break;
            }
            match self.secrets.iter().find(|secret| rest.starts_with(secret)) {
                Some(secret) => {
                    out.extend_from_slice(INSTEAD);
                    at += secret.len();
                }
                None => {
                    out.push(rest[0]);
                    at += 1;
                }
            }
        }
        self.held.drain(..at);
        out
    }

    /// What is held at the end of a stream, masked.
    pub fn end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut held = std::mem::take(&mut self.held);
        while !held.is_empty() {
            // Nothing more comes: what only began like the longest secret may still be another.
            let found = self.secrets.iter().find(|secret| held.starts_with(secret)).map(Vec::len);
            out.extend_from_slice(if found.is_some() { INSTEAD } else { &held[..1] });
            held.drain(..found.unwrap_or(1));
        }
        out
    }

    /// All of a text, masked.
    pub fn text(&self, text: &str) -> String {
        let mut mask = self.clone();
        let mut bytes = mask.pass(text.as_bytes());
        bytes.extend(mask.end());
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Values whose keys are secret by their names.
fn values(flag: &str, given: &str) -> Vec<String> {
    let Some((key, value)) = given.split_once('=') else { return Vec::new() };
    match flag {
        "set-literal" if is_secret(key) => vec![value.to_owned()],
        "set-literal" => Vec::new(),
        "set-json" => {
            let mut found = Vec::new();
            match serde_json::from_str(value) {
                Ok(json) => in_json(is_secret(key), &json, &mut found),
                // As far as it can be read: no more than its quotation marks.
                Err(_) => found.extend(value.split('"').map(str::to_owned).filter(|part| part.len() > 8)),
            }
            found
        }
        _ => pairs(given).filter(|(key, _)| is_secret(key)).map(|(_, value)| value).collect(),
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET.iter().any(|word| key.contains(word))
}

fn in_json(is_within: bool, json: &Value, found: &mut Vec<String>) {
    match json {
        Value::String(text) if is_within => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| in_json(is_within, item, found)),
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| in_json(is_within || is_secret(key), value, found));
        }
        _ => {}
    }
}

/// `a=1,b.c=2` in pairs; a comma behind a backslash is part of a value.
fn pairs(given: &str) -> impl Iterator<Item = (String, String)> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for letter in given.chars() {
        match (letter, parts.last_mut()) {
            (',', _) if !escaped => parts.push(String::new()),
            ('\\', _) if !escaped => {
                escaped = true;
                continue;
            }
            (_, Some(part)) => part.push(letter),
            (_, None) => {}
        }
        escaped = false;
    }
    parts
        .into_iter()
        .filter_map(|part| part.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helm::Command;

    fn mask(argv: &[&str]) -> Mask {
        let tokens: Vec<String> =
            ["web", "chart"].iter().chain(argv).map(|&token| token.to_owned()).collect();
        Mask::of(&Invocation::parse(Command::Upgrade, &tokens).unwrap())
    }

    #[test]
    fn what_is_given_is_masked_as_a_whole() {
        let mask = mask(&["--set-json", "a={\"b\": hunter2", "--set=hunter3"]);
        assert_eq!(
            mask.text("Error: failed parsing --set-json data a={\"b\": hunter2\n"),
            "Error: failed parsing --set-json data ***\n"
        );
        assert_eq!(mask.text("key \"hunter3\" has no value"), "key \"***\" has no value");
    }

    #[test]
    fn values_are_masked_whose_keys_are_secret() {
        let mask = mask(&[
            "--set",
            "db.password=hun\\,ter2,image.tag=v1.2.3",
            "--set-string=apiToken=0123456",
            "--set-json=auth={\"user\": \"ada-l\", \"list\": [\"third\"]}",
            "--set-literal=tls.key=a,b=c",
        ]);
        for secret in ["hun,ter2", "0123456", "ada-l", "third", "a,b=c"] {
            assert_eq!(mask.text(&format!("invalid: {secret}!")), "invalid: ***!", "{secret}");
        }
        assert_eq!(mask.text("image web:v1.2.3 not found"), "image web:v1.2.3 not found");
    }

    #[test]
    fn short_ones_are_left_alone() {
        assert_eq!(mask(&["--set=key=1"]).text("line 1 of 11"), "line 1 of 11");
    }

    #[test]
    fn the_longest_counts() {
        let mask = Mask::new(vec!["abcd".to_owned(), "abcdefgh".to_owned()]);
        assert_eq!(mask.text("abcdefgh abcdefg"), "*** ***efg");
    }

    proptest::proptest! {
        /// However the stream is cut, no secret is in it, and all else is.
        #[test]
        fn pieces_are_masked_like_the_whole(text in "[abc]{0,40}", cuts in proptest::collection::vec(1_usize..8, 0..20)) {
            let secrets = ["abca", "bcab", "aabbc"].map(str::to_owned).to_vec();
            let mut mask = Mask::new(secrets);
            let whole = mask.text(&text);
            let mut rest = text.as_bytes();
            let mut out = Vec::new();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                out.extend(mask.pass(piece));
                rest = after;
            }
            out.extend(mask.pass(rest));
            out.extend(mask.end());
            proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), whole.clone());
            for secret in ["abca", "bcab", "aabbc"] {
                proptest::prop_assert!(!whole.contains(secret), "{}", whole);
            }
        }
    }
}
