//! A gate in front of the API server. It stops one chosen request, so that a test can kill its sender exactly there, or
//! does to requests what bad networks and busy servers do. All else passes as it is: the answers are the API server's.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::Namespace;

type Answer = Response<UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>>;

/// A request on its way to the API server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// Which client: `Helm/…`, or another.
    pub user_agent: String,
    /// What is sent.
    pub body: Bytes,
}

impl Seen {
    /// Does it change anything?
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// The part of the path behind the namespace, such as `secrets/sh.helm.release.v1.web.v1`; else the whole path.
    #[must_use]
    pub fn object(&self) -> &str {
        let path = self.uri.path();
        path.split_once("/namespaces/")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map_or(path, |(_, rest)| rest)
    }
}

/// Where a chosen request stops for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Before the API server sees it: it never happens.
    Before,
    /// When it is done: its sender never hears of it.
    After,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It passes as it is.
    Pass,
    /// It passes this much later.
    Late(Duration),
    /// Its connection stays open, and nothing comes any more.
    Hold(Hold),
    /// Its connection breaks.
    Cut(Hold),
    /// The API server does not see it. It gets this status, and is told to come again after so many seconds.
    Answer(u16, Option<u32>),
}

/// The gate. When it is dropped, everything that still waits at it is cut off.
pub struct Gate {
    kubeconfig: PathBuf,
    held: mpsc::Receiver<Seen>,
    _directory: TempDir,
    runtime: Option<Runtime>,
}

impl Gate {
    /// Opens a gate to the cluster of a namespace. Every request is shown to `choose`, in the order of its arrival; the
    /// first for which it says so is held, and from then on none is chosen.
    ///
    /// # Errors
    /// When there is no port to listen on, or the kubeconfig cannot be written.
    pub fn open(
        namespace: &Namespace<'_>,
        mut choose: impl FnMut(&Seen) -> Option<Hold> + Send + 'static,
    ) -> Result<Self> {
        let mut is_over = false;
        Self::with(namespace, move |seen| match choose(seen).filter(|_| !is_over) {
            None => Fate::Pass,
            Some(hold) => {
                is_over = true;
                Fate::Hold(hold)
            }
        })
    }

    /// Opens a gate at which each request meets its fate, in the order of its arrival.
    ///
    /// # Errors
    /// As [`Gate::open`].
    pub fn with(
        namespace: &Namespace<'_>,
        choose: impl FnMut(&Seen) -> Fate + Send + 'static,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let admin = kube::config::Kubeconfig::read_from(namespace.kubeconfig())?;
        let (listener, client) = runtime.block_on(async {
            let config = kube::Config::from_custom_kubeconfig(admin, &Default::default()).await?;
            anyhow::Ok((TcpListener::bind(("127.0.0.1", 0)).await?, kube::Client::try_from(config)?))
        })?;
        let directory = tempfile::Builder::new().prefix("hg-gate-").tempdir()?;
        let kubeconfig = directory.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: gate\n\
             clusters: [{{name: gate, cluster: {{server: 'http://{}'}}}}]\n\
             contexts: [{{name: gate, context: {{cluster: gate, user: gate, namespace: {}}}}}]\n\
             users: [{{name: gate, user: {{}}}}]\n",
            listener.local_addr()?,
            namespace.name()
        );
        fs::write(&kubeconfig, text).context("kubeconfig of the gate")?;
        let (sender, held) = mpsc::channel();
        let keeper = Arc::new(Keeper { client, choose: Mutex::new(Box::new(choose)), held: sender });
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let keeper = keeper.clone();
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    let service = service_fn(|request| keeper.clone().pass(request));
                    // The sender may be killed at any time: that is what this is for.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { kubeconfig, held, _directory: directory, runtime: Some(runtime) })
    }

    /// A kubeconfig that leads through the gate.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Waits until the chosen request is held.
    ///
    /// # Errors
    /// When none came within the limit.
    pub fn wait(&self, limit: Duration) -> Result<Seen> {
        self.held.recv_timeout(limit).context("no request that was to be held came to the gate")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Choose = Box<dyn FnMut(&Seen) -> Fate + Send>;

struct Keeper {
    client: kube::Client,
    choose: Mutex<Choose>,
    held: mpsc::Sender<Seen>,
}

impl Keeper {
    async fn pass(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let seen = Seen {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            user_agent: user_agent.unwrap_or_default().to_owned(),
            body: body.clone(),
        };
        let fate = self.choose(&seen);
        match fate {
            Fate::Pass | Fate::Hold(Hold::After) | Fate::Cut(Hold::After) => {}
            Fate::Late(by) => tokio::time::sleep(by).await,
            Fate::Hold(Hold::Before) => match self.hold(seen).await {},
            Fate::Cut(Hold::Before) => bail!("cut"),
            Fate::Answer(code, again) => return refused(code, again),
        }
        // The gate has its own.
        parts.headers.remove(header::HOST);
        parts.headers.remove(header::AUTHORIZATION);
        let answer = self.client.send(Request::from_parts(parts, Body::from(body.to_vec()))).await;
        match fate {
            Fate::Hold(Hold::After) => match self.hold(seen).await {},
            Fate::Cut(Hold::After) => bail!("cut"),
            _ => {}
        }
        Ok(match answer {
            Ok(answer) => answer.map(|body| body.map_err(Into::into).boxed_unsync()),
            Err(error) => {
                let text = Full::from(error.to_string()).map_err(|never| match never {}).boxed_unsync();
                Response::builder().status(502).body(text)?
            }
        })
    }

    fn choose(&self, seen: &Seen) -> Fate {
        let mut choose = self.choose.lock().unwrap_or_else(PoisonError::into_inner);
        choose(seen)
    }

    /// For ever, or until the gate is gone.
    async fn hold(&self, seen: Seen) -> Infallible {
        let _ = self.held.send(seen);
        std::future::pending().await
    }
}

/// As the API server's own filters refuse what is too much, or what they cannot do.
fn refused(code: u16, again: Option<u32>) -> Result<Answer> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "refused by the gate", "code": code,
    });
    let text = Full::from(status.to_string()).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    if let Some(seconds) = again {
        answer = answer.header(header::RETRY_AFTER, seconds);
    }
    Ok(answer.body(text)?)
}
