//! What a Gateway's listeners are worth: supported, in conflict with each other, and with references that resolve.
//!
//! The same judgement decides which listeners admit routes and serve certificates, and what their conditions say.

use std::collections::BTreeMap;

use crate::secret::Secret;

use crate::gateway_api::{AllowedRoutes, GROUP, Gateway, Listener, ListenerSet, SecretRef};
use crate::object::{Kind, Object as _};
use crate::options::Options;
use crate::snapshot::{GrantFrom, Snapshot};

use super::attach::{Gateways, protocol_kinds, supported_kinds};
use super::frontend;

/// Something that is wrong with a listener: the reason of a condition, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// One word of the specification.
    pub(crate) reason: &'static str,
    /// A sentence for people.
    pub(crate) message: String,
}

/// What one listener is worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Worth {
    /// Why it is not accepted.
    pub(crate) unaccepted: Option<Fault>,
    /// What it is in conflict with.
    pub(crate) conflict: Option<Fault>,
    /// Which of its references does not resolve.
    pub(crate) unresolved: Option<Fault>,
    /// The kinds of routes that may attach.
    pub(crate) kinds: Vec<&'static str>,
}

impl Worth {
    /// Whether the listener can serve. Kinds that do not exist make it unresolved but leave the others served, as do
    /// authorities of clients' certificates.
    pub(crate) fn usable(&self) -> bool {
        let broken = self.unresolved.as_ref().is_some_and(|fault| {
            fault.reason != INVALID_KINDS && !fault.reason.starts_with("InvalidCACertificate")
        });
        self.unaccepted.is_none() && self.conflict.is_none() && !broken
    }
}

const INVALID_KINDS: &str = "InvalidRouteKinds";
const INVALID_CERTIFICATE: &str = "InvalidCertificateRef";

/// A listener and the object that it stands in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing<'a> {
    /// The listener.
    pub(crate) listener: &'a Listener,
    /// Its ListenerSet; nothing for the Gateway's own listeners.
    pub(crate) set: Option<&'a ListenerSet>,
}

/// Judges all listeners of a Gateway, in their order. Those of ListenerSets stand behind the Gateway's own, oldest set
/// first, and yield to those before them.
pub(crate) fn judge(
    (snapshot, options): (&Snapshot, &Options),
    gateway: &Gateway,
    listeners: &[Standing<'_>],
) -> Vec<Worth> {
    let mut conflicts = conflicts(listeners);
    let judged = listeners.iter().enumerate().map(|(index, standing)| {
        let clients = frontend::judge((snapshot, options), gateway, standing.listener);
        Worth {
            unaccepted: unaccepted(standing.listener).or(clients.unaccepted),
            conflict: conflicts.remove(&index),
            unresolved: unresolved(snapshot, gateway, standing).or(clients.unresolved),
            kinds: supported_kinds(standing.listener),
        }
    });
    judged.collect()
}

fn unaccepted(listener: &Listener) -> Option<Fault> {
    if protocol_kinds(listener).is_empty() {
        let message = format!("protocol {} is not supported", listener.protocol);
        return Some(Fault { reason: "UnsupportedProtocol", message });
    }
    None
}

/// How listeners of one port can live together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layer {
    Clear,
    Encrypted,
    Stream,
    Datagram,
    Unknown,
}

fn layer(listener: &Listener) -> Layer {
    match listener.protocol.as_str() {
        "HTTP" => Layer::Clear,
        "HTTPS" | "TLS" => Layer::Encrypted,
        "TCP" => Layer::Stream,
        "UDP" => Layer::Datagram,
        _ => Layer::Unknown,
    }
}

/// The conflict between two listeners, if there is one.
fn conflict(a: &Listener, b: &Listener) -> Option<&'static str> {
    let apart = [layer(a), layer(b)].contains(&Layer::Datagram) && layer(a) != layer(b);
    if a.port != b.port || apart || [layer(a), layer(b)].contains(&Layer::Unknown) {
        return None;
    }
    if layer(a) != layer(b) {
        return Some("ProtocolConflict");
    }
    let host = |listener: &Listener| listener.hostname().map(str::to_ascii_lowercase);
    let named = matches!(layer(a), Layer::Clear | Layer::Encrypted);
    (!named || host(a) == host(b)).then_some("HostnameConflict")
}

/// Conflicts by index. Two of the Gateway's own listeners lose both; a ListenerSet's yields to what stands before it.
fn conflicts(listeners: &[Standing<'_>]) -> BTreeMap<usize, Fault> {
    let mut found = BTreeMap::new();
    for (index, standing) in listeners.iter().enumerate() {
        for (other_index, other) in listeners.iter().enumerate() {
            let yields = other_index < index || standing.set.is_none() && other.set.is_none();
            // What has lost already takes nothing from a ListenerSet's.
            let lost = standing.set.is_some() && found.contains_key(&other_index);
            if other_index == index || !yields || lost {
                continue;
            }
            if let Some(reason) = conflict(standing.listener, other.listener) {
                let what = match reason {
                    "ProtocolConflict" => "speaks another protocol on the same port",
                    _ => "has the same port and hostname",
                };
                let message = format!("listener {} {what}", other.listener.name);
                found.entry(index).or_insert(Fault { reason, message });
            }
        }
    }
    found
}

fn unresolved(snapshot: &Snapshot, gateway: &Gateway, standing: &Standing<'_>) -> Option<Fault> {
    let listener = standing.listener;
    let certificate = || {
        let tls = listener.tls.as_ref()?;
        if listener.is_passthrough() || !matches!(listener.protocol.as_str(), "HTTPS" | "TLS") {
            return None;
        }
        if tls.certificate_refs.is_empty() {
            let message = "the listener terminates TLS and names no certificate".to_owned();
            return Some(Fault { reason: INVALID_CERTIFICATE, message });
        }
        let faults = tls.certificate_refs.iter();
        faults.filter_map(|reference| secret_fault(snapshot, gateway, standing, reference)).next()
    };
    invalid_kinds(listener).or_else(certificate)
}

/// Kinds that the listener allows and its protocol cannot carry.
fn invalid_kinds(listener: &Listener) -> Option<Fault> {
    let AllowedRoutes { namespaces: _, kinds } = listener.allowed_routes.as_ref()?;
    let possible = protocol_kinds(listener);
    let wrong = kinds.iter().find(|kind| {
        kind.group.as_deref().unwrap_or(GROUP) != GROUP || !possible.contains(&kind.kind.as_str())
    })?;
    let message = format!("a {} listener cannot carry {}", listener.protocol, wrong.kind);
    Some(Fault { reason: INVALID_KINDS, message })
}

/// Why a certificate reference cannot be used.
fn secret_fault(
    snapshot: &Snapshot,
    gateway: &Gateway,
    standing: &Standing<'_>,
    reference: &SecretRef,
) -> Option<Fault> {
    let (kind, own) = match standing.set {
        Some(set) => (Kind::ListenerSet, set.namespace()),
        None => (Kind::Gateway, gateway.namespace()),
    };
    let namespace = reference.namespace.as_deref().unwrap_or(own);
    let name = reference.name.as_str();
    let fault =
        |reason, what: &str| Fault { reason, message: format!("{namespace}/{name} {what}") };
    if !reference.is_secret() {
        return Some(fault(INVALID_CERTIFICATE, "is not a Secret"));
    }
    let from = GrantFrom { kind, namespace: own };
    if namespace != own && !snapshot.granted(from, Kind::Secret, namespace, name) {
        return Some(fault("RefNotPermitted", "is not permitted by any ReferenceGrant"));
    }
    let Some(secret) = snapshot.secrets.get(namespace, name) else {
        return Some(fault(INVALID_CERTIFICATE, "does not exist"));
    };
    if !is_pair(secret) {
        return Some(fault(INVALID_CERTIFICATE, "holds no certificate and key"));
    }
    None
}

/// Whether a Secret holds a certificate and its key.
pub(super) fn is_pair(secret: &Secret) -> bool {
    let part = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let pem = |key: &str, label: &str| part(key).is_some_and(|part| holds_pem(&part.0, label));
    pem("tls.crt", "CERTIFICATE") && pem("tls.key", "PRIVATE KEY")
}

/// Whether bytes hold a PEM block whose label ends so, with content that decodes.
pub(super) fn holds_pem(bytes: &[u8], label: &str) -> bool {
    let blocks = x509_parser::pem::Pem::iter_from_buffer(bytes);
    blocks
        .filter_map(Result::ok)
        .any(|block| block.label.ends_with(label) && !block.contents.is_empty())
}

/// The listeners of a Gateway and of the ListenerSets that it lets attach, oldest set first.
pub(crate) fn standing<'a>(
    snapshot: &'a Snapshot,
    gateways: &Gateways<'a>,
    gateway: &'a Gateway,
) -> Vec<Standing<'a>> {
    let own = gateway.spec.listeners.iter().map(|listener| Standing { listener, set: None });
    let mut all: Vec<Standing<'a>> = own.collect();
    for set in snapshot.listener_sets.oldest_first() {
        if admits(gateways, gateway, set) {
            let listeners = set.spec.listeners.iter();
            all.extend(listeners.map(|listener| Standing { listener, set: Some(set) }));
        }
    }
    all
}

/// Whether a ListenerSet names this Gateway and the Gateway lets it attach.
pub(crate) fn admits(gateways: &Gateways<'_>, gateway: &Gateway, set: &ListenerSet) -> bool {
    names(gateway, set) && {
        let allowed = gateway.spec.allowed_listeners.as_ref();
        let policy = allowed.and_then(|allowed| allowed.namespaces.as_ref());
        policy.is_some_and(|policy| {
            policy.from.is_some()
                && gateways.contains(Some(policy), gateway.namespace(), set.namespace())
        })
    }
}

/// Whether a ListenerSet names this Gateway as its parent.
pub(crate) fn names(gateway: &Gateway, set: &ListenerSet) -> bool {
    let parent = &set.spec.parent_ref;
    parent.is("Gateway")
        && parent.name == gateway.name()
        && parent.namespace_or(set.namespace()) == gateway.namespace()
}

/// What is wrong with a Gateway as such: then it serves nothing.
pub(crate) fn gateway_fault(gateway: &Gateway) -> Option<Fault> {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    if let Some(parameters) = infrastructure.and_then(|found| found.parameters_ref.as_ref()) {
        let message = format!("parameters of kind {} are not understood", parameters.kind);
        return Some(Fault { reason: "InvalidParameters", message });
    }
    let kinds = gateway.spec.addresses.iter().filter_map(|address| address.kind.as_deref());
    let strange = kinds.into_iter().find(|kind| !matches!(*kind, "IPAddress" | "Hostname"))?;
    let message = format!("addresses of type {strange} are not supported");
    Some(Fault { reason: "UnsupportedAddress", message })
}
