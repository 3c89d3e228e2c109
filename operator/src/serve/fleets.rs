//! A fleet as JSON: what the table shows, for programs.

use operator_core::election::Role;
use operator_core::fleet::view::{FleetView, InstanceView};
use serde::Serialize;

use super::Views;

/// One fleet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetSummary {
    name: String,
    leader: bool,
    revision: Option<u64>,
    held: bool,
    total: usize,
    synced: usize,
    instances: Vec<InstanceSummary>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InstanceSummary {
    name: String,
    id: String,
    address: String,
    sync: &'static str,
    hash: Option<String>,
    revision: Option<u64>,
    version: Option<String>,
    trouble: Option<String>,
}

/// All fleets as they are now.
pub(super) fn summaries(views: &Views) -> Vec<FleetSummary> {
    views.iter().map(|(name, view)| FleetSummary::of(name, &view.borrow())).collect()
}

impl FleetSummary {
    /// Sums a fleet up.
    #[must_use]
    pub fn of(name: &str, view: &FleetView) -> Self {
        let counts = view.counts();
        Self {
            name: name.to_owned(),
            leader: matches!(view.role, Role::Leader { .. }),
            revision: view.revision.as_ref().map(|revision| revision.number),
            held: view.hold.is_some(),
            total: counts.total,
            synced: counts.synced,
            instances: view.instances.values().map(|instance| summary(instance)).collect(),
        }
    }
}

fn summary(instance: &InstanceView) -> InstanceSummary {
    InstanceSummary {
        name: instance.member.name.to_string(),
        id: instance.member.id.to_string(),
        address: instance.member.admin.to_string(),
        sync: instance.sync.as_str(),
        hash: instance.reported.map(|reported| reported.hash.to_string()),
        revision: instance.verified.map(|verified| verified.number),
        version: instance.node.as_ref().map(|node| node.version.clone()),
        trouble: instance.trouble.as_ref().map(|trouble| trouble.message.clone()),
    }
}
