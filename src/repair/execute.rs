//! Executes the steps of a repair: saves copies, edits records, reads which objects exist.
//! `repair.rs` decides the steps.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use serde_json::Value;

use super::{
    Step, dead_description,
    finish_install::death,
    map_apis::{self, Changes},
};
use crate::{
    clock::Clock,
    cluster::{AT_ONCE, Cluster},
    copies::{self, Kind, Shelf},
    manifest::{Manifest, living, merge_keys::Type, scaled},
    release::{
        History, Record, Status,
        codec::{self, Edit},
        set_aside,
        stored_record::backup_list,
    },
    repair::adopt::reapply,
    storage::{Store, StoreError},
    yaml::Unread,
};

/// Saves copies of the records that `steps` change or delete into one new file, readable by its owner only. `None` when no
/// record is concerned.
///
/// # Errors
/// When the file cannot be written; nothing must be changed then.
pub fn backup(
    shelf: &Shelf<'_>,
    release: &str,
    lock_id: &str,
    history: &History,
    steps: &[Step],
) -> anyhow::Result<Option<(PathBuf, Vec<u32>)>> {
    // A rollback or an uninstall changes records of its own choice: all are saved then.
    let all = steps.iter().any(|step| step.revision().is_none());
    let concerned =
        |record: &&Record| all || steps.iter().any(|step| step.revision() == Some(record.revision));
    let records: Vec<&Record> = history.records.iter().filter(concerned).collect();
    if records.is_empty() {
        return Ok(None);
    }
    let text = backup_list(&records).to_string();
    let path = copies::save(shelf, Kind::Repair, release, lock_id, &[text.as_bytes()])?;
    Ok(Some((path, records.iter().map(|record| record.revision).collect())))
}

/// Does record steps, one after the other, and keeps `history` as the records then stand.
pub struct Hands<'a> {
    /// The records.
    pub store: &'a Store,
    /// Which objects live.
    pub cluster: &'a Cluster,
    /// For labels.
    pub clock: Clock,
    /// Release name.
    pub release: String,
    /// Namespace of the release.
    pub namespace: &'a str,
    /// Records as they were before anything was lent, by revision.
    pub lent: BTreeMap<u32, Record>,
    /// What changes in records that name APIs which the cluster does not serve, by revision.
    pub apis: BTreeMap<u32, Changes>,
}

impl Hands<'_> {
    /// Does one step on a record and says what was done; `None` when there was nothing to do.
    ///
    /// # Errors
    /// When somebody else changed the record since it was read, or the API server refuses.
    pub async fn act(&mut self, step: &Step, history: &mut History) -> anyhow::Result<Option<String>> {
        let Some(revision) = step.revision() else { return Ok(None) };
        let Some(record) = history.get(revision).cloned() else { return Ok(None) };
        let was = record.status();
        let now = self.clock.wall().as_second();
        let (written, said) = match step {
            Step::Mark { status, description, .. } => {
                let edit =
                    Edit { status: Some(*status), description: description.clone(), ..Edit::default() };
                let written = self.store.edit(&record, &edit, now).await?;
                (Some(written), format!("revision {revision}: {was} → {status}"))
            }
            Step::Lend { union_of, good, values_of, .. } => {
                let (mut edit, objects, unread) =
                    self.lending(history, revision, union_of, *good, *values_of).await?;
                if was == Status::Deployed {
                    // Its manifest is no manifest, and all else is in order.
                    edit = Edit { status: None, description: None, ..edit };
                }
                self.lent.insert(revision, record.clone());
                let written = self.store.edit(&record, &edit, now).await;
                if let Err(StoreError::Conflict(_)) = &written {
                    // Another program has written it: nothing is to be put back over that.
                    self.lent.remove(&revision);
                }
                let written = written?;
                let became = match was {
                    Status::Failed | Status::Deployed => was.to_string(),
                    _ => format!("{was} → failed"),
                };
                let base = if objects > 0 {
                    format!(", temporary merge base for this run, with {objects} objects")
                } else {
                    String::new()
                };
                let unread = match unread.as_slice() {
                    [] => String::new(),
                    unread => format!("; without what cannot be read: the manifest of {}", unread.join(", ")),
                };
                (Some(written), format!("revision {revision}: {became}{base}{unread}"))
            }
            Step::SetAside { .. } => {
                if record.is_set_aside() && was == Status::Uninstalled {
                    return Ok(None);
                }
                let json = codec::decode(record.stored.payload())?;
                let edit = Edit {
                    status: Some(Status::Uninstalled),
                    description: dead_description(was),
                    manifest: Some(set_aside::marked(&json)?),
                    ..Edit::default()
                };
                let said = format!(
                    "revision {revision}: {was} → set aside, so that helm installs over the live objects"
                );
                (Some(self.store.edit(&record, &edit, now).await?), said)
            }
            Step::EndAside { .. } => {
                let json = codec::decode(record.stored.payload())?;
                let edit = Edit {
                    status: Some(Status::Failed),
                    description: death(&record),
                    manifest: Some(set_aside::unmarked(&json)?),
                    ..Edit::default()
                };
                let said = if was == Status::Failed {
                    String::new()
                } else {
                    format!("revision {revision}: failed")
                };
                (Some(self.store.edit(&record, &edit, now).await?), said)
            }
            Step::Return { .. } => {
                let Some(copy) = self.lent.get(&revision).cloned() else { return Ok(None) };
                if copy.status() == Status::Deployed {
                    let manifest =
                        codec::decode(copy.stored.payload()).and_then(|json| codec::manifest(&json))?;
                    let edit = Edit { manifest: Some(manifest), ..Edit::default() };
                    let written = self.store.edit(&record, &edit, now).await?;
                    replaced(history, revision, Some(written));
                    return Ok(None);
                }
                let returned = self.store.put_back(&record, &copy).await?;
                let edit =
                    Edit { status: Some(Status::Failed), description: death(&copy), ..Edit::default() };
                (Some(self.store.edit(&returned, &edit, now).await?), String::new())
            }
            Step::MapApis { changes, .. } => {
                let edit = mapped(&record, changes, self.namespace)?;
                let written = self.store.edit(&record, &edit, now).await?;
                let said = changes.lines().join(", ");
                (Some(written), format!("the manifest of revision {revision}: {said}"))
            }
            Step::Delete { .. } => {
                self.store.delete(&record).await?;
                (None, format!("revision {revision}: record deleted"))
            }
            Step::Rollback { .. } | Step::Uninstall => return Ok(None),
        };
        replaced(history, revision, written);
        Ok(Some(said).filter(|said| !said.is_empty()))
    }

    /// What the dead record is lent: the union of manifests, less what does not live or is not this release's. And revisions
    /// whose manifest is not YAML: of those Helm could not have built an object either.
    async fn lending(
        &self,
        history: &History,
        revision: u32,
        union_of: &[u32],
        good: Option<u32>,
        values_of: Option<u32>,
    ) -> anyhow::Result<(Edit, usize, Vec<String>)> {
        let (mut manifests, mut unread) = (Vec::new(), Vec::new());
        let mut good_manifest = Manifest::default();
        let mut values = None;
        for record in
            history.records.iter().filter(|r| union_of.contains(&r.revision) || values_of == Some(r.revision))
        {
            let context = || format!("record of revision {}", record.revision);
            let json = codec::decode(record.stored.payload()).with_context(context)?;
            let mut text = codec::manifest(&json).with_context(context)?;
            if let Some(changes) = self.apis.get(&record.revision)
                && let Ok(applied) = map_apis::apply(&text, &changes.manifest, self.namespace)
            {
                text = applied;
            }
            if values_of == Some(record.revision) {
                values = Some(json);
            }
            let manifest = match Manifest::parse(&text, self.namespace) {
                Ok(manifest) => manifest,
                // Helm reads it: without its objects the base would be wrong.
                Err(error @ Unread::BeyondLimits(_)) => return Err(error).with_context(context),
                Err(_) => {
                    unread.push(format!("revision {}", record.revision));
                    continue;
                }
            };
            if good == Some(record.revision) {
                good_manifest = manifest.clone();
            }
            manifests.push(manifest);
        }
        let mut union = Manifest::union(&manifests.iter().collect::<Vec<_>>());
        let doubtful: Vec<_> = union.keys().filter(|key| !good_manifest.contains(key)).cloned().collect();
        let ours = self.cluster.owned(&doubtful, &self.release, self.namespace).await?;
        union.objects.retain(|(key, _)| good_manifest.contains(key) || ours.contains(key));
        self.compare_with_live(&mut union, &manifests).await;
        let edit = Edit {
            status: Some(Status::Failed),
            description: history.get(revision).and_then(death),
            manifest: Some(union.text()),
            values_of: values,
            hooks: None,
        };
        Ok((edit, union.objects.len(), unread))
    }

    /// Takes out of the base what does not live, see [`living`], and what others have set since, see [`scaled`]. What cannot be
    /// looked at stays as it is.
    async fn compare_with_live(&self, union: &mut Manifest, manifests: &[Manifest]) {
        let looks = union.objects.iter_mut().filter_map(|(key, base)| {
            let revisions: Vec<&Value> = manifests.iter().filter_map(|manifest| manifest.get(key)).collect();
            let newest = *revisions.last()?;
            let own = Type::of(&key.api_version, &key.kind).filter(|_| living::is_in_doubt(&revisions));
            (own.is_some() || scaled::has_older_fields(base, newest)).then_some(async move {
                if let Ok(Some(live)) = reapply::live(self.cluster, key).await {
                    scaled::forget(base, newest, &live);
                    if let Some(own) = own {
                        living::keep(base, &revisions, &live, own);
                    }
                }
            })
        });
        let looks: Vec<BoxFuture<'_, ()>> = looks.map(FutureExt::boxed).collect();
        stream::iter(looks).buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

/// The history with another record of this revision, or none.
fn replaced(history: &mut History, revision: u32, record: Option<Record>) {
    history.records.retain(|record| record.revision != revision);
    history.records.extend(record);
    *history = History::new(std::mem::take(&mut history.records));
}

/// The record with its objects named by APIs that the cluster serves. Its status stays as it is.
fn mapped(record: &Record, changes: &Changes, namespace: &str) -> anyhow::Result<Edit> {
    let context = || format!("record of revision {}", record.revision);
    let json = codec::decode(record.stored.payload()).with_context(context)?;
    let texts = codec::texts(&json).with_context(context)?;
    let apply = |text: &str, changes: &[map_apis::Change]| {
        map_apis::apply(text, changes, namespace).map_err(anyhow::Error::msg).with_context(context)
    };
    let hooks = texts.hooks.iter().map(|hook| {
        // Of a hook that has no document left nothing can be run.
        let text = apply(hook, &changes.hooks)?;
        Ok(Some(text).filter(|text| text.trim() != "" || hook.trim() == ""))
    });
    let hooks = if changes.hooks.is_empty() { None } else { Some(hooks.collect::<anyhow::Result<_>>()?) };
    Ok(Edit { manifest: Some(apply(&texts.manifest, &changes.manifest)?), hooks, ..Edit::default() })
}
