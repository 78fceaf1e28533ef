//! Whether a terminal may be drawn on, and in colour. Pure: the environment is passed in.

use super::{System, system};
use crate::env::Env;

/// May a terminal in this environment be drawn on? A runner may give its steps one that nobody looks at; a dumb one draws nothing.
pub fn draws(env: &Env) -> bool {
    let draws = env.get("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    draws && system(env) == System::Terminal
}

/// The same in colour.
pub fn colors(env: &Env) -> bool {
    draws(env) && env.get("NO_COLOR").is_none_or(String::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_a_terminal_that_somebody_sees_and_wants_them_on() {
        for (variables, expected) in [
            (&[("TERM", "xterm")][..], true),
            (&[("TERM", "xterm"), ("NO_COLOR", "")], true),
            (&[("TERM", "xterm"), ("NO_COLOR", "1")], false),
            (&[("TERM", "dumb")], false),
            (&[], false),
            (&[("TERM", "xterm"), ("GITHUB_ACTIONS", "true")], false),
        ] {
            let env =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(colors(&env), expected, "{variables:?}");
        }
    }
}
