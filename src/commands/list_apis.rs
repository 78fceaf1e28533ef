//! Reads one record of each release of a list, and notes which APIs in it a version of Kubernetes does not have.
//! Writes nothing. Which APIs those are is decided in `release/removed_apis.rs` and `repair/map_apis.rs`.

use std::collections::BTreeSet;

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};

use super::session::{AT_ONCE, store};
use crate::status::{State, list_entry::Entry};
use crate::{
    cli::KubernetesVersion,
    cluster::{self, Cluster},
    commands::session::CommandError,
    exit,
    release::{
        Record,
        codec::{self, Texts},
        removed_apis,
        stored_record::Driver,
    },
    repair::map_apis::gone,
    storage::{Storage, StoreError},
};

/// Notes it in each entry. Gives what could not be seen, in sentences.
pub(crate) async fn note(
    cluster: &Cluster,
    entries: &mut [Entry],
    version: KubernetesVersion,
    storages: &[Storage],
) -> Result<Vec<String>, CommandError> {
    let minor = match version {
        KubernetesVersion::Minor(minor) => minor,
        KubernetesVersion::OfCluster => own(cluster).await?,
    };
    let served = served(cluster).await;
    let usual = storages.first().map_or(Driver::Secrets, Storage::driver);
    let looks = entries.iter().map(|entry| apis(cluster, entry, storages, minor, served.as_ref()).boxed());
    let looks: Vec<BoxFuture<'_, _>> = looks.collect();
    let found: Vec<Option<Vec<String>>> = stream::iter(looks).buffered(AT_ONCE).collect().await;
    let unread = found.iter().filter(|apis| apis.is_none()).count();
    for (entry, apis) in entries.iter_mut().zip(found) {
        entry.note_removed(apis.unwrap_or_default(), minor, usual);
    }
    let mut unseen = Vec::new();
    if unread > 0 {
        unseen.push(format!("the records of {unread} releases could not be read for their APIs"));
    }
    if served.is_none() {
        unseen.push("the APIs of the cluster could not be listed: custom kinds were not checked".to_owned());
    }
    Ok(unseen)
}

/// `None` when no record could be read.
async fn apis(
    cluster: &Cluster,
    entry: &Entry,
    storages: &[Storage],
    minor: u32,
    served: Option<&BTreeSet<String>>,
) -> Option<Vec<String>> {
    if matches!(entry.state, State::None | State::Uninstalled) {
        return Some(Vec::new());
    }
    let read = async || -> Result<Option<Record>, StoreError> {
        let Some(store) = store(cluster, entry, storages) else { return Ok(None) };
        // One that works is its own base; of all others that may be an older one.
        if entry.state == State::Deployed {
            return store.record(&entry.release, entry.revision).await;
        }
        let history = store.history(&entry.release).await?;
        Ok(history.deployed().next_back().or(history.last_good()).or(history.last()).cloned())
    };
    let record = read().await.ok()??;
    let texts: Texts = codec::decode(record.stored.payload()).and_then(|json| codec::texts(&json)).ok()?;
    Some(gone(&texts, minor, served))
}

/// The minor version of the cluster.
async fn own(cluster: &Cluster) -> Result<u32, CommandError> {
    let unknown = |why: String| {
        CommandError::new(
            exit::UNAVAILABLE,
            format!("the version of the cluster: {why}"),
            &["kubectl get --raw /readyz"],
        )
    };
    let info =
        cluster.client.apiserver_version().await.map_err(|error| unknown(cluster::describe_error(&error)))?;
    removed_apis::minor(&info.git_version).map_err(unknown)
}

/// Groups with their versions, as the cluster serves them: one small answer.
async fn served(cluster: &Cluster) -> Option<BTreeSet<String>> {
    let groups = cluster.client.list_api_groups().await.ok()?.groups;
    Some(groups.into_iter().flat_map(|group| group.versions).map(|version| version.group_version).collect())
}
