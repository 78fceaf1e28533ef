//! What the workflow's own file says of deploys at once and of time limits, held against this deploy.
//! Pure: the file's text is passed in. What cannot be known, such as an expression or an include, is no finding.

use std::time::Duration;

use serde_json::Value;

use super::number;
use crate::text::duration;

/// How long this deploy may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `--lock-timeout`.
    pub lock: Duration,
    /// Helm's `--timeout`: of one wait, or one hook.
    pub helm: Duration,
    /// Does a failure roll back, which waits once more?
    pub rolls_back: bool,
}

/// Longest time of a GitHub job that names none.
const GITHUB_DEFAULT: Duration = Duration::from_secs(360 * 60);

/// What is odd about the job `job` of a GitHub workflow.
pub fn github(file: &str, text: &str, job: &str, limits: &Limits) -> Vec<String> {
    let Ok(workflow) = serde_yaml::from_str::<Value>(text) else { return Vec::new() };
    let this = &workflow["jobs"][job];
    let blocks = [&workflow["concurrency"], &this["concurrency"]];
    let mut found = Vec::new();
    // A job that a called workflow defines is not in this file: it may have a block of its own.
    if this.is_object() && blocks.iter().all(|block| block.is_null()) {
        found.push(format!(
            "{file} has no concurrency block for job {job}: runs that wait for the lock keep a runner each; \
             add concurrency: {{group: deploy}}"
        ));
    }
    if blocks.iter().any(|block| block["cancel-in-progress"] == Value::Bool(true)) {
        found.push(format!(
            "{file} says cancel-in-progress: true: the next run cuts this deploy off while helm is at work; \
             set it to false, older runs are skipped anyway"
        ));
    }
    let minutes = match &this["timeout-minutes"] {
        Value::Number(minutes) => {
            minutes.as_f64().and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok())
        }
        Value::Null if this.is_object() => Some(GITHUB_DEFAULT),
        _ => None,
    };
    found.extend(minutes.and_then(|allowed| too_short(allowed, "timeout-minutes", job, limits)));
    found
}

/// What is odd about a GitLab job; `timeout` is how long it may run, in seconds, as its runner says.
pub fn gitlab(file: &str, text: &str, job: &str, timeout: &str, limits: &Limits) -> Vec<String> {
    let allowed = number(timeout).map(Duration::from_secs);
    let mut found: Vec<String> =
        allowed.and_then(|allowed| too_short(allowed, "its timeout", job, limits)).into_iter().collect();
    let Ok(pipeline) = serde_yaml::from_str::<Value>(text) else { return found };
    let Some(name) = named(&pipeline, job) else { return found };
    let Some(is_grouped) = has(&pipeline, name, "resource_group", 0) else { return found };
    if !is_grouped {
        found.push(format!(
            "{file} has no resource_group for job {name}: jobs that wait for the lock keep a runner each; \
             add resource_group: production"
        ));
    }
    let interruptible = [&pipeline[name]["interruptible"], &pipeline["default"]["interruptible"]];
    if interruptible.into_iter().find(|value| !value.is_null()) == Some(&Value::Bool(true)) {
        found.push(format!(
            "{file} says interruptible: true for job {name}: the next pipeline cuts this deploy off while helm is at \
             work; set it to false, older pipelines are skipped anyway"
        ));
    }
    found
}

/// The job's key: legs of a matrix are named `deploy: [eu]` or `deploy 1/3`.
fn named<'a>(pipeline: &Value, job: &'a str) -> Option<&'a str> {
    let leg = job.split_once(": [").map_or(job, |(name, _)| name);
    let part = leg.rsplit_once(' ').filter(|(_, part)| part.contains('/')).map_or(leg, |(name, _)| name);
    [job, leg, part].into_iter().find(|name| pipeline[*name].is_object())
}

/// Has the job this key, itself or by what it extends? `None` when part of that is in another file.
fn has(pipeline: &Value, job: &str, key: &str, depth: usize) -> Option<bool> {
    let this = pipeline.get(job).filter(|this| this.is_object() && depth < 10)?;
    if !this[key].is_null() {
        return Some(true);
    }
    let parents: Vec<&str> = match &this["extends"] {
        Value::String(parent) => vec![parent],
        Value::Array(parents) => parents.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let inherited: Option<Vec<bool>> =
        parents.into_iter().map(|parent| has(pipeline, parent, key, depth + 1)).collect();
    inherited.map(|inherited| inherited.contains(&true))
}

fn too_short(allowed: Duration, setting: &str, job: &str, limits: &Limits) -> Option<String> {
    let times = if limits.rolls_back { 2 } else { 1 };
    let needed = limits.lock.checked_add(limits.helm.checked_mul(times)?)?;
    let say = |time: Duration| duration(time.as_secs_f64());
    let back = if limits.rolls_back { ", and as long again for its rollback" } else { "" };
    (allowed < needed).then(|| {
        format!(
            "job {job} may run for {} ({setting}), less than the {} of --lock-timeout and helm's --timeout of {}{back}: \
             it can be cut off while helm is at work; allow it more than {}",
            say(allowed),
            say(limits.lock),
            say(limits.helm),
            say(needed)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const LIMITS: Limits =
        Limits { lock: Duration::from_secs(600), helm: Duration::from_secs(300), rolls_back: false };

    #[test]
    fn a_workflow_is_held_against_the_deploy() {
        let rows: [(&str, &str, &[&str]); 12] = [
            ("a block of the workflow", "concurrency: {group: a}\njobs: {deploy: {}}", &[]),
            ("a block of the job", "jobs: {deploy: {concurrency: a}}", &[]),
            ("a group alone", "concurrency: a\njobs: {deploy: {}}", &[]),
            ("none", "on: push\njobs: {deploy: {steps: []}}", &["no concurrency block for job deploy"]),
            (
                "another job's is none",
                "jobs: {test: {concurrency: a}, deploy: {}}",
                &["no concurrency block for job deploy"],
            ),
            (
                "deploys are cut",
                "concurrency: {group: a, cancel-in-progress: true}\njobs: {deploy: {}}",
                &["cancel-in-progress: true"],
            ),
            (
                "by an expression, perhaps",
                "concurrency: {group: a, cancel-in-progress: \"${{ github.ref != 'x' }}\"}\njobs: {deploy: {}}",
                &[],
            ),
            (
                "a job too short",
                "concurrency: a\njobs: {deploy: {timeout-minutes: 10}}",
                &[
                    "may run for 10m 00s (timeout-minutes), less than the 10m 00s of --lock-timeout and helm's --timeout of 5m 00s: ",
                ],
            ),
            ("a job long enough", "concurrency: a\njobs: {deploy: {timeout-minutes: 15}}", &[]),
            (
                "as long as an expression says",
                "concurrency: a\njobs: {deploy: {timeout-minutes: \"${{ 1 }}\"}}",
                &[],
            ),
            ("a job of a called workflow", "jobs: {all: {uses: ./.github/workflows/deploy.yml}}", &[]),
            ("no YAML", "jobs: {", &[]),
        ];
        for (why, text, wanted) in rows {
            let found = github("w.yml", text, "deploy", &LIMITS);
            assert_eq!(found.len(), wanted.len(), "{why}: {found:?}");
            assert!(
                found.iter().zip(wanted).all(|(found, wanted)| found.contains(wanted)),
                "{why}: {found:?}"
            );
        }
    }

    #[test]
    fn a_rollback_takes_its_time_too_and_the_longest_job_is_six_hours() {
        let text = "concurrency: a\njobs: {deploy: {timeout-minutes: 15}}";
        let found = github("w.yml", text, "deploy", &Limits { rolls_back: true, ..LIMITS });
        assert!(
            found[0].contains("as long again for its rollback") && found[0].contains("more than 20m 00s"),
            "{found:?}"
        );
        let long = Limits { helm: 400 * MINUTE, ..LIMITS };
        let found = github("w.yml", "concurrency: a\njobs: {deploy: {}}", "deploy", &long);
        assert!(found[0].contains("may run for 6h 00m"), "{found:?}");
        let endless = Limits { helm: Duration::MAX, ..LIMITS };
        assert_eq!(github("w.yml", text, "deploy", &endless), [""; 0]);
    }

    #[test]
    fn a_pipeline_is_held_against_the_deploy() {
        let rows: [(&str, &str, &str, &str, &[&str]); 10] = [
            ("a group", "deploy: {resource_group: p}", "deploy", "3600", &[]),
            ("none", "deploy: {script: x}", "deploy", "3600", &["no resource_group for job deploy"]),
            ("inherited", ".d: {resource_group: p}\ndeploy: {extends: .d}", "deploy", "3600", &[]),
            (
                "inherited by a list",
                ".a: {x: 1}\n.d: {resource_group: p}\ndeploy: {extends: [.a, .d]}",
                "deploy",
                "",
                &[],
            ),
            ("from another file", "include: x\ndeploy: {extends: .d}", "deploy", "3600", &[]),
            ("a circle", "a: {extends: b}\nb: {extends: a}", "a", "3600", &[]),
            (
                "a leg of a matrix",
                "deploy: {script: x}",
                "deploy: [eu]",
                "3600",
                &["no resource_group for job deploy"],
            ),
            ("a part", "deploy: {script: x}", "deploy 1/3", "3600", &["no resource_group for job deploy"]),
            (
                "cut by the next",
                "default: {interruptible: true}\ndeploy: {resource_group: p}",
                "deploy",
                "3600",
                &["interruptible: true"],
            ),
            (
                "too short, whatever the file says",
                "deploy: [",
                "deploy",
                "600",
                &["job deploy may run for 10m 00s (its timeout)"],
            ),
        ];
        for (why, text, job, timeout, wanted) in rows {
            let found = gitlab("ci.yml", text, job, timeout, &LIMITS);
            assert_eq!(found.len(), wanted.len(), "{why}: {found:?}");
            assert!(
                found.iter().zip(wanted).all(|(found, wanted)| found.contains(wanted)),
                "{why}: {found:?}"
            );
        }
    }
}
