//! Discovery: the EndpointSlices of a fleet's Services become members.
//!
//! Members are keyed by pod UID, so a pod in two slices (dual stack, two Services) is one member and
//! a reused address is another one. Endpoints that are not ready count, terminating ones drain, and an
//! endpoint that names no pod is a member keyed by slice and address. A slice belongs to a Service
//! by its `kubernetes.io/service-name` label alone: hand-made slices have no owner.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use crate::fleet::member::{InstanceId, Member, Presence};

/// The label that says which Service a slice belongs to.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Where to look for the members of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The namespace of the Services.
    pub namespace: String,
    /// The Services, the preferred one first.
    pub services: Vec<String>,
    /// The name of the Admin API's port in the slices.
    pub admin_port: String,
    /// The name of a port that serves traffic, for data-path probes.
    pub data_port: Option<String>,
}

/// All members of a fleet, by identity.
pub type Members = BTreeMap<InstanceId, Member>;

/// Why a slice or an endpoint gave no member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The slice has endpoints, but no port of the wanted name.
    NoAdminPort {
        /// The slice, as `namespace/name`.
        slice: String,
        /// The name that was looked for.
        wanted: String,
    },
    /// An address is neither IPv4 nor IPv6 (a slice of host names).
    NotAnAddress {
        /// The slice, as `namespace/name`.
        slice: String,
        /// The address as written.
        address: String,
    },
    /// No slice belongs to this Service.
    NoSlices {
        /// The Service's name.
        service: String,
    },
}

/// What discovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// The members.
    pub members: Members,
    /// What could not become a member, in the order of the slices.
    pub problems: Vec<Problem>,
}

impl Discovery {
    /// Reads the members out of slices given in any order; the result depends on their content only.
    pub fn discover<'a>(&self, slices: impl IntoIterator<Item = &'a EndpointSlice>) -> Discovered {
        let mut found: Vec<(usize, &EndpointSlice)> = slices
            .into_iter()
            .filter(|slice| slice.metadata.namespace.as_deref() == Some(&self.namespace))
            .filter_map(|slice| Some((self.rank_of(slice)?, slice)))
            .collect();
        // The preferred Service first, IPv4 before IPv6 (`IPv4` sorts first), then by name.
        found.sort_by_key(|(rank, slice)| {
            (*rank, slice.address_type.clone(), slice.metadata.name.clone())
        });

        let mut discovered = Discovered::default();
        for (index, service) in self.services.iter().enumerate() {
            if !found.iter().any(|(rank, _)| *rank == index) {
                discovered.problems.push(Problem::NoSlices { service: service.clone() });
            }
        }
        for (rank, slice) in found {
            self.read_slice(slice, &self.services[rank], &mut discovered);
        }
        discovered
    }

    fn rank_of(&self, slice: &EndpointSlice) -> Option<usize> {
        let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
        self.services.iter().position(|wanted| wanted == service)
    }

    fn read_slice(&self, slice: &EndpointSlice, service: &str, discovered: &mut Discovered) {
        let name = slice.metadata.name.as_deref().unwrap_or_default();
        let key = format!("{}/{name}", self.namespace);
        let ports = slice.ports.as_deref().unwrap_or_default();
        let Some(admin_port) = port_named(ports, &self.admin_port) else {
            if !slice.endpoints.is_empty() {
                let problem = Problem::NoAdminPort { slice: key, wanted: self.admin_port.clone() };
                discovered.problems.push(problem);
            }
            return;
        };
        let data_port = self.data_port.as_deref().and_then(|wanted| port_named(ports, wanted));
        let place =
            Place { key: &key, name, namespace: &self.namespace, service, admin_port, data_port };
        for endpoint in &slice.endpoints {
            place.read_endpoint(endpoint, discovered);
        }
    }
}

/// One slice, with the ports that were found in it.
struct Place<'a> {
    key: &'a str,
    name: &'a str,
    namespace: &'a str,
    service: &'a str,
    admin_port: u16,
    data_port: Option<u16>,
}

impl Place<'_> {
    fn read_endpoint(&self, endpoint: &Endpoint, discovered: &mut Discovered) {
        // All addresses of one endpoint are the same pod; the API says that consumers take the first.
        let Some(text) = endpoint.addresses.first() else { return };
        let Ok(address) = text.parse::<IpAddr>() else {
            let problem =
                Problem::NotAnAddress { slice: self.key.to_owned(), address: text.clone() };
            discovered.problems.push(problem);
            return;
        };
        let pod =
            endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
        let uid = pod.and_then(|pod| pod.uid.as_deref()).filter(|uid| !uid.is_empty());
        let id = uid.map_or_else(
            || InstanceId::Endpoint { slice: Arc::from(self.key), address },
            |uid| InstanceId::Pod(Arc::from(uid)),
        );
        let pod_name = uid.and(pod).and_then(|pod| pod.name.as_deref());
        let member = Member {
            namespace: Arc::from(
                pod.and_then(|pod| pod.namespace.as_deref()).unwrap_or(self.namespace),
            ),
            name: pod_name.map_or_else(|| self.endpoint_name(address), Arc::from),
            admin: SocketAddr::new(address, self.admin_port),
            data: self.data_port.map(|port| SocketAddr::new(address, port)),
            node: endpoint.node_name.as_deref().map(Arc::from),
            zone: endpoint.zone.as_deref().map(Arc::from),
            service: Arc::from(self.service),
            presence: presence(endpoint),
            id,
        };
        merge(&mut discovered.members, member);
    }

    /// A name that may stand in Kubernetes metadata: `<slice>-10-0-0-7`, `<slice>-fd00--7`.
    fn endpoint_name(&self, address: IpAddr) -> Arc<str> {
        let address = address.to_string().replace(['.', ':'], "-");
        Arc::from(format!("{}-{}", self.name, address.trim_matches('-')))
    }
}

/// A pod in several slices is one member: the first slice gives its address, and it drains as soon
/// as any slice says so, while one slice that calls it ready is enough.
fn merge(members: &mut Members, member: Member) {
    match members.get_mut(&member.id) {
        Some(known) => {
            known.presence = match (known.presence, member.presence) {
                (Presence::Draining, _) | (_, Presence::Draining) => Presence::Draining,
                (Presence::Ready, _) | (_, Presence::Ready) => Presence::Ready,
                (Presence::NotReady, Presence::NotReady) => Presence::NotReady,
            };
            if known.data.is_none() {
                known.data = member.data;
            }
        }
        None => {
            members.insert(member.id.clone(), member);
        }
    }
}

fn presence(endpoint: &Endpoint) -> Presence {
    let Some(conditions) = &endpoint.conditions else { return Presence::Ready };
    if conditions.terminating == Some(true) {
        return Presence::Draining;
    }
    // An absent condition is unknown, which the API tells consumers to read as ready.
    if conditions.ready.unwrap_or(true) { Presence::Ready } else { Presence::NotReady }
}

/// The port of this name, or the only port when it has no name at all.
fn port_named(ports: &[EndpointPort], wanted: &str) -> Option<u16> {
    let number = |port: &EndpointPort| port.port.and_then(|port| u16::try_from(port).ok());
    let by_name = ports.iter().find(|port| port.name.as_deref() == Some(wanted));
    match (by_name, ports) {
        (Some(port), _) => number(port),
        (None, [only]) if only.name.as_deref().unwrap_or_default().is_empty() => number(only),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests;
