//! Running programs to their end; nothing that knows which programs.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `command` to its end and returns its standard output; its failure is an error that quotes standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {}", name(command)))?;
    checked(command, &output)
}

fn checked(command: &Command, output: &std::process::Output) -> Result<String> {
    if !output.status.success() {
        let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        bail!(
            "{} {} failed ({}): {}",
            name(command),
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Says what takes longer than a second.
pub(crate) fn progress(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "testbed: {message}");
}
