//! Helm as a child process: its output passed through live, progress while it works, stopped gently.

use std::{
    collections::VecDeque,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::{
    sys::signal::{Signal as Kill, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

use crate::{
    clock::Clock,
    report::{Event, sink::Reporter},
    signals::Signals,
};

/// How a run of Helm ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// How long it ran.
    pub took: Duration,
    /// Last lines of its stderr.
    pub error: String,
    /// The signal that asked this program to stop while Helm ran.
    pub stopped_by: Option<crate::signals::Signal>,
    /// Why the lock was lost while Helm ran.
    pub lock_lost: Option<String>,
}

/// The variable by which Helm, and whatever it starts, is known as a run's own when the run itself is gone.
pub const MARK: &str = "HELM_GUARD_LOCK_ID";

/// How Helm is started, whatever it is to do.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The binary.
    pub helm: PathBuf,
    /// Short id of the hold of the lock, for [`MARK`].
    pub lock_id: String,
    /// Variables that are set for it, and those that are taken from it.
    pub environment: Vec<(&'static str, Option<String>)>,
}

impl Launch {
    fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        // Charts and plugins have no use for it.
        command.env_remove(crate::ci::TOKEN);
        command.env(MARK, &self.lock_id).process_group(0)
    }
}

/// The hidden command that a Helm which changes things is started by: this program again, which asks the system to be
/// killed with its parent, and then becomes Helm. Only a process itself can ask that, and between `fork` and `exec` only
/// unsafe code could.
pub const STEP: &str = "exec-helm";

/// The step. `arguments` are the parent's process id, the binary and its arguments; returns only if it fails.
///
/// SIGKILL: a Helm whose fence is gone can save nothing, but would try for as long as its timeout.
pub fn become_helm(mut arguments: impl Iterator<Item = OsString>) -> String {
    use std::os::unix::process::CommandExt;
    let parent = arguments.next().and_then(|id| id.to_str()?.parse().ok());
    let (Some(parent), Some(helm)) = (parent, arguments.next()) else {
        return format!("{STEP}: for this program itself");
    };
    if let Err(error) = nix::sys::prctl::set_pdeathsig(Kill::SIGKILL) {
        return format!("helm cannot be bound to this process: {error}");
    }
    // It may have died before the request was made.
    if nix::unistd::getppid() != Pid::from_raw(parent) {
        return "the process that started helm is gone".to_owned();
    }
    let error = std::process::Command::new(&helm).args(arguments).exec();
    format!("helm binary {}: {error}", Path::new(&helm).display())
}

/// Most bytes of stderr that are kept for the report.
const TAIL: usize = 8 << 10;

/// Runs Helm to its end.
///
/// Helm gets a process group of its own: a closed terminal or a Ctrl-C then reaches it only through this program. If this
/// program is killed, the system kills Helm: to the letter, when the *thread* that started it ends. So this is for the main
/// thread, not for a task of the runtime.
///
/// `tick` is called at least every `keepalive` and says what is being waited for.
///
/// # Errors
/// When it cannot be started.
#[expect(clippy::too_many_arguments, reason = "one call, each argument another stage's result")]
pub async fn run(
    launch: &Launch,
    argv: &[String],
    reporter: &Arc<Reporter>,
    signals: &mut Signals,
    lost: impl Future<Output = String>,
    clock: Clock,
    keepalive: Duration,
    stop_timeout: Duration,
    tick: impl AsyncFn(Duration),
) -> std::io::Result<Ended> {
    let started = clock.monotonic();
    // This program, even when its file has been replaced.
    let mut step = Command::new("/proc/self/exe");
    step.arg(STEP).arg(std::process::id().to_string()).arg(&launch.helm).args(argv);
    let mut child = launch
        .apply(&mut step)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    reporter.begin_untrusted();
    let tail = Arc::new(Mutex::new(VecDeque::new()));
    let out = pump(child.stdout.take(), reporter.clone(), false, None);
    let err = pump(child.stderr.take(), reporter.clone(), true, Some(tail.clone()));
    let pumps = tokio::spawn(async move { tokio::join!(out, err) });
    let mut ended = Ended::default();
    let status = {
        let mut wait = std::pin::pin!(child.wait());
        let mut lost = std::pin::pin!(lost);
        let mut kill_at: Option<Duration> = None;
        let mut next_tick = started + keepalive;
        loop {
            let now = clock.monotonic();
            let until_kill = kill_at.map_or(Duration::MAX, |at| at.saturating_sub(now));
            tokio::select! {
                status = &mut wait => break status?,
                signal = signals.next() => {
                    let again = ended.stopped_by.replace(signal).is_some();
                    let limit = stop_timeout.as_secs_f32();
                    let cause = format!("{}; it is killed if it still runs after {limit}s", signal.name());
                    reporter.emit(Event::Stopping { cause });
                    send(group, if again { Kill::SIGTERM } else if signal.number() == 2 { Kill::SIGINT } else { Kill::SIGTERM });
                    kill_at.get_or_insert(now + stop_timeout);
                }
                why = &mut lost, if ended.lock_lost.is_none() => {
                    reporter.emit(Event::Stopping { cause: format!("the lock is lost: {why}") });
                    ended.lock_lost = Some(why);
                    send(group, Kill::SIGTERM);
                    kill_at.get_or_insert(now + stop_timeout);
                }
                () = tokio::time::sleep(until_kill.min(Duration::from_secs(86_400))), if kill_at.is_some() => {
                    send(group, Kill::SIGKILL);
                    kill_at = None;
                }
                () = tokio::time::sleep(next_tick.saturating_sub(now)) => {
                    tick(clock.monotonic() - started).await;
                    next_tick = clock.monotonic() + keepalive;
                }
            }
        }
    };
    // A grandchild may hold the pipes open: what is in them is read, but not waited for long.
    let abort = pumps.abort_handle();
    if tokio::time::timeout(Duration::from_secs(2), pumps).await.is_err() {
        abort.abort();
    }
    reporter.end_untrusted();
    ended.code = status.code();
    ended.took = clock.monotonic() - started;
    let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    ended.error = String::from_utf8_lossy(&tail.iter().copied().collect::<Vec<u8>>()).trim().to_owned();
    Ok(ended)
}

fn send(group: Option<Pid>, signal: Kill) {
    if let Some(group) = group {
        // It may be gone already.
        let _ = killpg(group, signal);
    }
}

async fn pump(
    from: Option<impl AsyncRead + Unpin>,
    reporter: Arc<Reporter>,
    is_error: bool,
    tail: Option<Arc<Mutex<VecDeque<u8>>>>,
) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        let bytes = &buffer[..read];
        reporter.child_line(is_error, bytes);
        if let Some(tail) = &tail {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend(bytes);
            let surplus = tail.len().saturating_sub(TAIL);
            tail.drain(..surplus);
        }
    }
}

/// Runs Helm without passing its output on: for `version` and `template`, which change nothing. Gives stdout, or stderr's
/// last lines.
///
/// # Errors
/// When it cannot be started.
pub async fn quiet(
    launch: &Launch,
    argv: &[String],
) -> std::io::Result<Result<Vec<u8>, (Option<i32>, String)>> {
    let child: Child = launch
        .apply(Command::new(&launch.helm).args(argv))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.wait_with_output().await?;
    if output.status.success() {
        return Ok(Ok(output.stdout));
    }
    let error = &output.stderr[output.stderr.len().saturating_sub(TAIL)..];
    Ok(Err((output.status.code(), String::from_utf8_lossy(error).trim().to_owned())))
}
