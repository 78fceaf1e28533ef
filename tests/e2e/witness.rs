//! Is the holder alive? What its CI system says of its run, beside what its Lease shows.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use testbed::tools::Helm;
use wiremock::ResponseTemplate;

use crate::{
    runs::{self, Api, attempt, id},
    stage::{Said, Stage, kill},
};

fn report(stage: &Stage) -> Value {
    let text = std::fs::read_to_string(stage.temporary.path().join("report.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// `lock run LEASE -- true` by run 42.
fn lock_run(stage: &Stage, lease: &str, api: &Api) -> Command {
    let name = format!("--lock-name={lease}");
    let run =
        stage.own(&["lock", "run", "web", &name, "--lease-duration=3s", "--lock-timeout=60s", "--", "true"]);
    runs::github(run, 42, Some(api))
}

fn left_by_41(stage: &Stage, lease: &str, duration: u64) {
    let notes = runs::notes(41);
    let notes: Vec<(&str, &str)> = notes.iter().map(|(name, value)| (*name, value.as_str())).collect();
    runs::dead_lease(stage, lease, Duration::from_secs(duration), &notes);
}

/// The runner of a deploy was cancelled and killed. The next run repairs and deploys, long before the Lease runs out.
fn a_finished_run_is_followed_at_once(version: Helm) {
    let (stage, api) = (Stage::new("finished", version), Api::new());
    stage.ready("install", &[]);
    let stuck = ["--set=behavior=never-ready", "--wait", "--lease-duration=300s"];
    let mut guard = runs::github(stage.guard("upgrade", &stuck), 41, None);
    let mut child = guard.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let seen = stage.wait_for_record("pending-upgrade");
    kill(&mut child);
    seen.unwrap();
    api.github(id(41), "completed", Some("cancelled"));

    let file = format!("--report={}", stage.temporary.path().join("report.json").display());
    let next = stage.guard("upgrade", &["--wait", "--timeout=60s", "--lock-timeout=60s", &file]);
    let said = Stage::ok(runs::github(next, 42, Some(&api)));
    stage.assert_deployed();
    let report = report(&stage);
    let waited = report["lock"]["waitedSeconds"].as_f64().unwrap();
    // A hundredth of what its Lease would have lasted, on a machine that may be busy.
    assert!(waited < 3.0, "{waited} s\n{}", said.err);
    assert_eq!(report["lock"]["runOver"], "its CI run is over: cancelled");
    assert_eq!(report["lock"]["takenOver"]["owner"]["runId"], id(41).to_string());
    assert!(said.err.contains("the lock's holder is dead: its CI run is over: cancelled"), "{}", said.err);
    assert_eq!(api.asked(), [attempt(id(41))]);
    assert!(!said.err.contains(runs::TOKEN) && !said.out.contains(runs::TOKEN));
}

/// No permission, a server that is down, slow, busy or odd, and a run that nobody knows: the Lease runs out, and it is said
/// once why that was waited for.
#[test]
fn an_api_that_tells_nothing_is_one_witness_fewer() {
    let (stage, api) = (Stage::new("silent", Helm::V4), Api::new());
    let answers: [(&str, ResponseTemplate, &str); 7] = [
        ("forbidden", ResponseTemplate::new(403), "status 403, the token has no permission"),
        ("unknown", ResponseTemplate::new(404), "status 404, the run is not known"),
        ("down", ResponseTemplate::new(503), "status 503"),
        ("busy", ResponseTemplate::new(429).insert_header("retry-after", "30"), "status 429, too many"),
        ("elsewhere", ResponseTemplate::new(301).insert_header("location", "/x"), "unexpected status 301"),
        ("odd", ResponseTemplate::new(200).set_body_string("<html>"), "the answer is no JSON"),
        ("slow", ResponseTemplate::new(200).set_delay(Duration::from_secs(60)), ""),
    ];
    let apis: Vec<Api> = answers.iter().map(|_| Api::new()).collect();
    drop(api);
    std::thread::scope(|scope| {
        let said: Vec<_> = answers
            .into_iter()
            .zip(&apis)
            .map(|((lease, answer, warning), api)| {
                let stage = &stage;
                scope.spawn(move || {
                    api.says(&attempt(id(41)), answer);
                    left_by_41(stage, lease, 3);
                    let begun = Instant::now();
                    let said = Stage::run(lock_run(stage, lease, api));
                    (lease, warning, said, begun.elapsed())
                })
            })
            .collect();
        for told in said {
            let (lease, warning, said, took) = told.join().unwrap();
            assert_eq!(said.code, Some(0), "{lease}: {}", said.err);
            assert!(
                took >= Duration::from_secs(3),
                "{lease}: it was taken from a holder that may live, after {took:?}"
            );
            assert!(took < Duration::from_secs(30), "{lease}: the API kept it waiting: {took:?}");
            let warnings = said.err.matches("does not tell how other runs are").count();
            assert_eq!(warnings, usize::from(!warning.is_empty()), "{lease}: {}", said.err);
            assert!(said.err.contains(warning), "{lease}: {}", said.err);
            assert!(said.err.contains("taken over from a dead holder"), "{lease}: {}", said.err);
        }
    });
}

/// Nobody listens where the API should be.
#[test]
fn an_api_that_is_not_there_is_one_witness_fewer() {
    let stage = Stage::new("nowhere", Helm::V4);
    left_by_41(&stage, "nowhere", 3);
    let mut command = lock_run(&stage, "nowhere", &Api::new());
    command.env("GITHUB_API_URL", "http://127.0.0.1:1");
    let said = Stage::ok(command);
    assert!(said.err.contains("Connection refused"), "{}", said.err);
}

/// The API says that a run is over, and its process renews all the same: it keeps its lock.
#[test]
fn who_renews_is_alive_whatever_its_ci_system_says() {
    let (stage, api) = (Stage::new("renews", Helm::V4), Api::new());
    let said_of_41 =
        serde_json::json!({"id": id(41), "run_attempt": 1, "status": "completed", "conclusion": "success"});
    // Long enough for a renewal, which comes every 0.6 s.
    let late = ResponseTemplate::new(200).set_body_json(said_of_41).set_delay(Duration::from_secs(2));
    api.says(&attempt(id(41)), late);
    let script = ["lock", "run", "web", "--lease-duration=3s", "--", "sh", "-c", "echo ready; sleep 60"];
    let mut holder = runs::github(stage.own(&script), 41, None);
    let mut holder = holder.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let waiter = stage.own(&["lock", "run", "web", "--lease-duration=3s", "--lock-timeout=8s", "--", "true"]);
    let said = Stage::run(runs::github(waiter, 42, Some(&api)));
    let (lives, _) = (holder.try_wait().unwrap().is_none(), crate::stage::interrupt(&holder));
    holder.wait().unwrap();
    assert_eq!((said.code, lives), (Some(75), true), "{}", said.err);
    assert_eq!(said.err.matches("it counts as alive").count(), 1, "{}", said.err);
}

/// A Lease may name any server: ours alone is asked, and only about runs of our own repository.
#[test]
fn no_server_that_a_lease_names_is_asked() {
    let (stage, api, other) = (Stage::new("foreign", Helm::V4), Api::new(), Api::new());
    let elsewhere = format!("{}/shop/web/actions/runs/{}", other.url(), id(41));
    for (lease, url) in
        [("server", elsewhere.as_str()), ("repository", "https://ci.example/o/r/actions/runs/1041")]
    {
        let run = id(41).to_string();
        let notes = [("run-url", url), ("run-id", &run), ("run-attempt", "1"), ("operation", "upgrade")];
        runs::dead_lease(&stage, lease, Duration::from_secs(3), &notes);
        Stage::ok(lock_run(&stage, lease, &api));
    }
    assert_eq!((api.asked().len(), other.asked().len()), (0, 0));
}

/// An earlier attempt of the same run is over without a question.
#[test]
fn an_earlier_attempt_of_the_same_run_is_followed_at_once() {
    let (stage, api) = (Stage::new("attempts", Helm::V4), Api::new());
    let notes = runs::notes(42);
    let notes: Vec<(&str, &str)> = notes.iter().map(|(name, value)| (*name, value.as_str())).collect();
    runs::dead_lease(&stage, "again", Duration::from_secs(300), &notes);
    let mut again = lock_run(&stage, "again", &api);
    again.env("GITHUB_RUN_ATTEMPT", "2");
    let said = Stage::ok(again);
    assert!(said.err.contains("its CI run is over: this is attempt 2 of it"), "{}", said.err);
    assert_eq!(api.asked().len(), 0);
}

/// One leg of a matrix died, and another waits for its lock: they share run, attempt and key, and not the job's id.
#[test]
fn a_leg_of_our_own_run_that_is_over_is_followed_at_once() {
    let (stage, api) = (Stage::new("legs", Helm::V4), Api::new());
    api.github_job(id(42), 77, "completed", Some("failure"));
    let notes = runs::notes(42);
    let mut notes: Vec<(&str, &str)> = notes.iter().map(|(name, value)| (*name, value.as_str())).collect();
    notes.push(("job-id", "77"));
    runs::dead_lease(&stage, "leg", Duration::from_secs(300), &notes);
    let mut leg = lock_run(&stage, "leg", &api);
    leg.env("HELM_GUARD_JOB_ID", "78");
    let said = Stage::ok(leg);
    assert!(said.err.contains("its CI job is over: failure"), "{}", said.err);
    assert_eq!(api.asked(), ["/repos/shop/web/actions/jobs/77"]);
}

/// GitLab: a finished job, by a list of its pipeline's jobs, which a job's own token may read.
#[test]
fn a_finished_gitlab_job_is_followed_at_once() {
    let (stage, api) = (Stage::new("gitlab", Helm::V4), Api::new());
    api.gitlab(5, 8, "failed");
    let page = "https://ci.example/shop/web/-/jobs/8";
    let notes = [("run-url", page), ("run-id", "5"), ("job-id", "8"), ("operation", "upgrade")];
    runs::dead_lease(&stage, "gitlab", Duration::from_secs(300), &notes);
    let run = stage.own(&["lock", "run", "web", "--lock-name=gitlab", "--lock-timeout=60s", "--", "true"]);
    let said: Said = Stage::ok(runs::gitlab(run, 9, &api));
    assert!(said.err.contains("its CI job is over: failed"), "{}", said.err);
    assert_eq!(api.asked(), ["/projects/42/pipelines/5/jobs"]);
}

crate::with_both_helms! { a_finished_run_is_followed_at_once }
