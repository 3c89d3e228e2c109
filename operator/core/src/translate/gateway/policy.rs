//! BackendTLSPolicies: how the proxy speaks TLS to a Service.
//!
//! A policy counts once some route of a Gateway of ours leads to its Service, and then wherever that Service is a backend.
//! Of several policies for one Service, or for one of its ports, the oldest counts, and one for a port before one for all.
//! Kong Ingress Controller looks at HTTPRoutes alone and knows no ports, and so does a fleet of stock Kong.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use k8s_openapi::api::core::v1::Service;
use kong::model::Plugin;
use kong::schema::plugin::flotilla_upstream;
use serde_json::{Value, json};

use super::super::Context;
use super::super::rules::Origin;
use super::attach::{Gateways, RouteView};
use super::listener;
use crate::gateway_api::{
    BackendRef, BackendTlsPolicy, LocalRef, ParentRef, PolicyTargetRef, SubjectAltName,
};
use crate::object::{Kind, Object as _};
use crate::options::{Engine, Options};
use crate::outcome::Reason;
use crate::snapshot::Snapshot;

/// What a policy demands of connections to a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackendTls<'a> {
    /// The server name: sent, and verified unless other names are listed; in Kong also the `host_header` of the upstream.
    pub(crate) hostname: &'a str,
    /// Secrets with certificate authorities, in the Service's namespace.
    pub(crate) ca_secrets: Vec<&'a str>,
    /// ConfigMaps with certificate authorities, in the Service's namespace.
    pub(crate) ca_config_maps: Vec<&'a str>,
    /// How many certificates may stand between the server's and the authority's.
    pub(crate) verify_depth: Option<u8>,
    /// The policy cannot be followed: nothing may be sent to the Service.
    pub(crate) broken: bool,
    /// Names of which the certificate must carry one, instead of the server name.
    names: &'a [SubjectAltName],
    /// The authorities in PEM; empty for those that the proxy's machine trusts.
    authorities: Vec<String>,
}

impl BackendTls<'_> {
    /// The demands in the words of our own proxy.
    pub(crate) fn demands(&self) -> Value {
        let of = |kind: &str, field: fn(&SubjectAltName) -> Option<&String>| -> Vec<&String> {
            let names = self.names.iter().filter(|name| name.kind == kind);
            names.filter_map(field).collect()
        };
        let mut demands = json!({
            "server_name": self.hostname,
            "dns_names": of("Hostname", |name| name.hostname.as_ref()),
            "uris": of("URI", |name| name.uri.as_ref()),
            "authorities": self.authorities,
        });
        if let (Some(depth), Some(fields)) = (self.verify_depth, demands.as_object_mut()) {
            fields.insert("depth".to_owned(), json!(depth));
        }
        demands
    }

    /// The plugin by which our own proxy follows the policy.
    pub(crate) fn plugin(&self) -> Plugin {
        let config = json!({ "tls": self.demands() });
        Plugin {
            name: Some(flotilla_upstream::NAME.to_owned()),
            config: config.as_object().cloned(),
            ..Plugin::default()
        }
    }
}

/// Where an authority stands in a Secret or ConfigMap.
const AUTHORITY: &str = "ca.crt";
/// The option that sets the verification depth.
const VERIFY_DEPTH: &str = "tls-verify-depth";

/// The policies of one Service: that for the whole of it, and those for ports by name.
type Covers<'a> = BTreeMap<Option<&'a str>, BackendTls<'a>>;

/// The policies that count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies<'a>(BTreeMap<(&'a str, &'a str), Covers<'a>>);

impl Policies<'_> {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is demanded of connections to a port of a Service: by the policy for the port, or for the whole Service.
    pub(crate) fn of<'p>(
        &'p self,
        service: &'p Service,
        port: Option<i32>,
    ) -> Option<&'p BackendTls<'p>> {
        let covers = self.0.get(&(service.namespace(), service.name()))?;
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let mut ports = ports.filter(|one| port.is_none_or(|port| port == one.port));
        let name = ports.next().and_then(|port| port.name.as_deref());
        let named = name.and_then(|name| covers.get(&Some(name)));
        named.or_else(|| covers.get(&None))
    }
}

/// Finds the policies that count.
pub(crate) fn backend_tls<'a>(ctx: &mut Context<'a>, gateways: &Gateways<'a>) -> Policies<'a> {
    let snapshot = ctx.snapshot;
    let mut found = Policies::default();
    if snapshot.backend_tls_policies.is_empty() {
        return found;
    }
    let routed = routed(snapshot, ctx.options, gateways);
    for policy in snapshot.backend_tls_policies.oldest_first() {
        let policy: &'a BackendTlsPolicy = policy;
        let namespace = policy.namespace();
        let targets = policy.spec.target_refs.iter().filter(|target| is_service(target));
        let served: Vec<&'a PolicyTargetRef> = targets
            .filter(|target| routed.contains_key(&(namespace, target.name.as_str())))
            .collect();
        if served.is_empty() {
            let kinds = if ctx.options.engine == Engine::Kong { "HTTPRoute" } else { "route" };
            let why = format!("no {kinds} leads to a Service that it names");
            ctx.outcomes.ignore(policy.reference(), why);
            continue;
        }
        let tls = match read(ctx, policy) {
            Ok(tls) => {
                ctx.outcomes.configured(Origin::of(policy));
                tls
            }
            Err((reason, message)) => {
                ctx.outcomes.fail(policy.reference(), reason, message);
                // Kong's own controller goes on in clear text; our own proxies send nothing instead.
                if ctx.options.engine == Engine::Kong {
                    continue;
                }
                BackendTls { broken: true, ..BackendTls::default() }
            }
        };
        for target in served {
            let own = ctx.options.engine == Engine::Flotilla;
            let section = target.section_name.as_deref().filter(|_| own);
            let covers = found.0.entry((namespace, &target.name)).or_default();
            match covers.entry(section) {
                Entry::Vacant(entry) => {
                    entry.insert(tls.clone());
                }
                Entry::Occupied(_) if tls.broken => {}
                Entry::Occupied(_) => {
                    let message = format!("an older policy already covers Service {}", target.name);
                    ctx.outcomes.fail(policy.reference(), Reason::Conflicted, message);
                }
            }
        }
    }
    found
}

/// Whether a policy's target is of a kind that it can be for.
pub(crate) fn is_service(target: &PolicyTargetRef) -> bool {
    target.kind == "Service" && matches!(target.group.as_str(), "" | "core")
}

/// The Gateways of ours, by namespace and name, whose routes lead to each Service.
type Routed<'a> = BTreeMap<(&'a str, &'a str), Vec<(&'a str, &'a str)>>;

/// The Services to which routes of our Gateways lead.
pub(crate) fn routed<'a>(
    snapshot: &'a Snapshot,
    options: &Options,
    gateways: &Gateways<'a>,
) -> Routed<'a> {
    let mut routed = Routed::new();
    let mut add = |kind: Kind,
                   namespace: &'a str,
                   (parents, hostnames): (&'a [ParentRef], &'a [String]),
                   services: Vec<(&'a str, &'a str)>| {
        let kind = kind.name();
        let view = RouteView { kind, namespace, parents, hostnames: Some(hostnames) };
        let attachments = gateways.attach(view);
        let admitted = attachments.iter().filter(|attachment| attachment.verdict.is_ok());
        let through: Vec<(&str, &str)> = admitted.map(|attachment| attachment.gateway).collect();
        if through.is_empty() {
            return;
        }
        for service in services {
            routed.entry(service).or_default().extend(&through);
        }
    };
    for route in &snapshot.http_routes {
        let (namespace, spec) = (route.namespace(), &route.spec);
        let backends = spec.rules.iter().flat_map(|rule| &rule.backend_refs);
        let mut services: Vec<_> = backends.filter_map(|one| service(namespace, one)).collect();
        if options.engine == Engine::Flotilla {
            let filters = spec.rules.iter().flat_map(|rule| &rule.filters);
            let mirrors = filters.filter_map(|filter| filter.request_mirror.as_ref());
            services.extend(mirrors.filter_map(|one| service(namespace, &one.backend_ref)));
        }
        add(Kind::HttpRoute, namespace, (&spec.parent_refs, &spec.hostnames), services);
    }
    if options.engine == Engine::Flotilla {
        for route in &snapshot.grpc_routes {
            let (namespace, spec) = (route.namespace(), &route.spec);
            let backends = spec.rules.iter().flat_map(|rule| &rule.backend_refs);
            let services = backends.filter_map(|one| service(namespace, one)).collect();
            add(Kind::GrpcRoute, namespace, (&spec.parent_refs, &spec.hostnames), services);
        }
    }
    routed
}

/// Namespace and name of the Service that a backend is, if it is one.
fn service<'a, F>(own: &'a str, backend: &'a BackendRef<F>) -> Option<(&'a str, &'a str)> {
    backend.is_service().then(|| (backend.namespace_or(own), &*backend.name))
}

/// What a policy says, or why it cannot be accepted.
fn read<'a>(
    ctx: &mut Context<'a>,
    policy: &'a BackendTlsPolicy,
) -> Result<BackendTls<'a>, (Reason, String)> {
    let validation = &policy.spec.validation;
    let own = ctx.options.engine == Engine::Flotilla;
    let unsupported =
        |what: &str| Err((Reason::UnsupportedValue, format!("{what} is not supported")));
    if !validation.subject_alt_names.is_empty() && !own {
        return unsupported("subjectAltNames");
    }
    match validation.well_known_ca_certificates.as_deref() {
        None => {}
        Some("System") if own => {}
        Some(other) if own => return unsupported(&format!("wellKnownCACertificates {other}")),
        Some(_) => return unsupported("wellKnownCACertificates"),
    }
    let mut tls = BackendTls {
        hostname: &validation.hostname,
        names: &validation.subject_alt_names,
        ..BackendTls::default()
    };
    let mut faults = Vec::new();
    for reference in &validation.ca_certificate_refs {
        match authority(ctx.snapshot, ctx.options, policy.namespace(), reference) {
            Ok(pem) => {
                tls.authorities.push(pem);
                let of_secrets = reference.kind == "Secret";
                let list = if of_secrets { &mut tls.ca_secrets } else { &mut tls.ca_config_maps };
                list.push(&reference.name);
            }
            Err(fault) => faults.push(fault),
        }
    }
    let none = tls.ca_secrets.is_empty() && tls.ca_config_maps.is_empty();
    for Unusable { reason, message, .. } in faults {
        if none || !own {
            return Err((reason, message));
        }
        ctx.outcomes.warn(policy.reference(), reason, message);
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

/// Why a reference to an authority is of no use.
pub(crate) struct Unusable {
    /// The reason of the outcome.
    reason: Reason,
    /// The reason of the condition `ResolvedRefs`.
    pub(crate) condition: &'static str,
    /// A sentence.
    pub(crate) message: String,
}

/// What a Secret or ConfigMap has where an authority is looked for: nothing if there is no such object, an empty text if it
/// has none.
pub(super) fn kept(snapshot: &Snapshot, kind: Kind, namespace: &str, name: &str) -> Option<String> {
    if kind == Kind::Secret {
        let secret = snapshot.secrets.get(namespace, name)?;
        let data = secret.data.as_ref().and_then(|data| data.get(AUTHORITY));
        return Some(
            data.map_or_else(String::new, |data| String::from_utf8_lossy(&data.0).into_owned()),
        );
    }
    let map = snapshot.config_maps.get(namespace, name)?;
    Some(map.data.as_ref().and_then(|data| data.get(AUTHORITY)).cloned().unwrap_or_default())
}

/// The authority, in PEM, that a policy refers to.
pub(crate) fn authority(
    snapshot: &Snapshot,
    options: &Options,
    namespace: &str,
    reference: &LocalRef,
) -> Result<String, Unusable> {
    let LocalRef { group, kind, name } = reference;
    let holder = match (group.as_str(), kind.as_str()) {
        ("" | "core", "Secret") => Kind::Secret,
        ("" | "core", "ConfigMap") => Kind::ConfigMap,
        _ => {
            let message = format!("caCertificateRefs: {kind} is neither Secret nor ConfigMap");
            return Err(Unusable { reason: Reason::Invalid, condition: "InvalidKind", message });
        }
    };
    let unusable = |what: &str| {
        let message = format!("caCertificateRefs: {kind} {namespace}/{name} {what}");
        let condition = "InvalidCACertificateRef";
        Unusable { reason: Reason::RefNotFound, condition, message }
    };
    let pem = kept(snapshot, holder, namespace, name).ok_or_else(|| unusable("does not exist"))?;
    let holds = listener::holds_pem(pem.as_bytes(), "CERTIFICATE");
    if options.engine == Engine::Flotilla && !holds {
        return Err(unusable("holds no authority"));
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use crate::options::{Engine, GatewayStatusSource, Options, RouterFlavor};
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

    /// The configuration of these objects and some more.
    fn config(engine: Engine, more: &str) -> kong::model::Document {
        let mut loader = Loader::new();
        loader.add("in.yaml", OBJECTS);
        loader.add("more.yaml", more);
        let gateway_status = GatewayStatusSource::Derived;
        let flavor = RouterFlavor::Expressions;
        let options = Options { engine, gateway_status, flavor, ..Options::default() };
        translate(&loader.finish().0, &options).config
    }

    /// Whether requests to the Service are refused.
    fn refuses(engine: Engine) -> bool {
        let config = config(engine, "");
        let mut plugins = config.services.iter().flat_map(|service| &service.plugins);
        plugins.any(|plugin| plugin.name.as_deref() == Some("request-termination"))
    }

    #[test]
    fn nothing_is_sent_in_clear_text_where_a_policy_is_broken() {
        assert!(refuses(Engine::Flotilla));
        assert!(!refuses(Engine::Kong), "stock Kong gets what its own controller gives it");
    }

    /// A policy for one port that takes the proxy's own authorities, and a rule with two ports and a missing backend.
    const MORE: &str = r"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: two, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: pair, port: 443}, {name: pair, port: 80}, {name: gone, port: 80, weight: 3}]}]
---
apiVersion: v1
kind: Service
metadata: {name: pair, namespace: shop}
spec: {ports: [{name: tls, port: 443}, {name: clear, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: pair, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: pair, sectionName: tls}]
  validation:
    hostname: pair.example
    wellKnownCACertificates: System
    subjectAltNames: [{type: URI, uri: 'spiffe://pair'}]
";

    #[test]
    fn backends_of_one_rule_go_each_by_its_own_policy_and_missing_ones_keep_their_share() {
        let config = config(Engine::Flotilla, MORE);
        let routes = config.services.iter().flat_map(|service| &service.routes);
        let plugins = routes.flat_map(|route| &route.plugins);
        let rule = plugins.filter(|plugin| plugin.name.as_deref() == Some("flotilla-route"));
        let configs: Vec<_> = rule.filter_map(|plugin| plugin.config.clone()).collect();
        let [config] = configs.as_slice() else { panic!("{configs:?}") };
        let backends = config["backends"].as_array().unwrap();
        assert_eq!(backends[0]["tls"]["server_name"], "pair.example");
        assert_eq!(backends[0]["tls"]["uris"], serde_json::json!(["spiffe://pair"]));
        assert!(backends[1]["upstream"].is_string() && backends[1].get("tls").is_none());
        assert!(backends[2].get("upstream").is_none() && backends[2]["weight"] == 3);
    }
}
