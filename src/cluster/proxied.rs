//! Addresses of API servers and proxies, as requests and connections need them.
//! Pure.

use anyhow::Context as _;
use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{credentials, go_url::GoUrl};

/// What comes before the path of every request.
#[derive(Clone)]
pub struct Base {
    scheme: Scheme,
    authority: Authority,
    /// Without a slash at its end.
    prefix: String,
}

impl Base {
    /// The API server's address.
    ///
    /// # Errors
    /// When no request can have it.
    pub fn new(url: &GoUrl) -> anyhow::Result<Self> {
        let is_tls = url.scheme == "https";
        anyhow::ensure!(!url.hostname().is_empty(), "the API server's address has no host");
        Ok(Self {
            scheme: if is_tls { Scheme::HTTPS } else { Scheme::HTTP },
            authority: url.host.parse().context("the API server's address")?,
            prefix: cleaned(&url.path),
        })
    }

    /// Is it reached by TLS?
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The whole address of a request.
    ///
    /// # Errors
    /// When that is none.
    pub fn with(&self, path: Option<&PathAndQuery>) -> Result<Uri, http::Error> {
        let path = format!("{}{}", self.prefix, path.map_or("/", PathAndQuery::as_str));
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
    }
}

/// A path without what leads nowhere, and without a slash at its end.
fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.iter().map(|part| format!("/{part}")).collect()
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP.
    Plain,
    /// HTTP over TLS.
    Tls,
    /// SOCKS 5, which looks up names itself.
    Socks,
}

/// A proxy.
#[derive(Clone)]
pub struct Proxy {
    /// Where it is.
    pub at: Uri,
    /// How it is spoken to.
    pub kind: Kind,
    /// Its user and password.
    pub user: Option<(String, Option<String>)>,
    /// The same as a header.
    pub auth: Option<HeaderValue>,
    /// It reads requests and passes them on, for a server without TLS; else it passes bytes.
    pub is_forwarding: bool,
}

impl Proxy {
    /// The proxy before a server.
    ///
    /// # Errors
    /// When its address is none.
    pub fn new(url: &GoUrl, is_server_tls: bool) -> anyhow::Result<Self> {
        let (kind, port) = match &*url.scheme {
            "https" => (Kind::Tls, "443"),
            "socks5" | "socks5h" => (Kind::Socks, "1080"),
            _ => (Kind::Plain, "80"),
        };
        let port = if url.port().is_empty() { port } else { url.port() };
        let host = url.hostname();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let scheme = match kind {
            Kind::Plain => "http",
            Kind::Tls => "https",
            Kind::Socks => "socks5",
        };
        let at = format!("{scheme}://{host}:{port}").parse().context("the proxy's address")?;
        let auth = credentials::for_proxy(url).context("the proxy's user")?;
        let is_forwarding = !is_server_tls && kind != Kind::Socks;
        Ok(Self { at, kind, user: url.user.clone(), auth, is_forwarding })
    }

    /// The header that each request to it has; a tunnel has it but once.
    pub fn in_request(&self) -> Option<HeaderValue> {
        self.auth.clone().filter(|_| self.is_forwarding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_below_the_server_s_path() {
        for (server, wanted) in [
            ("https://a:6443", "https://a:6443/version?x=1"),
            ("https://a/", "https://a/version?x=1"),
            ("https://a/k8s/clusters/c-1/", "https://a/k8s/clusters/c-1/version?x=1"),
            ("http://[::1]:8080//b/../c", "http://[::1]:8080/c/version?x=1"),
        ] {
            let base = Base::new(&GoUrl::parse(server).unwrap()).unwrap();
            let uri = base.with(Some(&"/version?x=1".parse().unwrap())).unwrap();
            assert_eq!(uri.to_string(), wanted);
        }
    }

    #[test]
    fn a_proxy_reads_requests_only_where_the_server_has_no_tls() {
        for (proxy, is_tls, at, kind, is_forwarding) in [
            ("http://p", true, "http://p:80/", Kind::Plain, false),
            ("http://p:3128", false, "http://p:3128/", Kind::Plain, true),
            ("https://p", false, "https://p:443/", Kind::Tls, true),
            ("socks5h://p", false, "socks5://p:1080/", Kind::Socks, false),
            ("socks5://[::1]:9", true, "socks5://[::1]:9/", Kind::Socks, false),
        ] {
            let read = Proxy::new(&GoUrl::parse(proxy).unwrap(), is_tls).unwrap();
            assert_eq!(
                (&*read.at.to_string(), read.kind, read.is_forwarding),
                (at, kind, is_forwarding),
                "{proxy}"
            );
        }
        let with_user = Proxy::new(&GoUrl::parse("http://me:secret@p").unwrap(), false).unwrap();
        assert_eq!(with_user.in_request().unwrap(), "Basic bWU6c2VjcmV0");
    }
}
