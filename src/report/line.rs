//! A line of the log, in its two forms: a column of verbs for a terminal, a sentence with a prefix for everything else.
//! Pure. What an event says is in `live.rs`, what stands at the end in `closing.rs`.

use crate::{
    color::Severity,
    display::{Display, Volume, wrapped},
    text::{PREFIX, terminal_safe},
};

/// Columns of the verbs, with the blank behind them: the longest has twelve letters.
pub(super) const MARGIN: usize = 13;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Something happened: a verb, and what.
    Said(&'static str, Severity),
    /// More of the line above.
    Detail,
    /// Something to do: advice, or a command that can be copied.
    Hint,
    /// A fact that only some read.
    Fact(&'static str),
    /// The same as a row of a table, cut to the width.
    Row(&'static str),
    /// Space before what follows; nothing in a log.
    Gap,
}

/// A line. Both forms are safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    kind: Kind,
    volume: Volume,
    /// Behind the verb on a terminal.
    text: String,
    /// Behind the prefix in a log.
    plain: String,
}

impl Line {
    /// `verb text` on a terminal, `helm-guard: plain` elsewhere.
    pub(super) fn said(verb: &'static str, severity: Severity, text: &str, plain: &str) -> Self {
        Self::new(Kind::Said(verb, severity), text, plain)
    }

    /// What shows the line above.
    pub(super) fn detail(text: &str) -> Self {
        let mut line = Self::new(Kind::Detail, text, text);
        // What makes a text safe takes the blanks off.
        line.plain = format!("  {}", line.plain);
        line
    }

    /// What to do.
    pub(super) fn hint(text: &str) -> Self {
        Self::new(Kind::Hint, text, &format!("hint: {text}"))
    }

    /// `verb text`, dimmed.
    pub(super) fn fact(verb: &'static str, text: &str, plain: &str) -> Self {
        Self::new(Kind::Fact(verb), text, plain)
    }

    /// `verb text`, dimmed and cut: a row of several, whose first one has a verb.
    pub(super) fn row(verb: &'static str, text: &str) -> Self {
        Self::new(Kind::Row(verb), text, text)
    }

    /// An empty line on a terminal.
    pub(super) fn gap() -> Self {
        Self::new(Kind::Gap, "", "")
    }

    fn new(kind: Kind, text: &str, plain: &str) -> Self {
        let (text, plain) = (terminal_safe(text), terminal_safe(plain));
        Self { kind, volume: Volume::Normal, text, plain }
    }

    /// Shown from this volume on.
    pub(super) fn at(self, volume: Volume) -> Self {
        Self { volume, ..self }
    }

    /// Is it shown?
    pub(super) fn is_shown(&self, volume: Volume) -> bool {
        self.volume <= volume
    }

    /// In a log: a line that begins with `helm-guard: `, or none.
    pub(super) fn plain(&self, color: bool) -> Vec<String> {
        let display = Display { color, width: None };
        let text = match self.kind {
            _ if self.plain.is_empty() => return Vec::new(),
            Kind::Gap => return Vec::new(),
            Kind::Said(_, Severity::None) | Kind::Detail => self.plain.clone(),
            Kind::Said(_, severity) => {
                let label = self.plain.split_once(": ").map_or(&*self.plain, |(label, _)| label);
                format!("{}{}", display.styled(&severity.bold(), label), &self.plain[label.len()..])
            }
            Kind::Hint => match self.plain.strip_prefix("hint: ") {
                Some(rest) => format!("hint: {}", display.styled("36", rest)),
                None => self.plain.clone(),
            },
            Kind::Fact(_) | Kind::Row(_) => display.styled("2", &self.plain),
        };
        vec![format!("{}{text}", display.styled("2", PREFIX))]
    }

    /// On a terminal: the verb in the left column, and the text beside it, wrapped. Commands are not wrapped: what is copied
    /// must be one line.
    pub(super) fn drawn(&self, display: Display) -> Vec<String> {
        let blanks = " ".repeat(MARGIN);
        let beside = |text: &str| match display.width {
            Some(width) if width > 2 * MARGIN => wrapped(text, width - MARGIN),
            _ => vec![text.to_owned()],
        };
        let column = |verb: &str, style: &str| {
            let left = " ".repeat((MARGIN - 1).saturating_sub(verb.len()));
            format!("{left}{} ", display.styled(style, verb))
        };
        let below = |first: String, style: &str, text: &str| {
            let starts = std::iter::once(first).chain(std::iter::repeat(blanks.clone()));
            let lines = beside(text).into_iter();
            starts
                .zip(lines)
                .map(|(start, line)| format!("{start}{}", styled(display, style, &line)))
                .collect()
        };
        match self.kind {
            Kind::Gap => vec![String::new()],
            Kind::Said(verb, severity) if self.text.is_empty() => {
                vec![column(verb, &severity.bold()).trim_end().to_owned()]
            }
            Kind::Said(verb, severity) => below(column(verb, &severity.bold()), "", &self.text),
            Kind::Fact(verb) if command_in(&self.text).0.is_none() => {
                vec![format!("{}{}", column(verb, "2"), display.styled("2", &self.text))]
            }
            Kind::Row(verb) => {
                let width = display.width.map(|width| width.saturating_sub(MARGIN));
                let text = Display { width, ..display }.fit(&self.text);
                vec![format!("{}{}", column(verb, "2"), display.styled("2", &text))]
            }
            Kind::Detail => below(blanks.clone(), "", &self.text),
            Kind::Fact(verb) => below(column(verb, "2"), "2", &self.text),
            Kind::Hint => {
                let (label, command) = command_in(&self.text);
                let label = label.map(|label| below(blanks.clone(), "", label));
                let command = command.map(|line| format!("{blanks}  {}", display.styled("36", line)));
                label.unwrap_or_default().into_iter().chain(command).collect()
            }
        }
    }
}

fn styled(display: Display, style: &str, text: &str) -> String {
    if style.is_empty() { text.to_owned() } else { display.styled(style, text) }
}

/// Programs that a line to copy begins with.
const PROGRAMS: [&str; 4] = ["helm-guard ", "kubectl ", "helm ", "HELM_DRIVER="];

/// Splits `to undo it: helm-guard restore x` into what is said and the command; either may be missing.
fn command_in(text: &str) -> (Option<&str>, Option<&str>) {
    let is_command = |text: &str| PROGRAMS.iter().any(|program| text.starts_with(program));
    if is_command(text) {
        return (None, Some(text));
    }
    match text.split_once(": ").filter(|(_, rest)| is_command(rest)) {
        Some((_, command)) => (text.strip_suffix(command).map(str::trim_end), Some(command)),
        None => (Some(text), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_alone_on_their_line() {
        for (text, label, command) in [
            ("kubectl get pods", None, Some("kubectl get pods")),
            ("to undo it: helm-guard restore x", Some("to undo it:"), Some("helm-guard restore x")),
            ("wait for that run", Some("wait for that run"), None),
            ("add this rule: {verbs: [get]}", Some("add this rule: {verbs: [get]}"), None),
        ] {
            assert_eq!(command_in(text), (label, command), "{text}");
        }
    }

    #[test]
    fn colour_changes_no_word() {
        let lines = [
            Line::said("Failed", Severity::Error, "upgrade of web", "upgrade of web failed"),
            Line::said("Warning", Severity::Warning, "odd", "warning: odd"),
            Line::hint("to undo it: helm-guard restore x"),
            Line::fact("Changes", "since revision 1: nothing", "changes since revision 1: nothing"),
        ];
        let bare = |lines: Vec<String>| lines.iter().map(|line| terminal_safe(line)).collect::<Vec<_>>();
        for line in lines {
            assert_eq!(bare(line.plain(true)), bare(line.plain(false)));
            let display = |color| Display { color, width: Some(80) };
            assert_eq!(bare(line.drawn(display(true))), bare(line.drawn(display(false))));
            assert_ne!(line.drawn(display(true)), line.drawn(display(false)));
        }
    }
}
