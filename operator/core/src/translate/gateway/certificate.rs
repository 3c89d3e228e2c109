//! Certificates of Gateway listeners.

use super::super::Context;
use super::super::rules::{ListenerCertificate, Origin};
use super::attach::{Gateways, Slot};
use crate::gateway_api::SecretRef;
use crate::object::Kind;
use crate::outcome::Reason;
use crate::snapshot::GrantFrom;

/// Pairs the Secret of each listener that terminates TLS with its hostname.
///
/// A listener with several certificates is refused: Kong Ingress Controller does so, and a Kong SNI has room for one.
pub(super) fn of<'a>(
    ctx: &mut Context<'a>,
    gateways: &Gateways<'a>,
) -> Vec<ListenerCertificate<'a>> {
    let mut found = Vec::new();
    for entry in gateways.entries.values() {
        let gateway = Origin::of(entry.gateway);
        for slot in entry.slots.iter().filter(|slot| slot.programmed) {
            let tls = slot.listener.tls.as_ref();
            match tls.map_or(&[][..], |tls| tls.certificate_refs.as_slice()) {
                [] => {}
                [reference] => found.extend(certificate(ctx, gateway, slot, reference)),
                [_, _, ..] => {
                    let message = format!(
                        "listener '{}' has more than one certificateRef, which is not supported",
                        slot.listener.name
                    );
                    ctx.outcomes.fail(gateway.reference(), Reason::UnsupportedValue, message);
                }
            }
        }
    }
    found
}

/// The certificate of one listener; nothing, with a warning, when its Secret cannot be used from here.
fn certificate<'a>(
    ctx: &mut Context<'a>,
    gateway: Origin<'a>,
    slot: &Slot<'a>,
    reference: &'a SecretRef,
) -> Option<ListenerCertificate<'a>> {
    let (kind, own) = match slot.set {
        Some(set) => (Kind::ListenerSet, set.metadata.namespace.as_deref().unwrap_or_default()),
        None => (Kind::Gateway, gateway.namespace()),
    };
    let namespace = reference.namespace.as_deref().unwrap_or(own);
    let name = reference.name.as_str();
    let granted = namespace == own
        || ctx.snapshot.granted(GrantFrom { kind, namespace: own }, Kind::Secret, namespace, name);
    let listener = &slot.listener.name;
    let secret = ctx.snapshot.secrets.get(namespace, name);
    let problem = match (reference.is_secret(), granted, secret) {
        (true, true, Some(secret)) => {
            let hostname = slot.listener.hostname().unwrap_or("*");
            return Some(ListenerCertificate { secret, hostname, gateway });
        }
        (false, _, _) => (Reason::Invalid, "is not a Secret"),
        (true, false, _) => (Reason::RefNotPermitted, "is not permitted by any ReferenceGrant"),
        (true, true, None) => (Reason::RefNotFound, "does not exist"),
    };
    let (reason, what) = problem;
    let message = format!("certificate {namespace}/{name} of listener '{listener}' {what}");
    ctx.outcomes.warn(gateway.reference(), reason, message);
    None
}
