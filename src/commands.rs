//! The commands, a file each: flags in, exit code out. What they share is in `session.rs`.

pub mod diagnose;
pub mod list;
pub mod list_apis;
pub mod lock;
pub mod lock_run;
pub mod repair;
pub mod restore;
pub mod session;
pub mod settle;
pub mod status;
pub mod unlock;
