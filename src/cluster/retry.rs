//! Requests that an API server with too much to do refuses are sent again, by the rule of client-go (`withRetry` in
//! `rest/with_retry.go`): after 429 or a server's error, if the answer says in `Retry-After` when, up to ten times.
//! Helm's own requests pass the fence once: its client does the same by itself.

use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode, header};
use kube::client::Body;
use tokio::time::{Sleep, sleep};
use tower::{BoxError, retry::Policy};

/// How often a request is sent again.
pub const RETRIES: u32 = 10;

/// The policy for one request.
#[derive(Clone, Debug)]
pub struct RetryAfter {
    /// How often it may still be sent again.
    pub left: u32,
}

impl<T> Policy<Request<Body>, Response<T>, BoxError> for RetryAfter {
    type Future = Sleep;

    fn retry(
        &mut self,
        _request: &mut Request<Body>,
        result: &mut Result<Response<T>, BoxError>,
    ) -> Option<Sleep> {
        let response = result.as_ref().ok()?;
        let pause = pause(response.status(), response.headers())?;
        self.left = self.left.checked_sub(1)?;
        Some(sleep(pause))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut again = Request::new(request.body().try_clone()?);
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        *again.headers_mut() = request.headers().clone();
        *again.extensions_mut() = request.extensions().clone();
        Some(again)
    }
}

/// How long to wait before the request is sent again, if it is.
fn pause(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
        return None;
    }
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn an_answer_that_says_when_is_asked_again_and_no_other() {
        for (status, header, wanted) in [
            (429, Some("1"), Some(1)),
            (503, Some("0"), Some(0)),
            (500, Some("2"), Some(2)),
            (429, None, None),
            (500, None, None),
            (429, Some("Wed, 21 Oct 2026 07:28:00 GMT"), None),
            (409, Some("1"), None),
            (200, Some("1"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert(header::RETRY_AFTER, value.parse().unwrap());
            }
            let pause = pause(StatusCode::from_u16(status).unwrap(), &headers);
            assert_eq!(pause, wanted.map(Duration::from_secs), "{status} {header:?}");
        }
    }

    #[tokio::test]
    async fn a_request_is_sent_again_whole_and_not_for_ever() {
        let sent = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let busy = sent.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let busy = busy.clone();
            async move {
                let method = request.method().clone();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                busy.lock().unwrap().push((method, body));
                let answer =
                    Response::builder().status(429).header(header::RETRY_AFTER, "0").body(()).unwrap();
                Ok::<_, BoxError>(answer)
            }
        });
        let retry = tower::retry::Retry::new(RetryAfter { left: RETRIES }, service);
        let request = Request::post("/api").body(Body::from(b"text".to_vec())).unwrap();
        let answer = tower::ServiceExt::oneshot(retry, request).await.unwrap();
        assert_eq!(answer.status(), 429, "the last answer is given");
        let sent = sent.lock().unwrap();
        assert_eq!(sent.len(), 11);
        assert!(sent.iter().all(|(method, body)| method == "POST" && &body[..] == b"text"));
    }
}
