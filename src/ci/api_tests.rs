use serde_json::json;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, header_exists, method, path},
};

use super::{super::About, *};
use crate::ci::{self, run::Owner};

const ATTEMPT: &str = "/api/v3/repos/o/r/actions/runs/7/attempts/1";

/// The API of a server whose base URL has a path, as an Enterprise Server's has.
fn api(server: &str) -> Api {
    let env = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_API_URL", &format!("{server}/api/v3")),
        ("GITHUB_SERVER_URL", "https://ghes.example"),
        ("GITHUB_REPOSITORY", "o/r"),
        ("GITHUB_RUN_ID", "9"),
        ("GITHUB_TOKEN", "s3cr3t"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Api::new(ci::desk(&env, Default::default()).unwrap())
}

fn question() -> Ask {
    let owner = Owner {
        run_url: "https://ghes.example/o/r/actions/runs/7".into(),
        run_id: "7".into(),
        ..Owner::default()
    };
    let ci::Question::Ask(ask) = api("http://ghes.example").desk.question(&owner) else { panic!() };
    assert_eq!(ask.about, About::Attempt { run: 7, attempt: 1 });
    ask
}

fn says(status: &str, conclusion: &str) -> ResponseTemplate {
    let body = json!({"id": 7, "run_attempt": 1, "status": status, "conclusion": conclusion});
    ResponseTemplate::new(200).set_body_json(body)
}

/// What has not changed costs nothing of the quota: the server says so, and the answer is the same.
#[tokio::test]
async fn a_question_that_is_asked_again_asks_for_changes() {
    let server = MockServer::start().await;
    let get = || Mock::given(method("GET")).and(path(ATTEMPT)).and(header("authorization", "Bearer s3cr3t"));
    get()
        .and(header("if-none-match", "\"one\""))
        .respond_with(ResponseTemplate::new(304))
        .expect(1)
        .mount(&server)
        .await;
    let first = says("in_progress", "").insert_header("etag", "\"one\"");
    get().and(header_exists("user-agent")).respond_with(first).expect(1).mount(&server).await;
    let (mut api, question) = (api(&server.uri()), question());
    for _ in 0..2 {
        assert_eq!(api.ask(&question).await, Ok(Answer::Alive("in_progress".into())));
    }
}

/// A redirect is not followed: the token goes nowhere else.
#[tokio::test]
async fn nobody_is_followed_elsewhere() {
    let (server, other) = (MockServer::start().await, MockServer::start().await);
    let away = ResponseTemplate::new(307).insert_header("location", format!("{}{ATTEMPT}", other.uri()));
    Mock::given(method("GET")).respond_with(away).mount(&server).await;
    assert!(matches!(api(&server.uri()).ask(&question()).await, Err(Trouble::Final(_))));
    assert!(other.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_limit_lasts_until_the_server_s_own_clock_says_so() {
    let server = MockServer::start().await;
    let limited = ResponseTemplate::new(403)
        .insert_header("x-ratelimit-remaining", "0")
        .insert_header("x-ratelimit-reset", "784111817")
        .insert_header("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    Mock::given(method("GET")).respond_with(limited).mount(&server).await;
    let answer = api(&server.uri()).ask(&question()).await;
    assert_eq!(
        answer,
        Err(Trouble::Passing("status 403, too many questions".into(), Duration::from_secs(40)))
    );
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let server = MockServer::start().await;
    let endless = ResponseTemplate::new(200).set_body_bytes(vec![b' '; LARGEST + 1]);
    Mock::given(method("GET")).respond_with(endless).mount(&server).await;
    assert!(matches!(api(&server.uri()).ask(&question()).await, Err(Trouble::Passing(..))));
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come_back() {
    let answer = api("http://127.0.0.1:1").ask(&question()).await;
    assert!(matches!(&answer, Err(Trouble::Passing(why, _)) if why.contains("refused")), "{answer:?}");
}
