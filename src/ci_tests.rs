use super::*;

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_github_run_is_named_by_its_url_and_a_later_attempt_by_its_own() {
    let mut run = env(&[
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_SERVER_URL", "https://github.example.com"),
        ("GITHUB_REPOSITORY", "o/r"),
        ("GITHUB_RUN_ID", "42"),
        ("GITHUB_RUN_ATTEMPT", "1"),
        ("GITHUB_SHA", "abc"),
    ]);
    assert_eq!(owner(&run, "h").name, "https://github.example.com/o/r/actions/runs/42");
    assert_eq!(owner(&run, "h").commit, "abc");
    run.insert("GITHUB_RUN_ATTEMPT".into(), "2".into());
    assert_eq!(owner(&run, "h").run_url, "https://github.example.com/o/r/actions/runs/42/attempts/2");
}

#[test]
fn run_numbers_count_within_a_file() {
    let file = |pairs: &[(&str, &str)]| workflow_file(&env(pairs));
    let named = ("GITHUB_WORKFLOW_REF", "o/r/.github/workflows/a.yml@refs/heads/x@y");
    assert_eq!(
        file(&[("GITHUB_ACTIONS", "true"), ("GITHUB_REPOSITORY", "o/r"), named]),
        ".github/workflows/a.yml"
    );
    assert_eq!(file(&[("GITHUB_ACTIONS", "true"), ("GITHUB_REPOSITORY", "o/other"), named]), "");
    assert_eq!(file(&[("GITLAB_CI", "true")]), ".gitlab-ci.yml");
    assert_eq!(file(&[("GITLAB_CI", "true"), ("CI_CONFIG_PATH", "ci/a.yml")]), "ci/a.yml");
    assert_eq!(file(&[named]), "");
}

#[test]
fn a_refusal_is_for_good_or_for_a_while() {
    let at = "2026-06-01T10:00:00Z".parse().ok();
    let passing = |why: &str, seconds| Trouble::Passing(why.into(), Duration::from_secs(seconds));
    let limited = |status: u16, seconds| passing(&format!("status {status}, too many questions"), seconds);
    let refused = Trouble::Refused("status 403, the token has no permission for this".into());
    let reset = ("x-ratelimit-reset", "1780308090");
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let rows: [(&str, u16, Headers, Trouble); 14] = [
        ("no permission", 403, &[], refused.clone()),
        ("no permission, and questions left", 403, &[("x-ratelimit-remaining", "59"), reset], refused),
        ("the quota is used up", 403, &[("x-ratelimit-remaining", "0"), reset], limited(403, 90)),
        ("a second quota, which only says when", 403, &[("retry-after", "30")], limited(403, 30)),
        ("as another answer", 429, &[("retry-after", "7")], limited(429, 7)),
        ("GitLab's names", 429, &[("ratelimit-reset", "1780308030")], limited(429, 30)),
        ("without a time", 429, &[], limited(429, 60)),
        ("a time that is over", 429, &[("x-ratelimit-reset", "1")], limited(429, 60)),
        ("for ever", 429, &[("retry-after", "99999999999")], limited(429, 600)),
        ("as a date, which is not read", 429, &[("retry-after", "Fri, 31 Dec 1999")], limited(429, 60)),
        ("down", 503, &[], passing("status 503", 15)),
        ("down for long", 503, &[("retry-after", "120")], passing("status 503", 120)),
        (
            "a token that is none",
            401,
            &[],
            Trouble::Refused("status 401, the token is not accepted for this".into()),
        ),
        (
            "not known",
            404,
            &[],
            Trouble::Final("status 404, the run is not known, or not to this token".into()),
        ),
    ];
    for (why, status, headers, wanted) in rows {
        let header = |name: &str| {
            headers.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(trouble(status, header, at), wanted, "{why}");
    }
    assert!(matches!(trouble(301, |_| None, None), Trouble::Final(_)), "nobody is followed elsewhere");
}

#[test]
fn a_long_wait_does_not_use_the_quota_up() {
    let in_ten_minutes = (1..)
        .scan(Duration::ZERO, |at, asked| {
            *at += next_question(asked);
            Some(*at)
        })
        .take_while(|at| *at < Duration::from_secs(600))
        .count();
    // A job's token has a thousand an hour, for all jobs of its repository.
    assert!((20..=40).contains(&in_ten_minutes), "{in_ten_minutes}");
    assert!(next_question(1) <= Duration::from_secs(5));
}

#[test]
fn only_digits_are_a_number() {
    for (text, wanted) in
        [("7", Some(7)), ("", None), ("+7", None), ("7/..", None), ("99999999999999999999", None)]
    {
        assert_eq!(number(text), wanted, "{text}");
    }
}

#[test]
fn a_person_is_user_at_host() {
    assert_eq!(owner(&env(&[("USER", "ada")]), "laptop").name, "ada@laptop");
    assert_eq!(owner(&env(&[]), "pod").name, "somebody@pod");
}

#[test]
fn a_gitlab_job_is_named_by_its_url() {
    let job = env(&[("GITLAB_CI", "true"), ("CI_JOB_URL", "https://gl/j/1"), ("CI_PIPELINE_IID", "7")]);
    assert_eq!(
        (owner(&job, "h").name.as_str(), owner(&job, "h").run_number.as_str()),
        ("https://gl/j/1", "7")
    );
}

#[test]
fn a_jobs_directory_is_its_own() {
    for (pairs, expected) in [
        (&[][..], None),
        (&[("RUNNER_TEMP", "/t")], Some("/t")),
        (&[("GITLAB_CI", "true"), ("CI_JOB_ID", "7")], Some("/tmp/helm-guard-job-7")),
        (
            &[("GITLAB_CI", "true"), ("CI_JOB_ID", "7"), ("RUNNER_TEMP_PROJECT_DIR", "/b/p.tmp")],
            Some("/b/p.tmp/helm-guard-job-7"),
        ),
        (&[("GITLAB_CI", "true"), ("CI_JOB_ID", "../7")], None),
    ] {
        assert_eq!(job_directory(&env(pairs)), expected.map(PathBuf::from), "{pairs:?}");
    }
}
