//! The gateway's decisions, without IO: what a request and a plugin are, configuration compiled to an immutable table,
//! routes, balancing, health.
//!
//! Nothing here opens a socket, reads a clock or spawns a task; the shell (`proxy`) hands in what it needs.

pub mod answer;
pub mod balance;
pub mod compile;
pub mod entrances;
pub mod exchange;
pub mod health;
pub mod plugin;
pub mod route;
pub mod shared;
pub mod table;
pub mod uri;
