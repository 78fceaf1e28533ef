use super::*;
use crate::helm::{
    OwnFlag, Split, Version, defines, flags_argv, show_crds_argv, split, template_argv, unknown_kinds,
};
use proptest::prelude::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn read(line: &str) -> Invocation {
    let tokens = words(line);
    let (first, rest) = tokens.split_first().unwrap();
    Invocation::parse(Command::parse(first).unwrap(), rest).unwrap()
}

const OWN: [OwnFlag; 2] =
    [OwnFlag { name: "lock", takes_value: true }, OwnFlag { name: "quiet", takes_value: false }];

#[test]
fn every_form_of_a_flag_gives_its_value_and_leaves_release_and_chart() {
    for (line, values, install) in [
        ("upgrade r c --values x", vec!["x"], false),
        ("upgrade --values=x r c", vec!["x"], false),
        ("upgrade r -f x c", vec!["x"], false),
        ("upgrade r -fx c", vec!["x"], false),
        ("upgrade r -f=x c", vec!["x"], false),
        ("upgrade -if x r c", vec!["x"], true),
        ("upgrade -ifx r c", vec!["x"], true),
        ("upgrade -if=x r c", vec!["x"], true),
        ("upgrade -i r c", vec![], true),
        ("upgrade --install=false r c", vec![], false),
        ("upgrade -i=false r c", vec![], false),
        ("upgrade -i r c --install=false", vec![], false),
        ("upgrade -f --install r c", vec!["--install"], false),
        ("upgrade -f -- r c", vec!["--"], false),
        ("upgrade -f a -f b r c", vec!["a", "b"], false),
        ("upgrade -i -- r c", vec![], true),
        ("upgrade --dry-run r c", vec![], false),
        ("upgrade --wait r c", vec![], false),
        ("upgrade -v 5 r c", vec![], false),
        ("upgrade r --unknown c", vec![], false),
        ("upgrade r -ix c", vec![], true),
    ] {
        let inv = read(line);
        assert_eq!(inv.values("values"), values, "{line}");
        assert_eq!(inv.install_if_missing(), install, "{line}");
        assert_eq!((inv.releases(), inv.chart()), (vec!["r"], Some("c")), "{line}");
    }
}

#[test]
fn behind_two_dashes_nothing_is_a_flag() {
    let inv = read("upgrade -- r -i");
    assert_eq!((inv.chart(), inv.install_if_missing()), (Some("-i"), false));
}

#[test]
fn a_value_flag_at_the_end_of_the_line_is_an_error_that_names_it() {
    // A value that is a flag's, or may be one, is not in the name.
    for (line, name) in [
        ("r c --values", "--values"),
        ("r -if", "-if"),
        ("r -n", "-n"),
        ("r c --set=pw=hunter2 --kube-token", "--kube-token"),
        ("r c --set pw=hunter2 --password", "--password"),
    ] {
        let missing = ArgvError::MissingValue(name.to_owned());
        assert_eq!(Invocation::parse(Command::Upgrade, &words(line)), Err(missing), "{line}");
    }
}

#[test]
fn each_command_names_its_releases_chart_and_revision() {
    for (line, releases, chart, revision) in [
        ("uninstall a b", vec!["a", "b"], None, None),
        ("un a", vec!["a"], None, None),
        ("rollback a 3 --dry-run", vec!["a"], None, Some("3")),
        ("rollback a", vec!["a"], None, None),
        ("install a c", vec!["a"], Some("c"), None),
        ("install -g c", vec![], Some("c"), None),
        ("install c --generate-name", vec![], Some("c"), None),
        ("install --name-template x c", vec![], Some("c"), None),
        ("install --server-side a c", vec!["a"], Some("c"), None),
        ("upgrade --server-side auto a c", vec!["a"], Some("c"), None),
    ] {
        let inv = read(line);
        assert_eq!(
            (inv.releases(), inv.chart(), inv.rollback_revision()),
            (releases, chart, revision),
            "{line}"
        );
    }
}

#[test]
fn a_dry_run_is_one_unless_its_value_turns_it_off() {
    for (flag, dry) in [
        ("", false),
        ("--dry-run", true),
        ("--dry-run=client", true),
        ("--dry-run=server", true),
        ("--dry-run=true", true),
        ("--dry-run=none", false),
        ("--dry-run=false", false),
        ("--dry-run=", false),
        ("--dry-run --dry-run=none", false),
    ] {
        assert_eq!(read(&format!("upgrade r c {flag}")).dry_run(), dry, "{flag}");
    }
}

#[test]
fn values_come_from_the_release_in_the_order_in_which_helm_asks() {
    let files = |files: &[&str]| ValuesFrom::ReleaseIfEmpty(files.iter().map(|f| (*f).to_owned()).collect());
    for (flags, from) in [
        ("", ValuesFrom::Release),
        ("-f x", files(&["x"])),
        ("-f x,y --values=z", files(&["x", "y", "z"])),
        ("-f x --set a=b", ValuesFrom::Line),
        ("-f x --set=", files(&["x"])),
        ("--values=", ValuesFrom::Release),
        ("--set a=b", ValuesFrom::Line),
        ("--set-literal a=b", ValuesFrom::Line),
        ("--set-json {}", ValuesFrom::Release),
        ("--set-json {\"a\":1}", ValuesFrom::Line),
        ("--set=", ValuesFrom::Release),
        ("--reuse-values --set a=b", ValuesFrom::Release),
        ("--reuse-values=false --set a=b", ValuesFrom::Line),
        ("--reset-then-reuse-values -f x", ValuesFrom::Release),
        ("--reset-values", ValuesFrom::Line),
        ("--reset-values --reuse-values", ValuesFrom::Line),
        ("--reset-values=false", ValuesFrom::Release),
    ] {
        assert_eq!(read(&format!("upgrade r c {flags}")).values_from(), from, "{flags}");
    }
    assert_eq!(read("install r c").values_from(), ValuesFrom::Line);
    assert_eq!(read("rollback r 1").values_from(), ValuesFrom::Line);
}

#[test]
fn standard_input_is_seen_in_values_and_set_file() {
    for (flags, stdin) in [
        ("-f -", true),
        ("-f=-", true),
        ("-fa,-", true),
        ("-f /dev/stdin", true),
        ("--set-file a=b,c=-", true),
        ("--set a=-", false),
        ("-f a-b", false),
        ("--set-file a={-}", true),
        ("-f \"a,-\"", false),
    ] {
        assert_eq!(read(&format!("upgrade r c {flags}")).reads_stdin(), stdin, "{flags}");
    }
}

#[test]
fn every_file_and_address_that_values_come_from_is_named() {
    let inv = read("upgrade r c -f a,\"b,c\" --set-file x=d,y=/dev/fd/63 --set z=e -fhttps://f");
    assert_eq!(inv.value_sources(), ["a", "b,c", "https://f", "d", "/dev/fd/63"]);
}

#[test]
fn durations_are_read_as_go_reads_them() {
    for (text, millis) in [
        ("5m0s", Some(300_000)),
        ("1h", Some(3_600_000)),
        ("1.5h", Some(5_400_000)),
        ("300ms", Some(300)),
        ("+2s", Some(2_000)),
        ("0", Some(0)),
        ("-1s", Some(0)),
        ("300", None),
        ("5x", None),
        ("", None),
        (".s", None),
        ("9999999999h", None),
    ] {
        let timeout = read(&format!("upgrade r c --timeout={text}")).timeout();
        assert_eq!(timeout.map(|limit| limit.as_millis()), millis, "{text}");
    }
}

#[test]
fn of_atomic_and_rollback_on_failure_the_last_wins() {
    for (flags, atomic) in [
        ("--atomic", true),
        ("--rollback-on-failure", true),
        ("--atomic --rollback-on-failure=false", false),
        ("--rollback-on-failure=false --atomic", true),
    ] {
        assert_eq!(read(&format!("upgrade r c {flags}")).atomic(), atomic, "{flags}");
    }
}

#[test]
fn flag_names_tell_no_values_not_even_of_unknown_flags() {
    let inv = read("upgrade r c --set pw=hunter2 --set b=c --token=secret -pSECRET -i");
    assert_eq!(inv.flag_names(), ["set", "token", "p", "install"]);
}

#[test]
fn repairs_carry_the_cluster_flags_over_in_one_form() {
    let line =
        "upgrade r c -n web --kube-context=k --kube-insecure-skip-tls-verify --timeout 9m --history-max 3";
    let inv = read(line);
    let cluster = ["--namespace=web", "--kube-context=k", "--kube-insecure-skip-tls-verify=true"];
    assert_eq!(inv.cluster_flags(), cluster);
    assert_eq!(inv.history_max(), Some(3));
    let uninstall = ["uninstall", "r", "--no-hooks", "--wait", "--timeout=9m"];
    assert_eq!(uninstall_argv(&inv, "r"), [&uninstall[..], &cluster[..]].concat());
    let rollback = ["rollback", "r", "4", "--no-hooks", "--history-max=3"];
    assert_eq!(rollback_argv(&inv, "r", 4), [&rollback[..], &cluster[..]].concat());
}

#[test]
fn the_template_line_keeps_what_deploy_and_template_both_know() {
    for (line, version, is_upgrade, reused, expected) in [
        ("upgrade r c", "v3.22.0", true, None, "template r c --is-upgrade --validate --dry-run=server"),
        ("upgrade r c", "v3.12.3", true, None, "template r c --is-upgrade --validate"),
        ("upgrade r c", "v4.3.1", false, None, "template r c --dry-run=server"),
        (
            "upgrade -i r c -f x --reuse-values -o json --history-max 3 --dry-run",
            "v4.3.1",
            true,
            Some("a,b"),
            "template --is-upgrade --dry-run=server --values=\"a,b\" r c --values=x",
        ),
        ("upgrade r c --server-side auto", "v4.3.1", false, None, "template r c --dry-run=server"),
        ("upgrade r c --nonsense -zq", "v4.3.1", false, None, "template r c --dry-run=server"),
        ("upgrade r c --output-dir=x -a=y", "v4.3.1", false, None, "template r c --dry-run=server"),
        (
            "upgrade r c --server-side=auto --force-conflicts",
            "v3.22.0",
            false,
            None,
            "template r c --validate --dry-run=server",
        ),
        (
            "install -g c -n x",
            "v4.3.1",
            false,
            None,
            "template --dry-run=server --generate-name c --namespace=x",
        ),
        ("upgrade -- r -c", "v4.3.1", false, None, "template --dry-run=server -- r -c"),
    ] {
        let version = Version::parse(version).unwrap();
        assert_eq!(template_argv(&read(line), &version, is_upgrade, reused).join(" "), expected, "{line}");
    }
}

#[test]
fn the_flags_are_given_to_helm_behind_help_unless_that_could_be_turned_off() {
    for (line, expected) in [
        ("upgrade r c --nonsense -f=helm", Some("upgrade --help r c --nonsense -f=helm")),
        ("un r -- x", Some("uninstall --help r -- x")),
        ("upgrade r c --help=false", None),
        ("upgrade r c -h=false", None),
        ("upgrade r c -ih=false", None),
        ("upgrade r c -zh=false", None),
        ("upgrade r c --unknown --help=0", None),
        ("upgrade r c -f --help=false", None),
        ("upgrade r c -- --help=false", None),
    ] {
        let argv = flags_argv(&read(line)).map(|argv| argv.join(" "));
        assert_eq!(argv.as_deref(), expected, "{line}");
    }
}

#[test]
fn the_charts_crds_are_shown_with_the_flags_that_find_it() {
    for (line, expected) in [
        (
            "upgrade -i r c -n x --repo=y --version 1 --set a=b --wait -f z",
            Some("show crds --namespace=x --repo=y --version=1 -- c"),
        ),
        ("install r c --password=p --devel --color=never", Some("show crds --password=p --devel -- c")),
        ("install r c --skip-crds", None),
    ] {
        let version = Version::parse("v3.22.0").unwrap();
        let argv = show_crds_argv(&read(line), &version).map(|argv| argv.join(" "));
        assert_eq!(argv.as_deref(), expected, "{line}");
    }
}

/// What Helm 3 and 4 say of an object of a kind that nobody defined.
fn no_match(name: &str, kind: &str) -> String {
    format!(
        "resource mapping not found for name: \"{name}\" namespace: \"\" from \"\": no matches for kind \"{kind}\" \
         in version \"example.com/v1\"\nensure CRDs are installed first"
    )
}

#[test]
fn unknown_kinds_are_read_if_nothing_else_is_wrong() {
    let built = "level=WARN msg=x\nError: unable to build kubernetes objects from release manifest: ";
    let (a, b, c) = (no_match("a", "Foo"), no_match("b", "Foo"), no_match("c", "Bar"));
    for (what, error, expected) in [
        ("one object", format!("{built}{a}"), Some(vec!["Foo"])),
        ("several", format!("{built}[{a}, {c}, {b}]"), Some(vec!["Bar", "Foo"])),
        (
            "the end of many",
            format!("or name: \"z\" …\nensure CRDs are installed first, {a}, {b}]"),
            Some(vec!["Foo"]),
        ),
        ("something else first", format!("{built}[error validating \"\": x, {a}]"), None),
        ("something else last", format!("{built}[{a}, error validating \"\": x]"), None),
        ("something else between", format!("{built}[{a}, error validating \"\": x, {b}]"), None),
        ("another error", "Error: unknown flag: --x".into(), None),
        ("nothing", String::new(), None),
    ] {
        let kinds = unknown_kinds(&error);
        let names =
            kinds.as_ref().map(|kinds| kinds.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>());
        assert_eq!(names, expected, "{what}");
        let of_group =
            |kinds: Vec<(String, String)>| kinds.iter().all(|(_, version)| version == "example.com/v1");
        assert!(kinds.is_none_or(of_group), "{what}");
    }
}

#[test]
fn a_kind_is_defined_by_a_crd_of_its_group_kind_and_version() {
    let crd = "kind: CustomResourceDefinition\napiVersion: apiextensions.k8s.io/v1\nmetadata: {name: foos.example.com}\n\
        spec: {group: example.com, names: {kind: Foo}, versions: [{name: v1beta1}, {name: v1}]}\n";
    let crds = crate::manifest::Manifest::parse(crd, "").unwrap();
    for (kind, version, expected) in [
        ("Foo", "example.com/v1", true),
        ("Foo", "example.com/v2", false),
        ("Foo", "other.com/v1", false),
        ("Bar", "example.com/v1", false),
    ] {
        let wanted = (kind.to_owned(), version.to_owned());
        let (one, two) = ([wanted.clone()], [("Foo".to_owned(), "example.com/v1".to_owned()), wanted]);
        assert_eq!((defines(&crds, &one), defines(&crds, &two)), (expected, expected), "{kind} {version}");
    }
}

#[test]
fn the_guards_flags_are_taken_from_anywhere_but_not_from_the_value_of_a_helm_flag() {
    for (line, own, helm) in [
        ("--lock x r c --quiet", "--lock=x --quiet", "r c"),
        ("r --lock=x c", "--lock=x", "r c"),
        ("r c -f --lock --quiet", "--quiet", "r c -f --lock"),
        ("r c -if --quiet", "", "r c -if --quiet"),
        ("r c --dry-run --quiet", "--quiet", "r c --dry-run"),
        ("r c -- --quiet", "", "r c -- --quiet"),
        ("r c --quiet=false", "--quiet=false", "r c"),
        ("r c --values", "", "r c --values"),
    ] {
        let parted = split(Command::Upgrade, &words(line), &OWN).unwrap();
        assert_eq!((parted.own, parted.helm), (words(own), words(helm)), "{line}");
    }
    for line in ["r --lock", "r --lock -- c"] {
        let missing = ArgvError::MissingValue("--lock".to_owned());
        assert_eq!(split(Command::Upgrade, &words(line), &OWN), Err(missing), "{line}");
    }
}

/// Helm’s share of some tokens, and the guard’s share of them.
fn unit() -> impl Strategy<Value = (Vec<String>, Option<String>)> {
    let value = prop::sample::select(vec!["x", "--lock", "--quiet", "-", "-i", "a=b", ""]);
    prop_oneof![
        (prop::sample::select(vec!["--values", "-f", "-if", "--set", "-n", "-v"]), value.clone())
            .prop_map(|(flag, value)| (vec![flag.to_owned(), value.to_owned()], None)),
        prop::sample::select(vec![
            "r",
            "--wait",
            "--dry-run",
            "-i",
            "-fx",
            "--set=--lock",
            "--huh",
            "-zf",
            ""
        ])
        .prop_map(|token| (vec![token.to_owned()], None)),
        value.clone().prop_map(|v| (vec!["--lock".to_owned(), v.to_owned()], Some(format!("--lock={v}")))),
        value.prop_map(|v| (vec![format!("--lock={v}")], Some(format!("--lock={v}")))),
        Just((vec!["--quiet".to_owned()], Some("--quiet".to_owned()))),
    ]
}

proptest! {
    #[test]
    fn splitting_loses_nothing_and_keeps_the_order(
        units in prop::collection::vec(unit(), 0..12),
        tail in prop::option::of(prop::collection::vec("(--)?[a-z]{1,5}", 0..3)),
    ) {
        let mut all: Vec<String> = units.iter().flat_map(|(tokens, _)| tokens.clone()).collect();
        let mut helm: Vec<String> =
            units.iter().filter(|(_, own)| own.is_none()).flat_map(|(tokens, _)| tokens.clone()).collect();
        let own: Vec<String> = units.into_iter().filter_map(|(_, own)| own).collect();
        for tokens in [&mut all, &mut helm] {
            if let Some(tail) = &tail {
                tokens.push("--".to_owned());
                tokens.extend(tail.iter().cloned());
            }
        }
        prop_assert_eq!(split(Command::Upgrade, &all, &OWN), Ok(Split { own, helm }));
    }

    #[test]
    fn any_tokens_at_all_are_kept_as_they_are(tokens in prop::collection::vec("-{0,3}[a-zéµ=,\"-]{0,4}", 0..8)) {
        for command in [Command::Upgrade, Command::Install, Command::Rollback, Command::Uninstall] {
            prop_assert_eq!(&split(command, &tokens, &[]).unwrap().helm, &tokens);
            if let Ok(inv) = Invocation::parse(command, &tokens) {
                prop_assert_eq!(inv.tokens(), &tokens[..]);
            }
        }
    }
}

#[test]
fn flags_that_the_fence_heeds_are_taken_out_with_their_values_and_nothing_else_is() {
    let flags = crate::fence::FLAGS;
    for (line, left) in [
        ("upgrade r c --kube-context prod -n shop", "r c -n shop"),
        ("upgrade --kubeconfig=f --kube-token t r c --wait", "r c --wait"),
        ("upgrade r c --kube-as-group a --kube-as-group=b --kube-as-user u", "r c"),
        ("upgrade --kube-insecure-skip-tls-verify r --kube-tls-server-name n c", "r c"),
        ("upgrade r c --set --kubeconfig -f x", "r c --set --kubeconfig -f x"),
        ("upgrade r c -f --kube-token", "r c -f --kube-token"),
        ("upgrade r c -- --kubeconfig x", "r c -- --kubeconfig x"),
        ("upgrade r c --kube-version 1 --qps 5", "r c --kube-version 1 --qps 5"),
        ("rollback r 3 --kube-apiserver=s --kube-ca-file f", "r 3"),
    ] {
        let inv = read(line);
        assert_eq!(inv.without(&flags).unwrap().tokens(), words(left), "{line}");
        assert_eq!(inv.without(&[]).unwrap(), inv, "{line}");
    }
}
