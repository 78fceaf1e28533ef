//! The cluster is reached where Helm reaches it: kubeconfigs of several files, odd but valid ones, a server's own certificate as
//! what is trusted, SOCKS, a login program that is told about the cluster.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use testbed::{Cluster, tools::Helm};

use crate::stage::Stage;

/// The story's kubeconfig, with all in it.
fn given(stage: &Stage) -> Value {
    let text = stage.namespace.kubectl(["config", "view", "--raw", "--flatten", "-o", "json"]).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn write(stage: &Stage, name: &str, text: &str) -> String {
    let path = stage.temporary.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Helm and helm-guard deploy with this `KUBECONFIG`.
fn both_deploy(stage: &Stage, kubeconfig: &str) {
    let mut helm = stage.raw("upgrade", &["--install"]);
    helm.env("KUBECONFIG", kubeconfig);
    Stage::ok(helm);
    let mut guard = stage.guard("upgrade", &["--install"]);
    guard.env("KUBECONFIG", kubeconfig);
    Stage::ok(guard);
}

/// Three files, of which one is missing, with an entry in two of them, a path that is relative to its file, users and plugins
/// that are broken and beside the point, numbers and line ends that strict readers refuse.
fn files_are_merged_as_helm_merges_them(version: Helm) {
    let stage = Stage::new("list", version);
    let config = given(&stage);
    let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
    let ca = std::fs::read_to_string(Cluster::shared().unwrap().info().dir.join("ca.crt")).unwrap();
    write(&stage, "certificates/ca.crt", &format!("a bundle\n\n{ca}"));
    let server = cluster["server"].as_str().unwrap();
    let first = format!(
        "# by a script\nkind: Config\nusers:\n- name: other\n  user: {{exec: {{command: no-such-plugin}}, auth-provider: {{name: gcp}}}}\nclusters:\n- name: c\n  cluster:\n    server: {server}\n    certificate-authority: ca.crt\n    surprise: [1, 2]\ncontexts: []\ncurrent-context: ''\n"
    );
    let first = write(&stage, "certificates/one", &first);
    let token = write(&stage, "two.token", &format!("{}\n\n", user["token"].as_str().unwrap()));
    assert!(token.ends_with("two.token"));
    let second = json!({
        "users": [{"name": "u", "user": {"tokenFile": "two.token"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": stage.namespace.name()}},
            {"name": "broken", "context": {"cluster": "gone", "user": "gone"}}],
        "current-context": "x",
    });
    let second = write(&stage, "two", &format!("\u{feff}{second}"));
    both_deploy(&stage, &format!("{first}:/no/such/file:{second}"));
    stage.assert_history(&["superseded", "deployed"]);
}

/// The API server's own certificate stands where its authority's should, and the way there is a SOCKS proxy.
fn a_servers_own_certificate_is_trusted_behind_socks(version: Helm) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let stage = Stage::new("leaf", version);
    let mut config = given(&stage);
    let own = std::fs::read(Cluster::shared().unwrap().info().dir.join("server.crt")).unwrap();
    let socks = Socks::start();
    let cluster = &mut config["clusters"][0]["cluster"];
    cluster["certificate-authority-data"] = STANDARD.encode(own).into();
    cluster["proxy-url"] = format!("socks5://me:secret@127.0.0.1:{}", socks.port).into();
    let kubeconfig = write(&stage, "leaf", &config.to_string());
    let mut helm = stage.raw("upgrade", &["--install"]);
    helm.env("KUBECONFIG", &kubeconfig);
    Stage::ok(helm);
    let by_helm = socks.seen.load(Ordering::SeqCst);
    assert!(by_helm > 0);
    let mut guard = stage.guard("upgrade", &["--install"]);
    guard.env("KUBECONFIG", &kubeconfig);
    Stage::ok(guard);
    assert!(socks.seen.load(Ordering::SeqCst) > by_helm, "helm-guard went past the proxy");
    // Another server's certificate is not trusted.
    let other = include_str!("../go_access/client.pem");
    config["clusters"][0]["cluster"]["certificate-authority-data"] = STANDARD.encode(other).into();
    let kubeconfig = write(&stage, "other", &config.to_string());
    let mut guard = stage.guard("upgrade", &["--install"]);
    guard.env("KUBECONFIG", &kubeconfig);
    let said = Stage::run(guard);
    assert!(said.code != Some(0) && said.err.contains("certificate"), "{}", said.err);
}

/// A login program is told of the cluster, gives a client's token, and is asked but once.
fn a_login_program_is_told_about_the_cluster(version: Helm) {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::new("login", version);
    let mut config = given(&stage);
    let token = config["users"][0]["user"]["token"].as_str().unwrap().to_owned();
    let log = stage.temporary.path().join("log");
    let script = format!(
        "#!/bin/sh\nprintf '%s %s\\n' \"$KUBERNETES_EXEC_INFO\" \"$EXTRA\" >> '{}'\nprintf 'kind: ExecCredential\\napiVersion: client.authentication.k8s.io/v1beta1\\nstatus:\\n  token: {token}\\n'\n",
        log.display()
    );
    let plugin = write(&stage, "bin/login", &script);
    std::fs::set_permissions(plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    config["users"][0]["user"] = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1beta1", "command": "./bin/login", "provideClusterInfo": true,
        "env": [{"name": "EXTRA", "value": "more"}], "installHint": "never shown",
    }});
    config["clusters"][0]["cluster"]["extensions"] =
        json!([{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "shop"}}]);
    let kubeconfig = write(&stage, "exec", &config.to_string());
    let mut guard = stage.guard("upgrade", &["--install"]);
    guard.env("KUBECONFIG", &kubeconfig).env("HELM_GUARD_CI_TOKEN", "secret");
    Stage::ok(guard);
    let told = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines.len() == 1 && lines[0].ends_with(" more"), "{told}");
    let told: Value = serde_json::from_str(lines[0].trim_end_matches(" more")).unwrap();
    assert_eq!(told["spec"]["interactive"], false);
    assert_eq!(told["spec"]["cluster"]["server"], config["clusters"][0]["cluster"]["server"]);
    assert_eq!(told["spec"]["cluster"]["config"]["audience"], "shop");

    config["users"][0]["user"]["exec"]["command"] = "no-such-plugin".into();
    let kubeconfig = write(&stage, "missing", &config.to_string());
    let mut guard = stage.guard("upgrade", &["--install"]);
    guard.env("KUBECONFIG", &kubeconfig);
    let said = Stage::run(guard);
    let wanted = "login plugin no-such-plugin: not found; the kubeconfig says how to install it: never shown";
    assert!(said.code != Some(0) && said.err.contains(wanted), "{}", said.err);
}

/// A SOCKS 5 proxy that wants a password.
struct Socks {
    port: u16,
    seen: Arc<AtomicUsize>,
}

impl Socks {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(AtomicUsize::new(0));
        let count = seen.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let count = count.clone();
                std::thread::spawn(move || serve(client, &count));
            }
        });
        Self { port, seen }
    }
}

fn serve(mut client: TcpStream, count: &AtomicUsize) -> Option<()> {
    let read = |client: &mut TcpStream, length: usize| {
        let mut bytes = vec![0; length];
        client.read_exact(&mut bytes).ok().map(|()| bytes)
    };
    let methods = read(&mut client, 2)?;
    read(&mut client, usize::from(methods[1]))?;
    client.write_all(&[5, 2]).ok()?;
    let name = read(&mut client, 2)?;
    let name = read(&mut client, usize::from(name[1]))?;
    let length = read(&mut client, 1)?;
    let password = read(&mut client, usize::from(length[0]))?;
    let is_known = name == b"me" && password == b"secret";
    client.write_all(&[1, u8::from(!is_known)]).ok()?;
    let request = read(&mut client, 4)?;
    let host = match request[3] {
        1 => std::net::Ipv4Addr::from(<[u8; 4]>::try_from(read(&mut client, 4)?).ok()?).to_string(),
        3 => {
            let length = read(&mut client, 1)?;
            String::from_utf8(read(&mut client, usize::from(length[0]))?).ok()?
        }
        _ => return None,
    };
    let port = read(&mut client, 2)?;
    let server = TcpStream::connect((host, u16::from_be_bytes([port[0], port[1]]))).ok()?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    count.fetch_add(1, Ordering::SeqCst);
    let (mut from, mut to) = (client.try_clone().ok()?, server.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    let (mut from, mut to) = (server, client);
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Both);
    Some(())
}

crate::with_both_helms! { files_are_merged_as_helm_merges_them a_servers_own_certificate_is_trusted_behind_socks }
crate::with_either_helm! { V4 a_login_program_is_told_about_the_cluster }
