//! The translations of a fleet, one a dialect that is spoken, printed. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use operator_core::fallback::quarantine::Plan;
use operator_core::object::ObjectRef;
use operator_core::options::Options;
use operator_core::outcome::{Outcome, Verdict};
use operator_core::revision::{Census, Dialect};
use operator_core::snapshot::Snapshot;
use operator_core::translate::Incremental;
use tracing::debug;

/// What a translation gives.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    pub(super) bodies: BTreeMap<Dialect, Bytes>,
    pub(super) census: Census,
    pub(super) outcomes: Vec<Arc<Outcome>>,
    /// The objects that were translated: without those that are left out.
    pub(super) served: Arc<Snapshot>,
}

/// The translations into each dialect that is spoken, which follow the cluster from scene to scene.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<Dialect, Incremental>);

impl Kept {
    /// Translates into each dialect; into that of our own proxy as long as no instance was seen. An object that one of the
    /// dialects has no words for is refused, and says so.
    pub(super) fn render(
        &mut self,
        snapshot: Arc<Snapshot>,
        options: &Options,
        dialects: &BTreeSet<Dialect>,
        plan: &Plan,
    ) -> Rendered {
        let served = plan.apply(&snapshot).map_or(snapshot, Arc::new);
        let (mut bodies, mut census) = (BTreeMap::new(), Census::default());
        let mut outcomes: Vec<Arc<Outcome>> = Vec::new();
        let default = BTreeSet::from([Dialect::Own]);
        let dialects = if dialects.is_empty() { &default } else { dialects };
        self.0.retain(|dialect, _| dialects.contains(dialect));
        for dialect in dialects {
            let (flavor, engine) = (dialect.flavor(), dialect.engine());
            let options = Options { flavor, engine, ..options.clone() };
            let translation = self.follow(*dialect, &served, options);
            bodies.insert(*dialect, translation.print());
            census = translation.census();
            outcomes = match outcomes.is_empty() {
                true => translation.outcomes(),
                false => strictest(outcomes, translation.outcomes()),
            };
        }
        Rendered { bodies, census, outcomes, served }
    }

    fn follow(
        &mut self,
        dialect: Dialect,
        snapshot: &Arc<Snapshot>,
        options: Options,
    ) -> &Incremental {
        let anew = || Incremental::new(Arc::clone(snapshot), options.clone());
        let kept = self.0.entry(dialect).or_insert_with(anew);
        if *kept.options() == options {
            let followed = kept.follow(Arc::clone(snapshot));
            debug!(%dialect, ?followed, "configuration translated");
        } else {
            *kept = Incremental::new(Arc::clone(snapshot), options);
        }
        kept
    }
}

/// Of two verdicts on an object the worse one.
fn strictest(before: Vec<Arc<Outcome>>, after: Vec<Arc<Outcome>>) -> Vec<Arc<Outcome>> {
    let mut all: BTreeMap<ObjectRef, Arc<Outcome>> = BTreeMap::new();
    for outcome in before.into_iter().chain(after) {
        let refused = |one: &Outcome| matches!(one.verdict, Verdict::Rejected { .. });
        if !all.get(&outcome.object).is_some_and(|one| refused(one)) {
            all.insert(outcome.object.clone(), outcome);
        }
    }
    all.into_values().collect()
}
