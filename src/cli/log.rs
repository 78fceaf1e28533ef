//! `--quiet` and `--verbose`: how much helm-guard logs. Helm's own output is never changed by them.

use clap::Args;

use super::heading::OUTPUT;
use crate::display::Volume;

/// How much is logged, as flags.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct LogFlags {
    /// Log only warnings and the result
    ///
    /// The result is the outcome, the cause of a failure and what to do. `helm-guard -q COMMAND` is the same.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_name = "BOOL", help_heading = OUTPUT, hide_default_value = true, hide_possible_values = true, overrides_with = "verbose")]
    pub quiet: bool,
    /// Log more, such as the duration of each stage
    ///
    /// Also backups and the version of Helm. `helm-guard -v COMMAND` is the same.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_name = "BOOL", help_heading = OUTPUT, hide_default_value = true, hide_possible_values = true, overrides_with = "quiet")]
    pub verbose: bool,
}

impl LogFlags {
    /// What the flags ask for.
    pub fn volume(self) -> Volume {
        match (self.quiet, self.verbose) {
            (true, false) => Volume::Quiet,
            (false, true) => Volume::Verbose,
            (false, false) | (true, true) => Volume::Normal,
        }
    }
}

/// The command line with `-q`, `-v` and their long forms moved from before the command to behind it. There they cannot be
/// Helm's: `-v` behind `upgrade` is the log level of Helm's Kubernetes client.
pub fn behind_the_command(argv: Vec<String>) -> Vec<String> {
    let long = |word: &String| match word.as_str() {
        "-q" | "--quiet" => Some("--quiet"),
        "-v" | "--verbose" => Some("--verbose"),
        _ => None,
    };
    let flags: Vec<&str> = argv.iter().map_while(long).collect();
    let rest = &argv[flags.len()..];
    match rest.split_first() {
        Some((command, behind)) if !flags.is_empty() && !command.starts_with('-') => {
            let flags = flags.into_iter().map(str::to_owned);
            std::iter::once(command.clone()).chain(flags).chain(behind.iter().cloned()).collect()
        }
        _ => argv,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn short_flags_are_read_before_the_command() {
        for (given, read) in [
            ("-q upgrade web ./c -v 4", "upgrade --quiet web ./c -v 4"),
            ("--verbose repair web", "repair --verbose web"),
            ("-q -v upgrade web", "upgrade --quiet --verbose web"),
            ("upgrade -q web", "upgrade -q web"),
            ("-q --help", "-q --help"),
            ("-q", "-q"),
            ("upgrade", "upgrade"),
        ] {
            let argv = given.split(' ').map(str::to_owned).collect();
            assert_eq!(behind_the_command(argv).join(" "), read, "{given}");
        }
    }

    #[test]
    fn the_last_of_the_two_counts() {
        for (flags, volume) in [
            ("", Volume::Normal),
            ("--quiet", Volume::Quiet),
            ("--verbose=true", Volume::Verbose),
            ("--quiet=true --verbose", Volume::Verbose),
            ("--verbose --quiet", Volume::Quiet),
            ("--quiet=false", Volume::Normal),
        ] {
            let line = format!("helm-guard repair {flags} web");
            let Command::Repair(repair) = Cli::try_parse_from(line.split_whitespace()).unwrap().command
            else {
                panic!("{line}")
            };
            assert_eq!(repair.run.log.volume(), volume, "{line}");
        }
    }
}
