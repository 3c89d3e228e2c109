//! The pure core of the gateway: what a request and a plugin are, without any IO.

pub mod answer;
pub mod exchange;
pub mod plugin;
