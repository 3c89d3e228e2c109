//! Readiness as a set of named gates: the process is ready once every gate was opened.
//!
//! A gate that is dropped without being opened stays closed for good: a task that failed before it
//! was ready never makes the process look ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The reader's side, and the place where gates are made.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    gates: Arc<Mutex<Gates>>,
}

#[derive(Debug, Default)]
struct Gates {
    open: BTreeMap<String, bool>,
    closing: bool,
}

/// One reason why the process may not be ready yet.
#[derive(Debug)]
#[must_use = "a gate that is dropped unopened keeps the process unready"]
pub struct Gate {
    name: String,
    readiness: Readiness,
}

impl Readiness {
    /// No gates yet: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a closed gate. The name is shown to whoever asks why the process is not ready.
    pub fn gate(&self, name: impl Into<String>) -> Gate {
        let name = name.into();
        self.lock().open.insert(name.clone(), false);
        Gate { name, readiness: self.clone() }
    }

    /// From now on the process is not ready, whatever its gates say: it is shutting down.
    pub fn close(&self) {
        self.lock().closing = true;
    }

    /// Whether every gate is open and shutdown has not begun.
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }

    /// The names of what is awaited, in order; `shutting down` once that has begun.
    pub fn missing(&self) -> Vec<String> {
        let gates = self.lock();
        if gates.closing {
            return vec!["shutting down".to_owned()];
        }
        gates.open.iter().filter(|(_, open)| !**open).map(|(name, _)| name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Gates> {
        // The map is whole after every statement, so a panic elsewhere cannot leave it torn.
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// Says that this part of the process is ready.
    pub fn open(&self) {
        self.set(true);
    }

    /// Takes it back: this part is not ready any more.
    pub fn shut(&self) {
        self.set(false);
    }

    fn set(&self, open: bool) {
        self.readiness.lock().open.insert(self.name.clone(), open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_gate_is_open() {
        let readiness = Readiness::new();
        let (lists, push) = (readiness.gate("first lists"), readiness.gate("first push"));
        lists.open();
        assert_eq!(readiness.missing(), ["first push"]);
        push.open();
        assert!(readiness.is_ready());
        push.shut();
        assert!(!readiness.is_ready());
    }

    #[test]
    fn a_gate_dropped_unopened_keeps_the_process_unready() {
        let readiness = Readiness::new();
        drop(readiness.gate("first lists"));
        assert!(!readiness.is_ready());
    }

    #[test]
    fn shutdown_ends_readiness() {
        let readiness = Readiness::new();
        readiness.close();
        assert_eq!(readiness.missing(), ["shutting down"]);
    }
}
