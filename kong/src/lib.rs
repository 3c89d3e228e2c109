//! The contract between the operator and the proxies: Kong's declarative configuration and Admin API.
//!
//! Everything here is a function of its arguments: no clock, no randomness, no files, no sockets.
//! `schema` says what an entity may hold and prints it as Kong does; the other modules decode,
//! identify, compare and print configurations.

pub mod host;
pub mod pattern;
pub mod schema;
