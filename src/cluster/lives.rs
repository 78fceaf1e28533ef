//! Objects as they live, many at once: a list of each collection instead of a request for each object.
//!
//! Only what carries Helm's label is listed, so that a namespace with much else in it costs nothing. Whatever is not found so
//! (the label may be gone, the list may be long, or not be allowed) is not known, and has to be asked for by its name.

use std::collections::{BTreeMap, BTreeSet};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::Request;
use http_body_util::{BodyExt, Limited};
use kube::{Client, client::Body};
use serde_json::Value;

/// Requests at once: they share a connection.
const AT_ONCE: usize = 32;
/// Objects of one page, and pages of one collection.
const PAGE: usize = 100;
const PAGES: usize = 10;
/// Most bytes of a page; what is larger is asked for by its name.
const LARGEST: usize = 4 << 20;
/// What each of Helm's objects carries: `app.kubernetes.io/managed-by=Helm`.
const SELECTOR: &str = "labelSelector=app.kubernetes.io%2Fmanaged-by%3DHelm";

/// Names that are wanted, by the path of their collection, such as `/api/v1/namespaces/shop/services`.
pub type Wanted = BTreeMap<String, BTreeSet<String>>;

/// Objects that were found.
#[derive(Clone, Debug, Default)]
pub struct Lives(BTreeMap<String, BTreeMap<String, Value>>);

impl Lives {
    /// The object, if it was found. Else nobody knows.
    pub fn get(&self, collection: &str, name: &str) -> Option<&Value> {
        self.0.get(collection)?.get(name)
    }

    /// The same, to keep.
    pub fn take(&mut self, collection: &str, name: &str) -> Option<Value> {
        self.0.get_mut(collection)?.remove(name)
    }
}

/// Looks for what is wanted. Errors are answers that are not there.
pub async fn look(client: &Client, wanted: &Wanted) -> Lives {
    let looks = wanted.iter().map(|(collection, names)| {
        async move {
            let found = match names.first().filter(|_| names.len() == 1) {
                // One object costs no more than a list.
                Some(name) => one(client, collection, name)
                    .await
                    .map(|object| (name.clone(), object))
                    .into_iter()
                    .collect(),
                None => all(client, collection, names).await,
            };
            (collection.clone(), found)
        }
        .boxed()
    });
    let looks: Vec<BoxFuture<'_, _>> = looks.collect();
    Lives(stream::iter(looks).buffer_unordered(AT_ONCE).collect().await)
}

async fn one(client: &Client, collection: &str, name: &str) -> Option<Value> {
    read(client, &format!("{collection}/{name}")).await
}

async fn all(client: &Client, collection: &str, names: &BTreeSet<String>) -> BTreeMap<String, Value> {
    let (mut found, mut more) = (BTreeMap::new(), String::new());
    for _ in 0..PAGES {
        let path = format!("{collection}?{SELECTOR}&limit={PAGE}{more}");
        let Some(mut page) = read(client, &path).await else { break };
        // In a list they do not say what they are.
        let kind = page["kind"].as_str().and_then(|kind| kind.strip_suffix("List")).map(str::to_owned);
        let (Some(kind), version) = (kind, page["apiVersion"].take()) else { break };
        let Value::Array(items) = page["items"].take() else { break };
        for mut item in items {
            let name = item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if names.contains(&name) {
                (item["kind"], item["apiVersion"]) = (kind.as_str().into(), version.clone());
                found.insert(name, item);
            }
        }
        let token = page["metadata"]["continue"].as_str().unwrap_or_default();
        if token.is_empty() || found.len() == names.len() {
            break;
        }
        more = format!("&continue={token}");
    }
    found
}

async fn read(client: &Client, path: &str) -> Option<Value> {
    let request =
        Request::get(path).header(http::header::ACCEPT, "application/json").body(Body::empty()).ok()?;
    let answer = client.send(request).await.ok().filter(|answer| answer.status().is_success())?;
    let body = Limited::new(answer.into_body(), LARGEST).collect().await.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{path, query_param, query_param_is_missing},
    };

    use super::*;
    use crate::cluster::mock::cluster_at;

    #[tokio::test]
    async fn a_collection_is_listed_and_a_single_object_is_read() {
        let server = MockServer::start().await;
        let page = |names: &[&str], more: &str| {
            let items: Vec<Value> = names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
            let list = json!({"kind": "SecretList", "apiVersion": "v1", "metadata": {"continue": more}, "items": items});
            ResponseTemplate::new(200).set_body_json(list)
        };
        let (secrets, services) = ("/api/v1/namespaces/shop/secrets", "/api/v1/namespaces/shop/services");
        let list = || {
            Mock::given(path(secrets)).and(query_param("labelSelector", "app.kubernetes.io/managed-by=Helm"))
        };
        list()
            .and(query_param_is_missing("continue"))
            .respond_with(page(&["a", "x"], "next"))
            .expect(1)
            .mount(&server)
            .await;
        list()
            .and(query_param("continue", "next"))
            .respond_with(page(&["b"], ""))
            .expect(1)
            .mount(&server)
            .await;
        let one =
            ResponseTemplate::new(200).set_body_json(json!({"kind": "Service", "metadata": {"name": "a"}}));
        Mock::given(path(format!("{services}/a"))).respond_with(one).expect(1).mount(&server).await;
        let refused = ResponseTemplate::new(403).set_body_json(json!({"kind": "Status"}));
        let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles";
        Mock::given(path(roles)).respond_with(refused).expect(1).mount(&server).await;

        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let wanted = Wanted::from([
            (secrets.to_owned(), names(&["a", "b", "gone"])),
            (services.to_owned(), names(&["a"])),
            (roles.to_owned(), names(&["a", "b"])),
        ]);
        let lives = look(&cluster_at(&server.uri()).await.client, &wanted).await;
        let kind = |collection, name| {
            lives.get(collection, name).map(|object| object["kind"].as_str().unwrap().to_owned())
        };
        assert_eq!(kind(secrets, "a").as_deref(), Some("Secret"));
        assert_eq!(kind(secrets, "b").as_deref(), Some("Secret"));
        assert_eq!(kind(services, "a").as_deref(), Some("Service"));
        for (collection, name) in [(secrets, "gone"), (secrets, "x"), (roles, "a")] {
            assert_eq!(kind(collection, name), None, "{collection}/{name}");
        }
    }
}
