//! Login by a program (`exec` in a kubeconfig), as client-go runs it: what it is told, what it answers, when it is asked again.

use std::{
    io::IsTerminal,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use serde_json::{Map, Value, json};
use tokio::{process::Command, sync::Mutex};

use super::{
    access::Access,
    client_certificate::{certified, data_or_file},
    kubeconfig::Exec,
};
use crate::{clock::Clock, yaml};

/// Where the program finds what it is told.
const INFO: &str = "KUBERNETES_EXEC_INFO";

/// How much of the kubeconfig's hint is shown, in characters.
const HINT: usize = 300;

/// Versions of the conversation.
const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

/// What the program gave.
#[derive(Default)]
pub struct Given {
    /// A bearer token; empty if it gave none.
    pub token: String,
    expires: Option<Timestamp>,
    certificate: Option<(String, String)>,
}

/// Why there is no login.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("login plugin {command}: {why}")]
pub struct NoLogin {
    command: String,
    why: String,
}

/// A program that logs in, and what it gave last.
pub struct Login {
    exec: Exec,
    /// What is said of the cluster.
    cluster: Option<Value>,
    clock: Clock,
    given: Mutex<Option<Arc<Given>>>,
    certificate: RwLock<Option<Arc<CertifiedKey>>>,
    /// How many certificates it gave.
    generation: AtomicU64,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("command", &self.exec.command).finish_non_exhaustive()
    }
}

impl Login {
    /// Runs nothing yet. `None` where another way to log in goes before it.
    ///
    /// # Errors
    /// When it speaks another version, or the cluster's certificates, which it is to be told, cannot be read.
    pub fn new(access: &Access) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(exec) = &access.exec else { return Ok(None) };
        let cluster = if exec.provide_cluster_info { Some(cluster(access)?) } else { None };
        anyhow::ensure!(
            VERSIONS.contains(&&*exec.api_version),
            "exec: apiVersion {:?} is not {} or {}",
            exec.api_version,
            VERSIONS[0],
            VERSIONS[1]
        );
        let login = || Self {
            exec: exec.clone(),
            cluster,
            clock: Clock::start(),
            given: Mutex::default(),
            certificate: RwLock::default(),
            generation: AtomicU64::default(),
        };
        Ok(access.login().map(|_| Arc::new(login())))
    }

    /// What the program gave last, if that is still good; else it runs.
    ///
    /// # Errors
    /// When it fails, or its answer cannot be used.
    pub async fn get(self: &Arc<Self>) -> Result<Arc<Given>, NoLogin> {
        self.clone().run_unless(|given, now| given.expires.is_none_or(|expires| now <= expires)).await
    }

    /// The API server did not accept this: the program runs again, unless it did meanwhile.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn renew(self: &Arc<Self>, refused: &Arc<Given>) -> Result<Arc<Given>, NoLogin> {
        let refused = refused.clone();
        self.clone().run_unless(move |given, _| !Arc::ptr_eq(given, &refused)).await
    }

    /// In a task of its own: someone may be typing a password, whether or not the request that asked still waits.
    async fn run_unless(
        self: Arc<Self>,
        is_good: impl Fn(&Arc<Given>, Timestamp) -> bool + Send + 'static,
    ) -> Result<Arc<Given>, NoLogin> {
        let login = self.clone();
        let task = tokio::spawn(async move {
            let mut last = login.given.lock().await;
            if let Some(given) = last.as_ref().filter(|given| is_good(given, login.clock.wall())) {
                return Ok(given.clone());
            }
            let given = Arc::new(login.run().await?);
            login.keep(last.as_deref(), &given)?;
            *last = Some(given.clone());
            Ok(given)
        });
        task.await.map_err(|_| self.failed("it was interrupted")).and_then(|given| given)
    }

    /// The certificate that the program gave.
    pub fn certificate(&self) -> Option<Arc<CertifiedKey>> {
        self.certificate.read().ok()?.clone()
    }

    /// Which of its certificates that is: connections of another one must not be used.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn keep(&self, last: Option<&Given>, given: &Given) -> Result<(), NoLogin> {
        if last.is_some_and(|last| last.certificate == given.certificate) {
            return Ok(());
        }
        let read = |(certificate, key): &(String, String)| certified(certificate.as_bytes(), key.as_bytes());
        let key = given.certificate.as_ref().map(read).transpose();
        let key = key.map_err(|error| self.failed(&format!("its certificate: {error:#}")))?;
        if let Ok(mut held) = self.certificate.write() {
            *held = key;
        }
        if last.is_some() {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn failed(&self, why: &str) -> NoLogin {
        NoLogin { command: self.exec.command.clone(), why: why.to_owned() }
    }

    async fn run(&self) -> Result<Given, NoLogin> {
        let is_terminal = std::io::stdin().is_terminal();
        let is_interactive = match &*self.exec.interactive_mode {
            "Never" => false,
            "Always" if !is_terminal => {
                return Err(self.failed("interactiveMode is Always, and standard input is not a terminal"));
            }
            _ => is_terminal,
        };
        let mut command = Command::new(&self.exec.command);
        command.args(&self.exec.args);
        // It has no use for this program's own secrets.
        crate::process::without_secrets(command.as_std_mut());
        command.envs(self.exec.env.iter().map(|(name, value)| (name, value)));
        command.env(INFO, self.info(is_interactive));
        command.stdin(if is_interactive { Stdio::inherit() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let output = match command.spawn() {
            Ok(child) => child.wait_with_output().await,
            Err(error) => Err(error),
        };
        let output = output.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => self.failed(&not_found(&self.exec.install_hint)),
            _ => self.failed(&error.to_string()),
        })?;
        if !output.status.success() {
            return Err(self.failed(&format!("it failed ({})", output.status)));
        }
        answer(&output.stdout, &self.exec.api_version).map_err(|why| self.failed(&why))
    }

    fn info(&self, is_interactive: bool) -> String {
        let mut spec = Map::new();
        spec.insert("interactive".into(), is_interactive.into());
        if let Some(cluster) = &self.cluster {
            spec.insert("cluster".into(), cluster.clone());
        }
        json!({"kind": "ExecCredential", "apiVersion": self.exec.api_version, "spec": spec}).to_string()
    }
}

/// There is no such program. The kubeconfig's hint is untrusted text, and may have several lines; a reason is one.
fn not_found(hint: &str) -> String {
    let hint =
        hint.split(|letter: char| letter.is_control() || letter == ' ').filter(|word| !word.is_empty());
    let hint: String = hint.collect::<Vec<_>>().join(" ").chars().take(HINT).collect();
    match &*hint {
        "" => "not found".to_owned(),
        hint => format!("not found; the kubeconfig says how to install it: {hint}"),
    }
}

/// What a program is told of the cluster.
fn cluster(access: &Access) -> anyhow::Result<Value> {
    let certificates = data_or_file(&access.ca_data, &access.ca_file, "certificate-authority")?;
    let proxy = access.proxy.as_ref().map(|proxy| proxy.text()).unwrap_or_default();
    let texts = [
        ("tls-server-name", access.server_name.clone()),
        ("certificate-authority-data", STANDARD.encode(certificates)),
        ("proxy-url", proxy),
    ];
    let mut cluster = Map::new();
    cluster.insert("server".into(), access.host.clone().into());
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        cluster.insert(name.into(), text.into());
    }
    let flags =
        [("insecure-skip-tls-verify", access.insecure), ("disable-compression", access.disable_compression)];
    for (name, _) in flags.into_iter().filter(|(_, is_set)| *is_set) {
        cluster.insert(name.into(), true.into());
    }
    cluster.insert("config".into(), access.exec_config.clone().unwrap_or_default());
    Ok(Value::Object(cluster))
}

/// Reads what a program says, JSON or YAML. Nothing of it is quoted.
fn answer(output: &[u8], version: &str) -> Result<Given, String> {
    let odd = || "its output is not an ExecCredential".to_owned();
    let said = match serde_json::from_slice::<Value>(output) {
        Ok(said) => said,
        Err(_) => {
            let text = std::str::from_utf8(output).map_err(|_| odd())?;
            yaml::document(text).map_err(|_| odd())?
        }
    };
    let text = |value: Option<&Value>| match value {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(odd()),
    };
    if text(said.get("kind"))? != "ExecCredential" {
        return Err(odd());
    }
    if text(said.get("apiVersion"))? != version {
        return Err(format!("it answers in another apiVersion than {version}"));
    }
    let status = match said.get("status") {
        Some(Value::Object(status)) => status,
        None | Some(Value::Null) => return Err("its answer has no status".to_owned()),
        Some(_) => return Err(odd()),
    };
    let token = text(status.get("token"))?;
    let (certificate, key) = (text(status.get("clientCertificateData"))?, text(status.get("clientKeyData"))?);
    let certificate = match (certificate.is_empty(), key.is_empty()) {
        (true, true) if token.is_empty() => {
            return Err("it gave neither a token nor a certificate".to_owned());
        }
        (true, true) => None,
        (false, false) => Some((certificate, key)),
        _ => return Err("it gave a certificate without a key, or a key without a certificate".to_owned()),
    };
    let expires = match &*text(status.get("expirationTimestamp"))? {
        "" => None,
        time => Some(time.parse().map_err(|_| "it gave an expirationTimestamp that is no time".to_owned())?),
    };
    Ok(Given { token, expires, certificate })
}

/// Where a file with a token is read again from time to time.
pub struct TokenFile {
    path: PathBuf,
    clock: Clock,
    /// The last token, and when it was read.
    last: Mutex<Option<(String, std::time::Duration)>>,
}

impl TokenFile {
    /// How long a token is good before the file is read again, as in client-go.
    const GOOD: std::time::Duration = std::time::Duration::from_secs(50);

    /// Reads nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, clock: Clock::start(), last: Mutex::default() }
    }

    /// The file's token; the last one where it cannot be read, or is empty.
    pub async fn get(&self) -> Option<String> {
        let mut last = self.last.lock().await;
        let now = self.clock.monotonic();
        if let Some((token, read)) = last.as_ref()
            && now.saturating_sub(*read) < Self::GOOD
        {
            return Some(token.clone());
        }
        let read =
            std::fs::read(&self.path).ok().map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        if let Some(token) = read.filter(|token| !token.is_empty()) {
            *last = Some((token, now));
        }
        last.as_ref().map(|(token, _)| token.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_is_read_as_client_go_reads_it() {
        let v1 = VERSIONS[0];
        let said =
            |status: Value| json!({"kind": "ExecCredential", "apiVersion": v1, "status": status}).to_string();
        for (output, wanted) in [
            (said(json!({"token": "t"})), Ok("t")),
            (format!("kind: ExecCredential\napiVersion: {v1}\nstatus:\n  token: t\n"), Ok("t")),
            (said(json!({"token": "t", "expirationTimestamp": "2030-01-01T00:00:00Z"})), Ok("t")),
            (said(json!({"token": "t", "expirationTimestamp": "soon"})), Err("no time")),
            (said(json!({"token": "t", "expirationTimestamp": null})), Ok("t")),
            (said(json!({"token": 1})), Err("not an ExecCredential")),
            (said(json!({})), Err("neither")),
            (said(json!({"clientCertificateData": "c"})), Err("without a key")),
            (said(json!({"clientCertificateData": "c", "clientKeyData": "k"})), Ok("")),
            (said(Value::Null), Err("no status")),
            (said(json!({"token": "t"})).replace("/v1", "/v1beta1"), Err("another apiVersion")),
            ("canary: [".to_owned(), Err("not an ExecCredential")),
            (String::new(), Err("not an ExecCredential")),
        ] {
            let read = answer(output.as_bytes(), v1);
            match (&read, wanted) {
                (Ok(given), Ok(token)) => assert_eq!(given.token, token, "{output}"),
                (Err(why), Err(part)) => {
                    assert!(why.contains(part) && !why.contains("canary"), "{output}: {why}")
                }
                _ => panic!("{output}: {:?}", read.map(|given| given.token)),
            }
        }
    }
}
