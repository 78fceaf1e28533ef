//! The commands, a file each: flags in, exit code out. What they share is in `session.rs`.

pub mod action;
pub mod backup;
pub mod check;
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
pub mod upgrade;

use crate::{cli::LockCommand, clock::Clock, env::Env};

/// Runs one of the `lock` commands. Gives the exit code.
pub async fn lock(command: &LockCommand, env: &Env, host: &str, clock: Clock) -> u8 {
    let ended = match command {
        LockCommand::Status(args) => lock::status(args, env, clock).await,
        LockCommand::Acquire(args) => lock::acquire(args, env, host, clock).await,
        LockCommand::Release(args) => lock::release(args, env).await,
        LockCommand::Run(args) => lock_run::run(args, env, host, clock).await,
    };
    ended.unwrap_or_else(|end| end.tell())
}
