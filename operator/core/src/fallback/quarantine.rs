//! Objects that are left out because proxies refuse what they become, until they change. No IO.
//!
//! A refusal leads to objects by its entities ([`super::blame`]). Each is replaced by its last good version, if there is one
//! and that is wanted; a version that is refused as well is left out, with everything that depends on it. What is served then
//! may be refused again, with other words: this repeats until it is taken, and it ends, for every refusal takes a step
//! that is never taken back. A refusal that leads nowhere is searched by halves among what changed since the last
//! configuration that was taken; among all objects if none was. If it is none of them, proxies keep what they have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::search::{Lesson, Search};
use crate::object::ObjectRef;
use crate::snapshot::Snapshot;

/// What is left out or replaced, and why.
#[derive(Debug, Default)]
pub struct Quarantine {
    inmates: BTreeMap<ObjectRef, Inmate>,
    search: Option<Search>,
    good: Option<Arc<Snapshot>>,
    unexplained: Option<String>,
}

/// An object that is refused.
#[derive(Debug)]
struct Inmate {
    /// As it was when it was refused.
    was: Option<Value>,
    why: String,
    /// Whether its last good version stands in for it.
    replaced: bool,
}

/// A refusal, as far as it is understood.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    /// The objects that it leads to.
    pub guilty: BTreeMap<ObjectRef, String>,
    /// What the proxies say.
    pub words: String,
    /// Whether fewer objects may help: not against a body that is too large.
    pub mendable: bool,
    /// The objects in the configuration: the suspects as long as none was ever taken.
    pub candidates: Vec<ObjectRef>,
    /// Whether last good versions may stand in.
    pub backfill: bool,
}

/// What to leave out and what to replace.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    out: BTreeSet<ObjectRef>,
    replaced: BTreeSet<ObjectRef>,
    good: Option<Arc<Snapshot>>,
}

impl Plan {
    /// What is served instead of `snapshot`; nothing if it is served as it is.
    #[must_use]
    pub fn apply(&self, snapshot: &Snapshot) -> Option<Snapshot> {
        let Self { out, replaced, good } = self;
        if out.is_empty() && replaced.is_empty() {
            return None;
        }
        let older = good.as_ref().map(|good| snapshot.with_versions(replaced, good));
        Some(super::without(older.as_ref().unwrap_or(snapshot), out))
    }
}

impl Quarantine {
    /// The proxies refuse what was made of `snapshot`.
    pub fn refused(&mut self, snapshot: &Snapshot, refused: Refused) {
        let Refused { guilty, words, mendable, candidates, backfill } = refused;
        let mut steps = false;
        for (object, why) in guilty {
            steps |= self.confine(snapshot, object, &why, backfill);
        }
        self.unexplained = None;
        if steps {
            return;
        }
        if !mendable {
            self.unexplained = Some(words);
            return;
        }
        self.look(snapshot, &words, candidates, backfill);
    }

    /// The proxies take what was made of `served`. Returns whether there is a next thing to try.
    pub fn accepted(&mut self, served: Arc<Snapshot>) -> bool {
        self.good = Some(served);
        self.unexplained = None;
        let Some(search) = &mut self.search else { return false };
        search.accepted();
        if search.ended() {
            self.search = None;
        }
        true
    }

    /// Lets those go that changed or vanished.
    pub fn forgive(&mut self, snapshot: &Snapshot) {
        self.inmates.retain(|object, inmate| {
            let is = snapshot.json_of(object);
            is.is_some() && is == inmate.was
        });
    }

    /// Whether a culprit is being looked for.
    #[must_use]
    pub const fn searching(&self) -> bool {
        self.search.is_some()
    }

    /// What to leave out and what to replace now.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut plan = Plan { good: self.good.clone(), ..Plan::default() };
        for (object, inmate) in &self.inmates {
            let place = if inmate.replaced { &mut plan.replaced } else { &mut plan.out };
            place.insert(object.clone());
        }
        for object in self.search.iter().flat_map(Search::held) {
            if !self.inmates.contains_key(object) {
                let older = self.good.as_ref().is_some_and(|good| good.json_of(object).is_some());
                let place = if older { &mut plan.replaced } else { &mut plan.out };
                place.insert(object.clone());
            }
        }
        plan
    }

    /// The refused objects with what the proxies say about them.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<ObjectRef, String> {
        let why = |inmate: &Inmate| match inmate.replaced {
            true => format!("{} (its last good version is served)", inmate.why),
            false => inmate.why.clone(),
        };
        self.inmates.iter().map(|(object, inmate)| (object.clone(), why(inmate))).collect()
    }

    /// What the proxies say, when no object can be blamed.
    #[must_use]
    pub fn unexplained(&self) -> Option<String> {
        self.unexplained.clone()
    }

    /// Takes the next step against an object: its last good version, then none. Returns whether there was one.
    fn confine(
        &mut self,
        snapshot: &Snapshot,
        object: ObjectRef,
        why: &str,
        backfill: bool,
    ) -> bool {
        if let Some(inmate) = self.inmates.get_mut(&object) {
            let step = inmate.replaced;
            inmate.replaced = false;
            return step;
        }
        let was = snapshot.json_of(&object);
        let good = self.good.as_ref().and_then(|good| good.json_of(&object));
        let replaced = backfill && good.is_some() && good != was;
        self.inmates.insert(object, Inmate { was, why: why.to_owned(), replaced });
        true
    }

    /// Looks for the culprit of a refusal that leads nowhere.
    fn look(
        &mut self,
        snapshot: &Snapshot,
        words: &str,
        candidates: Vec<ObjectRef>,
        backfill: bool,
    ) {
        let Some(mut search) = self.search.take() else {
            let suspects = match &self.good {
                Some(good) => snapshot.changed_since(good),
                None => candidates,
            };
            let suspects: Vec<ObjectRef> =
                suspects.into_iter().filter(|object| !self.inmates.contains_key(object)).collect();
            if suspects.is_empty() {
                self.unexplained = Some(words.to_owned());
            } else {
                self.search = Some(Search::among(suspects));
            }
            return;
        };
        match search.refused() {
            Lesson::Open => {}
            Lesson::Found(object) => {
                self.confine(snapshot, object, words, backfill);
            }
            Lesson::Elsewhere => {
                self.unexplained = Some(words.to_owned());
                return;
            }
        }
        for object in search.exhausted() {
            self.confine(snapshot, object, "one of many objects of which one is refused", backfill);
        }
        if !search.ended() {
            self.search = Some(search);
        }
    }
}

#[cfg(test)]
mod tests;
