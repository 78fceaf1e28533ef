//! An install over a dead one: prepares for it, and afterwards deletes what only the dead install created.
//! `repair/leftovers.rs` decides what may be deleted.

use super::prepared::Named;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use futures::{StreamExt, stream};
use serde_json::Value;

use super::{Run, cancel::End, finalize::Histories, prepared::Prepared, render::Rendered};
use crate::release::rendered::read_manifest;
use crate::{
    cluster::{AT_ONCE, gate::Gate},
    manifest::{Manifest, ObjectKey},
    preflight::{helm_request::Apply, part, references},
    private_file,
    release::{History, Record, Status, codec},
    repair::{
        Step,
        finish_install::{
            attempts,
            objects::{CHANGED, Objects},
            set_aside,
        },
        leftovers::{Release, Verdict, command, is_marked, judge, was_made_by_helm, was_made_since},
    },
    report::Event,
};

/// How often a deletion is thought over when the object was changed meanwhile.
const ATTEMPTS: usize = 5;

impl Run<'_> {
    pub(super) fn objects<'a>(&'a self, release: &'a str) -> Objects<'a> {
        let lock = self.claims.clone();
        let gate: Gate = Arc::new(move || lock.are_safe());
        let namespace = self.cluster.namespace.as_str();
        let client = self.cluster.wire.gated_client(namespace.to_owned(), gate, |_| {});
        Objects { client, release: Release { name: release, namespace } }
    }

    fn warn(&self, text: String) {
        self.reporter.emit(Event::Warning(text));
    }

    /// Before Helm installs over what revisions left: what is being deleted is waited for, hooks that Helm could not create
    /// again go, and so do fields that its apply would leave behind.
    pub(super) async fn make_way(
        &self,
        release: &str,
        of: &[u32],
        history: &History,
        rendered: Option<&Rendered>,
    ) -> Result<(), End> {
        let namespace = &self.cluster.namespace;
        let dead = self.union(history, of);
        let wanted = rendered.and_then(|rendered| {
            let all = Manifest::parse(&String::from_utf8_lossy(&rendered.text), namespace).ok()?;
            Some(part(all, ["pre-install", "post-install"]))
        });
        let objects = self.objects(release);
        let records = of.iter().filter_map(|revision| history.get(*revision));
        for record in records {
            self.clear_hooks(&objects, record, wanted.as_ref().map(|(_, hooks)| hooks)).await;
        }
        let client_side = self.install_applies(history).await? == Apply::ClientSide;
        if self.invocation.atomic() {
            let why = "if this install fails, helm uninstalls the release, as --atomic and --rollback-on-failure ask";
            self.warn(why.to_owned());
        }
        let Some((wanted, _)) = wanted else {
            if client_side {
                let why =
                    "fields that only the dead install set may stay: the chart could not be rendered before";
                self.warn(why.to_owned());
            }
            return Ok(());
        };
        let known = wanted.objects.iter().map(|(key, object)| (key, object, dead.get(key)));
        let done = stream::iter(known).map(|(key, object, before)| {
            let objects = &objects;
            async move {
                let gone = before.is_none() || objects.wait_until_gone(key).await;
                let taken = if client_side { objects.take_off(key, before, object).await } else { Ok(false) };
                (key, gone, taken)
            }
        });
        let done: Vec<_> = done.buffered(AT_ONCE).collect().await;
        for (key, gone, taken) in done {
            if !gone {
                self.warn(format!("{key} is being deleted, and does not go"));
            }
            match taken {
                Ok(true) => self.reporter.emit(Event::Repaired(format!(
                    "{key}: fields that only the dead install set are taken off, which helm would leave"
                ))),
                Ok(false) => {}
                Err(why) => {
                    self.warn(format!("{key}: fields that only the dead install set may stay: {why}"))
                }
            }
        }
        Ok(())
    }

    /// Helm deletes a hook's predecessor only if the hook's policy says so, and does not create over one that is there. Jobs
    /// and pods of the dead install hold nothing, and are deleted for it.
    async fn clear_hooks(&self, objects: &Objects<'_>, record: &Record, wanted: Option<&Manifest>) {
        let Ok(body) = &record.body else { return };
        let Ok(texts) = codec::decode(record.stored.payload()).and_then(|json| codec::texts(&json)) else {
            return;
        };
        for (run, text) in body.hooks.iter().zip(&texts.hooks) {
            let Ok(manifest) = Manifest::parse(text, &self.cluster.namespace) else { continue };
            let Some(key) = manifest.keys().next() else { continue };
            let is_wanted = wanted.is_none_or(|hooks| hooks.contains(key));
            let stays = run.replaces_its_predecessor() || !run.is_install() || !is_wanted;
            if stays || !matches!(key.kind.as_str(), "Job" | "Pod") {
                continue;
            }
            let Ok(Some(live)) = objects.live(key).await else { continue };
            let is_hook = live["metadata"]["annotations"]["helm.sh/hook"].is_string();
            let is_its = match record.stored.created() {
                Some(since) => was_made_since(&live, Some(since)).is_ok(),
                // Of a row nobody knows when it came to be.
                None => was_made_by_helm(&live),
            };
            if !is_hook || !is_its {
                continue;
            }
            match objects.delete(key, &live).await {
                Ok(()) => {
                    objects.wait_until_gone(key).await;
                    let said = format!("hook {key} of the dead install deleted: helm creates it again");
                    self.reporter.emit(Event::Repaired(said));
                }
                Err(why) => self.warn(format!("hook {key} of the dead install is in the way: {why}")),
            }
        }
    }

    /// After an install or upgrade that is complete: what only dead installs made, and the new revision does not want, goes.
    pub(super) async fn clear_leftovers(
        &self,
        plans: &mut [(String, Prepared<'_>)],
        histories: &mut Histories,
    ) {
        for ((release, mended), history) in histories.with_mut(plans) {
            if set_aside(history).next().is_none() && mended.over.is_empty() {
                continue;
            }
            let dead: Vec<u32> = set_aside(history).map(|record| record.revision).collect();
            if !self.clear(release, mended, history).await {
                self.warn(
                    "not all objects that a dead install left could be read: the next deploy continues"
                        .to_owned(),
                );
                continue;
            }
            for revision in dead {
                if let Err(error) = mended.hands.act(&Step::EndAside { revision }, history).await {
                    self.warn(format!("not settled: {error:#}"));
                }
            }
        }
    }

    /// Whether all was looked at.
    async fn clear(&self, release: &str, mended: &Prepared<'_>, history: &History) -> bool {
        let namespace = &self.cluster.namespace;
        let Some(new) = history.last().filter(|last| last.status() == Status::Deployed) else { return false };
        let Some(wanted) = everything(new, namespace) else {
            self.warn(
                "what a dead install left stays: the manifest of the new revision cannot be read".to_owned(),
            );
            return true;
        };
        let needed: BTreeSet<ObjectKey> = wanted
            .objects
            .iter()
            .flat_map(|(key, object)| references::of(key, object))
            .map(|reference| reference.to)
            .collect();
        let mut left = named(history, Record::is_set_aside, &mended.created, namespace);
        // Of records that are gone, as an old Helm needs it, only this run knows.
        let others = mended.over.iter().filter(|(key, _)| !left.iter().any(|(other, _)| other == key));
        let others: Vec<Named> = others.cloned().collect();
        left.extend(others);
        left.retain(|(key, _)| !wanted.contains(key));
        let objects = self.objects(release);
        let (mut all, mut copies) = (true, Vec::new());
        for (key, since) in left {
            let mut done = Err(CHANGED.to_owned());
            for _ in 0..ATTEMPTS {
                done = self.clear_one(&objects, &key, since, needed.contains(&key), &mut copies).await;
                if done.as_ref().err().is_none_or(|why| why != CHANGED) {
                    break;
                }
            }
            if let Err(why) = done {
                all = false;
                self.warn(format!("{key}, which a dead install made, is left: {why}"));
            }
        }
        if let Some(directory) = copies.first().and_then(|path| path.parent()) {
            let said = format!("copies of the deleted objects are in {}", directory.display());
            self.reporter.emit(Event::Settled(said));
        }
        all
    }

    async fn clear_one(
        &self,
        objects: &Objects<'_>,
        key: &ObjectKey,
        since: Option<i64>,
        is_needed: bool,
        copies: &mut Vec<PathBuf>,
    ) -> Result<(), String> {
        let Some(live) = objects.live(key).await? else { return Ok(()) };
        match judge(key, &live, objects.release, since, is_needed) {
            Verdict::NotOurs => {}
            Verdict::Stays(why) => {
                let command = command(key);
                self.warn(format!("{key} of the dead install stays: {why}; to delete it: {command}"));
            }
            Verdict::Goes => {
                let copy =
                    self.copy(key, &live).map_err(|error| format!("no copy could be saved: {error}"))?;
                objects.delete(key, &live).await?;
                copies.push(copy);
                self.reporter
                    .emit(Event::Settled(format!("{key} deleted: only the dead install had made it")));
            }
        }
        Ok(())
    }

    /// A copy of an object that is about to be deleted.
    fn copy(&self, key: &ObjectKey, live: &Value) -> std::io::Result<PathBuf> {
        let directory = &self.request.copies_dir;
        private_file::directory(directory)?;
        let kind = key.kind.to_lowercase();
        let name: String = key.name.chars().map(|letter| if letter == ':' { '-' } else { letter }).collect();
        let namespace = &self.cluster.namespace;
        let path = directory.join(format!("{namespace}.leftover-{kind}-{name}-{}.json", self.lock_id));
        private_file::replace(&path, live.to_string().as_bytes())?;
        Ok(path)
    }

    /// After an install over a dead one that Helm has taken back (`--atomic`): no record tells any more what the dead one made.
    pub(super) async fn tell_what_is_left(&self, plans: &[(String, Prepared<'_>)], histories: &Histories) {
        for ((release, mended), history) in histories.with(plans) {
            if !history.records.is_empty() {
                continue;
            }
            let objects = self.objects(release);
            for (key, _) in &mended.over {
                if let Ok(Some(live)) = objects.live(key).await
                    && is_marked(&live, objects.release)
                {
                    let command = command(key);
                    self.warn(format!("{key} of the dead install is left; to delete it: {command}"));
                }
            }
        }
    }
}

/// The objects of a revision, hooks among them.
pub(super) fn everything(record: &Record, namespace: &str) -> Option<Manifest> {
    let mut all = read_manifest(record, namespace)?;
    let texts = codec::decode(record.stored.payload()).and_then(|json| codec::texts(&json)).ok()?;
    for hook in &texts.hooks {
        all.objects.extend(Manifest::parse(hook, namespace).unwrap_or_default().objects);
    }
    Some(all)
}

/// Objects that dead records name, the last first.
pub(super) fn named(
    history: &History,
    is_dead: impl Fn(&Record) -> bool,
    created: &BTreeMap<u32, i64>,
    namespace: &str,
) -> Vec<Named> {
    let attempts: Vec<(&Record, Manifest)> = attempts(history)
        .into_iter()
        .filter_map(|record| Some((record, read_manifest(record, namespace)?)))
        .collect();
    let mut found: Vec<Named> = Vec::new();
    for (_, manifest) in attempts.iter().filter(|(record, _)| is_dead(record)) {
        for key in manifest.keys() {
            if found.iter().any(|(other, _)| other == key) {
                continue;
            }
            let first =
                attempts.iter().find(|(_, manifest)| manifest.contains(key)).map(|(record, _)| *record);
            let since = first.and_then(|record| {
                // One that could not be written was replaced, and is younger than what it tells of.
                let now = record.stored.created()?;
                Some(created.get(&record.revision).map_or(now, |before| now.min(*before)))
            });
            found.push((key.clone(), since));
        }
    }
    found.reverse();
    found
}
