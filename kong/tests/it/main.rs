//! Tests of the contract as its users see it.

mod laws;
mod recorded;
