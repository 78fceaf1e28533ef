use super::*;
use crate::lock::holder::Holder;
use crate::{ci::run::Owner, lock::ACQUIRE, repair::tests::history};
use std::time::Duration;

fn place() -> LockRef {
    LockRef { release: "web".into(), namespace: "shop".into(), lease: "helm-guard-web".into() }
}

fn held(operation: &str) -> LeaseView {
    let owner = Owner { name: "ada@laptop".into(), ..Owner::default() };
    let holder = Holder {
        lock_id: "right".into(),
        identity: "ada@laptop-right-7".into(),
        owner,
        operation: operation.into(),
        ..Holder::default()
    };
    LeaseView {
        holder: Some(holder),
        renewed: "1".into(),
        duration: Duration::from_secs(15),
        members: Vec::new(),
    }
}

/// `--id right --force --yes`, `at a terminal`, `said no`.
fn flags(text: &str) -> Flags {
    let consent =
        [("--yes", Consent::Given), ("at a terminal", Consent::CanAsk), ("said no", Consent::Declined)];
    Flags {
        id: ["right", "wrong"].into_iter().find(|id| text.contains(&format!("--id {id}"))).map(str::to_owned),
        force: text.contains("--force"),
        consent: consent
            .into_iter()
            .find(|(word, _)| text.contains(word))
            .map_or(Consent::CannotAsk, |(_, c)| c),
    }
}

/// The verdict in a few words.
fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Vacant => "vacant".into(),
        Verdict::Watch => "watch".into(),
        Verdict::Ask(question) => format!("ask: {question}"),
        Verdict::Free { may_write: true } => "free, and wait until its holder cannot write".into(),
        Verdict::Free { may_write: false } => "free".into(),
        Verdict::Refuse { why, next } => format!("refuse: {why}; next: {}", next.join(" | ")),
    }
}

#[test]
fn which_lock_is_freed() {
    use Life::{Alive, Dead, Promised, Unknown};
    let free_wait = "free, and wait until its holder cannot write";
    for (line, life, expected) in [
        // The holder is not even watched where that could not change the answer.
        ("", Unknown, "refuse: which lock? name it by its ID: right"),
        ("", Dead, "refuse: which lock?"),
        ("--id wrong", Unknown, "refuse: lock wrong is not the one: lock right is held by ada@laptop"),
        ("--id wrong --force --yes", Dead, "refuse: lock wrong is not the one"),
        ("--force", Unknown, "refuse: --force needs --yes"),
        ("--id right --force", Dead, "refuse: --force needs --yes"),
        ("--force --yes", Unknown, free_wait),
        ("--id right --force --yes", Unknown, free_wait),
        ("--id right", Unknown, "watch"),
        ("--force at a terminal", Unknown, "watch"),
        ("--id right --yes", Unknown, "watch"),
        // A dead one.
        ("--id right", Dead, "free"),
        ("--id right --force at a terminal", Dead, "free"),
        ("--force --yes", Dead, "free"),
        // A living one: --yes alone is no --force.
        ("--id right", Alive, "refuse: the holder of lock right is alive"),
        ("--id right --yes", Alive, "refuse: the holder of lock right is alive"),
        ("--id right --force at a terminal", Alive, "ask: ada@laptop, upgrade is ALIVE"),
        ("--id right --force said no", Alive, "refuse: not confirmed"),
        ("--id right --force --yes", Alive, free_wait),
        // One that nobody renews.
        ("--id right", Promised, "refuse: lock right was taken for a fixed time"),
        ("--id right --force at a terminal", Promised, "ask: lock right was taken for a fixed time"),
        ("--id right --force --yes", Promised, free_wait),
    ] {
        let verdict = said(&decide(Some(&held("upgrade")), life, &flags(line), &place()));
        assert!(verdict.starts_with(expected), "{line} {life:?}: {verdict}, not {expected}");
        // `free` is not the beginning of the longer one.
        assert!(expected != "free" || verdict == "free", "{line} {life:?}: {verdict}");
    }
}

#[test]
fn a_dead_holder_whose_lock_nobody_named_is_freed_when_the_person_says_so() {
    let one = Flags { id: None, force: true, consent: Consent::CanAsk };
    let verdict = said(&decide(Some(&held("upgrade")), Life::Dead, &one, &place()));
    assert!(verdict.starts_with("ask: free lock right, whose holder is dead"), "{verdict}");
}

#[test]
fn no_holder_is_nothing_to_free_whatever_is_asked() {
    let vacant = LeaseView { holder: None, ..held("upgrade") };
    for line in ["", "--id right", "--force", "--force --yes"] {
        for view in [None, Some(&vacant)] {
            assert_eq!(decide(view, Life::Unknown, &flags(line), &place()), Verdict::Vacant, "{line}");
        }
    }
}

#[test]
fn a_refusal_ends_with_the_command_that_would_do_it() {
    let mut elsewhere = place();
    elsewhere.lease = "shared".into();
    let refusal = |line: &str, life, place: &LockRef, operation: &str| {
        said(&decide(Some(&held(operation)), life, &flags(line), place))
            .split_once("next: ")
            .unwrap()
            .1
            .to_owned()
    };
    let free = "helm-guard unlock web -n shop --id right";
    assert_eq!(refusal("", Life::Unknown, &place(), "upgrade"), free);
    assert!(
        refusal("--id right", Life::Alive, &place(), "upgrade").ends_with(&format!("{free} --force --yes"))
    );
    assert_eq!(
        refusal("", Life::Unknown, &elsewhere, "upgrade"),
        "helm-guard unlock web -n shop --lock-name shared --id right"
    );
    assert!(
        refusal("--id right", Life::Promised, &elsewhere, ACQUIRE)
            .starts_with("helm-guard lock release web -n shop --lock-name shared --id right | ")
    );
}

#[test]
fn an_id_in_a_lease_is_text_and_no_command() {
    assert!(place().unlock("$(reboot)", "").ends_with(" --id '$(reboot)'"));
    assert!(place().unlock("a\0b", "").ends_with(" --id ?"));
}

#[test]
fn a_holder_without_a_lock_id_is_named_by_its_identity() {
    let mut view = held("upgrade");
    view.holder.as_mut().unwrap().lock_id.clear();
    let named = Flags { id: Some("ada@laptop-right-7".into()), ..Flags::default() };
    assert_eq!(decide(Some(&view), Life::Dead, &named, &place()), Verdict::Free { may_write: false });
    let verdict = said(&decide(Some(&view), Life::Dead, &flags("--id right"), &place()));
    assert!(verdict.starts_with("refuse: lock right is not the one"), "{verdict}");
}

#[test]
fn a_pending_record_that_no_lock_explains_needs_a_person_or_force_and_yes() {
    for (records, line, expected) in [
        ("1 deployed", "", "vacant"),
        ("1 deployed, 2 failed", "--force --yes", "vacant"),
        (
            "1 deployed, 2 pending-upgrade",
            "",
            "refuse: revision 2 is pending-upgrade, and there is no lock: a helm",
        ),
        ("1 deployed, 2 pending-upgrade", "--yes", "refuse: revision 2 is pending-upgrade"),
        ("1 deployed, 2 pending-upgrade", "--force", "refuse: --force needs --yes"),
        ("1 deployed, 2 pending-upgrade", "--force at a terminal", "ask: revision 2 is pending-upgrade"),
        ("1 deployed, 2 pending-upgrade", "--force said no", "refuse: not confirmed"),
        ("1 deployed, 2 pending-upgrade", "--force --yes", "free"),
    ] {
        let verdict = said(&orphan(&history(records), &flags(line), &place()));
        assert!(verdict.starts_with(expected), "{records} {line}: {verdict}");
    }
}

#[test]
fn a_settled_release_is_deployed_or_failed() {
    for (records, settled) in [
        ("1 deployed, 2 pending-upgrade", "2 failed"),
        ("1 pending-install", "1 failed"),
        ("1 superseded!, 2 pending-upgrade", "2 deployed"),
        ("1 superseded, 2 pending-upgrade", "2 failed, 1 deployed"),
        // Killed in a repair, before Helm started: what was lent stands as failed, and nothing is deployed.
        ("1 superseded, 2 failed", "1 deployed"),
        ("1 deployed, 2 failed", ""),
        ("1 deployed, 2 uninstalled", ""),
    ] {
        let steps: Vec<String> = settling(&history(records))
            .iter()
            .map(|step| match step {
                Step::Mark { revision, status, .. } => format!("{revision} {status}"),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(steps.join(", "), settled, "{records}");
    }
}

#[test]
fn how_a_release_stands_is_said_in_one_sentence() {
    for (records, sentence, free) in [
        ("1 deployed", "web in namespace shop is deployed at revision 1", true),
        (
            "1 deployed, 2 failed",
            "web in namespace shop is deployed at revision 1; revision 2 is failed",
            true,
        ),
        ("1 failed", "web in namespace shop is failed: no revision is deployed, the last is 1", true),
        (
            "1 deployed, 2 pending-upgrade",
            "web in namespace shop is stuck: revision 2 is pending-upgrade",
            false,
        ),
        ("1 superseded, 2 uninstalling", "web in namespace shop is uninstalling: revision 2", true),
    ] {
        assert_eq!(standing(&history(records), &place()), (sentence.to_owned(), free), "{records}");
    }
    assert_eq!(standing(&History::default(), &place()).0, "web in namespace shop has no revision");
}
