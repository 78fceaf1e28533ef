//! Other processes of this machine: found by what only ours carry, told apart when process ids are used again, ended.
//! Knows nothing of what they do.

use std::{os::fd::OwnedFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

use crate::{clock::Clock, located::Located};

/// A process, whoever has its process id later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
}

impl Process {
    /// This process.
    pub fn this() -> Option<Self> {
        Self::of(i32::try_from(std::process::id()).ok()?)
    }

    /// The process that has this id now, if one lives.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Self { pid, started: start_time(&stat)? })
    }
}

impl Located {
    /// This process; `None` where the system does not tell.
    pub fn this() -> Option<Self> {
        let Process { pid, started } = Process::this()?;
        Some(Self { machine: machine()?, pid, started })
    }

    /// Is it proven to have ended? Never of a process of another machine, or of one that may not be looked at.
    pub fn has_ended(&self) -> bool {
        if machine().as_ref() != Some(&self.machine) {
            return false;
        }
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        // Also says so where `/proc` hides other users' processes.
        match pidfd_open(pid, PidfdFlags::empty()) {
            Err(error) => error == rustix::io::Errno::SRCH,
            Ok(_) => std::fs::read_to_string(format!("/proc/{}/stat", self.pid))
                .is_ok_and(|stat| start_time(&stat) != Some(self.started)),
        }
    }
}

/// One boot of one kernel, and the namespaces in which process ids and start times are counted.
fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = |name| std::fs::read_link(format!("/proc/self/ns/{name}")).ok();
    let time = space("time").unwrap_or_default();
    Some(format!("{} {} {}", boot.trim(), space("pid")?.display(), time.display()).trim_end().to_owned())
}

/// The 22nd field of `/proc/PID/stat`; none of a process that has ended and whose parent has not asked how, which may
/// never happen where nobody does the duties of process 1, as in job containers. The second field, the program's name, may
/// hold blanks and parentheses.
fn start_time(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

/// The processes whose environment has this variable with this value, less this one. Those of other users cannot be
/// looked at, and are none of ours.
pub fn carrying(variable: &str, value: &str) -> Vec<Process> {
    let entry = format!("{variable}={value}");
    let carries = |pid| environment(pid).split(|byte| *byte == 0).any(|pair| pair == entry.as_bytes());
    let this = i32::try_from(std::process::id()).ok();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|found| found.file_name().to_str()?.parse().ok())
        // The start time is read first: what is read of the environment is then of this process or of none.
        .filter_map(|pid: i32| Process::of(pid).filter(|_| Some(pid) != this && carries(pid)))
        .collect()
}

/// A living process with all that descend from it; none if it has ended.
pub fn family(pid: i32) -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(Process, i32)> = entries
        .filter_map(|found| {
            let pid = found.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((Process { pid, started: start_time(&stat)? }, parent(&stat)?))
        })
        .collect();
    let mut family: Vec<Process> = Process::of(pid).into_iter().collect();
    let mut seen = 0;
    while let Some(member) = family.get(seen).copied() {
        family.extend(parents.iter().filter(|(_, parent)| *parent == member.pid).map(|(child, _)| *child));
        seen += 1;
    }
    family
}

/// The fourth field of `/proc/PID/stat`.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Sends a signal, by its number, to processes that may have ended. Does not wait.
pub fn signal(processes: &[Process], number: i32) {
    let Some(signal) = Signal::from_named_raw(number) else { return };
    for process in processes {
        if let Ok(Some(handle)) = open(process) {
            let _ = pidfd_send_signal(handle, signal);
        }
    }
}

/// The environment that a process was started with, each variable ended by a zero byte; nothing of those that may not be
/// looked at.
///
/// A process that is just becoming another program seems to have none for some microseconds, also after whoever started
/// it went on: it is waited for.
fn environment(pid: i32) -> Vec<u8> {
    /// How often it is looked at, each a millisecond after the last: one that still has no environment is stuck there.
    const LOOKS: usize = 1000;
    for _ in 0..LOOKS {
        // Asked first: what is read of a program that is there is all that there is.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        match std::fs::read(format!("/proc/{pid}/environ")) {
            Ok(environment) if environment.is_empty() && becomes_another_program(&stat) => {}
            Ok(environment) => return environment,
            Err(_) => break,
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "every caller is on a thread of its own for what blocks"
        )]
        std::thread::sleep(Duration::from_millis(1));
    }
    Vec::new()
}

/// By `/proc/PID/stat`: its memory, of which kernel threads and ended processes have none, has no place for an environment
/// yet. Says nothing of other users' processes, whose addresses are not told.
fn becomes_another_program(stat: &str) -> bool {
    /// Behind the name: the memory's size, and the address where the environment ends.
    const SIZE: usize = 20;
    const END: usize = 48;
    let Some((_, fields)) = stat.rsplit_once(')') else { return false };
    let field = |index| fields.split_whitespace().nth(index).unwrap_or_default();
    field(SIZE) != "0" && field(END) == "0"
}

/// Ends processes: asks with SIGTERM, if there is a limit for that, and then kills. Returns when all are gone; those that
/// were gone before count as ended.
///
/// # Errors
/// When one cannot be signalled, or lives on.
pub async fn end(processes: &[Process], gently: Option<Duration>, clock: Clock) -> std::io::Result<()> {
    /// What even a killed process may take, to leave a system call.
    const KILL: Duration = Duration::from_secs(5);
    let mut left = Vec::new();
    for process in processes {
        left.extend(open(process)?);
    }
    for (signal, limit) in [(Signal::TERM, gently), (Signal::KILL, Some(KILL))] {
        let Some(limit) = limit else { continue };
        for process in &left {
            match pidfd_send_signal(process, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let deadline = clock.monotonic() + limit;
        // `poll` blocks its thread.
        left = tokio::task::spawn_blocking(move || wait(left, clock, deadline)).await??;
        if left.is_empty() {
            return Ok(());
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "a killed process lives on"))
}

/// A handle that stays this process's when its id is used again; `None` if it is gone.
fn open(process: &Process) -> std::io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(process.pid) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        // Looked at after the handle is open: the handle is this process's or the start time differs.
        Ok(handle) => Ok((Process::of(process.pid) == Some(*process)).then_some(handle)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until all have ended, or the deadline; gives those that have not.
fn wait(mut left: Vec<OwnedFd>, clock: Clock, deadline: Duration) -> std::io::Result<Vec<OwnedFd>> {
    while !left.is_empty() {
        let mut polled: Vec<PollFd<'_>> =
            left.iter().map(|handle| PollFd::new(handle, PollFlags::IN)).collect();
        let remaining = deadline.saturating_sub(clock.monotonic());
        let timeout = Timespec::try_from(remaining).map_err(std::io::Error::other)?;
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // A process's handle becomes readable when it ends.
        let ended: Vec<bool> = polled.iter().map(|process| !process.revents().is_empty()).collect();
        let mut ended = ended.into_iter();
        left.retain(|_| !ended.next().unwrap_or_default());
        if clock.monotonic() >= deadline {
            break;
        }
    }
    Ok(left)
}

/// Takes this program's own secrets out of the environment of what it starts. `GITHUB_TOKEN` and the like are not its own:
/// they are the user's, who may have put them there for a plugin.
pub fn without_secrets(command: &mut std::process::Command) {
    #[expect(clippy::disallowed_methods, reason = "only names are read, to leave variables out")]
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_str().is_some_and(crate::env::is_own_secret)) {
        command.env_remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    /// A process that waits for input which never comes, and that carries `mark`.
    fn sleeper(script: &str, mark: &str) -> Child {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).env("HELM_GUARD_TEST_MARK", mark);
        shell.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        shell.spawn().unwrap()
    }

    fn of(child: &Child) -> Process {
        Process::of(i32::try_from(child.id()).unwrap()).unwrap()
    }

    #[test]
    fn the_start_time_is_found_behind_an_odd_name() {
        let fields: Vec<String> = (4..30).map(|field| field.to_string()).collect();
        assert_eq!(start_time(&format!("7 (a) b (c) S {}", fields.join(" "))), Some(22));
        assert_eq!(start_time(&format!("7 (a) b (c) Z {}", fields.join(" "))), None, "it has ended");
        assert_eq!(start_time("7 (a"), None);
    }

    #[test]
    fn one_that_just_starts_has_its_environment_already() {
        let mark = "HELM_GUARD_TEST_MARK=starts";
        for _ in 0..200 {
            let mut child = sleeper("read line", "starts");
            let environment = environment(i32::try_from(child.id()).unwrap());
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(environment.split(|byte| *byte == 0).any(|pair| pair == mark.as_bytes()));
        }
    }

    #[test]
    fn a_program_is_there_when_its_memory_has_an_environment() {
        let stat = |size: u64, end: u64| {
            let fields: Vec<_> = (4..53)
                .map(|n| {
                    if n == 23 {
                        size
                    } else if n == 51 {
                        end
                    } else {
                        n
                    }
                })
                .collect();
            format!("7 (a) b) S {}", fields.iter().map(u64::to_string).collect::<Vec<_>>().join(" "))
        };
        assert!(becomes_another_program(&stat(4096, 0)));
        assert!(!becomes_another_program(&stat(4096, 9000)), "it was started with nothing");
        assert!(!becomes_another_program(&stat(0, 0)), "a kernel thread");
        assert!(!becomes_another_program(""), "it is gone");
    }

    #[test]
    fn a_located_process_is_proven_dead_on_its_own_machine_only() {
        let mut child = sleeper("read line", "located");
        let this = Located::this().unwrap();
        let Process { pid, started } = of(&child);
        let located = Located { pid, started, ..this.clone() };
        assert!(!this.has_ended() && !located.has_ended());
        assert!(Located { started: started - 1, ..located.clone() }.has_ended(), "another has its id");
        child.kill().unwrap();
        nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(pid)),
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        )
        .unwrap();
        assert!(located.has_ended(), "nobody has asked for its exit code yet");
        child.wait().unwrap();
        assert!(located.has_ended());
        assert!(!Located { machine: "another".into(), ..located }.has_ended());
    }

    #[test]
    fn a_family_is_a_process_and_its_descendants_and_is_signalled_whole() {
        use std::io::Read;
        let mut child = sleeper("sleep 600 & echo $!; wait", "family");
        let mut line = String::new();
        while !line.ends_with('\n') {
            let mut byte = [0];
            child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
            line.push(byte[0].into());
        }
        let grandchild = Process::of(line.trim().parse().unwrap()).unwrap();
        let family = family(of(&child).pid);
        assert_eq!(family, [of(&child), grandchild]);
        signal(&family, 9);
        child.wait().unwrap();
        wait(open(&grandchild).unwrap().into_iter().collect(), Clock::start(), Duration::from_secs(60))
            .unwrap();
        assert_eq!(super::family(i32::try_from(child.id()).unwrap()), []);
    }

    #[tokio::test]
    async fn a_process_is_found_by_its_mark_and_ended() {
        let mark = format!("mark-{}", std::process::id());
        let mut child = sleeper("read line", &mark);
        let found = carrying("HELM_GUARD_TEST_MARK", &mark);
        assert_eq!(found, [of(&child)]);
        end(&found, Some(Duration::from_secs(60)), Clock::start()).await.unwrap();
        assert!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()) == Some(15));
        assert_eq!(carrying("HELM_GUARD_TEST_MARK", &mark), []);
        let clock = Clock::start();
        end(&found, Some(Duration::from_secs(60)), clock).await.unwrap();
        assert!(clock.monotonic() < Duration::from_secs(1), "nobody is left to wait for");
    }

    /// On a runtime of one thread: it is let go by a task that runs while its end is waited for.
    #[tokio::test]
    async fn who_waits_for_an_end_keeps_nobody_else_waiting() {
        use std::io::{Read, Write};
        let mut child = sleeper("trap '' TERM; echo ready; read line; exit 7", "waits");
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let processes = [of(&child)];
        let ended = end(&processes, Some(Duration::from_secs(10)), Clock::start());
        let others = async {
            tokio::task::yield_now().await;
            stdin.write_all(b"go\n").unwrap();
        };
        let (ended, ()) = tokio::join!(ended, others);
        ended.unwrap();
        assert_eq!(
            child.wait().unwrap().code(),
            Some(7),
            "it was killed: its limit went by before the other task ran"
        );
    }

    #[tokio::test]
    async fn one_that_does_not_listen_is_killed() {
        use std::io::Read;
        let mut child = sleeper("trap '' TERM; echo ready; read line", "deaf");
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        end(&[of(&child)], Some(Duration::from_millis(50)), Clock::start()).await.unwrap();
        assert!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()) == Some(9));
    }

    #[tokio::test]
    async fn who_has_the_process_id_later_is_left_alone() {
        let mut child = sleeper("read line", "other");
        let earlier = Process { started: of(&child).started - 1, ..of(&child) };
        end(&[earlier], None, Clock::start()).await.unwrap();
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
