//! The proxy between a client and an API server that are both played here, byte for byte.

use std::{
    io,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    clock::Clock,
    cluster::mock::connect,
    fence::{
        pauses::{PAUSE, RollbackProbe},
        server::{Fence, Place},
        write_log::Writes,
    },
    lock::lease::Teller,
};

/// A fence before an API server that is played by the test.
struct Play {
    server: TcpListener,
    fence: Fence,
    lock: Teller,
    secret: String,
    address: String,
    _directory: tempfile::TempDir,
}

async fn play() -> Play {
    let (play, mut warm) = warm().await;
    // Nothing is sent over this one.
    warm.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
    let _ = warm.read_to_end(&mut Vec::new()).await;
    play
}

/// With the connection that the fence opens for writes, which waits for its answer.
async fn warm() -> (Play, TcpStream) {
    let directory = tempfile::tempdir().unwrap();
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let cluster = connect(&format!("server: '{url}'"), "token: secret-token").await;
    let (lock, claim) = Teller::new();
    let home = directory.path().join("home");
    let place = Place { home: &home, cache: None, lock_id: "0a1b2c3d", original: None };
    let clock = Clock::running_for(Duration::from_secs(3600));
    let fence = Fence::up(&cluster, Claims::new(vec![claim], clock), &place).await.unwrap();
    let config = std::fs::read_to_string(home.join("kubeconfig")).unwrap();
    assert!(!config.contains("secret-token"));
    let (_, rest) = config.split_once("http://").unwrap();
    let (address, rest) = rest.split_once('/').unwrap();
    let secret = rest.split('"').next().unwrap().to_owned();
    let mut warm = server.accept().await.unwrap().0;
    assert!(until(&mut warm, "\r\n\r\n").await.starts_with("GET /version HTTP/1.1\r\n"));
    (Play { server, fence, lock, secret, address: address.to_owned(), _directory: directory }, warm)
}

impl Play {
    /// A client that has sent a request, and maybe not all of its body.
    async fn ask(&self, method: &str, path: &str, more: &str, body: &str) -> TcpStream {
        let mut client = TcpStream::connect(&self.address).await.unwrap();
        let head =
            format!("{method} /{}{path} HTTP/1.1\r\nHost: fence\r\nUser-Agent: Helm/4.3.1\r\n", self.secret);
        client.write_all(format!("{head}{more}\r\n{body}").as_bytes()).await.unwrap();
        client
    }

    async fn put(&self) -> TcpStream {
        self.ask("PUT", "/api/v1/namespaces/shop/services/web", "Content-Length: 4\r\n", "body").await
    }

    async fn accept(&self) -> TcpStream {
        self.server.accept().await.unwrap().0
    }
}

/// Reads until the text has been seen.
async fn until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    while !read.windows(text.len()).any(|window| window == text.as_bytes()) {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{}", String::from_utf8_lossy(&read));
    }
    String::from_utf8_lossy(&read).into_owned()
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test]
async fn a_write_passes_with_the_lock_id_and_without_their_credentials() {
    let play = play().await;
    let path = "/api/v1/namespaces/shop/secrets/sh.helm.release.v1.web.v1?x=1";
    let mut client =
        play.ask("PUT", path, "Content-Length: 4\r\nAuthorization: Bearer theirs\r\n", "body").await;
    let mut server = play.accept().await;
    let seen = until(&mut server, "body").await.to_ascii_lowercase();
    assert!(
        seen.starts_with(
            "put /api/v1/namespaces/shop/secrets/sh.helm.release.v1.web.v1?x=1&fieldmanager=0a1b2c3d "
        ),
        "{seen}"
    );
    // Ours are sent by TLS alone, as Go's clients do: the stories see them arrive.
    assert!(!seen.contains("authorization"), "{seen}");
    assert!(
        seen.contains("user-agent: helm/4.3.1 helm-guard/") && seen.contains(" lock/0a1b2c3d\r"),
        "{seen}"
    );
    assert!(!seen.contains("accept-encoding") && !seen.contains(&play.secret), "{seen}");
    server.write_all(OK).await.unwrap();
    assert!(until(&mut client, "{}").await.starts_with("HTTP/1.1 200 OK"));
    let written = play.fence.written();
    assert_eq!((written.len(), written[0].code, written[0].method.as_str()), (1, 200, "PUT"));
    assert_eq!(play.fence.writes(), Writes::default(), "a record is none of the chart's objects");
}

#[tokio::test]
async fn the_first_write_finds_a_connection() {
    let (play, mut warm) = warm().await;
    warm.write_all(OK).await.unwrap();
    // With this read answered, that answer is read too: it came before, and there is one thread.
    let mut reader = play.ask("GET", "/api", "", "").await;
    let mut other = play.accept().await;
    until(&mut other, "\r\n\r\n").await;
    other.write_all(OK).await.unwrap();
    until(&mut reader, "{}").await;
    let mut client = play.put().await;
    let seen = tokio::select! {
        seen = until(&mut warm, "body") => seen,
        _ = play.accept() => panic!("another connection"),
    };
    assert!(seen.starts_with("PUT "), "{seen}");
    warm.write_all(OK).await.unwrap();
    until(&mut client, "{}").await;
    let writes = play.fence.writes();
    assert_eq!((writes.count, &*writes.last), (1, "update services/web"));
}

#[tokio::test]
async fn a_create_is_looked_into_and_passes_whole() {
    let play = play().await;
    let record = format!(
        "{{\"metadata\":{{\"name\":\"sh.helm.release.v1.web.v1\"}},\"data\":\"{}\"}}",
        "x".repeat(3 * ENOUGH)
    );
    for (body, marked) in [(record, true), ("{\"metadata\":{\"name\":\"password\"}}".into(), false)] {
        let length = format!("Content-Length: {}\r\n", body.len());
        let mut client = play.ask("POST", "/api/v1/namespaces/shop/secrets", &length, &body).await;
        let mut server = play.accept().await;
        let seen = until(&mut server, &body).await;
        assert_eq!(seen.contains("fieldManager=0a1b2c3d"), marked, "{}", &seen[..200]);
        server
            .write_all(b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
            .await
            .unwrap();
        until(&mut client, "{}").await;
    }
}

#[tokio::test]
async fn while_nobody_knows_reads_pass_and_writes_wait_for_the_renewal() {
    let play = play().await;
    play.lock.not_renewed_for_long();
    let mut write = play.put().await;
    let mut read = play.ask("GET", "/api/v1/pods", "", "").await;
    let mut server = play.accept().await;
    assert!(until(&mut server, "\r\n\r\n").await.starts_with("GET "));
    server.write_all(OK).await.unwrap();
    until(&mut read, "{}").await;
    play.lock.renewed();
    let mut server = play.accept().await;
    assert!(until(&mut server, "body").await.starts_with("PUT "));
    server.write_all(OK).await.unwrap();
    until(&mut write, "{}").await;
}

#[tokio::test]
async fn a_write_that_waits_is_refused_when_the_lock_is_lost() {
    let play = play().await;
    play.lock.not_renewed_for_long();
    let mut write = play.put().await;
    play.lock.lost("bob has it");
    let answer = until(&mut write, "\"Failure\"}").await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("application/json"), "{answer}");
    assert!(answer.contains("nothing more is written: bob has it"), "{answer}");
}

#[tokio::test]
async fn a_write_under_way_is_cut_off_when_the_lock_is_doubtful() {
    let play = play().await;
    let mut write = play.put().await;
    let mut server = play.accept().await;
    until(&mut server, "body").await;
    play.lock.not_renewed_for_long();
    let answer = until(&mut write, "\"Failure\"}").await;
    assert!(answer.contains("it was not renewed in time"), "{answer}");
    // A reset: what the system had not delivered is thrown away.
    let error = server.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(play.fence.written()[0].code, 403);
    assert_eq!(play.fence.writes().count, 0, "nobody knows that it was done");
}

#[tokio::test]
async fn the_gate_is_asked_again_when_a_connection_has_been_made() {
    // The way to the API server takes as long as this proxy wants.
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let more = format!(", proxy-url: 'http://{}'", proxy.local_addr().unwrap());
    let cluster = connect(&format!("server: 'https://api.example'{more}"), "token: secret-token").await;
    let open = Arc::new(AtomicBool::new(true));
    let gate = open.clone();
    let service = cluster.wire.gated(Arc::new(move || gate.load(Ordering::SeqCst))).short;
    let request = Request::delete("/api/v1/namespaces/shop").body(full(String::new())).unwrap();
    let sent = tokio::spawn(send(service, request));
    let mut tunnel = proxy.accept().await.unwrap().0;
    assert!(until(&mut tunnel, "\r\n\r\n").await.starts_with("CONNECT api.example:443 "));
    open.store(false, Ordering::SeqCst);
    tunnel.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    assert!(sent.await.unwrap().is_err());
    let mut left = Vec::new();
    let _ = tunnel.read_to_end(&mut left).await;
    assert_eq!(String::from_utf8_lossy(&left), "");
}

#[tokio::test]
async fn an_answer_streams_and_stays_packed() {
    let play = play().await;
    let mut client = play.ask("GET", "/api/v1/pods?watch=1", "Accept-Encoding: gzip\r\n", "").await;
    let mut server = play.accept().await;
    assert!(until(&mut server, "\r\n\r\n").await.to_ascii_lowercase().contains("accept-encoding: gzip"));
    let head =
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    server.write_all(head).await.unwrap();
    let seen = until(&mut client, "first").await.to_ascii_lowercase();
    assert!(seen.contains("content-encoding: gzip") && seen.contains("transfer-encoding: chunked"), "{seen}");
    server.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    until(&mut client, "second\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_sender_is_as_fast_as_the_api_server_reads() {
    const ALL: usize = 256 << 20;
    let play = play().await;
    let path = "/api/v1/namespaces/shop/services/web";
    let mut client = play.ask("PUT", path, &format!("Content-Length: {ALL}\r\n"), "").await;
    let _server = play.accept().await;
    let (mut sent, piece) = (0, vec![b'x'; 1 << 20]);
    let sending = async {
        while sent < ALL {
            sent += client.write(&piece).await.unwrap();
        }
    };
    // It would be over by then if anybody took it all.
    let _ = tokio::time::timeout(Duration::from_secs(1), sending).await;
    assert!(sent < 64 << 20, "{} MiB are somewhere", sent >> 20);
}

#[tokio::test]
async fn who_does_not_know_the_secret_is_told_nothing() {
    let play = play().await;
    let mut client = TcpStream::connect(&play.address).await.unwrap();
    client.write_all(b"GET /api/v1/secrets HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn other_protocols_pass_when_both_ends_agree() {
    let play = play().await;
    let path = "/api/v1/namespaces/shop/pods/web/exec?command=true";
    let mut client = play.ask("GET", path, "Connection: Upgrade\r\nUpgrade: websocket\r\n", "").await;
    let mut server = play.accept().await;
    assert!(until(&mut server, "\r\n\r\n").await.to_ascii_lowercase().contains("upgrade: websocket"));
    let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
    server.write_all(head).await.unwrap();
    until(&mut client, "hello").await;
    client.write_all(b"and back").await.unwrap();
    until(&mut server, "and back").await;
}

#[tokio::test]
async fn what_cannot_be_sent_may_be_asked_again_and_what_is_refused_is_remembered() {
    let play = play().await;
    let mut client = play.put().await;
    let mut server = play.accept().await;
    until(&mut server, "body").await;
    let body = super::super::status(422, "spec.x: Required value");
    let head = format!(
        "HTTP/1.1 422 Unprocessable Entity\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    server.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    until(&mut client, &body).await;
    let written = play.fence.written();
    assert_eq!((written[0].code, written[0].message.as_str()), (422, "spec.x: Required value"));

    drop(play.server);
    let mut client = TcpStream::connect(&play.address).await.unwrap();
    let ask = format!("PUT /{}/api/v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", play.secret);
    client.write_all(ask.as_bytes()).await.unwrap();
    let answer = until(&mut client, "\"Failure\"}").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.contains("refused"), "{answer}");
}

/// A database that is gone without a word holds Helm up once, and not at each of its writes.
#[tokio::test]
async fn records_that_do_not_answer_hold_no_write_up_for_long() {
    let play = play().await;
    let looks = Arc::new(std::sync::atomic::AtomicUsize::default());
    let counted = looks.clone();
    play.fence.probe(RollbackProbe(Box::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::pending())
    })));
    for _ in 0..2 {
        let mut client = play.put().await;
        let mut server = tokio::time::timeout(PAUSE * 2, play.accept()).await.unwrap();
        until(&mut server, "body").await;
        server
            .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
            .await
            .unwrap();
        until(&mut client, "{}").await;
    }
    assert_eq!(looks.load(Ordering::Relaxed), 1);
}

/// An API server that answers no look holds Helm up for [`PAUSE`], and not at each hook that is deleted.
#[tokio::test]
async fn looks_before_hooks_are_deleted_have_one_budget() {
    let play = play().await;
    let mut moments = play.fence.snapshots();
    let started = tokio::time::Instant::now();
    for hook in ["a", "b", "c"] {
        let path = format!("/apis/batch/v1/namespaces/shop/jobs/{hook}");
        let mut client = play.ask("DELETE", &path, "Content-Length: 0\r\n", "").await;
        let moment = moments.recv().await.unwrap();
        assert!(!moment.gives_up);
        let mut server = tokio::time::timeout(PAUSE * 2, play.accept()).await.unwrap();
        until(&mut server, "\r\n\r\n").await;
        let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
        server.write_all(answer).await.unwrap();
        until(&mut client, "{}").await;
        // The look is not over: it never is.
        std::mem::forget(moment);
    }
    let took = started.elapsed();
    assert!((PAUSE..PAUSE * 2).contains(&took), "{took:?}");
}
