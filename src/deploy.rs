//! A guarded Helm operation from lock to report: one stage after the other, each with what the one before returned.

mod prove;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, OptionFuture, Shared},
};

use crate::{
    cli,
    clock::Clock,
    cluster::Cluster,
    diagnose::Trouble,
    exit,
    fence::proxy::{self, Fence},
    helm::{
        self, Command, Invocation, Version, child,
        stop::{Manner, Stop},
    },
    lock::{
        Standing, Times,
        lease::{self, Claims},
        line::Newer,
        queue::{self, Notice, Queue},
    },
    manifest::{Manifest, ObjectKey},
    process::Process,
    recover::{Debt, Ledger, State},
    release::{
        History, Status, codec,
        store::{Driver, Store, StoreError},
    },
    repair::{self, Answer, Plan, Question, Step, steps},
    report::{self, Event, Holder, Outcome, sink::Reporter},
    request::{Request, Task},
    signals::{Signal, Signals},
    unlock::{self, Place},
};

/// How often the status line on a terminal is renewed.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// Why a run ends before its time.
struct End {
    outcome: Outcome,
    code: u8,
    reason: String,
    next: Vec<String>,
}

impl End {
    fn new(outcome: Outcome, code: u8, reason: impl Into<String>, next: &[&str]) -> Self {
        Self {
            outcome,
            code,
            reason: reason.into(),
            next: next.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    fn unavailable(error: &anyhow::Error, next: &str) -> Self {
        Self::new(Outcome::Refused, exit::UNAVAILABLE, format!("{error:#}"), &[next])
    }

    fn cancelled(signal: Signal, what: &str) -> Self {
        let reason = format!("{} while {what}; nothing was changed", signal.name());
        Self::new(Outcome::Cancelled, exit::cancelled(signal.number()), reason, &[])
    }

    /// After something was changed.
    fn broken_off(signal: Signal, what: &str) -> Self {
        let reason = format!("{} while {what}", signal.name());
        let next = ["run the same command again"];
        Self::new(Outcome::Cancelled, exit::cancelled(signal.number()), reason, &next)
    }

    fn lock_lost(what: &str, why: &str) -> Self {
        let reason = format!("the lock was lost while {what}: {why}; the next run repairs what is left");
        Self::new(Outcome::LockLost, exit::LOCK_LOST, reason, &["run the same command again"])
    }
}

/// Gives up work that changes nothing when this process is asked to stop.
async fn unless_stopped<T>(signals: &Signals, what: &str, work: impl Future<Output = T>) -> Result<T, End> {
    tokio::select! {
        biased;
        signal = signals.first() => Err(End::cancelled(signal, what)),
        done = work => Ok(done),
    }
}

/// How long the API server has for its answers to each of the last things when this process is asked to stop: the records,
/// the lock. With Helm's `--stop-timeout` of 6 s that is less than the 10 s after which runners kill.
const LAST_ANSWERS: Duration = Duration::from_millis(1500);

/// Does what must be done to its end, but does not wait for ever once this process is asked to stop.
async fn in_time<T>(signals: &Signals, work: impl Future<Output = T>) -> Option<T> {
    let late = async {
        signals.first().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = late => None,
    }
}

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
            Ok(take_locks(request, reporter, clock, &cluster, &lock_id, signals).await?)
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
        drop(self.fence);
        let mut locks = self.locks;
        if end.outcome.is_success() && self.request.task == Task::Helm {
            let at = self.clock.wall().to_string();
            locks.iter_mut().for_each(|lock| lock.deployed(at.clone()));
        }
        let free = release(signals, locks, done.gone).await;
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

    /// Looks at a release and makes it deployable.
    async fn mend(&self, release: &str, signals: &Signals, done: &mut Done) -> Result<Mended<'_>, End> {
        let invocation = &self.request.invocation;
        let history = unless_stopped(signals, "reading the records", self.store.history(release)).await?;
        let mut history = history.map_err(|error| self.no_records(release, error))?;
        self.reporter.emit(Event::Looked(history.rows()));
        let untouchable = match self.request.guard.repair {
            repair::Strategy::Off => history.last().map(|last| last.revision),
            _ => None,
        };
        let unnamed = invocation.command == Command::Rollback && invocation.rollback_revision().is_none();
        let rollback_to = if unnamed { history.better_rollback() } else { None };
        let mut mended =
            Mended { plan: None, base: None, hands: self.hands(release), untouchable, rollback_to };
        let precious = precious(&self.cluster, release, &history);
        let precious = unless_stopped(signals, "looking at what lives", precious).await?;
        let alone = self.request.task == Task::Repair;
        let question = Question {
            command: invocation.command,
            installing: invocation.install_if_missing() || invocation.command == Command::Install,
            history: &history,
            strategy: self.request.guard.repair,
            reuses_values: invocation.values_from().may_be_release(),
            history_max: self.request.history_max,
            precious: &precious,
        };
        let answer = if alone { repair::alone::plan(&question) } else { repair::plan(&question) };
        let plan = match answer {
            Answer::Healthy => {
                let upgrades = invocation.command == Command::Upgrade && !alone;
                mended.base = history.deployed().next_back().map(|base| base.revision).filter(|_| upgrades);
                return Ok(mended);
            }
            Answer::Refuse { finding, why, next } => {
                return Err(End::new(Outcome::Refused, exit::REFUSED, format!("{finding}: {why}"), &[&next]));
            }
            Answer::Repair(plan) => plan,
        };
        if !alone {
            self.prove(release, &history, &plan, signals).await?;
        }
        self.reporter.emit(Event::RepairPlanned {
            strategy: plan.strategy.to_owned(),
            finding: plan.finding.clone(),
            why: plan.why.clone(),
        });
        if !plan.caveat.is_empty() {
            self.reporter.emit(Event::Warning(plan.caveat.clone()));
        }
        let saved = steps::backup(&self.request.backup_dir, release, &self.lock_id, &history, &plan.steps);
        match saved {
            Ok(Some((path, revisions))) => {
                let lent = plan.steps.iter().filter_map(|step| match step {
                    Step::Lend { revision, .. } => Some(*revision),
                    _ => None,
                });
                let backup = Some(crate::cluster::absolute(&path));
                let debt = Debt { good: plan.good, lent: lent.collect(), backup };
                let saved = self.ledger.save(|state| drop(state.releases.insert(release.to_owned(), debt)));
                warn_of_ledger(self.reporter, saved);
                self.reporter.emit(Event::BackupSaved { path: path.display().to_string(), revisions });
            }
            Ok(None) => {}
            Err(error) => {
                let reason = format!("nothing was changed: {error:#}");
                return Err(End::new(
                    Outcome::Refused,
                    exit::REFUSED,
                    reason,
                    &["choose another --backup-dir"],
                ));
            }
        }
        let mut failure = None;
        for step in &plan.steps {
            if let Some(signal) = signals.heard() {
                failure = Some(End::broken_off(signal, "the release was being repaired"));
                break;
            }
            if let Err(end) = self.step(step, release, &mut mended.hands, &mut history, signals).await {
                failure = Some(end);
                break;
            }
        }
        mended.plan = Some(plan);
        match failure {
            None => Ok(mended),
            Some(end) => {
                self.settle(&mut [(release.to_owned(), mended)], signals, done).await;
                Err(end)
            }
        }
    }

    fn hands(&self, release: &str) -> steps::Hands<'_> {
        steps::Hands {
            store: &self.store,
            cluster: &self.cluster,
            clock: self.clock,
            release: release.to_owned(),
            namespace: &self.cluster.namespace,
            lent: std::collections::BTreeMap::new(),
        }
    }

    async fn step(
        &self,
        step: &Step,
        release: &str,
        hands: &mut steps::Hands<'_>,
        history: &mut History,
        signals: &Signals,
    ) -> Result<(), End> {
        let invocation = &self.invocation;
        let (argv, said) = match step {
            Step::Rollback { to } => {
                (helm::rollback_argv(invocation, release, *to), format!("rolled back to revision {to}"))
            }
            Step::Uninstall => (helm::uninstall_argv(invocation, release), "uninstalled".to_owned()),
            step => {
                let Some(acted) = in_time(signals, hands.act(step, history)).await else {
                    let signal = signals.first().await;
                    return Err(End::broken_off(signal, "the API server did not answer to a repair"));
                };
                if let Some(said) = acted.map_err(|error| stopped_repair(&error))? {
                    self.reporter.emit(Event::Repaired(said));
                }
                return Ok(());
            }
        };
        let manner = if *step == Step::Uninstall { Command::Uninstall } else { Command::Rollback };
        let ended = self.child(&argv, Manner::of(manner, false), signals, async |_| {}).await;
        match ended {
            Ok(ended) if ended.code == Some(0) => {
                self.reporter.emit(Event::Repaired(said));
                *history = self.store.history(release).await.unwrap_or_default();
                Ok(())
            }
            Ok(ended) => {
                self.reporter.emit(Event::HelmEnded {
                    code: ended.code,
                    took: ended.took,
                    error: ended.error,
                });
                if let Some(why) = ended.lock_lost {
                    return Err(End::lock_lost("the release was being repaired", &why));
                }
                if let Some(signal) = signals.heard() {
                    return Err(End::broken_off(signal, &format!("helm {} repaired the release", argv[0])));
                }
                Err(End::new(Outcome::Failed, 1, format!("the repair failed: helm {}", argv[0]), &[]))
            }
            Err(error) => Err(End::unavailable(&error.into(), "check --helm-bin")),
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
        let interval =
            if reporter.is_terminal() { guard.keepalive.min(STATUS_INTERVAL) } else { guard.keepalive };
        // Behind the fence a lost lock needs no haste.
        let times = Times::new(guard.lease_duration);
        let unfenced = self.fence.is_none().then(|| times.duration.saturating_sub(times.give_up_after));
        let stop = Stop::new(manner, guard.stop_timeout, unfenced);
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
            self.reporter.emit(Event::Progress { elapsed, waiting_for });
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
        let fence = self.fence.as_ref();
        let introduced = OptionFuture::from(fence.map(Fence::helm_version));
        let (ended, version) = tokio::select! {
            ended = &mut child => (ended, None),
            Some(version) = introduced => {
                self.reporter.emit(Event::HelmVersion(version.clone()));
                (child.await, Some(version))
            }
        };
        if ended.is_ok() && version.is_none() {
            match in_time(signals, self.version.clone()).await {
                Some(Ok(version)) => self.reporter.emit(Event::HelmVersion(version.raw)),
                Some(Err(why)) => self.reporter.emit(Event::Warning(format!("helm version: {why}"))),
                None => {}
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

    fn no_records(&self, release: &str, error: StoreError) -> End {
        let what = match self.request.driver {
            Driver::Secrets => "secrets",
            Driver::ConfigMaps => "configmaps",
        };
        match error {
            StoreError::Api(kube::Error::Api(status)) if status.code == 403 => {
                let rule = format!(
                    "add this rule to the deployer's Role: {{apiGroups: [\"\"], resources: [{what}], verbs: [get, list, create, update, delete]}}"
                );
                let reason = format!("no permission to read the records of {release}: {}", status.message);
                End::new(Outcome::Refused, exit::REFUSED, reason, &[&rule])
            }
            error => {
                let error = anyhow::Error::new(error).context(format!("records of release {release}"));
                End::unavailable(&error, "kubectl get --raw /readyz")
            }
        }
    }
}

/// A release that may be deployed, and what must be set right afterwards.
struct Mended<'a> {
    plan: Option<Plan>,
    /// The revision that was deployed, where an upgrade starts without a repair.
    base: Option<u32>,
    hands: steps::Hands<'a>,
    /// With `--repair off`: up to this revision nothing is changed.
    untouchable: Option<u32>,
    /// The good revision that a rollback without a revision means, where Helm would take a dead one.
    rollback_to: Option<u32>,
}

/// Living objects of a first install that an uninstall would delete with their data.
pub(crate) async fn precious(cluster: &Cluster, release: &str, history: &History) -> Vec<ObjectKey> {
    let Some(last) = history.last().filter(|_| history.last_good().is_none()) else { return Vec::new() };
    let manifest = manifest_of(last, &cluster.namespace);
    let candidates: Vec<ObjectKey> = manifest.keys().filter(|key| key.is_precious()).cloned().collect();
    // Those that cannot be asked about count as living.
    cluster.owned(&candidates, release, &cluster.namespace).await.unwrap_or(candidates)
}

fn manifest_of(record: &crate::release::Record, namespace: &str) -> Manifest {
    codec::decode(record.stored.payload())
        .and_then(|json| codec::manifest(&json))
        .ok()
        .and_then(|text| Manifest::parse(&text, namespace).ok())
        .unwrap_or_default()
}

async fn lost_any(locks: &[lease::Held]) -> String {
    match locks {
        [] => std::future::pending().await,
        [first, rest @ ..] => tokio::select! {
            why = first.lost() => why,
            why = Box::pin(lost_any(rest)) => why,
        },
    }
}

/// Gives the locks back, as far as they are still ours. One runs out by itself if the API server cannot be told. Were all
/// answers good?
async fn release(signals: &Signals, locks: Vec<lease::Held>, forget: bool) -> bool {
    let released = futures::future::join_all(locks.into_iter().map(|lock| lock.release(forget)));
    in_time(signals, released).await.is_some_and(|all| all.iter().all(Result::is_ok))
}

/// What is left when Helm is gone.
#[derive(Default)]
struct Done {
    /// The release is.
    gone: bool,
    /// A record may still be pending, or lent something.
    unsettled: bool,
}

fn stopped_repair(error: &anyhow::Error) -> End {
    if let Some(StoreError::LockLost(why)) = error.downcast_ref() {
        return End::lock_lost("the release was being repaired", why);
    }
    let reason = format!("the repair stopped: {error:#}");
    End::new(Outcome::Refused, exit::REFUSED, reason, &["is another helm at work? run it again"])
}

/// Why there are no locks.
struct NoLocks {
    end: End,
    /// One may have been taken all the same: nobody knows.
    may_hold: bool,
}

impl From<End> for NoLocks {
    fn from(end: End) -> Self {
        Self { end, may_hold: false }
    }
}

async fn take_locks(
    request: &Request,
    reporter: &Arc<Reporter>,
    clock: Clock,
    cluster: &Cluster,
    lock_id: &str,
    signals: &Signals,
) -> Result<Vec<lease::Held>, NoLocks> {
    let mut locks = Vec::new();
    if request.guard.lock == crate::cli::Lock::Off {
        reporter.emit(Event::Warning("--lock off: nobody else is kept out".into()));
        return Ok(locks);
    }
    for name in lease_names(request) {
        let wanted = lease::Request {
            lease: name.clone(),
            namespace: cluster.namespace.clone(),
            me: Holder {
                lock_id: lock_id.to_owned(),
                identity: identity(request, lock_id),
                owner: request.owner.clone(),
                operation: request.operation().to_owned(),
                release: releases_of(request, &name),
                since: clock.wall().to_string(),
            },
            times: Times::new(request.guard.lease_duration),
            timeout: request.guard.lock_timeout,
            within: request.within.clone(),
        };
        // Of several releases any will do: the Lease is named.
        let of = request.releases().into_iter().find(|release| request.lease(release) == wanted.lease);
        let place = Place {
            release: of.unwrap_or_default(),
            namespace: cluster.namespace.clone(),
            lease: wanted.lease.clone(),
        };
        let mut said: Option<Duration> = None;
        let waiting = |holder: &Holder, waited: Duration| {
            let interval = if reporter.is_terminal() { STATUS_INTERVAL } else { request.guard.keepalive };
            if said.is_none_or(|said| waited >= said + interval) {
                // The first time is when the waiting begins.
                let waited = said.map_or(Duration::ZERO, |_| waited);
                said = Some(waited);
                let unlock = place.unlock(unlock::id(holder), "");
                reporter.emit(Event::LockWaiting { holder: holder.clone(), waited, unlock });
            }
        };
        let mut queue = queue(request, reporter, clock);
        let stop = async { _ = signals.first().await };
        let acquired =
            lease::acquire(cluster.client.clone(), &wanted, clock, &mut queue, stop, waiting).await;
        match acquired {
            Ok(acquired) => {
                reporter.emit(Event::LockAcquired {
                    lock_id: lock_id.to_owned(),
                    lease: name,
                    waited: acquired.waited,
                    taken_over: acquired.taken_over,
                });
                locks.push(acquired.held);
            }
            Err(error) => {
                let free = release(signals, locks, false).await;
                if let lease::LockError::Stopped { unsure, .. } = error {
                    let end = End::cancelled(signals.first().await, "waiting for the lock");
                    return Err(NoLocks { end, may_hold: unsure || !free });
                }
                if let lease::LockError::Outdated(newer) = &error {
                    return Err(NoLocks { end: outdated(newer, request), may_hold: !free });
                }
                if let lease::LockError::Timeout { holder, .. } = error {
                    reporter.emit(Event::LockKept((*holder).clone()));
                    let timeout = report::duration(request.guard.lock_timeout.as_secs_f64());
                    let unlock = place.unlock(unlock::id(&holder), "");
                    return Err(lock_kept(&wanted.lease, &holder, &timeout, &unlock).into());
                }
                return Err(no_lock(error, &cluster.server).into());
            }
        }
    }
    Ok(locks)
}

/// What this run learns of others while it waits.
fn queue<'a>(request: &Request, reporter: &'a Arc<Reporter>, clock: Clock) -> Queue<'a> {
    let policy = match request.guard.outdated {
        cli::Outdated::Allow => queue::Outdated::GoesOn,
        cli::Outdated::Skip | cli::Outdated::Fail => queue::Outdated::Stops,
    };
    Queue::new(request.desk.clone(), policy, clock, move |notice| {
        reporter.emit(match notice {
            Notice::Warning(text) => Event::Warning(text),
            Notice::RunOver { holder, why } => Event::RunOver { holder: *holder, why },
        });
    })
}

/// Nothing was touched. Whoever wants to go back says so.
fn outdated(newer: &Newer, request: &Request) -> End {
    let code = if request.guard.outdated == cli::Outdated::Fail { exit::OUTDATED } else { 0 };
    // GitLab does not tell a job that a person retried from one that it retried itself.
    let next = if request.owner.run_attempt.is_empty() {
        "to deploy this one all the same: --outdated allow"
    } else {
        "to deploy this one all the same: run it again, or --outdated allow"
    };
    End::new(Outcome::Outdated, code, newer.why(), &[next])
}

/// What a Lease is held for: several releases when all have one lock.
fn releases_of(request: &Request, lease: &str) -> String {
    let releases = request.releases().into_iter().filter(|release| request.lease(release) == lease);
    releases.collect::<Vec<_>>().join(", ")
}

/// Puts the fence up before any Helm that reads or writes the cluster starts.
async fn fence(
    request: &Request,
    cluster: &Cluster,
    lock: Claims,
    home: &Path,
    lock_id: &str,
) -> std::io::Result<Option<Fence>> {
    if request.guard.fence == crate::cli::Fence::Off {
        return Ok(None);
    }
    let given = &request.target.kubeconfig;
    let paths: Vec<String> = given.iter().map(|path| path.display().to_string()).collect();
    let original = Some(paths.join(":")).filter(|paths| !paths.is_empty());
    let place = proxy::Place { home, cache: request.cache_dir.as_deref(), lock_id, original };
    Fence::up(cluster, lock, &place).await.map(Some)
}

/// In the order in which they are taken; none when nothing is locked.
fn lease_names(request: &Request) -> Vec<String> {
    if request.guard.lock == crate::cli::Lock::Off {
        return Vec::new();
    }
    let mut names: Vec<String> = request.releases().iter().map(|release| request.lease(release)).collect();
    names.sort();
    names.dedup();
    names
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

/// Unique to this process.
fn identity(request: &Request, lock_id: &str) -> String {
    format!("{}-{lock_id}-{}", request.owner.name, std::process::id())
}

/// All that is known of the holder stands in the report, from [`Event::LockKept`].
fn lock_kept(lease: &str, holder: &Holder, timeout: &str, unlock: &str) -> End {
    let (id, owner) = (unlock::id(holder), &holder.owner.name);
    let reason =
        format!("lock {id} was held by {owner} for the whole {timeout} of --lock-timeout (lease {lease})");
    let wait = "wait for that run, or give this one a longer --lock-timeout";
    End::new(Outcome::LockTimeout, exit::LOCK_TIMEOUT, reason, &[wait, unlock])
}

fn no_lock(error: lease::LockError, server: &str) -> End {
    match error {
        lease::LockError::Forbidden { .. } => {
            let rule = "add this rule to the deployer's Role: {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update, delete]}";
            End::new(
                Outcome::Refused,
                exit::REFUSED,
                error.to_string(),
                &[rule, "or --lock off, and nobody is kept out"],
            )
        }
        lease::LockError::NoNamespace(namespace) => {
            let next = format!("kubectl create namespace {namespace}, or --create-namespace when installing");
            End::new(Outcome::Refused, exit::REFUSED, format!("namespace {namespace} not found"), &[&next])
        }
        error @ (lease::LockError::Timeout { .. } | lease::LockError::Stopped { .. }) => {
            End::new(Outcome::LockTimeout, exit::LOCK_TIMEOUT, error.to_string(), &[])
        }
        error @ lease::LockError::Outdated(_) => End::new(Outcome::Outdated, 0, error.to_string(), &[]),
        lease::LockError::Api(error @ kube::Error::Api(_)) => {
            End::unavailable(&error.into(), "kubectl get --raw /readyz")
        }
        lease::LockError::Api(error) => {
            // The layers of the client add nothing to what the system says.
            let error = anyhow::Error::new(error);
            let reason = format!("the API server {server} cannot be reached: {}", error.root_cause());
            End::new(Outcome::Refused, exit::UNAVAILABLE, reason, &["kubectl get --raw /readyz"])
        }
    }
}

/// What `helm version` says, asked for when somebody first waits for it: it takes as long as all that the guard does. A
/// Helm behind the fence tells its version there, unasked.
type HelmVersion = Shared<BoxFuture<'static, Result<Version, String>>>;

fn ask_version(launch: child::Launch) -> HelmVersion {
    let answer = async move {
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
