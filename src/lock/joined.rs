//! The members of a hold: its holder, and the processes that work under it by its lock ID.
//! Pure: whether a process has ended is looked up by the caller.
//!
//! The Lease's own renew time is the holder's: it says nothing of a member. So each member notes when it renewed last, and
//! which process it is. A member whose process is proven to have ended, or that has been silent for its lease duration, no
//! longer keeps the next one out.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{LONGEST_BELIEF, LeaseView, opens};
use crate::{located::Located, lock::holder::Holder};

/// Name of the annotation with the members, from the holder to the one that works now.
pub const NOTE: &str = "members";

/// A holder, or a process that works under its hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its lock ID.
    pub lock_id: String,
    /// What it does.
    pub operation: String,
    /// Changes with each of its renewals; else an opaque value. Empty for the holder.
    #[serde(default)]
    pub renewed: String,
    /// For how long it is believed without a renewal, seconds.
    #[serde(default)]
    pub seconds: u64,
    /// Its process.
    #[serde(default)]
    pub process: Option<Located>,
}

/// Reads the annotation. None if nobody has joined, or if `lock_id`, the Lease's own note, tells that a version of this
/// program that does not know the annotation has written since.
pub fn parse(text: &str, lock_id: &str) -> Vec<Member> {
    let members: Vec<Member> = serde_json::from_str(text).unwrap_or_default();
    let is_current = members.len() > 1 && members.last().is_some_and(|last| last.lock_id == lock_id);
    if is_current { members } else { Vec::new() }
}

/// The annotation; `None` when there is nobody but the holder.
pub fn render(members: &[Member]) -> Option<String> {
    // Cannot fail: the keys are strings.
    (members.len() > 1).then(|| serde_json::to_string(members).unwrap_or_default())
}

/// Under whose part of a hold a process works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The holder, with the lock ID and the operation of the member that is joined.
    pub holder: Holder,
    /// The members that stay, that one last.
    pub members: Vec<Member>,
}

/// What a process may join that was told the lock ID `within`.
///
/// Only a hold that waits for others' work can be joined, and only while nobody works under it: a Helm that runs under
/// its own run's lock stays alone, even beside what it starts itself.
pub fn may_join(
    view: &LeaseView,
    within: Option<&str>,
    mut is_over: impl FnMut(&Member) -> bool,
) -> Option<Base> {
    let holder = view.holder.as_ref()?;
    let within = within.filter(|id| !id.is_empty())?;
    let alone = || {
        vec![Member {
            lock_id: holder.lock_id.clone(),
            operation: holder.operation.clone(),
            ..Member::default()
        }]
    };
    let mut members = if view.members.is_empty() { alone() } else { view.members.clone() };
    let at = members.iter().position(|member| member.lock_id == within)?;
    // Each is asked, so that all of them are watched.
    let living = members[at + 1..].iter().filter(|member| !is_over(member)).count();
    if living > 0 || !opens(&members[at].operation) {
        return None;
    }
    members.truncate(at + 1);
    let base = &members[at];
    let holder =
        Holder { lock_id: base.lock_id.clone(), operation: base.operation.clone(), ..holder.clone() };
    Some(Base { holder, members })
}

/// Remembers when members last gave a sign of life, on this process's monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    seen: BTreeMap<String, (String, Duration)>,
}

impl Watch {
    /// Is a member no longer at work at `now`? `has_ended` proves it of a process.
    ///
    /// Of a `lock run` the end of its process proves nothing: its command may outlive it.
    pub fn is_over(&mut self, member: &Member, now: Duration, has_ended: impl Fn(&Located) -> bool) -> bool {
        let (renewed, since) =
            self.seen.entry(member.lock_id.clone()).or_insert_with(|| (member.renewed.clone(), now));
        if *renewed != member.renewed {
            (*renewed, *since) = (member.renewed.clone(), now);
        }
        let believed = Duration::from_secs(member.seconds.max(1)).min(LONGEST_BELIEF);
        now >= *since + believed
            || !opens(&member.operation) && member.process.as_ref().is_some_and(has_ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, operation: &str) -> Member {
        let process = Some(Located { machine: "m".into(), pid: 7, started: 1 });
        Member { lock_id: id.into(), operation: operation.into(), renewed: "1".into(), seconds: 15, process }
    }

    fn view(members: &[Member]) -> LeaseView {
        let last = members.last().unwrap();
        let holder = Holder {
            lock_id: last.lock_id.clone(),
            operation: last.operation.clone(),
            identity: "outer".into(),
            ..Holder::default()
        };
        let members = if members.len() > 1 { members.to_vec() } else { Vec::new() };
        LeaseView { holder: Some(holder), members, ..LeaseView::default() }
    }

    #[test]
    fn only_a_hold_for_others_is_joined_and_only_when_no_living_member_works_under_it() {
        let (outer, inner) = (member("a", "lock run sh"), member("b", "upgrade in lock run sh"));
        let nested = member("b", "lock run make in lock run sh");
        let deep = member("c", "upgrade in lock run make in lock run sh");
        for (why, members, within, dead, joined) in [
            ("the hold of lock run", vec![&outer], "a", "", Some("a")),
            ("another ID", vec![&outer], "x", "", None),
            ("no ID", vec![&outer], "", "", None),
            ("a deploy's own hold", vec![&inner], "b", "", None),
            ("somebody works under it", vec![&outer, &inner], "a", "", None),
            ("which has died", vec![&outer, &inner], "a", "b", Some("a")),
            ("a deploy that joined, by its own ID", vec![&outer, &inner], "b", "", None),
            ("a lock run that joined", vec![&outer, &nested], "b", "", Some("b")),
            ("beside it", vec![&outer, &nested], "a", "", None),
            ("its member has died", vec![&outer, &nested, &deep], "b", "c", Some("b")),
            ("it lives, its member has died", vec![&outer, &nested, &deep], "a", "c", None),
            ("both have died", vec![&outer, &nested, &deep], "a", "bc", Some("a")),
        ] {
            let members: Vec<Member> = members.into_iter().cloned().collect();
            let base = may_join(&view(&members), Some(within), |member| dead.contains(&member.lock_id));
            assert_eq!(base.as_ref().map(|base| base.holder.lock_id.as_str()), joined, "{why}");
            if let Some(base) = base {
                assert_eq!(base.members.last().unwrap().lock_id, joined.unwrap(), "{why}");
                assert_eq!(base.holder.identity, "outer", "{why}");
            }
        }
        assert_eq!(may_join(&view(&[outer]), None, |_| true), None);
    }

    #[test]
    fn a_member_is_over_when_its_process_is_proven_dead_or_it_was_silent_for_its_time() {
        let secs = Duration::from_secs;
        let (alive, dead) = (|_: &Located| false, |_: &Located| true);
        let mut watch = Watch::default();
        let mut deploy = member("b", "upgrade in lock run sh");
        assert!(!watch.is_over(&deploy, secs(0), alive));
        assert!(!watch.is_over(&deploy, secs(14), alive));
        deploy.renewed = "2".into();
        assert!(!watch.is_over(&deploy, secs(15), alive), "it has renewed");
        assert!(watch.is_over(&deploy, secs(15), dead), "its process is gone");
        assert!(watch.is_over(&deploy, secs(30), alive), "silent");
        let run = member("c", "lock run make in lock run sh");
        assert!(!watch.is_over(&run, secs(30), dead), "its command may live");
        assert!(watch.is_over(&run, secs(45), dead));
    }

    #[test]
    fn what_an_older_version_wrote_behind_the_annotation_counts() {
        let members = vec![member("a", "lock run sh"), member("b", "upgrade in lock run sh")];
        let text = render(&members).unwrap();
        assert_eq!(parse(&text, "b"), members);
        assert_eq!(parse(&text, "a"), []);
        assert_eq!(parse("[", "a"), []);
        assert_eq!(render(&members[..1]), None);
    }
}
