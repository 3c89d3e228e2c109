//! What each step said of which object, and the verdicts that follow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Part;
use crate::object::ObjectRef;
use crate::outcome::{Note, Outcome};

/// Everything that was said. Steps are heard in their order, whatever order they were taken in.
#[derive(Debug, Default)]
pub(super) struct Told {
    objects: BTreeMap<ObjectRef, Heard>,
    parts: BTreeMap<Part, Vec<ObjectRef>>,
    /// Objects of which something else was said since the verdicts were found.
    stale: BTreeSet<ObjectRef>,
}

#[derive(Debug, Default)]
struct Heard {
    /// That of the newest object of the name: references compare without it.
    uid: String,
    notes: Vec<(Part, Vec<Note>)>,
    outcome: Option<Arc<Outcome>>,
}

impl Told {
    /// Forgets what a step said, and hears what it says now.
    pub(super) fn replace(&mut self, part: &Part, notes: Vec<(ObjectRef, Note)>) {
        for object in self.parts.remove(part).unwrap_or_default() {
            if let Some(heard) = self.objects.get_mut(&object) {
                heard.notes.retain(|(by, _)| by != part);
            }
            self.stale.insert(object);
        }
        if notes.is_empty() {
            return;
        }
        let mut said: Vec<ObjectRef> = Vec::new();
        for (object, note) in notes {
            let heard = self.objects.entry(object.clone()).or_default();
            if !object.uid.is_empty() && heard.uid != object.uid {
                heard.uid.clone_from(&object.uid);
                self.stale.insert(object.clone());
            }
            match heard.notes.binary_search_by(|(by, _)| by.cmp(part)) {
                Ok(at) => heard.notes[at].1.push(note),
                Err(at) => {
                    heard.notes.insert(at, (part.clone(), vec![note]));
                    self.stale.insert(object.clone());
                    said.push(object);
                }
            }
        }
        self.parts.insert(part.clone(), said);
    }

    /// Whether a step said that something is wrong.
    pub(super) fn failed(&self, part: &Part) -> bool {
        let said = self.parts.get(part).into_iter().flatten();
        let mut notes = said.filter_map(|object| self.objects.get(object)).flat_map(|heard| {
            heard.notes.iter().filter(|(by, _)| by == part).flat_map(|(_, notes)| notes)
        });
        notes.any(|note| matches!(note, Note::Failed(_)))
    }

    /// Finds the verdicts on objects of which something else was said.
    pub(super) fn settle(&mut self) {
        for object in std::mem::take(&mut self.stale) {
            let Some(heard) = self.objects.get_mut(&object) else { continue };
            if heard.notes.is_empty() {
                self.objects.remove(&object);
                continue;
            }
            let notes = heard.notes.iter().flat_map(|(_, notes)| notes).cloned();
            let uid = heard.uid.clone();
            let outcome = Outcome::of(ObjectRef { uid, ..object }, notes);
            let known = heard
                .outcome
                .as_ref()
                .filter(|known| known.object.uid == outcome.object.uid && ***known == outcome);
            if known.is_none() {
                heard.outcome = Some(Arc::new(outcome));
            }
        }
    }

    /// One verdict an object, ordered by kind, namespace and name.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = &Arc<Outcome>> {
        self.objects.values().filter_map(|heard| heard.outcome.as_ref())
    }
}
