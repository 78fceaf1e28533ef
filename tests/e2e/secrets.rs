//! What Helm and the API server quote: no value comes out by an error, live or in what a later run reads of it; and what Helm
//! itself is given of this program's own secrets.

use base64::{Engine, engine::general_purpose::STANDARD};
use testbed::tools::Helm;

use crate::{
    preflight::chart,
    stage::{Said, Stage},
    watched::Watched,
};

/// Ways to give a value, and a canary for each: no label, so that the API server quotes it.
const CANARIES: [(&str, &str); 7] = [
    ("set", "canary \"set\" <1a>"),
    ("string", "canary 'string' &2b"),
    ("json", "canary json\\3c"),
    ("literal", "canary {literal}, 4d"),
    ("file", "canary/file+5e="),
    ("values", "canary%values:6f"),
    ("key", "canary of a Secret 7g"),
];

const TEMPLATE: &str = r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: web
  labels:
    own: web
{{- if .Values.quoted }}
{{- range $name, $value := .Values.quoted }}
    {{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}
---
apiVersion: v1
kind: Secret
metadata: {name: web}
stringData: {key: {{ .Values.key | default "none" | quote }}}
{{- if .Values.fails }}
{{- range .Values.quoted }}
{{- fail (printf "no %s, %s, %s, %s, %s" . (b64enc .) (urlquery .) (toJson .) (printf "user:%s" . | b64enc)) }}
{{- end }}
{{- end }}
"#;

/// A release with a chart that quotes the canaries, which are searched for in every encoding.
fn quoted(version: Helm) -> Watched {
    let stage = Stage::new("quoted", version);
    let chart = chart(&stage, TEMPLATE);
    let mut quoted = Watched::new(stage, chart);
    for (way, canary) in CANARIES.iter().chain([&("ci", "canary-of-the-ci")]) {
        for (encoding, piece) in encodings(canary) {
            quoted.forbid(&format!("{way} as {encoding}"), &piece);
        }
    }
    quoted
}

/// The flags that give every canary.
fn flags(quoted: &Watched) -> Vec<String> {
    let of = |name: &str| CANARIES.iter().find(|(way, _)| *way == name).unwrap().1;
    std::fs::write(quoted.path("file"), of("file")).unwrap();
    let values = serde_json::json!({"quoted": {"values": of("values")}, "key": of("key")});
    std::fs::write(quoted.path("values.yaml"), values.to_string()).unwrap();
    vec![
        format!("--set=quoted.set={}", of("set")),
        format!("--set-string=quoted.string={}", of("string")),
        format!("--set-json=quoted.json={}", serde_json::json!(of("json"))),
        format!("--set-literal=quoted.literal={}", of("literal")),
        format!("--set-file=quoted.file={}", quoted.path("file")),
        format!("-f={}", quoted.path("values.yaml")),
    ]
}

fn deploy(quoted: &Watched, more: &[&str]) -> Said {
    let mut guard = quoted.stage.own(&["upgrade", "web", "--preflight=off", "--backup-redact"]);
    guard.arg(&quoted.chart).args(flags(quoted)).args(more).env("HELM_GUARD_CI_TOKEN", "canary-of-the-ci");
    quoted.deployed(guard)
}

fn encodings(text: &str) -> Vec<(&'static str, String)> {
    let percent =
        |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
    let json = serde_json::to_string(text).unwrap();
    let inner = |json: &str| json[1..json.len() - 1].to_owned();
    // Without the end, which depends on what follows.
    let base64 = |before: &str| {
        let encoded = STANDARD.encode(format!("{before}{text}"));
        encoded[before.len().div_ceil(3) * 4..encoded.len() - 4].to_owned()
    };
    vec![
        ("plain", text.to_owned()),
        ("json", inner(&json)),
        ("json in json", inner(&serde_json::to_string(&inner(&json)).unwrap())),
        ("go", inner(&format!("{text:?}"))),
        ("base64", base64("")),
        ("base64 behind one", base64("u")),
        ("base64 behind two", base64("u:")),
        ("percent", text.chars().map(percent).collect()),
        ("form", text.chars().map(percent).collect::<String>().replace("%20", "+")),
    ]
}

fn what_is_quoted_stays_secret_in_later_runs(version: Helm) {
    let quoted = quoted(version);
    let stage = &quoted.stage;
    let mut install = stage.own(&["install", "web", "--preflight=off", "--set=own=1"]);
    install.arg(&quoted.chart);
    Stage::ok(install);
    // The chart fails with the values in several encodings.
    let failed = deploy(&quoted, &["--set=fails=true"]);
    assert_ne!(failed.code, Some(0));
    assert!(failed.err.contains("no [redacted], [redacted], "), "{}", failed.err);
    // The API server refuses each, and Helm writes that into its record.
    let failed = deploy(&quoted, &[]);
    assert_ne!(failed.code, Some(0), "{}", failed.err);
    assert!(failed.err.contains("Invalid value: \"[redacted]\""), "{}", failed.err);
    let raw = Stage::ok(stage.raw("history", &["-o=json"])).out;
    assert!(raw.contains("canary json") && raw.contains("canary%values:6f"), "helm quotes them: {raw}");
    // Whoever reads the records later was given nothing.
    for format in ["table", "wide", "json", "yaml"] {
        for command in [
            &["history", "web"][..],
            &["status", "web"],
            &["diagnose", "web"],
            &["status", "--all", "--health"],
        ] {
            let mut later = stage.own(command);
            later
                .args(["-o", format])
                .env("GITHUB_ACTIONS", "true")
                .env("GITHUB_STEP_SUMMARY", quoted.path("later"));
            let said = quoted.heard(later);
            assert_eq!(said.code, Some(0), "{command:?} {}", said.err);
            if command[0] == "history" {
                assert!(said.out.contains("[redacted]"), "{}", said.out);
            }
        }
    }
    quoted.check("summary", &std::fs::read_to_string(quoted.path("later")).unwrap());
    quoted.heard(stage.own(&["diagnose", "web", "--save", &quoted.path("saved")]));
    quoted.check("saved", &std::fs::read_to_string(quoted.path("saved")).unwrap());
    quoted.heard(stage.own(&["repair", "web", "--dry-run"]));
    quoted.heard(stage.own(&["unlock", "web", "--dry-run"]));
    let saved =
        quoted.heard(stage.own(&["backup", "web", "--backup-redact", "--backup-dir", &quoted.path("saves")]));
    let list = saved.out.trim();
    for file in [list.to_owned(), list.replace(".json", ".yaml")] {
        quoted.check("redacted backup", &std::fs::read_to_string(file).unwrap());
    }
    // A rollback to a revision that was given none, by a run that was given none.
    quoted.heard(stage.own(&["rollback", "web", "1"]));
    assert_eq!(stage.history().last().unwrap().1, "deployed");
}

/// Whatever Helm is started for, and by which way.
fn no_helm_is_given_a_token(version: Helm) {
    let mut stage = Stage::new("tokens", version);
    let seen = stage.temporary.path().join("seen");
    stage.wrap_helm(&format!("echo \"helm $1\" >>'{0}'; env >>'{0}'", seen.display()));
    let chart = Stage::chart().display().to_string();
    let run = |arguments: &[&str], started: &str| {
        let _ = std::fs::remove_file(&seen);
        let mut guard = stage.own(arguments);
        guard.env("HELM_GUARD_CI_TOKEN", "canary-ci").env("HELM_GUARD_INPUT_GITHUB_TOKEN", "canary-input");
        let said = Stage::run(guard);
        let environments = std::fs::read_to_string(&seen).unwrap_or_default();
        assert!(environments.contains(&format!("helm {started}\n")), "{arguments:?}: {}", said.err);
        assert!(!environments.contains("canary"), "{arguments:?}: {environments}");
    };
    run(&["install", "web", &chart], "install");
    run(&["upgrade", "web", &chart, "--dry-run"], "upgrade");
    run(&["upgrade", "--help"], "upgrade");
    run(&["rollback", "web", "--help"], "rollback");
    run(&["upgrade", "web", &chart, "--fence=off"], "upgrade");
    run(&["upgrade", "web", &chart, "--fence=off"], "version");
    run(&["check", "web", &chart], "template");
    run(&["check", "web", &chart], "lint");
    run(&["rollback", "web", "1"], "rollback");
    stage.stick("upgrade", &["--set=behavior=never"]);
    run(&["repair", "web", "--strategy=rollback"], "rollback");
    stage.stick("upgrade", &["--set=behavior=never"]);
    run(&["upgrade", "web", &chart], "template");
    run(&["uninstall", "web"], "uninstall");
}

/// The values that an upgrade reuses, which a rendering ahead of it needs in a file: that is in memory, so a kill leaves nothing.
fn values_that_are_reused_are_on_no_disk(version: Helm) {
    let mut stage = Stage::new("reused", version);
    stage.ready("install", &["--set=unused=canary-reused"]);
    stage.stick("upgrade", &["--reuse-values", "--set=behavior=never-ready"]);
    let home = stage.temporary.path().display().to_string();
    let look = format!(
        "if [ \"$1\" = template ]; then\ngrep -rl --exclude=helm --exclude=given --exclude=on-disk canary-reused '{home}' >>'{home}/on-disk'\n\
         for word; do case $word in *=/proc/*/fd/*|/proc/*/fd/*) grep -o canary-reused \"${{word#*=}}\" >>'{home}/given';; esac; done\nfi"
    );
    stage.wrap_helm(&format!("{look}\ntrue &"));
    Stage::ok(stage.guard("upgrade", &["--reuse-values", "--set=behavior=ready", "--wait", "--timeout=60s"]));
    let read = |name: &str| std::fs::read_to_string(stage.temporary.path().join(name)).unwrap();
    assert_eq!(read("on-disk"), "", "a file holds them");
    assert!(read("given").contains("canary-reused"), "helm was given them");
}

crate::with_both_helms!(what_is_quoted_stays_secret_in_later_runs);
crate::with_either_helm!(V4 no_helm_is_given_a_token V3 values_that_are_reused_are_on_no_disk);
