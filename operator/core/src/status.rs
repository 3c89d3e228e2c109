//! Statuses that the operator wants its objects to have: derived, never remembered.

pub mod gateway;
