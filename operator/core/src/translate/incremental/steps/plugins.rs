//! Steps that make plugins: one for each name, and one for what comes of all of them together.

use std::collections::BTreeSet;
use std::sync::Arc;

use kong::model::Plugin;

use super::super::state::{By, Emitted, Mention};
use super::super::{Name, Part, TooMuch, last, pair, print};
use super::Steps;
use crate::translate::Origin;
use crate::translate::plugins::{self, Attached, Relations};

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
        let end = last();
        let answering = self.state.answering.iter().filter(|name| **name != end);
        let answering = answering.filter_map(|name| self.state.plugins.get(name));
        let taken = answering.flat_map(|emitted| &emitted.places).cloned().collect();
        let closing: Vec<&Relations<'a>> = closing.iter().collect();
        let plugins = plugins::rest(&mut self.ctx, &names, (&closing, &forbidden), taken);
        self.heard(&Part::LastPlugins);
        Ok(Making { name: end, plugins, closes: false })
    }

    /// Makes all plugins, of these names and the last ones.
    pub(super) fn all_plugins(&mut self, names: &BTreeSet<Name>) {
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
