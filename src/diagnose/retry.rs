//! Whether to run the same Helm command once more.
//! Pure: `deploy.rs` does it, once, under the lock that it still holds.
//!
//! Only where all that failed is a race that Helm lost: somebody wrote an object between Helm's reading and its writing, and
//! neither meant the other harm. A second run reads it anew. Nothing else is tried again: what the API server refuses for what it
//! is, it refuses again, and a timeout would only take twice as long.

use super::{Cause, Snapshot};
use crate::manifest::Manifest;

/// Why a second run is right; `None` where it is not. `wanted`: what Helm was to apply; `hooks_before`: do hooks run before that?
pub fn again(snapshot: &Snapshot, causes: &[Cause], wanted: &Manifest, hooks_before: bool) -> Option<String> {
    let first = causes.first()?;
    let is_race = first.id == "changed-meanwhile" && causes.iter().all(|cause| cause.id == first.id);
    // An install cannot be repeated, and hooks that ran are not known to bear it.
    (is_race && snapshot.command == "upgrade" && !hooks_before && !wanted.objects.iter().any(is_bound))
        .then(|| format!("{}: {}", first.object, first.summary))
}

/// Does the chart itself name the version or the identity that an object must have? Then it is the chart that is outdated.
fn is_bound((_, object): &(crate::manifest::ObjectKey, serde_json::Value)) -> bool {
    ["resourceVersion", "uid"].iter().any(|field| !object["metadata"][*field].is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_race_of_an_upgrade_is_run_again() {
        let race = Cause { id: "changed-meanwhile", object: "configmaps/keep".into(), ..Cause::default() };
        let other = Cause { id: "quota-exceeded", ..Cause::default() };
        let free = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: keep}\n";
        let bound = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: keep, resourceVersion: '1'}\n";
        for (what, command, causes, manifest, hooks, expected) in [
            ("a lost race", "upgrade", vec![race.clone()], free, false, true),
            ("two of them", "upgrade", vec![race.clone(), race.clone()], free, false, true),
            ("of an install", "install", vec![race.clone()], free, false, false),
            ("and something else", "upgrade", vec![race.clone(), other.clone()], free, false, false),
            ("only something else", "upgrade", vec![other], free, false, false),
            ("nothing known", "upgrade", vec![], free, false, false),
            ("hooks ran before", "upgrade", vec![race.clone()], free, true, false),
            ("the chart names a version", "upgrade", vec![race], bound, false, false),
        ] {
            let snapshot = Snapshot { command: command.into(), ..Snapshot::default() };
            let manifest = Manifest::parse(manifest, "shop").unwrap();
            assert_eq!(again(&snapshot, &causes, &manifest, hooks).is_some(), expected, "{what}");
        }
    }
}
