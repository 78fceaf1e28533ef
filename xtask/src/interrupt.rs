//! Ctrl-C and its like: every process that this one started ends before this one does.
//!
//! Dying is not enough. A Helm whose cluster is gone lives on until its own timeout, and the Helm of a helm-guard that
//! was killed has a process group of its own, which a Ctrl-C does not reach.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::Context;
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::Pid,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// The name of a cluster's supervisor: it ends its own processes and removes its files when it is told to end.
const SUPERVISOR: &str = "testcluster";

static UNDER_WAY: AtomicBool = AtomicBool::new(false);

/// From now on a signal ends this process and all that it started.
pub(crate) fn end_all_on_signal() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("listen for signals")?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            end_all(signal);
        }
    });
    Ok(())
}

/// Never returns once a signal ends this process: what fails then fails because of that, and is not worth a word.
pub(crate) fn wait_if_under_way() {
    while UNDER_WAY.load(Ordering::SeqCst) {
        thread::park();
    }
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "a signal ends the process, whatever it is doing"
)]
fn end_all(signal: i32) {
    UNDER_WAY.store(true, Ordering::SeqCst);
    println!("\ninterrupted: ending what was started");
    let me = std::process::id();
    let supervisors: Vec<u32> = children(me).into_iter().filter(|child| is_supervisor(*child)).collect();
    for supervisor in &supervisors {
        send(*supervisor, Signal::SIGTERM);
    }
    // Children of those that are killed first would be nobody's: so the whole list is made before.
    for process in descendants(me) {
        send(process, Signal::SIGKILL);
    }
    for supervisor in supervisors.into_iter().filter_map(pid) {
        // Whoever else waits for it may be quicker; both know then that it is gone.
        let _ = waitpid(supervisor, None);
    }
    std::process::exit(128 + signal);
}

/// All processes below one, those of clusters left out.
fn descendants(process: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for child in children(process) {
        if !is_supervisor(child) {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}

/// Each thread's children: the kernel lists them by the thread that started them.
fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).ok();
    let lists: Vec<String> = threads.flatten().filter_map(of_thread).collect();
    lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|child| child.parse().ok()).collect()
}

fn is_supervisor(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim_end() == SUPERVISOR)
}

fn send(process: u32, signal: Signal) {
    if let Some(process) = pid(process) {
        // It may have ended by itself.
        let _ = kill(process, signal);
    }
}

fn pid(process: u32) -> Option<Pid> {
    i32::try_from(process).ok().map(Pid::from_raw)
}
