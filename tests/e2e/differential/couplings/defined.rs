//! Couplings with kinds: CRDs from `crds/`, from templates, from hooks, or from nowhere, with objects of theirs.

use serde_json::json;

use super::{Coupling, Draws};
use crate::differential::{
    objects::{config, custom, definition, hook, job, kept},
    part::Part,
};

pub(super) fn part(draws: Draws) -> Option<Part> {
    let mut part = Part::default();
    let size = json!(draws.pick("size", &[2, 2, 10]));
    let size = if draws.chance("type", 5) { json!("large") } else { size };
    match draws.of {
        Coupling::ChartCrds => {
            part.crds = vec![definition("Widget")];
            part.old = vec![config("first", "1")];
            if draws.chance("before", 2) {
                part.old.push(custom("Widget", "w", &json!(1)));
            }
            part.new = vec![custom("Widget", "w", &size)];
            part.uninstalls = draws.chance("uninstalls", 3);
        }
        Coupling::TemplateCrds => {
            let mut own = definition("Gadget");
            if draws.chance("keeps", 2) {
                own = kept(own);
            }
            part.old = vec![own.clone()];
            part.grown = vec![("crd/gadgets.NAMESPACE.example.com".to_owned(), "condition=Established")];
            part.uninstalls = draws.chance("uninstalls", 2);
            if draws.chance("changes", 2) {
                own["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["more"] =
                    json!({"type": "string"});
            }
            part.new = vec![own];
            if draws.chance("object", 2) {
                part.new.push(custom("Gadget", "g", &size));
            }
        }
        Coupling::HookCrds => {
            part.old = vec![config("first", "1")];
            part.new = vec![hook(definition("Gizmo"), "pre-install,pre-upgrade")];
            if draws.chance("job", 2) {
                part.new.push(hook(job("installer", "0s", "ready"), "pre-install,pre-upgrade"));
            }
            if draws.chance("object", 2) {
                part.new.push(custom("Gizmo", "g", &size));
            }
        }
        Coupling::UnknownKind => {
            part.old = vec![config("first", "1")];
            part.new = vec![config("first", "2")];
            if draws.chance("unknown", 2) {
                part.new.push(custom("Nothing", "n", &json!(1)));
            }
            if draws.chance("defined", 2) {
                part.comes = vec![definition("Nothing")];
            }
        }
        Coupling::GoneVersion => {
            let of = |version: &str| json!({"apiVersion": version, "kind": "PodDisruptionBudget", "metadata": {"name": "budget"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}});
            part.old = vec![of("policy/v1")];
            part.new = vec![of(draws.pick("version", &["policy/v1", "policy/v1beta1"]))];
            if draws.chance("off", 3) {
                part.flags.push("--disable-openapi-validation".to_owned());
            }
        }
        _ => return None,
    }
    Some(part)
}
