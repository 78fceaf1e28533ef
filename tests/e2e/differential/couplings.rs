//! What the releases of the differential test are made of: objects that depend on each other, on what lives, on flags, on
//! rights. Each is drawn by the point; each can end well or not, and nobody says here which.

use serde_json::{Value, json};
use testbed::tools::Helm;

use crate::sweep::{draw, pick};

/// A piece of a release, before and after.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// What is in the namespace before all.
    pub setup: Vec<Value>,
    /// Object and condition that are waited for then.
    pub settled: Vec<(String, &'static str)>,
    /// The release before.
    pub old: Vec<Value>,
    /// Flags of its install.
    pub old_flags: Vec<String>,
    /// Object and condition that are waited for after it.
    pub grown: Vec<(String, &'static str)>,
    /// `kubectl` in between.
    pub meanwhile: Vec<Vec<String>>,
    /// The release is uninstalled in between.
    pub uninstalls: bool,
    /// The release that is compared.
    pub new: Vec<Value>,
    /// Its flags.
    pub flags: Vec<String>,
    /// Rules of the deployer, who is else the administrator.
    pub role: Option<Vec<Value>>,
}

impl Part {
    pub fn add(&mut self, other: Self) {
        self.setup.extend(other.setup);
        self.settled.extend(other.settled);
        self.old.extend(other.old);
        self.old_flags.extend(other.old_flags);
        self.grown.extend(other.grown);
        self.meanwhile.extend(other.meanwhile);
        self.uninstalls |= other.uninstalls;
        self.new.extend(other.new);
        self.flags.extend(other.flags);
        self.role = self.role.take().or(other.role);
    }
}

/// What makes an answer of the API server depend on more than one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coupling {
    MovedPort,
    KeptClaim,
    Adopted,
    Limits,
    Quota,
    Selector,
    BrokenHook,
    Frozen,
    WrongPort,
    Waits,
    RightsByName,
    Volumes,
    Replaced,
    SecretType,
    OtherManager,
    RoleRef,
    ForgottenRight,
}

impl Coupling {
    pub const ALL: [Self; 17] = [
        Self::MovedPort,
        Self::KeptClaim,
        Self::Adopted,
        Self::Limits,
        Self::Quota,
        Self::Selector,
        Self::BrokenHook,
        Self::Frozen,
        Self::WrongPort,
        Self::Waits,
        Self::RightsByName,
        Self::Volumes,
        Self::Replaced,
        Self::SecretType,
        Self::OtherManager,
        Self::RoleRef,
        Self::ForgottenRight,
    ];

    /// What of the cluster two namespaces cannot share has other numbers each time.
    pub fn part(self, point: u64, version: Helm) -> Part {
        let chance = |what: &str, of: u64| draw((what, self, point), of) == 0;
        let mut part = Part::default();
        match self {
            Self::MovedPort => {
                let port = free_port();
                let (from, to) = if chance("order", 2) { ("green", "blue") } else { ("blue", "green") };
                part.old = vec![service(from, Some(port)), service(to, None)];
                part.new = vec![service(from, None), service(to, Some(port))];
            }
            Self::KeptClaim => {
                part.uninstalls = chance("uninstalls", 2);
                part.old = vec![claim("data", "1Gi")];
                part.grown = vec![("pvc/data".to_owned(), "jsonpath={.status.phase}=Bound")];
                part.new = vec![claim("data", pick(("size", point), &["1Gi", "1Gi", "1024Mi", "2Gi"]))];
            }
            Self::Adopted => {
                let mut theirs = config("theirs", "1");
                if chance("marked", 2) {
                    // By Helm itself, with a release that is gone.
                    theirs["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
                    part.old.push(theirs.clone());
                    part.uninstalls = true;
                } else {
                    part.setup = vec![theirs.clone()];
                }
                theirs["data"]["a"] = pick(("data", point), &["1", "2"]).into();
                part.new = vec![theirs];
                if chance("takes", 2) {
                    part.flags.push("--take-ownership".to_owned());
                }
                // Else its first revision has no object.
                part.old.push(config("first", "1"));
            }
            Self::Limits => {
                let limits = |max: &str| json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits"}, "spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": max}}]}});
                part.old = vec![limits("1Gi")];
                part.new = vec![limits(pick(("max", point), &["1Gi", "5Gi"])), claim("large", "2Gi")];
                // The API server learns of it a little later: the same time for both.
                part.new.extend((0..20).map(|at| config(&format!("pad-{at}"), "1")));
            }
            Self::Quota => {
                part.setup = vec![
                    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"count/roles.rbac.authorization.k8s.io": pick(("hard", point), &["1", "3"])}}}),
                ];
                part.settled = vec![("resourcequota/few".to_owned(), "jsonpath={.status.hard}")];
                part.old = vec![role("one")];
                part.new = vec![role("one"), role("two")];
            }
            Self::Selector => {
                part.old = vec![deployment("shop", "shop")];
                part.new = vec![deployment("shop", pick(("label", point), &["shop", "store"]))];
                if chance("hook", 2) {
                    part.new.push(hook("prepare", "pre-upgrade", "Never"));
                }
            }
            Self::BrokenHook => {
                let event = pick(("event", point), &["pre-upgrade", "post-upgrade", "pre-install"]);
                part.new = vec![hook("broken", event, pick(("policy", point), &["Always", "Never"]))];
                if chance("off", 2) {
                    part.flags.push("--no-hooks".to_owned());
                }
            }
            Self::Frozen => {
                let frozen = |value: &str| {
                    let mut frozen = config("frozen", value);
                    frozen["immutable"] = true.into();
                    frozen
                };
                part.old = vec![frozen("1")];
                part.new = vec![frozen(pick(("value", point), &["1", "2"]))];
            }
            Self::WrongPort => {
                let mut wrong = service("wrong", None);
                wrong["spec"]["ports"][0]["port"] = pick(("port", point), &[80, 99999]).into();
                part.new = vec![wrong];
            }
            Self::Waits => {
                let mut waits = deployment("waits", "waits");
                waits["spec"]["minReadySeconds"] = pick(("settle", point), &[0, 40]).into();
                let missing = pick(("missing", point), &[0, 1]);
                waits["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": missing}});
                waits["spec"]["paused"] = chance("paused", 4).into();
                part.new = vec![waits];
                let legacy = version == Helm::V4 && chance("legacy", 2);
                let wait = if legacy { "--wait=legacy" } else { "--wait" };
                part.flags = vec![wait.to_owned(), "--timeout=15s".to_owned()];
            }
            Self::RightsByName => {
                part.old = vec![config("named", "1")];
                part.new = vec![config("named", "2")];
                let named = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "update", "patch"], "resourceNames": ["named"]});
                part.role = Some(vec![named]);
                if chance("others", 2) {
                    part.role
                        .as_mut()
                        .unwrap()
                        .push(json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}));
                }
            }
            Self::Volumes => {
                part.old = vec![stateful_set("1Gi")];
                part.new = vec![stateful_set(pick(("size", point), &["1Gi", "2Gi"]))];
            }
            Self::Replaced => {
                let mut other = service("whole", None);
                part.old = vec![other.clone()];
                other["spec"]["ports"][0]["port"] = pick(("port", point), &[80, 81]).into();
                part.new = vec![other];
                match version {
                    Helm::V3 => part.flags.push("--force".to_owned()),
                    // Which it cannot do with server-side apply.
                    Helm::V4 => {
                        part.flags.extend(["--force-replace", "--server-side=false"].map(str::to_owned))
                    }
                }
            }
            Self::SecretType => {
                let secret = |kind: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "typed"}, "type": kind, "stringData": {"a": "1"}});
                part.old = vec![secret("Opaque")];
                part.new = vec![secret(pick(("type", point), &["Opaque", "example.com/other"]))];
            }
            Self::OtherManager => {
                part.old = vec![deployment("scaled", "scaled")];
                part.new = vec![deployment("scaled", "scaled")];
                let patch = [
                    "patch",
                    "deployment",
                    "scaled",
                    "--field-manager=scaler",
                    "--type=merge",
                    "-p",
                    "{\"spec\":{\"replicas\":0}}",
                ];
                part.meanwhile = vec![patch.map(str::to_owned).to_vec()];
                if version == Helm::V4 && chance("forces", 2) {
                    part.flags.push("--force-conflicts".to_owned());
                }
            }
            Self::RoleRef => {
                let bound = |name: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "bound"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}, "subjects": []});
                part.old = vec![bound("a")];
                part.new = vec![bound(pick(("name", point), &["a", "b"]))];
            }
            Self::ForgottenRight => {
                part.new = vec![service("mine", None)];
                let all = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]});
                let mut rules = vec![all];
                if chance("given", 2) {
                    rules.push(json!({"apiGroups": [""], "resources": ["services"], "verbs": ["*"]}));
                }
                part.role = Some(rules);
            }
        }
        part
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
            json!({"apiGroups": ["apps", "batch"], "resources": ["*"], "verbs": ["*"]}),
            json!({"apiGroups": [""], "resources": ["persistentvolumeclaims", "limitranges", "pods"], "verbs": ["*"]}),
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

fn config(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": value}})
}

/// A node port that no other namespace of this process has asked for: stories run beside each other, and a port is the
/// cluster's. Most processes begin at another one.
fn free_port() -> u64 {
    static TAKEN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let taken = TAKEN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    30_000 + (u64::from(std::process::id()) * 37 + taken) % 2_700
}

fn service(name: &str, port: Option<u64>) -> Value {
    let mut spec =
        json!({"selector": {"app": name}, "type": "ClusterIP", "ports": [{"name": "http", "port": 80}]});
    if let Some(port) = port {
        spec["type"] = "NodePort".into();
        spec["ports"][0]["nodePort"] = port.into();
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

fn claim(name: &str, size: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "annotations": {"helm.sh/resource-policy": "keep"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "kwok-volume", "resources": {"requests": {"storage": size}}},
    })
}

fn role(name: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": []})
}

fn deployment(name: &str, label: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": label}},
            "template": {"metadata": {"labels": {"app": label}}, "spec": {"containers": [{"name": "c", "image": "example.com/c:1"}]}},
        },
    })
}

fn stateful_set(size: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db", "replicas": 1, "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "example.com/db:1"}]}},
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "kwok-volume", "resources": {"requests": {"storage": size}}},
            }],
        },
    })
}

/// A Job; no API server takes one whose pods are always restarted.
fn hook(name: &str, event: &str, restart: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "annotations": {"helm.sh/hook": event}},
        "spec": {"template": {"spec": {"restartPolicy": restart, "containers": [{"name": "c", "image": "example.com/c:1"}]}}},
    })
}
