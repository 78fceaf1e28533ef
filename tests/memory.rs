//! What strangers have written, records of releases and manifests, is read or refused in bounded memory. One test in a
//! process of its own: the process is what is measured.
#![expect(clippy::unwrap_used, reason = "a process that cannot be measured fails the test")]

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use helm_guard::{
    manifest::Manifest,
    release::codec::{self, MAX_DECODED, MAX_VALUES},
};

const MIB: usize = 1 << 20;

/// The most memory that this process ever had, bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}

/// A payload: `before`, then `piece` again and again up to so many bytes, then `after`.
fn bomb(before: &str, piece: &str, bytes: usize, after: &str) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(before.as_bytes()).unwrap();
    let many = piece.repeat(MIB / 8 / piece.len());
    for _ in 0..bytes / many.len() {
        gzip.write_all(many.as_bytes()).unwrap();
    }
    gzip.write_all(after.as_bytes()).unwrap();
    let payload = STANDARD.encode(gzip.finish().unwrap()).into_bytes();
    assert!(payload.len() < 3 * MIB, "{}", payload.len());
    payload
}

/// All that is ever asked of a record.
fn read(payload: &[u8]) -> &'static str {
    let Ok(json) = codec::decode(payload) else { return "not decoded" };
    assert!(json.len() as u64 <= MAX_DECODED);
    let (essentials, texts) = (codec::essentials(&json).map(drop), codec::texts(&json).map(drop));
    let values = codec::config(&json).map(|text| drop(serde_json::from_str::<serde_json::Value>(&text)));
    let rest = (codec::manifest(&json), codec::planned(&json), codec::sizes(&json));
    drop(rest);
    let edited = codec::edit(&json, &codec::Edit::default()).map(drop);
    if [essentials, texts, values, edited].into_iter().all(|read| read.is_ok()) { "read" } else { "refused" }
}

#[test]
fn strangers_take_no_more_memory_than_is_theirs() {
    let info = r#"{"info":{"status":"deployed"},"#;
    let limit = MAX_DECODED as usize;
    let start = peak();
    let within = |what: &str, most: usize| {
        let grown = peak() - start;
        assert!(grown <= most, "{what}: {} MiB", grown / MIB);
    };
    // Payloads of some KiB.
    for (what, payload, expected) in [
        ("as many values", bomb(&format!("{info}\"config\":["), "{\"a\":0},", MAX_VALUES * 3, "0]}"), "read"),
        ("lists in lists", bomb(&format!("{info}\"a\":"), "[", 2 * MAX_VALUES, ""), "not decoded"),
        ("what is endless", bomb("", " ", limit + 2 * MIB, ""), "not decoded"),
    ] {
        assert_eq!(read(&payload), expected, "{what}");
        within(what, 6 * limit);
    }
    let list = "- {a: 1}\n".repeat(350_000);
    assert!(Manifest::parse(&format!("kind: A\nmetadata: {{name: a}}\nx:\n{list}"), "shop").is_err());
    within("a long list", 6 * limit);
}
