//! Holds the flag table, and the command lines made with it, against the real programs, 3 and 4.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use helm_guard::helm::flags::{self, Column, Kind};
use helm_guard::helm::{
    Command, Invocation, Major, Version, defines, flags_argv, show_crds_argv, template_argv, unknown_kinds,
};
use helm_guard::manifest::Manifest;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};
use testbed::Cluster;

/// The real programs.
fn helm_binaries() -> [(Major, String); 2] {
    use testbed::tools::{Helm, helm};
    let path = |version| helm(version).map(|path| path.display().to_string()).unwrap_or_default();
    [(Major::V3, path(Helm::V3)), (Major::V4, path(Helm::V4))]
}

#[test]
fn a_helm_says_in_its_file_what_it_says_when_it_is_run() {
    for (_, helm) in helm_binaries() {
        let said = Process::new(&helm).args(["version", "--template", "{{.Version}}"]).output().unwrap();
        let said = Version::parse(&String::from_utf8_lossy(&said.stdout)).unwrap();
        let read = helm_guard::helm::buildinfo::version(Path::new(&helm)).unwrap();
        assert_eq!((read.major, read.minor), (said.major, said.minor), "{helm}: {read} {said}");
    }
}

const COMMANDS: [(&str, Column); 5] = [
    ("upgrade", Column::Upgrade),
    ("install", Column::Install),
    ("rollback", Column::Rollback),
    ("uninstall", Column::Uninstall),
    ("template", Column::Template),
];

/// Runs the check for each command of each Helm, beside each other.
fn for_each_command(check: impl Fn(&Probe<'_>) + Sync) {
    let binaries = helm_binaries();
    std::thread::scope(|scope| {
        for (major, helm) in &binaries {
            for (word, column) in COMMANDS {
                let check = &check;
                scope.spawn(move || check(&Probe { helm, major: *major, word, column }));
            }
        }
    });
}

/// One command of one Helm, asked how it reads flags. `--help` stands first in every line: Helm then reads all flags,
/// and says what is wrong with them, but does nothing else.
struct Probe<'a> {
    helm: &'a str,
    major: Major,
    word: &'static str,
    column: Column,
}

impl Probe<'_> {
    /// How Helm refuses these tokens; empty if it does not.
    fn refusal(&self, tokens: &[String]) -> String {
        let output = Process::new(self.helm).args([self.word, "--help"]).args(tokens).output().unwrap();
        if output.status.success() {
            return String::new();
        }
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The flags that the table has for this command, `--help` aside, in each spelling.
    fn flags(&self, is_wanted: impl Fn(Kind) -> bool) -> Vec<(&'static flags::Flag, String)> {
        let named = flags::all().iter().filter(|flag| flag.name != "help");
        let wanted = named.filter(|flag| flag.kind(self.column, self.major).is_some_and(&is_wanted));
        wanted
            .flat_map(|flag| {
                let letter = flag.short.map(|letter| format!("-{letter}"));
                std::iter::once(format!("--{}", flag.name))
                    .chain(letter)
                    .map(move |spelling| (flag, spelling))
            })
            .collect()
    }

    /// The flags of every command are one set in Helm: they are asked about once.
    fn is_news(&self, flag: &flags::Flag) -> bool {
        self.column == Column::Upgrade || !flags::is_global(flag)
    }

    fn what(&self, flag: &str) -> String {
        format!("{:?} {} {flag}", self.major, self.word)
    }

    /// The flags that `--help` prints: name, letter, kind.
    fn printed(&self) -> Vec<(String, Option<char>, Kind)> {
        let output = Process::new(self.helm).args([self.word, "--help"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, listed) = text.split_once("\nFlags:\n").unwrap();
        let read = |line: &str| {
            let line = line.trim_start();
            let short = line.strip_prefix('-').filter(|rest| rest.get(1..5) == Some(", --"));
            let long = short.map(|rest| &rest[5..]).or_else(|| line.strip_prefix("--"))?;
            let (name, rest) = long.split_once(' ')?;
            let kind = match rest.split(' ').next() {
                None | Some("") => Kind::Bool,
                Some(word) if word.contains("[=") => Kind::Optional,
                Some(_) => Kind::Value,
            };
            Some((name.to_owned(), short.and_then(|rest| rest.chars().next()), kind))
        };
        listed.lines().filter_map(read).collect()
    }
}

#[test]
fn every_flag_that_helm_prints_is_in_the_table_with_its_kind() {
    for_each_command(|probe| {
        let printed = probe.printed();
        assert!(printed.len() > 15, "{}", probe.what("prints few flags"));
        for (name, short, kind) in printed {
            let what = probe.what(&name);
            let flag = flags::by_name(probe.column, &name).unwrap_or_else(|| panic!("{what}"));
            assert_eq!(flag.kind(probe.column, probe.major), Some(kind), "{what}");
            assert_eq!(flag.short, short, "{what}");
        }
    });
}

/// A switch leaves the token behind it alone, here `--namespace`, which so takes the word behind it. Had the switch
/// taken `--namespace`, the word would stand for itself, and no Helm has a flag of that name.
#[test]
fn no_switch_takes_the_next_token() {
    for_each_command(|probe| {
        let switches = probe.flags(|kind| kind != Kind::Value);
        let tokens: Vec<String> = switches
            .iter()
            .flat_map(|(flag, spelling)| {
                [spelling.clone(), "--namespace".to_owned(), format!("--taken-by-{}", flag.name)]
            })
            .collect();
        assert_eq!(probe.refusal(&tokens), "", "{}", probe.what("has a switch that takes a value"));
    });
}

/// A flag with a value takes even a token that looks like a flag. Where it cannot be such a value Helm says so, which
/// proves it as well, and the rest is tried without that flag.
#[test]
fn every_value_flag_takes_the_next_token() {
    for_each_command(|probe| {
        let mut flags = probe.flags(|kind| kind == Kind::Value);
        flags.retain(|(flag, _)| probe.is_news(flag));
        assert!(flags.len() > 1, "{}", probe.what("has few value flags"));
        loop {
            let token = |spelling: &str| format!("--taken-by{spelling}");
            let tokens: Vec<String> =
                flags.iter().flat_map(|(_, spelling)| [spelling.clone(), token(spelling)]).collect();
            let refusal = probe.refusal(&tokens);
            if refusal.is_empty() {
                break;
            }
            let before = flags.len();
            flags.retain(|(_, spelling)| {
                !refusal.contains(&format!("invalid argument \"{}\" for ", token(spelling)))
            });
            assert_eq!(flags.len() + 1, before, "{}: {refusal}", probe.what("reads a flag another way"));
        }
    });
}

/// What `--help` does not print is held against the table too: hidden switches refuse what is no truth value, and a
/// flag of one generation alone is unknown to the other.
#[test]
fn hidden_flags_are_of_the_kind_and_the_generation_that_the_table_says() {
    for_each_command(|probe| {
        let printed = probe.printed();
        let is_hidden = |name: &str| printed.iter().all(|(printed, ..)| printed != name);
        for (flag, spelling) in probe.flags(|kind| kind == Kind::Bool) {
            if is_hidden(flag.name) && probe.is_news(flag) {
                let refusal = probe.refusal(&[format!("{spelling}=perhaps")]);
                assert!(
                    refusal.contains("invalid argument \"perhaps\""),
                    "{}: {refusal}",
                    probe.what(&spelling)
                );
            }
        }
        for flag in flags::all() {
            if flag.is_of(probe.column)
                && flag.kind(probe.column, probe.major).is_none()
                && probe.is_news(flag)
            {
                let refusal = probe.refusal(&[format!("--{}", flag.name)]);
                assert!(refusal.contains("unknown flag: --"), "{}: {refusal}", probe.what(flag.name));
            }
        }
    });
}

fn read(command: Command, tokens: &[&str]) -> Invocation {
    let tokens: Vec<String> = tokens.iter().map(|token| (*token).to_owned()).collect();
    Invocation::parse(command, &tokens).unwrap()
}

/// Each Helm with the version that it is.
fn helms() -> [(Version, String); 2] {
    helm_binaries().map(|(major, helm)| {
        let raw = if major == Major::V3 { "v3.22.0" } else { "v4.3.1" };
        (Version::parse(raw).unwrap(), helm)
    })
}

fn run(helm: &str, argv: &[String]) -> (Output, String) {
    let output = Process::new(helm).args(argv).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

/// Before a repair Helm reads the flags of the deploy: it refuses those of the other generation and those that only
/// `template` has, and takes everything else without doing anything.
#[test]
fn bad_flags_are_refused_before_anything_else() {
    const OF_TEMPLATE: &str = "--output-dir=x -s=x --show-only=x --validate --is-upgrade -a=x";
    let bad_flags = [
        (Command::Upgrade, format!("{OF_TEMPLATE} --replace --timeout=x --nonsense")),
        (Command::Install, format!("{OF_TEMPLATE} --reuse-values -i --history-max=1")),
        (Command::Rollback, "--set=a=b --install -z".to_owned()),
        (Command::Uninstall, "-f=x --force --qps=x".to_owned()),
    ];
    for (version, helm) in helms() {
        for (command, bad) in &bad_flags {
            let of_other = match (version.major, command) {
                (_, Command::Uninstall) => "--atomic",
                (Major::V3, _) => "--force-conflicts",
                (Major::V4, _) => "--recreate-pods",
            };
            for flag in bad.split(' ').chain([of_other]) {
                let argv = flags_argv(&read(*command, &["r", "c", flag])).unwrap();
                let (output, said) = run(&helm, &argv);
                assert_eq!(output.status.code(), Some(1), "{argv:?}");
                assert!(
                    ["unknown ", "invalid argument "].iter().any(|what| said.contains(what)),
                    "{argv:?}: {said}"
                );
            }
            let argv =
                flags_argv(&read(*command, &["r", "c", "--no-hooks", "--timeout", "1m", "--debug"])).unwrap();
            assert!(run(&helm, &argv).0.status.success(), "{argv:?}");
        }
    }
}

/// A chart in a directory of its own, from the files named.
fn chart(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let chart = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let metadata = format!("apiVersion: v2\nname: {name}\nversion: 0.1.0\n");
    for (file, text) in files.iter().chain([&("Chart.yaml", metadata.as_str())]) {
        let path = chart.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    chart
}

/// Helm installs the CRDs of a chart before it looks at its objects, but a rendering does not: there the objects are
/// of kinds that the API server does not know.
#[test]
fn objects_of_the_charts_own_crds_are_told_from_objects_of_no_crd() {
    const CRD: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
        metadata: {name: foos.argv.helm-guard.test}\nspec: {group: argv.helm-guard.test, scope: Namespaced, \
        names: {kind: Foo, plural: foos}, versions: [{name: v1, served: true, storage: true, schema: \
        {openAPIV3Schema: {type: object}}}]}\n";
    const OBJECTS: &str = "apiVersion: argv.helm-guard.test/v1\nkind: Foo\nmetadata: {name: a}\n---\n\
        apiVersion: argv.helm-guard.test/v1\nkind: {{ .Values.kind | default \"Foo\" }}\nmetadata: {name: b}\n---\n\
        apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    let chart = chart("own-crds", &[("crds/foo.yaml", CRD), ("templates/all.yaml", OBJECTS)]);
    let namespace = Cluster::shared().unwrap().namespace("crds").unwrap();
    let kubeconfig = format!("--kubeconfig={}", namespace.kubeconfig().display());
    for (version, helm) in helms() {
        for (set, kinds, expected) in [("--set=x=y", 1, true), ("--set=kind=Bar", 2, false)] {
            let inv = read(Command::Install, &["r", chart.to_str().unwrap(), &kubeconfig, set]);
            let (output, said) = run(&helm, &template_argv(&inv, &version, false, None));
            assert!(!output.status.success(), "{said}");
            let unknown = unknown_kinds(&said).unwrap_or_else(|| panic!("{said}"));
            assert_eq!(unknown.len(), kinds, "{said}");
            let (output, said) = run(&helm, &show_crds_argv(&inv, &version).unwrap());
            let crds = Manifest::parse(&String::from_utf8(output.stdout).unwrap(), "").expect(&said);
            assert_eq!(defines(&crds, &unknown), expected, "{said}");
        }
    }
}

#[test]
fn helm_accepts_the_template_line_of_a_deploy_with_many_flags() {
    let map =
        "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\ndata: {own: {{ .Values.own | quote }}}\n";
    let chart = chart("tiny-chart", &[("templates/map.yaml", map)]);
    let (reused, own) = (chart.join("reused,1.yaml"), chart.join("own.yaml"));
    std::fs::write(&reused, "own: reused\n").unwrap();
    std::fs::write(&own, "own: user\n").unwrap();

    for (version, helm) in helms() {
        for (command, special) in [
            (Command::Upgrade, "-i --history-max 3 --cleanup-on-fail --reuse-values"),
            (Command::Install, "--replace"),
        ] {
            let line = "-o json --wait --wait-for-jobs --timeout 1m --atomic --hide-notes --no-hooks --hide-secret \
                 --create-namespace --labels a=b --description d --set x=y -n web --debug --dry-run --skip-crds";
            let mut tokens = vec!["rel".to_owned(), chart.display().to_string()];
            tokens.extend(line.split_whitespace().chain(special.split_whitespace()).map(str::to_owned));
            tokens.push(format!("-f{}", own.display()));
            let inv = Invocation::parse(command, &tokens).unwrap();
            let mut argv = template_argv(&inv, &version, true, Some(&reused.display().to_string()));
            argv.retain(|token| token != "--validate" && token != "--dry-run=server"); // these need a cluster
            let (output, said) = run(&helm, &argv);
            assert!(output.status.success(), "{argv:?}: {said}");
            let rendered = String::from_utf8_lossy(&output.stdout);
            assert!(rendered.contains("own: \"user\""), "{rendered}");
        }
    }
}
