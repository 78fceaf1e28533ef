//! The history of runs that is kept in the Lease: the newest run, the runs that started their Helm, the last deploy; and whether
//! one run makes another outdated. Numbers compare only within one release, repository, workflow file and ref.
//! Pure. It is kept in an annotation of the Lease, which anybody may have written: what does not parse is nothing.

use serde::{Deserialize, Serialize};

use crate::{ci::run::Owner, lock::holder::Holder};

/// Name of the annotation, behind helm-guard's prefix.
pub const NOTE: &str = "runs";
/// Lines that are remembered; the one that moved least lately goes first.
const LINES: usize = 16;
/// Longest annotation that is read, in bytes.
const LONGEST: usize = 64 << 10;
/// Longest text that is written, in characters.
const TEXT: usize = 256;

/// All lines of one Lease, the one that moved last first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lines(Vec<Line>);

/// Runs whose numbers compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Line {
    release: String,
    repository: String,
    workflow: String,
    #[serde(rename = "ref")]
    git_ref: String,
    /// The highest number that came.
    newest: Run,
    /// The highest number whose Helm has started.
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Run>,
    /// What was deployed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    deployed: Option<Deployed>,
}

/// One run of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Run {
    /// Its number in the line.
    pub number: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    attempt: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    job_id: String,
    /// Its page.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    actor: String,
    /// It ended before its Helm started.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ended: bool,
}

/// What was deployed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deployed {
    /// By which run.
    #[serde(flatten)]
    pub run: Run,
    /// `upgrade`, `uninstall`, …
    pub operation: String,
    /// Git commit.
    pub commit: String,
    /// When, RFC 3339, by the deployer's clock. For people.
    pub at: String,
}

impl Run {
    fn of(number: u64, owner: &Owner) -> Self {
        Self {
            number,
            id: short(&owner.run_id),
            attempt: short(&owner.run_attempt),
            job_id: short(&owner.job_id),
            url: short(&owner.run_url),
            actor: short(&owner.actor),
            ended: false,
        }
    }

    /// For a question about it.
    pub fn owner(&self) -> Owner {
        Owner {
            run_url: self.url.clone(),
            run_id: self.id.clone(),
            run_attempt: self.attempt.clone(),
            job_id: self.job_id.clone(),
            ..Owner::default()
        }
    }

    /// `run 12 (https://…) by mona`.
    pub fn name(&self) -> String {
        let url = if self.url.is_empty() { String::new() } else { format!(" ({})", self.url) };
        let actor = if self.actor.is_empty() { String::new() } else { format!(" by {}", self.actor) };
        format!("run {}{url}{actor}", self.number)
    }
}

/// What a newer run did, or does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Newer {
    /// It deployed.
    Deployed(Box<Deployed>),
    /// Its Helm has started.
    Started(Run),
    /// It is alive, and will be next.
    Alive(Run),
}

impl Deployed {
    /// `upgrade, commit 4f1c0d9a7b3e, at 2026-06-01T10:02:11Z by run 12 (https://…) by mona`.
    pub fn text(&self) -> String {
        let commit: String = self.commit.chars().take(12).collect();
        let commit = if commit.is_empty() { commit } else { format!(", commit {commit}") };
        let at = crate::text::to_the_second(&self.at);
        format!("{}{commit}, at {at} by {}", self.operation, self.run.name())
    }
}

impl Newer {
    /// Which.
    pub fn run(&self) -> &Run {
        match self {
            Self::Deployed(deployed) => &deployed.run,
            Self::Started(run) | Self::Alive(run) => run,
        }
    }

    /// As a sentence: what it did to this run.
    pub fn why(&self) -> String {
        let name = self.run().name();
        match self {
            Self::Deployed(deployed) => {
                let commit = if deployed.commit.is_empty() {
                    String::new()
                } else {
                    format!(" commit {}", deployed.commit.chars().take(12).collect::<String>())
                };
                let what = match deployed.operation.as_str() {
                    "uninstall" => "has uninstalled the release".to_owned(),
                    "rollback" => "has rolled the release back".to_owned(),
                    _ => format!("has deployed{commit}"),
                };
                let at = crate::text::to_the_second(&deployed.at);
                format!("a newer run of the same workflow and ref {what} at {at}: {name}")
            }
            Self::Started(_) => {
                format!("a newer run of the same workflow and ref has started its helm: {name}")
            }
            Self::Alive(_) => format!("a newer run of the same workflow and ref waits to deploy: {name}"),
        }
    }
}

/// Where a run stands in its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// No newer one is in its way.
    Current,
    /// A newer one makes it pointless.
    Outdated(Newer),
    /// A newer one has come, and its Helm has not started: it counts if it is alive.
    Behind(Run),
}

impl Lines {
    /// Reads the annotation.
    pub fn parse(text: &str) -> Self {
        if text.len() > LONGEST { Self::default() } else { serde_json::from_str(text).unwrap_or_default() }
    }

    /// Writes it.
    pub fn render(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Is there anything to remember?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was deployed last, by the clocks of those who did.
    pub fn last_deployed(&self) -> Option<&Deployed> {
        self.0.iter().filter_map(|line| line.deployed.as_ref()).max_by(|one, other| one.at.cmp(&other.at))
    }

    /// Where `me` stands. A run that is run again is meant to go back.
    pub fn place(&self, me: &Holder) -> Place {
        let (Some(number), Some(line)) = (number(me), self.0.iter().find(|line| line.is_of(me))) else {
            return Place::Current;
        };
        if is_again(&me.owner) {
            return Place::Current;
        }
        if let Some(deployed) = line.deployed.as_ref().filter(|deployed| deployed.run.number > number) {
            return Place::Outdated(Newer::Deployed(Box::new(deployed.clone())));
        }
        if let Some(started) = line.started.as_ref().filter(|started| started.number > number) {
            return Place::Outdated(Newer::Started(started.clone()));
        }
        if line.newest.number > number && !line.newest.ended {
            return Place::Behind(line.newest.clone());
        }
        Place::Current
    }

    /// Does `me` have to be put down as the newest?
    pub fn lacks(&self, me: &Holder) -> bool {
        let newest = self.0.iter().find(|line| line.is_of(me)).map(|line| line.newest.number);
        number(me).is_some_and(|number| newest.is_none_or(|newest| newest < number))
    }

    /// Is `me` put down as one that will deploy?
    pub fn awaits(&self, me: &Holder) -> bool {
        let newest = self.0.iter().find(|line| line.is_of(me)).map(|line| &line.newest);
        newest.is_some_and(|newest| Some(newest.number) == number(me) && !newest.ended)
    }

    /// `me` has come. One that has the lock is put down also where another job of its run was.
    pub fn enter(&mut self, me: &Holder) {
        let Some(number) = number(me) else { return };
        let line = self.line(me);
        if line.newest.number <= number {
            line.newest = Run::of(number, &me.owner);
        }
    }

    /// The Helm of `me` has started.
    pub fn start(&mut self, me: &Holder) {
        let Some(number) = number(me) else { return };
        let line = self.line(me);
        if line.started.as_ref().is_none_or(|started| started.number <= number) {
            line.started = Some(Run::of(number, &me.owner));
        }
    }

    /// `me` gives the lock back, and has deployed at this time, or not.
    pub fn leave(&mut self, me: &Holder, deployed_at: Option<&str>) {
        let Some(number) = number(me) else { return };
        let line = self.line(me);
        if let Some(at) = deployed_at {
            line.deployed = Some(Deployed {
                run: Run::of(number, &me.owner),
                operation: short(&me.operation),
                commit: short(&me.owner.commit),
                at: short(at),
            });
        }
        let has_started = line.started.as_ref().is_some_and(|started| started.number >= number);
        if line.newest.number == number && !has_started {
            line.newest.ended = true;
        }
    }

    /// The line of `me`, which moves to the front.
    fn line(&mut self, me: &Holder) -> &mut Line {
        let line = match self.0.iter().position(|line| line.is_of(me)) {
            Some(at) => self.0.remove(at),
            None => Line::of(me),
        };
        self.0.insert(0, line);
        self.0.truncate(LINES);
        &mut self.0[0]
    }
}

impl Line {
    fn of(me: &Holder) -> Self {
        Self {
            release: short(&me.release),
            repository: short(&me.owner.repository),
            workflow: short(&me.owner.workflow_file),
            git_ref: short(&me.owner.git_ref),
            ..Self::default()
        }
    }

    fn is_of(&self, me: &Holder) -> bool {
        let other = Self::of(me);
        (&self.release, &self.repository, &self.workflow, &self.git_ref)
            == (&other.release, &other.repository, &other.workflow, &other.git_ref)
    }
}

/// The number of a run that is one of a line: a deploy of a CI system that counts them.
fn number(me: &Holder) -> Option<u64> {
    const DEPLOYS: [&str; 4] = ["upgrade", "install", "rollback", "uninstall"];
    // Under `lock run` the operation goes on with what it is in.
    let operation = me.operation.split(' ').next().unwrap_or_default();
    let is_known = !me.owner.repository.is_empty() && !me.owner.workflow_file.is_empty();
    let number = me.owner.run_number.parse().ok().filter(|number| *number > 0);
    number.filter(|_| is_known && DEPLOYS.contains(&operation))
}

/// Somebody has asked for this run once more, or by hand.
fn is_again(owner: &Owner) -> bool {
    owner.run_attempt.parse::<u64>().is_ok_and(|attempt| attempt > 1)
}

fn short(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

#[cfg(test)]
#[path = "run_history_tests.rs"]
mod tests;
