//! Tests of the kinds.

mod crds;
