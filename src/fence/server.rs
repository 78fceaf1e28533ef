//! The server of the fence: started for one run of Helm, stopped after it.

use std::{
    convert::Infallible,
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};

use super::{
    Description, VARIABLES,
    admission::{Ahead, Inspector},
    answers::Answers,
    kubeconfig_dir::Home,
    openapi_cache::Memory,
    pauses::{FailureSnapshot, Pauses, RollbackProbe},
    proxy::{Hidden, Proxy},
    write_log::{Log, Written},
};
use crate::cluster::crds::Definition;
use crate::{
    cluster::{Cluster, gate::Gate},
    fence::write_log::Writes,
    id::hex,
    lock::lease::Claims,
};

/// Where the fence's files go, and who it is.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Its own directory, which must not be there yet.
    pub home: &'a Path,
    /// The user's cache directory.
    pub cache: Option<&'a Path>,
    /// Short id of the hold of the lock.
    pub lock_id: &'a str,
    /// The kubeconfig that the user gave.
    pub original: Option<String>,
}

/// The fence, up until it is dropped.
#[derive(Debug)]
pub struct Fence {
    server: Server,
    proxy: Arc<Proxy>,
    listing: Mutex<Option<Server>>,
    environment: Vec<(&'static str, Option<String>)>,
    written: Arc<Mutex<Log>>,
    helm: watch::Receiver<Option<String>>,
    records: watch::Receiver<u64>,
    ahead: Arc<Mutex<Ahead>>,
    hidden: Hidden,
    files: Files,
}

/// A task that serves, or asks; with it go all its connections.
#[derive(Debug)]
struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is left of a fence that is down. Cleared away when this is dropped.
#[derive(Debug)]
pub struct Files {
    learnt: Option<Learnt>,
    _home: Home,
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Some(Learnt { memory, cache, address, asked }) = &self.learnt {
            // Without it the next run asks again.
            let _ = memory.keep(cache, address, &asked.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// What this Helm asked for and the next need not.
#[derive(Debug)]
struct Learnt {
    memory: Memory,
    /// Helm's `KUBECACHEDIR`.
    cache: PathBuf,
    /// The fence's.
    address: String,
    asked: Arc<Mutex<Vec<Description>>>,
}

impl Fence {
    /// Puts it up. Without claims nothing can be lost, and it stands only between Helm and the credentials.
    ///
    /// # Errors
    /// When there is no port to listen on, or its files cannot be written.
    pub async fn up(cluster: &Cluster, lock: Claims, place: &Place<'_>) -> io::Result<Self> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        let secret = hex(&secret);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = format!("http://{}/{secret}", listener.local_addr()?);

        let home = Home::make(place.home)?;
        let context = &cluster.context;
        let kubeconfig =
            super::kubeconfig(&address, &context.name, &context.namespace, context.disable_compression);
        let kubeconfig = text(home.kubeconfig(&kubeconfig)?);
        let cache = home.cache(&address, &cluster.server, place.cache)?;
        let memory = place.cache.and_then(|cache| Memory::open(cache, &cluster.server));
        if let Some(memory) = &memory {
            // Without it Helm has only to ask again.
            let _ = memory.lend(&cache, &address);
        }
        let mut environment = vec![
            ("KUBECONFIG", Some(kubeconfig)),
            ("KUBECACHEDIR", Some(text(cache.clone()))),
            ("HELM_GUARD_KUBECONFIG", place.original.clone()),
        ];
        environment.extend(VARIABLES.map(|name| (name, None)));

        let gate: Gate = {
            let lock = lock.clone();
            Arc::new(move || lock.are_safe())
        };
        let written = Arc::<Mutex<Log>>::default();
        let asked = Arc::<Mutex<Vec<Description>>>::default();
        let (helm, helm_seen) = watch::channel(None);
        let (records, records_seen) = watch::channel(0);
        let ahead = Arc::<Mutex<Ahead>>::default();
        let hidden = Hidden::default();
        let proxy = Arc::new(Proxy {
            secret,
            lock_id: place.lock_id.to_owned(),
            lock,
            free: cluster.wire.free(),
            gated: cluster.wire.gated(gate),
            server: cluster.server.clone(),
            written: written.clone(),
            helm,
            records,
            ahead: ahead.clone(),
            pauses: Pauses::default(),
            asked: asked.clone(),
            hidden: hidden.clone(),
            answers: Answers::new(),
        });
        let serving = proxy.clone();
        let server = tokio::spawn(async move {
            tokio::join!(serve(listener, serving.clone()), serving.warm());
        });
        let learnt = memory.map(|memory| Learnt { memory, cache, address, asked });
        let (server, files) = (Server(server), Files { learnt, _home: home });
        Ok(Self {
            server,
            proxy,
            listing: Mutex::default(),
            environment,
            written,
            helm: helm_seen,
            records: records_seen,
            ahead,
            hidden,
            files,
        })
    }

    /// Helm's environment: variables that are set, and those that are not to be.
    pub fn environment(&self) -> &[(&'static str, Option<String>)] {
        &self.environment
    }

    /// Which Helm is behind it, such as `v4.3.1`: waits for its first request.
    pub async fn helm_version(&self) -> String {
        let mut helm = self.helm.clone();
        match helm.wait_for(Option::is_some).await {
            Ok(version) => version.clone().unwrap_or_default(),
            // The fence is down: no request comes any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// How many release records Helm has created, from now on.
    pub fn records(&self) -> watch::Receiver<u64> {
        self.records.clone()
    }

    /// The moments at which the release is to be looked at. Helm waits at each of them, from now on.
    pub fn snapshots(&self) -> mpsc::UnboundedReceiver<FailureSnapshot> {
        self.proxy.pauses.snapshots()
    }

    /// The next record that Helm creates is looked at first, and no other.
    pub fn inspect(&self, inspector: Inspector) {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).expect(inspector);
    }

    /// Helm is about to install into this namespace: what is in it is listed while Helm starts. Only for a record that is looked
    /// at.
    pub fn list_names(&self, namespace: &str) {
        let (proxy, namespace) = (self.proxy.clone(), namespace.to_owned());
        let listing = tokio::spawn(async move { proxy.list_names(&namespace).await });
        *self.listing.lock().unwrap_or_else(PoisonError::into_inner) = Some(Server(listing));
    }

    /// Helm is told that this namespace does not exist, until it creates it.
    pub fn hide(&self, namespace: &str) {
        *self.hidden.lock().unwrap_or_else(PoisonError::into_inner) = Some(namespace.to_owned());
    }

    /// CRDs that Helm created or applied before that record. Each is told of once.
    pub fn defined(&self) -> Vec<Definition> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).defined()
    }

    /// From now on this probe says before each write whether Helm has given up.
    pub fn probe(&self, probe: RollbackProbe) {
        self.proxy.pauses.probe(probe);
    }

    /// Takes it down: nothing passes any more. Its files can wait until nobody waits for this program.
    pub fn down(self) -> Files {
        drop((self.server, self.listing));
        self.files
    }

    /// The last of Helm's writes, oldest first.
    pub fn written(&self) -> Vec<Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).last()
    }

    /// What Helm wrote so far, its records aside.
    pub fn writes(&self) -> Writes {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).writes().clone()
    }
}

fn text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

async fn serve(listener: TcpListener, proxy: Arc<Proxy>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, proxy.clone()))),
                // Out of file handles, most likely: some are given back soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, proxy: Arc<Proxy>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let proxy = proxy.clone();
        async move { Ok::<_, Infallible>(proxy.answer(request).await) }
    });
    // Its other end may be gone at any time, and nobody is left to be told.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}
