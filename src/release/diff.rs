//! What a deploy changed: its revision and the last good one before it, compared by what they say.
//! Pure. Names objects, images and versions, never another value.

use serde::Serialize;
use serde_json::Value;

use crate::{
    manifest::{Manifest, ObjectKey},
    release::Revision,
};

/// One thing that is another now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What: `chart`, `app version`, or `Deployment/web/app` for a container's image.
    pub what: String,
    /// As it was. Untrusted text.
    pub before: String,
    /// As it is.
    pub after: String,
}

/// The difference of two revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// The revision before; `None` for a first install.
    pub since: Option<u32>,
    /// The new revision.
    pub revision: u32,
    /// Versions of the chart and its app, images of containers.
    pub versions: Vec<Change>,
    /// New objects, each as `Kind/name`.
    pub added: Vec<String>,
    /// Objects that are not as they were.
    pub changed: Vec<String>,
    /// Objects that are no more part of the release.
    pub removed: Vec<String>,
}

/// A revision and the objects in it. Objects without a namespace are in the release's.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its row.
    pub row: &'a Revision,
    /// Its manifest, read with the release's namespace.
    pub manifest: &'a Manifest,
}

/// Compares a new revision with the one before; objects outside `namespace` are told with theirs.
pub fn between(before: Option<Side<'_>>, after: Side<'_>, namespace: &str) -> Changes {
    let nothing = Manifest::default();
    let old = before.map_or(&nothing, |before| before.manifest);
    let new = after.manifest;
    let names = |objects: Vec<&ObjectKey>| objects.into_iter().map(|key| name(key, namespace)).collect();
    let pairs: Vec<(&ObjectKey, &Value, &Value)> = new
        .objects
        .iter()
        .filter_map(|(key, value)| Some((key, old.get(key)?, value)))
        .filter(|(_, was, is)| was != is)
        .collect();
    let mut versions = Vec::new();
    if let Some(before) = before {
        let rows = [
            ("chart", &before.row.chart, &after.row.chart),
            ("app version", &before.row.app_version, &after.row.app_version),
        ];
        versions.extend(rows.into_iter().filter(|(_, was, is)| was != is).map(change));
    }
    versions.extend(pairs.iter().flat_map(|(key, was, is)| images_changed(&name(key, namespace), was, is)));
    Changes {
        since: before.map(|before| before.row.revision),
        revision: after.row.revision,
        versions,
        added: names(new.keys().filter(|key| !old.contains(key)).collect()),
        changed: names(pairs.iter().map(|(key, ..)| *key).collect()),
        removed: names(old.keys().filter(|key| !new.contains(key)).collect()),
    }
}

fn change((what, before, after): (&str, &String, &String)) -> Change {
    Change { what: what.to_owned(), before: before.clone(), after: after.clone() }
}

fn name(key: &ObjectKey, namespace: &str) -> String {
    if key.namespace == namespace { key.to_string() } else { format!("{key} in namespace {}", key.namespace) }
}

/// Containers that both have, and whose image is another.
fn images_changed(object: &str, before: &Value, after: &Value) -> Vec<Change> {
    let old = images(before);
    let now = images(after).into_iter();
    now.filter_map(|(container, image)| {
        let (_, was) = old.iter().find(|(name, was)| *name == container && *was != image)?;
        Some(Change {
            what: format!("{object}/{container}"),
            before: (*was).to_owned(),
            after: image.to_owned(),
        })
    })
    .collect()
}

/// Each container of a pod or of an object that makes pods, with its image.
fn images(object: &Value) -> Vec<(&str, &str)> {
    const PODS: [&str; 3] = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/spec"];
    const CONTAINERS: [&str; 2] = ["initContainers", "containers"];
    let pods = PODS.iter().filter_map(|path| object.pointer(path));
    let lists = pods.flat_map(|pod| CONTAINERS.iter().filter_map(|list| pod.get(list)?.as_array()));
    lists
        .flatten()
        .filter_map(|one| Some((one.get("name")?.as_str()?, one.get("image")?.as_str()?)))
        .collect()
}

impl Changes {
    /// Is the new revision just as the one before?
    pub fn is_nothing(&self) -> bool {
        [&self.added, &self.changed, &self.removed].iter().all(|objects| objects.is_empty())
            && self.versions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(revision: u32, chart: &str) -> Revision {
        Revision {
            revision,
            status: crate::release::Status::Deployed,
            chart: chart.to_owned(),
            app_version: "1".to_owned(),
            updated: String::new(),
            description: String::new(),
            undecodable: String::new(),
        }
    }

    fn deployment(image: &str, replicas: u32) -> String {
        format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  template:\n    \
             spec:\n      initContainers: [{{name: wait, image: busybox}}]\n      containers: [{{name: app, image: '{image}'}}]\n"
        )
    }

    fn object(kind: &str, name: &str, rest: &str) -> String {
        format!("---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}{rest}}}\n")
    }

    fn compare(before: Option<&str>, after: &str) -> Changes {
        let parse = |text: &str| Manifest::parse(text, "shop").unwrap();
        let (old, new) = (before.map(parse), parse(after));
        let (old_row, new_row) = (row(3, "web-1.0.0"), row(5, "web-1.1.0"));
        let before = old.as_ref().map(|manifest| Side { row: &old_row, manifest });
        between(before, Side { row: &new_row, manifest: &new }, "shop")
    }

    #[test]
    fn objects_come_go_and_change() {
        let before =
            [deployment("web:1", 1), object("Secret", "key", ""), object("Service", "web", "")].concat();
        let after = [
            deployment("web:2", 1),
            object("Service", "web", ""),
            object("ConfigMap", "settings", ", namespace: other"),
        ]
        .concat();
        let changes = compare(Some(&before), &after);
        assert_eq!((changes.since, changes.revision), (Some(3), 5));
        assert_eq!(changes.added, ["ConfigMap/settings in namespace other"]);
        assert_eq!(changes.changed, ["Deployment/web"]);
        assert_eq!(changes.removed, ["Secret/key"]);
        let versions: Vec<String> = changes
            .versions
            .iter()
            .map(|one| format!("{}: {} → {}", one.what, one.before, one.after))
            .collect();
        assert_eq!(versions, ["chart: web-1.0.0 → web-1.1.0", "Deployment/web/app: web:1 → web:2"]);
    }

    #[test]
    fn a_first_install_adds_all() {
        let changes = compare(None, &[deployment("web:1", 1), object("Service", "web", "")].concat());
        assert_eq!((changes.since, changes.added.len()), (None, 2));
        assert_eq!(changes.versions, []);
    }

    #[test]
    fn another_version_of_the_api_is_a_change_of_the_same_object() {
        let before = "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: web}\n";
        let changes = compare(Some(before), &before.replace("v1beta1", "v1"));
        assert_eq!(changes.changed, ["PodDisruptionBudget/web"]);
        assert!(changes.added.is_empty() && changes.removed.is_empty());
    }

    #[test]
    fn what_is_only_written_otherwise_is_the_same() {
        let before = deployment("web:1", 1);
        let mut changes = compare(Some(&before), &before.replace("'web:1'", "\"web:1\""));
        assert!(!changes.is_nothing(), "the chart");
        changes.versions.clear();
        assert!(changes.is_nothing());
    }
}
