//! Receives Helm's requests on a loopback port and passes them on. Whether one may pass is decided in `fence.rs`.
//! Bodies stream through in both directions; at most [`ENOUGH`] bytes of a create and [`WORDS`] of a refusal are held.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::{client::legacy, rt::TokioIo};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};
use tower::BoxError;

use super::{
    Description, VARIABLES, Verdict,
    home::Home,
    memory::Memory,
    record::{self, ENOUGH, OfRecord},
};
use crate::{
    cluster::{
        Cluster,
        wire::{Body, Gate, Service, send},
    },
    lock::{Standing, lease::Claims},
    report::Writes,
};

/// How much of what the API server says to a write that it refuses is kept.
pub const WORDS: usize = 64 << 10;
/// How many writes are remembered.
const REMEMBERED: usize = 1000;

/// A write of Helm's and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// The HTTP status; 0 if there was no answer.
    pub code: u16,
    /// What the API server, or the fence, says of a refusal. Untrusted text.
    pub message: String,
}

/// Helm is about to write what changes the cluster so that the cause of a failure is hard to see afterwards. It waits until
/// this is dropped, but not for long.
#[derive(Debug)]
pub struct Moment {
    /// It gives up: it saves that it failed, and may then roll back. Else it takes a Job or a pod away.
    pub gives_up: bool,
    _pause: oneshot::Sender<Infallible>,
}

/// The longest pause.
const PAUSE: Duration = Duration::from_secs(4);

/// Who is told of moments, if anybody.
type Attention = Arc<Mutex<Option<mpsc::UnboundedSender<Moment>>>>;
/// Looks at the payload of the record that Helm is about to create, before anything of the release is changed. Else says why
/// it must not be.
pub struct Inspector(pub Box<dyn FnOnce(Vec<u8>) -> Inspected + Send>);

/// What an inspection comes to.
pub type Inspected = BoxFuture<'static, Result<(), String>>;

impl std::fmt::Debug for Inspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inspector")
    }
}

/// Most bytes of a record's body that are inspected: no API server takes more.
const INSPECTED: usize = 4 << 20;

/// What is known of Helm's writes.
#[derive(Debug, Default)]
struct Log {
    last: VecDeque<Written>,
    writes: Writes,
}

/// Where the fence's files go, and who it is.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Its own directory, which must not be there yet.
    pub home: &'a Path,
    /// The user's cache directory.
    pub cache: Option<&'a Path>,
    /// Short id of the hold of the lock.
    pub lock_id: &'a str,
    /// The kubeconfig that the user gave.
    pub original: Option<String>,
}

/// The fence, up until it is dropped.
#[derive(Debug)]
pub struct Fence {
    server: Server,
    environment: Vec<(&'static str, Option<String>)>,
    written: Arc<Mutex<Log>>,
    helm: watch::Receiver<Option<String>>,
    attention: Attention,
    inspector: Arc<Mutex<Option<Inspector>>>,
    files: Files,
}

/// The task that serves; with it go all its connections.
#[derive(Debug)]
struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is left of a fence that is down. Cleared away when this is dropped.
#[derive(Debug)]
pub struct Files {
    learnt: Option<Learnt>,
    _home: Home,
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Some(Learnt { memory, cache, address, asked }) = &self.learnt {
            // Without it the next run asks again.
            let _ = memory.keep(cache, address, &asked.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// What this Helm asked for and the next need not.
#[derive(Debug)]
struct Learnt {
    memory: Memory,
    /// Helm's `KUBECACHEDIR`.
    cache: PathBuf,
    /// The fence's.
    address: String,
    asked: Arc<Mutex<Vec<Description>>>,
}

impl Fence {
    /// Puts it up. Without claims nothing can be lost, and it stands only between Helm and the credentials.
    ///
    /// # Errors
    /// When there is no port to listen on, or its files cannot be written.
    pub async fn up(cluster: &Cluster, lock: Claims, place: &Place<'_>) -> io::Result<Self> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = format!("http://{}/{secret}", listener.local_addr()?);

        let home = Home::make(place.home)?;
        let context = &cluster.context;
        let kubeconfig =
            super::kubeconfig(&address, &context.name, &context.namespace, context.disable_compression);
        let kubeconfig = text(home.kubeconfig(&kubeconfig)?);
        let cache = home.cache(&address, &cluster.server, place.cache)?;
        let memory = place.cache.and_then(|cache| Memory::open(cache, &cluster.server));
        if let Some(memory) = &memory {
            // Without it Helm has only to ask again.
            let _ = memory.lend(&cache, &address);
        }
        let mut environment = vec![
            ("KUBECONFIG", Some(kubeconfig)),
            ("KUBECACHEDIR", Some(text(cache.clone()))),
            ("HELM_GUARD_KUBECONFIG", place.original.clone()),
        ];
        environment.extend(VARIABLES.map(|name| (name, None)));

        let gate: Gate = {
            let lock = lock.clone();
            Arc::new(move || lock.are_safe())
        };
        let written = Arc::<Mutex<Log>>::default();
        let asked = Arc::<Mutex<Vec<Description>>>::default();
        let (helm, helm_seen) = watch::channel(None);
        let attention = Attention::default();
        let inspector = Arc::<Mutex<Option<Inspector>>>::default();
        let proxy = Arc::new(Proxy {
            secret,
            lock_id: place.lock_id.to_owned(),
            lock,
            free: cluster.wire.free(),
            gated: cluster.wire.gated(gate),
            server: cluster.server.clone(),
            written: written.clone(),
            helm,
            inspector: inspector.clone(),
            asked: asked.clone(),
            attention: attention.clone(),
        });
        let server = tokio::spawn(async move {
            tokio::join!(serve(listener, proxy.clone()), proxy.warm());
        });
        let learnt = memory.map(|memory| Learnt { memory, cache, address, asked });
        let (server, files) = (Server(server), Files { learnt, _home: home });
        Ok(Self { server, environment, written, helm: helm_seen, attention, inspector, files })
    }

    /// Helm's environment: variables that are set, and those that are not to be.
    pub fn environment(&self) -> &[(&'static str, Option<String>)] {
        &self.environment
    }

    /// Which Helm is behind it, such as `v4.3.1`: waits for its first request.
    pub async fn helm_version(&self) -> String {
        let mut helm = self.helm.clone();
        match helm.wait_for(Option::is_some).await {
            Ok(version) => version.clone().unwrap_or_default(),
            // The fence is down: no request comes any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whoever asks for them is told of moments, and with that answers for their pauses.
    pub fn moments(&self) -> mpsc::UnboundedReceiver<Moment> {
        let (sender, moments) = mpsc::unbounded_channel();
        *self.attention.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        moments
    }

    /// The next record that Helm creates is looked at first, and no other.
    pub fn inspect(&self, inspector: Inspector) {
        *self.inspector.lock().unwrap_or_else(PoisonError::into_inner) = Some(inspector);
    }

    /// Takes it down: nothing passes any more. Its files can wait until nobody waits for this program.
    pub fn down(self) -> Files {
        drop(self.server);
        self.files
    }

    /// The last of Helm's writes, oldest first.
    pub fn written(&self) -> Vec<Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).last.iter().cloned().collect()
    }

    /// What Helm wrote so far, its records aside.
    pub fn writes(&self) -> Writes {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).writes.clone()
    }
}

fn text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

async fn serve(listener: TcpListener, proxy: Arc<Proxy>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, proxy.clone()))),
                // Out of file handles, most likely: some are given back soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, proxy: Arc<Proxy>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let proxy = proxy.clone();
        async move { Ok::<_, Infallible>(proxy.answer(request).await) }
    });
    // Its other end may be gone at any time, and nobody is left to be told.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

struct Proxy {
    secret: String,
    lock_id: String,
    lock: Claims,
    free: Service,
    gated: Service,
    server: String,
    written: Arc<Mutex<Log>>,
    helm: watch::Sender<Option<String>>,
    inspector: Arc<Mutex<Option<Inspector>>>,
    asked: Arc<Mutex<Vec<Description>>>,
    attention: Attention,
}

impl Proxy {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let Some(inside) = super::inside(request.uri(), &self.secret) else {
            return said(StatusCode::NOT_FOUND, "not found");
        };
        if self.helm.borrow().is_none() {
            self.helm.send_if_modified(|helm| {
                *helm = super::helm_version(request.headers());
                helm.is_some()
            });
        }
        if let Some(description) = super::description(request.method(), &inside) {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.len() < REMEMBERED && !asked.contains(&description) {
                asked.push(description);
            }
        }
        let is_write = super::is_write(request.method(), request.headers());
        let (method, path) = (request.method().clone(), inside.path().to_owned());
        let words = record::in_words(&method, &inside);
        let (request, of_record, gives_up) = match self.readdress(request, inside, is_write).await {
            Ok(readdressed) => readdressed,
            // Helm broke off in the middle of its request.
            Err(error) => return said(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        if gives_up || record::takes_log(&method, &path) {
            self.pause(gives_up).await;
        }
        let answer = match self.inspected(request, of_record && method == Method::POST).await {
            Ok(request) => self.pass(request, is_write).await,
            Err(why) => said(StatusCode::FORBIDDEN, &why),
        };
        let words = words.filter(|_| !of_record);
        if is_write { self.remember(method, path, words, answer).await } else { answer }
    }

    /// Opens the connection for writes while Helm starts: its first write finds it.
    async fn warm(&self) {
        let mut request = Request::new(full(Bytes::new()));
        // What anybody may ask, and costs the API server nothing.
        *request.uri_mut() = Uri::from_static("/version");
        super::rewrite(request.headers_mut(), &self.lock_id);
        if let Ok(answer) = send(self.gated.clone(), request).await {
            // Only a connection whose answer was read is used again.
            let _ = answer.into_body().collect().await;
        }
    }

    /// Before a write that hides why Helm failed, whoever wants to know looks.
    async fn pause(&self, gives_up: bool) {
        let attention = self.attention.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (pause, over) = oneshot::channel();
        let told = attention.is_some_and(|to| to.send(Moment { gives_up, _pause: pause }).is_ok());
        if told {
            let _ = tokio::time::timeout(PAUSE, over).await;
        }
    }

    /// Makes a request one to the API server. Also says whether it writes a release record, and whether that says that Helm
    /// gives up.
    async fn readdress(
        &self,
        request: Request<Incoming>,
        inside: http::uri::PathAndQuery,
        is_write: bool,
    ) -> Result<(Request<Body>, bool, bool), BoxError> {
        let (mut parts, body) = request.into_parts();
        let mut body = passed_on(body);
        let of_record = if is_write { record::of_record(&parts.method, inside.path()) } else { OfRecord::No };
        let is_update = of_record == OfRecord::Yes && parts.method == Method::PUT;
        let mut beginning = Bytes::new();
        if is_update || of_record == OfRecord::AskBody {
            (beginning, body) = begin(body, ENOUGH).await?;
        }
        let marked = match of_record {
            OfRecord::Yes => true,
            OfRecord::No => false,
            OfRecord::AskBody => record::creates_record(&beginning),
        };
        let gives_up = is_update && record::gives_up(&beginning);
        let inside = match record::with_field_manager(&inside, &self.lock_id) {
            Some(with) if marked => with,
            _ => inside,
        };
        parts.uri = Uri::from(inside);
        super::rewrite(&mut parts.headers, &self.lock_id);
        Ok((Request::from_parts(parts, body), marked, gives_up))
    }

    /// A new record is held until it was looked at.
    async fn inspected(&self, request: Request<Body>, creates: bool) -> Result<Request<Body>, String> {
        let inspector = self.inspector.lock().unwrap_or_else(PoisonError::into_inner).take_if(|_| creates);
        let Some(inspector) = inspector else { return Ok(request) };
        let (parts, body) = request.into_parts();
        let (beginning, body) = begin(body, INSPECTED).await.map_err(|error| error.to_string())?;
        if let Some(payload) = record::payload(&beginning).filter(|_| beginning.len() < INSPECTED) {
            (inspector.0)(payload).await?;
        }
        Ok(Request::from_parts(parts, body))
    }

    async fn pass(&self, mut request: Request<Body>, is_write: bool) -> Response<Body> {
        loop {
            match super::verdict(self.lock.standing(), is_write) {
                Verdict::Pass => break,
                Verdict::Wait => drop(self.lock.until(|now| !matches!(now, Standing::Doubtful)).await),
                Verdict::Refuse(why) => return said(StatusCode::FORBIDDEN, &super::refusal(&why)),
            }
        }
        let theirs =
            super::is_upgrade(request.headers()).then(|| request.extensions_mut().remove::<OnUpgrade>());
        let service = if is_write { self.gated.clone() } else { self.free.clone() };
        let mut sent = send(service, request);
        let given_up = self.lock.until(|now| !matches!(now, Standing::Safe { .. }));
        let answer = tokio::select! {
            answer = &mut sent => answer,
            // With the request its connection is dropped.
            standing = given_up, if is_write => return said(StatusCode::FORBIDDEN, &super::given_up(standing)),
        };
        match answer {
            Ok(mut answer) => {
                if answer.status() == StatusCode::SWITCHING_PROTOCOLS
                    && let Some(Some(theirs)) = theirs
                {
                    let ours = hyper::upgrade::on(&mut answer);
                    tokio::spawn(join(theirs, ours));
                } else {
                    super::forget_connection(answer.headers_mut());
                }
                answer.map(passed_on)
            }
            // The gate may have shut before the look at the lock here.
            Err(_) if is_write && !matches!(self.lock.standing(), Standing::Safe { .. }) => {
                said(StatusCode::FORBIDDEN, &super::given_up(self.lock.standing()))
            }
            Err(error) => unreachable(&self.server, error, is_write),
        }
    }

    /// `words`: the write in words, if it is one that counts.
    async fn remember(
        &self,
        method: Method,
        path: String,
        words: Option<String>,
        answer: Response<Body>,
    ) -> Response<Body> {
        let code = answer.status().as_u16();
        let (parts, mut body) = answer.into_parts();
        let mut message = String::new();
        if code >= 400 {
            match begin(body, WORDS).await {
                Ok((beginning, whole)) => {
                    message = record::message(&beginning);
                    body = whole;
                }
                Err(error) => body = full(super::status(code, &error.to_string())),
            }
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(words) = words.filter(|_| code < 400) {
            written.writes.count += 1;
            written.writes.last = words;
        }
        written.last.push_back(Written { method, path, code, message });
        if written.last.len() > REMEMBERED {
            written.last.pop_front();
        }
        Response::from_parts(parts, body)
    }
}

/// Reads at least `enough` of a body, if it is that long, and gives it with the whole body as it was.
async fn begin(mut body: Body, enough: usize) -> Result<(Bytes, Body), BoxError> {
    let mut beginning = BytesMut::new();
    while beginning.len() < enough {
        match body.frame().await {
            None => break,
            // Trailers are the last of a body, and no API server or client of one has any.
            Some(frame) => beginning.extend(frame?.into_data().ok()),
        }
    }
    let beginning = beginning.freeze();
    let whole = Beginning { data: Some(beginning.clone()).filter(|data| !data.is_empty()), rest: body };
    Ok((beginning, whole.boxed_unsync()))
}

/// A body of which the beginning has been read.
struct Beginning {
    data: Option<Bytes>,
    rest: Body,
}

impl hyper::body::Body for Beginning {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.data.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => std::pin::Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let known = self.data.as_ref().map_or(0, |data| data.len() as u64);
        let mut hint = self.rest.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + known);
        }
        hint.set_lower(hint.lower() + known);
        hint
    }
}

/// Passes everything on between two ends that have left HTTP. The gate stands before one of them.
async fn join(theirs: OnUpgrade, ours: OnUpgrade) {
    if let (Ok(theirs), Ok(ours)) = tokio::join!(theirs, ours) {
        let _ = copy_bidirectional(&mut TokioIo::new(theirs), &mut TokioIo::new(ours)).await;
    }
}

fn passed_on(body: Incoming) -> Body {
    body.map_err(|error| -> BoxError { Box::new(error) }).boxed_unsync()
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::from(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn said(code: StatusCode, message: &str) -> Response<Body> {
    let mut answer = Response::new(full(super::status(code.as_u16(), message)));
    *answer.status_mut() = code;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// The API server did not answer. Helm's client asks again, some times, if it is told when; that is right for what only
/// reads, and for what was never sent.
fn unreachable(server: &str, error: BoxError, is_write: bool) -> Response<Body> {
    let never_sent = error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect);
    let mut cause: &(dyn std::error::Error + 'static) = &*error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let mut answer = said(StatusCode::SERVICE_UNAVAILABLE, &format!("the API server {server}: {cause}"));
    if never_sent || !is_write {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

#[cfg(test)]
mod tests;
