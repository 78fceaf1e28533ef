//! Backups: one before every deploy, and the release comes back from it.

use std::path::PathBuf;

use serde_json::Value;
use testbed::tools::Helm;

use crate::stage::{Said, Stage};

const WAIT: [&str; 2] = ["--wait", "--timeout=60s"];
/// In values, in a Secret and in the environment of a pod.
const CANARY: &str = "canary-5f0c1d7e";

/// The lists of records in the stage's directory of backups, oldest first.
fn backups(stage: &Stage) -> Vec<PathBuf> {
    let prefix = format!("{}.web-", stage.namespace.name());
    let entries = std::fs::read_dir(directory(stage)).into_iter().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(&prefix) && name.ends_with(".json")
        })
        .collect();
    found.sort_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap());
    found
}

fn directory(stage: &Stage) -> PathBuf {
    stage.backups()
}

fn restore(stage: &Stage, file: &std::path::Path) -> Said {
    Stage::run(stage.own(&["restore", file.to_str().unwrap()]))
}

/// All records are gone, and come back as they were: Helm goes on from them.
fn a_release_comes_back_from_the_backup_of_a_healthy_deploy(version: Helm) {
    let stage = Stage::new("backup", version);
    let report = stage.temporary.path().join("report.json");
    let more = ["--install", "--set-string=env.GOOD=1", WAIT[0], WAIT[1]];
    Stage::ok(stage.guard("upgrade", &more));
    assert_eq!(backups(&stage), [] as [PathBuf; 0], "there was nothing yet");
    Stage::ok(stage.guard("upgrade", &["--reuse-values", "--set-string=env.NEW=1", WAIT[0], WAIT[1]]));
    let before = stage.records();
    let mut last = stage.guard("upgrade", &["--set-string=env.BAD=1", WAIT[0], WAIT[1]]);
    last.arg("--report").arg(&report);
    let requests = stage.namespace.audit().unwrap().resource("secrets").verb("list").events().len();
    Stage::ok(last);
    let asked = stage.namespace.audit().unwrap().resource("secrets").verb("list");
    let before_helm =
        asked.events()[requests..].iter().take_while(|event| !event.user_agent.starts_with("Helm/"));
    assert_eq!(before_helm.count(), 1, "records are read once, backup or not");
    let saved = backups(&stage);
    assert_eq!(saved.len(), 2);
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["backup"], saved[1].to_str().unwrap());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&saved[1]).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let manifest = std::fs::read_to_string(saved[1].with_extension("yaml")).unwrap();
    assert!(manifest.contains("kind: Deployment") && manifest.contains("NEW"), "{manifest}");

    // As an artifact would be: in another place, and nothing else is left.
    let artifact = stage.temporary.path().join("downloaded.json");
    std::fs::copy(&saved[1], &artifact).unwrap();
    std::fs::remove_dir_all(directory(&stage)).unwrap();
    stage.namespace.kubectl(["delete", "secret", "-l", "owner=helm"]).unwrap();
    let artifact = artifact.to_str().unwrap();
    let nowhere = Stage::run(stage.own(&["restore", artifact, "--kube-context=nobody"]));
    assert_eq!(nowhere.code, Some(69), "{}", nowhere.err);
    let lock = Stage::ok(stage.own(&["lock", "acquire", "web", "--ttl=5m"])).out;
    let held = Stage::run(stage.own(&["restore", artifact, "--lock-timeout=1s"]));
    assert_eq!(held.code, Some(75), "{}", held.err);
    assert!(held.err.contains("hint: helm-guard unlock web"), "{}", held.err);
    // Under the lock that it was handed it need not wait for it.
    let mut within = stage.own(&["restore", artifact]);
    within.env("HELM_GUARD_LOCK_ID", lock.trim());
    Stage::ok(within);
    Stage::ok(stage.own(&["lock", "release", "web", "--id", lock.trim()]));
    let data = |records: Vec<(String, Value, Value)>| -> Vec<_> {
        records.into_iter().map(|(name, _, data)| (name, data)).collect()
    };
    assert_eq!(data(stage.records()), data(before), "byte for byte");
    stage.assert_deployed();
    stage.ready("rollback", &["2"]);
    // Helm 3 leaves what a revision brought of which it knows no more.
    let env: Vec<String> = stage.env().into_iter().filter(|name| name != "BAD").collect();
    assert_eq!(env, ["FIXED", "GOOD", "NEW"]);
    Stage::ok(stage.guard("upgrade", &["--reuse-values", WAIT[0], WAIT[1]]));
    stage.assert_deployed();
}

/// What is redacted is in no file, and is not pretended to be restored.
fn a_redacted_backup_has_no_secret_and_says_so(version: Helm) {
    let stage = Stage::new("redact", version);
    let secret = format!("--set-string=env.TOKEN={CANARY}");
    stage.ready("install", &[&secret]);
    stage.stick("upgrade", &["--reuse-values", "--set=behavior=never-ready"]);
    let more = ["--backup-redact", "--set=behavior=ready", &secret, WAIT[0], WAIT[1]];
    let said = Stage::ok(stage.guard("upgrade", &more));
    let saved = backups(&stage);
    assert_eq!(saved.len(), 1, "{}", said.err);
    assert!(!said.err.contains(CANARY) && !said.out.contains(CANARY), "{}", said.err);
    for entry in std::fs::read_dir(directory(&stage)).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains(CANARY) && !text.contains("H4sI"), "no secret, and nothing that is packed");
    }
    // The repair is undone from its own copy, which is kept apart.
    let copies = stage.backups().with_file_name("repairs");
    let copy = std::fs::read_dir(&copies).unwrap().next().unwrap().unwrap().path();
    assert!(said.err.contains(copy.to_str().unwrap()), "{}", said.err);

    let name = |revision: u32| format!("sh.helm.release.v1.web.v{revision}");
    let restored = restore(&stage, &saved[0]);
    assert_eq!(restored.code, Some(0), "{}", restored.err);
    assert!(restored.err.contains("this backup is redacted"), "{}", restored.err);
    let status = ["get", "secret", &name(2), "-o", "jsonpath={.metadata.labels.status}"];
    assert_eq!(stage.namespace.kubectl(status).unwrap(), "pending-upgrade");
    stage.namespace.kubectl(["delete", "secret", &name(1)]).unwrap();
    let refused = restore(&stage, &saved[0]);
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    assert!(refused.err.contains("what was redacted is needed for it: revision 1"), "{}", refused.err);
    assert_eq!(stage.records().len(), 2, "nothing was made up");
    let complete = restore(&stage, &copy);
    assert_eq!(complete.code, Some(0), "{}", complete.err);
}

/// The newest ones stay; a directory that cannot be written stops only who asked for it.
#[test]
fn so_many_are_kept() {
    let stage = Stage::new("keep", Helm::V4);
    stage.ready("install", &[]);
    let mut all = Vec::new();
    for _ in 0..3 {
        let path = Stage::ok(stage.own(&["backup", "web", "--backup-keep=2"])).out;
        all.push(PathBuf::from(path.trim()));
    }
    assert_eq!(backups(&stage), all[1..]);
    assert!(!all[0].with_extension("yaml").exists());
    Stage::ok(stage.guard("upgrade", &["--backup-keep=0", WAIT[0], WAIT[1]]));
    assert_eq!(backups(&stage), all[1..], "none was asked for");

    let file = stage.temporary.path().join("file");
    std::fs::write(&file, "").unwrap();
    let before = stage.records();
    let refused = Stage::run(stage.guard("upgrade", &["--backup-dir", file.to_str().unwrap()]));
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    assert_eq!(stage.records(), before);
    std::fs::remove_dir_all(directory(&stage)).unwrap();
    // Nor does the place have room that is used where the user's own has none.
    let instead = format!("helm-guard-backups-{}", nix::unistd::geteuid());
    for place in [directory(&stage), stage.temporary.path().join(instead)] {
        std::fs::write(place, "").unwrap();
    }
    let warned = Stage::ok(stage.guard("upgrade", &WAIT));
    assert!(warned.err.contains("warning: no backup: "), "{}", warned.err);
    assert_eq!(Stage::run(stage.own(&["backup", "nobody"])).code, Some(1));
}

crate::with_both_helms! {
    a_release_comes_back_from_the_backup_of_a_healthy_deploy a_redacted_backup_has_no_secret_and_says_so
}
