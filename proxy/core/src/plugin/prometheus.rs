//! prometheus: Kong's metrics of what passes through.

mod exposition;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::record::{is_stream, kong_latency};
use super::{BuildError, Config, Lasting, Plugin};
use crate::exchange::{Exchange, Source};
pub use exposition::{Connections, Node, TargetHealth, TargetState};

/// Upper bounds in milliseconds of the gateway's own time.
const KONG_BUCKETS: [u64; 17] =
    [1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1_000, 3_000, 6_000];
/// Upper bounds in milliseconds of the upstream's and of the whole time.
const UPSTREAM_BUCKETS: [u64; 13] =
    [25, 50, 80, 100, 250, 400, 700, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

struct Prometheus {
    per_consumer: bool,
    status_codes: bool,
    latency: bool,
    bandwidth: bool,
    upstream_health: bool,
    lasting: Arc<Lasting>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    config.context.lasting.metrics.configured.store(true, Ordering::Relaxed);
    Ok(Box::new(Prometheus {
        per_consumer: config.flag("per_consumer"),
        status_codes: config.flag("status_code_metrics"),
        latency: config.flag("latency_metrics"),
        bandwidth: config.flag("bandwidth_metrics"),
        upstream_health: config.flag("upstream_health_metrics"),
        lasting: Arc::clone(&config.context.lasting),
    }))
}

impl Plugin for Prometheus {
    fn log(&self, exchange: &mut Exchange) {
        let metrics = &self.lasting.metrics;
        metrics.health.store(self.upstream_health, Ordering::Relaxed);
        let Some(route) = &exchange.matched.route else { return };
        if !(self.status_codes || self.latency || self.bandwidth) {
            return;
        }
        let service = exchange.matched.service.as_ref();
        let service = service.map_or("", |service| {
            service.name.as_deref().or(service.host.as_deref()).unwrap_or(&service.id)
        });
        let consumer = exchange.identity.consumer.as_ref().filter(|_| self.per_consumer);
        let consumer =
            consumer.and_then(|consumer| consumer.username.as_deref()).unwrap_or_default();
        let series = metrics.series(service, route.label());
        let mut series = series.lock().unwrap_or_else(PoisonError::into_inner);
        let from_service = exchange.response.source == Source::Upstream;
        let caller = series.caller(consumer);
        if self.status_codes && is_stream(exchange) {
            *caller.sessions.entry(exchange.response.status.as_u16()).or_default() += 1;
        } else if self.status_codes {
            *caller
                .answers
                .entry((exchange.response.status.as_u16(), from_service))
                .or_default() += 1;
        }
        if self.bandwidth {
            caller.ingress += exchange.request.size;
            caller.egress += exchange.response.size;
            caller.measured = true;
        }
        if self.latency {
            series.kong.observe(&KONG_BUCKETS, kong_latency(exchange));
            let whole = if is_stream(exchange) { &mut series.session } else { &mut series.request };
            whole.observe(&UPSTREAM_BUCKETS, exchange.moments.request());
            if let (Some(time), false) = (exchange.moments.upstream(), is_stream(exchange)) {
                series.upstream.observe(&UPSTREAM_BUCKETS, time);
            }
        }
    }
}

type Routes = HashMap<Box<str>, Arc<Mutex<Series>>>;

/// All series of a gateway.
#[derive(Default)]
pub struct Metrics {
    services: Mutex<HashMap<Box<str>, Routes>>,
    /// Whether any configuration had the plugin.
    configured: AtomicBool,
    /// Whether the instance that logged last wants the health of targets to be shown.
    health: AtomicBool,
}

impl Metrics {
    fn series(&self, service: &str, route: &str) -> Arc<Mutex<Series>> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = services.get(service).and_then(|routes| routes.get(route)) {
            return Arc::clone(series);
        }
        let routes = services.entry(service.into()).or_default();
        Arc::clone(routes.entry(route.into()).or_default())
    }

    /// Whether the health of targets is wanted in the exposition.
    #[must_use]
    pub fn wants_health(&self) -> bool {
        self.health.load(Ordering::Relaxed)
    }
}

/// What is counted of one route under one service.
#[derive(Default)]
struct Series {
    callers: HashMap<Box<str>, Caller>,
    kong: Histogram,
    upstream: Histogram,
    request: Histogram,
    /// How long streams lasted.
    session: Histogram,
}

impl Series {
    fn caller(&mut self, consumer: &str) -> &mut Caller {
        self.callers.entry(consumer.into()).or_default()
    }
}

/// What is counted of one consumer; nobody's name is empty.
#[derive(Default)]
struct Caller {
    /// By status, and by whether the service gave it.
    answers: BTreeMap<(u16, bool), u64>,
    /// Streams by status.
    sessions: BTreeMap<u16, u64>,
    ingress: u64,
    egress: u64,
    measured: bool,
}

/// Counts by upper bound.
#[derive(Default)]
struct Histogram {
    counts: Vec<u64>,
    sum: u64,
    count: u64,
}

impl Histogram {
    fn observe(&mut self, bounds: &[u64], value: u64) {
        self.counts.resize(bounds.len(), 0);
        for (count, bound) in self.counts.iter_mut().zip(bounds) {
            *count += u64::from(value <= *bound);
        }
        self.sum += value;
        self.count += 1;
    }
}
