//! Tests of the kinds.

#![allow(clippy::unwrap_used, reason = "tests end at the first surprise")]

mod crds;
mod kong;
mod reference;
