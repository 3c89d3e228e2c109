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
use serde_json::Value;
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
        let value = match serde_json::to_value(&translation.config) {
            Ok(value) => value,
            Err(error) => {
                // Only a map without text keys could do this, and the model has none.
                error!(%error, "configuration not printed");
                continue;
            }
        };
        counts = census(&value);
        // `Value` keeps its keys sorted, so these are the canonical bytes.
        bodies.insert(*dialect, Bytes::from(value.to_string()));
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

/// Counts entities by kind, nested ones too.
fn census(document: &Value) -> Census {
    let mut counts = BTreeMap::new();
    count(document, &mut counts);
    Census::new(counts)
}

fn count(entity: &Value, counts: &mut BTreeMap<String, usize>) {
    let fields = entity.as_object().into_iter().flatten().filter(|(key, _)| *key != "config");
    for (kind, children) in fields {
        for child in children.as_array().into_iter().flatten().filter(|child| child.is_object()) {
            *counts.entry(kind.clone()).or_default() += 1;
            count(child, counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_entities_are_counted_and_plugin_settings_are_not() {
        let document = json!({
            "_format_version": "3.0",
            "services": [{"name": "a", "routes": [{"name": "r", "paths": ["/"]}]}],
            "plugins": [{"name": "x", "config": {"rules": [{"a": 1}]}}],
        });
        let census = census(&document);
        assert_eq!(census.of("routes"), 1);
        assert_eq!(census.of("rules"), 0);
        assert_eq!(census.total(), 3);
    }
}
