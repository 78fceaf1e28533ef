//! Records in the cluster: Secrets, or ConfigMaps.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};

use super::StoreError;
use crate::release::stored_record::Stored;

/// How often an object is created whose predecessor is deleted.
const CREATIONS: u32 = 10;
/// How long it is waited in between.
const PAUSE: Duration = Duration::from_millis(300);

/// The objects of one namespace.
#[derive(Clone)]
pub(crate) struct Objects {
    client: Client,
    namespace: String,
    in_maps: bool,
}

impl Objects {
    pub(crate) fn new(client: Client, namespace: &str, in_maps: bool) -> Self {
        Self { client, namespace: namespace.to_owned(), in_maps }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn secrets(&self, client: Client) -> Api<Secret> {
        Api::namespaced(client, &self.namespace)
    }

    fn config_maps(&self, client: Client) -> Api<ConfigMap> {
        Api::namespaced(client, &self.namespace)
    }

    /// All records of a release.
    pub(crate) async fn history(&self, release: &str) -> Result<Vec<Stored>, StoreError> {
        let params = ListParams::default().labels(&format!("name={release},owner=helm"));
        let client = self.client.clone();
        if self.in_maps {
            let items = self.config_maps(client).list(&params).await?.items;
            return Ok(items.into_iter().map(|object| Stored::ConfigMap(Box::new(object))).collect());
        }
        let items = self.secrets(client).list(&params).await?.items;
        Ok(items.into_iter().map(|object| Stored::Secret(Box::new(object))).collect())
    }

    /// One record, by its object's name.
    pub(crate) async fn record(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let client = self.client.clone();
        Ok(if self.in_maps {
            self.config_maps(client).get_opt(name).await?.map(|object| Stored::ConfigMap(Box::new(object)))
        } else {
            self.secrets(client).get_opt(name).await?.map(|object| Stored::Secret(Box::new(object)))
        })
    }

    /// Writes an object in the place of the one with its resource version.
    pub(crate) async fn replace(&self, client: Client, mut stored: Stored) -> Result<Stored, StoreError> {
        let name = stored.name().to_owned();
        if stored.is_immutable() {
            stored.make_mutable();
            return self.replace_immutable(client, &stored).await;
        }
        if let Some(meta) = stored.metadata_mut() {
            meta.managed_fields = None;
        }
        let params = PostParams::default();
        let replaced = match stored {
            Stored::Secret(object) => {
                let api = self.secrets(client);
                api.replace(&name, &params, &object).await.map(|object| Stored::Secret(Box::new(object)))
            }
            Stored::ConfigMap(object) => {
                let api = self.config_maps(client);
                api.replace(&name, &params, &object).await.map(|object| Stored::ConfigMap(Box::new(object)))
            }
            Stored::Row(_) => return Err(StoreError::Conflict(name)),
        };
        replaced.map_err(|error| conflict(error, &name))
    }

    /// An immutable object cannot be written: it is deleted, if it is still the one that was read, and created anew. Between
    /// the two there is none. Who writes records has saved them first: a restore, or `settle`, creates it again.
    async fn replace_immutable(&self, client: Client, stored: &Stored) -> Result<Stored, StoreError> {
        self.delete(client.clone(), stored).await?;
        let mut left = CREATIONS;
        loop {
            left -= 1;
            match self.create(client.clone(), stored.as_new(false)).await {
                Err(StoreError::Api(_)) if left > 0 => tokio::time::sleep(PAUSE).await,
                Err(StoreError::Api(error)) => {
                    return Err(StoreError::Lost { name: stored.name().to_owned(), error });
                }
                created => return created,
            }
        }
    }

    /// Creates an object. Gives it as it is then.
    pub(crate) async fn create(&self, client: Client, stored: Stored) -> Result<Stored, StoreError> {
        let params = PostParams::default();
        let created = match &stored {
            Stored::Secret(object) => {
                let created = self.secrets(client).create(&params, object).await;
                created.map(|object| Stored::Secret(Box::new(object)))
            }
            Stored::ConfigMap(object) => {
                let created = self.config_maps(client).create(&params, object).await;
                created.map(|object| Stored::ConfigMap(Box::new(object)))
            }
            Stored::Row(_) => return Err(StoreError::Conflict(stored.name().to_owned())),
        };
        created.map_err(|error| conflict(error, stored.name()))
    }

    /// Deletes an object as it was read.
    pub(crate) async fn delete(&self, client: Client, stored: &Stored) -> Result<(), StoreError> {
        let name = stored.name();
        let params = DeleteParams { preconditions: stored.preconditions(), ..DeleteParams::default() };
        let deleted = if self.in_maps {
            self.config_maps(client).delete(name, &params).await.map(drop)
        } else {
            self.secrets(client).delete(name, &params).await.map(drop)
        };
        match deleted {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => deleted.map_err(|error| conflict(error, name)),
        }
    }
}

fn conflict(error: kube::Error, name: &str) -> StoreError {
    match error {
        kube::Error::Api(status) if status.code == 409 || status.code == 404 => {
            StoreError::Conflict(name.to_owned())
        }
        error => StoreError::Api(error),
    }
}
