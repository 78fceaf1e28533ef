//! A right, and the roles and rules of RBAC that give it. Pure.

use serde_json::Value;

use crate::manifest::ObjectKey;

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
    /// Of which object; empty for all of the resource, as for a list, and for a create, which names none.
    pub name: String,
}

/// Do these rules allow it? Those for objects by name count for these objects alone, and never for a create or a list.
pub fn is_allowed(rules: &[Value], right: &Right) -> bool {
    rules.iter().any(|rule| {
        let list = |list: &str| rule[list].as_array().map_or(&[][..], Vec::as_slice);
        let has = |name: &str, wanted: &str| list(name).iter().any(|item| item == "*" || item == wanted);
        let names = list("resourceNames");
        let named = names.is_empty()
            || (!right.name.is_empty() && names.iter().any(|name| *name == right.name.as_str()));
        named
            && has("verbs", right.verb)
            && has("apiGroups", &right.group)
            && has("resources", &right.resource)
    })
}

/// A role among these objects whose rules allow it.
pub fn role_with<'a>(objects: &[(&'a ObjectKey, &'a Value)], right: &Right) -> Option<&'a ObjectKey> {
    let wide = |object: &Value| {
        let name = object["roleRef"]["name"].as_str();
        name.is_some_and(|name| matches!(name, "cluster-admin" | "admin" | "edit"))
    };
    let allows = |(key, object): &&(&ObjectKey, &Value)| match key.kind.as_str() {
        "Role" | "ClusterRole" => {
            is_allowed(object["rules"].as_array().map_or(&[][..], Vec::as_slice), right)
        }
        "RoleBinding" | "ClusterRoleBinding" => wide(object),
        _ => false,
    };
    objects.iter().find(allows).map(|(key, _)| *key)
}

/// May these objects give the right to the deployer? A role does that has it, unless it is bound to the release's own accounts
/// alone; and a binding of a role that is not among them may.
pub fn grants(objects: &[(&ObjectKey, &Value)], right: &Right) -> bool {
    let of =
        |kinds: [&'static str; 2]| objects.iter().filter(move |(key, _)| kinds.contains(&key.kind.as_str()));
    let roles = || of(["Role", "ClusterRole"]);
    let bindings = || of(["RoleBinding", "ClusterRoleBinding"]);
    let is_own = |subject: &Value| {
        subject["kind"] == "ServiceAccount"
            && objects
                .iter()
                .any(|(key, _)| key.kind == "ServiceAccount" && subject["name"] == key.name.as_str())
    };
    let is_foreign =
        |binding: &Value| binding["subjects"].as_array().is_some_and(|subjects| !subjects.iter().all(is_own));
    let given = roles().any(|(key, role)| {
        let mut bound =
            bindings().filter(|(_, binding)| binding["roleRef"]["name"] == key.name.as_str()).peekable();
        let unbound = bound.peek().is_none();
        is_allowed(role["rules"].as_array().map_or(&[][..], Vec::as_slice), right)
            && (unbound || bound.any(|(_, binding)| is_foreign(binding)))
    });
    let elsewhere =
        |binding: &Value| !roles().any(|(key, _)| binding["roleRef"]["name"] == key.name.as_str());
    given || bindings().any(|(_, binding)| is_foreign(binding) && elsewhere(binding))
}
