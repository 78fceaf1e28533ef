//! Holds Helm's first write of a new revision back until the preflight has finished. Pure: `fence/proxy.rs` passes requests on.
//!
//! Helm makes room in its history first, and installs the CRDs of a chart. The deletes of old records wait here, answered as if
//! they were done, until it is known that the record may be written; then they are done, and if one fails the record's create
//! has its answer. CRDs cannot wait: Helm needs them to read the chart. They are remembered, so that they can be taken back.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use http::Request;
use serde_json::Value;

use crate::cluster::crds::Definition;
use crate::cluster::transport::Body;

/// Looks at the payload of the record that Helm is about to create, before anything of the release is changed, and at the
/// objects, by their paths, of which Helm was told that they are not there. Else says why the record must not be.
pub struct Inspector(pub Box<dyn FnOnce(Vec<u8>, BTreeSet<String>) -> Inspected + Send>);

/// What an inspection comes to: objects, by their paths, of which Helm asks next whether they are there, and nothing else; or
/// why the record is refused.
pub type Inspected = BoxFuture<'static, Result<BTreeMap<String, Value>, String>>;

impl std::fmt::Debug for Inspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inspector")
    }
}

/// From the start of Helm until its record is looked at.
#[derive(Debug, Default)]
pub struct Ahead {
    inspector: Option<Inspector>,
    postponed: Vec<(String, Request<Body>)>,
    defined: Vec<Definition>,
}

impl Ahead {
    /// The next record that is created is looked at by this.
    pub fn expect(&mut self, inspector: Inspector) {
        *self = Self { inspector: Some(inspector), ..Self::default() };
    }

    /// Is a record yet to be looked at?
    pub fn is_awaited(&self) -> bool {
        self.inspector.is_some()
    }

    /// Who looks at this record, which is the first.
    pub fn take(&mut self) -> Option<Inspector> {
        self.inspector.take()
    }

    /// A delete of a record, with its path, that is to be done later.
    pub fn postpone(&mut self, path: String, request: Request<Body>) {
        self.postponed.push((path, request));
    }

    /// Those deletes, in their order, each once.
    pub fn postponed(&mut self) -> Vec<(String, Request<Body>)> {
        std::mem::take(&mut self.postponed)
    }

    /// A CRD that was created or applied.
    pub fn add(&mut self, definition: Definition) {
        self.defined.push(definition);
    }

    /// Those CRDs, each told of once.
    pub fn defined(&mut self) -> Vec<Definition> {
        std::mem::take(&mut self.defined)
    }
}
