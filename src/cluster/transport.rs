//! Connections to the API server: proxies, TLS, credentials. Every request of this program and of Helm goes through here.
//! Bodies pass as they are: nothing is collected, compressed or unpacked; only this program's own requests are sent again.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_rustls::{DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, ResolveServerName};
use hyper_util::{
    client::legacy::{
        Client as Pool,
        connect::{
            Connected, Connection, HttpConnector,
            proxy::{SocksV5, Tunnel},
        },
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use kube::Client;
use tokio::net::TcpStream;
use tower::{BoxError, ServiceExt, retry::Retry, timeout::Timeout, util::BoxCloneSyncService};

use super::{
    access::{Access, DEFAULT_SERVER},
    credentials::Credentials,
    exec_plugin::{Login, NoLogin},
    gate::{Gate, Gated},
    http_proxy::Proxies,
    proxied::{Base, Kind, Proxy},
    retry::{RETRIES, RetryAfter},
    route::Route,
};

/// How long an answer to this program's own requests may take to begin. A connection whose other end is gone without a word
/// says nothing for ever. Helm's requests have Helm's patience.
const ANSWER: Duration = Duration::from_secs(30);

/// After which silence on a connection with requests under way it is asked whether its other end is there, and how long the
/// answer to that may take. A single request over a dead connection would end with its own limit; here it would be all of them.
const SILENCE: Duration = Duration::from_secs(5);
const PONG: Duration = Duration::from_secs(5);

/// How requests share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// All at once over one connection, if the API server offers HTTP/2. Each more connection costs two round trips, and the API
    /// server a signature.
    Many,
    /// One at a time on each connection: for what lasts, and would count against the API server's limit of streams; for what
    /// turns into another protocol, which HTTP/2 cannot; and for the lock, which a connection that went silent must not cost:
    /// a request that is given up takes its connection with it, and the next one opens another.
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

/// The way to one API server.
#[derive(Clone)]
pub struct Wire {
    open: Arc<dyn Fn(Option<Gate>, Sharing) -> Service + Send + Sync>,
    free: Service,
    login: Option<Arc<Login>>,
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
    /// Reads certificates; connects to nothing yet, and runs nothing. `headers` are in every request.
    ///
    /// # Errors
    /// When the address, certificates, credentials or the proxy cannot be used.
    pub fn new(
        access: &Access,
        proxies: &Proxies,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> anyhow::Result<Self> {
        let Route { base, proxy, tls, credentials, login } = Route::new(access, proxies)?;
        let credentials = Arc::new(credentials.with(headers));
        let dial = Dial {
            gate: None,
            proxy: proxy.map(|proxy| Proxy::new(&proxy, base.is_tls())).transpose()?,
            tls: Arc::new(tls),
            names: match &*access.server_name {
                "" => Arc::new(DefaultServerNameResolver::default()),
                name => Arc::new(FixedServerNameResolver::new(name.to_owned().try_into()?)),
            },
            is_default: access.host == DEFAULT_SERVER,
        };
        let open = move |gate: Option<Gate>, sharing: Sharing| {
            let dial = Dial { gate, ..dial.clone() };
            BoxCloneSyncService::new(Asking {
                // Credentials are renewed in one place, whichever of the services asks.
                credentials: credentials.clone(),
                base: base.clone(),
                for_proxy: dial.proxy.as_ref().and_then(Proxy::in_request),
                pool: Arc::new(Mutex::new((0, dial.pool(sharing)))),
                sharing,
                dial,
            })
        };
        let free = open(None, Sharing::Many);
        Ok(Self { open: Arc::new(open), free, login })
    }

    /// Logs in where a program does that: it may ask for a password, and take its time.
    ///
    /// # Errors
    /// When it fails.
    pub async fn log_in(&self) -> Result<(), NoLogin> {
        match &self.login {
            Some(login) => login.get().await.map(drop),
            None => Ok(()),
        }
    }

    /// This program's own client.
    pub fn client(&self, namespace: String) -> Client {
        own(self.free.clone(), namespace, ANSWER, RETRIES, |_| {})
    }

    /// The same for answers that come when there is something to say: a log of a container that says nothing may begin late.
    pub fn patient_client(&self, namespace: String) -> Client {
        const HOUR: Duration = Duration::from_secs(3600);
        own((self.open)(None, Sharing::One), namespace, HOUR, RETRIES, |_| {})
    }

    /// The same for the lock, with connections of its own. It sends again by itself, and knows until when that is of use.
    pub fn lock_client(&self, namespace: String) -> Client {
        own((self.open)(None, Sharing::One), namespace, ANSWER, 0, |_| {})
    }

    /// The same, of which no byte leaves while the gate is shut; `mark` may change a request.
    pub fn gated_client(
        &self,
        namespace: String,
        gate: Gate,
        mark: impl Fn(&mut Request<Body>) + Clone + Send + Sync + 'static,
    ) -> Client {
        own((self.open)(Some(gate), Sharing::One), namespace, ANSWER, RETRIES, mark)
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

/// Connections that are used again.
type Connections = Pool<HttpsConnector<Dial>, Body>;

/// Completes requests, which have a path alone, and sends them.
#[derive(Clone)]
struct Asking {
    credentials: Arc<Credentials>,
    base: Base,
    for_proxy: Option<HeaderValue>,
    dial: Dial,
    sharing: Sharing,
    /// Connections that show a certificate, and which one.
    pool: Arc<Mutex<(u64, Connections)>>,
}

impl Asking {
    /// Connections with the certificate in force.
    fn connections(&self) -> Result<Connections, BoxError> {
        let mut pool = self.pool.lock().map_err(|_| "a connection failed badly")?;
        let generation = self.credentials.login().map_or(0, |login| login.generation());
        if pool.0 != generation {
            *pool = (generation, self.dial.pool(self.sharing));
        }
        Ok(pool.1.clone())
    }

    async fn send(self, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let (mut head, body) = request.into_parts();
        head.uri = self.base.with(head.uri.path_and_query())?;
        let given = self.credentials.add(&mut head.headers).await?;
        if let Some(value) = self.for_proxy.clone() {
            head.headers.insert(header::PROXY_AUTHORIZATION, value);
        }
        let response = self.connections()?.request(Request::from_parts(head, body)).await?;
        if let (Some(login), Some(given)) = (self.credentials.login(), given)
            && response.status() == StatusCode::UNAUTHORIZED
        {
            // For the next request. This one is answered.
            let _ = login.renew(&given).await;
        }
        Ok(response)
    }
}

impl tower::Service<Request<Body>> for Asking {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pending<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

fn own(
    service: Service,
    namespace: String,
    answer: Duration,
    retries: u32,
    mark: impl Fn(&mut Request<Body>) + Clone + Send + Sync + 'static,
) -> Client {
    let ours = move |request: Request<kube::client::Body>| {
        let mut request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        let name = concat!("helm-guard/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(http::header::USER_AGENT, http::HeaderValue::from_static(name));
        mark(&mut request);
        request
    };
    let once = Timeout::new(service, answer).map_request(ours);
    Client::new(Retry::new(RetryAfter { left: retries }, once), namespace)
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
    proxy: Option<Proxy>,
    tls: Arc<rustls::ClientConfig>,
    names: Arc<dyn ResolveServerName + Send + Sync>,
    /// Nothing names the server.
    is_default: bool,
}

impl Dial {
    fn pool(&self, sharing: Sharing) -> Connections {
        let mut tls = self.tls.clone();
        if sharing == Sharing::Many {
            // Only to the API server itself: a proxy on the way is spoken to as before.
            let mut offering = rustls::ClientConfig::clone(&tls);
            offering.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            tls = Arc::new(offering);
        }
        let connector = HttpsConnector::new(self.clone(), tls, false, self.names.clone());
        Pool::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(SILENCE)
            .http2_keep_alive_timeout(PONG)
            .build(connector)
    }

    async fn open(self, to: Uri) -> Result<Link, BoxError> {
        let tcp = Tcp::new(self.gate);
        let Some(proxy) = self.proxy else {
            let opened = tcp.oneshot(to).await;
            return Ok(Link { stream: Box::new(opened?), is_forwarded: false });
        };
        let stream: Box<dyn Duplex> = match (proxy.kind, proxy.is_forwarding) {
            (Kind::Socks, _) => {
                let socks = SocksV5::new(proxy.at, tcp);
                let socks = match proxy.user {
                    Some((name, password)) => socks.with_auth(name, password.unwrap_or_default()),
                    None => socks,
                };
                Box::new(socks.oneshot(to).await?)
            }
            (Kind::Plain, true) => Box::new(tcp.oneshot(proxy.at).await?),
            (Kind::Plain, false) => Box::new(tunnel(proxy.at.clone(), tcp, proxy.auth).oneshot(to).await?),
            (Kind::Tls, is_forwarding) => {
                // With the same certificates as to the API server, and the same name: so does Go.
                let tcp = HttpsConnector::new(tcp, self.tls, true, self.names);
                if is_forwarding {
                    Box::new(tcp.oneshot(proxy.at).await?)
                } else {
                    Box::new(tunnel(proxy.at.clone(), tcp, proxy.auth).oneshot(to).await?)
                }
            }
        };
        Ok(Link { stream, is_forwarded: proxy.is_forwarding })
    }
}

fn tunnel<C>(at: Uri, through: C, auth: Option<HeaderValue>) -> Tunnel<C> {
    let tunnel = Tunnel::new(at, through);
    if let Some(auth) = auth { tunnel.with_auth(auth) } else { tunnel }
}

impl tower::Service<Uri> for Dial {
    type Response = Link;
    type Error = BoxError;
    type Future = Pending<Link>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move {
            let is_default = dial.is_default;
            dial.open(to).await.map_err(|error| {
                // The innermost cause is what is shown.
                let cause = crate::cause::root(&*error);
                if is_default {
                    format!("{cause} (no kubeconfig names a cluster, so {DEFAULT_SERVER} was tried)").into()
                } else {
                    error
                }
            })
        })
    }
}

trait Duplex: Read + Write + Connection + Send + Unpin {}
impl<T: Read + Write + Connection + Send + Unpin> Duplex for T {}

/// A connection, whatever lies between.
struct Link {
    stream: Box<dyn Duplex>,
    /// The other end is a proxy that reads requests and passes them on.
    is_forwarded: bool,
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.is_forwarded)
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }
}
