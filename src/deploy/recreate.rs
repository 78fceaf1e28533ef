//! StatefulSets that cannot be changed in place (`--recreate-statefulsets`): deletes them before Helm creates them again, and
//! checks afterwards that they exist. The preflight finds them.

use super::verdict::Set;
use std::sync::Arc;

use kube::Client;

use super::{Run, verdict::Judged};
use crate::{
    copies::{self, Kind, Shelf},
    deploy::helm_process,
    manifest::ObjectKey,
    preflight::{claims, live_object},
    report::{Event, reporter::Reporter},
    signals::Signals,
};

/// Deletes StatefulSets, their pods and volumes left, with a copy of each saved first.
#[derive(Clone)]
pub(super) struct Recreator {
    pub(super) client: Client,
    reporter: Arc<Reporter>,
    directory: std::path::PathBuf,
    keep: u32,
    lock_id: String,
    judged: Arc<Judged>,
    signals: Signals,
    namespace: String,
}

impl Recreator {
    /// Does so, one after the other.
    ///
    /// # Errors
    /// Why one was not deleted.
    pub(super) async fn recreate(&self, sets: Vec<Set>) -> Result<(), String> {
        for (key, live, wanted) in sets {
            let shelf = Shelf { directory: &self.directory, namespace: &key.namespace, keep: self.keep };
            let text = live.to_string();
            let saved = copies::save(&shelf, Kind::StatefulSet, &key.name, &self.lock_id, &[text.as_bytes()]);
            let path = saved.map_err(|error| format!("{key} was not deleted: {error:#}"))?;
            live_object::orphan(&self.client, &key, &live, &self.signals)
                .await
                .map_err(|why| format!("{key} was not deleted: {why}"))?;
            let said = format!(
                "{} deleted, its pods and volumes left; a copy is in {}",
                named(&key, &self.namespace),
                path.display()
            );
            self.reporter.emit(Event::Recreated(said));
            for kept in claims::look::kept(&self.client, &key, &live, &wanted).await {
                self.reporter.emit(Event::Recreated(kept));
            }
            self.judged.recreate((key, live, wanted));
        }
        Ok(())
    }
}

/// With its namespace, if that is not the release's.
fn named(key: &ObjectKey, own: &str) -> String {
    if key.namespace == own { key.to_string() } else { format!("{key} in namespace {}", key.namespace) }
}

impl Run<'_> {
    pub(super) fn recreator(&self, signals: &Signals) -> Recreator {
        let lock = self.claims.clone();
        let gate: crate::cluster::gate::Gate = Arc::new(move || lock.are_safe());
        Recreator {
            client: self.cluster.wire.gated_client(self.cluster.namespace.clone(), gate, |_| {}),
            reporter: self.reporter.clone(),
            directory: self.request.copies_dir.clone(),
            keep: self.request.guard.run.backups.keep,
            lock_id: self.lock_id.clone(),
            judged: self.judged.clone(),
            signals: signals.clone(),
            namespace: self.cluster.namespace.clone(),
        }
    }

    /// Are the StatefulSets that were deleted there again?
    pub(super) async fn look_after(&self, ended: &helm_process::Ended) {
        for (key, was, _) in self.judged.recreated() {
            let uid = live_object::uid(&self.cluster.client, &key).await;
            let key = named(&key, &self.cluster.namespace);
            let said = match uid {
                Ok(Some(uid)) if was["metadata"]["uid"] != uid.as_str() => {
                    format!("{key} was created again")
                }
                Ok(_) if ended.code != Some(0) => {
                    format!(
                        "{key} does not exist: helm failed before it created it again; the next deploy creates it"
                    )
                }
                Ok(_) => format!("{key} does not exist, although helm succeeded: check the chart"),
                Err(why) => format!("{key} could not be read: {why}"),
            };
            self.reporter.emit(Event::Recreated(said));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_another_namespace_is_named_with_it() {
        let set = ObjectKey {
            api_version: "apps/v1".into(),
            kind: "StatefulSet".into(),
            namespace: "shop".into(),
            name: "db".into(),
        };
        assert_eq!(named(&set, "shop"), "StatefulSet/db");
        assert_eq!(named(&set, "bank"), "StatefulSet/db in namespace shop");
    }
}
