//! GatewayClasses, Gateways and ListenerSets.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use super::{Delivery, Scene, Status, Wanted, routes};
use crate::gateway_api::{
    Address, GROUP, Gateway, GatewayClassStatus, GatewayStatus, ListenerSetStatus, ListenerStatus,
    RouteKind, SupportedFeature,
};
use crate::object::{Object, ObjectRef};
use crate::status::condition::{Holds, Made};
use crate::status::served::{gateway_address, of_service};
use crate::translate::gateway::attach::{Entry, Gateways};
use crate::translate::gateway::listener::{self, Fault, Standing, Worth};
use crate::translate::gateway::{frontend, service};

/// GatewayClasses whose controller we are.
pub(super) fn classes(scene: &Scene<'_>, wanted: &mut Vec<Wanted>) {
    for class in &scene.snapshot.gateway_classes {
        if !scene.options.serves(class.name(), &class.spec.controller_name) {
            continue;
        }
        let before = class.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let fault = class.spec.parameters_ref.as_ref().map(|parameters| {
            (
                "InvalidParameters",
                format!("parameters of kind {} are not understood", parameters.kind),
            )
        });
        let fault = fault.as_ref().map(|(reason, message)| (*reason, message.as_str()));
        let conditions = Made::new(before, class.metadata.generation, &scene.now);
        let mut features: Vec<&str> = scene.features.to_vec();
        features.sort_unstable();
        let status = GatewayClassStatus {
            conditions: conditions.unless("Accepted", "Accepted", fault).finish(),
            supported_features: features
                .into_iter()
                .map(|name| SupportedFeature { name: name.to_owned() })
                .collect(),
        };
        if class.status.as_ref() != Some(&status) {
            wanted.push(Wanted { object: class.reference(), status: Status::Class(status) });
        }
    }
}

/// Gateways of our classes.
pub(super) fn gateways(scene: &Scene<'_>, gateways: &Gateways<'_>, wanted: &mut Vec<Wanted>) {
    let attached = routes::attached(scene, gateways);
    for entry in gateways.entries.values() {
        let gateway = entry.gateway;
        let standing = listener::standing(scene.snapshot, gateways, gateway);
        let worth = listener::judge((scene.snapshot, scene.options), gateway, &standing);
        let own: Vec<(&Standing<'_>, &Worth)> =
            standing.iter().zip(&worth).filter(|(standing, _)| standing.set.is_none()).collect();
        let before = gateway.status.clone().unwrap_or_default();
        let listeners = own.iter().map(|(standing, worth)| {
            let count = (entry.programmed, attached.count(gateway, standing));
            listener_status(scene, &gateway.metadata, &before.listeners, (standing, worth), count)
        });
        let listeners: Vec<ListenerStatus> = listeners.collect();
        // A set counts as attached once one of its listeners is.
        let sets = standing.iter().zip(&worth).filter(|(_, worth)| worth.usable());
        let sets: BTreeSet<ObjectRef> =
            sets.filter_map(|(standing, _)| standing.set).map(Object::reference).collect();
        let addresses = addresses(scene, entry);
        let conditions = gateway_conditions(scene, gateway, &addresses, &before.conditions, &own);
        let status = GatewayStatus {
            addresses,
            conditions,
            listeners,
            attached_listener_sets: gateway
                .spec
                .allowed_listeners
                .as_ref()
                .map(|_| i32::try_from(sets.len()).unwrap_or(i32::MAX)),
        };
        if gateway.status.as_ref() != Some(&status) {
            wanted.push(Wanted { object: gateway.reference(), status: Status::Gateway(status) });
        }
    }
}

/// Addresses of a Gateway: those of its Service or of the fleet's, or of these the ones that the user asks for.
fn addresses(scene: &Scene<'_>, entry: &Entry<'_>) -> Vec<Address> {
    let gateway = entry.gateway;
    let asked: Vec<&str> =
        gateway.spec.addresses.iter().filter_map(|address| address.value.as_deref()).collect();
    let own = entry.doors.as_ref().map(|_| {
        let entrances = scene.options.entrances.as_ref();
        let service = entrances.and_then(|all| service::of(scene.snapshot, all, gateway));
        let found = service.map(of_service).unwrap_or_default();
        found.iter().map(gateway_address).collect::<Vec<Address>>()
    });
    let all = own.as_deref().unwrap_or(scene.addresses);
    let usable = all.iter().filter(|address| {
        asked.iter().all(|value| value.is_empty())
            || address.value.as_deref().is_some_and(|value| asked.contains(&value))
    });
    usable.cloned().collect()
}

fn gateway_conditions(
    scene: &Scene<'_>,
    gateway: &Gateway,
    addresses: &[Address],
    before: &[Condition],
    listeners: &[(&Standing<'_>, &Worth)],
) -> Vec<Condition> {
    let conditions = Made::new(before, gateway.metadata.generation, &scene.now);
    if let Some(Fault { reason, message }) = listener::gateway_fault(gateway) {
        return conditions
            .set("Accepted", Holds::False, reason, message)
            .set("Programmed", Holds::False, "Invalid", "the Gateway is not accepted")
            .finish();
    }
    let broken: Vec<&str> = listeners
        .iter()
        .filter(|(_, worth)| !worth.usable())
        .map(|(standing, _)| standing.listener.name.as_str())
        .collect();
    let all_broken = !listeners.is_empty() && broken.len() == listeners.len();
    let conditions = if broken.is_empty() {
        conditions.set("Accepted", Holds::True, "Accepted", "")
    } else {
        let message = format!("listeners that cannot serve: {}", broken.join(", "));
        conditions.set("Accepted", !all_broken, "ListenersNotValid", message)
    };
    let asked = gateway
        .spec
        .addresses
        .iter()
        .any(|address| address.value.as_deref().is_some_and(|value| !value.is_empty()));
    let none = addresses.is_empty();
    let conditions = match (&scene.delivery, asked && none, none) {
        _ if all_broken => {
            conditions.set("Programmed", Holds::False, "Invalid", "no listener can serve")
        }
        (_, true, _) => conditions.set(
            "Programmed",
            Holds::False,
            "AddressNotUsable",
            "none of the wanted addresses is one of the proxies'",
        ),
        (Delivery::NoProxy, _, _) => {
            conditions.set("Programmed", Holds::False, "NoResources", "there is no proxy")
        }
        (Delivery::Waiting(message), _, _) => {
            conditions.set("Programmed", Holds::False, "Pending", message)
        }
        (Delivery::Serving, _, true) => conditions.set(
            "Programmed",
            Holds::False,
            "AddressNotAssigned",
            "the proxies have no address yet",
        ),
        (Delivery::Serving, _, false) => {
            conditions.set("Programmed", Holds::True, "Programmed", "")
        }
    };
    of_tls(scene, gateway, conditions).finish()
}

/// Adds what the Gateway's own TLS makes of it, where it has any.
fn of_tls<'m>(scene: &Scene<'_>, gateway: &Gateway, conditions: Made<'m>) -> Made<'m> {
    let conditions = match frontend::client_certificate(scene.snapshot, gateway) {
        None => conditions,
        Some(Ok(_)) => conditions.set("ResolvedRefs", Holds::True, "ResolvedRefs", ""),
        Some(Err(Fault { reason, message })) => {
            conditions.set("ResolvedRefs", Holds::False, reason, message)
        }
    };
    if !frontend::is_insecure(gateway) {
        return conditions;
    }
    let message = "clients are let in whatever certificate they show";
    conditions.set("InsecureFrontendValidationMode", Holds::True, "ConfigurationChanged", message)
}

/// The status of one listener.
fn listener_status(
    scene: &Scene<'_>,
    meta: &ObjectMeta,
    before: &[ListenerStatus],
    (standing, worth): (&Standing<'_>, &Worth),
    (served, attached_routes): (bool, i32),
) -> ListenerStatus {
    let name = standing.listener.name.as_str();
    let old = before.iter().find(|old| old.name == name);
    let old = old.map_or(&[][..], |old| &old.conditions);
    let Worth { unaccepted, conflict, unresolved, kinds } = worth;
    let part =
        |fault: &Option<Fault>| fault.as_ref().map(|fault| (fault.reason, fault.message.clone()));
    let refused = part(unaccepted).or_else(|| part(conflict));
    let refused = refused.as_ref().map(|(reason, message)| (*reason, message.as_str()));
    let missing = part(unresolved);
    let missing = missing.as_ref().map(|(reason, message)| (*reason, message.as_str()));
    let conditions = Made::new(old, meta.generation, &scene.now)
        .unless("Accepted", "Accepted", refused)
        .unless("ResolvedRefs", "ResolvedRefs", missing);
    let conditions = match part(conflict) {
        None => conditions.set("Conflicted", Holds::False, "NoConflicts", ""),
        Some((reason, message)) => conditions.set("Conflicted", Holds::True, reason, message),
    };
    let conditions = match (&scene.delivery, worth.usable() && served) {
        (_, false) => {
            let reason = conflict.as_ref().map_or("Invalid", |fault| fault.reason);
            conditions.set("Programmed", Holds::False, reason, "the listener cannot serve")
        }
        (Delivery::Serving, true) => conditions.set("Programmed", Holds::True, "Programmed", ""),
        (Delivery::Waiting(message), true) => {
            conditions.set("Programmed", Holds::False, "Pending", message)
        }
        (Delivery::NoProxy, true) => {
            conditions.set("Programmed", Holds::False, "Pending", "there is no proxy")
        }
    };
    let kind = |kind: &&str| RouteKind { group: Some(GROUP.to_owned()), kind: (*kind).to_owned() };
    ListenerStatus {
        name: name.to_owned(),
        supported_kinds: kinds.iter().map(kind).collect(),
        attached_routes,
        conditions: conditions.finish(),
    }
}

/// ListenerSets that name a Gateway of ours.
pub(super) fn listener_sets(scene: &Scene<'_>, gateways: &Gateways<'_>, wanted: &mut Vec<Wanted>) {
    let attached = routes::attached(scene, gateways);
    for set in &scene.snapshot.listener_sets {
        let mut entries = gateways.entries.values();
        let Some(entry) = entries.find(|entry| listener::names(entry.gateway, set)) else {
            continue;
        };
        let gateway = entry.gateway;
        let before = set.status.clone().unwrap_or_default();
        let conditions = Made::new(&before.conditions, set.metadata.generation, &scene.now);
        let status = if listener::admits(gateways, gateway, set) {
            let standing = listener::standing(scene.snapshot, gateways, gateway);
            let worth = listener::judge((scene.snapshot, scene.options), gateway, &standing);
            let ours = |standing: &Standing<'_>| {
                standing.set.is_some_and(|other| other.reference() == set.reference())
            };
            let of_set: Vec<(&Standing<'_>, &Worth)> =
                standing.iter().zip(&worth).filter(|(standing, _)| ours(standing)).collect();
            let usable = of_set.iter().any(|(_, worth)| worth.usable());
            let fault = (!usable).then_some(("ListenersNotValid", "no listener can serve"));
            let programmed = match (&scene.delivery, usable) {
                (Delivery::Serving, true) => None,
                (_, false) => Some(("ListenersNotValid", "no listener can serve")),
                (Delivery::Waiting(message), true) => Some(("Pending", message.as_str())),
                (Delivery::NoProxy, true) => Some(("Pending", "there is no proxy")),
            };
            ListenerSetStatus {
                conditions: conditions
                    .unless("Accepted", "Accepted", fault)
                    .unless("Programmed", "Programmed", programmed)
                    .finish(),
                listeners: of_set
                    .iter()
                    .map(|(standing, worth)| {
                        let count = (entry.programmed, attached.count(gateway, standing));
                        let judged = (*standing, *worth);
                        listener_status(scene, &set.metadata, &before.listeners, judged, count)
                    })
                    .collect(),
            }
        } else {
            let message = "the Gateway does not allow listeners of this namespace";
            ListenerSetStatus {
                conditions: conditions
                    .set("Accepted", Holds::False, "NotAllowed", message)
                    .set("Programmed", Holds::False, "NotAllowed", message)
                    .finish(),
                listeners: Vec::new(),
            }
        };
        if set.status.as_ref() != Some(&status) {
            wanted.push(Wanted { object: set.reference(), status: Status::ListenerSet(status) });
        }
    }
}
