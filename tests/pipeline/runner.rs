//! A project that includes the component, and gitlab-ci-local, which runs its pipeline on this machine.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use testbed::{
    recorder::{recorded, recording},
    runner::{Runner, copy},
    tools::{self, Helm},
};

use crate::stage::Stage;

/// A project with the component and a chart in it, and a home for the runner.
pub struct Project {
    directory: TempDir,
}

impl Project {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("hg-pipeline-").tempdir().unwrap();
        let (source, root) = (Path::new(env!("CARGO_MANIFEST_DIR")), directory.path().join("project"));
        for path in ["templates/deploy.yml", "tests/charts/web"] {
            copy(&source.join(path), &root.join(path)).unwrap();
        }
        // What the image has in its PATH.
        let bin = directory.path().join("bin");
        for path in [&bin, &directory.path().join("home"), &directory.path().join("tmp")] {
            fs::create_dir(path).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_helm-guard"), bin.join("helm-guard")).unwrap();
        let records = directory.path().join("records");
        for (version, name) in [(Helm::V3, "helm3"), (Helm::V4, "helm4")] {
            recording(&bin.join(name), &tools::helm(version).unwrap(), &records).unwrap();
        }
        Self { directory }
    }

    /// The command lines of runs of one of Helm's commands: of `helm`, or of its `caller`.
    pub fn recorded(&self, command: &str, of: &str) -> Vec<Vec<String>> {
        recorded(&self.directory.path().join("records"), command, of).unwrap()
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    /// Only what a command needs is in its environment; nothing of this machine's user.
    fn command(&self, program: &Path, path: &[PathBuf]) -> Command {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = path.iter().cloned().chain(std::env::split_paths(&inherited));
        let mut command = Command::new(program);
        command.current_dir(self.root()).stdin(Stdio::null()).env_clear();
        command
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("HOME", self.directory.path().join("home"));
        command.env("TMPDIR", self.directory.path().join("tmp"));
        command
    }

    fn git(&self, arguments: &[&str]) {
        let mut git = self.command(Path::new("git"), &[]);
        git.env("GIT_CONFIG_NOSYSTEM", "1").args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]);
        let output = git.args(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts the pipeline: the component with these inputs, and a job after it that tells its outputs.
    pub fn start(&self, stage: &Stage, inputs: &[(&str, &str)]) -> Running {
        self.start_all(stage, &[inputs])
    }

    /// The same with the component included more than once.
    pub fn start_all(&self, stage: &Stage, jobs: &[&[(&str, &str)]]) -> Running {
        let given =
            [("image", "helm-guard"), ("release", "web"), ("chart", "tests/charts/web"), ("timeout", "60s")];
        let include = |inputs: &&[(&str, &str)]| {
            let with = given.iter().chain(*inputs).map(|(name, text)| ((*name).to_owned(), (*text).into()));
            serde_json::json!({"local": "templates/deploy.yml", "inputs": with.collect::<serde_json::Map<_, _>>()})
        };
        let pipeline = serde_json::json!({
            "stages": ["deploy", "after", "last", "later"],
            "include": jobs.iter().map(include).collect::<Vec<_>>(),
            "tell": {
                "stage": "later",
                "script": ["echo \"later: $DEPLOY_OUTCOME at $DEPLOY_REVISION, repaired $DEPLOY_REPAIRED\""],
            },
        });
        // JSON is YAML.
        fs::write(self.root().join(".gitlab-ci.yml"), pipeline.to_string()).unwrap();
        self.git(&["init", "--quiet", "--initial-branch=main"]);
        self.git(&["remote", "add", "origin", "git@gitlab.example.com:shop/web.git"]);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", "All"]);

        let tool = tools::gitlab_ci_local().unwrap();
        let mut runner = self.command(&tool.node, &[self.directory.path().join("bin"), tool.rsync]);
        runner.arg(&tool.script).args(["--force-shell-executor", "--no-shell-isolation"]);
        let temporary = self.directory.path().join("project.tmp");
        let kubeconfig = stage.namespace.kubeconfig().to_str().unwrap();
        for (name, text) in [
            // It says false, so that scripts can tell it from GitLab; helm-guard is to take it for GitLab.
            ("GITLAB_CI", "true"),
            ("KUBECONFIG", kubeconfig),
            // As GitLab's runner sets it: beside the checkout.
            ("RUNNER_TEMP_PROJECT_DIR", temporary.to_str().unwrap()),
            ("HELM_GUARD_LEASE_DURATION", "6s"),
            ("HELM_GUARD_KEEPALIVE", "1s"),
        ] {
            runner.arg("--variable").arg(format!("{name}={text}"));
        }
        let runner = Runner::start(&mut runner, self.directory.path().join("log")).unwrap();
        Running { runner, root: self.root(), temporary }
    }
}

/// A pipeline under way.
pub struct Running {
    runner: Runner,
    root: PathBuf,
    temporary: PathBuf,
}

impl Running {
    pub fn finish(self) -> Run {
        let (status, log) = self.runner.finish().unwrap();
        Run { succeeded: status.success(), log, root: self.root, temporary: self.temporary }
    }
}

/// A pipeline that has ended.
pub struct Run {
    pub succeeded: bool,
    /// What its jobs printed.
    pub log: String,
    root: PathBuf,
    temporary: PathBuf,
}

impl Run {
    /// An artifact, where gitlab-ci-local keeps those of a job.
    fn artifact(&self, name: &str) -> String {
        let kept = self.root.join(".gitlab-ci-local/artifacts/deploy");
        let places = [kept.join(name), kept.join(".gitlab-ci-reports/dotenv").join(name)];
        let found = places.iter().find_map(|path| fs::read_to_string(path).ok());
        found.unwrap_or_else(|| panic!("no artifact {name}: {}", self.log))
    }

    /// The report.
    pub fn report(&self) -> Value {
        serde_json::from_str(&self.artifact("helm-guard-web.json")).unwrap()
    }

    /// The summary, Markdown.
    pub fn summary(&self) -> String {
        self.artifact("helm-guard-web.md")
    }

    /// The outputs.
    pub fn dotenv(&self) -> String {
        self.artifact("helm-guard-web.env")
    }

    /// What helm-guard left in the runner's directory, but for backups, which are to outlast the job.
    pub fn left_over(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.temporary) else { panic!("the directory was not used") };
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("helm-guard") && name != "helm-guard-backups").collect()
    }
}
