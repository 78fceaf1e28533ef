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

const HOOK: &str = "kind: Job\napiVersion: batch/v1\nmetadata: {name: h, annotations: {helm.sh/hook: pre-upgrade}}\nspec: {template: {spec: {}}}\n";

fn context<'a>(manifest: &'a Manifest, hooks: &'a Manifest, varying: &'a Varying) -> Context<'a> {
    Context { manifest, hooks, first: "pre-upgrade", recreates: false, takes_over_fields: false, varying }
}

fn found(key: &ObjectKey, refusal: Refusal, manifest: &Manifest, hook_first: bool) -> Option<Finding> {
    let hooks = if hook_first { self::manifest(HOOK) } else { Manifest::default() };
    let varying = Varying::default();
    let live = (refusal.code == 409).then(|| json!({}));
    let answer = Answer { refusal: Some(refusal), live, ..Answer::default() };
    judge(key, &answer, &context(manifest, &hooks, &varying)).pop()
}

#[test]
fn only_what_helm_is_bound_to_run_into_is_certain() {
    let service_account = "kind: ServiceAccount\napiVersion: v1\nmetadata: {name: web}\n";
    let namespace = "kind: Namespace\napiVersion: v1\nmetadata: {name: shop}\n";
    let quota = "kind: ResourceQuota\napiVersion: v1\nmetadata: {name: q}\n";
    let role = "kind: Role\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {name: r}\nrules: [{apiGroups: [''], resources: [services], verbs: [create]}]\n";
    let crd = "kind: CustomResourceDefinition\napiVersion: apiextensions.k8s.io/v1\nmetadata: {name: widgets.example.com}\nspec: {group: example.com, names: {kind: Widget}}\n";
    for (what, kind, code, message, brings, expected, after_a_hook) in [
        ("an invalid field", "Service", 422, "spec.type: Unsupported value", "", "certain", "certain"),
        (
            "no right",
            "Service",
            403,
            "User \"x\" cannot create resource \"services\"",
            "",
            "certain",
            "a warning",
        ),
        (
            "a right that the release gives",
            "Service",
            403,
            "User \"x\" cannot create resource \"services\"",
            role,
            "a warning",
            "a warning",
        ),
        ("no namespace", "Service", 404, "namespaces \"shop\" not found", "", "certain", "a warning"),
        (
            "its own namespace",
            "Service",
            404,
            "namespaces \"shop\" not found",
            namespace,
            "nothing",
            "nothing",
        ),
        ("a kind of its own", "Widget", 422, "unknown field", crd, "nothing", "nothing"),
        ("the schema of a kind", "Widget", 422, "unknown field", "", "certain", "a warning"),
        (
            "its own account",
            "Pod",
            403,
            "serviceaccount \"web\" not found",
            service_account,
            "nothing",
            "nothing",
        ),
        (
            "an account of nobody's",
            "Pod",
            403,
            "serviceaccount \"web\" not found",
            "",
            "a warning",
            "a warning",
        ),
        ("quota", "Pod", 403, "exceeded quota: q", "", "a warning", "a warning"),
        ("its own quota", "Pod", 403, "exceeded quota: q", quota, "a warning", "a warning"),
        (
            "a limit of the namespace",
            "PersistentVolumeClaim",
            403,
            "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi",
            "",
            "a warning",
            "a warning",
        ),
        (
            "a port that another Service has",
            "Service",
            422,
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
            "",
            "a warning",
            "a warning",
        ),
        (
            "rights that are passed on",
            "RoleBinding",
            403,
            "attempting to grant RBAC permissions not currently held",
            "",
            "certain",
            "a warning",
        ),
        (
            "a policy said no",
            "Pod",
            403,
            "admission webhook \"p\" denied the request",
            "",
            "a warning",
            "a warning",
        ),
        (
            "a policy of Kubernetes' own kind",
            "Service",
            422,
            "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            "",
            "a warning",
            "a warning",
        ),
        (
            "a webhook that dry runs disturb",
            "Pod",
            400,
            "admission webhook \"p\" does not support dry run",
            "",
            "a warning",
            "a warning",
        ),
        ("a webhook that is down", "Pod", 500, "failed calling webhook", "", "a warning", "a warning"),
        ("too much at once", "Pod", 429, "try again", "", "a warning", "a warning"),
        ("no answer", "Pod", 0, "connection reset", "", "a warning", "a warning"),
        ("a race", "Pod", 409, "the object has been modified", "", "nothing", "nothing"),
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
                if finding.is_certain() { "certain" } else { "a warning" }
            }
        };
        assert_eq!(said(false), expected, "{what}");
        assert_eq!(said(true), after_a_hook, "{what}, with a hook that may set it right");
    }
}

/// The same refusal of an object that lives: what cannot change may be gone when Helm comes to it.
#[test]
fn a_field_that_cannot_change_is_certain_only_without_a_hook() {
    let nothing = Manifest::default();
    let hooks = manifest(HOOK);
    let varying = Varying::default();
    let fixed = ("FieldValueInvalid", "spec.selector", "field is immutable");
    let wrong = ("FieldValueNotSupported", "spec.type", "Unsupported value");
    for (what, cause, transition, hooks, certain) in [
        ("it cannot change", fixed, false, &nothing, true),
        ("a hook comes first", fixed, false, &hooks, false),
        ("it is no value at all", wrong, false, &hooks, true),
        ("fields of a client-side apply are taken over", fixed, true, &nothing, true),
        ("and may be in the way", ("FieldValueForbidden", "spec.x", "may not be set"), true, &nothing, false),
    ] {
        let live = json!({"metadata": {"managedFields": [{"manager": "helm", "operation": "Update"}]}});
        let refusal = refusal(422, cause.2, &[cause]);
        let answer = Answer { live: Some(live), refusal: Some(refusal), ..Answer::default() };
        let context = Context { takes_over_fields: transition, ..context(&nothing, hooks, &varying) };
        assert_eq!(judge(&key("Service", "x"), &answer, &context)[0].is_certain(), certain, "{what}");
    }
}

#[test]
fn a_field_that_varies_makes_only_its_own_refusal_uncertain() {
    let nothing = Manifest::default();
    let first = json!({"metadata": {"name": "x"}, "data": {"revision": "1", "b": "1"}});
    let mut second = first.clone();
    second["data"]["revision"] = "2".into();
    let key = key("ConfigMap", "x");
    let again = Manifest { objects: vec![(key.clone(), second)] };
    let varying = Varying::between(&[(key.clone(), first)], &again);
    for (what, field, certain) in [
        ("the name is wrong", "metadata.name", true),
        ("another key is wrong", "data[b]", true),
        ("all data cannot change", "data", false),
        ("the value that varies is wrong", "data[revision]", false),
    ] {
        let refusal = refusal(422, "no", &[("FieldValueInvalid", field, "no")]);
        let answer = Answer { refusal: Some(refusal), ..Answer::default() };
        let found = judge(&key, &answer, &context(&nothing, &nothing, &varying));
        assert_eq!(found[0].is_certain(), certain, "{what}");
    }
}

#[test]
fn a_hook_that_is_left_from_an_earlier_run_is_in_the_way() {
    let (nothing, varying) = (Manifest::default(), Varying::default());
    let hooks = manifest(HOOK);
    let job = json!({"metadata": {"name": "x", "annotations": {"helm.sh/hook": "pre-upgrade"}}});
    for (what, hook, live, hooks, found) in [
        ("it lives", true, Some(json!({})), &nothing, "certain"),
        ("a hook comes before, and may delete it", true, Some(json!({})), &hooks, "doubtful"),
        ("helm deletes it first", true, None, &nothing, "nothing"),
        ("it is no hook", false, Some(json!({})), &nothing, "nothing"),
    ] {
        let refusal = Some(refusal(409, "jobs.batch \"x\" already exists", &[]));
        let answer = Answer { wanted: job.clone(), hook, live, refusal, ..Answer::default() };
        let judged = judge(&key("Job", "x"), &answer, &context(&nothing, hooks, &varying)).pop();
        let weight = judged.map_or("nothing", |one| if one.is_certain() { "certain" } else { "doubtful" });
        assert_eq!(weight, found, "{what}");
    }
}

#[test]
fn a_claim_is_told_with_sizes_class_and_what_to_do() {
    let claim = |size: &str, class: &str| json!({"spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}});
    let message = "persistentvolumeclaims \"data\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    let answer = Answer {
        wanted: claim("2Gi", "slow"),
        live: Some(claim("1Gi", "slow")),
        refusal: Some(refusal(403, message, &[])),
        ..Answer::default()
    };
    let (nothing, varying) = (Manifest::default(), Varying::default());
    let context = context(&nothing, &nothing, &varying);
    let finding = judge(&key("PersistentVolumeClaim", "data"), &answer, &context).remove(0);
    insta::assert_snapshot!(format!("{}\n{}", finding.sentence(), finding.remedy.join("\n")));
}

#[test]
fn a_stateful_set_is_told_with_its_fixed_fields_and_how_to_make_it_anew() {
    let message = "StatefulSet.apps \"db\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals' are forbidden";
    let answer = Answer {
        wanted: json!({"spec": {"serviceName": "new", "replicas": 3, "podManagementPolicy": "Parallel"}}),
        live: Some(
            json!({"spec": {"serviceName": "old", "replicas": 1, "podManagementPolicy": "OrderedReady"}}),
        ),
        refusal: Some(refusal(422, message, &[("FieldValueForbidden", "spec", "Forbidden: …")])),
        ..Answer::default()
    };
    let (nothing, varying) = (Manifest::default(), Varying::default());
    let mut context = context(&nothing, &nothing, &varying);
    let finding = judge(&key("StatefulSet", "db"), &answer, &context).remove(0);
    insta::assert_snapshot!(format!("{}\n{}", finding.sentence(), finding.remedy.join("\n")));
    assert!(finding.is_certain());
    context.recreates = true;
    assert!(!judge(&key("StatefulSet", "db"), &answer, &context)[0].is_certain());
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
fn hooks_are_parted_from_objects_and_those_that_run_pods_act() {
    let hook = |event: &str, kind: &str, spec: &str| {
        let version = if kind == "Job" {
            "batch/v1"
        } else if kind == "Task" {
            "example.com/v1"
        } else {
            "v1"
        };
        format!(
            "kind: {kind}\napiVersion: {version}\nmetadata: {{name: h, annotations: {{helm.sh/hook: '{event}'}}}}\nspec: {{template: {{spec: {{{spec}}}}}}}\n"
        )
    };
    for (event, kind, spec, runs, acts) in [
        ("pre-upgrade", "Job", "", true, true),
        ("pre-upgrade", "Job", "serviceAccountName: admin", true, true),
        ("pre-upgrade", "Task", "", true, true),
        ("pre-upgrade", "ConfigMap", "", true, false),
        ("post-install, post-upgrade", "Job", "", true, false),
        ("test", "Job", "", false, false),
    ] {
        let text = format!(
            "kind: ConfigMap\napiVersion: v1\nmetadata: {{name: c}}\n---\n{}",
            hook(event, kind, spec)
        );
        let (objects, hooks) = part(manifest(&text), ["pre-upgrade", "post-upgrade"]);
        assert_eq!(objects.objects.len(), 1);
        let acting = order::before_object(&objects, &hooks, "pre-upgrade", &objects.objects[0].0).acting;
        assert_eq!((!hooks.objects.is_empty(), acting.is_some()), (runs, acts), "{event} {kind}");
    }
}
