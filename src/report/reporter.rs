//! Where the report goes: terminal or log, job summary, outputs, report file.
//! The only file here that writes. A report that cannot be written never fails a deploy: every error is swallowed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::gitlab::{self, Section};
use super::{Event, Summary, closing, github, json, line::Line, live, progress, terminal};
use crate::clock::Clock;
use crate::color::Severity;
use crate::display::{Display, Volume};
use crate::redact::{Redact, Redactor, Secrets};
use crate::text::inert_line;

/// GitHub drops a larger job summary whole.
const STEP_SUMMARY: usize = 1024 * 1024;
/// Room for what others in the same step still append.
const RESERVE: usize = 64 * 1024;
/// Longest line of Helm's that is kept until it ends, in bytes.
const LONGEST: usize = 64 * 1024;

/// What each line of Helm's stderr begins with on a terminal: as wide as the column of verbs.
const GUTTER: &str = "       helm │ ";

/// Where to report to. Read from the environment by `main`, passed in.
#[derive(Clone, Debug, Default)]
pub struct Sinks {
    /// Colour in the log.
    pub color: bool,
    /// stderr is a terminal that may be drawn on.
    pub terminal: bool,
    /// stdout is one too: what Helm writes there is on the same screen.
    pub stdout_terminal: bool,
    /// How much is logged.
    pub volume: Volume,
    /// The log is read by GitHub's runner.
    pub github: bool,
    /// The log is read by GitLab's runner.
    pub gitlab: bool,
    /// `--report`.
    pub report_file: Option<PathBuf>,
    /// `--summary`.
    pub summary_file: Option<PathBuf>,
    /// `--dotenv`.
    pub dotenv: Option<PathBuf>,
    /// `GITHUB_STEP_SUMMARY`.
    pub step_summary: Option<PathBuf>,
    /// `GITHUB_OUTPUT`.
    pub github_output: Option<PathBuf>,
    /// Random word that nobody else can know: ends outputs.
    pub delimiter: String,
}

/// Takes the events and keeps every sink up to date. Shared between threads.
pub struct Reporter {
    sinks: Sinks,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    summary: Summary,
    secrets: Secrets,
    redactor: Redactor,
    out: Stream,
    err: Stream,
    /// The status, while there is one.
    status: Option<Status>,
    /// A file could not be written, and that was said.
    troubled: bool,
    /// Our part of the job summary, once it has one.
    part: Option<Part>,
    /// The section of GitLab's log that is open.
    section: Option<Section>,
}

/// What is drawn below all else and wiped again: a line, and under it the rows of a table.
struct Status {
    all: MultiProgress,
    /// A line without anything to be seen.
    above: ProgressBar,
    head: ProgressBar,
    rows: Vec<ProgressBar>,
    is_table: bool,
}

struct Stream {
    writer: Box<dyn Write + Send>,
    /// The last byte was no line break.
    midline: bool,
    /// It was a carriage return of Helm's, behind the gutter.
    returned: bool,
    /// The begun line of Helm's that is not written yet, on GitHub.
    begun: Vec<u8>,
}

/// A range of a file that is ours, in bytes.
struct Part {
    start: u64,
    length: u64,
}

impl Reporter {
    /// A reporter on this process's stdout and stderr.
    pub fn new(sinks: Sinks, clock: Clock) -> Self {
        Self::with_streams(sinks, clock, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    fn with_streams(
        sinks: Sinks,
        clock: Clock,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Self {
        let state = State {
            summary: Summary::default(),
            secrets: Secrets::default(),
            redactor: Redactor::default(),
            out: Stream { writer: out, midline: false, returned: false, begun: Vec::new() },
            err: Stream { writer: err, midline: false, returned: false, begun: Vec::new() },
            status: None,
            troubled: false,
            part: None,
            section: None,
        };
        Self { sinks, clock, state: Mutex::new(state) }
    }

    /// From now on these are in no report.
    pub fn learn(&self, secrets: &Secrets) {
        let mut state = self.lock();
        state.secrets.join(secrets);
        state.redactor = state.secrets.redactor();
    }

    /// What takes out all that was learned.
    pub fn redactor(&self) -> Redactor {
        self.lock().redactor.clone()
    }

    /// Reports an event everywhere, without the secrets that are known by now.
    pub fn emit(&self, mut event: Event) {
        let mut state = self.lock();
        event.redact(&state.redactor);
        state.summary.apply(&event, self.clock.monotonic());
        let finished = matches!(event, Event::Finished { .. });
        if matches!(event, Event::Finished { .. } | Event::HelmEnded { .. }) {
            state.clear_status();
        }
        if finished {
            state.end_begun();
        }
        let Sinks { color, volume, terminal, .. } = self.sinks;
        let width = terminal.then(width).flatten();
        let lines = match (&event, terminal::status(&event, width).filter(|_| terminal)) {
            (_, Some(_)) if volume == Volume::Quiet => Vec::new(),
            (_, Some(status)) => {
                let paint = |(severity, line): (Severity, String)| {
                    if color { severity.paint(&line) } else { line }
                };
                let lines: Vec<String> = status.into_iter().map(paint).collect();
                state.show_status(&lines, matches!(event, Event::Seen { .. }));
                Vec::new()
            }
            (Event::Finished { .. }, None) => closing::lines(&state.summary, volume),
            (Event::Told(change), None) if terminal && progress::is_drawn(change) => Vec::new(),
            (event, None) => live::lines(event),
        };
        self.fold(&mut state, &event);
        self.print(&mut state, &lines);
        if finished && volume != Volume::Quiet {
            self.fold_history(&mut state);
        }
        // What is only shown changes no file.
        if !matches!(event, Event::Seen { .. } | Event::Told(_)) {
            self.save(&mut state, finished);
        }
        if finished && self.sinks.github {
            let commands = github::annotations(&state.summary);
            state.with_cleared_status(|state| commands.iter().for_each(|line| state.err.line(line)));
        }
        // With the lock too, since a killed step's outputs are read as well: a later step can free the lock by its id.
        if finished || matches!(event, Event::LockAcquired { .. }) {
            let saved = self.save_outputs(&state.summary, finished);
            self.note(&mut state, "outputs", saved);
        }
    }

    /// Helm's bytes, untouched; on GitHub whole lines, none of which the runner takes for a command.
    ///
    /// On a terminal each line of Helm's stderr begins with a gutter, since that stream is a log which Helm and this program
    /// share. Its stdout has none, on a terminal neither: it is a result, such as notes with commands to copy or `-o json`.
    ///
    /// No `::stop-commands::` window: the runner reads stdout and stderr apart and in no order between them, so a window
    /// opened on one does not cover the other; and its two lines would be part of what `… -o json > file` saves.
    pub fn child_line(&self, to_stderr: bool, bytes: &[u8]) {
        let mut state = self.lock();
        let (runner, gitlab, gutter) =
            (self.sinks.github, self.sinks.gitlab, self.sinks.terminal && to_stderr);
        let display = Display { color: self.sinks.color, width: None };
        let joins = gutter && self.sinks.stdout_terminal;
        state.with_cleared_status(|state| {
            if joins && state.out.midline {
                state.end_line_of_stdout();
            }
            let stream = if to_stderr { &mut state.err } else { &mut state.out };
            match (runner, gitlab) {
                (true, _) => stream.inert(bytes),
                (false, true) => stream.bytes(&gitlab::inert_bytes(bytes)),
                (false, false) if gutter => stream.behind_gutter(bytes, display),
                (false, false) => stream.bytes(bytes),
            }
        });
        // Drawing a status line would wipe the begun line.
        if state.out.midline || state.err.midline {
            state.clear_status();
        }
    }

    /// Is there a person who sees a status line?
    pub fn is_terminal(&self) -> bool {
        self.sinks.terminal
    }

    /// Helm starts: what is begun belongs to somebody else.
    pub fn begin_untrusted(&self) {
        self.lock().end_begun();
    }

    /// Helm's output is over: a last line without a line break is written too.
    pub fn end_untrusted(&self) {
        self.lock().end_begun();
    }

    /// Everything known so far.
    pub fn summary(&self) -> Summary {
        self.lock().summary.clone()
    }

    /// A thread that panicked while reporting must not silence the others.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, state: &mut State, lines: &[Line]) {
        let Sinks { color, github: runner, terminal, stdout_terminal, volume, .. } = self.sinks;
        let display = Display { color, width: terminal.then(width).flatten() };
        let shown = lines.iter().filter(|line| line.is_shown(volume));
        let lines: Vec<String> =
            shown.flat_map(|line| if terminal { line.drawn(display) } else { line.plain(color) }).collect();
        state.with_cleared_status(|state| {
            if stdout_terminal && state.out.midline && !lines.is_empty() {
                state.end_line_of_stdout();
            }
            for line in &lines {
                state.err.line(&if runner { inert_line(line) } else { line.clone() });
            }
        });
    }

    /// Helm's words are a section of their own in GitLab's log: from its start to its end, however it comes.
    fn fold(&self, state: &mut State, event: &Event) {
        if !self.sinks.gitlab {
            return;
        }
        let now = self.clock.wall();
        if let (Event::HelmEnded { .. } | Event::Finished { .. }, Some(open)) = (event, state.section) {
            state.end_begun();
            state.err.line(open.end(now).trim_end_matches('\n'));
            state.section = None;
        }
        if matches!(event, Event::HelmStarted) {
            let subject = &state.summary.subject;
            let headline = format!("helm {} {}", subject.command, subject.release);
            state.err.line(Section::Helm.start(now, &headline).trim_end_matches('\n'));
            state.section = Some(Section::Helm);
        }
    }

    /// GitLab has no job summary: the tables stand folded at the end of the log.
    fn fold_history(&self, state: &mut State) {
        if !self.sinks.gitlab {
            return;
        }
        let now = self.clock.wall();
        let lines = gitlab::history(&state.summary);
        state.err.line(Section::History.start(now, "helm-guard: history").trim_end_matches('\n'));
        lines.iter().for_each(|line| state.err.line(line));
        state.err.line(Section::History.end(now).trim_end_matches('\n'));
    }

    /// What cannot be replaced is written once, at the end: a pipe, a terminal, `/dev/stdout`.
    fn save(&self, state: &mut State, finished: bool) {
        let is_due = |path: &&PathBuf| finished || !is_stream(path);
        if let Some(path) = self.sinks.report_file.as_ref().filter(is_due) {
            let saved = replace_file(path, json::render(&state.summary).as_bytes());
            self.note(state, "report", saved);
        }
        if let Some(path) = self.sinks.summary_file.as_ref().filter(is_due) {
            let text = github::summary(&state.summary, STEP_SUMMARY);
            let saved = replace_file(path, text.as_bytes());
            self.note(state, "summary", saved);
        }
        if let Some(path) = self.sinks.step_summary.as_ref().filter(is_due) {
            let saved = if is_stream(path) {
                write_stream(path, github::summary(&state.summary, STEP_SUMMARY).as_bytes())
            } else {
                save_part(path, &mut state.part, &state.summary)
            };
            self.note(state, "job summary", saved);
        }
    }

    /// The first failure to write a file becomes a warning; the next ones would say the same.
    fn note(&self, state: &mut State, what: &str, saved: io::Result<()>) {
        if let (Err(error), false) = (saved, state.troubled) {
            state.troubled = true;
            let warning = Event::Warning(format!("cannot write the {what}: {error}"));
            let lines = live::lines(&warning);
            state.summary.apply(&warning, self.clock.monotonic());
            self.print(state, &lines);
        }
    }

    fn save_outputs(&self, summary: &Summary, finished: bool) -> io::Result<()> {
        let is_due = |path: &&PathBuf| finished || !is_stream(path);
        let report = self.sinks.report_file.as_deref().map(Path::to_string_lossy).unwrap_or_default();
        if let Some(path) = self.sinks.dotenv.as_ref().filter(is_due) {
            replace_file(path, gitlab::dotenv(summary, &report).as_bytes())?;
        }
        let Some(path) = self.sinks.github_output.as_ref().filter(is_due) else { return Ok(()) };
        let text: String = github::outputs(summary, &report)
            .iter()
            .map(|(name, value)| github::encode_output(name, value, &self.sinks.delimiter))
            .collect();
        if is_stream(path) {
            return write_stream(path, text.as_bytes());
        }
        OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())
    }
}

impl State {
    /// Writes while the status line is out of the way.
    fn with_cleared_status(&mut self, write: impl FnOnce(&mut Self)) {
        match self.status.as_ref().map(|status| status.all.clone()) {
            Some(status) => status.suspend(|| write(self)),
            None => write(self),
        }
    }

    /// Both streams are on one screen: the break goes to stderr, so that stdout has Helm's bytes and no other.
    fn end_line_of_stdout(&mut self) {
        self.out.midline = false;
        self.err.bytes(b"\n");
    }

    fn end_begun(&mut self) {
        self.with_cleared_status(|state| {
            state.out.end_begun();
            state.err.end_begun();
        });
    }

    /// Shows what goes on, on lines that are wiped again. Where there is a table, it has what a line would say.
    fn show_status(&mut self, lines: &[String], is_table: bool) {
        if self.out.midline || self.err.midline {
            return;
        }
        let status = self.status.get_or_insert_with(Status::new);
        if is_table || !status.is_table {
            status.is_table = is_table;
            status.show(lines);
        }
    }

    fn clear_status(&mut self) {
        if let Some(status) = self.status.take() {
            status.clear();
        }
    }
}

impl Status {
    fn new() -> Self {
        let all = MultiProgress::new();
        // A terminal that echoes `^C` goes on to the next line for it, and what then stands above all is not wiped: nothing.
        let above = all.add(bar("\u{2800}"));
        above.tick();
        let head = all.add(bar("{spinner:>12} {wide_msg}"));
        head.enable_steady_tick(Duration::from_millis(120));
        Self { all, above, head, rows: Vec::new(), is_table: false }
    }

    fn show(&mut self, lines: &[String]) {
        let Some((head, rows)) = lines.split_first() else { return };
        self.head.set_message(head.clone());
        while self.rows.len() > rows.len() {
            if let Some(row) = self.rows.pop() {
                row.finish_and_clear();
                self.all.remove(&row);
            }
        }
        while self.rows.len() < rows.len() {
            self.rows.push(self.all.add(bar("{wide_msg}")));
        }
        for (row, line) in self.rows.iter().zip(rows) {
            row.set_message(line.clone());
        }
    }

    fn clear(self) {
        for row in self.rows.iter().rev().chain([&self.head, &self.above]) {
            row.finish_and_clear();
        }
        let _ = self.all.clear();
    }
}

impl Stream {
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last() {
            self.midline = *last != b'\n';
            let _ = self.writer.write_all(bytes).and_then(|()| self.writer.flush());
        }
    }

    /// Helm's bytes, each line behind the gutter. What Helm draws over with a carriage return stays behind it too.
    fn behind_gutter(&mut self, bytes: &[u8], display: Display) {
        // Only the brightness is set and set back: a colour of Helm's may last for several lines.
        let gutter = if display.color { format!("\u{1b}[2m{GUTTER}\u{1b}[22m") } else { GUTTER.to_owned() };
        let mut out = Vec::with_capacity(bytes.len() + gutter.len());
        for byte in bytes {
            // A carriage return before a line break draws nothing over.
            let is_begun = self.midline && !(self.returned && *byte != b'\n');
            if !is_begun && *byte != b'\r' {
                out.extend_from_slice(gutter.as_bytes());
            }
            out.push(*byte);
            self.midline = *byte != b'\n';
            self.returned = *byte == b'\r';
        }
        self.bytes(&out);
    }

    /// Somebody else's bytes for GitHub's runner: whole lines, as they are unless the runner would take them for a
    /// command. A line that never ends is cut, so that it is not kept for ever.
    fn inert(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        while let Some(at) = self.begun.iter().position(|byte| *byte == b'\n') {
            let rest = self.begun.split_off(at + 1);
            let line = std::mem::replace(&mut self.begun, rest);
            self.bytes(&inert_bytes(line));
        }
        if self.begun.len() > LONGEST {
            self.end_begun();
        }
    }

    fn end_begun(&mut self) {
        if !self.begun.is_empty() {
            self.begun.push(b'\n');
            let line = std::mem::take(&mut self.begun);
            self.bytes(&inert_bytes(line));
        }
    }

    /// A line of ours, on a line of its own.
    fn line(&mut self, text: &str) {
        let start = if self.midline { "\n" } else { "" };
        self.bytes(format!("{start}{text}\n").as_bytes());
    }
}

/// A line with its line break. Its bytes stay, even those that are no UTF-8, unless it must be changed.
fn inert_bytes(line: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&line);
    let inert = inert_line(&text);
    if inert == text.trim_end_matches(['\r', '\n']) { line } else { (inert + "\n").into_bytes() }
}

fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// Columns of the terminal that stderr is, as it is now.
fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Rewrites our part of the job summary in place. What stood before it is never written, and what others appended
/// behind it stays, so a full disk costs at most our part.
fn save_part(path: &Path, part: &mut Option<Part>, summary: &Summary) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let end = file.seek(SeekFrom::End(0))?;
    let old = part.get_or_insert(Part { start: end, length: 0 });
    if end < old.start + old.length {
        // Somebody made the file shorter: what we knew about it is wrong.
        *old = Part { start: end, length: 0 };
    }
    file.seek(SeekFrom::Start(old.start + old.length))?;
    let mut behind = Vec::new();
    file.read_to_end(&mut behind)?;
    // A paragraph of its own, whatever stands before.
    let space = if old.start > 0 { "\n\n" } else { "" };
    let others = usize::try_from(old.start).unwrap_or(usize::MAX).saturating_add(behind.len() + space.len());
    let text = github::summary(summary, STEP_SUMMARY.saturating_sub(RESERVE).saturating_sub(others));
    let ours = if text.is_empty() { text } else { format!("{space}{text}") };
    file.seek(SeekFrom::Start(old.start))?;
    let written = file.write_all(ours.as_bytes()).and_then(|()| file.write_all(&behind));
    match written {
        Ok(()) => old.length = ours.len() as u64,
        Err(error) => {
            // The part ends where the file does: nothing of the next try is doubled.
            old.length = file.seek(SeekFrom::End(0))?.saturating_sub(old.start);
            return Err(error);
        }
    }
    let length = file.stream_position()?;
    file.set_len(length)
}

/// Is this one of the process's own open files, by whatever it is redirected to, or no regular file?
fn is_stream(path: &Path) -> bool {
    const OWN: [&str; 4] = ["/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/"];
    let is_own = path.to_str().is_some_and(|path| OWN.iter().any(|own| path.starts_with(own)));
    is_own || fs::metadata(path).is_ok_and(|found| !found.is_file())
}

/// Writes behind what was written to it before.
fn write_stream(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_setfl};
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    // The opening of a named pipe that nobody reads would never end.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let mut file = options.append(true).custom_flags(flags).open(path)?;
    fcntl_setfl(&file, OFlags::APPEND)?;
    file.write_all(bytes)
}

/// Replaces a file by rename, so that a reader (or a kill) finds the old or the new text, never half of one. A link stays one.
fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if is_stream(path) {
        return write_stream(path, bytes);
    }
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let _ = fs::remove_file(&part);
    // `create_new` follows no link that somebody put there.
    let written = File::create_new(&part).and_then(|mut file| file.write_all(bytes));
    let moved = written.and_then(|()| fs::rename(&part, path));
    if moved.is_err() {
        let _ = fs::remove_file(&part);
    }
    moved
}

#[cfg(test)]
#[path = "reporter_tests.rs"]
mod tests;
