//! Tests of the gateway as its clients see it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod backends;
mod debian;
mod fuzz;
mod gateway;
mod gateway_api;
mod gateway_tls;
mod grpc;
mod h2spec;
mod hygiene;
mod limits;
mod plugins;
mod recorded;
mod stop;
mod trouble;
mod websocket;
