//! What the differential test found and what was mended, each as the smallest story that shows it.

use serde_json::Value;
use testbed::tools::Helm;

use super::{
    objects::{annotated, config, hook},
    part::Part,
    story::{Step, Story},
    tally::How,
};

/// A difference.
pub struct Row {
    /// What was wrong.
    found: &'static str,
    /// What found it: Helm, seed and point, or how else.
    round: &'static str,
    part: fn() -> Part,
    steps: &'static [Step],
    /// What becomes of its last deploy: with Helm 3, with Helm 4.
    wanted: [How; 2],
}

pub const ROWS: &[Row] = &[Row {
    found: "a-hook-that-is-left-from-an-earlier-run-was-not-foreseen",
    round: "read in the code, when a coupling for it was written",
    part: || {
        let left: Value = annotated(
            hook(config("once", "1"), "pre-install,pre-upgrade"),
            "helm.sh/hook-delete-policy",
            "hook-failed",
        );
        Part { old: vec![left.clone()], new: vec![left, config("new", "1")], ..Part::default() }
    },
    steps: &[Step::Old, Step::New],
    // Helm 4 applies its hooks on the server's side.
    wanted: [How::RefusedRightly, How::Succeeds],
}];

impl Row {
    pub fn story(&self) -> Story {
        Story {
            name: format!("{} ({})", self.found, self.round),
            couplings: Vec::new(),
            part: (self.part)(),
            steps: self.steps.to_vec(),
        }
    }

    /// What becomes of its last deploy.
    pub fn wanted(&self, version: Helm) -> How {
        match version {
            Helm::V3 => self.wanted[0],
            Helm::V4 => self.wanted[1],
        }
    }
}
