//! A deploy as the preflight looks at it: what Helm is about to apply, over what, and how. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Finding,
    helm_request::{Apply, Manner},
    order, references, rights,
    timeouts::Patience,
    varying::Varying,
};
use crate::manifest::{Manifest, ObjectKey};

/// What is to be deployed, and over what.
#[derive(Clone, Debug, Default)]
pub struct Deploy {
    /// Release name.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// What is applied.
    pub manifest: Manifest,
    /// Hooks that will run.
    pub hooks: Manifest,
    /// The manifest that Helm takes for the one in force.
    pub before: Manifest,
    /// Did the revision of that manifest complete, and no other after it?
    pub before_is_good: bool,
    /// How.
    pub manner: Manner,
    /// `pre-install` or `pre-upgrade`.
    pub first: &'static str,
    /// `--recreate-statefulsets`.
    pub recreates: bool,
    /// How long Helm waits, and for what.
    pub patience: Patience,
    /// The records that Helm will write.
    pub records: rights::Records,
    /// Fields that came out different when the chart was rendered again: Helm renders others in its own run.
    pub varying: Varying,
    /// What is known before anything is asked.
    pub known: Vec<Finding>,
    /// Objects, by their paths, of which Helm was told that they are not there.
    pub absent: BTreeSet<String>,
}

impl Deploy {
    pub(super) fn references(&self) -> references::Release<'_> {
        references::Release {
            manifest: &self.manifest,
            hooks: &self.hooks,
            good: self.before_is_good.then_some(&self.before),
            first: self.first,
        }
    }

    /// Whether Helm 4 looks at each object of an upgrade only to learn if it is there. The apply that follows makes of it what
    /// is wanted in either case. A hook that runs before could take an object away.
    pub(super) fn asks_only_whether_they_live(&self) -> bool {
        matches!(self.manner.apply, Apply::ServerSide { .. })
            && self.manner.is_v4
            && !self.manner.installs
            && !self.manner.takes_over_fields
            && order::first_hooks(&self.hooks, self.first).next().is_none()
    }

    pub(super) fn needs<'a>(&'a self, unasked: &'a BTreeSet<&'a ObjectKey>) -> rights::Plan<'a> {
        rights::Plan {
            namespace: &self.namespace,
            records: &self.records,
            manifest: &self.manifest,
            hooks: &self.hooks,
            before: if self.manner.installs { None } else { Some(&self.before) },
            until: self.patience.until,
            is_v4: self.manner.is_v4,
            // Of a client-side apply the dry run looks too.
            looks_first: matches!(self.manner.apply, Apply::ServerSide { .. }),
            unasked,
        }
    }
}

/// By what Helm knows its own (`setMetadataVisitor`).
pub(crate) fn mark(object: &mut Value, deploy: &Deploy) {
    let metadata = &mut object["metadata"];
    for part in ["labels", "annotations"] {
        if !metadata[part].is_object() {
            metadata[part] = json!({});
        }
    }
    metadata["labels"]["app.kubernetes.io/managed-by"] = "Helm".into();
    metadata["annotations"]["meta.helm.sh/release-name"] = deploy.release.as_str().into();
    metadata["annotations"]["meta.helm.sh/release-namespace"] = deploy.namespace.as_str().into();
}
