//! Who am I: the CI run that this process belongs to, or the person at a terminal. And who is another: what our own CI
//! system is asked about the run behind a lock, and what its answer means.
//! Pure: the environment is passed in; `ci/api.rs` sends, `ci/checkout.rs` reads the workflow's file.

use crate::env::Env;
pub mod api;
pub mod checkout;
pub mod github;
pub mod gitlab;
pub mod run;
pub mod terminal;
pub mod workflow_lint;

use std::{fmt, path::PathBuf, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::http_proxy::Proxies;
use run::Owner;

/// The job's id on GitHub: the action sets it, from the job's context. No variable of the runner has it.
pub const JOB_ID: &str = "HELM_GUARD_JOB_ID";

/// The CI systems that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// GitHub Actions.
    GitHub,
    /// GitLab CI.
    GitLab,
    /// A terminal, or a CI system that is not known.
    Terminal,
}

/// Which CI system this is.
pub fn system(env: &Env) -> System {
    let is = |name: &str| env.get(name).is_some_and(|value| value == "true");
    if is("GITHUB_ACTIONS") {
        System::GitHub
    } else if is("GITLAB_CI") {
        System::GitLab
    } else {
        System::Terminal
    }
}

/// A directory that is this CI job's alone, and is there from its first step to what runs after them.
///
/// GitHub's runner names one. GitLab's has one beside the checkout (`RUNNER_TEMP_PROJECT_DIR`), in which `after_script` finds
/// what `script` left, whatever the executor; on a shell executor other jobs' files are in it too.
pub fn job_directory(env: &Env) -> Option<PathBuf> {
    let get = |name: &str| env.get(name).filter(|text| !text.is_empty());
    let of_gitlab = || {
        let id = get("CI_JOB_ID").filter(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric()))?;
        let base = get("RUNNER_TEMP_PROJECT_DIR").or_else(|| get("TMPDIR")).map_or("/tmp", String::as_str);
        Some(PathBuf::from(base).join(format!("helm-guard-job-{id}")))
    };
    let named = get("RUNNER_TEMP").map(PathBuf::from);
    if system(env) == System::GitLab { of_gitlab() } else { named }
}

/// Who runs this process.
pub fn owner(env: &Env, host: &str) -> Owner {
    let get = |name: &str| env.get(name).cloned().unwrap_or_default();
    match system(env) {
        System::GitHub => {
            let (id, attempt) = (get("GITHUB_RUN_ID"), get("GITHUB_RUN_ATTEMPT"));
            let base = format!("{}/{}/actions/runs/{id}", get("GITHUB_SERVER_URL"), get("GITHUB_REPOSITORY"));
            let run_url = if attempt.is_empty() || attempt == "1" {
                base
            } else {
                format!("{base}/attempts/{attempt}")
            };
            Owner {
                name: run_url.clone(),
                run_url,
                run_id: id,
                run_number: get("GITHUB_RUN_NUMBER"),
                run_attempt: attempt,
                repository: get("GITHUB_REPOSITORY"),
                workflow: get("GITHUB_WORKFLOW"),
                workflow_file: workflow_file(env),
                job: get("GITHUB_JOB"),
                job_id: get(JOB_ID),
                git_ref: get("GITHUB_REF"),
                commit: get("GITHUB_SHA"),
                actor: get("GITHUB_ACTOR"),
            }
        }
        System::GitLab => Owner {
            name: get("CI_JOB_URL"),
            run_url: get("CI_JOB_URL"),
            run_id: get("CI_PIPELINE_ID"),
            run_number: get("CI_PIPELINE_IID"),
            run_attempt: String::new(),
            repository: get("CI_PROJECT_PATH"),
            workflow: get("CI_PROJECT_PATH"),
            workflow_file: workflow_file(env),
            job: get("CI_JOB_NAME"),
            job_id: get("CI_JOB_ID"),
            git_ref: get("CI_COMMIT_REF_NAME"),
            commit: get("CI_COMMIT_SHA"),
            actor: get("GITLAB_USER_LOGIN"),
        },
        System::Terminal => {
            let user = ["USER", "LOGNAME"].into_iter().map(get).find(|user| !user.is_empty());
            let user = user.unwrap_or_else(|| "somebody".into());
            Owner { name: format!("{user}@{host}"), actor: user, ..Owner::default() }
        }
    }
}

/// The file of the workflow that this run is of, as a path in the repository.
pub fn workflow_file(env: &Env) -> String {
    let get = |name: &str| env.get(name).map_or("", String::as_str);
    match system(env) {
        System::GitHub => {
            // `octo-org/app/.github/workflows/deploy.yml@refs/heads/main`
            let named = get("GITHUB_WORKFLOW_REF").split_once('@').map_or("", |(path, _)| path);
            let path = named.strip_prefix(get("GITHUB_REPOSITORY")).and_then(|path| path.strip_prefix('/'));
            path.unwrap_or_default().to_owned()
        }
        System::GitLab => {
            let named = get("CI_CONFIG_PATH");
            if named.is_empty() { ".gitlab-ci.yml" } else { named }.to_owned()
        }
        System::Terminal => String::new(),
    }
}

/// A secret that is in no output.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The text itself, for a request.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Where our CI system answers questions about runs, and which of its runs are ours to ask about.
///
/// All of it is from this process's own environment. A Lease is anybody's: no part of an address is taken from it, and the
/// token goes nowhere but here.
#[derive(Clone, Debug)]
pub struct Desk {
    /// GitHub or GitLab.
    pub system: System,
    /// Base URL of the API.
    pub api: String,
    /// Name and value of the header that says who asks.
    pub login: (&'static str, Token),
    /// What the pages of our repository's runs (GitHub) or jobs (GitLab) begin with.
    pages: String,
    /// Path of our repository in the API.
    path: String,
    /// Our own run (GitHub) or job (GitLab), and its attempt.
    run: (u64, u64),
    /// A certificate bundle to trust instead of the usual one, for servers of one's own.
    pub ca_file: Option<PathBuf>,
    /// Proxies on the way.
    pub proxies: Proxies,
}

/// The desk of this process's CI system; none without a token, or where nothing is known of the server.
pub fn desk(env: &Env, proxies: Proxies) -> Option<Desk> {
    match system(env) {
        System::GitHub => github::desk(env, proxies),
        System::GitLab => gitlab::desk(env, proxies),
        System::Terminal => None,
    }
}

/// What can be learned of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// It can only be over, and nobody need be asked: why.
    Over(String),
    /// This.
    Ask(Ask),
    /// Nothing: it is of another system, server or repository, or it is our own.
    Nothing,
}

/// A question for the API, made of numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// Path below the base URL.
    pub path: String,
    /// What the answer must be about.
    pub about: About,
}

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// An attempt of a GitHub run.
    Attempt {
        /// Run id.
        run: u64,
        /// From 1.
        attempt: u64,
    },
    /// One job of it.
    Job {
        /// Run id.
        run: u64,
        /// From 1.
        attempt: u64,
        /// Job id.
        job: u64,
    },
    /// A GitLab job; a retry is a job of its own.
    GitLabJob(u64),
}

impl About {
    /// `run` or `job`.
    pub fn what(self) -> &'static str {
        match self {
            Self::Attempt { .. } => "run",
            Self::Job { .. } | Self::GitLabJob(_) => "job",
        }
    }
}

/// What an API says of a run or a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is over, with the system's word for how: its processes are gone.
    Over(String),
    /// It was told to end, and may not have ended.
    Ending(String),
    /// It is at work, or will be.
    Alive(String),
    /// That tells nothing: why.
    Unknown(String),
}

impl Desk {
    /// What to ask about the run behind a lock, as its Lease names it.
    pub fn question(&self, owner: &Owner) -> Question {
        match self.system {
            System::GitHub => github::question(self, owner),
            System::GitLab => gitlab::question(self, owner),
            System::Terminal => Question::Nothing,
        }
    }

    /// What an answer means. `at` is the server's own clock at the time of the answer.
    pub fn read(&self, about: About, body: &Value, at: Option<Timestamp>) -> Answer {
        match about {
            About::GitLabJob(job) => gitlab::read(job, body, at),
            About::Attempt { .. } | About::Job { .. } => github::read(about, body),
        }
    }
}

/// A number as CI systems give them: digits only, so that nothing else gets into a path.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// How long to wait before the next question about a run, after `asked` of them: what ends soon is noticed soon, and a
/// long wait costs no more than two questions a minute.
pub fn next_question(asked: u32) -> Duration {
    Duration::from_secs(match asked {
        0..=12 => 5,
        13..=28 => 15,
        _ => 30,
    })
}

/// Longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What a status code other than 200 means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing will be answered to us.
    Refused(String),
    /// It will be the same the next time this is asked.
    Final(String),
    /// It may pass; not to be asked again for this long.
    Passing(String, Duration),
}

/// Reads a refusal. `header` gives a header of the answer; `at` is the server's own clock.
pub fn trouble(status: u16, header: impl Fn(&str) -> Option<String>, at: Option<Timestamp>) -> Trouble {
    let seconds = |name: &str| header(name).and_then(|value| number(value.trim()));
    let reset = ["x-ratelimit-reset", "ratelimit-reset"].into_iter().find_map(seconds);
    let remaining = ["x-ratelimit-remaining", "ratelimit-remaining"];
    let none_left = remaining.into_iter().any(|name| seconds(name) == Some(0));
    let until_reset =
        reset.zip(at).and_then(|(reset, at)| reset.checked_sub(u64::try_from(at.as_second()).ok()?));
    let retry_after = seconds("retry-after").map(Duration::from_secs);
    // GitHub refuses with 403 as well as with 429 when there were too many questions, and says so in these headers.
    let limited = status == 429 || (status == 403 && (retry_after.is_some() || none_left));
    if limited {
        let pause = retry_after.or(until_reset.map(Duration::from_secs)).unwrap_or(Duration::from_secs(60));
        let pause = pause.clamp(Duration::from_secs(1), LONGEST_PAUSE);
        return Trouble::Passing(format!("status {status}, too many questions"), pause);
    }
    match status {
        401 => Trouble::Refused("status 401, the token is not accepted for this".into()),
        403 => Trouble::Refused("status 403, the token has no permission for this".into()),
        404 | 410 => Trouble::Final(format!("status {status}, the run is not known, or not to this token")),
        500.. => {
            let pause = retry_after.unwrap_or(Duration::from_secs(15)).min(LONGEST_PAUSE);
            Trouble::Passing(format!("status {status}"), pause.max(Duration::from_secs(1)))
        }
        _ => Trouble::Final(format!("unexpected status {status}")),
    }
}

#[cfg(test)]
#[path = "ci_tests.rs"]
mod tests;
