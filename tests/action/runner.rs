//! A copy of this repository as GitHub has it, and act, which runs its example workflow on this machine.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use testbed::{
    recorder::recording,
    runner::{Runner, copy},
    tools::Helm,
};

use crate::stage::Stage;

/// A server of one's own, which nothing here is ever sent to.
pub const SERVER: &str = "https://github.example.com";

/// A workflow that calls the one for recovery, as those of other repositories do.
const CALLER: &str = "
on: {workflow_dispatch: {inputs: {release: {}, namespace: {}, action: {}, strategy: {}}}}
jobs:
  recover:
    uses: ./.github/workflows/recover.yml
    with:
      release: ${{ inputs.release }}
      namespace: ${{ inputs.namespace }}
      action: ${{ inputs.action }}
      strategy: ${{ inputs.strategy }}
    secrets: {KUBECONFIG: '${{ secrets.KUBECONFIG }}'}
";

/// A repository with the action, its binary and the example workflow in it, and a home for the runner.
pub struct Repository {
    directory: TempDir,
    /// The commit that the workflow runs on.
    pub commit: String,
}

impl Repository {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("hg-action-").tempdir().unwrap();
        let (source, root) = (Path::new(env!("CARGO_MANIFEST_DIR")), directory.path().join("repository"));
        for path in ["action.yml", ".github", "tests/charts"] {
            copy(&source.join(path), &root.join(path)).unwrap();
        }
        // act knows neither these properties nor how to check out without a network: it has the repository at hand.
        let recover = root.join(".github/workflows/recover.yml");
        let text = fs::read_to_string(&recover).unwrap();
        let kept: Vec<&str> = text.lines().filter(|line| !line.contains("{{ job.workflow_")).collect();
        assert_eq!(text.lines().count() - kept.len(), 2, "repository and ref of the checkout");
        fs::write(&recover, kept.join("\n") + "\n").unwrap();
        fs::write(root.join(".github/workflows/caller.yml"), CALLER).unwrap();
        fs::create_dir(root.join("dist")).unwrap();
        for arch in ["amd64", "arm64"] {
            let binary = root.join(format!("dist/helm-guard-linux-{arch}"));
            symlink(env!("CARGO_BIN_EXE_helm-guard"), binary).unwrap();
        }
        fs::create_dir(directory.path().join("home")).unwrap();
        let mut repository = Self { directory, commit: String::new() };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository.git(&["add", "--all"]);
        repository.git(&[
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.com",
            "commit",
            "--quiet",
            "-m",
            "All",
        ]);
        repository.git(&["remote", "add", "origin", &format!("{SERVER}/shop/web.git")]);
        repository.git(&["rev-parse", "HEAD"]).trim().clone_into(&mut repository.commit);
        repository
    }

    /// Only what a command needs is in its environment; nothing of this machine's user.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let home = self.directory.path().join("home");
        command.current_dir(self.directory.path().join("repository")).stdin(Stdio::null()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", &home);
        command.env("XDG_CACHE_HOME", home.join("cache")).env("XDG_CONFIG_HOME", home.join("config"));
        // The cluster is here; whoever wants to go further does not get there.
        for scheme in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env(scheme, "http://127.0.0.1:9");
        }
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        command
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = self.command(Path::new("git"));
        let output = git.env("GIT_CONFIG_NOSYSTEM", "1").args(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a workflow of the action's steps, each with these inputs, one after the other, from another directory.
    pub fn steps(&self, stage: &Stage, steps: &[&[(&str, &str)]]) -> Running {
        let root = self.directory.path().join("repository");
        let step = |(number, given): (usize, &&[(&str, &str)])| {
            let with = given.iter().map(|(name, text)| ((*name).to_owned(), Value::from(*text)));
            let mut with: serde_json::Map<String, Value> = with.collect();
            with.insert("kubeconfig".into(), "${{ secrets.KUBECONFIG }}".into());
            with.insert("working-directory".into(), "elsewhere".into());
            let id = format!("step{number}");
            serde_json::json!({"id": id, "uses": "./", "with": with, "continue-on-error": true})
        };
        let mut all = vec![
            serde_json::json!({"uses": "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd"}),
            serde_json::json!({"run": "mkdir elsewhere && ln -s ../tests elsewhere/tests"}),
        ];
        all.extend(steps.iter().enumerate().map(step));
        // JSON is YAML.
        let workflow = serde_json::json!({
            "on": {"workflow_dispatch": {"inputs": {"namespace": {}}}},
            "jobs": {"deploy": {"runs-on": "ubuntu-latest", "steps": all}},
        });
        fs::write(root.join(".github/workflows/inputs.yml"), workflow.to_string()).unwrap();
        self.workflow("inputs", stage, &[])
    }

    /// A Helm that writes down the command lines it has, and its caller's; and where they are.
    pub fn recorder(&self, stage: &Stage) -> (PathBuf, PathBuf) {
        let (helm, records) = (self.directory.path().join("helm"), self.directory.path().join("records"));
        recording(&helm, &stage.helm, &records).unwrap();
        (helm, records)
    }

    /// Starts the example workflow for the stage's namespace.
    pub fn start(&self, stage: &Stage, inputs: &[(&str, &str)]) -> Running {
        let given = [("timeout", "60s")];
        self.workflow("example", stage, &given.iter().chain(inputs).copied().collect::<Vec<_>>())
    }

    /// Starts one of the workflows.
    pub fn workflow(&self, name: &str, stage: &Stage, inputs: &[(&str, &str)]) -> Running {
        let log = self.directory.path().join("log");
        let kubeconfig = fs::read_to_string(stage.namespace.kubeconfig()).unwrap();
        let mut act = self.command(&testbed::tools::act().unwrap());
        act.args(["workflow_dispatch", "--platform=ubuntu-latest=-self-hosted"]);
        act.arg(format!("--workflows=.github/workflows/{name}.yml"));
        act.args(["--json", "--no-cache-server", "--action-offline-mode", "--pull=false", "--actor=ada"]);
        act.arg(format!("--secret=KUBECONFIG={kubeconfig}"));
        let given = [("namespace", stage.namespace.name())];
        for (name, text) in given.iter().chain(inputs) {
            act.arg(format!("--input={name}={text}"));
        }
        for (name, text) in [
            ("HELM_BIN", stage.helm.to_str().unwrap()),
            ("HELM_GUARD_LEASE_DURATION", "2s"),
            ("HELM_GUARD_KEEPALIVE", "1s"),
            ("GITHUB_SERVER_URL", SERVER),
            ("GITHUB_REPOSITORY", "shop/web"),
            ("GITHUB_RUN_ID", "4242"),
            ("GITHUB_RUN_NUMBER", "7"),
            ("GITHUB_RUN_ATTEMPT", "2"),
        ] {
            act.arg(format!("--env={name}={text}"));
        }
        Running { runner: Runner::start(&mut act, log).unwrap() }
    }
}

/// A workflow under way.
pub struct Running {
    runner: Runner,
}

impl Running {
    /// The runner's process.
    pub fn pid(&self) -> u32 {
        self.runner.pid()
    }

    pub fn finish(self) -> Run {
        let (status, log) = self.runner.finish().unwrap();
        let lines =
            log.lines().map(|line| serde_json::from_str(line).unwrap_or(Value::String(line.to_owned())));
        Run { succeeded: status.success(), lines: lines.collect() }
    }
}

/// A workflow that has ended, as the runner logged it.
pub struct Run {
    pub succeeded: bool,
    lines: Vec<Value>,
}

impl Run {
    /// Everything that a person would read.
    pub fn log(&self) -> String {
        let text =
            |line: &Value| line["msg"].as_str().or(line.as_str()).unwrap_or_default().trim_end().to_owned();
        self.lines.iter().map(text).collect::<Vec<_>>().join("\n")
    }

    /// How a step ended; by its id, behind that of the step whose action it is in.
    pub fn step_result(&self, steps: &[&str]) -> &str {
        let of = |line: &&Value| line["stepID"] == serde_json::json!(steps) && line["stage"] == "Main";
        self.lines.iter().filter(of).find_map(|line| line["stepResult"].as_str()).unwrap_or("none")
    }

    /// An output of the action, or the job's.
    pub fn output(&self, name: &str) -> &str {
        let is_it = |line: &&Value| line["command"] == "set-output" && line["name"] == name;
        let steps = [serde_json::json!(["deploy"]), serde_json::json!(["act"])];
        let of_action = |line: &&Value| steps.contains(&line["stepID"]);
        let mut set = self.lines.iter().filter(is_it).filter(of_action);
        set.find_map(|line| line["arg"].as_str()).unwrap_or_default()
    }

    /// The job summary: the parts of all steps.
    pub fn summary(&self) -> String {
        let parts = self.lines.iter().filter(|line| line["command"] == "summary");
        parts.map(|line| line["content"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// What the workflow's last step prints: the outputs of the deploy, and the report.
    pub fn seen_by_the_last_step(&self) -> (Value, Value) {
        let printed =
            self.lines.iter().filter(|line| line["step"] == "What happened" && line["raw_output"] == true);
        let text: String = printed.map(|line| line["msg"].as_str().unwrap()).collect();
        let mut values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        let mut next =
            || values.next().and_then(Result::ok).unwrap_or_else(|| panic!("{text}\n{}", self.log()));
        (next(), next())
    }

    /// Keeps the summary for a person to judge, where `HELM_GUARD_SUMMARIES` says.
    pub fn keep_summary(&self, name: &str, version: Helm) {
        if let Some(directory) = std::env::var_os("HELM_GUARD_SUMMARIES") {
            fs::write(Path::new(&directory).join(format!("{name}-{version:?}.md")), self.summary()).unwrap();
        }
    }
}
