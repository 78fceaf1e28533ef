//! What a guarded deploy costs on charts such as people deploy: objects of many kinds, next to the API server and far from it.

use std::time::Duration;

use anyhow::Result;
use testbed::{Relay, tools::Helm};

use super::{HISTORY, finding::Finding, take_turns, timed};
use crate::{
    lab::{Lab, Place, major},
    screen::{Note, waiting},
};

/// The chart, from the checkout.
const CHART: &str = "tests/charts/mixed";
/// An upgrade may take this many times what raw Helm takes.
const UPGRADE_LIMIT: f64 = 1.00;
/// An install, of which nothing is known before.
const INSTALL_LIMIT: f64 = 1.05;
/// Round trip to a server that is far: that of another region.
const FAR: Duration = Duration::from_millis(20);
/// Parts of the chart, each of ten objects; ten come on top.
const PARTS: [usize; 2] = [0, 5];

/// Where Helm runs, as seen from the API server.
#[derive(Clone, Copy)]
struct Distance<'a> {
    place: &'a Place<'a>,
    name: &'static str,
}

/// Installs, upgrades of one object and of all, with one Helm.
pub(super) fn compare(lab: &Lab, helm: Helm, rounds: usize) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for parts in PARTS {
        let objects = 10 * (parts + 1);
        let near = lab.place(&format!("charts-{objects}-helm{}", major(helm)), helm)?;
        let relay = Relay::open(near.kubeconfig(), FAR)?;
        let far = near.through(relay.kubeconfig());
        let distances =
            [Distance { place: &near, name: "near" }, Distance { place: &far, name: "20 ms away" }];
        let chart = Chart { parts, helm };
        for distance in distances {
            let what = format!("install of {objects}, {}", distance.name);
            let samples = waiting(&format!("{what}, Helm {}", major(helm)), |note| {
                chart.installs(distance.place, rounds, note)
            })?;
            findings.push(Finding::pairs(what, Some(helm), samples, INSTALL_LIMIT).by_extremes());
        }
        waiting(&format!("history of {objects} objects, Helm {}", major(helm)), |note| {
            chart.warm_up(&near, note)
        })?;
        for (changed, flag) in [("one", "one"), ("all", "all")] {
            for distance in distances {
                let what = format!("upgrade of {changed} of {objects}, {}", distance.name);
                let samples = waiting(&format!("{what}, Helm {}", major(helm)), |note| {
                    chart.upgrades(distance.place, flag, rounds, note)
                })?;
                findings.push(Finding::pairs(what, Some(helm), samples, UPGRADE_LIMIT).by_extremes());
            }
        }
        timed(&near, "helm", &["uninstall", "web", "--wait"])?;
    }
    Ok(findings)
}

struct Chart {
    parts: usize,
    helm: Helm,
}

impl Chart {
    /// A deploy, with the value `flag` as `value`.
    fn deploy(
        &self,
        place: &Place<'_>,
        program: &str,
        command: &str,
        flag: &str,
        value: usize,
    ) -> Result<f64> {
        let (parts, value) = (format!("--set=parts={}", self.parts), format!("--set-string={flag}={value}"));
        timed(place, program, &[command, "web", CHART, &parts, &value])
    }

    fn installs(&self, place: &Place<'_>, rounds: usize, note: &Note) -> Result<[super::stats::Samples; 2]> {
        let install = |guarded: bool| {
            let took = self.deploy(place, program(guarded), "install", "one", 0)?;
            timed(place, "helm", &["uninstall", "web", "--wait"])?;
            Ok(took)
        };
        // What Helm's client remembers of an API server, it remembers by its address.
        install(false)?;
        install(true)?;
        take_turns(rounds, note, install)
    }

    /// Leaves a release with a full history.
    fn warm_up(&self, place: &Place<'_>, note: &Note) -> Result<()> {
        self.deploy(place, "helm", "install", "one", 0)?;
        for run in 1..=HISTORY {
            note.set(format!("{run} of {HISTORY}, Helm {}", major(self.helm)));
            self.deploy(place, program(run % 2 == 1), "upgrade", "one", run)?;
        }
        Ok(())
    }

    fn upgrades(
        &self,
        place: &Place<'_>,
        flag: &str,
        rounds: usize,
        note: &Note,
    ) -> Result<[super::stats::Samples; 2]> {
        let mut build = HISTORY;
        let mut upgrade = |guarded: bool| {
            build += 1;
            self.deploy(place, program(guarded), "upgrade", flag, build)
        };
        // The other value goes back to what the chart says.
        upgrade(false)?;
        upgrade(true)?;
        take_turns(rounds, note, upgrade)
    }
}

fn program(guarded: bool) -> &'static str {
    if guarded { "helm-guard" } else { "helm" }
}
