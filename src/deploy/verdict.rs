//! What the preflight knows before Helm has rendered, and what was found when it has: one value that the stages share.

use crate::{
    health,
    manifest::{Manifest, ObjectKey},
    preflight::{Finding, references::Reference},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// A StatefulSet as it lives, and as it is wanted.
pub(super) type Set = (ObjectKey, Value, Value);

/// What is known before Helm says what it is about to do.
pub(super) struct Known {
    pub(super) past: Past,
    pub(super) findings: Vec<Finding>,
}

/// What of a release's past counts for its next deploy.
#[derive(Clone, Default)]
pub(super) struct Past {
    /// The manifest in force.
    pub(super) before: Manifest,
    /// Did its revision complete, and none came after it?
    pub(super) is_good: bool,
    /// Was it applied on the server's side?
    pub(super) was_server_side: bool,
    /// The next revision.
    pub(super) next: u32,
    /// Revisions whose records go to make room for the next.
    pub(super) pruned: Vec<u32>,
}

/// What is known of a deploy that is judged while Helm holds its breath.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) awaited: AtomicBool,
    pub(super) refused: Mutex<Option<Vec<Finding>>>,
    pub(super) fared: Mutex<Option<health::Finding>>,
    pub(super) recreated: Mutex<Vec<Set>>,
    pub(super) open: Mutex<Vec<Reference>>,
    pub(super) present: Mutex<BTreeMap<String, Value>>,
    pub(super) appeared: Mutex<Vec<String>>,
}

impl Judged {
    /// Why Helm's record was refused.
    pub(super) fn refused(&self) -> Option<Vec<Finding>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the release fared before anything was changed, as far as that was seen on the way.
    pub(super) fn fared(&self) -> Option<health::Finding> {
        self.fared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A StatefulSet was deleted, to be made anew.
    pub(super) fn recreate(&self, set: Set) {
        self.recreated.lock().unwrap_or_else(PoisonError::into_inner).push(set);
    }

    /// Those StatefulSets, each told of once.
    pub(super) fn recreated(&self) -> Vec<Set> {
        std::mem::take(&mut *self.recreated.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// References to what may be there by the end of the deploy, each told of once.
    pub(super) fn open(&self) -> Vec<Reference> {
        std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Objects that were seen to live, by their paths, each told of once.
    pub(super) fn present(&self) -> BTreeMap<String, Value> {
        std::mem::take(&mut *self.present.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Objects that another client has created since Helm was told that they do not exist.
    pub(super) fn appeared(&self) -> Vec<String> {
        std::mem::take(&mut *self.appeared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Is what Helm is about to do yet to be looked at?
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }
}
