use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use proptest::prelude::*;

use super::*;

const CANARY: &str = "can'ary \"3141\"\\<ä>&+/%=";

fn redactor(secrets: &[&str]) -> Redactor {
    Redactor::new(secrets.iter().map(|&secret| secret.to_owned()))
}

fn percent(text: &str, lower: bool) -> String {
    let digits = |byte: u8| if lower { format!("%{byte:02x}") } else { format!("%{byte:02X}") };
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { digits(b) })
        .collect()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// As many programs print it: Go's `%q`, JSON with its escapes that need not be.
fn escaped(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_ascii() && c != '<' && c != '&' => c.to_string(),
        c => format!("\\u{:04x}", u32::from(c)),
    };
    text.chars().map(escape).collect()
}

/// The encodings, each by its name.
fn encodings(text: &str) -> Vec<(&'static str, String)> {
    let bytes = text.as_bytes();
    let json = serde_json::to_string(text).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let within = |engine: &dyn Fn(String) -> String, before: &str| engine(format!("{before}{text}:after"));
    let standard = |text: String| STANDARD.encode(text);
    let auth =
        serde_json::json!({"auths": {"r": {"auth": STANDARD.encode(format!("ada:{text}"))}}}).to_string();
    vec![
        ("plain", text.to_owned()),
        ("json", json.clone()),
        ("json in json", serde_json::to_string(&json).unwrap()),
        ("go", format!("{text:?}")),
        ("escaped", escaped(text)),
        ("single quotes of yaml", format!("'{}'", text.replace('\'', "''"))),
        ("single quotes of a shell", format!("'{}'", text.replace('\'', r"'\''"))),
        ("single quotes of python", format!("'{}'", text.replace('\'', r#"'"'"'"#))),
        ("percent", percent(text, false)),
        ("percent, lower case", percent(text, true)),
        ("form", percent(text, false).replace("%20", "+")),
        ("html", html(text)),
        ("base64", STANDARD.encode(bytes)),
        ("base64 without padding", STANDARD_NO_PAD.encode(bytes)),
        ("base64 for urls", URL_SAFE.encode(bytes)),
        ("base64 for urls without padding", URL_SAFE_NO_PAD.encode(bytes)),
        ("in base64, behind one", within(&standard, "u")),
        ("in base64, behind two", within(&standard, "u:")),
        ("in base64, behind three", within(&standard, "ur:")),
        ("base64 behind a letter", format!("x{}", STANDARD.encode(bytes))),
        ("base64 in base64", STANDARD.encode(STANDARD.encode(bytes))),
        ("docker configuration in a secret", STANDARD.encode(auth)),
        ("base64 in percent", percent(&STANDARD.encode(bytes), true)),
        ("json in base64", STANDARD.encode(json)),
        ("hexadecimal", hex.clone()),
        ("hexadecimal, upper case", hex.to_uppercase()),
    ]
}

#[test]
fn a_secret_is_found_in_every_encoding() {
    // With quotation marks at its ends: beside those around it they look like other ways to write one.
    for secret in [CANARY, "hunter2-and-more", "ab:cd/ef gh", "''0  00ä", "'quoted-'both''"] {
        let redactor = redactor(&[secret]);
        for (name, encoded) in encodings(secret) {
            let clean = redactor.clean(&format!("refused: {encoded} is no name"));
            assert!(clean.contains(MASK) && clean.ends_with(" is no name"), "{name}: {clean}");
            for (other, piece) in encodings(secret) {
                assert!(!clean.contains(&piece), "{name}, {other}: {clean}");
            }
            assert!(redactor.finds(&encoded), "{name}");
        }
    }
}

#[test]
fn a_short_secret_is_found_as_a_whole_word() {
    let redactor = redactor(&["test"]);
    for (text, clean) in [
        ("key test, user:test@host, \"test\"", "key [redacted], user:[redacted]@host, \"[redacted]\""),
        ("latest tests contest", "latest tests contest"),
        ("%3Dtest%26 \\ntest\\n", "%3D[redacted]%26 \\n[redacted]\\n"),
    ] {
        assert_eq!(redactor.clean(text), clean);
    }
    let basic = format!("Basic {}", STANDARD.encode("ada:test"));
    assert_eq!(redactor.clean(&basic), "Basic [redacted]");
}

#[test]
fn secrets_that_overlap_leave_nothing() {
    let redactor = redactor(&["abcdefgh", "efghijkl", "abcdefghijkl-long"]);
    for (text, clean) in [
        ("-abcdefghijkl-", "-[redacted]-"),
        ("abcdefghijkl-long", "[redacted]"),
        ("abcdefghabcdefgh", "[redacted][redacted]"),
    ] {
        assert_eq!(redactor.clean(text), clean);
    }
}

#[test]
fn what_is_no_secret_stays() {
    let redactor = redactor(&[CANARY, "abc", "redacted"]);
    for text in [
        "abc is too short",
        "",
        "a [redacted] b",
        "100% of 5%2 \\q \\u12 \\ud800 & &amp &#xffffffff; ''' %",
        "Deployment.apps \"web\" is invalid: spec.replicas: Invalid value: -1",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ] {
        assert_eq!(redactor.clean(text), text);
    }
    assert_eq!(redactor.0.texts.len(), 1);
}

#[test]
fn values_in_json_are_redacted_with_their_keys() {
    let mut value = serde_json::json!({"a": ["x canary-31 y", 1], "canary-31": {"b": "c"}});
    value.redact(&redactor(&["canary-31"]));
    assert_eq!(value, serde_json::json!({"a": ["x [redacted] y", 1], "[redacted]": {"b": "c"}}));
}

#[test]
fn a_begun_line_waits_only_for_a_secret() {
    let redactor = redactor(&["canary-3141"]);
    let mut stream = Stream::default();
    assert_eq!(stream.pass(b"one\nPassword: ", &redactor), b"one\n");
    assert_eq!(stream.idle(&redactor), b"Password: ");
    assert!(!stream.is_begun());
    assert_eq!(stream.pass(b"is can", &redactor), b"");
    assert_eq!(stream.idle(&redactor), b"is ");
    assert_eq!(stream.pass(b"ary-3141\n", &redactor), b"[redacted]\n");
    assert_eq!(stream.pass(b"canary-3141", &redactor), b"");
    assert_eq!(stream.end(&redactor), b"[redacted]");
}

#[test]
fn a_line_without_an_end_is_not_kept_for_ever() {
    let mut stream = Stream::default();
    let given = stream.pass(&vec![b'x'; (1 << 20) + 1], &redactor(&["canary-3141"]));
    assert_eq!(given.len(), (1 << 20) + 1 - (64 << 10));
}

/// A large output with many secrets must not cost what a deploy takes.
#[test]
fn the_search_is_fast() {
    let secrets: Vec<String> = (0..2000).map(|index| format!("secret-{index:04}-{}", index * 7919)).collect();
    let redactor = Redactor::new(secrets);
    let line =
        "kind: Deployment metadata: {name: web, labels: {app.kubernetes.io/name: web}} secret-0100-\\n";
    let text = line.repeat(1 << 10);
    let clock = crate::clock::Clock::start();
    assert_eq!(redactor.clean(&text), text);
    let took = clock.monotonic();
    assert!(took.as_secs() < 10, "{} bytes took {took:?}", text.len());
}

proptest! {
    /// No secret in any encoding is left in any text, and the rest of the text is.
    #[test]
    fn no_secret_is_left(secret in "[ -~äß]{8,24}", at in 0..64_usize, before in "[a-z ]{0,9}", after in "[a-z ]{0,9}") {
        prop_assume!(secret.trim() == secret && !before.contains(&secret) && !after.contains(&secret));
        let redactor = redactor(&[&secret]);
        let all = encodings(&secret);
        let (name, encoded) = &all[at % all.len()];
        let clean = redactor.clean(&format!("{before} {encoded} {after}"));
        prop_assert!(clean.contains(MASK), "{}: {}", name, clean);
        prop_assert!(!redactor.finds(&clean.replace(MASK, "")), "{}: {}", name, clean);
        prop_assert!(clean.starts_with(&format!("{before} ")) && clean.ends_with(&format!(" {after}")), "{}", clean);
    }

    /// However a stream is cut, it is redacted like the whole.
    #[test]
    fn pieces_are_redacted_like_the_whole(text in "[abc\n]{0,60}", cuts in prop::collection::vec(1_usize..8, 0..20)) {
        let redactor = redactor(&["abcabcab", "bcabbcab", "aabbcaab"]);
        let whole = redactor.bytes(text.as_bytes());
        let mut stream = Stream::default();
        let (mut rest, mut out) = (text.as_bytes(), Vec::new());
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            out.extend(stream.pass(piece, &redactor));
            rest = after;
        }
        out.extend(stream.pass(rest, &redactor));
        out.extend(stream.end(&redactor));
        prop_assert_eq!(out, whole);
    }

    /// Any bytes at all are taken, and what has no secret stays as it is.
    #[test]
    fn any_text_is_taken(text in ".{0,200}") {
        prop_assert_eq!(redactor(&["never-in-it-31415926"]).known(&text), text);
    }
}
