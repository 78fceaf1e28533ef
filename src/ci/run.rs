//! The run behind a lock: a CI run, or a person at a terminal. Pure.

use serde::Serialize;

/// The run behind a lock: where it runs and what it deploys. Absent facts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// One line for people: the CI run's URL, or `user@host`.
    pub name: String,
    /// CI run URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub run_url: String,
    /// Run id, as the CI system gives it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub run_id: String,
    /// Run number within its workflow.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub run_number: String,
    /// Attempt of the run, from 1.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub run_attempt: String,
    /// Repository, or project, as `owner/name`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repository: String,
    /// Workflow name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workflow: String,
    /// The workflow's file in the repository: run numbers count within it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workflow_file: String,
    /// Job key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job: String,
    /// Job id, as the CI system's API has it: legs of a matrix share the key, and not this.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job_id: String,
    /// Git ref.
    #[serde(rename = "ref", skip_serializing_if = "String::is_empty")]
    pub git_ref: String,
    /// Git commit.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// The person or bot that started the run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub actor: String,
}
