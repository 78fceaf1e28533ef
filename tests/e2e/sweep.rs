//! What the sweeps share: points that come from a seed, and the moments of a Helm run, as an API server sees them.

use std::{
    fmt::Debug,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, pidfd_open},
};
use testbed::{Hold, Seen};

/// A moment of a Helm run, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// The hook before the apply runs.
    PreHook,
    /// Some of the chart's objects are written.
    Apply,
    /// All are, and Helm waits for them.
    Wait,
    /// The hook after the wait runs.
    PostHook,
    /// All is done; the old record is still `deployed`.
    FirstSave,
    /// The old record is superseded, the new one not yet `deployed`.
    LastSave,
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |number| number.parse().unwrap())
}

/// The points of a sweep, ten unless `HELM_GUARD_SWEEP_POINTS` says otherwise; told with the seed, for a second time.
pub fn points(of: &str) -> u64 {
    let points = number("HELM_GUARD_SWEEP_POINTS", 10);
    println!("{of}: {points} points, HELM_GUARD_SWEEP_SEED={}", seed());
    points
}

fn seed() -> u64 {
    number("HELM_GUARD_SWEEP_SEED", 1)
}

/// A number below `bound` that depends on the seed and on `what` alone.
pub fn draw(what: impl Hash, bound: u64) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((seed(), what)) % bound
}

/// One of these, drawn.
pub fn pick<T: Copy>(what: impl Hash, from: &[T]) -> T {
    from[usize::try_from(draw(what, from.len() as u64)).unwrap()]
}

pub fn is_helm(seen: &Seen) -> bool {
    seen.user_agent.starts_with("Helm/")
}

fn has(seen: &Seen, text: &str) -> bool {
    seen.body.windows(text.len()).any(|window| window == text.as_bytes())
}

pub fn is_object(path: &str) -> bool {
    ["configmaps", "persistentvolumeclaims", "deployments"].iter().any(|kind| path.starts_with(kind))
}

/// Chooses the request of a window: `which` counts the writes of an apply.
pub fn at(window: Window, which: u64) -> impl FnMut(&Seen) -> Option<Hold> + Send + 'static {
    let (mut written, mut hook) = (0, false);
    let side = if which.is_multiple_of(2) { Hold::Before } else { Hold::After };
    move |seen| {
        if !is_helm(seen) {
            return None;
        }
        let (path, write) = (seen.object(), seen.is_write());
        let started = |event: &str| write && path.starts_with("jobs") && has(seen, event);
        match window {
            Window::PreHook | Window::PostHook => {
                let running = hook && !write && path.starts_with("jobs");
                hook |= started(if window == Window::PreHook { "\"pre-" } else { "\"post-" });
                running.then_some(Hold::Before)
            }
            Window::Apply => {
                written += u64::from(write && is_object(path));
                (written > which / 2).then_some(side)
            }
            Window::Wait => {
                let waits = written > 0 && !write && path.starts_with("deployments");
                written += u64::from(write && path.starts_with("deployments"));
                waits.then_some(Hold::Before)
            }
            Window::FirstSave => {
                (write && path.starts_with("secrets") && has(seen, "superseded")).then_some(Hold::Before)
            }
            Window::LastSave => {
                let saves = write && path.starts_with("secrets") && has(seen, "deployed");
                saves.then_some(Hold::Before)
            }
        }
    }
}

const HOOKS: [&str; 4] = ["pre-install", "post-install", "pre-upgrade", "post-upgrade"];

/// Flags of a deploy with these objects, and with hooks where a window needs them.
pub fn flags(configs: &str, env: &str, hooks: bool) -> Vec<String> {
    let mut flags = vec![
        format!("--set=configs={{{configs}}}"),
        "--set=claims={data}".to_owned(),
        format!("--set-string=env.{env}=1"),
        "--wait".to_owned(),
        "--timeout=60s".to_owned(),
    ];
    if hooks {
        flags.extend(HOOKS.map(|hook| format!("--set=hooks.{hook}=300ms")));
    }
    flags
}

pub fn strs(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// Through a gate, and silent.
pub fn start(mut command: Command, kubeconfig: &Path) -> Child {
    command.env("KUBECONFIG", kubeconfig).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// The processes that a process started and that have not ended.
pub fn children(pid: i32) -> Vec<i32> {
    let found = Command::new("pgrep").args(["-P", &pid.to_string()]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

pub fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

/// A handle of a process that tells when it ends; `None` if it has.
pub fn handle(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).ok()
}

/// Waits until a process has ended.
pub fn ends_within(process: &OwnedFd, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).unwrap();
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)).unwrap() == 1
}

/// It may be gone already.
pub fn signal_to(pid: i32, signal: nix::sys::signal::Signal) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

/// Runs a sweep's points, and tells which of them it was that failed.
pub fn each<T: Debug>(points: impl Iterator<Item = T>, run: impl Fn(&T)) {
    for point in points {
        println!("{point:?}");
        run(&point);
    }
}
