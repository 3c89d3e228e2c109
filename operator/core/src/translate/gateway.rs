//! Gateway API: Gateways and their routes become rules.
//!
//! First each route is attached to the Gateways that are ours (`attach`); a route that no listener admits ends there.
//! What is admitted becomes Kong services and routes, by kind: `http`, `grpc`, `stream`. Certificates of listeners and
//! BackendTLSPolicies are found on the side. The shapes are Kong Ingress Controller's, entity for entity; where it errs,
//! docs/differences-from-kic.md says what is done instead.

pub(crate) mod attach;
pub(crate) mod backend;
mod beyond;
mod certificate;
mod filter;
mod frame;
pub(crate) mod frontend;
mod grpc;
pub(crate) mod hostname;
mod http;
pub(crate) mod listener;
mod matcher;
mod path;
pub(crate) mod policy;
mod priority;
pub(crate) mod service;
mod session;
mod stream;

use kong::model::Tags;

use super::Context;
use super::rules::{ListenerCertificate, Origin, Rules};
use crate::gateway_api::{HttpRoute, ParentRef};
use attach::{Attachment, Gateways, RouteView, Slot};
use frame::Place;

pub(super) use backend::refusal;
pub(super) use http::places;
pub(super) use policy::{BackendTls, Policies};
pub(super) use priority::{Places, Rank, Ranks};

/// Adds the rules of all routes that a Gateway of ours admits.
pub(super) fn rules<'a>(ctx: &mut Context<'a>, rules: &mut Rules<'a>) {
    rules.backend_tls = policies(ctx);
    let routes = ctx.snapshot.http_routes.iter().map(|route| &**route).collect();
    http_rules(ctx, routes, rules);
    other_rules(ctx, rules);
}

/// The policies on TLS to Services that count.
pub(super) fn policies<'a>(ctx: &mut Context<'a>) -> Policies<'a> {
    let gateways = ctx.gateways();
    policy::backend_tls(ctx, &gateways)
}

/// Adds the rules of HTTPRoutes.
pub(super) fn http_rules<'a>(
    ctx: &mut Context<'a>,
    routes: Vec<&'a HttpRoute>,
    rules: &mut Rules<'a>,
) {
    let gateways = ctx.gateways();
    http::rules(ctx, &gateways, routes, rules);
}

/// Adds the rules of routes of all other kinds.
pub(super) fn other_rules<'a>(ctx: &mut Context<'a>, rules: &mut Rules<'a>) {
    let gateways = ctx.gateways();
    grpc::rules(ctx, &gateways, rules);
    stream::rules(ctx, &gateways, rules);
}

/// The certificates of listeners: each pairs a Secret with the hostname that it serves.
pub(super) fn certificates<'a>(ctx: &mut Context<'a>) -> Vec<ListenerCertificate<'a>> {
    let gateways = ctx.gateways();
    certificate::of(ctx, &gateways)
}

/// A route that at least one Gateway of ours serves.
#[derive(Debug)]
struct Served<'a> {
    /// The route.
    origin: Origin<'a>,
    /// The listeners that admit it and can serve it.
    places: Vec<Place<'a>>,
    /// The listeners of the sections that it names, whatever their port and hostname.
    sections: Vec<Slot<'a>>,
}

impl Served<'_> {
    /// The hostnames that a route with `own` hostnames shares with the listeners that admit it; empty means all.
    fn hostnames(&self, own: &[String]) -> Vec<String> {
        let listeners: Vec<Option<&str>> =
            self.places.iter().map(|place| place.slot.listener.hostname()).collect();
        hostname::effective(&listeners, own)
    }

    /// What `speak` makes of the protocols of the named listeners, in its own order and each once; everything when the
    /// listeners speak none of them.
    fn protocols(&self, speak: &[(&str, &str)]) -> Vec<String> {
        let spoken =
            |listener: &str| self.sections.iter().any(|slot| slot.listener.protocol == listener);
        let named = |(_, protocol): &(&str, &str)| (*protocol).to_owned();
        let found: Vec<String> =
            speak.iter().filter(|(listener, _)| spoken(listener)).map(named).collect();
        if found.is_empty() { speak.iter().map(named).collect() } else { found }
    }
}

/// Attaches a route; `None`, with a word on why, when no Gateway of ours admits it.
fn serve<'a>(
    ctx: &mut Context<'a>,
    gateways: &Gateways<'a>,
    origin: Origin<'a>,
    parents: &'a [ParentRef],
    hostnames: Option<&'a [String]>,
) -> Option<Served<'a>> {
    let view =
        RouteView { kind: origin.kind.name(), namespace: origin.namespace(), parents, hostnames };
    let attachments = gateways.attach(view);
    let admitted: Vec<&Attachment<'a>> =
        attachments.iter().filter(|attachment| attachment.verdict.is_ok()).collect();
    if admitted.is_empty() {
        let why = match attachments.first().map(|attachment| &attachment.verdict) {
            Some(Err(refusal)) => format!("{}: {}", refusal.reason(), refusal.message()),
            Some(Ok(_)) | None => "none of its parents is a Gateway that is served here".to_owned(),
        };
        ctx.outcomes.ignore(origin.reference(), why);
        return None;
    }
    let places = admitted.iter().flat_map(|attachment| {
        let entry = gateways.entries.get(&attachment.gateway);
        let slots = attachment.verdict.iter().flatten().filter(|slot| slot.programmed);
        entry.into_iter().flat_map(move |entry| slots.clone().map(|slot| Place::of(entry, *slot)))
    });
    let sections = admitted.iter().flat_map(|attachment| &attachment.section);
    Some(Served { origin, places: places.collect(), sections: sections.copied().collect() })
}

/// The tags of a route's entities: those of the object, the names of its rules, and the user's own last.
fn tags<'r>(origin: Origin<'_>, rules: impl IntoIterator<Item = &'r str>) -> Tags {
    let mut names: Vec<String> = Vec::new();
    for name in rules.into_iter().filter(|name| !name.is_empty()) {
        let tag = format!("k8s-named-route-rule:{name}");
        if !names.contains(&tag) {
            names.push(tag);
        }
    }
    crate::names::tags_with(origin, names)
}
