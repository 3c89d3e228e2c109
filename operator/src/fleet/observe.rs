//! Metrics of a fleet: gauges from its view, histograms and counters from its notes.

use std::time::Duration;

use operator_core::fleet::event::{Note, Pushed};
use operator_core::fleet::view::{FleetView, Sync};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use runtime::telemetry::Metrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFleet {
    fleet: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    fleet: String,
    sync: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WithResult {
    fleet: String,
    result: &'static str,
}

/// The metrics of all fleets, registered once.
#[derive(Clone, Debug)]
pub struct AllFleetMetrics {
    instances: Family<InState, Gauge>,
    revision: Family<OfFleet, Gauge>,
    held: Family<OfFleet, Gauge>,
    pushes: Family<WithResult, Counter>,
    push_seconds: Family<OfFleet, Histogram, fn() -> Histogram>,
    convergence_seconds: Family<OfFleet, Histogram, fn() -> Histogram>,
    drifts: Family<OfFleet, Counter>,
    losses: Family<OfFleet, Counter>,
}

fn seconds() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

impl AllFleetMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let all = Self {
            instances: Family::default(),
            revision: Family::default(),
            held: Family::default(),
            pushes: Family::default(),
            push_seconds: Family::new_with_constructor(seconds),
            convergence_seconds: Family::new_with_constructor(seconds),
            drifts: Family::default(),
            losses: Family::default(),
        };
        metrics.register(|registry| {
            let it = all.clone();
            let prefix = registry.sub_registry_with_prefix("flotilla_fleet");
            prefix.register("instances", "Instances by state", it.instances);
            prefix.register("revision", "Number of the newest revision", it.revision);
            prefix.register("held", "Whether a guard holds a configuration", it.held);
            prefix.register("pushes", "Pushes by result", it.pushes);
            prefix.register_with_unit("push", "Time of a push", Unit::Seconds, it.push_seconds);
            prefix.register_with_unit(
                "convergence",
                "From the first change behind a revision to the last instance's proof",
                Unit::Seconds,
                it.convergence_seconds,
            );
            prefix.register("drifts", "Foreign configurations found", it.drifts);
            prefix.register("losses", "Instances that stopped answering", it.losses);
        });
        all
    }

    /// Those of one fleet.
    #[must_use]
    pub fn of(&self, fleet: impl Into<String>) -> FleetMetrics {
        FleetMetrics { all: self.clone(), fleet: fleet.into() }
    }
}

/// The metrics of one fleet.
#[derive(Clone, Debug)]
pub struct FleetMetrics {
    all: AllFleetMetrics,
    fleet: String,
}

impl FleetMetrics {
    fn label(&self) -> OfFleet {
        OfFleet { fleet: self.fleet.clone() }
    }

    /// Sets the gauges.
    pub(super) fn view(&self, view: &FleetView) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        for sync in Sync::ALL {
            let label = InState { fleet: self.fleet.clone(), sync: sync.as_str() };
            let number = view.instances.values().filter(|it| it.sync == sync).count();
            self.all.instances.get_or_create(&label).set(count(number));
        }
        let number = view.revision.as_ref().map_or(0, |revision| revision.number);
        self.all
            .revision
            .get_or_create(&self.label())
            .set(i64::try_from(number).unwrap_or(i64::MAX));
        self.all.held.get_or_create(&self.label()).set(i64::from(view.hold.is_some()));
    }

    /// Counts a note.
    pub(super) fn note(&self, note: &Note) {
        match note {
            Note::Converged { lag, .. } => {
                self.all
                    .convergence_seconds
                    .get_or_create(&self.label())
                    .observe(lag.as_secs_f64());
            }
            Note::Drifted { .. } => {
                self.all.drifts.get_or_create(&self.label()).inc();
            }
            Note::Lost { .. } => {
                self.all.losses.get_or_create(&self.label()).inc();
            }
            Note::Discovered(_)
            | Note::Removed(_)
            | Note::Synced { .. }
            | Note::Contested(_)
            | Note::Refused { .. }
            | Note::RevisionRefused { .. }
            | Note::Recovered(_)
            | Note::Held(_) => {}
        }
    }

    /// Counts a push.
    pub(super) fn pushed(&self, pushed: &Pushed, took: Duration) {
        let result = match pushed {
            Pushed::Accepted { .. } => "accepted",
            Pushed::Refused(_) => "refused",
            Pushed::Busy { .. } => "busy",
            Pushed::Fenced => "fenced",
            Pushed::Withheld => "withheld",
            Pushed::Leaving => "leaving",
            Pushed::Failed(_) => "failed",
        };
        let label = WithResult { fleet: self.fleet.clone(), result };
        self.all.pushes.get_or_create(&label).inc();
        self.all.push_seconds.get_or_create(&self.label()).observe(took.as_secs_f64());
    }
}
