//! The gateway's shell: sockets, TLS, forwarding, the Admin API, state on disk. What it decides by is `proxy-core`.
//!
//! It knows nothing of Kubernetes; `app` is the product on one page.

pub mod access_log;
pub mod admin;
pub mod app;
pub mod check;
pub mod cli;
pub mod dns;
pub mod downstream;
pub mod enroll;
pub mod entrance;
pub mod forward;
pub mod http;
pub mod http1;
pub mod listen;
pub mod live;
pub mod probe;
pub mod proxy_protocol;
pub mod rewind;
pub mod serve;
pub mod services;
pub mod settings;
pub mod state;
pub mod stream;
pub mod timer;
pub mod tls;
pub mod upstream;
pub mod vault;
