use proptest::prelude::*;

use super::*;
use crate::helm::{Invocation, split};

/// The environment of a step with these inputs.
fn env(inputs: &[(&str, &str)]) -> Env {
    let inputs = inputs.iter().map(|(name, text)| (variable(name), (*text).to_owned()));
    inputs.chain([("RUNNER_TEMP".to_owned(), "/temp".to_owned())]).collect()
}

/// The command line, less the report's path, which every line has.
fn argv(inputs: &[(&str, &str)]) -> String {
    let call = read(&env(inputs), "1").unwrap();
    call.argv
        .into_iter()
        .filter(|token| token != "--report=/temp/helm-guard-report-1.json")
        .collect::<Vec<_>>()
        .join(" ")
}

const WEB: (&str, &str) = ("release", "web");
const CHART: (&str, &str) = ("chart", "./chart");

#[test]
fn inputs_become_a_command_line() {
    for (what, inputs, expected) in [
        ("a first deploy needs no input of its own", &[WEB, CHART][..], "upgrade web ./chart --install"),
        ("blanks around are no part of it", &[("release", " web\n"), CHART], "upgrade web ./chart --install"),
        (
            "an empty input is none",
            &[WEB, CHART, ("set", ""), ("timeout", " ")],
            "upgrade web ./chart --install",
        ),
        ("install can be turned off", &[WEB, CHART, ("install", "false")], "upgrade web ./chart"),
        (
            "a list has a flag for each line",
            &[WEB, CHART, ("values", "a.yaml\n\n  b c.yaml\n"), ("set", "a=1,b=2\nc={x,y}\r\n")],
            "upgrade web ./chart --install --values=a.yaml --values=b c.yaml --set=a=1,b=2 --set=c={x,y}",
        ),
        (
            "switches read YAML's spellings",
            &[WEB, CHART, ("atomic", "True"), ("wait", "FALSE")],
            "upgrade web ./chart --install --atomic",
        ),
        (
            "wait may name a strategy",
            &[WEB, CHART, ("wait", "legacy")],
            "upgrade web ./chart --install --wait=legacy",
        ),
        (
            "a dry run may name its place",
            &[WEB, CHART, ("dry-run", "server")],
            "upgrade web ./chart --install --dry-run=server",
        ),
        ("install is install", &[("command", "install"), WEB, CHART], "install web ./chart"),
        ("rollback takes a revision", &[("command", "rollback"), WEB, ("revision", "3")], "rollback web 3"),
        (
            "uninstall takes what it has a use for",
            &[("command", "uninstall"), WEB, ("wait", "true")],
            "uninstall web --wait",
        ),
        (
            "own flags are inputs",
            &[WEB, CHART, ("lock-timeout", "1m"), ("repair", "rollback")],
            "upgrade web ./chart --install --lock-timeout=1m --repair=rollback",
        ),
        (
            "status takes where",
            &[("command", "status"), WEB, ("namespace", "shop"), ("install", "true"), ("wait", "true")],
            "status web --namespace=shop",
        ),
        (
            "unlock takes an ID",
            &[("command", "unlock"), WEB, ("lock-id", "3f9a1c07"), ("dry-run", "true")],
            "unlock web --id=3f9a1c07 --dry-run",
        ),
        (
            "repair takes a strategy",
            &[
                ("command", "repair"),
                WEB,
                ("repair", "rollback"),
                ("timeout", "10m0s"),
                ("dry-run", "false"),
                ("kubeconfig", "kube/config"),
            ],
            "repair web --kubeconfig=kube/config --rollout-timeout=10m0s --strategy=rollback",
        ),
        (
            "off is a boolean to some",
            &[WEB, CHART, ("lock", "false")],
            "upgrade web ./chart --install --lock=off",
        ),
        (
            "args are split as a shell does, and stand last",
            &[WEB, CHART, ("args", "--description 'a b'\n# why\n--devel"), ("timeout", "5m")],
            "upgrade web ./chart --install --timeout=5m --description a b --devel",
        ),
        (
            "a path is a path",
            &[WEB, CHART, ("kubeconfig", "kube/config")],
            "upgrade web ./chart --install --kubeconfig=kube/config",
        ),
    ] {
        assert_eq!(argv(inputs), expected, "{what}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    for (inputs, expected) in [
        (&[][..], "input release: the name of the release is missing"),
        (&[WEB], "input chart: upgrade needs one"),
        (
            &[("release", "--post-renderer=/bin/sh"), CHART],
            "input release: \"--post-renderer=/bin/sh\" begins with a dash",
        ),
        (&[WEB, ("chart", "-x")], "input chart: \"-x\" begins with a dash"),
        (&[("release", "a\nb"), CHART], "input release: one line only"),
        (
            &[("command", "template"), WEB],
            "input command: upgrade, install, rollback, uninstall, repair, unlock or status, not \"template\"",
        ),
        (&[WEB, CHART, ("install", "yes")], "input install: true or false, not \"yes\""),
        (&[WEB, CHART, ("timeout", "5m\n--debug")], "input timeout: one line only"),
        (&[WEB, CHART, ("args", "--set 'a")], "input args: a quotation mark"),
        (&[("command", "rollback"), WEB, ("revision", "-1")], "input revision: a number"),
        (&[("command", "status"), ("release", "--help")], "input release: the name of a release"),
        (&[("command", "unlock")], "input release: the name of a release"),
        (&[("command", "unlock"), WEB, ("lock-id", "a\nb")], "input lock-id: one line only"),
        (&[("command", "repair"), WEB, ("dry-run", "server")], "input dry-run: true or false"),
        (&[WEB, CHART, ("kubeconfig", "apiVersion: v1\nusers: [ {{ S3CRET")], "input kubeconfig: neither"),
    ] {
        let error = read(&env(inputs), "1").err().unwrap();
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains("S3CRET"), "{error}");
    }
}

#[test]
fn what_a_command_has_no_use_for_is_left_out_and_said() {
    let inputs = [
        ("command", "rollback"),
        WEB,
        CHART,
        ("set", "a=1"),
        ("create-namespace", "true"),
        ("install", "true"),
    ];
    let call = read(&env(&inputs), "1").unwrap();
    assert_eq!(call.argv[..2], ["rollback", "web"]);
    assert_eq!(
        call.notes,
        [
            "input chart: left out, rollback has no use for it",
            "input create-namespace: left out, rollback has no use for it",
            "input set: left out, rollback has no use for it",
        ]
    );
}

#[test]
fn a_report_is_always_written_and_the_environment_may_say_where() {
    let mut env = env(&[WEB, CHART]);
    assert!(read(&env, "7").unwrap().argv.contains(&"--report=/temp/helm-guard-report-7.json".to_owned()));
    env.insert("HELM_GUARD_REPORT".into(), "mine.json".into());
    assert!(!read(&env, "7").unwrap().argv.iter().any(|token| token.starts_with("--report")));
    env.insert(variable("report"), "input.json".into());
    assert!(read(&env, "7").unwrap().argv.contains(&"--report=input.json".to_owned()));
}

const KUBECONFIG: &str = "apiVersion: v1\nkind: Config\nusers:\n- name: a\n  user: {token: s3cr3t-token}\n- name: b\n  \
    user:\n    client-key-data: a2V5a2V5\n    auth-provider: {config: {id-token: s3cr3t-id}}\n    username: ada\n";

#[test]
fn a_kubeconfig_may_be_text_or_base64_and_its_credentials_are_masked() {
    let packed = base64::engine::general_purpose::STANDARD.encode(KUBECONFIG);
    let wrapped = format!("{}\n{}", &packed[..76], &packed[76..]);
    for given in [KUBECONFIG, packed.as_str(), &wrapped] {
        let call = read(&env(&[WEB, CHART, ("kubeconfig", given)]), "1").unwrap();
        let file = call.kubeconfig.unwrap();
        assert_eq!(file.text.trim(), KUBECONFIG.trim());
        assert!(call.argv.contains(&format!("--kubeconfig={}", file.path.display())));
        assert_eq!(call.masks, ["a2V5a2V5", "s3cr3t-id", "s3cr3t-token"]);
        assert!(!call.argv.iter().any(|token| token.contains("s3cr3t")));
    }
}

/// `action.yml` and this module name the same inputs, and the file passes each on by its variable and in no other way.
#[test]
fn the_metadata_file_passes_every_input_by_the_environment() {
    let text = include_str!("../../action.yml");
    let file: Value = serde_yaml::from_str(text).unwrap();
    let mut declared: Vec<&str> = file["inputs"].as_object().unwrap().keys().map(String::as_str).collect();
    // The runner itself changes the directory.
    declared.retain(|name| *name != "working-directory");
    let mut known: Vec<&str> = inputs().collect();
    declared.sort_unstable();
    known.sort_unstable();
    assert_eq!(declared, known);

    let steps = file["runs"]["steps"].as_array().unwrap();
    let guard = steps.iter().find(|step| step["id"] == "guard").unwrap();
    for name in known {
        assert_eq!(guard["env"][variable(name)], format!("${{{{ inputs.{name} }}}}"), "{name}");
        assert!(file["inputs"][name]["description"].as_str().is_some_and(|text| text.len() > 10), "{name}");
    }
    for step in steps {
        let script = step["run"].as_str().unwrap();
        assert!(!script.contains("${{"), "what is put into a script can be code: {script}");
    }
    let mut outputs: Vec<&str> = file["outputs"].as_object().unwrap().keys().map(String::as_str).collect();
    let written = crate::report::github::outputs(&crate::report::Summary::default(), "");
    let mut written: Vec<&str> = written.iter().map(|(name, _)| name.as_str()).collect();
    outputs.sort_unstable();
    written.sort_unstable();
    assert_eq!(outputs, written);
}

/// What the GitLab component has another word for, or no use for.
const NOT_IN_GITLAB: [&str; 7] = [
    // It has the name that Helm 4 gave it.
    "atomic",
    // The image has both Helms, and `helm` names one.
    "helm-bin",
    // The project's variable KUBECONFIG, or the agent's.
    "kubeconfig",
    "github-token",
    // Artifacts of the job.
    "report",
    "summary",
    "dotenv",
];

/// The component has the same inputs as the action, so that a new one is not forgotten in one of them, and passes each on in
/// the same way.
#[test]
fn the_gitlab_component_passes_every_input_by_the_environment() {
    let text = include_str!("../../templates/deploy.yml");
    let [spec, jobs] = &serde_yaml::from_multiple::<Value>(text).unwrap()[..] else {
        panic!("two documents")
    };
    let declared = spec["spec"]["inputs"].as_object().unwrap();
    let job = jobs.as_object().unwrap().values().next().unwrap();
    for name in inputs() {
        let passed = &job["variables"][variable(name)];
        if NOT_IN_GITLAB.contains(&name) {
            assert!(declared.get(name).is_none() && passed.is_null(), "{name}");
            continue;
        }
        assert_eq!(*passed, format!("$[[ inputs.{name} ]]"), "{name}");
        let description = declared.get(name).map(|input| &input["description"]);
        assert!(description.and_then(Value::as_str).is_some_and(|text| text.len() > 10), "{name}");
    }
    let own = ["image", "job", "stage", "helm"];
    let unknown =
        declared.keys().find(|name| !own.contains(&name.as_str()) && !inputs().any(|one| one == **name));
    assert_eq!(unknown, None, "nothing reads it");
    let script = job["script"].to_string() + &job["after_script"].to_string();
    assert!(!script.contains("$[["), "what is put into a script can be code: {script}");
}

/// Every way to repair that the command line knows is offered in every place where it is asked for.
#[test]
fn every_strategy_is_offered_everywhere() {
    use clap::ValueEnum;
    let names = |values: Vec<clap::builder::PossibleValue>| -> Vec<String> {
        values.iter().map(|value| value.get_name().to_owned()).collect()
    };
    let all = names(
        crate::repair::Strategy::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect(),
    );
    let alone = names(
        crate::cli::AloneStrategy::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect(),
    );
    let yaml = |text: &str| serde_yaml::from_multiple::<Value>(text).unwrap().remove(0);
    let options = |value: &Value| -> Vec<String> {
        let options = value["options"].as_array().unwrap();
        options.iter().map(|option| option.as_str().unwrap().to_owned()).collect()
    };
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let gitlab = yaml(include_str!("../../templates/deploy.yml"));
    assert_eq!(sorted(options(&gitlab["spec"]["inputs"]["repair"])), sorted(all.clone()));
    let form = yaml(include_str!("../../.github/workflows/recover.yml"));
    assert_eq!(
        sorted(options(&form["on"]["workflow_dispatch"]["inputs"]["strategy"])),
        sorted(alone.clone())
    );
    let called =
        form["on"]["workflow_call"]["inputs"]["strategy"]["description"].as_str().unwrap().to_owned();
    let action = yaml(include_str!("../../action.yml"));
    let action = action["inputs"]["repair"]["description"].as_str().unwrap().to_owned();
    let word = |text: &str, name: &String| text.split([' ', ',', ':', '.']).any(|word| word == name);
    for (text, names) in [(called, alone), (action, all)] {
        let missing: Vec<_> = names.iter().filter(|name| !word(&text, name)).collect();
        assert!(missing.is_empty(), "{missing:?}: {text}");
    }
}

/// Any one line of text.
fn line() -> impl Strategy<Value = String> {
    "[^\\r\\n\\x00]{0,40}"
}

proptest! {
    /// Whatever the inputs say, none becomes anything but the value of its own flag.
    #[test]
    fn no_input_can_be_taken_for_another_flag(
        release in line(), chart in line(), namespace in line(), set in line(), timeout in line(), repair in line(),
    ) {
        let inputs = [
            ("release", release.as_str()), ("chart", &chart), ("namespace", &namespace), ("set", &set),
            ("timeout", &timeout), ("repair", &repair),
        ];
        let Ok(call) = read(&env(&inputs), "1") else { return Ok(()) };
        let parted = split(Command::Upgrade, &call.argv[1..], &OWN_FLAGS).unwrap();
        let invocation = Invocation::parse(Command::Upgrade, &parted.helm).unwrap();
        prop_assert_eq!(invocation.releases(), [release.trim()]);
        prop_assert_eq!(invocation.chart(), Some(chart.trim()));
        let given = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        prop_assert_eq!(invocation.value("namespace").map(str::to_owned), given(&namespace));
        prop_assert_eq!(invocation.value("set").map(str::to_owned), given(&set));
        prop_assert_eq!(invocation.value("timeout").map(str::to_owned), given(&timeout));
        let own = given(&repair).map(|repair| format!("--repair={repair}"));
        let report = "--report=/temp/helm-guard-report-1.json".to_owned();
        prop_assert_eq!(parted.own, own.into_iter().chain([report]).collect::<Vec<_>>());
        let expected = ["install", "namespace", "set", "timeout"];
        prop_assert!(invocation.flag_names().iter().all(|name| expected.contains(&name.trim_start_matches('-'))));
    }

    /// Any text at all is read or refused.
    #[test]
    fn no_input_is_too_odd(texts in proptest::collection::vec(".{0,30}", 36)) {
        let names: Vec<&str> = inputs().collect();
        let pairs: Vec<(&str, &str)> = names.into_iter().zip(texts.iter().map(String::as_str)).collect();
        let _ = read(&env(&pairs), "1");
    }
}
