//! The Service of a Gateway: how clients reach this Gateway and no other one.
//!
//! A fleet of our own proxies hands out *entrances*, ports that every proxy listens on. Each Gateway has a Service of its
//! own in the fleet's namespace, with the Gateway's ports in front and an entrance behind each: routes then tell
//! Gateways apart by the port that a connection comes in at. The Service itself remembers what was handed out, so that
//! nothing else must. Gateways of Kong Ingress Controller's classes share the fleet's Service, as they always did.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::attach::{Entry, Gateways, controller};
use crate::gateway_api::{Gateway, Listener};
use crate::object::Object as _;
use crate::options::{Entrances, KIC_GATEWAY_CONTROLLER, Options};
use crate::snapshot::Snapshot;

/// The label with the name of the Gateway behind a Service, which Gateway API names.
pub(crate) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// The label with the Gateway's namespace.
pub(crate) const GATEWAY_NAMESPACE: &str = "flotilla.dev/gateway-namespace";
/// The label with the fleet that a Service belongs to.
pub(crate) const FLEET: &str = "flotilla.dev/fleet";

/// The longest name of a Service.
const LONGEST: usize = 63;

/// A port of a Gateway: its number, and the protocol below HTTP and TLS.
pub(crate) type Door = (i32, &'static str);

/// What stands behind each port of a Gateway.
pub(crate) type Doors = BTreeMap<Door, u16>;

/// The port of a listener.
pub(crate) fn door(listener: &Listener) -> Door {
    (listener.port, if listener.protocol == "UDP" { "UDP" } else { "TCP" })
}

/// The entrances of a Gateway that has a Service of its own; nothing for one that shares the fleet's.
pub(crate) fn doors(snapshot: &Snapshot, options: &Options, gateway: &Gateway) -> Option<Doors> {
    let entrances = entrances(snapshot, options, gateway)?;
    Some(of(snapshot, entrances, gateway).map(handed_out).unwrap_or_default())
}

/// The fleet's entrances, when this Gateway gets some.
pub(crate) fn entrances<'o>(
    snapshot: &Snapshot,
    options: &'o Options,
    gateway: &Gateway,
) -> Option<&'o Entrances> {
    let entrances = options.entrances.as_ref()?;
    let controller = controller(snapshot, options, gateway)?;
    (controller != KIC_GATEWAY_CONTROLLER).then_some(entrances)
}

/// The Service of a Gateway, if it exists already.
pub(crate) fn of<'a>(
    snapshot: &'a Snapshot,
    entrances: &Entrances,
    gateway: &Gateway,
) -> Option<&'a Service> {
    let found = snapshot.services.get(&entrances.namespace, &name(gateway))?;
    (found.label(FLEET) == Some(entrances.fleet.as_str())).then_some(&**found)
}

/// The name of a Gateway's Service: namespace and name, shortened to what a Service may be called.
pub(crate) fn name(gateway: &Gateway) -> String {
    let whole = format!("gateway-{}-{}", gateway.namespace(), gateway.name()).replace('.', "-");
    let hash = <sha2::Sha256 as sha2::Digest>::digest(
        format!("{}/{}", gateway.namespace(), gateway.name()).as_bytes(),
    );
    let hash = hex::encode(&hash[..4]);
    let room = LONGEST - hash.len() - 1;
    let mut end = whole.len().min(room);
    while !whole.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{hash}", whole[..end].trim_end_matches('-'))
}

/// The entrances that a Service leads to.
fn handed_out(service: &Service) -> Doors {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let handed = |port: &ServicePort| {
        let protocol = if port.protocol.as_deref() == Some("UDP") { "UDP" } else { "TCP" };
        let IntOrString::Int(entrance) = port.target_port.as_ref()? else { return None };
        Some(((port.port, protocol), u16::try_from(*entrance).ok()?))
    };
    ports.filter_map(handed).collect()
}

/// The entrances that each Gateway should have: what its Service has already, and the lowest that are free for what is
/// new. A port for which none is left has none.
pub(crate) fn hand_out<'g>(
    snapshot: &Snapshot,
    entrances: &Entrances,
    gateways: &'g Gateways<'_>,
) -> Vec<(&'g Entry<'g>, Doors)> {
    let mut taken = BTreeSet::new();
    let mut all: Vec<(&Entry<'_>, Doors, Vec<Door>)> = Vec::new();
    for entry in gateways.entries.values().filter(|entry| entry.doors.is_some()) {
        let before = of(snapshot, entrances, entry.gateway).map(handed_out).unwrap_or_default();
        let (mut kept, mut wanting) = (Doors::new(), Vec::new());
        for door in entry.slots.iter().map(|slot| door(slot.listener)).collect::<BTreeSet<_>>() {
            let old = before.get(&door).filter(|old| entrances.ports.contains(old));
            match old.filter(|old| taken.insert((**old, door.1))) {
                Some(old) => drop(kept.insert(door, *old)),
                None => wanting.push(door),
            }
        }
        all.push((entry, kept, wanting));
    }
    for (_, doors, wanting) in &mut all {
        for door in wanting.drain(..) {
            let free = entrances.ports.clone().find(|port| !taken.contains(&(*port, door.1)));
            if let Some(free) = free {
                taken.insert((free, door.1));
                doors.insert(door, free);
            }
        }
    }
    all.into_iter().map(|(entry, doors, _)| (entry, doors)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(namespace: &str, name: &str) -> Gateway {
        serde_json::from_value(serde_json::json!({
            "metadata": { "namespace": namespace, "name": name },
        }))
        .unwrap()
    }

    #[test]
    fn names_of_services_are_labels_and_never_shared() {
        let one = name(&gateway("a-b", "c"));
        assert_ne!(one, name(&gateway("a", "b-c")));
        let long = name(&gateway(&"n".repeat(63), &"g.".repeat(60)));
        assert!(long.len() <= LONGEST && !long.contains('.'));
    }
}
