//! Kong services and upstreams: rules meet the Services of the cluster and their annotations.

use std::collections::BTreeSet;

use kong::model::{Reference, Service, Upstream};

use super::backends::{self, Fault, Resolved};
use super::gateway::{BackendTls, Policies};
use super::rules::{Backend, Origin, RouteRule, ServiceRule};
use super::{Context, upstreams};
use crate::annotations::{self, boolean};
use crate::names;
use crate::object::{Object as _, ObjectRef};
use crate::options::Engine;
use crate::outcome::Reason;

/// A Kong service whose backends are known.
pub(crate) struct Assembled<'a> {
    /// The entity, without its routes.
    pub(crate) service: Service,
    /// What carries the annotations: Services and facades, each once.
    pub(crate) backends: Vec<Resolved<'a>>,
    /// The routes.
    pub(crate) routes: Vec<RouteRule<'a>>,
    /// The Secret of the client certificate.
    pub(crate) client_certificate: Option<&'a crate::secret::Secret>,
}

/// Resolves one rule. The upstream is always made; the service only if its backends agree.
pub(super) fn assemble<'a>(
    ctx: &mut Context<'a>,
    rule: ServiceRule<'a>,
    policies: &Policies<'a>,
    known: &mut BTreeSet<String>,
) -> (Option<Assembled<'a>>, Option<Upstream>) {
    let ServiceRule { mut service, backends, parent, routes, mut plugins, cookie } = rule;
    let name = service.name.clone().unwrap_or_default();
    let (found, agreed) = resolve(ctx, parent, &name, &backends);
    let pairs: Vec<(Backend<'a>, Option<Resolved<'a>>)> =
        backends.into_iter().zip(found.iter().map(|found| found.filter(|_| agreed))).collect();
    let mut distinct: Vec<Resolved<'a>> = Vec::new();
    for resolved in pairs.iter().filter_map(|(_, resolved)| *resolved) {
        if !distinct.iter().any(|known| known.origin.reference() == resolved.origin.reference()) {
            distinct.push(resolved);
        }
    }
    distinct.sort_by_key(|resolved| (resolved.origin.namespace(), resolved.origin.name()));
    service.tags = match found.iter().flatten().collect::<Vec<_>>()[..] {
        _ if !agreed => None,
        [] => Some(names::unknown_tags()),
        [one] => Some(names::tags(one.origin)),
        [_, _, ..] => Some(names::tags(parent)),
    };
    let covered = covered(ctx, policies, &pairs, &distinct);
    let mut client_certificate = None;
    if agreed {
        for resolved in &distinct {
            ctx.outcomes.configured(resolved.origin);
        }
        if let Some(first) = distinct.first() {
            annotate(ctx, &mut service, first.origin);
            client_certificate = certificate(ctx, first.origin, covered.is_some());
            if let Some(secret) = client_certificate {
                ctx.outcomes.configured(Origin::of(secret));
            }
            if covered.is_none() {
                let all = pairs.iter().filter_map(|(_, resolved)| *resolved);
                authorities(ctx, &mut service, all.map(|resolved| resolved.origin));
            }
        }
    }
    let mut upstream = upstream(ctx, &mut service, known, (parent, &pairs, &distinct));
    if let (Some(cookie), Some(upstream)) = (cookie, &mut upstream) {
        upstreams::keep(upstream, cookie);
    }
    if covered.is_some_and(|(_, tls)| tls.broken) {
        plugins.push(super::gateway::refusal("the BackendTLSPolicy of the backend is not valid"));
    } else if let Some((_, tls)) = covered.filter(|_| ctx.options.engine == Engine::Flotilla) {
        plugins.push(tls.plugin());
    } else if let Some((resolved, tls)) = covered {
        verify_backend(ctx, &mut service, resolved.origin, tls);
        if let Some(upstream) = &mut upstream {
            upstream.host_header = Some(tls.hostname.to_owned());
        }
    }
    service.plugins = plugins;
    let assembled = Assembled { service, backends: distinct, routes, client_certificate };
    (agreed.then_some(assembled), upstream)
}

/// The policy on TLS that covers a Kong service, and a backend that it is for. In stock Kong one backend's covers the
/// others too; to our own proxies several with different ones go by themselves, and streams go as they come.
fn covered<'a, 'p>(
    ctx: &Context<'a>,
    policies: &'p Policies<'a>,
    pairs: &[(Backend<'a>, Option<Resolved<'a>>)],
    distinct: &[Resolved<'a>],
) -> Option<(Resolved<'a>, &'p BackendTls<'p>)>
where
    'a: 'p,
{
    if policies.is_empty() {
        return None;
    }
    if ctx.options.engine == Engine::Kong {
        let of = |one: &Resolved<'a>| Some((*one, policies.of(one.service, None)?));
        return distinct.iter().find_map(of);
    }
    let mut of = pairs.iter().filter_map(|(backend, resolved)| {
        let resolved = (*resolved)?;
        let port = backends::port(resolved.service, backend.port).ok();
        Some((resolved, policies.of(resolved.service, port.map(|port| port.number))))
    });
    let (first, tls) = of.next()?;
    Some((first, tls.filter(|_| of.all(|(_, other)| other == tls))?))
}

type Pairs<'a, 'p> = (Origin<'a>, &'p [(Backend<'a>, Option<Resolved<'a>>)], &'p [Resolved<'a>]);

fn upstream<'a>(
    ctx: &mut Context<'a>,
    service: &mut Service,
    known: &mut BTreeSet<String>,
    (parent, pairs, distinct): Pairs<'a, '_>,
) -> Option<Upstream> {
    let name = service.host.clone().unwrap_or_default();
    let mut faults = Vec::new();
    let (targets, port) = backends::gather(ctx, parent, pairs, &mut faults);
    if let Some(port) = port {
        service.port = Some(port);
    }
    for Fault { message, objects } in faults {
        ctx.outcomes.fail_all(objects, Reason::RefNotFound, &message);
    }
    if !known.insert(name.clone()) {
        return None;
    }
    let mut upstream =
        Upstream { name: Some(name), tags: service.tags.clone(), targets, ..Upstream::default() };
    upstreams::apply(ctx, &mut upstream, parent, distinct);
    upstream.algorithm.get_or_insert_with(|| "round-robin".into());
    Some(upstream)
}

/// Finds every backend, and whether their annotations agree.
fn resolve<'a>(
    ctx: &mut Context<'a>,
    parent: Origin<'a>,
    name: &str,
    backends: &[Backend<'a>],
) -> (Vec<Option<Resolved<'a>>>, bool) {
    let mut found = Vec::with_capacity(backends.len());
    for backend in backends {
        match backends::resolve(ctx, backend) {
            Ok(resolved) => found.push(Some(resolved)),
            Err(error) => {
                let message = format!("failed to resolve Kubernetes Service for backend: {error}");
                ctx.outcomes.fail(parent.reference(), Reason::RefNotFound, message);
                found.push(None);
            }
        }
    }
    let agreed = backends.len() < 2 || agree(ctx, name, &found);
    (found, agreed)
}

/// Whether Services behind one Kong service say the same in their annotations; tells them if not.
fn agree(ctx: &mut Context<'_>, name: &str, found: &[Option<Resolved<'_>>]) -> bool {
    let origins: Vec<Origin<'_>> = found.iter().flatten().map(|resolved| resolved.origin).collect();
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    for origin in &origins {
        keys.extend(origin.annotations().filter(|key| key.starts_with(annotations::PREFIX)));
    }
    let mut agreed = true;
    for key in keys {
        let values: BTreeSet<Option<&str>> =
            origins.iter().map(|origin| origin.annotation(key)).collect();
        if values.len() > 1 {
            agreed = false;
            let message = format!(
                "Service has inconsistent {key} annotation and is used in multi-Service backend \
                 {name}. This annotation must have the same value across all Services in the backend."
            );
            let objects = origins.iter().map(|origin| origin.reference());
            ctx.outcomes.fail_all(objects, Reason::Conflicted, &message);
        }
    }
    agreed
}

/// Applies a BackendTLSPolicy. It covers the whole Kong service, also where it names one backend of several: a Kong
/// service speaks one protocol.
fn verify_backend(
    ctx: &mut Context<'_>,
    service: &mut Service,
    origin: Origin<'_>,
    tls: &BackendTls<'_>,
) {
    let grpc = service.protocol.as_deref().is_some_and(|protocol| protocol.starts_with("grpc"));
    service.protocol = Some(if grpc { "grpcs" } else { "https" }.to_owned());
    service.tls_verify = Some(true);
    service.tls_verify_depth = tls.verify_depth.or(service.tls_verify_depth);
    let ids = named_authorities(ctx, origin, tls.ca_secrets.iter().copied(), &tls.ca_config_maps);
    service.ca_certificates = Some(ids).filter(|ids| !ids.is_empty());
}

const PROTOCOLS: [&str; 9] =
    ["http", "https", "grpc", "grpcs", "tcp", "tls", "tls_passthrough", "ws", "wss"];

/// Applies the annotations of a Service to its Kong service.
fn annotate(ctx: &mut Context<'_>, service: &mut Service, origin: Origin<'_>) {
    if origin.annotations().next().is_none() {
        return drop_path(service);
    }
    let mut notes = Notes { origin, warnings: Vec::new() };
    if let Some(value) = origin.annotation("konghq.com/protocol") {
        if PROTOCOLS.contains(&value) {
            service.protocol = Some(value.to_owned());
        } else {
            notes.bad(
                "konghq.com/protocol",
                value,
                "http, https, grpc, grpcs, tcp, tls, tls_passthrough, ws or wss",
            );
        }
    }
    if let Some(value) = origin.annotation("konghq.com/path") {
        if value.starts_with('/') {
            service.path = Some(value.to_owned());
        } else {
            notes.bad("konghq.com/path", value, "a path with a leading slash");
        }
    }
    const MS: &str = "milliseconds, as a whole number";
    notes.set("konghq.com/connect-timeout", MS, &mut service.connect_timeout);
    notes.set("konghq.com/read-timeout", MS, &mut service.read_timeout);
    notes.set("konghq.com/write-timeout", MS, &mut service.write_timeout);
    notes.set("konghq.com/retries", "a whole number", &mut service.retries);
    notes.set("konghq.com/tls-verify-depth", "a whole number", &mut service.tls_verify_depth);
    if let Some(value) = origin.annotation("konghq.com/tls-verify") {
        match boolean(value) {
            Some(value) => service.tls_verify = Some(value),
            None => notes.bad("konghq.com/tls-verify", value, "true or false"),
        }
    }
    for message in notes.warnings {
        ctx.outcomes.warn(origin.reference(), Reason::Invalid, message);
    }
    drop_path(service);
}

/// gRPC takes no path.
fn drop_path(service: &mut Service) {
    if matches!(service.protocol.as_deref(), Some("grpc" | "grpcs")) {
        service.path = None;
    }
}

/// Gathers what could not be read.
struct Notes<'a> {
    origin: Origin<'a>,
    warnings: Vec<String>,
}

impl Notes<'_> {
    fn bad(&mut self, key: &str, value: &str, allowed: &str) {
        self.warnings.push(format!(
            "annotation {key}: {value:?} is not understood and has no effect; allowed: {allowed}"
        ));
    }

    fn set<T: std::str::FromStr>(&mut self, key: &str, allowed: &str, field: &mut Option<T>) {
        let Some(value) = self.origin.annotation(key) else { return };
        match value.parse() {
            Ok(value) => *field = Some(value),
            Err(_) => self.bad(key, value, allowed),
        }
    }
}

/// The protocol in which a Service is spoken to without TLS of the proxy's own, if it is.
fn plain(origin: Origin<'_>) -> Option<&str> {
    let named = origin.annotation("konghq.com/protocol").filter(|name| !name.is_empty());
    let protocol = named.unwrap_or("http");
    ["http", "grpc", "tcp", "tls_passthrough", "udp", "ws"].contains(&protocol).then_some(protocol)
}

/// The Secret that the annotation `client-cert` names, if `verified` or the annotations have TLS spoken.
fn certificate<'a>(
    ctx: &mut Context<'a>,
    origin: Origin<'a>,
    verified: bool,
) -> Option<&'a crate::secret::Secret> {
    let name = origin.annotation("konghq.com/client-cert").filter(|name| !name.is_empty())?;
    let namespace = origin.namespace();
    let Some(secret) = ctx.find(|all| &all.secrets, namespace, name) else {
        let message = format!(
            "failed to fetch secret '{namespace}/{name}': Secret {namespace}/{name} not found"
        );
        ctx.outcomes.fail(origin.reference(), Reason::RefNotFound, message);
        return None;
    };
    if let Some(protocol) = plain(origin).filter(|_| !verified) {
        let message =
            format!("client certificate requested for incompatible service protocol '{protocol}'");
        ctx.outcomes.fail(origin.reference(), Reason::Invalid, message);
        return None;
    }
    Some(secret)
}

/// Sets the authorities that the annotations name: ids in Secrets and ConfigMaps, those of every backend.
fn authorities<'a>(
    ctx: &mut Context<'a>,
    service: &mut Service,
    origins: impl Iterator<Item = Origin<'a>>,
) {
    let mut ids = Vec::new();
    for origin in origins {
        let named = |key: &str| origin.annotation(key).unwrap_or_default();
        let secrets = named("konghq.com/ca-certificates-secrets");
        let maps: Vec<&str> =
            annotations::list(named("konghq.com/ca-certificates-configmaps")).collect();
        if annotations::list(secrets).next().is_none() && maps.is_empty() {
            continue;
        }
        let fail = if service.tls_verify != Some(true) {
            "CA certificates requested for service without TLS verification enabled".to_owned()
        } else if let Some(protocol) = plain(origin) {
            format!("CA certificates requested for incompatible service protocol '{protocol}'")
        } else {
            ids.extend(named_authorities(ctx, origin, annotations::list(secrets), &maps));
            continue;
        };
        ctx.outcomes.fail(origin.reference(), Reason::Invalid, fail);
    }
    if !ids.is_empty() {
        service.ca_certificates = Some(ids);
    }
}

/// The ids of authorities in Secrets and ConfigMaps of a Service's namespace.
fn named_authorities<'n>(
    ctx: &mut Context<'_>,
    origin: Origin<'_>,
    secrets: impl Iterator<Item = &'n str>,
    maps: &[&'n str],
) -> Vec<String> {
    let namespace = origin.namespace();
    let mut ids = Vec::new();
    for name in secrets {
        match ctx.find(|all| &all.secrets, namespace, name) {
            Some(secret) => {
                let id = secret.data.as_ref().and_then(|data| data.get("id"));
                let id = id.and_then(|id| String::from_utf8(id.0.clone()).ok());
                authority(ctx, (origin, namespace, name), secret.reference(), id, &mut ids);
            }
            None => {
                let message = format!(
                    "Failed to fetch secret for CA Certificate '{namespace}/{name}': Secret {namespace}/{name} not found"
                );
                ctx.outcomes.fail(origin.reference(), Reason::RefNotFound, message);
            }
        }
    }
    for &name in maps {
        match ctx.find(|all| &all.config_maps, namespace, name) {
            Some(map) => {
                let id = map.data.as_ref().and_then(|data| data.get("id")).cloned();
                authority(ctx, (origin, namespace, name), map.reference(), id, &mut ids);
            }
            None => {
                let message = format!(
                    "Failed to fetch configmap for CA Certificate '{namespace}/{name}': ConfigMap {namespace}/{name} not found"
                );
                ctx.outcomes.fail(origin.reference(), Reason::RefNotFound, message);
            }
        }
    }
    ids
}

fn authority(
    ctx: &mut Context<'_>,
    (origin, namespace, name): (Origin<'_>, &str, &str),
    source: ObjectRef,
    id: Option<String>,
    ids: &mut Vec<String>,
) {
    match id {
        Some(id) => ids.push(id),
        None => {
            let message =
                format!("Invalid CA certificate '{namespace}/{name}': missing 'id' field in data");
            ctx.outcomes.fail_all([source, origin.reference()], Reason::Invalid, &message);
        }
    }
}

/// Points the service to the certificate with this id.
pub(super) fn set_certificate(service: &mut Service, id: &str) {
    service.client_certificate = Some(Reference::from(id));
}
