//! The Services of Gateways: made, kept as they should be, and removed with their Gateway.
//!
//! Each is of the type of the fleet's own Service and leads to the same proxies, at the entrances that
//! [`service`](crate::translate::gateway::service) hands out. The fleet owns them, so that they go with it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::{Act, FleetScene, Intent, Scene, Target};
use crate::gateway_api::Gateway;
use crate::object::{Kind, Object as _};
use crate::options::Entrances;
use crate::translate::gateway::attach::Gateways;
use crate::translate::gateway::service::{
    self, Doors, FLEET, GATEWAY_NAME, GATEWAY_NAMESPACE, hand_out,
};

/// Intents for the Services of the Gateways that the fleet serves.
pub(super) fn intents(scene: &Scene<'_>, fleet: &FleetScene<'_>, intents: &mut Vec<Intent>) {
    let Some(entrances) = &fleet.options.entrances else { return };
    let Entrances { namespace, fleet: name, service: pattern, ports: _ } = entrances;
    let Some(pattern) = scene.snapshot.services.get(namespace, pattern) else { return };
    let gateways = Gateways::of(scene.snapshot, fleet.options);
    let mut wanted = BTreeSet::new();
    for (entry, doors) in hand_out(scene.snapshot, entrances, &gateways) {
        wanted.insert(service::name(entry.gateway));
        let object = object(fleet, pattern, entry.gateway, &doors);
        let present = service::of(scene.snapshot, entrances, entry.gateway);
        if !doors.is_empty() && present.is_none_or(|present| differs(present, &object, &doors)) {
            let target = target(namespace, &service::name(entry.gateway));
            intents.push(Intent { target, act: Act::Ensure { object }, transition: true });
        }
    }
    for present in &scene.snapshot.services {
        let ours = present.label(FLEET) == Some(name) && present.label(GATEWAY_NAME).is_some();
        if ours && present.namespace() == namespace && !wanted.contains(present.name()) {
            let act = Act::Delete { uid: present.uid().to_owned() };
            let target = target(namespace, present.name());
            intents.push(Intent { target, act, transition: true });
        }
    }
}

fn target(namespace: &str, name: &str) -> Target {
    Target {
        group: String::new(),
        version: "v1".to_owned(),
        kind: Kind::Service.name().to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// The Service of a Gateway, after the pattern of the fleet's.
fn object(fleet: &FleetScene<'_>, pattern: &Service, gateway: &Gateway, doors: &Doors) -> Value {
    let meta = &fleet.fleet.metadata;
    let none = ServiceSpec::default();
    let like = pattern.spec.as_ref().unwrap_or(&none);
    let ports = doors.iter().map(|((port, protocol), entrance)| {
        let name = format!("{}-{port}", protocol.to_lowercase());
        json!({ "name": name, "port": port, "protocol": protocol, "targetPort": entrance })
    });
    let mut spec = json!({
        "type": like.type_.as_deref().unwrap_or("ClusterIP"),
        "selector": like.selector,
        "ports": ports.collect::<Vec<_>>(),
    });
    if let Some(class) = &like.load_balancer_class {
        spec["loadBalancerClass"] = json!(class);
    }
    if let Some(policy) = like.external_traffic_policy.as_ref().filter(|_| is_external(like)) {
        spec["externalTrafficPolicy"] = json!(policy);
    }
    let infrastructure = gateway.spec.infrastructure.clone().unwrap_or_default();
    let mut labels = infrastructure.labels;
    labels.extend(labels_of(fleet, gateway));
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service::name(gateway),
            "namespace": meta.namespace,
            "labels": labels,
            "annotations": infrastructure.annotations,
            "ownerReferences": [{
                "apiVersion": "flotilla.dev/v1alpha1",
                "kind": "ProxyFleet",
                "name": meta.name,
                "uid": meta.uid,
            }],
        },
        "spec": spec,
    })
}

fn is_external(spec: &ServiceSpec) -> bool {
    matches!(spec.type_.as_deref(), Some("LoadBalancer" | "NodePort"))
}

fn labels_of(fleet: &FleetScene<'_>, gateway: &Gateway) -> BTreeMap<String, String> {
    let name = fleet.fleet.metadata.name.clone().unwrap_or_default();
    [
        ("app.kubernetes.io/managed-by", "flotilla"),
        (FLEET, name.as_str()),
        (GATEWAY_NAMESPACE, gateway.namespace()),
        (GATEWAY_NAME, gateway.name()),
    ]
    .into_iter()
    .filter(|(_, value)| value.len() <= 63)
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Whether a Service is not yet what it should be; fields that others fill in do not count.
fn differs(present: &Service, wanted: &Value, doors: &Doors) -> bool {
    let spec = present.spec.clone().unwrap_or_default();
    let ports = spec.ports.iter().flatten().map(|port| {
        let target = match &port.target_port {
            Some(IntOrString::Int(target)) => *target,
            Some(IntOrString::String(_)) | None => 0,
        };
        (port.port, port.protocol.clone().unwrap_or_default(), target)
    });
    let meant = doors
        .iter()
        .map(|((port, protocol), entrance)| (*port, (*protocol).to_owned(), i32::from(*entrance)));
    let holds = |field: &str, present: &Option<BTreeMap<String, String>>| {
        let wanted = wanted["metadata"][field].as_object();
        wanted.into_iter().flatten().all(|(key, value)| {
            present.as_ref().and_then(|all| all.get(key)).map(String::as_str) == value.as_str()
        })
    };
    ports.collect::<BTreeSet<_>>() != meant.collect::<BTreeSet<_>>()
        || json!(spec.type_) != wanted["spec"]["type"]
        || json!(spec.selector) != wanted["spec"]["selector"]
        || !holds("labels", &present.metadata.labels)
        || !holds("annotations", &present.metadata.annotations)
}
