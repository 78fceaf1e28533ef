//! When a deploy runs the preflight, and what follows from its findings.
//!
//! Helm says itself what it is about to do: its first write of a deploy is the new release's record, with the whole manifest in
//! it. The fence holds that one request until the API server was asked about all objects; if it is bound to refuse one, the
//! record is refused, and nothing is changed. So the deploy costs no second rendering, and what is judged is what would have
//! been applied: random values, `lookup`, post-renderers and values from a pipe included. A stuck release is rendered before
//! its repair anyway; there that text is judged, before the repair. Without the fence, and
//! where records are in a database, to which Helm speaks itself, the chart is rendered for it.

use super::verdict::{Judged, Known, Past, Set};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use super::{
    Run,
    cancel::{End, in_time, unless_stopped},
    leftovers::everything,
    prepared::Prepared,
    render::{Rendered, read_once},
};
use crate::release::rendered::manifest_of;
use crate::{
    cli::Preflight,
    clock::Clock,
    cluster::Cluster,
    deploy::helm_process,
    exit,
    fence::admission::Inspector,
    health,
    helm::{self, Command, Invocation, Major, Version},
    manifest::Manifest,
    preflight::{
        Finding,
        assess::{self, Found},
        crds,
        deploy::Deploy,
        helm_request::{Apply, Manner},
        lint, part, records,
        references::look,
        rights::Records,
        timeouts::{Patience, Until},
    },
    redact::Secrets,
    release::{self, History, Record, Status, codec},
    repair::{self, Plan, Step},
    report::{Event, Outcome, reporter::Reporter},
    request::{Request, Task},
    signals::Signals,
};

/// Why the preflight ends a run: for these findings.
pub(super) fn refusal(stopping: &[Finding]) -> End {
    let next: Vec<&str> = stopping.iter().flat_map(|finding| &finding.remedy).map(String::as_str).collect();
    End::new(Outcome::Refused, exit::REFUSED, sentence(stopping), &next)
}

/// Those of the findings for which a deploy is refused.
fn stopping(findings: &[Finding], mode: Preflight) -> Vec<Finding> {
    let stops = |finding: &&Finding| match mode {
        Preflight::Enforce => finding.is_certain(),
        Preflight::Strict => finding.weight.stops_strict(),
        Preflight::Warn | Preflight::Off => false,
    };
    findings.iter().filter(stops).cloned().collect()
}

fn sentence(certain: &[Finding]) -> String {
    let more = match certain.len() {
        0 | 1 => String::new(),
        2 => " (and one more finding)".to_owned(),
        count => format!(" (and {} more findings)", count - 1),
    };
    let first = certain.first().map(|first| first.sentence()).unwrap_or_default();
    let why = match certain.first().map(|first| first.id) {
        Some("timeout-too-short") => "helm would stop waiting for it",
        Some("right-missing") => "a right is missing",
        Some("record-too-large") => "the record would not fit",
        _ => "the API server would refuse it",
    };
    format!("{why}: {first}{more}")
}

/// Everything that judging needs, for a task of its own.
#[derive(Clone)]
struct Judge {
    cluster: Cluster,
    reporter: Arc<Reporter>,
    clock: Clock,
    mode: Preflight,
    judged: Arc<Judged>,
}

impl Judge {
    /// Asks, and tells what was found. An error is what the deploy is refused for.
    async fn judge(&self, deploy: &Deploy) -> Result<Vec<Set>, Vec<Finding>> {
        let started = self.clock.monotonic();
        let found = assess::assess(&self.cluster, deploy).await;
        self.tell(deploy, found, self.clock.monotonic() - started)
    }

    fn tell(&self, deploy: &Deploy, found: Found, took: Duration) -> Result<Vec<Set>, Vec<Finding>> {
        let Found { findings, sets, ailing, open, present, appeared } = found;
        let stopping = stopping(&findings, self.mode);
        // Of a first install nothing lives yet.
        if !deploy.before.objects.is_empty() {
            let fared = health::worst(0, ailing);
            *self.judged.fared.lock().unwrap_or_else(PoisonError::into_inner) = Some(fared.clone());
            self.reporter.emit(Event::FaredBefore(fared));
        }
        *self.judged.appeared.lock().unwrap_or_else(PoisonError::into_inner) = appeared;
        *self.judged.present.lock().unwrap_or_else(PoisonError::into_inner) = present;
        *self.judged.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
        self.reporter.emit(Event::Foreseen { findings, took, refuses: !stopping.is_empty() });
        if !stopping.is_empty() {
            return Err(stopping);
        }
        Ok(if deploy.recreates { sets } else { Vec::new() })
    }

    /// For what Helm rendered: a text that cannot be read is not judged. Nor are hooks that will not run.
    fn parse(&self, text: &str, upgrade: bool, runs_hooks: bool) -> Option<(Manifest, Manifest)> {
        let events = if upgrade { ["pre-upgrade", "post-upgrade"] } else { ["pre-install", "post-install"] };
        match Manifest::parse(text, &self.cluster.namespace) {
            Ok(all) => {
                let mut secrets = Secrets::default();
                all.objects.iter().for_each(|(_, object)| secrets.add_object(object));
                self.reporter.learn(&secrets);
                let (objects, hooks) = part(all, events);
                Some((objects, if runs_hooks { hooks } else { Manifest::default() }))
            }
            Err(why) => {
                self.reporter
                    .emit(Event::Warning(format!("the preflight was left out: the manifest is {why}")));
                None
            }
        }
    }
}

impl Run<'_> {
    fn judge(&self) -> Judge {
        Judge {
            cluster: self.cluster.clone(),
            reporter: self.reporter.clone(),
            clock: self.clock,
            mode: self.request.guard.preflight,
            judged: self.judged.clone(),
        }
    }

    /// Where nothing is to be repaired: at Helm's first write if there is a fence, else now.
    pub(super) async fn foresee_unrepaired(
        &self,
        release: &str,
        history: &History,
        mended: &mut Prepared<'_>,
        signals: &Signals,
    ) -> Result<(), End> {
        if !is_wanted(self.request) {
            return Ok(());
        }
        // Helm writes rows into a database itself: no fence sees them.
        if self.fence.is_some() && !self.is_in_sql() {
            let findings = self.of_history(history);
            mended.known = Some(Known { past: self.past(history), findings });
            return Ok(());
        }
        if let Some(source) = read_once(&self.invocation) {
            let why = format!(
                "the preflight was left out: {source} can be read only once, and no fence sees helm's record"
            );
            self.reporter.emit(Event::Warning(why));
            return Ok(());
        }
        // What Helm refuses it says itself.
        if let Ok(rendered) = self.render(history, signals).await? {
            let known = self.of_history(history);
            mended.sets = self.foresee(release, &rendered, history, (None, known), signals).await?;
        }
        Ok(())
    }

    /// What the limit of the history does to the release. A repair would keep its last good revision.
    fn of_history(&self, history: &History) -> Vec<Finding> {
        let is_kept = self.request.guard.repair != repair::Strategy::Off;
        let max = self.request.history_max;
        records::last_good_goes(history, max).filter(|_| !is_kept).into_iter().collect()
    }

    /// What Helm's own linter says of a chart that is here. For a check alone: it costs a Helm process, as much as a whole
    /// deploy without changes, and nothing that it finds is certain to fail.
    async fn lint(&self, signals: &Signals) -> Result<Vec<Finding>, End> {
        let here = self.invocation.chart().filter(|chart| std::path::Path::new(chart).exists());
        let argv = helm::lint_argv(&self.invocation, &self.version().await?);
        let (Some(chart), Some(argv), None) = (here, argv, read_once(&self.invocation)) else {
            return Ok(Vec::new());
        };
        let printed = helm_process::printed(&self.launch, &argv);
        let printed = unless_stopped(signals, "linting the chart", printed).await?;
        Ok(lint::findings(&printed.unwrap_or_default(), chart))
    }

    /// The preflight alone.
    pub(super) async fn check(&self, signals: &Signals) -> Result<End, End> {
        let release = self.request.releases().remove(0);
        let history = unless_stopped(signals, "reading the records", self.store.history(&release)).await?;
        let history = history.map_err(|error| self.no_records(&release, error))?;
        if let Some(last) = history.last() {
            self.reporter.learn(&last.given());
        }
        self.reporter.emit(Event::Looked(history.rows()));
        let (rendered, linted) = tokio::try_join!(self.render(&history, signals), self.lint(signals))?;
        let known = [self.of_history(&history), linted].concat();
        match rendered {
            Ok(rendered) => {
                drop(self.foresee(&release, &rendered, &history, (None, known), signals).await?);
            }
            Err(refusal) => return Err(self.unrenderable(refusal, "helm cannot render the chart")),
        }
        Ok(End::new(Outcome::Healthy, 0, "", &[]))
    }

    /// What counts of the history for a deploy that starts now.
    fn past(&self, history: &History) -> Past {
        let base = history.deployed().next_back().or_else(|| history.last());
        let last = history.last().map(|last| last.revision);
        let good = history.last_good().map(|good| good.revision);
        let was_server_side =
            |record: &Record| record.body.as_ref().is_ok_and(|body| body.apply_method == "ssa");
        Past {
            before: self.in_force(history),
            is_good: good.is_some() && good == last,
            was_server_side: base.is_some_and(was_server_side),
            next: last.map_or(1, |last| last + 1),
            pruned: records::pruned(history, self.request.history_max),
        }
    }

    /// What Helm takes for the manifest in force; where nothing is deployed, all that revisions since may have left.
    fn in_force(&self, history: &History) -> Manifest {
        let manifest = |record: &Record| manifest_of(record, &self.cluster.namespace);
        match history.deployed().next_back().or_else(|| history.last()).filter(|record| !record.is_gone()) {
            Some(record) => manifest(record),
            None => Manifest::default(),
        }
    }

    /// What Helm will take for it after a repair: a dead record is lent more than it has, or is the one in force.
    fn in_force_after(&self, plan: &Plan, history: &History) -> Manifest {
        let base = plan.steps.iter().find_map(|step| match step {
            Step::Lend { union_of, .. } => Some(union_of.clone()),
            Step::SetAside { of, .. } => Some(of.clone()),
            Step::Mark { revision, status: Status::Deployed, .. } => Some(vec![*revision]),
            _ => None,
        });
        base.map_or_else(|| self.in_force(history), |revisions| self.union(history, &revisions))
    }

    /// The same where the deploy that will repair it is only thought of: a dead record is lent all since the last good one.
    fn in_force_if_repaired(&self, history: &History) -> Manifest {
        if !history.last().is_some_and(|last| last.status().is_pending()) {
            return self.in_force(history);
        }
        let good = history.last_good().map_or(0, |good| good.revision);
        let since = history.records.iter().map(|record| record.revision).filter(|revision| *revision >= good);
        self.union(history, &since.collect::<Vec<_>>())
    }

    /// Hooks of a dead first install are deleted before Helm creates them again (`leftovers.rs`): they are not in its way.
    fn add_hooks_that_go(&self, before: &mut Manifest, plan: Option<&Plan>, history: &History) {
        let is_dead = |last: &Record| last.status().is_pending() || last.is_set_aside();
        let is_dead_install = history.last_good().is_none() && history.last().is_some_and(is_dead);
        let revisions: Vec<u32> = match plan {
            Some(plan) => plan.installs_over().unwrap_or_default().to_vec(),
            None if is_dead_install => history.records.iter().map(|record| record.revision).collect(),
            None => Vec::new(),
        };
        for record in revisions.iter().filter_map(|revision| history.get(*revision)) {
            let all = everything(record, &self.cluster.namespace).unwrap_or_default();
            for (key, object) in all.objects {
                if !before.contains(&key) {
                    before.objects.push((key, object));
                }
            }
        }
    }

    pub(super) fn union(&self, history: &History, revisions: &[u32]) -> Manifest {
        let records = revisions.iter().filter_map(|revision| history.get(*revision));
        let manifests: Vec<Manifest> =
            records.map(|record| manifest_of(record, &self.cluster.namespace)).collect();
        Manifest::union(&manifests.iter().collect::<Vec<_>>())
    }

    /// Judges a rendered chart before anything is changed, a repair too. Gives the StatefulSets that are to be made anew.
    pub(super) async fn foresee(
        &self,
        release: &str,
        rendered: &Rendered,
        history: &History,
        (plan, known): (Option<&Plan>, Vec<Finding>),
        signals: &Signals,
    ) -> Result<Vec<Set>, End> {
        let judge = self.judge();
        if !is_wanted(self.request) {
            return Ok(Vec::new());
        }
        let Some((mut manifest, hooks)) = judge.parse(
            &String::from_utf8_lossy(&rendered.text),
            rendered.upgrade,
            runs_hooks(&self.invocation),
        ) else {
            return Ok(Vec::new());
        };
        if self.request.task == Task::Check && self.invocation.create_namespace() && !rendered.upgrade {
            let namespace =
                format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}", self.cluster.namespace);
            manifest.objects.extend(Manifest::parse(&namespace, "").unwrap_or_default().objects);
        }
        let version = self.version().await?;
        let server_side = self.applies_on_the_server(&version, rendered.upgrade, history);
        let past = self.past(history);
        let mut before = match plan {
            Some(plan) => self.in_force_after(plan, history),
            None => self.in_force_if_repaired(history),
        };
        self.add_hooks_that_go(&mut before, plan, history);
        let is_repaired = plan.is_some() || history.last().is_some_and(|last| last.status().is_pending());
        let past = Past {
            before,
            is_good: past.is_good && !is_repaired,
            next: if is_repaired && !rendered.upgrade { 1 } else { past.next },
            pruned: if is_repaired { Vec::new() } else { past.pruned },
            ..past
        };
        let kind = Kind { installs: !rendered.upgrade, server_side, major: version.major };
        let mut deploy = Deploy {
            recreates: self.request.guard.recreate_statefulsets,
            ..planned(&self.invocation, release, kind, past, self.of_records())
        };
        (deploy.namespace, deploy.manifest, deploy.hooks) = (self.cluster.namespace.clone(), manifest, hooks);
        deploy.known = known;
        let started = self.clock.monotonic();
        let asking = assess::assess(&self.cluster, &deploy);
        let mut found = unless_stopped(signals, "asking the API server", asking).await?;
        // Nothing is refused for a field that Helm will render otherwise.
        if found.findings.iter().any(Finding::is_certain) {
            deploy.varying = self.varying(rendered, history, &deploy, signals).await?;
            if !deploy.varying.is_empty() {
                let asking = assess::assess(&self.cluster, &deploy);
                found = unless_stopped(signals, "asking the API server", asking).await?;
            }
        }
        let judged = judge.tell(&deploy, found, self.clock.monotonic() - started);
        judged.map_err(|stopping| refusal(&stopping))
    }

    /// Is it a Helm that applies on the server's side, and will it?
    fn applies_on_the_server(&self, version: &Version, upgrade: bool, history: &History) -> bool {
        let last = history.last().and_then(|last| last.body.as_ref().ok());
        let was_server_side = last.is_some_and(|last| last.apply_method == "ssa");
        version.major == Major::V4
            && match self.invocation.server_side() {
                Some("true") => true,
                Some("false") => false,
                _ => !upgrade || was_server_side,
            }
    }

    /// How Helm will write the objects that live when it installs.
    pub(super) async fn install_applies(&self, history: &History) -> Result<Apply, End> {
        let version = self.version().await?;
        Ok(apply(&self.invocation, self.applies_on_the_server(&version, false, history)))
    }

    /// Which objects are the records; empty where they are rows.
    fn of_records(&self) -> &'static str {
        if self.is_in_sql() { "" } else { self.request.storage.driver().resource() }
    }

    /// The last before Helm starts.
    pub(super) async fn ready(
        &self,
        plans: &mut [(String, Prepared<'_>)],
        signals: &Signals,
    ) -> Result<(), End> {
        for (release, mended) in plans {
            if let (Some(fence), Some(known)) = (&self.fence, mended.known.take()) {
                self.judged.awaited.store(true, Ordering::Relaxed);
                if known.past.next == 1 {
                    fence.list_names(&self.cluster.namespace);
                }
                fence.inspect(self.inspector(release, known, signals));
            }
            let recreated = self.recreator(signals).recreate(std::mem::take(&mut mended.sets)).await;
            recreated.map_err(|why| {
                End::new(Outcome::Refused, exit::REFUSED, why, &["run the same command again"])
            })?;
        }
        Ok(())
    }

    /// Looks at what Helm is about to do when it says so.
    fn inspector(&self, release: &str, known: Known, signals: &Signals) -> Inspector {
        let (judge, recreator) = (self.judge(), self.recreator(signals));
        let (release, judged) = (release.to_owned(), self.judged.clone());
        let invocation = self.invocation.clone();
        let recreates = self.request.guard.recreate_statefulsets;
        let records = self.of_records();
        let started: Vec<_> = self.locks.iter().map(super::lease::Held::starter).collect();
        Inspector(Box::new(move |payload, absent| {
            Box::pin(async move {
                let read = codec::decode(&payload).and_then(|json| Ok((codec::planned(&json)?, json)));
                let (planned, json) = match read {
                    Ok(read) => read,
                    Err(why) => {
                        let why = format!("the preflight was left out: helm's record cannot be read: {why}");
                        judge.reporter.emit(Event::Warning(why));
                        alone(&judge.cluster, &absent).await?;
                        started.iter().for_each(|start| start());
                        return Ok(BTreeMap::new());
                    }
                };
                judge.reporter.learn(&release::secrets::of_config(&json));
                let Known { past, mut findings } = known;
                findings.extend(records::size(&format!("the record of {release}"), payload.len(), &json));
                let major = if planned.is_v4 { Major::V4 } else { Major::V3 };
                let read = judge.parse(&planned.manifest, !planned.installs, runs_hooks(&invocation));
                if let Some((manifest, hooks)) = read {
                    let kind = Kind { installs: planned.installs, server_side: planned.server_side, major };
                    let deploy = Deploy {
                        namespace: judge.cluster.namespace.clone(),
                        manifest,
                        hooks,
                        recreates,
                        known: findings,
                        absent: absent.clone(),
                        ..self::planned(&invocation, &release, kind, past, records)
                    };
                    let sets = judge.judge(&deploy).await.map_err(|stopping| {
                        let why =
                            format!("helm-guard: preflight: nothing was changed: {}", sentence(&stopping));
                        *judged.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(stopping);
                        why
                    })?;
                    judged.appeared().first().map_or(Ok(()), |path| Err(came_between(path)))?;
                    recreator.recreate(sets).await.map_err(|why| format!("helm-guard: {why}"))?;
                } else {
                    alone(&judge.cluster, &absent).await?;
                }
                started.iter().for_each(|start| start());
                Ok(judged.present())
            })
        }))
    }

    /// Looks again at what was not there before the deploy, and that something of the release may have made since.
    pub(super) async fn look_again_at_references(&self, signals: &Signals) {
        let open = self.judged.open();
        if open.is_empty() {
            return;
        }
        let findings = in_time(signals, look::still_missing(&self.cluster, &open)).await.unwrap_or_default();
        if !findings.is_empty() {
            self.reporter.emit(Event::StillMissing(findings));
        }
    }

    /// Nothing is to be left of a deploy that was refused: Helm had installed its CRDs.
    pub(super) async fn take_back(&self, signals: &Signals) {
        let Some(fence) = &self.fence else { return };
        let client = self.recreator(signals).client;
        for definition in fence.defined() {
            let name = &definition.name;
            if !definition.is_new {
                // Helm 4 applies them. How it was before is not known.
                self.reporter.emit(Event::Warning(format!(
                    "CustomResourceDefinition/{name} was there: helm has applied the chart's version of it before anything \
                     could be judged"
                )));
                continue;
            }
            match crds::take_back(&client, &definition).await {
                Ok(()) => self.reporter.emit(Event::Settled(format!(
                    "CustomResourceDefinition/{name} deleted again: helm had created it for this deploy"
                ))),
                Err(why) => self.reporter.emit(Event::Warning(format!(
                    "CustomResourceDefinition/{name}, which helm created for this deploy, stays: {why}; \
                     to delete it: kubectl delete crd {name}"
                ))),
            }
        }
    }
}

/// Where the manifest is not judged, objects of which Helm was told that they are not there are looked for all the same.
async fn alone(cluster: &Cluster, absent: &BTreeSet<String>) -> Result<(), String> {
    look::appeared(cluster, absent).await.first().map_or(Ok(()), |path| Err(came_between(path)))
}

fn came_between(path: &str) -> String {
    format!(
        "helm-guard: nothing was changed: another client created {path} while helm started, or it cannot be read any more; \
         run the same command again"
    )
}

fn is_wanted(request: &Request) -> bool {
    request.task != Task::Repair
        && request.guard.preflight != Preflight::Off
        && matches!(request.invocation.command, Command::Upgrade | Command::Install)
}

fn runs_hooks(invocation: &Invocation) -> bool {
    !invocation.is_set("no-hooks")
}

/// What Helm says of a deploy before it begins.
#[derive(Clone, Copy)]
struct Kind {
    installs: bool,
    server_side: bool,
    major: Major,
}

/// A deploy without its objects, as the line and the past of the release make it.
fn planned(invocation: &Invocation, release: &str, kind: Kind, past: Past, records: &'static str) -> Deploy {
    let Kind { installs, server_side, major } = kind;
    let name = |revision: u32| format!("sh.helm.release.v1.{release}.v{revision}");
    Deploy {
        release: release.to_owned(),
        before: past.before,
        before_is_good: past.is_good,
        manner: Manner {
            apply: apply(invocation, server_side),
            installs,
            takes_ownership: invocation.is_set("take-ownership"),
            is_v4: major == Major::V4,
            takes_over_fields: server_side && (installs || !past.was_server_side),
        },
        first: if installs { "pre-install" } else { "pre-upgrade" },
        patience: patience(invocation, major),
        records: Records {
            resource: records,
            new: name(past.next),
            // Only an upgrade has a limit for its history.
            pruned: past.pruned.into_iter().filter(|_| !installs).map(name).collect(),
        },
        ..Deploy::default()
    }
}

/// Helm's own limit is five minutes.
fn patience(invocation: &Invocation, major: Major) -> Patience {
    let until = match (invocation.wait(), major) {
        (None, _) => Until::Hooks,
        (Some("legacy"), _) | (Some(_), Major::V3) => Until::Ready,
        (Some(_), Major::V4) => Until::Available,
    };
    let timeout = invocation.timeout().unwrap_or(Duration::from_secs(300));
    // Helm 4's watcher takes none for half a minute (`DefaultStatusWatcherTimeout`).
    let is_none = timeout.is_zero() && until == Until::Available;
    Patience { timeout: if is_none { Duration::from_secs(30) } else { timeout }, until }
}

fn apply(invocation: &Invocation, server_side: bool) -> Apply {
    if invocation.is_set("force-replace") || invocation.is_set("force") {
        Apply::Replace
    } else if server_side {
        Apply::ServerSide { force: invocation.is_set("force-conflicts") }
    } else {
        Apply::ClientSide
    }
}
