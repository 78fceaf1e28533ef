//! Helm as a child process: passes its output through, shows progress, stops it gracefully. `helm/launch.rs` starts it.

use std::{
    collections::VecDeque,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::sys::signal::Signal as Kill;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Child,
    task::JoinHandle,
};

use crate::env::LOCK_ID_ENV;
use crate::helm::{
    launch::Launch,
    shutdown::{self, Sent, Stop},
    terminal::Family,
};
use crate::{
    clock::Clock,
    redact::Stream,
    release::codec::MAX_DECODED,
    report::{Event, reporter::Reporter},
    signals::{Signal, Signals},
};

/// How a run of Helm ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How long it ran.
    pub took: Duration,
    /// Last lines of its stderr.
    pub error: String,
    /// The signal that asked this program to stop while Helm ran.
    pub stopped_by: Option<Signal>,
    /// Why the lock was lost while Helm ran.
    pub lock_lost: Option<String>,
    /// Are the records to be settled now?
    pub settles: bool,
}

/// Most bytes of stderr that are kept for the report.
const TAIL: usize = 8 << 10;

/// How long what Helm printed last is waited for: a child of its own may hold the pipes open.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The same after a stop, where nothing else of Helm's is left.
const LAST_WORDS_IN_A_HURRY: Duration = Duration::from_millis(200);

/// A Helm that changes the cluster, ready to be run once.
pub struct HelmProcess<'a> {
    /// How it is started.
    pub launch: &'a Launch,
    /// Its arguments.
    pub argv: &'a [String],
    /// Gets what it prints, without secrets.
    pub reporter: &'a Arc<Reporter>,
    /// For the times below.
    pub clock: Clock,
    /// How often it is told what is being waited for.
    pub keepalive: Duration,
    /// What is done when it is to stop.
    pub stop: Stop,
}

/// Why Helm was asked to stop, if it was.
#[derive(Default)]
struct Interruption {
    stopped_by: Option<Signal>,
    lock_lost: Option<String>,
}

impl HelmProcess<'_> {
    /// Runs Helm to its end, or until `lost` says why the lock is lost, or a signal asks for a stop, and then for as long as
    /// `stop` allows. `tick` gets the time since the start and is called again `keepalive` after it has ended.
    ///
    /// Where it runs, and what a closed terminal or a Ctrl-C then does to it, is told in [`crate::helm::terminal`]. If this
    /// program is killed, the system kills Helm: to the letter, when the *thread* that started it ends. So this is for the
    /// main thread, not for a task of the runtime.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn run(
        mut self,
        signals: Signals,
        lost: impl Future<Output = String>,
        tick: impl AsyncFn(Duration),
    ) -> std::io::Result<Ended> {
        let started = self.clock.monotonic();
        let mut child = self.start()?;
        let family = Family::of(child.id(), self.launch.place);
        self.reporter.begin_untrusted();
        let output = Output::of(&mut child, self.reporter);
        let (status, interruption) = self.wait(child, family, signals, lost, tick).await?;
        let is_interrupted = interruption.stopped_by.is_some() || interruption.lock_lost.is_some();
        if is_interrupted {
            // What Helm started and left behind.
            family.kill_rest(LOCK_ID_ENV, self.launch.lock_id.clone()).await;
        }
        let limit = if is_interrupted { LAST_WORDS_IN_A_HURRY } else { LAST_WORDS };
        let error = output.end(limit).await;
        self.reporter.end_untrusted();
        if let Some(why) = self.launch.not_started(status.code(), &error) {
            return Err(why);
        }
        Ok(Ended {
            code: status.code(),
            signal: std::os::unix::process::ExitStatusExt::signal(&status),
            took: self.clock.monotonic() - started,
            error,
            stopped_by: interruption.stopped_by,
            lock_lost: interruption.lock_lost,
            settles: self.stop.settles(),
        })
    }

    fn start(&self) -> std::io::Result<Child> {
        self.launch
            .bound(self.argv, self.stop.leaves_it_half_done())
            .stdin(self.launch.stdin()?)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    /// Waits for Helm's end. What happens meanwhile becomes events, which [`Self::react`] handles.
    async fn wait(
        &mut self,
        mut child: Child,
        family: Family,
        mut signals: Signals,
        lost: impl Future<Output = String>,
        tick: impl AsyncFn(Duration),
    ) -> std::io::Result<(ExitStatus, Interruption)> {
        let started = self.clock.monotonic();
        let mut interruption = Interruption::default();
        let mut wait = std::pin::pin!(child.wait());
        let mut lost = std::pin::pin!(lost);
        let mut next_tick = started + self.keepalive;
        let mut ticking = None;
        loop {
            let now = self.clock.monotonic();
            let limit = self.stop.limit();
            let time_over = limit.map_or(FOR_EVER, |limit| limit.saturating_sub(now));
            let event = tokio::select! {
                status = &mut wait => return Ok((status?, interruption)),
                signal = signals.next() => match interruption.stopped_by.replace(signal) {
                    None => shutdown::Event::First(signal),
                    Some(_) => shutdown::Event::Again(signal),
                },
                why = &mut lost, if interruption.lock_lost.is_none() => {
                    interruption.lock_lost = Some(why);
                    shutdown::Event::LockLost
                }
                () = tokio::time::sleep(time_over), if limit.is_some() => shutdown::Event::TimeOver,
                () = tokio::time::sleep(next_tick.saturating_sub(now)), if ticking.is_none() => {
                    // It asks the API server, which may take its time: signals do not wait for it.
                    ticking = Some(Box::pin(tick(self.clock.monotonic() - started)));
                    continue;
                }
                () = async { if let Some(tick) = &mut ticking { tick.await } }, if ticking.is_some() => {
                    ticking = None;
                    next_tick = self.clock.monotonic() + self.keepalive;
                    continue;
                }
            };
            self.react(event, family, interruption.lock_lost.as_deref());
        }
    }

    /// Signals Helm as the table of `helm/shutdown.rs` says, and reports it.
    fn react(&mut self, event: shutdown::Event, family: Family, lock_lost: Option<&str>) {
        let now = self.clock.monotonic();
        // First what counts: a report may take a moment.
        let sent = self.stop.on(event, now);
        if let Some(sent) = sent {
            family.send(number(sent));
        }
        let limit = self.stop.limit().map(|limit| limit.saturating_sub(now));
        self.reporter.emit(Event::Stopping { cause: shutdown::said(event, sent, limit, lock_lost) });
    }
}

/// What Helm prints, on its way to the reporter.
struct Output {
    pumps: JoinHandle<((), ())>,
    tail: Arc<Mutex<VecDeque<u8>>>,
}

impl Output {
    fn of(child: &mut Child, reporter: &Arc<Reporter>) -> Self {
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let to = reporter.clone();
        let out = pump(child.stdout.take(), reporter.clone(), move |bytes| to.child_line(false, bytes));
        let (to, last) = (reporter.clone(), tail.clone());
        let err = pump(child.stderr.take(), reporter.clone(), move |bytes| {
            to.child_line(true, bytes);
            keep(&last, bytes);
        });
        Self { pumps: tokio::spawn(async move { tokio::join!(out, err) }), tail }
    }

    /// Reads what is in the pipes, for at most this long. Gives the last lines of stderr.
    async fn end(self, limit: Duration) -> String {
        let abort = self.pumps.abort_handle();
        if tokio::time::timeout(limit, self.pumps).await.is_err() {
            abort.abort();
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&tail.iter().copied().collect::<Vec<u8>>()).trim().to_owned()
    }
}

const FOR_EVER: Duration = Duration::from_secs(86_400);

fn number(sent: Sent) -> Kill {
    match sent {
        Sent::Int => Kill::SIGINT,
        Sent::Term => Kill::SIGTERM,
        Sent::Kill => Kill::SIGKILL,
    }
}

/// How long a begun line waits for its end.
const IDLE: Duration = Duration::from_millis(500);

/// What Helm prints, without secrets: those that the reporter knows by then.
async fn pump(from: Option<impl AsyncRead + Unpin>, reporter: Arc<Reporter>, mut to: impl FnMut(&[u8])) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 << 10];
    let mut stream = Stream::default();
    loop {
        let read = if stream.is_begun() {
            match tokio::time::timeout(IDLE, from.read(&mut buffer)).await {
                Ok(read) => read,
                Err(_) => {
                    to(&stream.idle(&reporter.redactor()));
                    from.read(&mut buffer).await
                }
            }
        } else {
            from.read(&mut buffer).await
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(read) => to(&stream.pass(&buffer[..read], &reporter.redactor())),
        }
    }
    to(&stream.end(&reporter.redactor()));
}

/// Keeps the last bytes.
fn keep(tail: &Mutex<VecDeque<u8>>, bytes: &[u8]) {
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    tail.extend(bytes);
    let surplus = tail.len().saturating_sub(TAIL);
    tail.drain(..surplus);
}

/// Kills a Helm with all that it started when it is given up.
struct GivenUp(Option<Family>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some(family) = self.0 {
            family.send(Kill::SIGKILL);
        }
    }
}

/// Runs Helm without passing its output on: for `version` and `template`, which change nothing. Gives stdout, or stderr's
/// last lines. When it is given up Helm is killed, with all that it started.
///
/// # Errors
/// When it cannot be started.
pub async fn quiet(
    launch: &Launch,
    argv: &[String],
) -> std::io::Result<Result<Vec<u8>, (Option<i32>, String)>> {
    let output = output(launch, argv).await?;
    if output.status.success() {
        return Ok(Ok(output.stdout));
    }
    let error = launch.redactor.clean(&String::from_utf8_lossy(&output.stderr));
    let mut start = error.len().saturating_sub(TAIL);
    while !error.is_char_boundary(start) {
        start += 1;
    }
    Ok(Err((output.status.code(), error[start..].trim().to_owned())))
}

/// The same for what Helm prints whether it fails or not: `lint`. Gives stdout, without what is secret in it.
///
/// # Errors
/// When it cannot be started.
pub async fn printed(launch: &Launch, argv: &[String]) -> std::io::Result<String> {
    let output = output(launch, argv).await?;
    Ok(launch.redactor.clean(&String::from_utf8_lossy(&output.stdout)))
}

async fn output(launch: &Launch, argv: &[String]) -> std::io::Result<std::process::Output> {
    let mut child = launch
        .unbound(argv)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut given_up = GivenUp(Some(Family::of(child.id(), launch.place)));
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = tokio::try_join!(whole(out), whole(err))?;
    let status = child.wait().await?;
    given_up.0 = None;
    if let Some(why) = launch.not_started(status.code(), String::from_utf8_lossy(&stderr).trim()) {
        return Err(why);
    }
    Ok(std::process::Output { status, stdout, stderr })
}

/// All of a stream, if it is not more than a record could hold.
async fn whole(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    if let Some(from) = from {
        from.take(MAX_DECODED + 1).read_to_end(&mut all).await?;
    }
    if all.len() as u64 > MAX_DECODED {
        return Err(std::io::Error::other(format!("it prints more than {} MiB", MAX_DECODED >> 20)));
    }
    Ok(all)
}
