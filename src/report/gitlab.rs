//! The report for GitLab CI: collapsible sections of the job's log, and the outputs as a dotenv report.
//! Pure: text only, the time is passed in. Text from elsewhere can neither open a section nor begin a line.

use jiff::Timestamp;

use super::{Summary, github, terminal::revision};
use crate::release::Revision;
use crate::text::{shorten, terminal_safe};

/// What the outputs' names begin with. Not `HELM_GUARD_`: the variables reach later jobs, where such a name would be taken
/// for a flag.
const PREFIX: &str = "DEPLOY_";
/// Longest value of an output, in characters.
const VALUE: usize = 500;

/// A part of the log that can be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What Helm says.
    Helm,
    /// The history tables.
    History,
}

impl Section {
    fn name(self) -> &'static str {
        match self {
            Self::Helm => "helm_guard_helm",
            Self::History => "helm_guard_history",
        }
    }

    /// The line that opens it, headline and line break included.
    pub fn start(self, now: Timestamp, headline: &str) -> String {
        let folded = if self == Self::History { "[collapsed=true]" } else { "" };
        let (second, name, headline) = (now.as_second(), self.name(), terminal_safe(headline));
        format!("\u{1b}[0Ksection_start:{second}:{name}{folded}\r\u{1b}[0K{headline}\n")
    }

    /// The line that closes it.
    pub fn end(self, now: Timestamp) -> String {
        format!("\u{1b}[0Ksection_end:{}:{}\r\u{1b}[0K\n", now.as_second(), self.name())
    }
}

/// Somebody else's bytes without ESC and CR, which a section mark cannot do without.
pub fn inert_bytes(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !matches!(byte, 0x1b | b'\r')).collect()
}

/// The history before and after, for the folded end of the log.
pub fn history(summary: &Summary) -> Vec<String> {
    let rows = |title: &str, rows: &[Revision]| {
        let title = if rows.is_empty() { format!("{title}: no revision") } else { format!("{title}:") };
        std::iter::once(title)
            .chain(rows.iter().map(|row| format!("  {}", terminal_safe(&revision(row)))))
            .collect::<Vec<_>>()
    };
    if summary.before == summary.after {
        return rows("history, unchanged", &summary.after);
    }
    [rows("history before", &summary.before), rows("history after", &summary.after)].concat()
}

/// The outputs as GitLab reads a dotenv report: one a line, no quotation marks, no line breaks.
pub fn dotenv(summary: &Summary, report_path: &str) -> String {
    github::outputs(summary, report_path).iter().map(|(name, text)| line(name, text)).collect()
}

/// A dotenv report whose run was killed and settled afterwards.
pub fn settled(dotenv: &str) -> String {
    let outcome = line("outcome", "cancelled");
    let begin = format!("{PREFIX}OUTCOME=");
    let others = dotenv.lines().filter(|line| !line.starts_with(&begin)).map(|line| format!("{line}\n"));
    std::iter::once(outcome).chain(others).collect()
}

fn line(name: &str, text: &str) -> String {
    let name = name.to_ascii_uppercase().replace('-', "_");
    // What a shell or the runner would expand has no business in a word, a number or a path.
    let plain = |c: char| if c.is_ascii_alphanumeric() || " ._-/:@+,=".contains(c) { c } else { '_' };
    let value: String = shorten(&terminal_safe(text), VALUE).chars().map(plain).collect();
    format!("{PREFIX}{name}={value}\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{report::examples, text::tests::hostile};

    fn now() -> Timestamp {
        Timestamp::from_second(1_780_000_000).unwrap()
    }

    #[test]
    fn sections_are_as_gitlab_documents_them() {
        assert_eq!(
            Section::Helm.start(now(), "helm upgrade"),
            "\u{1b}[0Ksection_start:1780000000:helm_guard_helm\r\u{1b}[0Khelm upgrade\n"
        );
        assert_eq!(
            Section::History.start(now(), "history"),
            "\u{1b}[0Ksection_start:1780000000:helm_guard_history[collapsed=true]\r\u{1b}[0Khistory\n"
        );
        let end = Section::Helm.end(now());
        assert_eq!(end, "\u{1b}[0Ksection_end:1780000000:helm_guard_helm\r\u{1b}[0K\n");
    }

    #[test]
    fn the_outputs_of_a_repair() {
        insta::assert_snapshot!(dotenv(&examples::summary(&examples::rebase_repair()), "report.json"), @r"
        DEPLOY_OUTCOME=deployed
        DEPLOY_REVISION=6
        DEPLOY_PREVIOUS_REVISION=4
        DEPLOY_REPAIRED=true
        DEPLOY_WAITED_SECONDS=62
        DEPLOY_LOCK_ID=p7x2mf
        DEPLOY_REPORT=report.json
        DEPLOY_BACKUP=backups/shop.web-p7x2mf.json
        ");
    }

    #[test]
    fn a_killed_run_is_cancelled_once_it_is_settled() {
        let killed = dotenv(&examples::summary(&examples::killed()), "r");
        assert!(killed.starts_with("DEPLOY_OUTCOME=\n"), "{killed}");
        let settled = settled(&killed);
        assert!(settled.starts_with("DEPLOY_OUTCOME=cancelled\n"), "{settled}");
        assert_eq!(settled.lines().count(), killed.lines().count());
    }

    proptest! {
        /// Nobody's text opens a section, begins a line or is expanded.
        #[test]
        fn hostile_text_is_inert(text in hostile()) {
            let bytes = inert_bytes(text.as_bytes());
            prop_assert!(!bytes.contains(&0x1b) && !bytes.contains(&b'\r'));
            prop_assert_eq!(Section::Helm.start(now(), &text).matches('\u{1b}').count(), 2);
            prop_assert_eq!(Section::Helm.start(now(), &text).matches(['\r', '\n']).count(), 2);
            let line = line("report", &text);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let live = line.contains(['$', '"', '\'', '`', '\r', '\u{1b}']);
            prop_assert!(!live, "{}", line);
        }
    }
}
