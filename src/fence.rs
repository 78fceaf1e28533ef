//! The fence between Helm and the API server: whether a request may pass, and what is changed in it.
//! Pure: `fence/server.rs` receives requests, `fence/proxy.rs` passes them on, and `fence/kubeconfig_dir.rs` writes files.
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

pub mod absent;
pub mod admission;
pub mod answers;
pub mod body;
pub mod kubeconfig_dir;
pub mod namespace;
pub mod openapi_cache;
pub mod pauses;
pub mod present;
pub mod proxy;
pub mod record;
pub mod repeated;
pub mod server;
pub mod write_log;

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

/// Does an answer go on for as long as something happens, as those of watches and logs do, or leave HTTP?
pub fn lasts(uri: &Uri, headers: &HeaderMap) -> bool {
    let is_on = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        matches!(name, "watch" | "follow") && !matches!(value, "false" | "0")
    };
    is_upgrade(headers) || uri.query().is_some_and(|query| query.split('&').any(is_on))
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

/// A description of a part of the API, addressed by its own hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Path and query, such as `/openapi/v3/apis/apps/v1?hash=5AF8…`: letters, digits and `/?&=._-` alone.
    pub target: String,
}

/// The description that a request asks for, if it is one that never changes: an OpenAPI document with its hash, in
/// hexadecimal.
pub fn description(method: &Method, inside: &PathAndQuery) -> Option<Description> {
    let plain = |letter: u8| letter.is_ascii_alphanumeric() || b"/?&=._-".contains(&letter);
    let query = inside.query().unwrap_or_default();
    let mut hashes = query.split('&').filter_map(|pair| pair.strip_prefix("hash="));
    let hash = hashes.next()?;
    (method == Method::GET
        && inside.path().starts_with("/openapi/v3/")
        && inside.as_str().bytes().all(plain)
        && hash.len() >= 32
        && hash.bytes().all(|letter| letter.is_ascii_hexdigit())
        && hashes.next().is_none())
    .then(|| Description { target: inside.as_str().to_owned() })
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

/// The version by which Helm introduces itself: its client says `Helm/3.22.0`. Untrusted text, but for its characters.
pub fn helm_version(headers: &HeaderMap) -> Option<String> {
    let product = headers.get(header::USER_AGENT)?.to_str().ok()?.split_ascii_whitespace().next()?;
    let number = product.strip_prefix("Helm/")?;
    let is_number = number.len() <= 40 && number.starts_with(|letter: char| letter.is_ascii_digit());
    (is_number && number.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-+".contains(letter)))
        .then(|| format!("v{number}"))
}

/// Makes a write of this program's own to a release record one like Helm's: with the lock's ID as field manager, and in
/// the audit log.
pub fn mark(uri: &mut Uri, headers: &mut HeaderMap, lock_id: &str) {
    let marked = uri.path_and_query().and_then(|path| record::with_field_manager(path, lock_id));
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

/// The answer to a delete that is done.
pub fn success() -> String {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}).to_string()
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
mod tests;
