//! Exit codes. Helm's own code passes through; these are helm-guard's, none of which Helm uses.

/// What was asked for was tried and failed; Helm's own code for that, too.
pub const FAILED: u8 = 1;
/// Bad flags or environment.
pub const USAGE: u8 = 64;
/// The cluster, or the Helm binary, cannot be reached.
pub const UNAVAILABLE: u8 = 69;
/// The lock stayed taken for the whole `--lock-timeout`.
pub const LOCK_TIMEOUT: u8 = 75;
/// The lock was lost while Helm ran.
pub const LOCK_LOST: u8 = 76;
/// Refused before anything was touched: no permission, or a repair that must not be done.
pub const REFUSED: u8 = 77;

/// `--outdated fail`: a newer run of the same workflow and ref has deployed, or is about to.
pub const OUTDATED: u8 = 78;

/// Ended by a signal, as shells count: 130 for SIGINT, 143 for SIGTERM.
pub fn cancelled(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(128)
}
