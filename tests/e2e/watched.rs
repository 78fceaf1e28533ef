//! What stories about secrets share: all that a command prints and writes is searched for what must not be in it.

use std::{path::PathBuf, process::Command};

use crate::stage::{Said, Stage};

pub struct Watched {
    pub stage: Stage,
    pub chart: PathBuf,
    /// What must be seen nowhere: what it is, and the text.
    forbidden: Vec<(String, String)>,
}

impl Watched {
    pub fn new(stage: Stage, chart: PathBuf) -> Self {
        Self { stage, chart, forbidden: Vec::new() }
    }

    pub fn forbid(&mut self, what: &str, text: &str) {
        self.forbidden.push((what.to_owned(), text.to_owned()));
    }

    pub fn path(&self, name: &str) -> String {
        self.stage.temporary.path().join(name).display().to_string()
    }

    /// A deploy as a GitHub job does it, with all that it leaves.
    pub fn deployed(&self, mut guard: Command) -> Said {
        guard.arg(format!("--report={}", self.path("report.json"))).env("GITHUB_ACTIONS", "true");
        guard.env("GITHUB_STEP_SUMMARY", self.path("summary")).env("GITHUB_OUTPUT", self.path("output"));
        let said = self.heard(guard);
        for file in ["report.json", "summary", "output"] {
            let text = std::fs::read_to_string(self.path(file)).unwrap();
            assert!(!text.is_empty(), "{file}");
            self.check(file, &text);
        }
        said
    }

    pub fn heard(&self, command: Command) -> Said {
        let said = Stage::run(command);
        self.check("stdout", &said.out);
        self.check("stderr", &said.err);
        said
    }

    #[track_caller]
    pub fn check(&self, what: &str, text: &str) {
        for (name, forbidden) in &self.forbidden {
            assert!(!text.contains(forbidden.as_str()), "{name} in {what}: {text}");
        }
    }
}
