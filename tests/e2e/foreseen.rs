//! What no dry run of an object says is known beforehand too: time, room, rights, the history; and a deploy that is refused has
//! changed nothing, whatever Helm does before it writes its record.

use serde_json::Value;
use testbed::{Rule, tools::Helm};

use crate::{
    preflight::{WEB, assert_refused, chart, deploy, report, reported},
    stage::Stage,
};

/// The findings of the last deploy, by what they are and whether they are certain.
fn ids(stage: &Stage) -> Vec<(String, bool)> {
    let id = |finding: &Value| finding["id"].as_str().unwrap().to_owned();
    report(stage).0.iter().map(|finding| (id(finding), finding["certain"] == true)).collect()
}

const NUMBERS: &str = "
apiVersion: apps/v1
kind: KIND
metadata: {name: slow}
spec:
  replicas: 2
  minReadySeconds: 20
  selector: {matchLabels: {app: slow}}
  template:
    metadata: {labels: {app: slow}}
    spec:
      containers: [{name: slow, image: 'slow:1', startupProbe: {failureThreshold: 60, exec: {command: [x]}}}]
";

/// A timeout that the chart's own numbers exceed: it is refused at once, and Helm would have run into it.
fn a_timeout_that_cannot_be_enough_is_found(version: Helm) {
    let stage = Stage::new("late", version);
    let wait = ["--wait", "--timeout=5s"];
    // One pod after the other, each counts after 20 s.
    let set = NUMBERS.replace("KIND", "StatefulSet");
    let (said, finding) = assert_refused(&stage, &set, &wait);
    assert_eq!(
        (&finding["id"], &finding["object"]),
        (&"timeout-too-short".into(), &"StatefulSet/slow".into())
    );
    assert_eq!(
        (&finding["live"], &finding["wanted"]),
        (&"5s".into(), &"more than 20s".into()),
        "{}",
        said.err
    );
    let unseen = reported(&stage, &set, &["--wait", "--timeout=5s", "--preflight=off"]);
    assert_eq!(unseen.code, Some(1), "{}", unseen.err);
    Stage::ok(stage.own(&["uninstall", "web", "--wait"]));
    // Helm 4 waits until pods are available, Helm 3 until they are ready.
    let deployment = NUMBERS.replace("KIND", "Deployment");
    match version {
        Helm::V4 => assert_eq!(assert_refused(&stage, &deployment, &wait).1["wanted"], "more than 20s"),
        Helm::V3 => {
            let said = reported(&stage, &deployment, &["--wait", "--timeout=60s"]);
            assert_eq!((said.code, ids(&stage)), (Some(0), vec![("timeout-too-short".to_owned(), false)]));
            assert!(said.err.contains("container slow may take 600 s to start"), "{}", said.err);
        }
    }
    // Who does not wait is not told.
    assert_eq!(reported(&stage, &deployment, &[]).code, Some(0));
    assert_eq!(ids(&stage), []);
}

const BAD: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: ClusterIP, ports: [{port: 99999}]}
";

/// Helm makes room in the history before it writes the new record. Of a deploy that is refused nothing is removed; of one that
/// is not, it is; and the last good revision does not go in silence.
fn a_refused_deploy_takes_nothing_out_of_the_history(version: Helm) {
    let stage = Stage::new("pruned", version);
    let full = ["--history-max=2"];
    let config = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: VALUE}\n";
    let with = |value: &str| format!("{WEB}{}", config.replace("VALUE", value));
    Stage::ok(deploy(&stage, &with("one"), &full));
    Stage::ok(deploy(&stage, &with("two"), &full));
    // Two revisions, and no room for a third.
    let (said, finding) = assert_refused(&stage, &format!("{}---{BAD}", with("two")), &full);
    assert_eq!(finding["object"], "Service/web", "{}", said.err);
    let revisions = |stage: &Stage| stage.history().into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(revisions(&stage), [1, 2]);

    // A rollback that is refused supersedes what was deployed. A repair would set that right.
    stage
        .namespace
        .kubectl(["patch", "configmap", "c", "--type=merge", "-p", "{\"immutable\":true}"])
        .unwrap();
    let back = Stage::run(stage.raw("rollback", &["1"]));
    assert_eq!(back.code, Some(1), "{}", back.err);
    stage.assert_history(&["superseded", "superseded", "failed"]);
    let said = reported(&stage, &with("two"), &["--history-max=2", "--repair=off"]);
    assert_eq!(
        (said.code, ids(&stage)),
        (Some(0), vec![("history-pruned".to_owned(), false)]),
        "{}",
        said.err
    );
    assert!(
        said.err.contains("preflight: warning: revision 2 --history-max (is 2, wanted at least 3)"),
        "{}",
        said.err
    );
    assert_eq!(revisions(&stage), [3, 4]);
}

/// Bytes that do not compress.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// The whole chart is in each record: one that nearly fills its object is warned of, one that is too large never gets there.
fn a_record_that_does_not_fit_is_found(version: Helm) {
    let stage = Stage::new("large", version);
    let with = |bytes: usize| {
        std::fs::write(chart(&stage, WEB).join("noise.bin"), noise(bytes)).unwrap();
    };
    with(740_000);
    let said = reported(&stage, WEB, &[]);
    assert_eq!(
        (said.code, ids(&stage)),
        (Some(0), vec![("record-too-large".to_owned(), false)]),
        "{}",
        said.err
    );
    with(900_000);
    let (said, finding) = assert_refused(&stage, WEB, &[]);
    assert_eq!(finding["id"], "record-too-large", "{}", said.err);
    assert!(said.err.contains("most of it: files of the chart 9"), "{}", said.err);
    let unseen = reported(&stage, WEB, &["--preflight=off"]);
    assert_eq!(unseen.code, Some(1), "{}", unseen.err);
    assert_eq!(report(&stage).1["causes"][0]["id"], "record-too-large", "{}", unseen.err);
}

/// Rights that are needed when half of the deploy is done. What is printed gives them.
fn a_right_that_is_lacking_is_named_and_given_by_the_commands(version: Helm) {
    let stage = Stage::new("rights", version);
    let all = ["get", "list", "create", "update", "patch", "delete"];
    let rules = [
        Rule { groups: &["coordination.k8s.io"], resources: &["leases"], verbs: &["*"] },
        Rule { groups: &[""], resources: &["secrets"], verbs: &["get", "list", "create"] },
        Rule { groups: &["apps"], resources: &["deployments"], verbs: &all },
    ];
    let file = stage.namespace.restricted_kubeconfig(5, &rules).unwrap();
    let flag = format!("--kubeconfig={}", file.display());
    let wait = ["--wait", "--timeout=30s", &flag];
    let (said, finding) = assert_refused(&stage, WEB, &wait);
    assert_eq!(
        (&finding["id"], &finding["object"]),
        (&"right-missing".into(), &"secrets".into()),
        "{}",
        said.err
    );
    let given = |finding: &Value| {
        for command in finding["remedy"].as_array().unwrap() {
            let words: Vec<&str> = command.as_str().unwrap().split(' ').collect();
            assert_eq!(words[0], "kubectl");
            stage.namespace.kubectl(&words[1..]).unwrap();
        }
    };
    let user = finding["cause"].as_str().unwrap();
    assert!(user.starts_with("user-5 may not update secrets in namespace "), "{user}");
    given(&finding);
    // What is left is what Helm looks at while it waits: it goes as far as that, and no further.
    let said = reported(&stage, WEB, &wait);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.contains("is forbidden") || said.err.contains("timed out") || said.err.contains("deadline"),
        "{}",
        said.err
    );
    let findings = report(&stage).0;
    assert!(findings.iter().any(|finding| finding["object"] == "replicasets.apps"), "{findings:#?}");
    for finding in &findings {
        assert_eq!((&finding["id"], &finding["certain"]), (&"right-missing".into(), &Value::Bool(false)));
        given(finding);
    }
    let said = reported(&stage, WEB, &wait);
    assert_eq!((said.code, ids(&stage)), (Some(0), Vec::new()), "{}", said.err);
}

/// Helm installs a chart's CRDs before it writes its record. Those of a refused install are gone again; those that were there
/// before stay.
fn the_definitions_of_a_refused_install_are_taken_back(version: Helm) {
    let stage = Stage::new("crds", version);
    let definition = |kind: &str| {
        let group = format!("{}.example.com", stage.namespace.name());
        let plural = format!("{}s", kind.to_lowercase());
        let schema = "{openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}";
        format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: {plural}.{group}}}\n\
             spec: {{group: {group}, scope: Namespaced, names: {{kind: {kind}, plural: {plural}}}, \
             versions: [{{name: v1, served: true, storage: true, schema: {schema}}}]}}\n"
        )
    };
    stage.namespace.apply(&definition("Old")).unwrap();
    let crds = chart(&stage, BAD).join("crds");
    std::fs::create_dir_all(&crds).unwrap();
    for kind in ["Old", "New"] {
        std::fs::write(crds.join(format!("{kind}.yaml")), definition(kind)).unwrap();
    }
    let (said, _) = assert_refused(&stage, BAD, &[]);
    let gone = format!("crd/news.{}.example.com", stage.namespace.name());
    stage.namespace.wait_for(&gone, "delete", std::time::Duration::from_secs(30)).unwrap();
    let left = || stage.namespace.kubectl(["get", "crds", "-o", "name"]).unwrap();
    let here = |left: &str, plural: &str| left.contains(&format!("{plural}.{}.", stage.namespace.name()));
    assert!(here(&left(), "olds") && !here(&left(), "news"), "{}\n{}", left(), said.err);
    assert!(said.err.contains("CustomResourceDefinition/news."), "{}", said.err);
    assert!(said.err.contains("deleted again"), "{}", said.err);
    let applied = format!("CustomResourceDefinition/olds.{}.example.com was there", stage.namespace.name());
    assert_eq!(said.err.contains(&applied), version == Helm::V4, "{}", said.err);
    Stage::ok(deploy(&stage, WEB, &[]));
    assert!(here(&left(), "olds") && here(&left(), "news"));
    for plural in ["olds", "news"] {
        let name = format!("{plural}.{}.example.com", stage.namespace.name());
        stage.namespace.kubectl(["delete", "crd", &name, "--wait=false"]).unwrap();
    }
}

/// What only a check says: Helm's own linter, versions that are on their way out, and those that are gone.
fn a_check_tells_of_the_chart_itself(version: Helm) {
    let stage = Stage::new("lint", version);
    let check = |template: &str| {
        let directory = chart(&stage, template);
        std::fs::write(directory.join("templates/notes.md"), "{{/* nothing */}}").unwrap();
        let mut check = stage.own(&["check", "web", "-o", "json"]);
        check.arg(directory).arg("--set=a=canary-set-99");
        Stage::run(check)
    };
    let said = check("apiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\nsubsets: []\n");
    assert_eq!(said.code, Some(0), "{}", said.err);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let findings = report["preflight"]["findings"].as_array().unwrap();
    let found = |id: &str, words: &str| {
        findings
            .iter()
            .any(|one| one["id"] == id && one["cause"].as_str().is_some_and(|cause| cause.contains(words)))
    };
    assert!(found("lint", "error of helm lint: file extension '.md' not valid"), "{findings:#?}");
    assert!(found("api-deprecated", "v1 Endpoints is deprecated"), "{findings:#?}");
    let said =
        check("apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {}\n");
    assert_eq!(said.code, Some(1), "{}", said.err);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["causes"][0]["id"], "api-removed", "{report:#}");
    assert!(said.err.contains("apiVersion: policy/v1 for PodDisruptionBudget"), "{}", said.err);
    assert!(!said.err.contains("canary") && !said.out.contains("canary"), "{}\n{}", said.err, said.out);
}

crate::with_both_helms! {
    a_timeout_that_cannot_be_enough_is_found a_refused_deploy_takes_nothing_out_of_the_history
    a_record_that_does_not_fit_is_found a_right_that_is_lacking_is_named_and_given_by_the_commands
    the_definitions_of_a_refused_install_are_taken_back a_check_tells_of_the_chart_itself
}
