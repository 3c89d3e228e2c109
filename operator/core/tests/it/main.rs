//! Tests of the core from outside.

mod recorded;
mod simulation;
