//! Proof that a deploy can work, before anything is repaired for it: Helm reads its flags and renders its chart without
//! the release's state, which a dry run of a stuck release would refuse. Which command lines is decided in `helm.rs`.

use std::{io::Read, os::unix::fs::FileTypeExt};

use super::{
    Run,
    cancel::{End, unless_stopped},
    unusable_helm,
};
use crate::{
    bytes,
    deploy::helm_process,
    diagnose::{self, Snapshot},
    exit,
    helm::{self, Command, Invocation, ValuesFrom, Version},
    manifest::Manifest,
    private_file::InMemory,
    release::{History, Record, Status, codec},
    repair::{Plan, Step},
    report::{Event, Outcome},
    signals::Signals,
};

/// How Helm refused: its exit code and the end of its stderr.
pub(super) type Refusal = (Option<i32>, String);

/// What `helm template` prints.
pub(super) struct Rendered {
    pub(super) text: Vec<u8>,
    /// As an upgrade, not as an install?
    pub(super) upgrade: bool,
}

impl Run<'_> {
    /// A bad flag, chart or value must be found while the records are as they were. Gives what the chart renders to, and
    /// whether as an upgrade, if it was rendered.
    pub(super) async fn prove(
        &self,
        history: &History,
        plan: &Plan,
        signals: &Signals,
    ) -> Result<Option<Rendered>, End> {
        let invocation = &self.invocation;
        let started = self.clock.monotonic();
        let upgrade = invocation.command == Command::Upgrade && !installs_anew(history, plan);
        let once = read_once(invocation);
        let renders = matches!(invocation.command, Command::Upgrade | Command::Install) && once.is_none();
        let base = plan.good.and_then(|good| history.get(good)).or_else(|| history.last());
        let base = base.filter(|_| renders && upgrade && reuses_values(invocation));
        let file = Self::values_file(base)?;
        let path = file.as_ref().map(InMemory::path);
        let flags = helm::flags_argv(invocation);
        let rendered = async {
            let version = self.version().await?;
            let template =
                renders.then(|| helm::template_argv(invocation, &version, upgrade, path.as_deref()));
            self.refusal(template).await
        };
        // Side by side: a red pipeline waits for both.
        let both = async { tokio::join!(self.refusal(flags), rendered) };
        let (flags, template) = unless_stopped(signals, "rendering the chart", both).await?;
        if let Err(refusal) = flags? {
            return Err(self.disproven(refusal, "helm refuses the flags", plan));
        }
        let mut text = None;
        match template? {
            Ok(rendered) => text = Some(rendered),
            Err(refusal) => {
                // With --skip-crds Helm installs none.
                let installs_crds = !upgrade && !invocation.is_set("skip-crds");
                let kinds = helm::unknown_kinds(&refusal.1).filter(|_| installs_crds);
                match kinds {
                    Some(kinds) if self.chart_defines(&kinds, signals).await? => {
                        let names: Vec<String> = kinds.into_iter().map(|(kind, _)| kind).collect();
                        self.reporter.emit(Event::Warning(format!(
                        "the cluster does not know {} yet, so its objects were not validated; the chart's CRDs define it",
                        names.join(", ")
                    )));
                    }
                    _ => return Err(self.disproven(refusal, "the chart does not render", plan)),
                }
            }
        }
        if let Some(source) = once {
            let why = format!("the chart was not rendered before the repair: {source} can be read only once");
            self.reporter.emit(Event::Warning(why));
        }
        if !renders {
            return Ok(None);
        }
        self.reporter.emit(Event::Proven { took: self.clock.monotonic() - started });
        Ok(text.map(|text| Rendered { text, upgrade }))
    }

    /// What the chart renders to, where nothing is to be repaired and no fence sees Helm's own rendering.
    pub(super) async fn render(
        &self,
        history: &History,
        signals: &Signals,
    ) -> Result<Result<Rendered, Refusal>, End> {
        let invocation = &self.invocation;
        let upgrade =
            invocation.command == Command::Upgrade && history.last().is_some_and(|last| !last.is_gone());
        let base = history.deployed().next_back().or_else(|| history.last());
        let base = base.filter(|_| upgrade && reuses_values(invocation));
        let file = Self::values_file(base)?;
        let path = file.as_ref().map(InMemory::path);
        let argv = helm::template_argv(invocation, &self.version().await?, upgrade, path.as_deref());
        let rendered = self.ask(&argv, signals, "rendering the chart").await?;
        Ok(rendered.map(|text| Rendered { text, upgrade }))
    }

    /// The values that an upgrade reuses, as a file that is in memory only.
    fn values_file(base: Option<&Record>) -> Result<Option<InMemory>, End> {
        let Some(values) = base.and_then(values_of) else { return Ok(None) };
        InMemory::new(values.as_bytes()).map(Some).map_err(|error| {
            let reason = format!("nothing was changed: file for the reused values: {error}");
            End::new(Outcome::Refused, exit::REFUSED, reason, &[])
        })
    }

    pub(super) async fn version(&self) -> Result<Version, End> {
        self.version.clone().await.map_err(|why| unusable_helm(&self.request.helm, &why))
    }

    /// Runs Helm to learn whether it refuses; without a command line it has nothing to refuse.
    async fn refusal(&self, argv: Option<Vec<String>>) -> Result<Result<Vec<u8>, Refusal>, End> {
        let Some(argv) = argv else { return Ok(Ok(Vec::new())) };
        let answer = helm_process::quiet(&self.launch, &argv).await;
        answer.map_err(|error| End::unavailable(&error.into(), "check --helm-bin"))
    }

    /// Runs Helm for its answer. An error is a signal, or no Helm.
    async fn ask(
        &self,
        argv: &[String],
        signals: &Signals,
        what: &str,
    ) -> Result<Result<Vec<u8>, Refusal>, End> {
        let answer = unless_stopped(signals, what, helm_process::quiet(&self.launch, argv)).await?;
        answer.map_err(|error| End::unavailable(&error.into(), "check --helm-bin"))
    }

    fn disproven(&self, refusal: Refusal, what: &str, plan: &Plan) -> End {
        self.unrenderable(refusal, &format!("{what}, so nothing was repaired ({})", plan.finding))
    }

    /// The end of a run whose flags or chart Helm does not take.
    pub(super) fn unrenderable(&self, (code, error): Refusal, reason: &str) -> End {
        // Helm's own words, as it would have said them had it been run.
        self.reporter.begin_untrusted();
        let shown = self.reporter.redactor().clean(&error);
        self.reporter.child_line(true, format!("{shown}\n").as_bytes());
        self.reporter.end_untrusted();
        let snapshot = Snapshot {
            command: self.invocation.command.as_str().to_owned(),
            release: self.request.releases().join(" "),
            namespace: self.cluster.namespace.clone(),
            error: error.clone(),
            ..Snapshot::default()
        };
        self.reporter.emit(Event::Disproven { error });
        let code = code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1);
        let mut end =
            End::new(Outcome::Failed, code, reason, &["fix the flags, values or chart and run it again"]);
        let causes = diagnose::causes(&snapshot);
        if !causes.is_empty() {
            end.next.splice(0..0, diagnose::next(&snapshot, &causes));
            self.reporter.emit(Event::Diagnosed { causes, refusals: Vec::new() });
        }
        end
    }

    /// Whether the chart brings these kinds itself: Helm installs its CRDs before it looks at its objects.
    async fn chart_defines(&self, kinds: &[(String, String)], signals: &Signals) -> Result<bool, End> {
        let Some(argv) = helm::show_crds_argv(&self.invocation, &self.version().await?) else {
            return Ok(false);
        };
        let crds = self.ask(&argv, signals, "reading the chart's CRDs").await?;
        let crds = crds.ok().and_then(|text| Manifest::parse(&String::from_utf8_lossy(&text), "").ok());
        Ok(crds.is_some_and(|crds| helm::defines(&crds, kinds)))
    }
}

/// Whether Helm will find no release after the repair, and so install.
fn installs_anew(history: &History, plan: &Plan) -> bool {
    let is_deleted = |record: &Record| {
        plan.steps
            .iter()
            .any(|step| matches!(step, Step::Delete { revision } if *revision == record.revision))
    };
    plan.steps.contains(&Step::Uninstall)
        || plan.installs_over().is_some()
        || history.records.iter().all(is_deleted)
        || history.last().is_some_and(|last| last.status() == Status::Uninstalled)
}

fn values_of(base: &Record) -> Option<String> {
    codec::decode(base.stored.payload()).and_then(|json| codec::config(&json)).ok()
}

/// Whether an upgrade takes the values of its base, now that its files can be looked at.
fn reuses_values(invocation: &Invocation) -> bool {
    match invocation.values_from() {
        ValuesFrom::Line => false,
        ValuesFrom::Release => true,
        ValuesFrom::ReleaseIfEmpty(files) => files.iter().all(|file| holds_no_values(file)),
    }
}

/// Whether a file of values has none in it. One that is large, remote or not YAML is Helm's to judge.
fn holds_no_values(file: &str) -> bool {
    const LIMIT: u64 = 1 << 20;
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(bytes::to_bytes(file))?.take(LIMIT + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let Ok(text) = read() else { return false };
    if text.len() as u64 > LIMIT {
        return false;
    }
    let holds_none = |document: &serde_json::Value| {
        document.is_null() || document.as_object().is_some_and(serde_json::Map::is_empty)
    };
    // Helm 3 reads the first document. Helm 4 reads all of them, and refuses some separators that are valid YAML.
    let mut is_empty = crate::yaml::document(&text).is_ok_and(|first| holds_none(&first));
    let _ = crate::yaml::each_document(&text, |document| {
        is_empty &= holds_none(&document);
        Ok(())
    });
    is_empty
}

/// A source of values that a rendering would use up, so that nothing were left for the deploy: standard input, a pipe
/// as the shell makes it of `<(…)`.
pub(super) fn read_once(invocation: &Invocation) -> Option<String> {
    if invocation.reads_stdin() {
        return Some("standard input".to_owned());
    }
    let is_pipe = |file: &String| {
        std::fs::metadata(bytes::to_bytes(file))
            .is_ok_and(|meta| meta.file_type().is_fifo() || meta.file_type().is_socket())
    };
    invocation.value_sources().into_iter().find(is_pipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_values_is_empty_if_helm_reads_no_key_from_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("values.yaml");
        let name = file.to_str().unwrap();
        for (text, empty) in [
            ("", true),
            ("# only this\n\n", true),
            ("---\n", true),
            ("{}\n", true),
            ("--- {}\n--- # and\n---\n{}\n", true),
            ("null\n", true),
            ("a: null\n", false),
            ("a: {}\n", false),
            ("{}\n---\na: 1\n", false),
            ("[]\n", false),
            ("a: [\n", false),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(holds_no_values(name), empty, "{text:?}");
        }
        std::fs::write(&file, "#".repeat((1 << 20) + 1)).unwrap();
        assert!(!holds_no_values(name), "too large to look at");
        assert!(!holds_no_values("https://example.com/values.yaml"));
        assert!(!holds_no_values(directory.path().to_str().unwrap()));
    }

    #[test]
    fn standard_input_and_pipes_are_named_as_read_once_and_files_are_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let file = file.path().display().to_string();
        let (reader, _writer) = std::io::pipe().unwrap();
        let pipe = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        for (flag, expected) in [
            ("-f=-".to_owned(), Some("standard input".to_owned())),
            (format!("-f={file},{pipe}"), Some(pipe.clone())),
            (format!("--set-file=a={pipe}"), Some(pipe.clone())),
            (format!("-f={file}"), None),
            ("-f=/dev/null".to_owned(), None),
            ("-f=/no/such/file".to_owned(), None),
            (format!("--set=a={pipe}"), None),
        ] {
            let tokens = ["r".to_owned(), "c".to_owned(), flag.clone()];
            let invocation = Invocation::parse(Command::Upgrade, &tokens).unwrap();
            assert_eq!(read_once(&invocation), expected, "{flag}");
        }
    }
}
