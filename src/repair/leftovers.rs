//! What to do with an object that only a dead install contained, after another install has completed.
//! Pure: objects are read and deleted in `finish_install/objects.rs`.
//!
//! Only what that install itself made may go. By the clocks of the API server alone: the object was stored after the record
//! of the install, which Helm writes before anything else. Both times are whole seconds; within one second the object's
//! managers are the witness, and nobody but Helm may have written it.

use serde_json::Value;

use crate::manifest::ObjectKey;

/// The release, and what of it lives on.
#[derive(Clone, Copy, Debug)]
pub struct Release<'a> {
    /// Name.
    pub name: &'a str,
    /// Namespace.
    pub namespace: &'a str,
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not the release's: nothing is done or said.
    NotOurs,
    /// It is deleted.
    Goes,
    /// It stays, and this is why.
    Stays(&'static str),
}

/// Helm's name among the managers of an object, whatever its binary is called (`ManagedFieldsManager` in helm's main).
const HELM: &str = "helm";

/// Does the object carry the release's marks?
pub fn is_marked(live: &Value, release: Release<'_>) -> bool {
    let note = |name: &str| live["metadata"]["annotations"][name].as_str().unwrap_or_default();
    note("meta.helm.sh/release-name") == release.name
        && note("meta.helm.sh/release-namespace") == release.namespace
        && live["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
}

/// By what Helm knows its own (`setMetadataVisitor` in validate.go), as it will be on what it applies.
pub fn mark(object: &mut Value, release: Release<'_>) {
    let metadata = &mut object["metadata"];
    for part in ["labels", "annotations"] {
        if metadata[part].is_null() {
            metadata[part] = serde_json::json!({});
        }
    }
    metadata["labels"]["app.kubernetes.io/managed-by"] = "Helm".into();
    metadata["annotations"]["meta.helm.sh/release-name"] = release.name.into();
    metadata["annotations"]["meta.helm.sh/release-namespace"] = release.namespace.into();
}

/// The command that deletes an object.
pub fn command(key: &ObjectKey) -> String {
    let group = match key.api_version.split_once('/') {
        Some((group, _)) if !crate::cluster::api_paths::is_native(&key.api_version) => format!(".{group}"),
        _ => String::new(),
    };
    let namespace = if key.namespace.is_empty() { String::new() } else { format!(" -n {}", key.namespace) };
    format!("kubectl delete {}{group}/{}{namespace}", key.kind.to_lowercase(), key.name)
}

/// Decides about a living object. `since` is when the first record that names it was stored, unix seconds by the API
/// server's clock, if anybody knows; `is_needed` says that the new revision refers to it.
pub fn judge(
    key: &ObjectKey,
    live: &Value,
    release: Release<'_>,
    since: Option<i64>,
    is_needed: bool,
) -> Verdict {
    if !is_marked(live, release) || !live["metadata"]["deletionTimestamp"].is_null() {
        return Verdict::NotOurs;
    }
    let policy = live["metadata"]["annotations"]["helm.sh/resource-policy"].as_str().unwrap_or_default();
    if policy.trim().eq_ignore_ascii_case("keep") {
        return Verdict::Stays("helm.sh/resource-policy says keep");
    }
    if holds_data(key, live) {
        return Verdict::Stays("it holds data");
    }
    if let Err(why) = was_made_since(live, since) {
        return Verdict::Stays(why);
    }
    if is_needed { Verdict::Stays("the new revision refers to it") } else { Verdict::Goes }
}

/// Would data, or other objects, go with it? The claims of a StatefulSet outlive it, unless it says otherwise.
pub fn holds_data(key: &ObjectKey, live: &Value) -> bool {
    let policy = &live["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"];
    key.is_precious() || key.kind == "PersistentVolume" || (key.kind == "StatefulSet" && policy == "Delete")
}

/// Who wrote the object. Those of a subresource, such as the status, did not make it.
fn writers(live: &Value) -> impl Iterator<Item = &Value> {
    let managers = live["metadata"]["managedFields"].as_array().map_or(&[][..], Vec::as_slice);
    managers.iter().filter(|entry| entry["subresource"].as_str().unwrap_or_default().is_empty())
}

fn is_helm(entry: &&Value) -> bool {
    entry["manager"] == HELM
}

/// Did nobody but Helm write the object, as far as it tells?
pub fn was_made_by_helm(live: &Value) -> bool {
    writers(live).any(|entry| is_helm(&entry)) && writers(live).all(|entry| is_helm(&entry))
}

/// Was the object made by Helm since then? An error says why not, or why nobody can tell.
///
/// # Errors
/// With the reason.
pub fn was_made_since(live: &Value, since: Option<i64>) -> Result<(), &'static str> {
    let Some(since) = since else { return Err("it is unknown whether the install created it") };
    let metadata = &live["metadata"];
    let seconds =
        |time: &Value| time.as_str().and_then(|time| Some(time.parse::<jiff::Timestamp>().ok()?.as_second()));
    let Some(created) = seconds(&metadata["creationTimestamp"]) else {
        return Err("it is unknown whether the install created it");
    };
    let writers = || writers(live);
    let only_helm = was_made_by_helm(live);
    // Somebody else wrote it when it came to be, and Helm only later.
    let by_another = writers().any(|entry| !is_helm(&entry) && seconds(&entry["time"]) == Some(created))
        && writers().filter(is_helm).all(|entry| seconds(&entry["time"]) > Some(created));
    match created.cmp(&since) {
        std::cmp::Ordering::Less => Err("it was there before the install"),
        std::cmp::Ordering::Equal if !only_helm => Err("it may have been there before the install"),
        _ if by_another => Err("another manager than helm made it"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SINCE: &str = "2026-01-01T00:00:10Z";

    fn object(kind: &str, created: &str, managers: &[(&str, &str, &str)]) -> Value {
        let managers: Vec<Value> = managers
            .iter()
            .map(|(manager, time, subresource)| {
                json!({"manager": manager, "time": time, "subresource": subresource})
            })
            .collect();
        json!({
            "kind": kind,
            "metadata": {
                "creationTimestamp": created,
                "labels": {"app.kubernetes.io/managed-by": "Helm"},
                "annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"},
                "managedFields": managers,
            },
        })
    }

    fn verdict(live: &Value) -> Verdict {
        let key = ObjectKey {
            api_version: "v1".into(),
            kind: live["kind"].as_str().unwrap().into(),
            namespace: "shop".into(),
            name: "x".into(),
        };
        let since = SINCE.parse::<jiff::Timestamp>().unwrap().as_second();
        judge(&key, live, Release { name: "web", namespace: "shop" }, Some(since), false)
    }

    #[test]
    fn only_what_the_dead_install_made_goes() {
        let (before, same, later) = ("2026-01-01T00:00:09Z", SINCE, "2026-01-01T00:00:12Z");
        let helm = ("helm", later, "");
        for (what, created, managers, wanted) in [
            ("made by the install", later, vec![helm], Verdict::Goes),
            (
                "a controller has set its status",
                later,
                vec![helm, ("kube-controller-manager", later, "status")],
                Verdict::Goes,
            ),
            (
                "somebody changed it since",
                later,
                vec![helm, ("kubectl-edit", "2026-01-02T00:00:00Z", "")],
                Verdict::Goes,
            ),
            ("its managers are not known", later, vec![], Verdict::Goes),
            ("in the same second, by Helm", same, vec![("helm", same, "")], Verdict::Goes),
            (
                "in the same second, by nobody known",
                same,
                vec![],
                Verdict::Stays("it may have been there before the install"),
            ),
            (
                "in the same second, and taken over",
                same,
                vec![("kubectl-create", same, ""), helm],
                Verdict::Stays("it may have been there before the install"),
            ),
            ("taken over", before, vec![helm], Verdict::Stays("it was there before the install")),
            (
                "made by another while hooks ran, and taken over",
                later,
                vec![("kubectl-create", later, ""), ("helm", "2026-01-01T00:00:20Z", "")],
                Verdict::Stays("another manager than helm made it"),
            ),
        ] {
            assert_eq!(verdict(&object("ConfigMap", created, &managers)), wanted, "{what}");
        }
    }

    #[test]
    fn what_holds_data_is_kept_or_is_not_the_releases_stays() {
        let live = |kind: &str| object(kind, "2026-01-01T00:00:12Z", &[("helm", "2026-01-01T00:00:12Z", "")]);
        for kind in ["PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition"] {
            assert_eq!(verdict(&live(kind)), Verdict::Stays("it holds data"), "{kind}");
        }
        assert_eq!(verdict(&live("StatefulSet")), Verdict::Goes, "its claims stay");
        let mut set = live("StatefulSet");
        set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] = "Delete".into();
        assert_eq!(verdict(&set), Verdict::Stays("it holds data"), "its claims would go with it");
        let mut kept = live("Secret");
        kept["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep".into();
        assert_eq!(verdict(&kept), Verdict::Stays("helm.sh/resource-policy says keep"));
        let mut other = live("Secret");
        other["metadata"]["annotations"]["meta.helm.sh/release-name"] = "api".into();
        assert_eq!(verdict(&other), Verdict::NotOurs);
        let mut going = live("Secret");
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:13Z".into();
        assert_eq!(verdict(&going), Verdict::NotOurs);
        let key = ObjectKey {
            api_version: "v1".into(),
            kind: "Secret".into(),
            namespace: "shop".into(),
            name: "x".into(),
        };
        let release = Release { name: "web", namespace: "shop" };
        let needed = judge(&key, &live("Secret"), release, Some(0), true);
        assert_eq!(needed, Verdict::Stays("the new revision refers to it"));
        let unknown = judge(&key, &live("Secret"), release, None, false);
        assert_eq!(
            unknown,
            Verdict::Stays("it is unknown whether the install created it"),
            "records in a database"
        );
    }
}
