//! Reads a Helm command line by the rules of pflag, and writes the ones for repairs. The guard's own flags are out of it
//! already (`helm/own_flags.rs`).

use super::{
    flags::{self, Column, Flag},
    go_syntax::{csv_fields, duration, integer},
};
use std::time::Duration;
use thiserror::Error;

/// The Helm commands that the guard wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `helm upgrade`
    Upgrade,
    /// `helm install`
    Install,
    /// `helm rollback`
    Rollback,
    /// `helm uninstall`
    Uninstall,
}

impl Command {
    /// Reads the command word, Helm's own aliases too.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "upgrade" => Self::Upgrade,
            "install" => Self::Install,
            "rollback" => Self::Rollback,
            "uninstall" | "del" | "delete" | "un" => Self::Uninstall,
            _ => return None,
        })
    }

    /// The command word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upgrade => "upgrade",
            Self::Install => "install",
            Self::Rollback => "rollback",
            Self::Uninstall => "uninstall",
        }
    }

    pub(crate) fn column(self) -> Column {
        match self {
            Self::Upgrade => Column::Upgrade,
            Self::Install => Column::Install,
            Self::Rollback => Column::Rollback,
            Self::Uninstall => Column::Uninstall,
        }
    }
}

/// Why a command line could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ArgvError {
    /// The line ends (or `--` stands) where a value should.
    #[error("flag needs an argument: {0}")]
    MissingValue(String),
}

/// One thing on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A flag that the command has; `None` is the bare form.
    Flag(&'static Flag, Option<String>),
    /// A flag that the command does not have, as it stands.
    Unknown(String),
    /// Not a flag.
    Word(String),
    /// `--`: only words follow.
    End,
}

/// One token, read.
pub(super) struct Lexed {
    items: Vec<Item>,
    /// The last flag waits for the next token as its value.
    pub(super) open: bool,
}

/// Reads one token that stands where a flag may.
pub(super) fn lex(column: Column, token: &str) -> Lexed {
    if token == "-" || !token.starts_with('-') {
        return Lexed { items: vec![Item::Word(token.to_owned())], open: false };
    }
    let Some(long) = token.strip_prefix("--") else {
        return lex_letters(column, &token[1..]);
    };
    if long.is_empty() {
        return Lexed { items: vec![Item::End], open: false };
    }
    let (name, value) =
        long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value.to_owned())));
    let Some(flag) = flags::by_name(column, name) else {
        return Lexed { items: vec![Item::Unknown(token.to_owned())], open: false };
    };
    let open = value.is_none() && flag.takes_next(column);
    Lexed { items: vec![Item::Flag(flag, value)], open }
}

/// Reads a cluster of letters, as pflag’s `parseSingleShortArg` does.
fn lex_letters(column: Column, letters: &str) -> Lexed {
    let mut items = Vec::new();
    let mut rest = letters;
    while let Some(letter) = rest.chars().next() {
        let Some(flag) = flags::by_letter(column, letter) else {
            items.push(Item::Unknown(format!("-{rest}")));
            break;
        };
        let tail = &rest[letter.len_utf8()..];
        // A lone `=` at the end is no sign of a value to pflag.
        let explicit = tail.strip_prefix('=').filter(|value| !value.is_empty());
        if let Some(value) = explicit {
            items.push(Item::Flag(flag, Some(value.to_owned())));
            break;
        }
        if flag.takes_next(column) {
            let value = (!tail.is_empty()).then(|| tail.to_owned());
            let open = value.is_none();
            items.push(Item::Flag(flag, value));
            return Lexed { items, open };
        }
        items.push(Item::Flag(flag, None));
        rest = tail;
    }
    Lexed { items, open: false }
}

/// A Helm command line, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The command.
    pub command: Command,
    tokens: Vec<String>,
    items: Vec<Item>,
}

/// Whose values an upgrade takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValuesFrom {
    /// Those of the command line alone.
    Line,
    /// Those of the release that is there, with the line's over them.
    Release,
    /// Those of the release if all these files are empty, else those of the line.
    ReleaseIfEmpty(Vec<String>),
}

impl ValuesFrom {
    /// Whether the release's values may count.
    pub fn may_be_release(&self) -> bool {
        *self != Self::Line
    }
}

impl Invocation {
    /// Reads the tokens behind the command word. Flags that Helm does not have are
    /// kept, for Helm to refuse.
    pub fn parse(command: Command, tokens: &[String]) -> Result<Self, ArgvError> {
        let mut items = Vec::new();
        let mut rest = tokens.iter();
        while let Some(token) = rest.next() {
            let lexed = lex(command.column(), token);
            items.extend(lexed.items);
            if lexed.open {
                let Some(value) = rest.next() else {
                    let name = token.split('=').next().unwrap_or(token);
                    return Err(ArgvError::MissingValue(name.to_owned()));
                };
                if let Some(Item::Flag(_, slot)) = items.last_mut() {
                    *slot = Some(value.clone());
                }
            }
            if items.last() == Some(&Item::End) {
                items.extend(rest.by_ref().cloned().map(Item::Word));
            }
        }
        Ok(Self { command, tokens: tokens.to_vec(), items })
    }

    /// The same line without some flags, given by their long names, and their values. What is left stays untouched.
    ///
    /// # Errors
    /// None for a line that was parsed.
    pub fn without(&self, flags: &[&str]) -> Result<Self, ArgvError> {
        let mut left = Vec::new();
        let mut rest = self.tokens.iter();
        while let Some(token) = rest.next() {
            let lexed = lex(self.command.column(), token);
            let goes = matches!(&lexed.items[..], [Item::Flag(flag, _)] if flags.contains(&flag.name));
            let value = if lexed.open { rest.next() } else { None };
            if !goes {
                left.extend([token].into_iter().chain(value).cloned());
            }
            if lexed.items == [Item::End] {
                left.extend(rest.by_ref().cloned());
            }
        }
        Self::parse(self.command, &left)
    }

    /// The tokens, as they were given.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter_map(|item| match item {
            Item::Word(word) => Some(word.as_str()),
            _ => None,
        })
    }

    /// The releases that the command is about: all that `uninstall` names, else the
    /// first word; none where Helm makes up the name.
    pub fn releases(&self) -> Vec<&str> {
        match self.command {
            Command::Uninstall => self.words().collect(),
            Command::Install if self.generate_name() => Vec::new(),
            _ => self.words().take(1).collect(),
        }
    }

    /// The chart, for the commands that take one.
    pub fn chart(&self) -> Option<&str> {
        match self.command {
            Command::Install if self.generate_name() => self.words().take(2).last(),
            Command::Upgrade | Command::Install => self.words().nth(1),
            Command::Rollback | Command::Uninstall => None,
        }
    }

    /// The revision that `rollback` names.
    pub fn rollback_revision(&self) -> Option<&str> {
        if self.command == Command::Rollback { self.words().nth(1) } else { None }
    }

    /// Each time one of these flags is given, with its value (`true` for the bare form).
    fn given<'a>(&'a self, names: &'a [&str]) -> impl DoubleEndedIterator<Item = (&'static Flag, &'a str)> {
        self.items.iter().filter_map(move |item| match item {
            Item::Flag(flag, value) if names.contains(&flag.name) => {
                Some((*flag, value.as_deref().unwrap_or("true")))
            }
            _ => None,
        })
    }

    /// The value of a flag, by its long name; the last one wins. A bare flag says `true`.
    pub fn value(&self, long: &str) -> Option<&str> {
        self.items.iter().rev().find_map(|item| match item {
            Item::Flag(flag, value) if flag.name == long => Some(value.as_deref().unwrap_or("true")),
            _ => None,
        })
    }

    /// All values of a flag, in order.
    pub fn values(&self, long: &str) -> Vec<&str> {
        self.items
            .iter()
            .filter_map(|item| match item {
                Item::Flag(flag, value) if flag.name == long => Some(value.as_deref().unwrap_or("true")),
                _ => None,
            })
            .collect()
    }

    /// Whether a switch is on: given, and not turned off by the value that counts.
    pub fn is_set(&self, long: &str) -> bool {
        self.value(long).is_some_and(is_on)
    }

    /// Whether Helm only shows what it would do.
    pub fn dry_run(&self) -> bool {
        self.is_set("dry-run")
    }

    /// Whether help is asked for.
    pub fn help(&self) -> bool {
        self.is_set("help")
    }

    /// Whether Helm makes up the release name.
    pub fn generate_name(&self) -> bool {
        self.is_set("generate-name") || self.value("name-template").is_some_and(|text| !text.is_empty())
    }

    /// Whether a missing release is to be installed: `install`, or `upgrade --install`.
    pub fn install_if_missing(&self) -> bool {
        self.command == Command::Install || self.is_set("install")
    }

    /// Whether a missing namespace is to be created.
    pub fn create_namespace(&self) -> bool {
        self.is_set("create-namespace")
    }

    /// Whether Helm undoes a failed deploy. Both names set one variable: the last wins.
    pub fn atomic(&self) -> bool {
        self.given(&["atomic", "rollback-on-failure"]).next_back().is_some_and(|(_, value)| is_on(value))
    }

    /// What `--wait` says of what Helm waits for, if not for hooks alone: `true` for the bare form.
    pub fn wait(&self) -> Option<&str> {
        let on = self.value("wait").filter(|value| is_on(value));
        on.or_else(|| self.atomic().then_some("true"))
    }

    /// The time limit, if one is given that Helm can read.
    pub fn timeout(&self) -> Option<Duration> {
        self.value("timeout").and_then(duration)
    }

    /// How many revisions to keep, if given (0: all).
    pub fn history_max(&self) -> Option<u32> {
        u32::try_from(integer(self.value("history-max")?)?.max(0)).ok()
    }

    /// What `--server-side` says (`true` for the bare form).
    pub fn server_side(&self) -> Option<&str> {
        self.value("server-side")
    }

    /// The files whose text becomes values, as Helm names them: paths, URLs, `-`.
    pub fn value_sources(&self) -> Vec<String> {
        let files = self.values("values").into_iter().flat_map(csv_fields);
        let pairs = self.values("set-file").into_iter().flat_map(|text| text.split(','));
        let texts = pairs.map(|pair| pair.split_once('=').map_or(pair, |(_, file)| file));
        files.chain(texts.map(|file| file.trim_matches(['{', '}']).to_owned())).collect()
    }

    /// Whether Helm will read its standard input.
    pub fn reads_stdin(&self) -> bool {
        self.value_sources().iter().any(|file| is_stdin(file))
    }

    /// Whose values `upgrade` takes where a release is there, in the order in which Helm asks (`reuseValues` in its
    /// upgrade.go): `--reset-values` wins; the other two reuse; else the release's count only if the merged values of
    /// the line are empty, and that may depend on what is in files.
    pub fn values_from(&self) -> ValuesFrom {
        if self.command != Command::Upgrade || self.is_set("reset-values") {
            return ValuesFrom::Line;
        }
        if self.is_set("reuse-values") || self.is_set("reset-then-reuse-values") {
            return ValuesFrom::Release;
        }
        let sets = ["set", "set-string", "set-file", "set-json", "set-literal"];
        let is_empty = |(flag, value): (&Flag, &str)| {
            let value = value.trim();
            value.is_empty() || (flag.name == "set-json" && is_empty_object(value))
        };
        if !self.given(&sets).all(is_empty) {
            return ValuesFrom::Line;
        }
        let files: Vec<String> =
            self.values("values").into_iter().filter(|l| !l.is_empty()).flat_map(csv_fields).collect();
        if files.is_empty() { ValuesFrom::Release } else { ValuesFrom::ReleaseIfEmpty(files) }
    }

    /// The names of the flags on the line, each once and without values: long names
    /// without dashes, or the letter of a flag that Helm does not have.
    pub fn flag_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for item in &self.items {
            let name = match item {
                Item::Flag(flag, _) => flag.name.to_owned(),
                Item::Unknown(text) => match text.strip_prefix("--") {
                    Some(long) => long.split('=').next().unwrap_or_default().to_owned(),
                    // What stands behind the letter may be a value, so it is left out.
                    None => text.chars().skip(1).take(1).collect(),
                },
                Item::Word(_) | Item::End => continue,
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The flags that say which cluster, user and namespace, as `--name=value`.
    pub fn cluster_flags(&self) -> Vec<String> {
        self.items
            .iter()
            .filter_map(|item| match item {
                Item::Flag(flag, value) if is_cluster(flag.name) => {
                    Some(format!("--{}={}", flag.name, value.as_deref().unwrap_or("true")))
                }
                _ => None,
            })
            .collect()
    }
}

fn is_cluster(name: &str) -> bool {
    name == "namespace" || name == "kubeconfig" || name.starts_with("kube-")
}

/// Whether a switch with this value is on; the words cover `--dry-run` and `--wait`.
fn is_on(value: &str) -> bool {
    !matches!(value, "" | "0" | "f" | "F" | "false" | "FALSE" | "False" | "none" | "hookOnly")
}

/// `{}` of JSON, which Helm 4 takes for `--set-json`.
fn is_empty_object(text: &str) -> bool {
    text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(|rest| rest.trim().is_empty())
}

fn is_stdin(file: &str) -> bool {
    matches!(file.trim(), "-" | "/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0")
}

/// `uninstall RELEASE` for the removal of what a failed first install left. Only a repair uses it: a user's own
/// `uninstall` goes to Helm as it stands. The release is there, its record was read under the lock, so there is no need
/// for `--ignore-not-found`, which Helm has had only since 3.13.
pub fn uninstall_argv(inv: &Invocation, release: &str) -> Vec<String> {
    let mut argv: Vec<String> = ["uninstall", release, "--no-hooks", "--wait"].map(str::to_owned).into();
    argv.extend(inv.value("timeout").map(|limit| format!("--timeout={limit}")));
    argv.extend(inv.cluster_flags());
    argv
}

/// `rollback RELEASE REVISION` for the repair of a stuck release.
pub fn rollback_argv(inv: &Invocation, release: &str, revision: u32) -> Vec<String> {
    let mut argv = ["rollback", release, &revision.to_string(), "--no-hooks"].map(str::to_owned).to_vec();
    argv.extend(inv.value("history-max").map(|count| format!("--history-max={count}")));
    argv.extend(inv.cluster_flags());
    argv
}

#[cfg(test)]
mod tests;
