//! Rights that the deploy will need and that no dry run asks about: of Helm's records, of what hooks and the wait look at, of
//! what is to be deleted.
//! Pure: `preflight/rights/review.rs` asks the API server which of them the deployer has.
//!
//! The dry run of an object has answered for its create or its change. What is asked here is what comes later, when half of the
//! deploy is done: a record that cannot be updated stays pending, a wait that may not list pods fails.

pub mod review;
pub mod rules;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Finding,
    certainty::{self, Ground, Situation},
    order::Earlier,
    timeouts::Until,
};
use crate::cluster::api_paths::{self, Resource};
use crate::manifest::{Manifest, ObjectKey};
pub use rules::{Right, is_allowed};

/// The verb of this name; empty for one that is no verb of a request.
pub fn verb(name: &str) -> &'static str {
    let all = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
        "bind",
        "escalate",
    ];
    all.into_iter().find(|verb| *verb == name).unwrap_or_default()
}

/// The records that a deploy writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// `secrets` or `configmaps`; empty where records are in no object.
    pub resource: &'static str,
    /// Name of the new one; empty if it is not known.
    pub new: String,
    /// Names of those that Helm removes to make room.
    pub pruned: Vec<String>,
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
    /// The records.
    pub records: &'a Records,
    /// What is applied.
    pub manifest: &'a Manifest,
    /// Hooks that will run.
    pub hooks: &'a Manifest,
    /// What is in force; `None` for an install, which deletes nothing.
    pub before: Option<&'a Manifest>,
    /// What Helm waits for.
    pub until: Until,
    /// Helm 4?
    pub is_v4: bool,
    /// Does Helm look first at an object that it applies?
    pub looks_first: bool,
    /// Objects that are patched and of which no dry run says whether they may be.
    pub unasked: &'a BTreeSet<&'a ObjectKey>,
}

/// By what the API calls them.
pub type Resources<'a> = BTreeMap<(&'a str, &'a str), Option<Resource>>;

/// What a deploy needs. Kinds of which the API's name is not known are left out.
pub fn needed(plan: &Plan<'_>, resources: &Resources<'_>) -> Needed {
    let mut all = Needed::new();
    // A request for one object names it; a list, and a watch of all, names none.
    let mut need = |key: &ObjectKey, verbs: &[&'static str], by_name: bool, certain, what: &'static str| {
        let found = resources.get(&(key.api_version.as_str(), key.kind.as_str())).cloned().flatten();
        let Some(found) = found.or_else(|| api_paths::known(&key.api_version, &key.kind)) else { return };
        for verb in verbs {
            let right = Right {
                namespace: if found.namespaced { key.namespace.clone() } else { String::new() },
                group: api_paths::group(&key.api_version).to_owned(),
                resource: found.plural.clone(),
                verb,
                name: if by_name { key.name.clone() } else { String::new() },
            };
            let purpose = Purpose { certain, what };
            let known = all.entry(right).or_insert(purpose);
            *known = purpose.max(*known);
        }
    };
    for key in plan.manifest.keys() {
        if plan.looks_first {
            need(key, &["get"], true, true, "helm reads each object before it applies it");
        }
        if plan.unasked.contains(key) {
            need(key, &["patch"], true, true, "helm applies each object, changed or not");
        }
        if plan.until == Until::Available {
            need(key, &["list", "watch"], false, false, "helm watches it until it is ready (--wait)");
        }
    }
    let before = plan.before.into_iter().flat_map(Manifest::keys);
    for key in before.filter(|key| !plan.manifest.contains(key)) {
        need(key, &["delete"], true, false, "the new manifest does not contain it, and helm removes it");
    }
    for (key, hook) in &plan.hooks.objects {
        let is_definition = key.kind == "CustomResourceDefinition";
        // Helm 3 watches Jobs and pods alone, each by its name.
        let runs = matches!(key.kind.as_str(), "Job" | "Pod");
        if plan.is_v4 || runs {
            need(key, &["list", "watch"], !plan.is_v4, false, "helm watches its hooks until they end");
        }
        if !is_definition && deletes(hook) {
            need(key, &["delete"], true, true, "helm deletes its hooks, by their delete policy");
        }
    }
    for (kind, resource) in made(plan) {
        let verbs: &[&'static str] =
            if plan.until == Until::Available { &["list", "watch"] } else { &["list"] };
        for verb in verbs {
            let right = Right {
                namespace: plan.namespace.to_owned(),
                group: kind.to_owned(),
                resource: resource.to_owned(),
                verb,
                name: String::new(),
            };
            all.entry(right)
                .or_insert(Purpose { certain: false, what: "helm reads it while it waits (--wait)" });
        }
    }
    for (verb, name) in plan.records.written() {
        let right = Right {
            namespace: plan.namespace.to_owned(),
            group: String::new(),
            resource: plan.records.resource.to_owned(),
            verb,
            name,
        };
        all.insert(right, Purpose { certain: true, what: "helm keeps the release's records in it" });
    }
    all
}

impl Records {
    /// The writes of a deploy: the new record is created and updated, and old ones go to make room for it.
    fn written(&self) -> Vec<(&'static str, String)> {
        if self.resource.is_empty() {
            return Vec::new();
        }
        let gone = self.pruned.iter().map(|name| ("delete", name.clone()));
        [("create", String::new()), ("update", self.new.clone())].into_iter().chain(gone).collect()
    }
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

/// Findings about rights that are denied to `user`, one for each resource. `end`: all that may have been done until then.
pub fn denied(denied: &[(Right, Purpose)], user: &str, release: &str, end: &Earlier<'_>) -> Vec<Finding> {
    let mut of_resource = BTreeMap::<_, Vec<&(Right, Purpose)>>::new();
    for one in denied {
        let right = &one.0;
        let key = (right.namespace.as_str(), right.group.as_str(), right.resource.as_str());
        of_resource.entry(key).or_default().push(one);
    }
    let findings = of_resource.into_iter().filter_map(|((namespace, group, resource), rights)| {
        let weightiest = rights.iter().map(|(_, purpose)| purpose).max()?;
        let verbs: BTreeSet<&str> = rights.iter().map(|(right, _)| right.verb).collect();
        let verbs = verbs.into_iter().collect::<Vec<_>>().join(",");
        let named = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let place =
            if namespace.is_empty() { "the cluster".to_owned() } else { format!("namespace {namespace}") };
        let needed: Vec<Right> =
            rights.iter().filter(|(_, purpose)| purpose.certain).map(|(right, _)| right.clone()).collect();
        let ground = if needed.is_empty() { Ground::SpareRights } else { Ground::Rights(&needed) };
        let situation = Situation { earlier: end.clone(), ..Situation::default() };
        Some(Finding {
            id: "right-missing",
            weight: certainty::of(&ground, &situation),
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

    use super::{rules::grants, *};

    const WEB: &str = "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}\n---\nkind: ClusterRole\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {name: web}\n";
    const HOOK: &str =
        "kind: Job\napiVersion: batch/v1\nmetadata: {name: h, annotations: {helm.sh/hook: pre-install}}\n";
    const OLD: &str = "kind: Service\napiVersion: v1\nmetadata: {name: web}\n";

    fn said(until: Until, hooks: &str, looks_first: bool, is_v4: bool) -> String {
        let parse = |text: &str| Manifest::parse(text, "shop").unwrap();
        let (manifest, hooks, before) = (parse(WEB), parse(hooks), parse(OLD));
        let records = Records {
            resource: "secrets",
            new: "sh.helm.release.v1.web.v12".into(),
            pruned: vec!["sh.helm.release.v1.web.v2".into()],
        };
        let plan = Plan {
            namespace: "shop",
            records: &records,
            manifest: &manifest,
            hooks: &hooks,
            before: Some(&before),
            until,
            is_v4,
            looks_first,
            unasked: &BTreeSet::new(),
        };
        let lines = needed(&plan, &Resources::new()).into_iter().map(|(right, purpose)| {
            let weight = if purpose.certain { "must" } else { "may" };
            let Right { namespace, group, resource, verb, name } = right;
            format!("{weight} {verb} {resource}.{group} {name} in {namespace:?}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_a_deploy_needs() {
        insta::assert_snapshot!(format!(
            "Helm 3, no wait:\n{}\n\nHelm 3, waits, with a hook:\n{}\n\nHelm 4, waits, with a hook:\n{}",
            said(Until::Hooks, "", false, false),
            said(Until::Ready, HOOK, false, false),
            said(Until::Available, HOOK, true, true)
        ));
    }

    #[test]
    fn rules_allow_by_verb_group_and_resource_and_not_by_name() {
        let right = Right {
            namespace: "shop".into(),
            group: "apps".into(),
            resource: "replicasets".into(),
            verb: "list",
            name: String::new(),
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
        let mut by_name = rule(&["*"], &["*"], &["*"]);
        by_name["resourceNames"] = json!(["web"]);
        for (name, allowed) in [("web", true), ("other", false)] {
            let right = Right { verb: "get", name: name.into(), ..right.clone() };
            assert_eq!(is_allowed(&[by_name.clone()], &right), allowed, "{name}");
        }
    }

    #[test]
    fn a_release_gives_rights_only_by_roles_that_are_bound_to_others_than_its_own_accounts() {
        let role = |resource: &str| {
            format!(
                "kind: Role\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {{name: r}}\nrules: [{{apiGroups: [''], resources: [{resource}], verbs: ['*']}}]\n---\n"
            )
        };
        let binding = |role: &str, subject: &str| {
            format!(
                "kind: RoleBinding\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {{name: b}}\nroleRef: {{name: {role}}}\nsubjects: [{subject}]\n---\n"
            )
        };
        let account = "kind: ServiceAccount\napiVersion: v1\nmetadata: {name: app}\n---\n";
        let (own, other) = ("{kind: ServiceAccount, name: app}", "{kind: User, name: ci}");
        let right = Right {
            namespace: "shop".into(),
            group: String::new(),
            resource: "secrets".into(),
            verb: "update",
            name: "x".into(),
        };
        for (what, text, gives) in [
            ("nothing", account.to_owned(), false),
            (
                "a role of the application",
                format!("{account}{}{}", role("secrets"), binding("r", own)),
                false,
            ),
            ("a role of somebody else", format!("{}{}", role("secrets"), binding("r", other)), true),
            ("a role that is bound elsewhere", role("secrets"), true),
            ("a role without the right", format!("{}{}", role("pods"), binding("r", other)), false),
            ("a role that is elsewhere", binding("admin", other), true),
            ("the same, for the application", format!("{account}{}", binding("admin", own)), false),
        ] {
            let manifest = Manifest::parse(&text, "shop").unwrap();
            let objects: Vec<_> = manifest.objects.iter().map(|(key, object)| (key, object)).collect();
            assert_eq!(grants(&objects, &right), gives, "{what}");
        }
    }

    #[test]
    fn what_is_denied_is_told_with_the_commands_that_allow_it() {
        let right = |namespace: &str, group: &str, resource: &str, verb: &'static str| Right {
            namespace: namespace.into(),
            group: group.into(),
            resource: resource.into(),
            verb,
            name: String::new(),
        };
        let waits = Purpose { certain: false, what: "helm reads it while it waits (--wait)" };
        let keeps = Purpose { certain: true, what: "helm keeps the release's records in it" };
        let all = [
            (right("shop", "apps", "replicasets", "list"), waits),
            (right("shop", "apps", "replicasets", "watch"), waits),
            (right("shop", "", "secrets", "update"), keeps),
            (right("", "rbac.authorization.k8s.io", "clusterroles", "get"), waits),
        ];
        let mut text = String::new();
        for user in ["system:serviceaccount:ci:deployer", "ada o'hara"] {
            for finding in denied(&all, user, "web", &Earlier::default()) {
                text.push_str(&format!(
                    "{} {}\n{}\n",
                    finding.is_certain(),
                    finding.sentence(),
                    finding.remedy.join("\n")
                ));
            }
        }
        insta::assert_snapshot!(text);
    }
}
