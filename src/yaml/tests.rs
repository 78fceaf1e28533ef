use super::*;
use serde_json::json;

fn documents(text: &str) -> Result<Vec<Value>, Unread> {
    let mut all = Vec::new();
    each_document(text, |document| {
        all.push(document);
        Ok(())
    })?;
    Ok(all)
}

#[test]
fn helm_and_strict_parsers_differ_here_and_helm_is_followed() {
    for (text, value) in [
        ("commit: 6e53421", json!({"commit": "6e53421"})),
        ("a: \"one\ntwo\n\nthree\"", json!({"a": "one two\nthree"})),
        ("a: 'x'# comment", json!({"a": "x"})),
        ("a: \"x\"# comment\nb: 1", json!({"a": "x", "b": 1})),
        ("a: 1\na: 2", json!({"a": 2})),
        (
            "x: &x {a: 1, b: 1}\ny:\n  b: 2\n  <<: *x\n  a: 3",
            json!({"x": {"a": 1, "b": 1}, "y": {"a": 3, "b": 1}}),
        ),
        ("a: {<<: [{b: 1}, {b: 2, c: 3}]}", json!({"a": {"b": 1, "c": 3}})),
        ("yes: on\n1: 0644\n1.5: 08", json!({"true": true, "1": 420, "1.5": 8})),
        ("a: !!binary aGVsbG8=\nb: !!str 1\nc: !own 1", json!({"a": "hello", "b": "1", "c": "1"})),
        ("a:\t1\nb: x\ty", json!({"a": 1, "b": "x\ty"})),
        ("a: |\n  x\n  y", json!({"a": "x\ny\n"})),
        ("\u{feff}a: 1\r\nb: |\r\n  x\r\n", json!({"a": 1, "b": "x\n"})),
    ] {
        assert_eq!(documents(text).unwrap(), [value], "{text:?}");
    }
}

#[test]
fn a_stream_is_split_before_its_yaml_is_read() {
    for (text, count) in [
        ("", Some(0)),
        ("---\n---\n# nothing\n--- # a\na: 1\n", Some(1)),
        ("a: 1\n---\nb: 2", Some(2)),
        ("a: \"x\n---\ny\"\n", None),
        ("a: 1\n---b: 2\n", None),
        ("{\"a\":1}\n{\"b\":2}{\"c\":3}", Some(3)),
        ("{\"a\":1}\n---\nb: 2\n", Some(2)),
        ("a: 1\n...\nb: 2\n", Some(1)),
    ] {
        assert_eq!(documents(text).ok().map(|all| all.len()), count, "{text:?}");
    }
}

#[test]
fn what_is_beyond_the_limits_is_told_from_what_is_wrong() {
    let laughs: String = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let again = vec![format!("*a{}", n - 1); 9].join(", ");
        format!("{text}a{n}: &a{n} [{again}]\n")
    });
    assert_eq!(document(&laughs), Err(Unread::NotJson), "Go refuses it too");
    assert_eq!(document(&"[".repeat(5000)), Err(Unread::BeyondLimits("too deeply nested")));
    assert_eq!(document(&"- {a: 1}\n".repeat(400_000)), Err(Unread::BeyondLimits("too many values")));
    assert_eq!(document("a: 1\nb: [\n"), Err(Unread::NotYaml(3)));
    assert_eq!(documents("a: 1\n---\nb: 1\nc: ]\n"), Err(Unread::NotYaml(4)));
    assert_eq!(document("a: \u{7f}"), Err(Unread::NotYaml(1)));
    assert_eq!(document("a: .nan"), Err(Unread::NotJson));
    assert_eq!(document("&a [*a]"), Err(Unread::NotJson));
}

proptest::proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(text in "\\PC{0,40}", any in ".{0,40}", key in "[a-z\u{80}-\u{a0}\u{2028}\"\\\\: ]{0,1200}") {
        let value = json!({ (key.clone()): [text, any, {(key): 1.5}, -1, null, true] });
        let mut text = String::new();
        write(&value, &mut text);
        proptest::prop_assert_eq!(document(&text), Ok(value));
    }
}
