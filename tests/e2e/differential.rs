//! What plain Helm does, helm-guard does. Releases whose objects depend on each other, and flags, are drawn by a seed; plain
//! Helm deploys them in one namespace, helm-guard in another.
//!
//! * Where plain Helm succeeds, helm-guard does: with the same objects, and the same records.
//! * Where helm-guard refuses, plain Helm fails, and in helm-guard's namespace nothing has changed.
//!
//! How many of the failures were foreseen is printed, apart from those that Helm itself sees before it writes: recall. How many
//! refusals were right is asserted: all of them.

mod couplings;

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use serde_json::Value;
use testbed::tools::Helm;

use crate::{
    stage::{QUICK, Said, Stage},
    sweep::{draw, pick, points},
};
use couplings::{Coupling, Part, filler};

/// What is deployed at a point.
struct Plan {
    couplings: Vec<Coupling>,
    part: Part,
}

impl Plan {
    fn of(point: u64, version: Helm) -> Self {
        let mut couplings: Vec<Coupling> = (0..=draw(("how many", point), 2))
            .map(|at| pick(("coupling", point, at), &Coupling::ALL))
            .collect();
        // Each point has one of its own in turn, so that a round has many kinds.
        couplings[0] = Coupling::ALL[usize::try_from(point).unwrap() % Coupling::ALL.len()];
        couplings.sort();
        couplings.dedup();
        let mut part = Part::default();
        for coupling in &couplings {
            part.add(coupling.part(point, version));
        }
        let missing = 3 + draw(("filler", point), 5);
        part.add(filler(point, missing));
        Self { couplings, part }
    }
}

/// One side: a namespace, and what is deployed in it.
struct Side {
    stage: Stage,
    kubeconfig: Option<PathBuf>,
    part: Part,
}

impl Side {
    fn new(stem: &str, version: Helm, part: Part) -> Self {
        let stage = Stage::new(stem, version);
        let namespace = &stage.namespace;
        for object in &part.setup {
            namespace.apply(&object.to_string()).unwrap();
        }
        for (object, condition) in &part.settled {
            namespace.wait_for(object, condition, std::time::Duration::from_secs(60)).unwrap();
        }
        let kubeconfig = part.role.as_ref().map(|rules| {
            let file = namespace.restricted_kubeconfig(7, &[]).unwrap();
            for object in couplings::given(7, rules) {
                namespace.apply(&object.to_string()).unwrap();
            }
            file
        });
        Self { stage, kubeconfig, part }
    }

    fn chart(&self, objects: &[Value]) -> PathBuf {
        let text: Vec<String> = objects.iter().map(|object| format!("---\n{object}\n")).collect();
        crate::preflight::chart(&self.stage, &text.concat().replace("{{", "{ {"))
    }

    /// What was before, done by plain Helm on both sides.
    fn begin(&self) {
        let mut install = self.stage.helm(&["install", "web"]);
        install.arg(self.chart(&self.part.old)).args(&self.part.old_flags);
        Stage::ok(install);
        for (object, condition) in &self.part.grown {
            self.stage.namespace.wait_for(object, condition, std::time::Duration::from_secs(60)).unwrap();
        }
        for arguments in &self.part.meanwhile {
            self.stage.namespace.kubectl(arguments.iter().map(String::as_str)).unwrap();
        }
        if self.part.uninstalls {
            Stage::ok(self.stage.helm(&["uninstall", "web"]));
        }
    }

    fn deploy(&self, mut command: Command) -> Said {
        command.arg(self.chart(&self.part.new)).args(&self.part.flags);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        Stage::run(command)
    }

    /// Whatever lives, without what is another in each namespace and what controllers put there.
    fn live(&self) -> BTreeMap<String, Value> {
        let kinds =
            "configmaps,services,deployments,statefulsets,pvc,limitranges,secrets,roles,rolebindings,jobs";
        let list = self.stage.namespace.kubectl_json(["get", kinds, "-o", "json"]).unwrap();
        let name = self.stage.namespace.name();
        let items = list["items"].as_array().unwrap().iter().filter(|item| {
            item["type"] != "helm.sh/release.v1" && item["metadata"]["name"] != "kube-root-ca.crt"
        });
        items
            .filter(|item| item["metadata"]["deletionTimestamp"].is_null())
            .map(|item| {
                let text = |at: &str| item.pointer(at).unwrap().as_str().unwrap().to_owned();
                (format!("{}/{}", text("/kind"), text("/metadata/name")), plain(item, name))
            })
            .collect()
    }

    fn statuses(&self) -> Vec<String> {
        let said = Stage::run(self.stage.helm(&["history", "web", "-o=json", "--max=50"]));
        let rows: Vec<Value> = serde_json::from_str(&said.out).unwrap_or_default();
        rows.iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect()
    }
}

/// The objects that are not the same on both sides, with both.
fn differing(one: &BTreeMap<String, Value>, other: &BTreeMap<String, Value>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let told = |object: Option<&Value>| object.map(ToString::to_string).unwrap_or_default();
    let differs = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
    differs.map(|name| format!("{name}: {} | {}", told(one.get(name)), told(other.get(name)))).collect()
}

/// An object without what differs between two namespaces and from moment to moment.
fn plain(item: &Value, namespace: &str) -> Value {
    let mut object = item.clone();
    object.as_object_mut().unwrap().remove("status");
    let metadata = object["metadata"].as_object_mut().unwrap();
    for name in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "namespace", "generation"] {
        metadata.remove(name);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|name, _| !name.contains("kubernetes.io/") || name.starts_with("app."));
    }
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.retain(|name, _| !name.ends_with("controller-uid"));
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        for name in ["clusterIP", "clusterIPs", "volumeName", "selector"] {
            let is_job = item["kind"] == "Job" || item["kind"] == "Service";
            if name != "selector" || is_job {
                spec.remove(name);
            }
        }
        if item["kind"] == "Job" {
            spec.remove("template");
        }
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            port.as_object_mut().unwrap().remove("nodePort");
        }
    }
    serde_json::from_str(&object.to_string().replace(namespace, "NAMESPACE")).unwrap()
}

fn what_plain_helm_does_anywhere(version: Helm) {
    let mut counts = BTreeMap::<&str, u32>::new();
    let points = points("differential").div_ceil(2);
    for point in 0..points {
        // Helm 3 and Helm 4 see different ones in a short run.
        let point = 2 * point + u64::from(version == Helm::V4);
        let side = |stem: &str| Side::new(stem, version, Plan::of(point, version).part);
        let (raw, guarded) = (side("plain"), side("guard"));
        let plan = Plan::of(point, version);
        let told = || {
            let objects: Vec<String> = plan.part.new.iter().map(ToString::to_string).collect();
            format!(
                "point {point}, {version:?}: {:?} {:?}\n{}\n",
                plan.couplings,
                plan.part.flags,
                objects.join("\n")
            )
        };
        println!("{point} {:?} {:?}", plan.couplings, plan.part.flags);
        raw.begin();
        guarded.begin();
        let (before, records) = (guarded.live(), guarded.statuses());
        let plain = raw.deploy(raw.stage.helm(&["upgrade", "web", "--install"]));
        let mut command = guarded.stage.own(&["upgrade", "web", "--install"]);
        command.args(QUICK);
        let guard = guarded.deploy(command);
        let both = || format!("{}plain helm: {}\nhelm-guard: {}", told(), plain.err, guard.err);
        if plain.code == Some(0) {
            assert_eq!(guard.code, Some(0), "plain helm succeeds: {}", both());
            assert_eq!(differing(&guarded.live(), &raw.live()), [""; 0], "{}", both());
            assert_eq!(guarded.statuses(), raw.statuses(), "{}", both());
            continue;
        }
        let how = if guard.code == Some(77) {
            assert_eq!(differing(&guarded.live(), &before), [""; 0], "a refusal changes nothing: {}", both());
            assert_eq!(guarded.statuses(), records, "a refusal changes no record: {}", both());
            "refused"
        } else {
            assert_eq!(guard.code, plain.code, "{}", both());
            match guard.err.contains("(not certain: ") {
                true => "warned of",
                false if raw.statuses() == records => "seen by Helm before it writes",
                false => "not foreseen",
            }
        };
        *counts.entry(how).or_default() += 1;
        println!("{point} fails, {how}");
    }
    println!("differential {version:?}: {points} deploys; of those that fail in plain helm: {counts:?}");
}

crate::with_both_helms! { what_plain_helm_does_anywhere }
