//! Sets the records right after Helm has ended.

use super::{Done, Run, cancel::in_time, prepared::Prepared};
use crate::{
    cli::Lock,
    release::History,
    repair::{self, Step},
    report::Event,
    signals::Signals,
};

impl Run<'_> {
    /// Helm is gone and the lock is ours: no record stays pending, what was lent is returned.
    pub(super) async fn settle(
        &self,
        plans: &mut [(String, Prepared<'_>)],
        signals: &Signals,
        done: &mut Done,
    ) -> Histories {
        let mut histories = Vec::new();
        if self.lost().is_some() {
            // The next owner repairs.
            return Histories::default();
        }
        let settled = in_time(signals, self.settle_all(plans, &mut histories)).await;
        done.unsettled |= settled != Some(true);
        if settled.is_none() {
            let why = "the API server does not answer: some records are not set right; the next run repairs the release";
            self.reporter.emit(Event::Warning(why.to_owned()));
        }
        Histories::new(plans.len(), histories)
    }

    /// Is all of it done?
    async fn settle_all(
        &self,
        plans: &mut [(String, Prepared<'_>)],
        histories: &mut Vec<Option<History>>,
    ) -> bool {
        let mut all = true;
        for (release, mended) in plans {
            let mut history = match self.store.history(release).await {
                Ok(history) => history,
                Err(error) => {
                    self.reporter
                        .emit(Event::Warning(format!("the records could not be read at the end: {error}")));
                    all = false;
                    histories.push(None);
                    continue;
                }
            };
            let steps = match mended.base {
                Some(base) => repair::settle_upgrade(base, &history),
                None => repair::settle(mended.plan.as_ref(), &history),
            };
            // Where no lock keeps others out, a record may be one of a run that lives. What this run or its Helm has written
            // carries its lock ID.
            let is_unlocked = self.request.guard.lock == Lock::Off;
            let may_be_anothers = |step: &Step, history: &History| {
                let record = step.revision().and_then(|revision| history.get(revision));
                is_unlocked && !record.is_some_and(|record| record.stored.is_written_by(&self.lock_id))
            };
            let steps = steps.into_iter().filter(|step| step.revision() > mended.untouchable);
            let (left, steps): (Vec<_>, Vec<_>) = steps.partition(|step| may_be_anothers(step, &history));
            for revision in left.iter().filter_map(Step::revision) {
                let why = format!(
                    "--lock off: revision {revision} is left as it is, because another run may work on it"
                );
                self.reporter.emit(Event::Warning(why));
            }
            for step in steps {
                match mended.hands.act(&step, &mut history).await {
                    Ok(Some(said)) => self.reporter.emit(Event::Settled(said)),
                    Ok(None) => {}
                    Err(error) => {
                        self.reporter.emit(Event::Warning(format!("not settled: {error:#}")));
                        all = false;
                    }
                }
            }
            self.reporter.emit(Event::LookedAgain(history.rows()));
            histories.push(Some(history));
        }
        all
    }
}

/// The records of each release at the end, in the order of the releases; `None` where they could not be read.
#[derive(Debug, Default)]
pub(super) struct Histories(Vec<Option<History>>);

impl Histories {
    /// Of so many releases, read as far as there was time.
    fn new(releases: usize, mut read: Vec<Option<History>>) -> Self {
        read.resize_with(releases, || None);
        Self(read)
    }

    /// Each release with its records, as far as they were read.
    pub(super) fn with<'a, T>(&'a self, releases: &'a [T]) -> impl Iterator<Item = (&'a T, &'a History)> {
        releases.iter().zip(&self.0).filter_map(|(release, history)| Some((release, history.as_ref()?)))
    }

    /// The same, to act on both.
    pub(super) fn with_mut<'a, T>(
        &'a mut self,
        releases: &'a mut [T],
    ) -> impl Iterator<Item = (&'a mut T, &'a mut History)> {
        releases
            .iter_mut()
            .zip(&mut self.0)
            .filter_map(|(release, history)| Some((release, history.as_mut()?)))
    }

    /// The records of the only release.
    pub(super) fn only(&self) -> Option<&History> {
        let [history] = &self.0[..] else { return None };
        history.as_ref()
    }

    /// The records of the first release.
    pub(super) fn first(&self) -> Option<&History> {
        self.0.first()?.as_ref()
    }

    /// Is no record of any release left? Of what could not be read nobody knows.
    pub(super) fn are_gone(&self) -> bool {
        let is_gone =
            |history: &Option<History>| history.as_ref().is_some_and(|history| history.records.is_empty());
        !self.0.is_empty() && self.0.iter().all(is_gone)
    }

    /// Is a record pending?
    pub(super) fn are_pending(&self) -> bool {
        let mut records = self.0.iter().flatten().flat_map(|history| &history.records);
        records.any(|record| record.status().is_pending())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repair::tests::history;

    #[test]
    fn records_that_could_not_be_read_are_nobody_elses() {
        let (empty, left) = (History::default(), history("1 deployed"));
        let (stuck, releases) = (history("1 pending-upgrade"), ["api", "mail", "web"]);
        for (what, read, pairs, gone, pending) in [
            (
                "all are gone",
                vec![Some(&empty), Some(&empty), Some(&empty)],
                "api 0, mail 0, web 0",
                true,
                false,
            ),
            ("one is not known", vec![Some(&empty), None, Some(&empty)], "api 0, web 0", false, false),
            ("the first is not known", vec![None, Some(&empty), Some(&left)], "mail 0, web 1", false, false),
            ("there was no time", vec![Some(&empty)], "api 0", false, false),
            ("one is stuck", vec![None, Some(&stuck)], "mail 1", false, true),
            ("the lock was lost", vec![], "", false, false),
        ] {
            let found =
                Histories::new(releases.len(), read.into_iter().map(Option::<&History>::cloned).collect());
            let shown: Vec<String> = found
                .with(&releases)
                .map(|(name, history)| format!("{name} {}", history.records.len()))
                .collect();
            assert_eq!(shown.join(", "), pairs, "{what}");
            assert_eq!((found.are_gone(), found.are_pending()), (gone, pending), "{what}");
        }
    }
}
