//! Objects that exist and do not belong to the release: Helm does not import them.
//! Pure. The words are those of Helm 3 and 4 (`checkOwnership`).

use super::{
    Cause, Snapshot, between,
    messages::{message, shell},
};

/// An object exists that another release, another tool or a person made.
pub(super) fn foreign(snapshot: &Snapshot) -> Vec<Cause> {
    let message = message(&snapshot.error);
    let Some((before, why)) = message.split_once(" exists and cannot be imported into the current release")
    else {
        return Vec::new();
    };
    let subject = || {
        let (before, namespace) = before.rsplit_once(" in namespace \"")?;
        let (before, name) = before.strip_suffix('"')?.rsplit_once(" \"")?;
        let kind = before.rsplit([' ', ':']).next()?;
        Some((kind, name, namespace.strip_suffix('"')?))
    };
    let Some((kind, name, namespace)) = subject() else { return Vec::new() };
    let is = |key: &str| {
        let rest = why.split_once(&format!("key \"{key}\" must equal "))?.1;
        between(rest, "current value is \"", "\"")
    };
    let (release, home) = (is("meta.helm.sh/release-name"), is("meta.helm.sh/release-namespace"));
    let other_tool = is("app.kubernetes.io/managed-by");
    let summary = match (release, home, other_tool) {
        (_, _, Some(tool)) => format!("it exists and is managed by {tool}"),
        (Some(release), Some(home), _) => format!("it belongs to the release {release} in namespace {home}"),
        (Some(release), None, _) => {
            format!("it belongs to the release {release} in namespace {}", snapshot.namespace)
        }
        (None, Some(home), _) => {
            format!("it belongs to the release {} in namespace {home}", snapshot.release)
        }
        (None, None, None) => "it exists and was not created by Helm".to_owned(),
    };
    let object = shell(&format!("{}/{name}", kind.to_lowercase()));
    let place = if namespace.is_empty() { String::new() } else { format!(" -n {}", shell(namespace)) };
    let mut remedy = Vec::new();
    if release.is_some() || home.is_some() {
        remedy.push("give one of the two another name, in the chart or with fullnameOverride".to_owned());
        remedy.push("or move it to this release: run the deploy again with --take-ownership".to_owned());
    } else {
        remedy.push("let this release have it: run the deploy again with --take-ownership".to_owned());
    }
    remedy.push(format!(
        "or: kubectl annotate {object}{place} --overwrite meta.helm.sh/release-name={} meta.helm.sh/release-namespace={} && kubectl label {object}{place} --overwrite app.kubernetes.io/managed-by=Helm",
        shell(&snapshot.release),
        shell(&snapshot.namespace),
    ));
    let evidence = why.split("; ").map(|line| line.trim_start_matches([':', ' ']).to_owned());
    let evidence = evidence.filter(|line| !line.is_empty()).collect();
    vec![Cause { object: format!("{kind}/{name}"), summary, evidence, remedy, ..Cause::default() }]
}
