//! The `flotilla-proxy` binary.
fn main() {}
