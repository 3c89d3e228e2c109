//! Which plugins run for a request, decided when a configuration is built and not when a request comes.
//!
//! For each pair of route and service there is one [`Plan`], shared by all routes that have no plugins of their own. In
//! it each plugin name has one slot: of all its instances only the most specific runs, in Kong's eight levels. Levels
//! with a consumer are settled at the moment when the slot's turn comes in `access`, so after authentication.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kong::schema::plugin::flotilla_listeners;
use serde_json::Value;

use super::directory::{Entities, reference};
use super::registry::{Definition, definition};
use super::tracing::Stopwatch;
use super::{Access, BuildError, Config, Context, Directory, Flow, Phases, Plugin};
use crate::answer::Answer;
use crate::exchange::Exchange;

/// A built plugin with where it applies.
struct Instance {
    definition: &'static Definition,
    plugin: Box<dyn Plugin>,
    route: Option<Box<str>>,
    service: Option<Box<str>>,
    consumer: Option<Box<str>>,
}

impl Instance {
    /// Kong's order of precedence among instances of one plugin.
    fn level(&self) -> u8 {
        match (self.route.is_some(), self.service.is_some(), self.consumer.is_some()) {
            (true, true, true) => 7,
            (true, false, true) => 6,
            (false, true, true) => 5,
            (true, true, false) => 4,
            (false, false, true) => 3,
            (true, false, false) => 2,
            (false, true, false) => 1,
            (false, false, false) => 0,
        }
    }
}

/// All plugins of a configuration.
pub struct Plugins {
    instances: Vec<Arc<Instance>>,
    by_route: HashMap<Box<str>, Vec<usize>>,
    by_service: HashMap<Box<str>, Vec<usize>>,
    unbound: Vec<usize>,
    plans: HashMap<(Option<Box<str>>, Option<Box<str>>), Arc<Plan>>,
    directory: Arc<Directory>,
    /// The names of enabled plugins that run elsewhere: on streams, where these are for requests, or the other way.
    elsewhere: BTreeSet<String>,
    stopwatch: Option<Stopwatch>,
}

/// Plugins that run on streams: they look at who asks, or tell afterwards.
const ON_STREAMS: [&str; 13] = [
    "datadog",
    "file-log",
    "http-log",
    "ip-restriction",
    "loggly",
    "post-function",
    "pre-function",
    "prometheus",
    "statsd",
    "syslog",
    "tcp-log",
    "udp-log",
    "zipkin",
];

impl Plugins {
    /// Builds every enabled plugin of a configuration that runs for requests.
    ///
    /// # Errors
    /// A plugin cannot be run by this gateway.
    pub fn build(entities: &dyn Entities, context: &Context) -> Result<Self, BuildError> {
        let directory = Arc::new(Directory::build(entities));
        Self::of(entities, context, directory, serves_http)
    }

    /// Builds every enabled plugin of the same configuration that runs for streams.
    ///
    /// # Errors
    /// A plugin cannot be run by this gateway.
    pub fn for_streams(
        &self,
        entities: &dyn Entities,
        context: &Context,
    ) -> Result<Self, BuildError> {
        Self::of(entities, context, Arc::clone(&self.directory), serves_streams)
    }

    fn of(
        entities: &dyn Entities,
        context: &Context,
        directory: Arc<Directory>,
        serves: fn(&Value) -> bool,
    ) -> Result<Self, BuildError> {
        let mut plugins = Self {
            instances: Vec::new(),
            by_route: HashMap::new(),
            by_service: HashMap::new(),
            unbound: Vec::new(),
            plans: HashMap::new(),
            directory,
            elsewhere: BTreeSet::new(),
            stopwatch: Stopwatch::of(context.tracing.as_ref(), &context.services),
        };
        for entity in entities.of("plugins") {
            let entity = &entity.value();
            // What listeners say runs for no request: the table holds it.
            if entity.get("name").and_then(Value::as_str) == Some(flotilla_listeners::NAME) {
                continue;
            }
            if entity.get("enabled").and_then(Value::as_bool) == Some(false) {
                continue;
            }
            if serves(entity) {
                plugins.add(entity, context)?;
            } else {
                let name = entity.get("name").and_then(Value::as_str).unwrap_or_default();
                plugins.elsewhere.insert(name.to_owned());
            }
        }
        Ok(plugins)
    }

    fn add(&mut self, entity: &Value, context: &Context) -> Result<(), BuildError> {
        let name = entity.get("name").and_then(Value::as_str).unwrap_or_default();
        let definition =
            definition(name).ok_or_else(|| BuildError::Unsupported(name.to_owned()))?;
        let resolved = resolved(name, entity, context);
        let config = Config {
            id: entity.get("id").and_then(Value::as_str).unwrap_or_default(),
            config: resolved.as_ref().or(entity.get("config")).unwrap_or(&Value::Null),
            route: reference(entity, "route"),
            service: reference(entity, "service"),
            directory: &self.directory,
            context,
        };
        let instance = Instance {
            definition,
            plugin: (definition.build)(&config)?,
            route: reference(entity, "route").map(Into::into),
            service: reference(entity, "service").map(Into::into),
            consumer: reference(entity, "consumer").map(Into::into),
        };
        let at = self.instances.len();
        match (&instance.route, &instance.service) {
            (Some(route), _) => self.by_route.entry(route.clone()).or_default().push(at),
            (None, Some(service)) => self.by_service.entry(service.clone()).or_default().push(at),
            (None, None) => self.unbound.push(at),
        }
        self.instances.push(Arc::new(instance));
        Ok(())
    }

    /// The consumers and credentials.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Whether any enabled plugin has this name, whatever it runs for.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.elsewhere.contains(name)
            || self.instances.iter().any(|instance| instance.definition.name == name)
    }

    /// What runs for a request that no route took: plugins without a scope.
    pub fn unmatched(&mut self) -> Arc<Plan> {
        self.plan(None, None)
    }

    /// What runs for a route and its service. Call it while compiling: equal answers share one plan.
    pub fn plan(&mut self, route: Option<&str>, service: Option<&str>) -> Arc<Plan> {
        let of_route = route.and_then(|id| self.by_route.get_key_value(id));
        let of_service = service.and_then(|id| self.by_service.get_key_value(id));
        // A plugin of the route may name the service too, so the service is part of the key whenever the route is.
        let key = (
            of_route.map(|(id, _)| id.clone()),
            of_service.map(|(id, _)| id.clone()).or_else(|| of_route.and(service).map(Into::into)),
        );
        if let Some(plan) = self.plans.get(&key) {
            return Arc::clone(plan);
        }
        let found =
            of_route.into_iter().chain(of_service).flat_map(|(_, list)| list).chain(&self.unbound);
        let instances = found.map(|at| &self.instances[*at]).filter(|instance| {
            instance.service.is_none() || instance.service.as_deref() == service
        });
        let plan = Arc::new(Plan { stopwatch: self.stopwatch.clone(), ..Plan::of(instances) });
        self.plans.insert(key, Arc::clone(&plan));
        plan
    }
}

/// The configuration with its secrets, where it refers to any.
fn resolved(name: &str, entity: &Value, context: &Context) -> Option<Value> {
    let config = entity.get("config")?;
    if kong::vault::references(config).is_empty() {
        return None;
    }
    let schema = kong::schema::plugin::plugin(name)?;
    let mut whole = serde_json::json!({ "config": config });
    kong::vault::resolve(&schema.record, &mut whole, &|reference| context.secrets.get(reference));
    whole.get_mut("config").map(Value::take)
}

/// An empty list of protocols is taken as all of them; otherwise only the difference between HTTP and streams counts.
fn serves_http(entity: &Value) -> bool {
    let protocols = super::texts(entity.get("protocols"));
    protocols.is_empty()
        || protocols.iter().any(|protocol| {
            matches!(protocol.as_str(), "http" | "https" | "grpc" | "grpcs" | "ws" | "wss")
        })
}

/// Whether a plugin takes part in streams, and can.
fn serves_streams(entity: &Value) -> bool {
    let name = entity.get("name").and_then(Value::as_str).unwrap_or_default();
    let protocols = super::texts(entity.get("protocols"));
    let streams = ["tcp", "tls", "tls_passthrough", "udp"];
    ON_STREAMS.contains(&name)
        && (protocols.is_empty() || protocols.iter().any(|one| streams.contains(&one.as_str())))
}

/// Instances picked because of the consumer, by slot.
#[derive(Default)]
pub struct Chosen(Vec<(usize, Option<Arc<Instance>>)>);

/// One plugin name's place in a plan.
struct Slot {
    definition: &'static Definition,
    plain: Option<Arc<Instance>>,
    by_consumer: HashMap<Box<str>, Arc<Instance>>,
}

impl Slot {
    fn choose(&self, exchange: &Exchange) -> Option<&Arc<Instance>> {
        let consumer = exchange.identity.consumer.as_ref();
        consumer.and_then(|consumer| self.by_consumer.get(&consumer.id)).or(self.plain.as_ref())
    }

    fn chosen<'a>(&'a self, at: usize, chosen: &'a Chosen) -> Option<&'a Arc<Instance>> {
        if self.by_consumer.is_empty() {
            return self.plain.as_ref();
        }
        chosen
            .0
            .iter()
            .find(|(slot, _)| *slot == at)
            .map_or(self.plain.as_ref(), |(_, instance)| instance.as_ref())
    }
}

/// The plugins of one route, in the order in which they run.
#[derive(Default)]
pub struct Plan {
    slots: Vec<Slot>,
    phases: u8,
    stopwatch: Option<Stopwatch>,
}

impl Plan {
    fn of<'a>(instances: impl Iterator<Item = &'a Arc<Instance>>) -> Self {
        let mut slots: BTreeMap<(std::cmp::Reverse<i64>, &'static str), Slot> = BTreeMap::new();
        for instance in instances {
            let definition = instance.definition;
            let slot = slots
                .entry((std::cmp::Reverse(definition.priority), definition.name))
                .or_insert_with(|| Slot { definition, plain: None, by_consumer: HashMap::new() });
            match &instance.consumer {
                None => {
                    if slot.plain.as_ref().is_none_or(|kept| kept.level() <= instance.level()) {
                        slot.plain = Some(Arc::clone(instance));
                    }
                }
                Some(consumer) => {
                    if slot
                        .by_consumer
                        .get(consumer)
                        .is_none_or(|kept| kept.level() <= instance.level())
                    {
                        slot.by_consumer.insert(consumer.clone(), Arc::clone(instance));
                    }
                }
            }
        }
        let slots: Vec<Slot> = slots
            .into_values()
            .map(|mut slot| {
                let plain = slot.plain.as_ref().map(|instance| instance.level());
                slot.by_consumer
                    .retain(|_, instance| plain.is_none_or(|plain| plain < instance.level()));
                slot
            })
            .collect();
        let phases = slots.iter().fold(0, |phases, slot| phases | slot.definition.phases.0);
        Self { slots, phases, stopwatch: None }
    }

    /// Whether nothing runs at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether anything runs in a phase.
    #[must_use]
    pub fn has(&self, phase: Phases) -> bool {
        Phases(self.phases).has(phase)
    }

    /// Runs `rewrite` until a plugin answers.
    pub fn rewrite(&self, exchange: &mut Exchange) -> Option<Box<Answer>> {
        for slot in self.slots.iter().filter(|slot| slot.definition.phases.has(Phases::REWRITE)) {
            let Some(instance) = &slot.plain else { continue };
            let began = self.stopwatch.as_ref().map(Stopwatch::now);
            let answer = instance.plugin.rewrite(exchange);
            self.note(exchange, ("rewrite", slot.definition.name), began);
            if answer.is_some() {
                return answer;
            }
        }
        None
    }

    /// Runs `access` until a plugin answers, and settles what runs later for the consumer that was found.
    pub async fn access(&self, exchange: &mut Exchange) -> Flow {
        let mut answer = None;
        for (at, slot) in self.slots.iter().enumerate() {
            let Some(instance) = slot.choose(exchange) else { continue };
            if !slot.by_consumer.is_empty() {
                exchange.chosen.0.push((at, Some(Arc::clone(instance))));
            }
            if answer.is_some() || !slot.definition.phases.has(Phases::ACCESS) {
                continue;
            }
            let began = self.stopwatch.as_ref().map(Stopwatch::now);
            let flow = match instance.plugin.access(exchange) {
                Access::Continue => Flow::Continue,
                Access::Respond(answer) => Flow::Respond(answer),
                Access::Later(later) => later.await,
            };
            self.note(exchange, ("access", slot.definition.name), began);
            if let Flow::Respond(given) = flow {
                answer = Some(given);
            }
        }
        answer.map_or(Flow::Continue, |answer| Flow::respond(answer.told_to(exchange)))
    }

    fn note(
        &self,
        exchange: &mut Exchange,
        what: (&'static str, &'static str),
        began: Option<Duration>,
    ) {
        if let (Some(stopwatch), Some(began)) = (&self.stopwatch, began) {
            stopwatch.note(exchange, what, began);
        }
    }

    /// Runs `header_filter`; body filters are left in the exchange's response.
    pub fn header_filter(&self, exchange: &mut Exchange) {
        self.each(exchange, Phases::HEADER_FILTER, |plugin, exchange| {
            plugin.header_filter(exchange);
        });
    }

    /// Runs `log`.
    pub fn log(&self, exchange: &mut Exchange) {
        self.each(exchange, Phases::LOG, |plugin, exchange| plugin.log(exchange));
    }

    fn each(
        &self,
        exchange: &mut Exchange,
        phase: Phases,
        run: impl Fn(&dyn Plugin, &mut Exchange),
    ) {
        if !self.has(phase) {
            return;
        }
        let chosen = std::mem::take(&mut exchange.chosen);
        for (at, slot) in
            self.slots.iter().enumerate().filter(|(_, slot)| slot.definition.phases.has(phase))
        {
            if let Some(instance) = slot.chosen(at, &chosen) {
                let began = self.stopwatch.as_ref().map(Stopwatch::now);
                run(instance.plugin.as_ref(), exchange);
                if phase == Phases::HEADER_FILTER {
                    self.note(exchange, ("header_filter", slot.definition.name), began);
                }
            }
        }
        exchange.chosen = chosen;
    }
}
