//! The answers that Helm gets from what is already known, without a request to the API server. When each of them may be given
//! is decided in `repeated.rs`, `present.rs` and `absent.rs`. Sends nothing: `fence/proxy.rs` does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, uri::PathAndQuery};
use serde_json::Value;
use tokio::{sync::OnceCell, time::Instant};

use super::{
    absent::{self, Absent},
    body::{begin, full},
    present::Present,
    repeated::{self, Answer, Asked, Read, Repeated},
};
use crate::cluster::transport::Body;

/// How long the API server's version may be told again. Helm asks for it twice, when it starts.
const SAME_SERVER: Duration = Duration::from_secs(5);

/// What is known of a request before it is passed on.
#[derive(Debug)]
pub enum Known {
    /// The answer to it.
    Answer(Response<Body>),
    /// The API server has to be asked. Its answer to a read may be kept, see [`Answers::keep`].
    Ask(Option<NumberedRead>),
}

/// A read whose answer may stand for the next ones.
#[derive(Debug)]
pub struct NumberedRead {
    number: u64,
    read: Read,
}

/// What is known of the cluster while Helm runs.
#[derive(Debug)]
pub struct Answers {
    /// The read that Helm may send again at once.
    repeated: Mutex<Repeated>,
    /// Objects that are not there, while a first install asks for them.
    absent: Mutex<Absent>,
    /// Objects of which Helm asks only whether they are there.
    present: Mutex<Present>,
    /// The API server's answer about its version, and when it was given. `None`: there was none.
    version: OnceCell<Option<(Answer, Duration)>>,
    /// When the fence was put up.
    started: Instant,
}

impl Answers {
    /// With nothing known yet.
    pub fn new() -> Self {
        Self {
            repeated: Mutex::default(),
            absent: Mutex::default(),
            present: Mutex::default(),
            version: OnceCell::new(),
            started: Instant::now(),
        }
    }

    /// Looks at each request of Helm, in their order. `ask_version` asks the API server for its version.
    pub async fn known<F: Future<Output = Option<Answer>>>(
        &self,
        method: &Method,
        inside: &PathAndQuery,
        headers: &HeaderMap,
        is_write: bool,
        ask_version: impl FnOnce() -> F,
    ) -> Known {
        let read = Read::of(method, inside, headers);
        let path = inside.path();
        let number = match lock(&self.repeated).ask(read.as_ref(), self.now()) {
            Asked::Known(answer) => return Known::Answer(again(*answer)),
            Asked::Open(number) => number,
        };
        if method == Method::GET
            && path == "/version"
            && let Some(answer) = self.version(ask_version).await
        {
            return Known::Answer(again(answer));
        }
        if let Some(object) = lock(&self.present).ask(read.as_ref(), path, self.now()) {
            return Known::Answer(answered(StatusCode::OK, object.to_string()));
        }
        if lock(&self.absent).ask(read.as_ref(), is_write, path) {
            return Known::Answer(answered(StatusCode::NOT_FOUND, absent::not_found(path)));
        }
        Known::Ask(read.map(|read| NumberedRead { number, read }))
    }

    /// The API server's version, asked for once. It does not change while an API server runs; an answer that is older than a
    /// moment is not repeated all the same.
    pub async fn version<F: Future<Output = Option<Answer>>>(
        &self,
        ask: impl FnOnce() -> F,
    ) -> Option<Answer> {
        let ask = async || ask().await.map(|answer| (answer, self.now()));
        let (answer, at) = self.version.get_or_init(ask).await.as_ref()?;
        (self.now().saturating_sub(*at) <= SAME_SERVER).then(|| answer.clone())
    }

    /// Keeps the answer to a read for as long as Helm may repeat it, and gives it back.
    pub async fn keep(&self, asked: NumberedRead, answer: Response<Body>) -> Response<Body> {
        if answer.status() != StatusCode::OK {
            return answer;
        }
        let (parts, body) = answer.into_parts();
        match begin(body, repeated::LARGEST).await {
            Ok((whole, body)) => {
                // Else more may follow.
                if whole.len() < repeated::LARGEST {
                    let kept = Answer { status: parts.status, headers: parts.headers.clone(), body: whole };
                    lock(&self.repeated).keep(asked.number, asked.read, &kept, self.now());
                }
                Response::from_parts(parts, body)
            }
            Err(error) => said(StatusCode::BAD_GATEWAY, &error.to_string()),
        }
    }

    /// A list of a collection, with the names of what is there.
    pub fn learn_names(&self, collection: &str, list: &Value) {
        lock(&self.absent).listed(collection, list);
    }

    /// Objects, by their paths, that were seen just now.
    pub fn learn_objects(&self, objects: BTreeMap<String, Value>) {
        lock(&self.present).fill(objects, self.now());
    }

    /// From now on every object is asked for. Gives the paths of those that were said to be absent.
    pub fn end_absences(&self) -> BTreeSet<String> {
        lock(&self.absent).end()
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn again(answer: Answer) -> Response<Body> {
    let mut again = Response::new(full(answer.body));
    (*again.status_mut(), *again.headers_mut()) = (answer.status, answer.headers);
    again
}

/// A `Status` in the form of the API server's own.
pub fn said(code: StatusCode, message: &str) -> Response<Body> {
    answered(code, super::status(code.as_u16(), message))
}

/// An answer with this JSON.
pub fn answered(code: StatusCode, text: String) -> Response<Body> {
    let mut answer = Response::new(full(text));
    *answer.status_mut() = code;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
