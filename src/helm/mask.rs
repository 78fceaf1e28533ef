//! What a command line gives that must not be shown: Helm quotes a `--set-json` that it cannot parse, and the API server
//! quotes a field that it refuses. Values of files are read in `deploy/values_files.rs`.
//! Pure.

use serde_json::Value;

use super::Invocation;
use crate::redact::Secrets;

/// Flags whose values are secrets.
const SECRET_FLAGS: [&str; 3] = ["password", "kube-token", "passphrase"];

/// The secrets of a command line: what is given to a `--set…` flag as a whole, the values in it, passwords and tokens.
pub fn secrets(invocation: &Invocation) -> Secrets {
    let mut secrets = Secrets::default();
    for flag in ["set", "set-string", "set-json", "set-literal"] {
        for given in invocation.values(flag) {
            // As a whole it is quoted when it cannot be parsed; one without a value has nothing to hide but itself.
            secrets.add(given);
            add(flag, given, &mut secrets);
        }
    }
    for flag in SECRET_FLAGS {
        invocation.values(flag).into_iter().for_each(|value| secrets.add(value));
    }
    // Addresses with a password in them.
    let chart = invocation.chart().map(str::to_owned);
    let repositories = invocation.values("repo").into_iter().map(str::to_owned);
    for address in chart.into_iter().chain(repositories).chain(invocation.value_sources()) {
        secrets.add_address(&address);
    }
    secrets
}

fn add(flag: &str, given: &str, secrets: &mut Secrets) {
    let Some((key, value)) = given.split_once('=') else { return };
    match flag {
        "set-literal" => secrets.add_given(key, &Value::String(value.to_owned())),
        "set-json" => match serde_json::from_str(value) {
            Ok(json) => secrets.add_given(key, &json),
            // As far as it can be read: no more than its quotation marks.
            Err(_) => value.split('"').filter(|part| part.len() > 8).for_each(|part| secrets.add(part)),
        },
        _ => pairs(given).for_each(|(key, value)| secrets.add_given(&key, &Value::String(value))),
    }
}

/// `a=1,b.c=2` in pairs; a comma behind a backslash is part of a value.
fn pairs(given: &str) -> impl Iterator<Item = (String, String)> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for letter in given.chars() {
        match (letter, parts.last_mut()) {
            (',', _) if !escaped => parts.push(String::new()),
            ('\\', _) if !escaped => {
                escaped = true;
                continue;
            }
            (_, Some(part)) => part.push(letter),
            (_, None) => {}
        }
        escaped = false;
    }
    parts
        .into_iter()
        .filter_map(|part| part.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{helm::Command, redact::Redactor};

    fn of(argv: &[&str]) -> Redactor {
        let tokens: Vec<String> =
            ["web", "chart"].iter().chain(argv).map(|&token| token.to_owned()).collect();
        secrets(&Invocation::parse(Command::Upgrade, &tokens).unwrap()).redactor()
    }

    #[test]
    fn what_is_given_is_masked_as_a_whole() {
        let redactor = of(&["--set-json", "a={\"b\": hunter2", "--set=hunter3"]);
        assert_eq!(
            redactor.clean("Error: failed parsing --set-json data a={\"b\": hunter2\n"),
            "Error: failed parsing --set-json data [redacted]\n"
        );
        assert_eq!(redactor.clean("key \"hunter3\" has no value"), "key \"[redacted]\" has no value");
    }

    #[test]
    fn values_are_masked_whose_keys_are_secret() {
        let redactor = of(&[
            "--set",
            "db.password=hun\\,ter2,image.tag=v1.2.3",
            "--set-string=apiToken=0123456",
            "--set-json=auth={\"user\": \"ada-l\", \"list\": [\"third\"]}",
            "--set-literal=tls.key=a,b=c",
        ]);
        for secret in ["hun,ter2", "0123456", "ada-l", "third", "a,b=c"] {
            assert_eq!(redactor.clean(&format!("invalid: {secret}!")), "invalid: [redacted]!", "{secret}");
        }
        assert_eq!(redactor.clean("image web:v1.2.3 not found"), "image web:v1.2.3 not found");
    }

    #[test]
    fn passwords_of_flags_and_addresses_are_masked() {
        let redactor = of(&["--password=swordfish", "--repo=https://ada:opensesame@charts.example"]);
        assert_eq!(redactor.clean("401 for swordfish, opensesame"), "401 for [redacted], [redacted]");
    }

    #[test]
    fn short_ones_are_left_alone() {
        assert_eq!(of(&["--set=key=1"]).clean("line 1 of 11"), "line 1 of 11");
    }
}
