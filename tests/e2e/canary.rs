//! What is secret stays where it is: in no output, log, report, summary or error, whatever happens to the release.

use std::path::Path;

use testbed::tools::Helm;

use crate::{
    stage::{SHORT_LIVED, Said, Stage},
    watched::Watched,
};

/// In a Secret of the chart, by way of a file of values.
const IN_SECRET: &str = "canary-secret-5e1f";
/// Given with `--set`.
const IN_SET: &str = "canary-set-91c2";
/// Given with `--set-file`.
const IN_FILE: &str = "canary-file-4d07";

/// A hook whose log has all of them.
const HOOK: &str = r#"{{- if .Values.tells }}
apiVersion: batch/v1
kind: Job
metadata: {name: tells, annotations: {helm.sh/hook: pre-upgrade}}
spec:
  backoffLimit: 0
  template:
    metadata:
      annotations:
        testbed.helm-guard.dev/run-for: 4s
        testbed.helm-guard.dev/logs: {{ printf "login with %s\npassword %s, file %s" .Values.key .Values.password .Values.file | quote }}
    spec:
      restartPolicy: Never
      containers: [{name: hook, image: "hook:1", envFrom: [{secretRef: {name: web}}]}]
{{- end }}
"#;

/// A release whose canaries, credentials and, with one of the two Helms, password of a database are searched for.
fn watched(version: Helm) -> Watched {
    let stage =
        if version == Helm::V3 { Stage::new("canary", version) } else { Stage::in_sql("canary", version) };
    let folder = stage.temporary.path().join("chart");
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    for file in ["Chart.yaml", "values.yaml", "templates/all.yaml"] {
        std::fs::copy(Stage::chart().join(file), folder.join(file)).unwrap();
    }
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: web}\nstringData:\n  key: {{ .Values.key | quote }}\n  \
                  set: {{ .Values.password | quote }}\n  file: {{ .Values.file | quote }}\n\
                  {{- if .Values.broken }}\n---\napiVersion: v1\nkind: Nothing\nmetadata: {name: web}\n{{- end }}\n";
    std::fs::write(folder.join("templates/secret.yaml"), secret).unwrap();
    std::fs::write(folder.join("templates/hook.yaml"), HOOK).unwrap();
    let mut watched = Watched::new(stage, folder);
    std::fs::write(watched.path("values.yaml"), format!("key: {IN_SECRET}\n")).unwrap();
    std::fs::write(watched.path("password"), IN_FILE).unwrap();
    for canary in [IN_SECRET, IN_SET, IN_FILE] {
        watched.forbid("a canary", canary);
        watched.forbid("a canary", &base64(canary));
    }
    let kubeconfig = std::fs::read_to_string(watched.stage.namespace.kubeconfig()).unwrap();
    let credentials = kubeconfig.lines().filter_map(|line| {
        let (name, value) = line.trim().trim_start_matches("- ").split_once(": ")?;
        let value = value.trim_matches('"');
        (matches!(name, "token" | "client-key-data" | "password") && !value.is_empty()).then_some(value)
    });
    let credentials: Vec<&str> = credentials.collect();
    assert!(!credentials.is_empty(), "the kubeconfig has a credential");
    credentials.iter().for_each(|credential| watched.forbid("a credential", credential));
    if let Some(password) = watched.stage.database.as_ref().map(|database| database.password.clone()) {
        watched.forbid("the password of the database", &password);
    }
    watched
}

fn deploy(watched: &Watched, more: &[&str]) -> Said {
    let mut guard = watched.stage.own(&["upgrade", "web", "--install", "--timeout=60s", "--keepalive=1s"]);
    let file = format!("file={}", watched.path("password"));
    guard.arg(&watched.chart).args(["-f", &watched.path("values.yaml"), "--set-file", &file]);
    guard.arg(format!("--set=password={IN_SET}")).args(more);
    watched.deployed(guard)
}

fn own(watched: &Watched, arguments: &[&str]) -> Said {
    watched.heard(watched.stage.own(arguments))
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Files that a deploy leaves behind in its folders; records and Helm's own caches are not among them.
fn leftovers(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("helm-guard-fence"))
        .collect()
}

fn no_secret_is_told_whatever_happens(version: Helm) {
    let watched = watched(version);
    let stage = &watched.stage;
    let wait = "--wait";
    let code = |said: Said| said.code;
    assert_eq!(code(deploy(&watched, &[wait])), Some(0));
    // A hook tells all it knows, and its log is shown.
    let told = deploy(&watched, &[wait, "--set=tells=true"]);
    assert!(told.err.contains("hook Job/tells: log: login with [redacted]"), "{}", told.err);
    // Helm says no; pods do not start; the chart is broken; so are the flags.
    assert_ne!(code(deploy(&watched, &["--set=broken=true"])), Some(0));
    assert_ne!(code(deploy(&watched, &[wait, "--set=behavior=crash-loop", "--timeout=4s"])), Some(0));
    assert_ne!(code(deploy(&watched, &["--set-json", &format!("key={{\"a\": {IN_SET}")])), Some(0));
    // Stuck, and repaired on the way.
    let set = format!("--set=password={IN_SET},key={IN_SECRET},file={IN_FILE},behavior=never");
    stage.stick("upgrade", &[&set]);
    for format in ["table", "wide", "json", "yaml"] {
        assert_eq!(code(own(&watched, &["status", "web", "-o", format])), Some(0));
        assert_eq!(code(own(&watched, &["lock", "status", "-o", format])), Some(0));
    }
    assert_eq!(code(own(&watched, &["repair", "web", "--dry-run"])), Some(0));
    assert_eq!(code(deploy(&watched, &[wait])), Some(0));
    // Somebody waits, and gives up.
    let mut holder = stage.own(&["lock", "acquire", "web", SHORT_LIVED]);
    holder.env("HELM_GUARD_LEASE_DURATION", "60s");
    Stage::run(holder);
    deploy(&watched, &["--lock-timeout=1s"]);
    assert_eq!(leftovers(stage.temporary.path()), Vec::<std::path::PathBuf>::new());
}

crate::with_both_helms!(no_secret_is_told_whatever_happens);
