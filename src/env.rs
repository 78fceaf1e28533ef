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
