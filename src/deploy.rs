//! A guarded Helm operation from lock to report: the stages in order, each with the result of the one before.

pub mod cancel;
pub mod conclude;
pub mod finalize;
pub mod follow;
pub mod helm_process;
pub mod journal;
pub mod prepare;
mod prepared;
pub mod render;
pub mod stdin_values;
pub mod values_files;
mod verdict;

use crate::id::random;

mod health;
mod leftovers;
mod locks;
mod preflight;
mod progress;
mod recreate;
mod rehearse;
mod rollout;
mod run;

use std::{path::Path, sync::Arc, time::Duration};

use cancel::{End, in_time, unless_stopped};
use finalize::Histories;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, join_all},
};
use locks::{NoLocks, identity, lease_names, release, take_locks};
use prepared::Prepared;

pub(crate) use prepare::precious;

use crate::{
    clock::Clock,
    cluster::Cluster,
    diagnose::{
        self, Snapshot,
        collect::{Scope, Seen},
    },
    exit,
    fence::server::{self, Fence},
    helm::{
        Command, Invocation, Version, buildinfo,
        launch::{self, Launch},
        phases::Ran,
        terminal::Place,
    },
    lock::{
        Standing,
        lease::{self, Claims},
    },
    process::Process,
    repair::Step,
    report::{Event, Outcome, reporter::Reporter},
    request::{Request, Task},
    signals::Signals,
    storage::Store,
};
use journal::{Debt, Ledger, State};

/// How often the status line on a terminal is renewed.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// How long the records are waited for, for what must not be shown of a failure.
const RECORDS: Duration = Duration::from_secs(5);

/// Does what was asked, and reports it. Gives the exit code.
pub async fn deploy(request: &Request, reporter: &Arc<Reporter>, clock: Clock, signals: Signals) -> u8 {
    // Before anything is said.
    reporter.learn(&values_files::secrets(request));
    let releases = request.releases();
    let namespace = request.target.namespace.clone().unwrap_or_default();
    reporter.emit(Event::Started(request.subject(&releases.join(", "), &namespace)));
    for warning in &request.warnings {
        reporter.emit(Event::Warning(warning.clone()));
    }
    let end = match Run::prepare(request, reporter, clock, &signals).await {
        Ok(run) => run.finish(&signals).await,
        Err(end) => explained(end, reporter),
    };
    reporter.emit(Event::Finished {
        outcome: end.outcome,
        reason: end.reason,
        next: end.next,
        exit_code: end.code,
    });
    end.code
}

/// Why the cluster cannot be reached may have a known cause.
fn explained(end: End, reporter: &Reporter) -> End {
    let snapshot = Snapshot { error: format!("Error: {}", end.reason), ..Snapshot::default() };
    let causes = if end.code == exit::UNAVAILABLE { diagnose::causes(&snapshot) } else { Vec::new() };
    if causes.is_empty() {
        return end;
    }
    let next = diagnose::next(&snapshot, &causes);
    reporter.emit(Event::Diagnosed { causes, refusals: Vec::new() });
    End { next, ..end }
}

/// A run that holds its locks.
struct Run<'a> {
    request: &'a Request,
    reporter: &'a Arc<Reporter>,
    clock: Clock,
    cluster: Cluster,
    store: Store,
    version: HelmVersion,
    /// What Helm is told: what was asked, less what only the fence may know.
    invocation: Invocation,
    launch: Launch,
    /// Up as long as Helm may run.
    fence: Option<Fence>,
    locks: Vec<lease::Held>,
    claims: Claims,
    lock_id: String,
    ledger: Ledger,
    judged: Arc<verdict::Judged>,
}

impl<'a> Run<'a> {
    /// Reaches the cluster and takes the locks.
    async fn prepare(
        request: &'a Request,
        reporter: &'a Arc<Reporter>,
        clock: Clock,
        signals: &Signals,
    ) -> Result<Self, End> {
        if request.needs_helm() {
            launch::find(&request.helm).map_err(|error| unusable_helm(&request.helm, &error.to_string()))?;
        }
        let connect = Cluster::connect(&request.target);
        let cluster = unless_stopped(signals, "reading the kubeconfig", connect)
            .await?
            .map_err(|error| End::unavailable(&error, "check --kubeconfig, --kube-context and KUBECONFIG"))?;
        let invocation = &request.invocation;
        if request.target.namespace.as_ref() != Some(&cluster.namespace) {
            let releases = request.releases().join(", ");
            reporter.emit(Event::Started(request.subject(&releases, &cluster.namespace)));
        }
        let installing = invocation.install_if_missing() || invocation.command == Command::Install;
        // For the Lease. Without a lock Helm creates it itself.
        let makes_namespace = invocation.create_namespace()
            && installing
            && request.task != Task::Check
            && request.guard.lock == crate::cli::Lock::On;
        let is_fenced = request.guard.run.fence == crate::cli::Fence::On;
        let lock_id = random();
        // Written before there is anything to settle: a kill may come at any moment.
        let home = crate::cluster::absolute(&request.temporary.join(format!("helm-guard-fence-{lock_id}")));
        let ledger = open_ledger(request, reporter, &cluster, &lock_id, &home);
        let (helm, environment) = (request.helm.clone(), Vec::new());
        let (memory, redactor) = (request.helm_memory, reporter.redactor());
        let place = Place::here(request.in_ci);
        let input = stdin_values::read(request, signals).await?;
        let mut launch =
            Launch { helm, lock_id: lock_id.clone(), environment, memory, redactor, place, input };
        let version = ask_version(launch.clone());
        let locks = async {
            if makes_namespace {
                let made = cluster.ensure_namespace(is_fenced);
                let made = unless_stopped(signals, "making sure of the namespace", made).await?;
                made.map_err(|error| {
                    let why = crate::cluster::describe_error(&error);
                    End::new(Outcome::Refused, exit::UNAVAILABLE, why, &["kubectl get --raw /readyz"])
                })?;
            }
            take_locks(request, reporter, clock, &cluster, &lock_id, signals).await
        };
        let locks = match locks.await {
            Ok(locks) => locks,
            Err(NoLocks { end, may_hold }) => {
                if !may_hold {
                    ledger.close();
                }
                return Err(end);
            }
        };
        let claims = Claims::new(locks.iter().map(lease::Held::claim).collect(), clock);
        let fence = match fence(request, &cluster, claims.clone(), &home, &lock_id).await {
            Ok(fence) => fence,
            Err(error) => {
                if release(signals, locks, false).await {
                    ledger.close();
                }
                let reason = format!("the fence cannot be put up in {}: {error}", home.display());
                let next = "set TMPDIR to a writable directory, or --fence off";
                return Err(End::new(Outcome::Refused, exit::UNAVAILABLE, reason, &[next]));
            }
        };
        if let Some(fence) = fence.as_ref().filter(|_| makes_namespace)
            && cluster.is_namespace_bare().await
        {
            fence.hide(&cluster.namespace);
        }
        let heeded = fence.as_ref().map_or(&[][..], |_| &crate::fence::FLAGS);
        let invocation = request.invocation.without(heeded).unwrap_or_else(|_| request.invocation.clone());
        launch.environment = fence.as_ref().map(|fence| fence.environment().to_vec()).unwrap_or_default();
        let store = Store::new(cluster.client.clone(), &cluster.namespace, &request.storage);
        let store = store.under(&cluster.wire, claims.clone(), &lock_id);
        Ok(Self {
            request,
            reporter,
            clock,
            cluster,
            store,
            version,
            invocation,
            launch,
            fence,
            locks,
            claims,
            lock_id,
            ledger,
            judged: Arc::default(),
        })
    }

    /// Repairs, runs Helm, settles, gives the locks back.
    async fn finish(self, signals: &Signals) -> End {
        let mut done = Done::default();
        let mut end = self.guarded(signals, &mut done).await;
        if let Some(why) = self.lost()
            && end.outcome != Outcome::LockLost
        {
            let what = if end.outcome.is_success() { "the end was saved" } else { "helm-guard worked" };
            end = End::lock_lost(what, &why);
        }
        let files = self.fence.map(Fence::down);
        let mut locks = self.locks;
        if end.outcome.is_success() && self.request.task == Task::Helm {
            let at = self.clock.wall().to_string();
            locks.iter_mut().for_each(|lock| lock.deployed(at.clone()));
        }
        let looks = std::mem::take(&mut done.looks).into_iter();
        let looks = join_all(looks.map(|look| look.tell(&self.cluster, self.reporter, signals)));
        let (free, _) = tokio::join!(release(signals, locks, done.gone), looks);
        drop(files);
        // Else the settle step of this CI job does the rest.
        if free && !done.unsettled {
            self.ledger.close();
        }
        end
    }

    /// Why a lock is lost, if one is.
    fn lost(&self) -> Option<String> {
        match self.claims.standing() {
            Standing::Lost(why) => Some(why),
            Standing::Safe { .. } | Standing::Doubtful => None,
        }
    }

    async fn guarded(&self, signals: &Signals, done: &mut Done) -> End {
        if self.request.task == Task::Check {
            return self.check(signals).await.unwrap_or_else(|end| end);
        }
        loop {
            if let Some(end) = self.attempt(signals, done).await {
                return end;
            }
            done.again = true;
        }
    }

    /// One run of Helm, with all before and after it. `None` if it is right to do it once more.
    async fn attempt(&self, signals: &Signals, done: &mut Done) -> Option<End> {
        let mut plans = Vec::new();
        for release in self.request.releases() {
            match self.mend(&release, signals, done).await {
                Ok(mended) => plans.push((release, mended)),
                Err(end) => {
                    self.settle(&mut plans, signals, done).await;
                    return Some(end);
                }
            }
        }
        if self.request.task == Task::Repair {
            return Some(self.repaired(&mut plans, signals, done).await);
        }
        // Nothing that is asked to stop begins what it could not end.
        if let Some(signal) = signals.heard() {
            self.settle(&mut plans, signals, done).await;
            return Some(End::broken_off(signal, "helm was about to start"));
        }
        if let Err(end) = self.ready(&mut plans, signals).await {
            self.settle(&mut plans, signals, done).await;
            return Some(end);
        }
        let mut seen = Seen::default();
        let uninstall = self.request.invocation.command == Command::Uninstall;
        // Of what is uninstalled no record may be left.
        let mut scope = match plans.first().filter(|_| uninstall) {
            Some((release, _)) => self.scope(release).await,
            None => Scope::default(),
        };
        scope.leaving = uninstall;
        let ended = match self.helm(&plans, signals, &mut seen).await {
            Ok(ended) => ended,
            Err(error) => {
                self.settle(&mut plans, signals, done).await;
                return Some(unusable_helm(&self.request.helm, &error.to_string()));
            }
        };
        if ended.code != Some(0) {
            // What Helm said may quote what only its record knows, where no fence saw it being written.
            self.learn_records(&plans).await;
        }
        let refused = self.judged.refused();
        if refused.is_none() {
            self.reporter.emit(Event::HelmEnded {
                code: ended.code,
                took: ended.took,
                error: ended.error.clone(),
            });
        }
        let began = self.clock.wall().checked_sub(ended.took).unwrap_or_default();
        if let Some(why) = &ended.lock_lost {
            return Some(End::lock_lost("helm ran", why));
        }
        let mut histories =
            if ended.settles { self.settle(&mut plans, signals, done).await } else { Histories::default() };
        if ended.code == Some(0) && !uninstall && !done.unsettled {
            in_time(signals, self.clear_leftovers(&mut plans, &mut histories)).await;
        } else if ended.code != Some(0) {
            in_time(signals, self.tell_what_is_left(&plans, &histories)).await;
        }
        if let Some(findings) = refused {
            self.take_back(signals).await;
            return Some(preflight::refusal(&findings));
        }
        self.tell_phases(
            &plans,
            &histories,
            Ran { began, took: ended.took, waited: self.request.invocation.wait().is_some() },
        );
        self.look_after(&ended).await;
        if let Some(why) = self.lost_race(&ended, &plans, &histories, signals, done) {
            self.reporter.emit(Event::Warning(format!("{why}; helm is run once more")));
            return None;
        }
        done.looks = self.look_again(&plans, &histories, ended.code == Some(0));
        self.look_again_at_references(signals).await;
        Some(self.outcome(&ended, &histories, signals, done, (scope, seen)).await)
    }

    async fn learn_records(&self, plans: &[(String, Prepared<'_>)]) {
        for (release, _) in plans {
            // Who cannot be asked in a moment is not waited for: the report comes first.
            let read = tokio::time::timeout(RECORDS, self.store.history(release)).await;
            if let Ok(Ok(history)) = read {
                self.reporter.learn(&history.secrets());
            }
        }
    }

    /// The repair was all that was asked for.
    async fn repaired(
        &self,
        plans: &mut [(String, Prepared<'_>)],
        signals: &Signals,
        done: &mut Done,
    ) -> End {
        let planned = plans.iter().any(|(_, mended)| mended.plan.is_some());
        let uninstalls = |(_, mended): &(String, Prepared<'_>)| {
            mended.plan.as_ref().is_some_and(|plan| plan.steps.contains(&Step::Uninstall))
        };
        let uninstalled = plans.iter().any(uninstalls);
        let histories = self.settle(plans, signals, done).await;
        done.gone = histories.are_gone();
        if done.unsettled || histories.are_pending() {
            let reason = "some records are not set right: another helm may be running";
            return End::new(Outcome::Failed, 1, reason, &["run the same command again"]);
        }
        if planned && !uninstalled {
            for ((_, mended), history) in histories.with(plans) {
                if let Err(end) = self.verify(mended.plan.as_ref(), history, signals).await {
                    return end;
                }
            }
        }
        match (uninstalled, planned) {
            (true, _) => End::new(Outcome::Uninstalled, 0, "", &[]),
            (false, true) => End::new(Outcome::Repaired, 0, "", &[]),
            (false, false) => End::new(Outcome::Healthy, 0, "", &[]),
        }
    }
}

/// What is left when Helm is gone.
#[derive(Default)]
struct Done {
    /// The release is.
    gone: bool,
    /// A record may still be pending, or lent something.
    unsettled: bool,
    /// Helm had run once, and is run once more.
    again: bool,
    /// How what it left fares is looked at while the locks are given back.
    looks: Vec<health::Look>,
}

/// Puts the fence up before any Helm that reads or writes the cluster starts.
async fn fence(
    request: &Request,
    cluster: &Cluster,
    lock: Claims,
    home: &Path,
    lock_id: &str,
) -> std::io::Result<Option<Fence>> {
    if request.guard.run.fence == crate::cli::Fence::Off {
        return Ok(None);
    }
    let given = &request.target.kubeconfig;
    let paths: Vec<String> = given.iter().map(|path| path.display().to_string()).collect();
    let original = Some(paths.join(":")).filter(|paths| !paths.is_empty());
    let place = server::Place { home, cache: request.cache_dir.as_deref(), lock_id, original };
    Fence::up(cluster, lock, &place).await.map(Some)
}

/// What `settle` needs if this process is killed, in CI.
fn open_ledger(
    request: &Request,
    reporter: &Reporter,
    cluster: &Cluster,
    lock_id: &str,
    fence: &Path,
) -> Ledger {
    let state = State {
        lock_id: lock_id.to_owned(),
        guard: Process::this(),
        target: request.target.absolute(),
        namespace: cluster.namespace.clone(),
        leases: lease_names(request),
        identity: identity(request, lock_id),
        storage: request.storage.clone(),
        fence: Some(fence.to_owned()),
        releases: request.releases().into_iter().map(|release| (release, Debt::default())).collect(),
    };
    let ledger = Ledger::new(request.state_dir.as_deref(), state);
    warn_of_ledger(reporter, ledger.save(|_| {}));
    ledger
}

fn warn_of_ledger(reporter: &Reporter, saved: std::io::Result<()>) {
    if let Err(error) = saved {
        reporter.emit(Event::Warning(format!("no state for the settle step: {error}")));
    }
}

/// Helm's version, looked for when somebody first waits for it: in its file, and if that does not tell by `helm version`,
/// which takes longer than all that the guard does. A Helm behind the fence tells its version there, unasked.
type HelmVersion = Shared<BoxFuture<'static, Result<Version, String>>>;

fn ask_version(launch: Launch) -> HelmVersion {
    let answer = async move {
        if let Some(version) = launch::find(&launch.helm).ok().and_then(|helm| buildinfo::version(&helm)) {
            return Ok(version);
        }
        let argv = ["version", "--template", "{{.Version}}"].map(str::to_owned);
        match helm_process::quiet(&launch, &argv).await {
            Ok(Ok(out)) => Version::parse(&String::from_utf8_lossy(&out)).map_err(|error| error.to_string()),
            Ok(Err((_, error))) => Err(error),
            Err(error) => Err(error.to_string()),
        }
    };
    answer.boxed().shared()
}

fn unusable_helm(helm: &Path, why: &str) -> End {
    let reason = format!("helm binary {}: {why}", helm.display());
    let next = "install Helm 3 or 4, or name it with --helm-bin or HELM_BIN";
    End::new(Outcome::Refused, exit::UNAVAILABLE, reason, &[next])
}
