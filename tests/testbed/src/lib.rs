//! Builds and starts what the tests run against: a real control plane, real Helms, a real workflow runner.
