//! Whether an object may be written: the verdicts of [`check`](crate::check), before the object is stored.
//!
//! A write is denied for what it newly breaks and only another edit could mend. What time can mend, such as a
//! reference to something that is not there yet, is a warning: manifests may be applied in any order. An object that
//! was wrong before may be edited, and stay as wrong as it was. Gateway API tells what is wrong in statuses; its
//! objects are never denied.

use serde_json::Value;

use crate::check::check;
use crate::object::{Kind, ObjectRef};
use crate::options::Options;
use crate::outcome::{Outcome, Reason, Verdict};
use crate::snapshot::{Loader, Snapshot};

/// An object that somebody wants to write.
#[derive(Clone, Debug)]
pub struct Proposal {
    object: ObjectRef,
    snapshot: Snapshot,
}

impl Proposal {
    /// Reads the object; one that cannot be decoded is a proposal too, of something unreadable.
    #[must_use]
    pub fn read(object: ObjectRef, document: Value) -> Self {
        let mut loader = Loader::new();
        loader.document("", document);
        Self { object, snapshot: loader.finish().0 }
    }
}

/// The answer to a proposal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// Why the object may not be written, if it may not.
    pub denied: Option<String>,
    /// What the author should know, though the object may be written.
    pub warnings: Vec<String>,
}

/// Judges `proposal` as if it stood in `snapshot`, for each of the `fleets` that could serve it.
#[must_use]
pub fn review(snapshot: &Snapshot, proposal: &Proposal, fleets: &[Options]) -> Review {
    let kind = proposal.object.kind;
    let before =
        snapshot.filtered(|object| *object == proposal.object || bears_on(kind, object.kind));
    let after = before.with(&proposal.snapshot);
    let mut review = Review::default();
    let mut denials = Vec::new();
    for options in fleets {
        let held = check(&before, options);
        let judged = check(&after, options);
        let elsewhere = judged.iter().any(|outcome| is_cause(outcome, proposal));
        for outcome in judged {
            let own = outcome.object == proposal.object;
            let news = !is_among(&outcome, &held);
            match &outcome.verdict {
                Verdict::Rejected { reason, message }
                    if news && !elsewhere && bars(&outcome, *reason) =>
                {
                    add(&mut denials, told(own, &outcome, message));
                }
                Verdict::Rejected { message, .. } if news => {
                    add(&mut review.warnings, told(own, &outcome, message));
                }
                // What was wrong before still is.
                Verdict::Rejected { message, .. } if own => {
                    add(&mut review.warnings, message.clone());
                }
                Verdict::Rejected { .. } | Verdict::Configured | Verdict::Ignored { .. } => {}
            }
            for warning in outcome.warnings.iter().filter(|_| own) {
                add(&mut review.warnings, warning.message.clone());
            }
        }
    }
    review.denied = (!denials.is_empty()).then(|| denials.join("; "));
    review
}

/// Whether the same was said before; outcomes come in the order of their objects.
fn is_among(outcome: &Outcome, held: &[Outcome]) -> bool {
    let at = held.binary_search_by(|one| one.object.cmp(&outcome.object)).ok();
    at.and_then(|at| held.get(at)) == Some(outcome)
}

fn add(texts: &mut Vec<String>, text: String) {
    if !texts.contains(&text) {
        texts.push(text);
    }
}

fn told(own: bool, outcome: &Outcome, message: &str) -> String {
    if own { message.to_owned() } else { format!("{}: {message}", outcome.object) }
}

/// Whether what is wrong is in something that the proposal refers to, and is mended there.
fn is_cause(outcome: &Outcome, proposal: &Proposal) -> bool {
    let invalid = matches!(outcome.verdict, Verdict::Rejected { reason: Reason::Invalid, .. });
    let referred = matches!(outcome.object.kind, Kind::Secret | Kind::ConfigMap);
    invalid && referred && outcome.object != proposal.object
}

/// Whether only an edit mends what is wrong.
fn bars(outcome: &Outcome, reason: Reason) -> bool {
    let kind = outcome.object.kind;
    match reason {
        Reason::Invalid | Reason::Unreadable => !kind.group().starts_with("gateway.networking"),
        // Names, prefixes and keys are taken once; of two routes the older just wins.
        Reason::Conflicted => matches!(
            kind,
            Kind::KongConsumer | Kind::KongConsumerGroup | Kind::KongVault | Kind::Secret
        ),
        Reason::RefNotFound | Reason::RefNotPermitted | Reason::UnsupportedValue => false,
    }
}

/// Whether objects of a kind may change the verdict on one that is written: the others are left out, so that a write
/// costs what it concerns and not what the cluster holds.
fn bears_on(written: Kind, other: Kind) -> bool {
    use Kind::{
        ConfigMap, GrpcRoute, HttpRoute, Ingress, IngressClass, KongClusterPlugin, KongConsumer,
        KongConsumerGroup, KongPlugin, KongVault, Secret, TcpIngress, TcpRoute, TlsRoute,
        UdpIngress, UdpRoute,
    };
    let routes = matches!(
        other,
        Ingress | HttpRoute | GrpcRoute | TlsRoute | TcpRoute | UdpRoute | TcpIngress | UdpIngress
    );
    match written {
        KongPlugin | KongClusterPlugin => matches!(other, Secret | IngressClass),
        KongVault => matches!(other, KongVault | IngressClass),
        KongConsumer | KongConsumerGroup | Secret | ConfigMap => matches!(
            other,
            KongConsumer
                | KongConsumerGroup
                | KongPlugin
                | KongClusterPlugin
                | Secret
                | IngressClass
        ),
        Ingress | HttpRoute | GrpcRoute | TlsRoute | TcpRoute | UdpRoute | TcpIngress
        | UdpIngress => !routes && other != KongConsumer,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
