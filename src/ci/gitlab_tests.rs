use super::{super::desk as desk_of, *};

fn published() -> Value {
    serde_json::from_str(include_str!("../../tests/ci/gitlab.json")).unwrap()
}

fn desk(more: &[(&str, &str)]) -> Option<Desk> {
    let env = [
        ("GITLAB_CI", "true"),
        ("CI_API_V4_URL", "https://gitlab.example/api/v4"),
        ("CI_PROJECT_ID", "42"),
        ("CI_JOB_ID", "9"),
        ("CI_JOB_URL", "https://gitlab.example/foo/bar/-/jobs/9"),
    ];
    let env = env.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    desk_of(&env.collect(), Proxies::default())
}

#[test]
fn every_word_of_the_published_description_has_a_meaning() {
    let (published, mut rows) = (published(), Vec::new());
    let finished: Timestamp = published["job"]["finished_at"].as_str().unwrap().parse().unwrap();
    for status in published["statuses"].as_array().unwrap() {
        for (when, after) in [("at once", Some(1)), ("later", Some(61)), ("without a date", None)] {
            let mut body = published["job"].clone();
            body["status"] = status.clone();
            let at = after.map(|seconds| finished + jiff::SignedDuration::from_secs(seconds));
            let answer = read(8, &body, at);
            assert_eq!(read(8, &Value::Array(vec![Value::Null, body]), at), answer, "one of a list");
            rows.push(format!("{status} {when}: {answer:?}").replace("\\\"", "").replace('"', ""));
        }
    }
    insta::assert_snapshot!(rows.join("\n"));
}

#[test]
fn an_answer_about_something_else_tells_nothing() {
    let job = published()["job"].clone();
    for body in [&job, &Value::Array(vec![job.clone()]), &Value::Null] {
        assert!(matches!(read(7, body, None), Answer::Unknown(_)), "{body}");
    }
}

#[test]
fn only_jobs_of_our_own_project_are_asked_about_and_by_number() {
    let owner = |url: &str, pipeline: &str, job: &str| Owner {
        run_url: url.into(),
        run_id: pipeline.into(),
        job_id: job.into(),
        ..Owner::default()
    };
    let with_job_token = desk(&[("CI_JOB_TOKEN", "s3cr3t")]).unwrap();
    let with_a_persons = desk(&[("CI_JOB_TOKEN", "s3cr3t"), (CI_TOKEN, "m1ne")]).unwrap();
    assert_eq!((with_job_token.login.0, with_job_token.login.1.reveal()), ("job-token", "s3cr3t"));
    assert_eq!((with_a_persons.login.0, with_a_persons.login.1.reveal()), ("private-token", "m1ne"));
    assert!(desk(&[]).is_none(), "without a token nobody is asked");
    const LIST: &str = "/projects/42/pipelines/6/jobs?include_retried=true&per_page=100";
    const JOBS: &str = "https://gitlab.example/foo/bar/-/jobs/";
    for (why, desk, url, pipeline, job, wanted) in [
        ("by its own token a list", &with_job_token, format!("{JOBS}8"), "6", "8", LIST),
        ("by a person's the job", &with_a_persons, format!("{JOBS}8"), "6", "8", "/projects/42/jobs/8"),
        ("our own job", &with_job_token, format!("{JOBS}9"), "6", "9", "-"),
        ("two jobs", &with_job_token, format!("{JOBS}8"), "6", "7", "-"),
        ("another project", &with_job_token, "https://gitlab.example/x/y/-/jobs/8".into(), "6", "8", "-"),
        ("another server", &with_job_token, "https://evil.example/foo/bar/-/jobs/8".into(), "6", "8", "-"),
        ("a page that goes elsewhere", &with_job_token, format!("{JOBS}8/../x"), "6", "8", "-"),
        ("no pipeline", &with_job_token, format!("{JOBS}8"), "6/x", "8", "/projects/42/jobs/8"),
    ] {
        let path = match desk.question(&owner(&url, pipeline, job)) {
            Question::Ask(ask) => ask.path,
            _ => "-".into(),
        };
        assert_eq!(path, wanted, "{why}");
    }
}
