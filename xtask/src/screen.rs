//! What the commands show while they work. Knows nothing of what it shows.

use std::{
    ffi::OsString,
    io::IsTerminal,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Work that takes no longer needs no spinner.
const PATIENCE: Duration = Duration::from_secs(1);

/// Standard output, with colour if it is a terminal and `NO_COLOR` does not forbid it.
#[derive(Debug)]
pub(crate) struct Screen {
    color: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { color: std::io::stdout().is_terminal() && variable("NO_COLOR").is_none() }
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// One sentence that tells what comes next.
    pub(crate) fn heading(&self, text: &str) {
        println!("\n{}", self.styled("1", text));
    }

    /// A command line as it would be typed, before its output.
    pub(crate) fn command(&self, line: &str) {
        println!("{} {}", self.styled("2", "$"), self.styled("36", line));
    }

    /// A remark of lesser weight.
    pub(crate) fn remark(&self, text: &str) {
        println!("{}", self.styled("2", text));
    }

    /// `ok` in green, `MISSED` in red.
    pub(crate) fn verdict(&self, good: bool) -> String {
        if good { self.styled("32", "ok") } else { self.styled("1;31", "MISSED") }
    }

    /// Does something, with a spinner if it takes long, and a line about how long it took.
    pub(crate) fn step<T>(
        &self,
        what: &str,
        work: impl FnOnce(&Note) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let started = now();
        let answer = waiting(what, work)?;
        self.remark(&format!("{what}: {:.1} s", started.elapsed().as_secs_f64()));
        Ok(answer)
    }
}

/// Tells a spinner what is being done right now.
#[derive(Debug)]
pub(crate) struct Note(mpsc::Sender<String>);

impl Note {
    pub(crate) fn set(&self, text: String) {
        // Nobody listens before the spinner is shown.
        let _ = self.0.send(text);
    }
}

/// Does something that is silent; from its second second on a terminal sees a spinner, a log a line.
pub(crate) fn waiting<T>(what: &str, work: impl FnOnce(&Note) -> T) -> T {
    let (sender, notes) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || show(what, &notes));
        // Dropping the note at the end of the work ends the spinner.
        let note = Note(sender);
        work(&note)
    })
}

fn show(what: &str, notes: &Receiver<String>) {
    let patience_ends = now() + PATIENCE;
    let mut last = String::new();
    loop {
        match notes.recv_timeout(patience_ends.saturating_duration_since(now())) {
            Ok(note) => last = note,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    if !std::io::stderr().is_terminal() {
        println!("{what} …");
        while notes.recv().is_ok() {}
        return;
    }
    let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}");
    let spinner =
        ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.set_prefix(what.to_owned());
    spinner.set_message(last);
    spinner.enable_steady_tick(Duration::from_millis(120));
    while let Ok(note) = notes.recv() {
        spinner.set_message(note);
    }
    spinner.finish_and_clear();
}

/// What this machine's monotonic clock says.
#[expect(clippy::disallowed_methods, reason = "these commands are the rim: they measure and tell times")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A variable of the environment that is set and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "these commands are the rim: no main passes the environment in"
)]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A command line as a POSIX shell reads it.
pub(crate) fn shell_line(words: &[&str]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+".contains(c);
    let quoted = |word: &&str| {
        if !word.is_empty() && word.chars().all(plain) {
            (*word).to_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_line_can_be_pasted_into_a_shell() {
        for (words, line) in [
            (&["helm", "upgrade", "--set=a=1"][..], "helm upgrade --set=a=1"),
            (&["--set=configs={keep,new}"], "'--set=configs={keep,new}'"),
            (&["it's", ""], r"'it'\''s' ''"),
        ] {
            assert_eq!(shell_line(words), line);
        }
    }
}
