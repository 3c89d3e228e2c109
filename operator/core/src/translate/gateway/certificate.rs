//! Certificates of Gateway listeners.

use super::super::Context;
use super::super::rules::{ListenerCertificate, Origin};
use super::attach::{Gateways, Slot};
use crate::gateway_api::SecretRef;
use crate::object::{Kind, Object as _};
use crate::options::GatewayStatusSource;
use crate::outcome::Reason;
use crate::snapshot::GrantFrom;

/// The mark of classes whose Gateways no operator provisions.
const UNMANAGED: &str = "konghq.com/gatewayclass-unmanaged";

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
        let managed = ctx.options.gateway_status == GatewayStatusSource::Recorded
            && is_managed(ctx, &entry.gateway.spec.gateway_class_name);
        for slot in entry.slots.iter().filter(|slot| slot.programmed || managed) {
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

/// Whether a class lacks the mark of Gateways that no operator provisions. Kong Ingress Controller serves certificates of
/// such Gateways before their listeners are programmed.
fn is_managed(ctx: &Context<'_>, class: &str) -> bool {
    let class = ctx.snapshot.gateway_classes.get("", class);
    class.is_some_and(|class| class.annotation(UNMANAGED).is_none())
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
    let secret = ctx.find(|all| &all.secrets, namespace, name);
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
