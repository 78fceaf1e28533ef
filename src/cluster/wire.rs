//! Connections to the API server: proxies, TLS, credentials. Every request of this program and of Helm goes through here.
//! Bodies pass as they are: nothing is collected, compressed, unpacked or tried again.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_rustls::{DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, ResolveServerName};
use hyper_util::{
    client::{
        legacy::{
            Client as Pool,
            connect::{
                Connected, Connection, HttpConnector,
                proxy::{SocksV5, Tunnel},
            },
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use kube::{Client, Config, client::ConfigExt};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tower::{BoxError, ServiceExt, timeout::Timeout, util::BoxCloneSyncService};

use super::gated::{Gate, Gated};

/// How long an answer to this program's own requests may take to begin. A connection whose other end is gone without a word
/// says nothing for ever. Helm's requests have Helm's patience.
const ANSWER: Duration = Duration::from_secs(30);

/// After which silence on a connection with requests under way it is asked whether its other end is there, and how long the
/// answer to that may take: as Go's clients do. A single request over a dead connection would end with its own limit; here it
/// would be all of them.
const SILENCE: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(15);

/// How requests share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// All at once over one connection, if the API server offers HTTP/2. Each more connection costs two round trips, and the API
    /// server a signature.
    Many,
    /// One at a time on each connection: for what lasts, and would count against the API server's limit of streams, and for what
    /// turns into another protocol, which HTTP/2 cannot.
    One,
}

/// A body on its way, in either direction.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Sends requests whose URI is the path and query; the server, credentials and impersonation are added on the way.
pub type Service = BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>;

/// What will be there, or the reason why not.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Sends one request.
pub fn send(service: Service, request: Request<Body>) -> Pending<Response<Incoming>> {
    Box::pin(service.oneshot(request))
}

/// Variables that name a proxy, for API servers whose kubeconfig names none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxies {
    /// `HTTPS_PROXY`.
    pub https: String,
    /// `HTTP_PROXY`.
    pub http: String,
    /// `NO_PROXY`.
    pub none: String,
}

impl Proxies {
    /// Which proxy leads to the server, by the rules of Go's clients: one that the kubeconfig names, always; else one of the
    /// environment, but never to this machine itself.
    fn to(&self, server: &Uri, named: Option<&str>) -> Option<Intercept> {
        if let Some(named) = named.filter(|named| !named.is_empty()) {
            return Matcher::builder().all(named).build().intercept(server);
        }
        let host = server.host()?.trim_matches(['[', ']']);
        let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let matcher = Matcher::builder().https(&*self.https).http(&*self.http).no(&*self.none).build();
        if loopback || host == "localhost" { None } else { matcher.intercept(server) }
    }
}

/// The way to one API server.
#[derive(Clone)]
pub struct Wire {
    open: Arc<dyn Fn(Option<Gate>, Sharing) -> Service + Send + Sync>,
    free: Service,
}

/// The ways for one kind of requests.
#[derive(Clone)]
pub struct Ways {
    /// For all but those:
    pub short: Service,
    /// For watches and logs, and for what leaves HTTP.
    pub lasting: Service,
}

impl Ways {
    /// The way for a request.
    pub fn of(&self, lasts: bool) -> Service {
        if lasts { self.lasting.clone() } else { self.short.clone() }
    }
}

impl Wire {
    /// Reads certificates and asks for credentials; connects to nothing yet. `proxy` is the one that the kubeconfig names.
    ///
    /// # Errors
    /// When certificates, credentials or the proxy cannot be used.
    pub fn new(config: &Config, proxies: &Proxies, proxy: Option<&str>) -> anyhow::Result<Self> {
        let proxy = proxies.to(&config.cluster_url, proxy);
        let plain = config.rustls_client_config()?;
        let mut multiplexed = plain.clone();
        multiplexed.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (plain, multiplexed) = (Arc::new(plain), Arc::new(multiplexed));
        let dial = Dial { gate: None, proxy, tls: plain.clone() };
        let resolver: Arc<dyn ResolveServerName + Send + Sync> = match &config.tls_server_name {
            Some(name) => Arc::new(FixedServerNameResolver::new(name.clone().try_into()?)),
            None => Arc::new(DefaultServerNameResolver::default()),
        };
        let (base, auth, headers) =
            (config.base_uri_layer(), config.auth_layer()?, config.extra_headers_layer()?);
        let open = move |gate: Option<Gate>, sharing: Sharing| {
            let tls = match sharing {
                Sharing::Many => multiplexed.clone(),
                Sharing::One => plain.clone(),
            };
            let dial = Dial { gate, ..dial.clone() };
            let connector = HttpsConnector::new(dial, tls, false, resolver.clone());
            let pool = Pool::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .http2_keep_alive_interval(SILENCE)
                .http2_keep_alive_timeout(PONG)
                .build::<_, Body>(connector);
            // Credentials are renewed in one place, whichever of the services asks.
            let service = tower::ServiceBuilder::new()
                .layer(&base)
                .option_layer(auth.as_ref())
                .layer(&headers)
                .map_err(BoxError::from)
                .service(pool);
            BoxCloneSyncService::new(service)
        };
        let free = open(None, Sharing::Many);
        Ok(Self { open: Arc::new(open), free })
    }

    /// This program's own client.
    pub fn client(&self, namespace: String) -> Client {
        own(self.free.clone(), namespace, ANSWER, |_| {})
    }

    /// The same for answers that come when there is something to say: a log of a container that says nothing may begin late.
    pub fn patient_client(&self, namespace: String) -> Client {
        const HOUR: Duration = Duration::from_secs(3600);
        own((self.open)(None, Sharing::One), namespace, HOUR, |_| {})
    }

    /// The same, of which no byte leaves while the gate is shut; `mark` may change a request.
    pub fn gated_client(
        &self,
        namespace: String,
        gate: Gate,
        mark: impl Fn(&mut Request<Body>) + Clone + Send + Sync + 'static,
    ) -> Client {
        own((self.open)(Some(gate), Sharing::One), namespace, ANSWER, mark)
    }

    /// For requests that need nobody's leave.
    pub fn free(&self) -> Ways {
        Ways { short: self.free.clone(), lasting: (self.open)(None, Sharing::One) }
    }

    /// For requests of which no byte may leave while the gate is shut. Its connections are nobody else's.
    pub fn gated(&self, gate: Gate) -> Ways {
        let open = |sharing| (self.open)(Some(gate.clone()), sharing);
        Ways { short: open(Sharing::Many), lasting: open(Sharing::One) }
    }
}

fn own(
    service: Service,
    namespace: String,
    answer: Duration,
    mark: impl Fn(&mut Request<Body>) + Clone + Send + Sync + 'static,
) -> Client {
    let ours = move |request: Request<kube::client::Body>| {
        let mut request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        let name = concat!("helm-guard/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(http::header::USER_AGENT, http::HeaderValue::from_static(name));
        mark(&mut request);
        request
    };
    Client::new(Timeout::new(service, answer).map_request(ours), namespace)
}

/// Opens sockets.
#[derive(Clone)]
struct Tcp {
    http: HttpConnector,
    gate: Option<Gate>,
}

impl Tcp {
    fn new(gate: Option<Gate>) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        // Nagle's algorithm would hold small requests back for 40 ms.
        http.set_nodelay(true);
        http.set_connect_timeout(Some(Duration::from_secs(10)));
        // A watch may be silent for long; without these one over a dead connection would be silent for ever.
        http.set_keepalive(Some(Duration::from_secs(30)));
        http.set_keepalive_interval(Some(Duration::from_secs(10)));
        http.set_keepalive_retries(Some(3));
        Self { http, gate }
    }
}

impl tower::Service<Uri> for Tcp {
    type Response = TokioIo<Gated<TcpStream>>;
    type Error = BoxError;
    type Future = Pending<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.http.call(to);
        let gate = self.gate.clone();
        Box::pin(async move {
            let stream = connecting.await?;
            if gate.is_some() {
                // When this is closed, by the gate or by the death of this process, the system must not go on to deliver what
                // it still holds.
                stream.inner().set_zero_linger()?;
            }
            Ok(TokioIo::new(Gated { stream: stream.into_inner(), gate }))
        })
    }
}

/// Opens connections, through a proxy if there is one; TLS to the API server comes on top.
#[derive(Clone)]
struct Dial {
    gate: Option<Gate>,
    proxy: Option<Intercept>,
    tls: Arc<rustls::ClientConfig>,
}

impl tower::Service<Uri> for Dial {
    type Response = Link;
    type Error = BoxError;
    type Future = Pending<Link>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let tcp = Tcp::new(self.gate.clone());
        let Some(proxy) = self.proxy.clone() else {
            return Box::pin(async move { Ok(Link(Box::new(tcp.oneshot(to).await?))) });
        };
        let tls = self.tls.clone();
        Box::pin(async move {
            let at = proxy.uri().clone();
            let scheme = at.scheme_str().unwrap_or_default().to_owned();
            if scheme.starts_with("socks5") {
                let socks = SocksV5::new(at, tcp);
                let socks = match proxy.raw_auth() {
                    Some((user, password)) => socks.with_auth(user.to_owned(), password.to_owned()),
                    None => socks,
                };
                return Ok(Link(Box::new(socks.oneshot(to).await?)));
            }
            let auth = proxy.basic_auth().cloned();
            if scheme == "https" {
                let tcp = HttpsConnector::new(tcp, tls, true, Arc::new(DefaultServerNameResolver::default()));
                let tunnel = Tunnel::new(at, tcp);
                let tunnel = if let Some(auth) = auth { tunnel.with_auth(auth) } else { tunnel };
                return Ok(Link(Box::new(tunnel.oneshot(to).await?)));
            }
            let tunnel = Tunnel::new(at, tcp);
            let tunnel = if let Some(auth) = auth { tunnel.with_auth(auth) } else { tunnel };
            Ok(Link(Box::new(tunnel.oneshot(to).await?)))
        })
    }
}

trait Duplex: Read + Write + Connection + Send + Unpin {}
impl<T: Read + Write + Connection + Send + Unpin> Duplex for T {}

/// A connection, whatever lies between.
struct Link(Box<dyn Duplex>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_server_is_that_of_go_clients() {
        let none = Proxies::default();
        let some = Proxies {
            https: "http://proxy:3128".into(),
            http: "plain:1".into(),
            none: "10.0.0.0/8,.corp.example".into(),
        };
        for (proxies, server, named, wanted) in [
            (&none, "https://api.example:6443", None, None),
            (&some, "https://api.example:6443", None, Some("http://proxy:3128/")),
            (&some, "http://api.example", None, Some("http://plain:1/")),
            (&some, "https://10.1.2.3:6443", None, None),
            (&some, "https://api.corp.example", None, None),
            (&some, "https://127.0.0.1:6443", None, None),
            (&some, "https://[::1]:6443", None, None),
            (&some, "https://localhost:6443", None, None),
            (&some, "https://10.1.2.3", Some("socks5://me:secret@socks:1080"), Some("socks5://socks:1080/")),
            (&none, "https://127.0.0.1", Some("https://proxy:1"), Some("https://proxy:1/")),
            (&none, "https://api.example", Some(""), None),
        ] {
            let way = proxies.to(&server.parse().unwrap(), named).map(|way| way.uri().to_string());
            assert_eq!(way.as_deref(), wanted, "{server} {named:?}");
        }
        let way = none.to(&"https://a".parse().unwrap(), Some("socks5://me:secret@socks:1080")).unwrap();
        assert_eq!(way.raw_auth(), Some(("me", "secret")));
    }
}
