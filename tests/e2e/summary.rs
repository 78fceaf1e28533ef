//! What the report tells of a deploy that went well: what it changed, and when it did what.

use serde_json::{Value, json};
use testbed::tools::Helm;

use crate::stage::Stage;

const CANARY: &str = "canary-7d1f";

/// helm-guard with a report, of which the JSON and the Markdown are given.
fn deploy(stage: &Stage, command: &str, more: &[&str]) -> (Value, String) {
    let (report, summary) =
        (stage.temporary.path().join("report.json"), stage.temporary.path().join("summary"));
    let mut guard = stage.guard(command, more);
    let file = stage.temporary.path().join("summary.md");
    guard.arg(format!("--report={}", report.display())).env("GITHUB_STEP_SUMMARY", &summary);
    guard.arg(format!("--summary={}", file.display()));
    let _ = std::fs::remove_file(&summary);
    let said = Stage::ok(guard);
    assert_eq!(std::fs::read_to_string(file).unwrap(), std::fs::read_to_string(&summary).unwrap());
    let texts = [report, summary].map(|file| std::fs::read_to_string(file).unwrap());
    for text in texts.iter().chain([&said.err]) {
        assert!(!text.contains(CANARY), "{text}");
    }
    let [report, summary] = texts;
    (serde_json::from_str(&report).unwrap(), summary)
}

/// The chart as it is in its next version.
fn next_chart(stage: &Stage) -> String {
    let chart = stage.temporary.path().join("web");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    for file in ["Chart.yaml", "values.yaml", "templates/all.yaml"] {
        let text = std::fs::read_to_string(Stage::chart().join(file)).unwrap();
        let text = text
            .replace("version: 1.0.0", "version: 1.1.0")
            .replace("appVersion: \"1\"", "appVersion: \"2\"");
        std::fs::write(chart.join(file), text).unwrap();
    }
    chart.display().to_string()
}

fn what_a_deploy_changed_is_told_without_values(version: Helm) {
    let stage = Stage::new("changes", version);
    let waits = ["--wait", "--timeout=60s"];
    let of = |configs| [&waits[..], &[configs, "--set=env.PASSWORD=first"]].concat();
    let (report, _) = deploy(&stage, "install", &of("--set=configs={old}"));
    assert_eq!(
        report["changes"],
        json!({
            "since": null, "revision": 1, "versions": [], "changed": [], "removed": [],
            "added": ["ConfigMap/old", "Deployment/web"],
        })
    );

    // A dead revision in between is not what the new one is compared with.
    stage.stick("upgrade", &["--set=behavior=never,configs={dead}"]);
    let chart = next_chart(&stage);
    let password = format!("--set=env.PASSWORD={CANARY}");
    let mut guard = stage.own(&["upgrade", "web", &chart, "--set=configs={new}", &password]);
    guard.args(waits).args(crate::stage::QUICK);
    let report = stage.temporary.path().join("upgrade.json");
    guard.arg(format!("--report={}", report.display()));
    let said = Stage::ok(guard);
    let text = std::fs::read_to_string(report).unwrap();
    assert!(!text.contains(CANARY) && !said.err.contains(CANARY));
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap()["changes"],
        json!({
            "since": 1,
            "revision": 3,
            "versions": [
                {"what": "chart", "before": "web-1.0.0", "after": "web-1.1.0"},
                {"what": "app version", "before": "1", "after": "2"},
                {"what": "Deployment/web/web", "before": "web:1", "after": "web:2"},
            ],
            "added": ["ConfigMap/new"],
            "changed": ["Deployment/web"],
            "removed": ["ConfigMap/old"],
        })
    );
    let line = "changes since revision 1: chart web-1.0.0 → web-1.1.0, app version 1 → 2, \
                Deployment/web/web web:1 → web:2, 1 object added, 1 changed, 1 removed";
    assert!(said.err.contains(line), "{}", said.err);
}

fn a_deploy_that_changes_nothing_says_so_and_when_it_did_what(version: Helm) {
    let stage = Stage::new("nothing", version);
    let same = ["--install", "--wait", "--timeout=60s", "--set=configs=null"];
    deploy(&stage, "upgrade", &same);
    let (report, summary) = deploy(&stage, "upgrade", &same);
    assert!(summary.contains("**Changes since revision 1:** nothing\n"), "{summary}");
    assert_eq!(report["changes"]["changed"], json!([]));
    let stages = report["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "checking the request",
            "reading the history",
            "deciding what to do",
            "running helm",
            "settling after helm",
            "finished"
        ]
    );
    let began = |at: usize| stages[at]["beganSeconds"].as_f64().unwrap();
    assert!((1..stages.len()).all(|at| began(at - 1) <= began(at)), "{stages:?}");
    let helm = report["helm"]["seconds"].as_f64().unwrap();
    assert!(began(4) - began(3) >= helm - 0.1, "helm ran {helm} s: {stages:?}");
}

/// What was not well and is now. A deploy that changes nothing costs no look of its own.
fn how_it_fared_before_and_after_is_told(version: Helm) {
    let stage = Stage::new("fared", version);
    Stage::ok(stage.raw("install", &["--set=behavior=never-ready,configs=null"]));
    stage.wait_for_unready(0).unwrap();
    // Pods that take their time: a deploy that is over at once does not look at them.
    let ready = "--set=behavior=ready,configs=null,delay=1s";
    let flags = [ready, "--wait", "--timeout=60s", "--keepalive=10m"];
    let (report, summary) = deploy(&stage, "upgrade", &flags);
    let not_ready =
        json!({"health": "Progressing", "revision": 1, "reasons": ["Deployment/web has 0 of 1 ready"]});
    assert_eq!(report["health"]["before"], not_ready);
    let healthy = |revision: u32| json!({"health": "Healthy", "revision": revision, "reasons": []});
    assert_eq!(report["health"]["after"], healthy(2));
    assert!(summary.contains("**Health:** Progressing → Healthy\n"), "{summary}");
    assert!(summary.contains("- Before: Deployment/web has 0 of 1 ready\n"), "{summary}");

    let looks = || {
        let audit = stage.namespace.audit().unwrap().user_agent("helm-guard/").verb("list").resource("pods");
        audit.events().len()
    };
    let before = looks();
    assert!(before > 0, "it looked after the first");
    let (report, _) = deploy(&stage, "upgrade", &[ready, "--keepalive=10m"]);
    assert_eq!(report["health"], json!({"before": healthy(2), "after": healthy(3)}));
    assert_eq!(looks(), before, "nothing was changed, and nobody looked");
    stage.namespace.kubectl(["delete", "deployment", "web"]).unwrap();
    let (report, _) = deploy(&stage, "upgrade", &flags);
    assert_eq!(report["health"]["before"]["reasons"], json!(["Deployment/web is not there"]));
    assert_eq!(report["health"]["after"]["health"], "Healthy");
}

fn the_timeline_is_drawn(version: Helm) {
    let stage = Stage::new("timeline", version);
    // Pods that take their time make a run that is long enough to be drawn.
    let hooks = ["--set=hooks.pre-install=300ms", "--set=hooks.post-install=300ms"];
    let (report, summary) =
        deploy(&stage, "install", &[&["--wait", "--timeout=60s", "--set=delay=2s"][..], &hooks].concat());
    let chart = summary.split_once("```mermaid\ngantt\n").unwrap().1.split_once("```").unwrap().0;
    let helm = chart.lines().find(|line| line.starts_with("  running helm :00:00:0")).unwrap();
    assert!(helm.contains(", 00:00:"), "{helm}");

    // Helm's run taken apart: one after the other, all within it.
    let phases = report["phases"].as_array().unwrap();
    let names: Vec<&str> = phases.iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["preflight", "hook Job/pre-install", "rollout", "hook Job/post-install"]);
    let stages = report["stages"].as_array().unwrap();
    let began =
        |name: &str| stages.iter().find(|stage| stage["name"] == name).unwrap()["beganSeconds"].clone();
    let mut last = began("running helm").as_f64().unwrap();
    for phase in phases {
        let [from, to] = ["beganSeconds", "endedSeconds"].map(|end| phase[end].as_f64().unwrap());
        assert!(last <= from && from < to, "{phases:?}");
        last = to;
    }
    assert!(last <= began("settling after helm").as_f64().unwrap() + 0.05, "{phases:?}");
    let lasts = |at: usize| {
        phases[at]["endedSeconds"].as_f64().unwrap() - phases[at]["beganSeconds"].as_f64().unwrap()
    };
    assert!(lasts(2) >= 2.0 && lasts(1) >= 0.3 && lasts(3) >= 0.3, "{phases:?}");
    for bar in ["hook Job/pre-install", "rollout", "hook Job/post-install"] {
        assert!(chart.contains(&format!("  {bar} :00:00:0")), "{chart}");
    }
}

crate::with_both_helms!(the_timeline_is_drawn what_a_deploy_changed_is_told_without_values how_it_fared_before_and_after_is_told);
crate::with_either_helm!(V3 a_deploy_that_changes_nothing_says_so_and_when_it_did_what);
