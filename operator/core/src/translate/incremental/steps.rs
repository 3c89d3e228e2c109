//! The steps of a translation, taken one by one: all of them for a new state, or those that changes ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::{core::v1::Secret, networking::v1::Ingress};
use kong::model::{Plugin, Upstream};

use super::super::gateway::{self, BackendTls, ByService};
use super::super::plugins::{self, Attached, Attachments, Found, Relations};
use super::super::reads::Reads;
use super::super::rules::{Origin, Rules, ServiceRule, TlsClaim};
use super::super::services::Assembled;
use super::super::{Context, certificates, consumers, finish, ingress, others, stream, unreadable};
use super::changes::Changes;
use super::state::{By, Contribution, Emitted, Mention, State, Unit};
use super::{Name, Part, TooMuch, name, pair, print};
use crate::object::{Kind, Object as _, by_age};
use crate::options::Options;
use crate::snapshot::Snapshot;

/// Takes steps over one snapshot.
pub(super) struct Steps<'a, 's> {
    ctx: Context<'a>,
    state: &'s mut State,
}

/// A Kong service that is resolved and not yet printed.
struct Draft<'a> {
    key: Arc<str>,
    host: String,
    assembled: Option<Assembled<'a>>,
    upstream: Option<Upstream>,
    found: Found<'a>,
}

/// A plugin that is not yet printed.
struct Making {
    name: Name,
    plugins: Vec<Plugin>,
    closes: bool,
}

type Services<'a> = BTreeMap<String, ServiceRule<'a>>;

impl<'a, 's> Steps<'a, 's> {
    fn new(state: &'s mut State, snapshot: &'a Snapshot, options: &'a Options) -> Self {
        let reads = Reads::remembered();
        Self { ctx: Context { reads, ..Context::new(snapshot, options) }, state }
    }

    /// Takes every step.
    pub(super) fn whole(snapshot: &'a Snapshot, options: &'a Options) -> State {
        let mut state = State::default();
        let mut steps = Steps::new(&mut state, snapshot, options);
        unreadable(&mut steps.ctx);
        steps.heard(&Part::Unreadable);
        let (Rules { services, tls }, policies) = steps.sources();
        let drafts = steps.drafts(services, &policies);
        let (mut names, _) = steps.consumers();
        steps.others(&drafts);
        let services = drafts.iter().filter_map(|draft| draft.assembled.as_ref());
        let clients = services.filter_map(|service| service.client_certificate).collect();
        steps.certificates(tls, clients);
        names.extend(steps.print(drafts));
        let own = snapshot.kong_plugins.iter();
        names.extend(own.map(|plugin| name(plugin.namespace(), plugin.name())));
        steps.all_plugins(&names);
        state.told.settle();
        state
    }

    /// Takes those steps again that changes ask for. Returns their number.
    pub(super) fn again(
        state: &'s mut State,
        snapshot: &'a Snapshot,
        options: &'a Options,
        changes: Changes,
    ) -> Result<usize, TooMuch> {
        // Entities of custom types hang on services and on plugins.
        if !snapshot.kong_custom_entities.is_empty() {
            return Err(TooMuch);
        }
        let Changes { ingresses, services: mut wanted, mut plugins, .. } = changes;
        let mut steps = Steps::new(state, snapshot, options);
        let closed = steps.state.closes();
        let claims = steps.ingresses(&ingresses, &mut wanted);
        let services = steps.rules_of(&wanted)?;
        steps.keep_to_themselves(&wanted, &services)?;
        let policies = gateway::backend_tls(&mut steps.ctx);
        steps.unheard();
        let drafts = steps.drafts(services, &policies);
        let after: BTreeMap<&Arc<str>, Option<(String, String)>> =
            drafts.iter().map(|draft| (&draft.key, client(draft))).collect();
        let same_client = |key: &Arc<str>| {
            let before = steps.state.units.get(key).and_then(|unit| unit.client.as_ref());
            after.get(key).and_then(Option::as_ref) == before
        };
        if !wanted.iter().all(same_client) {
            return Err(TooMuch);
        }
        let gone: Vec<&Arc<str>> = wanted.iter().filter(|key| !after.contains_key(key)).collect();
        if claims || changes.certificates {
            steps.certificates_again()?;
        }
        let mut forbidden = false;
        if changes.consumers {
            let (names, others) = steps.consumers();
            plugins.extend(names);
            forbidden = others;
        }
        for key in gone {
            plugins.extend(steps.state.set_unit(key, None));
            steps.heard(&Part::Service(Arc::clone(key)));
        }
        plugins.extend(steps.print(drafts));
        let concerns = !plugins.is_empty() || !wanted.is_empty() || forbidden;
        let all = !snapshot.kong_cluster_plugins.is_empty() || closed;
        steps.plugins_again(&plugins, changes.last_plugins || (all && concerns))?;
        state.told.settle();
        Ok(ingresses.len() + wanted.len() + plugins.len())
    }

    /// Ends a step: keeps what it said and read.
    fn heard(&mut self, part: &Part) {
        self.state.told.replace(part, self.ctx.outcomes.take());
        self.state.set_reads(part, self.ctx.reads.take());
        self.ctx.idle.clear();
    }

    /// Ends a step that was taken for its result: what it said and read is known.
    fn unheard(&mut self) {
        self.ctx.outcomes.take();
        self.ctx.reads.take();
    }

    /// The rules of all sources, and the policies of backends.
    fn sources(&mut self) -> (Rules<'a>, ByService<'a, BackendTls<'a>>) {
        let mut rules = Rules::default();
        for ingress in self.ctx.snapshot.ingresses.oldest_first() {
            ingress::one(&mut self.ctx, ingress, &mut rules);
            self.heard(&Part::Ingress(name(ingress.namespace(), ingress.name())));
        }
        self.contributed(&rules);
        let mut defaults = Rules::default();
        ingress::defaults(&mut self.ctx, &mut defaults);
        self.unheard();
        self.foreign_rules(&mut rules);
        let policies = gateway::backend_tls(&mut self.ctx);
        self.heard(&Part::Foreign);
        let foreign = rules.services.iter().filter(|(key, rule)| {
            let mut origins = rule.routes.iter().map(|route| route.origin.kind);
            rule.routes.is_empty()
                || origins.any(|kind| kind != Kind::Ingress)
                || defaults.services.contains_key(*key)
        });
        self.state.foreign = foreign.map(|(key, _)| key.as_str().into()).collect();
        (rules, policies)
    }

    /// Adds what does not come from one Ingress alone.
    fn foreign_rules(&mut self, rules: &mut Rules<'a>) {
        ingress::defaults(&mut self.ctx, rules);
        stream::rules(&mut self.ctx, rules);
        gateway::rules(&mut self.ctx, rules);
    }

    /// Notes which Ingress contributed what.
    fn contributed(&mut self, rules: &Rules<'a>) {
        let of = |origin: Origin<'_>| name(origin.namespace(), origin.name());
        for (key, rule) in &rules.services {
            let key: Arc<str> = key.as_str().into();
            for route in &rule.routes {
                let ingress = of(route.origin);
                let makers = self.state.makers.entry(Arc::clone(&key)).or_default();
                makers.insert(Arc::clone(&ingress));
                let contribution = self.state.ingresses.entry(ingress).or_default();
                contribution.services.insert(Arc::clone(&key));
            }
        }
        for claim in &rules.tls {
            let contribution = self.state.ingresses.entry(of(claim.parent)).or_default();
            let hosts = claim.hosts.iter().map(|host| (*host).to_owned()).collect();
            contribution.claims.push((claim.secret.to_owned(), hosts));
        }
    }

    /// Takes the steps of Ingresses again, and adds the Kong services that they have or had a share in. Returns whether
    /// other certificates are claimed.
    fn ingresses(&mut self, names: &BTreeSet<Name>, wanted: &mut BTreeSet<Arc<str>>) -> bool {
        let mut claims = false;
        for name in names {
            let before = self.state.ingresses.remove(name).unwrap_or_default();
            for key in &before.services {
                let makers = self.state.makers.remove(key).unwrap_or_default();
                let others: BTreeSet<Name> =
                    makers.into_iter().filter(|maker| maker != name).collect();
                if !others.is_empty() {
                    self.state.makers.insert(Arc::clone(key), others);
                }
            }
            let (namespace, own) = pair(name);
            let mut rules = Rules::default();
            if let Some(ingress) = self.ctx.snapshot.ingresses.get(namespace, own) {
                ingress::one(&mut self.ctx, ingress, &mut rules);
            }
            self.heard(&Part::Ingress(Arc::clone(name)));
            self.contributed(&rules);
            let none = Contribution::default();
            let after = self.state.ingresses.get(name).unwrap_or(&none);
            claims |= before.claims != after.claims;
            wanted.extend(after.services.iter().cloned());
            wanted.extend(before.services);
        }
        claims
    }

    /// The rules of some Kong services.
    fn rules_of(&mut self, wanted: &BTreeSet<Arc<str>>) -> Result<Services<'a>, TooMuch> {
        let makers = wanted.iter().filter_map(|key| self.state.makers.get(key)).flatten();
        let makers: BTreeSet<&Name> = makers.collect();
        let mut makers = self.found(makers)?;
        makers.sort_by(|a, b| by_age(*a, *b));
        let mut rules = Rules::default();
        for ingress in makers {
            ingress::one(&mut self.ctx, ingress, &mut rules);
        }
        if wanted.iter().any(|key| self.state.foreign.contains(key)) {
            self.foreign_rules(&mut rules);
        }
        self.unheard();
        let Rules { mut services, tls: _ } = rules;
        services.retain(|key, _| wanted.contains(key.as_str()));
        Ok(services)
    }

    fn found<'n>(
        &self,
        names: impl IntoIterator<Item = &'n Name>,
    ) -> Result<Vec<&'a Ingress>, TooMuch> {
        let find = |name: &Name| {
            let (namespace, name) = pair(name);
            self.ctx.snapshot.ingresses.get(namespace, name).map(|found| &**found).ok_or(TooMuch)
        };
        names.into_iter().map(find).collect()
    }

    /// Sees to it that no Kong service outside of `wanted` has the upstream of one inside, before or after.
    fn keep_to_themselves(
        &self,
        wanted: &BTreeSet<Arc<str>>,
        services: &Services<'a>,
    ) -> Result<(), TooMuch> {
        let before = wanted.iter().filter_map(|key| self.state.units.get(key));
        let before = before.map(|unit| unit.host.as_str());
        let after = services.values().filter_map(|rule| rule.service.host.as_deref());
        let mut users = before.chain(after).filter_map(|host| self.state.hosts.get(host)).flatten();
        if users.all(|key| wanted.contains(key)) { Ok(()) } else { Err(TooMuch) }
    }

    /// Resolves Kong services.
    fn drafts(
        &mut self,
        services: Services<'a>,
        policies: &ByService<'a, BackendTls<'a>>,
    ) -> Vec<Draft<'a>> {
        let mut known = BTreeSet::new();
        let mut drafts = Vec::with_capacity(services.len());
        for (key, rule) in services {
            let key: Arc<str> = key.into();
            let host = rule.service.host.clone().unwrap_or_default();
            let mut found = Found::default();
            let (assembled, upstream) =
                super::super::service(&mut self.ctx, rule, (policies, &mut known), &mut found);
            self.heard(&Part::Service(Arc::clone(&key)));
            drafts.push(Draft { key, host, assembled, upstream, found });
        }
        drafts
    }

    /// Prints Kong services and puts them in their places. Returns the plugins that are named otherwise than before.
    fn print(&mut self, drafts: Vec<Draft<'a>>) -> BTreeSet<Name> {
        let mut changed = BTreeSet::new();
        for draft in drafts {
            let client = client(&draft);
            let Draft { key, host, assembled, upstream, found } = draft;
            let certificate = client.as_ref().and_then(|key| self.state.certificates.get(key));
            let service = assembled.map(|assembled| {
                print::service(&finish(&self.ctx, assembled, certificate.map(String::as_str)))
            });
            let upstream = upstream.as_ref().map(print::upstream);
            let unit = Unit { service, upstream, host, mentions: mentions(found), client };
            changed.extend(self.state.set_unit(&key, Some(unit)));
        }
        changed
    }

    /// Translates all consumers. Returns the plugins that are named otherwise than before, and whether those are that may
    /// not be used.
    fn consumers(&mut self) -> (BTreeSet<Name>, bool) {
        let all = consumers::consumers(&mut self.ctx);
        let mut found = Found::default();
        found.add_consumers(&mut self.ctx, &all);
        self.heard(&Part::Consumers);
        let after = mentions(found);
        let before = std::mem::take(&mut self.state.of_consumers);
        let keys: BTreeSet<&Option<Name>> = before.keys().chain(after.keys()).collect();
        let changed = keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned();
        let changed: BTreeSet<Option<Name>> = changed.collect();
        let forbidden = changed.contains(&None);
        self.state.of_consumers = after;
        let others = &mut self.state.others;
        (others.consumers, others.consumer_groups, others.consumer_group_consumers) =
            all.entities();
        (changed.into_iter().flatten().collect(), forbidden)
    }

    /// Makes the entities that stand for themselves, and the authorities.
    fn others(&mut self, drafts: &[Draft<'a>]) {
        let mut attachments = Attachments::default();
        let services: Vec<&Assembled<'a>> = match self.ctx.snapshot.kong_custom_entities.is_empty()
        {
            true => Vec::new(),
            false => {
                drafts.iter().for_each(|draft| attachments.add(&draft.found));
                drafts.iter().filter_map(|draft| draft.assembled.as_ref()).collect()
            }
        };
        let made = others(&mut self.ctx, &services, &attachments);
        self.heard(&Part::Others);
        (self.state.others.custom, self.state.others.vaults) = (made.custom, made.vaults);
        self.state.others.ca_certificates = certificates::authorities(&mut self.ctx);
        self.heard(&Part::Authorities);
    }

    fn certificates(&mut self, claims: Vec<TlsClaim<'a>>, clients: Vec<&'a Secret>) {
        for secret in &clients {
            self.ctx.reads.note(Kind::Secret, secret.namespace(), secret.name());
        }
        let made = certificates(&mut self.ctx, claims, clients);
        self.heard(&Part::Certificates);
        self.state.certificates = made.ids;
        self.state.others.certificates = made.certificates;
    }

    fn certificates_again(&mut self) -> Result<(), TooMuch> {
        // Whose ids are in services that stand.
        if self.state.clients > 0 || !self.ctx.snapshot.tcp_ingresses.is_empty() {
            return Err(TooMuch);
        }
        let claiming = self.state.ingresses.iter().filter(|(_, it)| !it.claims.is_empty());
        let mut claiming = self.found(claiming.map(|(name, _)| name))?;
        claiming.sort_by(|a, b| by_age(*a, *b));
        let mut rules = Rules::default();
        for ingress in claiming {
            ingress::claim_certificates(&mut self.ctx, ingress, &mut rules);
        }
        self.unheard();
        self.certificates(rules.tls, Vec::new());
        Ok(())
    }

    /// Everything that a plugin is attached to.
    fn relations<'m>(
        &self,
        mentions: impl Iterator<Item = &'m Mention>,
    ) -> Result<Relations<'a>, TooMuch> {
        let mut relations = Relations::default();
        for Mention { by, key, object } in mentions {
            let meta = self.ctx.snapshot.meta_of(object).ok_or(TooMuch)?;
            let origin = Origin { kind: object.kind, meta, behind: None };
            let list = match by {
                By::Service => &mut relations.services,
                By::Route => &mut relations.routes,
                By::Consumer => &mut relations.consumers,
                By::Group => &mut relations.groups,
            };
            list.push(Attached { key: key.clone(), origin });
        }
        Ok(relations)
    }

    /// Makes what comes of one name of a plugin.
    fn plugin(&mut self, name: &Name) -> Result<Making, TooMuch> {
        let (namespace, own) = pair(name);
        let relations = self.relations(self.state.mentions_of(name))?;
        let mut making = Making { name: Arc::clone(name), plugins: Vec::new(), closes: false };
        if self.state.is_used(name) {
            let made = plugins::one(&mut self.ctx, (namespace, own), &relations);
            (making.plugins, making.closes) = (made.plugins, made.closes);
        } else if let Some(plugin) = self.ctx.snapshot.kong_plugins.get(namespace, own) {
            plugins::unused(&mut self.ctx, plugin);
        }
        self.heard(&Part::Plugin(Arc::clone(name)));
        Ok(making)
    }

    /// Makes what comes of all plugins together.
    fn last_plugins(&mut self) -> Result<Making, TooMuch> {
        let mut names = BTreeSet::new();
        if !self.ctx.snapshot.kong_cluster_plugins.is_empty() {
            let of_consumers = self.state.of_consumers.keys().flatten();
            names.extend(self.state.mentions.keys().chain(of_consumers).map(|name| pair(name).1));
        }
        let closing = self.state.closing.iter();
        let closing: Vec<Relations<'a>> = closing
            .map(|name| self.relations(self.state.mentions_of(name)))
            .collect::<Result<_, _>>()?;
        let forbidden = self.relations(self.state.forbidden_mentions())?;
        let last = super::last();
        let answering = self.state.answering.iter().filter(|name| **name != last);
        let answering = answering.filter_map(|name| self.state.plugins.get(name));
        let taken = answering.flat_map(|emitted| &emitted.places).cloned().collect();
        let closing: Vec<&Relations<'a>> = closing.iter().collect();
        let plugins = plugins::rest(&mut self.ctx, &names, (&closing, &forbidden), taken);
        self.heard(&Part::LastPlugins);
        Ok(Making { name: last, plugins, closes: false })
    }

    /// Makes all plugins, of these names and the last ones.
    fn all_plugins(&mut self, names: &BTreeSet<Name>) {
        let made: Result<Vec<Making>, TooMuch> =
            names.iter().map(|name| self.plugin(name)).collect();
        // Nothing can be missing that was found a moment ago.
        let mut made = made.unwrap_or_default();
        for making in &made {
            self.state.set_plugin(&making.name, Some(making.emitted()));
        }
        made.extend(self.last_plugins().ok());
        let instances = |made: &[Making]| -> Vec<Option<String>> {
            let all = made.iter().flat_map(|making| &making.plugins);
            all.map(|plugin| plugin.instance_name.clone()).collect()
        };
        let before = instances(&made);
        plugins::distinguish(made.iter_mut().flat_map(|making| &mut making.plugins));
        self.state.distinguished = before != instances(&made);
        for making in made {
            self.state.set_plugin(&making.name, Some(making.emitted()));
        }
    }

    /// Makes plugins of these names anew, and the last ones if they are asked for or have become necessary.
    fn plugins_again(&mut self, names: &BTreeSet<Name>, last: bool) -> Result<(), TooMuch> {
        // Which of two equal names was lengthened is for all plugins together to say.
        if self.state.distinguished && (last || !names.is_empty()) {
            return Err(TooMuch);
        }
        for name in names {
            let making = self.plugin(name)?;
            let kept = !making.plugins.is_empty() || making.closes;
            if self.state.set_plugin(name, kept.then(|| making.emitted())) {
                return Err(TooMuch);
            }
        }
        if last || self.state.closes() {
            let making = self.last_plugins()?;
            if self.state.set_plugin(&making.name, Some(making.emitted())) {
                return Err(TooMuch);
            }
        }
        Ok(())
    }
}

impl Making {
    fn emitted(&self) -> Emitted {
        let instances = self.plugins.iter().filter_map(|plugin| plugin.instance_name.clone());
        Emitted {
            printed: print::plugins(&self.plugins),
            closes: self.closes,
            instances: instances.collect(),
            places: plugins::places(&self.plugins),
        }
    }
}

/// The Secret of the client certificate.
fn client(draft: &Draft<'_>) -> Option<(String, String)> {
    let secret = draft.assembled.as_ref()?.client_certificate?;
    Some((secret.namespace().to_owned(), secret.name().to_owned()))
}

/// What names which plugin.
fn mentions(found: Found<'_>) -> BTreeMap<Option<Name>, Vec<Mention>> {
    let Found { all, forbidden } = found;
    let usable = all.into_iter().map(|((namespace, own), it)| (Some(name(namespace, own)), it));
    let all = usable.chain([(None, forbidden)]).map(|(name, relations)| {
        let Relations { services, routes, consumers, groups } = relations;
        let lists = [
            (By::Service, services),
            (By::Route, routes),
            (By::Consumer, consumers),
            (By::Group, groups),
        ];
        let all = lists.into_iter().flat_map(|(by, list)| {
            list.into_iter().map(move |one| Mention {
                by,
                key: one.key,
                object: one.origin.reference(),
            })
        });
        (name, all.collect::<Vec<Mention>>())
    });
    all.filter(|(_, mentions)| !mentions.is_empty()).collect()
}
