//! One object as it lives: its UID, and the deletion of a StatefulSet that is to be created anew.

use std::time::Duration;

use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::api_paths;
use crate::{cluster::raw_request::send, manifest::ObjectKey, signals::Signals};

/// Deletes a StatefulSet and leaves its pods and volumes, if it is still the one that was looked at, and waits until it is
/// gone.
///
/// # Errors
/// When the API server refuses, the set does not go within 30 s, or this process is asked to stop.
pub async fn orphan(client: &Client, key: &ObjectKey, live: &Value, signals: &Signals) -> Result<(), String> {
    let Some(resource) = api_paths::known(&key.api_version, &key.kind) else {
        return Err("not known".to_owned());
    };
    let path = format!("{}/{}", api_paths::collection(key, &resource), key.name);
    let options = json!({
        "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan",
        "preconditions": {"uid": live["metadata"]["uid"]},
    });
    let deleted = send(client, Method::DELETE, &path, "application/json", Some(&options)).await.0;
    deleted.map_err(|refusal| refusal.message)?;
    let gone = async {
        loop {
            match send(client, Method::GET, &path, "application/json", None).await.0 {
                Err(refusal) if refusal.code == 404 => return Ok(()),
                Err(refusal) => return Err(refusal.message),
                Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::select! {
        biased;
        signal = signals.first() => Err(format!("{} while it was being deleted", signal.name())),
        gone = tokio::time::timeout(GOES_WITHIN, gone) => {
            gone.unwrap_or_else(|_| Err("it is being deleted, and does not go".to_owned()))
        }
    }
}

/// How long an object that is deleted may take to go.
const GOES_WITHIN: Duration = Duration::from_secs(30);

/// Of the object as it lives, if it does.
///
/// # Errors
/// When the API server does not say.
pub async fn uid(client: &Client, key: &ObjectKey) -> Result<Option<String>, String> {
    let Some(resource) = api_paths::known(&key.api_version, &key.kind) else { return Ok(None) };
    let path = format!("{}/{}", api_paths::collection(key, &resource), key.name);
    match send(client, Method::GET, &path, "application/json", None).await.0 {
        Ok(object) => Ok(object["metadata"]["uid"].as_str().map(str::to_owned)),
        Err(refusal) if refusal.code == 404 => Ok(None),
        Err(refusal) => Err(refusal.message),
    }
}
