//! Asks our own CI system's API, and remembers what it said.
//! Which address, and what an answer means, is decided in `ci.rs`.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use jiff::fmt::rfc2822;
use serde_json::Value;
use tower::BoxError;

use super::{Answer, Ask, Desk, Trouble, trouble};
use crate::cluster::{
    access::Access,
    transport::{self, Wire},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer. The description of a job is a few kilobytes, and GitLab may list a hundred of them.
const LARGEST: usize = 4 << 20;
/// Before the next try when the API cannot be reached.
const UNREACHED: Duration = Duration::from_secs(15);

/// The API of our CI system. Connects when it is first asked.
#[derive(Debug)]
pub struct Api {
    desk: Desk,
    wire: Option<Opened>,
    /// What was said last, by path, for questions whether it has changed: such cost nothing of the quota.
    known: BTreeMap<String, (HeaderValue, Value)>,
}

/// The way to it.
struct Opened(transport::Service);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}

impl Api {
    /// Sends nothing yet.
    pub fn new(desk: Desk) -> Self {
        Self { desk, wire: None, known: BTreeMap::new() }
    }

    /// Asks one question.
    ///
    /// # Errors
    /// With what is wrong, and whether asking again makes sense.
    pub async fn ask(&mut self, ask: &Ask) -> Result<Answer, Trouble> {
        let answered = tokio::time::timeout(PATIENCE, self.get(&ask.path)).await;
        let unreached = |why: String| Trouble::Passing(why, UNREACHED);
        let (status, headers, body) = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(unreached(crate::cause::root(&*error).to_string())),
            Err(_) => return Err(unreached(format!("no answer within {} s", PATIENCE.as_secs()))),
        };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // By the server's own clock: ours is never compared with it.
        let at = text("date").and_then(|date| rfc2822::parse(&date).ok()).map(|date| date.timestamp());
        let body = match (status, self.known.get(&ask.path)) {
            (304, Some((_, body))) => body.clone(),
            (200, _) => {
                let body: Value = serde_json::from_slice(&body)
                    .map_err(|_| Trouble::Final("the answer is no JSON".to_owned()))?;
                if let Some(tag) = headers.get(header::ETAG) {
                    self.known.insert(ask.path.clone(), (tag.clone(), body.clone()));
                }
                body
            }
            _ => return Err(trouble(status, text, at)),
        };
        Ok(self.desk.read(ask.about, &body, at))
    }

    async fn get(&mut self, path: &str) -> Result<(u16, HeaderMap, Bytes), BoxError> {
        let service = match &self.wire {
            Some(Opened(service)) => service.clone(),
            None => self.wire.insert(Opened(open(&self.desk)?)).0.clone(),
        };
        let mut request = Request::get(path).header(header::ACCEPT, "application/json");
        if let Some((tag, _)) = self.known.get(path) {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let nothing = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
        let answer = transport::send(service, request.body(nothing)?).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST).collect().await?.to_bytes();
        Ok((head.status.as_u16(), head.headers, body))
    }
}

/// As the API server is reached: proxies, roots and TLS are the same.
fn open(desk: &Desk) -> anyhow::Result<transport::Service> {
    let (name, token) = &desk.login;
    let mut token = HeaderValue::from_str(token.reveal())?;
    token.set_sensitive(true);
    let headers = vec![
        (HeaderName::from_static(name), token),
        (header::USER_AGENT, HeaderValue::from_static(concat!("helm-guard/", env!("CARGO_PKG_VERSION")))),
    ];
    let ca_file = desk.ca_file.clone().unwrap_or_default();
    let access = Access { host: desk.api.clone(), ca_file, ..Access::default() };
    Ok(Wire::new(&access, &desk.proxies, headers)?.free().short)
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
