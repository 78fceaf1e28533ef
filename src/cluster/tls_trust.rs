//! Which certificates of servers are trusted: those that Go's `crypto/x509` trusts, and no others. webpki differs from it: it
//! refuses a server whose certificate is that of an authority, or is itself what is trusted, and it does not look whether an
//! authority has expired.
//!
//! Not trusted here, though Go does: RSA keys below 2048 bits and the curve P-521, which the cryptography (ring) does not know,
//! and chains with constraints on policies. Pure: the time is passed in.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime},
};

use super::{
    pem,
    x509::{Certificate, PublicKey},
    x509_names,
};

/// How many signatures are checked for one server, at most, as in Go.
const MOST_CHECKS: usize = 100;

/// Authorities, and servers that are trusted as they are.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    anchors: Vec<Anchor>,
}

/// What is trusted.
#[derive(Clone, Debug)]
enum Anchor {
    /// A certificate.
    Certificate(Box<Certificate>),
    /// What this program brings of an authority: content of its name, and its key.
    Bare { subject: Vec<u8>, key: PublicKey },
}

/// A text of authorities has none that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no certificate in it")]
pub struct NoCertificate;

impl Pool {
    /// The certificates of a bundle. What cannot be read is left out.
    ///
    /// # Errors
    /// When nothing is left.
    pub fn of_pem(text: &[u8]) -> Result<Self, NoCertificate> {
        let blocks = pem::blocks(text);
        let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE" && !block.has_headers);
        let pool = Self::of_der(certificates.map(|block| &*block.content));
        if pool.anchors.is_empty() { Err(NoCertificate) } else { Ok(pool) }
    }

    /// Certificates. What cannot be read is left out.
    pub fn of_der<'a>(certificates: impl Iterator<Item = &'a [u8]>) -> Self {
        let read = certificates.filter_map(|der| Certificate::parse(der).ok());
        Self { anchors: read.map(|read| Anchor::Certificate(Box::new(read))).collect() }
    }

    /// The authorities that this program brings.
    pub fn compiled_in() -> Self {
        let bare = |anchor: &rustls::pki_types::TrustAnchor<'_>| {
            let key = PublicKey::of_content(&anchor.subject_public_key_info).ok()?;
            // None of them has constraints; one that had could not be held to them here.
            let is_free = anchor.name_constraints.is_none();
            is_free.then(|| Anchor::Bare { subject: anchor.subject.to_vec(), key })
        };
        Self { anchors: webpki_roots::TLS_SERVER_ROOTS.iter().filter_map(bare).collect() }
    }

    /// Has it nothing?
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    fn has(&self, certificate: &Certificate) -> bool {
        self.anchors
            .iter()
            .any(|anchor| matches!(anchor, Anchor::Certificate(own) if own.der == certificate.der))
    }
}

/// What a server shows, against what is trusted.
struct Search<'a> {
    pool: &'a Pool,
    others: Vec<Certificate>,
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    now: i64,
    checks: usize,
}

/// Looks at a server's certificates, the first its own, as Go does.
///
/// # Errors
/// Why it is not trusted.
pub fn verify(
    pool: &Pool,
    chain: &[&[u8]],
    host: &str,
    now: i64,
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
) -> Result<(), CertificateError> {
    let read: Result<Vec<_>, _> = chain.iter().map(|der| Certificate::parse(der)).collect();
    let mut read = read.map_err(|_| CertificateError::BadEncoding)?.into_iter();
    let leaf = read.next().ok_or(CertificateError::BadEncoding)?;
    is_valid(&leaf, 0, now)?;
    if !x509_names::is_for(&leaf, host) {
        return Err(CertificateError::NotValidForName);
    }
    if pool.has(&leaf) {
        return judge(&[&leaf]);
    }
    let mut search = Search { pool, others: Vec::new(), algorithms, now, checks: 0 };
    for other in read {
        if !search.others.iter().any(|known| known.der == other.der) {
            search.others.push(other);
        }
    }
    let others = std::mem::take(&mut search.others);
    search.above(&mut vec![&leaf], &others)
}

impl<'a> Search<'a> {
    /// Is there a way from the last certificate of a chain to what is trusted?
    fn above(
        &mut self,
        chain: &mut Vec<&'a Certificate>,
        others: &'a [Certificate],
    ) -> Result<(), CertificateError>
    where
        Self: 'a,
    {
        let Some(last) = chain.last().copied() else { return Err(CertificateError::UnknownIssuer) };
        let mut why = CertificateError::UnknownIssuer;
        let pool = self.pool;
        for anchor in &pool.anchors {
            let tried = match anchor {
                Anchor::Bare { subject, key } => {
                    (*subject == last.issuer).then(|| self.signed(last, key).and_then(|()| judge(chain)))
                }
                Anchor::Certificate(root) => {
                    (root.subject == last.issuer && !is_in(root, chain)).then(|| {
                        self.signed_by(last, root)?;
                        is_valid(root, chain.len() - 1, self.now)?;
                        let whole: Vec<&Certificate> = chain.iter().copied().chain([&**root]).collect();
                        judge(&whole)
                    })
                }
            };
            match tried {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => why = error,
                None => {}
            }
        }
        for other in others.iter().filter(|other| other.subject == last.issuer) {
            if is_in(other, chain) {
                continue;
            }
            let tried = self.signed_by(last, other).and_then(|()| {
                is_valid(other, chain.len() - 1, self.now)?;
                if !other.basic.is_some_and(|(is_authority, _)| is_authority) {
                    return Err(CertificateError::UnknownIssuer);
                }
                chain.push(other);
                let found = self.above(chain, others);
                chain.pop();
                found
            });
            match tried {
                Ok(()) => return Ok(()),
                Err(error) if why == CertificateError::UnknownIssuer => why = error,
                Err(_) => {}
            }
        }
        Err(why)
    }

    fn signed_by(&mut self, certificate: &Certificate, issuer: &Certificate) -> Result<(), CertificateError> {
        const SIGNS_CERTIFICATES: u16 = 0x0400;
        let is_authority = match issuer.basic {
            None => issuer.version < 3,
            Some((is_authority, _)) => is_authority,
        };
        let usage = issuer.key_usage.unwrap_or_default() & 0xff80;
        if !is_authority || (usage != 0 && usage & SIGNS_CERTIFICATES == 0) {
            return Err(CertificateError::UnknownIssuer);
        }
        self.signed(certificate, &issuer.key)
    }

    fn signed(&mut self, certificate: &Certificate, key: &PublicKey) -> Result<(), CertificateError> {
        self.checks += 1;
        if self.checks > MOST_CHECKS {
            return Err(CertificateError::UnknownIssuer);
        }
        let fits = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
            algorithm.signature_alg_id().as_ref() == certificate.algorithm
                && algorithm.public_key_alg_id().as_ref() == key.algorithm
        };
        let mut algorithms = self.algorithms.iter().filter(fits);
        let is_signed = algorithms.any(|algorithm| {
            algorithm.verify_signature(&key.bits, &certificate.signed, &certificate.signature).is_ok()
        });
        if is_signed { Ok(()) } else { Err(CertificateError::UnknownIssuer) }
    }
}

/// The same subject, key and names make the same certificate here, whoever signed it.
fn is_in(certificate: &Certificate, chain: &[&Certificate]) -> bool {
    chain.iter().any(|other| {
        (&other.subject, &other.key, other.has_names, &other.names)
            == (&certificate.subject, &certificate.key, certificate.has_names, &certificate.names)
    })
}

/// `below`: how many intermediates are between it and the server.
fn is_valid(certificate: &Certificate, below: usize, now: i64) -> Result<(), CertificateError> {
    if certificate.is_beyond {
        return Err(CertificateError::UnhandledCriticalExtension);
    }
    let (first, last) = certificate.valid;
    if now < first {
        return Err(CertificateError::NotValidYet);
    }
    if now > last {
        return Err(CertificateError::Expired);
    }
    let longest = certificate.basic.and_then(|(_, longest)| longest);
    if longest.is_some_and(|longest| u64::try_from(below).is_ok_and(|below| below > longest)) {
        return Err(CertificateError::UnknownIssuer);
    }
    Ok(())
}

/// Is a chain, from a server to what is trusted, for servers, and for names that it may have?
fn judge(chain: &[&Certificate]) -> Result<(), CertificateError> {
    if chain.iter().any(|certificate| certificate.is_for_servers == Some(false)) {
        return Err(CertificateError::InvalidPurpose);
    }
    if !x509_names::are_allowed(chain) {
        return Err(CertificateError::NotValidForName);
    }
    Ok(())
}

/// What of a server's certificate is looked at.
#[derive(Debug)]
pub struct Verifier {
    /// `None`: nothing.
    pool: Option<Pool>,
    /// The name that it must have, if not its host's.
    name: Option<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Trusts what is in the pool; without one, anything.
    pub fn new(pool: Option<Pool>, name: Option<String>, provider: &CryptoProvider) -> Arc<Self> {
        Arc::new(Self { pool, name, algorithms: provider.signature_verification_algorithms })
    }

    fn is_signed(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
        is_newest: bool,
    ) -> Result<HandshakeSignatureValid, Error> {
        let read = Certificate::parse(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let fits = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signature.scheme);
        let algorithms = fits.map(|(_, algorithms)| *algorithms).unwrap_or_default();
        // TLS 1.3 has one curve for each.
        let algorithms = if is_newest { algorithms.get(..1).unwrap_or_default() } else { algorithms };
        let fits = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
            algorithm.public_key_alg_id().as_ref() == read.key.algorithm
        };
        let mut algorithms = algorithms.iter().filter(fits);
        if algorithms.any(|algorithm| {
            algorithm.verify_signature(&read.key.bits, message, signature.signature()).is_ok()
        }) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(pool) = &self.pool else { return Ok(ServerCertVerified::assertion()) };
        let chain: Vec<&[u8]> = [certificate].into_iter().chain(others).map(|der| &**der).collect();
        let host = self.name.clone().unwrap_or_else(|| name.to_str().into_owned());
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        verify(pool, &chain, &host, now, self.algorithms.all)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.is_signed(message, certificate, signature, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let is_for_it = !matches!(
            signature.scheme,
            SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
        );
        if !is_for_it {
            return Err(CertificateError::BadSignature.into());
        }
        self.is_signed(message, certificate, signature, true)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The system's authorities, else those that this program brings.
pub fn of_system(certificates: &[CertificateDer<'_>]) -> Pool {
    let pool = Pool::of_der(certificates.iter().map(|der| &**der));
    if pool.is_empty() { Pool::compiled_in() } else { pool }
}
