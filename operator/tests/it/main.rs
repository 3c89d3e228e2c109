//! Tests of the operator from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod enrollment;
mod fake;
mod fleet;
mod tidy;
mod translator;
