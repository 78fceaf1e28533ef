//! Asks the API server for the resources of kinds that are not Kubernetes' own.

use std::collections::BTreeSet;

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};

use super::rights::Resources;
use crate::cluster::api_paths::{self, Resource};
use crate::{
    cluster::{Cluster, known_kind, raw_request::AT_ONCE},
    manifest::ObjectKey,
};

/// What the API calls the kinds of these objects.
pub(crate) async fn resources<'a>(
    cluster: &Cluster,
    keys: impl Iterator<Item = &'a ObjectKey>,
) -> Resources<'a> {
    let kinds: BTreeSet<(&str, &str)> =
        keys.map(|key| (key.api_version.as_str(), key.kind.as_str())).collect();
    // Boxed before anything is awaited: a closure over references is not general enough for a task.
    let looks = kinds.into_iter().map(|kind| async move { (kind, resource_of(cluster, kind).await) }.boxed());
    let looks: Vec<BoxFuture<'_, _>> = looks.collect();
    stream::iter(looks).buffer_unordered(AT_ONCE).collect().await
}

async fn resource_of(cluster: &Cluster, (api_version, kind): (&str, &str)) -> Option<Resource> {
    if let Some(known) = api_paths::known(api_version, kind) {
        return Some(known);
    }
    let (found, capabilities) = known_kind(&cluster.client, (api_version, kind)).await.ok().flatten()?;
    let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
    Some(Resource { plural: found.plural, namespaced })
}
