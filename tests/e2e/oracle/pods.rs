//! Random pod templates: every list and map of a pod that Kubernetes merges in a way of its own.

use serde_json::{Map, Value, json};

use super::{
    fields::{Draw, Rules, list, mutate, texts},
    rng::Rng,
};

/// Fields of a pod, beside its containers and volumes.
const POD: &[(&str, Draw)] = &[
    ("/tolerations", tolerations),
    ("/topologySpreadConstraints", spread),
    ("/hostAliases", aliases),
    ("/imagePullSecrets", |rng, rules| named(rng, rules, &["pull-a", "pull-b", "pull-c"])),
    ("/nodeSelector", node_selector),
    ("/affinity", affinity),
    ("/securityContext", pod_security),
    ("/dnsConfig", dns),
    ("/terminationGracePeriodSeconds", |rng, _| rng.pick(&[None, Some(json!(10)), Some(json!(60))])),
    ("/serviceAccountName", |rng, _| {
        rng.pick(&[None, None, None, None, None, Some(json!("one")), Some(json!("two"))])
    }),
    ("/priorityClassName", |rng, _| rng.pick(&[None, None, Some(json!("system-node-critical"))])),
    ("/schedulerName", |rng, _| rng.pick(&[None, None, Some(json!("other"))])),
];

const CONTAINER: &[(&str, Draw)] = &[
    ("/image", |rng, _| Some(rng.pick(&[json!("image:1"), json!("image:2"), json!("other:1")]))),
    ("/env", env),
    ("/envFrom", env_from),
    ("/command", |rng, _| texts(rng, &["run", "serve"])),
    ("/args", |rng, _| texts(rng, &["--a", "--b", "--c", "--c"])),
    ("/ports", ports),
    ("/volumeMounts", mounts),
    ("/volumeDevices", devices),
    ("/resources", resources),
    ("/livenessProbe", |rng, _| probe(rng)),
    ("/readinessProbe", |rng, _| probe(rng)),
    ("/lifecycle", lifecycle),
    ("/securityContext", security),
    ("/imagePullPolicy", |rng, _| rng.pick(&[None, Some(json!("Always"))])),
];

const INIT_CONTAINER: &[(&str, Draw)] = &[
    ("/image", |rng, _| Some(rng.pick(&[json!("image:1"), json!("image:2")]))),
    ("/env", env),
    ("/args", |rng, _| texts(rng, &["--a", "--b"])),
    ("/volumeMounts", mounts),
    ("/restartPolicy", |rng, _| rng.pick(&[None, None, Some(json!("Always"))])),
];

/// How likely a field of something that is new is drawn.
const NEW: usize = 60;

/// Makes another pod of this one: each field is drawn anew with this probability. An empty object becomes a first pod.
pub fn pod(rng: &mut Rng, rules: Rules, pod: &mut Value, percent: usize) {
    mutate(rng, rules, pod, POD, percent);
    let named = |pod: &Value, list: &str| pod[list].as_array().cloned().unwrap_or_default();
    let containers = named(pod, "containers");
    pod["containers"] =
        containers_of(rng, rules, &containers, ("main", &["side", "aux"]), CONTAINER, percent).into();
    let init = containers_of(
        rng,
        rules,
        &named(pod, "initContainers"),
        ("", &["init", "warm"]),
        INIT_CONTAINER,
        percent,
    );
    if init.is_empty() && rng.chance(80) {
        pod.as_object_mut().unwrap().remove("initContainers");
    } else {
        pod["initContainers"] = init.into();
    }
    pod["volumes"] = volumes(rng, &named(pod, "volumes"), percent).into();
}

/// Some containers, in any order: the one that must be there, and others.
fn containers_of(
    rng: &mut Rng,
    rules: Rules,
    old: &[Value],
    (required, others): (&str, &[&str]),
    slots: &[(&str, Draw)],
    percent: usize,
) -> Vec<Value> {
    let names = if old.is_empty() || rng.chance(percent) {
        let mut names = rng.some(others);
        names.extend(Some(required).filter(|name| !name.is_empty()));
        rng.shuffled(&names).into_iter().map(str::to_owned).collect()
    } else {
        old.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let container = |name: String| {
        let was = old.iter().find(|item| item["name"] == name.as_str());
        let mut container = was.cloned().unwrap_or_else(|| json!({"name": name, "image": "image:1"}));
        mutate(rng, rules, &mut container, slots, if was.is_some() { percent } else { NEW });
        container
    };
    names.into_iter().map(container).collect()
}

/// Those that are mounted are always there; what they are made of changes, and others come and go.
fn volumes(rng: &mut Rng, old: &[Value], percent: usize) -> Vec<Value> {
    let mut names: Vec<String> =
        old.iter().map(|volume| volume["name"].as_str().unwrap().to_owned()).collect();
    if names.is_empty() || rng.chance(percent) {
        let all = [&["data", "conf", "block"][..], &rng.some(&["extra", "more"])].concat();
        names = rng.shuffled(&all).into_iter().map(str::to_owned).collect();
    }
    let volume = |name: String| {
        let was = old.iter().find(|volume| volume["name"] == name.as_str());
        if let Some(was) = was.filter(|_| !rng.chance(percent)) {
            return was.clone();
        }
        let mut volume = json!({"name": name});
        let source = if name == "block" {
            json!({"persistentVolumeClaim": {"claimName": "block"}})
        } else {
            source(rng)
        };
        volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        volume
    };
    names.into_iter().map(volume).collect()
}

fn source(rng: &mut Rng) -> Value {
    let items = rng.some(&[json!({"key": "a", "path": "a"}), json!({"key": "b", "path": "b", "mode": 256})]);
    rng.pick(&[
        json!({"emptyDir": {}}),
        json!({"emptyDir": {"medium": "Memory"}}),
        json!({"emptyDir": {"sizeLimit": "1Gi"}}),
        json!({"configMap": {"name": "one", "optional": true}}),
        json!({"configMap": {"name": "two", "optional": true, "defaultMode": 256, "items": items}}),
        json!({"secret": {"secretName": "one", "optional": true}}),
        json!({"secret": {"secretName": "two", "optional": true, "items": items}}),
        json!({"hostPath": {"path": "/a", "type": "Directory"}}),
        json!({"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.name"}}]}}),
        json!({"projected": {"sources": [{"configMap": {"name": "one", "items": items}}, {"secret": {"name": "two"}}]}}),
    ])
}

/// One volume may be mounted at several paths.
fn mounts(rng: &mut Rng, _: Rules) -> Option<Value> {
    let sub = rng.pick(&["x", "y"]);
    list(rng.some(&[
        json!({"name": "data", "mountPath": "/data"}),
        json!({"name": "data", "mountPath": "/cache", "subPath": sub}),
        json!({"name": "data", "mountPath": "/log", "subPath": "log", "readOnly": true}),
        json!({"name": "conf", "mountPath": "/etc/conf", "readOnly": true}),
        json!({"name": "conf", "mountPath": "/etc/extra", "subPath": sub}),
    ]))
}

fn devices(rng: &mut Rng, _: Rules) -> Option<Value> {
    list(rng.some(&[json!({"name": "block", "devicePath": "/dev/a"})]))
}

fn env(rng: &mut Rng, rules: Rules) -> Option<Value> {
    let names = rng.some(&["A", "B", "C", "D"]);
    let mut env: Vec<Value> = names.into_iter().map(|name| variable(rng, name)).collect();
    // Kubernetes warns of it, and takes it.
    if rules.duplicates && !env.is_empty() && rng.chance(6) {
        let name = env[0]["name"].as_str().unwrap().to_owned();
        env.push(variable(rng, &name));
    }
    list(env)
}

fn variable(rng: &mut Rng, name: &str) -> Value {
    let key = rng.pick(&["x", "y"]);
    let mut variable = rng.pick(&[
        json!({"value": "1"}),
        json!({"value": "2"}),
        json!({"value": ""}),
        json!({}),
        json!({"valueFrom": {"configMapKeyRef": {"name": "one", "key": key, "optional": true}}}),
        json!({"valueFrom": {"secretKeyRef": {"name": "one", "key": key}}}),
        json!({"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        json!({"valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}),
    ]);
    variable["name"] = name.into();
    variable
}

fn env_from(rng: &mut Rng, _: Rules) -> Option<Value> {
    list(rng.some(&[
        json!({"configMapRef": {"name": "one"}}),
        json!({"configMapRef": {"name": "two"}, "prefix": "P_"}),
        json!({"secretRef": {"name": "one"}}),
    ]))
}

/// The same number may be there for TCP and for UDP, and names change.
fn ports(rng: &mut Rng, rules: Rules) -> Option<Value> {
    let mut names = rng.shuffled(&["http", "dns", "dns-tcp", "web", "alt"]);
    let from = [(80, "TCP"), (443, "TCP"), (53, "UDP"), (53, "TCP")];
    let ports = rng.some(&from[..if rules.pairs { 4 } else { 3 }]);
    let port = |(number, protocol): (u16, &str)| {
        let mut port = json!({"containerPort": number});
        if protocol != "TCP" || rng.chance(50) {
            port["protocol"] = protocol.into();
        }
        if let Some(name) = names.pop().filter(|_| rng.chance(70)) {
            port["name"] = name.into();
        }
        port
    };
    list(ports.into_iter().map(port).collect())
}

fn resources(rng: &mut Rng, _: Rules) -> Option<Value> {
    let amounts = |rng: &mut Rng, cpu: [&str; 2], memory: [&str; 2]| {
        let (cpu, memory) = (rng.pick(&cpu), rng.pick(&memory));
        let some = rng.some(&[("cpu", cpu), ("memory", memory)]);
        let amounts = some.into_iter().map(|(name, amount)| (name.to_owned(), json!(amount)));
        Value::Object(amounts.collect::<Map<_, _>>())
    };
    let requests = amounts(rng, ["100m", "0.2"], ["64Mi", "128Mi"]);
    let limits = amounts(rng, ["1", "2000m"], ["1Gi", "2048Mi"]);
    rng.pick(&[
        None,
        Some(json!({"requests": requests})),
        Some(json!({"requests": requests, "limits": limits})),
    ])
}

fn probe(rng: &mut Rng) -> Option<Value> {
    let mut probe = rng.pick(&[
        None,
        Some(json!({"httpGet": {"path": "/", "port": 80, "httpHeaders": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}})),
        Some(json!({"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTPS"}})),
        Some(json!({"tcpSocket": {"port": 80}})),
        Some(json!({"exec": {"command": ["true"]}})),
        Some(json!({"grpc": {"port": 80}})),
    ])?;
    if rng.chance(40) {
        probe["periodSeconds"] = rng.pick(&[5, 20]).into();
    }
    Some(probe)
}

fn lifecycle(rng: &mut Rng, _: Rules) -> Option<Value> {
    rng.pick(&[
        None,
        Some(json!({"preStop": {"exec": {"command": ["stop"]}}})),
        Some(json!({"preStop": {"httpGet": {"path": "/stop", "port": 80}}})),
        Some(json!({"postStart": {"exec": {"command": ["start", "now"]}}})),
    ])
}

fn security(rng: &mut Rng, _: Rules) -> Option<Value> {
    let add = rng.some(&["NET_ADMIN", "SYS_TIME"]);
    rng.pick(&[
        None,
        Some(json!({"runAsUser": 1000})),
        Some(json!({"runAsUser": 2000, "readOnlyRootFilesystem": true})),
        Some(json!({"capabilities": {"add": add, "drop": ["ALL"]}})),
    ])
}

fn tolerations(rng: &mut Rng, _: Rules) -> Option<Value> {
    list(rng.some(&[
        json!({"key": "a", "operator": "Exists"}),
        json!({"key": "a", "operator": "Equal", "value": "1", "effect": "NoSchedule"}),
        json!({"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}),
    ]))
}

/// One topology may be there once for each answer to what cannot be satisfied.
fn spread(rng: &mut Rng, rules: Rules) -> Option<Value> {
    let from = [("zone", "DoNotSchedule"), ("host", "ScheduleAnyway"), ("zone", "ScheduleAnyway")];
    let from = &from[..if rules.pairs { 3 } else { 2 }];
    let spread = rng.some(from).into_iter().map(|(topology, when)| {
        let mut one =
            json!({"topologyKey": topology, "whenUnsatisfiable": when, "maxSkew": rng.pick(&[1, 2])});
        if rng.chance(50) {
            one["labelSelector"] = json!({"matchLabels": {"app": rng.pick(&["a", "b"])}});
        }
        one
    });
    list(spread.collect())
}

fn aliases(rng: &mut Rng, rules: Rules) -> Option<Value> {
    let addresses = rng.some(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let mut aliases: Vec<Value> = addresses
        .into_iter()
        .map(|ip| json!({"ip": ip, "hostnames": rng.pick(&[vec!["a"], vec!["a", "b"], vec!["b", "a"]])}))
        .collect();
    if rules.duplicates && !aliases.is_empty() && rng.chance(6) {
        aliases.push(json!({"ip": aliases[0]["ip"], "hostnames": ["c"]}));
    }
    list(aliases)
}

/// Objects that have a name and nothing else.
pub fn named(rng: &mut Rng, rules: Rules, names: &[&str]) -> Option<Value> {
    let mut some = rng.some(names);
    if rules.duplicates && !some.is_empty() && rng.chance(5) {
        some.push(some[0]);
    }
    list(some.into_iter().map(|name| json!({"name": name})).collect())
}

fn node_selector(rng: &mut Rng, _: Rules) -> Option<Value> {
    rng.pick(&[
        None,
        Some(Value::Null),
        Some(json!({"disk": "fast"})),
        Some(json!({"disk": "slow", "zone": "a"})),
        Some(json!({"zone": "a"})),
    ])
}

fn affinity(rng: &mut Rng, _: Rules) -> Option<Value> {
    let term =
        |key: &str| json!({"matchExpressions": [{"key": key, "operator": "In", "values": ["a", "b"]}]});
    let preferred = |key: &str, weight: u8| json!({"weight": weight, "preference": term(key)});
    let one =
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [preferred("x", 1), preferred("y", 2)]});
    let other = json!({"preferredDuringSchedulingIgnoredDuringExecution": [preferred("y", 5)],
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term("z"), term("x")]}});
    rng.pick(&[None, Some(json!({"nodeAffinity": one})), Some(json!({"nodeAffinity": other}))])
}

fn pod_security(rng: &mut Rng, _: Rules) -> Option<Value> {
    let groups = rng.some(&[1, 2, 3]);
    rng.pick(&[
        None,
        Some(json!({"fsGroup": 1000})),
        Some(json!({"supplementalGroups": groups, "runAsNonRoot": true})),
        Some(json!({"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]})),
    ])
}

fn dns(rng: &mut Rng, _: Rules) -> Option<Value> {
    let options = rng.some(&[json!({"name": "ndots", "value": "2"}), json!({"name": "edns0"})]);
    rng.pick(&[
        None,
        Some(json!({"options": options, "searches": ["a.example"]})),
        Some(json!({"nameservers": ["10.0.0.10"], "options": options})),
    ])
}
