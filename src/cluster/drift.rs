//! Does what lives still match a manifest? Each object is applied as a dry run, and what that would give is compared with
//! what is there. Nothing is changed; no value leaves this file.

use futures::{StreamExt, stream};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
    discovery::Scope,
};
use serde_json::Value;

use super::{AT_ONCE, Cluster, known_kind};
use crate::{
    manifest::{Manifest, ObjectKey},
    status::health::{Live, changed},
};

/// Not as Helm: what Helm adds to a manifest, its labels and annotations, would be missed and taken for drift.
const MANAGER: &str = "helm-guard";

impl Cluster {
    /// How each object of a manifest lives, in its order.
    pub async fn compared(&self, manifest: &Manifest) -> Vec<(ObjectKey, Live)> {
        let objects = stream::iter(&manifest.objects)
            .map(|(key, value)| async move { (key.clone(), self.compare(key, value).await) });
        objects.buffered(AT_ONCE).collect().await
    }

    async fn compare(&self, key: &ObjectKey, value: &Value) -> Live {
        let unknown = |error: kube::Error| match error {
            kube::Error::Api(status) if status.code == 403 => Live::Unknown("it may not be compared".into()),
            kube::Error::Api(status) => Live::Unknown(format!("a dry run is refused: {}", status.reason)),
            _ => Live::Unknown("the API server does not answer".into()),
        };
        let (resource, capabilities) = match known_kind(&self.client, (&key.api_version, &key.kind)).await {
            Ok(Some(known)) => known,
            Ok(None) => return Live::Missing,
            Err(error) => return unknown(error),
        };
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), &key.namespace, &resource),
        };
        let live = match api.get_opt(&key.name).await {
            Ok(Some(live)) => live,
            Ok(None) => return Live::Missing,
            Err(error) => return unknown(error),
        };
        let params = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER).force() };
        let wanted = match api.patch(&key.name, &params, &Patch::Apply(value)).await {
            Ok(wanted) => wanted,
            Err(error) => return unknown(error),
        };
        match (serde_json::to_value(&live), serde_json::to_value(&wanted)) {
            (Ok(live), Ok(wanted)) => match changed(&live, &wanted) {
                fields if fields.is_empty() => Live::Same,
                fields => Live::Drifted(fields),
            },
            _ => Live::Unknown("it cannot be read".into()),
        }
    }
}
