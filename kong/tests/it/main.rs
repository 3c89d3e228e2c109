//! Tests of the contract as its users see it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod laws;
mod recorded;
