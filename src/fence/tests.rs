//! The decisions of the fence, as tables.

use super::*;
use std::time::Duration;

#[test]
fn a_write_passes_while_the_lock_is_safe_and_never_after_its_loss() {
    let safe = Standing::Safe { until: Duration::ZERO };
    let lost = Standing::Lost("bob has it".into());
    for (standing, is_write, wanted) in [
        (safe.clone(), true, Verdict::Pass),
        (safe, false, Verdict::Pass),
        (Standing::Doubtful, true, Verdict::Wait),
        (Standing::Doubtful, false, Verdict::Pass),
        (lost.clone(), true, Verdict::Refuse("bob has it".into())),
        (lost, false, Verdict::Pass),
    ] {
        assert_eq!(verdict(standing, is_write), wanted);
    }
}

#[test]
fn what_may_change_something_is_a_write() {
    let mut headers = HeaderMap::new();
    for (method, wanted) in [
        (Method::GET, false),
        (Method::HEAD, false),
        (Method::POST, true),
        (Method::PUT, true),
        (Method::PATCH, true),
        (Method::DELETE, true),
    ] {
        assert_eq!(is_write(&method, &headers), wanted, "{method}");
    }
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    assert!(is_write(&Method::GET, &headers), "an exec");
}

#[test]
fn watches_and_logs_that_are_followed_last() {
    let mut headers = HeaderMap::new();
    for (uri, wanted) in [
        ("/api/v1/pods?watch=true&resourceVersion=7", true),
        ("/api/v1/pods?allowWatchBookmarks=true&watch=1", true),
        ("/api/v1/namespaces/shop/pods/a/log?follow=true", true),
        ("/api/v1/pods?watch=false", false),
        ("/api/v1/pods?limit=500", false),
        ("/api/v1/namespaces/shop/configmaps/watch", false),
    ] {
        assert_eq!(lasts(&uri.parse().unwrap(), &headers), wanted, "{uri}");
    }
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    assert!(lasts(&"/api/v1/namespaces/shop/pods/a/exec".parse().unwrap(), &headers));
}

#[test]
fn helm_introduces_itself_and_others_are_not_helm() {
    for (agent, wanted) in [
        ("Helm/3.22.0", Some("v3.22.0")),
        ("Helm/4.3.1-rc.1+g12 more", Some("v4.3.1-rc.1+g12")),
        ("kubectl/v1.37.1", None),
        ("Helm/", None),
        ("Helm/4.3.1::warning::", None),
        ("", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_str(agent).unwrap());
        assert_eq!(helm_version(&headers).as_deref(), wanted, "{agent}");
    }
}

#[test]
fn only_who_knows_the_secret_is_inside() {
    for (uri, wanted) in [
        ("/secret/api/v1/pods?watch=1", Some("/api/v1/pods?watch=1")),
        ("http://127.0.0.1:1/secret/api", Some("/api")),
        ("/secret", Some("/")),
        ("/secret/", Some("/")),
        ("/secret?a=b", Some("/?a=b")),
        ("/secretapi", None),
        ("/api/v1/pods", None),
        ("/", None),
        ("//secret/api", None),
    ] {
        let inside = inside(&uri.parse().unwrap(), "secret");
        assert_eq!(inside.as_ref().map(PathAndQuery::as_str), wanted, "{uri}");
    }
}

#[test]
fn headers_of_one_connection_and_credentials_do_not_pass() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "127.0.0.1:1"),
        ("authorization", "Bearer x"),
        ("connection", "close, x-mine"),
        ("x-mine", "1"),
        ("transfer-encoding", "chunked"),
        ("accept-encoding", "gzip"),
        ("content-length", "7"),
        ("impersonate-user", "ada"),
        ("user-agent", "Helm/4.3.1"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    rewrite(&mut headers, "0a1b");
    let mut left: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    left.sort();
    let agent = format!("user-agent: Helm/4.3.1 helm-guard/{} lock/0a1b", env!("CARGO_PKG_VERSION"));
    assert_eq!(left, ["accept-encoding: gzip", "content-length: 7", "impersonate-user: ada", &*agent]);
}

#[test]
fn a_request_for_another_protocol_keeps_what_asks_for_it() {
    let mut headers = HeaderMap::new();
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    rewrite(&mut headers, "0a1b");
    assert!(headers.contains_key(header::UPGRADE) && headers.contains_key(header::CONNECTION));
}

#[test]
fn the_kubeconfig_has_name_and_namespace_and_no_credential() {
    let text = kubeconfig("http://127.0.0.1:1/s", "prod", "shop", true);
    let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
    assert_eq!(read.current_context.as_deref(), Some("prod"));
    let context = read.contexts[0].context.as_ref().unwrap();
    assert_eq!((read.contexts[0].name.as_str(), context.namespace.as_deref()), ("prod", Some("shop")));
    assert_eq!(read.clusters[0].cluster.as_ref().unwrap().disable_compression, Some(true));
    assert!(text.contains(r#""user":{}"#));
}

#[test]
fn a_server_has_a_folder_of_its_own() {
    assert_eq!(cache_folder("https://10.0.0.1:6443"), "10.0.0.1_6443");
    assert_eq!(cache_folder("https://rancher/k8s/clusters/c-1"), "rancher_k8s_clusters_c_1");
}

#[test]
fn only_what_never_changes_is_remembered() {
    let hash = "8F5F21DFCD465B067ED095B213D5695C";
    for (method, uri, wanted) in [
        (Method::GET, format!("/openapi/v3/apis/apps/v1?hash={hash}"), true),
        (Method::GET, format!("/openapi/v3/apis/apps/v1?timeout=32s&hash={hash}"), true),
        (Method::GET, "/openapi/v3/apis/apps/v1".to_owned(), false),
        (Method::GET, "/openapi/v3/apis/apps/v1?hash=../../etc".to_owned(), false),
        (Method::GET, format!("/openapi/v3/apis/apps/v1?hash={hash}&a=!"), false),
        (Method::GET, format!("/openapi/v3/apis/a%2Fb/v1?hash={hash}"), false),
        (Method::GET, format!("/openapi/v3/apis/apps/v1?hash={hash}&hash={hash}"), false),
        (Method::GET, format!("/api/v1/namespaces/shop/secrets/a?hash={hash}"), false),
        (Method::POST, format!("/openapi/v3/apis/apps/v1?hash={hash}"), false),
    ] {
        let found = description(&method, &uri.parse().unwrap());
        assert_eq!(found, wanted.then(|| Description { target: uri.clone() }), "{method} {uri}");
    }
}
