//! Properties (a) to (e) of a repair, with one and with two dead revisions, client-side and server-side apply.

use testbed::tools::Helm;

use crate::stage::Stage;

/// What a revision has: ConfigMaps, claims, environment.
fn values(configs: &str, env: &str, claims: &str) -> Vec<String> {
    let mut flags = vec![format!("--set=configs={{{configs}}}"), format!("--set=claims={{{claims}}}")];
    if claims.is_empty() {
        flags.pop();
    }
    flags.extend(env.split(',').map(|name| format!("--set-string=env.{name}=1")));
    flags
}

fn properties(version: Helm, server_side: bool, dead: usize) {
    let stage = Stage::new("props", version);
    let apply = format!("--server-side={server_side}");
    let with = |values: &[String], more: &[&str]| -> Vec<String> {
        let mut flags: Vec<String> = values.to_vec();
        flags.extend(["pre", "post"].map(|side| format!("--set=hooks.{side}-upgrade=100ms")));
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        if version == Helm::V4 {
            flags.push(apply.clone());
        }
        flags
    };
    let strs = |flags: &[String]| -> Vec<String> { flags.to_vec() };
    let refs = |flags: &'_ [String]| -> Vec<&'static str> {
        flags.iter().map(|flag| &*Box::leak(flag.clone().into_boxed_str())).collect()
    };
    let good = with(&values("keep,old", "A,OLD", ""), &["--wait"]);
    Stage::ok(stage.raw("install", &refs(&strs(&good))));
    if dead == 2 {
        let first = with(
            &values("keep,older-dead,both", "A,OLDERDEAD", "shared,older-claim"),
            &["--set=behavior=never-ready", "--wait", "--timeout=1s"],
        );
        assert_ne!(Stage::run(stage.raw("upgrade", &refs(&first))).code, Some(0));
    }
    let last =
        with(&values("keep,dead,both", "A,DEAD", "shared,dead-claim"), &["--set=behavior=never-ready"]);
    stage.stick("upgrade", &refs(&last));
    let before = stage.uids();
    assert!(before.contains_key("PersistentVolumeClaim/dead-claim"), "{before:?}");

    let new = with(&values("keep,both,new", "A,NEW", "shared"), &["--wait", "--timeout=60s"]);
    let said = Stage::ok(stage.guard("upgrade", &refs(&new)));

    let after = stage.uids();
    // (a) What is live and wanted keeps its UID. (b), (c) What is not wanted is gone, whoever brought it.
    let names: Vec<&str> = after.keys().map(String::as_str).collect();
    let wanted = [
        "ConfigMap/both",
        "ConfigMap/keep",
        "ConfigMap/new",
        "Deployment/web",
        "PersistentVolumeClaim/shared",
    ];
    assert_eq!(names, wanted, "{}", said.err);
    for (name, uid) in after.iter().filter(|(name, _)| *name != "ConfigMap/new") {
        assert_eq!(Some(uid), before.get(name), "{name} was deleted and made anew");
    }
    assert_eq!(stage.env(), ["A", "FIXED", "NEW"], "{}", said.err);
    // (e) One revision more, and none pending.
    let mut history = vec!["superseded"];
    history.extend(std::iter::repeat_n("failed", dead));
    history.push("deployed");
    stage.assert_history(&history);
    // Afterwards nothing is odd: a plain Helm goes on.
    Stage::ok(stage.raw("upgrade", &refs(&new)));
}

#[test]
fn one_dead_revision_helm3() {
    properties(Helm::V3, false, 1);
}

#[test]
fn two_dead_revisions_helm3() {
    properties(Helm::V3, false, 2);
}

#[test]
fn one_dead_revision_helm4_client_side() {
    properties(Helm::V4, false, 1);
}

#[test]
fn two_dead_revisions_helm4_client_side() {
    properties(Helm::V4, false, 2);
}

#[test]
fn one_dead_revision_helm4_server_side() {
    properties(Helm::V4, true, 1);
}

#[test]
fn two_dead_revisions_helm4_server_side() {
    properties(Helm::V4, true, 2);
}

/// (d) Reused values are those of the last good revision, and what the dead one was lent is returned.
fn reused_values_are_the_last_good_ones(version: Helm) {
    for reuse in ["--reuse-values", "--reset-then-reuse-values", "--wait"] {
        let stage = Stage::new("reuse", version);
        stage.ready("install", &["--set-string=env.GOOD=1"]);
        stage.stick("upgrade", &["--set-string=env.DEAD=1", "--set=behavior=never-ready"]);
        Stage::ok(stage.guard("upgrade", &[reuse, "--timeout=60s"]));
        assert_eq!(stage.env(), ["FIXED", "GOOD"], "{reuse}");
        stage.assert_history(&["superseded", "failed", "deployed"]);
        let mut get = std::process::Command::new(&stage.helm);
        get.args(["get", "values", "web", "--revision=2"]).env("KUBECONFIG", stage.namespace.kubeconfig());
        let values = Stage::ok(get).out;
        assert!(values.contains("DEAD") && !values.contains("GOOD"), "{values}");
    }
}

/// (d) An automatic rollback goes to the last good revision.
fn an_automatic_rollback_sees_the_last_good_revision(version: Helm) {
    let stage = Stage::new("atomic", version);
    stage.ready("install", &["--set-string=env.GOOD=1"]);
    stage.stick("upgrade", &["--set-string=env.DEAD=1", "--set=behavior=never-ready"]);
    let atomic = if version == Helm::V3 { "--atomic" } else { "--rollback-on-failure" };
    let said =
        Stage::run(stage.guard(
            "upgrade",
            &[atomic, "--set-string=env.NEW=1", "--set=behavior=crash-loop", "--timeout=10s"],
        ));
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!(stage.env(), ["FIXED", "GOOD"], "{}", said.err);
    stage.assert_history(&["superseded", "failed", "failed", "deployed"]);
}

crate::with_both_helms! { reused_values_are_the_last_good_ones an_automatic_rollback_sees_the_last_good_revision }
