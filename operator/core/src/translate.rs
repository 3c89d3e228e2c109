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
mod incremental;
mod ingress;
mod overrides;
mod plugins;
mod reads;
mod rewrite;
mod rules;
mod services;
mod stream;
mod upstreams;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kong::model::{Document, Plugin, Service, Upstream};

use crate::names::{self, Named};
use crate::object::{Kind, Object};
use crate::options::{Gate, Options};
use crate::outcome::{Outcome, Outcomes};
use crate::secret::Secret;
use crate::snapshot::{Objects, Snapshot, Unreadable};
use certificates::Certificates;
use class::Classes;
use gateway::attach::Gateways;
use gateway::{Policies, Ranks};
pub use incremental::{Followed, Incremental};
use plugins::{Attachments, Found};
use reads::Reads;
pub use rules::Origin;
use rules::{Rules, ServiceRule, TlsClaim};
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
    pub(crate) reads: Reads,
    pub(crate) ranks: Ranks,
    pub(crate) options: &'a Options,
    pub(crate) class: Classes,
    pub(crate) outcomes: Outcomes<'a>,
    pub(crate) idle: Vec<Plugin>,
    gateways: OnceCell<Rc<Gateways<'a>>>,
}

impl<'a> Context<'a> {
    fn new(snapshot: &'a Snapshot, options: &'a Options) -> Self {
        let class = Classes::of(snapshot, options);
        Self {
            snapshot,
            reads: Reads::default(),
            ranks: Ranks::Unknown,
            options,
            class,
            outcomes: Outcomes::default(),
            idle: Vec::new(),
            gateways: OnceCell::new(),
        }
    }

    /// The Gateways that are ours, judged when they are first asked for.
    pub(crate) fn gateways(&self) -> Rc<Gateways<'a>> {
        let judge = || Rc::new(Gateways::of(self.snapshot, self.options));
        Rc::clone(self.gateways.get_or_init(judge))
    }

    /// Finds an object by name, and remembers that it was looked for.
    pub(crate) fn find<K: Object>(
        &self,
        of: impl FnOnce(&'a Snapshot) -> &'a Objects<K>,
        namespace: &str,
        name: &str,
    ) -> Option<&'a Arc<K>> {
        self.reads.note(K::KIND, namespace, name);
        of(self.snapshot).get(namespace, name)
    }

    /// The EndpointSlices of a Service.
    pub(crate) fn slices_of(&self, namespace: &str, name: &str) -> &'a [Arc<EndpointSlice>] {
        self.reads.note(Kind::EndpointSlice, namespace, name);
        self.snapshot.index().slices_of(namespace, name)
    }
}

/// Translates `snapshot`. Equal arguments give equal results, on any machine.
#[must_use]
pub fn translate(snapshot: &Snapshot, options: &Options) -> Translation {
    let mut ctx = Context::new(snapshot, options);
    unreadable(&mut ctx);
    let mut rules = Rules::default();
    ingress::rules(&mut ctx, &mut rules);
    stream::rules(&mut ctx, &mut rules);
    gateway::rules(&mut ctx, &mut rules);
    let config = assemble(&mut ctx, rules);
    Translation { config, outcomes: ctx.outcomes.finish(), idle: ctx.idle }
}

/// Tells objects that could not be read.
fn unreadable(ctx: &mut Context<'_>) {
    for Unreadable { object, source: _, message } in &ctx.snapshot.unreadable {
        ctx.outcomes.fail(object.clone(), Unreadable::REASON, message.as_str());
    }
}

/// Makes the configuration of what the sources wrote down.
fn assemble<'a>(ctx: &mut Context<'a>, rules: Rules<'a>) -> Document {
    let Rules { services: rules, tls, backend_tls, shares: _ } = rules;
    let mut known = BTreeSet::new();
    let mut services: Vec<Assembled<'a>> = Vec::with_capacity(rules.len());
    let mut upstreams: Vec<Upstream> = Vec::with_capacity(rules.len());
    let mut found = Found::default();
    for rule in rules.into_values() {
        let (service, upstream) = service(ctx, rule, (&backend_tls, &mut known), &mut found);
        services.extend(service);
        upstreams.extend(upstream);
    }
    let consumers = consumers::consumers(ctx);
    let (mut plugins, attachments) = plugins::plugins(ctx, found, &consumers);
    let (consumers, consumer_groups, consumer_group_consumers) = consumers.entities();
    let all: Vec<&Assembled<'a>> = services.iter().collect();
    let others = others(ctx, &all, &attachments);
    let ca_certificates = certificates::authorities(ctx);
    let clients: Vec<_> = services.iter().filter_map(|s| s.client_certificate).collect();
    let certificates = certificates(ctx, tls, clients);
    plugins.extend(gateway::frontend::plugin(ctx, |secret| certificates.id_of(secret)));
    let nested = |one: Assembled<'a>| {
        let certificate = one.client_certificate.and_then(|secret| certificates.id_of(secret));
        finish(ctx, one, certificate)
    };
    let mut document = Document {
        services: services.into_iter().map(nested).collect(),
        upstreams,
        plugins,
        consumers,
        consumer_groups,
        consumer_group_consumers,
        certificates: certificates.certificates,
        ca_certificates,
        ..others
    };
    fill_empty(&mut document);
    document
}

/// Resolves one rule, applies the annotations of its routes, and finds the plugins that it names.
fn service<'a>(
    ctx: &mut Context<'a>,
    rule: ServiceRule<'a>,
    (policies, known): (&Policies<'a>, &mut BTreeSet<String>),
    found: &mut Found<'a>,
) -> (Option<Assembled<'a>>, Option<Upstream>) {
    let (mut service, upstream) = services::assemble(ctx, rule, policies, known);
    if let Some(service) = &mut service {
        for rule in &mut service.routes {
            overrides::apply(ctx, rule);
        }
        found.add_service(ctx, service);
    }
    (service, upstream)
}

/// The entities that stand for themselves: of custom types, licenses, vaults.
fn others<'a>(
    ctx: &mut Context<'a>,
    services: &[&Assembled<'a>],
    attachments: &Attachments<'a>,
) -> Document {
    let mut custom = custom::entities(ctx, services, attachments);
    let licenses = custom::licenses(ctx);
    if !licenses.is_empty() {
        custom.insert("licenses".into(), licenses);
    }
    Document { vaults: custom::vaults(ctx), custom, ..Document::default() }
}

/// The certificates that Ingresses claim, that listeners serve, and that services and Gateways show.
fn certificates<'a>(
    ctx: &mut Context<'a>,
    claims: Vec<TlsClaim<'a>>,
    mut clients: Vec<&'a Secret>,
) -> Certificates {
    let listeners = gateway::certificates(ctx);
    clients.extend(gateway::frontend::client_certificates(ctx));
    certificates::certificates(ctx, claims, listeners, clients.into_iter())
}

/// Nests routes in their service, gives both their ids, and points to the client certificate.
fn finish(ctx: &Context<'_>, assembled: Assembled<'_>, certificate: Option<&str>) -> Service {
    let Assembled { mut service, backends: _, routes, client_certificate: _ } = assembled;
    if let Some(id) = certificate {
        services::set_certificate(&mut service, id);
    }
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
