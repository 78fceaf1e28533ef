use serde_json::json;

use super::*;

fn key(kind: &str, name: &str) -> ObjectKey {
    let api_version = match kind {
        "StatefulSet" | "Deployment" => "apps/v1",
        "Widget" => "example.com/v1",
        "RoleBinding" => "rbac.authorization.k8s.io/v1",
        _ => "v1",
    };
    ObjectKey {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn manifest(text: &str) -> Manifest {
    Manifest::parse(text, "shop").unwrap()
}

fn refusal(code: u16, message: &str, causes: &[(&str, &str, &str)]) -> Refusal {
    let cause = |(reason, field, message): &(&str, &str, &str)| Cause {
        reason: (*reason).into(),
        field: (*field).into(),
        message: (*message).into(),
    };
    Refusal {
        code,
        reason: String::new(),
        message: message.into(),
        causes: causes.iter().map(cause).collect(),
    }
}

#[test]
fn the_documentation_has_every_kind_of_finding() {
    assert_eq!(crate::diagnose::tests::documented("Findings"), IDS);
}

/// Each is brought about for real, with both Helms.
#[test]
fn a_story_tells_of_every_kind_of_finding() {
    let stories = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e");
    let of = ["preflight.rs", "foreseen.rs", "owners.rs", "diagnose.rs"];
    let told: String = of.iter().map(|file| std::fs::read_to_string(stories.join(file)).unwrap()).collect();
    let untold: Vec<&str> = IDS.into_iter().filter(|id| !told.contains(&format!("\"{id}\""))).collect();
    assert_eq!(untold, [""; 0]);
}

fn found(key: &ObjectKey, refusal: Refusal, manifest: &Manifest, hook_first: bool) -> Option<Finding> {
    let context = Context { manifest, hook_first, recreates: false };
    judge(key, &Answer { refusal: Some(refusal), ..Answer::default() }, &context).pop()
}

#[test]
fn only_what_helm_is_bound_to_run_into_is_certain() {
    let service_account = "kind: ServiceAccount\napiVersion: v1\nmetadata: {name: web}\n";
    let namespace = "kind: Namespace\napiVersion: v1\nmetadata: {name: shop}\n";
    let quota = "kind: ResourceQuota\napiVersion: v1\nmetadata: {name: q}\n";
    let role = "kind: Role\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {name: r}\n";
    let webhook = "kind: ValidatingWebhookConfiguration\napiVersion: admissionregistration.k8s.io/v1\nmetadata: {name: w}\n";
    let crd = "kind: CustomResourceDefinition\napiVersion: apiextensions.k8s.io/v1\nmetadata: {name: widgets.example.com}\nspec: {group: example.com, names: {kind: Widget}}\n";
    for (what, kind, code, message, brings, expected) in [
        ("an invalid field", "Service", 422, "spec.type: Unsupported value", "", "certain"),
        ("no right", "Service", 403, "User \"x\" cannot create resource \"services\"", "", "certain"),
        ("no namespace", "Service", 404, "namespaces \"shop\" not found", "", "certain"),
        ("its own namespace", "Service", 404, "namespaces \"shop\" not found", namespace, "nothing"),
        ("a kind of its own", "Widget", 422, "unknown field", crd, "nothing"),
        ("its own account", "Pod", 403, "serviceaccount \"web\" not found", service_account, "a warning"),
        ("an account of nobody's", "Pod", 403, "serviceaccount \"web\" not found", "", "certain"),
        ("quota", "Pod", 403, "exceeded quota: q", "", "certain"),
        ("its own quota", "Pod", 403, "exceeded quota: q", quota, "a warning"),
        ("a role of its own", "RoleBinding", 403, "attempting to grant", role, "a warning"),
        ("a policy said no", "Pod", 403, "admission webhook \"p\" denied the request", "", "certain"),
        ("its own webhook", "Pod", 403, "admission webhook \"p\" denied the request", webhook, "a warning"),
        (
            "a webhook that dry runs disturb",
            "Pod",
            400,
            "admission webhook \"p\" does not support dry run",
            "",
            "a warning",
        ),
        ("a webhook that is down", "Pod", 500, "failed calling webhook", "", "a warning"),
        ("too much at once", "Pod", 429, "try again", "", "a warning"),
        ("no answer", "Pod", 0, "connection reset", "", "a warning"),
        ("a race", "Pod", 409, "the object has been modified", "", "nothing"),
    ] {
        let said = |hook_first| match found(
            &key(kind, "x"),
            refusal(code, message, &[]),
            &manifest(brings),
            hook_first,
        ) {
            None => "nothing",
            Some(finding) => {
                assert!(IDS.contains(&finding.id), "{what}: {}", finding.id);
                if finding.certain { "certain" } else { "a warning" }
            }
        };
        assert_eq!(said(false), expected, "{what}");
        let expected = if expected == "certain" { "a warning" } else { expected };
        assert_eq!(said(true), expected, "{what}, with a hook that may set it right");
    }
}

#[test]
fn a_claim_is_told_with_sizes_class_and_what_to_do() {
    let claim = |size: &str, class: &str| json!({"spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}});
    let message = "persistentvolumeclaims \"data\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    let answer = Answer {
        becomes: None,
        wanted: claim("2Gi", "slow"),
        live: Some(claim("1Gi", "slow")),
        refusal: Some(refusal(403, message, &[])),
        warnings: Vec::new(),
    };
    let context = Context { manifest: &Manifest::default(), hook_first: false, recreates: false };
    let finding = judge(&key("PersistentVolumeClaim", "data"), &answer, &context).remove(0);
    insta::assert_snapshot!(format!("{}\n{}", finding.sentence(), finding.remedy.join("\n")));
}

#[test]
fn a_stateful_set_is_told_with_its_fixed_fields_and_how_to_make_it_anew() {
    let message = "StatefulSet.apps \"db\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals' are forbidden";
    let answer = Answer {
        becomes: None,
        wanted: json!({"spec": {"serviceName": "new", "replicas": 3, "podManagementPolicy": "Parallel"}}),
        live: Some(
            json!({"spec": {"serviceName": "old", "replicas": 1, "podManagementPolicy": "OrderedReady"}}),
        ),
        refusal: Some(refusal(422, message, &[("FieldValueForbidden", "spec", "Forbidden: …")])),
        warnings: Vec::new(),
    };
    let mut context = Context { manifest: &Manifest::default(), hook_first: false, recreates: false };
    let finding = judge(&key("StatefulSet", "db"), &answer, &context).remove(0);
    insta::assert_snapshot!(format!("{}\n{}", finding.sentence(), finding.remedy.join("\n")));
    assert!(finding.certain);
    context.recreates = true;
    assert!(!judge(&key("StatefulSet", "db"), &answer, &context)[0].certain);
}

#[test]
fn a_conflict_names_managers_and_fields_and_helm_does_not_conflict_with_itself() {
    let conflict = |manager: &str, field: &'static str| {
        ("FieldManagerConflict".to_owned(), field, format!("conflict with \"{manager}\" using apps/v1"))
    };
    let refused = |all: &[(String, &'static str, String)]| {
        let causes: Vec<_> =
            all.iter().map(|(reason, field, text)| (reason.as_str(), *field, text.as_str())).collect();
        found(&key("Deployment", "web"), refusal(409, "Apply failed", &causes), &Manifest::default(), false)
    };
    let finding =
        refused(&[conflict("kubectl", ".spec.replicas"), conflict("helm", ".spec.paused")]).unwrap();
    insta::assert_snapshot!(format!("{}\n{}", finding.sentence(), finding.remedy.join("\n")));
    assert_eq!(refused(&[conflict("helm", ".spec.paused")]), None);
}

#[test]
fn what_secrets_hold_is_in_no_finding() {
    let text = "kind: Secret\napiVersion: v1\nmetadata: {name: s}\nstringData: {a: canary-1}\n---\nkind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: w, env: [{name: A, value: canary-2}]}]}}}\n";
    let brings = manifest(text);
    for (kind, message) in [
        ("Secret", "Secret \"s\" is invalid: data: Invalid value: \"canary-3\": no"),
        ("Deployment", "Invalid value: \"canary-1\": no, and canary-2 neither"),
        ("Deployment", "spec: Invalid value: {\"env\":{\"A\":\"canary-9\"}}: field is immutable"),
        ("Pod", "spec: Forbidden: pod updates may not change fields\ncore.PodSpec{ canary-8 }"),
    ] {
        let finding = found(&key(kind, "x"), refusal(422, message, &[]), &brings, false).unwrap();
        assert!(IDS.contains(&finding.id));
        assert!(!finding.cause.contains("canary"), "{}", finding.cause);
    }
}

#[test]
fn hooks_are_parted_from_objects_and_those_with_an_account_may_act() {
    let hook = |event: &str, account: &str| {
        format!(
            "kind: Job\napiVersion: batch/v1\nmetadata: {{name: h, annotations: {{helm.sh/hook: '{event}'}}}}\nspec: {{template: {{spec: {{{account}}}}}}}\n"
        )
    };
    for (event, account, runs, acts) in [
        ("pre-upgrade", "", true, false),
        ("pre-upgrade", "serviceAccountName: admin", true, true),
        ("post-install, post-upgrade", "serviceAccountName: admin", true, false),
        ("test", "serviceAccountName: admin", false, false),
    ] {
        let text =
            format!("kind: ConfigMap\napiVersion: v1\nmetadata: {{name: c}}\n---\n{}", hook(event, account));
        let (objects, hooks) = part(manifest(&text), ["pre-upgrade", "post-upgrade"]);
        assert_eq!(objects.objects.len(), 1);
        assert_eq!((!hooks.objects.is_empty(), acts_first(&hooks, "pre-upgrade")), (runs, acts), "{event}");
    }
}
