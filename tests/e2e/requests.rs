//! How often the API server is asked: a guarded deploy asks less than Helm alone, because Helm's repeated reads are answered
//! where the answer is known, and what is not asked twice is still found.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use testbed::{Event, Fate, Gate, Relay, tools::Helm};

use crate::stage::{QUICK, Stage, UNVALIDATED, kill};

fn mixed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/charts/mixed")
}

/// The chart of many kinds without its CRD, which would be everybody's.
fn flags<'a>(parts: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--set=custom=false", "--skip-crds", UNVALIDATED, parts], more].concat()
}

fn guarded(stage: &Stage, flags: &[&str]) -> Command {
    let mut guard = stage.own(&["upgrade", "web"]);
    guard.arg(mixed()).args(QUICK).args(flags);
    guard
}

/// What a command asks of the API server about its namespace; of the lock, that is renewed while a deploy lasts, not.
fn asked(stage: &Stage, command: Command) -> Vec<Event> {
    let events = || stage.namespace.audit().unwrap().user("admin");
    let before = events().events().len();
    Stage::ok(command);
    let events = events();
    let new = events.events().iter().skip(before);
    new.filter(|event| event.object_ref.resource != "leases").cloned().collect()
}

fn count(events: &[Event], of: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| of(event)).count()
}

fn is_own(event: &Event) -> bool {
    event.user_agent.starts_with("helm-guard/")
}

/// Objects that are as they were cost no dry run each, and Helm's reads of one object behind the other one request.
fn an_upgrade_of_one_object_of_sixty_asks_less_than_helm_alone(version: Helm) {
    let stage = Stage::new("sixty", version);
    let sixty = "--set=parts=5";
    Stage::ok(stage.raw_with("install", &mixed(), &flags(sixty, &[])));
    let raw = asked(&stage, stage.raw_with("upgrade", &mixed(), &flags(sixty, &["--set-string=one=1"])));
    let guarded = asked(&stage, guarded(&stage, &flags(sixty, &["--set-string=one=2"])));
    let told = || {
        let lines =
            guarded.iter().map(|event| format!("{} {} {}", event.user_agent, event.verb, event.request_uri));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert!(raw.len() > 110, "{}", raw.len());
    assert!(guarded.len() < raw.len(), "{} and {}:\n{}", guarded.len(), raw.len(), told());
    let own = count(&guarded, is_own);
    assert!(own <= 45, "{own}:\n{}", told());
    let dry_runs = count(&guarded, |event| event.request_uri.contains("dryRun=All"));
    assert!((1..=14).contains(&dry_runs), "{dry_runs}:\n{}", told());
    // Helm reads each object at most once.
    let reads = count(&guarded, |event| event.verb == "get" && !is_own(event));
    assert!(reads <= 62, "{reads}:\n{}", told());
    // And does what it does.
    let build = ["get", "configmap", "web-part-0", "-o", "jsonpath={.data.build}"];
    assert_eq!(stage.namespace.kubectl(build).unwrap().trim(), "2");
}

/// An object that does not change, but that somebody has written to since: Helm's apply would fail at it.
fn an_unchanged_object_that_another_manager_has_taken_is_asked_about(version: Helm) {
    let stage = Stage::new("taken", version);
    let ten = "--set=parts=1";
    Stage::ok(stage.raw_with("install", &mixed(), &flags(ten, &[])));
    let patch = r#"{"data":{"LEVEL":"debug"}}"#;
    let other =
        ["patch", "configmap", "web-part-0-settings", "--field-manager=other", "--type=merge", "-p", patch];
    stage.namespace.kubectl(other).unwrap();
    let records = stage.records();
    let said = Stage::run(guarded(&stage, &flags(ten, &["--set-string=one=1"])));
    assert_eq!(said.code, Some(77), "{}", said.err);
    assert!(said.err.contains("ConfigMap/web-part-0-settings"), "{}", said.err);
    assert_eq!(stage.records(), records, "{}", said.err);
}

/// A first install is told what is not there from lists, which are a moment old when its record comes. What somebody else creates
/// in that moment is found by a later look, and nothing is changed.
fn an_object_that_appears_after_the_lists_is_not_taken(version: Helm) {
    let stage = Stage::new("appears", version);
    let (create, asked) = (stage.namespace.name().to_owned(), Arc::new(Mutex::new(Vec::new())));
    let (mut is_there, seen_by) = (false, asked.clone());
    let cluster = stage.namespace.cluster();
    let gate = Gate::with(&stage.namespace, move |seen| {
        let is_about = seen.object().starts_with("configmaps");
        if is_about {
            seen_by.lock().unwrap().push(format!("{} {} {}", seen.user_agent, seen.method, seen.uri));
        }
        // The preflight asks: Helm has read all that it reads.
        let asks = is_about && !seen.user_agent.starts_with("Helm/") && seen.is_write();
        if asks && !is_there {
            is_there = true;
            cluster
                .kubectl(["create", "configmap", "keep", "--from-literal=a=theirs", "-n", &create])
                .unwrap();
        }
        Fate::Pass
    })
    .unwrap();
    let mut guard = stage.guard("upgrade", &["--install", "--set=configs={keep}", "--wait", "--timeout=60s"]);
    guard.env("KUBECONFIG", gate.kubeconfig());
    let said = Stage::run(guard);
    let asked = asked.lock().unwrap().join("\n");
    assert_ne!(said.code, Some(0), "{}\n{asked}", said.err);
    assert!(said.err.contains("another client created /api"), "{}\n{asked}", said.err);
    assert!(said.err.contains("/configmaps/keep while helm started"), "{}\n{asked}", said.err);
    let helms_own = asked.lines().filter(|line| line.starts_with("Helm/"));
    assert_eq!(helms_own.count(), 0, "the list answered it: {asked}");
    let theirs = ["get", "configmap", "keep", "-o", "jsonpath={.data.a}"];
    assert_eq!(stage.namespace.kubectl(theirs).unwrap(), "theirs");
    assert_eq!(stage.records().len(), 0, "nothing was changed: {}", said.err);
    assert_eq!(stage.generation(), 0, "{}", said.err);
    // From now on it is Helm's to refuse.
    let again = Stage::run(stage.guard("upgrade", &["--install", "--set=configs={keep}", "--wait"]));
    assert_ne!(again.code, Some(0), "{}", again.err);
    assert!(again.err.contains("ConfigMap/keep"), "{}", again.err);
}

/// Collections are listed; a dry run is asked for only where somebody else has written.
fn the_status_of_three_hundred_objects_takes_a_few_requests(version: Helm) {
    let stage = Stage::new("hundreds", version);
    let names: Vec<String> = (1..300).map(|number| format!("settings-{number}")).collect();
    let configs = format!("--set=configs={{{}}}", names.join(","));
    Stage::ok(stage.raw("install", &[&configs, "--wait"]));
    let status = || {
        let mut status = stage.own(&["status", "web", "-o", "json"]);
        status.args(["-n", stage.namespace.name()]);
        status
    };
    let asked = asked(&stage, status());
    assert!(asked.len() <= 25, "{}", asked.len());
    let health = || {
        let said: Value = serde_json::from_str(&Stage::ok(status()).out).unwrap();
        said["health"].clone()
    };
    assert_eq!(health()["health"], "Healthy", "{:#}", health());
    let patch = r#"{"data":{"revision":"edited"}}"#;
    stage.namespace.kubectl(["patch", "configmap", "settings-77", "--type=merge", "-p", patch]).unwrap();
    stage.namespace.kubectl(["delete", "configmap", "settings-78"]).unwrap();
    let health = health();
    assert_eq!(health["health"], "Missing", "{health:#}");
    let reasons = health["reasons"].to_string();
    for reason in ["ConfigMap/settings-78 is not there", "ConfigMap/settings-77 differs in .data.revision"] {
        assert!(reasons.contains(reason), "{reasons}");
    }
}

/// All requests but those of the lock may share a connection. When it goes silent, the lock is renewed all the same, for
/// longer than it is believed without.
fn connections_that_go_silent_do_not_cost_the_lock(version: Helm) {
    let stage = Stage::new("silent", version);
    let relay = Relay::open(stage.namespace.kubeconfig(), Duration::ZERO).unwrap();
    let mut guard = stage.guard("install", &["--wait", "--timeout=300s", "--set=delay=10m"]);
    guard.env("KUBECONFIG", relay.kubeconfig()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut guard = guard.spawn().unwrap();
    let waits = stage.wait_for_unready(0);
    relay.silence();
    let (mut holder, mut renewals) = (Value::Null, BTreeSet::new());
    let renewed =
        stage.namespace.watch_until(["lease", "helm-guard-web"], Duration::from_secs(60), |lease| {
            if holder.is_null() {
                holder = lease["spec"]["holderIdentity"].clone();
            }
            if holder == lease["spec"]["holderIdentity"] {
                renewals.insert(lease["spec"]["renewTime"].as_str().unwrap_or_default().to_owned());
            }
            // Each a fifth of the lease duration after the other.
            renewals.len() > 10
        });
    let ended = guard.try_wait().unwrap();
    kill(&mut guard);
    waits.unwrap();
    renewed.unwrap();
    assert_eq!(ended, None, "it still waits");
}

crate::with_both_helms! {
    an_upgrade_of_one_object_of_sixty_asks_less_than_helm_alone
}
crate::with_either_helm! {
    V3 an_object_that_appears_after_the_lists_is_not_taken
    V4 connections_that_go_silent_do_not_cost_the_lock
    V4 an_unchanged_object_that_another_manager_has_taken_is_asked_about
    V4 the_status_of_three_hundred_objects_takes_a_few_requests
}
