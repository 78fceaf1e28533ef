//! A relay in front of the API server that makes it as far away as another region's. It delays and does nothing else: bytes
//! pass as they are, so TLS and HTTP/2 are between the ends, each connection of a client is one to the API server, and what is
//! under way is not bounded, so that throughput is that of the machine.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// A relay that listens until it is dropped.
#[derive(Debug)]
pub struct Relay {
    kubeconfig: PathBuf,
    /// How often what was open went silent.
    silences: Arc<AtomicU64>,
    _directory: TempDir,
    runtime: Option<Runtime>,
}

impl Relay {
    /// Listens for clients of the cluster that a kubeconfig names, which must be on this machine. Each answer takes
    /// `round_trip` longer than without the relay, and so does opening a connection.
    ///
    /// # Errors
    /// When there is no port to listen on, or the kubeconfig cannot be read or written.
    pub fn open(kubeconfig: &Path, round_trip: Duration) -> Result<Self> {
        let text = fs::read_to_string(kubeconfig).context("read the kubeconfig")?;
        let server = text.lines().find_map(|line| line.trim().strip_prefix("server: https://"));
        let Some(server) = server.map(str::to_owned) else { bail!("the kubeconfig names no server") };
        let to: SocketAddr = server.parse().context("the server's address")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let own = listener.local_addr()?;
        let directory = tempfile::Builder::new().prefix("hg-relay-").tempdir()?;
        let through = directory.path().join("kubeconfig");
        fs::write(&through, text.replace(&server, &own.to_string())).context("kubeconfig of the relay")?;
        let silences = Arc::new(AtomicU64::new(0));
        let now = silences.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let since = now.load(Ordering::SeqCst);
                let now = now.clone();
                let is_silent = move || now.load(Ordering::SeqCst) != since;
                tokio::spawn(join(client, to, round_trip, is_silent));
            }
        });
        Ok(Self { kubeconfig: through, silences, _directory: directory, runtime: Some(runtime) })
    }

    /// From now on nothing passes on the connections that are open, and nobody is told. New ones are as before.
    pub fn silence(&self) {
        self.silences.fetch_add(1, Ordering::SeqCst);
    }

    /// A kubeconfig that leads through the relay.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn join(client: TcpStream, to: SocketAddr, round_trip: Duration, is_silent: impl Fn() -> bool + Clone) {
    // The system has answered the client's first packet already: a far server would have done so now.
    let opened = Instant::now() + round_trip;
    let Ok(server) = TcpStream::connect(to).await else { return };
    // Nagle's algorithm would add delays of its own.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let half = round_trip / 2;
    tokio::join!(
        late(from_client, to_server, half, opened, is_silent.clone()),
        late(from_server, to_client, half, opened, is_silent),
    );
}

/// Passes on what is read, so much later; what is read before `opened` counts as read then. The end is passed on too.
async fn late(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    by: Duration,
    opened: Instant,
    is_silent: impl Fn() -> bool,
) {
    let (sender, mut on_the_way) = mpsc::unbounded_channel::<(Instant, Bytes)>();
    let read = async move {
        let mut chunk = BytesMut::new();
        loop {
            chunk.reserve(CHUNK);
            let ended = !matches!(from.read_buf(&mut chunk).await, Ok(count) if count > 0);
            let due = Instant::now().max(opened) + by;
            if sender.send((due, chunk.split().freeze())).is_err() || ended {
                return;
            }
        }
    };
    let written = async move {
        while let Some((due, bytes)) = on_the_way.recv().await {
            sleep_until(due).await;
            if is_silent() {
                std::future::pending::<()>().await;
            }
            if bytes.is_empty() || to.write_all(&bytes).await.is_err() {
                let _ = to.shutdown().await;
                return;
            }
        }
    };
    tokio::join!(read, written);
}
