//! TLS to the API server as client-go sets it up: whom to trust, and which certificate to show.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use rustls::{ClientConfig, SignatureScheme, client::ResolvesClientCert, crypto::ring, sign::CertifiedKey};

use super::{
    access::Access,
    client_certificate::{certified, data_or_file},
    exec_plugin::Login,
    tls_trust::{Pool, Verifier, of_system},
};

/// Reads the files that are named, and the system's authorities if nothing else is to be trusted.
///
/// # Errors
/// When they cannot be used.
pub fn config(access: &Access, login: Option<Arc<Login>>) -> anyhow::Result<ClientConfig> {
    anyhow::ensure!(
        !(access.has_ca() && access.insecure),
        "both a certificate authority and insecure-skip-tls-verify are set"
    );
    let provider = Arc::new(ring::default_provider());
    let name = Some(access.server_name.clone()).filter(|name| !name.is_empty());
    let verifier = Verifier::new(trusted(access)?, name, &provider);
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let shown = match login {
        _ if access.has_cert() => Some(own_certificate(access)?),
        Some(login) => Some(Shown::Given(login)),
        None => None,
    };
    Ok(match shown {
        Some(shown) => builder.with_client_cert_resolver(Arc::new(shown)),
        None => builder.with_no_client_auth(),
    })
}

/// Whose certificates are trusted; `None` for anybody's.
fn trusted(access: &Access) -> anyhow::Result<Option<Pool>> {
    if access.insecure {
        return Ok(None);
    }
    if !access.has_ca() {
        return Ok(Some(of_system(&rustls_native_certs::load_native_certs().certs)));
    }
    let text = data_or_file(&access.ca_data, &access.ca_file, "certificate-authority")?;
    // An empty file is no reason to trust the system's authorities instead.
    if text.is_empty() {
        return Ok(Some(Pool::default()));
    }
    let name = match access.ca_data.is_empty() {
        true => format!("certificate-authority {}", access.ca_file.display()),
        false => "certificate-authority-data".to_owned(),
    };
    Ok(Some(Pool::of_pem(&text).context(name)?))
}

fn own_certificate(access: &Access) -> anyhow::Result<Shown> {
    let read = || {
        let certificate = data_or_file(&access.cert_data, &access.cert_file, "client-certificate")?;
        let key = data_or_file(&access.key_data, &access.key_file, "client-key")?;
        certified(&certificate, &key).context("client certificate")
    };
    let first = read()?;
    if access.cert_data.is_empty() && access.key_data.is_empty() {
        return Ok(Shown::Files { certificate: access.cert_file.clone(), key: access.key_file.clone() });
    }
    Ok(Shown::Fixed(first))
}

/// The certificate that is shown.
#[derive(Debug)]
enum Shown {
    /// Always this one.
    Fixed(Arc<CertifiedKey>),
    /// What is in the files when a connection is made: they may be renewed.
    Files { certificate: PathBuf, key: PathBuf },
    /// What the login program gave, if it gave one.
    Given(Arc<Login>),
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        match self {
            Self::Fixed(key) => Some(key.clone()),
            Self::Files { certificate, key } => {
                let read = |file: &Path| std::fs::read(file).ok();
                certified(&read(certificate)?, &read(key)?).ok()
            }
            Self::Given(login) => login.certificate(),
        }
    }

    fn has_certs(&self) -> bool {
        true
    }
}
