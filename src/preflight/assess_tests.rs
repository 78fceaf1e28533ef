//! An API server that answers some questions and not others, played byte for byte.

use std::{net::Ipv4Addr, time::Duration};

use http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    cluster::{
        mock::cluster_at,
        raw_request::{LARGEST, send},
    },
    manifest::Manifest,
};

/// A cluster whose API server answers with what `answer` makes of a path; `None` is no answer.
async fn cluster(answer: impl Fn(&str) -> Option<Vec<u8>> + Clone + Send + 'static) -> Cluster {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = server.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                match answer(head.split(' ').nth(1).unwrap()) {
                    Some(said) => drop(client.write_all(&said).await),
                    None => std::future::pending().await,
                }
            });
        }
    });
    cluster_at(&url).await
}

fn said(code: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {code} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn deploy(manifest: &str) -> Deploy {
    Deploy {
        release: "web".into(),
        namespace: "shop".into(),
        manifest: Manifest::parse(manifest, "shop").unwrap(),
        ..Deploy::default()
    }
}

#[tokio::test]
async fn what_is_referred_to_and_not_looked_up_in_time_is_told_as_not_checked() {
    let answer = |path: &str| match path.rsplit('/').next()? {
        "there" => Some(said(200, "{}")),
        "missing" => Some(said(404, "{}")),
        "hidden" => Some(said(403, "{}")),
        "failing" => Some(said(500, "{}")),
        _ => None,
    };
    let cluster = cluster(answer).await;
    for (names, expected) in [
        (&["there", "hidden"][..], &[][..]),
        (&["there", "missing"], &["Secret/missing does not exist, and this release does not render it"]),
        (&["there", "silent"], &["1 objects that workloads refer to were not checked within 30s"]),
        (&["failing", "hidden"], &["1 objects that workloads refer to were not checked within 30s"]),
    ] {
        let sources: Vec<String> =
            names.iter().map(|name| format!("{{secretRef: {{name: {name}}}}}")).collect();
        let pod = format!(
            "{{kind: Pod, apiVersion: v1, metadata: {{name: p}}, spec: {{containers: [{{name: c, envFrom: [{}]}}]}}}}",
            sources.join(", ")
        );
        let found = look_up(&cluster, &deploy(&pod), Duration::from_millis(500)).await.0;
        let causes: Vec<&str> = found.iter().map(|finding| finding.cause.as_str()).collect();
        assert_eq!(causes, expected, "{names:?}");
        assert!(found.iter().all(|finding| !finding.is_certain()), "{names:?}");
    }
}

#[tokio::test]
async fn no_answer_is_read_that_is_larger_than_any_object() {
    let answer = |path: &str| {
        let length = if path == "/small" { LARGEST / 2 } else { LARGEST + 2 };
        Some(said(200, &format!("\"{}\"", "a".repeat(length - 2))))
    };
    let cluster = cluster(answer).await;
    let get = async |path: &str| send(&cluster.client, Method::GET, path, "application/json", None).await.0;
    assert!(get("/small").await.is_ok());
    let refusal = get("/large").await.unwrap_err();
    assert_eq!((refusal.code, refusal.message.as_str()), (0, "length limit exceeded"));
}
