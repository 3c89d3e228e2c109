//! What a step of a translation looked up by name, so that it is taken again when one of these objects changes.

use std::cell::RefCell;

use super::rules::Origin;
use crate::object::{Kind, ObjectRef};
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
pub(crate) struct Reads(Option<RefCell<Log>>);

#[derive(Debug, Default)]
struct Log {
    all: Vec<Read>,
    /// Those on behalf of one object in a step that many objects share.
    of: Vec<(ObjectRef, Vec<Read>)>,
}

impl Reads {
    /// Those of a translation that will be followed.
    pub(crate) fn remembered() -> Self {
        Self(Some(RefCell::default()))
    }

    pub(crate) fn note(&self, kind: Kind, namespace: &str, name: &str) {
        if let Some(all) = &self.0 {
            all.borrow_mut().all.push(Read::of(kind, namespace, name));
        }
    }

    /// How much was looked up.
    pub(crate) fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |log| log.borrow().all.len())
    }

    /// Notes that everything since a [`count`](Self::count) was looked up on behalf of an object.
    pub(crate) fn on_behalf_of(&self, origin: Origin<'_>, since: usize) {
        if let Some(log) = &self.0 {
            let log = &mut *log.borrow_mut();
            let reads = log.all.split_off(since.min(log.all.len()));
            log.of.push((origin.reference(), reads));
        }
    }

    /// What was looked up since the last time.
    pub(crate) fn take(&self) -> Vec<Read> {
        self.0.as_ref().map(|log| std::mem::take(&mut log.borrow_mut().all)).unwrap_or_default()
    }

    /// What was looked up on behalf of single objects.
    pub(crate) fn take_of_objects(&self) -> Vec<(ObjectRef, Vec<Read>)> {
        self.0.as_ref().map(|log| std::mem::take(&mut log.borrow_mut().of)).unwrap_or_default()
    }
}
