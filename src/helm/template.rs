//! The command line of `helm template` that renders what a deploy would send.

use super::argv::{Invocation, Item};
use super::flags::{self, Column};
use super::version::{Major, Version};

/// Flags that `template` takes but that are set here, or say nothing there but a warning.
const LEFT_OUT: [&str; 4] = ["dry-run", "validate", "hide-notes", "render-subchart-notes"];

/// The line for `helm template` that belongs to an `upgrade` or `install`. The words
/// and flags keep their order. Flags of the deploy that `template` lacks are dropped,
/// flags that neither has are passed on, so that Helm refuses them in its own words.
///
/// The rendering asks the cluster for its capabilities and for `lookup`. In Helm 3 the
/// first needs `--validate` and the second `--dry-run=server` (a bare switch before
/// 3.13, so left out there); in Helm 4 `--dry-run=server` does both and excludes
/// `--validate`. `template` is always a dry run, so it never minds a name in use, and
/// with `--is-upgrade` it does not look for objects of other owners.
pub fn template_argv(
    inv: &Invocation,
    version: &Version,
    is_upgrade: bool,
    reused_values_file: Option<&str>,
) -> Vec<String> {
    let mut ours = Vec::new();
    if is_upgrade {
        ours.push("--is-upgrade".to_owned());
    }
    if version.major == Major::V3 {
        ours.push("--validate".to_owned());
    }
    if version.major == Major::V4 || version.minor >= 13 {
        ours.push("--dry-run=server".to_owned());
    }
    // Later files win, so this one stands before the user’s own.
    ours.extend(reused_values_file.map(|file| format!("--values={}", csv_field(file))));

    let mut argv = vec!["template".to_owned()];
    for item in inv.items() {
        if !matches!(item, Item::Word(_)) {
            argv.append(&mut ours);
        }
        match item {
            Item::Word(word) => argv.push(word.clone()),
            Item::End => argv.push("--".to_owned()),
            Item::Unknown(text) if is_of_template_alone(text) => {}
            Item::Unknown(text) => argv.push(text.clone()),
            Item::Flag(flag, value) => {
                let of_command = flag.kind(inv.command.column(), version.major);
                let of_template = flag.kind(Column::Template, version.major);
                // A flag of the other Helm generation is passed on, to be refused.
                let known = of_template == of_command;
                if known && !LEFT_OUT.contains(&flag.name) {
                    argv.push(match value {
                        Some(value) => format!("--{}={value}", flag.name),
                        None => format!("--{}", flag.name),
                    });
                }
            }
        }
    }
    argv.append(&mut ours);
    argv
}

/// Whether the deploy lacks the flag but `template` has it: `--output-dir` would write
/// files. It is left for the deploy itself to refuse.
fn is_of_template_alone(text: &str) -> bool {
    match text.strip_prefix("--") {
        Some(long) => flags::by_name(Column::Template, long.split('=').next().unwrap_or(long)).is_some(),
        None => text.chars().nth(1).is_some_and(|c| flags::by_letter(Column::Template, c).is_some()),
    }
}

/// `--values` reads its value as a line of comma-separated values.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) || text.starts_with(' ') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
