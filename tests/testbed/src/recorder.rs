//! What command lines a runner's job ends up with: a Helm that writes down its own, and that of whoever runs it, and goes on
//! as the real one.

use std::{
    fs,
    io::Result,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Inputs of a deploy of the chart of all stories, each with a text of its own, whose place on the command line is
/// [`flag`]: of the action and of the component alike.
pub const INPUTS: [(&str, &str); 33] = [
    ("version", "1.0.0"),
    ("values", "tests/charts/web/values.yaml"),
    ("set", "env.SET=a1"),
    ("set-string", "env.TEXT=2"),
    ("set-file", "env.FILE=tests/charts/web/Chart.yaml"),
    ("set-json", "env.JSON=\"b3\""),
    ("set-literal", "env.LITERAL=c,{4}"),
    ("install", "true"),
    ("create-namespace", "true"),
    ("wait", "true"),
    ("wait-for-jobs", "true"),
    ("timeout", "61s"),
    ("rollback-on-failure", "true"),
    ("cleanup-on-fail", "true"),
    ("history-max", "7"),
    ("kube-context", "CONTEXT"),
    ("lock", "on"),
    ("lock-name", "of-inputs"),
    ("lock-timeout", "62s"),
    ("lease-duration", "7s"),
    ("fence", "on"),
    ("outdated", "allow"),
    ("preflight", "warn"),
    ("recreate-statefulsets", "true"),
    ("repair", "mark-failed"),
    ("backup-dir", "kept"),
    ("backup-keep", "8"),
    ("backup-redact", "true"),
    ("keepalive", "9s"),
    ("stop-timeout", "3s"),
    ("chart", "tests/charts/web"),
    ("args", "--description 'in two words'"),
    ("release", "web"),
];

/// What the command line has of an input.
pub fn flag(name: &str, text: &str) -> String {
    const SWITCHES: [&str; 6] =
        ["install", "create-namespace", "wait", "wait-for-jobs", "rollback-on-failure", "cleanup-on-fail"];
    match name {
        "chart" | "release" => text.to_owned(),
        "args" => text.rsplit_once(" '").map_or("", |(_, rest)| rest).trim_end_matches('\'').to_owned(),
        name if SWITCHES.contains(&name) => format!("--{name}"),
        name => format!("--{name}={text}"),
    }
}

/// What of these inputs a command line has not.
pub fn missing(line: &[String], given: &[(&str, &str)]) -> Vec<String> {
    let flags = given.iter().map(|(name, text)| flag(name, text));
    flags.filter(|flag| !line.contains(flag)).collect()
}

/// Puts a Helm at `path` that is `real`, and writes to `records` before.
///
/// # Errors
/// When a file cannot be written.
pub fn recording(path: &Path, real: &Path, records: &Path) -> Result<()> {
    fs::create_dir_all(records)?;
    let (records, real) = (records.display(), real.display());
    // Whoever runs it may be gone; a variable of its environment is written down by its name only.
    let script = format!(
        "#!/bin/sh\nat='{records}'/\"$1\"-$$\n\
         printf '%s\\n' \"$@\" > \"$at.helm\"\n\
         {{ tr '\\0' '\\n' < /proc/$PPID/cmdline; tr '\\0' '\\n' < /proc/$PPID/environ | sed -n 's/^\\(HELM_GUARD_[A-Z_]*\\)=.*/\\1/p'; readlink /proc/$PPID/cwd; }} > \"$at.caller\"\n\
         exec '{real}' \"$@\"\n"
    );
    fs::write(path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// What was written down of runs of a Helm command, by `helm` or its `caller`: the words of each; a caller's variables, by name,
/// and its directory are words too.
///
/// # Errors
/// When a file cannot be read.
pub fn recorded(records: &Path, command: &str, of: &str) -> Result<Vec<Vec<String>>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(records)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_>>()?;
    files.sort();
    let is_it = |file: &&PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(&format!("{command}-")) && name.ends_with(&format!(".{of}"))
    };
    let words = |file: &PathBuf| Ok(fs::read_to_string(file)?.lines().map(str::to_owned).collect());
    files.iter().filter(is_it).map(words).collect()
}
