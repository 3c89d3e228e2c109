//! Placeholder: its owner writes it.

pub mod gateway_api;
