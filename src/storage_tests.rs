//! Writes of records under a lock, to an API server that is played here.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{clock::Clock, cluster::mock::cluster_at, lock::lease::Teller};

struct Play {
    server: TcpListener,
    store: Store,
    lock: Teller,
}

async fn play() -> Play {
    let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let cluster = cluster_at(&format!("http://{}", server.local_addr().unwrap())).await;
    let (lock, claim) = Teller::new();
    let claims = Claims::new(vec![claim], Clock::running_for(Duration::from_secs(3600)));
    let store = Store::new(cluster.client.clone(), "shop", &Storage::Secrets);
    let store = store.under(&cluster.wire, claims, "0a1b2c3d");
    Play { server, store, lock }
}

impl Play {
    async fn delete(&self) -> Result<(), StoreError> {
        let metadata = ObjectMeta { name: Some("sh.helm.release.v1.web.v2".into()), ..ObjectMeta::default() };
        let record = Stored::Secret(Box::new(Secret { metadata, ..Secret::default() })).record();
        self.store.delete(&record).await
    }

    async fn accept(&self) -> (TcpStream, String) {
        let (mut stream, _) = self.server.accept().await.unwrap();
        let mut heard = String::new();
        while !heard.contains("\r\n\r\n") {
            let mut some = [0; 4096];
            let read = stream.read(&mut some).await.unwrap();
            assert_ne!(read, 0, "{heard}");
            heard.push_str(&String::from_utf8_lossy(&some[..read]));
        }
        (stream, heard)
    }

    /// Nobody has connected.
    async fn heard_nothing(&self) -> bool {
        tokio::time::timeout(Duration::ZERO, self.server.accept()).await.is_err()
    }
}

fn lost_to_bob(answer: Result<(), StoreError>) -> bool {
    matches!(answer, Err(StoreError::LockLost(why)) if why == "bob has it")
}

#[tokio::test]
async fn a_write_carries_the_lock_id() {
    let play = play().await;
    let answer = async {
        let (mut stream, heard) = play.accept().await;
        let body = r#"{"kind":"Status","status":"Failure","code":404,"reason":"NotFound"}"#;
        let answer = format!(
            "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        heard
    };
    let (deleted, heard) = tokio::join!(play.delete(), answer);
    assert!(deleted.is_ok(), "{deleted:?}");
    let (line, rest) = heard.split_once("\r\n").unwrap();
    assert!(line.starts_with("DELETE /api/v1/namespaces/shop/secrets/sh.helm.release.v1.web.v2?"), "{line}");
    assert!(line.contains("fieldManager=0a1b2c3d"), "{line}");
    let agent = format!("user-agent: helm-guard/{} lock/0a1b2c3d\r\n", env!("CARGO_PKG_VERSION"));
    assert!(rest.contains(&agent), "{rest}");
}

#[tokio::test]
async fn after_a_loss_nothing_is_sent() {
    let play = play().await;
    play.lock.lost("bob has it");
    assert!(lost_to_bob(play.delete().await));
    assert!(play.heard_nothing().await);
}

#[tokio::test]
async fn while_nobody_knows_a_write_waits() {
    let play = play().await;
    play.lock.not_renewed_for_long();
    let mut delete = std::pin::pin!(play.delete());
    assert!(futures::poll!(&mut delete).is_pending());
    play.lock.lost("bob has it");
    assert!(lost_to_bob(delete.await));
    assert!(play.heard_nothing().await);
}

#[tokio::test]
async fn a_write_under_way_is_given_up_with_the_lock() {
    let play = play().await;
    let lose = async {
        let (mut stream, _) = play.accept().await;
        play.lock.lost("bob has it");
        // Reset, so that the system delivers nothing more of it.
        let read = stream.read(&mut [0; 1]).await;
        assert!(!matches!(read, Ok(1)), "{read:?}");
    };
    let (deleted, ()) = tokio::join!(play.delete(), lose);
    assert!(lost_to_bob(deleted));
}

#[tokio::test]
async fn a_store_without_a_lock_is_only_read() {
    let play = play().await;
    let read_only = Play { store: Store { pen: None, ..play.store }, ..play };
    assert!(matches!(read_only.delete().await, Err(StoreError::LockLost(_))));
    assert!(read_only.heard_nothing().await);
}
