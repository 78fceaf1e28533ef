//! Design rule 1: what decides is pure. A file may use a client, the runtime, files, processes, the environment or a clock
//! only if it is named here, with what it does there.
#![expect(clippy::unwrap_used, reason = "a source that cannot be read fails the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The files that act. Everything else under `src` decides, or renders.
const ACTING: [(&str, &str); 91] = [
    ("ci/api.rs", "asks the CI system's API"),
    ("ci/checkout.rs", "reads the workflow's file"),
    ("clock.rs", "reads the clocks, for everybody else"),
    ("cluster.rs", "reads the cluster"),
    ("cluster/client_certificate.rs", "reads certificates and keys"),
    ("cluster/exec_plugin.rs", "runs the program that logs in, reads token files"),
    ("cluster/gate.rs", "writes to sockets"),
    ("cluster/go_url.rs", "is about the addresses of std::net"),
    ("cluster/kubeconfig_files.rs", "reads kubeconfigs and what a pod is given"),
    ("cluster/lives.rs", "lists objects as they live"),
    ("cluster/raw_request.rs", "sends requests to the API server"),
    ("cluster/retry.rs", "lets time pass before a request is sent again"),
    ("cluster/tls_client.rs", "reads client certificates again for each connection"),
    ("cluster/transport.rs", "opens connections to the API server"),
    ("commands/action.rs", "starts this program again with what the inputs say"),
    ("commands/backup.rs", "prints"),
    ("commands/check.rs", "prints"),
    ("commands/diagnose.rs", "reads a release's record and what lives of it, prints"),
    ("commands/list.rs", "lists records and Leases, prints"),
    ("commands/lock.rs", "reads Leases, takes and gives back a lock, prints"),
    ("commands/lock_run.rs", "runs a command under the lock"),
    ("commands/repair.rs", "asks the person at the terminal, lets time pass"),
    ("commands/restore.rs", "reads the backup, writes records after the fact"),
    ("commands/session.rs", "connects, reads records, prints, measures the terminal"),
    ("commands/settle.rs", "ends processes and writes records after the fact"),
    ("commands/status.rs", "reads a release's lock and records, prints"),
    ("commands/unlock.rs", "watches, takes the lock, settles records, asks the person at the terminal"),
    ("commands/upgrade.rs", "starts Helm for its help and for its own dry run"),
    ("copies.rs", "saves copies, throws old ones away"),
    ("deploy.rs", "does one stage after the other"),
    ("deploy/cancel.rs", "waits for signals and the time after them"),
    ("deploy/follow.rs", "lets time pass, starts what watches and reads"),
    ("deploy/helm_process.rs", "runs Helm"),
    ("deploy/journal.rs", "writes records after the fact, keeps the state file"),
    ("deploy/leftovers.rs", "saves copies of objects that a dead install left"),
    ("deploy/locks.rs", "takes locks and gives them back"),
    ("deploy/preflight.rs", "asks the API server before a deploy"),
    ("deploy/prepare.rs", "does the steps of a repair"),
    ("deploy/progress.rs", "lets time pass, starts what watches"),
    ("deploy/recreate.rs", "saves and deletes StatefulSets"),
    ("deploy/render.rs", "runs Helm, looks at files of values"),
    ("deploy/rollout.rs", "waits for rollouts, lets time pass"),
    ("deploy/run.rs", "runs Helm, lets time pass"),
    ("deploy/stdin_values.rs", "reads standard input"),
    ("deploy/values_files.rs", "reads files of values"),
    ("diagnose/collect.rs", "reads what lives of a release"),
    ("fence/answers.rs", "looks at the time that has passed"),
    ("fence/kubeconfig_dir.rs", "writes Helm's kubeconfig"),
    ("fence/openapi_cache.rs", "keeps descriptions of the API"),
    ("fence/pauses.rs", "lets a write of Helm wait"),
    ("fence/proxy.rs", "passes Helm's requests on to the API server"),
    ("fence/server.rs", "receives Helm's requests"),
    ("health/drift.rs", "asks for dry runs"),
    ("health/unready.rs", "asks how far workloads are"),
    ("helm/buildinfo.rs", "reads Helm's file"),
    ("helm/launch.rs", "starts Helm"),
    ("helm/terminal.rs", "starts and signals processes, looks at the terminal"),
    ("id.rs", "asks for random bytes"),
    ("lock/contender.rs", "asks in the background, lets time pass"),
    ("lock/lease.rs", "writes the Lease"),
    ("lock/lease/contest.rs", "reads the Lease and claims it, lets time pass"),
    ("lock/lease/hold.rs", "renews the Lease and gives it back"),
    ("lock/lease/object.rs", "is about the API server's type"),
    ("main.rs", "is the rim: arguments, environment, exit code"),
    ("preflight/assess.rs", "asks the API server, in bounded time"),
    ("preflight/claims/look.rs", "reads the claims of a StatefulSet"),
    ("preflight/crds.rs", "deletes CRDs of a refused deploy"),
    ("preflight/dry_run.rs", "asks the API server by dry runs"),
    ("preflight/live_object.rs", "looks at objects, deletes StatefulSets"),
    ("preflight/references/look.rs", "looks up what workloads refer to"),
    ("preflight/resources.rs", "asks the API server for the resources of kinds"),
    ("preflight/rights/review.rs", "asks the API server for rights"),
    ("private_file.rs", "writes and reads private files"),
    ("process.rs", "finds and ends processes"),
    ("progress/logs.rs", "reads logs of hooks"),
    ("progress/watcher.rs", "watches the cluster"),
    ("release/codec.rs", "unpacks in memory, with the readers and writers of std::io"),
    ("release/large.rs", "unpacks in memory, with the readers and writers of std::io"),
    ("release/stored_record.rs", "is about the API server's types"),
    ("repair/adopt/look.rs", "reads what lives of a release"),
    ("repair/adopt/reapply.rs", "asks the API server by dry runs"),
    ("repair/finish_install/objects.rs", "writes and deletes objects of a dead install"),
    ("repair/map_apis/look.rs", "reads what the cluster serves, and what lives of a release"),
    ("report/reporter.rs", "writes the reports"),
    ("signals.rs", "listens for signals"),
    ("status/health.rs", "reads what lives of a release"),
    ("storage.rs", "writes the records"),
    ("storage/connection.rs", "connects to the database"),
    ("storage/kubernetes.rs", "reads and writes records in the cluster"),
    ("storage/postgres.rs", "reads and writes records in the database"),
    ("supervise.rs", "starts this program again, passes signals on, reaps"),
];

/// Roots of paths that lead out of the process, or to what changes without it.
const OUTSIDE: [&str; 16] = [
    "kube::",
    "k8s_openapi::",
    "hyper_util::",
    "tokio::",
    "nix::",
    "getrandom::",
    "fs::",
    // Not `env::`: that is also the module with the environment that was passed in.
    "std::env",
    "env::var",
    "env::args",
    "env::current",
    "process::",
    "net::",
    "thread::",
    "io::",
    "now()",
];

#[test]
fn only_the_files_named_here_reach_outside() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut acting = Vec::new();
    for path in sources(&src) {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let Some((number, line, root)) = first_reach_outside(&text) else { continue };
        assert!(ACTING.iter().any(|(acting, _)| *acting == name), "{name}:{number}: {root} in: {line}");
        assert!(!text.contains("\n//! Pure"), "{name} acts, but calls itself pure");
        acting.push(name);
    }
    let named: Vec<&str> = ACTING.iter().map(|(name, _)| *name).collect();
    assert_eq!(acting, named, "a file that acts no more, or is gone, needs no mention");
}

/// Processes are started only here, and Helm only in `helm/launch.rs`: that is where secrets are taken out of its environment.
#[test]
fn helm_is_started_in_one_place() {
    const STARTING: [(&str, &str); 5] = [
        ("cluster/exec_plugin.rs", "the program that logs in"),
        ("commands/action.rs", "this program, for the action"),
        ("commands/lock_run.rs", "the user's command"),
        ("helm/launch.rs", "Helm"),
        ("supervise.rs", "this program, as the child of process 1"),
    ];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let starts = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split_once("\n#[cfg(test)]").map_or(text.as_str(), |(code, _)| code);
        code.lines()
            .filter(|line| !line.trim_start().starts_with("//") && line.contains("Command::new("))
            .count()
    };
    let found: Vec<(String, usize)> = sources(&src)
        .iter()
        .map(|path| (path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned(), starts(path)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, STARTING.map(|(name, _)| name));
    let elsewhere: usize =
        found.iter().filter(|(name, _)| name != "helm/launch.rs").map(|(_, count)| count).sum();
    assert_eq!(elsewhere, 4, "one each: {found:?}");
}

/// The layers, from the top. A file imports only from layers below its own, and within its own folder; on the ground, the
/// last layer, also from beside it. Source: docs/architecture.md.
const LAYERS: [&[&str]; 12] = [
    &["commands"],
    &["deploy"],
    &["request"],
    &["backup", "cli", "status"],
    &["unlock"],
    &["repair"],
    &["report", "storage"],
    &["fence", "preflight"],
    &["health", "lock", "progress"],
    &["diagnose"],
    &["ci", "helm"],
    &["cluster", "release", "workload"],
];
const GROUND: [&str; 20] = [
    "bytes",
    "cause",
    "clock",
    "color",
    "copies",
    "display",
    "env",
    "exit",
    "id",
    "located",
    "manifest",
    "output",
    "private_file",
    "process",
    "redact",
    "signals",
    "supervise",
    "table",
    "text",
    "yaml",
];

/// The layer of a module, counted from the ground up.
fn layer(top: &str) -> Option<usize> {
    let above = LAYERS.iter().position(|layer| layer.contains(&top)).map(|at| LAYERS.len() - at);
    above.or_else(|| GROUND.contains(&top).then_some(0))
}

#[test]
fn a_file_imports_from_layers_below_its_own() {
    let modules = modules();
    for (module, imports) in &modules {
        let own = layer(&module[0]).unwrap_or_else(|| panic!("{}: which layer is it in?", module[0]));
        for import in imports.iter().filter(|import| import[0] != module[0]) {
            let other = layer(&import[0]).unwrap_or_else(|| panic!("{}: which layer is it in?", import[0]));
            let is_below = other < own || (own == 0 && other == 0);
            assert!(is_below, "{} imports {}, which is not below it", module.join("::"), import.join("::"));
        }
    }
    let known = LAYERS.iter().flat_map(|layer| layer.iter()).chain(&GROUND);
    let gone: Vec<_> = known.filter(|name| !modules.keys().any(|module| module[0] == **name)).collect();
    assert!(gone.is_empty(), "modules that are not there: {gone:?}");
}

/// A parent and its children are one thing; all others can be read in some order.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut left = modules();
    for (module, imports) in &mut left {
        imports.retain(|import| !import.starts_with(module) && import != module);
    }
    loop {
        let free: Vec<_> =
            left.iter().filter(|(_, imports)| imports.is_empty()).map(|(m, _)| m.clone()).collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module, _| !free.contains(module));
        left.values_mut().for_each(|imports| imports.retain(|import| !free.contains(import)));
    }
    let circle: Vec<String> = left.keys().map(|module| module.join("::")).collect();
    assert!(circle.is_empty(), "these, or some of them, import each other in a circle: {circle:?}");
}

/// Every module that is a file, by its path, with the other such modules that its code names.
fn modules() -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<(Vec<String>, String)> = Vec::new();
    for path in sources(&src) {
        let name = path.strip_prefix(&src).unwrap().with_extension("");
        let module: Vec<String> = name.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        let text = std::fs::read_to_string(&path).unwrap();
        let is_test = text.contains("proptest! {") && !text.contains("#[cfg(test)]")
            || module.iter().any(|part| TESTS_ONLY.contains(&part.as_str()));
        if module != ["main"] && module != ["lib"] && !is_test {
            files.push((module, text));
        }
    }
    let names: BTreeSet<Vec<String>> = files.iter().map(|(module, _)| module.clone()).collect();
    let imports = |module: &Vec<String>, text: &str| {
        let found = paths(text).into_iter().filter_map(|path| {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let base = if ups > 0 { module.get(..module.len().checked_sub(ups)?)? } else { &[] };
            let mut whole = [base, &path[ups.max(1)..]].concat();
            while !whole.is_empty() && !names.contains(&whole) {
                whole.pop();
            }
            (!whole.is_empty() && whole != *module).then_some(whole)
        });
        found.collect()
    };
    files.iter().map(|(module, text)| (module.clone(), imports(module, text))).collect()
}

/// Modules that only tests have, in files without `tests` in their names.
const TESTS_ONLY: [&str; 4] = ["examples", "fake", "odd", "properties"];

/// The paths that begin with `crate` or `super` in the code of a file, those of trees in braces one by one.
fn paths(text: &str) -> Vec<Vec<String>> {
    let code = text.split_once("\n#[cfg(test)]").map_or(text, |(code, _)| code);
    let lines = code.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':') {
                tree(&code[at..], &[], &mut found);
            }
        }
    }
    found
}

/// Reads one tree, `a::{b, c::D}`; gives how many bytes it takes.
fn tree(code: &str, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    let mut at = 0;
    loop {
        let word: String = code[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        at += word.len();
        if !word.is_empty() && word != "self" {
            path.push(word);
        }
        if code[at..].starts_with("::") {
            at += 2;
        } else if code[at..].starts_with('{') && code[..at].ends_with("::") {
            at += 1;
            loop {
                at += code[at..].len() - code[at..].trim_start_matches([' ', '\n', ',']).len();
                if at >= code.len() || code[at..].starts_with('}') {
                    break;
                }
                at += tree(&code[at..], &path, found);
                // Another name for it, `as X`.
                at += code[at..].find([',', '}']).unwrap_or(code.len() - at);
            }
            return at + 1;
        } else {
            found.push(path);
            return at;
        }
    }
}

#[test]
fn the_paths_of_a_file_are_read() {
    let text = "use crate::{a::{B, c::D}, e};\nuse super::{f, g::{self, H as I}};\nfn x() { crate::j::k(super::super::l) }\n// crate::m\n\n#[cfg(test)]\nuse crate::n;";
    let found: Vec<String> = paths(text).iter().map(|path| path.join("::")).collect();
    let wanted = [
        "crate::a::B",
        "crate::a::c::D",
        "crate::e",
        "crate::j::k",
        "super::f",
        "super::g",
        "super::g::H",
        "super::super::l",
    ];
    assert_eq!(found, wanted);
}

/// A file of tests that nobody runs proves nothing.
#[test]
fn all_files_of_tests_are_run_before_a_change_lands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let steps = std::fs::read_to_string(root.join("xtask/src/test.rs")).unwrap();
    let files = ["tests", "tests/testbed/tests"].map(|place| std::fs::read_dir(root.join(place)).unwrap());
    for entry in files.into_iter().flatten() {
        let path = entry.unwrap().path();
        let is_one =
            path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists();
        let name = path.file_stem().unwrap().to_str().unwrap();
        // In the list of what is built at once, and in a step.
        let named = [format!("\"{name}\""), format!("\"--test\", \"{name}\"")];
        let count = |text: &String| steps.matches(text.as_str()).count();
        assert!(!is_one || (count(&named[0]) >= 2 && count(&named[1]) == 1), "{name}");
    }
}

/// Rust files, sorted, without those that are tests as a whole.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if stem == "tests" || stem.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort_by_key(|path| path.to_str().map(str::to_owned));
    found
}

/// The first line outside of comments and tests that uses one of the roots.
fn first_reach_outside(text: &str) -> Option<(usize, &str, &'static str)> {
    let code = text.split_once("\n#[cfg(test)]").map_or(text, |(code, _)| code);
    let lines = code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines.map(|(index, line)| (index + 1, line)).find_map(|(number, line)| {
        let root = OUTSIDE.into_iter().find(|root| has_word(line, root))?;
        Some((number, line.trim(), root))
    })
}

/// Whether the line has the text, and not as the end of a longer name.
fn has_word(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && before != '_')
    })
}

#[test]
fn a_reach_outside_is_seen_in_code_only() {
    for (text, seen) in [
        ("use kube::Api;", true),
        ("use std::{\n    fs::File,\n};", true),
        ("let home = std::env::var(\"HOME\");", true),
        ("use crate::env::Env;", false),
        ("let at = Instant::now();", true),
        ("// not in kube::Api\n/// nor tokio::time", false),
        ("use minikube::Api;", false),
        ("let Env::Found(env) = known();", false),
        ("fn f() {}\n\n#[cfg(test)]\nmod tests { use std::fs::File; }", false),
    ] {
        assert_eq!(first_reach_outside(text).is_some(), seen, "{text}");
    }
}
