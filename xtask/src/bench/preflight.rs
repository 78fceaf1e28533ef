//! What the preflight costs: beside the same deploy without it, and beside Helm's own dry run by the server.

use anyhow::Result;
use testbed::tools::Helm;

use super::{CHART, HISTORY, UPGRADE, finding::Finding, take_turns, timed};
use crate::{lab::Place, screen::Note};

/// A deploy with a preflight may take this many times what one without takes.
const SHARE_LIMIT: f64 = 1.10;
/// A preflight alone may take this many times what `helm upgrade --dry-run=server` takes, which sends no object.
const CHECK_LIMIT: f64 = 2.0;
/// Objects of the large release, beside its Deployment.
const OBJECTS: usize = 200;

/// An upgrade that changes nothing, without and with a preflight.
pub(super) fn share(place: &Place<'_>, helm: Helm, rounds: usize, note: &Note) -> Result<Finding> {
    timed(place, "helm", &["install", "web", CHART, "--wait"])?;
    for run in 0..HISTORY {
        note.set(format!("warming up {run} of {HISTORY}"));
        timed(place, "helm-guard", &UPGRADE)?;
    }
    let samples = take_turns(rounds, note, |checked| {
        let mode = if checked { "--preflight=enforce" } else { "--preflight=off" };
        timed(place, "helm-guard", &[&UPGRADE[..], &[mode]].concat())
    })?;
    Ok(Finding::pairs("no-op without and with preflight", Some(helm), samples, SHARE_LIMIT))
}

/// Helm's own dry run of a large release, and the preflight of it alone.
pub(super) fn large(place: &Place<'_>, helm: Helm, rounds: usize, note: &Note) -> Result<Finding> {
    let names: Vec<String> = (1..=OBJECTS).map(|n| format!("settings-{n}")).collect();
    let configs = format!("--set=configs={{{}}}", names.join(","));
    timed(place, "helm", &["install", "web", CHART, "--wait", &configs])?;
    let samples = take_turns(rounds, note, |checked| {
        if checked {
            timed(place, "helm-guard", &["check", "web", CHART, &configs])
        } else {
            timed(place, "helm", &["upgrade", "web", CHART, "--dry-run=server", &configs])
        }
    })?;
    Ok(Finding::pairs("200 objects: dry run and check", Some(helm), samples, CHECK_LIMIT))
}
