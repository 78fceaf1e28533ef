//! What fields of objects without pods may become.

use serde_json::{Value, json};

use super::{
    fields::{Rules, list, map},
    rng::Rng,
};

/// A type without the fields of the one that is the default.
fn bare(rules: Rules, kind: &str) -> Value {
    if rules.nulls { json!({"type": kind, "rollingUpdate": null}) } else { json!({"type": kind}) }
}

pub fn strategy(rng: &mut Rng, rules: Rules) -> Option<Value> {
    rng.pick(&[
        None,
        Some(bare(rules, "Recreate")),
        Some(json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}})),
        Some(json!({"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0}})),
    ])
}

pub fn set_strategy(rng: &mut Rng, rules: Rules) -> Option<Value> {
    rng.pick(&[
        None,
        Some(bare(rules, "OnDelete")),
        Some(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}})),
    ])
}

pub fn daemon_strategy(rng: &mut Rng, rules: Rules) -> Option<Value> {
    rng.pick(&[
        None,
        Some(bare(rules, "OnDelete")),
        Some(json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}})),
    ])
}

pub fn data(rng: &mut Rng, _: Rules) -> Option<Value> {
    let mut data = map(rng, &["a", "b", "c.yaml"], &["1", "", "x: 1\ny: \"2\"\n", "ä → 日本\t\u{1f600}"]);
    if rng.chance(4) {
        data.get_or_insert_with(|| json!({}))["nothing"] = Value::Null;
    }
    data
}

pub fn service_ports(rng: &mut Rng, rules: Rules) -> Option<Value> {
    let mut from = vec![(80, "TCP"), (443, "TCP"), (53, "UDP"), (8080, "TCP")];
    if rules.pairs {
        from.push((53, "TCP"));
    }
    let mut ports = rng.some(&from);
    if ports.is_empty() {
        ports.push((80, "TCP"));
    }
    let mut names = rng.shuffled(&["http", "https", "dns", "dns-tcp", "web"]);
    let port = |(number, protocol): (u16, &str)| {
        let mut port = json!({"port": number, "name": names.pop()});
        if protocol != "TCP" || rng.chance(50) {
            port["protocol"] = protocol.into();
        }
        if rng.chance(50) {
            port["targetPort"] = rng.pick(&[json!(8000), json!("http")]);
        }
        port
    };
    list(ports.into_iter().map(port).collect())
}

pub fn ingress_rules(rng: &mut Rng, _: Rules) -> Option<Value> {
    let rules = rng.some(&["a.example", "b.example", "a.example"]).into_iter().map(|host| {
        let paths = rng.shuffled(&["/", "/api", "/x"]).into_iter().take(1 + rng.below(3)).map(|path| {
            let backend = json!({"service": {"name": rng.pick(&["one", "two"]), "port": {"number": 80}}});
            json!({"path": path, "pathType": rng.pick(&["Prefix", "Exact"]), "backend": backend})
        });
        json!({"host": host, "http": {"paths": paths.collect::<Vec<_>>()}})
    });
    list(rules.collect())
}

pub fn ingress_tls(rng: &mut Rng, _: Rules) -> Option<Value> {
    list(rng.some(&[
        json!({"hosts": ["a.example", "b.example"], "secretName": "one"}),
        json!({"hosts": ["c.example"], "secretName": "two"}),
    ]))
}

pub fn role_rules(rng: &mut Rng, _: Rules) -> Option<Value> {
    list(rng.some(&[
        json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}),
        json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "get"]}),
        json!({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"], "resourceNames": ["a", "b"]}),
    ]))
}

pub fn subjects(rng: &mut Rng, _: Rules) -> Option<Value> {
    list(rng.some(&[
        json!({"kind": "ServiceAccount", "name": "one", "namespace": "default"}),
        json!({"kind": "ServiceAccount", "name": "one", "namespace": "other"}),
        json!({"kind": "User", "name": "ada", "apiGroup": "rbac.authorization.k8s.io"}),
    ]))
}

pub fn metrics(rng: &mut Rng, _: Rules) -> Option<Value> {
    let resource = |name: &str, target: u8| json!({"type": "Resource", "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": target}}});
    let target = rng.pick(&[50, 80]);
    list(rng.some(&[resource("cpu", target), resource("memory", 70)]))
}

pub fn network_rules(rng: &mut Rng, _: Rules) -> Option<Value> {
    list(rng.some(&[
        json!({"from": [{"podSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}),
        json!({"ports": [{"port": 80, "endPort": 90}]}),
        json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}),
    ]))
}

pub fn widget_items(rng: &mut Rng, _: Rules) -> Option<Value> {
    list(rng.some(&[
        json!({"name": "a", "value": "1"}),
        json!({"name": "a", "value": "2"}),
        json!({"name": "b", "tags": ["x", "y"]}),
        json!({"value": "3"}),
    ]))
}

pub fn by_name(rng: &mut Rng, _: Rules) -> Option<Value> {
    let (tags, value) = (rng.some(&["x", "y"]), rng.pick(&["1", "2"]));
    list(rng.some(&[
        json!({"name": "a", "value": value}),
        json!({"name": "b", "tags": tags}),
        json!({"name": "c"}),
    ]))
}

pub fn free(rng: &mut Rng, _: Rules) -> Option<Value> {
    rng.pick(&[
        None,
        Some(json!({})),
        Some(json!({"a": {"b": 1, "c": [1, 2]}})),
        Some(json!({"a": {"b": 2}, "d": true, "ports": [{"port": 1}, {"port": 1}]})),
        Some(json!({"a": "text", "e": 1.5})),
    ])
}
