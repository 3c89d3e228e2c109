//! Conditions with the memory of when they changed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    True,
    False,
}

impl From<bool> for Holds {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Makes the conditions of one object, or of one part of its status.
pub(super) struct Conditions<'a> {
    before: &'a [Condition],
    generation: Option<i64>,
    now: &'a Time,
    made: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// Starts from what the status says now.
    pub(super) fn of(meta: &ObjectMeta, before: &'a [Condition], now: &'a Time) -> Self {
        Self { before, generation: meta.generation, now, made: Vec::new() }
    }

    /// Adds a condition. Its transition time is the old one as long as its status is.
    pub(super) fn set(
        mut self,
        kind: &str,
        holds: impl Into<Holds>,
        reason: &str,
        message: impl Into<String>,
    ) -> Self {
        let status = match holds.into() {
            Holds::True => "True",
            Holds::False => "False",
        };
        let same = |old: &&Condition| old.type_ == kind && old.status == status;
        let since = self.before.iter().find(same).map(|old| old.last_transition_time.clone());
        self.made.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.into(),
            observed_generation: self.generation,
            last_transition_time: since.unwrap_or_else(|| self.now.clone()),
        });
        self
    }

    /// Adds `kind` as true with `good` as its reason, or as false with the reason and message of `fault`.
    pub(super) fn unless(self, kind: &str, good: &str, fault: Option<(&str, &str)>) -> Self {
        match fault {
            None => self.set(kind, Holds::True, good, ""),
            Some((reason, message)) => self.set(kind, Holds::False, reason, message),
        }
    }

    /// The conditions, in the order in which they were added.
    pub(super) fn finish(self) -> Vec<Condition> {
        self.made
    }
}
