//! A rendered manifest: the objects in it.
//! Pure: whether an object lives is asked in `cluster.rs`.

pub mod living;
pub mod merge_keys;
pub mod scaled;
pub mod union;

use serde_json::Value;

use crate::yaml::{self, Unread};

/// Which object: group and version, kind, namespace, name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// E.g. `apps/v1`.
    pub api_version: String,
    /// E.g. `Deployment`.
    pub kind: String,
    /// Empty if the manifest names none.
    pub namespace: String,
    /// Object name.
    pub name: String,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl ObjectKey {
    /// Objects whose deletion takes data or other objects with it.
    pub fn is_precious(&self) -> bool {
        matches!(self.kind.as_str(), "PersistentVolumeClaim" | "Namespace" | "CustomResourceDefinition")
    }

    /// The same object in whatever version: Helm compares group, kind, namespace and name.
    fn identity(&self) -> (&str, &str, &str, &str) {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        (group, &self.kind, &self.namespace, &self.name)
    }
}

/// The objects of a manifest, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// Key and content.
    pub objects: Vec<(ObjectKey, Value)>,
}

impl Manifest {
    /// Reads the YAML documents of a manifest. Objects without a namespace get `namespace`. One that gets its name from the
    /// API server is left out: nobody can ask for it by a name.
    ///
    /// # Errors
    /// When it is not YAML of Kubernetes objects, or more than helm-guard reads: [`Unread`] says which.
    pub fn parse(text: &str, namespace: &str) -> Result<Self, Unread> {
        let mut objects = Vec::new();
        yaml::each_document(text, |document| {
            flatten(document, &mut |object| {
                objects.extend(keyed(object, namespace)?);
                Ok(())
            })
        })?;
        Ok(Self { objects })
    }

    /// Does it name this object, in whatever version?
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.get(key).is_some()
    }

    /// The object as this manifest has it, in whatever version.
    pub fn get(&self, key: &ObjectKey) -> Option<&Value> {
        self.objects.iter().find(|(own, _)| own.identity() == key.identity()).map(|(_, object)| object)
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.iter().map(|(key, _)| key)
    }

    /// Was this text written by [`Manifest::text`], and rendered by no Helm?
    pub fn is_own(text: &str) -> bool {
        text.starts_with("---\n{")
    }

    /// As text that Helm reads back: YAML documents, each one line of JSON as far as YAML takes it.
    pub fn text(&self) -> String {
        self.objects.iter().fold(String::new(), |mut text, (_, value)| {
            text.push_str("---\n");
            yaml::write(value, &mut text);
            text.push('\n');
            text
        })
    }
}

/// The object with its key; `None` for one whose name is made up by the API server.
fn keyed(object: Value, namespace: &str) -> Result<Option<(ObjectKey, Value)>, String> {
    let field =
        |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let own = Some(field("/metadata/namespace")).filter(|own| !own.is_empty());
    let key = ObjectKey {
        api_version: field("/apiVersion"),
        kind: field("/kind"),
        namespace: own.unwrap_or(namespace.to_owned()),
        name: field("/metadata/name"),
    };
    if key.kind.is_empty() || (key.name.is_empty() && field("/metadata/generateName").is_empty()) {
        return Err("an object without kind or name".into());
    }
    Ok((!key.name.is_empty()).then_some((key, object)))
}

/// The objects of a document: of a list, such as a `RoleList`, its items, as Helm's client takes it (apimachinery,
/// `unstructured/helpers.go`: what has `items` is a list, and items without a kind are of the list's).
fn flatten(mut document: Value, each: &mut impl FnMut(Value) -> Result<(), String>) -> Result<(), String> {
    let items = match document.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        // As templates leave it when they loop over nothing.
        Some(Value::Null) => Vec::new(),
        Some(_) => return Err("a list whose items are none".into()),
        None => return each(document),
    };
    let kind = document["kind"].as_str().unwrap_or_default();
    let kind = kind.strip_suffix("List").unwrap_or(kind);
    for mut item in items {
        if item.is_object() && item["kind"].is_null() && item["apiVersion"].is_null() {
            item["kind"] = kind.into();
            item["apiVersion"] = document["apiVersion"].clone();
        }
        flatten(item, each)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(text, "ns").unwrap()
    }

    #[test]
    fn documents_are_objects_and_comments_are_not() {
        let parsed =
            manifest("---\n# Source: a.yaml\n\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
        assert_eq!(parsed.keys().map(ToString::to_string).collect::<Vec<_>>(), ["ConfigMap/a"]);
        assert_eq!(parsed.objects[0].0.namespace, "ns");
    }

    /// As charts of real life have them, and as Helm takes them apart.
    #[test]
    fn a_list_is_its_items() {
        let parsed = manifest(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleList\nitems:\n\
             - {metadata: {name: a}}\n- {metadata: {name: b, namespace: other}}\n\
             - {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Secret, metadata: {name: c}}]}\n\
             ---\napiVersion: v1\nkind: List\nitems: []\n",
        );
        let told = |(key, object): &(ObjectKey, Value)| {
            assert_eq!(object["kind"], key.kind.as_str());
            format!("{} {key} in {}", key.api_version, key.namespace)
        };
        assert_eq!(
            parsed.objects.iter().map(told).collect::<Vec<_>>(),
            [
                "rbac.authorization.k8s.io/v1 Role/a in ns",
                "rbac.authorization.k8s.io/v1 Role/b in other",
                "v1 Secret/c in ns"
            ]
        );
    }

    #[test]
    fn what_has_no_name_yet_is_left_out_and_nothing_else() {
        let parsed = manifest(
            "kind: Job\napiVersion: batch/v1\nmetadata: {generateName: a-}\n---\nkind: A\nmetadata: {name: b}\n",
        );
        assert_eq!(parsed.keys().map(ToString::to_string).collect::<Vec<_>>(), ["A/b"]);
        for text in
            ["kind: A\n", "metadata: {name: a}\n", "kind: AList\nitems: {}\n", "kind: AList\nitems: [1]\n"]
        {
            assert!(Manifest::parse(text, "ns").is_err(), "{text}");
        }
    }

    /// The old YAML that Helm's parser reads: `defaultMode: 0644` is 420.
    #[test]
    fn scalars_are_what_helm_takes_them_for() {
        for (text, value) in [
            ("0644", serde_json::json!(420)),
            ("yes", serde_json::json!(true)),
            ("off", serde_json::json!(false)),
            ("1e3", serde_json::json!(1000)),
            ("2.0", serde_json::json!(2)),
            ("1.5", serde_json::json!(1.5)),
            ("0x1F", serde_json::json!(31)),
            ("~", serde_json::json!(null)),
            ("1", serde_json::json!(1)),
            ("'0644'", serde_json::json!("0644")),
            ("1Gi", serde_json::json!("1Gi")),
            ("2001-01-01", serde_json::json!("2001-01-01")),
            ("1.2.3", serde_json::json!("1.2.3")),
        ] {
            let parsed = manifest(&format!("kind: A\napiVersion: v1\nmetadata: {{name: a}}\nx: {text}\n"));
            assert_eq!(parsed.objects[0].1["x"], value, "{text}");
        }
        let twice = manifest("kind: A\napiVersion: v1\nmetadata: {name: a}\nx: 1\nx: 2\n");
        assert_eq!(twice.objects[0].1["x"], 2);
    }

    #[test]
    fn the_text_of_a_broken_manifest_is_never_in_the_error() {
        let error = Manifest::parse("a: [canary-3141\nb: canary-3141: x", "ns").unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
    }

    #[test]
    fn the_union_survives_its_own_text() {
        let union =
            manifest("kind: A\napiVersion: v1\nmetadata: {name: a}\ndata: {k: \"--- not a document\"}\n");
        assert_eq!(manifest(&union.text()), union);
        assert!(Manifest::is_own(&union.text()) && !Manifest::is_own("---\n# Source: web/a.yaml\nkind: A\n"));
    }

    /// What a chart or a record may hold: all of it is read or refused, in little memory.
    #[test]
    fn no_manifest_makes_it_fall_over() {
        let nested = |open: &str, close: &str, depth: usize| {
            format!("kind: A\nmetadata: {{name: a}}\nx: {}1{}\n", open.repeat(depth), close.repeat(depth))
        };
        let laughs: String = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
            let again = vec![format!("*a{}", n - 1); 9].join(", ");
            format!("{text}a{n}: &a{n} [{again}]\n")
        });
        for text in [
            nested("[", "]", 100_000),
            nested("{a: ", "}", 100_000),
            format!("kind: A\nmetadata: {{name: a}}\n{laughs}"),
            "---\n".repeat(100_000),
            "- ".repeat(100_000),
            format!("kind: A\nmetadata: {{name: {}}}\n", "a".repeat(10 << 20)),
            "kind: A\nkind: B\nmetadata: {name: a}\n".to_owned(),
            "kind: [A]\nmetadata: a\n".to_owned(),
            "kind: !!binary AAAA\nmetadata: {name: 1.5e400}\n".to_owned(),
            "<<: *nothing\nkind: A\n".to_owned(),
            "\u{feff}%YAML 9.9\n---\nkind: A\n".to_owned(),
        ] {
            if let Err(why) = Manifest::parse(&text, "shop") {
                assert!(why.to_string().len() < 60, "{why}");
            }
        }
    }

    #[test]
    fn of_two_equal_keys_the_last_counts_as_for_helm() {
        let parsed = manifest("kind: A\nkind: B\nmetadata: {name: a}\n");
        assert_eq!(parsed.keys().map(ToString::to_string).collect::<Vec<_>>(), ["B/a"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(
            text in "[a-z0-9:{}\\[\\]\"'|>&*!%@`?, \n\t-]{0,200}",
            kind in "[A-Za-z\"{}:]{0,8}",
        ) {
            let _ = Manifest::parse(&text, "shop");
            let around = format!("kind: {kind}\nmetadata: {{name: a}}\nspec:\n  {text}\n");
            if let Ok(manifest) = Manifest::parse(&around, "shop") {
                let again = Manifest::parse(&Manifest::union(&[&manifest, &manifest]).text(), "shop");
                proptest::prop_assert_eq!(again.map(|again| again.objects.len()), Ok(manifest.objects.len()));
            }
        }
    }

    /// More objects, and more in one, than the parser takes by itself.
    #[test]
    fn a_large_manifest_is_read_whole() {
        let one = |n| {
            format!(
                "---\n# Source: web/templates/all.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}}}\ndata: {{a: b}}\n"
            )
        };
        let text: String = (0..1500).map(one).collect();
        assert_eq!(manifest(&text).objects.len(), 1500);
        let deep =
            format!("kind: A\nmetadata: {{name: a}}\nschema: {}1{}\n", "{a: ".repeat(60), "}".repeat(60));
        assert_eq!(manifest(&deep).objects.len(), 1);
        let keys: String = (0..130_000).map(|n| format!("  key-{n}: {n}\n")).collect();
        assert_eq!(manifest(&format!("kind: A\nmetadata: {{name: a}}\ndata:\n{keys}")).objects.len(), 1);
    }
}
