//! Where the processes that this program starts run: with the terminal or apart from it, and which of them a signal reaches.
//!
//! A process that reads a terminal (`-f -`, a password prompt, a login of an exec credential plugin) must be in the terminal's
//! foreground process group: in any other group the kernel stops it with SIGTTIN or SIGTTOU, and it never ends. So at a
//! terminal a child stays in this program's own group, as every program of a shell's job does. Then Ctrl-C reaches the child
//! directly and Ctrl-Z stops the whole job, which `fg` continues. Handing the terminal over (`tcsetpgrp`) would instead take
//! Ctrl-C away from this program, and would need a shell's whole job control here.
//!
//! What a terminal sends to the whole group is kept from a Helm that it would harm: SIGHUP always (a closed terminal ends
//! nothing), SIGINT for commands that save nothing when they are interrupted. These signals are ignored, which Go leaves as it
//! is until a program asks for them; a mask of blocked signals it clears (seen with Helm 3.22 and 4.3). To ignore a signal
//! takes unsafe code or a shell, and where there is a terminal there is a shell.
//!
//! Without a terminal a child gets a group of its own, so that a signal reaches all that it starts, and once.

use std::{
    ffi::{CString, OsString},
    fs::File,
    io::IsTerminal,
    os::unix::ffi::OsStringExt,
    path::Path,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, execvp, getpgrp, setsid, tcgetpgrp},
};

use crate::process;

/// Where a child runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// In this program's process group, with its terminal.
    Terminal,
    /// In a process group of its own. There is no terminal.
    #[default]
    Group,
    /// In a session of its own: there is a terminal, but this program is not its foreground job, or a CI system started it.
    /// Opening the terminal fails there, so that nothing can be stopped by it.
    Session,
}

impl Place {
    /// For a child of this process. In a CI job nobody types.
    pub fn here(in_ci: bool) -> Self {
        let Ok(terminal) = File::open("/dev/tty") else { return Self::Group };
        let is_foreground = || tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp());
        // A job in the background whose input is the terminal: `fg` brings it and its children to the foreground.
        if !in_ci && (std::io::stdin().is_terminal() || is_foreground()) {
            Self::Terminal
        } else {
            Self::Session
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Group => "group",
            Self::Session => "session",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Terminal, Self::Group, Self::Session].into_iter().find(|place| place.word() == word)
    }
}

/// The hidden command that starts another program from within its own process: what only a process itself can ask for, and
/// between `fork` and `exec` only unsafe code could.
pub const EXEC_HELM: &str = "exec-helm";

/// How the step prepares the process that becomes the program.
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    /// Where it runs.
    pub place: Place,
    /// Whether the system kills it together with this process.
    pub dies_with_parent: bool,
    /// Whether a terminal's Ctrl-C is kept from it.
    pub shielded: bool,
    /// Whether a closed terminal is kept from it.
    pub outlives_terminal: bool,
}

impl Prepared {
    /// Arguments of this program that make it become `program`.
    pub fn arguments(self, program: impl Into<OsString>) -> Vec<OsString> {
        let parent = if self.dies_with_parent { std::process::id() } else { 0 };
        let flag = |is_set: bool| if is_set { "1" } else { "0" };
        vec![
            EXEC_HELM.into(),
            parent.to_string().into(),
            self.place.word().into(),
            flag(self.shielded).into(),
            flag(self.outlives_terminal).into(),
            program.into(),
        ]
    }
}

/// The step. Returns only if it fails, with the sentence to print.
///
/// SIGKILL with the parent: a Helm whose fence is gone can save nothing, but would try for as long as its timeout.
pub fn become_program(mut arguments: impl Iterator<Item = OsString>) -> String {
    let mut word = || arguments.next().and_then(|word| word.into_string().ok());
    let parent: Option<i32> = word().and_then(|id| id.parse().ok());
    let place = word().and_then(|word| Place::parse(&word));
    let (shielded, outlives_terminal) = (word(), word());
    let (Some(parent), Some(place), Some(program)) = (parent, place, arguments.next()) else {
        return format!("{EXEC_HELM}: for this program itself");
    };
    if parent != 0 {
        if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
            return format!("helm cannot be bound to this process: {error}");
        }
        // It may have died before the request was made.
        if nix::unistd::getppid() != Pid::from_raw(parent) {
            return "the process that started helm is gone".to_owned();
        }
    }
    if place == Place::Session
        && let Err(error) = setsid()
    {
        return format!("no session of its own: {error}");
    }
    let is_set = |flag: Option<String>| flag.as_deref() == Some("1");
    let ignored = match (place, is_set(outlives_terminal), is_set(shielded)) {
        (Place::Terminal, true, true) => "HUP INT",
        (Place::Terminal, true, false) => "HUP",
        (Place::Terminal, false, true) => "INT",
        _ => "",
    };
    let failed = |error: String| format!("helm binary {}: {error}", Path::new(&program).display());
    let Ok(path) = CString::new(program.clone().into_vec()) else { return failed("no path".to_owned()) };
    let mut argv = vec![path.clone()];
    for argument in arguments {
        match CString::new(argument.into_vec()) {
            Ok(argument) => argv.push(argument),
            Err(error) => return failed(error.to_string()),
        }
    }
    if !ignored.is_empty()
        && let Ok(script) = CString::new(format!("trap '' {ignored}; exec \"$0\" \"$@\""))
    {
        let mut shell = vec![c"sh".to_owned(), c"-c".to_owned(), script];
        shell.extend(argv.iter().cloned());
        // Where there is none, Helm gets what the terminal sends.
        let _ = execvp(c"/bin/sh", &shell);
    }
    match execvp(&path, &argv) {
        Ok(never) => match never {},
        Err(error) => failed(std::io::Error::from(error).to_string()),
    }
}

/// A started child with all that it starts.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pid: Option<Pid>,
    place: Place,
}

impl Family {
    /// Of a child that was started at this place; none if it has been waited for.
    pub fn of(id: Option<u32>, place: Place) -> Self {
        Self { pid: id.and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw), place }
    }

    /// Sends a signal to the child and to what it started. They may be gone already.
    pub fn send(self, signal: Signal) {
        let Some(pid) = self.pid else { return };
        if self.place != Place::Terminal {
            // Before the step has made the session there is no such group yet.
            if killpg(pid, signal) == Err(Errno::ESRCH) && self.place == Place::Session {
                let _ = kill(pid, signal);
            }
            return;
        }
        // Its group is ours too.
        process::signal(&process::family(pid.as_raw()), signal as i32);
    }

    /// Kills what the child started and left behind, which all carry this variable with this value.
    pub async fn kill_rest(self, variable: &'static str, value: String) {
        if self.place != Place::Terminal {
            return self.send(Signal::SIGKILL);
        }
        // It may have to wait for a process that just starts, and blocks its thread for that.
        let kill = move || process::signal(&process::carrying(variable, &value), Signal::SIGKILL as i32);
        let _ = tokio::task::spawn_blocking(kill).await;
    }
}
