//! `cargo xtask demo | test | bench | dist | cluster`.
fn main() {}
