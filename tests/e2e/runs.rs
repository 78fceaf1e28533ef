//! CI runs for the stories: their variables, the Leases that dead ones leave, and doubles of GitHub's and GitLab's API, which
//! answer with the examples of the published descriptions.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path},
};

use testbed::CI_SERVER as SERVER;
pub use testbed::run_id as id;

use crate::stage::Stage;

/// Only this one is accepted by the doubles.
pub const TOKEN: &str = "ghs_0123456789abcdef";

/// A double of a CI system's API, on a port of its own.
pub struct Api {
    runtime: Runtime,
    server: MockServer,
}

impl Api {
    pub fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(MockServer::start());
        Self { runtime, server }
    }

    /// What GitHub says of the first attempt of a run, from now on.
    pub fn github(&self, run: u64, status: &str, conclusion: Option<&str>) {
        let mut body = published("github")["attempt"].clone();
        (body["id"], body["status"], body["conclusion"]) = (run.into(), status.into(), conclusion.into());
        self.says(&attempt(run), ResponseTemplate::new(200).set_body_json(body));
    }

    /// What GitHub says of a job of the first attempt of a run.
    pub fn github_job(&self, run: u64, job: u64, status: &str, conclusion: Option<&str>) {
        let mut body = published("github")["job"].clone();
        (body["id"], body["run_id"]) = (job.into(), run.into());
        (body["status"], body["conclusion"]) = (status.into(), conclusion.into());
        self.says(
            &format!("/repos/shop/web/actions/jobs/{job}"),
            ResponseTemplate::new(200).set_body_json(body),
        );
    }

    /// What it answers at this path. Later ones are for what earlier ones do not answer.
    pub fn says(&self, at: &str, answer: ResponseTemplate) {
        let login = header("authorization", format!("Bearer {TOKEN}").as_str());
        let mock = Mock::given(method("GET")).and(path(at)).and(login).respond_with(answer);
        self.runtime.block_on(mock.mount(&self.server));
    }

    /// As a list of the jobs of a pipeline, for a job's own token.
    pub fn gitlab(&self, pipeline: u64, job: u64, status: &str) {
        let mut body = published("gitlab")["job"].clone();
        (body["id"], body["status"]) = (job.into(), status.into());
        let answer = ResponseTemplate::new(200).set_body_json(json!([body]));
        let at = format!("/projects/42/pipelines/{pipeline}/jobs");
        let mock =
            Mock::given(method("GET")).and(path(at)).and(header("job-token", TOKEN)).respond_with(answer);
        self.runtime.block_on(mock.mount(&self.server));
    }

    pub fn url(&self) -> String {
        self.server.uri()
    }

    /// Paths that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        let requests = self.runtime.block_on(self.server.received_requests()).unwrap_or_default();
        requests.iter().map(|request| request.url.path().to_owned()).collect()
    }
}

fn published(system: &str) -> Value {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/ci/{system}.json"));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Path of the first attempt of a run.
pub fn attempt(run: u64) -> String {
    format!("/repos/shop/web/actions/runs/{run}/attempts/1")
}

/// A run of the workflow `deploy.yml` on the main branch.
pub fn github(mut command: Command, number: u64, api: Option<&Api>) -> Command {
    command.envs(testbed::github_run(number));
    if let Some(api) = api {
        command.env("GITHUB_API_URL", api.url()).env("GITHUB_TOKEN", TOKEN);
    }
    command
}

/// A job of pipeline 6 of project 42.
pub fn gitlab(mut command: Command, job: u64, api: &Api) -> Command {
    let api = api.url();
    for (name, value) in [
        ("GITLAB_CI", "true"),
        ("CI_API_V4_URL", &api),
        ("CI_PROJECT_ID", "42"),
        ("CI_PROJECT_PATH", "shop/web"),
        ("CI_PIPELINE_ID", "6"),
        ("CI_PIPELINE_IID", "3"),
        ("CI_JOB_ID", &job.to_string()),
        ("CI_JOB_URL", &format!("{SERVER}/shop/web/-/jobs/{job}")),
        ("CI_JOB_TOKEN", TOKEN),
    ] {
        command.env(name, value);
    }
    command
}

/// The Lease that a dead run left, as nobody renews it any more.
pub fn dead_lease(stage: &Stage, lease: &str, duration: Duration, notes: &[(&str, &str)]) {
    let mut annotations = json!({});
    for (name, value) in notes {
        annotations[format!("helm-guard.dev/{name}")] = (*value).into();
    }
    let object = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": lease, "annotations": annotations},
        "spec": {
            "holderIdentity": format!("dead-{lease}"),
            "leaseDurationSeconds": duration.as_secs(),
            "renewTime": "2026-06-01T10:02:11.000000Z",
        },
    });
    stage.namespace.apply(&object.to_string()).unwrap();
}

/// The notes of a Lease that run `number` took.
pub fn notes(number: u64) -> Vec<(&'static str, String)> {
    let url = format!("{SERVER}/shop/web/actions/runs/{}", id(number));
    vec![
        ("owner", url.clone()),
        ("run-url", url),
        ("run-id", id(number).to_string()),
        ("run-attempt", "1".into()),
        ("operation", "upgrade".into()),
        ("lock-id", "0a1b2c3d".into()),
    ]
}
