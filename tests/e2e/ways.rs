//! Ways to an API server, and ways to show who one is: a SOCKS proxy, certificates, the account of a pod.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testbed::{Cluster, tools::Helm};

use crate::stage::Stage;

/// The kubeconfig of the story's user, as JSON.
fn config(stage: &Stage) -> Value {
    let config = stage.namespace.kubectl(["config", "view", "--raw", "--flatten", "-o", "json"]).unwrap();
    serde_json::from_str(&config).unwrap()
}

/// Deploys with this kubeconfig; Helm's writes are then `user`'s.
fn deploys_as(stage: &Stage, config: &Value, user: &str) {
    let kubeconfig = stage.temporary.path().join("kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let mut guard = stage.guard("upgrade", &["--install", "--wait", "--timeout=60s"]);
    guard.env("KUBECONFIG", &kubeconfig);
    Stage::ok(guard);
    stage.assert_deployed();
    writes_are_of(stage, user);
}

fn writes_are_of(stage: &Stage, user: &str) {
    let writes = stage.namespace.audit().unwrap().user_agent("Helm/").writes();
    let users: Vec<_> = writes.events().iter().map(|event| &*event.user.username).collect();
    assert!(!users.is_empty() && users.iter().all(|name| *name == user), "{users:?}");
}

/// A client certificate in the kubeconfig, as kubeadm, kind and minikube write it; then the same from an exec plugin.
fn a_certificate_says_who_it_is(version: Helm) {
    let stage = Stage::new("certified", version);
    let file = Cluster::shared().unwrap().user_kubeconfig("certified", stage.namespace.name()).unwrap();
    let file = format!("--kubeconfig={}", file.display());
    let mut config: Value = serde_json::from_str(
        &stage.namespace.kubectl(["config", "view", "--raw", "--flatten", "-o", "json", &file]).unwrap(),
    )
    .unwrap();
    deploys_as(&stage, &config, "certified");

    let user = config["users"][0]["user"].take();
    let pem = |name: &str| String::from_utf8(STANDARD.decode(user[name].as_str().unwrap()).unwrap()).unwrap();
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {
            "clientCertificateData": pem("client-certificate-data"), "clientKeyData": pem("client-key-data"),
        },
    });
    let answer = stage.temporary.path().join("credential.json");
    std::fs::write(&answer, credential.to_string()).unwrap();
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": "cat", "args": [answer],
        "interactiveMode": "Never",
    });
    config["users"][0]["user"] = json!({ "exec": exec });
    deploys_as(&stage, &config, "certified");
}

/// In a pod there is no kubeconfig, but two variables and the files of its service account.
fn in_a_pod_its_account_is_used(version: Helm) {
    let stage = Stage::new("pod", version);
    // A mount of our own over `/run`, which everybody else keeps as it is.
    let own = ["--user", "--map-root-user", "--mount"];
    if !Command::new("unshare").args(own).arg("true").status().is_ok_and(|status| status.success()) {
        println!("skipped: no user namespaces on this machine");
        return;
    }
    let namespace = stage.namespace.name();
    stage.namespace.kubectl(["create", "serviceaccount", "deployer"]).unwrap();
    let account = format!("--serviceaccount={namespace}:deployer");
    stage
        .namespace
        .kubectl(["create", "rolebinding", "deployer", "--clusterrole=cluster-admin", &account])
        .unwrap();
    let files = stage.temporary.path().join("serviceaccount");
    std::fs::create_dir(&files).unwrap();
    let cluster = config(&stage)["clusters"][0]["cluster"].take();
    let authority = STANDARD.decode(cluster["certificate-authority-data"].as_str().unwrap()).unwrap();
    std::fs::write(files.join("ca.crt"), authority).unwrap();
    std::fs::write(files.join("namespace"), namespace).unwrap();
    let token = stage.namespace.kubectl(["create", "token", "deployer"]).unwrap();
    std::fs::write(files.join("token"), token.trim()).unwrap();

    let guard = stage.guard("upgrade", &["--install", "--wait", "--timeout=60s"]);
    let script = "mount -t tmpfs none \"$(readlink -f /var/run)\" && mkdir -p /var/run/secrets/kubernetes.io && \
                  cp -r \"$0\" /var/run/secrets/kubernetes.io && exec \"$@\"";
    let mut pod = Command::new("unshare");
    pod.args(own).args(["sh", "-c", script]).arg(&files).arg(guard.get_program()).args(guard.get_args());
    pod.env_clear().envs(guard.get_envs().filter_map(|(name, value)| Some((name, value?))));
    pod.env_remove("KUBECONFIG").stdin(std::process::Stdio::null());
    let (host, port) = cluster["server"]
        .as_str()
        .and_then(|server| server.strip_prefix("https://")?.split_once(':'))
        .unwrap();
    pod.env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port);
    Stage::ok(pod);
    stage.assert_deployed();
    writes_are_of(&stage, &format!("system:serviceaccount:{namespace}:deployer"));
}

/// A SOCKS proxy that the kubeconfig names: all goes through it, Helm's requests too.
fn a_socks_proxy_is_the_way(version: Helm) {
    let stage = Stage::new("socks", version);
    let (proxy, passed) = socks();
    let mut config = config(&stage);
    config["clusters"][0]["cluster"]["proxy-url"] = format!("socks5://{proxy}").into();
    deploys_as(&stage, &config, "admin");
    // One for what reads, one for what writes.
    assert!(passed.load(Ordering::Relaxed) >= 2);
}

/// A SOCKS 5 proxy (RFC 1928) without a login, for as long as this process lives: its address, and how many connections it
/// has made.
fn socks() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, passed) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let counted = passed.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let counted = counted.clone();
            std::thread::spawn(move || pass_on(client, &counted));
        }
    });
    (address, passed)
}

fn pass_on(mut client: TcpStream, passed: &AtomicUsize) -> std::io::Result<()> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    client.read_exact(&mut vec![0; usize::from(greeting[1])])?;
    client.write_all(&[5, 0])?;
    // CONNECT to an IPv4 address.
    let mut wanted = [0; 10];
    client.read_exact(&mut wanted)?;
    assert_eq!(wanted[..4], [5, 1, 0, 1]);
    let [.., a, b, c, d, high, low] = wanted;
    let mut server =
        TcpStream::connect((std::net::Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    passed.fetch_add(1, Ordering::Relaxed);
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Both)
    });
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Both)
}

crate::with_either_helm! {
    V4 a_socks_proxy_is_the_way
    V3 a_certificate_says_who_it_is
    V4 in_a_pod_its_account_is_used
}
