//! The Lease object and the values that `lock.rs` reads from it: holder, annotations, run history.
//! Sends nothing.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::api::ObjectMeta;

use super::Request;
use crate::{
    ci::run::Owner,
    clock::Clock,
    lock::{
        LeaseView,
        holder::Holder,
        joined::{self, Member},
        run_history::{self, Deployed, Lines},
    },
};

const PREFIX: &str = "helm-guard.dev/";
/// By which helm-guard's Leases are found, whatever their names.
pub(super) const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "helm-guard");

/// A sign of life. Also gives the Lease the label that [`super::list`] selects: one that an older version wrote has none.
pub(super) fn refresh(lease: &mut Lease, clock: Clock) {
    if let Some(spec) = &mut lease.spec {
        spec.renew_time = Some(MicroTime(clock.wall()));
    }
    lease.metadata.managed_fields = None;
    label(&mut lease.metadata);
}

fn label(meta: &mut ObjectMeta) {
    meta.labels.get_or_insert_default().insert(LABEL.0.into(), LABEL.1.into());
}

/// The members of the hold, as `joined.rs` wants to see them.
pub(super) fn members(lease: &Lease) -> Vec<Member> {
    view(lease).members
}

/// Writes down who works under the hold; the last one is who works now.
pub(super) fn set_members(lease: &mut Lease, members: &[Member]) {
    if let Some(last) = members.last() {
        note(lease, "lock-id", &last.lock_id);
        note(lease, "operation", &last.operation);
    }
    match joined::render(members) {
        Some(text) => note(lease, joined::NOTE, &text),
        None => forget_members(lease),
    }
}

/// Nobody works under the hold.
pub(super) fn forget_members(lease: &mut Lease) {
    if let Some(notes) = &mut lease.metadata.annotations {
        notes.remove(&format!("{PREFIX}{}", joined::NOTE));
    }
}

/// A sign of life of a member, beside [`refresh`].
pub(super) fn refresh_member(lease: &mut Lease, lock_id: &str, clock: Clock) {
    let mut members = members(lease);
    if let Some(member) = members.iter_mut().find(|member| member.lock_id == lock_id) {
        member.renewed = clock.wall().to_string();
        set_members(lease, &members);
    }
}

pub(super) fn note(lease: &mut Lease, key: &str, value: &str) {
    let notes = lease.metadata.annotations.get_or_insert_default();
    notes.insert(format!("{PREFIX}{key}"), value.to_owned());
}

/// The line of runs, as a Lease has it.
pub(super) fn lines(lease: &Lease) -> Lines {
    let notes = lease.metadata.annotations.as_ref();
    let text = notes.and_then(|notes| notes.get(&format!("{PREFIX}{}", run_history::NOTE)));
    text.map(|text| Lines::parse(text)).unwrap_or_default()
}

/// What was deployed last under a Lease, by whichever line of runs.
pub fn deployed(lease: &Lease) -> Option<Deployed> {
    lines(lease).last_deployed().cloned()
}

pub(super) fn change_lines(lease: &mut Lease, change: impl FnOnce(&mut Lines)) {
    let mut lines = lines(lease);
    change(&mut lines);
    if !lines.is_empty() {
        note(lease, run_history::NOTE, &lines.render());
    }
}

pub(super) fn holder_identity(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// The Lease as `lock.rs` wants to see it.
pub fn view(lease: &Lease) -> LeaseView {
    let empty = BTreeMap::new();
    let notes = lease.metadata.annotations.as_ref().unwrap_or(&empty);
    let note = |key: &str| notes.get(&format!("{PREFIX}{key}")).cloned().unwrap_or_default();
    let spec = lease.spec.clone().unwrap_or_default();
    let identity = spec.holder_identity.unwrap_or_default();
    let name = note("owner");
    let holder = (!identity.is_empty()).then(|| Holder {
        lock_id: note("lock-id"),
        owner: Owner {
            name: if name.is_empty() { identity.clone() } else { name },
            run_url: note("run-url"),
            run_id: note("run-id"),
            run_number: note("run-number"),
            run_attempt: note("run-attempt"),
            repository: note("repository"),
            workflow: note("workflow"),
            workflow_file: note("workflow-file"),
            job: note("job"),
            job_id: note("job-id"),
            git_ref: note("ref"),
            commit: note("commit"),
            actor: note("actor"),
        },
        operation: note("operation"),
        release: note("release"),
        since: note("since"),
        identity,
    });
    let members = joined::parse(&note(joined::NOTE), &note("lock-id"));
    LeaseView {
        holder,
        members,
        renewed: spec.renew_time.map(|time| time.0.to_string()).unwrap_or_default(),
        duration: Duration::from_secs(
            spec.lease_duration_seconds.unwrap_or_default().max(0).unsigned_abs().into(),
        ),
    }
}

/// The Lease that says "this process has it": a new one, or the found one with another holder.
pub(super) fn claim(found: Option<Lease>, request: &Request, clock: Clock) -> Lease {
    let now = MicroTime(clock.wall());
    let transitions =
        found.as_ref().and_then(|lease| lease.spec.as_ref()?.lease_transitions).unwrap_or_default();
    let mut meta = found.map(|lease| lease.metadata).unwrap_or_else(|| ObjectMeta {
        name: Some(request.lease.clone()),
        namespace: Some(request.namespace.clone()),
        ..ObjectMeta::default()
    });
    meta.managed_fields = None;
    label(&mut meta);
    let me = &request.me;
    let notes = meta.annotations.get_or_insert_default();
    for (key, value) in [
        ("lock-id", &me.lock_id),
        ("release", &me.release),
        ("owner", &me.owner.name),
        ("run-url", &me.owner.run_url),
        ("run-id", &me.owner.run_id),
        ("run-number", &me.owner.run_number),
        ("run-attempt", &me.owner.run_attempt),
        ("repository", &me.owner.repository),
        ("workflow", &me.owner.workflow),
        ("workflow-file", &me.owner.workflow_file),
        ("job", &me.owner.job),
        ("job-id", &me.owner.job_id),
        ("ref", &me.owner.git_ref),
        ("commit", &me.owner.commit),
        ("actor", &me.owner.actor),
        ("operation", &me.operation),
        ("since", &me.since),
    ] {
        let key = format!("{PREFIX}{key}");
        if value.is_empty() {
            notes.remove(&key)
        } else {
            notes.insert(key, value.clone())
        };
    }
    // Seconds, rounded up: the API knows no smaller unit, and 0 is refused.
    let seconds = request.times.duration.as_millis().div_ceil(1000).max(1);
    let mut lease = Lease {
        metadata: meta,
        spec: Some(LeaseSpec {
            holder_identity: Some(me.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(1)),
            ..LeaseSpec::default()
        }),
    };
    forget_members(&mut lease);
    change_lines(&mut lease, |lines| lines.enter(me));
    lease
}
