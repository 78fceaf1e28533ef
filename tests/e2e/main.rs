//! End to end: the real binary, real Helm 3 and 4, a real control plane. Each test is a story in a namespace of its own.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a story ends where something is not as it should be, tells its seed, and nobody links to it"
)]

mod adopt;
mod backup;
mod bad_input;
mod canary;
mod cancels;
mod causes;
mod chart_errors;
mod diagnose;
mod differential;
mod faults;
mod fence;
mod first_install;
mod fleet;
mod foreseen;
mod hangs;
mod kills;
mod lock;
mod locking;
mod logins;
mod merge;
mod merge_keys;
mod nodes;
mod odd_records;
mod oracle;
mod outdated;
mod owners;
mod preflight;
mod progress;
mod properties;
mod reach;
mod records;
mod removed_apis;
mod repair;
mod requests;
mod runs;
mod screen;
mod secrets;
mod settle;
mod sql;
mod stage;
mod stops;
mod storages;
mod storm;
mod stuck;
mod summary;
mod sweep;
mod texts;
mod unlock;
mod watched;
mod ways;
mod witness;
