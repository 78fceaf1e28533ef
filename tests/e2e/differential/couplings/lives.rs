//! Couplings with what lives: fields that cannot change, ports, claims, owners of objects and of fields.

use serde_json::json;

use super::{Coupling, Draws};
use crate::differential::{
    objects::{annotated, claim, config, deployment, frozen, hook, job, kept, service, stateful_set},
    part::Part,
};

pub(super) fn part(draws: Draws) -> Option<Part> {
    let mut part = Part::default();
    match draws.of {
        Coupling::MovedPort => {
            let (from, to) = if draws.chance("order", 2) { ("green", "blue") } else { ("blue", "green") };
            part.old = vec![service(from, true), service(to, false)];
            part.new = vec![service(from, false), service(to, true)];
        }
        Coupling::KeptClaim => {
            part.uninstalls = draws.chance("uninstalls", 2);
            part.old = vec![kept(claim("data", "1Gi"))];
            part.grown = vec![("pvc/data".to_owned(), "jsonpath={.status.phase}=Bound")];
            part.new = vec![kept(claim("data", draws.pick("size", &["1Gi", "1Gi", "1024Mi", "2Gi"])))];
        }
        Coupling::Adopted => {
            let mut theirs = config("theirs", "1");
            if draws.chance("marked", 2) {
                // By Helm itself, with a release that is gone.
                theirs = kept(theirs);
                part.old.push(theirs.clone());
                part.uninstalls = true;
            } else {
                part.setup = vec![theirs.clone()];
            }
            theirs["data"]["a"] = draws.pick("data", &["1", "2"]).into();
            part.new = vec![theirs];
            if draws.chance("takes", 2) {
                part.flags.push("--take-ownership".to_owned());
            }
        }
        Coupling::OfOthers => {
            let name = draws.pick("of", &["web", "other"]);
            let mut marked = annotated(frozen("marked", "1"), "meta.helm.sh/release-name", name);
            marked = annotated(marked, "meta.helm.sh/release-namespace", "NAMESPACE");
            if draws.chance("labelled", 2) {
                marked["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
            }
            part.comes = vec![marked];
            part.new = vec![frozen("marked", draws.pick("value", &["1", "2"]))];
            if draws.chance("takes", 2) {
                part.flags.push("--take-ownership".to_owned());
            }
        }
        Coupling::KeptAll => {
            part.uninstalls = draws.chance("uninstalls", 2);
            part.old = vec![
                kept(frozen("kept", "1")),
                kept(service("kept", false)),
                kept(deployment("kept", "kept")),
            ];
            let mut exposed = service("kept", false);
            if draws.chance("address", 3) {
                exposed["spec"]["clusterIP"] = "None".into();
            }
            let label = draws.pick("label", &["kept", "kept", "other"]);
            part.new = vec![
                kept(frozen("kept", draws.pick("value", &["1", "1", "2"]))),
                kept(exposed),
                kept(deployment("kept", label)),
            ];
        }
        Coupling::Selector => {
            part.old = vec![deployment("shop", "shop")];
            part.new = vec![deployment("shop", draws.pick("label", &["shop", "store"]))];
            if draws.chance("hook", 2) {
                part.new.push(hook(job("prepare", "0s", "ready"), "pre-upgrade"));
            }
        }
        Coupling::Frozen => {
            part.old = vec![frozen("frozen", "1")];
            part.new = vec![frozen("frozen", draws.pick("value", &["1", "2"]))];
        }
        Coupling::RolledBack => {
            part.old = vec![frozen("ice", "1"), deployment("ice", "ice")];
            let mut changed = deployment("ice", "ice");
            changed["spec"]["template"]["spec"]["containers"][0]["image"] = "example.com/c:2".into();
            part.new = vec![frozen("ice", draws.pick("value", &["1", "2"])), changed, service("ice", false)];
            part.flags = vec![draws.atomic()];
            if draws.chance("breaks", 3) {
                part.new.push(hook(job("breaks", "0s", "fail"), "post-install,post-upgrade"));
            }
        }
        Coupling::Volumes => {
            part.old = vec![stateful_set("1Gi")];
            let mut set = stateful_set(draws.pick("size", &["1Gi", "2Gi"]));
            if draws.chance("name", 3) {
                set["spec"]["serviceName"] = "other".into();
            }
            set["spec"]["replicas"] = draws.pick("replicas", &[1, 2]).into();
            part.new = vec![set];
        }
        Coupling::Replaced => {
            let mut other = service("whole", false);
            part.old = vec![other.clone(), frozen("solid", "1"), claim("solid", "1Gi")];
            part.grown = vec![("pvc/solid".to_owned(), "jsonpath={.status.phase}=Bound")];
            other["spec"]["ports"][0]["port"] = draws.pick("port", &[80, 81]).into();
            part.new = vec![other, frozen("solid", draws.pick("value", &["1", "1", "2"]))];
            if draws.chance("claim", 2) {
                part.new.push(claim("solid", "1Gi"));
            }
            match draws.is_v4() {
                false => part.flags.push("--force".to_owned()),
                // Which it cannot do with server-side apply.
                true => part.flags.extend(["--force-replace", "--server-side=false"].map(str::to_owned)),
            }
        }
        Coupling::SecretType => {
            let secret = |kind: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "typed"}, "type": kind, "stringData": {"a": "1"}});
            part.old = vec![secret("Opaque")];
            part.new = vec![secret(draws.pick("type", &["Opaque", "example.com/other"]))];
        }
        Coupling::OtherManager => {
            part.old = vec![deployment("scaled", "scaled")];
            part.new = vec![deployment("scaled", "scaled")];
            let patch = "{\"spec\":{\"replicas\":0}}";
            let words =
                ["patch", "deployment", "scaled", "--field-manager=scaler", "--type=merge", "-p", patch];
            part.meanwhile = vec![words.map(str::to_owned).to_vec()];
            if draws.is_v4() && draws.chance("forces", 2) {
                part.flags.push("--force-conflicts".to_owned());
            }
        }
        Coupling::RoleRef => {
            let bound = |name: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "bound"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}, "subjects": []});
            part.old = vec![bound("a")];
            part.new = vec![bound(draws.pick("name", &["a", "b"]))];
        }
        Coupling::JobTemplate => {
            let runs = |image: &str| {
                let mut runs = job("migrate", "0s", "ready");
                runs["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
                if draws.chance("goes", 4) {
                    runs["spec"]["ttlSecondsAfterFinished"] = 1.into();
                }
                runs
            };
            part.old = vec![runs("example.com/c:1")];
            if draws.chance("goes", 4) {
                part.grown = vec![("job/migrate".to_owned(), "delete")];
            }
            part.new = vec![runs(draws.pick("image", &["example.com/c:1", "example.com/c:2"]))];
        }
        Coupling::ServerSide => {
            part.old = vec![frozen("sides", "1"), deployment("sides", "sides"), service("sides", false)];
            let mut wanted = deployment("sides", draws.pick("label", &["sides", "sides", "seams"]));
            wanted["spec"]["template"]["spec"]["containers"][0]["name"] =
                draws.pick("name", &["c", "d"]).into();
            part.new = vec![frozen("sides", draws.pick("value", &["1", "1", "2"])), wanted];
            if draws.is_v4() {
                let flag = |what: &str| {
                    draws.pick(what, &["--server-side=true", "--server-side=false", "--server-side=auto"])
                };
                let then = flag("new").to_owned();
                part.old_flags = vec![flag("old").replace("auto", "true")];
                part.flags = vec![then];
            } else if draws.chance("forces", 3) {
                part.flags.push("--force".to_owned());
            }
        }
        _ => return None,
    }
    Some(part)
}
