//! An API server that can be reached through a SOCKS proxy alone.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use testbed::tools::Helm;

use crate::stage::Stage;

/// A SOCKS proxy that the kubeconfig names: all goes through it, Helm's requests too.
fn a_socks_proxy_is_the_way(version: Helm) {
    let stage = Stage::new("socks", version);
    let (proxy, passed) = socks();
    let mut config: Value = serde_json::from_str(
        &stage.namespace.kubectl(["config", "view", "--raw", "--flatten", "-o", "json"]).unwrap(),
    )
    .unwrap();
    config["clusters"][0]["cluster"]["proxy-url"] = format!("socks5://{proxy}").into();
    let kubeconfig = stage.temporary.path().join("socks-kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let mut guard = stage.guard("upgrade", &["--install", "--wait", "--timeout=60s"]);
    guard.env("KUBECONFIG", &kubeconfig);
    Stage::ok(guard);
    stage.assert_deployed();
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

crate::with_either_helm! { V4 a_socks_proxy_is_the_way }
