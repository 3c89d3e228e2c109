//! KongPlugin and KongClusterPlugin: who refers to which plugin, and what comes of it.
//!
//! A plugin that is named by several things is emitted once for each combination: a consumer with
//! each service and each route, or a consumer group with them, or each service and route alone.

mod closed;
mod config;

use std::collections::{BTreeMap, BTreeSet};

use kong::model::{Plugin, Reference};
use operator_api::kong::{KongClusterPlugin, KongPlugin, plugin::Ordering};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::Context;
use super::consumers::Consumers;
use super::rules::Origin;
use super::services::Assembled;
use crate::annotations;
use crate::names;
use crate::object::{Kind, Object as _, ObjectRef};
use crate::options::Gate;
use crate::outcome::Reason;
use crate::snapshot::GrantFrom;
pub(super) use closed::{Place, places};

/// The annotation that names plugins.
const PLUGINS: &str = "konghq.com/plugins";

/// Where a plugin is looked for: a namespace and a name.
pub(super) type Key<'a> = (&'a str, &'a str);

/// Something that a plugin is attached to: its key in Kong, and the object that says so.
#[derive(Clone, Debug)]
pub(super) struct Attached<'a> {
    pub(super) key: String,
    pub(super) origin: Origin<'a>,
}

/// Everything that one plugin is attached to.
#[derive(Debug, Default)]
pub(super) struct Relations<'a> {
    pub(super) services: Vec<Attached<'a>>,
    pub(super) routes: Vec<Attached<'a>>,
    pub(super) consumers: Vec<Attached<'a>>,
    pub(super) groups: Vec<Attached<'a>>,
}

impl<'a> Relations<'a> {
    /// Whether it is attached to nothing.
    pub(super) fn is_empty(&self) -> bool {
        let Self { services, routes, consumers, groups } = self;
        [services, routes, consumers, groups].into_iter().all(Vec::is_empty)
    }

    fn extend(&mut self, other: &Self) {
        let Self { services, routes, consumers, groups } = other;
        self.services.extend_from_slice(services);
        self.routes.extend_from_slice(routes);
        self.consumers.extend_from_slice(consumers);
        self.groups.extend_from_slice(groups);
    }
}

/// One use of a plugin.
#[derive(Clone, Copy, Debug, Default)]
struct Use<'r, 'a> {
    service: Option<&'r Attached<'a>>,
    route: Option<&'r Attached<'a>>,
    consumer: Option<&'r Attached<'a>>,
    group: Option<&'r Attached<'a>>,
}

impl<'r, 'a> Use<'r, 'a> {
    /// Everything that takes part.
    fn attached(&self) -> impl Iterator<Item = &'r Attached<'a>> + use<'r, 'a> {
        [self.service, self.route, self.consumer, self.group].into_iter().flatten()
    }

    /// Writes down what the plugin is attached to.
    fn place(&self, plugin: &mut Plugin) {
        let Self { service, route, consumer, group } = *self;
        let reference = |attached: Option<&Attached<'a>>| {
            attached.map(|attached| Reference::from(attached.key.as_str()))
        };
        plugin.service = reference(service);
        plugin.route = reference(route);
        plugin.consumer = reference(consumer);
        plugin.consumer_group = reference(group);
    }
}

/// Where plugins ended up, for entities that hang on them: plugin → services and routes.
#[derive(Debug, Default)]
pub(super) struct Attachments<'a> {
    pub(super) relations: BTreeMap<Key<'a>, Relations<'a>>,
}

/// Which plugin's attachments are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'w> {
    /// That of a namespace, by name.
    Namespaced(&'w str, &'w str),
    /// That of the cluster, by name, wherever it is named.
    Cluster(&'w str),
}

impl Attachments<'_> {
    /// The names of Kong services and of routes that the plugin is attached to.
    pub(super) fn matching(&self, wanted: Wanted<'_>) -> Vec<(Vec<&str>, Vec<&str>)> {
        let fits = |(namespace, name): &Key<'_>| match wanted {
            Wanted::Namespaced(own, wanted) => (own, wanted) == (*namespace, *name),
            Wanted::Cluster(wanted) => wanted == *name,
        };
        let found = self.relations.iter().filter(|(key, _)| fits(key));
        found
            .map(|(_, relations)| {
                (
                    relations.services.iter().map(|attached| attached.key.as_str()).collect(),
                    relations.routes.iter().map(|attached| attached.key.as_str()).collect(),
                )
            })
            .collect()
    }
}

/// What comes of one name of a plugin.
pub(super) struct Made {
    /// The entities, one for each use.
    pub(super) plugins: Vec<Plugin>,
    /// Whether everything that names it has to be closed.
    pub(super) closes: bool,
}

/// Emits a plugin, once for each use.
pub(super) fn one<'a>(
    ctx: &mut Context<'a>,
    (namespace, name): (&str, &str),
    relations: &Relations<'a>,
) -> Made {
    let uses = combinations(relations);
    let mut plugins = Vec::new();
    let Some(definition) = find(ctx, namespace, name) else {
        let message = format!("referenced KongPlugin or KongClusterPlugin {name:?} does not exist");
        for attached in uses.iter().flat_map(Use::attached) {
            ctx.outcomes.fail(attached.origin.reference(), Reason::RefNotFound, message.as_str());
        }
        return Made { plugins, closes: true };
    };
    let read = emit(ctx, &definition, &uses, &mut plugins);
    Made { plugins, closes: !read && closed::guards(definition.plugin) }
}

/// Emits all plugins that are attached to something, and the global ones.
pub(super) fn plugins<'a>(
    ctx: &mut Context<'a>,
    mut found: Found<'a>,
    consumers: &Consumers<'a>,
) -> (Vec<Plugin>, Attachments<'a>) {
    found.add_consumers(ctx, consumers);
    let Found { all: relations, forbidden } = found;
    let mut plugins = Vec::new();
    let mut closing = Vec::new();
    for (key, relations) in &relations {
        let made = one(ctx, *key, relations);
        plugins.extend(made.plugins);
        closing.extend(Some(relations).filter(|_| made.closes));
    }
    unreferenced(ctx, &relations);
    let names = relations.keys().map(|(_, name)| *name).collect();
    let taken = places(&plugins);
    plugins.extend(rest(ctx, &names, (&closing, &forbidden), taken));
    distinguish(&mut plugins);
    (plugins, Attachments { relations })
}

/// What comes of all plugins together: answers in place of missing ones, and plugins of the cluster that nothing names.
pub(super) fn rest<'a>(
    ctx: &mut Context<'a>,
    names: &BTreeSet<&str>,
    (closing, forbidden): (&[&Relations<'a>], &Relations<'a>),
    taken: BTreeSet<Place>,
) -> Vec<Plugin> {
    let mut plugins = Vec::new();
    of_cluster_unreferenced(ctx, names);
    let mut closed = closed::Closed::default();
    for relations in closing {
        closed.add(&combinations(relations));
    }
    closed.add(&singles(forbidden));
    closed.emit(ctx, taken, &mut plugins);
    global(ctx, &mut plugins);
    plugins
}

/// Tells plugins of namespaces that nothing refers to.
fn unreferenced(ctx: &mut Context<'_>, used: &BTreeMap<Key<'_>, Relations<'_>>) {
    // Both are ordered by namespace and name.
    let mut keys = used.keys().peekable();
    for plugin in &ctx.snapshot.kong_plugins {
        let key = (plugin.namespace(), plugin.name());
        while keys.next_if(|used| **used < key).is_some() {}
        if keys.peek() != Some(&&key) {
            idle(ctx, &of_namespace(plugin));
        }
    }
}

/// Tells plugins of the cluster whose name nothing refers to.
fn of_cluster_unreferenced(ctx: &mut Context<'_>, names: &BTreeSet<&str>) {
    for plugin in &ctx.snapshot.kong_cluster_plugins {
        let global = plugin.label("global") == Some("true");
        if ctx.class.serves(&**plugin) && !global && !names.contains(plugin.name()) {
            idle(ctx, &of_cluster(plugin));
        }
    }
}

/// Tells a plugin of a namespace that nothing refers to it.
pub(super) fn unused(ctx: &mut Context<'_>, plugin: &KongPlugin) {
    idle(ctx, &of_namespace(plugin));
}

/// Tells a plugin that nothing refers to it, or what is wrong with it all the same.
fn idle(ctx: &mut Context<'_>, definition: &Definition<'_>) {
    let reference = definition.origin.reference();
    match definition.config.read(ctx, &reference) {
        Ok(config) => {
            ctx.outcomes.ignore(reference, "nothing refers to it");
            ctx.idle.push(bare(definition, config));
        }
        Err((reason, message)) => ctx.outcomes.fail(reference, reason, message),
    }
}

/// All relations, by plugin; and what names a plugin that it may not use.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    pub(super) all: BTreeMap<Key<'a>, Relations<'a>>,
    pub(super) forbidden: Relations<'a>,
}

impl<'a> Found<'a> {
    /// Adds what was found elsewhere.
    pub(super) fn extend(&mut self, other: &Self) {
        for (key, relations) in &other.all {
            self.all.entry(*key).or_default().extend(relations);
        }
        self.forbidden.extend(&other.forbidden);
    }

    /// Adds what a service, its backends and its routes name.
    pub(super) fn add_service(&mut self, ctx: &mut Context<'a>, service: &Assembled<'a>) {
        let key = service.service.name.as_deref().unwrap_or_default();
        for resolved in &service.backends {
            let named = named(ctx, resolved.origin);
            self.add(named, (key, resolved.origin), |relations| &mut relations.services);
        }
        for route in &service.routes {
            let key = route.route.name.as_deref().unwrap_or_default();
            let mut named = named(ctx, route.origin);
            let namespace = route.origin.namespace();
            named.extend(route.extensions.iter().map(|name| Named::Usable((namespace, *name))));
            self.add(named, (key, route.origin), |relations| &mut relations.routes);
        }
    }

    /// Adds what consumers and their groups name.
    pub(super) fn add_consumers(&mut self, ctx: &mut Context<'a>, consumers: &Consumers<'a>) {
        for (key, origin) in consumers.keys() {
            let named = named(ctx, origin);
            self.add(named, (&key, origin), |relations| &mut relations.consumers);
        }
        for (key, origin) in consumers.groups() {
            let named = named(ctx, origin);
            self.add(named, (&key, origin), |relations| &mut relations.groups);
        }
    }

    fn add(
        &mut self,
        named: Vec<Named<'a>>,
        (key, origin): (&str, Origin<'a>),
        place: impl for<'r> Fn(&'r mut Relations<'a>) -> &'r mut Vec<Attached<'a>>,
    ) {
        for named in named {
            let relations = match named {
                Named::Usable(plugin) => self.all.entry(plugin).or_default(),
                Named::Forbidden => &mut self.forbidden,
            };
            place(relations).push(Attached { key: key.to_owned(), origin });
        }
    }
}

/// A plugin that an annotation names.
enum Named<'a> {
    /// One that may be used.
    Usable(Key<'a>),
    /// One of another namespace that grants nothing.
    Forbidden,
}

/// The plugins that the annotation of `origin` names. Those of its own namespace need no grant.
fn named<'a>(ctx: &mut Context<'a>, origin: Origin<'a>) -> Vec<Named<'a>> {
    let Some(value) = origin.annotation(PLUGINS) else { return Vec::new() };
    let mut found = Vec::new();
    for item in annotations::list(value) {
        let Some((namespace, name)) = item.split_once(':') else {
            found.push(Named::Usable((origin.namespace(), item)));
            continue;
        };
        let from = GrantFrom { kind: origin.kind, namespace: origin.namespace() };
        let granted = namespace == origin.namespace()
            || ctx.snapshot.granted(from, Kind::KongPlugin, namespace, name);
        if granted && !name.contains(':') {
            found.push(Named::Usable((namespace, name)));
            continue;
        }
        let message = format!(
            "no grant found to referenced {item:?} plugin in the requested remote KongPlugin bind"
        );
        ctx.outcomes.fail(origin.reference(), Reason::RefNotPermitted, message);
        found.push(Named::Forbidden);
    }
    found
}

/// Each thing alone.
fn singles<'r, 'a>(relations: &'r Relations<'a>) -> Vec<Use<'r, 'a>> {
    let Relations { services, routes, consumers, groups } = relations;
    let services = services.iter().map(|one| Use { service: Some(one), ..Use::default() });
    let routes = routes.iter().map(|one| Use { route: Some(one), ..Use::default() });
    let consumers = consumers.iter().map(|one| Use { consumer: Some(one), ..Use::default() });
    let groups = groups.iter().map(|one| Use { group: Some(one), ..Use::default() });
    services.chain(routes).chain(consumers).chain(groups).collect()
}

fn combinations<'r, 'a>(relations: &'r Relations<'a>) -> Vec<Use<'r, 'a>> {
    let Relations { services, routes, consumers, groups } = relations;
    let who: Vec<Use<'r, 'a>> = if !consumers.is_empty() {
        consumers
            .iter()
            .map(|consumer| Use { consumer: Some(consumer), ..Use::default() })
            .collect()
    } else if !groups.is_empty() {
        groups.iter().map(|group| Use { group: Some(group), ..Use::default() }).collect()
    } else {
        vec![Use::default()]
    };
    let mut uses = Vec::new();
    for who in who {
        if services.is_empty() && routes.is_empty() {
            uses.push(who);
        }
        uses.extend(services.iter().map(|service| Use { service: Some(service), ..who }));
        uses.extend(routes.iter().map(|route| Use { route: Some(route), ..who }));
    }
    uses
}

/// A plugin as either kind defines it.
struct Definition<'a> {
    origin: Origin<'a>,
    plugin: &'a str,
    disabled: Option<bool>,
    protocols: Option<&'a Vec<String>>,
    run_on: Option<&'a String>,
    ordering: Option<&'a Ordering>,
    instance_name: Option<&'a str>,
    config: config::Source<'a>,
}

fn of_namespace(plugin: &KongPlugin) -> Definition<'_> {
    Definition {
        origin: Origin::of(plugin),
        plugin: &plugin.plugin,
        disabled: plugin.disabled,
        protocols: plugin.protocols.as_ref(),
        run_on: plugin.run_on.as_ref(),
        ordering: plugin.ordering.as_ref(),
        instance_name: plugin.instance_name.as_deref(),
        config: config::Source::of_namespace(plugin),
    }
}

fn of_cluster(plugin: &KongClusterPlugin) -> Definition<'_> {
    Definition {
        origin: Origin::of(plugin),
        plugin: &plugin.plugin,
        disabled: plugin.disabled,
        protocols: plugin.protocols.as_ref(),
        run_on: plugin.run_on.as_ref(),
        ordering: plugin.ordering.as_ref(),
        instance_name: plugin.instance_name.as_deref(),
        config: config::Source::of_cluster(plugin),
    }
}

/// Finds a plugin; one of the namespace goes before one of the cluster.
fn find<'a>(ctx: &Context<'a>, namespace: &str, name: &str) -> Option<Definition<'a>> {
    if let Some(plugin) = ctx.find(|all| &all.kong_plugins, namespace, name) {
        return Some(of_namespace(plugin));
    }
    let plugin = ctx.find(|all| &all.kong_cluster_plugins, "", name)?;
    ctx.class.serves(&**plugin).then(|| of_cluster(plugin))
}

/// The entity that a definition makes, before it is attached to anything.
fn entity<'a>(ctx: &mut Context<'a>, definition: &Definition<'a>) -> Option<Plugin> {
    let reference = definition.origin.reference();
    let config: Map<String, Value> = match definition.config.read(ctx, &reference) {
        Ok(config) => config,
        Err((reason, message)) => {
            ctx.outcomes.fail(reference, reason, message);
            return None;
        }
    };
    ctx.outcomes.configured(definition.origin);
    Some(bare(definition, config))
}

/// A definition as an entity.
fn bare(definition: &Definition<'_>, config: Map<String, Value>) -> Plugin {
    Plugin {
        name: Some(definition.plugin.to_owned()),
        config: Some(config).filter(|config| !config.is_empty()),
        enabled: definition.disabled.filter(|disabled| *disabled).map(|disabled| !disabled),
        protocols: definition.protocols.filter(|all| !all.is_empty()).cloned(),
        run_on: definition.run_on.filter(|text| !text.is_empty()).cloned(),
        ordering: definition.ordering.and_then(|ordering| serde_json::to_value(ordering).ok()),
        instance_name: definition.instance_name.filter(|n| !n.is_empty()).map(str::to_owned),
        tags: Some(names::tags(definition.origin)),
        ..Plugin::default()
    }
}

/// Emits a plugin for each use; says whether it could be read.
fn emit<'a>(
    ctx: &mut Context<'a>,
    definition: &Definition<'a>,
    uses: &[Use<'_, 'a>],
    plugins: &mut Vec<Plugin>,
) -> bool {
    let Some(entity) = entity(ctx, definition) else { return false };
    let Some((last, others)) = uses.split_last() else { return true };
    for used in others {
        plugins.push(attach(ctx, entity.clone(), used));
    }
    plugins.push(attach(ctx, entity, last));
    true
}

/// Attaches a plugin to what one use names.
fn attach(ctx: &Context<'_>, mut plugin: Plugin, used: &Use<'_, '_>) -> Plugin {
    used.place(&mut plugin);
    if let Some(given) = plugin.instance_name.take() {
        plugin.instance_name = Some(format!("{given}-{}", &digest(&plugin)[..9]));
    }
    identify(ctx, &mut plugin);
    plugin
}

fn text(reference: Option<&Reference>) -> Option<&str> {
    reference.map(Reference::as_str)
}

/// A digest of what a plugin is attached to.
fn digest(plugin: &Plugin) -> String {
    let parts = [
        ("service", text(plugin.service.as_ref())),
        ("route", text(plugin.route.as_ref())),
        ("consumer", text(plugin.consumer.as_ref())),
        ("group", text(plugin.consumer_group.as_ref())),
    ];
    let mut key = String::new();
    for (part, name) in parts {
        if let Some(name) = name {
            key.push_str(&format!("_{part}-{name}"));
        }
    }
    hex::encode(Sha256::digest(key.as_bytes()))
}

/// Lengthens the digest where the short one gives two plugins one name.
pub(super) fn distinguish<'p>(plugins: impl IntoIterator<Item = &'p mut Plugin>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for plugin in plugins {
        let Some(name) = plugin.instance_name.clone() else { continue };
        if !seen.insert(name.clone()) && name.len() > 9 {
            let full = format!("{}{}", &name[..name.len() - 9], digest(plugin));
            seen.insert(full.clone());
            plugin.instance_name = Some(full);
        }
    }
}

fn identify(ctx: &Context<'_>, plugin: &mut Plugin) {
    let Some(name) = plugin.name.as_deref().filter(|name| !name.is_empty()) else { return };
    if !ctx.options.on(Gate::FillIds) {
        return;
    }
    let parts = [
        ("service", text(plugin.service.as_ref())),
        ("route", text(plugin.route.as_ref())),
        ("consumer", text(plugin.consumer.as_ref())),
        ("consumer_group", text(plugin.consumer_group.as_ref())),
    ];
    let mut key = name.to_owned();
    for (part, name) in parts {
        if let Some(name) = name {
            key.push_str(&format!(":{part}/{name}"));
        }
    }
    plugin.id = Some(names::id(names::Named::Plugin, &key));
}

/// Emits KongClusterPlugins that apply to all traffic; of two for one plugin the oldest.
fn global<'a>(ctx: &mut Context<'a>, plugins: &mut Vec<Plugin>) {
    let mut taken: BTreeMap<&'a str, ObjectRef> = BTreeMap::new();
    for plugin in ctx.snapshot.kong_cluster_plugins.oldest_first() {
        let plugin: &'a KongClusterPlugin = plugin;
        if plugin.label("global") != Some("true") || !ctx.class.serves(plugin) {
            continue;
        }
        if let Some(winner) = taken.get(plugin.plugin.as_str()) {
            let message = format!(
                "{winner} is older and makes the plugin {:?} global already",
                plugin.plugin
            );
            ctx.outcomes.fail(plugin.reference(), Reason::Conflicted, message);
            continue;
        }
        taken.insert(&plugin.plugin, plugin.reference());
        if let Some(mut entity) = entity(ctx, &of_cluster(plugin)) {
            identify(ctx, &mut entity);
            plugins.push(entity);
        }
    }
}
