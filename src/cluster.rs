//! The cluster: the client to it, and what stages read from it.
//! Decides nothing; records and the Lease have edges of their own.

pub mod access;
pub mod api_paths;
pub mod client_certificate;
pub mod crds;
pub mod credentials;
pub mod exec_plugin;
pub mod gate;
pub mod go_url;
pub mod http_proxy;
pub mod kubeconfig;
pub mod kubeconfig_files;
pub mod lives;
pub mod pem;
pub mod proxied;
pub(crate) mod raw_request;
pub mod retry;
pub mod route;
pub mod tls_client;
pub mod tls_trust;
pub mod transport;
pub mod x509;
pub mod x509_names;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use futures::{StreamExt, TryStreamExt, future, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DynamicObject, ObjectMeta, PostParams},
    core::GroupVersionKind,
    discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind},
};

use serde::{Deserialize, Serialize};

use crate::manifest::ObjectKey;

/// Field manager of a namespace that this program made and Helm has not created yet.
const MAKER: &str = "helm-guard";
use go_url::GoUrl;
use http_proxy::Proxies;
use transport::Wire;

/// Requests at once when many objects are asked about.
pub(crate) const AT_ONCE: usize = 8;

/// Which cluster and who there: Helm's flags and variables, already merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `--kubeconfig`, `KUBECONFIG`: files, merged in order. None is the one in the home directory, then in-cluster.
    pub kubeconfig: Vec<PathBuf>,
    /// A flag names the file, so it must be there.
    #[serde(default)]
    pub is_explicit: bool,
    /// `--kube-context`.
    pub context: Option<String>,
    /// `--kube-apiserver`.
    pub server: Option<String>,
    /// `--kube-token`.
    pub token: Option<String>,
    /// `--kube-ca-file`.
    pub ca_file: Option<PathBuf>,
    /// `--kube-as-user`.
    pub as_user: Option<String>,
    /// `--kube-as-group`.
    pub as_groups: Vec<String>,
    /// `--kube-insecure-skip-tls-verify`.
    pub insecure: bool,
    /// `--kube-tls-server-name`.
    pub tls_server_name: Option<String>,
    /// `--namespace`.
    pub namespace: Option<String>,
    /// Proxies, where the kubeconfig names none.
    #[serde(default)]
    pub proxies: Proxies,
    /// Where this runs.
    #[serde(default)]
    pub place: Place,
}

/// What the environment says of the place where this runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `KUBERNETES_MASTER`, the server where nothing else names one.
    pub default_server: String,
    /// `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`: this is a pod.
    pub service: Option<(String, String)>,
    /// `POD_NAMESPACE`.
    pub pod_namespace: String,
}

impl Place {
    /// By the environment.
    pub fn of(env: &crate::env::Env) -> Self {
        let get = |name: &str| env.get(name).cloned().unwrap_or_default();
        let service = (get("KUBERNETES_SERVICE_HOST"), get("KUBERNETES_SERVICE_PORT"));
        Self {
            // Without a home the file is looked for here.
            home: Some(PathBuf::from(get("HOME"))),
            default_server: get("KUBERNETES_MASTER"),
            service: Some(service).filter(|(host, port)| !host.is_empty() && !port.is_empty()),
            pod_namespace: get("POD_NAMESPACE"),
        }
    }
}

impl Target {
    /// The same for a process in another directory.
    pub fn absolute(&self) -> Self {
        let absolute = |path: &PathBuf| absolute(path);
        Self {
            kubeconfig: self.kubeconfig.iter().map(absolute).collect(),
            ca_file: self.ca_file.as_ref().map(absolute),
            place: Place { home: self.place.home.as_ref().map(absolute), ..self.place.clone() },
            ..self.clone()
        }
    }
}

/// The path as it is from anywhere; as it stands if this process's directory is gone.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The cluster, reached as Helm would reach it.
#[derive(Clone)]
pub struct Cluster {
    /// For edges that need more than this file offers.
    pub client: Client,
    /// Namespace of the release.
    pub namespace: String,
    /// `https://host:port` of the API server, for errors.
    pub server: String,
    /// The context as it is for those who come after us.
    pub context: Context,
    /// For requests that are not this program's own.
    pub wire: Wire,
}

/// What a kubeconfig's context says besides where the cluster is and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// Its namespace, whatever the release's is.
    pub namespace: String,
    /// `disable-compression` of its cluster.
    pub disable_compression: bool,
}

impl Cluster {
    /// Reads the configuration and builds the client; nothing is sent yet.
    ///
    /// # Errors
    /// When there is no configuration, or it cannot be used.
    pub async fn connect(target: &Target) -> anyhow::Result<Self> {
        let found = kubeconfig_files::resolved(target).context("kubeconfig")?;
        let wire = Wire::new(&found.access, &target.proxies, Vec::new()).context("kubeconfig")?;
        wire.log_in().await?;
        // No user and password, which may be in it.
        let server = found.access.url().map(|url| GoUrl { user: None, ..url }.text()).unwrap_or_default();
        let context = Context {
            name: found.context,
            namespace: found.context_namespace.clone(),
            disable_compression: found.access.disable_compression,
        };
        let client = wire.client(found.context_namespace);
        let server = server.trim_end_matches('/').to_owned();
        Ok(Self { client, namespace: found.namespace, server, context, wire })
    }

    /// A client for what is followed: whose answers begin when there is something to say.
    pub fn patient(&self) -> Client {
        self.wire.patient_client(self.namespace.clone())
    }

    /// A client for the lock, whose requests share no connection with others: what makes those wait must not cost it.
    pub fn lock_client(&self) -> Client {
        self.wire.lock_client(self.namespace.clone())
    }

    /// Opens the connection that requests share, while something else is waited for: the first of them finds it.
    pub fn warm(&self) {
        let client = self.client.clone();
        tokio::spawn(async move {
            // What anybody may ask, and costs the API server nothing. If it fails, the first request tells why.
            if let Ok(version) = http::Request::get("/version").body(Vec::new()) {
                let _ = client.request_text(version).await;
            }
        });
    }

    /// Creates the release's namespace for what is in it before Helm comes; one that is there is fine. `bare`: Helm will put
    /// into it what `helm --create-namespace` does; else that is in it at once.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn ensure_namespace(&self, bare: bool) -> Result<(), kube::Error> {
        let labels = BTreeMap::from([("name".to_owned(), self.namespace.clone())]);
        let metadata = ObjectMeta {
            name: Some(self.namespace.clone()),
            labels: Some(labels).filter(|_| !bare),
            ..ObjectMeta::default()
        };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let manager = if bare { MAKER } else { "helm" };
        let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
        match Api::all(self.client.clone()).create(&params, &namespace).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            // No right to create namespaces, but this one may be there: what follows will tell.
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Is the namespace one that this program made, and that Helm, or anybody, has put nothing into since?
    pub async fn is_namespace_bare(&self) -> bool {
        let namespace = Api::<Namespace>::all(self.client.clone()).get(&self.namespace).await;
        let managers = namespace.ok().and_then(|namespace| namespace.metadata.managed_fields);
        managers.is_some_and(|managers| {
            !managers.is_empty() && managers.iter().all(|one| one.manager.as_deref() == Some(MAKER))
        })
    }

    /// Which of these objects live and carry Helm's mark of belonging to the release.
    ///
    /// # Errors
    /// When the API server cannot be asked. A kind it does not know means that no object of it lives.
    pub async fn owned(
        &self,
        keys: &[ObjectKey],
        release: &str,
        namespace: &str,
    ) -> Result<Vec<ObjectKey>, kube::Error> {
        let kinds: BTreeSet<(&str, &str)> =
            keys.iter().map(|key| (key.api_version.as_str(), key.kind.as_str())).collect();
        let resources: BTreeMap<_, _> = stream::iter(kinds)
            .map(|kind| async move { known_kind(&self.client, kind).await.map(|found| (kind, found)) })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let lives = stream::iter(keys).map(|key| {
            let found = resources.get(&(key.api_version.as_str(), key.kind.as_str()));
            async move {
                let Some(Some((resource, capabilities))) = found else { return Ok(None) };
                let api: Api<DynamicObject> = match capabilities.scope {
                    Scope::Cluster => Api::all_with(self.client.clone(), resource),
                    Scope::Namespaced => Api::namespaced_with(self.client.clone(), &key.namespace, resource),
                };
                let Some(meta) = api.get_metadata_opt(&key.name).await? else { return Ok(None) };
                let notes = meta.metadata.annotations.unwrap_or_default();
                let note = |name: &str| notes.get(name).map_or("", String::as_str);
                let ours = note("meta.helm.sh/release-name") == release
                    && note("meta.helm.sh/release-namespace") == namespace;
                Ok(ours.then(|| key.clone()))
            }
        });
        lives.buffered(AT_ONCE).try_filter_map(|key| future::ready(Ok(key))).try_collect().await
    }
}

/// What the API server calls a kind; `None` if it does not know it.
pub(crate) async fn known_kind(
    client: &Client,
    (api_version, kind): (&str, &str),
) -> Result<Option<(ApiResource, ApiCapabilities)>, kube::Error> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    match pinned_kind(client, &GroupVersionKind::gvk(group, version, kind)).await {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(kube::Error::Discovery(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Why a request came to nothing, for people: the API server's words, or why there are none. The layers of the client add
/// nothing to what the system says, and the answer as a structure says nothing at all.
pub(crate) fn describe_error(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        let words = [&status.message, &status.reason].into_iter().find(|words| !words.is_empty());
        return words.cloned().unwrap_or_else(|| format!("HTTP {} from the API server", status.code));
    }
    let cause = crate::cause::root(error);
    match error {
        kube::Error::Service(_) | kube::Error::HyperError(_) => {
            format!("the API server cannot be reached: {cause}")
        }
        _ => cause.to_string(),
    }
}

#[cfg(test)]
#[path = "cluster/mock_tests.rs"]
pub(crate) mod mock;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn why_a_request_came_to_nothing_is_told_without_the_layers_in_between() {
        let status = |message: &str, reason: &str| {
            let status = kube::core::Status { code: 401, ..kube::core::Status::default() };
            Box::new(kube::core::Status { message: message.into(), reason: reason.into(), ..status })
        };
        for (message, reason, wanted) in [
            ("token has expired", "Unauthorized", "token has expired"),
            ("", "Unauthorized", "Unauthorized"),
            ("", "", "HTTP 401 from the API server"),
        ] {
            assert_eq!(describe_error(&kube::Error::Api(status(message, reason))), wanted);
        }
        // Port 9 is for what is thrown away, and nobody listens.
        let nowhere = access::Access { host: "http://127.0.0.1:9".into(), ..access::Access::default() };
        let wire = Wire::new(&nowhere, &Proxies::default(), Vec::new()).unwrap();
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::all(wire.client("shop".into()));
        let why = describe_error(&pods.get("web").await.unwrap_err());
        assert_eq!(why, "the API server cannot be reached: Connection refused (os error 111)");
    }
}
