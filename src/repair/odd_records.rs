//! Records that Helm can read but not work with, although no revision died: what to do before Helm starts.
//! Pure: the records are written in `repair/execute.rs`.
//!
//! What plain Helm makes of them, 3.22 and 4.3 alike: a manifest in force that is not YAML ends every upgrade and rollback
//! ("unable to build kubernetes objects from current release manifest"); a status that is `unknown`, or a word of another
//! version, is passed over while an older revision is deployed, and without one ends every upgrade ("has no deployed
//! releases"); a record without `info` makes every command panic; one without `chart` works; one that is immutable stays as
//! it is, so that two revisions are deployed in the end.

use super::{Plan, Step, finish_install::attempts};
use crate::{
    helm::Command,
    release::{History, Record, Status},
};

/// The record whose manifest Helm takes for what is in force; `None` if it needs none.
pub fn base(history: &History, command: Command) -> Option<&Record> {
    let last = history.last().filter(|last| !last.is_gone())?;
    match command {
        Command::Install => None,
        Command::Upgrade => Some(history.deployed().next_back().unwrap_or(last)),
        // They work on the last one, whatever it is.
        Command::Rollback | Command::Uninstall => Some(last),
    }
}

/// What the manifest of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// YAML of Kubernetes objects.
    Objects,
    /// More than this program reads, and Helm's to read.
    BeyondLimits,
    /// Nothing that Helm could build objects of.
    NotYaml,
}

/// The plan for a base whose manifest is not YAML: for one run of Helm it has what the other revisions tell of what may live.
/// `None` where that would not help.
pub fn unreadable_base(
    history: &History,
    command: Command,
    reading: impl Fn(&Record) -> Reading,
) -> Option<Plan> {
    let base = base(history, command).filter(|base| reading(base) == Reading::NotYaml)?;
    let others: Vec<u32> = attempts(history)
        .into_iter()
        .filter(|record| reading(record) == Reading::Objects)
        .map(|record| record.revision)
        .collect();
    // An uninstall from nothing would delete the records, and no object.
    if command == Command::Uninstall && others.is_empty() {
        return None;
    }
    let revision = base.revision;
    let union_of = others.into_iter().chain([revision]).collect();
    Some(Plan {
        strategy: "rebase",
        finding: format!("the manifest of revision {revision} is not YAML of Kubernetes objects"),
        why: "helm could not build its objects; for this run it merges from what the other revisions tell, and \
              adopts what else lives"
            .to_owned(),
        steps: vec![Step::Lend { revision, union_of, good: None, values_of: None }],
        good: Some(revision).filter(|_| base.status() == Status::Deployed),
        caveat: format!("objects and fields that only revision {revision} had may stay"),
    })
}

/// Must the record be written anew, because Helm cannot read or write it as it is?
pub fn needs_writing(record: &Record, is_last: bool) -> bool {
    record.body.as_ref().is_ok_and(|body| body.no_info)
        || (record.stored.is_immutable() && (is_last || record.status() == Status::Deployed))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{history, list};
    use super::*;

    #[test]
    fn a_base_that_cannot_be_read_is_replaced_for_one_run() {
        use Reading::{BeyondLimits, NotYaml, Objects};
        for (what, command, records, unread, expected) in [
            ("all is well", Command::Upgrade, "1 superseded, 2 deployed", 0, "nothing"),
            ("an older one", Command::Upgrade, "1 superseded, 2 deployed", 1, "nothing"),
            ("the base", Command::Upgrade, "1 superseded, 2 deployed", 2, "lend 2 1+2; good 2"),
            ("the only one", Command::Upgrade, "1 deployed", 1, "lend 1 1; good 1"),
            ("a base that failed", Command::Upgrade, "1 failed", 1, "lend 1 1"),
            ("a rollback", Command::Rollback, "1 superseded, 2 deployed", 2, "lend 2 1+2; good 2"),
            ("an uninstall", Command::Uninstall, "1 superseded, 2 deployed", 2, "lend 2 1+2; good 2"),
            ("an uninstall that would know nothing", Command::Uninstall, "1 deployed", 1, "nothing"),
            ("one that is gone", Command::Upgrade, "1 uninstalled", 1, "nothing"),
        ] {
            let history = history(records);
            let reading = |record: &Record| if record.revision == unread { NotYaml } else { Objects };
            let plan = unreadable_base(&history, command, reading);
            let said = plan.map_or("nothing".to_owned(), |plan| {
                let good = plan.good.map_or(String::new(), |good| format!("; good {good}"));
                format!("{}{good}", list(&plan.steps))
            });
            assert_eq!(said, expected, "{what}");
        }
        // Helm reads what is beyond our limits: a base that is, needs nothing, and no union is made of it.
        let history = history("1 superseded, 2 deployed");
        let of = |base, other| {
            let reading = |record: &Record| if record.revision == 2 { base } else { other };
            unreadable_base(&history, Command::Upgrade, reading).map(|plan| list(&plan.steps))
        };
        assert_eq!(of(BeyondLimits, Objects), None);
        assert_eq!(of(NotYaml, BeyondLimits).as_deref(), Some("lend 2 2"));
    }
}
