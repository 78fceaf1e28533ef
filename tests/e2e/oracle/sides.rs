//! The two sides of a round: the namespace in which every revision ends, and the one in which some die. Each is looked at
//! after each revision that ended.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use super::{
    compare::{Picture, picture},
    deaths::{Act, Given, Victim, dies},
    history::{Fate, History, Revision},
    objects::{GROUP, SORTS, definition},
};
use crate::stage::{QUICK, SHORT_LIVED, Said, Stage, UNVALIDATED};

/// What lives after a revision ended.
pub struct Step {
    pub at: usize,
    pub picture: Picture,
    /// What is wrong, beside what lives.
    pub wrong: Vec<String>,
    /// What the deploy printed.
    pub said: Said,
}

/// A deploy that failed, or that ended where it was to die.
pub struct Broken {
    pub at: usize,
    pub said: Said,
}

/// A namespace with a release of the history.
struct Side<'a> {
    stage: Stage,
    history: &'a History,
}

impl<'a> Side<'a> {
    fn new(history: &'a History) -> Self {
        let stage = Stage::new("oracle", history.mode.helm());
        define(&stage);
        Self { stage, history }
    }

    fn file(&self, at: usize, values: &serde_json::Value) -> PathBuf {
        let path = self.stage.temporary.path().join(format!("values-{at}.json"));
        std::fs::write(&path, values.to_string()).unwrap();
        path
    }

    fn revision(&self, at: usize) -> &Revision {
        &self.history.revisions[at]
    }

    /// What helm and helm-guard are told alike.
    fn words(&self, at: usize, given: Given) -> Vec<String> {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/charts/objects").display().to_string();
        let mut words = vec![
            "upgrade".to_owned(),
            "web".to_owned(),
            chart,
            "--install".to_owned(),
            UNVALIDATED.to_owned(),
        ];
        words.extend(
            self.history.mode.flags().iter().chain(&self.revision(at).flags).map(|flag| (*flag).to_owned()),
        );
        let values = match given {
            Given::All => Some(self.revision(at).values()),
            Given::Beside(flag) => {
                words.push(flag.to_owned());
                let good = (0..at).rev().find(|at| self.revision(*at).fate == Fate::Lives);
                Some(self.revision(at).values_since(self.revision(good.unwrap())))
            }
            Given::None => None,
        };
        words.extend(values.map(|values| format!("--values={}", self.file(at, &values).display())));
        words
    }

    fn plain(&self, at: usize) -> Command {
        let words = self.words(at, Given::All);
        self.stage.helm(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn guard(&self, at: usize, given: Given, more: &[&str]) -> Command {
        let words = self.words(at, given);
        let words = words.iter().map(String::as_str);
        self.stage.own(&words.chain(QUICK).chain(more.iter().copied()).collect::<Vec<_>>())
    }

    fn look(&self) -> (Picture, BTreeMap<String, String>) {
        let resources: Vec<&str> = SORTS.iter().map(|sort| sort.resource).collect();
        let list = self.stage.namespace.kubectl_json(["get", &resources.join(",")]).unwrap();
        picture(&list, self.stage.namespace.name())
    }

    /// Somebody else's change, if it is time for it.
    fn drift(&self, at: usize) {
        if let Some((name, patch)) = self.history.drift.as_ref().filter(|_| at == 0) {
            let kind = name.split('-').next().unwrap();
            let patch = patch.to_string();
            self.stage.namespace.kubectl(["patch", kind, name, "--type=merge", "-p", &patch]).unwrap();
        }
    }

    fn disorder(&self) -> Vec<String> {
        let history = self.stage.history();
        let statuses: Vec<&str> = history.iter().map(|(_, status)| status.as_str()).collect();
        let is_sane = statuses.last() == Some(&"deployed")
            && statuses.iter().filter(|status| **status == "deployed").count() == 1
            && !statuses.iter().any(|status| status.starts_with("pending"));
        if is_sane { Vec::new() } else { vec![format!("the history is {statuses:?}")] }
    }
}

/// What lives when plain Helm ends each of these revisions.
pub fn clean(history: &History, revisions: &[usize]) -> Result<BTreeMap<usize, Picture>, Broken> {
    let side = Side::new(history);
    let mut pictures = BTreeMap::new();
    for at in revisions {
        let said = Stage::run(side.plain(*at));
        if said.code != Some(0) {
            return Err(Broken { at: *at, said });
        }
        pictures.insert(*at, side.look().0);
        side.drift(*at);
    }
    Ok(pictures)
}

/// What lives after each revision that ended, where some died.
pub fn repaired(history: &History, acts: &[Act]) -> Result<Vec<Step>, Broken> {
    let side = Side::new(history);
    let mut steps = Vec::new();
    for (at, act) in acts.iter().enumerate() {
        let before = side.look().1;
        let said = match act {
            Act::Death(victim, moment) => {
                let command = match victim {
                    Victim::Helm => side.plain(at),
                    _ => side.guard(at, Given::All, &[SHORT_LIVED]),
                };
                dies(&side.stage.namespace, command, *victim, *moment).map_err(|said| Broken { at, said })?;
                continue;
            }
            Act::Plain => Stage::run(side.plain(at)),
            Act::Guard { values, preflight } => {
                let more: &[&str] = if *preflight { &[] } else { &["--preflight=off"] };
                Stage::run(side.guard(at, *values, more))
            }
        };
        if said.code != Some(0) {
            return Err(Broken { at, said });
        }
        let (picture, after) = side.look();
        let mut wrong = side.disorder();
        let anew = after.iter().filter(|(name, uid)| before.get(*name).is_some_and(|old| old != *uid));
        wrong.extend(anew.map(|(name, _)| format!("{name} was deleted and made anew")));
        steps.push(Step { at, picture, wrong, said });
        side.drift(at);
    }
    Ok(steps)
}

/// Defines the custom resource, once for all. It goes with the cluster.
fn define(stage: &Stage) {
    static DEFINED: OnceLock<()> = OnceLock::new();
    DEFINED.get_or_init(|| {
        stage.namespace.apply(&definition().to_string()).unwrap();
        let name = format!("crd/widgets.{GROUP}");
        stage.namespace.wait_for(&name, "condition=Established", Duration::from_secs(30)).unwrap();
    });
}
