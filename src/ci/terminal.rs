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
    draws(env) && !refuses_color(env)
}

/// Is colour wanted where there is no terminal? `NO_COLOR` beats `CLICOLOR_FORCE`.
pub fn forces_color(env: &Env) -> bool {
    !refuses_color(env) && env.get("CLICOLOR_FORCE").is_some_and(|force| !force.is_empty() && force != "0")
}

fn refuses_color(env: &Env) -> bool {
    env.get("NO_COLOR").is_some_and(|refused| !refused.is_empty())
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

    #[test]
    fn colours_are_forced_unless_they_are_refused() {
        for (variables, expected) in [
            (&[("CLICOLOR_FORCE", "1")][..], true),
            (&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], true),
            (&[("CLICOLOR_FORCE", "0")], false),
            (&[("CLICOLOR_FORCE", "")], false),
            (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
            (&[], false),
        ] {
            let env =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(forces_color(&env), expected, "{variables:?}");
        }
    }
}
