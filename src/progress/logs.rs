//! Reads the log of a hook's container as it comes. What is secret in it stays here.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::LogParams};
use tokio::sync::mpsc::Sender;

use super::{
    line_buffer::{Lines, Pace, SHOWN},
    watcher::News,
};
use crate::{clock::Clock, redact::Redactor, text::shorten};

/// A container of a hook's pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// UID of the hook.
    pub uid: String,
    /// `Kind/name` of the hook.
    pub hook: String,
    /// Its pod, and the pod's namespace.
    pub pod: String,
    /// See there.
    pub namespace: String,
    /// The container.
    pub container: String,
    /// Is it the only one of its pod?
    pub is_alone: bool,
}

/// Between two tries to read a log that broke off, or is not there yet.
const PAUSE: Duration = Duration::from_secs(2);
/// Bytes read at once.
const PIECE: usize = 8 << 10;

/// Tells the lines of a log, as many as the pace lets through, and that it is over. `secrets` is what must not be seen of
/// it, or why that is not known: then nothing of it is told.
pub async fn read(
    client: Client,
    source: Source,
    secrets: impl Future<Output = Result<Redactor, String>> + Send,
    clock: Clock,
    to: Sender<News>,
) {
    let mut log = match secrets.await {
        Ok(secrets) => Log { source, secrets, clock, pace: Pace::default(), told: 0, to },
        Err(why) => {
            let line = format!("(withheld: {why})");
            let Source { uid, hook, container, .. } = source;
            let _ = to.send(News::Line { uid: uid.clone(), hook, container, line }).await;
            let _ = to.send(News::LogOver(uid)).await;
            return;
        }
    };
    log.follow(client).await;
    if log.pace.left_out > 0 {
        log.say(format!("({} lines left out)", log.pace.left_out)).await;
    }
    let _ = log.to.send(News::LogOver(log.source.uid)).await;
}

struct Log {
    source: Source,
    secrets: Redactor,
    clock: Clock,
    pace: Pace,
    /// Lines of it that were told, or left out.
    told: usize,
    to: Sender<News>,
}

impl Log {
    async fn follow(&mut self, client: Client) {
        let pods: Api<Pod> = Api::namespaced(client, &self.source.namespace);
        let container = Some(self.source.container.clone());
        let params = LogParams { container, follow: true, ..LogParams::default() };
        while !self.to.is_closed() {
            match pods.log_stream(&self.source.pod, &params).await {
                Ok(log) => {
                    if self.pass(log).await {
                        return;
                    }
                }
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    let _ = self.to.send(News::NoLogs).await;
                    return;
                }
                // The pod is gone, and its log with it.
                Err(kube::Error::Api(status)) if status.code == 404 => return,
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Passes it on. Is it over? One that broke off is read again from its beginning, less what was told: no other place
    /// in it is known for sure.
    async fn pass(&mut self, log: impl AsyncRead) -> bool {
        let mut log = std::pin::pin!(log);
        let mut lines = Lines::default();
        let mut buffer = vec![0; PIECE];
        let mut seen = 0;
        loop {
            let (whole, is_over) = match log.read(&mut buffer).await {
                Ok(0) => (lines.end().into_iter().collect(), true),
                Ok(read) => (lines.push(&buffer[..read]), false),
                Err(_) => return false,
            };
            for line in whole {
                seen += 1;
                if seen <= self.told {
                    continue;
                }
                self.told = seen;
                if self.pace.admits(self.clock.monotonic())
                    && !self.say(shorten(&self.secrets.clean_log(&line), SHOWN)).await
                {
                    return true;
                }
            }
            if is_over {
                return true;
            }
        }
    }

    /// Is there still somebody to tell?
    async fn say(&self, line: String) -> bool {
        let source = &self.source;
        let container = if source.is_alone { String::new() } else { source.container.clone() };
        let (uid, hook) = (source.uid.clone(), source.hook.clone());
        self.to.send(News::Line { uid, hook, container, line }).await.is_ok()
    }
}
