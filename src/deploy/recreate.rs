//! StatefulSets that only a new one can change (`--recreate-statefulsets`): deleted before Helm makes them anew, looked for
//! afterwards. Which they are is found by the preflight.

use std::{io::Write, os::unix::fs::OpenOptionsExt, sync::Arc};

use kube::Client;
use serde_json::Value;

use super::{Run, preflight::Judged};
use crate::{
    helm::child,
    manifest::ObjectKey,
    preflight::{act, claims},
    report::{Event, sink::Reporter},
};

/// A StatefulSet as it lives, and as it is wanted.
pub(super) type Set = (ObjectKey, Value, Value);

/// Deletes StatefulSets, their pods and volumes left, with a copy of each saved first.
#[derive(Clone)]
pub(super) struct Recreator {
    pub(super) client: Client,
    reporter: Arc<Reporter>,
    directory: std::path::PathBuf,
    lock_id: String,
    judged: Arc<Judged>,
    namespace: String,
}

impl Recreator {
    /// Does so, one after the other.
    ///
    /// # Errors
    /// Why one was not deleted.
    pub(super) async fn recreate(&self, sets: Vec<Set>) -> Result<(), String> {
        for (key, live, wanted) in sets {
            let path = self.directory.join(copy_name(&key, &self.lock_id));
            let save = || -> std::io::Result<()> {
                std::fs::create_dir_all(&self.directory)?;
                let mut file =
                    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                file.write_all(live.to_string().as_bytes())?;
                file.sync_all()
            };
            save().map_err(|error| format!("{key} was not deleted: copy {}: {error}", path.display()))?;
            act::orphan(&self.client, &key, &live)
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

/// Name of the copy's file: sets of one name may be in several namespaces. No namespace has a dot in its name.
fn copy_name(key: &ObjectKey, lock_id: &str) -> String {
    format!("statefulset-{}.{}-{lock_id}.json", key.namespace, key.name)
}

/// With its namespace, if that is not the release's.
fn named(key: &ObjectKey, own: &str) -> String {
    if key.namespace == own { key.to_string() } else { format!("{key} in namespace {}", key.namespace) }
}

impl Run<'_> {
    pub(super) fn recreator(&self) -> Recreator {
        let lock = self.claims.clone();
        let gate: crate::cluster::gated::Gate = Arc::new(move || lock.are_safe());
        Recreator {
            client: self.cluster.wire.gated_client(self.cluster.namespace.clone(), gate, |_| {}),
            reporter: self.reporter.clone(),
            directory: self.request.backup_dir.clone(),
            lock_id: self.lock_id.clone(),
            judged: self.judged.clone(),
            namespace: self.cluster.namespace.clone(),
        }
    }

    /// Are the StatefulSets that were deleted there again?
    pub(super) async fn look_after(&self, ended: &child::Ended) {
        for (key, was, _) in self.judged.recreated() {
            let uid = act::uid(&self.cluster.client, &key).await;
            let key = named(&key, &self.cluster.namespace);
            let said = match uid {
                Ok(Some(uid)) if was["metadata"]["uid"] != uid.as_str() => {
                    format!("{key} is there again, made anew")
                }
                Ok(_) if ended.code != Some(0) => {
                    format!("{key} is not there: helm failed before it made it anew; the next deploy does")
                }
                Ok(_) => format!("{key} is not there, though helm succeeded: look at the chart"),
                Err(why) => format!("{key} could not be looked at: {why}"),
            };
            self.reporter.emit(Event::Recreated(said));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_one_name_in_two_namespaces_have_two_copies() {
        let set = |namespace: &str, name: &str| ObjectKey {
            api_version: "apps/v1".into(),
            kind: "StatefulSet".into(),
            namespace: namespace.into(),
            name: name.into(),
        };
        let sets = [set("shop", "db"), set("bank", "db"), set("shop", "db.main"), set("shop-db", "main")];
        let names: std::collections::BTreeSet<String> =
            sets.iter().map(|key| copy_name(key, "0a1b2c3d")).collect();
        assert_eq!(names.len(), sets.len(), "{names:?}");
        assert_eq!(named(&sets[0], "shop"), "StatefulSet/db");
        assert_eq!(named(&sets[1], "shop"), "StatefulSet/db in namespace bank");
    }
}
