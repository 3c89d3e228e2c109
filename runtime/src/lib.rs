//! The asynchronous kit that both binaries share: named tasks, shutdown in two steps, readiness,
//! the clock, telemetry, and TLS configurations that follow their certificates.
//!
//! It is a kit, not a product: it knows neither Kubernetes nor Kong, reads no configuration of its
//! own and decides nothing about gateways.

pub mod clock;
pub mod readiness;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod tls;

pub use clock::{Clock, SystemClock};
pub use readiness::{Gate, Readiness};
pub use shutdown::Shutdown;
pub use tasks::{Ended, Tasks};

/// Makes aws-lc-rs the process's one cryptography provider. Called first in `main`; a second call
/// changes nothing.
pub fn install_crypto_provider() {
    // An error only says that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
