//! Older runs behind newer ones: who is skipped, who gives up its place, and who deploys all the same.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use testbed::tools::Helm;

use crate::{
    lock::lock_id,
    runs::{self, Api, id},
    stage::{Said, Stage, kill},
};

const UPGRADE: [&str; 4] = ["--install", "--wait", "--timeout=60s", "--lock-timeout=60s"];

/// A deploy by run `number`, which reports to `report.json`.
fn deploy(stage: &Stage, number: u64, api: Option<&Api>, more: &[&str]) -> Command {
    let mut command = stage.guard("upgrade", &UPGRADE);
    command.args(more).arg(format!("--report={}", stage.temporary.path().join("report.json").display()));
    runs::github(command, number, api)
}

fn outcome(stage: &Stage) -> String {
    let text = std::fs::read_to_string(stage.temporary.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    report["outcome"].as_str().unwrap().to_owned()
}

/// What the Lease remembers of the one line there is.
fn line(stage: &Stage) -> Value {
    let lease = stage.namespace.kubectl_json(["get", "lease", "helm-guard-web", "-o", "json"]).unwrap();
    let note = &lease["metadata"]["annotations"]["helm-guard.dev/runs"];
    serde_json::from_str::<Value>(note.as_str().unwrap_or("[]")).unwrap()[0].clone()
}

/// Waits until run `number` is put down as the newest, while somebody else has the lock.
fn wait_for_newest(stage: &Stage, number: u64) {
    let is_newest = |lease: &Value| {
        let note = lease["metadata"]["annotations"]["helm-guard.dev/runs"].as_str().unwrap_or("[]");
        let lines: Value = serde_json::from_str(note).unwrap();
        lines[0]["newest"]["number"].as_u64() >= Some(number)
    };
    let lease = ["leases", "helm-guard-web"];
    stage.namespace.watch_until(lease, Duration::from_secs(60), is_newest).unwrap();
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Said {
    child.wait_with_output().unwrap().into()
}

/// Run 7 comes after run 8 has deployed: nothing is touched, all is green, and the newer run is named. Somebody who runs it
/// again, or says so, goes back.
fn an_older_run_is_skipped_and_one_run_again_goes_back(version: Helm) {
    let stage = Stage::new("older", version);
    Stage::ok(deploy(&stage, 8, None, &[]));
    let (deployed, records) = (line(&stage)["deployed"].clone(), stage.records());
    assert_eq!(
        (&deployed["number"], &deployed["commit"]),
        (&8.into(), &"4f1c0d9a7b3e".into()),
        "{deployed:#}"
    );
    assert_eq!(
        (&deployed["actor"], &deployed["operation"]),
        (&"mona".into(), &"upgrade".into()),
        "{deployed:#}"
    );

    let mut skipped = deploy(&stage, 7, None, &[]);
    let files = ["summary", "output"].map(|name| stage.temporary.path().join(name));
    skipped.env("GITHUB_STEP_SUMMARY", &files[0]).env("GITHUB_OUTPUT", &files[1]);
    let text = crate::texts::told(&stage, skipped, 0);
    let [summary, output] = files.map(|file| std::fs::read_to_string(file).unwrap());
    assert!(output.contains("outcome<<") && output.contains("\noutdated\n"), "{output}");
    assert!(summary.contains("⏭️") && summary.contains("run 8"), "{summary}");
    assert_eq!(outcome(&stage), "outdated");
    if version == Helm::V4 {
        crate::texts::hold(version, "outdated", &text);
    }
    let failed = Stage::run(deploy(&stage, 7, None, &["--outdated=fail"]));
    assert_eq!((failed.code, outcome(&stage).as_str()), (Some(78), "outdated"), "{}", failed.err);
    assert_eq!(stage.records(), records);

    let mut again = deploy(&stage, 7, None, &[]);
    again.env("GITHUB_RUN_ATTEMPT", "2");
    Stage::ok(again);
    assert_eq!((outcome(&stage).as_str(), &line(&stage)["deployed"]["number"]), ("deployed", &7.into()));
    // What people see of it.
    let wide = Stage::ok(stage.own(&["lock", "status", "web", "-o", "wide"])).out;
    assert!(wide.contains("DEPLOYED LAST") && wide.contains("upgrade, commit 4f1c0d9a7b3e, at 2"), "{wide}");
    let standing = Stage::ok(stage.own(&["status", "web"])).out;
    assert!(standing.contains("LAST DEPLOY") && standing.contains(" by run 7 (https://"), "{standing}");
    Stage::ok(deploy(&stage, 6, None, &["--outdated=allow"]));
    assert_eq!(outcome(&stage), "deployed");
    let between = Stage::ok(deploy(&stage, 7, None, &[]));
    assert_eq!(outcome(&stage), "outdated", "8 is still newer: {}", between.err);
}

/// Two runs wait for a lock. The older one gives up its place as soon as the newer is known to live; had the newer been
/// cancelled, the older one would deploy.
fn a_waiter_gives_up_its_place_to_a_newer_run_that_lives(version: Helm) {
    let (stage, api) = (Stage::new("place", version), Api::new());
    Stage::ok(stage.own(&["lock", "acquire", "web"]));
    let older = start(deploy(&stage, 7, Some(&api), &[]));
    wait_for_newest(&stage, 7);
    api.github(id(8), "in_progress", None);
    let mut newer = start(deploy(&stage, 8, Some(&api), &["--report=/dev/null"]));
    // It ends although the lock is still taken.
    let older = end(older);
    let is_held = crate::lock::lock(&stage, &[])["state"] == "held";
    kill(&mut newer);
    assert_eq!((older.code, is_held), (Some(0), true), "{}", older.err);
    assert!(older.err.contains("waits to deploy: run 8 (https://ci.example"), "{}", older.err);
    assert_eq!(outcome(&stage), "outdated");
}

/// The newer run came, and was cancelled before its Helm started: the older one deploys, or nobody would.
fn a_newer_run_that_ended_before_its_helm_outdates_nobody(version: Helm) {
    let (stage, api) = (Stage::new("ended", version), Api::new());
    Stage::ok(stage.own(&["lock", "acquire", "web"]));
    let mut newer = start(deploy(&stage, 8, None, &[]));
    wait_for_newest(&stage, 8);
    kill(&mut newer);
    api.github(id(8), "completed", Some("cancelled"));
    Stage::ok(stage.own(&["lock", "release", "web", "--id", &lock_id(&stage)]));
    Stage::ok(deploy(&stage, 7, Some(&api), &[]));
    assert_eq!(outcome(&stage), "deployed");
    let line = line(&stage);
    assert_eq!((&line["newest"]["number"], &line["deployed"]["number"]), (&8.into(), &7.into()), "{line:#}");
}

/// One that gave the lock back without having started its Helm outdates nobody either, and nobody need be asked.
#[test]
fn a_refused_run_outdates_nobody() {
    let stage = Stage::new("refused", Helm::V4);
    stage.ready("install", &[]);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let refused = Stage::run(deploy(&stage, 8, None, &["--set=configs=notalist"]));
    assert_ne!(refused.code, Some(0), "{}", refused.err);
    assert_eq!(line(&stage)["newest"]["ended"], true, "{:#}", line(&stage));
    Stage::ok(deploy(&stage, 7, None, &[]));
    assert_eq!(outcome(&stage), "deployed");
}

/// Nor does one that waited in vain, whatever else its run goes on to do.
#[test]
fn a_run_that_waited_in_vain_outdates_nobody() {
    let (stage, api) = (Stage::new("invain", Helm::V4), Api::new());
    Stage::ok(stage.own(&["lock", "acquire", "web"]));
    api.github(id(8), "in_progress", None);
    let newer = Stage::run(deploy(&stage, 8, Some(&api), &["--lock-timeout=1s"]));
    assert_eq!(newer.code, Some(75), "{}", newer.err);
    Stage::ok(stage.own(&["lock", "release", "web", "--id", &lock_id(&stage)]));
    Stage::ok(deploy(&stage, 7, Some(&api), &[]));
    assert_eq!(outcome(&stage), "deployed");
}

/// Helm was at work when its run was killed: older runs are outdated by it all the same.
#[test]
fn a_newer_run_whose_helm_had_started_outdates_older_ones() {
    let stage = Stage::new("started", Helm::V4);
    stage.ready("install", &[]);
    let mut newer =
        start(deploy(&stage, 8, None, &["--set=behavior=never-ready", crate::stage::SHORT_LIVED]));
    let is_started = |lease: &Value| {
        lease["metadata"]["annotations"]["helm-guard.dev/runs"].as_str().unwrap_or("").contains("started")
    };
    let seen = stage
        .namespace
        .watch_until(["leases", "helm-guard-web"], Duration::from_secs(60), is_started)
        .map(drop);
    kill(&mut newer);
    seen.unwrap();
    let said = Stage::ok(deploy(&stage, 7, None, &[]));
    assert_eq!(outcome(&stage), "outdated", "{}", said.err);
    assert!(said.err.contains("has started its helm"), "{}", said.err);
}

/// Uninstalled by a newer run: the Lease stays, and an older run does not bring the release back.
#[test]
fn an_older_run_does_not_undo_an_uninstall() {
    let stage = Stage::new("gone", Helm::V4);
    Stage::ok(deploy(&stage, 7, None, &[]));
    Stage::ok(runs::github(stage.guard("uninstall", &["--wait"]), 8, None));
    let said = Stage::ok(deploy(&stage, 7, None, &[]));
    assert_eq!(outcome(&stage), "outdated", "{}", said.err);
    assert!(said.err.contains("has uninstalled the release"), "{}", said.err);
    // A person's uninstall forgets nothing either.
    Stage::ok(deploy(&stage, 9, None, &[]));
    Stage::ok(stage.guard("uninstall", &["--wait"]));
    assert_eq!(line(&stage)["deployed"]["number"], 9);
}

/// Runs keep coming while a dead holder has the lock, and each puts itself down on the Lease: that is no sign of life. The one
/// that waits gets the lock when its time has passed.
#[test]
fn arrivals_do_not_keep_a_dead_holder_alive() {
    let stage = Stage::new("stream", Helm::V4);
    runs::dead_lease(&stage, "helm-guard-web", Duration::from_secs(4), &[("operation", "upgrade")]);
    let begun = Instant::now();
    let wait = ["lock", "run", "web", "--lease-duration=4s", "--lock-timeout=60s", "--", "true"];
    let mut waiter = start(stage.own(&wait));
    let mut arrivals = 0;
    let mut newest = Vec::new();
    while waiter.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(40) {
        arrivals += 1;
        let mut arrival =
            deploy(&stage, 100 + arrivals, None, &["--lock-timeout=300ms", "--report=/dev/null"]);
        arrival.arg("--lease-duration=60s");
        Stage::run(arrival);
        newest.push(line(&stage)["newest"]["number"].as_u64());
    }
    let waited = begun.elapsed();
    let said = end(waiter);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("taken over from a dead holder"), "{}", said.err);
    assert!(waited < Duration::from_secs(30), "{waited:?} with {arrivals} arrivals");
    assert!(newest.iter().flatten().count() > 1, "they put themselves down: {newest:?}");
    let written = stage.namespace.audit().unwrap().resource("leases").writes();
    let raised = written.events().iter().filter(|event| {
        event.request_object["spec"]["holderIdentity"] == "dead-helm-guard-web"
            && event.response_status.code == 200
    });
    for event in raised {
        assert_eq!(event.request_object["spec"]["renewTime"], "2026-06-01T10:02:11.000000Z", "{event:?}");
    }
}

/// The workflow's own file is held against the deploy, before anything is waited for.
#[test]
fn the_workflow_s_own_file_is_read() {
    let stage = Stage::new("workflow", Helm::V4);
    let checkout = stage.temporary.path().join("checkout");
    let workflow = checkout.join(".github/workflows/deploy.yml");
    std::fs::create_dir_all(workflow.parent().unwrap()).unwrap();
    let text = "concurrency: {group: a, cancel-in-progress: true}\njobs: {deploy: {timeout-minutes: 1}}";
    std::fs::write(&workflow, text).unwrap();
    let mut command = deploy(&stage, 7, None, &[]);
    command.env("GITHUB_WORKSPACE", &checkout);
    let said = Stage::ok(command);
    for warning in [
        "warning: .github/workflows/deploy.yml says cancel-in-progress: true",
        "warning: job deploy may run for 1m 00s (timeout-minutes), less than the 1m 00s of --lock-timeout and helm's \
         --timeout of 1m 00s",
    ] {
        assert!(said.err.contains(warning), "{}", said.err);
    }
}

/// What a run of a line costs: the newest is put down with the lock itself, what was deployed when it is given back, and the
/// start of Helm is the one more write.
#[test]
fn a_run_of_a_line_writes_its_lease_once_more_than_a_person() {
    let stage = Stage::new("writes", Helm::V4);
    // None of these is a renewal.
    let slow = ["--lease-duration=600s"];
    let count = |command: Command| {
        let before = stage.namespace.audit().unwrap().resource("leases").events().len();
        Stage::ok(command);
        stage.namespace.audit().unwrap().resource("leases").events().len() - before
    };
    let mut person = stage.guard("upgrade", &UPGRADE);
    person.args(slow);
    let first = count(person);
    let ci = count(deploy(&stage, 7, None, &slow));
    assert!(ci <= first + 1, "{ci} requests about the Lease, a person's deploy makes {first}");
}

crate::with_either_helm! {
    V4 an_older_run_is_skipped_and_one_run_again_goes_back
    V3 a_waiter_gives_up_its_place_to_a_newer_run_that_lives
    V4 a_newer_run_that_ended_before_its_helm_outdates_nobody
}
