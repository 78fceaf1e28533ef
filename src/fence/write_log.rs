//! The log of Helm's writes and their results. Pure: `fence/proxy.rs` adds the entries.

use crate::text::shorten;
use serde::Serialize;
use std::collections::VecDeque;

use http::Method;

/// How many writes are remembered.
const REMEMBERED: usize = 1000;

/// A write of Helm's and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// The HTTP status; that of the fence's own answer where the API server gave none.
    pub code: u16,
    /// What the API server, or the fence, says of a refusal. Untrusted text.
    pub message: String,
}

/// What is known of Helm's writes.
#[derive(Debug, Default)]
pub struct Log {
    last: VecDeque<Written>,
    writes: Writes,
}

impl Log {
    /// Adds a write. `words`: the write in words, if it is one that counts.
    pub fn add(&mut self, write: Written, words: Option<String>) {
        if let Some(words) = words.filter(|_| write.code < 400) {
            self.writes.count += 1;
            self.writes.last = words;
        }
        self.last.push_back(write);
        if self.last.len() > REMEMBERED {
            self.last.pop_front();
        }
    }

    /// The last of Helm's writes, oldest first.
    pub fn last(&self) -> Vec<Written> {
        self.last.iter().cloned().collect()
    }

    /// What Helm wrote so far, its records aside.
    pub fn writes(&self) -> &Writes {
        &self.writes
    }
}

/// What Helm wrote to the cluster, its release records aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Writes {
    /// Writes that the API server took.
    pub count: u64,
    /// The last of them: `patch deployments/web`, `create jobs`.
    pub last: String,
}

/// `4 writes, the last: patch deployments/web`.
pub fn wrote(writes: &Writes) -> String {
    match writes.count {
        0 => "nothing written yet".to_owned(),
        1 => format!("1 write: {}", shorten(&writes.last, 120)),
        count => format!("{count} writes, the last: {}", shorten(&writes.last, 120)),
    }
}
