//! Tests of the core from outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the whole crate is tests: a broken expectation ends them"
)]

mod golden;
mod incremental;
mod laws;
mod meaning;
mod recorded;
mod simulation;
