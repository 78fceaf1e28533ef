//! The name of a process that tells it from all others, on other machines too. Whether it lives is looked up in
//! `process.rs`.

use serde::{Deserialize, Serialize};

/// A process and the machine, by boot and namespaces, on which its id means it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The machine.
    pub machine: String,
    /// Its id.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
}
