//! `action`: the main step of the action, which becomes the command that the inputs ask for.

use std::{io::Write, os::unix::process::CommandExt};

use super::session::{complain, misused};
use crate::{
    ci::{self, System},
    cli::action_inputs::{self, Call},
    clock::Clock,
    env::{ACTION_INPUT, CI_TOKEN, Env},
    exit, id, private_file,
    text::{inert_line, workflow_value},
};

/// Replaces this process by the command, under the same process id, so that the runner's signals arrive. What the inputs
/// say is not in its environment any more, nor in that of Helm. Gives the exit code when that cannot be done.
pub fn action(env: &Env, clock: Clock) -> u8 {
    let call = match action_inputs::read(env, &id::random()) {
        Ok(call) => call,
        Err(error) => return misused("deploy", &error, env, clock),
    };
    match become_it(&call, env) {
        Ok(never) => match never {},
        Err(error) => complain(&error, exit::UNAVAILABLE),
    }
}

fn become_it(call: &Call, env: &Env) -> Result<std::convert::Infallible, String> {
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
    for name in env.keys().filter(|name| name.starts_with(ACTION_INPUT)) {
        next.env_remove(name);
    }
    if let Some(token) = &call.token {
        next.env(CI_TOKEN, token);
    }
    Err(next.exec().to_string())
}
