//! A guarded Helm operation from lock to report: one stage after the other, each with what the one before returned.

mod end;
mod locks;
mod mend;
mod prove;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use end::{End, in_time, unless_stopped};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use locks::{NoLocks, identity, lease_names, lost_any, release, take_locks};
use mend::Mended;

pub(crate) use mend::{manifest_of, precious};

use crate::{
    clock::Clock,
    cluster::Cluster,
    diagnose::Trouble,
    exit,
    fence::proxy::{self, Fence},
    helm::{
        Command, Invocation, Version, binary, child,
        stop::{Manner, Stop},
    },
    lock::{
        Standing, Times,
        lease::{self, Claims},
    },
    manifest::Manifest,
    process::Process,
    recover::{Debt, Ledger, State},
    release::{
        History, Status,
        store::{Driver, Store},
    },
    repair::{self, Step},
    report::{Event, Outcome, sink::Reporter},
    request::{Request, Task},
    signals::Signals,
};

/// How often the status line on a terminal is renewed.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// Does what was asked, and reports it. Gives the exit code.
pub async fn deploy(request: &Request, reporter: &Arc<Reporter>, clock: Clock, signals: Signals) -> u8 {
    let releases = request.releases();
    let namespace = request.target.namespace.clone().unwrap_or_default();
    reporter.emit(Event::Started(request.subject(&releases.join(", "), &namespace)));
    for warning in &request.warnings {
        reporter.emit(Event::Warning(warning.clone()));
    }
    let end = match Run::prepare(request, reporter, clock, &signals).await {
        Ok(run) => run.finish(&signals).await,
        Err(end) => end,
    };
    reporter.emit(Event::Finished {
        outcome: end.outcome,
        reason: end.reason,
        next: end.next,
        exit_code: end.code,
    });
    end.code
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
    launch: child::Launch,
    /// Up as long as Helm may run.
    fence: Option<Fence>,
    locks: Vec<lease::Held>,
    claims: Claims,
    lock_id: String,
    ledger: Ledger,
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
            child::find(&request.helm).map_err(|error| unusable_helm(&request.helm, &error.to_string()))?;
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
        let lock_id = random_id();
        // Written before there is anything to settle: a kill may come at any moment.
        let home = crate::cluster::absolute(&request.temporary.join(format!("helm-guard-fence-{lock_id}")));
        let ledger = open_ledger(request, reporter, &cluster, &lock_id, &home);
        let (helm, environment) = (request.helm.clone(), Vec::new());
        let mut launch = child::Launch { helm, lock_id: lock_id.clone(), environment };
        let version = ask_version(launch.clone());
        let locks = async {
            if invocation.create_namespace() && installing {
                let made = cluster.ensure_namespace();
                let made = unless_stopped(signals, "making sure of the namespace", made).await?;
                made.map_err(|error| End::unavailable(&error.into(), "kubectl get --raw /readyz"))?;
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
        let heeded = fence.as_ref().map_or(&[][..], |_| &crate::fence::FLAGS);
        let invocation = request.invocation.without(heeded).unwrap_or_else(|_| request.invocation.clone());
        launch.environment = fence.as_ref().map(|fence| fence.environment().to_vec()).unwrap_or_default();
        let store = Store::new(cluster.client.clone(), &cluster.namespace, request.driver);
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
        let free = release(signals, locks, done.gone).await;
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
        let mut plans = Vec::new();
        for release in self.request.releases() {
            match self.mend(&release, signals, done).await {
                Ok(mended) => plans.push((release, mended)),
                Err(end) => {
                    self.settle(&mut plans, signals, done).await;
                    return end;
                }
            }
        }
        if self.request.task == Task::Repair {
            return self.repaired(&mut plans, signals, done).await;
        }
        // Nothing that is asked to stop begins what it could not end.
        if let Some(signal) = signals.heard() {
            self.settle(&mut plans, signals, done).await;
            return End::broken_off(signal, "helm was about to start");
        }
        let ended = match self.helm(&plans, signals).await {
            Ok(ended) => ended,
            Err(error) => {
                self.settle(&mut plans, signals, done).await;
                return unusable_helm(&self.request.helm, &error.to_string());
            }
        };
        self.reporter.emit(Event::HelmEnded {
            code: ended.code,
            took: ended.took,
            error: ended.error.clone(),
        });
        if let Some(why) = &ended.lock_lost {
            return End::lock_lost("helm ran", why);
        }
        let histories = if ended.settles { self.settle(&mut plans, signals, done).await } else { Vec::new() };
        self.outcome(&ended, &histories, signals, done).await
    }

    /// The repair was all that was asked for.
    async fn repaired(&self, plans: &mut [(String, Mended<'_>)], signals: &Signals, done: &mut Done) -> End {
        let planned = plans.iter().any(|(_, mended)| mended.plan.is_some());
        let uninstalls = |(_, mended): &(String, Mended<'_>)| {
            mended.plan.as_ref().is_some_and(|plan| plan.steps.contains(&Step::Uninstall))
        };
        let uninstalled = plans.iter().any(uninstalls);
        let histories = self.settle(plans, signals, done).await;
        done.gone = !histories.is_empty() && histories.iter().all(|history| history.records.is_empty());
        let is_pending = |record: &crate::release::Record| record.status().is_pending();
        if done.unsettled || histories.iter().any(|history| history.records.iter().any(is_pending)) {
            let reason = "not all is settled: is another helm at work?";
            return End::new(Outcome::Failed, 1, reason, &["run the same command again"]);
        }
        match (uninstalled, planned) {
            (true, _) => End::new(Outcome::Uninstalled, 0, "", &[]),
            (false, true) => End::new(Outcome::Repaired, 0, "", &[]),
            (false, false) => End::new(Outcome::Healthy, 0, "", &[]),
        }
    }

    async fn child(
        &self,
        argv: &[String],
        manner: Manner,
        signals: &Signals,
        tick: impl AsyncFn(Duration),
    ) -> std::io::Result<child::Ended> {
        let guard = &self.request.guard;
        let lost = async {
            match self.locks.first() {
                Some(first) => tokio::select! {
                    why = first.lost() => why,
                    why = lost_any(&self.locks[1..]) => why,
                },
                None => std::future::pending().await,
            }
        };
        let reporter = self.reporter;
        // A person who watches a status line sees a stale one at once.
        let interval = if reporter.is_terminal() {
            guard.run.keepalive.min(STATUS_INTERVAL)
        } else {
            guard.run.keepalive
        };
        // Behind the fence a lost lock needs no haste.
        let times = Times::new(guard.run.lease_duration);
        let unfenced = self.fence.is_none().then(|| times.duration.saturating_sub(times.give_up_after));
        let stop = Stop::new(manner, guard.run.stop_timeout, unfenced);
        child::run(&self.launch, argv, reporter, signals.clone(), lost, self.clock, interval, stop, tick)
            .await
    }

    /// Helm itself, with what the user gave.
    async fn helm(&self, plans: &[(String, Mended<'_>)], signals: &Signals) -> std::io::Result<child::Ended> {
        let mut argv = vec![self.request.invocation.command.as_str().to_owned()];
        argv.extend(self.invocation.tokens().iter().cloned());
        if let Some(good) = plans.first().and_then(|(_, mended)| mended.rollback_to) {
            let why = format!(
                "the revision before the last never completed: rolling back to {good}, the last good one before it; \
                 name a revision to choose another"
            );
            self.reporter.emit(Event::Warning(why));
            argv.push(good.to_string());
        }
        let release = plans.first().map_or("", |(release, _)| release);
        let manifest = Mutex::default();
        let tick = async |elapsed| {
            let limit = Duration::from_secs(5);
            let waiting_for =
                tokio::time::timeout(limit, self.waiting_for(release, &manifest)).await.unwrap_or_default();
            let writes = self.fence.as_ref().map(Fence::writes);
            self.reporter.emit(Event::Progress { elapsed, writes, waiting_for });
        };
        let invocation = &self.request.invocation;
        let manner = Manner::of(invocation.command, invocation.atomic());
        let mut child = std::pin::pin!(self.child(&argv, manner, signals, tick));
        // Started by the first poll, if it can be.
        if let Poll::Ready(ended) = futures::poll!(&mut child) {
            return ended;
        }
        self.reporter.emit(Event::HelmStarted);
        self.locks.iter().for_each(lease::Held::helm_started);
        let introduced = async {
            match &self.fence {
                Some(fence) => Some(fence.helm_version().await),
                None => self.version.clone().await.ok().map(|version| version.raw),
            }
        };
        let (ended, version) = tokio::select! {
            ended = &mut child => (ended, None),
            Some(version) = introduced => {
                self.reporter.emit(Event::HelmVersion(version.clone()));
                (child.await, Some(version))
            }
        };
        // One that is asked to stop has more urgent questions.
        if ended.is_ok() && version.is_none() && signals.heard().is_none() {
            match self.version.clone().await {
                Ok(version) => self.reporter.emit(Event::HelmVersion(version.raw)),
                Err(why) => self.reporter.emit(Event::Warning(format!("helm version: {why}"))),
            }
        }
        ended
    }

    /// Workloads of Helm's new revision that are not ready. Its manifest is read once: records can be large.
    async fn waiting_for(
        &self,
        release: &str,
        manifest: &Mutex<Option<Manifest>>,
    ) -> Vec<crate::report::Workload> {
        let known = manifest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let current = match known {
            Some(known) => known,
            None => {
                let Ok(history) = self.store.history(release).await else { return Vec::new() };
                let Some(last) = history.last().filter(|last| last.status().is_pending()) else {
                    return Vec::new();
                };
                let current = manifest_of(last, &self.cluster.namespace);
                manifest.lock().unwrap_or_else(PoisonError::into_inner).insert(current).clone()
            }
        };
        self.cluster.unready(&current).await
    }

    /// Helm is gone and the lock is ours: no record stays pending, what was lent is returned.
    async fn settle(
        &self,
        plans: &mut [(String, Mended<'_>)],
        signals: &Signals,
        done: &mut Done,
    ) -> Vec<History> {
        let mut histories = Vec::new();
        if self.lost().is_some() {
            // The next owner repairs.
            return histories;
        }
        let settled = in_time(signals, self.settle_all(plans, &mut histories)).await;
        done.unsettled |= settled != Some(true);
        if settled.is_none() {
            let why = "the API server does not answer: not all is settled, the next run repairs what is left";
            self.reporter.emit(Event::Warning(why.to_owned()));
        }
        histories
    }

    /// Is all of it done?
    async fn settle_all(&self, plans: &mut [(String, Mended<'_>)], histories: &mut Vec<History>) -> bool {
        let mut all = true;
        for (release, mended) in plans {
            let mut history = match self.store.history(release).await {
                Ok(history) => history,
                Err(error) => {
                    self.reporter
                        .emit(Event::Warning(format!("the records could not be read at the end: {error}")));
                    all = false;
                    continue;
                }
            };
            let steps = match mended.base {
                Some(base) => repair::settle_upgrade(base, &history),
                None => repair::settle(mended.plan.as_ref(), &history),
            };
            for step in steps.into_iter().filter(|step| step.revision() > mended.untouchable) {
                match mended.hands.act(&step, &mut history).await {
                    Ok(Some(said)) => self.reporter.emit(Event::Settled(said)),
                    Ok(None) => {}
                    Err(error) => {
                        self.reporter.emit(Event::Warning(format!("not settled: {error:#}")));
                        all = false;
                    }
                }
            }
            self.reporter.emit(Event::LookedAgain(history.rows()));
            histories.push(history);
        }
        all
    }

    async fn outcome(
        &self,
        ended: &child::Ended,
        histories: &[History],
        signals: &Signals,
        done: &mut Done,
    ) -> End {
        let uninstall = self.request.invocation.command == Command::Uninstall;
        done.gone = !histories.is_empty() && histories.iter().all(|history| history.records.is_empty());
        if ended.code == Some(0) {
            // Whoever asked it to stop came too late.
            let outcome = if uninstall { Outcome::Uninstalled } else { Outcome::Deployed };
            return End::new(outcome, 0, "", &[]);
        }
        // GitLab's runner tells Helm before it tells this process.
        if let Some(signal) = signals.heard() {
            let what = if done.unsettled {
                "helm ran; helm is stopped, the next run repairs what is left"
            } else {
                "helm ran; helm is stopped and no revision is pending"
            };
            return End::broken_off(signal, what);
        }
        let (pods, events) = in_time(signals, self.cluster.trouble()).await.unwrap_or_default();
        let last = histories.first().and_then(History::last);
        let rolled_back = self.request.invocation.atomic()
            && last.is_some_and(|last| last.status() == Status::Deployed)
            && last
                .and_then(|last| last.row().description.strip_prefix("Rollback to ").map(str::to_owned))
                .is_some();
        let code = ended.code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        let trouble = Trouble {
            command: self.request.invocation.command,
            namespace: &self.cluster.namespace,
            error: &ended.error,
            pods: &pods,
        };
        let (reason, next) = (trouble.reason(), trouble.next());
        self.reporter.emit(Event::Trouble { pods, events });
        if rolled_back {
            let reason = "helm failed and went back to the last good revision";
            return End::new(Outcome::RolledBack, code, reason, &["fix the cause and run it again"]);
        }
        let release = self.request.releases().join(" ");
        let command = self.request.invocation.command.as_str();
        let reason = reason.unwrap_or_else(|| match ended.signal {
            Some(signal) => {
                format!("helm {command} {release} was ended by signal {signal}, which somebody else sent")
            }
            None => format!("helm {command} {release} failed without a word"),
        });
        End { outcome: Outcome::Failed, code, reason, next }
    }
}

/// What is left when Helm is gone.
#[derive(Default)]
struct Done {
    /// The release is.
    gone: bool,
    /// A record may still be pending, or lent something.
    unsettled: bool,
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
    let place = proxy::Place { home, cache: request.cache_dir.as_deref(), lock_id, original };
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
        config_maps: request.driver == Driver::ConfigMaps,
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

fn ask_version(launch: child::Launch) -> HelmVersion {
    let answer = async move {
        if let Some(version) = child::find(&launch.helm).ok().and_then(|helm| binary::version(&helm)) {
            return Ok(version);
        }
        let argv = ["version", "--template", "{{.Version}}"].map(str::to_owned);
        match child::quiet(&launch, &argv).await {
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

/// Eight hexadecimal digits.
pub(crate) fn random_id() -> String {
    let mut bytes = [0; 4];
    // Without randomness the process id still tells runs apart.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = std::process::id().to_be_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
