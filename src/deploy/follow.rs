//! Follows a release while Helm works on it: watches update the progress, which is printed and drawn.
//!
//! All that it starts ends with it. Nobody waits for it: a cluster that does not answer is one of which nothing is said.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::Client;
use serde_json::Value;
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::JoinSet,
    time::Interval,
};

use crate::progress::{
    Board, View,
    logs::{self, Source},
    throttle::{Change, Teller},
    watcher::{self, News},
};
use crate::workload::selector::{Selection, selections};
use crate::{
    clock::Clock,
    cluster::Cluster,
    diagnose::collect::{Scope, redactor},
    fence::write_log::Writes,
    report::{Awaited, Event, reporter::Reporter},
};

/// How often what changed is told, or drawn.
const BEAT: Duration = Duration::from_millis(500);
/// News that wait; a watch that brings more waits itself.
const WAITING: usize = 256;
/// Logs that are read at once, and in all.
const LOGS_AT_ONCE: usize = 8;
const LOGS: usize = 50;
/// How long the last words of hooks are waited for when Helm has ended.
const LAST_WORDS: Duration = Duration::from_millis(700);

fn beat() -> Interval {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    beat
}

/// Who is told, and what else is shown beside the cluster.
pub struct Stand<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Who shows it.
    pub reporter: &'a Arc<Reporter>,
    /// For how long things last.
    pub clock: Clock,
    /// What is waited for.
    pub awaited: Awaited,
    /// Since when, by that clock.
    pub started: Duration,
    /// What Helm wrote so far, if anybody sees that.
    pub writes: Box<dyn Fn() -> Option<Writes> + 'a>,
}

/// Follows one revision of a release.
pub struct Follower<'a> {
    stand: Stand<'a>,
    board: &'a Mutex<Board>,
    scope: Arc<Scope>,
    teller: Teller,
    selections: Vec<Selection>,
    /// What was said to be hidden.
    hidden: BTreeSet<&'static str>,
    /// Logs that were begun, and of which hooks (UIDs) one is still read.
    begun: BTreeSet<Source>,
    reading: Vec<String>,
    /// Pods that had ended before anybody looked, by UID.
    stale: BTreeSet<String>,
    client: Client,
    news: Receiver<News>,
    sender: Sender<News>,
    tasks: JoinSet<()>,
}

impl<'a> Follower<'a> {
    /// Starts the watches for what is the release's, and fills the board.
    pub fn begin(stand: Stand<'a>, scope: Scope, board: &'a Mutex<Board>) -> Self {
        let (selections, left) = selections(&scope.manifest, &scope.hook_objects);
        let (sender, news) = mpsc::channel(WAITING);
        let client = stand.cluster.patient();
        let mut tasks = JoinSet::new();
        for (number, selection) in selections.iter().enumerate() {
            tasks.spawn(watcher::watch(client.clone(), selection.clone(), number, sender.clone()));
        }
        let fresh = Board::new(&scope.manifest, &scope.hook_objects);
        *board.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        let follower = Self {
            stand,
            board,
            scope: Arc::new(scope),
            teller: Teller::default(),
            selections,
            hidden: BTreeSet::new(),
            begun: BTreeSet::new(),
            reading: Vec::new(),
            stale: BTreeSet::new(),
            client,
            news,
            sender,
            tasks,
        };
        if left > 0 {
            follower.say(Change::Partial(left));
        }
        follower
    }

    /// Follows until this is dropped.
    pub async fn follow(&mut self) -> std::convert::Infallible {
        let mut beat = beat();
        loop {
            self.step(&mut beat).await;
        }
    }

    /// Follows until all that may be watched is ready, and says so.
    pub async fn until_ready(&mut self) {
        let mut beat = beat();
        while !self.board.lock().unwrap_or_else(PoisonError::into_inner).is_rolled_out(self.selections.len())
        {
            self.step(&mut beat).await;
        }
        self.show();
    }

    async fn step(&mut self, beat: &mut Interval) {
        tokio::select! {
            Some(news) = self.news.recv() => self.hear(news),
            _ = beat.tick() => {
                // Tasks that have ended are forgotten.
                while self.tasks.try_join_next().is_some() {}
                self.show();
            }
        }
    }

    /// Helm has ended: what its hooks said last is told, if it comes soon.
    pub async fn end(mut self) {
        let last_words = async {
            self.show();
            while !self.reading.is_empty() || self.teller.owes(&self.view()) {
                let Some(news) = self.news.recv().await else { return };
                self.hear(news);
                self.show();
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    }

    fn hear(&mut self, news: News) {
        let now = self.stand.clock.monotonic();
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        match news {
            News::Lists(watch) => board.list_begins(watch),
            News::Listed(watch) => board.list_ends(watch),
            News::Gone(object) => board.lose(&object),
            News::There(watch, object, listed) => {
                board.see(watch, &object, listed, now);
                if object["kind"] == "Pod" {
                    let hook = board.hook_of(&object);
                    drop(board);
                    if let Some((uid, hook)) = hook {
                        self.read_logs(&uid, &hook, *object, listed);
                    }
                }
            }
            News::Hidden(watch) => {
                board.hide(watch);
                drop(board);
                if let Some(kind) = self.selections.get(watch).map(|selection| selection.kind.plural) {
                    self.hide(kind);
                }
            }
            News::NoLogs => {
                drop(board);
                self.hide("pods/log");
            }
            News::LogOver(uid) => {
                if let Some(at) = self.reading.iter().position(|reading| *reading == uid) {
                    self.reading.swap_remove(at);
                }
            }
            News::Line { uid, hook, container, line } => {
                drop(board);
                // First that it began.
                self.tell();
                if let Some(began) = self.teller.began(&uid, &hook) {
                    self.say(began);
                }
                self.say(Change::Log { hook, container, line });
            }
        }
    }

    fn hide(&mut self, kind: &'static str) {
        if self.hidden.insert(kind) {
            self.say(Change::Hidden(kind.to_owned()));
        }
    }

    /// Reads what the containers of a hook's pod write from now on, and what they have written.
    fn read_logs(&mut self, uid: &str, hook: &str, pod: Value, listed: bool) {
        let text = |at: &str| pod.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let own = text("/metadata/uid");
        if listed && crate::progress::is_over(&pod) && !self.begun.iter().any(|one| one.uid == uid) {
            self.stale.insert(own.clone());
        }
        if self.stale.contains(&own) {
            return;
        }
        let count = |at: &str| pod.pointer(at).and_then(Value::as_array).map_or(0, Vec::len);
        let is_alone = count("/spec/containers") + count("/spec/initContainers") == 1;
        for container in crate::progress::containers(&pod) {
            let source = Source {
                uid: uid.to_owned(),
                hook: hook.to_owned(),
                pod: text("/metadata/name"),
                namespace: text("/metadata/namespace"),
                container,
                is_alone,
            };
            if self.reading.len() >= LOGS_AT_ONCE
                || self.begun.len() >= LOGS
                || self.hidden.contains("pods/log")
                || !self.begun.insert(source.clone())
            {
                continue;
            }
            self.reading.push(source.uid.clone());
            let (cluster, scope, pod) = (self.stand.cluster.clone(), self.scope.clone(), pod.clone());
            let secrets = async move { redactor(&cluster, &scope, &pod).await };
            let (client, clock, to) = (self.client.clone(), self.stand.clock, self.sender.clone());
            self.tasks.spawn(logs::read(client, source, secrets, clock, to));
        }
    }

    fn view(&self) -> View {
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.view(self.stand.clock.monotonic())
    }

    fn show(&mut self) {
        let view = self.tell();
        if self.stand.reporter.is_terminal() {
            let elapsed = self.stand.clock.monotonic().saturating_sub(self.stand.started);
            let (awaited, writes) = (self.stand.awaited, (self.stand.writes)());
            self.stand.reporter.emit(Event::Seen { awaited, elapsed, writes, view });
        }
    }

    fn tell(&mut self) -> View {
        let view = self.view();
        let reading = self.reading.iter().cloned().collect();
        for change in self.teller.tell(&view, &reading, self.stand.clock.monotonic()) {
            self.say(change);
        }
        view
    }

    fn say(&self, change: Change) {
        self.stand.reporter.emit(Event::Told(change));
    }
}
