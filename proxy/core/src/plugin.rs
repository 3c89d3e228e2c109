//! Plugins: Kong's phases as a trait, and the building of a generation's instances.
//!
//! A plugin is built once per configuration from its validated `config` and then shared by all requests. What it needs
//! of the world comes through [`Services`]; what must outlive a configuration (counters, cached answers, metrics) lives
//! in [`Lasting`]. This is the interface that custom plugins will use: nothing here reaches past the [`Exchange`].

use std::sync::Arc;

use http::{HeaderName, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use crate::answer::Answer;
use crate::exchange::{Exchange, Later};

pub use directory::{
    Consumer, Credential, CredentialKind, DEFAULT_WORKSPACE, Directory, Entities, compact,
};
pub use functions::check_code;
pub use lasting::Lasting;
pub use plan::{Chosen, Plan, Plugins};
pub use registry::{Definition, definition};
pub use services::{
    Framing, HttpCall, HttpReply, HttpTarget, Ldap, Queue, Redis, Reply, ServiceError, Services,
    Sink, Target,
};
pub use tracing::Tracing;

mod acl;
mod acme;
mod ai_prompt_decorator;
mod ai_prompt_guard;
mod ai_prompt_template;
mod ai_proxy;
mod ai_request_transformer;
mod ai_response_transformer;
mod args;
mod auth;
mod aws_lambda;
mod azure_functions;
mod basic_auth;
mod bot_detection;
mod correlation_id;
mod cors;
mod directory;
mod flotilla_cors;
mod flotilla_listeners;
mod flotilla_route;
mod flotilla_upstream;
mod functions;
mod grpc_gateway;
mod grpc_web;
mod hmac_auth;
mod ip_restriction;
mod json;
mod jwt;
mod key_auth;
mod lasting;
mod ldap_auth;
mod llm;
mod loggers;
mod lua;
mod oauth2;
mod opentelemetry;
mod plan;
pub mod prometheus;
mod proto;
pub mod proxy_cache;
mod rate_limiting;
mod record;
mod redirect;
mod registry;
mod request_size_limiting;
mod request_termination;
mod request_transformer;
mod response_ratelimiting;
mod response_transformer;
mod services;
mod session;
mod standard_webhooks;
mod statsd;
mod template;
mod trace;
mod tracing;
mod window;
mod zipkin;

/// One configured plugin. Every phase has a default that does nothing; [`Definition::phases`] says which ones matter,
/// so that the others are not even called.
pub trait Plugin: Send + Sync {
    /// Before routing. Only plugins without a scope run here. May answer instead.
    fn rewrite(&self, _exchange: &mut Exchange) -> Option<Box<Answer>> {
        None
    }

    /// Before the upstream is asked: may answer instead.
    fn access<'a>(&'a self, _exchange: &'a mut Exchange) -> Access<'a> {
        Access::Continue
    }

    /// Once the answer's head is known, whoever made it.
    fn header_filter(&self, _exchange: &mut Exchange) {}

    /// When all is over.
    fn log(&self, _exchange: &mut Exchange) {}
}

/// What a plugin says in `access`.
pub enum Access<'a> {
    /// Go on.
    Continue,
    /// Answer with this; later plugins do not run their `access`.
    Respond(Box<Answer>),
    /// Not known yet: something must be read first.
    Later(Later<'a, Flow>),
}

impl Access<'_> {
    /// Answers with this.
    #[must_use]
    pub fn respond(answer: Answer) -> Self {
        Self::Respond(Box::new(answer))
    }
}

/// Whether the request goes on.
#[must_use]
pub enum Flow {
    /// To the next plugin, then to the upstream.
    Continue,
    /// Back to the client.
    Respond(Box<Answer>),
}

impl Flow {
    /// Answers with this.
    pub fn respond(answer: Answer) -> Self {
        Self::Respond(Box::new(answer))
    }
}

impl<'a> From<Flow> for Access<'a> {
    fn from(flow: Flow) -> Self {
        match flow {
            Flow::Continue => Access::Continue,
            Flow::Respond(answer) => Access::Respond(answer),
        }
    }
}

/// The phases that a plugin takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases(u8);

impl Phases {
    /// `rewrite`.
    pub const REWRITE: Self = Self(1);
    /// `access`.
    pub const ACCESS: Self = Self(2);
    /// `header_filter` and, by the filters that it adds, `body_filter`.
    pub const HEADER_FILTER: Self = Self(4);
    /// `log`.
    pub const LOG: Self = Self(8);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a plugin is built from.
pub struct Config<'a> {
    /// The plugin entity's id.
    pub id: &'a str,
    /// Its `config`, validated and with defaults.
    pub config: &'a Value,
    /// The route that it is bound to.
    pub route: Option<&'a str>,
    /// The service that it is bound to.
    pub service: Option<&'a str>,
    /// The consumers and credentials of the configuration.
    pub directory: &'a Arc<Directory>,
    /// The world.
    pub context: &'a Context,
}

impl Config<'_> {
    /// A text field, unless null or missing.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.config.get(field)?.as_str()
    }

    /// A text field as an owned string, empty where it is missing.
    #[must_use]
    pub fn string(&self, field: &str) -> String {
        self.text(field).unwrap_or_default().to_owned()
    }

    /// A boolean field; missing is false.
    #[must_use]
    pub fn flag(&self, field: &str) -> bool {
        self.config.get(field).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A number.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<f64> {
        self.config.get(field)?.as_f64()
    }

    /// A list of texts; missing is empty.
    #[must_use]
    pub fn list(&self, field: &str) -> Vec<String> {
        texts(self.config.get(field))
    }

    /// A status code to refuse with; none where Kong breaks down on it.
    #[must_use]
    pub fn refusal(&self, field: &str, default: StatusCode) -> Option<StatusCode> {
        match self.number(field) {
            None => Some(default),
            Some(code) if code.fract() == 0.0 && (100.0..600.0).contains(&code) => {
                StatusCode::from_u16(code as u16).ok()
            }
            Some(_) => None,
        }
    }

    /// A status code.
    #[must_use]
    pub fn status(&self, field: &str, default: StatusCode) -> StatusCode {
        self.number(field)
            .and_then(|number| StatusCode::from_u16(number as u16).ok())
            .unwrap_or(default)
    }
}

/// The texts of a JSON list; nothing where it is not one.
pub(crate) fn texts(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .map(|items| items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default()
}

/// What the name of a header may not hold.
const NOT_IN_NAMES: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'(')
    .add(b')')
    .add(b',')
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'{')
    .add(b'}');

/// A header's name as it is sent: what no name may hold is escaped.
pub(crate) fn escaped_header_name(name: &str) -> Option<HeaderName> {
    let escaped = || utf8_percent_encode(name, NOT_IN_NAMES).to_string().parse();
    name.parse().or_else(|_| escaped()).ok()
}

/// The names that a header may have come under: its own, then the one with dashes for underscores.
pub(crate) fn spellings(name: &str) -> Vec<HeaderName> {
    let dashed = name.replace('_', "-");
    let mut names: Vec<HeaderName> = name.parse().into_iter().collect();
    names.extend(dashed.parse().ok().filter(|dashed| !names.contains(dashed)));
    names
}

/// Where secrets come from. The values never leave the compiled configuration.
pub trait Secrets: Send + Sync {
    /// The secret that a reference means, if it can be had.
    fn get(&self, reference: &kong::vault::Reference) -> Option<String>;
}

/// A gateway without vaults: every reference is empty.
#[derive(Debug, Default)]
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn get(&self, _reference: &kong::vault::Reference) -> Option<String> {
        None
    }
}

/// What all plugins share with the world.
#[derive(Clone)]
pub struct Context {
    /// IO, clock and randomness.
    pub services: Arc<dyn Services>,
    /// What outlives configurations.
    pub lasting: Arc<Lasting>,
    /// What `{vault://…}` stands for.
    pub secrets: Arc<dyn Secrets>,
    /// What the gateway records of its own work, where it does.
    pub tracing: Option<Tracing>,
}

/// Why a plugin that passed validation cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A pattern that this gateway's regular expressions cannot say.
    #[error("failed to compile pattern '{pattern}' of plugin '{plugin}'")]
    Pattern {
        /// The plugin's name.
        plugin: &'static str,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: kong::pcre::PatternError,
    },
    /// A plugin that Kong has and this gateway cannot run.
    #[error("plugin '{0}' not enabled; add it to the 'plugins' configuration property")]
    Unsupported(String),
    /// A field whose value cannot be used.
    #[error("failed to use field '{field}' of plugin '{plugin}'")]
    Field {
        /// The plugin's name.
        plugin: &'static str,
        /// The field.
        field: &'static str,
    },
}

#[cfg(test)]
pub(crate) mod tests;
