//! `repair`, of one release or of all that are stuck: shows each, offers the strategies that fit, and says what came of the
//! chosen one.
//! Which fit is decided in `repair/standalone.rs`; the repair itself is that of one release.

use std::io::IsTerminal;

use crate::repair::{
    Plan, Strategy,
    adopt::{Proof, look::look},
    standalone::fitting,
};
use crate::{
    cli::{AloneStrategy, Repair},
    clock::Clock,
    cluster::Cluster,
    commands::{
        list,
        session::{CommandError, connect, listen, misused, print, say},
        status,
        upgrade::guarded,
    },
    deploy::precious,
    display::Display,
    env::Env,
    exit,
    lock::holder::card,
    release::History,
    request::{self, Request},
    signals::{Signal, Signals},
    status::{State, list_entry::Entry, render},
    storage::Store,
    text::{duration, terminal_safe},
};

/// Runs `repair`: of one release, or of one after the other. Gives the exit code.
pub async fn repair(args: &Repair, env: &Env, host: &str, clock: Clock) -> u8 {
    if args.dry_run {
        return status::dry_run(args, env, clock).await;
    }
    let signals = match listen() {
        Ok(signals) => signals,
        Err(error) => return error.tell(),
    };
    if !is_wanted(args) {
        return match Request::repair(args, env, host) {
            Ok(request) => guarded(&request, env, clock, signals).await,
            Err(error) => misused("repair", &error, env, clock),
        };
    }
    let mut interactive = match InteractiveRepair::begin(args, env, clock, signals.clone()).await {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    while let Some(chosen) = interactive.next().await {
        let code = match Request::repair(&chosen, env, host) {
            Ok(request) => guarded(&request, env, clock, signals.clone()).await,
            Err(error) => return misused("repair", &error, env, clock),
        };
        interactive.done(code);
    }
    interactive.code()
}

/// Is there more than one release, or a person to choose for the one?
fn is_wanted(args: &Repair) -> bool {
    let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    args.release.is_none() || (can_ask && args.strategy.is_none() && !args.yes)
}

/// A walk through the stuck releases.
struct InteractiveRepair<'a> {
    args: &'a Repair,
    env: &'a Env,
    cluster: Cluster,
    signals: Signals,
    left: Vec<Entry>,
    all: usize,
    code: u8,
}

impl<'a> InteractiveRepair<'a> {
    /// Looks for what is stuck, and watches the holders of its locks.
    ///
    /// # Errors
    /// With the exit code, when the releases cannot be listed, or there is no terminal to ask.
    async fn begin(args: &'a Repair, env: &'a Env, clock: Clock, signals: Signals) -> Result<Self, u8> {
        let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if !(can_ask || args.yes) {
            let next = ["name the release", "or --yes, with a --strategy, for all that are stuck"];
            return Err(CommandError::new(
                exit::REFUSED,
                "no terminal to ask for a strategy: use --yes or --strategy",
                &next,
            )
            .tell());
        }
        let looked = async {
            let cluster = connect(&args.cluster, env).await?;
            let found = list::in_question(&cluster, args.all_namespaces, args.release.as_deref(), env, clock);
            Ok((found.await?, cluster))
        };
        // Holders are watched for as long as they are believed, which may be minutes.
        let looked = tokio::select! {
            biased;
            signal = signals.first() => return Err(exit::cancelled(signal.number())),
            looked = looked => looked,
        };
        let (entries, cluster) = looked.map_err(CommandError::tell)?;
        let (mut left, others): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| entry.state == State::Stuck);
        for entry in others.iter().filter(|entry| entry.state == State::Deploying) {
            say(&format!("{}: left alone: {}", place(entry), entry.cause));
        }
        if left.is_empty() {
            say("nothing is stuck");
        }
        // A repair looks in one storage, and who says nothing of it gets a list of two.
        let storage =
            request::storage(env).map_err(|error| CommandError::new(exit::USAGE, error, &[]).tell())?;
        let elsewhere: Vec<Entry> = left.extract_if(.., |entry| entry.storage != storage.driver()).collect();
        for entry in &elsewhere {
            let kind = entry.storage.resource();
            say(&terminal_safe(&format!(
                "{}: left alone: its records are in {kind}: {}",
                place(entry),
                entry.next
            )));
        }
        left.reverse();
        let code = if elsewhere.is_empty() { 0 } else { 1 };
        Ok(Self { args, env, cluster, signals, all: left.len(), left, code })
    }

    /// What is to be done next: the flags of a repair of one release. `None` at the end, or when the person stops.
    async fn next(&mut self) -> Option<Repair> {
        while let Some(entry) = self.left.pop() {
            let chosen = match self.choose(&entry).await {
                Ok(Choice::Do(chosen)) => chosen,
                Ok(Choice::Leave) => continue,
                Ok(Choice::Stop) => return None,
                Err(stop) => {
                    self.code = stop.tell();
                    continue;
                }
            };
            let mut args = self.args.clone();
            (args.release, args.strategy, args.all_namespaces) = (Some(entry.release), Some(chosen), false);
            args.cluster.namespace = Some(entry.namespace);
            return Some(args);
        }
        None
    }

    async fn choose(&mut self, entry: &Entry) -> Result<Choice, CommandError> {
        let number = self.all - self.left.len();
        say(&format!("{number} of {}: {}: {}", self.all, place(entry), entry.cause));
        if self.args.yes {
            return Ok(Choice::Do(self.args.strategy.unwrap_or_default()));
        }
        let (history, cluster) = self.history(&entry.release, &entry.namespace).await?;
        show(entry, &history);
        let fares = crate::status::health::of_release(&cluster, entry.state, &history).await;
        // The first reason is the one for which it is in the list.
        for reason in fares.iter().flat_map(|fares| &fares.reasons).skip(1) {
            say(&format!("seen: {reason}"));
        }
        let precious = precious(&cluster, &entry.release, &history).await;
        let proof = look(&cluster, &entry.release, &history, false).await;
        let plans = fitting(&history, request::history_max(self.env), &precious, &proof);
        for (_, plan) in &plans {
            say(&described(plan));
        }
        if let Proof::Fails(reasons) = &proof {
            say(&terminal_safe(&format!("it cannot be adopted: {}", reasons.join("; "))));
        }
        // Short ones: a line that wraps is not drawn over.
        let mut items: Vec<String> = plans.iter().map(|(_, plan)| plan.strategy.to_owned()).collect();
        items.extend(["leave it as it is".to_owned(), "stop here".to_owned()]);
        let ask = tokio::task::spawn_blocking(move || {
            dialoguer::Select::new()
                .with_prompt("what is to be done?")
                .items(&items)
                .default(0)
                .interact_opt()
        });
        let answer = tokio::select! {
            signal = self.signals.next() => return Ok(self.stopped(signal)),
            answer = ask => answer,
        };
        Ok(match answer {
            Ok(Ok(Some(index))) if index < plans.len() => Choice::Do(named(plans[index].0)),
            Ok(Ok(Some(index))) if index == plans.len() => Choice::Leave,
            _ => Choice::Stop,
        })
    }

    fn stopped(&mut self, signal: Signal) -> Choice {
        self.code = exit::cancelled(signal.number());
        Choice::Stop
    }

    /// One repair has ended, with this exit code. Whoever is asked to stop goes on with none.
    fn done(&mut self, code: u8) {
        if code != 0 {
            self.code = code;
        }
        if self.signals.heard().is_some() {
            self.left.clear();
        }
    }

    async fn history(&self, release: &str, namespace: &str) -> Result<(History, Cluster), CommandError> {
        let storage =
            request::storage(self.env).map_err(|error| CommandError::new(exit::USAGE, error, &[]))?;
        let cluster = Cluster { namespace: namespace.to_owned(), ..self.cluster.clone() };
        let store = Store::new(cluster.client.clone(), namespace, &storage);
        let read = store.history(release).await;
        let history = read.map_err(|error| crate::commands::session::unreadable(release, &storage, error))?;
        Ok((history, cluster))
    }

    /// The exit code: of the last that went wrong.
    fn code(&self) -> u8 {
        self.code
    }
}

enum Choice {
    Do(AloneStrategy),
    Leave,
    Stop,
}

fn place(entry: &Entry) -> String {
    format!("{} in namespace {}", entry.release, entry.namespace)
}

/// Since when it is stuck, who had its lock last, and its revisions.
fn show(entry: &Entry, history: &History) {
    if let Some(seconds) = entry.age_seconds {
        say(&format!("since {}, {} ago", entry.since, duration(seconds as f64)));
    }
    // What a lock does not tell, nobody knows: Helm writes down no owner.
    let holder = entry.lock.as_ref().and_then(|row| row.holder.as_ref());
    holder.into_iter().flat_map(card).for_each(|line| print(&line));
    // Safe as it is, with its blanks.
    render::table(&history.rows(), None, Display::default())
        .lines()
        .for_each(|line| print(&format!("helm-guard: {line}")));
}

/// A plan in a line: its name, its steps, and what it does not mend.
fn described(plan: &Plan) -> String {
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    let but = if plan.caveat.is_empty() { String::new() } else { format!("; but {}", plan.caveat) };
    terminal_safe(&format!("{}: {}{but}", plan.strategy, steps.join(", ")))
}

fn named(strategy: Strategy) -> AloneStrategy {
    match strategy {
        Strategy::Rollback => AloneStrategy::Rollback,
        Strategy::Adopt => AloneStrategy::Adopt,
        Strategy::MarkFailed => AloneStrategy::MarkFailed,
        Strategy::DeleteRecord => AloneStrategy::DeleteRecord,
        Strategy::Uninstall => AloneStrategy::Uninstall,
        Strategy::MapApis => AloneStrategy::MapApis,
        Strategy::Auto | Strategy::Rebase | Strategy::Off => AloneStrategy::Auto,
    }
}
