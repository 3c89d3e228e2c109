//! Routes: one entry a parent of ours, and the number of routes that each listener has.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use super::{Delivery, Scene, Status, Wanted};
use crate::gateway_api::{
    BackendRef, Gateway, HttpFilter, ParentRef, RouteParentStatus, RouteStatus,
};
use crate::object::{Kind, Object, ObjectRef};
use crate::outcome::Verdict;
use crate::status::condition::{Holds, Made};
use crate::translate::gateway::attach::{self, Attachment, Gateways, RouteView, Slot, controller};
use crate::translate::gateway::backend::{Unresolved, resolve};
use crate::translate::gateway::listener::Standing;

/// What statuses need to know of a route, whatever its kind.
struct View<'a> {
    object: ObjectRef,
    meta: &'a ObjectMeta,
    parents: &'a [ParentRef],
    hostnames: Option<&'a [String]>,
    backends: Vec<&'a BackendRef>,
    status: Option<&'a RouteStatus>,
    broken: Option<String>,
}

impl<'a> View<'a> {
    fn attach(&'a self, gateways: &Gateways<'a>) -> Vec<Attachment<'a>> {
        gateways.attach(RouteView {
            kind: self.object.kind.name(),
            namespace: &self.object.namespace,
            parents: self.parents,
            hostnames: self.hostnames,
        })
    }
}

/// Every route of the snapshot.
fn views<'a>(scene: &'a Scene<'_>) -> Vec<View<'a>> {
    let mut views = Vec::new();
    macro_rules! add {
        ($store:ident, $names:expr, $backends:expr) => {
            for route in &scene.snapshot.$store {
                views.push(View {
                    object: route.reference(),
                    meta: &route.metadata,
                    parents: &route.spec.parent_refs,
                    hostnames: $names(&route.spec.hostnames),
                    backends: route.spec.rules.iter().flat_map($backends).collect(),
                    status: route.status.as_ref(),
                    broken: None,
                });
            }
        };
    }
    fn named(hosts: &Vec<String>) -> Option<&[String]> {
        Some(hosts.as_slice())
    }
    fn unnamed(_: &Vec<String>) -> Option<&[String]> {
        None
    }
    add!(http_routes, named, |rule| &rule.backend_refs);
    add!(grpc_routes, named, |rule| &rule.backend_refs);
    add!(tls_routes, named, |rule| &rule.backend_refs);
    add!(tcp_routes, unnamed, |rule| &rule.backend_refs);
    add!(udp_routes, unnamed, |rule| &rule.backend_refs);
    for view in &mut views {
        view.broken = missing_extension(scene, &view.object);
    }
    views
}

/// The name of a KongPlugin that a filter of an HTTPRoute asks for and that does not exist.
fn missing_extension(scene: &Scene<'_>, object: &ObjectRef) -> Option<String> {
    if object.kind != Kind::HttpRoute {
        return None;
    }
    let route = scene.snapshot.http_routes.get(&object.namespace, &object.name)?;
    let filters = route.spec.rules.iter().flat_map(|rule| &rule.filters);
    let wanted = filters.filter_map(|filter: &HttpFilter| filter.extension_ref.as_ref());
    let missing = |name: &&str| scene.snapshot.kong_plugins.get(&object.namespace, name).is_none();
    wanted.map(|reference| reference.name.as_str()).find(missing).map(str::to_owned)
}

/// Routes by listener.
#[derive(Debug, Default)]
pub(super) struct Attached(BTreeMap<(ObjectRef, String), BTreeSet<ObjectRef>>);

impl Attached {
    /// How many routes a listener has.
    pub(super) fn count(&self, gateway: &Gateway, standing: &Standing<'_>) -> i32 {
        let owner = standing.set.map_or_else(|| gateway.reference(), Object::reference);
        let routes = self.0.get(&(owner, standing.listener.name.clone()));
        routes.map_or(0, |routes| i32::try_from(routes.len()).unwrap_or(i32::MAX))
    }
}

/// Counts the routes of each listener.
pub(super) fn attached(scene: &Scene<'_>, gateways: &Gateways<'_>) -> Attached {
    let mut attached = Attached::default();
    for view in views(scene) {
        for attachment in view.attach(gateways) {
            let (namespace, name) = attachment.gateway;
            for Slot { listener, set, .. } in attachment.verdict.iter().flatten() {
                let gateway = || ObjectRef::new(Kind::Gateway, namespace, name);
                let owner = set.map_or_else(gateway, Object::reference);
                let routes = attached.0.entry((owner, listener.name.clone())).or_default();
                routes.insert(view.object.clone());
            }
        }
    }
    attached
}

/// Statuses of routes that have, or had, a parent of ours.
pub(super) fn all(scene: &Scene<'_>, gateways: &Gateways<'_>, wanted: &mut Vec<Wanted>) {
    for view in views(scene) {
        let before = view.status.map_or(&[][..], |status| &status.parents);
        let ours = |entry: &&RouteParentStatus| {
            scene.options.gateway_controllers.contains(&entry.controller_name)
                && !of_another_fleet(scene, &view.object.namespace, &entry.parent_ref)
        };
        let foreign = before.iter().filter(|entry| !ours(entry)).cloned();
        let mut parents: Vec<RouteParentStatus> = foreign.collect();
        let attachments = view.attach(gateways);
        for attachment in &attachments {
            parents.extend(parent(scene, gateways, &view, attachment, before));
        }
        let had = before.iter().any(|entry| ours(&entry));
        if parents != before && (had || !attachments.is_empty()) {
            let status = Status::Route(RouteStatus { parents });
            wanted.push(Wanted { object: view.object, status });
        }
    }
}

/// Whether a parent is a Gateway of another fleet of ours, or a ListenerSet of one, whose business its entry is.
fn of_another_fleet(scene: &Scene<'_>, own: &str, parent: &ParentRef) -> bool {
    let namespace = parent.namespace_or(own);
    if parent.is("ListenerSet") {
        let set = scene.snapshot.listener_sets.get(namespace, &parent.name);
        return set.is_some_and(|set| {
            let gateway = &set.spec.parent_ref;
            gateway.is("Gateway") && of_another_fleet(scene, namespace, gateway)
        });
    }
    let gateway = scene.snapshot.gateways.get(namespace, &parent.name);
    gateway.is_some_and(|gateway| attach::of_another_fleet(scene.snapshot, scene.options, gateway))
}

/// The entry of one parent.
fn parent(
    scene: &Scene<'_>,
    gateways: &Gateways<'_>,
    view: &View<'_>,
    attachment: &Attachment<'_>,
    before: &[RouteParentStatus],
) -> Option<RouteParentStatus> {
    let gateway = gateways.entries.get(&attachment.gateway)?.gateway;
    let controller = controller(scene.snapshot, scene.options, gateway)?;
    let old = before.iter().find(|entry| {
        entry.controller_name == controller && entry.parent_ref == *attachment.parent
    });
    let old = old.map_or(&[][..], |entry| &entry.conditions);
    Some(RouteParentStatus {
        parent_ref: attachment.parent.clone(),
        controller_name: controller.to_owned(),
        conditions: conditions(scene, view, attachment, old),
    })
}

fn conditions(
    scene: &Scene<'_>,
    view: &View<'_>,
    attachment: &Attachment<'_>,
    before: &[Condition],
) -> Vec<Condition> {
    let conditions = Made::new(before, view.meta.generation, &scene.now);
    let untranslated = scene.verdict(&view.object).and_then(|verdict| match verdict {
        Verdict::Rejected { reason: _, message } => Some(message.as_str()),
        Verdict::Configured | Verdict::Ignored { .. } => None,
    });
    let fault = match (&attachment.verdict, untranslated) {
        (Err(refusal), _) => Some((refusal.reason(), refusal.message())),
        (Ok(_), Some(message)) => Some(("UnsupportedValue", message)),
        (Ok(_), None) => None,
    };
    let conditions = conditions.unless("Accepted", "Accepted", fault);
    let unresolved = unresolved(scene, view);
    let missing = unresolved.as_ref().map(|(reason, message)| (*reason, message.as_str()));
    let conditions = conditions.unless("ResolvedRefs", "ResolvedRefs", missing);
    let conditions = match (fault, scene.refused.get(&view.object), &scene.delivery) {
        (Some(_), _, _) => {
            conditions.set("Programmed", Holds::False, "Invalid", "the route is not accepted")
        }
        (None, Some(message), _) => {
            conditions.set("Programmed", Holds::False, "RejectedByProxy", message)
        }
        (None, None, Delivery::Serving) => {
            conditions.set("Programmed", Holds::True, "ConfiguredInGateway", "")
        }
        (None, None, Delivery::Waiting(message)) => {
            conditions.set("Programmed", Holds::False, "Pending", message)
        }
        (None, None, Delivery::NoProxy) => {
            conditions.set("Programmed", Holds::False, "Pending", "there is no proxy")
        }
    };
    conditions.finish()
}

/// The first reference of a route that leads nowhere.
fn unresolved(scene: &Scene<'_>, view: &View<'_>) -> Option<(&'static str, String)> {
    if let Some(name) = &view.broken {
        let message = format!("KongPlugin {}/{name} does not exist", view.object.namespace);
        return Some(("RefNotFound", message));
    }
    let from = (view.object.kind, view.object.namespace.as_str());
    let fault = |backend: &&BackendRef| {
        let unresolved: Unresolved = resolve(scene.snapshot, from, backend).err()?;
        let target = backend.namespace_or(&view.object.namespace);
        let name = format!("{target}/{}", backend.name);
        Some((unresolved.reason(), unresolved.message(&name)))
    };
    view.backends.iter().find_map(fault)
}
