//! What looks like a secret although it is not known for one: passwords in URLs, tokens, values behind telling names.
//! Pure.

use super::MASK;

/// Names that secrets have in logs.
const NAMES: [&str; 9] =
    ["password", "passwd", "pwd", "secret", "token", "apikey", "api_key", "api-key", "credential"];

/// The text without user and password in URLs.
pub(super) fn without_userinfo(text: &str) -> String {
    if !text.contains("://") || !text.contains('@') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        rest = behind;
        let end = rest.find(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c)).unwrap_or(rest.len());
        if let Some((user, _)) = rest[..end].rsplit_once('@')
            && user.contains(':')
        {
            out.push_str(MASK);
            rest = &rest[user.len()..];
        }
    }
    out.push_str(rest);
    out
}

/// A log without all that looks like a secret.
pub(super) fn without_lookalikes(text: &str) -> String {
    text.split_inclusive('\n').map(line).collect()
}

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
    let clean = without_userinfo(word);
    if clean != word {
        return clean;
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
    fn what_looks_secret_is_taken_out_of_a_log() {
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
            assert_eq!(without_lookalikes(text), clean);
        }
    }

    #[test]
    fn a_password_in_a_url_is_taken_out_of_any_text() {
        for (text, clean) in [
            (
                "looks like \"https://ada:p@ss@charts.example/x\" is not a chart repository",
                "looks like \"https://[redacted]@charts.example/x\" is not a chart repository",
            ),
            ("ssh://git@host/a and http://b/c:d@e", "ssh://git@host/a and http://b/c:d@e"),
            ("oci://a:b@c oci://d:e@f", "oci://[redacted]@c oci://[redacted]@f"),
        ] {
            assert_eq!(without_userinfo(text), clean);
        }
    }
}
