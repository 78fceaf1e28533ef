//! The process: environment, arguments and signals in; exit code out.
fn main() {}
