//! How Kubernetes merges the fields of its own kinds: one table for the merge base of a repair and for the preflight.
//! Pure. The table `merge_keys.txt` is generated from the OpenAPI document of an API server and compared with it by a
//! story (`tests/e2e/merge_keys.rs`, which also says how to write it anew).
//!
//! Client-side apply merges by `x-kubernetes-patch-strategy` and one `x-kubernetes-patch-merge-key` (in Helm: the tags of
//! client-go's types, from which the document is made). A list without a strategy is one value. Server-side apply
//! tells items apart by `x-kubernetes-list-map-keys`, which are more than one for ports and topology spread constraints:
//! there, two items that client-side apply takes for the same one can stand in one list.

use std::{collections::HashMap, sync::LazyLock};

/// First part: `<apiVersion> <kind> <type>`. After an empty line: `<type> <field>…`, where a field is its name, then
/// `[<merge key>+<further map keys>]` for a list that is merged (`[]` if its items are scalars), `!<strategy>` for any
/// other strategy, and `><type>` if there is something of this kind deeper in it. What is not named is merged field by
/// field if it is an object, and replaced if it is a list.
const TABLE: &str = include_str!("merge_keys.txt");

/// A type of the API.
#[derive(Clone, Copy, Debug)]
pub struct Type(&'static [Field]);

/// A field about which the API says how it is merged, or a field that has such ones in it.
#[derive(Debug)]
pub struct Field {
    name: &'static str,
    /// How a list is merged.
    pub list: List,
    /// The strategy `retainKeys`: what the new value does not name is dropped, whoever set it.
    pub retain_keys: bool,
    /// The strategy `replace` of an object: it is one value.
    pub replace: bool,
    target: Option<&'static str>,
}

/// How a list is merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum List {
    /// Not at all: it is one value.
    #[default]
    Atomic,
    /// Scalars: each is in it or not.
    Set,
    /// Objects, told apart by these fields. The first is the patch merge key, by which client-side apply goes.
    Map(Vec<&'static str>),
}

impl List {
    /// The field by which client-side apply tells items apart.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::Map(keys) => keys.first().copied(),
            Self::Atomic | Self::Set => None,
        }
    }
}

impl Type {
    /// A type about which the API says nothing.
    pub const PLAIN: Self = Self(&[]);

    /// The type of a kind; `None` for kinds that are not Kubernetes' own, which Helm merges by JSON merge patches.
    /// A version that is not in the table is taken for another one of the same group: merge keys do not change.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let name = parsed().kinds.get(&(group(api_version), kind))?;
        let exact = parsed().versions.get(&(api_version, kind)).unwrap_or(name);
        Some(Self::named(exact))
    }

    /// What the API says about a field; `None` if it says nothing.
    pub fn field(self, name: &str) -> Option<&'static Field> {
        self.0.iter().find(|field| field.name == name)
    }

    fn named(name: &str) -> Self {
        Self(parsed().types.get(name).map_or(&[], Vec::as_slice))
    }
}

impl Field {
    /// The type of the object, or of the items of the list.
    pub fn target(&self) -> Type {
        self.target.map_or(Type::PLAIN, Type::named)
    }
}

struct Table {
    /// Group and kind to a type, of whatever version.
    kinds: HashMap<(&'static str, &'static str), &'static str>,
    /// `apiVersion` and kind to the type.
    versions: HashMap<(&'static str, &'static str), &'static str>,
    types: HashMap<&'static str, Vec<Field>>,
}

/// The group in which these kinds were before they got groups of their own; Helm's client still knows them there.
const FORMER_GROUP: &str = "extensions";

fn parsed() -> &'static Table {
    static PARSED: LazyLock<Table> = LazyLock::new(|| {
        let (kinds, types) = TABLE.split_once("\n\n").unwrap_or_default();
        let mut table = Table { kinds: HashMap::new(), versions: HashMap::new(), types: HashMap::new() };
        for line in kinds.lines() {
            let mut words = line.split(' ');
            let (Some(version), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            table.versions.insert((version, kind), name);
            // Stable versions sort before `v1beta1`, and are the ones that stay.
            table.kinds.entry((group(version), kind)).or_insert(name);
            if matches!(group(version), "apps" | "networking.k8s.io") {
                table.kinds.entry((FORMER_GROUP, kind)).or_insert(name);
            }
        }
        for line in types.lines() {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default();
            table.types.insert(name, words.map(field).collect());
        }
        table
    });
    &PARSED
}

/// `volumes[name]!retainKeys>core.v1.Volume`.
fn field(text: &'static str) -> Field {
    let (text, target) = text.split_once('>').map_or((text, None), |(text, target)| (text, Some(target)));
    let (text, strategy) = text.split_once('!').unwrap_or((text, ""));
    let (name, keys) = text.split_once('[').map_or((text, None), |(name, keys)| (name, Some(keys)));
    let list = match keys.map(|keys| keys.trim_end_matches(']')) {
        None => List::Atomic,
        Some("") => List::Set,
        Some(keys) => List::Map(keys.split('+').collect()),
    };
    Field { name, list, retain_keys: strategy == "retainKeys", replace: strategy == "replace", target }
}

/// Empty for the core.
fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields on the way, from the kind down.
    fn at(api_version: &str, kind: &str, path: &str) -> &'static Field {
        let mut own = Type::of(api_version, kind).unwrap();
        let (parents, last) = path.rsplit_once('.').map_or(("", path), |(parents, last)| (parents, last));
        for name in parents.split('.').filter(|name| !name.is_empty()) {
            own = own.field(name).unwrap_or_else(|| panic!("{name} of {path}")).target();
        }
        own.field(last).unwrap_or_else(|| panic!("{path}"))
    }

    /// One field name, another key in another type.
    #[test]
    fn merge_keys_are_those_of_the_kind_and_the_path() {
        let pod = "spec.template.spec";
        for (api_version, kind, path, keys) in [
            ("apps/v1", "Deployment", format!("{pod}.containers"), "name"),
            ("apps/v1", "Deployment", format!("{pod}.containers.ports"), "containerPort protocol"),
            ("apps/v1", "StatefulSet", format!("{pod}.initContainers.volumeMounts"), "mountPath"),
            ("apps/v1", "DaemonSet", format!("{pod}.containers.volumeDevices"), "devicePath"),
            ("apps/v1", "Deployment", format!("{pod}.hostAliases"), "ip"),
            (
                "apps/v1",
                "Deployment",
                format!("{pod}.topologySpreadConstraints"),
                "topologyKey whenUnsatisfiable",
            ),
            ("batch/v1", "CronJob", "spec.jobTemplate.spec.template.spec.containers.env".to_owned(), "name"),
            ("v1", "Pod", "spec.imagePullSecrets".to_owned(), "name"),
            ("v1", "Service", "spec.ports".to_owned(), "port protocol"),
            ("v1", "ServiceAccount", "secrets".to_owned(), "name"),
            ("v1", "ConfigMap", "metadata.ownerReferences".to_owned(), "uid"),
            (
                "admissionregistration.k8s.io/v1",
                "ValidatingWebhookConfiguration",
                "webhooks".to_owned(),
                "name",
            ),
            // Versions that no server has any more, or not yet.
            ("apps/v1beta2", "Deployment", format!("{pod}.volumes"), "name"),
            ("extensions/v1beta1", "DaemonSet", format!("{pod}.volumes"), "name"),
        ] {
            let keys: Vec<&str> = keys.split(' ').collect();
            assert_eq!(at(api_version, kind, &path).list, List::Map(keys), "{kind} {path}");
        }
        assert_eq!(at("v1", "Namespace", "metadata.finalizers").list, List::Set);
    }

    #[test]
    fn lists_without_a_key_are_one_value() {
        for (api_version, kind, path) in [
            ("v1", "Service", "spec.externalIPs"),
            ("v1", "ServiceAccount", "imagePullSecrets"),
            ("networking.k8s.io/v1", "Ingress", "rules"),
            ("rbac.authorization.k8s.io/v1", "Role", "rules"),
            ("v1", "Endpoints", "subsets"),
            ("v1", "Pod", "spec.tolerations"),
        ] {
            let mut own = Type::of(api_version, kind).unwrap();
            for name in path.split('.') {
                let field = own.field(name);
                assert!(field.is_none_or(|field| field.list == List::Atomic), "{kind} {path}");
                own = field.map_or(Type::PLAIN, Field::target);
            }
        }
    }

    #[test]
    fn strategies_of_objects_and_volumes_are_known() {
        let strategy = at("apps/v1", "Deployment", "spec.strategy");
        let volumes = at("v1", "Pod", "spec.volumes");
        let selector = at("policy/v1", "PodDisruptionBudget", "spec.selector");
        assert!(strategy.retain_keys && volumes.retain_keys && volumes.list.key() == Some("name"));
        assert!(selector.replace && !selector.retain_keys);
    }

    #[test]
    fn what_helms_client_has_no_type_for_is_not_in_the_table() {
        for (api_version, kind) in [
            ("example.com/v1", "Deployment"),
            ("gateway.networking.k8s.io/v1", "Gateway"),
            ("snapshot.storage.k8s.io/v1", "VolumeSnapshot"),
            ("apiregistration.k8s.io/v1", "APIService"),
            ("v1", "Unheard"),
        ] {
            assert!(Type::of(api_version, kind).is_none(), "{api_version} {kind}");
        }
        assert!(Type::of("apiextensions.k8s.io/v1", "CustomResourceDefinition").is_some());
    }

    #[test]
    fn every_line_is_read() {
        let (kinds, types) = TABLE.split_once("\n\n").unwrap();
        assert_eq!(parsed().versions.len(), kinds.lines().count());
        assert_eq!(parsed().types.len(), types.lines().count());
        let targets = parsed().types.values().flatten().filter_map(|field| field.target);
        for name in targets.chain(parsed().versions.values().copied()) {
            assert!(parsed().types.contains_key(name), "{name}");
        }
        assert!(TABLE.len() < 40_000, "it is part of every binary");
    }
}
