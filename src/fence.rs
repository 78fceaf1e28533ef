//! The fence between Helm and the API server: may this request pass now, and what is changed in it?
//! Pure: requests are received and passed on in `fence/proxy.rs`, files are written in `fence/home.rs`.
//!
//! # What it promises
//!
//! Helm's writes carry no token by which an API server could tell that their lock is gone, and a Helm that is told to stop
//! may write for a while. Behind the fence it cannot:
//!
//! * A write leaves this machine only while the lock is [`Standing::Safe`]: its last renewal was sent less than two thirds
//!   of the lease duration ago, by a clock that counts while the machine sleeps. Nobody else takes the lock before the whole
//!   duration has passed since they saw that renewal, so a third of it is left (5 s by default).
//! * That is asked when a request comes, and again before each piece of it is handed to the system, after credentials were
//!   renewed and a connection was made. In between lie only the instructions from the question to the system call. If
//!   exactly there this process is stopped for more than that third, one write can be late; only the API server itself
//!   could refuse it.
//! * A write under way when the lock ceases to be safe is given up: its connection is reset, and what the system has not
//!   delivered is thrown away. So it is also when this process is killed. What the API server has received by then it may
//!   do: a request in flight takes effect within the time that the network holds a packet back, plus the server's own time
//!   for a request whose sender is gone.
//! * While it is not known whether the lock is still held, writes wait. Reads always pass: they do no harm, and a Helm that
//!   cannot read says that the cluster is unreachable, where it is to say that the lock is lost.

pub mod home;
pub mod proxy;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::PathAndQuery};
use serde_json::json;

use crate::lock::Standing;

/// What to do with a request now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It waits until more is known of the lock.
    Wait,
    /// It never will; why.
    Refuse(String),
}

/// May a request pass, with the lock as it stands?
pub fn verdict(standing: Standing, is_write: bool) -> Verdict {
    match standing {
        _ if !is_write => Verdict::Pass,
        Standing::Safe { .. } => Verdict::Pass,
        Standing::Doubtful => Verdict::Wait,
        Standing::Lost(why) => Verdict::Refuse(why),
    }
}

/// Does a request change anything? One that turns into a stream of its own, such as `exec`, may.
pub fn is_write(method: &Method, headers: &HeaderMap) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) || is_upgrade(headers)
}

/// Does it ask for another protocol on its connection?
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

/// The path and query for the API server; `None` for who does not know the fence's secret.
pub fn inside(uri: &Uri, secret: &str) -> Option<PathAndQuery> {
    let rest = uri.path_and_query()?.as_str().strip_prefix('/')?.strip_prefix(secret)?;
    match rest.as_bytes().first() {
        None => Some(PathAndQuery::from_static("/")),
        Some(b'/') => rest.parse().ok(),
        Some(b'?') => format!("/{rest}").parse().ok(),
        Some(_) => None,
    }
}

/// Whether a write is of a release record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfRecord {
    /// By its path.
    Yes,
    /// By its path.
    No,
    /// A create: the name is in the body.
    AskBody,
}

/// What all names of release records begin with.
const RECORD: &str = "sh.helm.release.v1.";

/// Looks at the path of a write.
pub fn of_record(method: &Method, path: &str) -> OfRecord {
    let mut parts = path.trim_start_matches('/').split('/');
    let home = [parts.next(), parts.next(), parts.next()];
    let (_namespace, kind, name) = (parts.next(), parts.next(), parts.next());
    if home != [Some("api"), Some("v1"), Some("namespaces")]
        || !matches!(kind, Some("secrets" | "configmaps"))
        || parts.next().is_some()
    {
        return OfRecord::No;
    }
    match name {
        Some(name) if name.starts_with(RECORD) => OfRecord::Yes,
        None if method == Method::POST => OfRecord::AskBody,
        _ => OfRecord::No,
    }
}

/// How much of a body is enough to know its object's name: Helm's client writes the metadata first.
pub const ENOUGH: usize = 4 << 10;

/// Looks at the beginning of a create's body, JSON or, as Helm's client sends it, Kubernetes' protobuf. In JSON, a name in
/// a text of the object would have its quotes escaped.
pub fn creates_record(beginning: &[u8]) -> bool {
    if let Some(object) = protobuf(beginning) {
        let name = field(object, 1).and_then(|metadata| field(metadata, 1));
        return name.is_some_and(|name| name.starts_with(RECORD.as_bytes()));
    }
    let wanted = format!("\"name\":\"{RECORD}");
    beginning.windows(wanted.len()).any(|window| window == wanted.as_bytes())
}

/// What a `Status` says, in either form; empty if it is none. Untrusted text.
pub fn message(body: &[u8]) -> String {
    if let Some(status) = protobuf(body) {
        return String::from_utf8_lossy(field(status, 3).unwrap_or_default()).into_owned();
    }
    let status: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    status["message"].as_str().unwrap_or_default().to_owned()
}

/// The object in Kubernetes' envelope: four bytes, and a message of which the second field is the object.
fn protobuf(body: &[u8]) -> Option<&[u8]> {
    field(body.strip_prefix(b"k8s\0")?, 2)
}

/// The first field of this number of a message, if it is a text or a message; cut off where `message` is.
fn field(mut message: &[u8], number: u64) -> Option<&[u8]> {
    loop {
        let (key, rest) = varint(message)?;
        let (length, rest) = varint(rest)?;
        message = match key & 7 {
            0 => rest,
            2 => {
                let length = usize::try_from(length).ok()?;
                if key >> 3 == number {
                    return Some(&rest[..length.min(rest.len())]);
                }
                rest.get(length..)?
            }
            _ => return None,
        };
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

/// The same with this field manager and no other.
pub fn with_field_manager(path: &PathAndQuery, manager: &str) -> Option<PathAndQuery> {
    let others = path.query().unwrap_or_default().split('&');
    let others = others.filter(|pair| !pair.is_empty() && !pair.starts_with("fieldManager="));
    let pairs: Vec<&str> = others.collect();
    let sign = if pairs.is_empty() { "" } else { "&" };
    format!("{}?{}{sign}fieldManager={manager}", path.path(), pairs.join("&")).parse().ok()
}

/// Headers that are about one connection and not about what goes over it.
const OF_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Takes out what belongs to one connection, except from a request for another protocol, or from its answer.
pub fn forget_connection(headers: &mut HeaderMap) {
    if is_upgrade(headers) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(',').filter_map(|name| name.trim().parse().ok()))
        .collect();
    for name in named.iter().chain(&OF_CONNECTION) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

/// Makes a request's headers those of a request to the API server. Helm's product stays first: without a field manager
/// the API server takes it for one.
pub fn rewrite(headers: &mut HeaderMap, lock_id: &str) {
    forget_connection(headers);
    headers.remove(header::HOST);
    // The fence has credentials; Helm was given none.
    headers.remove(header::AUTHORIZATION);
    let theirs = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let all = format!("{theirs} helm-guard/{} lock/{lock_id}", env!("CARGO_PKG_VERSION"));
    if let Ok(value) = HeaderValue::from_str(all.trim_start()) {
        headers.insert(header::USER_AGENT, value);
    }
}

/// Makes a write of this program's own to a release record one like Helm's: with the lock's ID as field manager, and in
/// the audit log.
pub fn mark(uri: &mut Uri, headers: &mut HeaderMap, lock_id: &str) {
    let marked = uri.path_and_query().and_then(|path| with_field_manager(path, lock_id));
    if let Some(marked) = marked {
        *uri = Uri::from(marked);
    }
    let own = format!("helm-guard/{} lock/{lock_id}", env!("CARGO_PKG_VERSION"));
    if let Ok(own) = HeaderValue::from_str(&own) {
        headers.insert(header::USER_AGENT, own);
    }
}

/// An answer in the API server's own form, so that Helm prints its message.
pub fn status(code: u16, message: &str) -> String {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    status.to_string()
}

/// Why a request is refused.
pub fn refusal(why: &str) -> String {
    format!("helm-guard: the lock is lost, nothing more is written: {why}")
}

/// Why a write under way was given up. What the API server had of it by then it may have done.
pub fn given_up(standing: Standing) -> String {
    let why = match standing {
        Standing::Lost(why) => why,
        Standing::Doubtful | Standing::Safe { .. } => "it was not renewed in time".to_owned(),
    };
    format!("helm-guard: the lock was lost during this write, which may or may not be done: {why}")
}

/// Helm's flags that choose cluster, user and TLS. This program's client heeds them, and Helm, behind the fence, must not.
pub const FLAGS: [&str; 9] = [
    "kubeconfig",
    "kube-context",
    "kube-apiserver",
    "kube-token",
    "kube-as-user",
    "kube-as-group",
    "kube-ca-file",
    "kube-insecure-skip-tls-verify",
    "kube-tls-server-name",
];

/// The variables that say the same.
pub const VARIABLES: [&str; 8] = [
    "HELM_KUBECONTEXT",
    "HELM_KUBEAPISERVER",
    "HELM_KUBETOKEN",
    "HELM_KUBEASUSER",
    "HELM_KUBEASGROUPS",
    "HELM_KUBECAFILE",
    "HELM_KUBEINSECURE_SKIP_TLS_VERIFY",
    "HELM_KUBETLS_SERVER_NAME",
];

/// The kubeconfig for Helm: the context keeps its name and namespace, and no credential is in it.
pub fn kubeconfig(server: &str, context: &str, namespace: &str, disable_compression: bool) -> String {
    let mut cluster = json!({"server": server});
    if disable_compression {
        cluster["disable-compression"] = true.into();
    }
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": context,
        "clusters": [{"name": "helm-guard", "cluster": cluster}],
        "users": [{"name": "helm-guard", "user": {}}],
        "contexts": [{
            "name": context,
            "context": {"cluster": "helm-guard", "user": "helm-guard", "namespace": namespace},
        }],
    });
    config.to_string()
}

/// The folder in which Helm's client keeps what it knows of a server: the address, with underscores for what is odd in it.
pub fn cache_folder(server: &str) -> String {
    let address = server.split_once("://").map_or(server, |(_, address)| address);
    let odd = |letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '_' | '.');
    address.replace(odd, "_")
}

#[cfg(test)]
mod tests {
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
    fn a_write_of_a_record_is_known_by_its_name_alone() {
        for (method, path, wanted) in [
            (Method::PUT, "/api/v1/namespaces/shop/secrets/sh.helm.release.v1.web.v3", OfRecord::Yes),
            (Method::DELETE, "/api/v1/namespaces/shop/configmaps/sh.helm.release.v1.web.v3", OfRecord::Yes),
            (Method::POST, "/api/v1/namespaces/shop/secrets", OfRecord::AskBody),
            (Method::POST, "/api/v1/namespaces/shop/configmaps", OfRecord::AskBody),
            (Method::DELETE, "/api/v1/namespaces/shop/secrets", OfRecord::No),
            (Method::PATCH, "/api/v1/namespaces/shop/secrets/password", OfRecord::No),
            (Method::POST, "/api/v1/namespaces/shop/services", OfRecord::No),
            (Method::POST, "/apis/apps/v1/namespaces/shop/deployments", OfRecord::No),
            (Method::PUT, "/api/v1/namespaces/shop/secrets/sh.helm.release.v1.web.v3/status", OfRecord::No),
            (Method::PATCH, "/api/v1/namespaces/sh.helm.release.v1.web.v3", OfRecord::No),
        ] {
            assert_eq!(of_record(&method, path), wanted, "{method} {path}");
        }
        assert!(creates_record(
            br#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"sh.helm.release.v1.web.v1","lab"#
        ));
        assert!(!creates_record(br#"{"metadata":{"name":"password"},"data":{"a":"aHJ="}}"#));
        assert!(!creates_record(br#"{"data":{"a":"{\"name\":\"sh.helm.release.v1.web.v1\"}"}}"#));
    }

    /// As Helm's client sends it.
    #[test]
    fn protobuf_is_looked_into() {
        let secret = |name: &str, data: &str| {
            let name = [&[10, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
            let metadata = [&[10, u8::try_from(name.len()).unwrap()], &name[..]].concat();
            // The object is longer than what has been read of it.
            [b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\xf1\x03", &metadata[..], data.as_bytes()].concat()
        };
        assert!(creates_record(&secret("sh.helm.release.v1.web.v1", "")));
        assert!(!creates_record(&secret("password", "sh.helm.release.v1.web.v1")));
        assert!(!creates_record(b"k8s\0"));
        let status =
            b"k8s\0\n\x0c\n\x02v1\x12\x06Status\x12\x18\n\0\x12\x07Failure\x1a\x03bad\x22\x04none0\xf7\x03";
        assert_eq!(message(status), "bad");
        assert_eq!(message(super::status(403, "no").as_bytes()), "no");
        assert_eq!(message(b"<html>"), "");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_odd_to_look_into(body: Vec<u8>) {
            let body = [b"k8s\0", &body[..]].concat();
            creates_record(&body);
            message(&body);
        }
    }

    #[test]
    fn the_field_manager_is_ours_and_other_parameters_stay() {
        for (path, wanted) in [
            ("/a", "/a?fieldManager=0a1b"),
            ("/a?", "/a?fieldManager=0a1b"),
            ("/a?dryRun=All", "/a?dryRun=All&fieldManager=0a1b"),
            ("/a?fieldManager=helm&x=%20", "/a?x=%20&fieldManager=0a1b"),
        ] {
            let path = PathAndQuery::from_static(path);
            assert_eq!(with_field_manager(&path, "0a1b").unwrap().as_str(), wanted);
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
}
