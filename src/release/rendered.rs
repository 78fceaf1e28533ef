//! The manifest of a record, read. Pure.

use super::{Record, codec};
use crate::manifest::Manifest;

/// What is in it; empty when it cannot be read.
pub fn manifest_of(record: &Record, namespace: &str) -> Manifest {
    read_manifest(record, namespace).unwrap_or_default()
}

/// What is in it; `None` when it cannot be read.
pub fn read_manifest(record: &Record, namespace: &str) -> Option<Manifest> {
    let text = codec::decode(record.stored.payload()).and_then(|json| codec::manifest(&json)).ok()?;
    Manifest::parse(&text, namespace).ok()
}
