//! Plugins of a kubeconfig that log in (`users[].user.exec`): they may ask at the terminal, and get no token of helm-guard's.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::json;
use testbed::tools::Helm;

use crate::{screen::Terminal, stage::Stage};

/// A kubeconfig whose plugin gives credentials for ten seconds, until somebody was asked.
struct Login {
    kubeconfig: PathBuf,
    /// The environments in which the plugin was run.
    seen: PathBuf,
    /// While this file is there, the plugin asks for a password.
    asks: PathBuf,
    /// The file that is there once it was answered.
    opened: PathBuf,
    /// A pipe that it writes to when it waits for the answer. The prompt itself is soon drawn over by the table of progress.
    asking: PathBuf,
}

impl Login {
    fn new(stage: &Stage, mode: &str) -> Self {
        let path = |name: &str| stage.temporary.path().join(name);
        let (kubeconfig, seen) = (path("login-kubeconfig"), path("seen"));
        let (asks, asking, opened) = (path("asks"), path("asking"), path("opened"));
        assert!(Command::new("mkfifo").arg(&asking).status().unwrap().success());
        let view = ["config", "view", "--raw", "--flatten"];
        let mut config = stage.namespace.kubectl_json(view).unwrap();
        let token = config["users"][0]["user"]["token"].as_str().unwrap();
        let script = format!(
            "#!/bin/sh\nenv >>'{seen}'\nends=$(date -u -d '+10 sec' +%FT%TZ)\n\
             if rm '{asks}' 2>&-; then\n\
             stty -echo; printf 'Password: ' >&2; echo asking >'{asking}'; read -r word; stty echo\n[ \"$word\" = open ] || exit 9\n: >'{opened}'\n\
             ends=2099-01-01T00:00:00Z\nfi\n\
             echo \"{{\\\"apiVersion\\\":\\\"client.authentication.k8s.io/v1\\\",\\\"kind\\\":\\\"ExecCredential\\\",\
             \\\"status\\\":{{\\\"token\\\":\\\"{token}\\\",\\\"expirationTimestamp\\\":\\\"$ends\\\"}}}}\"\n",
            seen = seen.display(),
            asks = asks.display(),
            asking = asking.display(),
            opened = opened.display(),
        );
        std::fs::write(path("login"), script).unwrap();
        std::fs::set_permissions(path("login"), PermissionsExt::from_mode(0o755)).unwrap();
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "command": path("login"), "interactiveMode": mode,
        });
        config["users"][0]["user"] = json!({ "exec": exec });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { kubeconfig, seen, asks, opened, asking }
    }
}

/// The login ends while helm-guard holds the lock: whoever sits at the terminal is asked, and the deploy goes on.
fn a_login_asks_at_the_terminal_under_the_lock(version: Helm) {
    // helm-guard runs the plugin, whichever Helm there is.
    let mode = if version == Helm::V3 { "IfAvailable" } else { "Always" };
    let stage = Stage::new("login", version);
    let login = Login::new(&stage, mode);
    let flags =
        ["--install", "--set=behavior=never-ready", "--wait", "--timeout=120s", "--lease-duration=60s"];
    let mut guard = stage.guard("upgrade", &flags);
    guard.env("KUBECONFIG", &login.kubeconfig);
    let mut terminal = Terminal::foreground(&guard, (24, 200));
    // The terminal is read all the while: one that is full keeps its writers waiting.
    let is_asking = AtomicBool::new(false);
    let (code, screen) = std::thread::scope(|scope| {
        scope.spawn(|| {
            stage.wait_for_record("pending-install").unwrap();
            std::fs::write(&login.asks, "").unwrap();
            std::fs::read(&login.asking).unwrap();
            is_asking.store(true, Ordering::Relaxed);
        });
        terminal.until(|_| is_asking.load(Ordering::Relaxed));
        let lease = stage.namespace.kubectl_json(["get", "lease", "helm-guard-web"]).unwrap();
        assert!(lease["spec"]["holderIdentity"].is_string(), "{lease:#}");
        terminal.press("open\n");
        scope.spawn(|| stage.let_pod_become_ready());
        terminal.end()
    });
    assert_eq!(code, Some(0), "{mode}: {screen}");
    assert!(login.opened.exists(), "{mode}: the plugin did not read the answer: {screen}");
    stage.assert_deployed();
}

/// Run by helm-guard, and by Helm itself where there is no fence.
fn no_login_is_given_a_token(version: Helm) {
    let stage = Stage::new("logintoken", version);
    let login = Login::new(&stage, "Never");
    for more in [&["--install"][..], &["--fence=off"], &["--dry-run=server"]] {
        let mut guard = stage.guard("upgrade", &[more, &["--lease-duration=60s"]].concat());
        guard.env("KUBECONFIG", &login.kubeconfig).env("HELM_GUARD_CI_TOKEN", "canary-ci");
        Stage::ok(guard);
        let seen = std::fs::read_to_string(&login.seen).unwrap();
        assert!(seen.contains("KUBERNETES_EXEC_INFO="), "{more:?}: {seen}");
        assert!(!seen.contains("canary"), "{more:?}: {seen}");
        std::fs::remove_file(&login.seen).unwrap();
    }
}

crate::with_both_helms! { a_login_asks_at_the_terminal_under_the_lock no_login_is_given_a_token }
