//! The words that the terminal and Markdown share: headline, durations, times, workloads, rows.
//! Pure. What comes from here is plain text and still untrusted; each renderer escapes it.

use std::time::Duration;

use super::{Holder, Outcome, Owner, PodTrouble, Summary, Workload};
use crate::release::{Revision, Status};

/// `3.2s`, `42s`, `1m05s`, `2h03m`.
pub fn duration(duration: Duration) -> String {
    let tenths = (duration.as_millis() + 50) / 100;
    if tenths < 100 {
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    match duration.as_secs() + u64::from(duration.subsec_millis() >= 500) {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The same, from the seconds in a summary.
pub fn seconds(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// `2026-07-14 10:02:11 UTC`; what is not RFC 3339 stays as it is.
pub fn time(rfc3339: &str) -> String {
    match rfc3339.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => rfc3339.to_owned(),
    }
}

/// `Deployment/web 1/3 ready (CrashLoopBackOff ×2)`.
pub fn workload(workload: &Workload) -> String {
    let Workload { kind, name, ready, wanted, .. } = workload;
    let done = if kind == "Job" { "done" } else { "ready" };
    let mut text = format!("{kind}/{name} {ready}/{wanted} {done}");
    let reasons = counted(&workload.reasons);
    if !reasons.is_empty() {
        text.push_str(&format!(" ({})", reasons.join(", ")));
    }
    text
}

/// The first workloads in words, and how many more there are.
pub fn workloads(all: &[Workload], max: usize) -> String {
    let mut parts: Vec<String> = all.iter().take(max).map(workload).collect();
    if all.len() > max {
        parts.push(format!("{} more", all.len() - max));
    }
    parts.join(", ")
}

/// Each word once, `×n` behind those that repeat, in order of first mention.
fn counted(words: &[String]) -> Vec<String> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for word in words {
        match counts.iter_mut().find(|(known, _)| known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    counts.iter().map(|(word, n)| if *n > 1 { format!("{word} ×{n}") } else { (*word).to_owned() }).collect()
}

/// How it ended, in one sentence.
pub fn headline(summary: &Summary) -> String {
    let subject = &summary.subject;
    let place = format!("{} in namespace {}", subject.release, subject.namespace);
    let deed = format!("{} of {place}", subject.command);
    let Some(outcome) = summary.outcome else {
        return format!("{deed} did not finish: last known stage: {}", summary.stage);
    };
    let deployed = deployed(history(summary));
    match outcome {
        Outcome::Deployed => match deployed {
            Some(Revision { revision, chart, .. }) => {
                format!("{place} is deployed: revision {revision}, chart {chart}")
            }
            None => format!("{place} is deployed"),
        },
        Outcome::Uninstalled => format!("{place} is uninstalled"),
        Outcome::Failed => format!("{deed} failed"),
        Outcome::RolledBack => match deployed {
            Some(Revision { revision, chart, .. }) => {
                format!("{deed} failed and was rolled back: revision {revision} is deployed, chart {chart}")
            }
            None => format!("{deed} failed and was rolled back"),
        },
        Outcome::Refused => format!("{deed} was refused before helm started"),
        Outcome::LockTimeout => {
            format!("{deed} did not start: the lock was taken for {}", seconds(summary.lock.waited_seconds))
        }
        Outcome::LockLost => format!("{deed} was stopped: the lock was lost while helm ran"),
        Outcome::Cancelled => format!("{deed} was cancelled"),
    }
}

/// How long it took: `helm ran 5m02s, waited 42s for the lock`. Empty if neither is known.
pub fn took(summary: &Summary) -> String {
    let mut parts = Vec::new();
    if let Some(helm) = &summary.helm {
        parts.push(format!("helm ran {}", seconds(helm.seconds)));
    }
    if summary.lock.waited_seconds >= 1.0 && summary.outcome != Some(Outcome::LockTimeout) {
        parts.push(format!("waited {} for the lock", seconds(summary.lock.waited_seconds)));
    }
    parts.join(", ")
}

/// The run behind a lock: `<url>, attempt 2, commit 4f2c9e1, by alice`.
pub fn run(owner: &Owner) -> String {
    let mut parts = vec![match (owner.run_url.is_empty(), owner.name.is_empty()) {
        (false, _) => owner.run_url.clone(),
        (true, false) => owner.name.clone(),
        (true, true) => "unknown run".to_owned(),
    }];
    if !owner.run_attempt.is_empty() && owner.run_attempt != "1" {
        parts.push(format!("attempt {}", owner.run_attempt));
    }
    if !owner.commit.is_empty() {
        parts.push(format!("commit {}", short_commit(&owner.commit)));
    }
    if !owner.actor.is_empty() {
        parts.push(format!("by {}", owner.actor));
    }
    parts.join(", ")
}

/// `lock 7f3a2c (upgrade) since 2026-07-14 10:02:11 UTC`.
pub fn held(holder: &Holder) -> String {
    let mut text = format!("lock {}", holder.lock_id);
    if !holder.operation.is_empty() {
        text.push_str(&format!(" ({})", holder.operation));
    }
    if !holder.since.is_empty() {
        text.push_str(&format!(" since {}", time(&holder.since)));
    }
    text
}

/// As Git shortens it, if it looks like a commit.
pub fn short_commit(commit: &str) -> &str {
    let is_hash = commit.len() >= 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hash { &commit[..7] } else { commit }
}

/// `web-7d9c-x2x (container web): CrashLoopBackOff, 4 restarts`, without the cluster's own message.
pub fn pod(trouble: &PodTrouble) -> String {
    let mut text = trouble.pod.clone();
    if !trouble.container.is_empty() {
        text.push_str(&format!(" (container {})", trouble.container));
    }
    text.push_str(&format!(": {}", trouble.reason));
    match trouble.restarts {
        0 => {}
        1 => text.push_str(", 1 restart"),
        n => text.push_str(&format!(", {n} restarts")),
    }
    text
}

/// What a row of the history says in its last column.
pub fn description(revision: &Revision) -> String {
    if revision.undecodable.is_empty() {
        revision.description.clone()
    } else {
        format!("cannot be read: {}", revision.undecodable)
    }
}

/// The history as it is known last.
pub fn history(summary: &Summary) -> &[Revision] {
    // An uninstalled release has no history any more, which is not the same as not having looked again.
    if summary.after.is_empty() && summary.outcome != Some(Outcome::Uninstalled) {
        &summary.before
    } else {
        &summary.after
    }
}

/// The newest revision that is deployed.
pub fn deployed(history: &[Revision]) -> Option<&Revision> {
    history.iter().rev().find(|revision| revision.status == Status::Deployed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let rows = [
            (0, "0.0s"),
            (49, "0.0s"),
            (3_210, "3.2s"),
            (9_949, "9.9s"),
            (9_950, "10s"),
            (42_000, "42s"),
            (59_600, "1m00s"),
            (65_000, "1m05s"),
            (3_599_000, "59m59s"),
            (7_380_000, "2h03m"),
        ];
        for (millis, expected) in rows {
            assert_eq!(duration(Duration::from_millis(millis)), expected, "{millis} ms");
        }
    }

    #[test]
    fn a_number_of_seconds_that_is_none_does_no_harm() {
        assert_eq!(seconds(f64::NAN), "0.0s");
        assert_eq!(seconds(-1.0), "0.0s");
    }

    #[test]
    fn a_workload_says_what_its_pods_suffer_from() {
        let mut web = Workload {
            kind: "Deployment".into(),
            name: "web".into(),
            ready: 1,
            wanted: 3,
            reasons: vec!["CrashLoopBackOff".into(), "CrashLoopBackOff".into(), "Unschedulable".into()],
        };
        assert_eq!(workload(&web), "Deployment/web 1/3 ready (CrashLoopBackOff ×2, Unschedulable)");
        web.reasons.clear();
        assert_eq!(workloads(&[web.clone(), web.clone(), web], 1), "Deployment/web 1/3 ready, 2 more");
    }

    #[test]
    fn times_that_cannot_be_read_stay() {
        assert_eq!(time("2026-07-14T12:02:11.123456789+02:00"), "2026-07-14 10:02:11 UTC");
        assert_eq!(time("yesterday"), "yesterday");
    }

    #[test]
    fn only_a_hash_is_shortened() {
        assert_eq!(short_commit("4f2c9e1b7d3a8c5e6f0142536475869708192a3b"), "4f2c9e1");
        assert_eq!(
            short_commit("ünïcode-not-a-commit-but-quite-long-all-the-same"),
            "ünïcode-not-a-commit-but-quite-long-all-the-same"
        );
    }
}
