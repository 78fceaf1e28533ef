//! What is secret stays where it is: in no output, log, report, summary or error, whatever happens to the release.

use std::{path::Path, process::Command};

use testbed::tools::Helm;

use crate::stage::{SHORT_LIVED, Said, Stage};

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

struct Watched {
    stage: Stage,
    /// What must be seen nowhere, and what each is as a Secret has it.
    secrets: Vec<String>,
    chart: String,
}

impl Watched {
    fn new(version: Helm) -> Self {
        // One of the two with records in a database, whose password is one secret more.
        let stage = if version == Helm::V3 {
            Stage::new("canary", version)
        } else {
            Stage::in_sql("canary", version)
        };
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
        std::fs::write(stage.temporary.path().join("values.yaml"), format!("key: {IN_SECRET}\n")).unwrap();
        std::fs::write(stage.temporary.path().join("password"), IN_FILE).unwrap();
        let kubeconfig = std::fs::read_to_string(stage.namespace.kubeconfig()).unwrap();
        let credentials = kubeconfig.lines().filter_map(|line| {
            let (name, value) = line.trim().trim_start_matches("- ").split_once(": ")?;
            let value = value.trim_matches('"').to_owned();
            (matches!(name, "token" | "client-key-data" | "password") && !value.is_empty()).then_some(value)
        });
        let mut secrets: Vec<String> = [IN_SECRET, IN_SET, IN_FILE].map(str::to_owned).into();
        secrets.extend(secrets.clone().iter().map(|secret| base64(secret)));
        let given = secrets.len();
        secrets.extend(credentials);
        secrets.extend(stage.database.as_ref().map(|database| database.password.clone()));
        assert!(secrets.len() > given, "the kubeconfig has a credential");
        let chart = folder.display().to_string();
        Self { stage, secrets, chart }
    }

    /// A deploy as a GitHub job does it, with all that it leaves.
    fn deploy(&self, more: &[&str]) -> Said {
        let path = |name: &str| self.stage.temporary.path().join(name).display().to_string();
        let mut guard =
            self.stage.own(&["upgrade", "web", &self.chart, "--install", "--timeout=60s", "--keepalive=1s"]);
        guard.args(["-f", &path("values.yaml"), "--set-file", &format!("file={}", path("password"))]);
        guard.arg(format!("--set=password={IN_SET}")).args(more);
        guard.arg(format!("--report={}", path("report.json")));
        guard.env("GITHUB_ACTIONS", "true");
        guard.env("GITHUB_STEP_SUMMARY", path("summary")).env("GITHUB_OUTPUT", path("output"));
        let said = self.heard(guard);
        for file in ["report.json", "summary", "output"] {
            let text = std::fs::read_to_string(self.stage.temporary.path().join(file)).unwrap();
            assert!(!text.is_empty(), "{file}");
            self.check(file, &text);
        }
        said
    }

    fn own(&self, arguments: &[&str]) -> Said {
        self.heard(self.stage.own(arguments))
    }

    fn heard(&self, command: Command) -> Said {
        let said = Stage::run(command);
        self.check("stdout", &said.out);
        self.check("stderr", &said.err);
        said
    }

    #[track_caller]
    fn check(&self, what: &str, text: &str) {
        for secret in &self.secrets {
            assert!(!text.contains(secret.as_str()), "{what}: {text}");
        }
    }
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
    let watched = Watched::new(version);
    let stage = &watched.stage;
    let wait = "--wait";
    let code = |said: Said| said.code;
    assert_eq!(code(watched.deploy(&[wait])), Some(0));
    // A hook tells all it knows, and its log is shown.
    let told = watched.deploy(&[wait, "--set=tells=true"]);
    assert!(told.err.contains("hook Job/tells: log: login with [redacted]"), "{}", told.err);
    // Helm says no; pods do not start; the chart is broken; so are the flags.
    assert_ne!(code(watched.deploy(&["--set=broken=true"])), Some(0));
    assert_ne!(code(watched.deploy(&[wait, "--set=behavior=crash-loop", "--timeout=4s"])), Some(0));
    assert_ne!(code(watched.deploy(&["--set-json", &format!("key={{\"a\": {IN_SET}")])), Some(0));
    // Stuck, and repaired on the way.
    let set = format!("--set=password={IN_SET},key={IN_SECRET},file={IN_FILE},behavior=never");
    stage.stick("upgrade", &[&set]);
    for format in ["table", "wide", "json", "yaml"] {
        assert_eq!(code(watched.own(&["status", "web", "-o", format])), Some(0));
        assert_eq!(code(watched.own(&["lock", "status", "-o", format])), Some(0));
    }
    assert_eq!(code(watched.own(&["repair", "web", "--dry-run"])), Some(0));
    assert_eq!(code(watched.deploy(&[wait])), Some(0));
    // Somebody waits, and gives up.
    let mut holder = stage.own(&["lock", "acquire", "web", SHORT_LIVED]);
    holder.env("HELM_GUARD_LEASE_DURATION", "60s");
    Stage::run(holder);
    watched.deploy(&["--lock-timeout=1s"]);
    assert_eq!(leftovers(stage.temporary.path()), Vec::<std::path::PathBuf>::new());
}

crate::with_both_helms!(no_secret_is_told_whatever_happens);
