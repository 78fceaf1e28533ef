//! Who am I: the CI run that this process belongs to, or the person at a terminal.
//! Pure: the environment is passed in.

use std::{collections::BTreeMap, path::PathBuf};

use crate::report::Owner;

/// A snapshot of the environment.
pub type Env = BTreeMap<String, String>;

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
                workflow: get("GITHUB_WORKFLOW"),
                job: get("GITHUB_JOB"),
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
            workflow: get("CI_PROJECT_PATH"),
            job: get("CI_JOB_NAME"),
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

#[cfg(test)]
mod tests {
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
}
