//! `lock run`: any command under a release's lock.
//! The command keeps this process's terminal and streams; nothing it prints is touched.

use std::{
    ffi::OsString,
    io::{IsTerminal, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    time::Duration,
};

use nix::{
    sys::signal::{Signal as Kill, kill, killpg},
    unistd::Pid,
};
use tokio::process::Command;

use super::{
    RUN,
    command::{Stop, connect, listen, say, take, wanted},
    lease::Held,
};
use crate::{
    ci::Env,
    cli::LockRun,
    clock::Clock,
    exit,
    helm::launch::MARK,
    report::text::terminal_safe,
    signals::{Signal, Signals},
};

/// Not found, as shells say it.
const NOT_FOUND: u8 = 127;
/// Found, and cannot be run.
const NOT_RUN: u8 = 126;

/// Takes the lock, runs the command, gives the lock back. Gives the exit code.
pub(super) async fn run(args: &LockRun, env: &Env, host: &str, clock: Clock) -> Result<u8, Stop> {
    let mut signals = listen()?;
    let cluster = connect(&args.wanted.cluster, env).await?;
    let (program, arguments) = args
        .command
        .split_first()
        .map_or((OsString::new(), &[][..]), |(program, rest)| (program.clone(), rest));
    // Arguments may be secrets; a name is enough to know it by.
    let name = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let operation = format!("{RUN} {}", terminal_safe(&name));
    let wanted = wanted(&args.wanted, &cluster, &operation, args.lease_duration, env, host, clock);
    let acquired = take(&wanted, &cluster, &signals, clock).await?;
    if let Some(dead) = &acquired.taken_over {
        say(&format!("lock taken over from a dead holder: {}", crate::report::terminal::who(dead)));
    }
    let held = acquired.held;
    let command = Under { program: &program, arguments, stop_timeout: args.stop_timeout };
    let ended = command.run(held.lock_id(), &held, &mut signals).await;
    let lost = !held.is_held();
    if held.release(false).await.is_err() {
        say("warning: the lock could not be given back; it runs out by itself");
    }
    match ended {
        Ok(_) if lost => Err(Stop::new(exit::LOCK_LOST, format!("the lock was lost while {name} ran"), &[])),
        Ok(code) => Ok(code),
        Err(error) => {
            let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN };
            Err(Stop::new(code, format!("{name}: {error}"), &[]))
        }
    }
}

struct Under<'a> {
    program: &'a OsString,
    arguments: &'a [OsString],
    stop_timeout: Duration,
}

impl Under<'_> {
    async fn run(&self, lock_id: &str, held: &Held, signals: &mut Signals) -> std::io::Result<u8> {
        // At a terminal the command must be in its foreground group, to read from it; a Ctrl-C reaches it there by itself.
        // Elsewhere it gets a group of its own, so that a signal reaches all that it starts, and once.
        let shared = std::io::stdin().is_terminal();
        let mut command = Command::new(self.program);
        command.args(self.arguments).env(MARK, lock_id);
        if !shared {
            command.process_group(0);
        }
        // What was written so far comes before what the command writes.
        let _ = std::io::stderr().flush();
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let send = |signal: Kill| {
            // It may be gone already.
            let _ = pid.map(|pid| if shared { kill(pid, signal) } else { killpg(pid, signal) });
        };
        let mut lost = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                signal = signals.next() => match signal {
                    Signal::Int if shared => {}
                    Signal::Int => send(Kill::SIGINT),
                    Signal::Term => send(Kill::SIGTERM),
                },
                why = held.lost(), if !lost => {
                    lost = true;
                    say(&format!("the lock is lost ({why}): stopping the command"));
                    send(Kill::SIGTERM);
                }
            }
            if lost {
                // Somebody else may start soon: it is not waited for any longer.
                match tokio::time::timeout(self.stop_timeout, child.wait()).await {
                    Ok(status) => break status?,
                    Err(_) => {
                        send(Kill::SIGKILL);
                        break child.wait().await?;
                    }
                }
            }
        };
        let signalled = status.signal().map(exit::cancelled);
        Ok(signalled.or_else(|| status.code().and_then(|code| u8::try_from(code).ok())).unwrap_or(1))
    }
}
