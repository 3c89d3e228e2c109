//! The steps of a translation, taken one by one: all of them for a new state, or those that changes ask for.

mod plugins;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::secret::Secret;
use kong::model::Upstream;

use super::super::gateway::{Policies, Ranks, frontend};
use super::super::plugins::{Attached, Attachments, Found, Relations};
use super::super::reads::Reads;
use super::super::rules::{Rules, ServiceRule, TlsClaim};
use super::super::services::Assembled;
use super::super::{Context, certificates, consumers, finish, ingress, others, unreadable};
use super::changes::{self, Changes};
use super::state::{By, Mention, State, Unit};
use super::{Name, Part, TooMuch, name, print};
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

/// What consumers and their groups name.
struct Named<'a> {
    /// Plugins that are named otherwise than before.
    changed: BTreeSet<Name>,
    /// Whether those are that may not be used.
    forbidden: bool,
    found: Found<'a>,
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
        steps.ctx.ranks = Ranks::Wanted;
        unreadable(&mut steps.ctx);
        steps.heard(&Part::Unreadable);
        let Rules { services, tls, shares: _, backend_tls } = steps.sources();
        let drafts = steps.drafts(services, &backend_tls);
        let mut found = Found::default();
        drafts.iter().for_each(|draft| found.extend(&draft.found));
        let Named { changed: mut names, found: of_consumers, .. } = steps.consumers();
        found.extend(&of_consumers);
        let attachments = Attachments { relations: std::mem::take(&mut found.all) };
        steps.others(&drafts, &attachments);
        found.all = attachments.relations;
        let services = drafts.iter().filter_map(|draft| draft.assembled.as_ref());
        let clients = services.filter_map(|service| service.client_certificate).collect();
        steps.certificates(tls, clients);
        names.extend(steps.print(drafts));
        let own = snapshot.kong_plugins.iter();
        names.extend(own.map(|plugin| name(plugin.namespace(), plugin.name())));
        steps.all_plugins(&names, &found);
        steps.of_listeners();
        steps.keep_places();
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
        let Changes { ingresses, http_routes, services: mut wanted, mut plugins, .. } = changes;
        let mut steps = Steps::new(state, snapshot, options);
        let closed = steps.state.closes();
        steps.ctx.ranks = Ranks::Known(std::mem::take(&mut steps.state.places));
        let claims = steps.ingresses(&ingresses, &mut wanted);
        steps.http_routes(&http_routes, &mut wanted)?;
        let (services, policies) = steps.rules_of(&wanted)?;
        steps.keep_to_themselves(&wanted, &services)?;
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
            let named = steps.consumers();
            plugins.extend(named.changed);
            forbidden = named.forbidden;
        }
        for key in gone {
            plugins.extend(steps.state.set_unit(key, None));
            steps.heard(&Part::Service(Arc::clone(key)));
        }
        plugins.extend(steps.print(drafts));
        let concerns = !plugins.is_empty() || !wanted.is_empty() || forbidden;
        let all = !snapshot.kong_cluster_plugins.is_empty() || closed;
        steps.plugins_again(&plugins, changes.last_plugins || (all && concerns))?;
        steps.keep_places();
        state.told.settle();
        Ok(ingresses.len() + http_routes.len() + wanted.len() + plugins.len())
    }

    /// Keeps the places of matches for the next changes.
    fn keep_places(&mut self) {
        if let Ranks::Known(places) = std::mem::replace(&mut self.ctx.ranks, Ranks::Unknown) {
            self.state.places = places;
        }
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
        self.ctx.reads.take_of_objects();
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
    fn drafts(&mut self, services: Services<'a>, policies: &Policies<'a>) -> Vec<Draft<'a>> {
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
            let unit = Unit { service, upstream, host, mentions: mentions(&found), client };
            changed.extend(self.state.set_unit(&key, Some(unit)));
        }
        changed
    }

    /// Translates all consumers.
    fn consumers(&mut self) -> Named<'a> {
        let all = consumers::consumers(&mut self.ctx);
        let mut found = Found::default();
        found.add_consumers(&mut self.ctx, &all);
        self.heard(&Part::Consumers);
        let after = mentions(&found);
        let before = std::mem::take(&mut self.state.of_consumers);
        let keys: BTreeSet<&Option<Name>> = before.keys().chain(after.keys()).collect();
        let changed = keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned();
        let changed: BTreeSet<Option<Name>> = changed.collect();
        let forbidden = changed.contains(&None);
        self.state.of_consumers = after;
        let others = &mut self.state.others;
        (others.consumers, others.consumer_groups, others.consumer_group_consumers) =
            all.entities();
        Named { changed: changed.into_iter().flatten().collect(), forbidden, found }
    }

    /// Makes the entities that stand for themselves, and the authorities.
    fn others(&mut self, drafts: &[Draft<'a>], attachments: &Attachments<'a>) {
        let services = drafts.iter().filter_map(|draft| draft.assembled.as_ref());
        let services: Vec<&Assembled<'a>> = services.collect();
        let made = others(&mut self.ctx, &services, attachments);
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

    /// Makes the plugin that tells our own proxies what listeners say of TLS.
    fn of_listeners(&mut self) {
        let ids = &self.state.certificates;
        let id_of = |secret: &Secret| {
            let key = (secret.namespace().to_owned(), secret.name().to_owned());
            ids.get(&key).map(String::as_str)
        };
        let plugin = frontend::plugin(&self.ctx, id_of);
        self.state.of_listeners = print::plugins(plugin.as_slice());
    }

    fn certificates_again(&mut self) -> Result<(), TooMuch> {
        // Their ids are in services, and in a plugin, that stand.
        let snapshot = self.ctx.snapshot;
        let shown = self.state.clients > 0 || changes::are_gateways_sealed(snapshot);
        if shown || !snapshot.tcp_ingresses.is_empty() {
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
}

/// The Secret of the client certificate.
fn client(draft: &Draft<'_>) -> Option<(String, String)> {
    let secret = draft.assembled.as_ref()?.client_certificate?;
    Some((secret.namespace().to_owned(), secret.name().to_owned()))
}

/// What names which plugin.
fn mentions(found: &Found<'_>) -> BTreeMap<Option<Name>, Vec<Mention>> {
    let Found { all, forbidden } = found;
    let usable = all.iter().map(|((namespace, own), it)| (Some(name(namespace, own)), it));
    let all = usable.chain([(None, forbidden)]).filter(|(_, relations)| !relations.is_empty());
    let of = |(name, relations): (Option<Name>, &Relations<'_>)| {
        let Relations { services, routes, consumers, groups } = relations;
        let lists = [
            (By::Service, services),
            (By::Route, routes),
            (By::Consumer, consumers),
            (By::Group, groups),
        ];
        let mention = |by: By, one: &Attached<'_>| Mention {
            by,
            key: one.key.clone(),
            object: one.origin.reference(),
        };
        let all =
            lists.into_iter().flat_map(|(by, list)| list.iter().map(move |one| mention(by, one)));
        (name, all.collect())
    };
    all.map(of).collect()
}
