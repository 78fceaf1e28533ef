//! Connections to the database: sockets, TLS, who one is there. What is asked over them is in `sql.rs`.

use std::{io, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};
use tokio_postgres::{Client, Config, NoTls, config::SslMode};
use tokio_rustls::TlsConnector;

use crate::{
    cluster::gate::{Gate, Gated},
    storage::dsn::{Database, DatabaseError, Host, Tls, password_in},
};

/// How long a server may take to let somebody in, if nobody says it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection. With it goes what it has not yet delivered.
pub(crate) struct Open {
    pub(crate) client: Client,
    _task: JoinSet<()>,
}

/// Connects to the first server that lets us in. With a gate nothing is sent while it is shut.
pub(crate) async fn open(database: &Database, gate: Option<&Gate>) -> Result<Open, DatabaseError> {
    let mut last = DatabaseError::Unreachable(database.place(), "no host is named".into());
    for host in database.hosts() {
        let patience = database.patience().unwrap_or(PATIENCE);
        let opened = tokio::time::timeout(patience, open_one(database, &host, gate)).await;
        match opened {
            Ok(Ok(open)) => return Ok(open),
            Ok(Err(error)) => last = error,
            Err(_) => {
                let why = format!("no answer within {} s", patience.as_secs());
                last = DatabaseError::Unreachable(place(database, &host), why);
            }
        }
    }
    Err(last)
}

async fn open_one(database: &Database, host: &Host, gate: Option<&Gate>) -> Result<Open, DatabaseError> {
    let place = place(database, host);
    let unreachable = |error: io::Error| DatabaseError::Unreachable(place.clone(), error.to_string());
    let stream = dial(database, host, gate).await.map_err(unreachable)?;
    let config = config(database, host);
    let connected = config.connect_raw(stream, NoTls).await;
    let (client, connection) = connected.map_err(|error| failed(&place, &error))?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        // Whoever waits for an answer is told why none comes.
        let _ = connection.await;
    });
    if matches!(database.get("target_session_attrs"), Some("read-write" | "primary")) {
        let row = client.query_one("SHOW transaction_read_only", &[]).await;
        let row = row.map_err(|error| failed(&place, &error))?;
        if row.get::<_, &str>(0) != "off" {
            return Err(DatabaseError::Unreachable(place, "it cannot be written to".into()));
        }
    }
    Ok(Open { client, _task: task })
}

fn place(database: &Database, host: &Host) -> String {
    let name = database.place();
    let name = name.rsplit_once('/').map_or("", |(_, name)| name);
    format!("{}:{}/{name}", host.name, host.port)
}

/// Who one is there.
fn config(database: &Database, host: &Host) -> Config {
    let me = || nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name);
    let user = database.get("user").map(str::to_owned).or_else(me).unwrap_or_default();
    let name = database.get("dbname").unwrap_or(&user).to_owned();
    let in_file = || {
        let (file, _) = database.file("passfile", ".pgpass")?;
        password_in(&std::fs::read_to_string(file).ok()?, host, &name, &user)
    };
    let mut config = Config::new();
    if let Some(password) = database.get("password").map(str::to_owned).or_else(in_file) {
        config.password(password);
    }
    config.user(&user).dbname(&name).options(database.options());
    config.application_name(database.get("application_name").unwrap_or("helm-guard"));
    // There is TLS already where there is to be TLS.
    config.ssl_mode(SslMode::Disable);
    config
}

/// What the server or the connection says.
pub(crate) fn failed(place: &str, error: &tokio_postgres::Error) -> DatabaseError {
    if let Some(said) = error.as_db_error() {
        return DatabaseError::of_server(place, said.code().code(), said.message());
    }
    DatabaseError::Unreachable(place.to_owned(), crate::cause::root(error).to_string())
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Bytes to and from a server, over TLS if that is wanted.
type Stream = Box<dyn Duplex>;

async fn dial(database: &Database, host: &Host, gate: Option<&Gate>) -> io::Result<Stream> {
    if host.is_local() {
        let socket = format!("{}/.s.PGSQL.{}", host.name, host.port);
        return Ok(Box::new(Gated { stream: UnixStream::connect(socket).await?, gate: gate.cloned() }));
    }
    let at = host.address.as_ref().unwrap_or(&host.name);
    let stream = TcpStream::connect((at.as_str(), host.port)).await?;
    stream.set_nodelay(true)?;
    if gate.is_some() {
        // As with the API server: what is given up must not be delivered later.
        stream.set_zero_linger()?;
    }
    let mut stream = Gated { stream, gate: gate.cloned() };
    let wanted = database.tls();
    if wanted == Tls::Off {
        return Ok(Box::new(stream));
    }
    let is_direct = database.get("sslnegotiation") == Some("direct");
    if !is_direct {
        // An SSLRequest: its length, and a code that is no version of the protocol.
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
        match stream.read_u8().await? {
            b'S' => {}
            _ if wanted == Tls::Prefer => return Ok(Box::new(stream)),
            _ => return Err(io::Error::other("it has no TLS, which sslmode asks for")),
        }
    }
    let mut config = tls(database)?;
    if is_direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    config.enable_sni = database.get("sslsni").is_none_or(|sni| sni.starts_with('1'));
    let name = ServerName::try_from(host.name.clone()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

/// What a file or, with `sslinline`, the setting itself has.
fn pem(database: &Database, name: &str, at_home: &str) -> io::Result<Option<Vec<u8>>> {
    if matches!(database.get("sslinline"), Some("true" | "1" | "yes" | "on")) {
        return Ok(database.get(name).map(|text| text.as_bytes().to_vec()));
    }
    let Some((file, must_be)) = database.file(name, at_home) else { return Ok(None) };
    match std::fs::read(&file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if !must_be && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{name} {file}: {error}"))),
    }
}

fn tls(database: &Database) -> io::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let wanted = database.tls();
    let root = match database.get("sslrootcert") {
        Some("system") => None,
        _ => pem(database, "sslrootcert", ".postgresql/root.crt")?,
    };
    let inner = if root.is_some() || matches!(wanted, Tls::VerifyCa | Tls::VerifyFull) {
        let roots = Arc::new(roots(root.as_deref())?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
        Some(verifier.map_err(io::Error::other)?)
    } else {
        None
    };
    let verifier = Verifier { inner, names: wanted == Tls::VerifyFull, provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?.dangerous();
    let builder = builder.with_custom_certificate_verifier(Arc::new(verifier));
    let Some(certificate) = pem(database, "sslcert", ".postgresql/postgresql.crt")? else {
        return Ok(builder.with_no_client_auth());
    };
    let Some(key) = pem(database, "sslkey", ".postgresql/postgresql.key")? else {
        return Err(io::Error::other("sslcert has no sslkey"));
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| io::Error::other("sslkey is no key"))?;
    let chain = chain.map_err(|_| io::Error::other("sslcert is no certificate"))?;
    builder.with_client_auth_cert(chain, key).map_err(io::Error::other)
}

/// The authorities that are given, else those of the system, else those that this program brings.
fn roots(given: Option<&[u8]>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match given {
        Some(pem) => {
            let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).flatten().collect();
            roots.add_parsable_certificates(certificates);
            if roots.is_empty() {
                return Err(io::Error::other("sslrootcert has no certificate"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
    }
    Ok(roots)
}

/// Looks at a certificate as closely as `sslmode` says.
#[derive(Debug)]
struct Verifier {
    /// `None` takes any.
    inner: Option<Arc<WebPkiServerVerifier>>,
    names: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::{CertificateError as Bad, Error};
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        // The name is looked at last.
        match inner.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }))
                if !self.names =>
            {
                Ok(ServerCertVerified::assertion())
            }
            answer => answer,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
