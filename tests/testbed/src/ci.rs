//! What a CI system tells a job about its run.

/// Where the made-up CI system is.
pub const CI_SERVER: &str = "https://ci.example";

/// Run id of the run with this number.
#[must_use]
pub fn run_id(number: u64) -> u64 {
    1000 + number
}

/// GitHub's variables for the first attempt of a run of the workflow `deploy.yml` on the main branch.
pub fn github_run(number: u64) -> impl Iterator<Item = (String, String)> {
    let (id, number) = (run_id(number).to_string(), number.to_string());
    [
        ("ACTIONS", "true"),
        ("SERVER_URL", CI_SERVER),
        ("REPOSITORY", "shop/web"),
        ("RUN_ID", &*id),
        ("RUN_NUMBER", &*number),
        ("RUN_ATTEMPT", "1"),
        ("WORKFLOW", "Deploy"),
        ("WORKFLOW_REF", "shop/web/.github/workflows/deploy.yml@refs/heads/main"),
        ("JOB", "deploy"),
        ("REF", "refs/heads/main"),
        ("SHA", "4f1c0d9a7b3e"),
        ("ACTOR", "mona"),
    ]
    .map(|(name, value)| (format!("GITHUB_{name}"), value.to_owned()))
    .into_iter()
}
