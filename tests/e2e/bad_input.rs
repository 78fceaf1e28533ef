//! Bad input: a clear word, the documented exit code, and nothing written.

use std::process::Command;

use crate::stage::Stage;
use testbed::tools::Helm;

/// A bad flag on a stuck release leaves the records byte for byte as they were.
fn a_bad_flag_repairs_nothing(version: Helm) {
    let stage = Stage::new("flag", version);
    stage.ready("install", &[]);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let before = stage.records();
    for bad in ["--no-such-flag", "--set=configs=notalist", "--version"] {
        let said = Stage::run(stage.guard("upgrade", &[bad]));
        assert!(said.code.is_some_and(|code| code != 0), "{bad}: {}", said.err);
        assert_eq!(stage.records(), before, "{bad}: {}", stage.normalise(&said.err));
    }
}

/// A dry run and help take no lock and write nothing.
fn a_dry_run_takes_no_lock(version: Helm) {
    let stage = Stage::new("dry", version);
    stage.ready("install", &[]);
    let before = stage.records();
    Stage::ok(stage.guard("upgrade", &["--dry-run=client"]));
    Stage::ok(stage.guard("upgrade", &["--help"]));
    assert_eq!(stage.records(), before);
    assert_eq!(stage.namespace.kubectl(["get", "leases", "-o", "name"]).unwrap().trim(), "");
}

/// What cannot work says so with its own exit code, and touches nothing.
fn what_cannot_work_says_why(version: Helm) {
    let stage = Stage::new("cannot", version);
    let mut missing = stage.guard("upgrade", &["--install"]);
    missing.env("HELM_BIN", "/no/such/helm");
    let said = Stage::run(missing);
    assert_eq!(said.code, Some(69), "{}", said.err);
    assert!(said.err.contains("/no/such/helm") && said.err.contains("--helm-bin"), "{}", said.err);

    let said = Stage::run(stage.guard("upgrade", &["--install", "--kubeconfig=/no/such/config"]));
    assert_eq!(said.code, Some(69), "{}", said.err);
    assert!(said.err.contains("/no/such/config"), "{}", said.err);

    let user = stage.namespace.restricted_kubeconfig(0, &[]).unwrap();
    let said =
        Stage::run(stage.guard("upgrade", &["--install", &format!("--kubeconfig={}", user.display())]));
    assert_eq!(said.code, Some(77), "{}", said.err);
    assert!(said.err.contains("leases") && said.err.contains("coordination.k8s.io"), "{}", said.err);

    let said = Stage::run(stage.guard("upgrade", &[]));
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("has no deployed releases"), "{}", said.err);
    assert!(stage.records().is_empty());
}

/// A chart can render without end. More than a record could ever hold is not read, in memory that is bounded from outside.
fn a_helm_that_never_stops_talking(version: Helm) {
    let mut stage = Stage::new("talks", version);
    let script = stage.temporary.path().join("talks");
    let helm = stage.helm.display();
    let endless = "[ \"$1\" = template ] && exec yes 'a: b'";
    std::fs::write(&script, format!("#!/bin/sh\nulimit -S -v unlimited\n{endless}\nexec '{helm}' \"$@\"\n"))
        .unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    stage.helm = script;
    let mut check = stage.own(&["check", "web"]);
    check.arg(Stage::chart());
    let mut bounded = Command::new("sh");
    bounded
        .args(["-c", "ulimit -S -v 900000; exec \"$@\"", "sh"])
        .arg(check.get_program())
        .args(check.get_args());
    bounded.env_clear().envs(check.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let said = Stage::run(bounded);
    assert_eq!(said.code, Some(69), "{}", said.err);
    assert!(said.err.contains("it prints more than 64 MiB"), "{}", said.err);
}

crate::with_either_helm! { V4 a_helm_that_never_stops_talking }
crate::with_both_helms! { a_bad_flag_repairs_nothing a_dry_run_takes_no_lock what_cannot_work_says_why }
