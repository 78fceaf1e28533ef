//! Deletes the CRDs that Helm installed for a deploy that was then refused: only those that this Helm created, identified by
//! their UID, and only while they have no objects.

use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::crds::{DEFINITIONS, Definition};
use crate::cluster::raw_request::send;

/// Deletes it, if nobody has made use of it.
///
/// # Errors
/// Why it stays.
pub async fn take_back(client: &Client, definition: &Definition) -> Result<(), String> {
    let path = format!("{DEFINITIONS}/{}", definition.name);
    let get = async |path: &str| send(client, Method::GET, path, "application/json", None).await.0;
    let live = match get(&path).await {
        Ok(live) if live["metadata"]["uid"] == definition.uid.as_str() => live,
        Ok(_) => return Err("another client has created it again".to_owned()),
        Err(refusal) if refusal.code == 404 => return Ok(()),
        Err(refusal) => return Err(refusal.message),
    };
    if let Some(objects) = objects(&live) {
        match get(&format!("{objects}?limit=1")).await {
            Ok(list) if list["items"].as_array().is_none_or(|items| !items.is_empty()) => {
                return Err("there are objects of it".to_owned());
            }
            Ok(_) => {}
            // It is not served yet, so there can be none.
            Err(refusal) if refusal.code == 404 => {}
            Err(refusal) => return Err(refusal.message),
        }
    }
    let options = json!({
        "kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": definition.uid},
    });
    let deleted = send(client, Method::DELETE, &path, "application/json", Some(&options)).await.0;
    deleted.map(drop).map_err(|refusal| refusal.message)
}

/// Where objects of it are, in all namespaces.
fn objects(definition: &Value) -> Option<String> {
    let spec = &definition["spec"];
    let version = spec["versions"].as_array()?.iter().find(|version| version["served"] == true)?;
    let (group, plural) = (spec["group"].as_str()?, spec["names"]["plural"].as_str()?);
    Some(format!("/apis/{group}/{}/{plural}", version["name"].as_str()?))
}
