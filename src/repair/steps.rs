//! Does the steps of a repair: edits records, saves copies first, asks which objects live.
//! Which steps is decided in `repair.rs`.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;

use super::{Step, dead_description};
use crate::{
    clock::Clock,
    cluster::Cluster,
    copies::{self, Kind, Shelf},
    manifest::Manifest,
    release::{
        History, Record, Status,
        codec::{self, Edit},
        store::Store,
        stored::backup_list,
    },
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
                let (edit, objects) = self.lending(history, revision, union_of, *good, *values_of).await?;
                self.lent.insert(revision, record.clone());
                let written = self.store.edit(&record, &edit, now).await?;
                let became =
                    if was == Status::Failed { "failed".to_owned() } else { format!("{was} → failed") };
                let base = if objects > 0 {
                    format!(", for this run the base of the merge with {objects} objects")
                } else {
                    String::new()
                };
                (Some(written), format!("revision {revision}: {became}{base}"))
            }
            Step::Return { .. } => {
                let Some(copy) = self.lent.get(&revision).cloned() else { return Ok(None) };
                let returned = self.store.put_back(&record, &copy).await?;
                let edit = Edit {
                    status: Some(Status::Failed),
                    description: dead_description(copy.status()),
                    ..Edit::default()
                };
                (Some(self.store.edit(&returned, &edit, now).await?), String::new())
            }
            Step::Delete { .. } => {
                self.store.delete(&record).await?;
                (None, format!("revision {revision}: record deleted"))
            }
            Step::Rollback { .. } | Step::Uninstall => return Ok(None),
        };
        history.records.retain(|record| record.revision != revision);
        history.records.extend(written);
        *history = History::new(std::mem::take(&mut history.records));
        Ok(Some(said).filter(|said| !said.is_empty()))
    }

    /// What the dead record is lent: the union of manifests, less what does not live or is not this release's.
    async fn lending(
        &self,
        history: &History,
        revision: u32,
        union_of: &[u32],
        good: Option<u32>,
        values_of: Option<u32>,
    ) -> anyhow::Result<(Edit, usize)> {
        let mut manifests = Vec::new();
        let mut good_manifest = Manifest::default();
        let mut values = None;
        for record in
            history.records.iter().filter(|r| union_of.contains(&r.revision) || values_of == Some(r.revision))
        {
            let context = || format!("record of revision {}", record.revision);
            let json = codec::decode(record.stored.payload()).with_context(context)?;
            let text = codec::manifest(&json).with_context(context)?;
            let manifest = Manifest::parse(&text, self.namespace)
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("manifest of revision {}", record.revision))?;
            if good == Some(record.revision) {
                good_manifest = manifest.clone();
            }
            if values_of == Some(record.revision) {
                values = Some(json);
            }
            manifests.push(manifest);
        }
        let mut union = Manifest::union(&manifests.iter().collect::<Vec<_>>());
        let doubtful: Vec<_> = union.keys().filter(|key| !good_manifest.contains(key)).cloned().collect();
        let ours = self.cluster.owned(&doubtful, &self.release, self.namespace).await?;
        union.objects.retain(|(key, _)| good_manifest.contains(key) || ours.contains(key));
        let was = history.get(revision).map(Record::status).unwrap_or_default();
        let edit = Edit {
            status: Some(Status::Failed),
            description: dead_description(was),
            manifest: Some(union.text()),
            values_of: values,
        };
        Ok((edit, union.objects.len()))
    }
}
