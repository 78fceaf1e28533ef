//! The API server's audit log: who asked for what, when, with which client. An independent witness.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// One request and its outcome, as the API server saw it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Event {
    /// `create`, `update`, `patch`, `delete`, `get`, `list`, `watch` …
    pub verb: String,
    /// Path and query, so also `fieldManager`, `dryRun` and selectors.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// Who asked.
    pub user: User,
    /// In whose name; empty if in the own.
    #[serde(default)]
    pub impersonated_user: User,
    /// With which client, such as `Helm/3.22.0`.
    #[serde(default)]
    pub user_agent: String,
    /// What about; empty for requests that are about no object, such as discovery.
    #[serde(default)]
    pub object_ref: ObjectRef,
    /// How it ended.
    #[serde(default)]
    pub response_status: ResponseStatus,
    /// `ResponseComplete`, or `ResponseStarted` for a watch that still runs.
    pub stage: String,
    /// When the request came, in RFC 3339 with microseconds.
    pub request_received_timestamp: String,
    /// When the answer was complete.
    pub stage_timestamp: String,
    /// What was sent; only writes of Leases have it.
    #[serde(default)]
    pub request_object: Value,
}

/// Who asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct User {
    /// `admin`, `user-0`, or a part such as `system:kube-controller-manager`.
    pub username: String,
    /// Groups the user is in.
    pub groups: Vec<String>,
}

/// What a request is about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct ObjectRef {
    /// Plural and in lower case: `secrets`.
    pub resource: String,
    /// Such as `status`.
    pub subresource: String,
    /// Empty for cluster-wide objects and lists.
    pub namespace: String,
    /// Empty for lists and for creates (there it is in the body).
    pub name: String,
}

/// How a request ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ResponseStatus {
    /// The HTTP status.
    pub code: u16,
    /// What a refusal says.
    pub message: String,
}

/// Events in the order in which their answers were complete. Each filter keeps what it says.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    events: Vec<Event>,
}

impl Audit {
    /// Those lines of the log that may be of interest.
    pub(crate) fn read(path: &Path, may_be: impl Fn(&str) -> bool) -> Result<Self> {
        let text = fs::read_to_string(path).context("read the audit log")?;
        // The last line may be half written.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = complete.lines().filter(|line| may_be(line));
        let events = lines.map(serde_json::from_str).collect::<Result<_, _>>();
        Ok(Self { events: events.context("read an audit event")? })
    }

    fn keep(mut self, keep: impl Fn(&Event) -> bool) -> Self {
        self.events.retain(keep);
        self
    }

    /// Requests about objects of one namespace, or about the namespace itself.
    pub(crate) fn of_namespace(path: &Path, name: &str) -> Result<Self> {
        // Most of the log is about other tests' namespaces, and to read JSON takes longer than to find a name.
        let events = Self::read(path, |line| line.contains(name))?;
        Ok(events.keep(|event| event.object_ref.namespace == name))
    }

    /// Requests of one user.
    #[must_use]
    pub fn user(self, name: &str) -> Self {
        self.keep(|event| event.user.username == name)
    }

    /// Requests of clients whose name has `part` in it, such as `Helm/`.
    #[must_use]
    pub fn user_agent(self, part: &str) -> Self {
        self.keep(|event| event.user_agent.contains(part))
    }

    /// Requests with one verb.
    #[must_use]
    pub fn verb(self, verb: &str) -> Self {
        self.keep(|event| event.verb == verb)
    }

    /// Requests that ask for a change, dry runs included.
    #[must_use]
    pub fn writes(self) -> Self {
        self.keep(|event| !matches!(event.verb.as_str(), "get" | "list" | "watch"))
    }

    /// Requests about one resource, such as `secrets`.
    #[must_use]
    pub fn resource(self, plural: &str) -> Self {
        self.keep(|event| event.object_ref.resource == plural)
    }

    /// What is left.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// What is left, as lines such as `update secrets/sh.helm.release.v1.web.v1 200`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |event: &Event| {
            let object = &event.object_ref;
            let path: Vec<_> = [&object.resource, &object.name, &object.subresource]
                .into_iter()
                .filter(|part| !part.is_empty())
                .map(String::as_str)
                .collect();
            format!("{} {} {}", event.verb, path.join("/"), event.response_status.code)
        };
        self.events.iter().map(line).collect()
    }
}
