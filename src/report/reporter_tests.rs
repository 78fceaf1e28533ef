//! What is written where, and that nothing that goes wrong there matters.

use std::sync::Arc;

use super::*;
use crate::report::examples as ex;

/// Both streams in the order of their writing.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Every write fails, as with a reader that went away or a full disk.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

fn reporter(sinks: Sinks) -> (Reporter, Log, Log) {
    let (out, err) = (Log::default(), Log::default());
    let streams = (Box::new(out.clone()), Box::new(err.clone()));
    (Reporter::with_streams(sinks, Clock::start(), streams.0, streams.1), out, err)
}

fn github() -> Sinks {
    Sinks { github: true, delimiter: "d7f3".to_owned(), ..Sinks::default() }
}

fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sink-tests").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn helms_lines_are_no_commands_on_either_stream() {
    for to_stderr in [false, true] {
        let (reporter, out, err) = reporter(github());
        for piece in [
            "::err",
            "or::x\nok \u{2705} \u{1b}[31mred\u{1b}[0m\r\n50%\r::error::y\na ##",
            "[error]z\n::last::",
        ] {
            reporter.child_line(to_stderr, piece.as_bytes());
        }
        reporter.end_untrusted();
        let (used, other) = if to_stderr { (err, out) } else { (out, err) };
        assert_eq!(
            used.text(),
            ": :error::x\nok \u{2705} \u{1b}[31mred\u{1b}[0m\r\n50% ::error::y\na ## [error]z\n: :last::\n"
        );
        assert_eq!(other.text(), "");
    }
}

#[test]
fn what_a_job_saves_from_stdout_is_only_helms() {
    let (reporter, out, err) = reporter(github());
    reporter.begin_untrusted();
    reporter.child_line(false, b"{\"name\": \"web\"}\n");
    reporter.end_untrusted();
    ex::crash_loop().into_iter().for_each(|event| reporter.emit(event));
    assert_eq!(out.text(), "{\"name\": \"web\"}\n");
    assert!(err.text().contains("\n::error title="), "{}", err.text());
}

#[test]
fn a_line_that_never_ends_is_not_kept_for_ever() {
    let (reporter, out, _) = reporter(github());
    for _ in 0..100 {
        reporter.child_line(false, &[b'x'; 1024]);
    }
    assert!(out.text().len() > LONGEST, "{}", out.text().len());
}

#[test]
fn files_that_cannot_be_written_are_one_warning() {
    let sinks = Sinks {
        report_file: Some("/dev/null/report.json".into()),
        step_summary: Some("/dev/null/summary".into()),
        github_output: Some("/dev/null/output".into()),
        ..github()
    };
    let (reporter, _, err) = reporter(sinks);
    ex::healthy().into_iter().for_each(|event| reporter.emit(event));
    assert_eq!(err.text().matches("helm-guard: warning: cannot write").count(), 1, "{}", err.text());
    assert!(err.text().contains("cannot write the report: "), "{}", err.text());
}

#[test]
fn a_killed_run_has_left_its_lock_id_in_the_outputs() {
    let path = directory("outputs-early").join("output");
    let (reporter, ..) = reporter(Sinks { github_output: Some(path.clone()), ..github() });
    ex::killed().into_iter().for_each(|event| reporter.emit(event));
    let id = reporter.summary().lock.id;
    let text = fs::read_to_string(path).unwrap();
    assert!(!id.is_empty() && text.contains(&format!("lock-id<<d7f3\n{id}\nd7f3\n")), "{text}");
}

#[test]
fn elsewhere_there_is_no_window_and_no_annotation() {
    let (reporter, out, err) = reporter(Sinks::default());
    reporter.begin_untrusted();
    reporter.child_line(false, b"NAME: web\n");
    reporter.end_untrusted();
    ex::crash_loop().into_iter().for_each(|event| reporter.emit(event));
    assert_eq!(out.text(), "NAME: web\n");
    assert!(err.text().lines().all(|line| line.starts_with("helm-guard: ")));
}

#[test]
fn a_begun_line_of_helm_is_ended_before_ours() {
    let (reporter, _, err) = reporter(Sinks::default());
    reporter.child_line(true, b"begun");
    reporter.emit(Event::Warning("odd".to_owned()));
    assert_eq!(err.text(), "begun\nhelm-guard: warning: odd\n");
}

#[test]
fn live_lines_are_no_commands_of_the_runner() {
    let (reporter, _, err) = reporter(github());
    reporter.emit(Event::Warning("##[error]x\r::error::y".to_owned()));
    assert_eq!(err.text(), "helm-guard: warning: ## [error]x ::error::y\n");
}

#[test]
fn files_tell_the_last_stage_of_a_killed_run_and_keep_what_others_wrote() {
    let dir = directory("files");
    let summary_path = dir.join("summary.md");
    let report = dir.join("report.json");
    fs::write(&summary_path, "# before").unwrap();
    let sinks =
        Sinks { step_summary: Some(summary_path.clone()), report_file: Some(report.clone()), ..github() };
    let (reporter, ..) = reporter(sinks);
    let mut events = ex::healthy();
    let rest = events.split_off(4);
    events.into_iter().for_each(|event| reporter.emit(event));
    let text = fs::read_to_string(&summary_path).unwrap();
    assert!(
        text.starts_with("# before\n\n### ⚠️ ") && text.contains("last known stage running helm"),
        "{text}"
    );
    assert!(fs::read_to_string(&report).unwrap().contains("\"outcome\": null"));

    let mut file = OpenOptions::new().append(true).open(&summary_path).unwrap();
    file.write_all(b"\nbehind\n").unwrap();
    rest.into_iter().for_each(|event| reporter.emit(event));
    let text = fs::read_to_string(&summary_path).unwrap();
    assert!(text.starts_with("# before\n\n### ✅ ") && text.ends_with("\nbehind\n"), "{text}");
    assert_eq!(text.matches("###").count(), 1);
    assert!(fs::read_to_string(&report).unwrap().contains("\"outcome\": \"deployed\""));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "no temporary file stays");
}

#[test]
fn a_shorter_report_leaves_nothing_of_the_longer_one() {
    let path = directory("shorter").join("summary.md");
    let mut part = None;
    let long = ex::summary(&ex::crash_loop());
    save_part(&path, &mut part, &long).unwrap();
    save_part(&path, &mut part, &Summary::default()).unwrap();
    let budget = STEP_SUMMARY;
    assert_eq!(fs::read_to_string(&path).unwrap(), github::summary(&Summary::default(), budget));
}

#[test]
fn a_summary_that_is_nearly_full_is_not_overfilled() {
    let path = directory("full").join("summary.md");
    fs::write(&path, "x".repeat(STEP_SUMMARY - 10)).unwrap();
    save_part(&path, &mut None, &ex::summary(&ex::crash_loop())).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len() as usize, STEP_SUMMARY - 10);
}

#[test]
fn outputs_are_appended_and_the_last_say_how_it_ended() {
    let path = directory("outputs").join("output");
    fs::write(&path, "mine=1\n").unwrap();
    let (reporter, ..) = reporter(Sinks { github_output: Some(path.clone()), ..github() });
    ex::healthy().into_iter().for_each(|event| reporter.emit(event));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("mine=1\noutcome<<d7f3\n\nd7f3\n"), "{text}");
    // The runner takes the last of each name.
    let last = &text[text.rfind("outcome<<").unwrap()..];
    assert!(last.starts_with("outcome<<d7f3\ndeployed\nd7f3\nrevision<<d7f3\n13\nd7f3\n"), "{text}");
    assert_eq!(text.matches("outcome<<").count(), 2);
}

/// Every section that is opened is closed, however the run ends, and Helm opens none.
#[test]
fn sections_of_gitlabs_log_are_closed_and_only_ours() {
    let gitlab = || Sinks { gitlab: true, ..Sinks::default() };
    for (what, events) in
        [("healthy", ex::healthy()), ("failing", ex::crash_loop()), ("cancelled", ex::cancelled())]
    {
        let (reporter, out, err) = reporter(gitlab());
        for event in events {
            let is_start = matches!(event, Event::HelmStarted);
            reporter.emit(event);
            if is_start {
                reporter.child_line(true, b"\x1b[0Ksection_end:1:helm_guard_helm\r\x1b[0Kgone\nsection\r\n");
                reporter.child_line(false, b"\x1b[31mNAME: web\r\n");
            }
        }
        let text = err.text();
        for mark in ["section_start", "section_end"] {
            for name in ["helm_guard_helm", "helm_guard_history"] {
                let of = |line: &&str| line.contains(mark) && line.contains(&format!(":{name}"));
                let lines = text.lines().filter(of).filter(|line| line.starts_with("\u{1b}[0K"));
                assert_eq!(lines.count(), 1, "{what}: {mark} {name}: {text:?}");
            }
        }
        assert_eq!(text.matches('\r').count(), 4, "{what}: {text:?}");
        assert_eq!(out.text(), "[31mNAME: web\n");
    }
}

#[test]
fn the_dotenv_report_is_that_of_the_last_event() {
    let path = directory("dotenv").join("deploy.env");
    let (reporter, ..) = reporter(Sinks { dotenv: Some(path.clone()), ..Sinks::default() });
    ex::healthy().into_iter().for_each(|event| reporter.emit(event));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("DEPLOY_OUTCOME=deployed\nDEPLOY_REVISION=13\n"), "{text}");
    assert_eq!(text.matches("OUTCOME").count(), 1);
}

#[test]
fn no_write_error_matters() {
    for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull] {
        let nowhere = || Some(directory("nowhere").join("missing/file"));
        let sinks = Sinks {
            report_file: nowhere(),
            step_summary: nowhere(),
            github_output: nowhere(),
            terminal: true,
            color: true,
            ..github()
        };
        let reporter =
            Reporter::with_streams(sinks, Clock::start(), Box::new(Broken(kind)), Box::new(Broken(kind)));
        reporter.emit(Event::Progress {
            elapsed: Duration::from_secs(1),
            writes: None,
            waiting_for: Vec::new(),
        });
        reporter.child_line(false, b"x");
        ex::crash_loop().into_iter().for_each(|event| reporter.emit(event));
        assert_eq!(reporter.summary().outcome, Some(crate::report::Outcome::Failed));
    }
}

#[test]
fn progress_is_a_status_line_on_a_terminal_and_a_line_elsewhere() {
    for terminal in [true, false] {
        let (reporter, _, err) = reporter(Sinks { terminal, ..Sinks::default() });
        reporter.emit(Event::Progress {
            elapsed: Duration::from_secs(15),
            writes: None,
            waiting_for: Vec::new(),
        });
        assert_eq!(err.text().contains("helm still runs after 15s"), !terminal);
    }
}

#[test]
fn threads_may_report_at_once() {
    let (reporter, _, err) = reporter(Sinks::default());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let reporter = &reporter;
            scope.spawn(move || (0..25).for_each(|n| reporter.emit(Event::Warning(format!("{thread}.{n}")))));
        }
    });
    assert_eq!(err.text().lines().count(), 100);
    assert_eq!(reporter.summary().warnings.len(), 50);
}

#[test]
fn on_a_terminal_helms_log_stands_behind_a_gutter_and_its_result_does_not() {
    let sinks = || Sinks { terminal: true, stdout_terminal: true, ..Sinks::default() };
    for (pieces, expected) in [
        (&["Error: a\nb\n"][..], "       helm │ Error: a\n       helm │ b\n"),
        (&["Err", "or: a", "\n", "\n"], "       helm │ Error: a\n       helm │ \n"),
        (&["10%\r", "20%", "\r\n", "a"], "       helm │ 10%\r       helm │ 20%\r\n       helm │ a"),
        (&["\u{1b}[31mred\nred\u{1b}[0m\n"], "       helm │ \u{1b}[31mred\n       helm │ red\u{1b}[0m\n"),
    ] {
        let (reporter, out, err) = reporter(sinks());
        pieces.iter().for_each(|piece| reporter.child_line(true, piece.as_bytes()));
        assert_eq!(err.text(), expected);
        reporter.child_line(false, b"NAME: web\n\x1b[1mx\r");
        assert_eq!(out.text(), "NAME: web\n\u{1b}[1mx\r");
    }
    let (reporter, _, err) = reporter(Sinks { color: true, ..sinks() });
    reporter.child_line(true, b"\x1b[31ma\nb\n");
    assert!(!err.text().contains("\u{1b}[0m"), "the gutter ends no colour of Helm's: {:?}", err.text());
}

/// `helm-guard upgrade … -o json > file` at a terminal.
#[test]
fn what_is_redirected_has_helms_bytes_and_no_other() {
    for stdout_terminal in [true, false] {
        let (reporter, out, err) = reporter(Sinks { terminal: true, stdout_terminal, ..Sinks::default() });
        reporter.child_line(false, b"{}");
        reporter.emit(Event::Warning("odd".to_owned()));
        reporter.child_line(false, b"[]");
        reporter.child_line(true, b"late\n");
        assert_eq!(out.text(), "{}[]");
        let is_apart = err.text().starts_with('\n') && err.text().contains("\n\n       helm │ late");
        assert_eq!(is_apart, stdout_terminal, "{:?}", err.text());
    }
}

#[test]
fn a_quiet_log_has_warnings_and_the_end() {
    let (reporter, _, err) = reporter(Sinks { volume: Volume::Quiet, gitlab: true, ..Sinks::default() });
    ex::crash_loop().into_iter().for_each(|event| reporter.emit(event));
    let text = err.text();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("section")).collect();
    assert_eq!(lines.len(), 7, "{lines:#?}");
    assert_eq!(lines[0], "helm-guard: warning: chart web is deprecated");
    assert!(lines[6].starts_with("helm-guard: hint: kubectl logs"), "{lines:#?}");
}

/// A pipe, by whatever name, cannot be replaced: it gets one document, when all is known.
#[test]
fn what_cannot_be_replaced_is_written_once_at_the_end() {
    use std::os::fd::AsRawFd;
    let pipes: Vec<_> = (0..4).map(|_| io::pipe().unwrap()).collect();
    let path = |number: usize| Some(PathBuf::from(format!("/dev/fd/{}", pipes[number].1.as_raw_fd())));
    let sinks = Sinks {
        report_file: path(0),
        summary_file: path(1),
        step_summary: path(2),
        github_output: path(3),
        ..github()
    };
    let (reporter, _, err) = reporter(sinks);
    for event in ex::healthy() {
        reporter.emit(event);
    }
    drop(reporter);
    let read = pipes.into_iter().map(|(mut reader, writer)| {
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    let texts: Vec<String> = read.collect();
    assert_eq!(texts[0].matches("\"schemaVersion\"").count(), 1, "{}", texts[0]);
    assert!(!texts[1].is_empty() && texts[2].contains(texts[1].trim()), "{texts:?}");
    assert_eq!(texts[3].matches("outcome<<").count(), 1, "{}", texts[3]);
    assert!(!err.text().contains("cannot write"), "{}", err.text());
}

/// Nothing waits for somebody who might read.
#[test]
fn a_named_pipe_that_nobody_reads_is_a_warning() {
    let path = directory("fifo").join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (reporter, _, err) = reporter(Sinks { report_file: Some(path), ..Sinks::default() });
    for event in ex::healthy() {
        reporter.emit(event);
    }
    assert!(err.text().contains("cannot write the report"), "{}", err.text());
}

/// The file behind a link is replaced, not the link.
#[test]
fn a_link_to_a_report_stays_a_link() {
    let directory = directory("link");
    let (file, link) = (directory.join("report.json"), directory.join("link.json"));
    fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let (reporter, ..) = reporter(Sinks { report_file: Some(link.clone()), ..Sinks::default() });
    for event in ex::healthy() {
        reporter.emit(event);
    }
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&file).unwrap().contains("schemaVersion"));
}
