//! The environment, taken once at the start, and the names of variables that more than one part reads. Pure.

use std::collections::BTreeMap;

/// A token for the CI system's API, where the job's own will not do; the action sets it.
pub const CI_TOKEN: &str = "HELM_GUARD_CI_TOKEN";

/// A snapshot of the environment.
pub type Env = BTreeMap<String, String>;

/// The variable by which Helm, and whatever it starts, is known as a run's own when the run itself is gone.
pub const LOCK_ID_ENV: &str = "HELM_GUARD_LOCK_ID";

/// What the variables of inputs begin with. Not `INPUT_`, which belongs to the runner: it sets such variables itself
/// (act under other names than these), and act evaluates no expression in one.
pub const ACTION_INPUT: &str = "HELM_GUARD_INPUT_";

/// What the variables of this program's own begin with.
const OWN: &str = "HELM_GUARD_";

/// Does a variable hold a secret of this program's own: a token for the CI system's API, an input of the action?
pub fn is_own_secret(name: &str) -> bool {
    name.starts_with(crate::env::ACTION_INPUT) || (name.starts_with(OWN) && name.contains("TOKEN"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secrets_of_its_own_are_kept_from_helm() {
        for (name, is_own) in [
            ("HELM_GUARD_CI_TOKEN", true),
            ("HELM_GUARD_INPUT_KUBECONFIG", true),
            ("HELM_GUARD_INPUT_GITHUB_TOKEN", true),
            ("HELM_GUARD_LOCK_ID", false),
            ("HELM_GUARD_KUBECONFIG", false),
            ("HELM_DRIVER_SQL_CONNECTION_STRING", false),
            ("GITHUB_TOKEN", false),
        ] {
            assert_eq!(is_own_secret(name), is_own, "{name}");
        }
    }
}
