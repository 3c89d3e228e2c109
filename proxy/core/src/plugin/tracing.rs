//! What the gateway records of its own work, where spans are wanted: which plugin ran in which phase, and for how long.

use std::sync::Arc;
use std::time::Duration;

use super::Services;
use crate::exchange::Exchange;

/// What is recorded, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// The share of traces that are kept.
    pub rate: f64,
    /// The kinds of work, by Kong's names; `all` is every one.
    pub kinds: Vec<String>,
}

impl Tracing {
    /// Whether this kind of work is recorded.
    #[must_use]
    pub fn records(&self, kind: &str) -> bool {
        self.kinds.iter().any(|known| known == kind || known == "all")
    }
}

/// One plugin in one phase.
pub(super) struct Run {
    /// The phase, by Kong's name.
    pub(super) phase: &'static str,
    /// The plugin's name.
    pub(super) plugin: &'static str,
    /// When it began and ended.
    pub(super) time: (Duration, Duration),
}

/// Every run so far.
#[derive(Default)]
pub(super) struct Runs(pub(super) Vec<Run>);

/// Takes the time of plugins.
#[derive(Clone)]
pub(super) struct Stopwatch(Arc<dyn Services>);

impl Stopwatch {
    /// One, where plugins are recorded at all.
    pub(super) fn of(tracing: Option<&Tracing>, services: &Arc<dyn Services>) -> Option<Self> {
        let kinds = ["plugin_rewrite", "plugin_access", "plugin_header_filter"];
        let wanted = tracing.is_some_and(|tracing| kinds.iter().any(|kind| tracing.records(kind)));
        wanted.then(|| Self(Arc::clone(services)))
    }

    pub(super) fn now(&self) -> Duration {
        self.0.now()
    }

    /// Notes a run that began then and ends now.
    pub(super) fn note(
        &self,
        exchange: &mut Exchange,
        (phase, plugin): (&'static str, &'static str),
        began: Duration,
    ) {
        let run = Run { phase, plugin, time: (began, self.now()) };
        let mut runs = exchange.notes.take::<Runs>().unwrap_or_default();
        runs.0.push(run);
        exchange.notes.put(runs);
    }
}
