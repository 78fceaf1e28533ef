//! Couplings with what is around a release: limits, quotas, levels, webhooks, policies, rights, and what belongs to the cluster.

use serde_json::{Value, json};

use super::{Coupling, Draws};
use crate::differential::{
    objects::{claim, config, frozen, ingress, kept, namespace, pod, role, service},
    part::Part,
};

fn limits(kind: &str, max: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": format!("limits-{}", kind.to_lowercase())}, "spec": {"limits": [{"type": kind, "max": max}]}})
}

/// The API server learns of some objects a little after they are written: these are between, the same time for both sides.
fn pads() -> impl Iterator<Item = Value> {
    (0..20).map(|at| config(&format!("pad-{at}"), "1"))
}

/// The selector of what is about the side's own namespace.
fn here() -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": "NAMESPACE"}})
}

pub(super) fn part(draws: Draws) -> Option<Part> {
    let mut part = Part::default();
    match draws.of {
        Coupling::Limits => {
            let of = |max: &str| limits("PersistentVolumeClaim", &json!({"storage": max}));
            part.old = vec![of("1Gi")];
            part.new = vec![of(draws.pick("max", &["1Gi", "5Gi"])), claim("large", "2Gi")];
            part.new.extend(pads());
        }
        Coupling::LimitedPods => {
            let of = |max: &str| limits("Container", &json!({"cpu": max}));
            let mut hungry = pod("hungry");
            hungry["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "2"}});
            part.old = vec![config("first", "1")];
            match draws.pick("when", &["before", "with", "never"]) {
                "before" => part.old.push(of("1")),
                "with" => part.new.push(of("4")),
                _ => {}
            }
            part.new.push(hungry);
            part.new.extend(pads());
        }
        Coupling::Quota => {
            part.setup = vec![
                json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"count/roles.rbac.authorization.k8s.io": draws.pick("hard", &["2", "4"])}}}),
            ];
            part.settled = vec![("resourcequota/few".to_owned(), "jsonpath={.status.hard}")];
            part.old = vec![role("one")];
            part.new = vec![role("one"), role("two")];
        }
        Coupling::PodLevel => {
            let level = draws.pick("level", &["restricted", "baseline", "privileged"]);
            let label = format!("pod-security.kubernetes.io/enforce={level}");
            part.meanwhile =
                vec![["label", "namespace", "NAMESPACE", &label, "--overwrite"].map(str::to_owned).to_vec()];
            let mut daring = pod("daring");
            daring["spec"]["hostNetwork"] = draws.chance("host", 2).into();
            part.new = vec![daring];
        }
        Coupling::Webhook => {
            part.asks = true;
            part.old = vec![config("asked", "1")];
            part.new = vec![config("asked", draws.pick("value", &["2", "forbidden"]))];
        }
        Coupling::Unreachable => {
            part.comes = vec![json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": "NAMESPACE-gone"},
                "webhooks": [{
                    "name": "gone.example.com", "admissionReviewVersions": ["v1"], "sideEffects": draws.pick("effects", &["None", "NoneOnDryRun"]),
                    "failurePolicy": draws.pick("policy", &["Fail", "Ignore"]), "timeoutSeconds": 1,
                    "namespaceSelector": here(),
                    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["services"]}],
                    "clientConfig": {"url": "https://127.0.0.1:9/"},
                }],
            })];
            part.old = vec![service("called", false)];
            let mut called = service("called", false);
            called["spec"]["ports"][0]["port"] = draws.pick("port", &[80, 81]).into();
            part.new = vec![called];
        }
        Coupling::Policy => {
            let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]);
            part.comes = vec![
                json!({
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "NAMESPACE-policy"},
                    "spec": {
                        "failurePolicy": "Fail", "matchConstraints": {"resourceRules": rules},
                        "validations": [{"expression": "!has(object.data) || !('a' in object.data) || object.data.a != 'outlawed'", "message": "outlawed"}],
                    },
                }),
                json!({
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "NAMESPACE-policy"},
                    "spec": {"policyName": "NAMESPACE-policy", "validationActions": ["Deny"], "matchResources": {"namespaceSelector": here()}},
                }),
            ];
            part.denied = Some(config("probe", "outlawed"));
            part.old = vec![config("ruled", "1")];
            part.new = vec![config("ruled", draws.pick("value", &["2", "outlawed"]))];
        }
        Coupling::MovedPath => {
            part.asks = true;
            let (from, to) = if draws.chance("order", 2) { ("east", "west") } else { ("west", "east") };
            part.old = vec![ingress(from, "/shop"), ingress(to, "/other")];
            // Of two in one release an install writes both at the same time, so another's is in the way.
            part.comes = vec![ingress("others", "/taken")];
            part.new = vec![ingress(from, "/more"), ingress(to, draws.pick("path", &["/shop", "/taken"]))];
        }
        Coupling::RightsByName => {
            part.old = vec![config("named", "1")];
            part.new = vec![config("named", "2")];
            let named = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "update", "patch"], "resourceNames": ["named"]});
            let mut rules = vec![named];
            if draws.chance("others", 2) {
                rules.push(json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}));
            }
            part.role = Some(rules);
        }
        Coupling::ForgottenRight => {
            part.new = vec![service("mine", false)];
            if draws.chance("other", 2) {
                part.old = vec![service("mine", false)];
            }
            let all = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]});
            let mut rules = vec![all];
            let verbs = draws.pick("verbs", &["*", "get", "get create", "get create patch", ""]);
            if !verbs.is_empty() {
                let verbs: Vec<&str> = verbs.split(' ').collect();
                rules.push(json!({"apiGroups": [""], "resources": ["services"], "verbs": verbs}));
            }
            part.role = Some(rules);
        }
        Coupling::OwnNamespace => {
            let mut inner = config("inner", "1");
            inner["metadata"]["namespace"] = "NAMESPACE-own".into();
            part.old = vec![config("outer", "1")];
            part.new = vec![inner];
            if draws.chance("brought", 2) {
                part.new.push(namespace("NAMESPACE-own"));
            }
        }
        Coupling::OfTheCluster => {
            let rank = |value: u32| json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "NAMESPACE-rank"}, "value": value});
            let all = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "NAMESPACE-role"}, "rules": []});
            part.old = vec![rank(1), all.clone()];
            let mut ranked = pod("ranked");
            ranked["spec"]["priorityClassName"] = "NAMESPACE-rank".into();
            part.new = vec![rank(draws.pick("value", &[1, 1, 2])), ranked];
            if draws.chance("all", 2) {
                part.new.push(kept(all));
            }
        }
        Coupling::MissingAccount => {
            let mut served = pod("served");
            let missing = draws.chance("missing", 2);
            let (field, name) =
                draws.pick("field", &[("priorityClassName", "nobodys"), ("runtimeClassName", "nobodys")]);
            if missing {
                served["spec"][field] = name.into();
            }
            part.old = vec![frozen("calm", "1")];
            part.new = vec![served, frozen("calm", "1")];
        }
        _ => return None,
    }
    Some(part)
}
