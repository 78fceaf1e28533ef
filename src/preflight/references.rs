//! What a rendered workload refers to: Secrets, ConfigMaps and keys in them, accounts, claims, classes. The API server accepts
//! a workload without them, and its pods never start.
//!
//! What is missing before a deploy may be there when a pod needs it: a hook or a controller of the release makes it. Then
//! nobody knows yet, and it is looked at again when Helm has ended.
//! Pure: what lives is looked up in `preflight/references/look.rs`.

pub mod look;

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Finding, certainty, order,
    rights::rules::{Right, role_with},
};
use crate::cluster::api_paths;
use crate::{
    manifest::{Manifest, ObjectKey},
    workload::pod_spec,
};

/// Something that an object names and needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// What it is.
    pub to: ObjectKey,
    /// The key in it, of a Secret or ConfigMap.
    pub key: Option<String>,
    /// Who needs it.
    pub from: ObjectKey,
    /// Where that is said.
    pub field: String,
}

struct Found<'a> {
    from: &'a ObjectKey,
    all: Vec<Reference>,
}

impl Found<'_> {
    fn add(&mut self, api_version: &str, kind: &str, name: &Value, key: Option<&Value>, field: &str) {
        let Some(name) = name.as_str().filter(|name| !name.is_empty()) else { return };
        let to = ObjectKey {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: self.from.namespace.clone(),
            name: name.to_owned(),
        };
        let key = key.and_then(Value::as_str).map(str::to_owned);
        self.all.push(Reference { to, key, from: self.from.clone(), field: field.to_owned() });
    }

    /// A source of a ConfigMap or Secret: with each key that must be in it, or none.
    fn source(&mut self, source: &Value, name: &str, kind: &str, field: &str) {
        if source["optional"] == true || source.is_null() {
            return;
        }
        let keys: Vec<&Value> = match source["items"].as_array() {
            Some(items) => items.iter().map(|item| &item["key"]).collect(),
            None => source.get("key").into_iter().collect(),
        };
        if keys.is_empty() {
            self.add("v1", kind, &source[name], None, field);
        }
        for key in keys {
            self.add("v1", kind, &source[name], Some(key), field);
        }
    }

    fn pod(&mut self, spec: &Value) {
        for containers in ["initContainers", "containers"] {
            for container in list(&spec[containers]) {
                let at = format!("{containers}[{}]", container["name"].as_str().unwrap_or_default());
                for variable in list(&container["env"]) {
                    let field = format!("{at}.env[{}]", variable["name"].as_str().unwrap_or_default());
                    let from = &variable["valueFrom"];
                    self.source(&from["secretKeyRef"], "name", "Secret", &field);
                    self.source(&from["configMapKeyRef"], "name", "ConfigMap", &field);
                }
                for from in list(&container["envFrom"]) {
                    self.source(&from["secretRef"], "name", "Secret", &format!("{at}.envFrom"));
                    self.source(&from["configMapRef"], "name", "ConfigMap", &format!("{at}.envFrom"));
                }
            }
        }
        for volume in list(&spec["volumes"]) {
            let field = format!("volumes[{}]", volume["name"].as_str().unwrap_or_default());
            self.source(&volume["secret"], "secretName", "Secret", &field);
            self.source(&volume["configMap"], "name", "ConfigMap", &field);
            for source in list(&volume["projected"]["sources"]) {
                self.source(&source["secret"], "name", "Secret", &field);
                self.source(&source["configMap"], "name", "ConfigMap", &field);
            }
            let claim = &volume["persistentVolumeClaim"]["claimName"];
            self.add("v1", "PersistentVolumeClaim", claim, None, &field);
        }
        for secret in list(&spec["imagePullSecrets"]) {
            self.add("v1", "Secret", &secret["name"], None, "imagePullSecrets");
        }
        let account =
            [&spec["serviceAccountName"], &spec["serviceAccount"]].into_iter().find(|name| name.is_string());
        // The default one is made with the namespace.
        if let Some(account) = account.filter(|name| **name != "default") {
            self.add("v1", "ServiceAccount", account, None, "serviceAccountName");
        }
        let class = &spec["priorityClassName"];
        self.add("scheduling.k8s.io/v1", "PriorityClass", class, None, "priorityClassName");
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// All that an object needs.
pub fn of(key: &ObjectKey, object: &Value) -> Vec<Reference> {
    let mut found = Found { from: key, all: Vec::new() };
    if let Some(spec) = pod_spec(object) {
        found.pod(spec);
    }
    let storage = "storage.k8s.io/v1";
    match key.kind.as_str() {
        "PersistentVolumeClaim" if object["spec"]["volumeName"].is_null() => {
            let class = &object["spec"]["storageClassName"];
            found.add(storage, "StorageClass", class, None, "spec.storageClassName");
        }
        "StatefulSet" => {
            for template in list(&object["spec"]["volumeClaimTemplates"]) {
                let name = template["metadata"]["name"].as_str().unwrap_or_default();
                let field = format!("spec.volumeClaimTemplates[{name}].spec.storageClassName");
                found.add(storage, "StorageClass", &template["spec"]["storageClassName"], None, &field);
            }
        }
        "Ingress" => {
            let class = &object["spec"]["ingressClassName"];
            found.add("networking.k8s.io/v1", "IngressClass", class, None, "spec.ingressClassName");
        }
        _ => {}
    }
    found.all
}

/// What the objects need that are new, or other than before: what stays as it is starts no pods.
pub fn to_check(manifest: &Manifest, before: &Manifest) -> Vec<Reference> {
    let unchanged =
        |key: &ObjectKey, object: &Value| before.objects.iter().any(|(own, was)| own == key && was == object);
    let changed = manifest.objects.iter().filter(|(key, object)| !unchanged(key, object));
    let all: BTreeSet<Reference> = changed.flat_map(|(key, object)| of(key, object)).collect();
    all.into_iter().filter(|one| !is_rendered(one, manifest)).collect()
}

/// Does the release bring it itself? An object of a kind that is not Kubernetes' own, such as a certificate or an external
/// secret, and that names it, will make it.
fn is_rendered(reference: &Reference, manifest: &Manifest) -> bool {
    manifest.objects.iter().any(|(key, object)| {
        if crate::cluster::api_paths::is_native(&key.api_version) {
            let same = key.kind == reference.to.kind && key.name == reference.to.name;
            let in_place = crate::cluster::api_paths::known(&key.api_version, &key.kind)
                .is_none_or(|kind| !kind.namespaced || key.namespace == reference.to.namespace);
            return same && in_place && has(object, reference.key.as_deref());
        }
        key.name == reference.to.name || mentions(object, &reference.to.name)
    })
}

/// Has a Secret or ConfigMap this key?
pub fn has(object: &Value, key: Option<&str>) -> bool {
    key.is_none_or(|key| {
        ["data", "stringData", "binaryData"].into_iter().any(|part| object[part].get(key).is_some())
    })
}

fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| mentions(item, name)),
        Value::Object(fields) => fields.values().any(|field| mentions(field, name)),
        _ => false,
    }
}

/// The release that a reference is in.
#[derive(Clone, Copy, Debug)]
pub struct Release<'a> {
    /// What is applied.
    pub manifest: &'a Manifest,
    /// Hooks that will run.
    pub hooks: &'a Manifest,
    /// The manifest in force, if its revision completed.
    pub good: Option<&'a Manifest>,
    /// The event of the hooks that run first.
    pub first: &'a str,
}

/// What of the release may make the missing target of a reference before a pod needs it, in words. `None` where the revision
/// in force had the same reference: all that makes it has run then, and what lives tells.
pub fn maker(reference: &Reference, release: &Release<'_>) -> Option<String> {
    let Reference { to, key, from, .. } = reference;
    let Release { manifest, hooks, good, first } = release;
    let in_force = good.and_then(|good| Some(of(from, good.get(from)?))).unwrap_or_default();
    if in_force.iter().any(|had| had.to == *to && had.key == *key) {
        return None;
    }
    let hook = hooks.objects.iter().find(|(own, _)| own == from);
    let earlier = match hook {
        Some((_, hook)) => order::before_hook(manifest, hooks, first, from, hook),
        None => order::at_the_end(manifest, hooks),
    };
    if let Some(acting) = earlier.acting {
        return Some(acting.to_string());
    }
    // A controller takes its time, and Helm does not wait for it before a hook of the first event.
    let all: Vec<(&ObjectKey, &Value)> = manifest.objects.iter().map(|(key, object)| (key, object)).collect();
    if let Some((custom, _)) = all.iter().find(|(own, _)| !api_paths::is_native(&own.api_version)) {
        return Some(format!("the controller of {custom}"));
    }
    let plural = api_paths::known(&to.api_version, &to.kind)?.plural;
    let right = Right {
        namespace: to.namespace.clone(),
        group: api_paths::group(&to.api_version).to_owned(),
        resource: plural,
        verb: "create",
        name: String::new(),
    };
    role_with(&all, &right).map(|role| format!("a program of this release with {role}"))
}

/// The finding about something that is not there, or lacks the key. `maker`: what may make it in time.
pub fn missing(reference: &Reference, exists: bool, maker: Option<&str>) -> Finding {
    let Reference { to, key, from, field } = reference;
    let namespace = &to.namespace;
    let (cause, remedy) = match (key, exists) {
        (Some(key), true) => (
            format!("{to} has no key {key}"),
            format!("kubectl describe {} {} -n {namespace}", to.kind.to_lowercase(), to.name),
        ),
        (key, _) => {
            let kind = to.kind.to_lowercase();
            let with = key.as_ref().map(|key| format!(" with key {key}")).unwrap_or_default();
            (
                format!("{to} does not exist, and this release does not render it"),
                match kind.as_str() {
                    "storageclass" | "ingressclass" | "priorityclass" => {
                        format!("name one that is there: kubectl get {kind}")
                    }
                    _ => format!(
                        "create it{with} first, or correct the name: kubectl get {kind} -n {namespace}"
                    ),
                },
            )
        }
    };
    let (cause, remedy, weight) = match maker {
        // Nothing says that something is wrong, so there is nothing to be done.
        Some(maker) => (format!("{cause}; {maker} may make it"), Vec::new(), certainty::note()),
        None => (cause, vec![remedy], certainty::Weight::default()),
    };
    Finding {
        id: "reference-missing",
        object: from.to_string(),
        field: field.clone(),
        cause,
        remedy,
        weight,
        ..Finding::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(text, "shop").unwrap()
    }

    const WORKLOAD: &str = "
kind: Deployment
apiVersion: apps/v1
metadata: {name: web}
spec:
  template:
    spec:
      serviceAccountName: web
      priorityClassName: high
      imagePullSecrets: [{name: pull}]
      initContainers:
        - {name: init, envFrom: [{configMapRef: {name: settings}}]}
      containers:
        - name: web
          env:
            - {name: A, valueFrom: {secretKeyRef: {name: db, key: password}}}
            - {name: B, valueFrom: {secretKeyRef: {name: other, key: x, optional: true}}}
          envFrom: [{secretRef: {name: all}}, {configMapRef: {name: maybe, optional: true}}]
      volumes:
        - {name: v, secret: {secretName: files, items: [{key: tls.crt}, {key: tls.key}]}}
        - {name: w, projected: {sources: [{configMap: {name: projected}}]}}
        - {name: data, persistentVolumeClaim: {claimName: data}}
";

    #[test]
    fn all_that_a_pod_needs_is_found_and_what_is_optional_is_not() {
        let manifest = manifest(WORKLOAD);
        let found: Vec<String> = to_check(&manifest, &Manifest::default())
            .into_iter()
            .map(|one| {
                format!(
                    "{}{} {}",
                    one.to,
                    one.key.map(|key| format!(":{key}")).unwrap_or_default(),
                    one.field
                )
            })
            .collect();
        insta::assert_snapshot!(found.join("\n"));
    }

    #[test]
    fn what_the_release_brings_or_does_not_change_is_not_asked_about() {
        let whole = manifest(WORKLOAD);
        assert!(to_check(&whole, &whole).is_empty(), "unchanged");
        for (what, more, asked) in [
            (
                "a Secret with the key",
                "kind: Secret\napiVersion: v1\nmetadata: {name: db}\ndata: {password: eA==}",
                false,
            ),
            (
                "a Secret without it",
                "kind: Secret\napiVersion: v1\nmetadata: {name: db}\ndata: {user: eA==}",
                true,
            ),
            (
                "something that makes it",
                "kind: ExternalSecret\napiVersion: external-secrets.io/v1\nmetadata: {name: e}\nspec: {target: {name: db}}",
                false,
            ),
            (
                "one elsewhere",
                "kind: Secret\napiVersion: v1\nmetadata: {name: db, namespace: x}\ndata: {password: eA==}",
                true,
            ),
        ] {
            let manifest = manifest(&format!("{WORKLOAD}---\n{more}\n"));
            let found = to_check(&manifest, &Manifest::default());
            assert_eq!(found.iter().any(|one| one.to.name == "db"), asked, "{what}");
        }
    }

    /// What may make a Secret that is not there: a hook, a controller, a program of the release. Not where the revision in
    /// force needed the same: all that makes it has run by then.
    #[test]
    fn what_the_release_may_make_is_unknown_and_not_missing() {
        let job = |event: &str, weight: &str| {
            format!(
                "---\nkind: Job\napiVersion: batch/v1\nmetadata: {{name: certs, annotations: {{helm.sh/hook: {event}, helm.sh/hook-weight: '{weight}'}}}}\nspec: {{template: {{spec: {{}}}}}}\n"
            )
        };
        let role = |resource: &str, verb: &str| {
            format!(
                "---\nkind: ClusterRole\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {{name: r}}\nrules: [{{apiGroups: [''], resources: [{resource}], verbs: [{verb}]}}]\n"
            )
        };
        let custom = "---\nkind: Database\napiVersion: example.com/v1\nmetadata: {name: d}\n";
        let nothing = Manifest::default();
        let before = manifest(WORKLOAD);
        for (what, objects, hooks, good, made_by) in [
            ("nothing makes it", String::new(), String::new(), None, ""),
            ("a hook before", String::new(), job("pre-install", "0"), None, "Job/certs"),
            ("a hook after", String::new(), job("post-install", "0"), None, "Job/certs"),
            ("a custom resource", custom.to_owned(), String::new(), None, "the controller of Database/d"),
            (
                "a program that may",
                role("secrets", "'*'"),
                String::new(),
                None,
                "a program of this release with ClusterRole/r",
            ),
            ("one that may only read", role("secrets", "get"), String::new(), None, ""),
            ("one that makes others", role("configmaps", "create"), String::new(), None, ""),
            ("the revision in force has the same", String::new(), job("pre-install", "0"), Some(&before), ""),
        ] {
            let (objects, hooks) = (manifest(&format!("{WORKLOAD}{objects}")), manifest(&hooks));
            let release = Release { manifest: &objects, hooks: &hooks, good, first: "pre-install" };
            let all = to_check(&objects, &nothing);
            let reference = all.iter().find(|one| one.to.name == "files").unwrap();
            let maker = maker(reference, &release);
            assert_eq!(maker.clone().unwrap_or_default(), made_by, "{what}");
            let finding = missing(reference, false, maker.as_deref());
            assert_eq!(finding.weight.is_note(), !made_by.is_empty(), "{what}");
            assert!(!finding.is_certain() && !finding.weight.stops_strict());
        }
        // A hook does not make what it needs itself.
        let own = "---\nkind: Job\napiVersion: batch/v1\nmetadata: {name: certs, annotations: {helm.sh/hook: pre-install}}\nspec: {template: {spec: {imagePullSecrets: [{name: pull}]}}}\n";
        let hooks = manifest(own);
        let release = Release { manifest: &nothing, hooks: &hooks, good: None, first: "pre-install" };
        assert_eq!(maker(&to_check(&hooks, &nothing)[0], &release), None);
    }
}
