//! The process: environment, arguments and signals in; exit code out.

use std::{io::IsTerminal, os::unix::process::CommandExt, process::ExitCode, sync::Arc};

use clap::Parser;
use helm_guard::{
    ci::{self, Env, System},
    cli::Cli,
    clock::Clock,
    deploy, exit,
    helm::Command,
    report::sink::{Reporter, Sinks},
    request::Request,
    signals::Signals,
};

fn main() -> ExitCode {
    let clock = Clock::start();
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    let env: Env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let argv: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}"), exit::UNAVAILABLE),
    };
    match argv.first().and_then(|word| Command::parse(word)) {
        Some(command) => runtime.block_on(helm_command(command, &argv[1..], &env, clock)),
        None => match Cli::try_parse() {
            // Restore and settle are the only commands that clap reads itself.
            Ok(cli) => runtime.block_on(helm_guard::recover::run(cli.command, &env, clock)).into(),
            Err(error) => {
                let code = if error.use_stderr() { exit::USAGE } else { 0 };
                let _ = error.print();
                ExitCode::from(code)
            }
        },
    }
}

async fn helm_command(command: Command, tokens: &[String], env: &Env, clock: Clock) -> ExitCode {
    if tokens.iter().take_while(|token| *token != "--").any(|token| token == "--help" || token == "-h") {
        return help(command, env);
    }
    let host = nix::unistd::gethostname().map(|host| host.to_string_lossy().into_owned()).unwrap_or_default();
    let request = match Request::parse(command, tokens, env, &host) {
        Ok(request) => request,
        Err(error) => return complain(&error, exit::USAGE),
    };
    if request.invocation.dry_run() {
        // Nothing will be changed: no lock, no report, Helm alone.
        let mut helm = std::process::Command::new(&request.helm);
        let error = helm.arg(command.as_str()).args(request.invocation.tokens()).exec();
        return complain(&format!("helm binary {}: {error}", request.helm.display()), exit::UNAVAILABLE);
    }
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return complain(&format!("cannot listen for signals: {error}"), exit::UNAVAILABLE),
    };
    let reporter = Arc::new(Reporter::new(sinks(&request, env)));
    deploy::deploy(&request, &reporter, clock, signals).await.into()
}

fn sinks(request: &Request, env: &Env) -> Sinks {
    let terminal = std::io::stderr().is_terminal();
    let file = |name: &str| env.get(name).filter(|path| !path.is_empty()).map(Into::into);
    let mut delimiter = [0; 16];
    let _ = getrandom::fill(&mut delimiter);
    Sinks {
        color: terminal && env.get("NO_COLOR").is_none_or(String::is_empty),
        terminal,
        github: ci::system(env) == System::GitHub,
        report_file: request.guard.report.clone(),
        step_summary: file("GITHUB_STEP_SUMMARY"),
        github_output: file("GITHUB_OUTPUT"),
        delimiter: delimiter.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// helm-guard's flags, then Helm's own help.
fn help(command: Command, env: &Env) -> ExitCode {
    let shown = Cli::try_parse_from(["helm-guard", command.as_str(), "--help"]);
    if let Err(help) = shown {
        let _ = help.print();
    }
    let helm = env.get("HELM_BIN").filter(|bin| !bin.is_empty()).map_or("helm", String::as_str);
    // Without Helm the help above is all there is, and that is no failure of --help.
    let _ = std::process::Command::new(helm).args([command.as_str(), "--help"]).status();
    ExitCode::SUCCESS
}

fn complain(message: &str, code: u8) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "helm-guard: error: {}", message.trim_end());
    ExitCode::from(code)
}
