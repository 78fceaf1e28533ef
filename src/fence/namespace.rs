//! The namespace that helm-guard created for its lock, ahead of `helm --create-namespace`. Helm must not notice: it first looks
//! whether objects of the chart exist already, and a chart may bring its own namespace.
//! Pure: `fence/proxy.rs` passes requests on.
//!
//! So until Helm creates it, Helm is told that it does not exist. Helm's create, which would find it there, becomes a patch that
//! puts into it what Helm wants in it. It is made bare for that: what it has in the end is Helm's alone.

use http::{Method, Uri, uri::PathAndQuery};

const ALL: &str = "/api/v1/namespaces";

/// What a request is to a namespace that Helm does not know of yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meets {
    /// It has nothing to do with it.
    Nothing,
    /// It looks at it.
    Look,
    /// It creates a namespace: which is in its body.
    Create,
    /// It applies or changes it: from now on Helm knows it.
    Change,
}

/// Looks at a request.
pub fn meets(method: &Method, path: &str, namespace: &str) -> Meets {
    let is_it = path.strip_prefix(ALL).and_then(|rest| rest.strip_prefix('/')) == Some(namespace);
    match *method {
        Method::GET | Method::HEAD if is_it => Meets::Look,
        Method::POST if path == ALL => Meets::Create,
        Method::PATCH | Method::PUT | Method::DELETE if is_it => Meets::Change,
        _ => Meets::Nothing,
    }
}

/// Is the body of a create, JSON, one of this namespace?
pub fn creates(body: &[u8], namespace: &str) -> bool {
    let object: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    object.is_some_and(|object| object["metadata"]["name"] == namespace)
}

/// Where the create of a namespace goes as a patch, with the same query.
pub fn as_patch(uri: &Uri, namespace: &str) -> Option<PathAndQuery> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{ALL}/{namespace}{query}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_about_the_namespace_are_known() {
        for (method, path, wanted) in [
            (Method::GET, "/api/v1/namespaces/shop", Meets::Look),
            (Method::GET, "/api/v1/namespaces/shopping", Meets::Nothing),
            (Method::GET, "/api/v1/namespaces/shop/secrets", Meets::Nothing),
            (Method::GET, "/api/v1/namespaces", Meets::Nothing),
            (Method::POST, "/api/v1/namespaces", Meets::Create),
            (Method::POST, "/api/v1/namespaces/shop/secrets", Meets::Nothing),
            (Method::PATCH, "/api/v1/namespaces/shop", Meets::Change),
            (Method::PATCH, "/api/v1/namespaces/other", Meets::Nothing),
        ] {
            assert_eq!(meets(&method, path, "shop"), wanted, "{method} {path}");
        }
        assert!(creates(br#"{"kind":"Namespace","metadata":{"name":"shop"}}"#, "shop"));
        assert!(!creates(br#"{"kind":"Namespace","metadata":{"name":"other"}}"#, "shop"));
        assert!(!creates(b"k8s\0", "shop"));
        let uri = "/api/v1/namespaces?fieldManager=helm".parse().unwrap();
        assert_eq!(as_patch(&uri, "shop").unwrap(), "/api/v1/namespaces/shop?fieldManager=helm");
    }
}
