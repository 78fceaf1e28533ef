//! Which watches follow a release while Helm works on it, and when they start.

use std::{convert::Infallible, sync::Mutex, time::Duration};

use tokio::sync::watch::Receiver;

use super::Run;
use crate::{
    deploy::follow::{Follower, Stand},
    diagnose::collect::Scope,
    fence::server::Fence,
    helm::Command,
    manifest::Manifest,
    progress::Board,
    release::Status,
    report::Awaited,
};

/// How long Helm works before anybody looks: most upgrades that change little are over by then, and cost no request.
const WHILE: Duration = Duration::from_secs(1);
/// When it is not seen that Helm begins, its record is looked for; each time after twice as long.
const UNSEEN: Duration = Duration::from_secs(15);

impl Run<'_> {
    /// Looks at the release until this is dropped. A record that Helm creates is a new beginning: an automatic rollback
    /// has another manifest.
    pub(super) async fn accompany<'a>(
        &'a self,
        release: &str,
        board: &'a Mutex<Board>,
        follower: &mut Option<Follower<'a>>,
    ) -> Infallible {
        let started = self.clock.monotonic();
        let mut records = self.fence.as_ref().map(Fence::records);
        let uninstall = self.request.invocation.command == Command::Uninstall;
        let is_unseen = records.is_none() || uninstall || self.is_in_sql();
        let mut patience = if is_unseen { WHILE } else { UNSEEN };
        loop {
            match follower {
                Some(follower) => tokio::select! {
                    () = created(&mut records) => {}
                    never = follower.follow() => match never {},
                },
                None => tokio::select! {
                    () = created(&mut records) => {}
                    () = tokio::time::sleep(patience) => patience *= 2,
                },
            }
            tokio::time::sleep(WHILE).await;
            let Some(scope) = self.at_work(release).await else { continue };
            let stand = Stand {
                cluster: &self.cluster,
                reporter: self.reporter,
                clock: self.clock,
                awaited: Awaited::Helm,
                started,
                writes: Box::new(|| self.fence.as_ref().map(Fence::writes)),
            };
            *follower = Some(Follower::begin(stand, scope, board));
        }
    }

    /// What Helm works on, as its record says.
    async fn at_work(&self, release: &str) -> Option<Scope> {
        let history = self.store.history(release).await.ok()?;
        let last = history
            .last()
            .filter(|last| last.status().is_pending() || last.status() == Status::Uninstalling)?;
        let mut scope = Scope::of(last, &self.cluster.namespace);
        if last.status() == Status::Uninstalling {
            // Of what goes away nothing is rolled out.
            scope.manifest = Manifest::default();
        }
        Some(scope)
    }
}

/// Until Helm has created another record; for ever where nobody sees that.
async fn created(records: &mut Option<Receiver<u64>>) {
    let told = match records {
        Some(records) => records.changed().await.is_ok(),
        None => false,
    };
    if !told {
        std::future::pending().await
    }
}
