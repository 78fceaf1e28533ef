//! The findings of `helm lint` about a chart.
//! Pure: `deploy/preflight.rs` runs it.

use super::Finding;

/// Lines that are read.
const MOST: usize = 30;

/// Errors and warnings in what `helm lint` prints, `[ERROR] templates/web.yaml: …`. None is certain: Helm deploys charts that
/// its own linter does not like.
pub fn findings(printed: &str, chart: &str) -> Vec<Finding> {
    let lines = printed.lines().filter_map(|line| {
        let line = line.trim();
        let (level, told) = [("error", "[ERROR] "), ("warning", "[WARNING] ")]
            .into_iter()
            .find_map(|(level, mark)| Some((level, line.strip_prefix(mark)?)))?;
        let (path, cause) = told.split_once(": ").unwrap_or(("", told));
        Some(Finding {
            id: "lint",
            object: "the chart".to_owned(),
            field: path.to_owned(),
            cause: format!("{level} of helm lint: {cause}"),
            remedy: vec![format!("helm lint {chart}")],
            ..Finding::default()
        })
    });
    lines.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Helm 3.22 and 4.3 print it.
    #[test]
    fn errors_and_warnings_are_findings_and_advice_is_none() {
        let printed = "==> Linting chart\n[INFO] Chart.yaml: icon is recommended\n[WARNING] templates/a.yaml: object name does not conform\n[ERROR] templates/: template: web/templates/b.yaml:1:3: executing \"b\" at <fail>\n\nError: 1 chart(s) linted, 1 chart(s) failed\n";
        let found = findings(printed, "./chart");
        let lines: Vec<String> = found.iter().map(Finding::sentence).collect();
        insta::assert_snapshot!(lines.join("\n"));
        assert!(found.iter().all(|finding| !finding.is_certain()));
    }
}
