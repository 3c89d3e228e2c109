//! Conditions in the one form that every status here uses.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The conditions of one object: at most one of each type, in a stable order.
pub type Conditions = Vec<Condition>;

/// Finds the condition of the type `kind`.
#[must_use]
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}
