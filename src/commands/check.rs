//! `check`: the preflight without a deploy.

use std::io::Write;

use super::{
    session::{listen, misused},
    upgrade::reporter,
};
use crate::{clock::Clock, deploy, env::Env, report::json, request::Request, signals};

/// Runs `check`. Gives the exit code.
pub async fn check(tokens: &[String], env: &Env, host: &str, clock: Clock) -> u8 {
    let (request, as_json) = match Request::check(tokens, env, host) {
        Ok(checked) => checked,
        Err(error) => return misused("check", &error, env, clock),
    };
    let signals = match listen() {
        Ok(signals) => signals,
        Err(error) => return error.tell(),
    };
    signals::let_come();
    let reporter = reporter(&request, env, clock);
    let code = deploy::deploy(&request, &reporter, clock, signals).await;
    if as_json {
        let _ = std::io::stdout().write_all(json::render(&reporter.summary()).as_bytes());
    }
    code
}
