//! `unlock`: watches the holder, takes the lock from it, settles the records, gives the lock back, says what is.
//! What may be done is decided in `unlock.rs`.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::lock::holder::{LockRef, id};
use crate::unlock::{Consent, Flags, Verdict, decide, orphan, settling, standing};
use crate::{
    ci,
    cli::Unlock,
    clock::Clock,
    cluster::Cluster,
    copies::Shelf,
    env::Env,
    exit,
    id::random,
    lock::{
        Life, Observer, Times, belief,
        contender::Queue,
        holder::{Holder, card, who},
        lease::{self, Claims, Held, LockError},
    },
    output::Json,
    release::{History, stored_record::Driver},
    repair::execute,
    request::{self, cluster_target},
    signals::{Signal, Signals},
    storage::{Store, StoreError},
    text::{duration, inert_line, terminal_safe},
};

/// How many copies of records stay, as of a repair by default.
const COPIES: u32 = 10;

/// Lease duration of the hold under which records are settled.
const OURS: Duration = Duration::from_secs(15);

/// What was done, for `-o json`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    release: String,
    namespace: String,
    lease: String,
    /// `dry-run`, `freed`, `taken` (and not given back), `vacant` (nobody held it), `refused`, `cancelled` or `unavailable`.
    outcome: &'static str,
    /// Why it was refused or ended.
    reason: String,
    next: Vec<String>,
    /// Who held it.
    holder: Option<Holder>,
    settled: Vec<String>,
    backup: String,
    /// The records at the end, oldest first.
    revisions: Vec<crate::release::Revision>,
}

/// Why it ends before its time.
enum Stop {
    Refused {
        why: String,
        next: Vec<String>,
    },
    Cancelled(Signal),
    /// All that is left to do would write.
    DryRun,
    Unavailable(anyhow::Error),
    /// The lock is free, or lost, and the records are not as they should be.
    Unfinished(anyhow::Error),
}

impl From<LockError> for Stop {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Forbidden { .. } => Self::Refused {
                why: error.to_string(),
                next: vec!["add this rule to your Role: {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update, delete]}".into()],
            },
            LockError::NoNamespace(_) => Self::Refused { why: error.to_string(), next: Vec::new() },
            error => Self::Unavailable(error.into()),
        }
    }
}

/// Runs `unlock`. Gives the exit code.
pub async fn unlock(args: &Unlock, env: &Env, host: &str, clock: Clock) -> u8 {
    let storage = match request::storage(env) {
        Ok(storage) => storage,
        Err(error) => {
            say(&format!("error: {error}"));
            return exit::USAGE;
        }
    };
    let connected = async {
        let signals = Signals::listen().context("signals")?;
        anyhow::Ok((Cluster::connect(&cluster_target(&args.cluster, env)).await?, signals))
    };
    let (cluster, signals) = match connected.await {
        Ok(both) => both,
        Err(error) => {
            say(&format!("error: {error:#}"));
            say("hint: check --kubeconfig, --kube-context and KUBECONFIG");
            return exit::UNAVAILABLE;
        }
    };
    let place = LockRef::new(&args.release, &cluster.namespace, args.lock_name.as_deref());
    let lock_id = random();
    let owner = ci::owner(env, host);
    let me = Holder {
        identity: format!("{}-unlock-{lock_id}-{}", owner.name, std::process::id()),
        lock_id,
        owner,
        operation: "unlock".into(),
        release: args.release.clone(),
        since: clock.wall().to_string(),
    };
    let mut report = Report {
        schema_version: 1,
        release: place.release.clone(),
        namespace: place.namespace.clone(),
        lease: place.lease.clone(),
        ..Report::default()
    };
    let mut work = Work {
        store: Store::new(cluster.client.clone(), &cluster.namespace, &storage),
        driver: storage.driver(),
        backup_dir: args.backup_dir.clone().unwrap_or_else(|| request::backup_dir(env)),
        flags: Flags { id: args.id.clone(), force: args.force, consent: consent(args.yes || args.dry_run) },
        dry_run: args.dry_run,
        cluster,
        place,
        me,
        clock,
        signals,
        report: &mut report,
    };
    let ended = work.run().await;
    let code = work.end(ended);
    if args.output == Some(Json::Json) {
        let json = serde_json::to_string_pretty(&report).unwrap_or_default();
        let _ = writeln!(std::io::stdout(), "{json}");
    }
    code
}

/// Who can be asked sits at both ends: the question goes to stderr.
fn consent(yes: bool) -> Consent {
    if yes {
        Consent::Given
    } else if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        Consent::CanAsk
    } else {
        Consent::CannotAsk
    }
}

struct Work<'a> {
    cluster: Cluster,
    store: Store,
    driver: Driver,
    place: LockRef,
    backup_dir: PathBuf,
    flags: Flags,
    dry_run: bool,
    me: Holder,
    clock: Clock,
    signals: Signals,
    report: &'a mut Report,
}

impl Work<'_> {
    async fn run(&mut self) -> Result<(), Stop> {
        let Some((held, may_write)) = self.take().await? else { return self.vacant().await };
        let settled = self.under_lock(&held, may_write).await;
        if let (Err(Stop::Cancelled(_)), Some(left)) = (&settled, may_write) {
            // Nobody else may start before its former holder has ended.
            say(&format!("lease {} runs out by itself after {}", held.name(), in_words(left)));
            held.leave();
            return settled;
        }
        if !held.is_held() {
            let error = anyhow::anyhow!("another run has taken the lock meanwhile");
            return settled.and(Err(Stop::Unfinished(error)));
        }
        let released = held.release(false).await.context("the lock runs out by itself");
        if released.is_ok() {
            self.report.outcome = "freed";
        }
        settled?;
        released.map_err(Stop::Unfinished)
    }

    /// Watches, asks, takes the lock. `None` when nobody holds it; with it, for how long its holder may still be writing.
    async fn take(&mut self) -> Result<Option<(Held, Option<Duration>)>, Stop> {
        let mut observer = Observer::default();
        let mut bar = None;
        loop {
            let client = self.cluster.client.clone();
            let found = lease::find(client, &self.place.namespace, &self.place.lease).await?;
            let now = self.clock.monotonic();
            let view = found.as_ref().map(lease::view);
            let life = view.as_ref().map_or(Life::Unknown, |view| observer.life(view, now));
            self.met(view.as_ref().and_then(|view| view.holder.as_ref()));
            match (decide(view.as_ref(), life, &self.flags, &self.place), view, found) {
                (Verdict::Refuse { why, next }, ..) => return Err(Stop::Refused { why, next }),
                (Verdict::Watch, Some(view), _) => {
                    let bar = bar.get_or_insert_with(|| {
                        watching(&format!("watching it for {}: does it renew?", in_words(belief(&view))))
                    });
                    bar.tick();
                    let pause = Times::new(belief(&view)).look_every;
                    tokio::select! {
                        signal = self.signals.next() => return Err(Stop::Cancelled(signal)),
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                (Verdict::Ask(question), ..) => {
                    clear(&mut bar);
                    self.ask(question).await?;
                }
                (Verdict::Free { .. }, Some(view), Some(_)) if self.dry_run => {
                    clear(&mut bar);
                    say(&format!("dry run: would free lock {}", id(&view.holder.unwrap_or_default())));
                    self.would_settle().await?;
                    return Err(Stop::DryRun);
                }
                (Verdict::Free { may_write }, Some(view), Some(found)) => {
                    clear(&mut bar);
                    let theirs = belief(&view).max(OURS);
                    let client = self.cluster.client.clone();
                    if let Some(held) = lease::seize(client, &self.wanted(theirs), found, self.clock).await? {
                        let from = view.holder.unwrap_or_default();
                        say(&format!("lock {} is taken from its holder", id(&from)));
                        return Ok(Some((held, may_write.then_some(theirs))));
                    }
                    // It renewed at this very moment, or was let go: look again.
                }
                (Verdict::Vacant | Verdict::Free { .. } | Verdict::Watch, ..) => return Ok(None),
            }
        }
    }

    /// Tells who has the lock, once, and from then on means that lock and no other.
    fn met(&mut self, holder: Option<&Holder>) {
        let (Some(holder), None) = (holder, &self.report.holder) else { return };
        say(&format!("lease {} in namespace {} is held:", self.place.lease, self.place.namespace));
        for line in card(holder) {
            print(&line);
        }
        if self.flags.force && self.flags.id.is_none() {
            self.pinned(holder);
        }
        self.report.holder = Some(holder.clone());
    }

    fn pinned(&mut self, holder: &Holder) {
        self.flags.id = Some(id(holder).to_owned());
    }

    async fn ask(&mut self, question: String) -> Result<(), Stop> {
        let question = terminal_safe(&question);
        let ask = tokio::task::spawn_blocking(move || {
            dialoguer::Confirm::new().with_prompt(question).default(false).interact_opt()
        });
        let answer = tokio::select! {
            signal = self.signals.next() => return Err(Stop::Cancelled(signal)),
            answer = ask => answer,
        };
        let yes = matches!(answer, Ok(Ok(Some(true))));
        self.flags.consent = if yes { Consent::Given } else { Consent::Declined };
        Ok(())
    }

    fn wanted(&self, duration: Duration) -> lease::Request {
        lease::Request {
            lease: self.place.lease.clone(),
            namespace: self.place.namespace.clone(),
            me: self.me.clone(),
            times: Times::new(duration),
            timeout: Duration::ZERO,
            within: None,
            is_new: false,
        }
    }

    /// Nobody holds it. A pending record is settled only if somebody answers for it, and under the lock.
    async fn vacant(&mut self) -> Result<(), Stop> {
        self.report.outcome = "vacant";
        say(&format!("lease {} in namespace {}: no run holds it", self.place.lease, self.place.namespace));
        let history = self.history().await?;
        loop {
            match orphan(&history, &self.flags, &self.place) {
                Verdict::Vacant | Verdict::Watch => {
                    self.look(&history);
                    return Ok(());
                }
                Verdict::Refuse { why, next } => {
                    self.look(&history);
                    return Err(Stop::Refused { why, next });
                }
                Verdict::Ask(question) => self.ask(question).await?,
                Verdict::Free { .. } => break,
            }
        }
        if self.dry_run {
            self.would_settle().await?;
            return Err(Stop::DryRun);
        }
        let client = self.cluster.client.clone();
        let signals = self.signals.clone();
        let stop = async { _ = signals.first().await };
        let mut queue = Queue::alone(self.clock);
        let wanted = self.wanted(OURS);
        let held = match lease::acquire(client, &wanted, self.clock, &mut queue, stop, |_, _| {}).await {
            Ok(acquired) => acquired.held,
            Err(LockError::Timeout { holder, .. }) => {
                let why = format!("another run took the lock meanwhile: {}", who(&holder));
                return Err(Stop::Refused { why, next: vec![self.place.unlock(id(&holder), "")] });
            }
            Err(LockError::Stopped { .. }) => {
                return Err(Stop::Cancelled(self.signals.first().await));
            }
            Err(error) => return Err(error.into()),
        };
        let settled = self.settle(&held).await;
        let released = held.release(false).await.context("the lock runs out by itself");
        settled?;
        released.map_err(Stop::Unfinished)
    }

    /// The lock is ours. Its former holder's time must have passed before a record is touched: until then its Helm may
    /// still save one.
    async fn under_lock(&mut self, held: &Held, may_write: Option<Duration>) -> Result<(), Stop> {
        self.report.outcome = "taken";
        if let Some(theirs) = may_write {
            let from = self.report.holder.clone().unwrap_or_default();
            if from.operation == crate::lock::ACQUIRE {
                // Whatever works under such a hold does not hear of its end.
                let history = self.history().await?;
                if self.look(&history) {
                    return Ok(());
                }
                say(&format!(
                    "hint: if no command works under it any more: {}",
                    self.place.unlock("", " --force")
                ));
                let why = "its record is left as it is: a command may still work under the lock";
                return Err(Stop::Unfinished(anyhow::anyhow!(why)));
            }
            self.wait(held, theirs).await?;
        }
        self.settle(held).await
    }

    async fn wait(&mut self, held: &Held, limit: Duration) -> Result<(), Stop> {
        let bar =
            watching(&format!("waiting {}: until then the former holder may still write", in_words(limit)));
        let ended = tokio::select! {
            signal = self.signals.next() => Err(Stop::Cancelled(signal)),
            why = held.lost() => Err(Stop::Unfinished(anyhow::anyhow!("the lock was lost: {why}"))),
            () = tokio::time::sleep(limit) => Ok(()),
        };
        clear(&mut Some(bar));
        ended
    }

    async fn history(&self) -> Result<History, Stop> {
        let read = self.store.history(&self.place.release).await;
        read.map_err(|error| self.unreadable(error))
    }

    /// The records cannot be read: with the code and the advice that all commands give then.
    fn unreadable(&self, error: StoreError) -> Stop {
        let (code, next) = error.advice(self.driver, "your Role", "get, list, create, update");
        let error = anyhow::Error::new(error).context(format!("records of release {}", self.place.release));
        // Once the lock was taken from its holder, it cannot be said that nothing was changed.
        if code == exit::REFUSED && self.report.outcome != "taken" {
            return Stop::Refused { why: format!("{error:#}"), next: vec![next] };
        }
        Stop::Unavailable(error)
    }

    /// Says how the release stands, and keeps it for the report. Can it be deployed?
    fn look(&mut self, history: &History) -> bool {
        let (said, free) = standing(history, &self.place);
        say(&said);
        self.report.revisions = history.rows();
        free
    }

    /// What [`Self::settle`] would do.
    async fn would_settle(&mut self) -> Result<(), Stop> {
        let history = self.history().await?;
        for step in settling(&history) {
            say(&format!("dry run: would set {step}"));
        }
        self.report.revisions = history.rows();
        Ok(())
    }

    /// No record stays pending; copies first, and what came of it is read again.
    async fn settle(&mut self, held: &Held) -> Result<(), Stop> {
        let mut history = self.history().await?;
        let planned = settling(&history);
        let (release, lock_id) = (self.place.release.clone(), self.me.lock_id.clone());
        let (directory, namespace) = (self.backup_dir.as_path(), self.place.namespace.as_str());
        let shelf = Shelf { directory, namespace, keep: COPIES };
        let saved = execute::backup(&shelf, &release, &lock_id, &history, &planned);
        if let Some((path, _)) = saved.map_err(Stop::Unfinished)? {
            self.report.backup = path.display().to_string();
            say(&format!("a copy of the records is saved: {}", path.display()));
            say(&format!("hint: to put them back: helm-guard restore {}", path.display()));
        }
        let lock = Claims::new(vec![held.claim()], self.clock);
        let store = self.store.clone().under(&self.cluster.wire, lock, &lock_id);
        for step in &planned {
            let mut hands = execute::Hands {
                store: &store,
                cluster: &self.cluster,
                clock: self.clock,
                release: release.clone(),
                namespace: &self.place.namespace,
                lent: std::collections::BTreeMap::new(),
                apis: std::collections::BTreeMap::new(),
            };
            let said = hands.act(step, &mut history).await.map_err(Stop::Unfinished)?;
            if let Some(said) = said {
                say(&format!("settled: {said}"));
                self.report.settled.push(said);
            }
        }
        let history = self.history().await?;
        if self.look(&history) {
            Ok(())
        } else {
            Err(Stop::Unfinished(anyhow::anyhow!(
                "a record became pending meanwhile: another helm is running"
            )))
        }
    }

    /// The last words, and the exit code.
    fn end(&mut self, ended: Result<(), Stop>) -> u8 {
        let freed = self.report.outcome == "freed";
        let holder = self.report.holder.clone().unwrap_or_default();
        let (code, outcome, reason, next) = match ended {
            Ok(()) => (0, self.report.outcome, String::new(), Vec::new()),
            Err(Stop::Refused { why, next }) => (exit::REFUSED, "refused", why, next),
            Err(Stop::Cancelled(signal)) => {
                (exit::cancelled(signal.number()), "cancelled", signal.name().to_owned(), Vec::new())
            }
            Err(Stop::DryRun) => (0, "dry-run", String::new(), Vec::new()),
            Err(Stop::Unavailable(error)) => {
                let next = vec!["kubectl get --raw /readyz".to_owned()];
                (exit::UNAVAILABLE, "unavailable", format!("{error:#}"), next)
            }
            Err(Stop::Unfinished(error)) => (1, self.report.outcome, format!("{error:#}"), Vec::new()),
        };
        if freed {
            say(&format!("lock {} is free", id(&holder)));
        }
        if !reason.is_empty() {
            let word = if outcome == "refused" { "refused" } else { "error" };
            say(&format!("{word}: {reason}"));
        }
        for line in &next {
            say(&format!("hint: {line}"));
        }
        (self.report.outcome, self.report.reason, self.report.next) = (outcome, reason, next);
        code
    }
}

/// What goes on: a line that moves for a person, a line that stays elsewhere.
fn watching(text: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        say(text);
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(terminal_safe(text));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn in_words(time: Duration) -> String {
    duration(time.as_secs_f64())
}

fn clear(bar: &mut Option<ProgressBar>) {
    if let Some(bar) = bar.take() {
        bar.finish_and_clear();
    }
}

fn say(text: &str) {
    print(&format!("helm-guard: {}", terminal_safe(text)));
}

/// Names in Leases are anybody's, and a closed terminal must not stop the work.
fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", inert_line(line));
}
