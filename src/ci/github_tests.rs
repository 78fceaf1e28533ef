use super::{super::desk as desk_of, *};

/// GitHub's own examples and words.
fn published() -> Value {
    serde_json::from_str(include_str!("../../tests/ci/github.json")).unwrap()
}

fn desk() -> Desk {
    let env = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_API_URL", "https://ghes.example/api/v3"),
        ("GITHUB_SERVER_URL", "https://ghes.example"),
        ("GITHUB_REPOSITORY", "octo-org/octo-repo"),
        ("GITHUB_RUN_ID", "30433642"),
        ("GITHUB_RUN_ATTEMPT", "2"),
        ("GITHUB_TOKEN", "s3cr3t"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    desk_of(&env, Proxies::default()).unwrap()
}

fn owner(url: &str, run: &str, attempt: &str, job: &str) -> Owner {
    Owner {
        run_url: url.into(),
        run_id: run.into(),
        run_attempt: attempt.into(),
        job_id: job.into(),
        ..Owner::default()
    }
}

#[test]
fn every_word_of_the_published_description_has_a_meaning() {
    let (published, mut rows) = (published(), Vec::new());
    let words = |name: &str| published[name].as_array().unwrap().clone();
    for status in words("statuses") {
        let conclusions = if status == "completed" { words("conclusions") } else { vec![Value::Null] };
        for conclusion in conclusions {
            let mut body = published["attempt"].clone();
            (body["status"], body["conclusion"]) = (status.clone(), conclusion.clone());
            let answer = read(About::Attempt { run: 30433642, attempt: 1 }, &body);
            rows.push(format!("{status} {conclusion}: {answer:?}").replace("\\\"", "").replace('"', ""));
        }
    }
    insta::assert_snapshot!(rows.join("\n"));
}

#[test]
fn an_answer_about_something_else_tells_nothing() {
    let published = published();
    let (attempt, job) = (&published["attempt"], &published["job"]);
    let over = Answer::Over("success".into());
    let job_of = |run, attempt, job| About::Job { run, attempt, job };
    assert_eq!(read(job_of(29679449, 1, 399444496), job), over);
    for (about, body) in [
        (job_of(29679449, 1, 1), job),
        (job_of(1, 1, 399444496), job),
        (About::Attempt { run: 30433642, attempt: 2 }, attempt),
        (About::Attempt { run: 1, attempt: 1 }, attempt),
        (About::GitLabJob(30433642), attempt),
        (About::Attempt { run: 30433642, attempt: 1 }, &Value::Null),
    ] {
        assert!(matches!(read(about, body), Answer::Unknown(_)), "{about:?}");
    }
    let mut of_another_attempt = job.clone();
    of_another_attempt["run_attempt"] = 2.into();
    assert!(matches!(read(job_of(29679449, 1, 399444496), &of_another_attempt), Answer::Unknown(_)));
    let mut unheard_of = attempt.clone();
    unheard_of["status"] = "resting".into();
    assert!(matches!(read(About::Attempt { run: 30433642, attempt: 1 }, &unheard_of), Answer::Unknown(_)));
}

#[test]
fn only_runs_of_our_own_repository_are_asked_about_and_by_number() {
    const OURS: &str = "https://ghes.example/octo-org/octo-repo/actions/runs/";
    let url = |rest: &str| format!("{OURS}{rest}");
    let asked = |owner: Owner| match desk().question(&owner) {
        Question::Ask(ask) => ask.path,
        Question::Over(of) => format!("over: {of}"),
        Question::Nothing => "-".into(),
    };
    for (why, url, run, attempt, job, path) in [
        ("another run", url("7"), "7", "1", "", "/repos/octo-org/octo-repo/actions/runs/7/attempts/1"),
        (
            "a later attempt",
            url("7/attempts/3"),
            "7",
            "3",
            "",
            "/repos/octo-org/octo-repo/actions/runs/7/attempts/3",
        ),
        ("a job", url("7"), "7", "1", "99", "/repos/octo-org/octo-repo/actions/jobs/99"),
        ("an earlier attempt of ours", url("30433642"), "30433642", "1", "", "over: attempt 2"),
        ("our own attempt", url("30433642/attempts/2"), "30433642", "2", "", "-"),
        (
            "another job of our own attempt",
            url("30433642/attempts/2"),
            "30433642",
            "2",
            "99",
            "/repos/octo-org/octo-repo/actions/jobs/99",
        ),
        (
            "another server",
            "https://evil.example/octo-org/octo-repo/actions/runs/7".into(),
            "7",
            "1",
            "",
            "-",
        ),
        ("another repository", "https://ghes.example/o/r/actions/runs/7".into(), "7", "1", "", "-"),
        ("a page that goes elsewhere", url("7/../../../../evil"), "7", "1", "", "-"),
        ("a number with a tail", url("7?x=y"), "7", "1", "", "-"),
        ("no number", url("+7"), "+7", "1", "", "-"),
        ("two runs", url("7"), "8", "1", "", "-"),
        ("two attempts", url("7"), "7", "2", "", "-"),
        (
            "a job that is no number",
            url("7"),
            "7",
            "1",
            "9/../..",
            "/repos/octo-org/octo-repo/actions/runs/7/attempts/1",
        ),
        ("nothing", String::new(), "", "", "", "-"),
    ] {
        assert_eq!(asked(owner(&url, run, attempt, job)), path, "{why}");
    }
}

#[test]
fn the_token_goes_to_our_own_server_and_into_no_output() {
    let desk = desk();
    assert_eq!(desk.api, "https://ghes.example/api/v3");
    assert_eq!(desk.login.1.reveal(), "Bearer s3cr3t");
    assert!(!format!("{desk:?}").contains("s3cr3t"));
}
