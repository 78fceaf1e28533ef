//! What happens to a release, step by step: which couplings it has, and in which order its two releases are deployed.

use serde_json::Value;
use testbed::tools::Helm;

use super::{
    couplings::Coupling,
    part::{Part, filler},
};
use crate::{
    stage::UNVALIDATED,
    sweep::{draw, pick, seed},
};

/// A step; plain Helm does it on one side, helm-guard on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first release is deployed.
    Old,
    /// What others do in between, on both sides the same.
    Meanwhile,
    /// The second release is deployed.
    New,
    /// Back to the revision before.
    Rollback,
    Uninstall,
}

/// A release and its fate.
#[derive(Clone, Debug)]
pub struct Story {
    /// What it is called in messages.
    pub name: String,
    pub couplings: Vec<Coupling>,
    pub part: Part,
    pub steps: Vec<Step>,
}

const SHAPES: [&[Step]; 8] = {
    use Step::{Meanwhile, New, Old, Rollback, Uninstall};
    [
        &[Old, Meanwhile, New],
        &[Old, Meanwhile, New],
        &[Old, Meanwhile, New, New],
        &[Meanwhile, New, New],
        &[Old, Meanwhile, New, Old],
        &[Old, Meanwhile, New, Rollback, New],
        &[Old, Old, Meanwhile, New],
        &[Old, Meanwhile, New, Uninstall, New],
    ]
};

impl Story {
    pub fn draw(point: u64, version: Helm) -> Self {
        let mut couplings: Vec<Coupling> = (0..=draw(("how many", point), 2))
            .map(|at| pick(("coupling", point, at), &Coupling::ALL))
            .collect();
        // Each point has one of its own in turn, so that a round has many kinds.
        let turn = usize::try_from(point / 2 + seed() * 7).unwrap();
        couplings[0] = Coupling::ALL[turn % Coupling::ALL.len()];
        couplings.sort();
        couplings.dedup();
        let mut part = Part::default();
        for coupling in &couplings {
            part.add(coupling.part(point, version));
        }
        part.add(filler(point, 3 + draw(("filler", point), 4)));
        if version == Helm::V4 && draw(("side", point), 6) == 0 {
            part.flags.push("--server-side=false".to_owned());
        }
        // Helm spends most of its time on it.
        if draw(("validates", point), 3) > 0 {
            part.old_flags.push(UNVALIDATED.to_owned());
            part.flags.push(UNVALIDATED.to_owned());
        }
        let mut steps = pick(("shape", point), &SHAPES).to_vec();
        if part.uninstalls && steps[0] == Step::Old {
            steps.insert(1, Step::Uninstall);
        }
        Self { name: format!("{version:?} seed {} point {point}", seed()), couplings, part, steps }
    }

    /// All that is needed to see what it is.
    pub fn told(&self) -> String {
        let Self { name, couplings, part, steps } = self;
        let list =
            |objects: &[Value]| objects.iter().map(|object| format!("\n  {object}")).collect::<String>();
        format!(
            "{name}: {couplings:?} {steps:?}\nold {:?}:{}\nnew {:?}:{}\nset up:{}\nin between {:?}:{}",
            part.old_flags,
            list(&part.old),
            part.flags,
            list(&part.new),
            list(&part.setup),
            part.meanwhile,
            list(&part.comes),
        )
    }
}
