//! A map whose copies share what did not change: one generation's map becomes the next one's at the cost of the change.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};

/// How many parts a map has; a change copies one of them.
const PARTS: usize = 64;

type Part<V> = HashMap<Box<str>, V, RandomState>;

/// Values by name.
#[derive(Debug, Clone)]
pub struct SharedMap<V> {
    parts: Box<[Arc<Part<V>>]>,
}

impl<V> Default for SharedMap<V> {
    fn default() -> Self {
        let empty = Arc::new(Part::default());
        Self { parts: (0..PARTS).map(|_| Arc::clone(&empty)).collect() }
    }
}

fn place(name: &str) -> usize {
    let hash = FixedState::default().hash_one(name);
    usize::try_from(hash % PARTS as u64).unwrap_or_default()
}

impl<V> SharedMap<V> {
    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&V> {
        self.parts[place(name)].get(name)
    }

    /// All names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.parts.iter().flat_map(|part| part.iter().map(|(name, value)| (name.as_ref(), value)))
    }
}

impl<V: Clone> SharedMap<V> {
    /// Puts a value in.
    pub fn insert(&mut self, name: Box<str>, value: V) {
        Arc::make_mut(&mut self.parts[place(&name)]).insert(name, value);
    }

    /// Takes a value out.
    pub fn remove(&mut self, name: &str) {
        let part = &mut self.parts[place(name)];
        if part.contains_key(name) {
            Arc::make_mut(part).remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_copy_leaves_the_original() {
        let mut one = SharedMap::default();
        (0..200).for_each(|at| one.insert(format!("u{at}").into(), at));
        let mut other = one.clone();
        other.insert("u7".into(), 1000);
        other.remove("u8");
        assert_eq!((one.get("u7"), one.get("u8"), one.iter().count()), (Some(&7), Some(&8), 200));
        assert_eq!((other.get("u7"), other.get("u8")), (Some(&1000), None));
        let shared = one.parts.iter().zip(&other.parts).filter(|(a, b)| Arc::ptr_eq(a, b));
        assert!(shared.count() >= PARTS - 2);
    }
}
