//! Who asks: the headers of a request that say it, as client-go sets them.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, InvalidHeaderValue},
};
use tower::BoxError;

use super::{
    access::Access,
    exec_plugin::{Given, Login, TokenFile},
    go_url::GoUrl,
    kubeconfig::{AuthProvider, Impersonate},
};
use crate::clock::Clock;

/// What says who asks. It has no `Debug`: a token must not get into a log.
pub struct Credentials {
    /// In every request.
    fixed: HeaderMap,
    source: Source,
}

enum Source {
    /// All is in the fixed headers.
    Fixed,
    /// A file whose token changes, and the token until it can be read.
    File(TokenFile, String),
    /// A program.
    Login(Arc<Login>),
}

impl Credentials {
    /// Sends and runs nothing yet.
    ///
    /// # Errors
    /// When they contradict each other, or cannot be sent.
    pub fn new(access: &Access, url: &GoUrl, login: Option<Arc<Login>>) -> anyhow::Result<Self> {
        let has_basic = !access.username.is_empty();
        anyhow::ensure!(
            !(has_basic && access.has_token()),
            "both a token and a user name are set, and only one can be sent"
        );
        let mut fixed = impersonation(&access.impersonate)?;
        // client-go asks the provider whether or not it is needed.
        let provided = access.auth_provider.as_ref().map(provided).transpose()?;
        let mut source = Source::Fixed;
        let authorization = if let Some((name, password)) = &url.user {
            // Before all others: Go's client puts it there first.
            Some(basic(name, password.as_deref().unwrap_or_default()))
        } else if access.has_token() {
            if access.token_file.as_os_str().is_empty() {
                Some(bearer(&access.token))
            } else {
                source = Source::File(TokenFile::new(access.token_file.clone()), access.token.clone());
                None
            }
        } else if has_basic {
            Some(basic(&access.username, &access.password))
        } else if let Some(login) = login {
            source = Source::Login(login);
            None
        } else {
            provided.map(|token| bearer(&token))
        };
        if let Some(authorization) = authorization {
            fixed.insert(AUTHORIZATION, authorization.context("the token, or the user's name")?);
        }
        Ok(Self { fixed, source })
    }

    /// Adds a header to every request.
    pub fn with(mut self, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        self.fixed.extend(headers.into_iter().map(|(name, value)| (Some(name), value)));
        self
    }

    /// The program that logs in, if there is one.
    pub fn login(&self) -> Option<&Arc<Login>> {
        match &self.source {
            Source::Login(login) => Some(login),
            Source::Fixed | Source::File(..) => None,
        }
    }

    /// Adds who asks to a request. Gives what a program gave for it.
    ///
    /// # Errors
    /// When a login program fails, or a token cannot be sent.
    pub async fn add(&self, headers: &mut HeaderMap) -> Result<Option<Arc<Given>>, BoxError> {
        for name in self.fixed.keys() {
            headers.remove(name);
        }
        for (name, value) in &self.fixed {
            headers.append(name.clone(), value.clone());
        }
        match &self.source {
            Source::Fixed => Ok(None),
            Source::File(file, token) => {
                let token = file.get().await.unwrap_or_else(|| token.clone());
                headers.insert(AUTHORIZATION, bearer(&token)?);
                Ok(None)
            }
            Source::Login(login) => {
                let given = login.get().await?;
                if !given.token.is_empty() {
                    headers.insert(AUTHORIZATION, bearer(&given.token)?);
                }
                Ok(Some(given))
            }
        }
    }
}

fn bearer(token: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    secret(&format!("Bearer {token}"))
}

fn basic(name: &str, password: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
}

fn secret(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_bytes(text.as_bytes())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The header for a proxy that wants to know who asks.
///
/// # Errors
/// When it cannot be sent.
pub fn for_proxy(proxy: &GoUrl) -> Result<Option<HeaderValue>, InvalidHeaderValue> {
    let user = proxy.user.as_ref();
    user.map(|(name, password)| basic(name, password.as_deref().unwrap_or_default())).transpose()
}

fn impersonation(impersonate: &Impersonate) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| -> anyhow::Result<()> {
        let name = HeaderName::from_bytes(name.as_bytes()).context("as-user-extra")?;
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).context("the user to act as")?);
        Ok(())
    };
    if impersonate.user.is_empty() {
        return Ok(headers);
    }
    add("Impersonate-User", &impersonate.user)?;
    if !impersonate.uid.is_empty() {
        add("Impersonate-Uid", &impersonate.uid)?;
    }
    for group in &impersonate.groups {
        add("Impersonate-Group", group)?;
    }
    let extra: &BTreeMap<String, Vec<String>> = &impersonate.extra;
    for (key, value) in extra.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value))) {
        add(&format!("Impersonate-Extra-{}", escaped(key)), value)?;
    }
    Ok(headers)
}

/// A key as a part of a header's name. Percent signs are escaped too.
fn escaped(key: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
    key.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The token of an `auth-provider`: client-go knows one that is not a program, and says of two what has taken their place.
fn provided(provider: &AuthProvider) -> anyhow::Result<String> {
    let get = |name: &str| provider.config.get(name).map(String::as_str).unwrap_or_default();
    match &*provider.name {
        "gcp" => anyhow::bail!(
            "auth-provider gcp is no part of Kubernetes clients any more: install gke-gcloud-auth-plugin and write the kubeconfig again"
        ),
        "azure" => anyhow::bail!(
            "auth-provider azure is no part of Kubernetes clients any more: install kubelogin and run kubelogin convert-kubeconfig"
        ),
        "oidc" => {
            for name in ["idp-issuer-url", "client-id"] {
                anyhow::ensure!(!get(name).is_empty(), "auth-provider oidc has no {name}");
            }
            let token = get("id-token");
            anyhow::ensure!(
                !token.is_empty() && !has_expired(token)?,
                "auth-provider oidc: its id-token has expired, and helm-guard does not renew it: run any kubectl command, which renews it in the kubeconfig"
            );
            Ok(token.to_owned())
        }
        name => anyhow::bail!("auth-provider {name:?} is not known"),
    }
}

/// Is the time over that a token says itself?
fn has_expired(token: &str) -> anyhow::Result<bool> {
    let mut parts = token.split('.');
    let (_, claims) = (parts.next(), parts.next());
    let claims = claims.and_then(|claims| {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
        serde_json::from_slice::<serde_json::Value>(&bytes).ok()
    });
    let until = claims.and_then(|claims| claims.get("exp")?.as_f64()).context("id-token: it is not a JWT")?;
    // Ten seconds are left for the way.
    Ok(Clock::start().wall().as_second() as f64 + 10.0 > until)
}
