//! Tests of the operator from outside.

mod fake;
mod fleet;
mod tidy;
