//! Webhooks and admission policies, which judge an object in addition to the API server. They are called even if an apply
//! changes nothing, and their answer may differ from the last one.
//! Pure: they are read in `preflight/unchanged.rs`.

use serde_json::Value;

/// The collections in which they are. The last two are one, of which an older API server serves neither.
pub const COLLECTIONS: [&str; 5] = [
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
    "/apis/admissionregistration.k8s.io/v1beta1/mutatingadmissionpolicies",
];

/// Those that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judges {
    /// Not all could be read.
    unknown: bool,
    rules: Vec<Rule>,
}

/// Of which objects a judge is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    groups: Vec<String>,
    resources: Vec<String>,
    /// The only namespace, if it names one.
    namespace: Option<String>,
}

impl Judges {
    /// Who nobody knows.
    pub fn unknown() -> Self {
        Self { unknown: true, rules: Vec::new() }
    }

    /// From the lists of [`COLLECTIONS`], as far as the API server serves them.
    pub fn of<'a>(lists: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut all = Self::default();
        for list in lists {
            // A list that goes on is not all.
            all.unknown |= list["metadata"]["continue"].as_str().is_some_and(|token| !token.is_empty());
            for item in array(&list["items"]) {
                if let Some(constraints) = item.pointer("/spec/matchConstraints") {
                    all.add(&constraints["resourceRules"], &constraints["namespaceSelector"]);
                }
                for webhook in array(&item["webhooks"]) {
                    all.add(&webhook["rules"], &webhook["namespaceSelector"]);
                }
            }
        }
        all
    }

    fn add(&mut self, rules: &Value, selector: &Value) {
        let texts =
            |value: &Value| array(value).iter().filter_map(|text| text.as_str().map(str::to_owned)).collect();
        let namespace = selector["matchLabels"]["kubernetes.io/metadata.name"].as_str().map(str::to_owned);
        for rule in array(rules) {
            let updates =
                array(&rule["operations"]).iter().any(|one| matches!(one.as_str(), Some("*" | "UPDATE")));
            if updates {
                self.rules.push(Rule {
                    groups: texts(&rule["apiGroups"]),
                    resources: texts(&rule["resources"]),
                    namespace: namespace.clone(),
                });
            }
        }
    }

    /// May one of them be asked about an update of such an object? `namespace` is empty for one of the cluster. Other selectors
    /// and conditions may say no; only the API server knows.
    pub fn may_judge(&self, group: &str, plural: &str, namespace: &str) -> bool {
        let has = |all: &[String], one: &str| all.iter().any(|own| own == "*" || own == one);
        let matches = |rule: &Rule| {
            has(&rule.groups, group)
                && (has(&rule.resources, plural) || rule.resources.iter().any(|own| own == "*/*"))
                && rule.namespace.as_ref().is_none_or(|own| namespace.is_empty() || own == namespace)
        };
        self.unknown || self.rules.iter().any(matches)
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_judge_counts_where_its_rules_may_match() {
        let rule = |operations: &[&str], groups: &[&str], resources: &[&str]| json!([{"operations": operations, "apiGroups": groups, "apiVersions": ["v1"], "resources": resources}]);
        let webhook = |rules: Value, selector: Value| json!({"items": [{"webhooks": [{"rules": rules, "namespaceSelector": selector}]}]});
        let policy =
            |rules: Value| json!({"items": [{"spec": {"matchConstraints": {"resourceRules": rules}}}]});
        let of = |name: &str| json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
        let any = Value::Null;
        for (what, list, judges) in [
            ("none", json!({"items": []}), false),
            ("its own", webhook(rule(&["UPDATE"], &["apps"], &["deployments"]), any.clone()), true),
            ("all", webhook(rule(&["*"], &["*"], &["*"]), any.clone()), true),
            (
                "all and their parts",
                webhook(rule(&["CREATE", "UPDATE"], &["apps"], &["*/*"]), any.clone()),
                true,
            ),
            ("creates alone", webhook(rule(&["CREATE"], &["apps"], &["deployments"]), any.clone()), false),
            ("another group", webhook(rule(&["*"], &["batch"], &["*"]), any.clone()), false),
            ("another resource", webhook(rule(&["*"], &["apps"], &["statefulsets"]), any.clone()), false),
            ("a part of it", webhook(rule(&["*"], &["apps"], &["deployments/scale"]), any), false),
            ("its namespace", webhook(rule(&["*"], &["*"], &["*"]), of("shop")), true),
            ("another namespace", webhook(rule(&["*"], &["*"], &["*"]), of("other")), false),
            ("a policy", policy(rule(&["UPDATE"], &["apps"], &["deployments"])), true),
            ("a list that goes on", json!({"metadata": {"continue": "x"}, "items": []}), true),
        ] {
            assert_eq!(Judges::of([&list]).may_judge("apps", "deployments", "shop"), judges, "{what}");
        }
        assert!(Judges::unknown().may_judge("", "configmaps", "shop"));
        let one = webhook(rule(&["*"], &["*"], &["*"]), of("other"));
        assert!(
            Judges::of([&one]).may_judge("rbac.authorization.k8s.io", "clusterroles", ""),
            "of the cluster"
        );
    }
}
