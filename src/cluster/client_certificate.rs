//! Certificates with their keys, from files or from a kubeconfig, as Go's `tls.X509KeyPair` reads them.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};

use super::{
    pem,
    x509::{Certificate, PublicKey},
};

/// What is given, else what is in the file.
pub(super) fn data_or_file(data: &[u8], file: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    if !data.is_empty() || file.as_os_str().is_empty() {
        return Ok(data.to_vec());
    }
    std::fs::read(file).with_context(|| format!("{name} {}", file.display()))
}

/// A certificate with its key, of PEM.
///
/// # Errors
/// When one cannot be read, or they do not belong together. Nothing of them is quoted.
pub(super) fn certified(certificate: &[u8], key: &[u8]) -> anyhow::Result<Arc<CertifiedKey>> {
    let chain: Vec<Vec<u8>> = pem::blocks(certificate)
        .into_iter()
        .filter(|block| block.label == "CERTIFICATE")
        .map(|block| block.content)
        .collect();
    let first = chain.first().context("no certificate in it")?;
    let own = Certificate::parse(first)?;
    let is_key = |block: &pem::Block| block.label == "PRIVATE KEY" || block.label.ends_with(" PRIVATE KEY");
    let block = pem::blocks(key).into_iter().find(is_key).context("no private key for it")?;
    // The label need not say what it is.
    let forms: [fn(Vec<u8>) -> PrivateKeyDer<'static>; 3] = [
        |der| PrivateKeyDer::Pkcs1(der.into()),
        |der| PrivateKeyDer::Pkcs8(der.into()),
        |der| PrivateKeyDer::Sec1(der.into()),
    ];
    let mut read =
        forms.iter().filter_map(|form| ring::sign::any_supported_type(&form(block.content.clone())).ok());
    let key = read.next().context("a private key of a kind that is not known")?;
    let public = key.public_key().and_then(|der| PublicKey::parse(&der).ok());
    anyhow::ensure!(
        public.is_none_or(|public| public == own.key),
        "the private key is another certificate's"
    );
    Ok(Arc::new(CertifiedKey::new(chain.into_iter().map(CertificateDer::from).collect(), key)))
}
