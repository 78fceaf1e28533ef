//! Parts a command line into the guard's own flags and what is Helm's.
//! Pure.

use super::argv::{ArgvError, Command, lex};

/// A flag of the guard itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnFlag {
    /// The long name, without dashes.
    pub name: &'static str,
    /// Whether it needs a value.
    pub takes_value: bool,
}

/// A command line, parted into the guard's flags and everything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// The guard's flags, as `--name=value` or `--name`.
    pub own: Vec<String>,
    /// The rest, untouched and in order.
    pub helm: Vec<String>,
}

/// Takes the guard's flags out of the tokens behind the command word. They may
/// stand anywhere before `--`, but the value of a Helm flag is never taken for one.
pub fn split(command: Command, tokens: &[String], own: &[OwnFlag]) -> Result<Split, ArgvError> {
    let mut parted = Split::default();
    let mut rest = tokens.iter();
    while let Some(token) = rest.next() {
        if token == "--" {
            parted.helm.push(token.clone());
            parted.helm.extend(rest.by_ref().cloned());
        } else if let Some((flag, has_value)) = find_own(token, own) {
            if has_value || !flag.takes_value {
                parted.own.push(token.clone());
            } else {
                match rest.next() {
                    Some(value) if value != "--" => parted.own.push(format!("{token}={value}")),
                    _ => return Err(ArgvError::MissingValue(token.clone())),
                }
            }
        } else {
            parted.helm.push(token.clone());
            if lex(command.column(), token).open {
                parted.helm.extend(rest.next().cloned());
            }
        }
    }
    Ok(parted)
}

fn find_own<'a>(token: &str, own: &'a [OwnFlag]) -> Option<(&'a OwnFlag, bool)> {
    let name = token.strip_prefix("--")?;
    let (name, has_value) = name.split_once('=').map_or((name, false), |(name, _)| (name, true));
    own.iter().find(|flag| flag.name == name).map(|flag| (flag, has_value))
}
