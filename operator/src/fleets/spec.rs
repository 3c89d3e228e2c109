//! What a ProxyFleet asks for, in the words of the pipeline. No IO.

use std::hash::{DefaultHasher, Hash, Hasher};

use operator_api::{ACKNOWLEDGE_INSECURE, Drift, IdentityMode, ProxyFleet};
use operator_core::fleet::guard::ShrinkGuard;
use operator_core::fleet::{DriftPolicy, Settings as FleetSettings};
use operator_core::options::{Entrances, Options};
use operator_core::revision::ConfigHash;

use crate::admin::Deadlines;
use crate::app::Settings;
use crate::fleet::{IdentityPolicy, Policy};
use crate::trust::{FleetName, keeper};

/// The annotation by which a person allows a held configuration: its hash.
const ALLOW_SHRINK: &str = "flotilla.dev/allow-shrink";

/// Stands for every GatewayClass of our controllers.
const EVERY_CLASS: &str = "*";

/// Namespace and name.
pub(super) fn name(fleet: &ProxyFleet) -> FleetName {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    (text(&fleet.metadata.namespace), text(&fleet.metadata.name))
}

/// How the fleet is driven.
pub(super) fn policy(settings: &Settings, fleet: &ProxyFleet) -> Policy {
    let (namespace, name) = name(fleet);
    let spec = &fleet.spec;
    let shared_name = keeper::server_name(fleet);
    let acknowledged = spec.tls.acknowledge.as_deref() == Some(ACKNOWLEDGE_INSECURE);
    let identity = match spec.tls.identity {
        IdentityMode::InsecureNone if acknowledged => IdentityPolicy::Insecure,
        // The API server demands the sentence; without it nothing is given up.
        IdentityMode::Pod | IdentityMode::InsecureNone => IdentityPolicy::Pod { shared_name },
        IdentityMode::Shared => IdentityPolicy::Shared { name: shared_name },
    };
    let drift = match spec.drift {
        Drift::Correct => DriftPolicy::Correct,
        Drift::Report => DriftPolicy::Report,
    };
    let shrink = ShrinkGuard {
        percent: u8::try_from(spec.guards.max_shrink_percent).unwrap_or(100),
        floor: usize::try_from(spec.guards.shrink_floor).unwrap_or(0),
    };
    let annotations = fleet.metadata.annotations.as_ref();
    let allowed = annotations.and_then(|all| all.get(ALLOW_SHRINK));
    Policy {
        namespace,
        name,
        settings: FleetSettings {
            push_concurrency: settings.push_concurrency,
            drift,
            shrink,
            ..FleetSettings::default()
        },
        identity,
        allowed: allowed.and_then(|hash| ConfigHash::parse(hash.trim())),
        deadlines: Deadlines::default(),
    }
}

/// What the fleet's objects are translated with.
pub(super) fn options(settings: &Settings, fleet: &ProxyFleet) -> Options {
    let ingress_classes = match fleet.spec.ingress_classes.as_slice() {
        [] => vec![settings.ingress_class.clone()],
        classes => classes.to_vec(),
    };
    let gateway_classes = Some(fleet.spec.gateway_classes.clone());
    let gateway_classes =
        gateway_classes.filter(|classes| !classes.iter().any(|class| class == EVERY_CLASS));
    let entrances = entrances(fleet);
    Options { ingress_classes, gateway_classes, entrances, ..settings.options.clone() }
}

/// The ports that the fleet's proxies keep for Gateways.
fn entrances(fleet: &ProxyFleet) -> Option<Entrances> {
    let ports = fleet.spec.gateway_ports.as_ref()?;
    let service = fleet.spec.publish.as_ref()?.service.clone()?;
    let (namespace, fleet) = name(fleet);
    let port = |number: i32| u16::try_from(number).ok();
    Some(Entrances { namespace, fleet, service, ports: port(ports.first)?..=port(ports.last)? })
}

/// A seed that differs between fleets: it only spreads retries.
pub(super) fn seed(fleet: &ProxyFleet) -> u64 {
    let mut hasher = DefaultHasher::new();
    fleet.metadata.uid.hash(&mut hasher);
    hasher.finish()
}
