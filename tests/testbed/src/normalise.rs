//! Making texts the same from run to run, for snapshots.

use std::sync::LazyLock;

use regex::Regex;

/// In this order: what is longer comes first. A placeholder has one width, whatever it stands for.
const RULES: &[(&str, &str)] = &[
    // 2026-11-21T12:30:00.123456789Z, and with an offset or a blank
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d| [+-]\d{4} [A-Z]+)?", "[TIME]"),
    // Sat Nov 21 12:30:00 2026, with a blank before a day of one digit
    (r"\b[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\b", "[TIME]"),
    (r"\b\d\d:\d\d:\d\d\b", "[CLOCK]"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "[UID]"),
    // Namespaces of `Cluster::namespace`.
    (r"\b[a-z0-9]+(?:-[a-z0-9]+)*?-t[0-9a-f]{6}\b", "[NAMESPACE]"),
    // Directories of this crate and of `tempfile`.
    (r#"(?:/[^\s/:"']+)*/(?:\.tmp|hg-)[A-Za-z0-9_-]+"#, "[TMP]"),
    (r"\b(127\.0\.0\.1|localhost|\[::1\]):\d{2,5}\b", "$1:[PORT]"),
    (r"(?i)\b(pid[ =:]+)\d+\b", "$1[PID]"),
    // Who holds a lock: owner, eight hexadecimal digits, process ID. Before pods, whose names may look like it.
    (r"-[0-9a-f]{8}-\d{1,7}\b", "-[ID]-[PID]"),
    // Pods of a Deployment: web-7d9c5b8f6-x2x4z. Of the letters and digits that Kubernetes takes for generated names
    // (apimachinery, `util/rand`): no vowels, and no 0, 1 and 3.
    (
        r"\b([a-z0-9]+(?:-[a-z0-9]+)*?)-[bcdfghjklmnpqrstvwxz2456789]{8,10}-[bcdfghjklmnpqrstvwxz2456789]{5}\b",
        "$1-[POD]",
    ),
    (r"\b(v\d+\.\d+)\.\d+\b", "$1.[PATCH]"),
    // 1h2m3s, 1m20s, 4.2s, 350ms, 20 s
    (
        r"\b(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?\s?(?:ms|s|µs|seconds?|minutes?)\b|\b\d+h\d+m\b|\b\d+[mh]\b",
        "[DURATION]",
    ),
];

/// Puts placeholders in the place of what differs from run to run: times, durations, UIDs, ports, PIDs, temporary
/// paths, patch versions, pods' generated names, and namespaces of [`crate::Cluster::namespace`].
#[must_use]
pub fn normalise(text: &str) -> String {
    static COMPILED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        RULES.iter().filter_map(|(rule, placeholder)| Some((Regex::new(rule).ok()?, *placeholder))).collect()
    });
    COMPILED
        .iter()
        .fold(text.to_owned(), |text, (rule, placeholder)| rule.replace_all(&text, *placeholder).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_a_regular_expression() {
        for (rule, _) in RULES {
            Regex::new(rule).expect(rule);
        }
    }

    #[test]
    fn what_differs_from_run_to_run_is_replaced() {
        for (text, expected) in [
            ("since 2026-11-21T12:30:00.123456Z by run-42", "since [TIME] by run-42"),
            ("at 2026-11-21 12:30:00 +0000 UTC", "at [TIME]"),
            ("LAST DEPLOYED: Sat Nov 21 23:59:59 2026", "LAST DEPLOYED: [TIME]"),
            ("LAST DEPLOYED: Tue Dec  1 00:00:00 2026", "LAST DEPLOYED: [TIME]"),
            (
                "waited 4.2s of 5m0s, 1h2m3s left, 20 s more",
                "waited [DURATION] of [DURATION], [DURATION] left, [DURATION] more",
            ),
            ("uid 0f058f77-24da-4a56-87cf-f9bd77c6d649", "uid [UID]"),
            ("https://127.0.0.1:43747/api", "https://127.0.0.1:[PORT]/api"),
            ("helm (pid 1234)", "helm (pid [PID])"),
            ("Helm v3.22.0", "Helm v3.22.[PATCH]"),
            ("--kubeconfig /tmp/hg-namespace-aB3/kubeconfig", "--kubeconfig [TMP]/kubeconfig"),
            ("-n first-install-t0a1b2c", "-n [NAMESPACE]"),
            ("pod web-57d6b95858-zwdnq", "pod web-[POD]"),
            // Whatever digits a lock ID and a process ID have.
            ("ada@laptop-3f9a1c07-12345 holds it", "ada@laptop-[ID]-[PID] holds it"),
            ("ada@laptop-bcdf2456-24567 holds it", "ada@laptop-[ID]-[PID] holds it"),
            ("run-42-unlock-99999999-22222", "run-42-unlock-[ID]-[PID]"),
            ("pod web-57d6b95858-24567", "pod web-[POD]"),
            ("release web in shop, revision 2 of 3", "release web in shop, revision 2 of 3"),
        ] {
            assert_eq!(normalise(text), expected);
        }
    }
}
