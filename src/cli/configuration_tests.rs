//! `docs/configuration.md` is made from the definitions of the command line, `action.yml` and the GitLab component. The test
//! fails if the file differs; with the variable `UPDATE_DOCS=1` it writes the file.

use std::fmt::Write;

use clap::CommandFactory;
use serde_json::Value;

use super::{
    Cli, OWN_FLAGS,
    action_inputs::{inputs, variable as input_variable},
    help,
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

const INTRODUCTION: &str = "\
# Configuration

<!-- A test makes this file: UPDATE_DOCS=1 cargo test -p helm-guard --lib configuration -->

helm-guard is configured by flags, by environment variables, by the inputs of the GitHub Action and by the inputs of the GitLab
component. There is no configuration file. A flag wins over its variable. An input becomes a flag, so it wins over the variable too; an
empty input leaves the variable in force.

Durations are written as `90s`, `10m` or `1h30m`.
";

/// Variables that are not flags.
const VARIABLES: [(&str, &str); 9] = [
    (
        crate::env::LOCK_ID_ENV,
        "ID of a lock that `lock acquire` or `lock run` took: the command works under that lock.",
    ),
    (
        crate::env::CI_TOKEN,
        "Token to ask the CI system whether the run that holds the lock is over. The input `github-token` sets it.",
    ),
    (
        crate::ci::JOB_ID,
        "ID of the job in GitHub's API, which tells the jobs of a matrix apart. The action sets it.",
    ),
    ("HELM_BIN", "Helm 3 or 4 binary to run, unless `--helm-bin` names one."),
    (
        "HELM_DRIVER",
        "Storage of the records: `secret` (the default), `configmap` or `sql`. See [storage.md](storage.md).",
    ),
    (
        "HELM_NAMESPACE, HELM_KUBECONTEXT, HELM_KUBE…",
        "The cluster and the namespace, with Helm's own meaning. See [cluster.md](cluster.md).",
    ),
    ("HELM_MAX_HISTORY", "Number of revisions to keep, unless `--history-max` says it. 0 keeps all."),
    ("KUBECONFIG", "Kubeconfig files, unless `--kubeconfig` names one."),
    ("NO_COLOR", "If it is set and not empty, the output has no colour."),
];

fn yaml(text: &str, document: usize) -> Value {
    serde_yaml::from_multiple::<Value>(text).unwrap().remove(document)
}

/// The sentences of a description, without its default, which has a column of its own.
fn description(input: &Value) -> String {
    let text = input["description"].as_str().unwrap_or_default();
    let sentences = text.split(". ").filter(|sentence| !sentence.starts_with("Default (empty)"));
    let text = sentences.collect::<Vec<_>>().join(". ");
    cell(&format!("{}.", text.trim_end_matches('.')))
}

/// The default of an input, or what its description says of an empty one.
fn input_default(input: &Value) -> String {
    let text = input["description"].as_str().unwrap_or_default();
    match (input["default"].as_str(), text.split_once("Default (empty) is ")) {
        (None | Some(""), Some((_, said))) => {
            cell(said.split(". ").next().unwrap_or(said).trim_end_matches('.'))
        }
        (Some(default), _) => code(default),
        (None, _) if input["required"] == true => "required".to_owned(),
        (None, _) => "–".to_owned(),
    }
}

/// A text in a cell of a table, where a word in angle brackets would be HTML.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

fn code(text: &str) -> String {
    if text.is_empty() { "–".to_owned() } else { format!("`{text}`") }
}

/// The default of a flag, which clap has, or the text of its help where it depends on something.
fn default(arg: &clap::Arg) -> String {
    if let ([value], true) = (arg.get_default_values(), arg.get_action().takes_values()) {
        return code(&value.to_string_lossy());
    }
    if matches!(arg.get_action(), clap::ArgAction::SetTrue) {
        return code("false");
    }
    let texts = [arg.get_help(), arg.get_long_help()].into_iter().flatten().map(ToString::to_string);
    let mut described =
        texts.filter_map(|text| Some(text.split_once("[default: ")?.1.split(']').next()?.to_owned()));
    described.next_back().map_or("–".to_owned(), |text| cell(&text))
}

/// The sentence of a flag.
fn sentence(arg: &clap::Arg) -> String {
    let text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    cell(&format!("{}.", text.split(" [default").next().unwrap_or_default()))
}

fn table(text: &mut String, titles: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let _ = writeln!(text, "| {} |\n|{}", titles.join(" | "), "---|".repeat(titles.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
}

/// Every command with flags of its own, by its words.
fn commands(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
    for child in command.get_subcommands() {
        let path = format!("{path} {}", child.get_name()).trim_start().to_owned();
        commands(child, &path, found);
        if !child.has_subcommands() {
            found.push((path, child.clone()));
        }
    }
}

fn page() -> String {
    let action = yaml(include_str!("../../action.yml"), 0)["inputs"].clone();
    let gitlab = yaml(include_str!("../../templates/deploy.yml"), 0)["spec"]["inputs"].clone();
    let in_gitlab = |name: &str| if gitlab.get(name).is_some() { code(name) } else { "–".to_owned() };
    let mut text = INTRODUCTION.to_owned();

    text.push_str(
        "\n## Flags of upgrade, install, rollback and uninstall\n\nBeside these, all flags of Helm pass through. The input of the GitHub \
         Action and of the GitLab component has the name of the flag; the last column says whether the component has it.\n\n",
    );
    let root = Cli::command();
    let deploy = root.find_subcommand("upgrade").unwrap();
    let flag = |name: &str| deploy.get_arguments().find(|arg| arg.get_long() == Some(name)).unwrap();
    table(
        &mut text,
        &["flag", "default", "meaning", "variable", "action input", "GitLab input"],
        OWN_FLAGS.iter().map(|own| {
            vec![
                format!("`--{}`", own.name),
                default(flag(own.name)),
                description(&action[own.name]),
                code(&help::variable(own.name).unwrap()),
                code(own.name),
                in_gitlab(own.name),
            ]
        }),
    );

    text.push_str(
        "\n## Flags of the other commands\n\nFlags that are in the table above, with the same default, are left out. A flag with the name of \
         one above has the same variable.\n\n",
    );
    let mut found = Vec::new();
    commands(&root, "", &mut found);
    let mut rows = Vec::new();
    for (path, command) in &found {
        for arg in command.get_arguments() {
            let Some(name) = arg.get_long() else { continue };
            let same = deploy.get_arguments().find(|own| own.get_long() == Some(name));
            if same.is_some_and(|own| default(own) == default(arg)) || arg.is_hide_set() {
                continue;
            }
            let letter = arg.get_short().map(|letter| format!("`-{letter}`, ")).unwrap_or_default();
            rows.push((format!("{letter}`--{name}`"), default(arg), sentence(arg), code(path)));
        }
    }
    // The flags for the cluster are those of nearly every command: one row for all that say the same.
    let mut merged: Vec<(String, String, String, Vec<String>)> = Vec::new();
    for (flag, default, meaning, path) in rows {
        let same = |row: &&mut (String, String, String, Vec<String>)| {
            row.0 == flag && row.1 == default && row.2 == meaning
        };
        match merged.iter_mut().find(same) {
            Some(row) => row.3.push(path),
            None => merged.push((flag, default, meaning, vec![path])),
        }
    }
    table(
        &mut text,
        &["flag", "default", "meaning", "commands"],
        merged
            .into_iter()
            .map(|(flag, default, meaning, paths)| vec![flag, default, meaning, paths.join(", ")]),
    );

    text.push_str(
        "\n## Other inputs\n\nThe inputs of the GitHub Action and of the GitLab component that are not flags of helm-guard. Those with the \
         name of a flag of Helm become that flag.\n\n",
    );
    let own: Vec<&str> = OWN_FLAGS.iter().map(|own| own.name).collect();
    let names = inputs().filter(|name| !own.contains(name)).chain(["working-directory"]);
    let gitlab_only = ["helm", "image", "job", "stage"];
    let value = |input: Option<&Value>| match input {
        None => "no such input".to_owned(),
        Some(input) => input_default(input),
    };
    table(
        &mut text,
        &["input", "default of the action", "default of the component", "meaning"],
        names.chain(gitlab_only).map(|name| {
            let described = action.get(name).unwrap_or_else(|| &gitlab[name]);
            vec![code(name), value(action.get(name)), value(gitlab.get(name)), description(described)]
        }),
    );

    let _ = write!(
        text,
        "\nAn input is passed in the variable `{}`, where `NAME` is its name in capitals with underscores.\n\n## Other variables\n\n",
        input_variable("name")
    );
    let rows = VARIABLES.iter().map(|(names, meaning)| {
        let names: Vec<_> = names.split(", ").map(code).collect();
        vec![names.join(", "), cell(meaning)]
    });
    table(&mut text, &["variable", "meaning"], rows);
    text
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a developer asks for the file to be written")]
fn the_page_of_the_configuration_is_up_to_date() {
    let expected = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(FILE, &expected).unwrap();
    }
    let found = std::fs::read_to_string(FILE).unwrap_or_default();
    let differs = expected.lines().zip(found.lines()).find(|(expected, found)| expected != found);
    assert!(
        found == expected,
        "docs/configuration.md differs: {differs:#?}\nrun: UPDATE_DOCS=1 cargo test -p helm-guard --lib configuration"
    );
}
