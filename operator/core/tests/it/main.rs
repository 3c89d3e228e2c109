//! Tests of the core from outside.

mod golden;
mod laws;
mod recorded;
mod simulation;
