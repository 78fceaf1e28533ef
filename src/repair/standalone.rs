//! The repair of a release without a deploy: takes the history, returns steps.
//! Pure: as `repair.rs`, whose answers are used where they do not need the new manifest.

use super::{ASKED_FOR, Answer, Case, Plan, Question, Step, Strategy, adopt::Proof};
use crate::{
    helm::Command,
    release::{History, Record, Status},
};

/// What is to be done about an uninstall that died.
pub(super) const FINISH_UNINSTALL: &str =
    "helm-guard uninstall finishes it, helm-guard upgrade deploys again";

/// Decides for a repair that no deploy follows. Unless something else is asked for, only records are set right: without a
/// new manifest nobody knows which of the living objects are wanted, and the next deploy cleans up. A revision that is
/// proven to be what it would have become is adopted: as `failed` its record, and as `deployed` that of the one before,
/// would say what is not so until then. (Where a deploy follows, it goes over either, and needs no proof.)
///
/// The history, the strategy that was chosen, how many revisions Helm keeps (0 is no limit), what must not be deleted
/// with its data, and whether the last revision may be adopted.
pub fn plan(
    history: &History,
    strategy: Strategy,
    history_max: u32,
    precious: &[String],
    proof: &Proof,
) -> Answer {
    let question = Question {
        command: Command::Upgrade,
        installing: false,
        history,
        strategy,
        reuses_values: false,
        history_max,
        precious,
        proof,
        alone: true,
    };
    let case = Case::of(&question);
    let refuse = |finding: String, why: &str, next: &str| Answer::Refuse {
        finding,
        why: why.to_owned(),
        next: next.to_owned(),
    };
    let last = history.last();
    let asked =
        |strategy, command, installing| super::plan(&Question { strategy, command, installing, ..question });
    match strategy {
        Strategy::Auto if last.is_some_and(|last| last.status() == Status::Uninstalling) => refuse(
            case.finding(),
            "a dead uninstall can be finished or undone, and only you can decide which",
            FINISH_UNINSTALL,
        ),
        Strategy::Rebase => refuse(
            case.finding(),
            "a rebase is part of a deploy: it needs the new manifest",
            "deploy with helm-guard upgrade, which does it by itself",
        ),
        Strategy::Auto if *proof == Proof::Holds => asked(Strategy::Adopt, Command::Upgrade, false),
        Strategy::Auto => match asked(Strategy::MarkFailed, Command::Upgrade, false) {
            Answer::Repair(plan) if plan.why == ASKED_FOR => {
                let why = "only records change, no live object does; the next deploy removes leftovers";
                let not_adopted = match proof {
                    Proof::Fails(reasons) => format!(" (not adopted: {})", reasons.join("; ")),
                    Proof::None | Proof::Holds => String::new(),
                };
                Answer::Repair(Plan { why: format!("{why}{not_adopted}"), ..plan })
            }
            answer => answer,
        },
        Strategy::Rollback => match (asked(Strategy::Auto, Command::Rollback, false), case.good) {
            (Answer::Repair(plan), Some(good)) if !case.dead.is_empty() && plan.strategy == "rebase" => {
                let to = good.revision;
                let steps = plan.steps.into_iter().chain([Step::Rollback { to }]).collect();
                Answer::Repair(Plan { strategy: "rollback", why: ASKED_FOR.into(), steps, ..plan })
            }
            (Answer::Repair(_), None) if !case.dead.is_empty() => refuse(
                case.finding(),
                "there is no good revision to roll back to",
                "use --strategy auto, which needs none, or --strategy uninstall",
            ),
            (answer, _) => answer,
        },
        Strategy::DeleteRecord => match asked(Strategy::DeleteRecord, Command::Upgrade, false) {
            Answer::Repair(plan) => {
                let caveat =
                    "what only the deleted revisions had stays in the cluster, and Helm does not know of it";
                let deletes = plan.steps.iter().any(|step| matches!(step, Step::Delete { .. }));
                Answer::Repair(Plan { caveat: if deletes { caveat.into() } else { plan.caveat }, ..plan })
            }
            answer => answer,
        },
        strategy => asked(strategy, Command::Upgrade, strategy == Strategy::Uninstall),
    }
}

/// The revision that lives after a repair as its record says, because the repair brought it back or found it to be there: the
/// last one, `deployed`. `None` where only records were set right, and what lives is what dead revisions left.
pub fn brought<'a>(plan: &Plan, after: &'a History) -> Option<&'a Record> {
    let deletes = plan.steps.iter().any(|step| matches!(step, Step::Delete { .. }));
    let is_only_named = plan.strategy == super::map_apis::NAME;
    after.last().filter(|last| last.status() == Status::Deployed && !deletes && !is_only_named)
}

/// The strategies among which a person can choose, each with what it would do: none twice, and none that is refused.
pub fn fitting(
    history: &History,
    history_max: u32,
    precious: &[String],
    proof: &Proof,
) -> Vec<(Strategy, Plan)> {
    use Strategy::{Adopt, Auto, DeleteRecord, MarkFailed, Rollback, Uninstall};
    let mut found: Vec<(Strategy, Plan)> = Vec::new();
    // By its own name before the one that would choose it too: what was chosen is done or refused, and nothing else.
    for strategy in [Adopt, Auto, Rollback, MarkFailed, DeleteRecord, Uninstall] {
        let Answer::Repair(plan) = super::standalone::plan(history, strategy, history_max, precious, proof)
        else {
            continue;
        };
        if !found.iter().any(|(_, other)| other.steps == plan.steps) {
            found.push((strategy, plan));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repair::tests::{history, list};

    fn answer(strategy: Strategy, records: &str, precious: bool, proof: &Proof) -> String {
        let claims = if precious { vec!["PersistentVolumeClaim/data".to_owned()] } else { Vec::new() };
        let history = history(records);
        match plan(&history, strategy, 10, &claims, proof) {
            Answer::Healthy => "nothing".into(),
            Answer::Refuse { why, .. } => format!("refused: {why}"),
            Answer::Repair(plan) => format!("{}: {}", plan.strategy, list(&plan.steps)),
        }
    }

    #[test]
    fn a_person_is_offered_what_fits_and_nothing_twice() {
        let fails = Proof::Fails(vec!["Deployment/web is not there".into()]);
        for (records, proof, expected) in [
            ("1 superseded, 2 deployed", &Proof::None, ""),
            ("1 deployed, 2 pending-upgrade", &fails, "mark-failed, rollback, delete-record"),
            ("1 deployed, 2 pending-upgrade", &Proof::Holds, "adopt, rollback, mark-failed, delete-record"),
            ("1 pending-install", &fails, "mark-failed, delete-record, uninstall"),
            ("1 superseded!, 2 pending-upgrade", &Proof::None, "mark-deployed"),
            ("1 uninstalling", &Proof::None, "mark-failed, delete-record, uninstall"),
        ] {
            let offered = fitting(&history(records), 10, &[], proof);
            let names: Vec<&str> = offered.iter().map(|(_, plan)| plan.strategy).collect();
            assert_eq!(names.join(", "), expected, "{records}");
        }
    }

    #[test]
    fn what_is_brought_back_is_to_be_ready_and_what_is_only_marked_is_not() {
        use Strategy::{Adopt, Auto, DeleteRecord, Rollback};
        let stuck = "1 deployed, 2 pending-upgrade";
        for (what, strategy, before, after, expected) in [
            ("rolled back to", Rollback, stuck, "1 superseded, 2 failed, 3 deployed", Some(3)),
            ("adopted", Adopt, stuck, "1 superseded, 2 deployed", Some(2)),
            (
                "only Helm's last save was missing",
                Auto,
                "1 superseded!, 2 pending-upgrade",
                "1 superseded, 2 deployed",
                Some(2),
            ),
            ("marked", Auto, stuck, "1 deployed, 2 failed", None),
            ("its record is deleted, and all that it made lives", DeleteRecord, stuck, "1 deployed", None),
        ] {
            let Answer::Repair(plan) = plan(&history(before), strategy, 10, &[], &proof(strategy)) else {
                panic!("{what}")
            };
            let after = history(after);
            assert_eq!(brought(&plan, &after).map(|record| record.revision), expected, "{what}");
        }
    }

    fn proof(strategy: Strategy) -> Proof {
        if strategy == Strategy::Adopt { Proof::Holds } else { Proof::None }
    }

    #[test]
    fn without_a_deploy_only_records_are_set_right_unless_more_is_asked_for() {
        use Strategy::{Auto, DeleteRecord, MarkFailed, Rebase, Rollback, Uninstall};
        let stuck = "1 deployed, 2 pending-upgrade";
        let twice = "1 superseded, 2 failed, 3 pending-upgrade";
        for (what, strategy, records, claim, expected) in [
            ("nothing is wrong", Auto, "1 superseded, 2 deployed", false, "nothing"),
            ("no release", Auto, "1 uninstalled", false, "nothing"),
            ("a dead upgrade", Auto, stuck, false, "mark-failed: 2 failed"),
            ("the good one is deployed again", Auto, twice, false, "mark-failed: 3 failed, 1 deployed"),
            ("a dead first install", Auto, "1 pending-install", false, "mark-failed: 1 failed"),
            (
                "only the last save is missing",
                Auto,
                "1 superseded!, 2 pending-upgrade",
                false,
                "mark-deployed: 2 deployed",
            ),
            (
                "so no rollback either",
                Rollback,
                "1 superseded!, 2 pending-upgrade",
                false,
                "mark-deployed: 2 deployed",
            ),
            (
                "a dead uninstall is not ours to finish",
                Auto,
                "1 uninstalling",
                false,
                "refused: a dead uninstall can be finished or undone, and only you can decide which",
            ),
            ("marked, who asks for it", MarkFailed, stuck, false, "mark-failed: 2 failed"),
            ("a failed one is in nobody's way", Auto, "1 deployed, 2 failed", false, "nothing"),
            (
                "but may be undone",
                Rollback,
                "1 deployed, 2 failed",
                false,
                "rollback: lend 2 1+2, roll back to 1",
            ),
            ("back from all that may live", Rollback, twice, false, "rollback: lend 3 1+2+3, roll back to 1"),
            ("nothing to go back from", Rollback, "1 superseded, 2 deployed", false, "nothing"),
            (
                "nothing to go back to",
                Rollback,
                "1 pending-install",
                false,
                "refused: there is no good revision to roll back to",
            ),
            ("the record goes", DeleteRecord, stuck, false, "delete-record: delete 2"),
            ("a first install goes", Uninstall, "1 pending-install", false, "uninstall: uninstall"),
            (
                "with data it stays",
                Uninstall,
                "1 pending-install",
                true,
                "refused: it would delete PersistentVolumeClaim/data",
            ),
            (
                "what works stays",
                Uninstall,
                stuck,
                false,
                "refused: an uninstall would remove revision 1, which works",
            ),
            (
                "there is no new manifest",
                Rebase,
                stuck,
                false,
                "refused: a rebase is part of a deploy: it needs the new manifest",
            ),
        ] {
            assert_eq!(answer(strategy, records, claim, &Proof::None), expected, "{what}: {records}");
        }
    }
    #[test]
    fn what_is_proven_is_adopted_and_what_is_not_is_marked_or_refused() {
        use Strategy::{Adopt, Auto, MarkFailed};
        let fails = Proof::Fails(vec!["Deployment/web is not there".into()]);
        let stuck = "1 deployed, 2 pending-upgrade";
        for (what, strategy, records, proof, expected) in [
            ("it is certain", Auto, stuck, &Proof::Holds, "adopt: 1 superseded, 2 deployed"),
            ("it is not", Auto, stuck, &fails, "mark-failed: 2 failed"),
            (
                "it is not, and nothing else will do",
                Adopt,
                stuck,
                &fails,
                "refused: revision 2 cannot be adopted: Deployment/web is not there",
            ),
            ("something else is asked for", MarkFailed, stuck, &Proof::Holds, "mark-failed: 2 failed"),
            (
                "what failed too, for who asks for it",
                Adopt,
                "1 deployed, 2 failed",
                &Proof::Holds,
                "adopt: 1 superseded, 2 deployed",
            ),
            (
                "nobody knows what failed",
                Adopt,
                "1 deployed, 2 failed",
                &Proof::None,
                "refused: its record does not say what failed in revision 2, and so which hooks it had to run",
            ),
            ("there is nothing to adopt", Adopt, "1 superseded, 2 deployed", &Proof::None, "nothing"),
            (
                "an uninstall",
                Adopt,
                "1 uninstalling",
                &Proof::None,
                "refused: an uninstall is nothing that could be adopted",
            ),
        ] {
            assert_eq!(answer(strategy, records, false, proof), expected, "{what}: {records}");
        }
        let Answer::Repair(plan) = plan(&history(stuck), Auto, 10, &[], &fails) else { panic!() };
        assert!(plan.why.ends_with("(not adopted: Deployment/web is not there)"), "{}", plan.why);
    }
}
