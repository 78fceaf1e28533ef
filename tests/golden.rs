//! Writes the golden records anew: `cargo test --test golden -- --ignored`. They are records as real Helm 3 and 4 leave
//! them, for the tests of `src/release`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testbed::{
    Cluster,
    tools::{Helm, helm},
};

#[test]
#[ignore = "writes tests/golden, which is committed"]
fn write_golden_records() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (version, name) in [(Helm::V3, "helm-3.22.0"), (Helm::V4, "helm-4.3.1")] {
        let namespace = Cluster::shared().unwrap().namespace("golden").unwrap();
        let run = |command: &str, more: &[&str]| {
            let mut run = Command::new(helm(version).unwrap());
            run.args([command, "golden"]).arg(golden.join("chart")).args(more);
            run.env("KUBECONFIG", namespace.kubeconfig());
            run
        };
        let values = ["--set", "large=9007199254740993", "--set-json", "float=1e25,nothing=null"];
        assert!(run("install", &values).status().unwrap().success());

        let mut upgrade = run("upgrade", &["--reuse-values", "--set=claim=true", "--wait"]).spawn().unwrap();
        let selector = ["secrets", "-l", "owner=helm,status=pending-upgrade"];
        let seen =
            namespace.watch_until(selector, Duration::from_secs(60), |o: &Value| o["kind"] == "Secret");
        upgrade.kill().unwrap();
        upgrade.wait().unwrap();
        seen.unwrap();

        for (revision, status) in [(1, "deployed"), (2, "pending-upgrade")] {
            let record = format!("sh.helm.release.v1.golden.v{revision}");
            let mut secret = namespace.kubectl_json(["get", "secret", &record, "-o", "json"]).unwrap();
            // The namespace has a name of its own each time.
            secret["metadata"]["namespace"] = "golden".into();
            let text = serde_json::to_string_pretty(&secret).unwrap() + "\n";
            std::fs::write(golden.join(format!("{name}-{status}.json")), text).unwrap();
        }
    }
}
