//! Which texts of events are not this program's own: the one place where a report loses its secrets, before anything is
//! rendered, cut or escaped. Pure. Names of runs, releases and locks stay as they are: people look for them.

use super::Event;
use crate::workload::{PodTrouble, WarningEvent, Workload};
use crate::{
    diagnose::{Cause, Refusal, render::Diagnosis},
    health,
    preflight::Finding,
    progress::{Hook, Row, Trouble, View, throttle::Change},
    redact::{Redact, Redactor},
    release::Revision,
};

/// Every field has to be named, so that a new one is not forgotten.
macro_rules! redacted {
    ($($name:path { $($text:ident),* ; $($plain:ident),* })*) => { $(
        impl Redact for $name {
            fn redact(&mut self, by: &Redactor) {
                let Self { $($text,)* $($plain: _),* } = self;
                $($text.redact(by);)*
            }
        }
    )* };
}

redacted! {
    Revision { description, undecodable; revision, status, chart, app_version, updated }
    Workload { reasons; kind, name, ready, wanted }
    PodTrouble { reason, message; pod, container, restarts }
    WarningEvent { reason, message; object, count }
    Cause { summary, evidence, remedy; id, object }
    Refusal { message; method, path, code }
    Finding { field, cause, live, wanted, remedy; id, weight, object }
    health::Finding { reasons; health, revision }
    Trouble { pod; since, lasts, more, is_early }
    Row { trouble; object, count }
    View { rows, hooks; }
    Diagnosis { causes, pods, events; schema_version, release, namespace, status, hidden }
}

impl Redact for Hook {
    fn redact(&mut self, by: &Redactor) {
        let Self { ended, trouble, uid: _, object: _, ran: _ } = self;
        if let Some(Err(why)) = ended {
            why.redact(by);
        }
        trouble.redact(by);
    }
}

impl Redact for Change {
    fn redact(&mut self, by: &Redactor) {
        match self {
            Self::Row(row) => row.redact(by),
            Self::Ended(hook) => hook.redact(by),
            Self::Log { line, hook: _, container: _ } => line.redact(by),
            Self::Began(_) | Self::Hidden(_) | Self::Partial(_) | Self::Enough => {}
        }
    }
}

impl Redact for Event {
    fn redact(&mut self, by: &Redactor) {
        match self {
            Self::Warning(text) | Self::Recreated(text) | Self::Repaired(text) | Self::Settled(text) => {
                text.redact(by);
            }
            Self::Looked(rows) | Self::LookedAgain(rows) => rows.redact(by),
            Self::Disproven { error } | Self::HelmEnded { error, code: _, took: _ } => error.redact(by),
            Self::Foreseen { findings, took: _, refuses: _ } | Self::StillMissing(findings) => {
                findings.redact(by)
            }
            Self::FaredBefore(found) | Self::FaresAfter(found) => found.redact(by),
            Self::RepairPlanned { finding, why, strategy: _ } => {
                finding.redact(by);
                why.redact(by);
            }
            Self::RunOver { why, holder: _ } => why.redact(by),
            Self::Progress { waiting_for, elapsed: _, writes: _ }
            | Self::Rollout { waiting_for, elapsed: _ } => waiting_for.redact(by),
            Self::Stopping { cause } => cause.redact(by),
            Self::Diagnosed { causes, refusals } => {
                causes.redact(by);
                refusals.redact(by);
            }
            Self::Trouble { pods, events } => {
                pods.redact(by);
                events.redact(by);
            }
            Self::Seen { view, awaited: _, elapsed: _, writes: _ } => view.redact(by),
            Self::Told(change) => change.redact(by),
            Self::Finished { reason, next, outcome: _, exit_code: _ } => {
                reason.redact(by);
                next.redact(by);
            }
            // Words of this program, names, numbers, and paths of files.
            Self::Started(_)
            | Self::LockWaiting { .. }
            | Self::LockKept(_)
            | Self::LockAcquired { .. }
            | Self::Proven { .. }
            | Self::BackedUp { .. }
            | Self::BackupSaved { .. }
            | Self::HelmPhases(_)
            | Self::HelmStarted
            | Self::HelmVersion(_)
            | Self::Changed(_)
            | Self::RolledOut => {}
        }
    }
}
