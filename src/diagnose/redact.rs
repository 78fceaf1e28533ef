//! What is secret, taken out of logs and messages.
//! Pure. Known values are found wherever they stand; of unknown ones those that look like it, a password in a URL for example.

/// What stands in the place of a secret.
const MASK: &str = "[redacted]";
/// Shorter values are words that occur by themselves.
const SHORTEST: usize = 4;

/// Knows what may not be shown.
#[derive(Clone, Default)]
pub struct Redactor {
    /// The longest first: one may be a part of another.
    values: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} values)", self.values.len())
    }
}

impl Redactor {
    /// Of values that are secret. One of many lines is found by each of its lines too.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let mut known: Vec<String> = Vec::new();
        for value in values {
            known.push(STANDARD.encode(value.trim()));
            known.extend(value.lines().map(|line| line.trim().to_owned()));
        }
        known.retain(|value| value.len() >= SHORTEST);
        known.sort_by_key(|value| (std::cmp::Reverse(value.len()), value.clone()));
        known.dedup();
        Self { values: known }
    }

    /// The text without what is secret.
    pub fn clean(&self, text: &str) -> String {
        let known =
            self.values.iter().fold(text.to_owned(), |text, value| text.replace(value.as_str(), MASK));
        known.split_inclusive('\n').map(line).collect()
    }
}

/// Names that secrets have.
const NAMES: [&str; 9] =
    ["password", "passwd", "pwd", "secret", "token", "apikey", "api_key", "api-key", "credential"];

fn line(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut secret_next = false;
    for word in line.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        let blank = &word[bare.len()..];
        if bare.is_empty() {
            out.push_str(word);
        } else if secret_next {
            out.push_str(MASK);
            out.push_str(blank);
            // `Authorization: Bearer x` has two words before the secret.
            secret_next = is_scheme(bare);
        } else {
            out.push_str(&masked(bare));
            out.push_str(blank);
            secret_next = is_scheme(bare) || (bare.ends_with([':', '=']) && is_named(bare));
        }
    }
    out
}

fn is_scheme(word: &str) -> bool {
    matches!(word.trim_matches('"'), "Bearer" | "bearer" | "Basic")
        || word.to_lowercase().ends_with("authorization:")
}

fn is_named(word: &str) -> bool {
    let word = word.to_lowercase();
    NAMES.iter().any(|name| word.contains(name))
}

fn masked(word: &str) -> String {
    if let Some((scheme, rest)) = word.split_once("://")
        && let Some((user, host)) = rest.split_once('@')
        && user.contains(':')
    {
        return format!("{scheme}://{MASK}@{host}");
    }
    for sign in ['=', ':'] {
        // Of `a=1&token=x` and `"token":"x"` all that comes behind the name.
        if let Some(at) = word.match_indices(sign).map(|(at, _)| at).find(|at| is_named(&word[..*at]))
            && at + 1 < word.len()
        {
            return format!("{}{MASK}", &word[..=at]);
        }
    }
    let is_token = word.starts_with("eyJ") && word.matches('.').count() >= 2;
    let is_code = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/' | '=');
    let is_key = word.len() >= 60 && word.chars().all(is_code);
    if is_token || is_key { MASK.to_owned() } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_are_found_wherever_they_stand() {
        let redactor =
            Redactor::new(["canary-3141".to_owned(), "first line\nsecond line".to_owned(), "ab".to_owned()]);
        for (text, clean) in [
            ("login with xcanary-3141x failed", "login with x[redacted]x failed"),
            ("read second line", "read [redacted]"),
            ("Y2FuYXJ5LTMxNDE= is known in base64", "[redacted] is known in base64"),
            ("ab is too short to be told from a word", "ab is too short to be told from a word"),
        ] {
            assert_eq!(redactor.clean(text), clean);
        }
        assert!(!format!("{redactor:?}").contains("canary"));
    }

    #[test]
    fn what_looks_secret_is_taken_out() {
        let redactor = Redactor::default();
        for (text, clean) in [
            ("DB_PASSWORD=hunter2 user=ada", "DB_PASSWORD=[redacted] user=ada"),
            ("{\"token\":\"abc\"}", "{\"token\":[redacted]"),
            ("password: hunter2", "password: [redacted]"),
            ("Authorization: Bearer abc.def", "Authorization: [redacted] [redacted]"),
            ("postgres://ada:hunter2@db:5432/shop", "postgres://[redacted]@db:5432/shop"),
            ("sent eyJhbGciOi.eyJzdWI.c2ln now", "sent [redacted] now"),
            (
                "panic: cannot open /etc/app.yaml: no such file",
                "panic: cannot open /etc/app.yaml: no such file",
            ),
            (
                "dial tcp 10.0.0.1:5432: connect: connection refused\nnext",
                "dial tcp 10.0.0.1:5432: connect: connection refused\nnext",
            ),
        ] {
            assert_eq!(redactor.clean(text), clean);
        }
    }
}
