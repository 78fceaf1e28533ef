use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::json;

use super::*;
use crate::preflight::merge_patch::{self, Change};

fn manifest(text: &str) -> Manifest {
    Manifest::parse(text, "ns").unwrap()
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// One object of the kind with this content beside its name.
fn one(api_version: &str, kind: &str, content: &Value) -> Manifest {
    let mut object = content.clone();
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    object["metadata"]["name"] = "a".into();
    manifest(&object.to_string())
}

fn united(api_version: &str, kind: &str, revisions: &[&Value]) -> Value {
    let manifests: Vec<Manifest> = revisions.iter().map(|content| one(api_version, kind, content)).collect();
    let mut union = Manifest::union(&manifests.iter().collect::<Vec<_>>());
    let (_, object) = union.objects.remove(0);
    object
}

#[test]
fn a_union_has_every_object_and_every_field_and_the_newest_value() {
    let old = manifest(
        "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {x: 1, old: 1, containers: [{name: c, e: 1}, {name: d}]}\n---\n\
         kind: B\napiVersion: v1\nmetadata: {name: b}\n",
    );
    let new = manifest(
        "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {x: 2, new: 1, containers: [{name: c, f: 2}]}\n---\n\
         kind: C\napiVersion: v1\nmetadata: {name: c}\n",
    );
    let union = Manifest::union(&[&old, &new]);
    assert_eq!(union.keys().map(ToString::to_string).collect::<Vec<_>>(), ["Pod/a", "B/b", "C/c"]);
    assert_eq!(
        union.objects[0].1["spec"],
        json!({"x": 2, "old": 1, "new": 1, "containers": [{"name": "c", "e": 1, "f": 2}, {"name": "d"}]})
    );
}

/// Each row: what it shows, the parts of a container or pod in two revisions, and the union.
#[test]
fn lists_are_united_by_the_keys_of_their_kind() {
    for (what, old, new, union) in [
        (
            "one volume at two places",
            "{containers: [{name: c, volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: /b}]}]}",
            "{containers: [{name: c, volumeMounts: [{name: v, mountPath: /b, subPath: x}, {name: v, mountPath: /c}]}]}",
            "{containers: [{name: c, volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: /b, subPath: x},
               {name: v, mountPath: /c}]}]}",
        ),
        (
            "a port with another name is the same port",
            "{containers: [{name: c, ports: [{name: web, containerPort: 80}]}]}",
            "{containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}",
            "{containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}",
        ),
        (
            "a port with another number is another port",
            "{containers: [{name: c, ports: [{name: web, containerPort: 80}]}]}",
            "{containers: [{name: c, ports: [{name: web, containerPort: 81}]}]}",
            "{containers: [{name: c, ports: [{name: web, containerPort: 80}, {name: web, containerPort: 81}]}]}",
        ),
        (
            "as many of one key as the newest has",
            "{containers: [{name: c, ports: [{containerPort: 53, protocol: UDP, hostPort: 1}]}]}",
            "{containers: [{name: c, ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}]}]}",
            "{containers: [{name: c, ports: [{containerPort: 53, protocol: UDP, hostPort: 1}, {containerPort: 53, protocol: TCP}]}]}",
        ),
        (
            "one if the newest has fewer",
            "{containers: [{name: c, ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}]}]}",
            "{containers: [{name: c, ports: [{containerPort: 53, protocol: UDP}]}]}",
            "{containers: [{name: c, ports: [{containerPort: 53, protocol: UDP}]}]}",
        ),
        (
            "one if the newest has none",
            "{containers: [{name: c, ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}]}]}",
            "{containers: [{name: c}]}",
            "{containers: [{name: c, ports: [{containerPort: 53, protocol: UDP}]}]}",
        ),
        (
            "only the fields of both, if the newest has none",
            "{topologySpreadConstraints: [{topologyKey: z, maxSkew: 1, labelSelector: {}}, {topologyKey: z, maxSkew: 1}]}",
            "{}",
            "{topologySpreadConstraints: [{topologyKey: z, maxSkew: 1}]}",
        ),
        (
            "no field of an older one that another of the newest has",
            "{containers: [{name: c, ports: [{containerPort: 53}, {containerPort: 53, name: web}]}]}",
            "{containers: [{name: c, ports: [{containerPort: 53, name: alt}, {containerPort: 53}]}]}",
            "{containers: [{name: c, ports: [{containerPort: 53, name: alt}, {containerPort: 53}]}]}",
        ),
        (
            "a source of each kind",
            "{volumes: [{name: v, emptyDir: {}}]}",
            "{volumes: [{name: v, secret: {secretName: s}}]}",
            "{volumes: [{name: v, emptyDir: {}, secret: {secretName: s}}]}",
        ),
        (
            "a list without a key is the newest one",
            "{tolerations: [{key: a}, {key: b}], containers: [{name: c, args: [a, b]}]}",
            "{tolerations: [{key: c}], containers: [{name: c, args: [c]}]}",
            "{tolerations: [{key: c}], containers: [{name: c, args: [c]}]}",
        ),
        (
            "what is null in one may live from the other",
            "{hostAliases: [{ip: 1.1.1.1, hostnames: [a]}], securityContext: {runAsUser: 1}}",
            "{hostAliases: null, securityContext: null}",
            "{hostAliases: [{ip: 1.1.1.1, hostnames: [a]}], securityContext: {runAsUser: 1}}",
        ),
        (
            "what cannot be merged was refused, and does not live",
            "{containers: [{name: c, env: [{value: no name}, {name: A, value: a}, text, null]}]}",
            "{containers: [{name: c, env: [{name: [], value: x}, {name: A, value: b}]}]}",
            "{containers: [{name: c, env: [{name: A, value: b}]}]}",
        ),
    ] {
        let object = united("v1", "Pod", &[&json!({"spec": yaml(old)}), &json!({"spec": yaml(new)})]);
        assert_eq!(object["spec"], yaml(union), "{what}");
    }
}

/// Of a revision that does not have the object at all, too.
#[test]
fn an_object_that_the_newest_revision_lacks_has_one_port_of_a_number() {
    let both = one(
        "v1",
        "Service",
        &yaml("{spec: {ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}, {port: 80}]}}"),
    );
    let union = Manifest::union(&[&both, &Manifest::default()]);
    assert_eq!(union.objects[0].1["spec"]["ports"], yaml("[{port: 53, protocol: UDP}, {port: 80}]"));
    assert_eq!(Manifest::union(&[&both]), both);
}

/// Helm sends only what differs from the base: so all differs about which the revisions disagree.
#[test]
fn in_other_kinds_all_differs_that_revisions_disagree_about() {
    let d = &disagreement();
    for (what, old, new, union) in [
        ("what is the same stays", "{a: 1, l: [1]}", "{a: 1, l: [1]}", json!({"a": 1, "l": [1]})),
        ("another value", "{a: 1, l: [1]}", "{a: 2, l: [2]}", json!({"a": d, "l": d})),
        ("only in one", "{a: 1}", "{b: {c: 1, e: {}}}", json!({"a": d, "b": {"c": d, "e": d}})),
        ("another shape", "{a: {b: 1}, c: 1}", "{a: 1, c: {b: 1}}", json!({"a": {"b": d}, "c": {"b": d}})),
        ("null", "{a: null, b: 1}", "{a: null, b: null}", json!({"a": null, "b": d})),
    ] {
        let object =
            united("example.com/v1", "Widget", &[&json!({"spec": yaml(old)}), &json!({"spec": yaml(new)})]);
        assert_eq!(object["spec"], union, "{what}");
    }
}

/// Helm reads the metadata of a base by its type, whatever the kind.
#[test]
fn metadata_stays_what_it_is() {
    let old = yaml(
        "{metadata: {creationTimestamp: null, labels: {a: b, c: d}, finalizers: [a/a], ownerReferences: [{uid: a}]}}",
    );
    let new =
        yaml("{metadata: {labels: {a: b, c: e}, annotations: {f: g}, generation: 1, finalizers: [a/b]}}");
    let object = united("example.com/v1", "Widget", &[&old, &new]);
    let wanted = json!({
        "name": "a", "creationTimestamp": null, "labels": {"a": "b", "c": DIFFERS}, "annotations": {"f": DIFFERS},
        "finalizers": [DIFFERS], "ownerReferences": [{"uid": "a"}], "generation": 1,
    });
    assert_eq!(object["metadata"], wanted);
}

#[test]
fn of_another_api_version_the_newest_is_what_helm_asks_for() {
    let old =
        manifest("kind: A\napiVersion: g/v1beta1\nmetadata: {name: a, namespace: ns}\nspec: {x: 1, z: 2}\n");
    let new = manifest("kind: A\napiVersion: g/v1\nmetadata: {name: a}\nspec: {x: 1}\n");
    let union = Manifest::union(&[&old, &new]);
    assert_eq!(union.objects[0].0, new.objects[0].0);
    assert_eq!(
        union.objects[0].1,
        json!({"kind": "A", "apiVersion": "g/v1", "metadata": {"name": "a"}, "spec": {"x": 1, "z": disagreement()}})
    );
}

/// The API server's side of a strategic patch, as far as `merge_patch::strategic` uses it.
fn apply(own: Type, live: &mut Value, patch: &Value) {
    let (Value::Object(fields), Value::Object(changes)) = (&mut *live, patch) else {
        *live = patch.clone();
        return;
    };
    if let Some(Value::Array(kept)) = changes.get("$retainKeys") {
        fields.retain(|name, _| kept.contains(&name.as_str().into()));
    }
    for (name, change) in changes {
        if let Some(name) = name.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = change.as_array().unwrap();
            fields[name].as_array_mut().unwrap().retain(|item| !gone.contains(item));
            continue;
        }
        if name.starts_with('$') {
            continue;
        }
        let field = own.field(name);
        let of = field.map_or(Type::PLAIN, Field::target);
        let list = field.map_or(&List::Atomic, |field| &field.list);
        match (fields.get_mut(name), change) {
            (_, Value::Null) => drop(fields.remove(name)),
            (Some(now @ Value::Object(_)), Value::Object(_)) if !field.is_some_and(|field| field.replace) => {
                apply(of, now, change);
            }
            (Some(Value::Array(now)), Value::Array(change)) if list.key().is_some() => {
                let key = list.key().unwrap();
                for item in change {
                    let at = now.iter().position(|other| other[key] == item[key]);
                    match (at, item["$patch"] == "delete") {
                        (Some(at), true) => drop(now.remove(at)),
                        (Some(at), false) => apply(of, &mut now[at], item),
                        (None, true) => {}
                        (None, false) => now.push(item.clone()),
                    }
                }
            }
            (Some(Value::Array(now)), Value::Array(change)) if *list == List::Set => {
                now.extend(change.iter().cloned());
            }
            (_, change) => drop(fields.insert(name.clone(), change.clone())),
        }
    }
}

/// What Helm's client-side apply makes of a live object.
fn helm_applies(before: &Value, wanted: &Value, live: &Value) -> Value {
    let own = Type::of("apps/v1", "Deployment").unwrap();
    let mut live = live.clone();
    match merge_patch::strategic(own, before, wanted, &live) {
        Change::Patch(change) => apply(own, &mut live, &change),
        Change::None => {}
        Change::Unforeseen => panic!("no key is there twice: {before} {wanted}"),
    }
    live
}

/// What Helm's JSON merge patch makes of it: between the manifests, without a look at what lives.
fn helm_patches(before: &Value, wanted: &Value, live: &Value) -> Value {
    fn merged(live: &mut Value, change: &Value) {
        let Value::Object(change) = change else {
            *live = change.clone();
            return;
        };
        if !live.is_object() {
            *live = json!({});
        }
        for (name, value) in change {
            let fields = live.as_object_mut().unwrap();
            if value.is_null() {
                fields.remove(name);
            } else {
                merged(fields.entry(name).or_insert(Value::Null), value);
            }
        }
    }
    let mut live = live.clone();
    if let Change::Patch(change) = merge_patch::plain(before, wanted) {
        merged(&mut live, &change);
    }
    live
}

/// In one order, and without what is stored as nothing.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), sorted(value)))
            .filter(|(name, value)| {
                name == "emptyDir" || !(value.is_null() || *value == json!({}) || *value == json!([]))
            })
            .collect(),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(sorted).collect();
            items.sort_by_key(Value::to_string);
            items.into()
        }
        value => value.clone(),
    }
}

type Made = BoxedStrategy<Value>;

fn some(values: &'static [&'static str]) -> Made {
    select(values).prop_map(yaml).boxed()
}

/// An object with some of the fields.
fn object(parts: Vec<(&'static str, Made)>) -> Made {
    let parts: Vec<_> = parts
        .into_iter()
        .map(|(name, part)| option::weighted(0.9, part).prop_map(move |value| (name, value)).boxed())
        .collect();
    let fields = |parts: Vec<(&str, Option<Value>)>| {
        parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    };
    parts.prop_map(fields).boxed()
}

/// A list of objects in any order, with some of the keys.
fn list(key: &'static str, keys: &'static [&'static str], item: Made) -> Made {
    let keys = subsequence(keys, 0..=keys.len()).prop_shuffle();
    let items = move |(keys, items): (Vec<&str>, Vec<Value>)| {
        keys.into_iter()
            .zip(items)
            .map(|(name, mut item)| {
                item[key] = yaml(name);
                item
            })
            .collect()
    };
    (keys, vec(item, 3)).prop_map(items).boxed()
}

/// A Deployment with lists and objects of every kind that Kubernetes merges in its own way.
fn deployment() -> Made {
    let port = object(vec![("name", some(&["web", "http"])), ("hostPort", some(&["1", "2"]))]);
    let mount = object(vec![("name", some(&["v", "w"])), ("subPath", some(&["a", "b"]))]);
    let container = object(vec![
        ("image", some(&["a", "b"])),
        ("args", some(&["[a]", "[a, b]", "[]"])),
        ("env", list("name", &["A", "B", "C"], object(vec![("value", some(&["x", "y", "''"]))]))),
        ("ports", list("containerPort", &["80", "81", "82"], port)),
        ("volumeMounts", list("mountPath", &["/a", "/b", "/c"], mount)),
        ("resources", object(vec![("limits", some(&["{cpu: 1}", "{cpu: 2, memory: 1Gi}"]))])),
    ]);
    let volume = select(&["{emptyDir: {}}", "{secret: {secretName: s}}", "{configMap: {name: c}}"][..]);
    let spread =
        object(vec![("maxSkew", some(&["1", "2"])), ("whenUnsatisfiable", some(&["DoNotSchedule"]))]);
    let pod = object(vec![
        ("containers", list("name", &["c", "d", "e"], container)),
        ("volumes", list("name", &["v", "w", "x"], volume.prop_map(yaml).boxed())),
        (
            "hostAliases",
            list("ip", &["1.1.1.1", "1.1.1.2"], object(vec![("hostnames", some(&["[a]", "[b]"]))])),
        ),
        ("topologySpreadConstraints", list("topologyKey", &["zone", "host"], spread)),
        ("tolerations", some(&["[{key: a}]", "[{key: b}, {key: a}]"])),
        ("nodeSelector", some(&["{a: b}", "{a: c, d: e}", "{}"])),
        ("securityContext", some(&["{runAsUser: 1}", "{fsGroup: 2}", "null"])),
    ]);
    let strategy = some(&["{type: Recreate}", "{type: RollingUpdate, rollingUpdate: {maxSurge: 1}}"]);
    let labels = || some(&["{a: b}", "{a: c, d: e}"]);
    let metadata = object(vec![
        ("labels", labels()),
        ("annotations", labels()),
        ("finalizers", some(&["[a/a]", "[a/b, a/a]"])),
    ]);
    let template = object(vec![("metadata", object(vec![("labels", labels())])), ("spec", pod)]);
    let spec = object(vec![("replicas", some(&["1", "2"])), ("strategy", strategy), ("template", template)]);
    whole("apps/v1", "Deployment", object(vec![("spec", spec), ("metadata", metadata)]))
}

/// As Helm has every object: with a name, and with its own annotation.
fn whole(api_version: &'static str, kind: &'static str, content: Made) -> Made {
    let named = move |mut object: Value| {
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        object["metadata"]["name"] = "a".into();
        object["metadata"]["annotations"]["release"] = "web".into();
        if object["spec"].is_null() {
            object["spec"] = json!({});
        }
        object
    };
    content.prop_map(named).boxed()
}

/// What no schema is known of.
fn widget() -> Made {
    let leaf =
        || some(&["1", "2", "a", "''", "true", "null", "[]", "[1]", "[{a: 1}]", "[{a: 1}, {b: 2}]", "{}"]);
    let inner = || object(vec![("a", leaf()), ("b", leaf()), ("c", leaf())]);
    let spec = vec![("x", inner()), ("y", leaf()), ("z", prop_oneof![inner(), leaf()].boxed())];
    let labels = || some(&["{a: b}", "{a: c, d: e}", "{}"]);
    let metadata = vec![
        ("labels", labels()),
        ("annotations", labels()),
        ("finalizers", some(&["[a/a]", "[a/b, a/a]", "[]"])),
    ];
    let parts = vec![("spec", object(spec)), ("metadata", object(metadata))];
    whole("example.com/v1", "Widget", object(parts))
}

/// What somebody else put there, where no revision puts anything.
fn with_foreign(value: &Value) -> Value {
    let mut value = value.clone();
    value["status"] = json!({"foreign": 1});
    value["metadata"]["annotations"]["foreign"] = "1".into();
    value["spec"]["foreign"] = json!({"a": 1});
    value
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_union_with_itself_is_itself_and_a_union_is_a_fixed_point(
        (old, new) in prop_oneof![(deployment(), deployment()), (widget(), widget())],
    ) {
        let [old, new] = [old, new].map(|object| manifest(&object.to_string()));
        prop_assert_eq!(&Manifest::union(&[&new, &new]), &new);
        let union = Manifest::union(&[&old, &new]);
        prop_assert_eq!(&Manifest::union(&[&union, &new]), &union);
        prop_assert_eq!(&Manifest::union(&[&union, &union]), &union);
        prop_assert_eq!(&Manifest::union(&[&old, &new, &new]), &union);
    }

    /// The repair leaves what the same revisions would have left had each of them finished, whether or not those that died
    /// had applied the object; and what others put there stays.
    #[test]
    fn from_the_union_helm_makes_what_it_makes_of_a_clean_history(
        good in deployment(), dead in deployment(), dead_too in deployment(), new in deployment(), applied in 0..3_usize,
    ) {
        let union = united("apps/v1", "Deployment", &[&good, &dead, &dead_too]);
        let installed = with_foreign(&good);
        let once = helm_applies(&good, &dead, &installed);
        let twice = helm_applies(&dead, &dead_too, &once);
        let clean = helm_applies(&dead_too, &new, &twice);
        let live = [&installed, &once, &twice][applied];
        prop_assert_eq!(sorted(&helm_applies(&union, &new, live)), sorted(&clean));
    }

    /// The same for kinds that Helm patches without a look at what lives.
    #[test]
    fn from_the_union_helm_patches_other_kinds_to_what_a_clean_history_leaves(
        good in widget(), dead in widget(), dead_too in widget(), new in widget(), applied in 0..3_usize,
    ) {
        let union = united("example.com/v1", "Widget", &[&good, &dead, &dead_too]);
        let installed = with_foreign(&good);
        let once = helm_patches(&good, &dead, &installed);
        let twice = helm_patches(&dead, &dead_too, &once);
        let clean = helm_patches(&dead_too, &new, &twice);
        let live = [&installed, &once, &twice][applied];
        prop_assert_eq!(sorted(&helm_patches(&union, &new, live)), sorted(&clean));
    }
}
