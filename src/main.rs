//! The process: environment, arguments and signals in; exit code out.

use std::{
    ffi::OsString, io::IsTerminal, os::unix::process::CommandExt, process::ExitCode, sync::Arc,
    time::Duration,
};

use clap::Parser;
use helm_guard::{
    backup, bytes,
    ci::{self, System, checkout},
    cli::{
        self, Cli,
        action_inputs::{self, Call},
    },
    clock::Clock,
    commands::repair::{self, Walk},
    deploy,
    env::Env,
    exit,
    helm::{Command, gc_tuning::Decided, launch::Launch, terminal},
    private_file,
    report::{
        Event, Outcome, Subject, json,
        reporter::{Reporter, Sinks},
    },
    request::Request,
    signals::{self, Signals},
    supervise,
    text::{inert_line, workflow_value},
};

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == terminal::EXEC_HELM) {
        return complain(&terminal::become_program(std::env::args_os().skip(2)), exit::UNAVAILABLE);
    }
    signals::hold_back();
    if std::process::id() == 1 {
        return match supervise::supervise(std::env::args_os().skip(1)) {
            Ok(code) => ExitCode::from(code),
            Err(error) => complain(&format!("cannot start as process 1: {error}"), exit::UNAVAILABLE),
        };
    }
    let clock = Clock::start();
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    let env: Env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let argv: Vec<String> = std::env::args_os().skip(1).map(|arg| bytes::to_text(&arg)).collect();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}"), exit::UNAVAILABLE),
    };
    let command = argv.first().and_then(|word| Command::parse(word));
    if argv.first().is_some_and(|word| word == "check") && !asks_for_help(&argv) {
        let code = runtime.block_on(check(&argv[1..], &env, clock));
        runtime.shutdown_timeout(Duration::from_millis(100));
        return code;
    }
    if command.is_none() {
        // The others listen when they have something to set right; until then a signal just ends them.
        signals::let_come();
    }
    let code = match command {
        Some(command) => runtime.block_on(helm_command(command, &argv[1..], &env, clock)),
        None => match Cli::try_parse_from(own_argv(&argv, &env)) {
            Ok(Cli { command: cli::Command::Action }) => action(&env, clock),
            Ok(Cli { command: cli::Command::Unlock(args) }) => {
                runtime.block_on(helm_guard::commands::unlock::unlock(&args, &env, &host(), clock)).into()
            }
            Ok(Cli { command: cli::Command::Status(args) }) => {
                runtime.block_on(helm_guard::commands::status::status(&args, &env, clock)).into()
            }
            Ok(Cli { command: cli::Command::Backup(args) }) => {
                runtime.block_on(backup::act::backup(&args, &env)).into()
            }
            Ok(Cli { command: cli::Command::History(args) }) => {
                runtime.block_on(helm_guard::commands::status::history(&args, &env)).into()
            }
            Ok(Cli { command: cli::Command::Diagnose(args) }) => {
                runtime.block_on(helm_guard::commands::diagnose::diagnose(&args, &env)).into()
            }
            Ok(Cli { command: cli::Command::Repair(args) }) if args.dry_run => {
                runtime.block_on(helm_guard::commands::status::dry_run(&args, &env, clock)).into()
            }
            Ok(Cli { command: cli::Command::Repair(args) }) => runtime.block_on(repair(&args, &env, clock)),
            Ok(Cli { command: cli::Command::Lock(command) }) => {
                runtime.block_on(helm_guard::commands::lock::command(&command, &env, &host(), clock)).into()
            }
            // Restore and settle are the only other commands that clap reads itself.
            Ok(cli) => {
                runtime.block_on(helm_guard::deploy::journal::run(cli.command, &env, &host(), clock)).into()
            }
            Err(error) => {
                let code = if error.use_stderr() { exit::USAGE } else { 0 };
                let _ = error.print();
                ExitCode::from(code)
            }
        },
    };
    // Helms that are not needed any more are killed. A question at a terminal that nobody answers any more must not keep
    // the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// With the flags that variables give. As the system gave it: a name of a file may be no UTF-8.
fn own_argv(argv: &[String], env: &Env) -> Vec<OsString> {
    let (words, flags) = cli::from_variables(argv, env);
    let mut typed: Vec<OsString> = std::env::args_os().collect();
    let behind = (1 + words).min(typed.len());
    typed.splice(behind..behind, flags.into_iter().map(OsString::from));
    typed
}

fn host() -> String {
    nix::unistd::gethostname().map(|host| host.to_string_lossy().into_owned()).unwrap_or_default()
}

async fn helm_command(command: Command, tokens: &[String], env: &Env, clock: Clock) -> ExitCode {
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return complain(&format!("cannot listen for signals: {error}"), exit::UNAVAILABLE),
    };
    signals::let_come();
    if asks_for_help(tokens) {
        return help(command, env);
    }
    let mut request = match Request::parse(command, tokens, env, &host()) {
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
    guarded(&request, env, clock, signals).await.into()
}

fn asks_for_help(tokens: &[String]) -> bool {
    tokens.iter().take_while(|token| *token != "--").any(|token| token == "--help" || token == "-h")
}

/// The preflight without a deploy.
async fn check(tokens: &[String], env: &Env, clock: Clock) -> ExitCode {
    let (request, json) = match Request::check(tokens, env, &host()) {
        Ok(checked) => checked,
        Err(error) => return misused("check", &error, env, clock),
    };
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return complain(&format!("cannot listen for signals: {error}"), exit::UNAVAILABLE),
    };
    signals::let_come();
    let reporter = reporter(&request, env, clock);
    let code = deploy::deploy(&request, &reporter, clock, signals).await;
    if json {
        use std::io::Write;
        let _ = std::io::stdout().write_all(json::render(&reporter.summary()).as_bytes());
    }
    code.into()
}

/// A repair without a deploy, of one release or of one after the other.
async fn repair(args: &cli::Repair, env: &Env, clock: Clock) -> ExitCode {
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return complain(&format!("cannot listen for signals: {error}"), exit::UNAVAILABLE),
    };
    if !repair::is_wanted(args) {
        return match Request::repair(args, env, &host()) {
            Ok(request) => guarded(&request, env, clock, signals).await.into(),
            Err(error) => misused("repair", &error, env, clock),
        };
    }
    let mut walk = match Walk::begin(args, env, clock, signals.clone()).await {
        Ok(walk) => walk,
        Err(code) => return code.into(),
    };
    while let Some(chosen) = walk.next().await {
        let code = match Request::repair(&chosen, env, &host()) {
            Ok(request) => guarded(&request, env, clock, signals.clone()).await,
            Err(error) => return misused("repair", &error, env, clock),
        };
        walk.done(code);
    }
    walk.code().into()
}

async fn guarded(request: &Request, env: &Env, clock: Clock, signals: Signals) -> u8 {
    let reporter = reporter(request, env, clock);
    deploy::deploy(request, &reporter, clock, signals).await
}

fn reporter(request: &Request, env: &Env, clock: Clock) -> Arc<Reporter> {
    let run = &request.guard.run;
    let sinks = Sinks {
        report_file: run.report.clone(),
        summary_file: run.summary.clone(),
        dotenv: run.dotenv.clone(),
        ..sinks(env)
    };
    Arc::new(Reporter::new(sinks, clock))
}

/// The action's main step: this process becomes the one that the inputs ask for, under the same process id, so that the
/// runner's signals arrive. What the inputs say is not in its environment any more, nor in that of Helm.
fn action(env: &Env, clock: Clock) -> ExitCode {
    let mut id = [0; 4];
    let _ = getrandom::fill(&mut id);
    let call = match action_inputs::read(env, &helm_guard::id::hex(&id)) {
        Ok(call) => call,
        Err(error) => return misused("deploy", &error, env, clock),
    };
    match become_it(&call, env) {
        Ok(never) => match never {},
        Err(error) => complain(&error, exit::UNAVAILABLE),
    }
}

fn become_it(call: &Call, env: &Env) -> Result<std::convert::Infallible, String> {
    use std::io::Write;
    if let Some(directory) = ci::job_directory(env) {
        let at = |error| format!("directory {}: {error}", directory.display());
        private_file::directory(&directory).map_err(at)?;
    }
    if let Some(file) = &call.kubeconfig {
        let at = |error| format!("kubeconfig {}: {error}", file.path.display());
        private_file::create(&file.path, file.text.as_bytes()).map_err(at)?;
    }
    let mut out = std::io::stdout();
    if ci::system(env) == System::GitHub {
        for mask in &call.masks {
            let _ = writeln!(out, "::add-mask::{}", workflow_value(mask));
        }
    }
    for note in &call.notes {
        let _ = writeln!(std::io::stderr(), "helm-guard: {}", inert_line(note));
    }
    let program = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    let mut next = std::process::Command::new(program);
    next.args(&call.argv);
    for name in env.keys().filter(|name| name.starts_with(helm_guard::env::ACTION_INPUT)) {
        next.env_remove(name);
    }
    if let Some(token) = &call.token {
        next.env(helm_guard::env::CI_TOKEN, token);
    }
    Err(next.exec().to_string())
}

/// Input that cannot be meant. On GitHub it is reported like any other refusal, for the later steps and the summary.
fn misused(command: &str, error: &str, env: &Env, clock: Clock) -> ExitCode {
    if ci::system(env) != System::GitHub {
        return complain(error, exit::USAGE);
    }
    let reporter = Reporter::new(sinks(env), clock);
    reporter.emit(Event::Started(Subject {
        command: command.to_owned(),
        owner: ci::owner(env, ""),
        ..Subject::default()
    }));
    reporter.emit(Event::Finished {
        outcome: Outcome::Refused,
        reason: error.trim_end().to_owned(),
        next: Vec::new(),
        exit_code: exit::USAGE,
    });
    ExitCode::from(exit::USAGE)
}

fn sinks(env: &Env) -> Sinks {
    let system = ci::system(env);
    let github = system == System::GitHub;
    // One that cannot be drawn on gets lines, as a file does.
    let terminal = std::io::stderr().is_terminal() && helm_guard::ci::terminal::draws(env);
    let file = |name: &str| env.get(name).filter(|path| !path.is_empty()).map(Into::into);
    let mut delimiter = [0; 16];
    let _ = getrandom::fill(&mut delimiter);
    Sinks {
        color: terminal && helm_guard::ci::terminal::colors(env),
        terminal,
        github,
        gitlab: system == System::GitLab,
        report_file: None,
        summary_file: None,
        dotenv: None,
        step_summary: file("GITHUB_STEP_SUMMARY"),
        github_output: file("GITHUB_OUTPUT"),
        delimiter: helm_guard::id::hex(&delimiter),
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
    let launch = Launch { helm: helm.into(), memory: Decided::of(env), ..Launch::default() };
    let _ = launch.alone(&[command.as_str().to_owned(), "--help".to_owned()]).status();
    ExitCode::SUCCESS
}

fn complain(message: &str, code: u8) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(
        std::io::stderr(),
        "helm-guard: error: {}",
        message.trim_start_matches("error: ").trim_end()
    );
    ExitCode::from(code)
}
