//! Reads the workflow's own file from the checkout. What it says is judged in `ci/workflow_lint.rs`.

use std::{
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
};

use super::{
    System, system, workflow_file,
    workflow_lint::{self, Limits},
};
use crate::env::Env;

/// Largest file that is read.
const LARGEST: u64 = 1 << 20;

/// What is odd about the workflow that this deploy runs in. Without a checkout nothing is.
pub fn oddities(env: &Env, limits: &Limits) -> Vec<String> {
    let get = |name: &str| env.get(name).map_or("", String::as_str);
    let file = workflow_file(env);
    let root = match system(env) {
        System::GitHub => get("GITHUB_WORKSPACE"),
        System::GitLab => get("CI_PROJECT_DIR"),
        System::Terminal => "",
    };
    let text = within(root, &file).and_then(|path| read(&path)).unwrap_or_default();
    match system(env) {
        System::GitHub => workflow_lint::github(&file, &text, get("GITHUB_JOB"), limits),
        System::GitLab => {
            workflow_lint::gitlab(&file, &text, get("CI_JOB_NAME"), get("CI_JOB_TIMEOUT"), limits)
        }
        System::Terminal => Vec::new(),
    }
}

/// A path below the checkout and nowhere else.
fn within(root: &str, file: &str) -> Option<PathBuf> {
    let file = Path::new(file);
    let is_below = file.components().all(|part| matches!(part, Component::Normal(_)));
    (!root.is_empty() && !file.as_os_str().is_empty() && is_below).then(|| Path::new(root).join(file))
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_the_checkout_is_read() {
        for (file, inside) in [
            (".github/workflows/a.yml", true),
            ("", false),
            ("../a.yml", false),
            ("/etc/passwd", false),
            ("a/../../b", false),
        ] {
            assert_eq!(within("/checkout", file).is_some(), inside, "{file}");
        }
        assert_eq!(within("", "a.yml"), None);
    }
}
