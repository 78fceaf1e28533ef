//! One watch: lists what there is, hears of each change, and goes on after whatever breaks it.

use std::time::Duration;

use futures::StreamExt;
use http::Request;
use kube::{Client, api::WatchEvent};
use serde_json::Value;
use tokio::sync::mpsc::Sender;

use crate::workload::selector::Selection;

/// What a watch, or a log, tells. A watch is known by its number.
#[derive(Debug)]
pub enum News {
    /// It begins to list what there is.
    Lists(usize),
    /// That was all.
    Listed(usize),
    /// An object, as it is now; whether it was in a list.
    There(usize, Box<Value>, bool),
    /// An object that is gone, as it was.
    Gone(Box<Value>),
    /// It may not be watched: nothing more comes.
    Hidden(usize),
    /// A line of a hook's log.
    Line {
        /// UID of the hook.
        uid: String,
        /// `Kind/name` of the hook.
        hook: String,
        /// Container, where the pod has more than one.
        container: String,
        /// Without what is secret.
        line: String,
    },
    /// A log is read to its end: that of a hook with this UID.
    LogOver(String),
    /// Logs may not be read.
    NoLogs,
}

/// Objects of one page of a list.
const PAGE: usize = 250;
/// Pages that are read; objects behind them come with their changes.
const PAGES: usize = 40;
/// How long the API server keeps a watch open, and how much later it is given up.
const OPEN: u64 = 290;
const GRACE: u64 = 10;
/// Between two tries, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Why a watch stopped.
enum Stopped {
    /// It ended as watches do: it goes on where it was.
    Open(String),
    /// It broke, or never began.
    Broken(String),
    /// What it knows is too old: what there is must be listed again.
    Expired,
    /// It may not be.
    Forbidden,
    /// Nobody listens any more.
    Over,
}

/// Watches until nobody listens, or it may not.
pub async fn watch(client: Client, selection: Selection, number: usize, to: Sender<News>) {
    let one = Watch { client, selection, number, to };
    let mut version = None;
    let mut pause = PAUSE;
    loop {
        let stopped = match version.take() {
            Some(version) => one.changes(version).await,
            None => one.all().await,
        };
        match stopped {
            Stopped::Open(at) => (version, pause) = (Some(at), PAUSE),
            Stopped::Broken(at) => {
                version = Some(at).filter(|at| !at.is_empty());
                pause = (pause * 2).min(LONGEST);
            }
            Stopped::Expired => pause = PAUSE,
            Stopped::Forbidden => {
                let _ = one.to.send(News::Hidden(number)).await;
                return;
            }
            Stopped::Over => return,
        }
        tokio::time::sleep(pause).await;
    }
}

struct Watch {
    client: Client,
    selection: Selection,
    number: usize,
    to: Sender<News>,
}

impl Watch {
    /// Lists what there is, then hears of changes.
    async fn all(&self) -> Stopped {
        if self.to.send(News::Lists(self.number)).await.is_err() {
            return Stopped::Over;
        }
        let mut more = String::new();
        let mut version = String::new();
        for _ in 0..PAGES {
            let path = self.selection.path(&[("limit", &PAGE.to_string()), ("continue", &more)]);
            let Ok(request) = Request::get(path).body(Vec::new()) else { return Stopped::Forbidden };
            let mut page = match self.client.request::<Value>(request).await {
                Ok(page) => page,
                Err(error) => return broken(&error, String::new()),
            };
            let text = |at: &str| page.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
            (more, version) = (text("/metadata/continue"), text("/metadata/resourceVersion"));
            let items = page.get_mut("items").map(Value::take);
            for mut object in
                items.and_then(|items| serde_json::from_value::<Vec<Value>>(items).ok()).into_iter().flatten()
            {
                // In a list they do not say what they are.
                object["kind"] = self.selection.kind.name.into();
                if self.to.send(News::There(self.number, Box::new(object), true)).await.is_err() {
                    return Stopped::Over;
                }
            }
            if more.is_empty() {
                break;
            }
        }
        if self.to.send(News::Listed(self.number)).await.is_err() {
            return Stopped::Over;
        }
        self.changes(version).await
    }

    /// Hears of changes since a version.
    async fn changes(&self, mut version: String) -> Stopped {
        let path = self.selection.path(&[
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", &OPEN.to_string()),
            ("resourceVersion", &version),
        ]);
        let Ok(request) = Request::get(path).body(Vec::new()) else { return Stopped::Forbidden };
        let events = match self.client.request_events::<Value>(request).await {
            Ok(events) => events,
            Err(error) => return broken(&error, version),
        };
        let mut events = std::pin::pin!(events);
        loop {
            // The other end may be gone without a word.
            let limit = Duration::from_secs(OPEN + GRACE);
            let Ok(event) = tokio::time::timeout(limit, events.next()).await else {
                return Stopped::Open(version);
            };
            let news = match event {
                None => return Stopped::Open(version),
                Some(Err(error)) => return broken(&error, version),
                Some(Ok(WatchEvent::Error(status))) if status.code == 410 => return Stopped::Expired,
                Some(Ok(WatchEvent::Error(_))) => return Stopped::Broken(version),
                Some(Ok(WatchEvent::Bookmark(mark))) => {
                    version = mark.metadata.resource_version;
                    continue;
                }
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    News::There(self.number, Box::new(object), false)
                }
                Some(Ok(WatchEvent::Deleted(object))) => News::Gone(Box::new(object)),
            };
            if let News::There(_, object, _) | News::Gone(object) = &news
                && let Some(at) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str)
            {
                at.clone_into(&mut version);
            }
            if self.to.send(news).await.is_err() {
                return Stopped::Over;
            }
        }
    }
}

fn broken(error: &kube::Error, version: String) -> Stopped {
    match error {
        kube::Error::Api(status) if matches!(status.code, 403..=405) => Stopped::Forbidden,
        kube::Error::Api(status) if status.code == 410 => Stopped::Expired,
        _ => Stopped::Broken(version),
    }
}
