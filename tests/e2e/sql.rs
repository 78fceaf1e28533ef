//! Records in a database: what holds for those in Secrets holds for them too, on a real Postgres.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use testbed::tools::Helm;

use crate::{
    lock::lock_id,
    stage::{Said, Stage, kill},
    unlock::deploying,
};

const WAIT: [&str; 2] = ["--wait", "--timeout=60s"];
const CONNECTION: &str = "HELM_DRIVER_SQL_CONNECTION_STRING";
/// No record becomes `deployed` any more.
const REFUSE: &str = "CREATE TRIGGER refuse BEFORE UPDATE ON releases_v1 FOR EACH ROW WHEN (NEW.status = 'deployed') EXECUTE FUNCTION refuse()";
const LIMIT: Duration = Duration::from_secs(60);

fn upgraded(stage: &Stage, value: &str) -> Said {
    let value = format!("--set-string=env.{value}=1");
    Stage::ok(stage.guard("upgrade", &["--install", &value, WAIT[0], WAIT[1]]))
}

fn rows(stage: &Stage, sql: &str) -> Vec<Vec<String>> {
    stage.database.as_ref().unwrap().query(sql).unwrap()
}

fn statuses(stage: &Stage) -> Vec<String> {
    let rows = rows(stage, "SELECT status FROM releases_v1 ORDER BY version");
    rows.into_iter().flatten().collect()
}

fn in_secrets(stage: &Stage) -> String {
    stage.namespace.kubectl(["get", "secrets,configmaps", "-l", "owner=helm", "-o", "name"]).unwrap()
}

/// From an empty database over a dead upgrade to the next deploy; and everything that tells of it.
fn a_release_in_a_database(version: Helm) {
    let stage = Stage::in_sql("sql", version);
    // Helm has made no table yet.
    let said = Stage::ok(stage.own(&["status", "-A"]));
    assert!(said.err.contains("no release in any namespace needs attention"), "{}", said.err);
    assert!(Stage::run(stage.own(&["history", "web"])).err.contains("no release web"));
    upgraded(&stage, "GOOD");
    stage.stick(
        "upgrade",
        &["--set-string=env.DEAD=1", "--set=behavior=never-ready", "--labels=team=a,tier=b"],
    );

    let status = Stage::ok(stage.own(&["status", "web", "-o", "json"]));
    let status: Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!((&status["state"], &status["repair"]["strategy"]), (&"stuck".into(), &"mark-failed".into()));
    let listed = Stage::ok(stage.own(&["status", "-A", "--health", "-o", "json"])).out;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let [entry] = listed["items"].as_array().unwrap().as_slice() else { panic!("{listed:#}") };
    let next = format!("helm-guard repair web -n {}", stage.namespace.name());
    assert_eq!((&entry["storage"], &entry["next"]), (&"sql".into(), &next.as_str().into()), "{entry:#}");
    assert_eq!(entry["health"]["health"], "Stuck", "{entry:#}");
    assert!(entry["ageSeconds"].as_i64().unwrap() < 600, "{entry:#}");

    let said = upgraded(&stage, "NEW");
    assert_eq!(stage.env(), ["FIXED", "NEW"], "{}", said.err);
    stage.assert_history(&["superseded", "failed", "deployed"]);
    assert_eq!(statuses(&stage), ["superseded", "failed", "deployed"], "the column is Helm's label");

    let copy = stage.copy_of_the_repair();
    let history = Stage::ok(stage.own(&["history", "web"])).out;
    assert!(history.ends_with("\nthe last good revision is 3\n"), "{history}");
    let directory = stage.temporary.path().join("saved");
    let saved = Stage::ok(stage.own(&["backup", "web", "--backup-dir", directory.to_str().unwrap()])).out;
    let before = stage.records();
    rows(&stage, "DELETE FROM releases_v1; DELETE FROM custom_labels_v1");
    Stage::ok(stage.own(&["restore", saved.trim()]));
    let bodies = |records: Vec<(String, Value, Value)>| -> Vec<_> {
        records.into_iter().map(|(key, _, body)| (key, body)).collect()
    };
    assert_eq!(bodies(stage.records()), bodies(before), "byte for byte");
    let labels = "SELECT releaseKey, key, value FROM custom_labels_v1 ORDER BY key";
    let of_two = ["team", "tier"].into_iter().zip(["a", "b"]);
    let of_two: Vec<_> =
        of_two.map(|(k, v)| ["sh.helm.release.v1.web.v2", k, v].map(str::to_owned).to_vec()).collect();
    let found: Vec<_> = rows(&stage, labels).into_iter().filter(|row| row[0].ends_with(".v2")).collect();
    assert_eq!(found, of_two);
    Stage::ok(stage.own(&["restore", copy.to_str().unwrap()]));
    assert_eq!(statuses(&stage)[1], "pending-upgrade");
    assert_eq!(in_secrets(&stage), "", "nothing belongs into the cluster");
    Stage::ok(stage.guard("uninstall", &["--wait"]));
    assert_eq!(statuses(&stage), [] as [&str; 0]);
}

/// A first install and a rollback that died.
fn other_dead_operations_in_a_database(version: Helm) {
    let stage = Stage::in_sql("sqldead", version);
    stage.stick("install", &["--set=configs={dead}", "--set=behavior=never-ready"]);
    let said = Stage::ok(stage.guard("install", &["--set=configs={new}", WAIT[0], WAIT[1]]));
    let uids = stage.uids();
    // No clock of the API server's says when a row was written, so nothing is proven to be of the dead install alone.
    assert!(uids.contains_key("ConfigMap/new") && uids.contains_key("ConfigMap/dead"), "{uids:?}");
    assert!(said.err.contains("ConfigMap/dead of the dead install stays"), "{}", said.err);
    stage.assert_history(&["failed", "deployed"]);
    Stage::ok(stage.raw("upgrade", &["--set=behavior=never-ready"]));
    stage.ready("upgrade", &["--set-string=env.TWO=1"]);
    stage.stick("rollback", &["3"]);
    upgraded(&stage, "THREE");
    assert_eq!(stage.env(), ["FIXED", "THREE"]);
    stage.assert_history(&["failed", "superseded", "superseded", "superseded", "failed", "deployed"]);
}

/// A Helm that died in its last save had finished: the order of the two last writes tells it from a rebase that was cut off.
fn the_last_save_that_a_database_refused(version: Helm) {
    let stage = Stage::in_sql("sqllast", version);
    stage.ready("install", &[]);
    rows(
        &stage,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$",
    );
    rows(&stage, REFUSE);
    assert_eq!(Stage::run(stage.raw("upgrade", &["--set-string=env.DONE=1", "--wait"])).code, Some(1));
    assert_eq!(statuses(&stage), ["superseded", "pending-upgrade"]);
    rows(&stage, "DROP TRIGGER refuse ON releases_v1");
    Stage::ok(stage.own(&["repair", "web", "--lease-duration=6s"]));
    assert_eq!(statuses(&stage), ["superseded", "deployed"]);
    // Rows that were put back from a dump are of one transaction and tell no order: then it is no more than dead.
    rows(&stage, REFUSE);
    assert_eq!(Stage::run(stage.raw("upgrade", &["--set-string=env.AGAIN=1", "--wait"])).code, Some(1));
    rows(&stage, "DROP TRIGGER refuse ON releases_v1; UPDATE releases_v1 SET status = status");
    Stage::ok(stage.own(&["repair", "web", "--lease-duration=6s", "--strategy=mark-failed"]));
    assert_eq!(statuses(&stage), ["superseded", "deployed", "failed"]);
}

/// The run is dead: its lock is freed, its record settled.
fn unlock_with_records_in_a_database(version: Helm) {
    let stage = Stage::in_sql("sqlunlock", version);
    let mut guard = deploying(&stage);
    kill(&mut guard);
    Stage::ok(stage.own(&["unlock", "web", "--id", &lock_id(&stage)]));
    assert_eq!(statuses(&stage), ["deployed", "failed"]);
    upgraded(&stage, "NEW");
}

/// A run of CI is killed: the next step of its job is told no database, but the run's state file names it.
fn settle_with_records_in_a_database(version: Helm) {
    let stage = Stage::in_sql("sqlsettle", version);
    stage.ready("install", &[]);
    let directory = tempfile::tempdir().unwrap();
    let mut guard = stage.guard("upgrade", &["--set=behavior=never-ready", "--wait", "--timeout=300s"]);
    guard.env("RUNNER_TEMP", directory.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut guard = guard.spawn().unwrap();
    let seen = stage.wait_for_record("pending-upgrade");
    kill(&mut guard);
    seen.unwrap();
    let mut settle = stage.own(&["settle"]);
    settle.env("RUNNER_TEMP", directory.path()).env_remove(CONNECTION).env_remove("HELM_DRIVER");
    let said = Stage::ok(settle);
    assert_eq!(statuses(&stage), ["deployed", "failed"], "{}", said.err);
    assert!(!said.err.contains(&stage.database.as_ref().unwrap().password), "{}", said.err);
}

/// Somebody changes a record between the look at it and the write.
fn a_row_that_somebody_else_changes(version: Helm) {
    let stage = Stage::in_sql("sqlswap", version);
    stage.ready("install", &[]);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let database = stage.database.clone().unwrap();
    // Not yet seen by others, but who writes the same row has to wait for it.
    let other = database.begin("UPDATE releases_v1 SET createdAt = 1 WHERE version = 2").unwrap();
    let mut repair = stage.own(&["repair", "web", "--lease-duration=20s"]);
    let repair = repair.stdout(Stdio::piped()).stderr(Stdio::piped());
    let repair = repair.spawn().unwrap();
    let waited = other.wait_for_another(LIMIT);
    other.commit().unwrap();
    let said = Said::from(repair.wait_with_output().unwrap());
    waited.unwrap();
    assert_eq!(said.code, Some(1), "{}", said.err);
    let conflict = "record sh.helm.release.v1.web.v2 was changed by another client";
    assert!(said.err.contains(conflict), "{}", said.err);
    assert_eq!(
        rows(&stage, "SELECT createdAt FROM releases_v1 WHERE version = 2"),
        [["1"]],
        "nothing is overwritten"
    );
    Stage::ok(stage.own(&["repair", "web", "--lease-duration=6s"]));
    assert_eq!(statuses(&stage), ["deployed", "failed"]);
}

/// Whatever is wrong with the way to the database: what it is, what to do, and no password.
fn a_database_that_cannot_be_used(version: Helm) {
    let stage = Stage::in_sql("sqlerror", version);
    stage.ready("install", &[]);
    let database = stage.database.clone().unwrap();
    database.query("CREATE ROLE stranger LOGIN PASSWORD 'hunter2'").unwrap();
    let (port, name) = (database.port, &database.name);
    let ca = testbed::Cluster::shared().unwrap().info().dir.join("ca.crt");
    let verified = database.connection_with(&format!("sslmode=verify-full&sslrootcert={}", ca.display()));
    for (connection, code, expected) in [
        (format!("postgres://helm:hunter2@127.0.0.1:{port}/{name}"), 69, "password authentication failed"),
        (format!("postgres://helm:hunter2@127.0.0.1:1/{name}"), 69, "cannot be reached: Connection refused"),
        (format!("host=127.0.0.1 port={port} password=hunter2 user"), 64, "a part of it has no ="),
        (
            format!("postgres://stranger:hunter2@127.0.0.1:{port}/{name}?sslmode=disable"),
            77,
            "row level security hides every row",
        ),
        (database.connection_with("sslmode=verify-full"), 69, "cannot be reached: invalid peer certificate"),
        (
            database.connection_with("sslmode=verify-full&sslrootcert=/none"),
            69,
            "sslrootcert /none: No such file",
        ),
        (verified, 0, ""),
        (database.connection_with("sslmode=require&sslnegotiation=direct"), 0, ""),
        (format!("host=127.0.0.1 port={port} dbname={name} user=helm password={}", database.password), 0, ""),
    ] {
        for arguments in [&["status", "web"][..], &["status", "-A"], &["upgrade", "web", "chart", "--wait"]] {
            if code == 0 && arguments[0] == "upgrade" {
                continue;
            }
            let mut command = stage.own(arguments);
            command.env(CONNECTION, &connection);
            let said = Stage::run(command);
            assert_eq!(said.code, Some(code), "{connection} {arguments:?}: {}", said.err);
            assert!(said.err.contains(expected), "{connection} {arguments:?}: {}", said.err);
            assert!(code == 0 || code == 64 || said.err.contains("hint: "), "{}", said.err);
            assert!(!said.err.contains("hunter2") && !said.out.contains("hunter2"), "{}", said.err);
            assert!(!said.err.contains(&database.password), "{}", said.err);
        }
    }
    assert_eq!(statuses(&stage), ["deployed"]);
}

/// What Helm is bound to fail at is refused with nothing changed, though no fence sees the record.
fn preflight_with_records_in_a_database(version: Helm) {
    let stage = Stage::in_sql("sqlcheck", version);
    stage.ready("install", &[]);
    let before = stage.records();
    // A ConfigMap of this chart has the revision in it, which helm-guard's own rendering does not know. Its name is the same.
    let said = Stage::run(stage.guard("upgrade", &["--set=configs={Not_A_Name}", WAIT[0], WAIT[1]]));
    assert_eq!(said.code, Some(77), "{}", said.err);
    assert_eq!(stage.records(), before);
    upgraded(&stage, "NEW");
}

/// An automatic rollback hides why it was needed: it is looked at before, though no fence sees the record that says so.
fn a_rollback_with_records_in_a_database(version: Helm) {
    let stage = Stage::in_sql("sqlatomic", version);
    stage.ready("install", &[]);
    let atomic = if version == Helm::V3 { "--atomic" } else { "--rollback-on-failure" };
    let said = Stage::run(stage.guard("upgrade", &[atomic, "--set=behavior=crash-loop", "--timeout=8s"]));
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!(statuses(&stage), ["superseded", "failed", "deployed"]);
    let cause = "cause: Deployment/web: container web crashes: exit code 1";
    assert!(said.err.contains(cause), "{}", said.err);
}

crate::with_both_helms! { a_release_in_a_database }
crate::with_either_helm! {
    V3 other_dead_operations_in_a_database
    V4 the_last_save_that_a_database_refused
    V3 unlock_with_records_in_a_database
    V4 settle_with_records_in_a_database
    V4 a_row_that_somebody_else_changes
    V4 a_rollback_with_records_in_a_database
    V3 a_database_that_cannot_be_used
    V4 preflight_with_records_in_a_database
}
