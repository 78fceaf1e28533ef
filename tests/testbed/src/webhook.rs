//! An admission webhook: a server that the API server asks, over TLS, before it takes an object. What it says is the test's
//! to decide; that it is asked, and when, is the API server's.

use std::{
    convert::Infallible,
    fs,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_rustls::TlsAcceptor;

use crate::Cluster;

/// What the API server asks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Review {
    /// `CREATE`, `UPDATE`, …
    pub operation: String,
    /// Is nothing to be kept of it?
    pub dry_run: bool,
    /// The object as it is wanted.
    pub object: Value,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is let pass.
    Allow,
    /// It is refused, with these words.
    Deny(String),
    /// This text, which need not be an answer at all.
    Text(String),
}

/// The server. When it is dropped nobody answers any more: take its registration away before.
pub struct Webhook {
    port: u16,
    bundle: String,
    asked: Arc<Mutex<Vec<Review>>>,
    runtime: Option<Runtime>,
}

impl Webhook {
    /// Listens, with the certificate of the cluster's API server, which is for everything on this machine.
    ///
    /// # Errors
    /// When there is no port, or the cluster's certificate cannot be read.
    pub fn open(
        cluster: &Cluster,
        judge: impl Fn(&Review) -> Verdict + Send + Sync + 'static,
    ) -> Result<Self> {
        let file = |name: &str| fs::read(cluster.info().dir.join(name)).with_context(|| name.to_owned());
        let certificate = CertificateDer::from_pem_slice(&file("server.crt")?)?;
        let key = PrivateKeyDer::from_pem_slice(&file("server.key")?)?;
        let tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        let tls = TlsAcceptor::from(Arc::new(tls));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let port = listener.local_addr()?.port();
        let asked = Arc::default();
        let answering = Arc::new(Answering { judge: Box::new(judge), asked: Arc::clone(&asked) });
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answering) = (tls.clone(), answering.clone());
                tokio::spawn(async move {
                    // Who asks may go away in the middle.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(|request| answering.clone().answer(request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { port, bundle: STANDARD.encode(file("ca.crt")?), asked, runtime: Some(runtime) })
    }

    /// The `clientConfig` of a configuration that names it.
    #[must_use]
    pub fn client_config(&self) -> Value {
        json!({"url": format!("https://127.0.0.1:{}/", self.port), "caBundle": self.bundle})
    }

    /// What was asked so far, the oldest first; the list is empty again then.
    pub fn asked(&self) -> Vec<Review> {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Answering {
    judge: Box<dyn Fn(&Review) -> Verdict + Send + Sync>,
    asked: Arc<Mutex<Vec<Review>>>,
}

impl Answering {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let request = &asked["request"];
        let review = Review {
            operation: request["operation"].as_str().unwrap_or_default().to_owned(),
            dry_run: request["dryRun"] == true,
            object: request["object"].clone(),
        };
        let verdict = (self.judge)(&review);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(review);
        let said = |allowed: bool, message: &str| {
            let response = json!({"uid": request["uid"], "allowed": allowed, "status": {"message": message}});
            json!({"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": response})
                .to_string()
        };
        let text = match verdict {
            Verdict::Allow => said(true, ""),
            Verdict::Deny(message) => said(false, &message),
            Verdict::Text(text) => text,
        };
        let mut answer = Response::new(Full::from(text));
        let json = header::HeaderValue::from_static("application/json");
        answer.headers_mut().insert(header::CONTENT_TYPE, json);
        Ok(answer)
    }
}
