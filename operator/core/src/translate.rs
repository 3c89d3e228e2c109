//! Kubernetes objects in, one declarative configuration out: a function, and it never fails.
//!
//! Two steps, each readable on its own. The *sources* (Ingress, TCPIngress, UDPIngress, Gateway API)
//! write down [`rules::Rules`]: Kong services with their backends and routes. The *assembly* resolves
//! the backends to targets, applies annotations, attaches plugins, consumers and certificates, and
//! gives ids. What is wrong with an object ends in its [`Outcome`]; the others go on.

mod backends;
mod certificates;
mod class;
mod consumers;
mod custom;
mod expression;
pub(crate) mod gateway;
mod ingress;
mod overrides;
mod plugins;
mod rewrite;
mod rules;
mod services;
mod stream;
mod upstreams;

use std::collections::BTreeSet;

use kong::model::{Document, Plugin, Service, Upstream};

use crate::names::{self, Named};
use crate::options::{Gate, Options};
use crate::outcome::{Outcome, Outcomes};
use crate::snapshot::{Snapshot, Unreadable};
use class::Classes;
pub use rules::Origin;
use rules::Rules;
use services::Assembled;

/// What a translation ends with.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// The configuration.
    pub config: Document,
    /// The verdict on every object that was looked at, by kind, namespace and name.
    pub outcomes: Vec<Outcome>,
    /// Plugins that are in no configuration because nothing refers to them: for whoever judges them all the same.
    pub idle: Vec<Plugin>,
}

/// Everything that the steps of one translation share.
pub(crate) struct Context<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) options: &'a Options,
    pub(crate) class: Classes,
    pub(crate) outcomes: Outcomes<'a>,
    pub(crate) idle: Vec<Plugin>,
}

impl<'a> Context<'a> {
    fn new(snapshot: &'a Snapshot, options: &'a Options) -> Self {
        let class = Classes::of(snapshot, options);
        Self { snapshot, options, class, outcomes: Outcomes::default(), idle: Vec::new() }
    }
}

/// Translates `snapshot`. Equal arguments give equal results, on any machine.
#[must_use]
pub fn translate(snapshot: &Snapshot, options: &Options) -> Translation {
    let mut ctx = Context::new(snapshot, options);
    for unreadable in &snapshot.unreadable {
        let Unreadable { object, source: _, message } = unreadable;
        ctx.outcomes.fail(object.clone(), Unreadable::REASON, message.as_str());
    }
    let mut rules = Rules::default();
    ingress::rules(&mut ctx, &mut rules);
    stream::rules(&mut ctx, &mut rules);
    gateway::rules(&mut ctx, &mut rules);
    let config = assemble(&mut ctx, rules);
    Translation { config, outcomes: ctx.outcomes.finish(), idle: ctx.idle }
}

/// Makes the configuration of what the sources wrote down.
fn assemble<'a>(ctx: &mut Context<'a>, rules: Rules<'a>) -> Document {
    let Rules { services: rules, tls, backend_tls } = rules;
    let mut known = BTreeSet::new();
    let mut services: Vec<Assembled<'a>> = Vec::with_capacity(rules.len());
    let mut upstreams: Vec<Upstream> = Vec::with_capacity(rules.len());
    for rule in rules.into_values() {
        let (service, upstream) = services::assemble(ctx, rule, &backend_tls, &mut known);
        services.extend(service);
        upstreams.extend(upstream);
    }
    for service in &mut services {
        for rule in &mut service.routes {
            overrides::apply(ctx, rule);
        }
    }
    let consumers = consumers::consumers(ctx);
    let (mut plugins, attachments) = plugins::plugins(ctx, &services, &consumers);
    let mut custom = custom::entities(ctx, &services, &attachments);
    let licenses = custom::licenses(ctx);
    if !licenses.is_empty() {
        custom.insert("licenses".into(), licenses);
    }
    let listeners = gateway::certificates(ctx);
    let mut clients: Vec<_> = services.iter().filter_map(|s| s.client_certificate).collect();
    clients.extend(gateway::frontend::client_certificates(ctx));
    let certificates = certificates::certificates(ctx, tls, listeners, clients.into_iter());
    for service in &mut services {
        let id = service.client_certificate.and_then(|secret| certificates.id_of(secret));
        if let Some(id) = id {
            services::set_certificate(&mut service.service, id);
        }
    }
    plugins.extend(gateway::frontend::plugin(ctx, |secret| certificates.id_of(secret)));
    let ca_certificates = certificates::authorities(ctx);
    let (consumers, consumer_groups, consumer_group_consumers) = consumers.entities();
    let mut document = Document {
        services: services.into_iter().map(|service| finish(ctx, service)).collect(),
        upstreams,
        plugins,
        consumers,
        consumer_groups,
        consumer_group_consumers,
        certificates: certificates.certificates,
        ca_certificates,
        vaults: custom::vaults(ctx),
        custom,
        ..Document::default()
    };
    fill_empty(&mut document);
    document
}

/// Nests routes in their service and gives both their ids.
fn finish(ctx: &Context<'_>, assembled: Assembled<'_>) -> Service {
    let Assembled { mut service, backends: _, routes, client_certificate: _ } = assembled;
    let ids = ctx.options.on(Gate::FillIds);
    let id = |named: Named, name: &Option<String>| {
        name.as_deref().filter(|_| ids).map(|name| names::id(named, name))
    };
    service.id = id(Named::Service, &service.name);
    service.routes = routes
        .into_iter()
        .map(|rule| {
            let mut route = rule.route;
            route.id = id(Named::Route, &route.name);
            route.plugins = rule.plugins;
            route
        })
        .collect();
    service
}

/// Kong is not ready before it holds something: an empty configuration gets an upstream nobody uses.
fn fill_empty(document: &mut Document) {
    if *document == Document::default() {
        document.upstreams = vec![Upstream { name: Some("kong".into()), ..Upstream::default() }];
    }
}
