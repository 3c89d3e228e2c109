//! The statuses of the objects that a fleet serves: addresses of Ingresses, conditions of Kong's
//! kinds, and through [`super::gateway`] those of the Gateway API.

mod policy;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{
    IngressLoadBalancerIngress, IngressLoadBalancerStatus, IngressStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use operator_api::Publish;
use operator_api::kong::Conditions;
use serde_json::json;

use super::condition::{Holds, Made, moved};
use super::gateway::{self, Delivery};
use super::{Act, FleetScene, Intent, Scene, Target};
use crate::fleet::view::Counts;
use crate::gateway_api::Address;
use crate::object::{Kind, Object, ObjectRef};
use crate::outcome::{Outcome, Verdict};
use crate::revision::Dialect;

/// What Gateways have on a fleet of our own proxies, each with ports of its own: what Gateway API's conformance suite
/// passes there (docs/conformance). Other fleets announce nothing.
const FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayPort8080",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
];

/// The features of Gateways on a fleet.
fn features(fleet: &FleetScene<'_>) -> &'static [&'static str] {
    let own = fleet.view.dialects().iter().all(|dialect| *dialect == Dialect::Own);
    if own && fleet.options.entrances.is_some() { FEATURES } else { &[] }
}

/// Intents for every object that the fleet serves.
pub(super) fn intents(scene: &Scene<'_>, fleet: &FleetScene<'_>, intents: &mut Vec<Intent>) {
    let delivery = delivery(fleet);
    let addresses = addresses(scene, fleet);
    let refused = refused(fleet);
    for outcome in fleet.outcomes {
        match outcome.object.kind {
            Kind::Ingress | Kind::TcpIngress | Kind::UdpIngress => {
                if delivery == Delivery::Serving && outcome.verdict == Verdict::Configured {
                    intents.extend(balanced(scene, &outcome.object, &addresses));
                }
            }
            Kind::KongUpstreamPolicy => {
                intents.extend(policy::intent(scene, outcome, &delivery, &refused));
            }
            _ => intents.extend(programmed(scene, outcome, &delivery, &refused)),
        }
    }
    let addresses: Vec<Address> = addresses.iter().map(gateway_address).collect();
    let wanted = gateway::derive(&gateway::Scene {
        snapshot: scene.snapshot,
        options: fleet.options,
        outcomes: fleet.outcomes,
        delivery,
        refused: &refused,
        addresses: &addresses,
        features: features(fleet),
        now: scene.now.clone(),
    });
    for gateway::Wanted { object, status } in wanted {
        let (version, resource_version) = read_as(scene, &object);
        let act = Act::Replace { status: json!(status), resource_version };
        let target = named(&object, version.unwrap_or(object.kind.version()));
        intents.push(Intent { target, act, transition: true });
    }
}

/// Intents for Ingresses that no fleet serves any more, and that still say at which of our addresses they are reached.
pub(super) fn leavers(scene: &Scene<'_>, fleets: &[FleetScene<'_>], intents: &mut Vec<Intent>) {
    let ignored = |object: &ObjectRef| {
        fleets.iter().all(|fleet| {
            let at = fleet.outcomes.binary_search_by(|outcome| outcome.object.cmp(object));
            let found = at.ok().and_then(|at| fleet.outcomes.get(at));
            found.is_some_and(|one| matches!(one.verdict, Verdict::Ignored { .. }))
        })
    };
    let ours: Vec<_> = fleets.iter().map(|fleet| addresses(scene, fleet)).collect();
    for ingress in &scene.snapshot.ingresses {
        let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let said = status.and_then(|status| status.ingress.clone()).unwrap_or_default();
        let object = ingress.reference();
        if !said.is_empty() && !fleets.is_empty() && ours.contains(&said) && ignored(&object) {
            // To apply nothing gives up what we applied, and nobody else's words.
            let act = Act::Apply { status: json!({}) };
            intents.push(Intent { target: target(&object), act, transition: true });
        }
    }
}

fn target(object: &ObjectRef) -> Target {
    named(object, object.kind.version())
}

fn named(object: &ObjectRef, version: &str) -> Target {
    Target {
        group: object.kind.group().to_owned(),
        version: version.to_owned(),
        kind: object.kind.name().to_owned(),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    }
}

/// How far the proxies are with the configuration that the outcomes belong to.
fn delivery(fleet: &FleetScene<'_>) -> Delivery {
    let counts = fleet.view.counts();
    let staying = counts.total - counts.draining;
    if staying == 0 {
        return Delivery::NoProxy;
    }
    let newest = fleet.view.revision.as_ref().is_some_and(|one| one.number >= fleet.number);
    // What cannot be reached is told elsewhere and keeps no route from being programmed.
    let reached = staying - counts.unreachable;
    if newest && counts.synced > 0 && counts.synced == reached {
        Delivery::Serving
    } else {
        let others = others(fleet, counts);
        Delivery::Waiting(format!("{} of {staying} proxies serve it{others}", counts.synced))
    }
}

/// Why the other proxies do not serve the configuration, as far as anything is wrong with them.
fn others(fleet: &FleetScene<'_>, counts: Counts) -> String {
    let views = || fleet.view.instances.values();
    let refusal = views().find_map(|view| Some(&view.rejected.as_ref()?.refusal.message));
    let trouble = views().find_map(|view| Some(&view.trouble.as_ref()?.message));
    let parts = [
        (counts.rejected, "refused it", refusal),
        (counts.drifted, "configured by somebody else", None),
        (counts.held, "held back by a guard", None),
        (counts.unreachable, "unreachable", trouble),
    ];
    let told = parts.into_iter().filter(|(count, _, _)| *count > 0);
    let told: Vec<String> = told
        .map(|(count, what, why)| match why {
            Some(why) => format!("{count} {what} ({why})"),
            None => format!("{count} {what}"),
        })
        .collect();
    if told.is_empty() { String::new() } else { format!("; {}", told.join(", ")) }
}

/// Objects whose entities proxies refuse.
fn refused(fleet: &FleetScene<'_>) -> BTreeMap<ObjectRef, String> {
    let mut refused = fleet.excluded.clone();
    for instance in fleet.view.instances.values() {
        let entities = instance.rejected.iter().flat_map(|one| &one.refusal.entities);
        for entity in entities {
            let tags = entity.tags.iter().map(String::as_str);
            let Some(object) = kong::tag::ObjectRef::from_tags(tags) else { continue };
            let Some(kind) = Kind::find(&object.group, &object.kind) else { continue };
            let object = ObjectRef::new(kind, &object.namespace, &object.name);
            refused.entry(object).or_insert_with(|| entity.errors.join("; "));
        }
    }
    refused
}

/// The addresses under which the fleet is reached.
fn addresses(scene: &Scene<'_>, fleet: &FleetScene<'_>) -> Vec<IngressLoadBalancerIngress> {
    let Some(Publish { service, addresses }) = &fleet.fleet.spec.publish else {
        let service = scene
            .publish
            .and_then(|(namespace, name)| scene.snapshot.services.get(namespace, name));
        return service.map(|service| of_service(service)).unwrap_or_default();
    };
    let mut found: Vec<IngressLoadBalancerIngress> =
        addresses.iter().map(|address| published(address)).collect();
    let namespace = fleet.fleet.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(service) =
        service.as_ref().and_then(|name| scene.snapshot.services.get(namespace, name))
    {
        found.extend(of_service(service));
    }
    found.sort_by(|a, b| (&a.ip, &a.hostname).cmp(&(&b.ip, &b.hostname)));
    found.dedup();
    found
}

fn published(address: &str) -> IngressLoadBalancerIngress {
    let is_ip = address.parse::<std::net::IpAddr>().is_ok();
    let some = Some(address.to_owned());
    let (ip, hostname) = if is_ip { (some, None) } else { (None, some) };
    IngressLoadBalancerIngress { ip, hostname, ports: None }
}

/// The addresses of a Service: of its load balancer, the external ones, or its own inside the cluster.
pub(super) fn of_service(service: &Service) -> Vec<IngressLoadBalancerIngress> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let balancer = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let mut found: Vec<_> = balancer
        .filter_map(|one| one.ip.as_deref().or(one.hostname.as_deref()))
        .map(published)
        .collect();
    if let Some(spec) = &service.spec {
        found.extend(spec.external_ips.iter().flatten().map(|address| published(address)));
        if spec.type_.as_deref().is_none_or(|kind| kind == "ClusterIP") {
            let own = spec.cluster_ips.iter().flatten().filter(|address| *address != "None");
            found.extend(own.map(|address| published(address)));
        }
    }
    found
}

pub(super) fn gateway_address(address: &IngressLoadBalancerIngress) -> Address {
    let (kind, value) = match &address.ip {
        Some(ip) => ("IPAddress", Some(ip.clone())),
        None => ("Hostname", address.hostname.clone()),
    };
    Address { kind: Some(kind.to_owned()), value }
}

/// The intent for an object that says at which addresses it is reached.
fn balanced(
    scene: &Scene<'_>,
    object: &ObjectRef,
    addresses: &[IngressLoadBalancerIngress],
) -> Option<Intent> {
    let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
    let said = match object.kind {
        Kind::Ingress => {
            let found = scene.snapshot.ingresses.get(namespace, name)?;
            let status = found.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            json!(status.and_then(|status| status.ingress.clone()).unwrap_or_default())
        }
        Kind::TcpIngress => {
            let found = scene.snapshot.tcp_ingresses.get(namespace, name)?;
            json!(found.status)["loadBalancer"]["ingress"].clone()
        }
        Kind::UdpIngress => {
            let found = scene.snapshot.udp_ingresses.get(namespace, name)?;
            json!(found.status)["loadBalancer"]["ingress"].clone()
        }
        _ => return None,
    };
    let nothing = said.is_null() && addresses.is_empty();
    if nothing || said == json!(addresses) {
        return None;
    }
    let ingress = Some(addresses.to_vec());
    let status = IngressStatus { load_balancer: Some(IngressLoadBalancerStatus { ingress }) };
    let act = Act::Apply { status: json!(status) };
    Some(Intent { target: target(object), act, transition: true })
}

/// The intent for an object of Kong's kinds that has conditions.
fn programmed(
    scene: &Scene<'_>,
    outcome: &Outcome,
    delivery: &Delivery,
    refused: &BTreeMap<ObjectRef, String>,
) -> Option<Intent> {
    let object = &outcome.object;
    let (meta, before) = conditions(scene, object)?;
    let (holds, reason, message) = match (&outcome.verdict, refused.get(object), delivery) {
        (Verdict::Ignored { why: _ }, _, _) => return None,
        (Verdict::Rejected { reason, message }, _, _) => {
            (Holds::False, reason.as_str(), message.clone())
        }
        (Verdict::Configured, Some(words), _) => (Holds::False, "Invalid", words.clone()),
        (Verdict::Configured, None, Delivery::Serving) => {
            (Holds::True, "Programmed", String::new())
        }
        // Once programmed, it is until something is known to be wrong: an update is under way.
        (Verdict::Configured, None, Delivery::Waiting(_)) if holds_now(before, meta) => {
            return None;
        }
        (Verdict::Configured, None, Delivery::Waiting(how)) => {
            (Holds::False, "Pending", how.clone())
        }
        (Verdict::Configured, None, Delivery::NoProxy) => {
            (Holds::False, "Pending", "there is no proxy".to_owned())
        }
    };
    let made = Made::new(before, meta.generation, &scene.now);
    let after = made.set("Programmed", holds, reason, message).finish();
    let others = before.iter().filter(|one| one.type_ != "Programmed").cloned();
    let all: Vec<Condition> = others.chain(after.iter().cloned()).collect();
    if all.len() == before.len() && all.iter().all(|one| before.contains(one)) {
        return None;
    }
    let transition = moved(before, &after);
    let status = json!({ "conditions": after });
    Some(Intent { target: target(object), act: Act::Apply { status }, transition })
}

/// Whether the object's present generation is said to be programmed.
fn holds_now(conditions: &[Condition], meta: &ObjectMeta) -> bool {
    conditions.iter().any(|one| {
        one.type_ == "Programmed"
            && one.status == "True"
            && one.observed_generation == meta.generation
    })
}

/// The metadata and conditions of an object of Kong's kinds that has them.
fn conditions<'a>(
    scene: &'a Scene<'_>,
    object: &ObjectRef,
) -> Option<(&'a ObjectMeta, &'a [Condition])> {
    let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
    let list = |status: &'a Option<Conditions>| {
        status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    };
    macro_rules! of {
        ($store:ident) => {{
            let found = scene.snapshot.$store.get(namespace, name)?;
            Some((found.meta(), list(&found.status)))
        }};
    }
    match object.kind {
        Kind::KongPlugin => of!(kong_plugins),
        Kind::KongClusterPlugin => of!(kong_cluster_plugins),
        Kind::KongConsumer => of!(kong_consumers),
        Kind::KongConsumerGroup => of!(kong_consumer_groups),
        Kind::KongVault => of!(kong_vaults),
        Kind::KongCustomEntity => of!(kong_custom_entities),
        _ => None,
    }
}

/// The API version that a Gateway API object was read in, which the cluster serves, and its resource version.
fn read_as<'a>(scene: &'a Scene<'_>, object: &ObjectRef) -> (Option<&'a str>, Option<String>) {
    let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
    macro_rules! of {
        ($store:ident) => {{
            let Some(found) = scene.snapshot.$store.get(namespace, name) else {
                return (None, None);
            };
            let version = found.api_version.split_once('/').map(|(_, version)| version);
            (version, found.meta().resource_version.clone())
        }};
    }
    match object.kind {
        Kind::GatewayClass => of!(gateway_classes),
        Kind::Gateway => of!(gateways),
        Kind::ListenerSet => of!(listener_sets),
        Kind::HttpRoute => of!(http_routes),
        Kind::GrpcRoute => of!(grpc_routes),
        Kind::TlsRoute => of!(tls_routes),
        Kind::TcpRoute => of!(tcp_routes),
        Kind::UdpRoute => of!(udp_routes),
        Kind::BackendTlsPolicy => of!(backend_tls_policies),
        _ => (None, None),
    }
}
