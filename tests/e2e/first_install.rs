//! First installs that died: they are finished, nothing that cannot be made again is deleted, and nothing of the dead one
//! stays but what is named.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio, time::Duration};

use serde_json::Value;
use testbed::{Gate, Hold, tools::Helm};

use crate::{
    preflight::chart,
    stage::{QUICK, SHORT_LIVED, Said, Stage, kill},
    sweep::{draw, is_helm, points, start},
};

/// The password is random unless it lives; so is the token, whose Secret is rendered once only. What only the dead install
/// wants: fields, plain objects, and objects that must not go.
const TEMPLATE: &str = r#"
{{- $old := lookup "v1" "Secret" .Release.Namespace "db" }}
apiVersion: v1
kind: Secret
metadata: {name: db}
data:
  password: {{ if $old }}{{ $old.data.password }}{{ else }}{{ randAlphaNum 16 | b64enc }}{{ end }}
{{- if not (lookup "v1" "Secret" .Release.Namespace "token") }}
---
apiVersion: v1
kind: Secret
metadata: {name: token}
data: {token: {{ randAlphaNum 16 | b64enc }}}
{{- end }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      {{- if or .Values.dead .Values.bad }}
      nodeSelector: {nobody: has-this}
      {{- end }}
      {{- if .Values.dead }}
      volumes: [{name: v, emptyDir: {}}]
      {{- else }}
      volumes: [{name: v, configMap: {name: settings}}]
      {{- end }}
      containers:
        - name: web
          image: web:1
          volumeMounts: [{name: v, mountPath: /v}]
          env:
            {{- if .Values.dead }}
            - {name: STRAY, value: "1"}
            {{- end }}
            - {name: TOKEN, valueFrom: {secretKeyRef: {name: token, key: token}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {mode: production}
{{- if .Values.dead }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: dead}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: before}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kept, annotations: {helm.sh/resource-policy: keep}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: claim}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: old}
spec:
  serviceName: old
  selector: {matchLabels: {app: old}}
  template:
    metadata: {labels: {app: old}}
    spec:
      containers: [{name: c, image: "old:1", volumeMounts: [{name: data, mountPath: /data}]}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
{{- end }}
{{- range $event := list "pre-install" "post-install" }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $event }}
  annotations:
    helm.sh/hook: {{ $event }}
    {{- with $.Values.policy }}
    helm.sh/hook-delete-policy: {{ . }}
    {{- end }}
    round: {{ if $.Values.dead }}dead{{ else }}new{{ end }}
spec:
  template:
    spec:
      restartPolicy: Never
      {{- if and $.Values.dead (eq $event "post-install") }}
      nodeSelector: {nobody: has-this}
      {{- end }}
      containers: [{name: hook, image: "hook:1"}]
{{- end }}
"#;

struct Story {
    stage: Stage,
    chart: PathBuf,
    flags: Vec<&'static str>,
}

impl Story {
    /// A ConfigMap that was there before is taken over, and the install is cut off in its last hook.
    fn cut_off(stem: &str, version: Helm, flags: &[&'static str]) -> Self {
        Self::cut_off_on(Stage::new(stem, version), version, flags)
    }

    fn cut_off_on(stage: Stage, version: Helm, flags: &[&'static str]) -> Self {
        let chart = chart(&stage, TEMPLATE);
        stage.namespace.kubectl(["create", "configmap", "before", "--from-literal=tuned=yes"]).unwrap();
        let mut flags = flags.to_vec();
        flags.push("--take-ownership");
        if version == Helm::V4 && !flags.contains(&"--server-side=false") {
            flags.push("--force-conflicts");
        }
        let story = Self { stage, chart, flags };
        story.die(&["--set=dead=true"]);
        story
    }

    fn die(&self, more: &[&str]) {
        let mut helm = self.stage.raw_with("install", &self.chart, &self.flags);
        helm.args(more).args(["--timeout=300s"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = helm.spawn().unwrap();
        let seen = self.stage.wait_for_record("pending-install").and_then(|()| {
            let is_there = |object: &Value| object["kind"] == "Job";
            self.stage.namespace.watch_until(["jobs", "post-install"], Duration::from_secs(60), is_there)
        });
        kill(&mut child);
        seen.unwrap();
    }

    fn guard(&self, command: &[&str], more: &[&str]) -> std::process::Command {
        let mut guard = self.stage.own(command);
        guard.arg(&self.chart).args(QUICK).args(&self.flags).args(more);
        guard
    }

    fn get(&self, object: &str, path: &str) -> String {
        let path = format!("jsonpath={path}");
        self.stage.namespace.kubectl(["get", object, "--ignore-not-found", "-o", &path]).unwrap()
    }

    fn uid(&self, object: &str) -> String {
        self.get(object, "{.metadata.uid}")
    }

    fn uids(&self, objects: &[&'static str]) -> BTreeMap<&'static str, String> {
        objects.iter().map(|object| (*object, self.uid(object))).collect()
    }

    /// What must be as it was: all that lives on, and what must not be deleted.
    fn lasting(&self) -> BTreeMap<&'static str, String> {
        let lasting = [
            "secret/db",
            "secret/token",
            "deployment/web",
            "configmap/settings",
            "configmap/before",
            "configmap/kept",
            "pvc/claim",
            "pvc/data-old-0",
        ];
        self.uids(&lasting)
    }

    /// What lives equals what a clean history would have left, but for what is named.
    fn assert_finished(&self, said: &Said, lasting: &BTreeMap<&'static str, String>, password: &str) {
        assert_eq!(self.lasting(), *lasting, "{}", said.err);
        assert!(lasting.values().all(|uid| !uid.is_empty()), "{lasting:?}");
        assert_eq!(self.get("secret/db", "{.data.password}"), password, "{}", said.err);
        for gone in ["configmap/dead", "statefulset/old"] {
            assert_eq!(self.uid(gone), "", "{gone} is left\n{}", said.err);
        }
        let pod = "{.spec.template.spec.nodeSelector}{.spec.template.spec.volumes[*].emptyDir}\
                   {.spec.template.spec.containers[0].env[*].name}";
        assert_eq!(self.get("deployment/web", pod), "TOKEN", "{}", said.err);
        for hook in ["job/pre-install", "job/post-install"] {
            assert_eq!(
                self.get(hook, "{.metadata.annotations.round}"),
                "new",
                "{hook} did not run\n{}",
                said.err
            );
        }
        self.stage.assert_deployed();
        let hidden = self.stage.history().iter().any(|(_, status)| status == "uninstalled");
        assert!(!hidden, "{}", said.err);
    }
}

/// How helm-guard says that an object was there before. The API server's times are whole seconds: within one, only other
/// writers of the object are a sign of it.
fn was_before(said: &str) -> &'static str {
    let doubtful = "it may have been there before the install";
    if said.contains(doubtful) { doubtful } else { "it was there before the install" }
}

/// With `upgrade --install` and with `install`, applied on either side.
fn a_dead_install_is_finished(version: Helm) {
    let sides: &[&[&str]] = if version == Helm::V3 { &[&[]] } else { &[&[], &["--server-side=false"]] };
    for side in sides {
        for command in [&["upgrade", "web", "--install"][..], &["install", "web"]] {
            let story = Story::cut_off("finish", version, side);
            let (lasting, password) = (story.lasting(), story.get("secret/db", "{.data.password}"));
            let said = Stage::ok(story.guard(command, &["--wait", "--timeout=60s"]));
            story.assert_finished(&said, &lasting, &password);
            story.stage.assert_history(&["failed", "deployed"]);
            for (object, why) in [
                ("ConfigMap/before", was_before(&said.err)),
                ("ConfigMap/kept", "helm.sh/resource-policy says keep"),
                ("PersistentVolumeClaim/claim", "it holds data"),
                ("Secret/token", "the new revision refers to it"),
            ] {
                let named =
                    format!("{object} of the dead install stays: {why}; to delete it: kubectl delete ");
                assert!(said.err.contains(&named), "{named}\n{}", said.err);
            }
            assert!(!said.err.contains("repaired: uninstalled"), "{}", said.err);
            // There is nothing left to do.
            let again = Stage::ok(story.guard(&["upgrade", "web"], &["--wait", "--timeout=60s"]));
            assert!(!again.err.contains("dead install"), "{}", again.err);
        }
    }
}

/// So many writes helm-guard may make while it finishes an install.
const WRITES: u64 = 6;

/// helm-guard is killed before or after each of its own writes; the next run goes on from there.
fn the_finish_is_killed_anywhere(version: Helm) {
    // A short run has one write that is held before it is done and one that is held after it; all have a seed's turn.
    let rounds = points("kills of a finished install").div_ceil(5).min(WRITES);
    let first = 2 * draw(("finish", version), 2);
    for nth in (first..first + rounds).map(|nth| nth % WRITES) {
        let hold = if nth.is_multiple_of(2) { Hold::Before } else { Hold::After };
        let story = Story::cut_off("cut", version, &[]);
        let (lasting, password) = (story.lasting(), story.get("secret/db", "{.data.password}"));
        let mut writes = 0;
        let gate = Gate::open(&story.stage.namespace, move |seen| {
            let is_lease = seen.object().starts_with("leases");
            let is_dry = seen.uri.query().is_some_and(|query| query.contains("dryRun"));
            let is_review = seen.uri.path().contains("authorization.k8s.io");
            let own = !is_helm(seen) && seen.is_write() && !is_lease && !is_dry && !is_review;
            writes += u64::from(own);
            (own && writes > nth).then_some(hold)
        })
        .unwrap();
        let guard = story.guard(&["upgrade", "web", "--install"], &["--wait", "--timeout=150s", SHORT_LIVED]);
        let mut child = start(guard, gate.kubeconfig());
        let held = gate.wait(Duration::from_secs(180));
        kill(&mut child);
        drop(gate);
        if held.is_err() {
            // So many writes there are not.
            assert!(nth > 3, "write {nth} was not seen");
            continue;
        }
        let said = Stage::ok(story.guard(&["upgrade", "web", "--install"], &["--wait", "--timeout=60s"]));
        // The second run may find nothing to repair, and then runs no install hook: the first did.
        story.assert_finished(&said, &lasting, &password);
    }
}

/// `repair` has marked it before: its hooks are still to run.
fn a_dead_install_that_is_marked_is_finished_too(version: Helm) {
    let story = Story::cut_off("marked", version, &[]);
    let (lasting, password) = (story.lasting(), story.get("secret/db", "{.data.password}"));
    let said = Stage::ok(story.stage.own(&["repair", "web", "--lease-duration=6s"]));
    assert_eq!(story.lasting(), lasting, "{}", said.err);
    story.stage.assert_history(&["failed"]);
    let said = Stage::ok(story.guard(&["upgrade", "web", "--install"], &["--wait", "--timeout=60s"]));
    story.assert_finished(&said, &lasting, &password);
}

/// Helm does not delete a hook before it creates it if the policy says something else.
fn a_hook_that_is_in_the_way_is_created_again(version: Helm) {
    let policy = "--set=policy=hook-failed";
    let story = Story::cut_off("hooks", version, &[policy]);
    let (lasting, password) = (story.lasting(), story.get("secret/db", "{.data.password}"));
    let said = Stage::ok(story.guard(&["upgrade", "web", "--install"], &["--wait", "--timeout=60s"]));
    story.assert_finished(&said, &lasting, &password);
}

/// The next install fails, and so does one more: what the first left is known until one is complete.
fn what_is_left_is_not_forgotten_when_the_next_install_fails(version: Helm) {
    let story = Story::cut_off("fails", version, &[]);
    let (lasting, password) = (story.lasting(), story.get("secret/db", "{.data.password}"));
    let bad = ["--set=dead=true", "--wait", "--timeout=2s"];
    let said = Stage::run(story.guard(&["upgrade", "web", "--install"], &bad));
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!(story.lasting(), lasting, "{}", said.err);
    story.stage.assert_history(&["failed", "failed"]);
    // Without a value of its own it would reuse those of the failed one.
    let good = ["--set=dead=false", "--wait", "--timeout=60s"];
    let said = Stage::ok(story.guard(&["upgrade", "web", "--install"], &good));
    // An upgrade runs no install hook, as after any install that failed.
    assert_eq!(story.get("secret/db", "{.data.password}"), password, "{}", said.err);
    assert_eq!(story.uid("configmap/dead"), "", "{}", said.err);
    // Helm supersedes what it took for the base.
    story.stage.assert_history(&["failed", "superseded", "deployed"]);
}

/// `--atomic`: what Helm would do if it failed is said before. It succeeds, and all is as without it; or it fails, and Helm
/// uninstalls what it installed, which was asked for. What only the dead one made is in no record then: it stays and is named.
fn an_atomic_install_finishes_it_or_says_what_is_left(version: Helm) {
    let atomic = if version == Helm::V3 { "--atomic" } else { "--rollback-on-failure" };
    let warning =
        "if this install fails, helm uninstalls the release, as --atomic and --rollback-on-failure ask";
    let story = Story::cut_off("atomic", version, &[]);
    let (lasting, password) = (story.lasting(), story.get("secret/db", "{.data.password}"));
    let said = Stage::ok(story.guard(&["upgrade", "web", "--install"], &[atomic, "--wait", "--timeout=60s"]));
    story.assert_finished(&said, &lasting, &password);
    assert!(said.err.contains(warning), "{}", said.err);

    let story = Story::cut_off("takenback", version, &[]);
    let left = ["configmap/dead", "statefulset/old", "pvc/claim", "pvc/data-old-0", "configmap/before"];
    let before = story.uids(&left);
    let fails = [atomic, "--set=bad=true", "--wait", "--timeout=3s"];
    let said = Stage::run(story.guard(&["upgrade", "web", "--install"], &fails));
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains(warning), "{}", said.err);
    assert_eq!(story.stage.records(), [], "{}", said.err);
    assert_eq!(story.uids(&left), before, "{}", said.err);
    for object in ["ConfigMap/dead", "StatefulSet/old", "PersistentVolumeClaim/claim"] {
        let named = format!("{object} of the dead install is left; to delete it: kubectl delete ");
        assert!(said.err.contains(&named), "{named}\n{}", said.err);
    }
}

/// Asked for by its name it is done, but not to what was there before.
fn an_uninstall_by_name_says_what_it_deletes_and_spares_what_was_there(version: Helm) {
    let story = Story::cut_off("byname", version, &[]);
    story.stage.namespace.kubectl(["delete", "pvc", "claim", "--wait=false"]).unwrap();
    let (lasting, records) = (story.lasting(), story.stage.records());
    let repair = ["repair", "web", "--lease-duration=6s", "--strategy=uninstall"];
    for dry in [&["--dry-run"][..], &[]] {
        let mut command = story.stage.own(&repair);
        command.args(dry);
        let said = Stage::run(command);
        assert_eq!(said.code, Some(77), "{}\n{}", said.out, said.err);
        let all = format!("{}{}", said.out, said.err);
        if !all.contains("it would delete PersistentVolumeClaim/claim") {
            let was = was_before(&all);
            let why = format!("it would delete what the release did not create: ConfigMap/before ({was})");
            assert!(all.contains(&why), "{all}");
        }
        assert_eq!((story.lasting(), story.stage.records()), (lasting.clone(), records.clone()));
    }
}

/// Of a row nobody knows by the API server's clock when it was written: nothing is deleted, and all is named.
fn with_records_in_a_database_all_that_is_left_is_named(version: Helm) {
    let story = Story::cut_off_on(Stage::in_sql("rows", version), version, &[]);
    let (lasting, password) = (story.lasting(), story.get("secret/db", "{.data.password}"));
    let said = Stage::ok(story.guard(&["upgrade", "web", "--install"], &["--wait", "--timeout=60s"]));
    assert_eq!(
        (story.lasting(), story.get("secret/db", "{.data.password}")),
        (lasting, password),
        "{}",
        said.err
    );
    for left in ["ConfigMap/dead", "StatefulSet/old"] {
        let why = format!("{left} of the dead install stays: it is unknown whether the install created it");
        assert!(said.err.contains(&why), "{why}\n{}", said.err);
    }
    story.stage.assert_history(&["failed", "deployed"]);
}

/// A client-side apply that adopts sends nothing for a custom resource: it becomes what the new manifest says all the same.
fn a_custom_resource_becomes_as_it_is_wanted(version: Helm) {
    let stage = Stage::new("custom", version);
    let group = format!("{}.example.com", stage.namespace.name());
    let definition = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: things.{group}}}\nspec:\n  \
         group: {group}\n  scope: Namespaced\n  names: {{kind: Thing, plural: things, singular: thing, listKind: ThingList}}\n  \
         versions:\n  - name: v1\n    served: true\n    storage: true\n    schema: {{openAPIV3Schema: {{type: object, \
         x-kubernetes-preserve-unknown-fields: true}}}}\n"
    );
    let file = stage.temporary.path().join("crd.yaml");
    std::fs::write(&file, definition).unwrap();
    stage.namespace.kubectl(["apply", "-f", file.to_str().unwrap()]).unwrap();
    let crd = format!("crd/things.{group}");
    stage.namespace.kubectl(["wait", "--for=condition=Established", &crd, "--timeout=30s"]).unwrap();
    let thing = format!(
        "apiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: a}}\nspec:\n  {{{{- if .Values.dead }}}}\n  stray: 1\n  \
         {{{{- end }}}}\n  mode: {{{{ if .Values.dead }}}}dead{{{{ else }}}}new{{{{ end }}}}\n---\n{TEMPLATE}"
    );
    let chart = chart(&stage, &thing);
    let flags = if version == Helm::V4 { vec!["--server-side=false"] } else { Vec::new() };
    let story = Story { stage, chart, flags };
    story.die(&["--set=dead=true"]);
    let said = Stage::run(story.guard(&["upgrade", "web", "--install"], &["--wait", "--timeout=60s"]));
    let spec = story.get(&format!("things.{group}/a"), "{.spec}");
    story.stage.namespace.kubectl(["delete", &crd, "--wait=false"]).unwrap();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(spec, r#"{"mode":"new"}"#, "{}", said.err);
}

crate::with_both_helms! {
    a_dead_install_is_finished the_finish_is_killed_anywhere a_hook_that_is_in_the_way_is_created_again
    what_is_left_is_not_forgotten_when_the_next_install_fails a_custom_resource_becomes_as_it_is_wanted
    an_atomic_install_finishes_it_or_says_what_is_left
}
crate::with_either_helm! {
    V4 a_dead_install_that_is_marked_is_finished_too
    V3 with_records_in_a_database_all_that_is_left_is_named
    V3 an_uninstall_by_name_says_what_it_deletes_and_spares_what_was_there
}
