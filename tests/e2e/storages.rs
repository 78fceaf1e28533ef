//! What is told and done of a release whose records are elsewhere than in Secrets: every command, on one release.

use serde_json::Value;
use testbed::tools::Helm;

use crate::stage::{Said, Stage};

const WAIT: [&str; 2] = ["--wait", "--timeout=60s"];

fn json(stage: &Stage, arguments: &[&str]) -> Value {
    serde_json::from_str(&Stage::ok(stage.own(&[arguments, &["-o", "json"]].concat())).out).unwrap()
}

fn repair(stage: &Stage, more: &[&str]) -> Said {
    Stage::ok(stage.own(&[&["repair", "--yes", "--lease-duration=6s"], more].concat()))
}

/// The release is stuck, and all that it wanted came.
fn stuck_and_arrived(stage: &Stage, more: &[&str]) {
    stage.stick("upgrade", &[more, &["--set=behavior=never-ready"]].concat());
    stage.let_pod_become_ready();
}

fn every_command(stage: &Stage) {
    let name = stage.namespace.name();
    stage.ready("install", &["--set=configs={keep}", "--set-string=env.GOOD=1"]);
    let kept = stage.uids();
    stage.stick("upgrade", &["--set=configs={keep,dead}", "--set=behavior=never-ready"]);

    let told = json(stage, &["diagnose", "web"]);
    assert_eq!(told["status"], "pending-upgrade", "{told:#}");
    assert!(told["pods"].to_string().contains("web-"), "{told:#}");
    let one = json(stage, &["status", "web"]);
    assert_eq!(
        (&one["state"], &one["repair"]["strategy"]),
        (&"stuck".into(), &"mark-failed".into()),
        "{one:#}"
    );
    let listed = json(stage, &["status", "-A", "--health"]);
    let items = listed["items"].as_array().unwrap().iter();
    let [entry] = items.filter(|item| item["namespace"] == name).collect::<Vec<_>>()[..] else {
        panic!("{listed:#}")
    };
    assert_eq!(
        (&entry["state"], &entry["health"]["health"]),
        (&"stuck".into(), &"Stuck".into()),
        "{entry:#}"
    );
    assert_eq!(entry["next"], format!("helm-guard repair web -n {name}"), "{entry:#}");
    let wide = Stage::ok(stage.own(&["status", "--health", "-o", "wide"])).out;
    assert!(wide.contains(" pending-upgrade ") && wide.contains(" Stuck "), "{wide}");

    let back = repair(stage, &["--strategy=rollback"]);
    assert!(back.err.contains("every workload is ready"), "{}", back.err);
    stage.assert_history(&["superseded", "failed", "deployed"]);
    assert_eq!(stage.uids(), kept, "what only the dead revision had is gone");
    assert_eq!(json(stage, &["status", "web"])["health"]["health"], "Healthy");

    let slow = ["--set=configs={keep}", "--set-string=delay=6s", WAIT[0], WAIT[1]];
    let rising = Stage::ok(stage.guard("upgrade", &slow));
    assert!(rising.err.contains("rollout: Deployment/web 1/1 ready"), "{}", rising.err);

    stuck_and_arrived(stage, &["--set-string=env.ADOPTED=1"]);
    // Of all namespaces only where there is a database of its own: the cluster is everybody's.
    let everywhere = if stage.database.is_some() { "-A" } else { "web" };
    let adopted = repair(stage, &[everywhere]);
    assert!(adopted.err.contains("repaired by adopt"), "{}", adopted.err);
    let history = json(stage, &["history", "web"]);
    assert_eq!(history["lastGood"], 5, "{history:#}");
    assert_eq!(history["revisions"][4]["description"], "Upgrade complete (adopted by helm-guard)");

    // All records are lost, and come back; and one of them is put back over what became of it.
    let directory = stage.temporary.path().join("saved");
    let saved = Stage::ok(stage.own(&["backup", "web", "--backup-dir", directory.to_str().unwrap()])).out;
    let bodies = || -> Vec<_> { stage.records().into_iter().map(|(key, _, body)| (key, body)).collect() };
    let before = bodies();
    lose_all(stage);
    assert_eq!(Stage::run(stage.own(&["history", "web"])).code, Some(1));
    damaged_files_restore_nothing(stage, saved.trim());
    Stage::ok(stage.own(&["restore", saved.trim()]));
    assert_eq!(bodies(), before, "byte for byte");
    Stage::ok(stage.guard("rollback", &WAIT));
    assert_ne!(bodies(), before);
    Stage::ok(stage.own(&["restore", saved.trim()]));
    assert_eq!(bodies()[..5], before);

    Stage::ok(stage.guard("uninstall", &["--wait"]));
    assert!(stage.records().is_empty() && stage.uids().is_empty(), "{:?}", stage.uids());
    let elsewhere = if stage.database.is_some() { "secrets,configmaps" } else { "secrets" };
    let elsewhere = stage.namespace.kubectl(["get", elsewhere, "-l", "owner=helm", "-o", "name"]).unwrap();
    assert_eq!(elsewhere, "", "nothing is kept in another place");
}

fn lose_all(stage: &Stage) {
    match &stage.database {
        Some(database) => {
            database.query("DELETE FROM releases_v1; DELETE FROM custom_labels_v1").unwrap();
        }
        None => {
            stage.namespace.kubectl(["delete", "configmaps", "-l", "owner=helm"]).unwrap();
        }
    }
}

/// What is wrong with the file and with which record of it, what to do, and nothing is written, neither records nor a Lease.
fn damaged_files_restore_nothing(stage: &Stage, saved: &str) {
    let leases = || stage.namespace.kubectl(["get", "leases", "-o", "name"]).unwrap();
    let (whole, before) = (std::fs::read_to_string(saved).unwrap(), leases());
    let file = stage.temporary.path().join("damaged.json");
    let second = whole.replacen("web.v2\"", "api.v2\"", 1);
    let mut list: Value = serde_json::from_str(&whole).unwrap();
    let item = &mut list["items"][3];
    let body = if item["body"].is_string() { &mut item["body"] } else { &mut item["data"]["release"] };
    let text = body.as_str().unwrap().to_owned();
    *body = text[..text.len() / 2].into();
    for (text, expected) in [
        (whole[..whole.len() - 9].to_owned(), "not a backup of helm-guard: it is cut off"),
        (second, "record sh.helm.release.v1.api.v2: it is of another release"),
        (list.to_string(), "record sh.helm.release.v1.web.v4: it cannot be read: "),
        ("{}".to_owned(), "not a backup of helm-guard: missing field `items`"),
    ] {
        std::fs::write(&file, text).unwrap();
        let said = Stage::run(stage.own(&["restore", file.to_str().unwrap()]));
        assert_eq!(said.code, Some(77), "{expected}: {}", said.err);
        let place = format!("error: backup {}: {expected}", file.display());
        assert!(said.err.contains(&place) && said.err.contains("; nothing was restored"), "{}", said.err);
        assert!(said.err.contains("hint: take another backup"), "{}", said.err);
        assert!(stage.records().is_empty(), "{expected}");
        assert_eq!(leases(), before, "{expected}");
    }
    let missing = Stage::run(stage.own(&["restore", "/no/such/backup.json"]));
    assert_eq!(missing.code, Some(77), "{}", missing.err);
    assert!(missing.err.contains("backup /no/such/backup.json: No such file"), "{}", missing.err);
}

fn every_command_with_records_in_a_database(version: Helm) {
    every_command(&Stage::in_sql("sqlall", version));
}

fn every_command_with_records_in_config_maps(version: Helm) {
    let mut stage = Stage::new("mapsall", version);
    stage.driver = "configmap";
    every_command(&stage);
}

crate::with_either_helm! {
    V3 every_command_with_records_in_a_database
    V4 every_command_with_records_in_config_maps
}
