//! What changed between two snapshots, as far as steps can follow it.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};

use super::super::reads::Read;
use super::state::State;
use super::{Name, Part, TooMuch, name};
use crate::gateway_api::Listener;
use crate::object::{Kind, Object};
use crate::options::{GatewayStatusSource, Options};
use crate::snapshot::{Objects, Snapshot, service_of};
use crate::translate::gateway::service::FLEET;
use crate::translate::{certificates, ingress};

/// What has to be done again.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Ingresses that came, went or are others now.
    pub(super) ingresses: BTreeSet<Name>,
    /// HTTPRoutes of which the same holds.
    pub(super) http_routes: BTreeSet<Name>,
    /// Kong services.
    pub(super) services: BTreeSet<Arc<str>>,
    /// Plugins.
    pub(super) plugins: BTreeSet<Name>,
    pub(super) consumers: bool,
    pub(super) last_plugins: bool,
    pub(super) certificates: bool,
}

/// Whether nobody edited an object of these kinds, a change of which may concern everything.
macro_rules! unchanged {
    ($before:ident, $after:ident: $($field:ident)*) => {
        true $(&& $after.$field.edits_since(&$before.$field).next().is_none())*
    };
}

/// Finds what changed.
pub(super) fn between(
    before: &Snapshot,
    after: &Snapshot,
    options: &Options,
    state: &State,
) -> Result<Changes, TooMuch> {
    let same = before.unreadable == after.unreadable
        && unchanged!(before, after:
            namespaces ingress_classes gateway_classes grpc_routes tls_routes
            tcp_routes udp_routes reference_grants backend_tls_policies kong_cluster_plugins kong_vaults
            kong_custom_entities kong_licenses tcp_ingresses udp_ingresses ingress_class_parameters
            kong_service_facades);
    let gateways = match options.gateway_status {
        GatewayStatusSource::Derived => unchanged!(before, after: gateways listener_sets),
        GatewayStatusSource::Recorded => {
            after.gateways.differences(&before.gateways).is_empty()
                && after.listener_sets.differences(&before.listener_sets).is_empty()
        }
    };
    if !same || !gateways {
        return Err(TooMuch);
    }
    let mut changes = Changes::default();
    let mut reads = Vec::new();
    // The Service of a Gateway remembers its ports.
    let of_gateway = |service: &Arc<Service>| service.label(FLEET).is_some();
    let mut services = after.services.differences(&before.services).into_iter();
    if services.any(|(old, new)| old.is_some_and(of_gateway) || new.is_some_and(of_gateway)) {
        return Err(TooMuch);
    }
    named(&before.services, &after.services, &mut reads);
    named(&before.kong_upstream_policies, &after.kong_upstream_policies, &mut reads);
    named(&before.kong_ingresses, &after.kong_ingresses, &mut reads);
    for (old, new) in after.ingresses.differences(&before.ingresses) {
        for one in old.into_iter().chain(new) {
            if ingress::has_default(one) {
                return Err(TooMuch);
            }
            changes.ingresses.insert(name(one.namespace(), one.name()));
        }
    }
    for (old, new) in after.http_routes.edits_since(&before.http_routes) {
        let one = old.or(new);
        changes.http_routes.extend(one.map(|one| name(one.namespace(), one.name())));
    }
    for (old, new) in after.endpoint_slices.differences(&before.endpoint_slices) {
        let of = |slice: &EndpointSlice| {
            let (namespace, name) = service_of(slice)?;
            Some(Read::of(Kind::EndpointSlice, namespace, name))
        };
        reads.extend(old.into_iter().chain(new).filter_map(|slice| of(slice)));
    }
    // What policies and listeners refer to makes them good or not, and with them their routes.
    let sealed = !after.backend_tls_policies.is_empty() || are_gateways_sealed(after);
    let kept = after.secrets.differences(&before.secrets).is_empty()
        && after.config_maps.differences(&before.config_maps).is_empty();
    if sealed && !kept {
        return Err(TooMuch);
    }
    authorities(&before.secrets, &after.secrets, &mut reads)?;
    authorities(&before.config_maps, &after.config_maps, &mut reads)?;
    for (old, new) in after.kong_plugins.differences(&before.kong_plugins) {
        // Plugins that name a broken authority are told.
        if state.told.failed(&Part::Authorities) {
            return Err(TooMuch);
        }
        for plugin in old.into_iter().chain(new) {
            changes.plugins.insert(name(plugin.namespace(), plugin.name()));
        }
    }
    changes.consumers = !unchanged!(before, after: kong_consumers kong_consumer_groups);
    for read in reads {
        for part in state.readers(read) {
            match part {
                Part::Service(key) => {
                    changes.services.insert(Arc::clone(key));
                }
                Part::Plugin(name) => {
                    changes.plugins.insert(Arc::clone(name));
                }
                Part::HttpRoute(name) => {
                    changes.http_routes.insert(Arc::clone(name));
                }
                Part::Consumers => changes.consumers = true,
                Part::LastPlugins => changes.last_plugins = true,
                Part::Certificates => changes.certificates = true,
                Part::Unreadable
                | Part::Ingress(_)
                | Part::Foreign
                | Part::Others
                | Part::Authorities => return Err(TooMuch),
            }
        }
    }
    Ok(changes)
}

/// Whether listeners or Gateways name certificates.
pub(super) fn are_gateways_sealed(snapshot: &Snapshot) -> bool {
    let own = |listeners: &[Listener]| listeners.iter().any(|listener| listener.tls.is_some());
    let gateways = &mut snapshot.gateways.iter();
    gateways.any(|gateway| gateway.spec.tls.is_some() || own(&gateway.spec.listeners))
        || snapshot.listener_sets.iter().any(|set| own(&set.spec.listeners))
}

fn named<K: Object>(before: &Objects<K>, after: &Objects<K>, reads: &mut Vec<Read>) {
    for (old, new) in after.differences(before) {
        let one = old.or(new);
        reads.extend(one.map(|one| Read::of(K::KIND, one.namespace(), one.name())));
    }
}

/// Objects among which authorities are looked for.
fn authorities<K: Object>(
    before: &Objects<K>,
    after: &Objects<K>,
    reads: &mut Vec<Read>,
) -> Result<(), TooMuch> {
    let differences = after.differences(before);
    let either = |(old, new): &(Option<&Arc<K>>, Option<&Arc<K>>)| {
        let labelled =
            |one: &Option<&Arc<K>>| one.is_some_and(|one| certificates::is_authority(&**one));
        labelled(old) || labelled(new)
    };
    if differences.iter().any(either) {
        return Err(TooMuch);
    }
    named(before, after, reads);
    Ok(())
}
