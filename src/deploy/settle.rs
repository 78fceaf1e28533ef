//! Sets the records right when Helm is gone.

use super::{Done, Mended, Run, end::in_time};
use crate::{release::History, repair, report::Event, signals::Signals};

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
            for step in steps.into_iter().filter(|step| step.revision() > mended.untouchable) {
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
