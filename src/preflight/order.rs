//! The order in which Helm sends the requests of a deploy, and what comes before the request for an object.
//! Pure.
//!
//! Hooks of the first event run one after the other by weight and name, each until it has ended; then the objects are applied
//! in the order of the manifest, those of one kind at the same time on an install; then come the hooks of the second event.

use serde_json::Value;

use crate::cluster::api_paths::is_native;
use crate::{
    manifest::{Manifest, ObjectKey},
    workload::pod_spec,
};

/// What Helm has done before it sends a request.
#[derive(Clone, Debug, Default)]
pub struct Earlier<'a> {
    /// A hook that can change the cluster: it runs pods, as whatever account, or has a controller that acts on it.
    pub acting: Option<&'a ObjectKey>,
    /// Hooks and objects that Helm has created or changed by then.
    pub objects: Vec<(&'a ObjectKey, &'a Value)>,
}

/// The events of a hook; empty for any other object.
pub fn events(object: &Value) -> impl Iterator<Item = &str> {
    annotation(object, "helm.sh~1hook")
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|e| !e.is_empty())
}

/// Is it a hook?
pub fn is_hook(object: &Value) -> bool {
    annotation(object, "helm.sh~1hook").is_some()
}

/// Does Helm delete a hook of an earlier run before it creates this one? By default it does, but never a CRD.
pub fn is_replaced_first(key: &ObjectKey, hook: &Value) -> bool {
    let policy = annotation(hook, "helm.sh~1hook-delete-policy").unwrap_or_default();
    let mut policies = policy.split(',').map(str::trim).filter(|policy| !policy.is_empty()).peekable();
    let by_default = policies.peek().is_none();
    key.kind != "CustomResourceDefinition"
        && (by_default || policies.any(|policy| policy == "before-hook-creation"))
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer(&format!("/metadata/annotations/{name}")).and_then(Value::as_str)
}

/// Can it change the cluster by itself once it is created? What runs pods can, whatever account they have: a token may be
/// mounted, and the default account may have rights. So can the controller of a custom resource.
pub fn acts(key: &ObjectKey, object: &Value) -> bool {
    pod_spec(object).is_some() || !is_native(&key.api_version)
}

/// By which Helm sorts the hooks of an event (`hookByWeight`).
fn rank<'a>(key: &'a ObjectKey, hook: &Value) -> (i64, &'a str) {
    let weight = annotation(hook, "helm.sh~1hook-weight").and_then(|weight| weight.trim().parse().ok());
    (weight.unwrap_or_default(), key.name.as_str())
}

/// The hooks that run before anything is applied.
pub fn first_hooks<'a>(
    hooks: &'a Manifest,
    first: &'a str,
) -> impl Iterator<Item = (&'a ObjectKey, &'a Value)> {
    let all = hooks.objects.iter().map(|(key, hook)| (key, hook));
    all.filter(move |(_, hook)| events(hook).any(|event| event == first))
}

/// What comes before the request for a hook. `first`: `pre-install` or `pre-upgrade`.
pub fn before_hook<'a>(
    manifest: &'a Manifest,
    hooks: &'a Manifest,
    first: &'a str,
    key: &ObjectKey,
    hook: &Value,
) -> Earlier<'a> {
    if events(hook).all(|event| event != first) {
        // By then the pods of the release may run, and act too.
        return whole(manifest, hooks);
    }
    let own = rank(key, hook);
    let sooner = |(other, hook): &(&ObjectKey, &Value)| *other != key && rank(other, hook) <= own;
    of(first_hooks(hooks, first).filter(sooner).collect())
}

/// What comes before the request for an object of the manifest.
pub fn before_object<'a>(
    manifest: &'a Manifest,
    hooks: &'a Manifest,
    first: &'a str,
    key: &ObjectKey,
) -> Earlier<'a> {
    let at = manifest.objects.iter().position(|(own, _)| own == key).unwrap_or(manifest.objects.len());
    let mut before = of(first_hooks(hooks, first).collect());
    let objects = manifest.objects.iter().enumerate();
    let sooner = objects.filter(|(index, (own, _))| *index < at || (own.kind == key.kind && own != key));
    before.objects.extend(sooner.map(|(_, (own, object))| (own, object)));
    before
}

/// All that a release brings.
pub fn whole<'a>(manifest: &'a Manifest, hooks: &'a Manifest) -> Earlier<'a> {
    let all = hooks.objects.iter().chain(&manifest.objects).map(|(key, object)| (key, object));
    of(all.collect())
}

/// What comes before Helm saves how the deploy ended, or before something that is not of one object: all hooks may have run.
pub fn at_the_end<'a>(manifest: &'a Manifest, hooks: &'a Manifest) -> Earlier<'a> {
    let acting = hooks.objects.iter().find(|(key, hook)| acts(key, hook)).map(|(key, _)| key);
    Earlier { acting, ..whole(manifest, hooks) }
}

fn of<'a>(objects: Vec<(&'a ObjectKey, &'a Value)>) -> Earlier<'a> {
    let acting = objects.iter().find(|(key, object)| acts(key, object)).map(|(key, _)| *key);
    Earlier { acting, objects }
}
