//! The table of merge keys against what a real API server says about its kinds.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;

use crate::stage::Stage;

/// Set to anything, the test writes the table anew: lines of the served kinds as they are served, all others as they were.
/// Those are of kinds that a server has only if it is told to, taken from the document that Kubernetes publishes with each
/// release (`api/openapi-spec/swagger.json`).
const WRITE: &str = "HELM_GUARD_WRITE_MERGE_KEYS";

/// The packages whose types Helm's client has (`client-go/kubernetes/scheme` and `apiextensions`). The aggregator's are not
/// among them.
const PACKAGES: [&str; 3] = ["io.k8s.api.", "io.k8s.apimachinery.", "io.k8s.apiextensions-apiserver."];

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

struct Document {
    definitions: BTreeMap<String, Value>,
}

impl Document {
    fn of(text: &str) -> Self {
        let document: Value = serde_json::from_str(text).unwrap();
        let definitions = document["definitions"].as_object().unwrap().iter();
        let known = definitions.filter(|(name, _)| PACKAGES.iter().any(|package| name.starts_with(package)));
        Self { definitions: known.map(|(name, definition)| (name.clone(), definition.clone())).collect() }
    }

    fn fields(&self, name: &str) -> impl Iterator<Item = (&String, &Value)> {
        let properties = self.definitions.get(name).map(|definition| &definition["properties"]);
        properties.and_then(Value::as_object).into_iter().flatten()
    }

    /// The type in a field, if what is in it is merged at all.
    fn target<'a>(&'a self, field: &'a Value) -> Option<&'a str> {
        let is_merged = strategies(field).any(|strategy| strategy == "merge");
        let place = if field["type"] == "array" { is_merged.then(|| &field["items"])? } else { field };
        place["$ref"].as_str()?.strip_prefix("#/definitions/")
    }

    /// Is there anything in the type that is merged in a way of its own?
    fn matters(&self, name: &str, within: &mut BTreeSet<String>) -> bool {
        if !within.insert(name.to_owned()) {
            return false;
        }
        let found = self.fields(name).any(|(_, field)| {
            strategies(field).next().is_some()
                || self.target(field).is_some_and(|target| self.matters(target, within))
        });
        within.remove(name);
        found
    }

    /// Lines of kinds and lines of types, each by what it begins with.
    fn table(&self) -> [BTreeMap<String, String>; 2] {
        let (mut kinds, mut types) = (BTreeMap::new(), BTreeMap::new());
        for (name, definition) in &self.definitions {
            let Some([kind]) = definition["x-kubernetes-group-version-kind"].as_array().map(Vec::as_slice)
            else {
                continue;
            };
            if self.target(&definition["properties"]["metadata"]) != Some(METADATA) {
                continue;
            }
            let [group, version, kind] =
                ["group", "version", "kind"].map(|part| kind[part].as_str().unwrap());
            let slash = if group.is_empty() { "" } else { "/" };
            kinds.insert(format!("{group}{slash}{version} {kind}"), short(name));
            self.describe(name, &mut types);
        }
        [kinds, types]
    }

    fn describe(&self, name: &str, types: &mut BTreeMap<String, String>) {
        if types.contains_key(&short(name)) {
            return;
        }
        let mut words = Vec::new();
        let mut deeper = Vec::new();
        for (field_name, field) in self.fields(name) {
            let target = self.target(field).filter(|target| self.matters(target, &mut BTreeSet::new()));
            if strategies(field).next().is_none() && target.is_none() {
                continue;
            }
            let mut word = field_name.clone();
            for strategy in strategies(field) {
                match strategy {
                    "merge" => word += &format!("[{}]", keys(field).join("+")),
                    other => word += &format!("!{other}"),
                }
            }
            if let Some(target) = target {
                word += &format!(">{}", short(target));
                deeper.push(target);
            }
            words.push(word);
        }
        types.insert(short(name), words.join(" "));
        for target in deeper {
            self.describe(target, types);
        }
    }
}

fn strategies(field: &Value) -> impl Iterator<Item = &str> {
    field["x-kubernetes-patch-strategy"].as_str().into_iter().flat_map(|text| text.split(','))
}

/// The patch merge key, and what the API server tells items apart by beside it.
fn keys(field: &Value) -> Vec<&str> {
    let Some(key) = field["x-kubernetes-patch-merge-key"].as_str() else { return Vec::new() };
    let all = field["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
    let others = all.filter_map(Value::as_str).filter(|other| *other != key);
    std::iter::once(key).chain(others).collect()
}

/// `io.k8s.api.core.v1.PodSpec` is `core.v1.PodSpec`.
fn short(name: &str) -> String {
    let parts: Vec<&str> = name.rsplit('.').take(3).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(".")
}

/// `<begin> <rest>` by what it begins with: one word, or the two of a kind.
fn lines(text: &str, words: usize) -> BTreeMap<String, String> {
    let split = |line: &str| {
        let at = line.match_indices(' ').nth(words - 1).map_or(line.len(), |(at, _)| at);
        (line[..at].to_owned(), line[at..].trim_start().to_owned())
    };
    text.lines().map(split).collect()
}

fn written(lines: &BTreeMap<String, String>) -> String {
    lines.iter().map(|(begin, rest)| format!("{begin} {rest}\n")).collect()
}

/// A kind or a key that is another than the API server's would make a repair lose what is wanted.
#[test]
fn the_table_of_merge_keys_is_what_the_api_server_serves() {
    let stage = Stage::new("keys", testbed::tools::Helm::V4);
    let document = stage.namespace.kubectl(["get", "--raw", "/openapi/v2"]).unwrap();
    let [kinds, types] = Document::of(&document).table();
    assert!(kinds.len() > 60 && types.len() > 60, "{} kinds, {} types", kinds.len(), types.len());

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest/merge_keys.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    let (known_kinds, known_types) = text.split_once("\n\n").unwrap();
    let (mut known_kinds, mut known_types) = (lines(known_kinds, 2), lines(known_types, 1));
    if std::env::var_os(WRITE).is_some() {
        known_kinds.extend(kinds.clone());
        known_types.extend(types.clone());
        std::fs::write(&path, format!("{}\n{}", written(&known_kinds), written(&known_types))).unwrap();
    }
    for (served, known) in [(kinds, known_kinds), (types, known_types)] {
        for (begin, rest) in served {
            assert_eq!(known.get(&begin), Some(&rest), "{begin}: set {WRITE}=1 to write the table anew");
        }
    }
}
