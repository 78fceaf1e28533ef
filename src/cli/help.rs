//! The help of every command, made from the definitions of `clap` and the texts of [`super::pages`]: flags in groups, exit
//! codes, examples, and the environment variable of each flag. Pure.

use std::{ffi::OsString, fmt::Write};

use clap::{CommandFactory, FromArgMatches};

use super::{
    Cli,
    deploy::OWN_FLAGS,
    pages::{PAGES, Page},
};

/// How much a help says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// `-h`: one line for each flag, on one screen.
    Short,
    /// `--help`: everything.
    Long,
}

/// The groups of commands, in the order of the list. Commands that are in no group are listed last.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Deploy", &["upgrade", "install", "rollback", "uninstall", "check"]),
    ("Inspect", &["status", "history", "diagnose"]),
    ("Repair", &["repair", "backup", "restore", "settle"]),
    ("Lock", &["lock", "unlock"]),
];

/// Parses a command line with its first word, the program's name.
///
/// # Errors
/// As [`clap::Parser::try_parse_from`], also for `-h` and `--help`.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let argv: Vec<OsString> = argv.into_iter().collect();
    let mut own = argv.iter().take_while(|word| *word != "--");
    let length = if own.any(|word| word == "-h") { Length::Short } else { Length::Long };
    let mut command = command(length);
    let mut matches = command.try_get_matches_from_mut(argv)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// The definition of the command line, with its help.
pub(super) fn command(length: Length) -> clap::Command {
    let root = with_page(Cli::command(), "", length);
    let groups = grouped(&root);
    root.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}\nOptions:\n{{options}}{{after-help}}"
    ))
}

/// The command `path` and all below it.
fn with_page(command: clap::Command, path: &str, length: Length) -> clap::Command {
    let Some(page) = PAGES.iter().find(|page| page.path == path) else { return command };
    let mut command = command.after_help(examples(page, Length::Short));
    command = command.after_long_help(codes(page) + &examples(page, Length::Long));
    if !page.text.is_empty() {
        command = command.long_about(page.text);
    }
    if !page.usage.is_empty() {
        command = command.override_usage(page.usage);
    }
    if !page.arguments.is_empty() {
        command = command.mut_arg("helm", |arg| arg.help(page.arguments));
    }
    for name in page.hidden {
        command = command.mut_arg(name, |arg| arg.hide(true));
    }
    if length == Length::Long {
        command = command.mut_args(with_variable);
    } else if !command.has_subcommands() {
        let flags = one_line_each(&command);
        command = command.help_template(format!(
            "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{flags}{{after-help}}"
        ));
    }
    command.mut_subcommands(|child| {
        let path = format!("{path} {}", child.get_name());
        with_page(child, path.trim_start(), length)
    })
}

/// The arguments and flags of a command in their groups, one line each, in one column for all groups. clap has a column for
/// each group, and moves the texts of a group with a long flag below their flags.
fn one_line_each(command: &clap::Command) -> String {
    let mut command = command.clone();
    command.build();
    let mut groups: Vec<(&str, Vec<(String, String)>)> = vec![("Arguments", vec![]), ("Options", vec![])];
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_hide_short_help_set()) {
        let group =
            arg.get_help_heading().unwrap_or(if arg.is_positional() { "Arguments" } else { "Options" });
        let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let is_shown = arg.get_action().takes_values() && !arg.is_hide_default_value_set();
        if let ([default], true) = (arg.get_default_values(), is_shown) {
            let _ = write!(text, " [default: {}]", default.to_string_lossy());
        }
        let line = (synopsis(arg), text);
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, lines)) => lines.push(line),
            None => groups.push((group, vec![line])),
        }
    }
    let width =
        groups.iter().flat_map(|(_, lines)| lines).map(|(flag, _)| flag.len()).max().unwrap_or_default();
    let mut shown = String::new();
    for (group, lines) in groups.iter().filter(|(_, lines)| !lines.is_empty()) {
        let _ = writeln!(shown, "{group}:");
        for (flag, text) in lines {
            let _ = writeln!(shown, "  {flag:width$}  {text}");
        }
        shown.push('\n');
    }
    shown.truncate(shown.trim_end().len());
    shown
}

/// `-n, --namespace <NAME>`. A value that may be left out is not part of it.
fn synopsis(arg: &clap::Arg) -> String {
    let text = arg.to_string();
    if arg.is_positional() {
        return text;
    }
    let text = text.split('[').next().unwrap_or_default().trim_end();
    match arg.get_short() {
        Some(letter) => format!("-{letter}, {text}"),
        None => format!("    {text}"),
    }
}

/// A flag with the name of its variable.
fn with_variable(arg: clap::Arg) -> clap::Arg {
    let Some(name) = arg.get_long().and_then(variable) else { return arg };
    let text = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    arg.long_help(format!("{text}\n\n[env: {name}]"))
}

/// The environment variable of a flag, if it has one.
pub(super) fn variable(flag: &str) -> Option<String> {
    let known = OWN_FLAGS.iter().any(|own| own.name == flag);
    known.then(|| format!("HELM_GUARD_{}", flag.to_ascii_uppercase().replace('-', "_")))
}

/// The commands in their groups, one a line.
fn grouped(root: &clap::Command) -> String {
    let commands: Vec<_> = root.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let width = commands.iter().map(|command| command.get_name().len()).max().unwrap_or_default();
    let others: Vec<&str> = commands
        .iter()
        .map(|command| command.get_name())
        .filter(|name| !GROUPS.iter().any(|(_, names)| names.contains(name)))
        .collect();
    let mut text = String::new();
    for (group, names) in GROUPS.into_iter().chain([("Other", &others[..])]) {
        let _ = writeln!(text, "{group}:");
        for command in names.iter().filter_map(|name| root.find_subcommand(name)) {
            let mut about = command.get_about().map(ToString::to_string).unwrap_or_default();
            for alias in command.get_visible_aliases() {
                let _ = write!(about, " [alias: {alias}]");
            }
            let _ = writeln!(text, "  {:width$}  {about}", command.get_name());
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// The table of exit codes.
fn codes(page: &Page) -> String {
    if page.codes.is_empty() {
        return String::new();
    }
    let width = page.codes.iter().map(|(code, _)| code.len()).max().unwrap_or_default();
    let lines = page.codes.iter().map(|(code, meaning)| format!("  {code:width$}  {meaning}\n"));
    format!("Exit codes:\n{}\n", lines.collect::<String>())
}

/// The examples: in a short help two command lines, in a long one all of them, each below what it does.
fn examples(page: &Page, length: Length) -> String {
    let lines: Vec<String> = match length {
        Length::Short => page.examples.iter().take(2).map(|(_, line)| format!("  {line}")).collect(),
        Length::Long => page.examples.iter().map(|(what, line)| format!("  # {what}\n  {line}")).collect(),
    };
    format!("Examples:\n{}", lines.join(if length == Length::Short { "\n" } else { "\n\n" }))
}

#[cfg(test)]
#[path = "help_tests.rs"]
mod tests;
