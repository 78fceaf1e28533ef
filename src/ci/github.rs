//! GitHub Actions: which runs may be asked about, and what GitHub's words for their state mean.
//! Pure. Words and fields are those of its published description (REST API, workflow runs and jobs).

use serde_json::Value;

use super::{About, Answer, Ask, Desk, Proxies, Question, System, Token, number};
use crate::ci::run::Owner;
use crate::env::{CI_TOKEN, Env};

/// Reads the runner's variables.
pub(super) fn desk(env: &Env, proxies: Proxies) -> Option<Desk> {
    let get = |name: &str| env.get(name).filter(|value| !value.is_empty());
    let token = [CI_TOKEN, "GITHUB_TOKEN", "GH_TOKEN"].into_iter().find_map(get)?;
    let (server, repository) = (get("GITHUB_SERVER_URL")?, get("GITHUB_REPOSITORY")?);
    let attempt = get("GITHUB_RUN_ATTEMPT").and_then(|attempt| number(attempt));
    Some(Desk {
        system: System::GitHub,
        // Also that of an Enterprise Server.
        api: get("GITHUB_API_URL")?.trim_end_matches('/').to_owned(),
        login: ("authorization", Token(format!("Bearer {token}"))),
        pages: format!("{server}/{repository}/actions/runs/"),
        path: format!("/repos/{repository}"),
        run: (number(get("GITHUB_RUN_ID")?)?, attempt.unwrap_or(1)),
        ca_file: get("SSL_CERT_FILE").map(Into::into),
        proxies,
    })
}

/// Of a run of our own repository: is its attempt over, or its job?
pub(super) fn question(desk: &Desk, owner: &Owner) -> Question {
    let Some((run, attempt)) = run(desk, owner) else { return Question::Nothing };
    if run == desk.run.0 && attempt < desk.run.1 {
        // A run is run again only when all of it is over.
        return Question::Over(format!("attempt {}", desk.run.1));
    }
    let path = &desk.path;
    match number(&owner.job_id) {
        Some(job) => Question::Ask(Ask {
            path: format!("{path}/actions/jobs/{job}"),
            about: About::Job { run, attempt, job },
        }),
        // Our own attempt is at work, or we would not be. Its other jobs cannot be told apart without an id: legs of a
        // matrix share the key, and runners of different groups may share a name.
        None if (run, attempt) == desk.run => Question::Nothing,
        None => Question::Ask(Ask {
            path: format!("{path}/actions/runs/{run}/attempts/{attempt}"),
            about: About::Attempt { run, attempt },
        }),
    }
}

/// Run id and attempt, if all that the Lease says of them agrees and they are of our repository.
fn run(desk: &Desk, owner: &Owner) -> Option<(u64, u64)> {
    let page = owner.run_url.strip_prefix(&desk.pages)?;
    let (run, attempt) = match page.split_once("/attempts/") {
        Some((run, attempt)) => (number(run)?, number(attempt)?),
        None => (number(page)?, 1),
    };
    let said = if owner.run_attempt.is_empty() { 1 } else { number(&owner.run_attempt)? };
    (number(&owner.run_id)? == run && said == attempt).then_some((run, attempt))
}

/// What the description of an attempt or a job says.
pub(super) fn read(about: About, body: &Value) -> Answer {
    let field = |name: &str| body[name].as_u64();
    let is_it = match about {
        About::Attempt { run, attempt } => field("id") == Some(run) && field("run_attempt") == Some(attempt),
        About::Job { run, attempt, job } => {
            let of = field("run_attempt").unwrap_or(attempt);
            field("id") == Some(job) && field("run_id") == Some(run) && of == attempt
        }
        About::GitLabJob(_) => false,
    };
    if !is_it {
        return Answer::Unknown("the answer is about something else".into());
    }
    state(body["status"].as_str().unwrap_or_default(), body["conclusion"].as_str().unwrap_or_default())
}

/// GitHub's words, every one of its description.
fn state(status: &str, conclusion: &str) -> Answer {
    const OVER: [&str; 8] =
        ["success", "failure", "neutral", "cancelled", "skipped", "timed_out", "startup_failure", "stale"];
    const ALIVE: [&str; 5] = ["queued", "in_progress", "waiting", "requested", "pending"];
    match (status, conclusion) {
        ("completed", conclusion) if OVER.contains(&conclusion) => Answer::Over(conclusion.to_owned()),
        (status, _) if ALIVE.contains(&status) => Answer::Alive(status.to_owned()),
        // `action_required` among them: somebody may still let it go on.
        _ => Answer::Unknown(format!("status {status:?}, conclusion {conclusion:?}")),
    }
}

#[cfg(test)]
#[path = "github_tests.rs"]
mod tests;
