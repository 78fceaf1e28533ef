//! One request to the API server as it is written, and what is said to it: an object, or a refusal in detail. For what the
//! typed client hides: dry runs, warnings, the causes of a refusal.

use http::{Method, Request, header};
use http_body_util::{BodyExt, Limited};
use kube::{Client, client::Body};
use serde_json::Value;

/// Requests at once. They share a connection, so that each costs no more than its own work; an API server bounds by itself what
/// it does of that at once.
pub(crate) const AT_ONCE: usize = 32;

/// Largest answer that is read, bytes. An object has at most 3 MiB when it is sent (the API server's limit of a request), and
/// an answer is such an object with what the API server adds.
pub(crate) const LARGEST: usize = 8 << 20;

/// One thing that the API server has against an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldManagerConflict`, …
    pub reason: String,
    /// Path.
    pub field: String,
    /// Untrusted text.
    pub message: String,
}

/// A refusal of the API server's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status; 0 without an answer.
    pub code: u16,
    /// `Invalid`, `Forbidden`, …
    pub reason: String,
    /// Untrusted text.
    pub message: String,
    /// In detail, as far as told.
    pub causes: Vec<Cause>,
}

/// What the API server said, and its warnings.
pub(crate) type Said = (Result<Value, Refusal>, Vec<String>);

/// A request, whatever it asks for.
pub(crate) async fn send(
    client: &Client,
    method: Method,
    path: &str,
    content: &str,
    body: Option<&Value>,
) -> Said {
    let nothing = |why: String| (Err(Refusal { message: why, ..Refusal::default() }), Vec::new());
    let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, content)
        .body(Body::from(bytes));
    let request = match request {
        Ok(request) => request,
        Err(error) => return nothing(error.to_string()),
    };
    let answer = match client.send(request).await {
        Ok(answer) => answer,
        Err(error) => return nothing(error.to_string()),
    };
    let code = answer.status();
    let warnings = answer.headers().get_all(header::WARNING).iter();
    let warnings =
        warnings.filter_map(|value| Some(value.to_str().ok()?.split('"').nth(1)?.to_owned())).collect();
    let bytes = match Limited::new(answer.into_body(), LARGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return nothing(error.to_string()),
    };
    let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if code.is_success() { (Ok(said), warnings) } else { (Err(refusal(code.as_u16(), &said)), warnings) }
}

fn refusal(code: u16, status: &Value) -> Refusal {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = status["details"]["causes"].as_array().map_or(&[][..], Vec::as_slice);
    let cause = |cause: &Value| Cause {
        reason: text(&cause["reason"]),
        field: text(&cause["field"]),
        message: text(&cause["message"]),
    };
    Refusal {
        code,
        reason: text(&status["reason"]),
        message: text(&status["message"]),
        causes: causes.iter().map(cause).collect(),
    }
}
