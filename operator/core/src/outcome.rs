//! What became of each object: the verdicts that a translation ends with.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use crate::object::{Kind, ObjectRef};
use crate::translate::Origin;

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

/// What one step of a translation says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// It is in the configuration.
    Configured,
    /// Something is wrong with it.
    Failed(Problem),
    /// A value is not understood.
    Warned(Problem),
    /// It has no effect, because.
    Ignored(String),
}

impl Outcome {
    /// The verdict on an object of which several steps said something, as [`Outcomes::finish`] finds it.
    pub(crate) fn of(object: ObjectRef, notes: impl IntoIterator<Item = Note>) -> Self {
        let mut all = Outcomes::default();
        let mut configured = false;
        for note in notes {
            match note {
                Note::Configured => configured = true,
                Note::Failed(Problem { reason, message }) => {
                    all.fail(object.clone(), reason, message);
                }
                Note::Warned(Problem { reason, message }) => {
                    all.warn(object.clone(), reason, message);
                }
                Note::Ignored(why) => all.ignore(object.clone(), why),
            }
        }
        let Outcomes { configured: _, failures, warnings, ignored } = all;
        let (verdict, warnings) =
            told(failures, warnings, ignored).into_values().next().unwrap_or_default();
        Self { object, verdict: settled(verdict, configured), warnings }
    }
}

/// The verdict on an object that may also be in the configuration.
fn settled(verdict: Option<Verdict>, configured: bool) -> Verdict {
    match verdict {
        Some(Verdict::Ignored { .. }) if configured => Verdict::Configured,
        Some(verdict) => verdict,
        None => Verdict::Configured,
    }
}

/// Collects verdicts while the translation runs. A failure outweighs success, whatever the order.
#[derive(Debug, Default)]
pub struct Outcomes<'a> {
    configured: Vec<(Kind, &'a ObjectMeta)>,
    failures: BTreeMap<ObjectRef, Vec<Problem>>,
    warnings: BTreeMap<ObjectRef, Vec<Problem>>,
    ignored: BTreeMap<ObjectRef, String>,
}

impl<'a> Outcomes<'a> {
    /// Notes that the object behind `origin` is in the configuration.
    pub fn configured(&mut self, origin: Origin<'a>) {
        self.configured.push((origin.kind, origin.meta));
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

    /// What was said since the last time.
    pub(crate) fn take(&mut self) -> Vec<(ObjectRef, Note)> {
        let Self { configured, failures, warnings, ignored } = std::mem::take(self);
        let plain = configured.into_iter().map(|(kind, meta)| ObjectRef::of_meta(kind, meta));
        let mut all: Vec<_> = plain.map(|object| (object, Note::Configured)).collect();
        all.extend(ignored.into_iter().map(|(object, why)| (object, Note::Ignored(why))));
        let of = |note: fn(Problem) -> Note| {
            move |(object, problems): (ObjectRef, Vec<Problem>)| {
                problems.into_iter().map(move |problem| (object.clone(), note(problem)))
            }
        };
        all.extend(failures.into_iter().flat_map(of(Note::Failed)));
        all.extend(warnings.into_iter().flat_map(of(Note::Warned)));
        all
    }

    /// Ends the collection: one outcome an object, ordered by kind, namespace and name.
    #[must_use]
    pub fn finish(self) -> Vec<Outcome> {
        let Self { mut configured, failures, warnings, ignored } = self;
        // Most come in the order of their names already, which this sort makes use of.
        configured.sort_by(|a, b| name(a).cmp(&name(b)));
        configured.dedup_by(|a, b| name(a) == name(b));
        let mut all = Vec::with_capacity(configured.len());
        let mut configured = configured.into_iter().peekable();
        let plain = |(kind, meta): (Kind, &ObjectMeta)| Outcome {
            object: ObjectRef::of_meta(kind, meta),
            verdict: Verdict::Configured,
            warnings: Vec::new(),
        };
        for (object, (verdict, warnings)) in told(failures, warnings, ignored) {
            let before = |one: &(Kind, &ObjectMeta)| name(one) < object.key();
            while let Some(one) = configured.next_if(before) {
                all.push(plain(one));
            }
            let also = configured.next_if(|one| name(one) == object.key()).is_some();
            all.push(Outcome { object, verdict: settled(verdict, also), warnings });
        }
        all.extend(configured.map(plain));
        all
    }
}

/// Kind, namespace and name.
fn name<'a>((kind, meta): &(Kind, &'a ObjectMeta)) -> (Kind, &'a str, &'a str) {
    let text = |field: &'a Option<String>| field.as_deref().unwrap_or_default();
    (*kind, text(&meta.namespace), text(&meta.name))
}

/// What is told of objects beyond their being configured.
type Told = BTreeMap<ObjectRef, (Option<Verdict>, Vec<Problem>)>;

fn told(
    failures: BTreeMap<ObjectRef, Vec<Problem>>,
    warnings: BTreeMap<ObjectRef, Vec<Problem>>,
    ignored: BTreeMap<ObjectRef, String>,
) -> Told {
    let ignored = ignored
        .into_iter()
        .map(|(object, why)| (object, (Some(Verdict::Ignored { why }), Vec::new())));
    let mut told: Told = ignored.collect();
    // A failure outweighs a reason to ignore.
    told.extend(failures.into_iter().map(|(object, problems)| {
        let reason = problems.first().map_or(Reason::Invalid, |problem| problem.reason);
        let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        let message = messages.join("; ");
        (object, (Some(Verdict::Rejected { reason, message }), Vec::new()))
    }));
    for (object, problems) in warnings {
        told.entry(object).or_default().1 = problems;
    }
    told
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

    #[test]
    fn failure_outweighs_success_in_any_order() {
        let object = ObjectRef::new(Kind::Ingress, "shop", "web");
        let name = |name: &str| Some(name.to_owned());
        let meta =
            ObjectMeta { namespace: name("shop"), name: name("web"), ..ObjectMeta::default() };
        let mut outcomes = Outcomes::default();
        outcomes.fail(object.clone(), Reason::RefNotFound, "a");
        outcomes.configured(Origin { kind: Kind::Ingress, meta: &meta, behind: None });
        outcomes.fail(object.clone(), Reason::Invalid, "b");
        outcomes.fail(object.clone(), Reason::Invalid, "b");
        let verdict = Verdict::Rejected { reason: Reason::RefNotFound, message: "a; b".into() };
        assert_eq!(outcomes.finish(), [Outcome { object, verdict, warnings: Vec::new() }]);
    }
}
