//! Makes a release deployable: reads its history, plans the repair, renders the chart, saves copies, and executes the plan.
//! `repair.rs` decides what to do.

use super::prepared::{Before, Prepared};
use super::{
    Done, Run,
    cancel::{End, in_time, stopped_repair, unless_stopped},
    leftovers, warn_of_ledger,
};
use crate::release::rendered::read_manifest;
use crate::{
    backup,
    cluster::Cluster,
    copies::Shelf,
    deploy::journal::Debt,
    exit,
    helm::{self, Command, shutdown::SignalBehavior},
    manifest::{Manifest, ObjectKey},
    release::{History, Record, codec},
    repair::{
        self, Answer, Question, Step, Strategy,
        adopt::{Proof, look::look},
        execute,
        finish_install::objects::survey,
        map_apis::{self, Found},
        odd_records::{self, Reading},
    },
    report::{Event, Outcome},
    request::Task,
    signals::Signals,
    storage::StoreError,
    yaml::Unread,
};

impl Run<'_> {
    /// What Helm may quote of the records that are there. An upgrade reuses at most the values of one, and writes a record of
    /// its own, which is looked at (`deploy/preflight.rs`); a rollback applies what any of them says.
    fn learn(&self, history: &History) {
        if matches!(self.request.invocation.command, Command::Rollback | Command::Uninstall)
            || self.request.task == Task::Repair
        {
            return self.reporter.learn(&history.secrets());
        }
        for record in history.last().into_iter().chain(history.deployed().next_back()) {
            self.reporter.learn(&record.given());
        }
    }

    /// Looks at a release and makes it deployable.
    pub(super) async fn mend(
        &self,
        release: &str,
        signals: &Signals,
        done: &mut Done,
    ) -> Result<Prepared<'_>, End> {
        let invocation = &self.request.invocation;
        let history = unless_stopped(signals, "reading the records", self.store.history(release)).await?;
        let mut history = history.map_err(|error| self.no_records(release, error))?;
        self.learn(&history);
        self.reporter.emit(Event::Looked(history.rows()));
        // What was before the first run is saved.
        if !done.again {
            self.save_all(release, &history)?;
        }
        let untouchable = match self.request.guard.repair {
            Strategy::Off => history.last().map(|last| last.revision),
            _ => None,
        };
        let before =
            Before { last: history.last().map(|last| last.revision), good: history.last_good().cloned() };
        let unnamed = invocation.command == Command::Rollback && invocation.rollback_revision().is_none();
        let rollback_to = if unnamed { history.better_rollback() } else { None };
        let created = |record: &Record| Some((record.revision, record.stored.created()?));
        let mut mended = Prepared {
            plan: None,
            base: None,
            before,
            created: history.records.iter().filter_map(created).collect(),
            over: Vec::new(),
            known: None,
            hands: self.hands(release),
            untouchable,
            rollback_to,
            sets: Vec::new(),
        };
        let precious = precious(&self.cluster, release, &history);
        let precious = unless_stopped(signals, "reading the live objects", precious).await?;
        let alone = self.request.task == Task::Repair;
        let apis = self.unserved(release, &history, mended.rollback_to);
        let apis = unless_stopped(signals, "looking at what the cluster serves", apis).await?;
        let (strategy, history_max) = (self.request.guard.repair, self.request.history_max);
        let proof = self.proof(release, &history);
        let proof =
            unless_stopped(signals, "comparing the live objects with the last revision", proof).await?;
        let answer = if alone {
            repair::standalone::plan(&history, strategy, history_max, &precious, &proof)
        } else {
            repair::plan(&Question {
                command: invocation.command,
                installing: invocation.install_if_missing() || invocation.command == Command::Install,
                history: &history,
                strategy,
                reuses_values: invocation.values_from().may_be_release(),
                history_max,
                precious: &precious,
                proof: &proof,
                alone,
            })
        };
        let answer = match answer {
            Answer::Healthy if !alone && strategy != Strategy::Off => {
                let reading = |record: &Record| reading(record, &self.cluster.namespace);
                let plan = odd_records::unreadable_base(&history, invocation.command, reading);
                plan.map_or(Answer::Healthy, Answer::Repair)
            }
            Answer::Repair(plan) => {
                let survey = survey(&self.cluster, release, &history, &plan);
                let survey = unless_stopped(signals, "reading the live objects", survey).await?;
                repair::uninstall::told(plan, &survey, alone)
            }
            answer => answer,
        };
        let is_healthy = answer == Answer::Healthy;
        let answer = map_apis::join(answer, &history, &apis);
        mended.hands.apis = apis.records;
        if is_healthy {
            let upgrades = invocation.command == Command::Upgrade && !alone;
            mended.base = history.deployed().next_back().map(|base| base.revision).filter(|_| upgrades);
        }
        let plan = match answer {
            Answer::Healthy => {
                self.foresee_unrepaired(release, &history, &mut mended, signals).await?;
                return Ok(mended);
            }
            Answer::Refuse { finding, why, next } => {
                return Err(End::new(Outcome::Refused, exit::REFUSED, format!("{finding}: {why}"), &[&next]));
            }
            Answer::Repair(plan) => plan,
        };
        let over: Vec<u32> = plan.installs_over().unwrap_or_default().to_vec();
        let is_old = !over.is_empty()
            && invocation.command == Command::Upgrade
            && !self.version().await?.installs_over_uninstalled();
        let plan = if is_old { plan.without_setting_aside(&history) } else { plan };
        let rendered = if alone { None } else { self.prove(&history, &plan, signals).await? };
        if let Some(rendered) = &rendered {
            mended.sets =
                self.foresee(release, rendered, &history, (Some(&plan), Vec::new()), signals).await?;
        }
        if alone
            && let Some(fares) =
                unless_stopped(signals, "reading the live objects", self.fares(&history)).await?
        {
            self.reporter.emit(Event::FaredBefore(fares));
        }
        self.reporter.emit(Event::RepairPlanned {
            strategy: plan.strategy.to_owned(),
            finding: plan.finding.clone(),
            why: plan.why.clone(),
        });
        if !plan.caveat.is_empty() {
            self.reporter.emit(Event::Warning(plan.caveat.clone()));
        }
        let shelf = Shelf {
            directory: &self.request.copies_dir,
            namespace: &self.cluster.namespace,
            keep: self.request.guard.run.backups.keep,
        };
        let saved = execute::backup(&shelf, release, &self.lock_id, &history, &plan.steps);
        match saved {
            Ok(Some((path, revisions))) => {
                let lent = plan.steps.iter().filter_map(|step| match step {
                    Step::Lend { revision, .. } => Some(*revision),
                    _ => None,
                });
                let backup = Some(crate::cluster::absolute(&path));
                let immutable = history.records.iter().filter(|record| record.stored.is_immutable());
                let replaced = immutable.map(|record| record.revision).collect();
                let debt = Debt { good: plan.good, lent: lent.collect(), replaced, backup };
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
        if !over.is_empty() {
            let namespace = &self.cluster.namespace;
            let is_dead = |record: &Record| over.contains(&record.revision);
            mended.over = leftovers::named(&history, is_dead, &mended.created, namespace);
            let way = self.make_way(release, &over, &history, rendered.as_ref());
            failure = match in_time(signals, way).await {
                Some(made) => made.err(),
                None => {
                    Some(End::broken_off(signals.first().await, "the API server did not answer to a repair"))
                }
            };
        }
        for step in &plan.steps {
            if failure.is_some() {
                break;
            }
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

    /// The records that Helm will read and that name APIs which the cluster does not serve.
    async fn unserved(&self, release: &str, history: &History, back_to: Option<u32>) -> Found {
        let (invocation, alone) = (&self.request.invocation, self.request.task == Task::Repair);
        // Helm installs over no record that lives.
        if !map_apis::is_part_of(self.request.guard.repair) || invocation.command == Command::Install {
            return Found::default();
        }
        let last = history.last().map_or(0, |last| last.revision);
        let target = match invocation.command {
            Command::Rollback => {
                let named = invocation.rollback_revision().and_then(|to| to.parse::<u32>().ok());
                named.filter(|to| *to > 0).or(back_to).or(last.checked_sub(1))
            }
            Command::Install | Command::Upgrade | Command::Uninstall => None,
        };
        let wanted =
            if alone { map_apis::all(history) } else { map_apis::read_by_helm(history, target.as_slice()) };
        let until = self.request.kubernetes_version;
        map_apis::look::look(&self.cluster, release, history, &wanted, until).await
    }

    /// May the last revision be adopted? Only looked at where the answer matters.
    async fn proof(&self, release: &str, history: &History) -> Proof {
        let alone = self.request.task == Task::Repair;
        match self.request.guard.repair {
            Strategy::Adopt => look(&self.cluster, release, history, alone).await,
            Strategy::Auto if alone => look(&self.cluster, release, history, false).await,
            _ => Proof::None,
        }
    }

    /// Saves what was read anyway, before a deploy may change it.
    fn save_all(&self, release: &str, history: &History) -> Result<(), End> {
        let run = &self.request.guard.run;
        if self.request.task == Task::Repair || run.backups.keep == 0 || history.records.is_empty() {
            return Ok(());
        }
        let order = backup::act::Order {
            release,
            namespace: &self.cluster.namespace,
            directory: &self.request.backup_dir,
            redacted: run.backups.redacted,
            keep: run.backups.keep,
        };
        match backup::act::save(&order, history, &self.lock_id) {
            Ok(path) => self.reporter.emit(Event::BackedUp { path: path.display().to_string() }),
            // Who names a directory wants one.
            Err(error) if run.backups.dir.is_some() => {
                let reason = format!("nothing was changed: {error:#}");
                let next = ["choose another --backup-dir", "--backup-keep 0 goes without a backup"];
                return Err(End::new(Outcome::Refused, exit::REFUSED, reason, &next));
            }
            Err(error) => self.reporter.emit(Event::Warning(format!("no backup: {error:#}"))),
        }
        Ok(())
    }

    fn hands(&self, release: &str) -> execute::Hands<'_> {
        execute::Hands {
            store: &self.store,
            cluster: &self.cluster,
            clock: self.clock,
            release: release.to_owned(),
            namespace: &self.cluster.namespace,
            lent: std::collections::BTreeMap::new(),
            apis: std::collections::BTreeMap::new(),
        }
    }

    async fn step(
        &self,
        step: &Step,
        release: &str,
        hands: &mut execute::Hands<'_>,
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
        let command = if *step == Step::Uninstall { Command::Uninstall } else { Command::Rollback };
        let ended = self.child(&argv, SignalBehavior::of(command, false), signals, async |_| {}).await;
        match ended {
            Ok(ended) if ended.code == Some(0) => {
                // No step follows one of Helm's, so nobody needs the records as they are now.
                self.reporter.emit(Event::Repaired(said));
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

    pub(super) fn no_records(&self, release: &str, error: StoreError) -> End {
        let verbs = "get, list, create, update, delete";
        let (code, next) = error.advice(self.request.storage.driver(), "the deployer's Role", verbs);
        let error = match error {
            StoreError::Api(kube::Error::Api(status)) if status.code == 403 => {
                anyhow::anyhow!("no permission to read the records of {release}: {}", status.message)
            }
            error => anyhow::Error::new(error).context(format!("records of release {release}")),
        };
        End::new(Outcome::Refused, code, format!("{error:#}"), &[&next])
    }
}

/// Living objects of a first install that an uninstall would delete with their data.
pub(crate) async fn precious(cluster: &Cluster, release: &str, history: &History) -> Vec<String> {
    let Some(last) = history.last().filter(|_| history.last_good().is_none()) else { return Vec::new() };
    let Some(manifest) = read_manifest(last, &cluster.namespace) else { return repair::at_stake(None) };
    let candidates: Vec<ObjectKey> = manifest.keys().filter(|key| key.is_precious()).cloned().collect();
    // Those that cannot be asked about count as living.
    let living = cluster.owned(&candidates, release, &cluster.namespace).await.unwrap_or(candidates);
    repair::at_stake(Some(&living))
}

fn reading(record: &Record, namespace: &str) -> Reading {
    let text = codec::decode(record.stored.payload()).and_then(|json| codec::manifest(&json));
    match text.map(|text| Manifest::parse(&text, namespace)) {
        Ok(Ok(_)) => Reading::Objects,
        Ok(Err(Unread::BeyondLimits(_))) => Reading::BeyondLimits,
        Err(error) if error.is_own_limit() => Reading::BeyondLimits,
        Ok(Err(_)) | Err(_) => Reading::NotYaml,
    }
}
