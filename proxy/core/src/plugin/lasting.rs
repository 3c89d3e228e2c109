//! What outlives a configuration: counters, cached answers, metrics. In memory only, made once per gateway.

use super::prometheus::Metrics;
use super::proxy_cache::Store;
use super::window::Counters;

/// State that configurations come and go around.
#[derive(Default)]
pub struct Lasting {
    /// The windows of rate-limiting and response-ratelimiting.
    pub counters: Counters,
    /// The answers that proxy-cache keeps.
    pub cache: Store,
    /// The series of prometheus.
    pub metrics: Metrics,
}
