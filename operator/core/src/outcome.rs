//! What became of each object: the verdicts that a translation ends with.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::object::ObjectRef;

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The object.
    pub object: ObjectRef,
    /// The verdict.
    pub verdict: Verdict,
    /// What the user should know although the object is served: values that were not understood.
    pub warnings: Vec<Problem>,
}

/// Whether and how an object takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The object is in the configuration, whole.
    Configured,
    /// Something is wrong with the object; it takes effect in part or not at all.
    Rejected {
        /// One word for the first problem.
        reason: Reason,
        /// Every problem, as sentences.
        message: String,
    },
    /// The object is fine and has no effect.
    Ignored {
        /// Because.
        why: String,
    },
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// One word.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
}

/// Why an object is refused, as the reason of a condition or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Reason {
    /// A field or annotation has a value that cannot be used.
    Invalid,
    /// Something that is named does not exist.
    RefNotFound,
    /// Something that is named may not be used from here.
    RefNotPermitted,
    /// Another object claims the same thing and is older.
    Conflicted,
    /// The proxies cannot express what is asked.
    UnsupportedValue,
    /// The object could not be read.
    Unreadable,
}

impl Reason {
    /// The reason as a CamelCase word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::RefNotFound => "RefNotFound",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::Conflicted => "Conflicted",
            Self::UnsupportedValue => "UnsupportedValue",
            Self::Unreadable => "Unreadable",
        }
    }
}

/// Collects verdicts while the translation runs. A failure outweighs success, whatever the order.
#[derive(Debug, Default)]
pub struct Outcomes {
    configured: Vec<ObjectRef>,
    failures: BTreeMap<ObjectRef, Vec<Problem>>,
    warnings: BTreeMap<ObjectRef, Vec<Problem>>,
    ignored: BTreeMap<ObjectRef, String>,
}

impl Outcomes {
    /// Notes that `object` is in the configuration.
    pub fn configured(&mut self, object: ObjectRef) {
        self.configured.push(object);
    }

    /// Notes that `object` is wrong.
    pub fn fail(&mut self, object: ObjectRef, reason: Reason, message: impl Into<String>) {
        push(&mut self.failures, object, Problem { reason, message: message.into() });
    }

    /// Notes that the same thing is wrong with several objects.
    pub fn fail_all(
        &mut self,
        objects: impl IntoIterator<Item = ObjectRef>,
        reason: Reason,
        message: &str,
    ) {
        for object in objects {
            self.fail(object, reason, message);
        }
    }

    /// Notes that a value of `object` is not understood, though the object takes effect.
    pub fn warn(&mut self, object: ObjectRef, reason: Reason, message: impl Into<String>) {
        push(&mut self.warnings, object, Problem { reason, message: message.into() });
    }

    /// Notes that `object` has no effect, because.
    pub fn ignore(&mut self, object: ObjectRef, why: impl Into<String>) {
        self.ignored.entry(object).or_insert_with(|| why.into());
    }

    /// Whether something is wrong with `object`.
    #[must_use]
    pub fn failed(&self, object: &ObjectRef) -> bool {
        self.failures.contains_key(object)
    }

    /// Ends the collection: one outcome an object, ordered by kind, namespace and name.
    #[must_use]
    pub fn finish(self) -> Vec<Outcome> {
        let Self { configured, failures, mut warnings, ignored } = self;
        // Of two verdicts on one object the later in this chain stays.
        let ignored = ignored.into_iter().map(|(object, why)| (object, Verdict::Ignored { why }));
        let configured = configured.into_iter().map(|object| (object, Verdict::Configured));
        let failed = failures.into_iter().map(|(object, problems)| {
            let reason = problems.first().map_or(Reason::Invalid, |problem| problem.reason);
            let messages: Vec<String> = problems.into_iter().map(|p| p.message).collect();
            (object, Verdict::Rejected { reason, message: messages.join("; ") })
        });
        let mut all: BTreeMap<ObjectRef, Verdict> =
            ignored.chain(configured).chain(failed).collect();
        for object in warnings.keys() {
            if !all.contains_key(object) {
                all.insert(object.clone(), Verdict::Configured);
            }
        }
        all.into_iter()
            .map(|(object, verdict)| {
                let warnings = warnings.remove(&object).unwrap_or_default();
                Outcome { object, verdict, warnings }
            })
            .collect()
    }
}

fn push(map: &mut BTreeMap<ObjectRef, Vec<Problem>>, object: ObjectRef, problem: Problem) {
    let problems = map.entry(object).or_default();
    if !problems.contains(&problem) {
        problems.push(problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;

    #[test]
    fn failure_outweighs_success_in_any_order() {
        let object = ObjectRef::new(Kind::Ingress, "shop", "web");
        let mut outcomes = Outcomes::default();
        outcomes.fail(object.clone(), Reason::RefNotFound, "a");
        outcomes.configured(object.clone());
        outcomes.fail(object.clone(), Reason::Invalid, "b");
        outcomes.fail(object.clone(), Reason::Invalid, "b");
        let verdict = Verdict::Rejected { reason: Reason::RefNotFound, message: "a; b".into() };
        assert_eq!(outcomes.finish(), [Outcome { object, verdict, warnings: Vec::new() }]);
    }
}
