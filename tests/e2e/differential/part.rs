//! A piece of a release, before and after.

use serde_json::{Value, json};

use super::objects::config;
use crate::sweep::pick;

/// A piece of a release. A text among the objects is a template as it is; texts in objects may have template actions too.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// What is in the namespace before all.
    pub setup: Vec<Value>,
    /// Object and condition that are waited for then.
    pub settled: Vec<(String, &'static str)>,
    /// What is in `crds/`.
    pub crds: Vec<Value>,
    /// The first release.
    pub old: Vec<Value>,
    /// Flags of its deploys.
    pub old_flags: Vec<String>,
    /// Object and condition that are waited for after it.
    pub grown: Vec<(String, &'static str)>,
    /// `kubectl` in between.
    pub meanwhile: Vec<Vec<String>>,
    /// What others put there in between.
    pub comes: Vec<Value>,
    /// What is refused from then on, in whatever words: that is waited for.
    pub denied: Option<Value>,
    /// The release is uninstalled in between.
    pub uninstalls: bool,
    /// The second release.
    pub new: Vec<Value>,
    /// Flags of its deploys.
    pub flags: Vec<String>,
    /// Rules of its deployer, who is else the administrator.
    pub role: Option<Vec<Value>>,
    /// What a hook does: the name of its Job, and `kubectl`. A pod of the test bed does nothing itself.
    pub acts: Vec<(String, Vec<String>)>,
    /// Is a webhook registered for the namespace from the beginning?
    pub asks: bool,
}

impl Part {
    pub fn add(&mut self, other: Self) {
        self.setup.extend(other.setup);
        self.settled.extend(other.settled);
        self.crds.extend(other.crds);
        self.old.extend(other.old);
        self.old_flags.extend(other.old_flags);
        self.grown.extend(other.grown);
        self.meanwhile.extend(other.meanwhile);
        self.comes.extend(other.comes);
        self.denied = self.denied.take().or(other.denied);
        self.uninstalls |= other.uninstalls;
        self.new.extend(other.new);
        self.flags.extend(other.flags);
        self.role = self.role.take().or(other.role);
        self.acts.extend(other.acts);
        self.asks |= other.asks;
    }

    /// All that may come to be in the cluster.
    pub fn objects(&self) -> impl Iterator<Item = &Value> {
        self.setup.iter().chain(&self.crds).chain(&self.old).chain(&self.comes).chain(&self.new)
    }
}

/// Objects that depend on nothing, some of them new or changed.
pub fn filler(point: u64, count: u64) -> Part {
    let value = |phase: &str, at: u64| pick((phase, point, at), &["1", "2"]);
    let objects = |phase: &str, from: u64| {
        (from..count).map(|at| config(&format!("filler-{at}"), value(phase, at))).collect()
    };
    Part { old: objects("old", 1), new: objects("new", 0), ..Part::default() }
}

/// The role of a deployer with these rules, and its binding. Records and locks all may write.
pub fn given(user: usize, rules: &[Value]) -> [Value; 2] {
    let rules: Vec<Value> = rules
        .iter()
        .cloned()
        .chain([
            json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}),
            json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}),
            json!({"apiGroups": ["apps", "batch", "networking.k8s.io"], "resources": ["*"], "verbs": ["*"]}),
            json!({"apiGroups": [""], "resources": ["persistentvolumeclaims", "limitranges", "pods", "serviceaccounts"], "verbs": ["*"]}),
        ])
        .collect();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "given"}, "rules": rules});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "given"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "given"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": format!("user-{user}")}],
    });
    [role, binding]
}
