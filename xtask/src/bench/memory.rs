//! The most memory that one process ever had, its children's not counted.
//!
//! What a process reports of an ended child (`ru_maxrss`) is the most of the child and of all *its* children: helm-guard
//! would be credited with Helm. So the kernel stops the process when it is about to exit, with its memory still there,
//! and says what that had been at most (`VmHWM`, proc(5)).

use std::{fs, process::Command};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::{
        ptrace::{self, Event, Options},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Runs a command to its end and returns its largest resident set, in bytes. It must succeed.
pub(crate) fn peak(command: &mut Command) -> Result<f64> {
    let child = command.spawn().context("run the program")?;
    let pid = Pid::from_raw(i32::try_from(child.id()).context("read a process id")?);
    ptrace::seize(pid, Options::PTRACE_O_TRACEEXIT).context("watch its exit")?;
    let mut peak = None;
    loop {
        match waitpid(pid, None).context("wait for it")? {
            WaitStatus::PtraceEvent(_, _, event) => {
                if event == Event::PTRACE_EVENT_EXIT as i32 {
                    peak = Some(high_water_mark(pid)?);
                }
                ptrace::cont(pid, None)?;
            }
            // On its way to the process: a child of it has ended, say.
            WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal)?,
            WaitStatus::Exited(_, code) => {
                ensure!(code == 0, "it failed: exit code {code}");
                return peak.context("it ended unseen");
            }
            WaitStatus::Signaled(_, signal, _) => bail!("it was ended by {signal}"),
            _ => {}
        }
    }
}

fn high_water_mark(pid: Pid) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read its status")?;
    kibibytes(&status).map(|kibibytes| kibibytes * 1024.0).context("find VmHWM")
}

fn kibibytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_read_from_the_kernels_text() {
        let status = "Name:\thelm-guard\nVmPeak:\t  900000 kB\nVmHWM:\t   14236 kB\nVmRSS:\t   14000 kB\n";
        assert_eq!(kibibytes(status), Some(14236.0));
        assert_eq!(kibibytes("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn a_childs_memory_is_not_counted() {
        // The shell is small; what it runs has 200 MB for a moment.
        let mut shell = Command::new("sh");
        shell.args(["-c", "head -c 200000000 /dev/zero | tail -c 200000000 >/dev/null; :"]);
        let bytes = peak(&mut shell).unwrap();
        assert!((100e3..20e6).contains(&bytes), "{bytes}");
    }
}
