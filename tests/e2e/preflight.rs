//! What the API server would refuse is known before anything is changed, and said with the object, the field and what to do.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use testbed::tools::Helm;

use crate::{
    stage::{QUICK, Said, Stage, interrupt},
    sweep::{ends_within, handle, pid},
};

/// Writes a chart whose only template is this text; the next one replaces it.
pub fn chart(stage: &Stage, template: &str) -> PathBuf {
    let chart = stage.temporary.path().join("chart");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: web\nversion: 1.0.0\n").unwrap();
    std::fs::write(chart.join("templates/all.yaml"), template).unwrap();
    chart
}

pub fn deploy(stage: &Stage, template: &str, more: &[&str]) -> Command {
    let mut guard = stage.own(&["upgrade", "web", "--install"]);
    guard.arg(chart(stage, template)).args(QUICK).args(more);
    guard
}

/// The findings in a report, and the whole report.
pub fn report(stage: &Stage) -> (Vec<Value>, Value) {
    let text = std::fs::read_to_string(stage.temporary.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    (report["preflight"]["findings"].as_array().cloned().unwrap_or_default(), report)
}

pub fn reported(stage: &Stage, template: &str, more: &[&str]) -> Said {
    let report = format!("--report={}", stage.temporary.path().join("report.json").display());
    let mut command = deploy(stage, template, more);
    command.arg(report);
    Stage::run(command)
}

/// Refused with the documented code, and the records and everything else are as they were.
#[track_caller]
pub fn assert_refused(stage: &Stage, template: &str, more: &[&str]) -> (Said, Value) {
    let (records, uids) = (stage.records(), stage.uids());
    let said = reported(stage, template, more);
    assert_eq!(said.code, Some(77), "{}", said.err);
    assert_eq!(stage.records(), records, "{}", said.err);
    assert_eq!(stage.uids(), uids, "{}", said.err);
    let (findings, report) = report(stage);
    assert_eq!(report["outcome"], "refused", "{report:#}");
    let certain: Vec<&Value> = findings.iter().filter(|finding| finding["certain"] == true).collect();
    assert_eq!(certain.len(), 1, "{findings:#?}");
    (said, certain[0].clone())
}

const CLAIM: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: SIZE}}
";

const SET: &str = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers: [{name: db, image: 'db:1', env: [{name: A, value: canary-env-77}]}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: SIZE}}}
";

pub const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: 'web:1'}]
";

/// A claim whose class cannot be expanded.
fn a_claim_that_cannot_grow_is_found_before_the_upgrade(version: Helm) {
    let stage = Stage::new("claim", version);
    Stage::ok(deploy(&stage, &CLAIM.replace("SIZE", "1Gi"), &[]));
    let bound = |object: &Value| object["status"]["phase"] == "Bound";
    stage
        .namespace
        .watch_until(["persistentvolumeclaims", "data"], std::time::Duration::from_secs(60), bound)
        .unwrap();
    let (said, finding) = assert_refused(&stage, &CLAIM.replace("SIZE", "2Gi"), &[]);
    assert_eq!(finding["object"], "PersistentVolumeClaim/data");
    assert_eq!(finding["field"], "spec.resources.requests.storage");
    assert_eq!(finding["live"], "1Gi, storage class kwok-volume");
    assert_eq!(finding["wanted"], "2Gi");
    assert!(said.err.contains("only dynamically provisioned pvc can be resized"), "{}", said.err);
    assert!(said.err.contains("set the size of data back to 1Gi"), "{}", said.err);
    // As it was it goes through, and with the check off Helm fails where it always did.
    let said = reported(&stage, &CLAIM.replace("SIZE", "1Gi"), &[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(report(&stage).0.is_empty());
    for (mode, finds) in [("--preflight=warn", true), ("--preflight=off", false)] {
        let said = reported(&stage, &CLAIM.replace("SIZE", "2Gi"), &[mode]);
        assert_eq!(said.code, Some(1), "{mode}: {}", said.err);
        assert_eq!(!report(&stage).0.is_empty(), finds, "{mode}");
    }
}

/// A fixed field of a StatefulSet, which is made anew when that is asked for; its pods and volumes live on.
fn a_fixed_field_of_a_stateful_set_is_found_and_the_set_made_anew(version: Helm) {
    let stage = Stage::new("sts", version);
    let old = SET.replace("SIZE", "1Gi");
    let new = SET.replace("SIZE", "2Gi");
    Stage::ok(deploy(&stage, &old, &["--wait", "--timeout=60s"]));
    let uid =
        |object: &str| stage.namespace.kubectl(["get", object, "-o", "jsonpath={.metadata.uid}"]).unwrap();
    let (set, pod, claim) = (uid("statefulset/db"), uid("pod/db-0"), uid("pvc/data-db-0"));
    let (said, finding) = assert_refused(&stage, &new, &[]);
    assert_eq!(finding["object"], "StatefulSet/db");
    assert_eq!(finding["field"], "spec.volumeClaimTemplates[data].spec.resources.requests.storage");
    assert_eq!((&finding["live"], &finding["wanted"]), (&"1Gi".into(), &"2Gi".into()));
    let orphan = format!("kubectl delete statefulset db -n {} --cascade=orphan", stage.namespace.name());
    assert!(said.err.contains(&orphan), "{}", said.err);
    assert!(!said.err.contains("canary"), "{}", said.err);
    assert_eq!(uid("statefulset/db"), set);

    let said = reported(&stage, &new, &["--recreate-statefulsets", "--wait", "--timeout=60s"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("StatefulSet/db was created again"), "{}", said.err);
    let keeps = "PersistentVolumeClaim/data-db-0 keeps its 1Gi, and the new StatefulSet requests 2Gi; ";
    assert!(said.err.contains(keeps), "{}", said.err);
    assert_ne!(uid("statefulset/db"), set);
    assert_eq!((uid("pod/db-0"), uid("pvc/data-db-0")), (pod, claim), "{}", said.err);
    let copies = std::fs::read_dir(stage.backups()).unwrap();
    let copies =
        copies.flatten().filter(|file| file.file_name().to_string_lossy().ends_with(".statefulset.json"));
    assert_eq!(copies.count(), 1);
    let size = "jsonpath={.spec.volumeClaimTemplates[0].spec.resources.requests.storage}";
    assert_eq!(stage.namespace.kubectl(["get", "statefulset", "db", "-o", size]).unwrap(), "2Gi");
    stage.assert_deployed();
}

/// Two sets of one name, each in a namespace of its own: both are made anew, and each is named.
#[test]
fn two_sets_of_one_name_are_both_made_anew() {
    let (stage, other) = (Stage::new("stsone", Helm::V4), Stage::new("stsother", Helm::V4));
    let sets = |size: &str| {
        let set = SET.replace("SIZE", size);
        let elsewhere = format!("{{name: db, namespace: {}}}", other.namespace.name());
        format!("{set}---{}", set.replace("{name: db}", &elsewhere))
    };
    Stage::ok(deploy(&stage, &sets("1Gi"), &[]));
    let uid = |stage: &Stage| {
        stage.namespace.kubectl(["get", "statefulset", "db", "-o", "jsonpath={.metadata.uid}"]).unwrap()
    };
    let before = [uid(&stage), uid(&other)];
    let said = Stage::ok(deploy(&stage, &sets("2Gi"), &["--recreate-statefulsets", "--backup-redact"]));
    // Whole copies, with values that may be secrets, are not among what is redacted.
    let copies = |directory: PathBuf| {
        let files = std::fs::read_dir(directory).unwrap().flatten();
        files.filter(|file| file.file_name().to_string_lossy().ends_with(".statefulset.json")).count()
    };
    assert_eq!((copies(stage.backups()), copies(stage.backups().with_file_name("repairs"))), (0, 2));
    assert!(before[0] != uid(&stage) && before[1] != uid(&other), "{}", said.err);
    let again = |place: &str| said.err.contains(&format!("StatefulSet/db{place} was created again"));
    let there = format!(" in namespace {}", other.namespace.name());
    assert!(again("") && again(&there), "{}", said.err);
}

/// A finalizer keeps the set: the wait for it ends with a signal, long before its own limit of 30 s.
#[test]
fn a_signal_ends_the_wait_for_a_set_that_does_not_go() {
    let stage = Stage::new("stsstays", Helm::V4);
    Stage::ok(deploy(&stage, &SET.replace("SIZE", "1Gi"), &["--wait", "--timeout=60s"]));
    let patch = |finalizers: &str| {
        let patch = format!(r#"{{"metadata":{{"finalizers":{finalizers}}}}}"#);
        stage.namespace.kubectl(["patch", "statefulset", "db", "--type=merge", "-p", &patch]).unwrap();
    };
    patch(r#"["example.com/stays"]"#);
    let mut guard = deploy(&stage, &SET.replace("SIZE", "2Gi"), &["--recreate-statefulsets"]);
    let child = guard.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let goes = |set: &Value| set["metadata"]["deletionTimestamp"].is_string();
    let goes = stage.namespace.watch_until(["statefulsets", "db"], Duration::from_secs(60), goes);
    let process = handle(pid(&child)).unwrap();
    interrupt(&child);
    let ended = ends_within(&process, Duration::from_secs(20));
    patch("null");
    let said = Said::from(child.wait_with_output().unwrap());
    goes.unwrap();
    assert!(ended, "it waited on: {}", said.err);
    assert_eq!(said.code, Some(130), "{}", said.err);
    assert!(said.err.contains("while it was being deleted"), "{}", said.err);
}

/// A stuck release: the refusal comes before its repair.
fn a_stuck_release_is_not_repaired_for_a_deploy_that_must_fail(version: Helm) {
    let stage = Stage::new("stuckpre", version);
    stage.ready("install", &["--set=claims={data}"]);
    stage.stick("upgrade", &["--set=claims={data}", "--set=behavior=never-ready"]);
    let (said, finding) = assert_refused(&stage, &CLAIM.replace("SIZE", "3Gi"), &[]);
    assert_eq!(finding["wanted"], "3Gi", "{}", said.err);
    assert!(!said.err.contains("repaired:"), "{}", said.err);
    stage.assert_history(&["deployed", "pending-upgrade"]);
}

/// What a dead revision brought is Helm's own after the repair: it is no surprise, and no refusal.
fn what_a_dead_revision_brought_is_as_it_was(version: Helm) {
    let stage = Stage::new("brought", version);
    stage.ready("install", &[]);
    stage.stick("upgrade", &["--set=claims={data}", "--set=behavior=never-ready"]);
    let mut check = stage.own(&["check", "web"]);
    check.arg(Stage::chart()).arg("--set=claims={data}");
    let said = Stage::ok(check);
    assert!(!said.err.contains("preflight:"), "{}", said.err);
    let said = Stage::ok(stage.guard("upgrade", &["--set=claims={data}", "--wait", "--timeout=60s"]));
    assert!(!said.err.contains("preflight:"), "{}", said.err);
    stage.assert_history(&["superseded", "failed", "deployed"]);
}

/// Who else owns a field, under server-side apply; Helm 3 overwrites it, and is not kept from it.
fn a_field_of_another_manager_is_a_conflict_only_where_helm_would_have_one(version: Helm) {
    let stage = Stage::new("managers", version);
    Stage::ok(deploy(&stage, WEB, &[]));
    let scale = "{\"spec\":{\"replicas\":2}}";
    stage
        .namespace
        .kubectl(["patch", "deployment", "web", "--field-manager=autoscaler", "--type=merge", "-p", scale])
        .unwrap();
    match version {
        Helm::V3 => drop(Stage::ok(deploy(&stage, WEB, &[]))),
        Helm::V4 => {
            let (said, finding) = assert_refused(&stage, WEB, &[]);
            assert_eq!(finding["field"], "spec.replicas");
            assert!(said.err.contains("owned by autoscaler"), "{}", said.err);
            Stage::ok(deploy(&stage, WEB, &["--force-conflicts"]));
        }
    }
    stage.assert_deployed();
}

/// A custom resource without a required field, in the API server's own words.
fn a_missing_field_of_a_custom_resource_is_found(version: Helm) {
    let stage = Stage::new("custom", version);
    let group = format!("{}.example.com", stage.namespace.name());
    let crd = format!(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: sources.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Source, plural: sources, singular: source}}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {{type: object, required: [credentialsRef], properties: {{credentialsRef: {{type: string}}, kind: {{type: string}}}}}}
"
    );
    stage.namespace.apply(&crd).unwrap();
    stage
        .namespace
        .wait_for(
            &format!("crd/sources.{group}"),
            "condition=Established",
            std::time::Duration::from_secs(30),
        )
        .unwrap();
    let source =
        |spec: &str| format!("apiVersion: {group}/v1\nkind: Source\nmetadata: {{name: s}}\nspec: {spec}\n");
    let (said, finding) = assert_refused(&stage, &source("{kind: x}"), &["--disable-openapi-validation"]);
    assert_eq!(finding["field"], "spec.credentialsRef", "{}", said.err);
    assert!(said.err.contains("Required value"), "{}", said.err);
    Stage::ok(deploy(&stage, &source("{credentialsRef: a}"), &[]));
    let (_, finding) = assert_refused(&stage, &source("{kind: x}"), &["--disable-openapi-validation"]);
    assert_eq!(finding["object"], "Source/s");
    stage.namespace.kubectl(["delete", "crd", &format!("sources.{group}"), "--wait=false"]).unwrap();
}

/// What a pod refers to and is not there warns, by name, and stops nothing; what is rendered or optional does not.
fn a_missing_secret_and_a_missing_key_are_warned_of(version: Helm) {
    let stage = Stage::new("refs", version);
    stage
        .namespace
        .kubectl(["create", "secret", "generic", "there", "--from-literal=known=canary-secret-31"])
        .unwrap();
    let pod = "
      serviceAccountName: nobody
      priorityClassName: no-such-priority
      volumes: [{name: v, persistentVolumeClaim: {claimName: no-such-claim}}]
      imagePullSecrets: [{name: registry}]
      containers:
        - name: web
          image: web:1
          env:
            - {name: A, valueFrom: {secretKeyRef: {name: there, key: known}}}
            - {name: B, valueFrom: {secretKeyRef: {name: there, key: lacking}}}
            - {name: C, valueFrom: {secretKeyRef: {name: gone, key: x}}}
            - {name: D, valueFrom: {secretKeyRef: {name: maybe, key: x, optional: true}}}
            - {name: E, valueFrom: {configMapKeyRef: {name: rendered, key: x}}}
            - {name: F, valueFrom: {configMapKeyRef: {name: no-such-map, key: x}}}
";
    let plain = "\n      containers: [{name: web, image: 'web:1'}]\n";
    let template = format!(
        "{}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: rendered}}\ndata: {{x: some}}\n---{}  storageClassName: no-such-storage\n{CLASSES}",
        WEB.replace(plain, pod),
        CLAIM.replace("SIZE", "1Gi"),
    );
    let said = reported(&stage, &template, &[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let findings = report(&stage).0;
    assert!(findings.iter().all(|one| one["id"] == "reference-missing"), "{findings:#?}");
    let causes: Vec<&str> = findings.iter().map(|finding| finding["cause"].as_str().unwrap()).collect();
    let absent = |what: &str| format!("{what} does not exist, and this release does not render it");
    assert_eq!(
        causes,
        [
            absent("ConfigMap/no-such-map"),
            absent("PersistentVolumeClaim/no-such-claim"),
            absent("PriorityClass/no-such-priority"),
            absent("Secret/gone"),
            absent("Secret/registry"),
            "Secret/there has no key lacking".to_owned(),
            absent("ServiceAccount/nobody"),
            absent("IngressClass/no-such-ingress"),
            absent("StorageClass/no-such-storage"),
        ]
    );
    assert!(!said.err.contains("canary"), "{}", said.err);
    // What stays as it is starts no pods, and is not asked about again.
    Stage::ok(deploy(&stage, &template, &[]));
    let said = reported(&stage, &template, &[]);
    assert_eq!((said.code, report(&stage).0.len()), (Some(0), 0), "{}", said.err);
    // Of a pod itself the API server asks for the class, which can be there when Helm asks: only strictly it is refused.
    let said = reported(&stage, &format!("{template}---{BARE}"), &["--preflight=strict"]);
    assert_eq!(said.code, Some(77), "{}", said.err);
    let findings = report(&stage).0;
    let finding = findings.iter().find(|finding| finding["doubt"].is_string()).unwrap();
    assert_eq!((&finding["id"], &finding["object"]), (&"refused".into(), &"Pod/bare".into()), "{}", said.err);
    assert_eq!(finding["certain"], false);
    assert!(said.err.contains("no PriorityClass with name no-such-priority was found"), "{}", said.err);
}

const CLASSES: &str = "
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {ingressClassName: no-such-ingress, defaultBackend: {service: {name: web, port: {number: 80}}}}
";

const BARE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec: {priorityClassName: no-such-priority, containers: [{name: web, image: 'web:1'}]}
";

/// Names of namespaces, kinds and accounts that the release brings itself, and objects that change in ways that are allowed.
fn what_a_release_brings_itself_is_no_finding(version: Helm) {
    let stage = Stage::new("brings", version);
    let other = format!("{}-b", stage.namespace.name());
    let brings = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {other}}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: {other}}}\n"
    );
    let said = reported(&stage, &brings, &[]);
    assert_eq!((said.code, report(&stage).0.len()), (Some(0), 0), "{}", said.err);
    stage.namespace.kubectl(["delete", "namespace", &other, "--wait=false"]).unwrap();

    let stage = Stage::new("changes", version);
    let volume = |volume: &str, ports: &str| {
        WEB.replace(
            "image: 'web:1'}]",
            &format!("image: 'web:1', ports: [{ports}]}}]\n      volumes: [{{name: v, {volume}}}]"),
        )
    };
    let dns = "{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}";
    for template in [
        volume("emptyDir: {}", dns),
        volume("configMap: {name: c, optional: true}", dns),
        volume("emptyDir: {}", "{containerPort: 53, protocol: TCP}"),
    ] {
        let said = reported(&stage, &template, &[]);
        assert_eq!((said.code, report(&stage).0), (Some(0), Vec::new()), "{}", said.err);
    }
    stage.assert_deployed();
    // Helm 3 takes the parameters of the old strategy out. Helm 4 does not, and fails, which is found.
    let other = WEB.replace("replicas: 1", "strategy: {type: Recreate}");
    match version {
        Helm::V3 => assert_eq!((reported(&stage, &other, &[]).code, report(&stage).0), (Some(0), Vec::new())),
        Helm::V4 => {
            assert_eq!(assert_refused(&stage, &other, &[]).1["field"], "spec.strategy.rollingUpdate");
            assert_eq!(Stage::run(deploy(&stage, &other, &["--preflight=off"])).code, Some(1));
        }
    }
}

/// A first install that must fail leaves no record; and without the fence the chart is rendered for the check.
fn a_first_install_that_must_fail_leaves_nothing(version: Helm) {
    let stage = Stage::new("first", version);
    let bad = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: ClusterIP, ports: [{port: 99999}]}\n";
    for more in [&[][..], &["--fence=off"]] {
        let (said, finding) = assert_refused(&stage, bad, more);
        assert_eq!(finding["object"], "Service/web", "{}", said.err);
        assert!(stage.records().is_empty());
    }
    let elsewhere = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: no-such-namespace}\n";
    let (said, finding) = assert_refused(&stage, elsewhere, &[]);
    assert_eq!(finding["id"], "namespace-missing", "{}", said.err);
    assert!(
        finding["remedy"][0].as_str().unwrap().contains("kubectl create namespace no-such-namespace"),
        "{}",
        said.err
    );
}

const HOOK: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: made, annotations: {helm.sh/hook: pre-upgrade}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: 'c:1'}]}}}
";

/// What a hook of the release may make is not missing beforehand: it is looked at again when Helm has ended, and told of if it
/// is not there then.
fn what_a_hook_may_make_is_looked_at_again(version: Helm) {
    let stage = Stage::new("made", version);
    let needs = |name: &str| {
        WEB.replace(
            "image: 'web:1'}]",
            &format!("image: 'web:1', envFrom: [{{secretRef: {{name: {name}}}}}]}}]"),
        )
    };
    Stage::ok(deploy(&stage, WEB, &[]));
    let with_hook = format!("{}---{HOOK}", needs("made"));
    let said = reported(&stage, &with_hook, &["--timeout=60s"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let warning = "preflight: warning: Deployment/web containers[web].envFrom: Secret/made does not exist";
    // The play's hook makes nothing, so it is told once, at the end.
    assert_eq!(said.err.matches("Secret/made").count(), 1, "{}", said.err);
    assert!(said.err.contains(warning), "{}", said.err);
    let findings = report(&stage).0;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!((&findings[0]["id"], findings[0].get("note")), (&"reference-missing".into(), None));
    // One that is there by then is a note in no log.
    stage.namespace.kubectl(["create", "secret", "generic", "made"]).unwrap();
    let said = reported(&stage, &with_hook.replace("web:1", "web:2"), &["--timeout=60s"]);
    assert_eq!((said.code, report(&stage).0), (Some(0), Vec::new()), "{}", said.err);
}

/// Where helm-guard renders the chart itself, what Helm renders otherwise in its own run refuses nothing: a revision in a name,
/// a value that is made up.
fn what_helm_renders_otherwise_is_not_judged(version: Helm) {
    let stage = Stage::new("otherwise", version);
    let frozen = |name: &str, value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, annotations: {{helm.sh/resource-policy: keep}}}}\n\
             immutable: true\ndata: {{a: {value}}}\n"
        )
    };
    let check = |template: &str| {
        let mut check = stage.own(&["check", "web", "-o", "json"]);
        check.arg(chart(&stage, template));
        Stage::run(check)
    };
    let named = frozen("c-{{ .Release.Revision }}", "r{{ .Release.Revision }}-{{ .Values.x | default 1 }}");
    Stage::ok(deploy(&stage, &named, &[]));
    Stage::ok(deploy(&stage, &named.replace("default 1", "default 2"), &[]));
    // `helm template` says revision 1 for the third, and c-1 lives and cannot change.
    let said = check(&named.replace("default 1", "default 3"));
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let made_up = frozen("c-1", "{{ randAlpha 9 }}");
    assert_eq!(check(&made_up).code, Some(0));
    // What is the same in each run is still refused.
    let said = check(&frozen("c-2", "other"));
    assert_eq!(said.code, Some(77), "{}\n{}", said.out, said.err);
}

/// The namespace that is made for the lock is Helm's own in the end, and Helm does not see it before it creates it.
fn a_namespace_that_helm_creates_is_not_there_before(version: Helm) {
    let stage = Stage::new("creates", version);
    let (raw, own) = (format!("{}-a", stage.namespace.name()), format!("{}-b", stage.namespace.name()));
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {there: '{{ lookup \"v1\" \"Namespace\" \"\" .Release.Namespace | len }}'}\n";
    let brings = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: '{{ .Release.Namespace }}', labels: {team: shop}}\n";
    let both = format!("{config}{}", if version == Helm::V4 { brings } else { "" });
    let directory = chart(&stage, &both);
    let arguments = ["upgrade", "web", "--install", "--create-namespace"];
    let mut helm = stage.helm(&arguments);
    Stage::ok({
        helm.arg(&directory).arg(format!("--namespace={raw}"));
        helm
    });
    let mut guard = stage.own(&arguments);
    guard.arg(&directory).arg(format!("--namespace={own}")).args(QUICK);
    let said = Stage::ok(guard);
    let is = |namespace: &str| {
        let object = stage.namespace.kubectl_json(["get", "namespace", namespace, "-o", "json"]).unwrap();
        let there = ["get", "configmap", "c", "-n", namespace, "-o", "jsonpath={.data.there}"];
        let labels = object["metadata"]["labels"].to_string().replace(namespace, "NAMESPACE");
        let annotations = object["metadata"]["annotations"].to_string().replace(namespace, "NAMESPACE");
        (labels, annotations, stage.namespace.kubectl(there).unwrap())
    };
    assert_eq!(is(&own), is(&raw), "{}", said.err);
    for namespace in [raw, own] {
        stage.namespace.kubectl(["delete", "namespace", &namespace, "--wait=false"]).unwrap();
    }
}

/// The preflight alone: the same findings and code, and nothing is written, not even a Lease.
fn a_check_alone_finds_the_same_and_writes_nothing(version: Helm) {
    let stage = Stage::new("check", version);
    let check = |template: &str, more: &[&str]| {
        let mut check = stage.own(&["check", "web"]);
        check.arg(chart(&stage, template)).args(more);
        Stage::run(check)
    };
    let old = SET.replace("SIZE", "1Gi");
    let said = check(&old, &["-o", "json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&report["outcome"], &report["subject"]["command"]), (&"healthy".into(), &"check".into()));
    assert!(report["preflight"]["findings"].as_array().is_some_and(Vec::is_empty), "{report:#}");
    Stage::ok(stage.raw("install", &["--set=name=other"]));
    let replace = |template: &str| check(template, &[]);
    assert!(replace(&old).err.contains("nothing is certain to fail"));
    Stage::ok(deploy(&stage, &old, &["--lock=off"]));
    let (records, uids) = (stage.records(), stage.uids());
    let said = check(&SET.replace("SIZE", "2Gi"), &["--output=json", "--recreate-statefulsets=false"]);
    assert_eq!(said.code, Some(77), "{}", said.err);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["preflight"]["findings"][0]["object"], "StatefulSet/db", "{report:#}");
    assert!(!said.err.contains("canary") && !said.out.contains("canary"));
    let said = check("{{ fail \"no such luck\" }}", &[]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("no such luck"), "{}", said.err);
    assert_eq!((stage.records(), stage.uids()), (records, uids));
    assert_eq!(stage.namespace.kubectl(["get", "leases", "-o", "name"]).unwrap().trim(), "");
}

crate::with_both_helms! {
    what_a_hook_may_make_is_looked_at_again what_helm_renders_otherwise_is_not_judged
    a_namespace_that_helm_creates_is_not_there_before
    a_check_alone_finds_the_same_and_writes_nothing
    a_claim_that_cannot_grow_is_found_before_the_upgrade a_fixed_field_of_a_stateful_set_is_found_and_the_set_made_anew
    a_stuck_release_is_not_repaired_for_a_deploy_that_must_fail
    what_a_dead_revision_brought_is_as_it_was
    a_field_of_another_manager_is_a_conflict_only_where_helm_would_have_one a_missing_field_of_a_custom_resource_is_found
    a_missing_secret_and_a_missing_key_are_warned_of what_a_release_brings_itself_is_no_finding
    a_first_install_that_must_fail_leaves_nothing
}
