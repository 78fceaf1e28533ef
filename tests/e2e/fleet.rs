//! Many releases at once: who needs somebody, and why; also for whoever may not look everywhere.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

use helm_guard::release::Status;
use serde_json::Value;
use testbed::{Rule, tools::Helm};

use crate::{
    lock::lock_id,
    records::set_status_of,
    stage::{Said, Stage, interrupt, kill},
    unlock::at_a_terminal,
};

const LIMIT: Duration = Duration::from_secs(60);

fn status(stage: &Stage, more: &[&str]) -> Said {
    let mut command = stage.own(&["status", "-o", "json"]);
    command.args(more);
    Stage::run(command)
}

/// The entries of these namespaces, as `namespace state: cause: next`: the cluster is everybody's.
fn entries(said: &Said, namespaces: &[&str]) -> Vec<String> {
    assert_eq!(said.code, Some(0), "{}", said.err);
    let list: Value = serde_json::from_str(&said.out).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    let ours = items.filter(|item| namespaces.contains(&item["namespace"].as_str().unwrap()));
    ours.map(|item| {
        let [namespace, state, cause, next] =
            ["namespace", "state", "cause", "next"].map(|name| text(item, name));
        format!("{namespace} {state}: {cause}: {next}")
    })
    .collect()
}

/// One stuck, one failed, one being deployed and one well, each in a namespace of its own.
fn the_whole_fleet(version: Helm) {
    let [stuck, failed, busy, well] =
        ["f-stuck", "f-failed", "f-busy", "f-well"].map(|n| Stage::new(n, version));
    for stage in [&stuck, &failed, &busy, &well] {
        stage.ready("install", &[]);
    }
    stuck.stick("upgrade", &["--set=behavior=never-ready"]);
    let failing = ["--set=behavior=never-ready", "--wait", "--timeout=1s"];
    assert_eq!(Stage::run(failed.raw("upgrade", &failing)).code, Some(1));
    // What failed once and works now needs nobody.
    assert_eq!(Stage::run(well.raw("upgrade", &failing)).code, Some(1));
    well.ready("upgrade", &["--set=behavior=ready"]);
    let mut guard = busy.guard("upgrade", &["--set=behavior=never-ready", "--wait", "--timeout=300s"]);
    let mut guard = guard.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pending = busy.wait_for_record("pending-upgrade");
    let listed = status(&stuck, &["-A"]);
    let alive = status(&busy, &["--check"]);
    let id = lock_id(&busy);
    kill(&mut guard);
    pending.unwrap();
    let names = [&busy, &failed, &stuck, &well].map(|stage| stage.namespace.name());
    let [b, f, s, w] = names;
    let listed = entries(&listed, &names);
    assert_eq!(listed.len(), 3, "{listed:#?}");
    assert!(listed[0].starts_with(&format!("{b} deploying: revision 2 is pending-upgrade, upgrade of ada@")));
    assert!(listed[0].ends_with(&format!(" holds the lock (lock {id}): ")), "{}", listed[0]);
    assert_eq!(listed[1], format!("{f} failed: revision 2 is failed: "));
    let repair = format!("helm-guard repair web -n {s}");
    let cause = "revision 2 is pending-upgrade, and no run holds its lock";
    assert_eq!(listed[2], format!("{s} stuck: {cause}: {repair}"));
    let alive = entries(&alive, &names);
    assert!(alive[0].ends_with(&format!(" is alive (lock {id}): ")), "{alive:?}");

    // Its holder is dead by now. The command that is named does mend it.
    let dead = entries(&status(&busy, &["--check"]), &names);
    let unlock = format!("helm-guard unlock web -n {b} --id {id}");
    assert!(dead[0].contains(" stuck: ") && dead[0].ends_with(&unlock), "{dead:?}");
    for (stage, command) in [(&busy, unlock), (&stuck, repair)] {
        Stage::ok(stage.own(&command.split(' ').skip(1).collect::<Vec<_>>()));
        let mended = entries(&status(stage, &[]), &names);
        assert!(mended.len() == 1 && mended[0].contains(" failed: "), "{mended:?}");
    }
    let said = status(&well, &[]);
    assert!(said.err.contains("needs attention; --all also lists"), "{}", said.err);
    assert_eq!(entries(&said, &names), [] as [&str; 0]);
    let all = entries(&status(&well, &["--all"]), &names);
    assert_eq!(all, [format!("{w} deployed: revision 3 is deployed: ")]);
    let named = status(&well, &["-A", "web"]);
    assert_eq!(entries(&named, &names).len(), 4, "{}", named.out);
}

/// Nobody told where the records are: those in ConfigMaps are found too, and the command says where they are.
fn records_of_both_kinds(version: Helm) {
    let mut stage = Stage::new("f-kinds", version);
    stage.ready("install", &[]);
    stage.driver = "configmap";
    let values = "--set=name=api,configs={api},behavior=never-ready";
    assert_eq!(Stage::run(stage.raw_of("api", "install", &[values, "--wait", "--timeout=1s"])).code, Some(1));
    let record = "sh.helm.release.v1.api.v1";
    let label = ["label", "configmap", record, "--overwrite", "status=pending-install"];
    stage.namespace.kubectl(label).unwrap();
    let name = stage.namespace.name();
    let mut command = stage.own(&["status", "-o", "json"]);
    command.env_remove("HELM_DRIVER");
    let found = entries(&Stage::run(command), &[name]);
    let next = format!("HELM_DRIVER=configmap helm-guard repair api -n {name}");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(" stuck: ") && found[0].ends_with(&next), "{found:?}");
    // A repair looks in one storage only, and says so instead of finding nothing there.
    let mut command = stage.own(&["repair", "--yes"]);
    command.env_remove("HELM_DRIVER");
    let said = Stage::run(command);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let left = format!("api in namespace {name}: left alone: its records are in configmaps: {next}\n");
    assert!(said.err.contains(&left), "{}", said.err);
    stage.driver = "secret";
    assert_eq!(
        entries(&status(&stage, &[]), &[name]),
        [] as [&str; 0],
        "who says where has them nowhere else"
    );
}

/// Who may not list everywhere is shown what may be listed, and told so; no record is read, only metadata.
#[test]
fn where_all_namespaces_may_not_be_listed_those_are_that_may_be() {
    let stages = ["f-one", "f-two", "f-three"].map(|stem| Stage::new(stem, Helm::V4));
    for stage in &stages {
        stage.stick("install", &["--set=behavior=never-ready"]);
    }
    let [one, two, three] = stages.each_ref().map(|stage| stage.namespace.name());
    let lists = [
        Rule { groups: &[""], resources: &["secrets"], verbs: &["list"] },
        Rule { groups: &["coordination.k8s.io"], resources: &["leases"], verbs: &["list"] },
    ];
    // Nobody else's: namespaces of stories that are over still give their users rights.
    let user = 8;
    let file = stages[0].namespace.restricted_kubeconfig(user, &lists).unwrap();
    stages[1].namespace.restricted_kubeconfig(user, &lists).unwrap();
    let flag = format!("--kubeconfig={}", file.display());

    // Not even which namespaces there are.
    let said = status(&stages[0], &["-A", &flag]);
    assert_eq!(entries(&said, &[one, two, three]).len(), 1, "{}", said.out);
    let told = format!("shown are 1 of namespaces that cannot be listed: {one}");
    assert!(said.err.contains(&told), "{}", said.err);

    let role = format!("helm-guard-{one}");
    let mut rights = String::new();
    write!(
        rights,
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {role}}}\n\
         rules: [{{apiGroups: [''], resources: [namespaces], verbs: [list]}}]\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {role}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n\
         subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: user-{user}}}]\n"
    )
    .unwrap();
    stages[0].namespace.apply(&rights).unwrap();
    let said = status(&stages[0], &["-A", &flag]);
    let found = entries(&said, &[one, two, three]);
    stages[0].namespace.kubectl(["delete", "clusterrole,clusterrolebinding", &role]).unwrap();
    let namespaces: Vec<&str> = found.iter().filter_map(|entry| entry.split(' ').next()).collect();
    assert_eq!(namespaces, [one, two], "{}", said.err);
    assert!(
        said.err.contains("secrets may not be listed in all namespaces at once: shown are 2 of "),
        "{}",
        said.err
    );
    assert!(said.out.contains("shown are 2 of "), "programs are told too: {}", said.out);

    let nothing = stages[2].namespace.restricted_kubeconfig(6, &[]).unwrap();
    let refused = status(&stages[2], &["-A", &format!("--kubeconfig={}", nothing.display())]);
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    assert!(refused.err.contains("add this rule to your Role, or ClusterRole for -A"), "{}", refused.err);
}

/// What `helm history` has not: which revision is the last good one.
fn a_history(version: Helm) {
    let stage = Stage::new("f-history", version);
    stage.ready("install", &[]);
    stage.ready("upgrade", &[]);
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    let said = Stage::ok(stage.own(&["history", "web"]));
    assert!(said.out.ends_with("\nthe last good revision is 2\n"), "{}", said.out);
    let json: Value =
        serde_json::from_str(&Stage::ok(stage.own(&["history", "web", "-o", "json"])).out).unwrap();
    let rows = json["revisions"].as_array().unwrap();
    let rows = rows
        .iter()
        .map(|row| (row["revision"].as_u64().unwrap(), row["status"].as_str().unwrap().to_owned()));
    let helms = stage.history().into_iter().map(|(revision, status)| (u64::from(revision), status));
    assert_eq!(rows.collect::<Vec<_>>(), helms.collect::<Vec<_>>());
    assert_eq!(json["lastGood"], 2);
    assert_eq!(Stage::run(stage.own(&["history", "nobody"])).code, Some(1));
}

/// Each stuck release is shown, a person chooses what is done; whose holder is alive is not among them.
fn a_walk_through_what_is_stuck(version: Helm) {
    let stage = Stage::new("f-walk", version);
    for (release, status) in [("api", Status::PendingInstall), ("busy", Status::PendingInstall)] {
        let names = format!("--set=name={release},configs={{{release}}}");
        Stage::ok(stage.raw_of(release, "install", &[&names, "--wait"]));
        set_status_of(&stage, release, 1, status);
    }
    stage.ready("install", &["--set=configs={good}"]);
    let kept = stage.uids();
    stage.stick("upgrade", &["--set=configs={good,dead}", "--set=behavior=never-ready"]);
    // Whoever watches a holder for minutes can be stopped.
    let lock = Stage::ok(stage.own(&["lock", "acquire", "busy", "--ttl=5m"])).out;
    let mut walk = stage.own(&["repair", "--yes"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(walk.stderr.take().unwrap()).lines().map_while(Result::ok);
    let watches = lines.any(|line| line.contains("watching the lock holder for at most 5m 00s"));
    interrupt(&walk);
    assert_eq!((watches, walk.wait().unwrap().code()), (true, Some(130)));
    Stage::ok(stage.own(&["lock", "release", "busy", "--id", lock.trim()]));
    let mut holder = stage.own(&["lock", "run", "busy", "--lease-duration=3s", "--", "sleep", "300"]);
    let mut holder = holder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let held = stage.namespace.watch_until(["lease", "helm-guard-busy"], LIMIT, |lease| {
        lease["spec"]["holderIdentity"].is_string()
    });
    let nobody = Stage::run(stage.own(&["repair"]));
    let answers =
        [("1 of 2: api", ""), ("stop here", "\r"), ("2 of 2: web", ""), ("stop here", "\u{1b}[B\r")];
    let (code, screen) = at_a_terminal(stage.own(&["repair", "--lease-duration=6s"]), &answers);
    let scripted = Stage::run(stage.own(&["repair", "--yes"]));
    kill(&mut holder);
    held.unwrap();
    assert_eq!(nobody.code, Some(77), "{}", nobody.err);
    assert!(nobody.err.contains("no terminal to ask"), "{}", nobody.err);
    assert_eq!(code, Some(0), "{screen}");
    let left_alone = format!("busy in namespace {}: left alone: ", stage.namespace.name());
    assert!(screen.contains(&left_alone) && screen.contains("every workload is ready"), "{screen}");
    let (of_api, of_web) = screen.split_once("2 of 2: web").unwrap();
    assert!(of_api.contains("adopt: revision 1 → deployed"), "{screen}");
    for shown in [
        "since 20",
        "helm-guard: 2          pending-upgrade   web-1.0.0",
        "seen: Deployment/web has 0 of 1 ready: NotReady",
        "it cannot be adopted: ",
        "mark-failed: revision 2 → failed",
        ", helm rollback to revision 1, without hooks",
        "delete-record: ",
        "leave it as it is",
    ] {
        assert!(of_web.contains(shown), "{shown}: {screen}");
    }
    stage.assert_history(&["superseded", "failed", "deployed"]);
    assert_eq!(stage.uids(), kept, "what only the dead revision had is gone");
    let api = Stage::ok(stage.own(&["history", "api", "-o", "json"]));
    assert!(api.out.contains("Install complete (adopted by helm-guard)"), "all of it is there: {}", api.out);
    let busy = Stage::ok(stage.own(&["history", "busy", "-o", "json"]));
    assert!(busy.out.contains(r#""status": "pending-install""#), "{}", busy.out);
    assert_eq!(scripted.code, Some(0), "{}", scripted.err);
    assert!(scripted.err.contains("nothing is stuck"), "{}", scripted.err);

    // Its holder is dead now: a person is shown who that was, and a script wants all repaired in one way.
    let (code, shown) =
        at_a_terminal(stage.own(&["repair"]), &[("1 of 1: busy", ""), ("leave it", "\u{1b}[A\u{1b}[A\r")]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("owner:     ada@") && shown.contains("operation: lock run sleep"), "{shown}");
    let scripted =
        Stage::run(stage.own(&["repair", "--yes", "--strategy=delete-record", "--lease-duration=6s"]));
    assert_eq!(scripted.code, Some(0), "{}", scripted.err);
    assert!(Stage::run(stage.own(&["history", "busy"])).err.contains("no release busy"), "{}", scripted.err);
}

/// Each word, of what really lives; looking changes nothing, and no value is told.
fn how_a_release_fares(version: Helm) {
    let stage = Stage::new("f-health", version);
    let health = |expected: &str| {
        let shown = Stage::ok(stage.own(&["status", "web", "-o", "json"]));
        let shown: Value = serde_json::from_str(&shown.out).unwrap();
        assert_eq!(shown["health"]["health"], expected, "{:#}", shown["health"]);
        shown["health"]["reasons"].to_string()
    };
    stage.ready("install", &["--set=configs={one}", "--set-string=env.TOKEN=hunter2"]);
    let before = stage.generation();
    assert_eq!(health("Healthy"), "[]");
    // What may not be listed is not taken for ready.
    let rights = [
        Rule { groups: &[""], resources: &["secrets", "configmaps"], verbs: &["get", "list", "patch"] },
        Rule { groups: &["apps"], resources: &["deployments"], verbs: &["get", "patch"] },
        Rule { groups: &["coordination.k8s.io"], resources: &["leases"], verbs: &["get", "list"] },
    ];
    let file = stage.namespace.restricted_kubeconfig(9, &rights).unwrap();
    let flag = format!("--kubeconfig={}", file.display());
    let shown = Stage::ok(stage.own(&["status", "web", "-o", "json", &flag]));
    let shown: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(shown["health"]["health"], "Unknown", "{shown:#}");
    assert!(shown["health"]["reasons"].to_string().contains("deployments may not be listed"), "{shown:#}");
    let env = ["set", "env", "deployment/web", "TOKEN=other"];
    stage.namespace.kubectl(env).unwrap();
    stage.namespace.kubectl(["rollout", "status", "deployment/web", "--timeout=60s"]).unwrap();
    let reasons = health("Drifted");
    assert!(
        reasons.contains("Deployment/web differs in .spec.template.spec.containers[0].env["),
        "{reasons}"
    );
    assert!(!reasons.contains("hunter2") && !reasons.contains("other"), "{reasons}");
    assert_eq!(stage.generation(), before + 1, "only kubectl has written");
    stage.namespace.kubectl(["delete", "configmap", "one"]).unwrap();
    assert!(health("Missing").contains("ConfigMap/one is not there"));
    stage.stick("upgrade", &["--set=behavior=never-ready"]);
    health("Stuck");
    let list = |more: &[&str]| stage.own(&[&["status", "--health"][..], more].concat());
    let listed = Stage::ok(list(&["-o", "wide"])).out;
    assert!(
        listed.contains("HEALTH") && listed.contains(" Stuck ") && listed.contains("STORAGE"),
        "{listed}"
    );
    assert!(!listed.contains('\u{1b}'), "no colour for a file: {listed}");
    let (red, green) = ("\u{1b}[31m", "\u{1b}[32m");
    let (_, colored) = at_a_terminal(list(&[]), &[]);
    assert!(colored.contains(&format!("{red}stuck\u{1b}[0m ")), "{colored}");
    assert!(colored.contains(&format!("{red}Stuck\u{1b}[0m ")), "{colored}");
    let (_, one) = at_a_terminal(stage.own(&["status", "web"]), &[]);
    assert!(
        one.contains(&format!("{green}deployed\u{1b}[0m")) && one.contains(&format!("{red}Stuck")),
        "{one}"
    );
    for (variable, value, more) in
        [("NO_COLOR", "1", &[][..]), ("TERM", "dumb", &[]), ("A", "", &["-o", "json"])]
    {
        let mut command = list(more);
        command.env(variable, value);
        let (_, plain) = at_a_terminal(command, &[]);
        assert!(plain.contains("Stuck") && !plain.contains('\u{1b}'), "{variable} {plain}");
    }

    let other = Stage::new("f-crash", version);
    for (command, behavior, word) in
        [("install", "never-ready", "Progressing"), ("upgrade", "crash-loop", "Degraded")]
    {
        let behavior = format!("--set=behavior={behavior}");
        let limit = if word == "Degraded" { "--timeout=5s" } else { "--timeout=1s" };
        assert_eq!(Stage::run(other.raw(command, &[&behavior, "--wait", limit])).code, Some(1));
        let listed = Stage::ok(other.own(&["status", "--health", "-o", "yaml"])).out;
        assert!(listed.contains(&format!("health: {word}\n")), "{listed}");
    }
    let listed = Stage::ok(other.own(&["status", "--health", "-o", "json"])).out;
    assert!(listed.contains(r#""health": "Degraded""#) && listed.contains("CrashLoopBackOff"), "{listed}");
}

crate::with_both_helms! { how_a_release_fares the_whole_fleet a_history a_walk_through_what_is_stuck }
crate::with_either_helm! { V3 records_of_both_kinds }
