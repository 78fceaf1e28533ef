//! The duties of process 1, where this program is all that a container runs: it starts itself once more, passes signals on
//! to that process, and reaps whatever is orphaned.
//!
//! For process 1 the system has no default action: a signal that nobody listens for is lost, and whoever loses its parent
//! becomes its child and stays a zombie. Done here, the rest of the program need not know.

use std::{ffi::OsString, io, process::Command};

use nix::{
    errno::Errno,
    libc::SI_KERNEL,
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::SignalFd,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::exit;

/// What is passed on, and what tells of a child's end.
const HEARD: [Signal; 8] = [
    Signal::SIGCHLD,
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Runs this program with these arguments as a child. Gives its exit code.
///
/// # Errors
/// When it cannot be started.
pub fn supervise(arguments: impl Iterator<Item = OsString>) -> io::Result<u8> {
    let heard: SigSet = HEARD.into_iter().collect();
    // Before the child is there, so that none is missed. The child itself starts with none blocked.
    heard.thread_block()?;
    let signals = SignalFd::new(&heard)?;
    let child = Command::new("/proc/self/exe").args(arguments).spawn()?;
    let child = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    loop {
        let Some(read) = signals.read_signal()? else { continue };
        let number = i32::try_from(read.ssi_signo).map_err(io::Error::other)?;
        match Signal::try_from(number)? {
            Signal::SIGCHLD => {
                if let Some(code) = reap(child)? {
                    return Ok(code);
                }
            }
            // The terminal has sent it to the child too, which would take a second one for impatience.
            _ if read.ssi_code == SI_KERNEL => {}
            signal => drop(kill(child, signal)),
        }
    }
}

/// Reaps all that have ended. Gives the exit code if the child is one of them.
fn reap(child: Pid) -> io::Result<Option<u8>> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => {
                code = u8::try_from(status).ok().or(Some(1))
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                code = Some(exit::cancelled(signal as i32));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(code),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
