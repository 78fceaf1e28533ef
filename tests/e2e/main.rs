//! End to end: the real binary, real Helm 3 and 4, a real control plane. Each test is a story in a namespace of its own.

mod properties;
mod stage;
