//! What is closed because a plugin is missing: nobody knows whether it would have let a request in.
//!
//! A route with a misspelled `key-auth` would stand open. Instead it answers 503 with a message, until
//! the plugin is there or the name is gone. The gate `FailClosedPlugins` switches this off.

use std::collections::BTreeSet;

use kong::model::{Plugin, Reference};
use serde_json::json;

use super::super::Context;
use super::{Attached, Use, identify};
use crate::names;
use crate::object::ObjectRef;
use crate::options::Gate;
use crate::outcome::Reason;

/// The answer of what is closed.
const PLUGIN: &str = "request-termination";
/// Plugins that keep requests out.
const GUARDS: [&str; 12] = [
    "acl",
    "basic-auth",
    "bot-detection",
    "hmac-auth",
    "ip-restriction",
    "jwt",
    "key-auth",
    "key-auth-enc",
    "ldap-auth",
    "mtls-auth",
    "oauth2",
    "openid-connect",
];

/// What a plugin is attached to.
pub(in super::super) type Place =
    (Option<Reference>, Option<Reference>, Option<Reference>, Option<Reference>);

fn place(plugin: &Plugin) -> Place {
    let Plugin { service, route, consumer, consumer_group, .. } = plugin.clone();
    (service, route, consumer, consumer_group)
}

/// Where requests are answered already.
pub(in super::super) fn places(plugins: &[Plugin]) -> BTreeSet<Place> {
    let answers = plugins.iter().filter(|plugin| plugin.name.as_deref() == Some(PLUGIN));
    answers.map(place).collect()
}

/// Whether a plugin keeps requests out.
pub(super) fn guards(plugin: &str) -> bool {
    GUARDS.contains(&plugin)
}

/// Everything that lacks a plugin.
#[derive(Default)]
pub(super) struct Closed {
    plugins: Vec<(Plugin, ObjectRef)>,
}

impl Closed {
    /// Closes what `uses` would have attached a plugin to.
    pub(super) fn add(&mut self, uses: &[Use<'_, '_>]) {
        for used in uses {
            let Some(Attached { key: _, origin }) = used.attached().next() else { continue };
            let mut plugin = Plugin { tags: Some(names::tags(*origin)), ..Plugin::default() };
            used.place(&mut plugin);
            self.plugins.push((plugin, origin.reference()));
        }
    }

    /// Emits the answers, one for each thing that is closed and not `taken`, and tells its owner.
    pub(super) fn emit(
        self,
        ctx: &mut Context<'_>,
        mut taken: BTreeSet<Place>,
        plugins: &mut Vec<Plugin>,
    ) {
        if !ctx.options.on(Gate::FailClosedPlugins) {
            return;
        }
        for (mut plugin, owner) in self.plugins {
            let message = "a plugin that it names is missing or broken: what it would have guarded answers 503";
            ctx.outcomes.warn(owner, Reason::RefNotFound, message);
            if !taken.insert(place(&plugin)) {
                continue;
            }
            let config =
                json!({"status_code": 503, "message": "a plugin of this route is missing"});
            plugin.name = Some(PLUGIN.into());
            plugin.config = config.as_object().cloned();
            identify(ctx, &mut plugin);
            plugins.push(plugin);
        }
    }
}
