//! Leaves out objects that a proxy refuses, together with everything that depends on them.
//!
//! The edges are those along which an object takes another's content into the configuration: who
//! depends on a refused object is left out with it, so that what remains is whole.

pub mod blame;
mod edges;
pub mod quarantine;
mod search;

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::object::ObjectRef;
use crate::snapshot::Snapshot;

/// The objects whose metadata `matches`.
#[must_use]
pub fn select(snapshot: &Snapshot, matches: impl Fn(&ObjectMeta) -> bool) -> BTreeSet<ObjectRef> {
    let mut found = BTreeSet::new();
    snapshot.visit(|object, meta| {
        if matches(meta) {
            found.insert(object);
        }
    });
    found
}

/// The objects of `rejected` that exist, and all that depend on them.
#[must_use]
pub fn closure(snapshot: &Snapshot, rejected: &BTreeSet<ObjectRef>) -> BTreeSet<ObjectRef> {
    if rejected.is_empty() {
        return BTreeSet::new();
    }
    let dependants = edges::dependants(snapshot);
    let mut all = BTreeSet::new();
    let mut next: Vec<ObjectRef> = rejected.iter().cloned().collect();
    while let Some(object) = next.pop() {
        if let Some(more) = dependants.get(&object) {
            next.extend(more.iter().filter(|more| !all.contains(*more)).cloned());
        }
        all.insert(object);
    }
    all
}

/// The snapshot without `rejected` and without all that depends on them.
#[must_use]
pub fn without(snapshot: &Snapshot, rejected: &BTreeSet<ObjectRef>) -> Snapshot {
    let left_out = closure(snapshot, rejected);
    if left_out.is_empty() {
        return snapshot.clone();
    }
    snapshot.filtered(|object| !left_out.contains(object))
}
