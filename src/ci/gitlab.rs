//! GitLab CI: which jobs may be asked about, and what GitLab's words for their state mean.
//! Pure. Words and fields are those of its published description (jobs API).

use jiff::Timestamp;
use serde_json::Value;

use super::{About, Answer, Ask, Desk, Proxies, Question, System, Token, number};
use crate::ci::run::Owner;
use crate::env::{CI_TOKEN, Env};

/// For how many seconds a canceled job's processes may still live: its runner hears of it with its next update of the log,
/// at most half a minute later, and gives them time to end.
const CANCELED: i64 = 60;

/// Header of a token that may read what a person may.
const PRIVATE: &str = "private-token";

/// Reads the runner's variables.
pub(super) fn desk(env: &Env, proxies: Proxies) -> Option<Desk> {
    let get = |name: &str| env.get(name).filter(|value| !value.is_empty());
    let login = match get(CI_TOKEN) {
        Some(token) => (PRIVATE, Token(token.clone())),
        None => ("job-token", Token(get("CI_JOB_TOKEN")?.clone())),
    };
    let job = number(get("CI_JOB_ID")?)?;
    let pages = get("CI_JOB_URL")?.strip_suffix(&job.to_string())?;
    Some(Desk {
        system: System::GitLab,
        api: get("CI_API_V4_URL")?.trim_end_matches('/').to_owned(),
        login,
        pages: pages.to_owned(),
        path: format!("/projects/{}", number(get("CI_PROJECT_ID")?)?),
        run: (job, 1),
        ca_file: get("CI_SERVER_TLS_CA_FILE").map(Into::into),
        proxies,
    })
}

/// Of a job of our own project: is it over? A retry is a job of its own.
pub(super) fn question(desk: &Desk, owner: &Owner) -> Question {
    let Some(job) = owner.run_url.strip_prefix(&desk.pages).and_then(number) else {
        return Question::Nothing;
    };
    if number(&owner.job_id) != Some(job) || job == desk.run.0 {
        return Question::Nothing;
    }
    let path = match number(&owner.run_id) {
        // A job's own token may read no single job but its own; lists it may, on newer servers, unless that is forbidden.
        Some(pipeline) if desk.login.0 != PRIVATE => {
            format!("{}/pipelines/{pipeline}/jobs?include_retried=true&per_page=100", desk.path)
        }
        _ => format!("{}/jobs/{job}", desk.path),
    };
    Question::Ask(Ask { path, about: About::GitLabJob(job) })
}

/// What the description of a job says, or of all jobs of its pipeline, at a time of the server's own clock.
pub(super) fn read(job: u64, body: &Value, at: Option<Timestamp>) -> Answer {
    let is_it = |body: &&Value| body["id"].as_u64() == Some(job);
    let body = match body.as_array() {
        Some(jobs) => jobs.iter().find(is_it),
        None => Some(body).filter(is_it),
    };
    let Some(body) = body else { return Answer::Unknown("the job is not in the answer".into()) };
    let finished = body["finished_at"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let since = at.zip(finished).map(|(at, finished)| at.as_second() - finished.as_second());
    state(body["status"].as_str().unwrap_or_default(), since)
}

/// GitLab's words, every one of its description. `since` is for how many seconds it has been finished.
fn state(status: &str, since: Option<i64>) -> Answer {
    const ALIVE: [&str; 7] = [
        "created",
        "pending",
        "preparing",
        "running",
        "scheduled",
        "waiting_for_callback",
        "waiting_for_resource",
    ];
    match status {
        "success" | "failed" | "skipped" => Answer::Over(status.to_owned()),
        "canceled" if since.is_some_and(|since| since >= CANCELED) => Answer::Over(status.to_owned()),
        "canceled" | "canceling" => Answer::Ending(status.to_owned()),
        status if ALIVE.contains(&status) => Answer::Alive(status.to_owned()),
        // `manual` among them: a job that nobody has started holds no lock.
        _ => Answer::Unknown(format!("status {status:?}")),
    }
}

#[cfg(test)]
#[path = "gitlab_tests.rs"]
mod tests;
