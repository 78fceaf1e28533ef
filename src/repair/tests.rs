use super::*;
use crate::{
    helm::Invocation,
    release::{
        codec::{Essentials, HookRun},
        stored_record::Stored,
    },
};
use k8s_openapi::api::core::v1::Secret;

mod properties;

/// A record as Helm leaves it with this status, written as the `written`th of all.
///
/// `unreadable` does not decode. `aside` is set aside for an install over it, `replaced-aside` was then replaced by that,
/// `failed-aside` has become failed again, `dead-install` was marked by helm-guard. `superseded?` was superseded by a rollback that failed, without having completed;
/// `replaced` was superseded by an install after it had been uninstalled. `!` says written last of all, `+hook` that
/// an install hook did not finish, `+done` that it did, `~failed` that the label says something else.
fn record(revision: u32, text: &str, written: u64) -> Record {
    let (text, written) = text.strip_suffix('!').map_or((text, written), |text| (text, 1000));
    let (text, label) = text.split_once('~').map_or((text, None), |(text, label)| (text, Some(label)));
    let (text, hook) = text.split_once('+').map_or((text, None), |(text, hook)| (text, Some(hook)));
    let (word, description) = match text {
        "deployed" | "superseded" => (text, "Upgrade complete"),
        "superseded?" => ("superseded", "Preparing upgrade"),
        "replaced" => ("superseded", "superseded by new release"),
        "failed" => (text, "Upgrade \"web\" failed: timed out"),
        "uninstalled" => (text, "Uninstallation complete"),
        "aside" => ("uninstalled", "died while pending-install; marked by helm-guard"),
        "replaced-aside" => ("superseded", "superseded by new release"),
        "failed-aside" | "dead-install" => ("failed", "died while pending-install; marked by helm-guard"),
        "dead-uninstall" => ("failed", "died while uninstalling; marked by helm-guard"),
        "uninstalling" => (text, "Deletion in progress (or silently failed)"),
        "pending-install" => (text, "Initial install underway"),
        "pending-upgrade" => (text, "Preparing upgrade"),
        "pending-rollback" => (text, "Rollback to 1"),
        "unreadable" | "unknown" => (text, ""),
        other => panic!("no status: {other}"),
    };
    let phase = if hook == Some("done") { "Succeeded" } else { "Running" };
    let hook = hook.map(|_| {
        serde_json::from_value::<HookRun>(serde_json::json!(
            {"name": "migrate", "kind": "Job", "events": ["post-install"], "last_run": {"phase": phase}}
        ))
        .unwrap()
    });
    let status = Status::parse(word);
    let essentials = Essentials {
        status,
        description: description.to_owned(),
        hooks: hook.into_iter().collect(),
        set_aside: text.ends_with("aside"),
        ..Essentials::default()
    };
    let mut object = Secret::default();
    object.metadata.name = Some(format!("sh.helm.release.v1.web.v{revision}"));
    object.metadata.resource_version = Some(written.to_string());
    let body = if text == "unreadable" { Err("not base64".to_owned()) } else { Ok(essentials) };
    Record {
        revision,
        label: label.map_or(status, Status::parse),
        stored: Stored::Secret(Box::new(object)),
        body,
    }
}

/// `1 deployed, 2 pending-upgrade`, each written after the one before.
pub(crate) fn history(text: &str) -> History {
    let one = |(index, text): (usize, &str)| {
        let (revision, status) = text.trim().split_once(' ').unwrap();
        record(revision.parse().unwrap(), status, index as u64 + 1)
    };
    History::new(text.split(',').enumerate().map(one).collect())
}

/// What a step does, in few words.
fn said(step: &Step) -> String {
    let list = |revisions: &[u32]| revisions.iter().map(u32::to_string).collect::<Vec<_>>().join("+");
    match step {
        Step::Mark { revision, status, .. } => format!("{revision} {status}"),
        Step::Lend { revision, union_of, values_of, .. } => {
            let values = values_of.map_or(String::new(), |of| format!(" with values of {of}"));
            format!("lend {revision} {}{values}", list(union_of))
        }
        Step::Return { revision } => format!("return {revision}"),
        Step::Delete { revision } => format!("delete {revision}"),
        Step::MapApis { revision, .. } => format!("map {revision}"),
        Step::Rollback { to } => format!("roll back to {to}"),
        Step::SetAside { revision, of } => format!("set aside {revision} {}", list(of)),
        Step::EndAside { revision } => format!("end aside {revision}"),
        Step::Uninstall => "uninstall".to_owned(),
    }
}

pub(crate) fn list(steps: &[Step]) -> String {
    steps.iter().map(said).collect::<Vec<_>>().join(", ")
}

/// The answer in one line. `claim` in the command line is a claim that an uninstall would delete, `unread` a manifest that
/// cannot be read, `proven` and `disproven`
/// what was seen of the last revision, `--repair=X` the user's choice; the rest is Helm's.
fn answer(line: &str, records: &str) -> String {
    let (mut strategy, mut precious, mut tokens) = (Strategy::Auto, Vec::new(), Vec::new());
    let mut proof = Proof::None;
    let mut words = line.split_whitespace();
    let command = Command::parse(words.next().unwrap()).unwrap();
    for word in words {
        if word == "proven" {
            proof = Proof::Holds;
        } else if word == "disproven" {
            proof = Proof::Fails(vec!["Deployment/web is not there".into()]);
        } else if word == "claim" {
            precious = vec!["PersistentVolumeClaim/data".to_owned()];
        } else if word == "unread" {
            precious = at_stake(None);
        } else if let Some(name) = word.strip_prefix("--repair=") {
            strategy = clap::ValueEnum::from_str(name, false).unwrap();
        } else {
            tokens.push(word.to_owned());
        }
    }
    let values = !tokens.iter().any(|token| token.contains("reuse-values"));
    tokens.extend(values.then(|| "--set=a=b".to_owned()));
    let invocation = Invocation::parse(command, &tokens).unwrap();
    let history = history(records);
    let question = Question {
        command,
        installing: invocation.install_if_missing(),
        history: &history,
        strategy,
        reuses_values: invocation.values_from().may_be_release(),
        history_max: invocation.history_max().unwrap_or(10),
        precious: &precious,
        proof: &proof,
        alone: false,
    };
    match plan(&question) {
        Answer::Healthy => "nothing".into(),
        Answer::Refuse { why, .. } => format!("refused: {why}"),
        Answer::Repair(plan) => {
            let good = plan.good.map_or(String::new(), |good| format!("; good {good}"));
            format!("{}: {}{good}", plan.strategy, list(&plan.steps))
        }
    }
}

#[test]
fn each_history_gets_the_repair_that_the_table_says() {
    for (what, line, records, expected) in CASES {
        assert_eq!(answer(line, records), *expected, "{what}: {line}: {records}");
    }
}

/// What is found, the command line, the records, the answer.
#[rustfmt::skip]
const CASES: &[(&str, &str, &str, &str)] = &[
    // An upgrade that died.
    ("the old one is deployed still",
        "upgrade", "1 deployed, 2 pending-upgrade", "rebase: lend 2 1+2, 1 superseded; good 1"),
    ("values are reused",
        "upgrade --reuse-values", "1 deployed, 2 pending-upgrade", "rebase: lend 2 1+2 with values of 1, 1 superseded; good 1"),
    ("nothing is deployed, for an earlier repair was cut off",
        "upgrade", "1 superseded, 2 pending-upgrade", "rebase: lend 2 1+2; good 1"),
    ("only the last save is missing",
        "upgrade", "1 superseded!, 2 pending-upgrade", "mark-deployed: 2 deployed; good 2"),
    ("only the last save is missing, and older ones are stuck",
        "upgrade", "1 superseded!, 2 pending-upgrade, 3 pending-upgrade", "mark-deployed: 2 failed, 3 deployed; good 3"),
    ("no revision ever completed",
        "upgrade", "1 failed, 2 pending-upgrade", "rebase: lend 2 1+2"),
    ("failed ones stand between",
        "upgrade", "1 superseded, 2 deployed, 3 failed, 4 failed, 5 pending-upgrade", "rebase: lend 5 2+3+4+5, 2 superseded; good 2"),
    ("several are stuck",
        "upgrade", "1 deployed, 2 pending-upgrade, 3 pending-upgrade", "rebase: lend 3 1+2+3, 2 failed, 1 superseded; good 1"),
    ("one is stuck below a good one",
        "upgrade", "1 superseded, 2 pending-upgrade, 3 deployed", "mark-failed: 2 failed; good 3"),
    ("the older history is pruned",
        "upgrade", "7 deployed, 8 pending-upgrade", "rebase: lend 8 7+8, 7 superseded; good 7"),
    // A first install that died.
    ("its hooks are not known to have ended",
        "upgrade --install", "1 pending-install+hook", "finish-install: set aside 1 1"),
    ("it holds data, and stands on a failed one",
        "upgrade --install claim", "1 failed, 2 pending-install+hook", "finish-install: set aside 2 1+2"),
    ("the same, and it holds data",
        "upgrade --install claim", "1 pending-install+hook", "finish-install: set aside 1 1"),
    ("nobody knows what it holds",
        "upgrade --install unread", "1 pending-install+hook", "finish-install: set aside 1 1"),
    ("its hooks ended",
        "upgrade --install", "1 pending-install+done", "rebase: lend 1 1"),
    ("it has no hooks",
        "upgrade --install", "1 pending-install", "rebase: lend 1 1"),
    ("it has no hooks, but data",
        "upgrade --install claim", "1 pending-install", "rebase: lend 1 1"),
    ("nothing is to be installed",
        "upgrade", "1 pending-install", "rebase: lend 1 1"),
    ("nothing is to be installed, though hooks are missing",
        "upgrade", "1 pending-install+hook", "rebase: lend 1 1"),
    ("the name must be free",
        "install", "1 pending-install", "finish-install: set aside 1 1"),
    ("the name must be free, and it holds data",
        "install claim", "1 pending-install+hook", "finish-install: set aside 1 1"),
    ("an install that failed is Helm's to refuse",
        "install", "1 failed", "nothing"),
    ("an install that failed is Helm's to upgrade",
        "upgrade --install", "1 failed", "nothing"),
    ("it died after a failed one",
        "upgrade --install", "1 failed, 2 pending-install+hook", "finish-install: set aside 2 1+2"),
    ("it died after an uninstall that kept the history",
        "upgrade --install", "1 superseded, 2 replaced, 3 pending-install+hook", "finish-install: set aside 3 3"),
    ("the same, with the record of before",
        "upgrade --install", "1 superseded, 2 uninstalled, 3 pending-install+hook", "finish-install: set aside 3 3"),
    ("a name in use is Helm's to refuse",
        "install", "1 deployed", "nothing"),
    ("a name in use, with a stuck upgrade",
        "install", "1 deployed, 2 pending-upgrade", "nothing"),
    ("helm-guard marked it, and its hooks did not run",
        "upgrade --install", "1 dead-install+hook", "finish-install: set aside 1 1"),
    ("helm-guard marked it, and its hooks ran",
        "upgrade --install", "1 dead-install+done", "nothing"),
    ("helm-guard marked it, and the name must be free",
        "install", "1 dead-install", "finish-install: set aside 1 1"),
    ("helm-guard marked an uninstall, and the name must be free",
        "install", "1 dead-uninstall", "finish-install: set aside 1 1"),
    ("helm lists revision 10 before revision 9",
        "upgrade --install", "8 failed, 9 failed, 10 pending-install+hook", "finish-install: delete 8, delete 9, set aside 10 10"),
    ("install sorts them",
        "install", "9 failed, 10 pending-install+hook", "finish-install: set aside 10 9+10"),
    // It was set aside, and the run was cut off.
    ("before helm began",
        "upgrade --install", "1 aside+hook", "finish-install: set aside 1 1"),
    ("before helm began, and its hooks had ended",
        "upgrade --install", "1 aside+done", "finish-install: set aside 1 1"),
    ("before helm began, and the name must be free",
        "install", "1 aside", "finish-install: set aside 1 1"),
    ("before helm began, and nothing is to be installed",
        "upgrade", "1 aside+hook", "rebase: lend 1 1"),
    ("before helm began, and now all is to go",
        "uninstall", "1 aside+hook", "rebase: lend 1 1"),
    ("before helm began, and the record is to go",
        "upgrade --install --repair=delete-record", "1 aside+hook", "delete-record: delete 1"),
    ("before helm began, and an uninstall is asked for",
        "upgrade --install --repair=uninstall", "1 aside+hook", "uninstall: end aside 1, uninstall"),
    ("before helm began, and a mark is asked for",
        "upgrade --install --repair=mark-failed", "1 aside+hook", "mark-failed: end aside 1"),
    ("in the second install",
        "upgrade --install", "1 replaced-aside, 2 pending-install+hook", "finish-install: 1 failed, set aside 2 1+2"),
    ("in the second install, which has no hooks",
        "upgrade --install", "1 replaced-aside, 2 pending-install", "rebase: lend 2 2, 1 failed"),
    ("after the second install",
        "upgrade --install", "1 replaced-aside, 2 deployed", "mark-failed: 1 failed; good 2"),
    ("after the second install, which helm gave up",
        "upgrade --install", "1 failed-aside, 2 failed", "nothing"),
    ("what it left is not the base of another repair",
        "upgrade", "1 failed-aside, 2 deployed, 3 pending-upgrade", "rebase: lend 3 2+3, 2 superseded; good 2"),
    // A rollback that died.
    ("the one it came from is good",
        "upgrade", "1 superseded, 2 deployed, 3 pending-rollback", "rebase: lend 3 2+3, 2 superseded; good 2"),
    ("only its last save is missing",
        "upgrade", "1 superseded, 2 superseded!, 3 pending-rollback", "mark-deployed: 3 deployed; good 3"),
    ("another rollback goes over it",
        "rollback", "1 superseded, 2 deployed, 3 pending-rollback", "rebase: lend 3 2+3; good 2"),
    ("a rollback after it failed and superseded what it came from",
        "upgrade", "1 deployed, 2 superseded?, 3 failed", "rebase: lend 3 1+2+3, 2 failed, 1 superseded; good 1"),
    // An uninstall that died.
    ("an upgrade needs it failed",
        "upgrade", "1 superseded, 2 uninstalling", "rebase: lend 2 2"),
    ("upgrade --install too",
        "upgrade --install", "1 uninstalling", "rebase: lend 1 1"),
    ("an install goes over what it left",
        "install", "1 superseded, 2 uninstalling", "finish-install: set aside 2 2"),
    ("an uninstall goes on by itself",
        "uninstall", "1 superseded, 2 uninstalling", "nothing"),
    ("a rollback goes over it",
        "rollback", "1 superseded, 2 uninstalling", "nothing"),
    // An uninstall that ended.
    ("with its history kept",
        "upgrade --install", "1 superseded, 2 uninstalled", "nothing"),
    ("the uninstall died before it superseded what was deployed",
        "upgrade --install", "1 deployed, 2 uninstalled", "mark-failed: 1 superseded"),
    // Nothing is pending, but not all is in order.
    ("nothing is wrong",
        "upgrade", "1 superseded, 2 deployed", "nothing"),
    ("the newest one was deleted by hand",
        "upgrade", "1 superseded", "mark-failed: 1 deployed; good 1"),
    ("a failed revision may have left something",
        "upgrade", "1 deployed, 2 failed", "rebase: lend 2 1+2, 1 superseded; good 1"),
    ("two of them",
        "upgrade", "1 deployed, 2 failed, 3 failed", "rebase: lend 3 1+2+3, 1 superseded; good 1"),
    ("several are deployed",
        "upgrade", "1 deployed, 2 deployed, 3 deployed", "mark-failed: 1 superseded, 2 superseded; good 3"),
    ("several are deployed below a stuck one",
        "upgrade", "1 deployed, 2 deployed, 3 pending-upgrade", "rebase: lend 3 2+3, 1 superseded, 2 superseded; good 2"),
    ("a label is wrong",
        "upgrade", "1 superseded~deployed, 2 deployed", "mark-failed: 1 superseded; good 2"),
    ("a label is wrong and the last one stuck",
        "upgrade", "1 superseded~deployed, 2 deployed, 3 pending-upgrade", "rebase: lend 3 2+3, 1 superseded, 2 superseded; good 2"),
    ("the label of a stuck one is wrong",
        "upgrade", "1 deployed, 2 pending-upgrade~failed", "rebase: lend 2 1+2, 1 superseded; good 1"),
    ("the label of the good one is wrong, below a stuck one",
        "upgrade", "1 deployed~failed, 2 pending-upgrade", "rebase: lend 2 1+2, 1 superseded; good 1"),
    ("it is unknown, and nothing is deployed",
        "upgrade --install", "1 unknown", "rebase: lend 1 1"),
    ("it is unknown, over a good one",
        "upgrade", "1 deployed, 2 unknown", "rebase: lend 2 1+2, 1 superseded; good 1"),
    ("one is superseded that never completed",
        "upgrade", "1 superseded, 2 superseded?, 3 deployed", "mark-failed: 2 failed; good 3"),
    // Records that do not decode.
    ("the newest",
        "upgrade", "1 deployed, 2 unreadable", "delete-record: delete 2; good 1"),
    ("the newest, and what is below must not be repaired as asked",
        "upgrade --repair=uninstall", "1 pending-install, 2 unreadable", "refused: without --install nothing would be installed again"),
    ("the newest, over a stuck one",
        "upgrade", "1 deployed, 2 pending-upgrade, 3 unreadable", "rebase: delete 3, lend 2 1+2, 1 superseded; good 1"),
    ("one in the middle is in nobody's way",
        "upgrade", "1 deployed, 2 unreadable, 3 deployed", "mark-failed: 1 superseded; good 3"),
    ("one in the middle, below a stuck one",
        "upgrade", "1 deployed, 2 unreadable, 3 pending-upgrade", "rebase: lend 3 1+3, 1 superseded; good 1"),
    ("the only one",
        "upgrade --install", "1 unreadable", "delete-record: delete 1"),
    ("the only one, under uninstall",
        "uninstall", "1 unreadable", "delete-record: delete 1"),
    // What Helm would prune, with nothing deployed.
    ("there is no limit",
        "upgrade --history-max=0", "1 superseded, 2 deployed, 3 pending-upgrade", "rebase: lend 3 2+3, 2 superseded; good 2"),
    ("a rebase finds room",
        "upgrade --history-max=3", "1 deployed, 2 pending-upgrade", "rebase: lend 2 1+2, 1 superseded; good 1"),
    ("a rebase makes room",
        "upgrade --history-max=3", "1 superseded, 2 deployed, 3 failed, 4 pending-upgrade", "rebase: lend 4 2+3+4, delete 1, delete 3, 2 superseded; good 2"),
    ("it makes no more room than needed",
        "upgrade --history-max=4", "1 superseded, 2 superseded, 3 deployed, 4 pending-upgrade", "rebase: lend 4 3+4, delete 1, 3 superseded; good 3"),
    ("there is no room for the good, the dead and the new one",
        "upgrade --history-max=2", "1 deployed, 2 pending-upgrade", "mark-failed: 2 failed; good 1"),
    ("there is room for the new one only",
        "upgrade --history-max=1", "1 deployed, 2 pending-upgrade", "mark-failed: 2 failed; good 1"),
    ("nothing good can be pruned",
        "upgrade --history-max=1", "1 failed, 2 pending-upgrade", "rebase: lend 2 1+2, delete 1"),
    ("unreadable ones are not counted, nor pruned",
        "upgrade --history-max=3", "1 unreadable, 2 deployed, 3 unreadable, 4 pending-upgrade", "rebase: lend 4 2+4, 2 superseded; good 2"),
    // A rollback and an uninstall need to know of everything that lives, too.
    ("a rollback over a stuck upgrade",
        "rollback", "1 superseded, 2 deployed, 3 pending-upgrade", "rebase: lend 3 2+3; good 2"),
    ("an uninstall over a stuck upgrade",
        "uninstall", "1 deployed, 2 pending-upgrade", "rebase: lend 2 1+2; good 1"),
    ("an uninstall over a stuck install",
        "uninstall", "1 pending-install", "rebase: lend 1 1"),
    ("an uninstall over a failed upgrade",
        "uninstall", "1 deployed, 2 failed", "rebase: lend 2 1+2; good 1"),
    ("a rollback over a failed upgrade",
        "rollback", "1 deployed, 2 failed", "rebase: lend 2 1+2; good 1"),
    // What the user chose.
    ("nothing is to be changed",
        "upgrade --repair=off", "1 deployed, 2 pending-upgrade", "nothing"),
    ("deletes, and tidies the rest",
        "upgrade --repair=delete-record", "1 deployed, 2 deployed, 3 pending-upgrade", "delete-record: delete 3, 1 superseded; good 2"),
    ("marks",
        "upgrade --repair=mark-failed", "1 deployed, 2 pending-upgrade, 3 pending-upgrade", "mark-failed: 3 failed, 2 failed; good 1"),
    ("marks, with nothing deployed",
        "upgrade --repair=mark-failed", "1 superseded, 2 pending-upgrade", "mark-failed: 2 failed, 1 deployed; good 1"),
    ("marks a first install",
        "upgrade --install --repair=mark-failed", "1 pending-install+hook", "mark-failed: 1 failed"),
    ("marks an uninstall that died",
        "upgrade --repair=mark-failed", "1 superseded, 2 uninstalling", "mark-failed: 2 failed"),
    ("marks, but nothing is wrong",
        "upgrade --repair=mark-failed", "1 superseded, 2 deployed", "nothing"),
    ("deletes",
        "upgrade --repair=delete-record", "1 deployed, 2 failed, 3 pending-upgrade", "delete-record: delete 3; good 1"),
    ("deletes, with nothing deployed",
        "upgrade --repair=delete-record", "1 superseded, 2 pending-upgrade", "delete-record: delete 2, 1 deployed; good 1"),
    ("deletes a first install",
        "upgrade --install --repair=delete-record", "1 pending-install+hook", "delete-record: delete 1"),
    ("deletes, but nothing is stuck",
        "upgrade --repair=delete-record", "1 deployed, 2 failed", "nothing"),
    ("deletes, but one below is stuck",
        "upgrade --repair=delete-record", "1 superseded, 2 pending-upgrade, 3 deployed", "mark-failed: 2 failed; good 3"),
    ("deletes an uninstall that died",
        "upgrade --repair=delete-record", "1 superseded, 2 uninstalling", "delete-record: delete 2"),
    ("rolls back",
        "upgrade --repair=rollback", "1 deployed, 2 pending-upgrade", "rollback: 2 failed, roll back to 1; good 1"),
    ("rolls back, with nothing deployed",
        "upgrade --repair=rollback", "1 superseded, 2 pending-upgrade", "rollback: 2 failed, roll back to 1; good 1"),
    ("rolls back to nothing",
        "upgrade --install --repair=rollback", "1 pending-install", "refused: there is no good revision to roll back to"),
    ("rolls back, but nothing is wrong",
        "upgrade --repair=rollback", "1 superseded, 2 deployed", "nothing"),
    ("rolls back under uninstall",
        "uninstall --repair=rollback", "1 deployed, 2 pending-upgrade", "rebase: lend 2 1+2; good 1"),
    ("uninstalls",
        "upgrade --install --repair=uninstall", "1 pending-install", "uninstall: uninstall"),
    ("uninstalls what holds data",
        "upgrade --install --repair=uninstall claim", "1 pending-install", "refused: it would delete PersistentVolumeClaim/data"),
    ("nobody knows what an uninstall would delete",
        "upgrade --install --repair=uninstall unread", "1 pending-install", "refused: it would delete whatever its manifest, which cannot be read, brought"),
    ("uninstalls what works",
        "upgrade --install --repair=uninstall", "1 deployed, 2 pending-upgrade", "refused: an uninstall would remove revision 1, which works"),
    ("uninstalls what nobody installs again",
        "upgrade --repair=uninstall", "1 pending-install", "refused: without --install nothing would be installed again"),
    ("uninstalls, but nothing is wrong",
        "upgrade --install --repair=uninstall", "1 deployed", "nothing"),
    ("rebases by choice",
        "upgrade --repair=rebase", "1 deployed, 2 pending-upgrade", "rebase: lend 2 1+2, 1 superseded; good 1"),
    ("what is proven is adopted, as Helm would have saved it",
        "upgrade --repair=adopt proven", "1 deployed, 2 pending-upgrade", "adopt: 1 superseded, 2 deployed; good 2"),
    ("a first install too",
        "upgrade --install --repair=adopt proven", "1 pending-install+hook", "adopt: 1 deployed; good 1"),
    ("older ones are set right first, and the last save is the last step",
        "upgrade --repair=adopt proven", "1 deployed, 2 deployed, 3 pending-upgrade, 4 failed, 5 pending-rollback",
        "adopt: 3 failed, 1 superseded, 2 superseded, 5 deployed; good 5"),
    ("nothing is deployed, for an earlier repair was cut off",
        "upgrade --repair=adopt proven", "1 superseded, 2 pending-upgrade", "adopt: 2 deployed; good 2"),
    ("what is not proven is not adopted",
        "upgrade --repair=adopt disproven", "1 deployed, 2 pending-upgrade",
        "refused: revision 2 cannot be adopted: Deployment/web is not there"),
    ("the name must be free, and is not by being adopted",
        "install --repair=adopt proven", "1 pending-install", "refused: `helm install` needs the name to be free"),
    ("a last save that is missing needs no proof",
        "upgrade --repair=adopt", "1 superseded!, 2 pending-upgrade", "mark-deployed: 2 deployed; good 2"),
    ("what failed is in no deploy's way",
        "upgrade --repair=adopt", "1 deployed, 2 failed", "rebase: lend 2 1+2, 1 superseded; good 1"),
    ("a deploy goes over what is proven all the same",
        "upgrade proven", "1 deployed, 2 pending-upgrade", "rebase: lend 2 1+2, 1 superseded; good 1"),
    ("rebases a first install by choice",
        "upgrade --install --repair=rebase", "1 pending-install+hook", "finish-install: set aside 1 1"),
];

/// What a plan lent and which revision it held for good, if there was a plan.
type LentAndGood = Option<(u32, u32)>;

/// What is set right after Helm is gone: what a plan lent and holds for good, the records then, the steps.
#[rustfmt::skip]
const AFTERWARDS: &[(&str, LentAndGood, &str, &str)] = &[
    ("helm upgraded over the lent record",
        Some((2, 1)), "1 superseded, 2 superseded, 3 deployed", "return 2"),
    ("helm failed",
        Some((2, 1)), "1 superseded, 2 failed, 3 failed", "return 2, 1 deployed"),
    ("helm went back by itself",
        Some((2, 1)), "1 superseded, 2 failed, 3 failed, 4 deployed", "return 2"),
    ("helm was killed while it went back",
        Some((2, 1)), "1 superseded, 2 failed, 3 failed, 4 pending-rollback", "return 2, 4 failed, 1 deployed"),
    ("helm was killed while it waited",
        Some((2, 1)), "1 superseded, 2 failed, 3 pending-upgrade", "return 2, 3 failed, 1 deployed"),
    ("helm was killed before its last save",
        Some((2, 1)), "1 superseded, 2 superseded!, 3 pending-upgrade", "return 2, 3 deployed"),
    ("helm wrote nothing",
        Some((2, 1)), "1 superseded, 2 failed", "return 2, 1 deployed"),
    ("helm pruned the lent record",
        Some((2, 1)), "1 superseded, 3 failed", "1 deployed"),
    ("helm uninstalled and kept the history",
        Some((2, 1)), "1 superseded, 2 uninstalled", ""),
    ("helm was killed while it uninstalled",
        Some((2, 1)), "1 deployed, 2 uninstalling", ""),
    ("helm was killed, and there was no repair",
        None, "1 deployed, 2 pending-upgrade", "2 failed"),
    ("helm was killed before its last save, and there was no repair",
        None, "1 superseded!, 2 pending-upgrade", "2 deployed"),
    ("helm was killed in a first install, and there was no repair",
        None, "1 pending-install", "1 failed"),
    ("all is well, and there was no repair",
        None, "1 superseded, 2 deployed", ""),
    ("a record does not decode",
        None, "1 deployed, 2 unreadable", ""),
    ("helm made no record over one that is set aside",
        None, "1 aside+hook", "end aside 1"),
    ("helm replaced it and made another",
        None, "1 replaced-aside, 2 deployed", "1 failed"),
    ("helm replaced it and died",
        None, "1 replaced-aside, 2 pending-install", "1 failed, 2 failed"),
    ("what it left is still to be looked at",
        None, "1 failed-aside, 2 failed", ""),
];

#[test]
fn afterwards_no_record_is_pending_and_the_good_one_is_deployed() {
    for (what, lent, records, expected) in AFTERWARDS {
        let plan = lent.map(|(revision, good)| Plan {
            good: Some(good),
            steps: vec![Step::Lend { revision, union_of: Vec::new(), good: None, values_of: None }],
            ..Plan::default()
        });
        assert_eq!(list(&settle(plan.as_ref(), &history(records))), *expected, "{what}: {records}");
    }
}

#[test]
fn an_upgrade_that_was_stopped_in_its_last_save_leaves_one_revision_deployed() {
    for (what, records, expected) in [
        ("it saved that it failed", "1 superseded, 2 failed", "2 deployed"),
        (
            "and was cut off while it went back",
            "1 superseded, 2 failed, 3 pending-rollback",
            "3 failed, 1 deployed",
        ),
        ("and went back", "1 superseded, 2 failed, 3 deployed", ""),
        ("it was stopped before", "1 deployed, 2 failed", ""),
        ("it was killed before", "1 deployed, 2 pending-upgrade", "2 failed"),
        ("it was killed there", "1 superseded!, 2 pending-upgrade", "2 deployed"),
        ("it wrote nothing", "1 deployed", ""),
        ("somebody uninstalled", "2 failed", ""),
    ] {
        assert_eq!(list(&settle_upgrade(1, &history(records))), expected, "{what}: {records}");
    }
}

/// Its manifest cannot be held, so nothing is done that needs it; and it is not deleted.
#[test]
fn a_record_that_is_larger_than_helm_guard_reads_is_marked() {
    let mut history = history("1 deployed, 2 pending-upgrade");
    if let Ok(body) = &mut history.records[1].body {
        body.is_large = true;
    }
    let answer = plan(&Question {
        command: Command::Upgrade,
        installing: true,
        history: &history,
        strategy: Strategy::Auto,
        reuses_values: false,
        history_max: 10,
        precious: &[],
        proof: &Proof::None,
        alone: false,
    });
    let Answer::Repair(plan) = answer else { panic!("no repair") };
    assert_eq!(plan.strategy, "mark-failed");
    assert!(plan.steps.iter().all(|step| matches!(step, Step::Mark { .. })), "{:?}", plan.steps);
    assert!(plan.why.contains("revision 2"), "{}", plan.why);
}
