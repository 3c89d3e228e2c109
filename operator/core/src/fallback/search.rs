//! Finds by halves which objects a proxy refuses, when its refusal names none.
//!
//! All suspects are held back first. Then group after group is let in: an accepted group is innocent, a refused one is halved,
//! a refused single object is found. With `k` culprits among `n` suspects this takes about `2 k log n` configurations.

use crate::object::ObjectRef;

/// Configurations that one search may try.
const TRIES: u32 = 256;

/// A search under way.
#[derive(Debug)]
pub(super) struct Search {
    /// Groups whose turn has not come: held back.
    waiting: Vec<Vec<ObjectRef>>,
    /// The group that is let in. Nothing: all are held back, to see whether the rest is taken at all.
    trying: Option<Vec<ObjectRef>>,
    tries: u32,
}

/// What a refusal teaches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lesson {
    /// The search goes on.
    Open,
    /// This object is refused.
    Found(ObjectRef),
    /// Even without any suspect the rest is refused: the culprit is none of them.
    Elsewhere,
}

impl Search {
    /// Suspects these.
    pub(super) fn among(suspects: Vec<ObjectRef>) -> Self {
        Self { waiting: vec![suspects], trying: None, tries: 0 }
    }

    /// The objects to hold back now.
    pub(super) fn held(&self) -> impl Iterator<Item = &ObjectRef> {
        self.waiting.iter().flatten()
    }

    /// Whether every suspect has been judged.
    pub(super) fn ended(&self) -> bool {
        self.waiting.is_empty() && self.trying.is_none()
    }

    /// What is let in now is taken.
    pub(super) fn accepted(&mut self) {
        self.trying = None;
        self.next();
    }

    /// What is let in now is refused.
    pub(super) fn refused(&mut self) -> Lesson {
        let Some(mut group) = self.trying.take() else { return Lesson::Elsewhere };
        if group.len() > 1 {
            let half = group.split_off(group.len() / 2);
            self.waiting.extend([half, group]);
            self.next();
            return Lesson::Open;
        }
        self.next();
        group.pop().map_or(Lesson::Open, Lesson::Found)
    }

    /// The suspects that are not judged when the search has taken too long.
    pub(super) fn exhausted(&mut self) -> Vec<ObjectRef> {
        if self.tries < TRIES {
            return Vec::new();
        }
        let waiting = std::mem::take(&mut self.waiting).into_iter().flatten();
        waiting.chain(self.trying.take().into_iter().flatten()).collect()
    }

    fn next(&mut self) {
        self.tries += 1;
        self.trying = self.waiting.pop();
    }
}
