//! The holder of a lock, as its Lease describes it, and how messages name it. Pure.

use super::lease_name;
use crate::{
    ci::run::Owner,
    text::{PREFIX, shorten, terminal_safe, to_the_second},
};
use serde::Serialize;

/// Somebody who holds a lock, as its Lease tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Short id of this holding of the lock, as `unlock --id` takes it.
    pub lock_id: String,
    /// Unique identity of the holding process.
    pub identity: String,
    /// The run behind it.
    pub owner: Owner,
    /// What it does: `upgrade`, …
    pub operation: String,
    /// The release, or releases, that it holds the lock for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// When it got the lock, RFC 3339, by its own clock.
    pub since: String,
}

/// Who holds a lock: the run, what it does and since when.
pub fn who(holder: &Holder) -> String {
    let mut out = owner(&holder.owner);
    if out.is_empty() {
        out.clone_from(&holder.identity);
    }
    if !holder.operation.is_empty() {
        out = format!("{out}, {}", holder.operation);
    }
    if !holder.since.is_empty() {
        out = format!("{out} since {}", to_the_second(&holder.since));
    }
    out
}

/// What is known of who holds a lock: each fact's name and value.
pub fn facts(holder: &Holder) -> Vec<(&'static str, String)> {
    let owner = &holder.owner;
    let name = if owner.name.is_empty() { &holder.identity } else { &owner.name };
    // A run is named by its URL, which stands by itself.
    let name = if *name == owner.run_url && !owner.actor.is_empty() { &owner.actor } else { name };
    let since = to_the_second(&holder.since);
    let facts = [
        ("lock ID", &holder.lock_id),
        ("owner", name),
        ("run", &owner.run_url),
        ("commit", &owner.commit),
        ("operation", &holder.operation),
        ("since", &since),
    ];
    let known = facts.into_iter().filter(|(_, value)| !value.is_empty());
    known.map(|(fact, value)| (fact, value.clone())).collect()
}

/// Who holds a lock, a fact a line.
pub fn card(holder: &Holder) -> Vec<String> {
    // What makes a line safe takes blanks for one.
    let line = |(fact, value): (&str, String)| {
        format!("{PREFIX}  {:<10} {}", format!("{fact}:"), terminal_safe(&value))
    };
    facts(holder).into_iter().map(line).collect()
}

fn owner(owner: &Owner) -> String {
    let mut out = owner.name.clone();
    // `ada@laptop` names its actor already.
    if !owner.actor.is_empty() && !out.starts_with(&format!("{}@", owner.actor)) {
        out = format!("{out} by {}", owner.actor);
    }
    if !out.is_empty() && !owner.commit.is_empty() {
        out = format!("{out} at commit {}", shorten(&owner.commit, 12));
    }
    out
}

/// Where the lock is, for the commands in messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockRef {
    /// Release name.
    pub release: String,
    /// Namespace.
    pub namespace: String,
    /// Lease name.
    pub lease: String,
}

impl LockRef {
    /// The lock of a release; its Lease has another name only where a flag says so.
    pub fn new(release: &str, namespace: &str, lock_name: Option<&str>) -> Self {
        Self {
            release: release.to_owned(),
            namespace: namespace.to_owned(),
            lease: lock_name.map_or_else(|| lease_name(release), str::to_owned),
        }
    }

    /// The command that frees the lock with this ID.
    pub fn unlock(&self, id: &str, more: &str) -> String {
        // An ID in somebody's Lease is anybody's text, and people paste this line.
        let id = if id.is_empty() { String::new() } else { format!(" --id {}", quoted(id)) };
        let lease = if self.lease == lease_name(&self.release) {
            String::new()
        } else {
            format!(" --lock-name {}", self.lease)
        };
        format!("helm-guard unlock {} -n {}{lease}{id}{more}", self.release, self.namespace)
    }
}

fn quoted(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| "?".to_owned(), std::borrow::Cow::into_owned)
}

/// What a holding of a lock is named by: its lock ID, or its identity where another program wrote none.
pub fn id(holder: &Holder) -> &str {
    if holder.lock_id.is_empty() { &holder.identity } else { &holder.lock_id }
}
