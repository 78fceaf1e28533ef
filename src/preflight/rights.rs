//! Rights that the deploy will need and that no dry run asks about: of Helm's records, of what hooks and the wait look at, of
//! what is to be deleted.
//! Pure: `preflight/rights/ask.rs` asks the API server which of them the deployer has.
//!
//! The dry run of an object has answered for its create or its change. What is asked here is what comes later, when half of the
//! deploy is done: a record that cannot be updated stays pending, a wait that may not list pods fails.

pub mod ask;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Finding,
    resource::{self, Resource},
    timeouts::Until,
};
use crate::manifest::{Manifest, ObjectKey};

/// A verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Of which namespace; empty for a resource of the cluster.
    pub namespace: String,
    /// Empty for the core.
    pub group: String,
    /// Plural.
    pub resource: String,
    /// `get`, …
    pub verb: &'static str,
}

/// What a right is for, and whether Helm is bound to fail without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Purpose {
    /// Helm fails without it.
    pub certain: bool,
    /// Ends a sentence.
    pub what: &'static str,
}

/// Rights, each with the weightiest of its purposes.
pub type Needed = BTreeMap<Right, Purpose>;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Namespace of the release.
    pub namespace: &'a str,
    /// `secrets` or `configmaps`; empty where records are in no object.
    pub records: &'a str,
    /// What is applied.
    pub manifest: &'a Manifest,
    /// Hooks that will run.
    pub hooks: &'a Manifest,
    /// What is in force.
    pub before: &'a Manifest,
    /// What Helm waits for.
    pub until: Until,
    /// Does Helm look first at an object that it applies?
    pub looks_first: bool,
}

/// By what the API calls them.
pub type Resources<'a> = BTreeMap<(&'a str, &'a str), Option<Resource>>;

/// What a deploy needs. Kinds of which the API's name is not known are left out.
pub fn needed(plan: &Plan<'_>, resources: &Resources<'_>) -> Needed {
    let mut all = Needed::new();
    let mut need = |key: &ObjectKey, verbs: &[&'static str], certain: bool, what: &'static str| {
        let found = resources.get(&(key.api_version.as_str(), key.kind.as_str())).cloned().flatten();
        let Some(found) = found.or_else(|| resource::known(&key.api_version, &key.kind)) else { return };
        for verb in verbs {
            let namespace = if found.namespaced { key.namespace.clone() } else { String::new() };
            let group = resource::group(&key.api_version).to_owned();
            let right = Right { namespace, group, resource: found.plural.clone(), verb };
            let purpose = Purpose { certain, what };
            let known = all.entry(right).or_insert(purpose);
            *known = purpose.max(*known);
        }
    };
    for key in plan.manifest.keys() {
        if plan.looks_first {
            need(key, &["get"], true, "helm looks at each object before it applies it");
        }
        if plan.until == Until::Available {
            need(key, &["list", "watch"], false, "helm watches it until it is ready (--wait)");
        }
    }
    for key in plan.before.keys().filter(|key| !plan.manifest.contains(key)) {
        need(key, &["delete"], false, "the release has no more of it, and helm removes what it had");
    }
    for (key, hook) in &plan.hooks.objects {
        let is_definition = key.kind == "CustomResourceDefinition";
        need(key, &["list", "watch"], false, "helm watches its hooks until they end");
        if !is_definition && deletes(hook) {
            need(key, &["delete"], true, "helm deletes its hooks, by their delete policy");
        }
    }
    for (kind, resource) in made(plan) {
        let verbs: &[&'static str] =
            if plan.until == Until::Available { &["list", "watch"] } else { &["list"] };
        for verb in verbs {
            let namespace = plan.namespace.to_owned();
            let right = Right { namespace, group: kind.to_owned(), resource: resource.to_owned(), verb };
            all.entry(right)
                .or_insert(Purpose { certain: false, what: "helm looks at it while it waits (--wait)" });
        }
    }
    let of_records = [("create", true), ("update", true), ("delete", false)];
    for (verb, certain) in of_records.into_iter().filter(|_| !plan.records.is_empty()) {
        let right = Right {
            namespace: plan.namespace.to_owned(),
            group: String::new(),
            resource: plan.records.to_owned(),
            verb,
        };
        all.insert(right, Purpose { certain, what: "helm keeps the release's records in it" });
    }
    all
}

/// What controllers make of the workloads, and Helm looks at: group and plural.
fn made(plan: &Plan<'_>) -> BTreeSet<(&'static str, &'static str)> {
    let renders = |kind: &str| plan.manifest.keys().any(|key| key.kind == kind);
    let mut made = BTreeSet::new();
    if plan.until != Until::Hooks && renders("Deployment") {
        made.insert(("apps", "replicasets"));
    }
    let of_pods = if plan.until == Until::Available {
        ["Deployment", "StatefulSet", "ReplicaSet"].iter().any(|kind| renders(kind))
    } else {
        plan.until == Until::Ready && (renders("ReplicaSet") || renders("ReplicationController"))
    };
    if of_pods {
        made.insert(("", "pods"));
    }
    made
}

/// Without a policy Helm deletes the hook of the run before.
fn deletes(hook: &Value) -> bool {
    let policy = hook.pointer("/metadata/annotations/helm.sh~1hook-delete-policy").and_then(Value::as_str);
    policy.is_none_or(|policy| !policy.split(',').all(|one| one.trim() == "hook-failed"))
}

/// Do the rules that the API server lists for a namespace allow it? Rules for objects by name say nothing of the others.
pub fn is_allowed(rules: &[Value], right: &Right) -> bool {
    rules.iter().any(|rule| {
        let has = |list: &str, wanted: &str| {
            let items = rule[list].as_array().map_or(&[][..], Vec::as_slice);
            items.iter().any(|item| item == "*" || item == wanted)
        };
        rule["resourceNames"].as_array().is_none_or(Vec::is_empty)
            && has("verbs", right.verb)
            && has("apiGroups", &right.group)
            && has("resources", &right.resource)
    })
}

/// Findings about rights that are denied to `user`, one for each resource.
pub fn denied(denied: &[(Right, Purpose)], user: &str, release: &str) -> Vec<Finding> {
    let mut of_resource = BTreeMap::<_, Vec<&(Right, Purpose)>>::new();
    for one in denied {
        let right = &one.0;
        let key = (right.namespace.as_str(), right.group.as_str(), right.resource.as_str());
        of_resource.entry(key).or_default().push(one);
    }
    let findings = of_resource.into_iter().filter_map(|((namespace, group, resource), rights)| {
        let weightiest = rights.iter().map(|(_, purpose)| purpose).max()?;
        let verbs = rights.iter().map(|(right, _)| right.verb).collect::<Vec<_>>().join(",");
        let named = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let place =
            if namespace.is_empty() { "the cluster".to_owned() } else { format!("namespace {namespace}") };
        Some(Finding {
            id: "right-missing",
            certain: weightiest.certain,
            object: named.clone(),
            cause: format!("{user} may not {verbs} {named} in {place}: {}", weightiest.what),
            remedy: commands(&format!("{release}-deploys-{resource}"), namespace, &verbs, &named, user),
            ..Finding::default()
        })
    });
    findings.collect()
}

/// What gives the right to who deploys.
fn commands(role: &str, namespace: &str, verbs: &str, resource: &str, user: &str) -> Vec<String> {
    let quoted = |name: &str| {
        let is_plain =
            name.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-_.:@/".contains(&letter));
        if is_plain { name.to_owned() } else { shlex::try_quote(name).unwrap_or_default().into_owned() }
    };
    let subject = match user.strip_prefix("system:serviceaccount:") {
        Some(account) => format!("--serviceaccount={}", quoted(account)),
        None => format!("--user={}", quoted(user)),
    };
    let (kind, place) = if namespace.is_empty() {
        ("clusterrole", String::new())
    } else {
        ("role", format!(" -n {namespace}"))
    };
    vec![
        format!("kubectl create {kind} {role}{place} --verb={verbs} --resource={resource}"),
        format!("kubectl create {kind}binding {role}{place} --{kind}={role} {subject}"),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const WEB: &str = "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}\n---\nkind: ClusterRole\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {name: web}\n";
    const HOOK: &str =
        "kind: Job\napiVersion: batch/v1\nmetadata: {name: h, annotations: {helm.sh/hook: pre-install}}\n";
    const OLD: &str = "kind: Service\napiVersion: v1\nmetadata: {name: web}\n";

    fn said(until: Until, hooks: &str, looks_first: bool) -> String {
        let parse = |text: &str| Manifest::parse(text, "shop").unwrap();
        let (manifest, hooks, before) = (parse(WEB), parse(hooks), parse(OLD));
        let plan = Plan {
            namespace: "shop",
            records: "secrets",
            manifest: &manifest,
            hooks: &hooks,
            before: &before,
            until,
            looks_first,
        };
        let lines = needed(&plan, &Resources::new()).into_iter().map(|(right, purpose)| {
            let weight = if purpose.certain { "must" } else { "may" };
            format!("{weight} {} {}.{} in {:?}", right.verb, right.resource, right.group, right.namespace)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_a_deploy_needs() {
        insta::assert_snapshot!(format!(
            "Helm 3, no wait:\n{}\n\nHelm 3, waits:\n{}\n\nHelm 4, waits, with a hook:\n{}",
            said(Until::Hooks, "", true),
            said(Until::Ready, "", true),
            said(Until::Available, HOOK, true)
        ));
    }

    #[test]
    fn rules_allow_by_verb_group_and_resource_and_not_by_name() {
        let right = Right {
            namespace: "shop".into(),
            group: "apps".into(),
            resource: "replicasets".into(),
            verb: "list",
        };
        let rule = |verbs: &[&str], groups: &[&str], resources: &[&str]| json!({"verbs": verbs, "apiGroups": groups, "resources": resources});
        let mut by_name = rule(&["*"], &["*"], &["*"]);
        by_name["resourceNames"] = json!(["web"]);
        for (what, rule, allowed) in [
            ("all", rule(&["*"], &["*"], &["*"]), true),
            ("this", rule(&["get", "list"], &["apps"], &["replicasets"]), true),
            ("another verb", rule(&["get"], &["apps"], &["replicasets"]), false),
            ("another group", rule(&["list"], &[""], &["replicasets"]), false),
            ("a part of it", rule(&["list"], &["apps"], &["replicasets/scale"]), false),
            ("one object", by_name, false),
        ] {
            assert_eq!(is_allowed(&[rule], &right), allowed, "{what}");
        }
    }

    #[test]
    fn what_is_denied_is_told_with_the_commands_that_allow_it() {
        let right = |namespace: &str, group: &str, resource: &str, verb: &'static str| Right {
            namespace: namespace.into(),
            group: group.into(),
            resource: resource.into(),
            verb,
        };
        let waits = Purpose { certain: false, what: "helm looks at it while it waits (--wait)" };
        let keeps = Purpose { certain: true, what: "helm keeps the release's records in it" };
        let all = [
            (right("shop", "apps", "replicasets", "list"), waits),
            (right("shop", "apps", "replicasets", "watch"), waits),
            (right("shop", "", "secrets", "update"), keeps),
            (right("", "rbac.authorization.k8s.io", "clusterroles", "get"), waits),
        ];
        let mut text = String::new();
        for user in ["system:serviceaccount:ci:deployer", "ada o'hara"] {
            for finding in denied(&all, user, "web") {
                text.push_str(&format!(
                    "{} {}\n{}\n",
                    finding.certain,
                    finding.sentence(),
                    finding.remedy.join("\n")
                ));
            }
        }
        insta::assert_snapshot!(text);
    }
}
