//! One translation, printed in every dialect that is spoken. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use operator_core::fallback::quarantine::Plan;
use operator_core::object::ObjectRef;
use operator_core::options::Options;
use operator_core::outcome::{Outcome, Verdict};
use operator_core::revision::{Census, Dialect};
use operator_core::snapshot::Snapshot;
use operator_core::translate::translate;
use tracing::error;

/// What a translation gives.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    pub(super) bodies: BTreeMap<Dialect, Bytes>,
    pub(super) census: Census,
    pub(super) outcomes: Vec<Outcome>,
    /// The objects that were translated: without those that are left out.
    pub(super) served: Arc<Snapshot>,
}

/// Translates into each dialect; into that of our own proxy as long as no instance was seen. An object that one of the
/// dialects has no words for is refused, and says so.
pub(super) fn render(
    snapshot: Arc<Snapshot>,
    options: &Options,
    dialects: &BTreeSet<Dialect>,
    plan: &Plan,
) -> Rendered {
    let served = plan.apply(&snapshot).map_or(snapshot, Arc::new);
    let snapshot: &Snapshot = &served;
    let (mut bodies, mut counts) = (BTreeMap::new(), Census::default());
    let mut outcomes: Vec<Outcome> = Vec::new();
    let default = BTreeSet::from([Dialect::Own]);
    for dialect in if dialects.is_empty() { &default } else { dialects } {
        let (flavor, engine) = (dialect.flavor(), dialect.engine());
        let translation = translate(snapshot, &Options { flavor, engine, ..options.clone() });
        let bytes = match serde_json::to_vec(&translation.config) {
            Ok(bytes) => bytes,
            Err(error) => {
                // Only a map without text keys could do this, and the model has none.
                error!(%error, "configuration not printed");
                continue;
            }
        };
        counts = Census::of_document(&translation.config);
        bodies.insert(*dialect, Bytes::from(bytes));
        outcomes = match outcomes.is_empty() {
            true => translation.outcomes,
            false => strictest(outcomes, translation.outcomes),
        };
    }
    Rendered { bodies, census: counts, outcomes, served }
}

/// Of two verdicts on an object the worse one.
fn strictest(before: Vec<Outcome>, after: Vec<Outcome>) -> Vec<Outcome> {
    let mut all: BTreeMap<ObjectRef, Outcome> = BTreeMap::new();
    for outcome in before.into_iter().chain(after) {
        let refused = |one: &Outcome| matches!(one.verdict, Verdict::Rejected { .. });
        if !all.get(&outcome.object).is_some_and(refused) {
            all.insert(outcome.object.clone(), outcome);
        }
    }
    all.into_values().collect()
}
