//! How a revision dies: who is killed, and at which request.

use std::{process::Child, time::Duration};

use nix::sys::signal::Signal;
use testbed::{Gate, Hold, Seen};

use super::{
    history::{Fate, History},
    rng::Rng,
};
use crate::{
    stage::{Said, kill},
    sweep::{children, ends_within, handle, is_helm, pid, signal_to},
};

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// A Helm without helm-guard.
    Helm,
    /// helm-guard, with which its Helm dies.
    Guard,
    /// The Helm of a helm-guard that lives on.
    HelmOfGuard,
    /// Both at once.
    Both,
}

/// At which request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A write of an object by Helm, or the first save of a record if there are fewer.
    Write(usize, Hold),
    /// Before the old record is superseded.
    FirstSave,
    /// Before the new one is deployed.
    LastSave,
    /// A write of a record by helm-guard.
    Repair(usize, Hold),
}

/// How a revision dies, or how its values are given.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Plain Helm, with all values.
    Plain,
    Death(Victim, Moment),
    Guard {
        values: Given,
        preflight: bool,
    },
}

/// How values are given to the deploy that repairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    All,
    /// Those that differ from the ones of the last good revision, with this flag.
    Beside(&'static str),
    None,
}

/// What is done in a history, revision by revision.
pub fn draw(history: &History, number: u64, variant: u64) -> Vec<Act> {
    let rng = &mut Rng::new(("deaths", number, variant, history.mode));
    let has_good = history.revisions[0].fate == Fate::Lives;
    let given = match rng.below(10) {
        _ if history.no_values => Given::None,
        0 | 1 if has_good => Given::Beside("--reuse-values"),
        2 | 3 if has_good => Given::Beside("--reset-then-reuse-values"),
        _ => Given::All,
    };
    let mut acts: Vec<Act> = Vec::new();
    for revision in &history.revisions {
        acts.push(match revision.fate {
            Fate::Lives => Act::Plain,
            Fate::Repairs => Act::Guard { values: given, preflight: rng.chance(60) },
            Fate::Dies => {
                // Plain Helm does not start on what is stuck.
                let stuck = matches!(acts.last(), Some(Act::Death(..)));
                let victims = [
                    Victim::Guard,
                    Victim::Both,
                    Victim::Guard,
                    Victim::HelmOfGuard,
                    Victim::Helm,
                    Victim::Helm,
                    Victim::Helm,
                ];
                let victim = rng.pick(&victims[..if stuck { 4 } else { 7 }]);
                Act::Death(victim, moment(rng, stuck && victim == Victim::Guard, given))
            }
        });
    }
    acts
}

fn moment(rng: &mut Rng, repairs: bool, given: Given) -> Moment {
    let hold = rng.pick(&[Hold::Before, Hold::After]);
    match rng.below(100) {
        0..20 if repairs => Moment::Repair(rng.below(3), hold),
        0..20 => Moment::Write(0, Hold::Before),
        20..65 => Moment::Write(rng.below(8), hold),
        // It is as good as done, and its values are the ones that are reused.
        65..75 if given == Given::All => Moment::LastSave,
        _ => Moment::FirstSave,
    }
}

fn has(seen: &Seen, text: &str) -> bool {
    seen.body.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Is this the request?
fn choose(moment: Moment) -> impl FnMut(&Seen) -> Option<Hold> + Send + 'static {
    let (mut objects, mut records) = (0, 0);
    move |seen| {
        if !seen.is_write() {
            return None;
        }
        let path = seen.object();
        let record = path.starts_with("secrets")
            && (path.contains("/sh.helm.release.") || has(seen, "helm.sh/release.v1"));
        if !is_helm(seen) {
            records += usize::from(record);
            return match moment {
                Moment::Repair(nth, hold) if record && records > nth => Some(hold),
                _ => None,
            };
        }
        let saves = record && seen.method == "PUT";
        match moment {
            Moment::Write(nth, hold) => {
                objects += usize::from(!record);
                if !record && objects > nth { Some(hold) } else { saves.then_some(Hold::Before) }
            }
            Moment::FirstSave | Moment::Repair(..) => saves.then_some(Hold::Before),
            Moment::LastSave => (saves && has(seen, "deployed")).then_some(Hold::Before),
        }
    }
}

const LIMIT: Duration = Duration::from_secs(90);

/// Runs a command until it is killed there. Gives what it said if it ended before that.
pub fn dies(
    namespace: &testbed::Namespace<'_>,
    mut command: std::process::Command,
    victim: Victim,
    moment: Moment,
) -> Result<(), Said> {
    let gate = Gate::open(namespace, choose(moment)).unwrap();
    let (out, err) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    command.env("KUBECONFIG", gate.kubeconfig()).stdout(out.reopen().unwrap()).stderr(err.reopen().unwrap());
    let mut child = command.spawn().unwrap();
    let process = handle(pid(&child)).unwrap();
    let mut waited = Duration::ZERO;
    let slice = Duration::from_millis(100);
    while gate.wait(slice).is_err() {
        waited += slice;
        if ends_within(&process, Duration::ZERO) || waited > LIMIT {
            let code = child.try_wait().unwrap().and_then(|status| status.code());
            kill(&mut child);
            let text = |file: &tempfile::NamedTempFile| std::fs::read_to_string(file.path()).unwrap();
            return Err(Said { code, out: text(&out), err: text(&err) });
        }
    }
    strike(&mut child, victim, &process);
    Ok(())
}

fn strike(child: &mut Child, victim: Victim, process: &rustix::fd::OwnedFd) {
    let helm: Vec<i32> = if victim == Victim::Helm { Vec::new() } else { children(pid(child)) };
    let gone: Vec<_> = helm.iter().filter_map(|helm| handle(*helm)).collect();
    if matches!(victim, Victim::Both | Victim::HelmOfGuard) {
        helm.iter().for_each(|helm| signal_to(*helm, Signal::SIGKILL));
    }
    if victim == Victim::HelmOfGuard {
        // It settles, and is done.
        let ended = ends_within(process, LIMIT);
        kill(child);
        assert!(ended, "helm-guard lives on without its Helm");
        return;
    }
    kill(child);
    assert!(gone.iter().all(|helm| ends_within(helm, LIMIT)), "Helm outlives helm-guard");
}
