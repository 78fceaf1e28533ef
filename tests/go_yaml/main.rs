//! Reads texts with helm-guard's YAML reader and with the code that Helm uses, and demands equal values or equal refusal.
//! `HELM_GUARD_SWEEP_SEED` and `HELM_GUARD_SWEEP_POINTS` choose the texts and, in thousands, their number.
//!
//! Known differences, none of which a manifest of a chart can have: of two keys such as `1` and `"1"` Go takes one at random;
//! control characters far behind the end of a document (`...`) are refused here and not seen by Go; more than 1000 levels.
#![expect(clippy::unwrap_used, reason = "a program that cannot be run fails its test")]

mod texts;

use std::{
    io::Write,
    process::{Command, Stdio},
};

use helm_guard::yaml;
use serde_json::Value;

/// What one side made of a text: the documents, or a refusal.
type Read = Result<Vec<Value>, String>;

fn ours(text: &str) -> Read {
    let mut documents = Vec::new();
    let add = |document| {
        documents.push(document);
        Ok(())
    };
    yaml::each_document(text, add).map_err(|error| error.to_string())?;
    Ok(documents)
}

/// The same with Go's code, for all texts at once.
fn gos(texts: &[String]) -> Vec<Read> {
    let program = testbed::tools::goyaml().unwrap();
    let mut go = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = go.stdin.take().unwrap();
    let lines: String = texts.iter().map(|text| Value::from(text.as_str()).to_string() + "\n").collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = go.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let answers = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let answers: Vec<Read> = answers
        .map(|line| {
            let mut answer: Value = serde_json::from_slice(line).unwrap();
            match answer.get("error") {
                Some(error) => Err(error.to_string()),
                None => Ok(serde_json::from_value(answer["documents"].take()).unwrap()),
            }
        })
        .collect();
    assert_eq!(answers.len(), texts.len());
    answers
}

/// Both sides hold a number above `i64` as a float at last.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| is_equal(value, other)))
        }
        (one, other) => one == other,
    }
}

fn agree(ours: &Read, gos: &Read) -> bool {
    match (ours, gos) {
        (Ok(ours), Ok(gos)) => {
            ours.len() == gos.len() && ours.iter().zip(gos).all(|(ours, gos)| is_equal(ours, gos))
        }
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

/// Compares all, and says how many were read and how many were refused.
fn compare(texts: &[String], what: &str) -> (usize, usize) {
    let mut counts = (0, 0);
    let mut written = Vec::new();
    for (text, gos) in texts.iter().zip(gos(texts)) {
        let ours = ours(text);
        assert!(agree(&ours, &gos), "{what}: {text:?}\n  ours: {ours:?}\n  Go's: {gos:?}");
        match ours {
            Ok(documents) => {
                counts.0 += 1;
                written.push(documents);
            }
            Err(_) => counts.1 += 1,
        }
    }
    // What is written for Helm is read by Helm as it was meant.
    let text = |documents: &Vec<Value>| {
        documents.iter().fold(String::new(), |mut text, document| {
            text.push_str("---\n");
            yaml::write(document, &mut text);
            text + "\n"
        })
    };
    let texts: Vec<String> = written.iter().map(text).collect();
    for ((text, documents), gos) in texts.iter().zip(written).zip(gos(&texts)) {
        assert!(agree(&Ok(documents), &gos), "{what}, written: {text:?}\n  Go's: {gos:?}");
    }
    counts
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_text_is_read_as_go_reads_it() {
    let seed = variable("HELM_GUARD_SWEEP_SEED").unwrap_or(1);
    let count = variable("HELM_GUARD_SWEEP_POINTS").unwrap_or(5) * 1000;
    let seeds: Vec<String> = texts::SEEDS.iter().map(|text| (*text).to_owned()).collect();
    compare(&seeds, "as it is");
    let texts = texts::mutated(seed, usize::try_from(count).unwrap());
    let (read, refused) = compare(&texts, &format!("seed {seed}"));
    println!("seed {seed}: {read} read, {refused} refused");
    assert!(read * 10 > texts.len() && refused * 10 > texts.len(), "{read} {refused}");
}

#[test]
fn every_character_survives_what_is_written_for_helm() {
    let characters =
        (0..0x800).chain(0x2000..0x2100).chain([0xfeff, 0xfffd, 0xfffe, 0xffff, 0x1_f600, 0x10_ffff]);
    let all: Vec<char> = characters.filter_map(char::from_u32).collect();
    let long = "k".repeat(3000);
    let mut values: Vec<Value> =
        all.iter().map(|one| serde_json::json!({ (format!("a{one}b")): format!("{one} x{one}") })).collect();
    values.push(
        serde_json::json!({ (long.clone()): {"--- x": [long, "--- y\n---\n...", "", " ", "~", "1e3"]} }),
    );
    values.push(serde_json::json!([
        1e21,
        1.5e300,
        5e-324,
        -0.0,
        u64::MAX,
        i64::MIN,
        1e-7,
        0.1,
        "x".repeat(100_000)
    ]));
    let texts: Vec<String> = values
        .iter()
        .map(|value| {
            let mut text = "---\n".to_owned();
            yaml::write(value, &mut text);
            text
        })
        .collect();
    for ((text, value), gos) in texts.iter().zip(values).zip(gos(&texts)) {
        assert!(agree(&Ok(vec![value.clone()]), &gos), "{text:?}: {gos:?}");
        assert!(agree(&ours(text), &Ok(vec![value])), "{text:?}");
    }
}
