//! What the cluster's owner has set up says no: webhooks, policies, quotas, Pod Security. The preflight knows it beforehand,
//! in the words of who refuses; and where nobody asked, the same is the cause.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testbed::{Verdict, Webhook, tools::Helm};

use crate::diagnose::{Any, config, deployment, has, only, record_deploy};

/// A configuration that asks this webhook about the ConfigMaps of one namespace.
fn configuration(name: &str, client_config: &Value, side_effects: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": name},
        "webhooks": [{
            "name": named(name), "clientConfig": client_config, "rules": config_maps(), "namespaceSelector": only_here(name),
            "failurePolicy": "Fail", "matchPolicy": "Equivalent", "objectSelector": {}, "timeoutSeconds": 10,
            "sideEffects": side_effects, "admissionReviewVersions": ["v1"],
        }],
    })
}

fn named(name: &str) -> String {
    format!("{name}.helm-guard.dev")
}

fn config_maps() -> Value {
    json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"], "scope": "*"}])
}

fn only_here(name: &str) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": name}})
}

/// A webhook that says no: the dry run hears it first, and nothing is written. One that does not answer, or not as it should,
/// is no reason to refuse; one that dry runs would disturb is not asked, and that is said.
fn a_webhook_has_the_last_word(version: Helm) {
    const NO: &str = "every ConfigMap tells its team, and this one does not";
    let any = Any::new("webhook", version);
    let name = any.stage.namespace.name();
    let keep = [config("keep", json!({}))];
    let mode = Arc::new(AtomicUsize::new(0));
    let chosen = mode.clone();
    let webhook =
        Webhook::open(any.stage.namespace.cluster(), move |_| match chosen.load(Ordering::SeqCst) {
            0 => Verdict::Deny(NO.to_owned()),
            1 => Verdict::Text("[]".to_owned()),
            _ => Verdict::Allow,
        });
    let webhook = webhook.unwrap();
    let registered = ClusterWide::apply(&any, &configuration(name, &webhook.client_config(), "None"));
    until_asked(&any, |said| said.contains(NO));
    webhook.asked();
    let refuses = format!("admission webhook \\\"{}\\\" denied the request: {NO}", named(name));
    any.refused(&keep).is("admission-refused", "ConfigMap/keep", false, &[&refuses]);
    let asked = webhook.asked();
    assert!(!asked.is_empty() && asked.iter().all(|review| review.dry_run), "{asked:#?}");
    assert_eq!(asked[0].object["metadata"]["name"], "keep");

    let told = any.fails(any.deploy(&keep, &["--timeout=20s"]));
    has(&told.first("admission-refused"), &[&format!("webhook {} refuses it: {NO}", named(name))]);
    assert!(webhook.asked().iter().any(|review| !review.dry_run && review.operation == "CREATE"));
    record_deploy(&any, version, "webhook-denied", &told, None);

    mode.store(1, Ordering::SeqCst);
    let found = any.findings(&keep, &[]);
    only(&found).is(
        "webhook-unreachable",
        "ConfigMap/keep",
        false,
        &[&named(name), "failed calling webhook"],
    );
    let told = any.fails(any.deploy(&keep, &["--timeout=20s"]));
    has(&told.first("webhook-unreachable"), &[&named(name)]);
    record_deploy(&any, version, "webhook-nonsense", &told, None);
    drop(registered);

    // Such as were let in before Kubernetes 1.22; today's API server takes none that is new.
    mode.store(2, Ordering::SeqCst);
    let mut old = configuration(name, &webhook.client_config(), "Some");
    let refused = any.stage.namespace.apply(&old.to_string()).unwrap_err();
    old["metadata"]["uid"] = "6f1d8a52-0f0e-4c7c-9a53-0d2f7b1c9e10".into();
    old["metadata"]["creationTimestamp"] = "2021-06-01T10:00:00Z".into();
    has(&format!("{refused:#}"), &["sideEffects: Unsupported value: \"Some\""]);
    let key = format!("validatingwebhookconfigurations/{name}");
    any.stage.namespace.cluster().store(&key, &old).unwrap();
    let _old = ClusterWide::named(&any, format!("validatingwebhookconfiguration/{name}"));
    until_asked(&any, |said| said.contains("does not support dry run"));
    webhook.asked();
    let found = any.findings(&keep, &[]);
    only(&found).is("not-checked", "ConfigMap/keep", false, &["does not support dry run", &named(name)]);
    assert!(webhook.asked().is_empty());
    let told = any.ends(any.guarded(&keep), 0);
    has(&told.said.err, &["preflight: warning: ConfigMap/keep: not checked: "]);
    assert!(webhook.asked().iter().all(|review| !review.dry_run));
    any.stage.assert_deployed();
}

/// Webhooks that are away, policies, quotas, Pod Security.
fn what_the_owner_forbids(version: Helm) {
    let any = Any::new("others", version);
    let namespace = &any.stage.namespace;
    let name = namespace.name();
    let keep = [config("keep", json!({}))];
    let away = configuration(name, &json!({"url": "https://127.0.0.1:1/"}), "None");
    let away = ClusterWide::apply(&any, &away);
    until_asked(&any, |said| said.contains("failed calling webhook"));
    only(&any.findings(&keep, &[])).is(
        "webhook-unreachable",
        "ConfigMap/keep",
        false,
        &[&named(name), "connection refused"],
    );
    let told = any.fails(any.deploy(&keep, &["--timeout=20s"]));
    has(&told.first("webhook-unreachable"), &[&named(name), "connection refused"]);
    record_deploy(&any, version, "webhook-unreachable", &told, None);
    drop(away);

    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail", "matchConstraints": {"namespaceSelector": only_here(name), "resourceRules": config_maps()},
            "validations": [{"expression": "'team' in object.data", "message": "every ConfigMap names its team"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    let policy = (ClusterWide::apply(&any, &policy), ClusterWide::apply(&any, &binding));
    until_asked(&any, |said| said.contains("ValidatingAdmissionPolicy"));
    any.refused(&keep).is("admission-refused", "ConfigMap/keep", false, &["every ConfigMap names its team"]);
    let told = any.fails(any.deploy(&keep, &["--timeout=20s"]));
    has(&told.first("admission-refused"), &["every ConfigMap names its team", &format!("policy {name}")]);
    record_deploy(&any, version, "admission-refused", &told, None);
    drop(policy);

    namespace.apply("{apiVersion: v1, kind: ResourceQuota, metadata: {name: small}, spec: {hard: {count/services: '0', pods: '0'}}}").unwrap();
    namespace
        .wait_for("resourcequota/small", "jsonpath={.status.hard.pods}=0", Duration::from_secs(30))
        .unwrap();
    let service = [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}),
    ];
    any.refused(&service).is(
        "quota-exceeded",
        "Service/web",
        false,
        &["exceeded quota: small", "limited: count/services=0"],
    );
    let told = any.fails(any.deploy(&service, &["--timeout=20s"]));
    has(&told.first("quota-exceeded"), &["quota small is used up", "limited: count/services=0"]);
    record_deploy(&any, version, "quota-of-helm", &told, None);
    let told = any.fails(any.deploy(&[deployment("web", &[], json!({}))], &["--wait", "--timeout=3s"]));
    has(&told.first("quota-exceeded"), &["Deployment/web", "limited: pods=0"]);
    record_deploy(&any, version, "quota-of-pods", &told, Some(3));
    namespace.kubectl(["delete", "resourcequota", "small"]).unwrap();

    // A pod is refused; of what makes pods the API server only warns.
    namespace.kubectl(["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"]).unwrap();
    let safe = deployment("safe", &[], json!({}));
    let pod = [
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": safe["spec"]["template"]["spec"]}),
    ];
    any.refused(&pod).is("admission-refused", "Pod/bare", false, &["violates PodSecurity"]);
    let told = any.fails(any.deploy(&pod, &["--timeout=20s"]));
    has(
        &told.first("admission-refused"),
        &["the namespace's Pod Security level refuses it", "allowPrivilegeEscalation"],
    );
    record_deploy(&any, version, "pod-security", &told, None);
    let safe = [safe];
    only(&any.findings(&safe, &[])).is(
        "api-warning",
        "Deployment/safe",
        false,
        &["would violate PodSecurity"],
    );
    let told = any.fails(any.deploy(&safe, &["--wait", "--timeout=3s"]));
    has(&told.first("pods-refused"), &["Deployment/safe", "violates PodSecurity"]);
    record_deploy(&any, version, "pods-refused", &told, Some(3));
}

/// An object without a namespace, deleted when this is dropped, by a test that fails too.
pub struct ClusterWide<'a> {
    any: &'a Any,
    what: String,
}

impl<'a> ClusterWide<'a> {
    pub fn apply(any: &'a Any, object: &Value) -> Self {
        any.stage.namespace.apply(&object.to_string()).unwrap();
        let text = |at: &str| object.pointer(at).unwrap().as_str().unwrap().to_lowercase();
        Self::named(any, format!("{}/{}", text("/kind"), text("/metadata/name")))
    }

    /// One that is there.
    fn named(any: &'a Any, what: String) -> Self {
        Self { any, what }
    }
}

impl Drop for ClusterWide<'_> {
    fn drop(&mut self) {
        let _ = self.any.stage.namespace.kubectl(["delete", &self.what]);
    }
}

/// The API server learns of webhooks and policies a little later, and nobody can watch it learn. A dry run is refused when
/// it has.
#[track_caller]
fn until_asked(any: &Any, is_known: impl Fn(&str) -> bool) {
    let begun = Instant::now();
    let asked = ["create", "configmap", "asked", "--dry-run=server"];
    let refused =
        || any.stage.namespace.kubectl(asked).err().is_some_and(|error| is_known(&format!("{error:#}")));
    while !refused() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is never refused");
    }
}

crate::with_both_helms! { a_webhook_has_the_last_word what_the_owner_forbids }
