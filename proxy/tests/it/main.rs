//! Tests of the gateway as its clients see it.

mod recorded;
