//! Steps that make plugins: one for each name, and one for what comes of all of them together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kong::model::Plugin;

use super::super::state::{By, Emitted, Mention};
use super::super::{Name, Part, TooMuch, last, name, pair, print};
use super::Steps;
use crate::translate::Origin;
use crate::translate::plugins::{self, Attached, Found, Relations};

/// A plugin that is not yet printed.
struct Making {
    name: Name,
    plugins: Vec<Plugin>,
    closes: bool,
}

impl<'a> Steps<'a, '_> {
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
    fn plugin(&mut self, name: &Name, relations: &Relations<'a>) -> Making {
        let (namespace, own) = pair(name);
        let mut making = Making { name: Arc::clone(name), plugins: Vec::new(), closes: false };
        if !relations.is_empty() {
            let made = plugins::one(&mut self.ctx, (namespace, own), relations);
            (making.plugins, making.closes) = (made.plugins, made.closes);
        } else if let Some(plugin) = self.ctx.snapshot.kong_plugins.get(namespace, own) {
            plugins::unused(&mut self.ctx, plugin);
        }
        self.heard(&Part::Plugin(Arc::clone(name)));
        making
    }

    /// Makes what comes of all plugins together.
    fn last_plugins(&mut self, closing: &[&Relations<'a>], forbidden: &Relations<'a>) -> Making {
        let mut names = BTreeSet::new();
        if !self.ctx.snapshot.kong_cluster_plugins.is_empty() {
            let of_consumers = self.state.of_consumers.keys().flatten();
            names.extend(self.state.mentions.keys().chain(of_consumers).map(|name| pair(name).1));
        }
        let end = last();
        let answering = self.state.answering.iter().filter(|name| **name != end);
        let answering = answering.filter_map(|name| self.state.plugins.get(name));
        let taken = answering.flat_map(|emitted| &emitted.places).cloned().collect();
        let plugins = plugins::rest(&mut self.ctx, &names, (closing, forbidden), taken);
        self.heard(&Part::LastPlugins);
        Making { name: end, plugins, closes: false }
    }

    /// Makes all plugins, of these names and the last ones.
    pub(super) fn all_plugins(&mut self, names: &BTreeSet<Name>, found: &Found<'a>) {
        let none = Relations::default();
        let all = found.all.iter().map(|((namespace, own), all)| (name(namespace, own), all));
        let all: BTreeMap<Name, &Relations<'a>> = all.collect();
        let relations = |name: &Name| all.get(name).copied().unwrap_or(&none);
        let mut made: Vec<Making> =
            names.iter().map(|name| self.plugin(name, relations(name))).collect();
        for making in &made {
            self.state.set_plugin(&making.name, Some(making.emitted()));
        }
        let closing = made.iter().filter(|making| making.closes);
        let closing: Vec<&Relations<'a>> = closing.map(|making| relations(&making.name)).collect();
        made.push(self.last_plugins(&closing, &found.forbidden));
        if let Some(last) = made.last() {
            self.state.set_plugin(&last.name, Some(last.emitted()));
        }
        let before: Vec<Vec<String>> = made.iter().map(Making::instances).collect();
        plugins::distinguish(made.iter_mut().flat_map(|making| &mut making.plugins));
        for (making, before) in made.iter().zip(before) {
            if making.instances() != before {
                self.state.distinguished = true;
                self.state.set_plugin(&making.name, Some(making.emitted()));
            }
        }
    }

    /// Makes plugins of these names anew, and the last ones if they are asked for or have become necessary.
    pub(super) fn plugins_again(
        &mut self,
        names: &BTreeSet<Name>,
        last: bool,
    ) -> Result<(), TooMuch> {
        // Which of two equal names was lengthened is for all plugins together to say.
        if self.state.distinguished && (last || !names.is_empty()) {
            return Err(TooMuch);
        }
        for name in names {
            let relations = self.relations(self.state.mentions_of(name))?;
            let making = self.plugin(name, &relations);
            let kept = !making.plugins.is_empty() || making.closes;
            if self.state.set_plugin(name, kept.then(|| making.emitted())) {
                return Err(TooMuch);
            }
        }
        if last || self.state.closes() {
            let closing = self.state.closing.iter();
            let closing = closing.map(|name| self.relations(self.state.mentions_of(name)));
            let closing: Vec<Relations<'a>> = closing.collect::<Result<_, _>>()?;
            let closing: Vec<&Relations<'a>> = closing.iter().collect();
            let forbidden = self.relations(self.state.forbidden_mentions())?;
            let making = self.last_plugins(&closing, &forbidden);
            if self.state.set_plugin(&making.name, Some(making.emitted())) {
                return Err(TooMuch);
            }
        }
        Ok(())
    }
}

impl Making {
    fn instances(&self) -> Vec<String> {
        self.plugins.iter().filter_map(|plugin| plugin.instance_name.clone()).collect()
    }

    fn emitted(&self) -> Emitted {
        Emitted {
            printed: print::plugins(&self.plugins),
            closes: self.closes,
            instances: self.instances(),
            places: plugins::places(&self.plugins),
        }
    }
}
