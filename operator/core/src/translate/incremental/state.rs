//! What is kept of a translation: printed entities, who made what, and what each step read and said.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use kong::model::Document;

use super::super::gateway::{Places, Rank};
use super::super::plugins::Place;
use super::super::reads::Read;
use super::told::Told;
use super::{Name, Part};
use crate::object::ObjectRef;

/// Everything that is kept.
#[derive(Debug, Default)]
pub(super) struct State {
    /// What each Ingress contributes.
    pub(super) ingresses: BTreeMap<Name, Contribution>,
    /// The Ingresses behind each Kong service.
    pub(super) makers: BTreeMap<Arc<str>, BTreeSet<Name>>,
    /// What each HTTPRoute contributes.
    pub(super) http_routes: BTreeMap<Name, Share>,
    /// The HTTPRoutes behind each Kong service.
    pub(super) sharers: BTreeMap<Arc<str>, BTreeSet<Name>>,
    /// The places of the matches of all HTTPRoutes.
    pub(super) places: Places,
    /// Kong services that other objects than Ingresses and HTTPRoutes have a share in, or the default backend.
    pub(super) foreign: BTreeSet<Arc<str>>,
    /// The Kong services, by name.
    pub(super) units: BTreeMap<Arc<str>, Unit>,
    /// The Kong services behind each name of an upstream.
    pub(super) hosts: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// Which Kong services, with what of theirs, name each plugin.
    pub(super) mentions: BTreeMap<Name, BTreeMap<Arc<str>, Vec<Mention>>>,
    /// Which consumers and groups name each plugin; those without a plugin name one that they may not use.
    pub(super) of_consumers: BTreeMap<Option<Name>, Vec<Mention>>,
    /// What comes of each plugin, by the name that it is looked for by.
    pub(super) plugins: BTreeMap<Name, Emitted>,
    /// How many plugins have each instance name.
    pub(super) instances: BTreeMap<String, usize>,
    /// Plugins that close what names them.
    pub(super) closing: BTreeSet<Name>,
    /// Plugins that answer requests themselves.
    pub(super) answering: BTreeSet<Name>,
    /// Kong services with something that names a plugin it may not use.
    pub(super) forbidden: BTreeSet<Arc<str>>,
    /// Whether plugins have longer instance names than others, to tell them apart.
    pub(super) distinguished: bool,
    /// How many Kong services show a client certificate.
    pub(super) clients: usize,
    /// The plugin that tells what listeners say of TLS.
    pub(super) of_listeners: Printed,
    /// All other entities.
    pub(super) others: Document,
    /// The ids of the certificates that Secrets hold.
    pub(super) certificates: BTreeMap<(String, String), String>,
    /// Verdicts.
    pub(super) told: Told,
    reads: BTreeMap<Part, Vec<Read>>,
    readers: BTreeSet<(Read, Part)>,
}

/// What an Ingress contributes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contribution {
    /// The Kong services that its routes are of.
    pub(super) services: BTreeSet<Arc<str>>,
    /// Secrets, and the hosts that they are to serve.
    pub(super) claims: Vec<(String, Vec<String>)>,
}

/// What an HTTPRoute contributes.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// The Kong services that its rules lead to.
    pub(super) services: BTreeSet<Arc<str>>,
    /// The places of its matches among those of equal traits.
    pub(super) places: Vec<(u64, Rank)>,
}

/// A Kong service with its upstream.
#[derive(Debug, Default)]
pub(super) struct Unit {
    /// The service as JSON, with its routes; nothing when its backends do not agree.
    pub(super) service: Option<Printed>,
    /// The upstream as JSON; nothing when another service has one of this name.
    pub(super) upstream: Option<Printed>,
    /// The name of the upstream.
    pub(super) host: String,
    /// The plugins that it names, and what of it does.
    pub(super) mentions: BTreeMap<Option<Name>, Vec<Mention>>,
    /// The Secret of the client certificate.
    pub(super) client: Option<(String, String)>,
}

/// Entities as JSON, separated by commas, and how many of each kind they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Printed {
    pub(super) json: Box<str>,
    pub(super) counts: Counts,
}

/// How many entities there are in something printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) routes: usize,
    pub(super) plugins: usize,
    pub(super) targets: usize,
}

/// Something that a plugin is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) by: By,
    /// Its key in Kong.
    pub(super) key: String,
    /// The object that says so.
    pub(super) object: ObjectRef,
}

/// What a plugin can be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Service,
    Route,
    Consumer,
    Group,
}

/// What comes of a plugin.
#[derive(Debug, Default)]
pub(super) struct Emitted {
    pub(super) printed: Printed,
    /// Whether everything that names it is closed.
    pub(super) closes: bool,
    /// Names of its instances.
    pub(super) instances: Vec<String>,
    /// Where it answers requests itself.
    pub(super) places: BTreeSet<Place>,
}

impl State {
    /// Remembers what a step read.
    pub(super) fn set_reads(&mut self, part: &Part, mut reads: Vec<Read>) {
        for read in self.reads.remove(part).unwrap_or_default() {
            self.readers.remove(&(read, part.clone()));
        }
        if reads.is_empty() {
            return;
        }
        reads.sort_unstable();
        reads.dedup();
        self.readers.extend(reads.iter().map(|read| (*read, part.clone())));
        self.reads.insert(part.clone(), reads);
    }

    /// The steps that looked for an object.
    pub(super) fn readers(&self, read: Read) -> impl Iterator<Item = &Part> {
        let all: RangeInclusive<(Read, Part)> = (read, Part::FIRST)..=(read, Part::LAST);
        self.readers.range(all).map(|(_, part)| part)
    }

    /// Puts a Kong service in its place, or takes it away; the plugins of which other things are said now.
    pub(super) fn set_unit(&mut self, key: &Arc<str>, unit: Option<Unit>) -> BTreeSet<Name> {
        let mut changed = BTreeSet::new();
        let before = self.units.remove(key).unwrap_or_default();
        let after = unit.as_ref().map(|unit| &unit.mentions);
        for (name, mentions) in &before.mentions {
            let Some(name) = name else { continue };
            if after.and_then(|after| after.get(&Some(Arc::clone(name)))) != Some(mentions) {
                changed.insert(Arc::clone(name));
                if let Some(all) = self.mentions.get_mut(name) {
                    all.remove(key);
                    if all.is_empty() {
                        self.mentions.remove(name);
                    }
                }
            }
        }
        for (name, mentions) in after.into_iter().flatten() {
            let Some(plugin) = name else { continue };
            if before.mentions.get(name) != Some(mentions) {
                changed.insert(Arc::clone(plugin));
                let all = self.mentions.entry(Arc::clone(plugin)).or_default();
                all.insert(Arc::clone(key), mentions.clone());
            }
        }
        if let Some(all) = self.hosts.get_mut(&before.host) {
            all.remove(key);
            if all.is_empty() {
                self.hosts.remove(&before.host);
            }
        }
        self.forbidden.remove(key);
        self.clients -= usize::from(before.client.is_some());
        self.clients += usize::from(unit.as_ref().is_some_and(|unit| unit.client.is_some()));
        if let Some(unit) = unit {
            if unit.mentions.contains_key(&None) {
                self.forbidden.insert(Arc::clone(key));
            }
            self.hosts.entry(unit.host.clone()).or_default().insert(Arc::clone(key));
            self.units.insert(Arc::clone(key), unit);
        }
        changed
    }

    /// Puts what comes of a plugin in its place, or takes it away. Returns whether two plugins have one instance name now.
    pub(super) fn set_plugin(&mut self, name: &Name, emitted: Option<Emitted>) -> bool {
        for instance in self.plugins.remove(name).into_iter().flat_map(|old| old.instances) {
            let count = self.instances.remove(&instance).unwrap_or_default();
            if count > 1 {
                self.instances.insert(instance, count - 1);
            }
        }
        self.closing.remove(name);
        self.answering.remove(name);
        let Some(emitted) = emitted else { return false };
        if emitted.closes {
            self.closing.insert(Arc::clone(name));
        }
        if !emitted.places.is_empty() {
            self.answering.insert(Arc::clone(name));
        }
        let mut shared = false;
        for instance in &emitted.instances {
            let count = self.instances.entry(instance.clone()).or_default();
            *count += 1;
            shared |= *count > 1;
        }
        self.plugins.insert(Arc::clone(name), emitted);
        shared
    }

    /// Everything that names a plugin.
    pub(super) fn mentions_of(&self, name: &Name) -> impl Iterator<Item = &Mention> {
        let units = self.mentions.get(name).into_iter().flat_map(BTreeMap::values).flatten();
        units.chain(self.of_consumers.get(&Some(Arc::clone(name))).into_iter().flatten())
    }

    /// Everything that names a plugin which it may not use.
    pub(super) fn forbidden_mentions(&self) -> impl Iterator<Item = &Mention> {
        let units = self.forbidden.iter().filter_map(|key| self.units.get(key));
        let of_units = units.filter_map(|unit| unit.mentions.get(&None));
        of_units.chain(self.of_consumers.get(&None)).flatten()
    }

    /// Whether anything is closed.
    pub(super) fn closes(&self) -> bool {
        !self.closing.is_empty()
            || !self.forbidden.is_empty()
            || self.of_consumers.contains_key(&None)
    }
}
