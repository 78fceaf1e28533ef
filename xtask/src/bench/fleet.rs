//! `helm-guard status -A` beside `helm list -A --pending`, on a cluster with thousands of releases. Their records are copies
//! of one that a real Helm wrote, each with its own name in it.

use std::{
    io::{Read, Write},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::{Value, json};
use testbed::tools::Helm;

use super::{finding::Finding, memory, stats::Samples, take_turns, timed};
use crate::{
    lab::{CHART, Lab, Place},
    screen::Note,
};

/// Namespaces, and releases in each: 5,000 releases with two records each.
const NAMESPACES: usize = 50;
const RELEASES: usize = 100;
/// One in so many is stuck.
const STUCK: usize = 500;
/// helm-guard's time in percent of Helm's: at least 50 times faster.
const TIME_LIMIT: f64 = 100.0 / 50.0;
/// Its memory in percent of Helm's.
const MEMORY_LIMIT: f64 = 100.0 / 20.0;
/// Rounds: a list of Helm's takes seconds.
const ROUNDS: usize = 5;
/// Runs whose memory is looked at, of each kind.
const MEMORY_RUNS: usize = 2;
/// Processes that create records at once.
const AT_ONCE: usize = 4;

const RAW: (&str, &[&str]) = ("helm", &["list", "-A", "--pending"]);
const GUARDED: (&str, &[&str]) = ("helm-guard", &["status", "-A"]);

/// Time and memory of both, with both Helms.
pub(crate) fn compare(lab: &Lab, rounds: usize, note: &Note) -> Result<Vec<Finding>> {
    let place = lab.place("fleet", Helm::V4)?;
    fill(&place, note)?;
    let mut findings = Vec::new();
    for helm in Helm::ALL {
        let place = lab.place(&format!("fleet-{helm:?}").to_lowercase(), helm)?;
        same_releases(&place)?;
        let pair = take_turns(rounds.min(ROUNDS), note, |guarded| {
            let (program, arguments) = if guarded { GUARDED } else { RAW };
            timed(&place, program, arguments)
        })?;
        findings.push(Finding::shares("status -A, of helm list's time", Some(helm), pair, TIME_LIMIT));
        let mut memory = [Samples::default(), Samples::default()];
        for run in 0..2 * MEMORY_RUNS {
            let (program, arguments) = if run % 2 == 0 { RAW } else { GUARDED };
            let mut command = place.command(program, arguments);
            let peak = memory::peak(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
            memory[run % 2].push(peak);
        }
        let share = memory[1].per(&memory[0]).times(100.0);
        let what = "status -A, of its memory";
        findings.push(Finding::single(what, super::finding::Unit::Percent, share, MEMORY_LIMIT).of(helm));
    }
    Ok(findings)
}

/// Both tell of the same releases; else it would be no comparison.
fn same_releases(place: &Place<'_>) -> Result<()> {
    let listed = |(program, arguments): (&str, &[&str]), name: &str| -> Result<Vec<String>> {
        let output = place.command(program, arguments).arg("--output=json").output()?;
        let said: Value =
            serde_json::from_slice(&output.stdout).with_context(|| format!("read {program}'s list"))?;
        let items = said.as_array().or_else(|| said["items"].as_array()).context("find the list")?;
        let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let mut names: Vec<String> =
            items.iter().map(|item| format!("{}/{}", text(item, "namespace"), text(item, name))).collect();
        names.sort();
        Ok(names)
    };
    let (helms, ours) = (listed(RAW, "name")?, listed(GUARDED, "release")?);
    let count = NAMESPACES * RELEASES / STUCK;
    ensure!(helms.len() == count && helms == ours, "helm lists {helms:?}, helm-guard {ours:?}");
    Ok(())
}

/// Creates the records.
fn fill(place: &Place<'_>, note: &Note) -> Result<()> {
    timed(place, "helm", &["install", "web", CHART, "--wait", &super::configs()])?;
    let record =
        place.command("kubectl", ["get", "secret", "sh.helm.release.v1.web.v1", "--output=json"]).output()?;
    let record: Value = serde_json::from_slice(&record.stdout).context("read a record")?;
    let payload = record["data"]["release"].as_str().context("find the record's body")?;
    let mut body = String::new();
    GzDecoder::new(STANDARD.decode(STANDARD.decode(payload)?)?.as_slice()).read_to_string(&mut body)?;
    let body: Value = serde_json::from_str(&body).context("read the record's body")?;
    for first in (0..NAMESPACES).step_by(AT_ONCE) {
        note.set(format!("{} of {} records", 2 * first * RELEASES, 2 * NAMESPACES * RELEASES));
        let several = (first..NAMESPACES.min(first + AT_ONCE)).map(|number| {
            let mut create = place.command("kubectl", ["create", "--filename=-"]);
            let mut create = create.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
            let list = namespace(number, &body)?.to_string();
            create.stdin.take().context("kubectl's stdin")?.write_all(list.as_bytes())?;
            anyhow::Ok(create)
        });
        for create in several.collect::<Vec<_>>() {
            ensure!(create?.wait()?.success(), "kubectl could not create records");
        }
    }
    Ok(())
}

/// A namespace and its records.
fn namespace(number: usize, body: &Value) -> Result<Value> {
    let name = format!("fleet-{number}");
    let mut items = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})];
    for release in 0..RELEASES {
        let is_stuck = (number * RELEASES + release).is_multiple_of(STUCK);
        let statuses = if is_stuck { ["deployed", "pending-upgrade"] } else { ["superseded", "deployed"] };
        for (revision, status) in (1..).zip(statuses) {
            items.push(record(&name, &format!("release-{release}"), revision, status, body)?);
        }
    }
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}))
}

fn record(namespace: &str, release: &str, revision: u32, status: &str, body: &Value) -> Result<Value> {
    let mut body = body.clone();
    (body["name"], body["namespace"]) = (release.into(), namespace.into());
    (body["version"], body["info"]["status"]) = (revision.into(), status.into());
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(body.to_string().as_bytes())?;
    let payload = STANDARD.encode(STANDARD.encode(gzip.finish()?));
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "helm.sh/release.v1",
        "metadata": {
            "name": format!("sh.helm.release.v1.{release}.v{revision}"),
            "namespace": namespace,
            "labels": {
                "name": release, "owner": "helm", "status": status, "version": revision.to_string(),
                "createdAt": "1780000000", "modifiedAt": "1780000000",
            },
        },
        "data": {"release": payload},
    }))
}
