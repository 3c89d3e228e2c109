//! Statuses of Gateway API objects.
//!
//! A function of the snapshot, the verdicts of the translation and how far the proxies are. It returns only what differs
//! from the status in the snapshot, so that nothing is written twice, and a condition's `lastTransitionTime` moves only
//! with its status. Entries that other controllers wrote on a route are kept as they are.

mod entry;
mod policy;
mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::gateway_api::{
    Address, GatewayClassStatus, GatewayStatus, ListenerSetStatus, PolicyStatus, RouteStatus,
};
use crate::object::ObjectRef;
use crate::options::Options;
use crate::outcome::{Outcome, Verdict};
use crate::snapshot::Snapshot;
use crate::translate::gateway::attach::Gateways;

/// How far the proxies are with the configuration that the statuses speak of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Not every proxy that should serve it is known to; the text says how many are.
    Waiting(String),
    /// It is verified on the proxies.
    Serving,
    /// There is no proxy.
    NoProxy,
}

/// Everything that statuses depend on.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// The objects that were translated.
    pub snapshot: &'a Snapshot,
    /// The options of that translation.
    pub options: &'a Options,
    /// The verdicts of that translation.
    pub outcomes: &'a [Arc<Outcome>],
    /// How far the proxies are with its configuration.
    pub delivery: Delivery,
    /// Objects whose entities proxies refused, and what they said.
    pub refused: &'a BTreeMap<ObjectRef, String>,
    /// Addresses under which the proxies are reached.
    pub addresses: &'a [Address],
    /// Features that a GatewayClass announces.
    pub features: &'a [&'a str],
    /// The time that new transitions get.
    pub now: Time,
}

impl Scene<'_> {
    /// The verdict on an object; the translation orders them by object.
    fn verdict(&self, object: &ObjectRef) -> Option<&Verdict> {
        let at = self.outcomes.binary_search_by(|outcome| outcome.object.cmp(object)).ok()?;
        self.outcomes.get(at).map(|outcome| &outcome.verdict)
    }
}

/// A status that an object should have and has not.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The object.
    pub object: ObjectRef,
    /// Its whole new status.
    pub status: Status,
}

/// The status of one of the kinds.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Status {
    /// Of a GatewayClass.
    Class(GatewayClassStatus),
    /// Of a Gateway.
    Gateway(GatewayStatus),
    /// Of a ListenerSet.
    ListenerSet(ListenerSetStatus),
    /// Of a route of any kind.
    Route(RouteStatus),
    /// Of a BackendTLSPolicy.
    Policy(PolicyStatus),
}

/// The statuses to write, by kind, namespace and name.
#[must_use]
pub fn derive(scene: &Scene<'_>) -> Vec<Wanted> {
    let gateways = Gateways::of(scene.snapshot, scene.options);
    let mut wanted = Vec::new();
    entry::classes(scene, &mut wanted);
    entry::gateways(scene, &gateways, &mut wanted);
    entry::listener_sets(scene, &gateways, &mut wanted);
    routes::all(scene, &gateways, &mut wanted);
    policy::all(scene, &gateways, &mut wanted);
    wanted.sort_by(|a, b| a.object.cmp(&b.object));
    wanted
}

#[cfg(test)]
mod tests;
