//! Kubernetes objects in, one declarative configuration out: a function, and it never fails.
//!
//! Two steps, each readable on its own. The *sources* (Ingress, TCPIngress, UDPIngress, Gateway API)
//! write down [`Rules`]: Kong services with their backends and routes. The *assembly* resolves the
//! backends to targets, applies annotations, attaches plugins, consumers and certificates, and
//! gives ids. What is wrong with an object ends in its [`Outcome`]; the others go on.

pub(crate) mod gateway;
mod rules;

pub use rules::Origin;

use kong::model::Document;

use crate::options::Options;
use crate::outcome::{Outcome, Outcomes};
use crate::snapshot::{Snapshot, Unreadable};

/// What a translation ends with.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// The configuration.
    pub config: Document,
    /// The verdict on every object that was looked at, by kind, namespace and name.
    pub outcomes: Vec<Outcome>,
}

/// Everything that the steps of one translation share.
pub(crate) struct Context<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) options: &'a Options,
    pub(crate) outcomes: Outcomes,
}

/// Translates `snapshot`. Equal arguments give equal results, on any machine.
#[must_use]
pub fn translate(snapshot: &Snapshot, options: &Options) -> Translation {
    let mut ctx = Context { snapshot, options, outcomes: Outcomes::default() };
    for unreadable in &snapshot.unreadable {
        let Unreadable { object, source: _, message } = unreadable;
        ctx.outcomes.fail(object.clone(), Unreadable::REASON, message.as_str());
    }
    let mut rules = rules::Rules::default();
    gateway::rules(&mut ctx, &mut rules);
    Translation { config: Document::default(), outcomes: ctx.outcomes.finish() }
}
