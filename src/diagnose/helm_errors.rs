//! Causes: errors of Helm itself.
//! Pure. The words are those of Helm 3 and 4.

use super::{Cause, Snapshot};

fn when(snapshot: &Snapshot, words: &[&str], summary: &str, remedy: Vec<String>) -> Vec<Cause> {
    let line = snapshot.error.lines().rev().find(|line| words.iter().any(|word| line.contains(word)));
    let cause = |line: &str| Cause {
        summary: summary.to_owned(),
        evidence: vec![format!("helm: {line}")],
        remedy,
        ..Cause::default()
    };
    line.map(cause).into_iter().collect()
}

fn list(snapshot: &Snapshot) -> String {
    format!("helm list --all -n {}", snapshot.namespace)
}

/// The whole chart is in each record, and a record is one object.
pub(super) fn record_too_large(snapshot: &Snapshot) -> Vec<Cause> {
    let remedy = vec![
        "keep files that the templates do not read out of the chart: list them in its .helmignore".to_owned(),
        "move large files, dashboards and CRDs to a chart of their own".to_owned(),
        "or HELM_DRIVER=sql, which has no such limit".to_owned(),
    ];
    let words = ["may not be more than 1048576 bytes", "request is too large", "request entity too large"];
    when(snapshot, &words, "helm's record of the release does not fit an object of the API server", remedy)
}

pub(super) fn never_installed(snapshot: &Snapshot) -> Vec<Cause> {
    let remedy = vec![
        "if the release is not there yet, use upgrade --install; check its name and namespace too".to_owned(),
        list(snapshot),
    ];
    when(snapshot, &["has no deployed releases"], "there is no deployed revision to upgrade from", remedy)
}

pub(super) fn not_found(snapshot: &Snapshot) -> Vec<Cause> {
    let gone = "it is gone already: --ignore-not-found makes that a success".to_owned();
    let gone = (snapshot.command == "uninstall").then_some(gone);
    let remedy = gone.into_iter().chain([list(snapshot)]).collect();
    when(snapshot, &["release: not found"], "there is no release of this name", remedy)
}

pub(super) fn in_progress(snapshot: &Snapshot) -> Vec<Cause> {
    let remedy = vec!["without --repair off helm-guard would have repaired the release".to_owned()];
    let words = ["another operation (install/upgrade/rollback) is in progress"];
    when(snapshot, &words, "a revision is pending: a run died, or still works", remedy)
}

pub(super) fn name_in_use(snapshot: &Snapshot) -> Vec<Cause> {
    let remedy = vec!["use upgrade --install, which does either".to_owned()];
    let words = ["cannot re-use a name that is still in use", "cannot reuse a name that is still in use"];
    when(snapshot, &words, "there is a release of this name already", remedy)
}
