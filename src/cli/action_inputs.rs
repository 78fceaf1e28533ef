//! The GitHub Action's inputs, which arrive in the environment, become a helm-guard command line.
//! Pure: the environment is passed in; `main` writes the files and replaces itself by what this says.

use crate::env::ACTION_INPUT;
use std::path::{Path, PathBuf};

use base64::Engine;
use serde_json::Value;

use crate::{
    ci,
    cli::OWN_FLAGS,
    env::Env,
    helm::{Command, flags},
};

/// Name of the file that holds a kubeconfig given as text; `settle` removes it.
pub const KUBECONFIG_FILE: &str = "helm-guard-kubeconfig-";

/// How an input's text becomes flags. The flag has the input's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One line, `--name=TEXT`.
    Value,
    /// Any number of lines, `--name=LINE` each.
    Lines,
    /// `true` or `false`, `--name`.
    Switch,
    /// As a switch, or a word: `--name=WORD`.
    SwitchOrWord,
}

/// Inputs that are flags of Helm's. Each is left out for a command that has no such flag, so that one step can be told by
/// an input which command to run.
const HELM_INPUTS: [(&str, Form); 20] = [
    ("namespace", Form::Value),
    ("create-namespace", Form::Switch),
    ("install", Form::Switch),
    ("version", Form::Value),
    ("repo", Form::Value),
    ("values", Form::Lines),
    ("set", Form::Lines),
    ("set-string", Form::Lines),
    ("set-file", Form::Lines),
    ("set-json", Form::Lines),
    ("set-literal", Form::Lines),
    ("wait", Form::SwitchOrWord),
    ("wait-for-jobs", Form::Switch),
    ("timeout", Form::Value),
    ("atomic", Form::Switch),
    ("rollback-on-failure", Form::Switch),
    ("cleanup-on-fail", Form::Switch),
    ("history-max", Form::Value),
    ("dry-run", Form::SwitchOrWord),
    ("kube-context", Form::Value),
];

/// Inputs with rules of their own.
const SPECIAL_INPUTS: [&str; 8] =
    ["command", "release", "chart", "revision", "kubeconfig", "lock-id", "args", "github-token"];

/// helm-guard's own commands, and the inputs that each has a use for.
const OWN_COMMANDS: [(&str, &[&str]); 3] = [
    ("status", &["namespace", "kube-context", "lock-name"]),
    ("unlock", &["namespace", "kube-context", "lock-name", "lock-id", "dry-run", "backup-dir"]),
    (
        "repair",
        &[
            "namespace",
            "kube-context",
            "lock-name",
            "repair",
            "dry-run",
            "backup-dir",
            "backup-keep",
            "backup-redact",
            "helm-bin",
            "fence",
            "lock-timeout",
            "lease-duration",
            "timeout",
            "keepalive",
            "stop-timeout",
            "report",
            "summary",
            "dotenv",
            "quiet",
            "verbose",
        ],
    ),
];

/// A file to write before the command runs, for its owner's eyes.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub text: String,
}

/// What the inputs ask for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// The command word and what follows it.
    pub argv: Vec<String>,
    /// The kubeconfig, if it was given as text.
    pub kubeconfig: Option<SecretFile>,
    /// Token for GitHub's API. It goes on in the environment: other users can read a command line.
    pub token: Option<String>,
    /// Texts that must not be seen in a log.
    pub masks: Vec<String>,
    /// What is odd but stops nothing.
    pub notes: Vec<String>,
}

/// Reads the inputs. `id` tells the files of this step from those of others.
///
/// # Errors
/// With the sentence to print; it names the input and never quotes a secret.
pub fn read(env: &Env, id: &str) -> Result<Call, String> {
    let input = |name: &str| env.get(&variable(name)).map_or("", |text| text.trim());
    let line = |name: &str| one_line(name, input(name));
    let mut call = Call::default();

    let word = match line("command")? {
        "" => "upgrade",
        word => word,
    };
    if let Some((word, uses)) = OWN_COMMANDS.iter().find(|(own, _)| *own == word) {
        own_command(word, uses, env, id, &mut call)?;
        return Ok(call);
    }
    let command = Command::parse(word).ok_or_else(|| {
        format!(
            "input command: upgrade, install, rollback, uninstall, repair, unlock or status, not {word:?}"
        )
    })?;
    call.argv.push(command.as_str().to_owned());
    call.argv.extend(words(command, line("release")?, line("chart")?, line("revision")?, &mut call.notes)?);

    for (name, form) in HELM_INPUTS {
        let tokens = match (name, input(name)) {
            // The rest of the world says `upgrade --install`; without it a first deploy needs a step of its own.
            ("install", "") if command == Command::Upgrade => vec!["--install".to_owned()],
            (_, text) => tokens(name, form, text)?,
        };
        if flags::by_name(command.column(), name).is_some() {
            call.argv.extend(tokens);
        } else if !tokens.is_empty() && name != "install" {
            call.notes.push(left_out(name, command.as_str()));
        }
    }

    way_to_the_cluster(input("kubeconfig"), env, id, &mut call)?;
    if !line("lock-id")?.is_empty() {
        call.notes.push(left_out("lock-id", command.as_str()));
    }
    let token = line("github-token")?;
    call.token = (!token.is_empty()).then(|| token.to_owned());

    for own in &OWN_FLAGS {
        match (own.name, line(own.name)?) {
            ("report", "") => call.argv.extend(default_report(env, id)),
            (_, "") => {}
            // `on` and `off` are booleans to some writers of YAML.
            ("lock", "true") => call.argv.push("--lock=on".into()),
            ("lock", "false") => call.argv.push("--lock=off".into()),
            (name, value) => call.argv.push(format!("--{name}={value}")),
        }
    }

    let more = shlex::split(input("args"));
    call.argv.extend(more.ok_or("input args: a quotation mark or a backslash has no counterpart")?);
    Ok(call)
}

/// A kubeconfig may be a path or a text.
fn way_to_the_cluster(given: &str, env: &Env, id: &str, call: &mut Call) -> Result<(), String> {
    match kubeconfig(given)? {
        Kubeconfig::None => {}
        Kubeconfig::Path(path) => call.argv.push(format!("--kubeconfig={path}")),
        Kubeconfig::Text(text) => {
            call.masks = secrets(&text)?;
            let path = directory(env).join(format!("{KUBECONFIG_FILE}{id}"));
            call.argv.push(format!("--kubeconfig={}", path.display()));
            call.kubeconfig = Some(SecretFile { path, text });
        }
    }
    Ok(())
}

/// A later step can always read the report.
fn default_report(env: &Env, id: &str) -> Option<String> {
    let path = directory(env).join(format!("helm-guard-report-{id}.json"));
    env.get("HELM_GUARD_REPORT").is_none_or(String::is_empty).then(|| format!("--report={}", path.display()))
}

/// One of helm-guard's own commands.
fn own_command(word: &str, uses: &[&str], env: &Env, id: &str, call: &mut Call) -> Result<(), String> {
    let input = |name: &str| env.get(&variable(name)).map_or("", |text| text.trim());
    let release = one_line("release", input("release"))?;
    if release.is_empty() || release.starts_with('-') {
        return Err(format!("input release: the name of a release, not {release:?}"));
    }
    call.argv.extend([word, release].map(str::to_owned));
    way_to_the_cluster(input("kubeconfig"), env, id, call)?;
    for name in inputs() {
        match (name, one_line(name, input(name)), uses.contains(&name)) {
            ("command" | "release" | "kubeconfig", ..) => {}
            ("github-token", Ok(token), _) => call.token = (!token.is_empty()).then(|| token.to_owned()),
            // What has a default need not be meant.
            ("install" | "wait", _, false) | (_, Ok("false" | "auto"), false) => {}
            ("report", Ok(""), true) => call.argv.extend(default_report(env, id)),
            (_, Ok(""), _) => {}
            (name, _, false) => call.notes.push(left_out(name, word)),
            ("dry-run", value, true) => call.argv.extend(tokens(name, Form::Switch, value?)?),
            ("lock-id", value, true) => call.argv.push(format!("--id={}", value?)),
            ("repair", value, true) => call.argv.push(format!("--strategy={}", value?)),
            ("timeout", value, true) => call.argv.push(format!("--rollout-timeout={}", value?)),
            (name, value, true) => call.argv.push(format!("--{name}={}", value?)),
        }
    }
    Ok(())
}

/// Name of the variable of an input.
pub fn variable(input: &str) -> String {
    format!("{ACTION_INPUT}{}", input.to_ascii_uppercase().replace('-', "_"))
}

/// Every input there is.
pub fn inputs() -> impl Iterator<Item = &'static str> {
    let helm = HELM_INPUTS.iter().map(|(name, _)| *name);
    SPECIAL_INPUTS.into_iter().chain(helm).chain(OWN_FLAGS.iter().map(|own| own.name))
}

/// Where files that live as long as the job go.
pub fn directory(env: &Env) -> PathBuf {
    let temporary = env.get("TMPDIR").filter(|path| !path.is_empty()).map(PathBuf::from);
    ci::job_directory(env).or(temporary).unwrap_or_else(|| Path::new("/tmp").to_owned())
}

/// What stands behind the command without being a flag. A word that Helm would take for a flag is refused: names of
/// releases are often made from names of branches, which anybody can choose.
fn words(
    command: Command,
    release: &str,
    chart: &str,
    revision: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, String> {
    let takes_chart = matches!(command, Command::Upgrade | Command::Install);
    if release.is_empty() {
        return Err("input release: the name of the release is missing".into());
    }
    if chart.is_empty() && takes_chart {
        return Err(format!("input chart: {} needs one: a directory, an archive, oci://…", command.as_str()));
    }
    for (name, word) in [("release", release), ("chart", chart)] {
        if word.starts_with('-') {
            return Err(format!("input {name}: {word:?} begins with a dash, as a flag does"));
        }
    }
    if !revision.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("input revision: a number, not {revision:?}"));
    }
    let mut words = vec![release];
    for (name, word, fits) in
        [("chart", chart, takes_chart), ("revision", revision, command == Command::Rollback)]
    {
        match (word.is_empty(), fits) {
            (true, _) => {}
            (false, true) => words.push(word),
            (false, false) => notes.push(left_out(name, command.as_str())),
        }
    }
    Ok(words.into_iter().map(str::to_owned).collect())
}

fn tokens(name: &str, form: Form, text: &str) -> Result<Vec<String>, String> {
    let flag = |value: &str| vec![format!("--{name}={value}")];
    Ok(match form {
        _ if text.is_empty() => Vec::new(),
        Form::Value => flag(one_line(name, text)?),
        Form::Lines => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.flat_map(flag).collect()
        }
        Form::Switch | Form::SwitchOrWord => match (text.to_ascii_lowercase().as_str(), form) {
            ("true", _) => vec![format!("--{name}")],
            ("false", _) => Vec::new(),
            (_, Form::SwitchOrWord) => flag(one_line(name, text)?),
            _ => return Err(format!("input {name}: true or false, not {text:?}")),
        },
    })
}

fn one_line<'a>(name: &str, text: &'a str) -> Result<&'a str, String> {
    if text.contains(['\n', '\r', '\0']) { Err(format!("input {name}: one line only")) } else { Ok(text) }
}

fn left_out(name: &str, command: &str) -> String {
    format!("input {name}: left out, {command} has no use for it")
}

enum Kubeconfig {
    None,
    Path(String),
    Text(String),
}

/// A kubeconfig is a path, or the text itself, or that in base64, as secrets often hold it.
fn kubeconfig(given: &str) -> Result<Kubeconfig, String> {
    let packed: String = given.split_whitespace().collect();
    let decoded = base64::engine::general_purpose::STANDARD.decode(packed).ok();
    let unpacked = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(match unpacked {
        _ if given.is_empty() => Kubeconfig::None,
        Some(text) if is_kubeconfig(&text) => Kubeconfig::Text(text),
        _ if given.contains('\n') || is_kubeconfig(given) => Kubeconfig::Text(given.to_owned()),
        _ => Kubeconfig::Path(one_line("kubeconfig", given)?.to_owned()),
    })
}

fn is_kubeconfig(text: &str) -> bool {
    text.contains("apiVersion")
}

/// The credentials in a kubeconfig. GitHub hides a secret as it is stored, but not what is inside one in base64, and
/// nothing of a text that another step made.
fn secrets(kubeconfig: &str) -> Result<Vec<String>, String> {
    const KEYS: [&str; 8] = [
        "token",
        "password",
        "client-key-data",
        "id-token",
        "access-token",
        "refresh-token",
        "client-secret",
        "idp-client-secret",
    ];
    // What does not parse is not quoted: it is most likely a secret.
    let parsed = crate::yaml::document(kubeconfig)
        .map_err(|_| "input kubeconfig: neither the path of a file nor the text of one".to_owned())?;
    let mut found = Vec::new();
    let mut left = vec![&parsed["users"]];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value.as_str() {
                        Some(text) if KEYS.contains(&key.as_str()) => {
                            // The runner masks line by line, and a mask of a few characters hides half the log.
                            found.extend(text.lines().filter(|line| line.len() > 3).map(str::to_owned));
                        }
                        _ => left.push(value),
                    }
                }
            }
            _ => {}
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
#[path = "action_inputs_tests.rs"]
mod tests;
