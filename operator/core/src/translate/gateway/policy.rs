//! BackendTLSPolicies: how the proxy speaks TLS to a Service.
//!
//! As with Kong Ingress Controller a policy counts once some HTTPRoute of a Gateway of ours leads to its Service, and then
//! wherever that Service is a backend. Of several policies for one Service the oldest counts.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::super::Context;
use super::super::rules::Origin;
use super::attach::{Gateways, RouteView};
use super::listener;
use crate::gateway_api::{BackendTlsPolicy, LocalRef, PolicyTargetRef};
use crate::object::{Kind, Object as _};
use crate::options::Engine;
use crate::outcome::Reason;
use crate::snapshot::Snapshot;

/// What a policy demands of connections to a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackendTls<'a> {
    /// The server name: sent, verified, and the `host_header` of the upstream.
    pub(crate) hostname: &'a str,
    /// Secrets with certificate authorities, in the Service's namespace.
    pub(crate) ca_secrets: Vec<&'a str>,
    /// ConfigMaps with certificate authorities, in the Service's namespace.
    pub(crate) ca_config_maps: Vec<&'a str>,
    /// How many certificates may stand between the server's and the authority's.
    pub(crate) verify_depth: Option<u8>,
    /// The policy cannot be followed: nothing may be sent to the Service.
    pub(crate) broken: bool,
}

/// Where an authority stands in a Secret or ConfigMap.
const AUTHORITY: &str = "ca.crt";
/// The option that sets the verification depth.
const VERIFY_DEPTH: &str = "tls-verify-depth";

/// Services by namespace and name.
pub(crate) type ByService<'a, T> = BTreeMap<(&'a str, &'a str), T>;

/// The policies that count, by namespace and name of their Service.
pub(crate) fn backend_tls<'a>(ctx: &mut Context<'a>) -> ByService<'a, BackendTls<'a>> {
    let snapshot = ctx.snapshot;
    let mut found = ByService::new();
    if snapshot.backend_tls_policies.is_empty() {
        return found;
    }
    let routed = routed(ctx);
    for policy in snapshot.backend_tls_policies.oldest_first() {
        let policy: &'a BackendTlsPolicy = policy;
        let namespace = policy.namespace();
        let targets = policy.spec.target_refs.iter().filter(|target| is_service(target));
        let served: Vec<&'a str> = targets
            .map(|target| target.name.as_str())
            .filter(|name| routed.contains_key(&(namespace, *name)))
            .collect();
        if served.is_empty() {
            ctx.outcomes
                .ignore(policy.reference(), "no HTTPRoute leads to a Service that it names");
            continue;
        }
        match read(ctx, policy) {
            Ok(tls) => {
                ctx.outcomes.configured(Origin::of(policy));
                for name in served {
                    match found.entry((namespace, name)) {
                        Entry::Vacant(entry) => {
                            entry.insert(tls.clone());
                        }
                        Entry::Occupied(_) => {
                            let message = format!("an older policy already covers Service {name}");
                            ctx.outcomes.fail(policy.reference(), Reason::Conflicted, message);
                        }
                    }
                }
            }
            Err((reason, message)) => {
                ctx.outcomes.fail(policy.reference(), reason, message);
                // Kong's own controller goes on in clear text; our own proxies send nothing instead.
                if ctx.options.engine == Engine::Flotilla {
                    let broken = BackendTls { broken: true, ..BackendTls::default() };
                    for name in served {
                        found.entry((namespace, name)).or_insert_with(|| broken.clone());
                    }
                }
            }
        }
    }
    found
}

fn is_service(target: &PolicyTargetRef) -> bool {
    target.kind == "Service" && matches!(target.group.as_str(), "" | "core")
}

/// The Services to which HTTPRoutes of our Gateways lead.
fn routed<'a>(ctx: &Context<'a>) -> ByService<'a, ()> {
    let gateways = Gateways::of(ctx.snapshot, ctx.options);
    let mut routed = ByService::new();
    for route in &ctx.snapshot.http_routes {
        let view = RouteView {
            kind: Kind::HttpRoute.name(),
            namespace: route.namespace(),
            parents: &route.spec.parent_refs,
            hostnames: Some(&route.spec.hostnames),
        };
        if gateways.attach(view).iter().any(|attachment| attachment.verdict.is_ok()) {
            let backends = route.spec.rules.iter().flat_map(|rule| &rule.backend_refs);
            for backend in backends.filter(|backend| backend.is_service()) {
                routed.insert((backend.namespace_or(route.namespace()), &*backend.name), ());
            }
        }
    }
    routed
}

/// What a policy says, or why it cannot be accepted.
fn read<'a>(
    ctx: &Context<'a>,
    policy: &'a BackendTlsPolicy,
) -> Result<BackendTls<'a>, (Reason, String)> {
    let validation = &policy.spec.validation;
    let unsupported =
        |what: &str| Err((Reason::UnsupportedValue, format!("{what} is not supported")));
    if !validation.subject_alt_names.is_empty() {
        return unsupported("subjectAltNames");
    }
    if validation.well_known_ca_certificates.is_some() {
        return unsupported("wellKnownCACertificates");
    }
    let mut tls = BackendTls { hostname: &validation.hostname, ..BackendTls::default() };
    for LocalRef { group, kind, name } in &validation.ca_certificate_refs {
        let namespace = policy.namespace();
        let (list, exists) = match (group.as_str(), kind.as_str()) {
            ("" | "core", "Secret") => {
                (&mut tls.ca_secrets, ctx.snapshot.secrets.get(namespace, name).is_some())
            }
            ("" | "core", "ConfigMap") => {
                (&mut tls.ca_config_maps, ctx.snapshot.config_maps.get(namespace, name).is_some())
            }
            _ => {
                let message = format!("caCertificateRefs: {kind} is neither Secret nor ConfigMap");
                return Err((Reason::Invalid, message));
            }
        };
        if !exists {
            let message = format!("caCertificateRefs: {kind} {namespace}/{name} does not exist");
            return Err((Reason::RefNotFound, message));
        }
        let own = ctx.options.engine == Engine::Flotilla;
        if own && !holds_authority(ctx.snapshot, kind, namespace, name) {
            let message =
                format!("caCertificateRefs: {kind} {namespace}/{name} holds no authority");
            return Err((Reason::RefNotFound, message));
        }
        list.push(name);
    }
    tls.verify_depth = match policy.spec.options.get(VERIFY_DEPTH) {
        None => None,
        Some(depth) => {
            let message = || format!("option {VERIFY_DEPTH}: {depth:?} is no depth from 0 to 64");
            Some(depth.parse().map_err(|_| (Reason::Invalid, message()))?)
        }
    };
    Ok(tls)
}

/// Whether an object has a certificate authority in PEM where one is looked for.
fn holds_authority(snapshot: &Snapshot, kind: &str, namespace: &str, name: &str) -> bool {
    let of_secret = || {
        let secret = snapshot.secrets.get(namespace, name)?;
        Some(secret.data.as_ref()?.get(AUTHORITY)?.0.clone())
    };
    let of_config_map = || {
        let map = snapshot.config_maps.get(namespace, name)?;
        Some(map.data.as_ref()?.get(AUTHORITY)?.clone().into_bytes())
    };
    let pem = if kind == "Secret" { of_secret() } else { of_config_map() };
    pem.is_some_and(|pem| listener::holds_pem(&pem, "CERTIFICATE"))
}

#[cfg(test)]
mod tests {
    use crate::options::{Engine, GatewayStatusSource, Options};
    use crate::snapshot::Loader;
    use crate::translate::translate;

    const OBJECTS: &str = r"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours}
spec: {controllerName: flotilla.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, port: 443}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 443}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: web}]
  validation: {hostname: web.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: gone}]}
";

    /// Whether requests to the Service are refused.
    fn refuses(engine: Engine) -> bool {
        let mut loader = Loader::new();
        loader.add("in.yaml", OBJECTS);
        let gateway_status = GatewayStatusSource::Derived;
        let options = Options { engine, gateway_status, ..Options::default() };
        let config = translate(&loader.finish().0, &options).config;
        let mut plugins = config.services.iter().flat_map(|service| &service.plugins);
        plugins.any(|plugin| plugin.name.as_deref() == Some("request-termination"))
    }

    #[test]
    fn nothing_is_sent_in_clear_text_where_a_policy_is_broken() {
        assert!(refuses(Engine::Flotilla));
        assert!(!refuses(Engine::Kong), "stock Kong gets what its own controller gives it");
    }
}
