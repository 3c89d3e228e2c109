//! Conditions that remember when they changed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The longest message: what a table and a person can take.
const MESSAGE_MOST: usize = 1024;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holds {
    True,
    False,
    Unknown,
}

impl Holds {
    fn word(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Holds {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Makes the conditions of one object.
pub(super) struct Made<'a> {
    before: &'a [Condition],
    generation: Option<i64>,
    now: &'a Time,
    made: Vec<Condition>,
}

impl<'a> Made<'a> {
    /// Starts from what the object says now.
    pub(super) fn new(before: &'a [Condition], generation: Option<i64>, now: &'a Time) -> Self {
        Self { before, generation, now, made: Vec::new() }
    }

    /// Adds a condition. Its transition time is the old one as long as its status is.
    #[must_use]
    pub(super) fn set(
        mut self,
        kind: &str,
        holds: impl Into<Holds>,
        reason: &str,
        message: impl Into<String>,
    ) -> Self {
        let status = holds.into().word();
        let same = |old: &&Condition| old.type_ == kind && old.status == status;
        let since = self.before.iter().find(same).map(|old| old.last_transition_time.clone());
        self.made.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: shorten(message.into()),
            observed_generation: self.generation,
            last_transition_time: since.unwrap_or_else(|| self.now.clone()),
        });
        self
    }

    /// Adds `kind` as true with `good` as its reason, or as false with the reason and message of `fault`.
    #[must_use]
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

/// Whether a condition of one list has another status in the other.
pub(super) fn moved(before: &[Condition], after: &[Condition]) -> bool {
    after.iter().any(|new| {
        before.iter().find(|old| old.type_ == new.type_).is_none_or(|old| old.status != new.status)
    })
}

/// Cuts a text at a character boundary.
pub(super) fn shorten(mut text: String) -> String {
    if text.len() > MESSAGE_MOST {
        let end = (0..=MESSAGE_MOST - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}
