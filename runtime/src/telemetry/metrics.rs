//! The metrics registry of a process and its text form.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// A shared registry: every module adds its own metrics, `/metrics` prints them all.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// The `Content-Type` of [`Metrics::text`].
    pub const CONTENT_TYPE: &'static str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `add` register metrics; what it returns (their handles) is returned.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing into a string cannot fail; a collector that does leaves a shorter page.
        if encode(&mut text, &registry).is_err() {
            tracing::warn!("metrics page cut short by a collector");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn a_registered_counter_is_printed() {
        let metrics = Metrics::new();
        let pushes: Counter = metrics.register(|registry| {
            let counter = Counter::default();
            registry.register("flotilla_pushes", "Pushes made", counter.clone());
            counter
        });
        pushes.inc();
        assert!(metrics.text().contains("flotilla_pushes_total 1"));
    }
}
