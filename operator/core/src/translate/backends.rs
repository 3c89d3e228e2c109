//! From backends to targets: Services, their ports, and the endpoints behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kong::model::Target;

use super::Context;
use super::rules::{Backend, BackendKind, Origin, Port};
use crate::object::{Kind, Object, ObjectRef};

/// The annotation that sends traffic to a Service's cluster address.
const SERVICE_UPSTREAM: &str = "ingress.kubernetes.io/service-upstream";

/// A backend that exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolved<'a> {
    /// What carries tags and annotations: the Service, or the facade in front of it.
    pub(crate) origin: Origin<'a>,
    /// The Service that is reached.
    pub(crate) service: &'a Service,
}

/// Finds what `backend` names.
pub(super) fn resolve<'a>(
    ctx: &Context<'a>,
    backend: &Backend<'a>,
) -> Result<Resolved<'a>, String> {
    let Backend { kind, namespace, name, port: _, weight: _ } = *backend;
    let find = |name: &str| {
        ctx.find(|all| &all.services, namespace, name).map(|service| &**service).ok_or_else(|| {
            format!(
                "failed to fetch Service {namespace}/{name}: Service {namespace}/{name} not found"
            )
        })
    };
    match kind {
        BackendKind::Service => {
            let service = find(name)?;
            Ok(Resolved { origin: Origin::of(service), service })
        }
        BackendKind::Facade => {
            let facade =
                ctx.find(|all| &all.kong_service_facades, namespace, name).ok_or_else(|| {
                    format!("failed to fetch KongServiceFacade {namespace}/{name}: not found")
                })?;
            let service = find(&facade.spec.backend_ref.name)?;
            Ok(Resolved { origin: Origin::of(&**facade).before(service), service })
        }
    }
}

/// The port of a Service that a backend means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) number: i32,
    port: Option<&'a ServicePort>,
}

/// Finds the port that `wanted` means.
pub(super) fn port<'a>(service: &'a Service, wanted: Port<'_>) -> Result<Found<'a>, String> {
    let none = || "no suitable port found".to_owned();
    let spec = service.spec.as_ref().ok_or_else(none)?;
    let ports = spec.ports.as_deref().unwrap_or_default();
    if is_external(service) {
        return match wanted {
            Port::Number(number) => Ok(Found { number, port: None }),
            Port::Name(_) | Port::Implicit => {
                Err("rules with an ExternalName service must specify numeric ports".into())
            }
        };
    }
    let found = match wanted {
        Port::Number(number) => ports.iter().find(|port| port.port == number),
        Port::Name(name) => ports.iter().find(|port| {
            port.name.as_deref() == Some(name)
                || port.target_port == Some(IntOrString::String(name.to_owned()))
        }),
        Port::Implicit if ports.len() == 1 => ports.first(),
        Port::Implicit => {
            return Err("in implicit mode, service must have exactly 1 port".into());
        }
    };
    found.map(|port| Found { number: port.port, port: Some(port) }).ok_or_else(none)
}

fn is_external(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName"))
}

/// The targets of one backend: names, or the addresses of endpoints; draining ones have weight zero.
fn targets(
    ctx: &Context<'_>,
    parent: Origin<'_>,
    (resolved, found): (Resolved<'_>, Found<'_>),
) -> Vec<(String, bool)> {
    let service = resolved.service;
    let (namespace, name, number) = (service.namespace(), service.name(), found.number);
    if by_class(ctx, parent) || resolved.origin.annotation(SERVICE_UPSTREAM) == Some("true") {
        let domain = &ctx.options.cluster_domain;
        let dot = if domain.is_empty() { "" } else { "." };
        return named(service, format!("{name}.{namespace}.svc{dot}{domain}:{number}"));
    }
    if is_external(service) {
        let external = service.spec.as_ref().and_then(|spec| spec.external_name.as_deref());
        return named(service, format!("{}:{number}", external.unwrap_or_default()));
    }
    let Some(port) = found.port else { return Vec::new() };
    let mut targets: BTreeMap<String, bool> = BTreeMap::new();
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    for slice in ctx.slices_of(namespace, name) {
        let ports = slice.ports.iter().flatten().filter(|candidate| {
            candidate.name.as_deref().unwrap_or_default()
                == port.name.as_deref().unwrap_or_default()
                && candidate.protocol.as_deref().unwrap_or("TCP") == protocol
        });
        for number in ports.filter_map(|port| port.port) {
            for endpoint in &slice.endpoints {
                let conditions = endpoint.conditions.as_ref();
                let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
                let terminating =
                    conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
                let draining = !ready && terminating && ctx.options.drain_support;
                let Some(address) = endpoint.addresses.first().filter(|_| ready || draining) else {
                    continue;
                };
                let both = targets.entry(join(address, number)).or_insert(draining);
                *both &= draining;
            }
        }
    }
    targets.into_iter().collect()
}

/// Whether the class of a Kong service's first object sends traffic to cluster addresses.
fn by_class(ctx: &Context<'_>, parent: Origin<'_>) -> bool {
    if ctx.class.say_nothing() {
        return false;
    }
    let ingress = (parent.kind == Kind::Ingress)
        .then(|| ctx.snapshot.ingresses.get(parent.namespace(), parent.name()))
        .flatten();
    let said = ingress.map(|ingress| ctx.class.parameters(ingress));
    said.unwrap_or_else(|| ctx.class.parameters_of(parent)).service_upstream
}

/// A target that is a name: once for each protocol of the Service, as with Kong Ingress Controller. Equal ones are
/// merged later and their shares added.
fn named(service: &Service, target: String) -> Vec<(String, bool)> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut protocols: BTreeSet<&str> = ports.filter_map(|port| port.protocol.as_deref()).collect();
    protocols.insert("TCP");
    vec![(target, false); protocols.len()]
}

fn join(address: &str, port: i32) -> String {
    if address.parse::<Ipv6Addr>().is_ok_and(|address| address.to_ipv4_mapped().is_none()) {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

/// A backend's targets with their shares.
fn weighed(backend: &Backend<'_>, targets: Vec<(String, bool)>) -> Vec<Target> {
    let live = targets.iter().filter(|(_, draining)| !draining).count();
    let share = backend.weight.map(|weight| match u16::try_from(live) {
        Ok(live) if live > 0 && weight > 0 => (weight / live).max(1),
        Ok(_) | Err(_) => weight.min(1),
    });
    let weight = |draining: bool| if draining { Some(0) } else { share };
    targets
        .into_iter()
        .map(|(target, draining)| Target {
            target: Some(target),
            weight: weight(draining),
            ..Target::default()
        })
        .collect()
}

/// The weight of a target that says none.
const UNSAID: u16 = 100;

/// What is wrong with a backend, and with whom.
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) objects: Vec<ObjectRef>,
}

/// The targets of all backends of a service, equal ones merged; and the port of the last backend.
pub(super) fn gather<'a>(
    ctx: &Context<'a>,
    parent: Origin<'a>,
    backends: &[(Backend<'a>, Option<Resolved<'a>>)],
    faults: &mut Vec<Fault>,
) -> (Vec<Target>, Option<u16>) {
    let mut all: Vec<Target> = Vec::new();
    let mut number = None;
    for (backend, resolved) in backends {
        let Some(resolved) = resolved else {
            let message = format!(
                "can't add target for backend {}: no kubernetes service found",
                backend.name
            );
            faults.push(Fault { message, objects: vec![parent.reference()] });
            continue;
        };
        let found = match port(resolved.service, backend.port) {
            Ok(found) => found,
            Err(error) => {
                let message = format!("can't find port for backend kubernetes service: {error}");
                let objects = vec![resolved.origin.reference(), parent.reference()];
                faults.push(Fault { message, objects });
                continue;
            }
        };
        number = u16::try_from(found.number).ok().or(number);
        for target in weighed(backend, targets(ctx, parent, (*resolved, found))) {
            merge(&mut all, target);
        }
    }
    (all, number)
}

fn merge(all: &mut Vec<Target>, target: Target) {
    match all.iter_mut().find(|known| known.target == target.target) {
        Some(known) => {
            let share = |weight: Option<u16>| weight.unwrap_or(UNSAID);
            known.weight = Some(share(known.weight).saturating_add(share(target.weight)));
        }
        None => all.push(target),
    }
}
