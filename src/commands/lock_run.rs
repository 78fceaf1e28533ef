//! `lock run`: any command under a release's lock.
//! The command keeps this process's terminal and streams; nothing it prints is touched.

use std::{ffi::OsString, io::Write, os::unix::process::ExitStatusExt, path::Path, time::Duration};

use nix::sys::signal::Signal as Kill;
use tokio::process::Command;

use super::{
    lock::{take, wanted},
    session::{CommandError, connect, listen, say},
};
use crate::lock::{RUN, lease::Held};
use crate::{
    ci,
    cli::LockRun,
    clock::Clock,
    env::{Env, LOCK_ID_ENV},
    exit,
    helm::{
        launch::find,
        terminal::{Family, Place, Prepared},
    },
    signals::{Signal, Signals},
    text::terminal_safe,
};

/// Not found, as shells say it.
const NOT_FOUND: u8 = 127;
/// Found, and cannot be run.
const NOT_RUN: u8 = 126;

/// Takes the lock, runs the command, gives the lock back. Gives the exit code.
pub(crate) async fn run(args: &LockRun, env: &Env, host: &str, clock: Clock) -> Result<u8, CommandError> {
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
        say(&format!("lock taken over from a dead holder: {}", crate::lock::holder::who(dead)));
    }
    let held = acquired.held;
    let in_ci = ci::system(env) != ci::System::Terminal;
    let command = Under { program: &program, arguments, stop_timeout: args.stop_timeout, in_ci };
    let ended = command.run(held.lock_id(), &held, &mut signals).await;
    let lost = !held.is_held();
    if held.release(false).await.is_err() {
        say("warning: the lock could not be given back; it runs out by itself");
    }
    match ended {
        Ok(_) if lost => {
            Err(CommandError::new(exit::LOCK_LOST, format!("the lock was lost while {name} ran"), &[]))
        }
        Ok(code) => Ok(code),
        Err(error) => {
            let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN };
            Err(CommandError::new(code, format!("{name}: {error}"), &[]))
        }
    }
}

struct Under<'a> {
    program: &'a OsString,
    arguments: &'a [OsString],
    stop_timeout: Duration,
    in_ci: bool,
}

impl Under<'_> {
    async fn run(&self, lock_id: &str, held: &Held, signals: &mut Signals) -> std::io::Result<u8> {
        let place = Place::here(self.in_ci);
        let (program, before) = match place {
            Place::Session => {
                // The step that becomes it cannot tell why there is none.
                find(Path::new(self.program))?;
                let prepared =
                    Prepared { place, dies_with_parent: false, shielded: false, outlives_terminal: false };
                (OsString::from("/proc/self/exe"), prepared.arguments(self.program))
            }
            Place::Terminal | Place::Group => (self.program.clone(), Vec::new()),
        };
        let mut command = Command::new(program);
        command.args(before);
        command.args(self.arguments).env(LOCK_ID_ENV, lock_id);
        if place == Place::Group {
            command.process_group(0);
        }
        // What was written so far comes before what the command writes.
        let _ = std::io::stderr().flush();
        let mut child = command.spawn()?;
        let family = Family::of(child.id(), place);
        let mut lost = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                signal = signals.next() => match signal {
                    // A Ctrl-C has reached the command by itself.
                    Signal::Int if place == Place::Terminal => {}
                    Signal::Int => family.send(Kill::SIGINT),
                    Signal::Term => family.send(Kill::SIGTERM),
                },
                why = held.lost(), if !lost => {
                    lost = true;
                    say(&format!("the lock is lost ({why}): stopping the command"));
                    family.send(Kill::SIGTERM);
                }
            }
            if lost {
                // Somebody else may start soon: it is not waited for any longer.
                match tokio::time::timeout(self.stop_timeout, child.wait()).await {
                    Ok(status) => break status?,
                    Err(_) => {
                        family.send(Kill::SIGKILL);
                        break child.wait().await?;
                    }
                }
            }
        };
        let signalled = status.signal().map(exit::cancelled);
        Ok(signalled.or_else(|| status.code().and_then(|code| u8::try_from(code).ok())).unwrap_or(1))
    }
}
