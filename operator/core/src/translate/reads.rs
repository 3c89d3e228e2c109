//! What a step of a translation looked up by name, so that it is taken again when one of these objects changes.

use std::cell::RefCell;

use crate::object::Kind;
use crate::snapshot::hash_of;

/// An object that may exist, by a hash of its kind, namespace and name. EndpointSlices go by the name of their Service.
///
/// Two objects that share a hash cost a step that would not have been needed, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Read(u64);

impl Read {
    pub(crate) fn of(kind: Kind, namespace: &str, name: &str) -> Self {
        Self(hash_of(kind, namespace, name))
    }
}

/// Remembers what is looked up, if anybody asks for it.
#[derive(Debug, Default)]
pub(crate) struct Reads(Option<RefCell<Vec<Read>>>);

impl Reads {
    /// Those of a translation that will be followed.
    pub(crate) fn remembered() -> Self {
        Self(Some(RefCell::default()))
    }

    pub(crate) fn note(&self, kind: Kind, namespace: &str, name: &str) {
        if let Some(all) = &self.0 {
            all.borrow_mut().push(Read::of(kind, namespace, name));
        }
    }

    /// What was looked up since the last time.
    pub(crate) fn take(&self) -> Vec<Read> {
        self.0.as_ref().map(RefCell::take).unwrap_or_default()
    }
}
