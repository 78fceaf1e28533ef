//! Does what lives still match a manifest? Collections are listed; what lives there as it is written is the same. Each other
//! object is applied as a dry run, and what that would give is compared with what is there. Nothing is changed; no value leaves
//! this file.

use std::collections::{BTreeMap, BTreeSet};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{Request, header};
use serde_json::Value;

use crate::cluster::{
    AT_ONCE, Cluster, known_kind,
    lives::{self, Wanted},
};
use crate::{
    cluster::api_paths::{self, Resource},
    health::{Live, changed},
    manifest::{Manifest, ObjectKey, as_written::is_as_written},
};

/// Not as Helm: what Helm adds to a manifest, its labels and annotations, would be missed and taken for drift.
const MANAGER: &str = "helm-guard";

/// What the API server calls a kind; `Ok(None)` if it does not know it.
type Kind = Result<Option<Resource>, Live>;

impl Cluster {
    /// How each object of a manifest lives, in its order.
    pub async fn compared(&self, manifest: &Manifest) -> Vec<(ObjectKey, Live)> {
        let kinds: BTreeSet<(&str, &str)> =
            manifest.keys().map(|key| (key.api_version.as_str(), key.kind.as_str())).collect();
        let looks = kinds.into_iter().map(|kind| async move { (kind, self.kind(kind).await) }.boxed());
        let looks: Vec<BoxFuture<'_, _>> = looks.collect();
        let kinds: BTreeMap<(&str, &str), Kind> =
            stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
        let collection = |key: &ObjectKey| match kinds.get(&(key.api_version.as_str(), key.kind.as_str())) {
            Some(Ok(Some(found))) if api_paths::is_addressable(key) => {
                Ok(Some(api_paths::collection(key, found)))
            }
            Some(Ok(_)) | None => Ok(None),
            Some(Err(unknown)) => Err(unknown.clone()),
        };
        let mut wanted = Wanted::new();
        for key in manifest.keys() {
            if let Ok(Some(path)) = collection(key) {
                wanted.entry(path).or_default().insert(key.name.clone());
            }
        }
        let lives = lives::look(&self.client, &wanted).await;
        let looks = manifest.objects.iter().map(|(key, value)| {
            let (lives, collection) = (&lives, collection(key));
            async move {
                let live = match collection {
                    Ok(Some(path)) => {
                        let live = lives.get(&path, &key.name);
                        match live.filter(|live| is_as_written(live, value)) {
                            Some(_) => Live::Same,
                            None => self.compare(&format!("{path}/{}", key.name), live.cloned(), value).await,
                        }
                    }
                    Ok(None) => Live::Missing,
                    Err(unknown) => unknown,
                };
                (key.clone(), live)
            }
            .boxed()
        });
        let looks: Vec<BoxFuture<'_, _>> = looks.collect();
        stream::iter(looks).buffered(AT_ONCE).collect().await
    }

    async fn kind(&self, (api_version, kind): (&str, &str)) -> Kind {
        if let Some(known) = api_paths::known(api_version, kind) {
            return Ok(Some(known));
        }
        let found = known_kind(&self.client, (api_version, kind)).await.map_err(|error| unknown(&error))?;
        Ok(found.map(|(found, capabilities)| Resource {
            plural: found.plural,
            namespaced: capabilities.scope == kube::discovery::Scope::Namespaced,
        }))
    }

    /// `live`: as it was listed.
    async fn compare(&self, path: &str, live: Option<Value>, value: &Value) -> Live {
        let live = match live {
            Some(live) => live,
            None => match self.asked(Request::get(path), Vec::new()).await {
                Ok(live) => live,
                Err(kube::Error::Api(status)) if status.code == 404 => return Live::Missing,
                Err(error) => return unknown(&error),
            },
        };
        let apply = format!("{path}?dryRun=All&force=true&fieldManager={MANAGER}");
        let patch = Request::patch(apply).header(header::CONTENT_TYPE, "application/apply-patch+yaml");
        let wanted = match self.asked(patch, value.to_string().into_bytes()).await {
            Ok(wanted) => wanted,
            Err(error) => return unknown(&error),
        };
        match changed(&live, &wanted) {
            fields if fields.is_empty() => Live::Same,
            fields => Live::Drifted(fields),
        }
    }

    async fn asked(&self, request: http::request::Builder, body: Vec<u8>) -> Result<Value, kube::Error> {
        self.client.request(request.body(body).map_err(kube::Error::HttpError)?).await
    }
}

fn unknown(error: &kube::Error) -> Live {
    match error {
        kube::Error::Api(status) if status.code == 403 => Live::Unknown("it may not be compared".into()),
        kube::Error::Api(status) => Live::Unknown(format!("a dry run is refused: {}", status.reason)),
        _ => Live::Unknown("the API server does not answer".into()),
    }
}
