//! `upgrade`, `install`, `rollback` and `uninstall`: Helm's command, guarded.

use std::{ffi::OsString, os::unix::process::CommandExt, sync::Arc};

use super::session::{complain, listen, misused, sinks};
use crate::{
    ci::checkout,
    cli,
    clock::Clock,
    deploy,
    env::Env,
    exit,
    helm::{Command, gc_tuning::Decided, launch::Launch},
    report::reporter::{Reporter, Sinks},
    request::Request,
    signals::{self, Signals},
};

/// Runs one of Helm's commands. Gives the exit code.
pub async fn run(command: Command, tokens: &[String], env: &Env, host: &str, clock: Clock) -> u8 {
    let signals = match listen() {
        Ok(signals) => signals,
        Err(error) => return error.tell(),
    };
    signals::let_come();
    if asks_for_help(tokens) {
        return help(command, tokens, env);
    }
    let mut request = match Request::parse(command, tokens, env, host) {
        Ok(request) => request,
        Err(error) => return misused(command.as_str(), &error, env, clock),
    };
    if request.invocation.dry_run() {
        // Nothing will be changed: no lock, no report, Helm alone.
        let (helm, memory) = (request.helm.clone(), request.helm_memory);
        let mut argv = vec![command.as_str().to_owned()];
        argv.extend(request.invocation.tokens().iter().cloned());
        let error = Launch { helm, memory, ..Launch::default() }.alone(&argv).exec();
        return complain(&format!("helm binary {}: {error}", request.helm.display()), exit::UNAVAILABLE);
    }
    request.warnings.extend(checkout::oddities(env, &request.limits()));
    guarded(&request, env, clock, signals).await
}

/// Whether helm-guard's help is wanted, and not a word for what follows `--`.
pub fn asks_for_help(tokens: &[String]) -> bool {
    tokens.iter().take_while(|token| *token != "--").any(|token| token == "--help" || token == "-h")
}

/// One guarded run, reported to where its flags and the environment say.
pub(super) async fn guarded(request: &Request, env: &Env, clock: Clock, signals: Signals) -> u8 {
    let reporter = reporter(request, env, clock);
    deploy::deploy(request, &reporter, clock, signals).await
}

/// The report of a run.
pub(super) fn reporter(request: &Request, env: &Env, clock: Clock) -> Arc<Reporter> {
    let run = &request.guard.run;
    let sinks = Sinks {
        report_file: run.report.clone(),
        summary_file: run.summary.clone(),
        dotenv: run.dotenv.clone(),
        volume: run.log.volume(),
        ..sinks(env)
    };
    Arc::new(Reporter::new(sinks, clock))
}

/// helm-guard's flags; after `--help`, Helm's own help too. `-h` is one screen.
fn help(command: Command, tokens: &[String], env: &Env) -> u8 {
    let is_long = tokens.iter().take_while(|token| *token != "--").any(|token| token == "--help");
    let flag = if is_long { "--help" } else { "-h" };
    if let Err(help) = cli::parse(["helm-guard", command.as_str(), flag].map(OsString::from)) {
        let _ = help.print();
    }
    if !is_long {
        return 0;
    }
    let helm = env.get("HELM_BIN").filter(|bin| !bin.is_empty()).map_or("helm", String::as_str);
    // Without Helm, `--help` shows the text above only, and succeeds.
    let launch = Launch { helm: helm.into(), memory: Decided::of(env), ..Launch::default() };
    let _ = launch.alone(&[command.as_str().to_owned(), "--help".to_owned()]).status();
    0
}
