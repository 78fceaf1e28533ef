//! Asks client-go, through Helm's own settings, how a cluster is reached and which certificates are trusted, and demands the
//! same of helm-guard. `HELM_GUARD_SWEEP_SEED` and `HELM_GUARD_SWEEP_POINTS` choose the cases and, in hundreds, their number.
//!
//! Known differences: a token of `auth-provider: oidc` is not renewed here; RSA keys below 2048 bits and the curve P-521 are not
//! known; names of hosts that are not ASCII are refused.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a program that cannot be run fails its test, which tells its seed; nobody links to it"
)]

mod cases;

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use helm_guard::{
    cluster::{kubeconfig_files, route::Route, tls_trust},
    helm::{self, env_settings, go_syntax},
    request::Request,
};
use serde::Deserialize;
use serde_json::{Value, json};

use cases::Case;

fn answers<T: for<'a> Deserialize<'a>>(questions: &[Value]) -> Vec<T> {
    let program = testbed::tools::goaccess().unwrap();
    let mut go = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = go.stdin.take().unwrap();
    let lines: String = questions.iter().map(|question| question.to_string() + "\n").collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = go.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let answers: Vec<T> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(answers.len(), questions.len());
    answers
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seed() -> u64 {
    variable("HELM_GUARD_SWEEP_SEED").unwrap_or(1)
}

fn count() -> u64 {
    variable("HELM_GUARD_SWEEP_POINTS").unwrap_or(4) * 100
}

/// What Go makes of a server's certificates.
#[derive(Deserialize)]
struct Trust {
    authorities: String,
    chain: Option<Vec<String>>,
    name: String,
    now: i64,
    #[serde(default)]
    error: String,
    story: String,
}

#[test]
fn every_certificate_is_trusted_as_go_trusts_it() {
    let seeds = (0..count() * 5).map(|number| seed() * 1_000_000 + number);
    let questions: Vec<Value> = seeds.clone().map(|seed| json!({"trust": seed})).collect();
    let (mut trusted, mut refused) = (0, 0);
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    for (seed, go) in seeds.zip(answers::<Trust>(&questions)) {
        let Some(chain) = &go.chain else { continue };
        let chain: Vec<Vec<u8>> = chain.iter().map(|der| STANDARD.decode(der).unwrap()).collect();
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        let ours = tls_trust::Pool::of_pem(go.authorities.as_bytes())
            .map_err(|error| error.to_string())
            .and_then(|pool| {
                let verified = tls_trust::verify(&pool, &chain, &go.name, go.now, algorithms);
                verified.map_err(|error| format!("{error:?}"))
            });
        assert_eq!(
            ours.is_ok(),
            go.error.is_empty(),
            "{seed}: {}\n  Go: {}\n  ours: {ours:?}",
            go.story,
            go.error
        );
        if ours.is_ok() { trusted += 1 } else { refused += 1 }
    }
    println!("seed {}: {trusted} trusted, {refused} refused", seed());
    assert!(trusted * 8 > refused && refused > 0);
}

/// What Go's `strconv` and `time` read.
#[derive(Debug, Deserialize)]
struct Word {
    bool: Option<bool>,
    decimal: Option<i64>,
    integer: Option<i64>,
    duration: Option<i64>,
}

#[test]
fn every_word_is_read_as_go_reads_it() {
    let words = cases::words(seed(), count() * 10);
    for (text, go) in words.iter().zip(answers::<Vec<Word>>(&[json!({"words": words})]).remove(0)) {
        assert_eq!(go_syntax::boolean(text), go.bool, "{text:?}");
        assert_eq!(go_syntax::decimal(text), go.decimal, "{text:?}");
        assert_eq!(go_syntax::integer(text), go.integer, "{text:?}");
        let ours = go_syntax::duration(text);
        assert_eq!(ours.is_some(), go.duration.is_some(), "{text:?}: {ours:?} {go:?}");
        if let (Some(ours), Some(nanoseconds)) = (ours, go.duration) {
            let theirs = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default());
            assert!(ours.abs_diff(theirs) < Duration::from_micros(2), "{text:?}: {ours:?} {theirs:?}");
        }
    }
}

/// How Helm reaches the cluster.
#[derive(Debug, Default, PartialEq, Deserialize)]
struct Reached {
    #[serde(default)]
    error: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    headers: Option<BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    proxy: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    server_name: String,
    #[serde(default)]
    roots: bool,
    #[serde(default)]
    certificate: bool,
    #[serde(default)]
    max_history: i64,
}

async fn ours(case: &Case) -> anyhow::Result<Reached> {
    let env = case.environment.clone();
    let tokens: Vec<String> =
        ["web", "chart"].iter().map(|word| (*word).to_owned()).chain(case.arguments.clone()).collect();
    let request =
        Request::parse(helm::Command::Upgrade, &tokens, &env, "host").map_err(anyhow::Error::msg)?;
    let found = kubeconfig_files::resolved(&request.target)?;
    let route = Route::new(&found.access, &request.target.proxies)?;
    let mut headers = http::HeaderMap::new();
    route.credentials.add(&mut headers).await.map_err(anyhow::Error::from_boxed)?;
    let mut named = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in &headers {
        named
            .entry(name.to_string())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let is_tls = route.base.is_tls();
    let access = &found.access;
    Ok(Reached {
        error: String::new(),
        namespace: found.namespace,
        url: route.base.with(Some(&"/version".parse()?))?.to_string(),
        headers: Some(named).filter(|headers| !headers.is_empty()),
        proxy: route.proxy.map(|proxy| proxy.text()).unwrap_or_default(),
        insecure: is_tls && access.insecure,
        server_name: if is_tls { access.server_name.clone() } else { String::new() },
        roots: is_tls && access.has_ca(),
        certificate: is_tls
            && (access.has_cert() || route.login.is_some_and(|login| login.certificate().is_some())),
        max_history: env_settings::max_history(&env),
    })
}

#[test]
fn every_cluster_is_reached_as_helm_reaches_it() {
    let folder = tempfile::tempdir().unwrap();
    let cases: Vec<Case> =
        (0..count()).map(|number| cases::draw(seed() * 1_000_000 + number, folder.path())).collect();
    let question = |case: &Case| json!({"access": {"directory": case.folder, "environment": case.environment, "arguments": case.arguments}});
    let questions: Vec<Value> = cases.iter().map(question).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut reached, mut refused) = (0, 0);
    for (case, mut go) in cases.iter().zip(answers::<Reached>(&questions)) {
        std::env::set_current_dir(&case.folder).unwrap();
        let ours = runtime.block_on(ours(case));
        let headers = go.headers.take().unwrap_or_default();
        let lower = headers.into_iter().map(|(name, values)| (name.to_ascii_lowercase(), values)).collect();
        go.headers = Some(lower).filter(|headers: &BTreeMap<_, _>| !headers.is_empty());
        let is_equal = match &ours {
            Ok(ours) => *ours == go,
            Err(_) => !go.error.is_empty(),
        };
        assert!(is_equal, "{}\n  Helm: {go:#?}\n  ours: {ours:#?}", case.story());
        if ours.is_ok() { reached += 1 } else { refused += 1 }
    }
    std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    println!("seed {}: {reached} reached, {refused} refused", seed());
    assert!(reached * 10 > refused && refused * 10 > reached, "{reached} {refused}");
}
