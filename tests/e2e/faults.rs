//! What networks and API servers do on a bad day: slow, cut, silent and refused requests, and answers that get lost. A
//! deploy ends well, or fails clean: with a documented exit code, the lock free, and nothing that stops the next deploy.

use std::{
    collections::HashSet,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use testbed::{Cluster, Fate, Gate, Hold, Options, Seen, tools::Helm};

use crate::stage::{SHORT_LIVED, Said, Stage};

fn is_lease(seen: &Seen) -> bool {
    seen.object().starts_with("leases")
}

/// A deploy of which every request meets its fate.
fn through(stage: &Stage, more: &[&str], fate: impl FnMut(&Seen) -> Fate + Send + 'static) -> Said {
    let gate = Gate::with(&stage.namespace, fate).unwrap();
    let mut guard = stage.guard("upgrade", &["--install", "--wait", "--timeout=60s"]);
    Stage::run({
        guard.args(more).env("KUBECONFIG", gate.kubeconfig());
        guard
    })
}

/// Whoever holds the lock.
fn holder(stage: &Stage) -> Option<String> {
    let lease = stage.namespace.kubectl_json(["get", "lease", "helm-guard-web", "-o", "json"]).unwrap();
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

/// Failed or not, it said so, and the next deploy finds nothing in its way.
#[track_caller]
fn is_clean(stage: &Stage, said: &Said) {
    let code = said.code.unwrap_or_default();
    assert!([0, 1, 69, 75, 76, 77].contains(&code), "{code}: {}", said.err);
    if code == 0 {
        stage.assert_deployed();
    }
    let next = Stage::ok(stage.guard("upgrade", &["--install", "--wait", "--timeout=60s"]));
    stage.assert_deployed();
    assert_eq!(holder(stage), None, "{}\n{}", said.err, next.err);
}

/// The answers to the first write of each kind about the lock get lost, though each is done: the claim, a renewal, and the
/// lock's return. The deploy ends well and leaves the lock free.
fn lost_answers_about_the_lock(version: Helm) {
    let stage = Stage::new("lost", version);
    let (mut held, mut vacated) = (0, 0);
    let said = through(&stage, &["--set=hooks.pre-install=3s"], move |seen| {
        if !is_lease(seen) || !seen.is_write() {
            return Fate::Pass;
        }
        let holds = seen.body.windows(14).any(|text| text == b"holderIdentity");
        let nth = if holds { &mut held } else { &mut vacated };
        *nth += 1;
        // The second write is the claim once more.
        if *nth == 1 || *nth == 3 { Fate::Cut(Hold::After) } else { Fate::Pass }
    });
    assert_eq!(said.code, Some(0), "{}", said.err);
    stage.assert_history(&["deployed"]);
    assert_eq!(holder(&stage), None, "{}", said.err);
    assert!(!said.err.contains("dead holder"), "it waited for itself: {}", said.err);
}

/// Every request takes its time, and every fifth one is refused as one too many; Helm and helm-guard come again.
fn a_server_that_is_slow_and_has_too_much_to_do(version: Helm) {
    let stage = Stage::new("busy", version);
    let (mut requests, mut asked) = (0, HashSet::new());
    let said = through(&stage, &[], move |seen| {
        requests += 1;
        // Whichever is the fifth: of helm-guard's own, the first of each kind.
        let first = !seen.user_agent.starts_with("Helm/")
            && asked.insert((seen.method.clone(), seen.object().to_owned()));
        if first || requests % 5 == 0 {
            Fate::Answer(429, Some(1))
        } else {
            Fate::Late(Duration::from_millis(20))
        }
    });
    assert_eq!(said.code, Some(0), "{}", said.err);
    is_clean(&stage, &said);
}

/// The API server restarts while Helm works: all connections break and none is taken, then it answers again.
fn a_restart_in_the_middle(version: Helm) {
    let stage = Stage::new("restart", version);
    stage.ready("install", &[]);
    let (mut writes, mut refused) = (0, 0);
    let said = through(&stage, &["--set=configs={one,two}"], move |seen| {
        writes += u32::from(seen.user_agent.starts_with("Helm/") && seen.is_write());
        let is_down = writes >= 2 && refused < 6;
        refused += u32::from(is_down);
        match (is_down, refused % 2) {
            (false, _) => Fate::Pass,
            (true, 0) => Fate::Answer(503, Some(1)),
            (true, _) => Fate::Cut(Hold::Before),
        }
    });
    is_clean(&stage, &said);
}

/// The API server itself is killed while Helm works, and comes back. On a cluster of its own: others would notice.
#[test]
fn the_api_server_is_restarted() {
    // It ends with this process, as the one that all share.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(&Options::default()).unwrap()));
    for version in Helm::ALL {
        let stage = Stage::on(cluster, "restarted", version);
        stage.ready("install", &[]);
        let flags = ["--wait", "--timeout=60s", "--set=hooks.pre-upgrade=3s", "--lease-duration=15s"];
        let mut guard = stage.guard("upgrade", &flags);
        let guard = guard.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let seen = stage.wait_for_record("pending-upgrade");
        let restarted = cluster.restart_api_server();
        let said = guard.wait_with_output().unwrap().into();
        seen.unwrap();
        restarted.unwrap();
        is_clean(&stage, &said);
    }
}

/// A write of Helm's gets an error of the server's own, done or not.
fn errors_of_the_server(version: Helm) {
    let stage = Stage::new("errors", version);
    stage.ready("install", &[]);
    for (nth, fate) in
        [(1, Fate::Answer(500, None)), (2, Fate::Answer(503, None)), (3, Fate::Cut(Hold::After))]
    {
        let mut writes = 0;
        let said = through(&stage, &["--set=configs={one,two}"], move |seen| {
            writes += u32::from(seen.user_agent.starts_with("Helm/") && seen.is_write());
            let is_hit = writes == nth && seen.is_write() && !is_lease(seen);
            if is_hit { fate } else { Fate::Pass }
        });
        is_clean(&stage, &said);
    }
}

/// From a moment on nothing comes any more, and no connection ends. The lock counts as lost, Helm is stopped, and the run
/// ends by itself; what it left, the next one mends.
fn connections_that_fall_silent(version: Helm) {
    let stage = Stage::new("silent", version);
    stage.ready("install", &[]);
    let is_silent = Arc::new(AtomicBool::new(false));
    let said =
        through(&stage, &["--set=behavior=never-ready", SHORT_LIVED, "--stop-timeout=2s"], move |seen| {
            let helms = seen.user_agent.starts_with("Helm/") && seen.is_write();
            if helms && seen.object().starts_with("deployments") {
                is_silent.store(true, Relaxed);
            }
            if is_silent.load(Relaxed) { Fate::Hold(Hold::After) } else { Fate::Pass }
        });
    assert_eq!(said.code, Some(76), "{}", said.err);
    is_clean(&stage, &said);
}

crate::with_both_helms! { connections_that_fall_silent }
crate::with_either_helm! {
    V3 lost_answers_about_the_lock
    V4 a_server_that_is_slow_and_has_too_much_to_do
    V3 a_restart_in_the_middle
    V4 errors_of_the_server
}
