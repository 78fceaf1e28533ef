//! The report as JSON, for programs.
//! Pure. Text in it is as it was found: whoever shows it makes it safe.

use serde::Serialize;

use super::Summary;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    /// Raised when a field changes its meaning or goes; a new field does not raise it.
    schema_version: u32,
    repaired: bool,
    revision: Option<u32>,
    previous_revision: Option<u32>,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// One JSON object, indented, with a line break at the end.
pub fn render(summary: &Summary) -> String {
    let report = Report {
        schema_version: 1,
        repaired: summary.repaired(),
        revision: summary.revision(),
        previous_revision: summary.previous_revision(),
        summary,
    };
    // Cannot fail: the keys are strings, and a number that JSON does not know becomes null.
    let mut json =
        serde_json::to_string_pretty(&report).unwrap_or_else(|_| r#"{"schemaVersion": 1}"#.to_owned());
    json.push('\n');
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    #[test]
    fn a_repair_in_json() {
        insta::assert_snapshot!(render(&examples::summary(&examples::rebase_repair())));
    }

    #[test]
    fn an_unfinished_run_says_so_with_null() {
        let json: serde_json::Value =
            serde_json::from_str(&render(&examples::summary(&examples::killed()))).unwrap();
        assert_eq!(json["schemaVersion"], 1);
        assert!(json["outcome"].is_null());
        assert_eq!(json["stage"], "running helm");
    }
}
