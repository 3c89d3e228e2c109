//! Steps that find rules: of each Ingress, of each HTTPRoute, and of all other sources together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::networking::v1::Ingress;

use super::super::state::{Contribution, Share};
use super::super::{Name, Part, TooMuch, name, pair};
use super::{Services, Steps};
use crate::gateway_api::HttpRoute;
use crate::object::{Kind, Object as _, ObjectRef, by_age};
use crate::outcome::Note;
use crate::translate::gateway::{self, Places, Policies, Rank, Ranks};
use crate::translate::reads::Read;
use crate::translate::rules::{Origin, Rules};
use crate::translate::{ingress, stream};

impl<'a> Steps<'a, '_> {
    /// The rules of all sources.
    pub(super) fn sources(&mut self) -> Rules<'a> {
        let mut rules = Rules::default();
        for ingress in self.ctx.snapshot.ingresses.oldest_first() {
            ingress::one(&mut self.ctx, ingress, &mut rules);
            self.heard(&Part::Ingress(name(ingress.namespace(), ingress.name())));
        }
        self.contributed(&rules);
        let mut defaults = Rules::default();
        ingress::defaults(&mut self.ctx, &mut defaults);
        self.unheard();
        ingress::defaults(&mut self.ctx, &mut rules);
        stream::rules(&mut self.ctx, &mut rules);
        gateway::rules(&mut self.ctx, &mut rules);
        self.heard_of_routes(&rules);
        let shared: BTreeSet<&str> = rules.shares.iter().map(|(_, key)| key.as_str()).collect();
        let foreign = rules.services.iter().filter(|(key, rule)| {
            let own = |kind: Kind| matches!(kind, Kind::Ingress | Kind::HttpRoute);
            let mut origins = rule.routes.iter().map(|route| route.origin.kind);
            (rule.routes.is_empty() && !shared.contains(key.as_str()))
                || !origins.all(own)
                || defaults.services.contains_key(*key)
        });
        self.state.foreign = foreign.map(|(key, _)| key.as_str().into()).collect();
        rules
    }

    /// Ends the steps of all sources but Ingresses: what is said of an HTTPRoute, its own step says.
    fn heard_of_routes(&mut self, rules: &Rules<'a>) {
        let of = |object: &ObjectRef| name(&object.namespace, &object.name);
        let (routes, others): (Vec<_>, Vec<_>) = self
            .ctx
            .outcomes
            .take()
            .into_iter()
            .partition(|(object, _)| object.kind == Kind::HttpRoute);
        let mut notes: BTreeMap<Name, Vec<(ObjectRef, Note)>> = BTreeMap::new();
        for (object, note) in routes {
            notes.entry(of(&object)).or_default().push((object, note));
        }
        for (name, notes) in notes {
            self.state.told.replace(&Part::HttpRoute(name), notes);
        }
        let mut of_routes: BTreeMap<Name, Vec<Read>> = BTreeMap::new();
        for (object, reads) in self.ctx.reads.take_of_objects() {
            of_routes.entry(of(&object)).or_default().extend(reads);
        }
        for (name, reads) in of_routes {
            self.state.set_reads(&Part::HttpRoute(name), reads);
        }
        self.state.told.replace(&Part::Foreign, others);
        self.state.set_reads(&Part::Foreign, self.ctx.reads.take());
        for (route, key) in &rules.shares {
            self.share(&name(route.namespace(), route.name()), key);
        }
        if let Ranks::Known(places) = &self.ctx.ranks {
            for (base, rank) in places.iter() {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                let route = name(&text(&rank.namespace), &text(&rank.name));
                let share = self.state.http_routes.entry(route).or_default();
                share.places.push((base, rank.clone()));
            }
        } else {
            self.ctx.ranks = Ranks::Known(Places::default());
        }
    }

    /// Notes that an HTTPRoute has a share in a Kong service.
    fn share(&mut self, route: &Name, key: &str) {
        let key: Arc<str> = key.into();
        let sharers = self.state.sharers.entry(Arc::clone(&key)).or_default();
        sharers.insert(Arc::clone(route));
        self.state.http_routes.entry(Arc::clone(route)).or_default().services.insert(key);
    }

    /// Takes the steps of HTTPRoutes again, and adds the Kong services that they have or had a share in, and those of
    /// routes whose matches have other places now.
    pub(super) fn http_routes(
        &mut self,
        names: &BTreeSet<Name>,
        wanted: &mut BTreeSet<Arc<str>>,
    ) -> Result<(), TooMuch> {
        // Which Services a policy covers depends on all routes.
        if !names.is_empty() && !self.ctx.snapshot.backend_tls_policies.is_empty() {
            return Err(TooMuch);
        }
        let mut moved: Vec<(u64, Rank)> = Vec::new();
        for name in names {
            let before = self.state.http_routes.remove(name).unwrap_or_default();
            for key in &before.services {
                leave(&mut self.state.sharers, key, name);
            }
            wanted.extend(before.services);
            let after = self.places_of(name);
            let Ranks::Known(places) = &mut self.ctx.ranks else { return Err(TooMuch) };
            places.remove(&before.places);
            places.add(after.clone());
            moved.extend(before.places.iter().filter(|place| !after.contains(place)).cloned());
            moved.extend(after.iter().filter(|place| !before.places.contains(place)).cloned());
            if !after.is_empty() {
                let share = Share { places: after, ..Share::default() };
                self.state.http_routes.insert(Arc::clone(name), share);
            }
        }
        let Ranks::Known(places) = &self.ctx.ranks else { return Err(TooMuch) };
        let mut shifted = BTreeSet::new();
        for rank in moved.iter().flat_map(|place| places.behind(place)) {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            shifted.insert(name(&text(&rank.namespace), &text(&rank.name)));
            if shifted.len() > MANY {
                return Err(TooMuch);
            }
        }
        let shifted = shifted.iter().filter_map(|name| self.state.http_routes.get(name));
        wanted.extend(shifted.flat_map(|share| &share.services).cloned());
        for name in names {
            let (namespace, own) = pair(name);
            let mut rules = Rules::default();
            if let Some(route) = self.ctx.snapshot.http_routes.get(namespace, own) {
                gateway::http_rules(&mut self.ctx, vec![route], &mut rules);
            }
            let part = Part::HttpRoute(Arc::clone(name));
            self.heard(&part);
            let reads = self.ctx.reads.take_of_objects();
            self.state.set_reads(&part, reads.into_iter().flat_map(|(_, reads)| reads).collect());
            for (_, key) in &rules.shares {
                self.share(name, key);
                wanted.insert(key.as_str().into());
            }
        }
        Ok(())
    }

    /// The places of the matches of an HTTPRoute.
    fn places_of(&mut self, name: &Name) -> Vec<(u64, Rank)> {
        let (namespace, own) = pair(name);
        let route = self.ctx.snapshot.http_routes.get(namespace, own);
        let places = route.map(|route| gateway::places(&mut self.ctx, route));
        self.unheard();
        places.unwrap_or_default()
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
    pub(super) fn ingresses(
        &mut self,
        names: &BTreeSet<Name>,
        wanted: &mut BTreeSet<Arc<str>>,
    ) -> bool {
        let mut claims = false;
        for name in names {
            let before = self.state.ingresses.remove(name).unwrap_or_default();
            for key in &before.services {
                leave(&mut self.state.makers, key, name);
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

    /// The rules of some Kong services, and the policies on TLS to Services.
    pub(super) fn rules_of(
        &mut self,
        wanted: &BTreeSet<Arc<str>>,
    ) -> Result<(Services<'a>, Policies<'a>), TooMuch> {
        let makers = wanted.iter().filter_map(|key| self.state.makers.get(key)).flatten();
        let makers: BTreeSet<&Name> = makers.collect();
        let mut makers = self.found(makers)?;
        makers.sort_by(|a, b| by_age(*a, *b));
        let mut rules = Rules::default();
        for ingress in makers {
            ingress::one(&mut self.ctx, ingress, &mut rules);
        }
        let foreign = wanted.iter().any(|key| self.state.foreign.contains(key));
        if foreign {
            ingress::defaults(&mut self.ctx, &mut rules);
            stream::rules(&mut self.ctx, &mut rules);
        }
        rules.backend_tls = gateway::policies(&mut self.ctx);
        let routes = self.sharing(wanted)?;
        if !routes.is_empty() {
            gateway::http_rules(&mut self.ctx, routes, &mut rules);
        }
        if foreign {
            gateway::other_rules(&mut self.ctx, &mut rules);
        }
        self.unheard();
        let Rules { mut services, tls: _, shares: _, backend_tls } = rules;
        services.retain(|key, _| wanted.contains(key.as_str()));
        Ok((services, backend_tls))
    }

    /// Ingresses by name.
    pub(super) fn found<'n>(
        &self,
        names: impl IntoIterator<Item = &'n Name>,
    ) -> Result<Vec<&'a Ingress>, TooMuch> {
        let find = |name: &Name| {
            let (namespace, name) = pair(name);
            self.ctx.snapshot.ingresses.get(namespace, name).map(|found| &**found).ok_or(TooMuch)
        };
        names.into_iter().map(find).collect()
    }

    /// The HTTPRoutes that have a share in some Kong services, in their order.
    fn sharing(&self, wanted: &BTreeSet<Arc<str>>) -> Result<Vec<&'a HttpRoute>, TooMuch> {
        let sharers = wanted.iter().filter_map(|key| self.state.sharers.get(key)).flatten();
        let sharers: BTreeSet<&Name> = sharers.collect();
        let find = |sharer: &Name| {
            let (namespace, name) = pair(sharer);
            let found = self.ctx.snapshot.http_routes.get(namespace, name);
            found.map(|found| &**found).ok_or(TooMuch)
        };
        sharers.into_iter().map(find).collect()
    }
}

/// How many HTTPRoutes may be made anew because matches of others have other places.
const MANY: usize = 500;

/// Takes an object from those behind a Kong service.
fn leave(all: &mut BTreeMap<Arc<str>, BTreeSet<Name>>, key: &Arc<str>, name: &Name) {
    if let Some(behind) = all.get_mut(key) {
        behind.remove(name);
        if behind.is_empty() {
            all.remove(key);
        }
    }
}
