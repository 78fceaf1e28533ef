//! The JSON report of a run, for machines.
//! Pure: writing the file is in `sink`.

use serde::Serialize;

use super::Summary;

/// Version of the layout. It grows when a field is renamed, removed or changes its meaning, not when one is added.
pub const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    schema_version: u32,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// The report as pretty-printed JSON, ending in a line break.
///
/// | field | content |
/// |---|---|
/// | `schemaVersion` | 1 |
/// | `subject` | `command`, `release`, `namespace`, `helmFlags` (names, no values), `owner` |
/// | `outcome` | `deployed`, `uninstalled`, `failed`, `rolled-back`, `refused`, `lock-timeout`, `lock-lost`, `cancelled`; `null` while it runs or if it was killed |
/// | `reason`, `next`, `exitCode` | why, what to do next, the exit code (`null` like `outcome`) |
/// | `stage` | what the run was doing last, for people |
/// | `warnings` | strings, without repeats |
/// | `lock` | `id`, `lease`, `waitedSeconds`, `waitedFor` and `takenOver` (`null` or `lockId`, `identity`, `owner`, `operation`, `since`) |
/// | `before`, `after` | history, oldest first: `revision`, `status`, `chart`, `appVersion`, `updated`, `description`, and `undecodable` if the record could not be read |
/// | `repair` | `null` or `strategy`, `finding`, `why`, `steps`, `backup` |
/// | `helm` | `null` or `version`, `code` (`null` while it runs or after a signal), `seconds`, `error`, `waitingFor` (`kind`, `name`, `ready`, `wanted`, `reasons`) |
/// | `pods` | `pod`, `container`, `reason`, `message`, `restarts` |
/// | `events` | `object`, `reason`, `message`, `count` |
///
/// `owner` is `name` and, as far as known, `runUrl`, `runId`, `runNumber`, `runAttempt`, `workflow`, `job`, `ref`,
/// `commit`, `actor`. Times are RFC 3339, durations seconds. Strings are as the cluster gave them: escape them before
/// showing them anywhere. Only what a log could take for a workflow command is escaped already, as JSON allows.
pub fn report(summary: &Summary) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&Report { schema_version: SCHEMA_VERSION, summary })?;
    text.push('\n');
    // Somebody will `cat` this file in a job. A '#' stands only inside strings, where the escape means the same.
    Ok(text.replace('#', "\\u0023"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::text::tests::{hostile, is_workflow_command};
    use crate::report::{Event, Outcome, samples};

    #[test]
    fn the_layout_is_stable() {
        insta::assert_snapshot!(report(&samples::summary(&samples::repaired())).unwrap());
    }

    #[test]
    fn an_unfinished_run_has_no_outcome() {
        insta::assert_snapshot!(report(&samples::summary(&samples::killed())).unwrap());
    }

    proptest! {
        #[test]
        fn any_text_survives_and_is_no_command(text in hostile()) {
            let mut summary = Summary::default();
            summary.apply(&Event::Finished { outcome: Outcome::Failed, reason: text.clone(), next: vec![], exit_code: 1 });
            let json = report(&summary).unwrap();
            prop_assert!(!is_workflow_command(&json), "{json}");
            let read: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read["reason"].as_str(), Some(text.as_str()));
        }
    }
}
