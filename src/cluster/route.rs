//! All that is needed to send requests to an API server, before anything is sent: address, proxy, TLS, who asks.

use std::sync::Arc;

use super::{
    access::Access, credentials::Credentials, exec_plugin::Login, go_url::GoUrl, http_proxy::Proxies,
    proxied::Base, tls_client,
};

/// The way to one API server.
pub struct Route {
    /// What comes before the path of every request.
    pub base: Base,
    /// The proxy before it.
    pub proxy: Option<GoUrl>,
    /// TLS, to the API server and to a proxy.
    pub tls: rustls::ClientConfig,
    /// Who asks.
    pub credentials: Credentials,
    /// The program that logs in.
    pub login: Option<Arc<Login>>,
}

impl Route {
    /// Reads certificates; connects to nothing, and runs nothing.
    ///
    /// # Errors
    /// When the address, certificates, credentials or the proxy cannot be used.
    pub fn new(access: &Access, proxies: &Proxies) -> anyhow::Result<Self> {
        let url = access.url().map_err(|_| anyhow::anyhow!("the API server's address is no URL"))?;
        let is_web = matches!(&*url.scheme, "http" | "https");
        anyhow::ensure!(is_web, "the API server's address is neither http nor https");
        let login = Login::new(access)?;
        let credentials = Credentials::new(access, &url, login.clone())?;
        let proxy = match &access.proxy {
            Some(proxy) => Some(proxy.clone()),
            None => proxies.to(&url, access.has_own_tls())?,
        };
        let tls = tls_client::config(access, login.clone())?;
        Ok(Self { base: Base::new(&url)?, proxy, tls, credentials, login })
    }
}
