//! Answers Helm's requests, which `fence/server.rs` receives, by passing them on. Whether one may pass is decided in `fence.rs`.
//! Bodies stream through in both directions; at most [`ENOUGH`] bytes of a create and [`WORDS`] of a refusal are held.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::{client::legacy, rt::TokioIo};
use tokio::{io::copy_bidirectional, sync::watch};
use tower::BoxError;

use super::{
    Description, Verdict, absent,
    admission::Ahead,
    answers::{Answers, Known, answered, said},
    body::{begin, full, passed_on},
    namespace::{self, Meets},
    pauses::Pauses,
    record::{self, ENOUGH, OfRecord},
    repeated::Answer,
    write_log::{Log, Written},
};
use crate::{
    cluster::transport::{Body, Ways, send},
    lock::{Standing, lease::Claims},
};

/// How much of what the API server says to a write that it refuses is kept.
pub const WORDS: usize = 64 << 10;
/// How many descriptions that Helm asked for are remembered.
const REMEMBERED: usize = 1000;

/// Most bytes of a record's body that are inspected: no API server takes more.
const INSPECTED: usize = 4 << 20;

/// Answers Helm's requests.
pub struct Proxy {
    /// The path prefix that only Helm knows.
    pub secret: String,
    /// Short id of the hold of the lock.
    pub lock_id: String,
    /// The locks that Helm runs under.
    pub lock: Claims,
    /// For what only reads.
    pub free: Ways,
    /// For writes.
    pub gated: Ways,
    /// The API server's address, for errors.
    pub server: String,
    /// Helm's writes.
    pub written: Arc<Mutex<Log>>,
    /// Which Helm asks.
    pub helm: watch::Sender<Option<String>>,
    /// What Helm does ahead of its next record, which is looked at.
    pub ahead: Arc<Mutex<Ahead>>,
    /// The writes of Helm that wait until the release was looked at.
    pub pauses: Pauses,
    /// How many records it created.
    pub records: watch::Sender<u64>,
    /// Descriptions that Helm asked for.
    pub asked: Arc<Mutex<Vec<Description>>>,
    /// The namespace that Helm does not know of until it creates it.
    pub hidden: Hidden,
    /// What is answered without a request to the API server.
    pub answers: Answers,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proxy")
    }
}

/// A namespace that is there and that Helm is told is not, if there is one.
pub type Hidden = Arc<Mutex<Option<String>>>;

impl Proxy {
    /// Passes a request on if it may pass, and gives the answer.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
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
        let known =
            self.answers.known(request.method(), &inside, request.headers(), is_write, || self.ask_version());
        let read = match known.await {
            Known::Answer(answer) => return answer,
            Known::Ask(read) => read,
        };
        let (method, path) = (request.method().clone(), inside.path().to_owned());
        let hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let meets = hidden.as_ref().map_or(Meets::Nothing, |name| namespace::meets(&method, &path, name));
        if meets == Meets::Look {
            let name = hidden.unwrap_or_default();
            return said(StatusCode::NOT_FOUND, &format!("namespaces \"{name}\" not found"));
        }
        let words = record::in_words(&method, &inside);
        let (request, of_record, gives_up) = match self.readdress(request, inside, is_write).await {
            Ok(readdressed) => readdressed,
            // Helm broke off in the middle of its request.
            Err(error) => return said(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let gives_up = gives_up || (is_write && self.pauses.is_rollback_seen().await);
        if gives_up || record::takes_log(&method, &path) {
            self.pauses.pause(gives_up).await;
        }
        let request = match (meets, hidden) {
            (Meets::Create, Some(name)) => match self.create_hidden(request, &name).await {
                Ok(request) => request,
                Err(answer) => return answer,
            },
            (Meets::Change, _) => {
                self.unhide();
                request
            }
            _ => request,
        };
        let creates = of_record && method == Method::POST;
        let is_ahead = self.ahead().is_awaited();
        if is_ahead && of_record && method == Method::DELETE {
            return self.postpone(path, request).await;
        }
        let defines = is_ahead && record::defines(&method, &path);
        let answer = match self.inspected(request, is_ahead && creates).await {
            Ok(request) if defines => self.define(request).await,
            Ok(request) => self.pass(request, is_write).await,
            Err(answer) => answer,
        };
        if creates && answer.status().is_success() {
            self.records.send_modify(|count| *count += 1);
        }
        if let Some(read) = read {
            return self.answers.keep(read, answer).await;
        }
        let words = words.filter(|_| !of_record);
        if is_write { self.remember(method, path, words, answer).await } else { answer }
    }

    /// Helm creates a namespace. If it is the one that it does not know of, what Helm wants in it is put into it, and the answer
    /// is that of a create. Else, and where that is refused, gives the request back: the API server says that it exists, which
    /// Helm takes for done.
    async fn create_hidden(
        &self,
        request: Request<Body>,
        name: &str,
    ) -> Result<Request<Body>, Response<Body>> {
        let (parts, body) = request.into_parts();
        let read = begin(body, ENOUGH).await;
        let (whole, body) = read.map_err(|error| said(StatusCode::BAD_REQUEST, &error.to_string()))?;
        let patch = namespace::as_patch(&parts.uri, name).filter(|_| namespace::creates(&whole, name));
        let Some(patch) = patch else { return Ok(Request::from_parts(parts, body)) };
        self.unhide();
        let mut merge = Request::new(full(whole));
        *merge.method_mut() = Method::PATCH;
        *merge.uri_mut() = Uri::from(patch);
        *merge.headers_mut() = parts.headers.clone();
        merge
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/merge-patch+json"));
        let mut answer = self.pass(merge, true).await;
        if !answer.status().is_success() {
            return Ok(Request::from_parts(parts, body));
        }
        *answer.status_mut() = StatusCode::CREATED;
        let words = Some(format!("create namespaces/{name}"));
        Err(self.remember(Method::POST, parts.uri.path().to_owned(), words, answer).await)
    }

    fn unhide(&self) {
        *self.hidden.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Opens the connection for writes while Helm starts: its first write finds it.
    pub async fn warm(&self) {
        drop(self.answers.version(|| self.ask_version()).await);
    }

    /// What the API server is: what anybody may ask, and costs it nothing.
    async fn ask_version(&self) -> Option<Answer> {
        let mut request = Request::new(full(Bytes::new()));
        *request.uri_mut() = Uri::from_static("/version");
        super::rewrite(request.headers_mut(), &self.lock_id);
        let answer = send(self.gated.of(false), request).await.ok()?;
        let (mut parts, body) = answer.into_parts();
        super::forget_connection(&mut parts.headers);
        // Only a connection whose answer was read is used again.
        let body = body.collect().await.ok()?.to_bytes();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        (answer.status == StatusCode::OK).then_some(answer)
    }

    /// Lists the names in the usual collections of a namespace, all at once. What may not be listed is asked for by its name.
    pub async fn list_names(&self, namespace: &str) {
        let lists = absent::collections(namespace).into_iter().map(|collection| async move {
            let mut request = Request::new(full(Bytes::new()));
            *request.uri_mut() = format!("{collection}?limit={}", absent::MOST).parse().ok()?;
            let names = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
            request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(names));
            // Not Helm's, and not about its run.
            let own = HeaderValue::from_static(concat!("helm-guard/", env!("CARGO_PKG_VERSION")));
            request.headers_mut().insert(header::USER_AGENT, own);
            let answer = send(self.free.of(false), request).await.ok()?;
            if !answer.status().is_success() {
                return None;
            }
            let text = answer.into_body().collect().await.ok()?.to_bytes();
            self.answers.learn_names(&collection, &serde_json::from_slice(&text).ok()?);
            Some(())
        });
        drop(futures::future::join_all(lists).await);
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

    fn ahead(&self) -> std::sync::MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new record is held until it was looked at, and what waited for that is done. Else gives the answer.
    async fn inspected(
        &self,
        request: Request<Body>,
        creates: bool,
    ) -> Result<Request<Body>, Response<Body>> {
        let inspector = if creates { self.ahead().take() } else { None };
        let Some(inspector) = inspector else { return Ok(request) };
        let absent = self.answers.end_absences();
        let (parts, body) = request.into_parts();
        let read = begin(body, INSPECTED).await;
        let (beginning, body) = read.map_err(|error| said(StatusCode::BAD_REQUEST, &error.to_string()))?;
        let payload = record::payload(&beginning).filter(|_| beginning.len() < INSPECTED);
        // What Helm was told must be looked at again, whatever its record is.
        if payload.is_some() || !absent.is_empty() {
            let inspected = (inspector.0)(payload.unwrap_or_default(), absent).await;
            let found = inspected.map_err(|why| said(StatusCode::FORBIDDEN, &why))?;
            self.answers.learn_objects(found);
        }
        let postponed = self.ahead().postponed();
        for (path, delete) in postponed {
            let answer = self.pass(delete, true).await;
            let answer = self.remember(Method::DELETE, path, None, answer).await;
            // One that is gone is what was wanted.
            if answer.status() != StatusCode::NOT_FOUND && !answer.status().is_success() {
                return Err(answer);
            }
        }
        Ok(Request::from_parts(parts, body))
    }

    /// A delete that waits. Helm is told that it is done.
    async fn postpone(&self, path: String, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        match begin(body, INSPECTED).await {
            Ok((whole, _)) => self.ahead().postpone(path, Request::from_parts(parts, full(whole))),
            Err(error) => return said(StatusCode::BAD_REQUEST, &error.to_string()),
        }
        answered(StatusCode::OK, super::success())
    }

    /// A CRD is created or applied: which is read from the answer, and so that it can be, that is not to be packed.
    async fn define(&self, mut request: Request<Body>) -> Response<Body> {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
        let answer = self.pass(request, true).await;
        if !answer.status().is_success() {
            return answer;
        }
        let (parts, body) = answer.into_parts();
        match begin(body, ENOUGH).await {
            Ok((beginning, body)) => {
                if let Some(definition) = record::definition(&beginning, parts.status == StatusCode::CREATED)
                {
                    self.ahead().add(definition);
                }
                Response::from_parts(parts, body)
            }
            Err(error) => said(StatusCode::BAD_GATEWAY, &error.to_string()),
        }
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
        let lasts = super::lasts(request.uri(), request.headers());
        let service = if is_write { self.gated.of(lasts) } else { self.free.of(lasts) };
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
        let write = Written { method, path, code, message };
        self.written.lock().unwrap_or_else(PoisonError::into_inner).add(write, words);
        Response::from_parts(parts, body)
    }
}

/// Passes everything on between two ends that have left HTTP. The gate stands before one of them.
async fn join(theirs: OnUpgrade, ours: OnUpgrade) {
    if let (Ok(theirs), Ok(ours)) = tokio::join!(theirs, ours) {
        let _ = copy_bidirectional(&mut TokioIo::new(theirs), &mut TokioIo::new(ours)).await;
    }
}

/// The API server did not answer. Helm's client asks again, some times, if it is told when; that is right for what only
/// reads, and for what was never sent.
fn unreachable(server: &str, error: BoxError, is_write: bool) -> Response<Body> {
    let never_sent = error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect);
    let cause = crate::cause::root(&*error);
    let mut answer = said(StatusCode::SERVICE_UNAVAILABLE, &format!("the API server {server}: {cause}"));
    if never_sent || !is_write {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

#[cfg(test)]
mod tests;
