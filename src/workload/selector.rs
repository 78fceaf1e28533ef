//! Which watches show a release's objects: few, and each as narrow as field and label selectors make it.
//! Pure.
//!
//! Nothing that Helm promises tells a release's objects from others: its labels are the chart's to write. So what is
//! watched follows from the manifest. One object of a kind is watched by its name. Of many the labels that all of them
//! have are the selector, with the values that they have; where they share none, the kind is watched in the whole
//! namespace, and what is not the release's is dropped as it comes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::manifest::{Manifest, ObjectKey};

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// E.g. `Deployment`.
    pub name: &'static str,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// E.g. `apis/apps/v1`.
    pub path: &'static str,
    /// E.g. `deployments`.
    pub plural: &'static str,
}

const POD: Kind = Kind { name: "Pod", group: "", path: "api/v1", plural: "pods" };

/// All that are watched.
const KINDS: [Kind; 6] = [
    Kind { name: "Deployment", group: "apps", path: "apis/apps/v1", plural: "deployments" },
    Kind { name: "StatefulSet", group: "apps", path: "apis/apps/v1", plural: "statefulsets" },
    Kind { name: "DaemonSet", group: "apps", path: "apis/apps/v1", plural: "daemonsets" },
    Kind { name: "Job", group: "batch", path: "apis/batch/v1", plural: "jobs" },
    Kind { name: "PersistentVolumeClaim", group: "", path: "api/v1", plural: "persistentvolumeclaims" },
    POD,
];

/// The kind of an object, if it is watched.
pub fn kind_of(key: &ObjectKey) -> Option<Kind> {
    let group = key.api_version.split_once('/').map_or("", |(group, _)| group);
    KINDS.into_iter().find(|kind| kind.name == key.kind && kind.group == group)
}

/// What one watch asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selection {
    /// Objects of this kind…
    pub kind: Kind,
    /// … in this namespace, …
    pub namespace: String,
    /// … with these labels, …
    pub labels: String,
    /// … and these fields. Either may be empty.
    pub fields: String,
}

impl Selection {
    /// Path and query of a list or a watch, with more parameters; those without a value are left out.
    pub fn path(&self, more: &[(&str, &str)]) -> String {
        let Self { kind, namespace, labels, fields } = self;
        let selectors = [("labelSelector", labels.as_str()), ("fieldSelector", fields.as_str())];
        let pairs = more.iter().chain(&selectors).filter(|(_, value)| !value.is_empty());
        let query: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        format!("/{}/namespaces/{namespace}/{}?{}", kind.path, kind.plural, query.join("&"))
    }
}

/// What else a query takes for a sign of its own.
fn escaped(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    value
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Watches at once: each is a connection.
const MOST: usize = 16;
/// Values of one label in a selector.
const VALUES: usize = 30;
/// The label by which a Job's pods are known.
pub const OF_JOB: &str = "job-name";

/// Name and labels of an object that is wanted.
type Wanted = (Option<String>, BTreeMap<String, String>);

/// The watches for a release's objects and its hooks', and how many more it would have taken to see all.
pub fn selections(objects: &Manifest, hooks: &Manifest) -> (Vec<Selection>, usize) {
    let mut wanted: BTreeMap<(Kind, &str), Vec<Wanted>> = BTreeMap::new();
    let mut jobs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (key, object) in objects.objects.iter().chain(&hooks.objects) {
        let Some(kind) = kind_of(key) else { continue };
        let labels = |pointer| pairs(object.pointer(pointer));
        let own = (Some(key.name.clone()), labels("/metadata/labels"));
        wanted.entry((kind, &key.namespace)).or_default().push(own);
        match kind.name {
            "Job" => drop(jobs.entry(&key.namespace).or_default().insert(&key.name)),
            "Deployment" | "StatefulSet" | "DaemonSet" => {
                let of_pods = (None, labels("/spec/selector/matchLabels"));
                wanted.entry((POD, &key.namespace)).or_default().push(of_pods);
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    for ((kind, namespace), wanted) in wanted {
        let (labels, fields) = narrow(&wanted);
        all.push(Selection { kind, namespace: namespace.to_owned(), labels, fields });
    }
    for (namespace, names) in jobs {
        let everything = |one: &Selection| {
            one.kind == POD && one.namespace == namespace && one.labels.is_empty() && one.fields.is_empty()
        };
        if !all.iter().any(everything) {
            let labels = among(OF_JOB, &names);
            all.push(Selection { kind: POD, namespace: namespace.to_owned(), labels, fields: String::new() });
        }
    }
    let left = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    (all, left)
}

/// Label selector and field selector that find all of these.
fn narrow(wanted: &[Wanted]) -> (String, String) {
    if let [(Some(name), _)] = wanted
        && is_plain(name)
    {
        return (String::new(), format!("metadata.name={name}"));
    }
    let Some((_, first)) = wanted.first() else { return Default::default() };
    let shared = first.keys().filter(|name| wanted.iter().all(|(_, labels)| labels.contains_key(*name)));
    let terms = shared.map(|name| {
        let values = wanted.iter().filter_map(|(_, labels)| labels.get(name)).map(String::as_str).collect();
        among(name, &values)
    });
    // The most telling ones are enough.
    (terms.take(4).collect::<Vec<_>>().join(","), String::new())
}

/// `app=web`, `app in (api,web)`, or only that it has the label.
fn among(name: &str, values: &BTreeSet<&str>) -> String {
    match values.len() {
        1 => format!("{name}={}", values.iter().copied().collect::<String>()),
        count if count <= VALUES => {
            format!("{name} in ({})", values.iter().copied().collect::<Vec<_>>().join(","))
        }
        _ => name.to_owned(),
    }
}

/// The labels at a place, as far as a selector can name them. Versions change from one revision to the next, and
/// objects of the one before are still there: they are no part of it.
pub fn pairs(labels: Option<&Value>) -> BTreeMap<String, String> {
    const CHANGING: [&str; 2] = ["helm.sh/chart", "app.kubernetes.io/version"];
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    labels
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .filter(|(name, value)| !CHANGING.contains(&name.as_str()) && is_plain(name) && is_plain(value))
        .collect()
}

/// Letters that labels and names have, and that mean nothing in a selector.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(text, "shop").unwrap()
    }

    fn deployment(name: &str, labels: &str) -> String {
        format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n\
             spec: {{selector: {{matchLabels: {{{labels}}}}}}}\n"
        )
    }

    fn told(objects: &str, hooks: &str) -> Vec<String> {
        let (selections, left) = selections(&manifest(objects), &manifest(hooks));
        assert_eq!(left, 0);
        let one = |one: &Selection| {
            format!("{}/{} [{}] [{}]", one.namespace, one.kind.plural, one.labels, one.fields)
        };
        selections.iter().map(one).collect()
    }

    #[test]
    fn watches_are_as_narrow_as_selectors_make_them() {
        let job = |name: &str| format!("---\napiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\n");
        for (case, objects, hooks, wanted) in [
            (
                "one of a kind is watched by its name, its pods by its selector",
                deployment("web", "app: web"),
                String::new(),
                &["shop/deployments [] [metadata.name=web]", "shop/pods [app=web] []"][..],
            ),
            (
                "many are watched by the labels that they share",
                deployment("web", "app: web, release: one") + &deployment("api", "app: api, release: one, tier: back"),
                String::new(),
                &["shop/deployments [app in (api,web),release=one] []", "shop/pods [app in (api,web),release=one] []"],
            ),
            (
                "what they do not share is no selector",
                deployment("web", "app: web") + &deployment("api", "name: api"),
                String::new(),
                &["shop/deployments [] []", "shop/pods [] []"],
            ),
            (
                "hooks and their pods",
                deployment("web", "app: web"),
                job("migrate") + &job("seed"),
                &[
                    "shop/deployments [] [metadata.name=web]",
                    "shop/jobs [] []",
                    "shop/pods [app=web] []",
                    "shop/pods [job-name in (migrate,seed)] []",
                ],
            ),
            (
                "a hook that is a pod",
                String::new(),
                "apiVersion: v1\nkind: Pod\nmetadata: {name: check}\n".to_owned(),
                &["shop/pods [] [metadata.name=check]"],
            ),
            (
                "other namespaces are their own",
                deployment("web", "app: web").replace("name: web,", "name: web, namespace: other,"),
                String::new(),
                &["other/deployments [] [metadata.name=web]", "other/pods [app=web] []"],
            ),
            (
                "what is rolled out by nobody is not watched",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: example.com/v1\nkind: Deployment\nmetadata: {name: a}\n"
                    .to_owned(),
                String::new(),
                &[],
            ),
            (
                "labels that no selector can name, and those that change",
                deployment("web", "app: web, helm.sh/chart: web-1, odd: \"a,b\"") + &deployment("api", "app: api, helm.sh/chart: web-1, odd: \"a,b\""),
                String::new(),
                &["shop/deployments [app in (api,web)] []", "shop/pods [app in (api,web)] []"],
            ),
        ] {
            assert_eq!(told(&objects, &hooks), wanted, "{case}");
        }
    }

    #[test]
    fn a_large_release_has_few_watches() {
        let many: String = (0..200).map(|n| deployment(&format!("d{n}"), &format!("app: d{n}"))).collect();
        assert_eq!(told(&many, ""), ["shop/deployments [app] []", "shop/pods [app] []"]);
        let spread: String = (0..40)
            .map(|n| {
                deployment("web", "app: web").replace("name: web,", &format!("name: web, namespace: n{n},"))
            })
            .collect();
        let (selections, left) = selections(&manifest(&spread), &Manifest::default());
        assert_eq!((selections.len(), left), (16, 64));
    }
}
