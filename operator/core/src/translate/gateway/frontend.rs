//! TLS of a whole Gateway: which clients its HTTPS listeners let in, and the certificate that it shows to backends.
//!
//! Kong's model has no word for either, and none for ports: fleets of our own proxies with entrances do it, by a plugin
//! without scope that lists the entrances. Elsewhere listeners that demand certificates of clients are refused.

use std::collections::BTreeMap;

use crate::secret::Secret;
use kong::model::Plugin;
use kong::schema::plugin::flotilla_listeners;
use serde_json::{Value, json};

use super::super::Context;
use super::attach::Entry;
use super::listener::{self, Fault};
use super::{policy, service};
use crate::gateway_api::{ClientValidation, Gateway, Listener, SecretRef};
use crate::object::{Kind, Object as _};
use crate::options::Options;
use crate::outcome::Reason;
use crate::snapshot::{GrantFrom, Snapshot};

/// The mode in which clients are let in whatever they show.
const INSECURE: &str = "AllowInsecureFallback";

/// Which certificates clients of a listener must show.
fn validation<'g>(gateway: &'g Gateway, listener: &Listener) -> Option<&'g ClientValidation> {
    let frontend = gateway.spec.tls.as_ref()?.frontend.as_ref()?;
    let of_port = frontend.per_port.iter().find(|one| one.port == listener.port);
    let tls = of_port.map_or(&frontend.default, |one| &one.tls);
    tls.validation.as_ref().filter(|_| listener.protocol == "HTTPS")
}

/// Whether some clients are let in whatever they show.
pub(crate) fn is_insecure(gateway: &Gateway) -> bool {
    let frontend = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
    frontend.is_some_and(|frontend| {
        let ports = frontend.per_port.iter().map(|one| &one.tls);
        let mut all = ports.chain([&frontend.default]).filter_map(|tls| tls.validation.as_ref());
        all.any(|validation| validation.mode.as_deref() == Some(INSECURE))
    })
}

/// What is wrong with the validation of a listener's clients: why it is not accepted, and which reference is at fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) unaccepted: Option<Fault>,
    pub(super) unresolved: Option<Fault>,
}

/// Judges the validation of a listener's clients.
pub(super) fn judge(
    (snapshot, options): (&Snapshot, &Options),
    gateway: &Gateway,
    listener: &Listener,
) -> Faults {
    let Some(validation) = validation(gateway, listener) else { return Faults::default() };
    if service::entrances(snapshot, options, gateway).is_none() {
        let message = "these proxies do not validate certificates of clients".to_owned();
        let fault = Fault { reason: "UnsupportedValue", message };
        return Faults { unaccepted: Some(fault), unresolved: None };
    }
    let references = validation.ca_certificate_refs.iter();
    let looked_at = references.map(|reference| authority(snapshot, gateway, reference));
    let (good, bad): (Vec<_>, Vec<_>) = looked_at.partition(Result::is_ok);
    let unresolved = bad.into_iter().find_map(Result::err);
    let none = good.is_empty().then(|| Fault {
        reason: "NoValidCACertificate",
        message: "no authority of clients' certificates can be used".to_owned(),
    });
    Faults { unaccepted: none, unresolved }
}

/// The authority, in PEM, that a Gateway refers to.
fn authority(
    snapshot: &Snapshot,
    gateway: &Gateway,
    reference: &SecretRef,
) -> Result<String, Fault> {
    let own = gateway.namespace();
    let namespace = reference.namespace.as_deref().unwrap_or(own);
    let name = reference.name.as_str();
    let fault = |reason, what: &str| Fault {
        reason,
        message: format!("authority {namespace}/{name} {what}"),
    };
    let core = matches!(reference.group.as_deref(), None | Some("" | "core"));
    let kind = match reference.kind.as_deref().unwrap_or("ConfigMap") {
        "ConfigMap" if core => Kind::ConfigMap,
        "Secret" if core => Kind::Secret,
        _ => return Err(fault("InvalidCACertificateKind", "is neither ConfigMap nor Secret")),
    };
    let from = GrantFrom { kind: Kind::Gateway, namespace: own };
    if namespace != own && !snapshot.granted(from, kind, namespace, name) {
        return Err(fault("RefNotPermitted", "is not permitted by any ReferenceGrant"));
    }
    policy::kept(snapshot, kind, namespace, name)
        .filter(|pem| listener::holds_pem(pem.as_bytes(), "CERTIFICATE"))
        .ok_or_else(|| fault("InvalidCACertificateRef", "holds no certificate"))
}

/// The Secret with the certificate that a Gateway shows to backends, or why there is none.
pub(crate) fn client_certificate<'a>(
    snapshot: &'a Snapshot,
    gateway: &Gateway,
) -> Option<Result<&'a Secret, Fault>> {
    let backend = gateway.spec.tls.as_ref()?.backend.as_ref()?;
    let reference = backend.client_certificate_ref.as_ref()?;
    let own = gateway.namespace();
    let namespace = reference.namespace.as_deref().unwrap_or(own);
    let name = reference.name.as_str();
    let fault = |reason, what: &str| {
        let message = format!("client certificate {namespace}/{name} {what}");
        Some(Err(Fault { reason, message }))
    };
    if !reference.is_secret() {
        return fault("InvalidClientCertificateRef", "is not a Secret");
    }
    let from = GrantFrom { kind: Kind::Gateway, namespace: own };
    if namespace != own && !snapshot.granted(from, Kind::Secret, namespace, name) {
        return fault("RefNotPermitted", "is not permitted by any ReferenceGrant");
    }
    match snapshot.secrets.get(namespace, name) {
        Some(secret) if listener::is_pair(secret) => Some(Ok(secret)),
        Some(_) => fault("InvalidClientCertificateRef", "holds no certificate and key"),
        None => fault("InvalidClientCertificateRef", "does not exist"),
    }
}

/// The certificates that Gateways show to backends.
pub(crate) fn client_certificates<'a>(ctx: &mut Context<'a>) -> Vec<&'a Secret> {
    let mut found = Vec::new();
    for gateway in &ctx.snapshot.gateways {
        let gateway: &'a Gateway = gateway;
        if super::attach::controller(ctx.snapshot, ctx.options, gateway).is_none() {
            continue;
        }
        let Some(certificate) = client_certificate(ctx.snapshot, gateway) else { continue };
        if service::entrances(ctx.snapshot, ctx.options, gateway).is_none() {
            let message = "spec.tls.backend has no effect: these proxies show no certificate of a \
                           Gateway";
            ctx.outcomes.warn(gateway.reference(), Reason::UnsupportedValue, message);
            continue;
        }
        match certificate {
            Ok(secret) => found.push(secret),
            Err(Fault { reason: _, message }) => {
                ctx.outcomes.warn(gateway.reference(), Reason::RefNotFound, message);
            }
        }
    }
    found
}

/// The plugin that tells our own proxies what listeners say of TLS; nothing where none says anything.
pub(crate) fn plugin<'s>(
    ctx: &Context<'_>,
    id_of: impl Fn(&Secret) -> Option<&'s str>,
) -> Option<Plugin> {
    ctx.options.entrances.as_ref()?;
    let gateways = ctx.gateways();
    let mut entrances: BTreeMap<u16, Value> = BTreeMap::new();
    for entry in gateways.entries.values() {
        let shown = client_certificate(ctx.snapshot, entry.gateway).and_then(Result::ok);
        let shown = shown.and_then(&id_of);
        for (port, mut entrance) in of_gateway(ctx.snapshot, entry) {
            if let Some(id) = shown {
                entrance["certificate"] = json!(id);
            } else if entrance["hostnames"].as_array().is_none_or(Vec::is_empty)
                && entrance["closed"] != json!(true)
            {
                continue;
            }
            entrance["port"] = json!(port);
            entrances.insert(port, entrance);
        }
    }
    if entrances.is_empty() {
        return None;
    }
    let config = json!({ "entrances": entrances.into_values().collect::<Vec<_>>() });
    Some(Plugin {
        name: Some(flotilla_listeners::NAME.to_owned()),
        config: config.as_object().cloned(),
        ..Plugin::default()
    })
}

/// The entrances of a Gateway with what its listeners say.
fn of_gateway(snapshot: &Snapshot, entry: &Entry<'_>) -> BTreeMap<u16, Value> {
    let mut all = BTreeMap::new();
    // A port that ends TLS for no listener that can serve ends it for nobody.
    for slot in entry.slots.iter().filter(|slot| !slot.programmed) {
        if let Some(port) = slot.entrance.filter(|_| slot.listener.protocol == "HTTPS") {
            all.insert(port, json!({ "hostnames": [], "closed": true }));
        }
    }
    for slot in entry.slots.iter().filter(|slot| slot.programmed) {
        let Some(port) = slot.entrance else { continue };
        let entrance = all.entry(port).or_insert_with(|| json!({ "hostnames": [] }));
        if let Some(fields) = entrance.as_object_mut() {
            fields.remove("closed");
        }
        if slot.listener.protocol != "HTTPS" {
            continue;
        }
        if let Some(names) = entrance["hostnames"].as_array_mut() {
            names.push(json!(slot.listener.hostname().unwrap_or("*")));
        }
        if let Some(validation) = validation(entry.gateway, slot.listener) {
            if validation.mode.as_deref() == Some(INSECURE) {
                entrance["client_optional"] = json!(true);
            }
            let references = validation.ca_certificate_refs.iter();
            let pems = references.filter_map(|one| authority(snapshot, entry.gateway, one).ok());
            entrance["client_authorities"] = pems.collect();
        }
    }
    all
}
