//! How the cluster is reached: a kubeconfig, Helm's flags and the place where this runs become one [`Access`], by the rules
//! of client-go (`DirectClientConfig`, `DeferredLoadingClientConfig`, `InClusterConfig`) and of Helm's overrides.
//! Pure: what must be asked of the machine is asked through [`Machine`].

use std::path::{Path, PathBuf};

use super::{
    go_url::{GoUrl, NoUrl},
    kubeconfig::{AuthProvider, Cluster, Context, Exec, Impersonate, Kubeconfig, User},
};

/// The server where nothing names one.
pub const DEFAULT_SERVER: &str = "http://localhost:8080";

/// What Helm's flags and variables say beside the kubeconfig. Empty is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--kube-context`.
    pub context: String,
    /// `--namespace`.
    pub namespace: String,
    /// `--kube-apiserver`.
    pub server: String,
    /// `--kube-token`.
    pub token: String,
    /// `--kube-ca-file`.
    pub ca_file: PathBuf,
    /// `--kube-as-user`.
    pub as_user: String,
    /// `--kube-as-group`.
    pub as_groups: Vec<String>,
    /// `--kube-insecure-skip-tls-verify`.
    pub insecure: bool,
    /// `--kube-tls-server-name`.
    pub tls_server_name: String,
    /// `KUBERNETES_MASTER`: the server where nothing else names one.
    pub default_server: String,
}

/// What is known of a pod that this may run in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`.
    pub service: (String, String),
    /// The service account's token, and its file.
    pub token: String,
    /// Where the token is.
    pub token_file: PathBuf,
    /// The cluster's certificates, if the file has some.
    pub ca_file: Option<PathBuf>,
    /// The pod's namespace.
    pub namespace: String,
}

/// What only the machine knows.
pub trait Machine {
    /// Why a file cannot be opened.
    fn cannot_open(&self, path: &Path) -> Option<String>;
    /// The content of a file that has a token.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn token(&self, path: &Path) -> Result<String, String>;
}

/// How the cluster is reached, and as whom: client-go's `rest.Config`. Empty is absent.
#[derive(Clone, Default, PartialEq)]
pub struct Access {
    /// The server as it is written: a URL, or host and port.
    pub host: String,
    /// The proxy that the kubeconfig names.
    pub proxy: Option<GoUrl>,
    /// `disable-compression`.
    pub disable_compression: bool,
    /// Whose rights requests have.
    pub impersonate: Impersonate,
    /// A bearer token.
    pub token: String,
    /// A file with a newer one.
    pub token_file: PathBuf,
    /// `username`.
    pub username: String,
    /// `password`.
    pub password: String,
    /// Client certificate.
    pub cert_file: PathBuf,
    /// The same as PEM.
    pub cert_data: Vec<u8>,
    /// Its key.
    pub key_file: PathBuf,
    /// The same as PEM.
    pub key_data: Vec<u8>,
    /// `auth-provider`.
    pub auth_provider: Option<AuthProvider>,
    /// A program that logs in, and what it is told of the cluster.
    pub exec: Option<Exec>,
    /// What the kubeconfig has for that program.
    pub exec_config: Option<serde_json::Value>,
    /// The server's authorities.
    pub ca_file: PathBuf,
    /// The same as PEM.
    pub ca_data: Vec<u8>,
    /// The server may show any certificate.
    pub insecure: bool,
    /// The name that its certificate must have, if not its host's.
    pub server_name: String,
}

/// What [`resolve`] finds.
#[derive(Clone, PartialEq)]
pub struct Resolved {
    /// How the cluster is reached.
    pub access: Access,
    /// Namespace of the release.
    pub namespace: String,
    /// Name of the context; `in-cluster` for a pod's own.
    pub context: String,
    /// The context's own namespace, whatever the release's is.
    pub context_namespace: String,
}

/// Why there is no way to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// `--kube-context` names none.
    #[error("context {0:?} does not exist")]
    NoContext(String),
    /// Fields contradict each other, or lack something.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// Resolves how the cluster is reached.
///
/// # Errors
/// When client-go refuses too.
pub fn resolve(
    kubeconfig: &Kubeconfig,
    overrides: &Overrides,
    pod: Option<&Pod>,
    machine: &dyn Machine,
) -> Result<Resolved, Unusable> {
    let access = direct(kubeconfig, overrides, machine)?;
    let name = if overrides.context.is_empty() { &kubeconfig.current_context } else { &overrides.context };
    let context = kubeconfig.contexts.get(name);
    let explicit = context.map(|context| context.namespace.clone()).filter(|name| !name.is_empty());
    let fallback = || pod.map_or_else(|| "default".to_owned(), |pod| pod.namespace.clone());
    // Also where the cluster is not the pod's: client-go asks the pod for every namespace that is not written down.
    let context_namespace = explicit.unwrap_or_else(fallback);
    let namespace = Some(&overrides.namespace).filter(|name| !name.is_empty()).unwrap_or(&context_namespace);
    let is_default = || {
        let only_default =
            Overrides { default_server: overrides.default_server.clone(), ..Overrides::default() };
        direct(&Kubeconfig::default(), &only_default, machine).is_ok_and(|default| default == access)
    };
    let (access, is_in_pod) = match pod {
        Some(pod) if is_default() => (in_pod(pod, overrides), true),
        _ => (access, false),
    };
    Ok(Resolved {
        namespace: namespace.clone(),
        context: if is_in_pod || name.is_empty() { "in-cluster".to_owned() } else { name.clone() },
        context_namespace,
        access,
    })
}

fn in_pod(pod: &Pod, overrides: &Overrides) -> Access {
    let (host, port) = &pod.service;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let mut access = Access {
        host: format!("https://{host}:{port}"),
        token: pod.token.clone(),
        token_file: pod.token_file.clone(),
        ca_file: pod.ca_file.clone().unwrap_or_default(),
        ..Access::default()
    };
    // Only these are heeded here.
    if !overrides.server.is_empty() {
        access.host.clone_from(&overrides.server);
    }
    if !overrides.token.is_empty() {
        (access.token, access.token_file) = (overrides.token.clone(), PathBuf::new());
    }
    if !overrides.ca_file.as_os_str().is_empty() {
        access.ca_file.clone_from(&overrides.ca_file);
    }
    access
}

fn direct(kubeconfig: &Kubeconfig, overrides: &Overrides, machine: &dyn Machine) -> Result<Access, Unusable> {
    let name = if overrides.context.is_empty() { &kubeconfig.current_context } else { &overrides.context };
    let found = kubeconfig.contexts.get(name);
    if found.is_none() && !overrides.context.is_empty() {
        return Err(Unusable::NoContext(name.clone()));
    }
    let context = found.cloned().unwrap_or_default();
    let user = user(kubeconfig, &context, overrides);
    let cluster = cluster(kubeconfig, &context, overrides);
    let mut wrong = Vec::new();
    if found.is_none() && !name.is_empty() {
        wrong.push(format!("current-context names {name:?}, and there is no such context"));
    }
    check_user(&context.user, &user, machine, &mut wrong);
    check_cluster(&context.cluster, &cluster, machine, &mut wrong);
    if !wrong.is_empty() {
        return Err(Unusable::Invalid(wrong));
    }
    let mut access = Access {
        host: host(&cluster.server),
        // Checked above.
        proxy: proxy(&cluster.proxy_url).unwrap_or_default(),
        disable_compression: cluster.disable_compression,
        ..Access::default()
    };
    if !user.impersonate.user.is_empty() {
        access.impersonate = user.impersonate.clone();
    }
    // Nothing secret is sent, or even read, without TLS.
    if base_url(&access.host, false).is_ok_and(|url| url.scheme == "https") {
        identify(&mut access, user, cluster, machine)?;
    }
    Ok(access)
}

fn user(kubeconfig: &Kubeconfig, context: &Context, overrides: &Overrides) -> User {
    let mut user = kubeconfig.users.get(&context.user).cloned().unwrap_or_default();
    let set = |field: &mut String, value: &String| {
        if !value.is_empty() {
            field.clone_from(value);
        }
    };
    // The file stays, and its token is the newer one, as in client-go.
    set(&mut user.token, &overrides.token);
    set(&mut user.impersonate.user, &overrides.as_user);
    if !overrides.as_groups.is_empty() {
        user.impersonate.groups.clone_from(&overrides.as_groups);
    }
    user
}

fn cluster(kubeconfig: &Kubeconfig, context: &Context, overrides: &Overrides) -> Cluster {
    let mut cluster = kubeconfig.clusters.get(&context.cluster).cloned().unwrap_or_default();
    if cluster.server.is_empty() {
        cluster.server = match &*overrides.default_server {
            "" => DEFAULT_SERVER.to_owned(),
            server => server.to_owned(),
        };
    }
    if !overrides.server.is_empty() {
        cluster.server.clone_from(&overrides.server);
    }
    let has_ca = !overrides.ca_file.as_os_str().is_empty();
    if overrides.insecure || has_ca {
        cluster.insecure = overrides.insecure;
        cluster.ca_file.clone_from(&overrides.ca_file);
        cluster.ca_data.clear();
    }
    // Another server has another name.
    if !overrides.tls_server_name.is_empty() || !overrides.server.is_empty() {
        cluster.tls_server_name.clone_from(&overrides.tls_server_name);
    }
    cluster
}

/// The server, without the query of a URL with a path.
fn host(server: &str) -> String {
    match GoUrl::parse_request(server) {
        Ok(url) if url.opaque.is_empty() && url.path.len() > 1 => url.text().replace('#', "%23"),
        _ => server.to_owned(),
    }
}

fn proxy(text: &str) -> Result<Option<GoUrl>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    match GoUrl::parse(text) {
        Ok(url) if matches!(&*url.scheme, "http" | "https" | "socks5") => Ok(Some(url)),
        Ok(_) => Err("its scheme is not http, https or socks5"),
        Err(_) => Err("it is not a URL"),
    }
}

fn identify(
    access: &mut Access,
    user: User,
    cluster: Cluster,
    machine: &dyn Machine,
) -> Result<(), Unusable> {
    if !user.token.is_empty() {
        (access.token, access.token_file) = (user.token, user.token_file);
    } else if !user.token_file.as_os_str().is_empty() {
        let read = machine.token(&user.token_file);
        access.token = read.map_err(|why| Unusable::Invalid(vec![format!("tokenFile: {why}")]))?;
        access.token_file = user.token_file;
    }
    if !user.cert_file.as_os_str().is_empty() || !user.cert_data.is_empty() {
        (access.cert_file, access.cert_data) = (user.cert_file, user.cert_data);
        (access.key_file, access.key_data) = (user.key_file, user.key_data);
    }
    (access.username, access.password) = (user.username, user.password);
    access.auth_provider = user.auth_provider;
    access.exec_config = user.exec.as_ref().and(cluster.exec_config);
    access.exec = user.exec;
    (access.ca_file, access.ca_data) = (cluster.ca_file, cluster.ca_data);
    (access.insecure, access.server_name) = (cluster.insecure, cluster.tls_server_name);
    Ok(())
}

fn check_cluster(name: &str, cluster: &Cluster, machine: &dyn Machine, wrong: &mut Vec<String>) {
    // A proxy's address may have a password.
    if let Err(why) = proxy(&cluster.proxy_url) {
        wrong.push(format!("proxy-url of cluster {name:?}: {why}"));
    }
    if cluster.ca_file.as_os_str().is_empty() {
        return;
    }
    if !cluster.ca_data.is_empty() {
        wrong.push(format!("cluster {name:?} has both certificate-authority-data and certificate-authority"));
    }
    if let Some(why) = machine.cannot_open(&cluster.ca_file) {
        wrong.push(format!("certificate-authority {}: {why}", cluster.ca_file.display()));
    }
}

fn check_user(name: &str, user: &User, machine: &dyn Machine, wrong: &mut Vec<String>) {
    let is_empty = |path: &Path| path.as_os_str().is_empty();
    let mut say = |what: String| wrong.push(format!("user {name:?}{what}"));
    if !is_empty(&user.cert_file) || !user.cert_data.is_empty() {
        if !is_empty(&user.cert_file) && !user.cert_data.is_empty() {
            say(" has both client-certificate-data and client-certificate".into());
        }
        match (is_empty(&user.key_file), user.key_data.is_empty()) {
            (false, false) => say(" has both client-key-data and client-key".into()),
            (true, true) => say(" has a client certificate and no client-key or client-key-data".into()),
            _ => {}
        }
        for (field, file) in [("client-certificate", &user.cert_file), ("client-key", &user.key_file)] {
            if let Some(why) =
                Some(file).filter(|file| !is_empty(file)).and_then(|file| machine.cannot_open(file))
            {
                say(format!(": {field} {}: {why}", file.display()));
            }
        }
    }
    if let Some(exec) = &user.exec {
        let without = [
            ("command", &exec.command),
            ("apiVersion", &exec.api_version),
            ("interactiveMode", &exec.interactive_mode),
        ];
        if user.auth_provider.is_some() {
            say(" has both auth-provider and exec".into());
        }
        for (field, _) in without.iter().filter(|(_, value)| value.is_empty()) {
            say(format!(": exec has no {field}"));
        }
        if exec.env.iter().any(|(name, _)| name.is_empty()) {
            say(": exec has a variable without a name".into());
        }
        if !matches!(&*exec.interactive_mode, "" | "Never" | "IfAvailable" | "Always") {
            say(": interactiveMode is not Never, IfAvailable or Always".into());
        }
    }
    let has_basic = !user.username.is_empty() || !user.password.is_empty();
    if !user.token.is_empty() && has_basic {
        say(" has both a token and a name or password".into());
    }
    let impersonate = &user.impersonate;
    let has_more =
        !(impersonate.uid.is_empty() && impersonate.groups.is_empty() && impersonate.extra.is_empty());
    if has_more && impersonate.user.is_empty() {
        say(": groups, uid or extra to act with, and no user to act as".into());
    }
}

/// The address of the API server. `is_tls`: one without a scheme is `https`.
///
/// # Errors
/// When it is no address.
pub fn base_url(host: &str, is_tls: bool) -> Result<GoUrl, NoUrl> {
    let host = if host.is_empty() { "localhost" } else { host };
    match GoUrl::parse(host) {
        Ok(url) if !url.scheme.is_empty() && !url.host.is_empty() => Ok(url),
        _ => {
            let url = GoUrl::parse(&format!("{}://{host}", if is_tls { "https" } else { "http" }))?;
            if matches!(&*url.path, "" | "/") { Ok(url) } else { Err(NoUrl) }
        }
    }
}

impl Access {
    /// The address of the API server.
    ///
    /// # Errors
    /// When it is no address.
    pub fn url(&self) -> Result<GoUrl, NoUrl> {
        let has_cert = !self.cert_file.as_os_str().is_empty() || !self.cert_data.is_empty();
        base_url(&self.host, self.has_ca() || has_cert || self.insecure)
    }

    /// Authorities of its own, instead of those of the system.
    pub fn has_ca(&self) -> bool {
        !self.ca_file.as_os_str().is_empty() || !self.ca_data.is_empty()
    }

    /// A client certificate with its key.
    pub fn has_cert(&self) -> bool {
        (!self.cert_file.as_os_str().is_empty() || !self.cert_data.is_empty())
            && (!self.key_file.as_os_str().is_empty() || !self.key_data.is_empty())
    }

    /// A bearer token.
    pub fn has_token(&self) -> bool {
        !self.token.is_empty() || !self.token_file.as_os_str().is_empty()
    }

    /// A login program that is used: every other way to log in goes before it.
    pub fn login(&self) -> Option<&Exec> {
        self.exec.as_ref().filter(|_| !self.has_token() && self.username.is_empty() && !self.has_cert())
    }

    /// Is TLS set up by client-go itself? Else Go's own client is used as it is.
    pub fn has_own_tls(&self) -> bool {
        self.has_ca()
            || self.has_cert()
            || self.login().is_some()
            || self.insecure
            || !self.server_name.is_empty()
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
