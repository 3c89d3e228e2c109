//! The contract between the operator and the proxies: Kong's declarative configuration and Admin API.
//!
//! Everything here is a function of its arguments: no clock, no randomness, no files, no sockets.
//! `schema` says what an entity may hold and prints it as Kong does, `model` gives entities types,
//! `id`, `tag` and `canonical` say how they are identified and printed.

pub mod admin;
pub mod canonical;
pub mod declarative;
pub mod diff;
pub mod host;
pub mod id;
pub mod model;
pub mod path;
pub mod pattern;
pub mod pcre;
pub mod schema;
pub mod tag;
pub mod vault;
