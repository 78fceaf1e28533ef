//! The protocol of the Lease: what an answer of the API server means, and the next step.
//! Pure: `lock/lease.rs` sends and waits, and `tests/lock_model` puts these functions through every order of events.

use std::time::Duration;

use super::{LeaseView, Times, safely_held};

/// How a write of a Lease ended. Every one is a compare-and-swap on the version and the UID that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It was done.
    Done,
    /// The Lease is not as it was read, is another one, or is there where it was to be created.
    Conflict,
    /// There is no such Lease, or no namespace for it.
    Missing,
    /// None came in time, or none that tells: it may have been done, or may yet be.
    Unknown,
    /// It was not done, and will not be.
    Refused,
}

/// What follows on a claim, or on giving a Lease back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// That was all.
    Done,
    /// Read the Lease again, and decide anew.
    LookAgain,
    /// The answer is the end.
    Fail,
}

/// After a write that claims a Lease. `is_create`: there was none; `may_look`: there is time to look again.
pub fn claimed(answer: Answer, is_create: bool, may_look: bool) -> Step {
    match answer {
        Answer::Done => Step::Done,
        // Somebody was quicker.
        Answer::Conflict => Step::LookAgain,
        // What was to be replaced is gone. What was to be created has no namespace to be in.
        Answer::Missing if is_create => Step::Fail,
        Answer::Missing => Step::LookAgain,
        // If it was done, the Lease names us: to end now would leave it to nobody.
        Answer::Unknown if may_look => Step::LookAgain,
        Answer::Unknown | Answer::Refused => Step::Fail,
    }
}

/// After a write that gives a Lease back.
pub fn given_back(answer: Answer) -> Step {
    match answer {
        Answer::Done | Answer::Missing => Step::Done,
        // Changed in between, by a renewal still under way or a contender's annotation; or perhaps done.
        Answer::Conflict | Answer::Unknown => Step::LookAgain,
        Answer::Refused => Step::Fail,
    }
}

/// What a holder does next about its Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Renews after this long.
    Renew(Duration),
    /// Looks at once whose it is.
    Look,
    /// Nothing any more: it is gone, and this is why.
    Lost(String),
}

/// What a look at the Lease has shown its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// There was no answer.
    Unread,
    /// There is no Lease.
    Nothing,
    /// A Lease, and its UID.
    Lease(&'a LeaseView, &'a str),
}

/// Which Lease is held, by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mine {
    /// Unique identity of the holder.
    pub identity: String,
    /// The Lease's UID. One of the same name that was created since is another's, whomever it names.
    pub uid: String,
    /// Our own lock ID, if the holder is another process under whose hold we work.
    pub member: Option<String>,
}

/// What a holder knows of its hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hold {
    /// When its last successful write was sent, on this process's monotonic clock: the server counts from a later moment.
    pub renewed: Duration,
}

/// How soon to try again after a contender's annotation came between.
const AT_ONCE: Duration = Duration::from_millis(20);

impl Hold {
    /// How long after `now` the first renewal is due.
    pub fn first_renewal(&self, times: &Times, now: Duration) -> Duration {
        times.renew_every.saturating_sub(now.saturating_sub(self.renewed))
    }

    /// How long a renewal that is sent at `asked` may take: it must fail before the next one is due.
    pub fn limit(&self, times: &Times, asked: Duration) -> Duration {
        let left = times.give_up_after.saturating_sub(asked.saturating_sub(self.renewed));
        times.renew_every.min(left).max(Duration::from_millis(50))
    }

    /// After a renewal that was sent at `asked`.
    pub fn answered(&mut self, answer: Answer, asked: Duration, now: Duration, times: &Times) -> Next {
        match answer {
            Answer::Done => {
                self.renewed = asked;
                Next::Renew(times.renew_every)
            }
            // A contender's annotation also moves the version, and so did a renewal whose answer was lost.
            Answer::Conflict | Answer::Missing => Next::Look,
            Answer::Unknown | Answer::Refused => self.try_again(now, times),
        }
    }

    /// After the look that followed.
    pub fn looked(&self, found: Found<'_>, mine: &Mine, now: Duration, times: &Times) -> Next {
        match found {
            Found::Unread => self.try_again(now, times),
            Found::Nothing => Next::Lost(LET_GO.to_owned()),
            Found::Lease(view, uid) => match &view.holder {
                Some(holder) if holder.identity == mine.identity && uid == mine.uid => match &mine.member {
                    // A version that does not know of members leaves only the lock ID.
                    Some(id)
                        if holder.lock_id != *id
                            && view.members.iter().all(|member| member.lock_id != *id) =>
                    {
                        Next::Lost(format!("{} works under that hold now", holder.owner.name))
                    }
                    _ => Next::Renew(AT_ONCE),
                },
                Some(holder) => Next::Lost(format!("{} has it", holder.owner.name)),
                None => Next::Lost(LET_GO.to_owned()),
            },
        }
    }

    fn try_again(&self, now: Duration, times: &Times) -> Next {
        if safely_held(times, self.renewed, now) {
            Next::Renew((times.renew_every / 5).max(AT_ONCE))
        } else {
            Next::Lost("it could not be renewed in time".to_owned())
        }
    }
}

const LET_GO: &str = "it was vacated or deleted";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{holder::Holder, joined::Member};

    const TIMES: Times = Times {
        duration: Duration::from_secs(15),
        renew_every: Duration::from_secs(3),
        give_up_after: Duration::from_secs(10),
        look_every: Duration::from_secs(1),
    };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_claim_without_an_answer_is_looked_at_and_no_end() {
        for (why, answer, is_create, may_look, wanted) in [
            ("done", Answer::Done, true, true, Step::Done),
            ("somebody was quicker", Answer::Conflict, true, false, Step::LookAgain),
            ("no namespace", Answer::Missing, true, true, Step::Fail),
            ("gone since it was read", Answer::Missing, false, true, Step::LookAgain),
            ("it may be ours", Answer::Unknown, false, true, Step::LookAgain),
            ("the time is over", Answer::Unknown, false, false, Step::Fail),
            ("no right to", Answer::Refused, false, true, Step::Fail),
        ] {
            assert_eq!(claimed(answer, is_create, may_look), wanted, "{why}");
        }
    }

    #[test]
    fn a_lease_is_given_back_when_it_is_so_or_gone() {
        for (answer, wanted) in [
            (Answer::Done, Step::Done),
            (Answer::Missing, Step::Done),
            (Answer::Conflict, Step::LookAgain),
            (Answer::Unknown, Step::LookAgain),
            (Answer::Refused, Step::Fail),
        ] {
            assert_eq!(given_back(answer), wanted, "{answer:?}");
        }
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_sent_and_must_fail_before_the_next() {
        let mut hold = Hold { renewed: secs(0) };
        assert_eq!(hold.first_renewal(&TIMES, secs(1)), secs(2));
        assert_eq!(hold.first_renewal(&TIMES, secs(9)), secs(0), "a claim that took long is renewed at once");
        assert_eq!((hold.limit(&TIMES, secs(3)), hold.limit(&TIMES, secs(8))), (secs(3), secs(2)));
        assert_eq!(hold.answered(Answer::Done, secs(3), secs(5), &TIMES), Next::Renew(secs(3)));
        assert_eq!(hold.renewed, secs(3));
    }

    #[test]
    fn a_renewal_is_tried_again_while_the_lock_is_safe_and_no_longer() {
        let mut hold = Hold { renewed: secs(0) };
        let soon = Next::Renew(Duration::from_millis(600));
        assert_eq!(hold.answered(Answer::Unknown, secs(3), secs(6), &TIMES), soon);
        assert_eq!(hold.answered(Answer::Refused, secs(6), secs(7), &TIMES), soon);
        assert!(matches!(hold.answered(Answer::Unknown, secs(8), secs(10), &TIMES), Next::Lost(_)));
    }

    #[test]
    fn a_refused_renewal_is_a_loss_only_if_the_lease_is_no_longer_the_one_that_was_taken() {
        let hold = Hold { renewed: secs(0) };
        let mine = Mine { identity: "me".into(), uid: "1".into(), member: None };
        let held_by = |identity: &str| {
            let mut holder = Holder { identity: identity.into(), ..Holder::default() };
            holder.owner.name = identity.to_uppercase();
            LeaseView { holder: Some(holder), ..LeaseView::default() }
        };
        let (ours, bobs, vacant) = (held_by("me"), held_by("bob"), LeaseView::default());
        let lost = |why: &str| Next::Lost(why.into());
        for (why, found, wanted) in [
            ("annotated by a contender", Found::Lease(&ours, "1"), Next::Renew(AT_ONCE)),
            (
                "deleted, and an old claim of ours created it anew",
                Found::Lease(&ours, "2"),
                lost("ME has it"),
            ),
            ("taken", Found::Lease(&bobs, "1"), lost("BOB has it")),
            ("vacated", Found::Lease(&vacant, "1"), lost(LET_GO)),
            ("deleted", Found::Nothing, lost(LET_GO)),
            ("no answer, early", Found::Unread, Next::Renew(Duration::from_millis(600))),
        ] {
            assert_eq!(hold.looked(found, &mine, secs(4), &TIMES), wanted, "{why}");
        }
        let mine = Mine { member: Some("b".into()), ..mine };
        let with = |ids: &[&str]| {
            let mut view = ours.clone();
            view.holder.as_mut().unwrap().lock_id = (*ids.last().unwrap()).into();
            let members = ids.iter().map(|id| Member { lock_id: (*id).into(), ..Member::default() });
            view.members = if ids.len() > 1 { members.collect() } else { Vec::new() };
            view
        };
        let other = lost("ME works under that hold now");
        for (ids, wanted) in [
            (&["a", "b"][..], Next::Renew(AT_ONCE)),
            (&["a", "b", "c"], Next::Renew(AT_ONCE)),
            (&["b"], Next::Renew(AT_ONCE)),
            (&["a", "c"], other.clone()),
            (&["a"], other),
        ] {
            let view = with(ids);
            assert_eq!(hold.looked(Found::Lease(&view, "1"), &mine, secs(4), &TIMES), wanted, "{ids:?}");
        }
    }
}
