//! The operator's shell: everything that talks to the cluster and to proxies.

pub mod admin;
pub mod admission;
pub mod app;
pub mod cli;
pub mod fleet;
pub mod fleets;
pub mod lease;
pub mod scenes;
pub mod serve;
pub mod standalone;
pub mod status;
pub mod ticks;
pub mod translator;
pub mod trust;
pub mod watch;
