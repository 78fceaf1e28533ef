//! Reads the claims that a StatefulSet has made, and their storage classes. Writes nothing.
//! What is said of them is decided in `preflight/claims.rs`.

use http::Method;
use kube::Client;
use serde_json::Value;

use super::{expands, kept as said, of};
use crate::{
    cluster::{api_paths, raw_request::send},
    manifest::ObjectKey,
};

/// Sentences about claims that keep their size when the set is made anew.
pub async fn kept(client: &Client, key: &ObjectKey, live: &Value, wanted: &Value) -> Vec<String> {
    let mut sentences = Vec::new();
    for claim in of(key, live, wanted) {
        let Some(object) = get(client, "v1", "PersistentVolumeClaim", &key.namespace, &claim.name).await
        else {
            continue;
        };
        let class = object["spec"]["storageClassName"].as_str().unwrap_or_default();
        let class = get(client, "storage.k8s.io/v1", "StorageClass", "", class).await;
        sentences.extend(said(&claim, &key.namespace, &object, class.as_ref().map(expands)));
    }
    sentences
}

/// The object as it lives; `None` if it does not, or that is not known.
async fn get(client: &Client, api_version: &str, kind: &str, namespace: &str, name: &str) -> Option<Value> {
    let key = ObjectKey {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let resource = api_paths::known(api_version, kind)?;
    if name.is_empty() || !api_paths::is_addressable(&key) {
        return None;
    }
    let path = format!("{}/{name}", api_paths::collection(&key, &resource));
    send(client, Method::GET, &path, "application/json", None).await.0.ok()
}
