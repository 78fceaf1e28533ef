use super::*;
use crate::{
    manifest::Manifest,
    preflight::order::{before_hook, before_object},
};

const JOB: &str = "kind: Job\napiVersion: batch/v1\nmetadata: {name: migrate, annotations: {helm.sh/hook: 'EVENT', helm.sh/hook-weight: '1'}}\nspec: {template: {spec: {containers: []}}}\n";

fn parse(text: &str) -> Manifest {
    Manifest::parse(text, "shop").unwrap()
}

fn key(api_version: &str, kind: &str) -> ObjectKey {
    ObjectKey {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: "shop".into(),
        name: "x".into(),
    }
}

fn object(kind: &str, name: &str) -> String {
    let version = match kind {
        "StorageClass" => "storage.k8s.io/v1",
        "Role" => "rbac.authorization.k8s.io/v1",
        "CustomResourceDefinition" => "apiextensions.k8s.io/v1",
        "MutatingWebhookConfiguration" => "admissionregistration.k8s.io/v1",
        _ => "v1",
    };
    format!("kind: {kind}\napiVersion: {version}\nmetadata: {{name: {name}}}\n")
}

/// Each row: what depends on what, for which object, what the release brings before it, and whether it is certain then. With a
/// hook that acts first, whether it still is.
#[test]
fn certain_is_only_what_nothing_of_the_release_can_change() {
    let service = key("v1", "Service");
    let claim = key("v1", "PersistentVolumeClaim");
    let pod = key("v1", "Pod");
    let custom = key("example.com/v1", "Widget");
    let crd = "kind: CustomResourceDefinition\napiVersion: apiextensions.k8s.io/v1\nmetadata: {name: w}\nspec: {group: example.com}\n";
    let mutating = object("MutatingWebhookConfiguration", "m");
    let limits = object("LimitRange", "l");
    let role = "kind: Role\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {name: r}\nrules: [{apiGroups: [''], resources: [services], verbs: [create]}]\n";
    let create = [Right {
        namespace: "shop".into(),
        group: String::new(),
        resource: "services".into(),
        verb: "create",
        name: String::new(),
    }];
    for (what, ground, key, brings, alone, after_a_hook) in [
        ("a field that no Service has", Ground::Request, &service, "", true, true),
        (
            "the same, and a webhook that changes objects comes first",
            Ground::Request,
            &service,
            &*mutating,
            false,
            false,
        ),
        ("a value of a pod", Ground::Request, &pod, "", true, false),
        ("a value of a pod, which a limit may set", Ground::Request, &pod, &*limits, false, false),
        ("a limit is nothing to a Service", Ground::Request, &service, &*limits, true, true),
        ("a field that cannot change", Ground::Live, &service, "", true, false),
        ("a claim that cannot grow", Ground::Claim { class: "slow" }, &claim, "", true, false),
        (
            "its class comes first",
            Ground::Claim { class: "slow" },
            &claim,
            &*object("StorageClass", "slow"),
            false,
            false,
        ),
        (
            "another class does",
            Ground::Claim { class: "slow" },
            &claim,
            &*object("StorageClass", "fast"),
            true,
            false,
        ),
        ("the schema of a custom resource", Ground::Definition, &custom, "", true, false),
        ("its definition comes first", Ground::Definition, &custom, crd, false, false),
        ("a namespace that is not there", Ground::Namespace, &service, "", true, false),
        ("it comes first", Ground::Namespace, &service, &*object("Namespace", "shop"), false, false),
        ("a right", Ground::Rights(&create), &service, "", true, false),
        ("a role that has it comes first", Ground::Rights(&create), &service, role, false, false),
        ("a right that Helm can do without", Ground::SpareRights, &service, "", false, false),
        ("quota, policies, ports", Ground::Shared("a quota"), &service, "", false, false),
        ("fields that Helm takes over first", Ground::Transition, &service, "", false, false),
        ("a rollout of what is new", Ground::Patience { lives: Some(false) }, &service, "", true, false),
        ("of what lives", Ground::Patience { lives: Some(true) }, &service, "", false, false),
        ("of what may live", Ground::Patience { lives: None }, &service, "", false, false),
        ("a record that is too large", Ground::Size, &service, "", true, true),
    ] {
        let manifest = parse(&format!("{brings}\n---\n{}", object("Service", "last")));
        for (hooks, certain) in [(String::new(), alone), (JOB.replace("EVENT", "pre-upgrade"), after_a_hook)]
        {
            let hooks = parse(&hooks);
            let earlier = before_object(&manifest, &hooks, "pre-upgrade", key);
            let situation = Situation { key: Some(key), earlier, unstable: false };
            let weight = of(&ground, &situation);
            assert_eq!(weight.is_certain(), certain, "{what}, hooks: {}", hooks.objects.len());
            // What is not certain says why, and stops a deploy under --preflight strict.
            assert!(weight.is_certain() == weight.doubt().is_empty() && weight.stops_strict(), "{what}");
            let unstable = of(&ground, &Situation { unstable: true, ..situation });
            assert!(!unstable.is_certain(), "{what}, rendered otherwise in the real run");
        }
    }
    let advice = of(&Ground::Advice, &Situation::default());
    assert!(!advice.is_certain() && !advice.stops_strict() && !advice.is_note());
    assert!(note().is_note() && !note().stops_strict());
}

#[test]
fn only_what_comes_before_counts() {
    let hook = |name: &str, event: &str, weight: i32, kind: &str| {
        let spec = if kind == "Job" { "spec: {template: {spec: {}}}\n" } else { "" };
        let version = if kind == "Job" { "batch/v1" } else { "v1" };
        format!(
            "kind: {kind}\napiVersion: {version}\nmetadata: {{name: {name}, annotations: {{helm.sh/hook: {event}, helm.sh/hook-weight: '{weight}'}}}}\n{spec}---\n"
        )
    };
    let manifest = parse(
        "kind: LimitRange\napiVersion: v1\nmetadata: {name: a}\n---\nkind: Service\napiVersion: v1\nmetadata: {name: b}\n---\nkind: Service\napiVersion: v1\nmetadata: {name: c}\n---\nkind: Deployment\napiVersion: apps/v1\nmetadata: {name: d}\nspec: {template: {spec: {}}}\n",
    );
    let hooks = parse(
        &[
            hook("late", "post-upgrade", 0, "Job"),
            hook("two", "pre-upgrade", 2, "Job"),
            hook("one", "pre-upgrade", -1, "ConfigMap"),
            hook("other", "pre-install", -9, "Job"),
        ]
        .concat(),
    );
    let names = |earlier: &Earlier<'_>| {
        let names: Vec<&str> = earlier.objects.iter().map(|(key, _)| key.name.as_str()).collect();
        let acting = earlier.acting.map_or("nothing", |key| key.name.as_str());
        format!("{} / {acting}", names.join(" "))
    };
    let object = |at: usize| names(&before_object(&manifest, &hooks, "pre-upgrade", &manifest.objects[at].0));
    // Hooks first; Services are applied at the same time.
    assert_eq!(object(0), "two one / two");
    assert_eq!(object(1), "two one a c / two");
    assert_eq!(object(3), "two one a b c / two");
    let before = |at: usize| {
        let (key, hook) = &hooks.objects[at];
        names(&before_hook(&manifest, &hooks, "pre-upgrade", key, hook))
    };
    assert_eq!(before(2), " / nothing", "the first hook");
    assert_eq!(before(1), "one / nothing", "a ConfigMap does nothing");
    assert_eq!(before(0), "late two one other a b c d / late", "by then all of the release may act");
}

#[test]
fn a_hook_of_the_same_name_takes_the_place_of_an_object() {
    let hooks = parse(
        "kind: ConfigMap\napiVersion: v1\nmetadata: {name: x, annotations: {helm.sh/hook: pre-upgrade}}\n",
    );
    let manifest = parse("kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\n");
    let key = key("v1", "ConfigMap");
    let earlier = before_object(&manifest, &hooks, "pre-upgrade", &key);
    let situation = Situation { key: Some(&key), earlier, unstable: false };
    // The hook is the same object: it is not "another object of the release", and yet it changes what lives.
    assert!(!of(&Ground::Live, &situation).is_certain());
}
