//! The process: environment, arguments and signals in; exit code out.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use helm_guard::{
    bytes, cli,
    clock::Clock,
    commands::{self, session::complain, upgrade::asks_for_help},
    env::Env,
    exit,
    helm::{Command, terminal},
    signals, supervise,
};

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == terminal::EXEC_HELM) {
        return ExitCode::from(complain(
            &terminal::become_program(std::env::args_os().skip(2)),
            exit::UNAVAILABLE,
        ));
    }
    signals::hold_back();
    if std::process::id() == 1 {
        return match supervise::supervise(std::env::args_os().skip(1)) {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                ExitCode::from(complain(&format!("cannot start as process 1: {error}"), exit::UNAVAILABLE))
            }
        };
    }
    let clock = Clock::start();
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    let env: Env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let argv: Vec<String> = std::env::args_os().skip(1).map(|arg| bytes::to_text(&arg)).collect();
    let argv = cli::behind_the_command(argv);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(complain(&format!("cannot start: {error}"), exit::UNAVAILABLE)),
    };
    let host = nix::unistd::gethostname().map(|host| host.to_string_lossy().into_owned()).unwrap_or_default();
    let code = runtime.block_on(run(&argv, &env, &host, clock));
    // Helms that are not needed any more are killed. A question at a terminal that nobody answers any more must not keep
    // the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ExitCode::from(code)
}

/// Runs the command that the words ask for. Gives the exit code.
async fn run(argv: &[String], env: &Env, host: &str, clock: Clock) -> u8 {
    // These listen for signals before they let them come.
    match argv.split_first() {
        Some((word, tokens)) if word == "check" && !asks_for_help(tokens) => {
            return commands::check::check(tokens, env, host, clock).await;
        }
        Some((word, tokens)) if let Some(command) = Command::parse(word) => {
            return commands::upgrade::run(command, tokens, env, host, clock).await;
        }
        _ => {}
    }
    // The others listen when they have something to set right; until then a signal just ends them.
    signals::let_come();
    let command = match cli::parse(own_argv(argv, env)) {
        Ok(cli) => cli.command,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE } else { 0 };
        }
    };
    match command {
        cli::Command::Action => commands::action::action(env, clock),
        cli::Command::Backup(args) => commands::backup::backup(&args, env).await,
        cli::Command::Diagnose(args) => commands::diagnose::diagnose(&args, env).await,
        cli::Command::History(args) => commands::status::history(&args, env, clock).await,
        cli::Command::Lock(command) => commands::lock(&command, env, host, clock).await,
        cli::Command::Repair(args) => commands::repair::repair(&args, env, host, clock).await,
        cli::Command::Restore(args) => commands::restore::restore(&args, env, host, clock).await,
        cli::Command::Settle(args) => commands::settle::settle(&args, env, clock).await,
        cli::Command::Status(args) => commands::status::status(&args, env, clock).await,
        cli::Command::Unlock(args) => commands::unlock::unlock(&args, env, host, clock).await,
        // Their words are read above, by Helm's rules, and here is only their help.
        cli::Command::Check(_)
        | cli::Command::Upgrade(_)
        | cli::Command::Install(_)
        | cli::Command::Rollback(_)
        | cli::Command::Uninstall(_) => complain("not a command of helm-guard's own", exit::USAGE),
    }
}

/// With the flags that variables give. As the system gave it: a name of a file may be no UTF-8.
fn own_argv(argv: &[String], env: &Env) -> Vec<OsString> {
    let (words, flags) = cli::from_variables(argv, env);
    let program = std::env::args_os().take(1);
    let mut typed: Vec<OsString> = program.chain(argv.iter().map(|word| bytes::to_bytes(word))).collect();
    let behind = (1 + words).min(typed.len());
    typed.splice(behind..behind, flags.into_iter().map(OsString::from));
    typed
}
