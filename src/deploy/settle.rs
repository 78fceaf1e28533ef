//! Sets the records right when Helm is gone.

use super::{Done, Mended, Run, end::in_time};
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
        plans: &mut [(String, Mended<'_>)],
        signals: &Signals,
        done: &mut Done,
    ) -> Vec<History> {
        let mut histories = Vec::new();
        if self.lost().is_some() {
            // The next owner repairs.
            return histories;
        }
        let settled = in_time(signals, self.settle_all(plans, &mut histories)).await;
        done.unsettled |= settled != Some(true);
        if settled.is_none() {
            let why = "the API server does not answer: not all is settled, the next run repairs what is left";
            self.reporter.emit(Event::Warning(why.to_owned()));
        }
        histories
    }

    /// Is all of it done?
    async fn settle_all(&self, plans: &mut [(String, Mended<'_>)], histories: &mut Vec<History>) -> bool {
        let mut all = true;
        for (release, mended) in plans {
            let mut history = match self.store.history(release).await {
                Ok(history) => history,
                Err(error) => {
                    self.reporter
                        .emit(Event::Warning(format!("the records could not be read at the end: {error}")));
                    all = false;
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
                    "--lock off: revision {revision} is left as it is, another run may be at work on it"
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
            histories.push(history);
        }
        all
    }
}
