//! Adoption: a revision whose Helm died is marked deployed, if all its objects exist and are ready; else it says
//! why not. Where Helm dies is chosen at a gate in front of the API server.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use helm_guard::release::codec;
use serde_json::Value;
use testbed::{Gate, Hold, Seen, tools::Helm};

use crate::{
    stage::{Said, Stage, kill},
    sweep::{Window, at, is_helm, start},
    texts::{hold, told},
    unlock::at_a_terminal,
};

const LIMIT: Duration = Duration::from_secs(60);

const HEALTHY: [&str; 2] = ["--wait", "--timeout=60s"];

fn repair(stage: &Stage, more: &[&str]) -> Said {
    let mut command = stage.own(&["repair", "web", "--lease-duration=6s"]);
    command.args(more);
    Stage::run(command)
}

/// Helm starts, and dies at the chosen request.
fn dies(
    stage: &Stage,
    command: &str,
    more: &[&str],
    choose: impl FnMut(&Seen) -> Option<Hold> + Send + 'static,
) {
    let gate = Gate::open(&stage.namespace, choose).unwrap();
    let mut helm = stage.raw(command, more);
    helm.args(HEALTHY);
    let mut child = start(helm, gate.kubeconfig());
    let held = gate.wait(LIMIT);
    kill(&mut child);
    drop(gate);
    held.unwrap();
}

/// What is on its way arrives: the rollout, and the Jobs of hooks that began.
fn arrives(stage: &Stage) {
    stage.namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=60s"]).unwrap();
    let jobs = stage.namespace.kubectl(["get", "jobs", "-o", "name"]).unwrap();
    for job in jobs.split_whitespace() {
        stage.namespace.kubectl(["wait", "--for=condition=complete", job, "--timeout=60s"]).unwrap();
    }
}

/// The strategy that a dry run of an adoption tells, or why it would be refused.
fn asked(stage: &Stage) -> Result<String, String> {
    let before = stage.records();
    let said = repair(stage, &["--strategy=adopt", "--dry-run", "-o", "json"]);
    let shown: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(stage.records(), before, "a dry run writes nothing");
    let text = |name: &str| shown["repair"][name].as_str().unwrap().to_owned();
    match said.code {
        Some(0) => Ok(text("strategy")),
        Some(77) => Err(text("why")),
        code => panic!("{code:?}: {}", said.err),
    }
}

/// Refused, with nothing changed, for these reasons and no others.
#[track_caller]
fn refused(stage: &Stage, reasons: &[&str]) {
    let why = asked(stage).unwrap_err();
    let told = why.split_once("cannot be adopted: ").unwrap().1;
    for (told, reason) in told.split("; ").zip(reasons) {
        assert!(told.starts_with(reason), "{reason}: {why}");
    }
    assert_eq!(told.split("; ").count(), reasons.len(), "{why}");
}

fn at_the_delete_of_the_old(seen: &Seen) -> Option<Hold> {
    (is_helm(seen) && seen.method == "DELETE" && seen.object() == "configmaps/old").then_some(Hold::Before)
}

const OLD: [&str; 2] = ["--set=configs={keep,old}", "--set-string=env.OLD=1"];
const NEW: [&str; 2] = ["--set=configs={keep,new}", "--set-string=env.NEW=1"];
const HOOKS: [&str; 2] = ["--set=hooks.pre-upgrade=300ms", "--set=hooks.post-upgrade=300ms"];

/// A release of which an upgrade died there, with all arrived that was on its way.
fn dead(version: Helm, hooks: bool, choose: impl FnMut(&Seen) -> Option<Hold> + Send + 'static) -> Stage {
    let stage = Stage::new("adopt", version);
    stage.ready("install", &OLD);
    let hooks = if hooks { &HOOKS[..] } else { &[] };
    dies(&stage, "upgrade", &[&NEW[..], hooks].concat(), choose);
    arrives(&stage);
    stage
}

/// Each moment of Helm's death, as late as all but its last save is done.
fn it_is_adopted_only_when_all_was_done(version: Helm) {
    let early = dead(version, false, at(Window::Apply, 0));
    refused(
        &early,
        &[
            "ConfigMap/keep differs in .data.revision",
            "ConfigMap/new is not there",
            "Deployment/web differs in .spec.template.spec.containers[0].env",
            "ConfigMap/old of an older revision is left",
        ],
    );
    let in_a_hook = dead(version, true, at(Window::PreHook, 0));
    let why = asked(&in_a_hook).unwrap_err();
    assert!(
        why.contains("ConfigMap/new is not there") && why.ends_with("hook Job/post-upgrade has not run"),
        "{why}"
    );
    let late = dead(version, false, at_the_delete_of_the_old);
    refused(&late, &["ConfigMap/old of an older revision is left"]);
    let waiting = dead(version, true, at(Window::Wait, 0));
    refused(&waiting, &["hook Job/post-upgrade has not run"]);
    // It was refused, so nothing else is done either.
    let said = repair(&waiting, &["--strategy=adopt"]);
    assert_eq!(said.code, Some(77), "{}", said.err);
    waiting.assert_history(&["deployed", "pending-upgrade"]);
    // By default it is marked, and told why.
    let marked = repair(&waiting, &[]);
    assert_eq!(marked.code, Some(0), "{}", marked.err);
    assert!(marked.err.contains("(not adopted: hook Job/post-upgrade has not run)"), "{}", marked.err);
    waiting.assert_history(&["deployed", "failed"]);

    for (hooks, window) in [(false, Window::Wait), (true, Window::PostHook), (true, Window::FirstSave)] {
        let stage = dead(version, hooks, at(window, 0));
        assert_eq!(asked(&stage), Ok("adopt".to_owned()), "{window:?}");
        let kept = stage.uids();
        let said = repair(&stage, &[]);
        assert_eq!(said.code, Some(0), "{window:?}: {}", said.err);
        stage.assert_history(&["superseded", "deployed"]);
        assert_eq!(stage.uids(), kept, "{window:?}: nothing that lives is touched");
    }
    let saved = dead(version, true, at(Window::LastSave, 0));
    assert_eq!(asked(&saved), Ok("mark-deployed".to_owned()));
}

/// Labels and body of the records, with the times and places that no two runs share left out.
fn bodies(stage: &Stage) -> Vec<String> {
    let list = stage.namespace.kubectl_json(["get", "secrets", "-l", "owner=helm", "-o", "json"]).unwrap();
    let times = regex::Regex::new(r#""\d{4}-\d\d-\d\dT[^"]*""#).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| {
            let labels = item["metadata"]["labels"].as_object().unwrap();
            let kept = labels.iter().filter(|(name, _)| !name.ends_with("At"));
            let payload = STANDARD.decode(item["data"]["release"].as_str().unwrap()).unwrap();
            let body = String::from_utf8(codec::decode(&payload).unwrap()).unwrap();
            let body = times.replace_all(&body, "\"[TIME]\"").replace(stage.namespace.name(), "[NAMESPACE]");
            format!("{:?} {body}", kept.collect::<Vec<_>>())
        })
        .collect()
}

/// Byte for byte what Helm would have saved, but for who says so; and what Helm does next it does as ever.
fn the_records_are_those_of_a_helm_that_lived(version: Helm) {
    let stage = dead(version, false, at(Window::Wait, 0));
    let dry = stage.own(&["repair", "web", "--dry-run", "--strategy=adopt"]);
    hold(version, "dry_run_of_an_adoption", &told(&stage, dry, 0));
    hold(version, "adoption", &told(&stage, stage.own(&["repair", "web", "--strategy=adopt"]), 0));
    let other = Stage::new("lived", version);
    other.ready("install", &OLD);
    other.ready("upgrade", &NEW);
    let adopted: Vec<String> =
        bodies(&stage).iter().map(|body| body.replace(" (adopted by helm-guard)", "")).collect();
    assert_eq!(adopted, bodies(&other));
    assert!(bodies(&stage)[1].contains("Upgrade complete (adopted by helm-guard)"));
    let copy = std::fs::read_to_string(stage.copy_of_the_repair()).unwrap();
    assert_eq!(copy.matches("\"sh.helm.release.v1.web.v").count(), 2, "both records were saved first");

    assert!(Stage::ok(stage.raw("status", &[])).out.contains("STATUS: deployed"));
    stage.ready("upgrade", &["--set=configs={keep,third}"]);
    assert_eq!(
        stage.uids().keys().map(String::as_str).collect::<Vec<_>>(),
        ["ConfigMap/keep", "ConfigMap/third", "Deployment/web"]
    );
    assert_eq!(stage.env(), ["FIXED"], "what the adopted revision had is gone");
    // Back to it, and from there on to before it.
    stage.ready("rollback", &["2"]);
    assert_eq!(stage.env(), ["FIXED", "NEW"]);
    stage.ready("rollback", &["1"]);
    assert_eq!(stage.env(), ["FIXED", "OLD"]);
    stage.assert_history(&["superseded", "superseded", "superseded", "superseded", "deployed"]);
}

/// What lives decides, and a person at the terminal is offered what fits.
fn what_lives_decides(version: Helm) {
    let stage = Stage::new("lives", version);
    stage.ready("install", &OLD);
    stage.stick("upgrade", &[&NEW[..], &["--set=behavior=never-ready"]].concat());
    refused(&stage, &["Deployment/web is not ready: "]);
    stage.let_pod_become_ready();
    stage
        .namespace
        .kubectl(["patch", "configmap", "new", "-p", r#"{"data":{"revision":"hunter2"}}"#])
        .unwrap();
    let drifted = if version == Helm::V3 {
        "ConfigMap/new differs in .data.revision"
    } else {
        "ConfigMap/new could not be compared: another manager owns fields of it"
    };
    refused(&stage, &[drifted]);
    stage.namespace.kubectl(["patch", "configmap", "new", "-p", r#"{"data":{"revision":"2"}}"#]).unwrap();
    stage.namespace.kubectl(["scale", "deployment/web", "--replicas=0"]).unwrap();
    stage.namespace.kubectl(["scale", "deployment/web", "--replicas=1"]).unwrap();
    let keys = "\r";
    let screen =
        |answers: &[(&str, &str)]| at_a_terminal(stage.own(&["repair", "--lease-duration=6s"]), answers);
    let (_, shown) = screen(&[("1 of 1: web", ""), ("stop here", "\u{3}")]);
    assert!(shown.contains("it cannot be adopted: Deployment/web is not ready: "), "{shown}");
    stage.let_pod_become_ready();
    let (code, shown) = screen(&[("1 of 1: web", ""), ("stop here", keys)]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("adopt: revision 1 → superseded, revision 2 → deployed"), "{shown}");
    stage.assert_history(&["superseded", "deployed"]);
}

/// A field that is only taken away is seen by no look at what is wanted: who applied it tells.
fn a_removal_that_was_not_applied_is_missed(version: Helm) {
    let ways = match version {
        Helm::V3 => vec![("", "", "differs in .spec.template.spec.containers[0].env")],
        Helm::V4 => vec![
            ("--server-side=true", "--server-side=true", "differs in .spec.template.spec.containers[0].env"),
            (
                "--server-side=false",
                "--server-side=false",
                "differs in .spec.template.spec.containers[0].env",
            ),
            ("--server-side=false", "--server-side=true", "was not applied as this revision has it"),
        ],
    };
    for (first, then, reason) in ways {
        let stage = Stage::new("removal", version);
        let flags = |server_side: &'static str, more: &[&'static str]| {
            let flags = [&["--set-json=configs=[]"][..], more].concat();
            flags.into_iter().chain(Some(server_side).filter(|flag| !flag.is_empty())).collect::<Vec<_>>()
        };
        stage.ready("install", &flags(first, &["--set-string=env.OLD=1"]));
        dies(&stage, "upgrade", &flags(then, &[]), at(Window::Apply, 0));
        arrives(&stage);
        refused(&stage, &[&format!("Deployment/web {reason}")]);
        assert_eq!(stage.env(), ["FIXED", "OLD"]);
    }
}

/// The other operations; and a deploy that adopts first.
fn an_install_a_rollback_and_a_deploy(version: Helm) {
    let stage = Stage::new("others", version);
    stage.stick("install", &[&OLD[..], &["--set=behavior=never-ready"]].concat());
    stage.let_pod_become_ready();
    Stage::ok(stage.own(&["repair", "web", "--strategy=adopt"]));
    stage.ready("upgrade", &NEW);
    stage.stick("rollback", &["1"]);
    stage.let_pod_become_ready();
    Stage::ok(stage.own(&["repair", "web", "--strategy=adopt"]));
    stage.assert_history(&["superseded", "superseded", "deployed"]);
    let rows: Value = serde_json::from_str(&Stage::ok(stage.raw("history", &["-o=json"])).out).unwrap();
    let told = ["Install complete (adopted by helm-guard)", "Upgrade complete", "Rollback to 1"];
    assert_eq!(rows.as_array().unwrap().iter().map(|row| &row["description"]).collect::<Vec<_>>(), told);

    stage.stick("upgrade", &[&NEW[..], &["--set=behavior=never-ready"]].concat());
    let before = stage.records();
    let said = Stage::run(stage.guard("upgrade", &["--repair=adopt", "--wait", "--timeout=60s"]));
    assert_eq!(said.code, Some(77), "{}", said.err);
    assert!(said.err.contains("revision 4 cannot be adopted: Deployment/web is not ready: "), "{}", said.err);
    assert_eq!(stage.records(), before);
    Stage::ok(stage.guard("upgrade", &["--set=behavior=ready", "--wait", "--timeout=60s"]));
    stage.stick("upgrade", &[&NEW[..], &["--set=behavior=never-ready"]].concat());
    stage.let_pod_become_ready();
    Stage::ok(stage.guard("upgrade", &["--repair=adopt", "--set=configs={last}", "--wait", "--timeout=60s"]));
    stage.assert_history(&[
        "superseded",
        "superseded",
        "superseded",
        "failed",
        "superseded",
        "superseded",
        "deployed",
    ]);
    // What Helm itself gave up is adopted for who asks for it.
    let late = ["--set-string=delay=4s", "--wait", "--timeout=1s"];
    assert_eq!(Stage::run(stage.raw("upgrade", &late)).code, Some(1));
    arrives(&stage);
    assert_eq!(repair(&stage, &[]).code, Some(0));
    assert_eq!(stage.history().last().unwrap().1, "failed", "by default it stays what Helm says");
    Stage::ok(stage.own(&["repair", "web", "--strategy=adopt"]));
    stage.assert_deployed();
}

crate::with_both_helms! {
    it_is_adopted_only_when_all_was_done the_records_are_those_of_a_helm_that_lived what_lives_decides
    a_removal_that_was_not_applied_is_missed an_install_a_rollback_and_a_deploy
}
