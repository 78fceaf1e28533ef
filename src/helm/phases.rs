//! What a run of Helm was made of, as the records that it left tell: its hooks, and the rollout between them.
//! Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::release::codec::{Essentials, HookRun};

/// A part of a run of Helm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// `hook Job/migrate`, `rollout`, `applying`, `rolling back`. Names of objects are untrusted text.
    pub name: String,
    /// Since Helm's start.
    pub began: Duration,
    /// Since Helm's start.
    pub ended: Duration,
}

/// A run of Helm: when it began, by the clock of this machine, how long it took, and whether it waited for the rollout.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// By the clock that Helm reads, too.
    pub began: Timestamp,
    /// How long.
    pub took: Duration,
    /// Was it asked to wait?
    pub waited: bool,
}

/// The phases in their order. `made` are the bodies of the revisions that the run made, in theirs: an automatic rollback
/// makes a second one.
pub fn phases(made: &[&Essentials], ran: Ran) -> Vec<Phase> {
    let begins = |body: &Essentials| ran.offset(&body.last_deployed).unwrap_or_default();
    let mut phases = Vec::new();
    for (place, body) in made.iter().enumerate() {
        let end = made.get(place + 1).map_or(ran.took, |next| begins(next));
        let mut first = Vec::new();
        let mut last = Vec::new();
        let mut unfinished = false;
        for hook in &body.hooks {
            let Some(phase) = ran.hook(hook, end) else { continue };
            if hook.is_last() {
                last.push(phase);
            } else {
                unfinished |= !hook.succeeded();
                first.push(phase);
            }
        }
        first.sort_by_key(|phase| phase.began);
        last.sort_by_key(|phase| phase.began);
        let from = first.iter().map(|phase| phase.ended).max().unwrap_or_default().max(begins(body));
        let until = last.first().map_or(end, |phase| phase.began);
        let name = match (place, ran.waited) {
            (0, true) => "rollout",
            (0, false) => "applying",
            _ => "rolling back",
        };
        phases.append(&mut first);
        // Behind a hook that failed nothing was applied.
        if !unfinished && from < until {
            phases.push(Phase { name: name.to_owned(), began: from, ended: until });
        }
        phases.append(&mut last);
    }
    phases
}

impl Ran {
    /// Since its start; `None` for what is no time, or was before.
    fn offset(&self, at: &str) -> Option<Duration> {
        let at: Timestamp = at.parse().ok()?;
        Duration::try_from(at.duration_since(self.began)).ok().filter(|offset| *offset <= self.took)
    }

    /// Of a hook that ran in this run; one that was not seen to end ran to the `end`.
    fn hook(&self, hook: &HookRun, end: Duration) -> Option<Phase> {
        let began = self.offset(hook.started())?;
        let ended = self.offset(hook.completed()).filter(|ended| *ended >= began).unwrap_or(end.max(began));
        Some(Phase { name: format!("hook {}", hook.label()), began, ended })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::release::codec;

    const BEGAN: &str = "2026-06-01T12:00:00Z";

    fn hook(event: &str, from: &str, to: &str, phase: &str) -> Value {
        json!({
            "name": event, "kind": "Job", "events": [event],
            "last_run": {"started_at": at(from), "completed_at": at(to), "phase": phase},
        })
    }

    /// Seconds of the minute, as Helm writes a time in another zone.
    fn at(seconds: &str) -> String {
        if seconds.is_empty() { String::new() } else { format!("2026-06-01T14:00:{seconds}.5+02:00") }
    }

    fn body(began: &str, hooks: &[Value]) -> Essentials {
        let body = json!({"info": {"status": "deployed", "last_deployed": at(began)}, "hooks": hooks});
        codec::essentials(body.to_string().as_bytes()).unwrap()
    }

    /// `rollout 1-4, …` in whole seconds.
    fn told(made: &[Essentials], waited: bool) -> String {
        let ran = Ran { began: BEGAN.parse().unwrap(), took: Duration::from_secs(40), waited };
        let phases = phases(&made.iter().collect::<Vec<_>>(), ran);
        let words = phases.iter().map(|p| format!("{} {}-{}", p.name, p.began.as_secs(), p.ended.as_secs()));
        words.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn hooks_stand_around_the_rollout() {
        let first = hook("pre-upgrade", "02", "05", "Succeeded");
        let second = hook("pre-upgrade", "05", "09", "Succeeded");
        let last = hook("post-upgrade", "30", "38", "Succeeded");
        let cases = [
            ("no hooks", body("01", &[]), "rollout 1-40"),
            (
                "in whatever order they stand",
                body("01", &[last, second, first.clone()]),
                "hook Job/pre-upgrade 2-5, hook Job/pre-upgrade 5-9, rollout 9-30, hook Job/post-upgrade 30-38",
            ),
            (
                "one before failed",
                body("01", &[hook("pre-upgrade", "02", "05", "Failed")]),
                "hook Job/pre-upgrade 2-5",
            ),
            (
                "one that nobody saw end",
                body("01", &[hook("pre-upgrade", "02", "", "Running")]),
                "hook Job/pre-upgrade 2-40",
            ),
            (
                "one after, still at work",
                body("01", &[first, hook("post-upgrade", "30", "", "Running")]),
                "hook Job/pre-upgrade 2-5, rollout 5-30, hook Job/post-upgrade 30-40",
            ),
        ];
        for (what, body, expected) in cases {
            assert_eq!(told(&[body], true), expected, "{what}");
        }
        assert_eq!(told(&[body("01", &[])], false), "applying 1-40");
        assert_eq!(told(&[], true), "");
    }

    #[test]
    fn what_another_run_did_is_left_out() {
        let mut old = hook("pre-upgrade", "02", "05", "Succeeded");
        old["last_run"]["started_at"] = json!("2026-05-01T12:00:00Z");
        assert_eq!(told(&[body("01", &[old])], true), "rollout 1-40");
    }

    #[test]
    fn an_automatic_rollback_is_a_phase_of_its_own() {
        let made = [body("01", &[]), body("20", &[hook("pre-rollback", "21", "23", "Succeeded")])];
        assert_eq!(told(&made, true), "rollout 1-20, hook Job/pre-rollback 21-23, rolling back 23-40");
    }

    #[test]
    fn odd_times_are_none() {
        for odd in ["", "soon", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
            let mut one = hook("post-upgrade", "02", "05", "Succeeded");
            one["last_run"]["completed_at"] = json!(odd);
            assert_eq!(told(&[body("01", &[one])], true), "rollout 1-2, hook Job/post-upgrade 2-40", "{odd}");
        }
    }
}
