//! The translator: wakes when objects change, and turns them into revisions.
//!
//! Nothing is published before every required kind has been listed once: half a cluster never
//! becomes a configuration. Whatever arrives during one run makes the next one; equal bytes make no
//! revision at all. When every proxy refuses a revision, the objects behind the refused entities
//! are replaced or left out, until they change, and their neighbors go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use operator_core::fallback::blame;
use operator_core::fallback::quarantine::{Quarantine, Refused};
use operator_core::fleet::event::RefusalCause;
use operator_core::fleet::view::FleetView;
use operator_core::moment::Moment;
use operator_core::object::ObjectRef;
use operator_core::options::{Gate, Options};
use operator_core::outcome::{Outcome, Verdict};
use operator_core::revision::{Dialect, Revision};
use operator_core::snapshot::Snapshot;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use runtime::Shutdown;
use runtime::telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use self::render::{Kept, Rendered};
use crate::fleet::Blame;

mod render;

/// All objects at one moment, from the watches of a cluster or the files of a folder.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The objects.
    pub snapshot: Arc<Snapshot>,
    /// When the first change since the last scene was seen.
    pub changed_at: Moment,
}

/// What the translator follows.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The objects; `None` until every required kind has been listed once.
    pub scenes: watch::Receiver<Option<Scene>>,
    /// What a translation depends on beside the objects.
    pub options: watch::Receiver<Options>,
    /// The fleet: its instances tell which dialects are needed.
    pub view: watch::Receiver<Arc<FleetView>>,
    /// A revision that nobody takes.
    pub blame: watch::Receiver<Option<Blame>>,
}

/// What the translator tells.
#[derive(Debug)]
pub struct Outputs {
    /// The newest revision.
    pub revision: watch::Sender<Option<Arc<Revision>>>,
    /// What became of every object.
    pub translated: watch::Sender<Arc<Translated>>,
}

/// What became of every object in the newest translation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translated {
    /// The revision that it belongs to; 0 before the first.
    pub number: u64,
    /// One verdict an object.
    pub outcomes: Vec<Arc<Outcome>>,
    /// Objects that are left out because the proxies refuse what they become, and why.
    pub excluded: BTreeMap<ObjectRef, String>,
    /// The proxies refuse a revision, and no object can be blamed for it: what they say.
    pub unexplained: Option<String>,
}

/// Counts translations.
#[derive(Clone, Debug)]
pub struct TranslatorMetrics {
    runs: Counter,
    revisions: Counter,
    fallbacks: Counter,
    seconds: Histogram,
}

impl TranslatorMetrics {
    /// Registers the metrics.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
        let all = Self {
            runs: Counter::default(),
            revisions: Counter::default(),
            fallbacks: Counter::default(),
            seconds: Histogram::new(buckets),
        };
        metrics.register(|registry| {
            let it = all.clone();
            let prefix = registry.sub_registry_with_prefix("flotilla_translator");
            prefix.register("translations", "Translations run", it.runs);
            prefix.register("revisions", "Revisions published", it.revisions);
            prefix.register(
                "fallbacks",
                "Translations that leave refused objects out",
                it.fallbacks,
            );
            prefix.register_with_unit(
                "translation",
                "Time of a translation",
                Unit::Seconds,
                it.seconds,
            );
        });
        all
    }
}

/// The translator of one fleet.
#[derive(Debug)]
pub struct Translator {
    inputs: Inputs,
    outputs: Outputs,
    metrics: TranslatorMetrics,
    number: u64,
    quarantine: Quarantine,
    last: Option<Rendered>,
    /// What the newest translations are made of.
    kept: Kept,
    /// The objects that the newest translation began with. As long as a culprit is looked for among them they stay: a
    /// change that arrives meanwhile would put the blame on whoever is being tried.
    shown: Option<Scene>,
    ran: Option<Instant>,
    /// The newest revision that a proxy was seen to hold.
    proved: u64,
    /// The newest refusal.
    blamed: Option<Blame>,
}

/// The shortest time between the beginnings of two translations.
const FLOOR: Duration = Duration::from_millis(20);

impl Translator {
    /// A translator that has not run yet.
    #[must_use]
    pub fn new(inputs: Inputs, outputs: Outputs, metrics: TranslatorMetrics) -> Self {
        Self {
            inputs,
            outputs,
            metrics,
            number: 0,
            quarantine: Quarantine::default(),
            last: None,
            kept: Kept::default(),
            shown: None,
            ran: None,
            proved: 0,
            blamed: None,
        }
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut dialects = BTreeSet::new();
        let mut proofs = self.inputs.view.clone();
        loop {
            self.translate(&dialects).await;
            // What was tried may have changed no byte: then it is as good, or as bad, as the newest revision.
            if self.accepted() || self.refused_again() {
                continue;
            }
            loop {
                let wanted = (self.proved < self.number).then_some(self.number);
                let settled = !self.quarantine.searching();
                // Biased: the end first, then blame, so that a refused revision is replaced before a new one.
                tokio::select! {
                    biased;
                    () = shutdown.requested() => return,
                    Ok(()) = self.inputs.blame.changed() => self.take_blame(),
                    () = proof(&mut proofs, wanted) => {
                        self.proved = self.number;
                        if !self.accepted() {
                            continue;
                        }
                    }
                    Ok(()) = self.inputs.options.changed() => {}
                    Ok(()) = self.inputs.scenes.changed(), if settled => {}
                    () = other_dialects(&mut self.inputs.view, &mut dialects) => {}
                }
                break;
            }
        }
    }

    /// Tells the quarantine that the newest revision is held, if it is. Returns whether there is more to try.
    fn accepted(&mut self) -> bool {
        let Some(last) = self.last.as_ref().filter(|_| self.proved == self.number) else {
            return false;
        };
        self.quarantine.accepted(Arc::clone(&last.served))
    }

    async fn translate(&mut self, dialects: &BTreeSet<Dialect>) {
        if let Some(ran) = self.ran {
            tokio::time::sleep_until(ran + FLOOR).await;
        }
        let frozen = self.shown.take().filter(|_| self.quarantine.searching());
        let newest = || self.inputs.scenes.borrow_and_update().clone();
        let Some(scene) = frozen.or_else(newest) else { return };
        let Scene { snapshot, changed_at } = scene.clone();
        self.shown = Some(scene);
        self.quarantine.forgive(&snapshot);
        let started = Instant::now();
        let options = self.inputs.options.borrow_and_update().clone();
        let plan = self.quarantine.plan();
        let dialects = dialects.clone();
        let mut kept = std::mem::take(&mut self.kept);
        let job = move || {
            let rendered = kept.render(snapshot, &options, &dialects, &plan);
            (kept, rendered)
        };
        let (kept, rendered) = match tokio::task::spawn_blocking(job).await {
            Ok(done) => done,
            // A panic in a pure function is a defect: it goes on, and ends the process by name.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        self.kept = kept;
        self.ran = Some(started);
        self.metrics.runs.inc();
        self.metrics.seconds.observe(started.elapsed().as_secs_f64());
        self.publish(rendered, changed_at);
    }

    fn publish(&mut self, rendered: Rendered, changed_at: Moment) {
        let same = self.last.as_ref().is_some_and(|last| last.bodies == rendered.bodies);
        if !same {
            self.number += 1;
            let revision = Revision::new(
                self.number,
                rendered.bodies.clone(),
                rendered.census.clone(),
                changed_at,
            );
            let entities = revision.census().total();
            info!(revision = self.number, entities, "configuration translated");
            self.metrics.revisions.inc();
            self.outputs.revision.send_replace(Some(Arc::new(revision)));
        }
        let translated = Arc::new(Translated {
            number: self.number,
            outcomes: rendered.outcomes.clone(),
            excluded: self.quarantine.reasons(),
            unexplained: self.quarantine.unexplained(),
        });
        self.outputs.translated.send_if_modified(|held| {
            let changed = *held != translated;
            *held = translated;
            changed
        });
        self.last = Some(rendered);
    }

    /// Nobody takes the newest revision: leave out what is behind the refused entities.
    fn take_blame(&mut self) {
        let Some(blame) = self.inputs.blame.borrow_and_update().clone() else { return };
        if blame.number != self.number {
            return;
        }
        self.refuse(&blame);
        self.blamed = Some(blame);
    }

    /// Tells the quarantine that what it tries is refused, if the newest revision was and a search is under way.
    fn refused_again(&mut self) -> bool {
        let Some(blame) = self.blamed.clone().filter(|blame| blame.number == self.number) else {
            return false;
        };
        let searching = self.quarantine.searching();
        if searching {
            self.refuse(&blame);
        }
        searching
    }

    fn refuse(&mut self, blame: &Blame) {
        let Some(last) = &self.last else { return };
        let Some(scene) = self.shown.clone() else { return };
        let body = last.bodies.get(&blame.dialect);
        let words = blame::words(&blame.refusal);
        let options = self.inputs.options.borrow().clone();
        let refused = if options.on(Gate::FallbackConfiguration) {
            let guilty = blame::guilty(&blame.refusal.entities, body.map(|body| &**body));
            let configured =
                last.outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Configured);
            Refused {
                guilty,
                words,
                mendable: match blame.refusal.cause {
                    RefusalCause::Invalid | RefusalCause::ServerError => true,
                    RefusalCause::BodyTooLarge | RefusalCause::StoreFull => false,
                },
                candidates: configured.map(|outcome| outcome.object.clone()).collect(),
                backfill: options.backfill,
            }
        } else {
            Refused { words, ..Refused::default() }
        };
        if refused.guilty.is_empty() {
            warn!(revision = blame.number, "refusal names no object");
        }
        for (object, why) in &refused.guilty {
            warn!(revision = blame.number, %object, why, "object left out");
        }
        self.metrics.fallbacks.inc();
        self.quarantine.refused(&scene.snapshot, refused);
    }
}

/// Waits until some instance holds the revision that is wanted.
async fn proof(view: &mut watch::Receiver<Arc<FleetView>>, wanted: Option<u64>) {
    let Some(number) = wanted else { return std::future::pending().await };
    let holds = |view: &Arc<FleetView>| {
        let proved = view.instances.values().filter_map(|instance| instance.verified);
        proved.into_iter().any(|verified| verified.number == number)
    };
    if view.wait_for(holds).await.is_err() {
        // The driver has ended, and so will we.
        std::future::pending::<()>().await;
    }
}

/// Waits until the instances speak other dialects than these.
async fn other_dialects(view: &mut watch::Receiver<Arc<FleetView>>, known: &mut BTreeSet<Dialect>) {
    loop {
        let spoken = view.borrow_and_update().dialects();
        if !spoken.is_empty() && spoken != *known {
            *known = spoken;
            return;
        }
        if view.changed().await.is_err() {
            // The driver has ended, and so will we.
            return std::future::pending().await;
        }
    }
}
