//! How a lock is asked for, seen by a mock API server.

use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request as Sent, ResponseTemplate, matchers::method};

use super::*;
use crate::cluster::mock::cluster_at;

/// A Lease that `identity` holds, as the API server returns it. Nobody holds it without one.
fn lease(identity: Option<&str>) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "helm-guard-web", "namespace": "shop", "uid": "u1", "resourceVersion": "7"},
        "spec": {
            "holderIdentity": identity, "leaseDurationSeconds": 300, "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    })
}

/// What was sent as the API server stores it.
fn stored(sent: &Sent) -> ResponseTemplate {
    let mut lease: Value = sent.body_json().unwrap();
    (lease["metadata"]["uid"], lease["metadata"]["resourceVersion"]) = ("u1".into(), "8".into());
    ResponseTemplate::new(200).set_body_json(lease)
}

fn failure(code: u16, reason: &str) -> ResponseTemplate {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "message": "no", "reason": reason, "code": code,
    });
    ResponseTemplate::new(code).set_body_json(status)
}

fn request(is_new: bool, within: Option<&str>) -> Request {
    Request {
        lease: "helm-guard-web".into(),
        namespace: "shop".into(),
        me: Holder { identity: "me".into(), lock_id: "0a1b2c3d".into(), ..Holder::default() },
        times: Times::new(Duration::from_secs(300)),
        timeout: Duration::ZERO,
        within: within.map(str::to_owned),
        is_new,
    }
}

/// The methods of the requests until the lock was held or could not be had, and whether it is held.
async fn methods(request: &Request, there: Option<Value>) -> (Vec<String>, bool) {
    let server = MockServer::start().await;
    let get = there
        .clone()
        .map_or(failure(404, "NotFound"), |lease| ResponseTemplate::new(200).set_body_json(lease));
    Mock::given(method("GET")).respond_with(get).mount(&server).await;
    let create = move |sent: &Sent| match &there {
        Some(_) => failure(409, "AlreadyExists"),
        None => stored(sent),
    };
    Mock::given(method("POST")).respond_with(create).mount(&server).await;
    Mock::given(method("PUT")).respond_with(stored).mount(&server).await;
    let client = cluster_at(&server.uri()).await.client;
    let clock = Clock::start();
    let mut queue = Queue::alone(clock);
    let acquired = acquire(client, request, clock, &mut queue, std::future::pending(), |_, _| {}).await;
    let sent = server.received_requests().await.unwrap_or_default();
    (sent.iter().map(|sent| sent.method.to_string()).collect(), acquired.is_ok())
}

#[tokio::test]
async fn an_install_creates_its_lease_without_reading_it() {
    for (what, is_new, within, there, wanted, is_held) in [
        ("a new release's Lease is created at once", true, None, None, &["POST"][..], true),
        ("any other is read before", false, None, None, &["GET", "POST"], true),
        ("so is one that this process may work under", true, Some("7f6e5d4c"), None, &["GET", "POST"], true),
        (
            "one that is there and free is read then and taken",
            true,
            None,
            Some(lease(None)),
            &["POST", "GET", "PUT"],
            true,
        ),
        (
            "one that another holds is read then and left alone",
            true,
            None,
            Some(lease(Some("other"))),
            &["POST", "GET"],
            false,
        ),
        ("and so it is when it is read first", false, None, Some(lease(Some("other"))), &["GET"], false),
    ] {
        let seen = methods(&request(is_new, within), there).await;
        assert_eq!(seen, (wanted.iter().map(|method| (*method).to_owned()).collect(), is_held), "{what}");
    }
}

/// The API server stored the Lease, but its answer was an error.
#[tokio::test]
async fn an_install_whose_first_answer_is_lost_reads_the_lease_and_finds_itself() {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(failure(500, "InternalError")).mount(&server).await;
    let ours = ResponseTemplate::new(200).set_body_json(lease(Some("me")));
    Mock::given(method("GET")).respond_with(ours).mount(&server).await;
    Mock::given(method("PUT")).respond_with(stored).mount(&server).await;
    let mut request = request(true, None);
    request.times.look_every = Duration::from_millis(1);
    let client = cluster_at(&server.uri()).await.client;
    let clock = Clock::start();
    let mut queue = Queue::alone(clock);
    let acquired = acquire(client, &request, clock, &mut queue, std::future::pending(), |_, _| {}).await;
    assert_eq!(acquired.unwrap().taken_over, None, "it was nobody else's");
    let sent = server.received_requests().await.unwrap();
    assert_eq!(sent.iter().map(|sent| sent.method.to_string()).collect::<Vec<_>>(), ["POST", "GET", "PUT"]);
}
