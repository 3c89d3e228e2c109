//! The plugins that the gateway knows: one file each.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Value, json};

use super::{EntityCheck, Field, Record, Shorthand, typedef};

mod acl;
mod acme;
mod ai_prompt_decorator;
mod ai_prompt_guard;
mod ai_prompt_template;
mod ai_proxy;
mod ai_request_transformer;
mod ai_response_transformer;
mod aws_lambda;
mod azure_functions;
mod basic_auth;
mod bot_detection;
mod correlation_id;
mod cors;
mod datadog;
mod file_log;
pub mod flotilla_cors;
pub mod flotilla_listeners;
pub mod flotilla_route;
pub mod flotilla_upstream;
mod function_code;
mod grpc_gateway;
mod grpc_web;
mod hmac_auth;
mod http_log;
mod ip_restriction;
mod jwt;
mod key_auth;
mod ldap_auth;
mod llm;
mod loggly;
mod oauth2;
mod opentelemetry;
mod pair;
mod post_function;
mod pre_function;
mod prometheus;
mod proxy_cache;
mod queue;
mod rate_limiting;
mod redirect;
mod request_size_limiting;
mod request_termination;
mod request_transformer;
mod response_ratelimiting;
mod response_transformer;
mod session;
mod standard_webhooks;
mod statsd;
mod syslog;
mod tcp_log;
mod udp_log;
mod zipkin;

/// The version that every bundled plugin reports.
pub const BUNDLED_VERSION: &str = "3.9.3";

/// Everything that is known of a plugin before it runs.
#[derive(Clone, Debug)]
pub struct PluginSchema {
    /// Kong's name.
    pub name: &'static str,
    /// Greater runs earlier.
    pub priority: i64,
    /// Kong's version of it.
    pub version: &'static str,
    /// What it says about the plugin entity: `protocols`, `consumer`, `config`, …
    pub record: Record,
}

impl PluginSchema {
    /// A plugin without fields.
    #[must_use]
    pub fn new(name: &'static str, priority: i64) -> Self {
        Self { name, priority, version: BUNDLED_VERSION, record: Record::default() }
    }

    /// Another version than the gateway's.
    #[must_use]
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Adds a field of the plugin entity, in the order in which Kong prints them.
    #[must_use]
    pub fn field(mut self, name: &'static str, field: Field) -> Self {
        self.record.fields.push((name, field));
        self
    }

    /// May not be set on a consumer.
    #[must_use]
    pub fn no_consumer(self) -> Self {
        self.field("consumer", typedef::no_foreign("consumers"))
    }

    /// May not be set on a service.
    #[must_use]
    pub fn no_service(self) -> Self {
        self.field("service", typedef::no_foreign("services"))
    }

    /// May not be set on a route.
    #[must_use]
    pub fn no_route(self) -> Self {
        self.field("route", typedef::no_foreign("routes"))
    }

    /// Runs for HTTP and gRPC.
    #[must_use]
    pub fn protocols_http(self) -> Self {
        self.field("protocols", typedef::protocols_http())
    }

    /// Runs for every protocol.
    #[must_use]
    pub fn protocols(self) -> Self {
        self.field("protocols", typedef::protocols())
    }

    /// Its configuration.
    #[must_use]
    pub fn config(self, fields: impl IntoIterator<Item = (&'static str, Field)>) -> Self {
        self.field("config", Field::record(fields).required())
    }

    /// Its configuration, from a record that has shorthands or checks.
    #[must_use]
    pub fn config_of(self, record: Record) -> Self {
        self.field("config", Field::of(record).required())
    }

    /// Older spellings in its configuration.
    #[must_use]
    pub fn shorthands(mut self, shorthands: impl IntoIterator<Item = Shorthand>) -> Self {
        for (name, field) in &mut self.record.fields {
            if let ("config", super::Kind::Record(record)) = (*name, &mut field.kind) {
                *record = std::mem::take(record).shorthands(shorthands);
                break;
            }
        }
        self
    }

    /// A check over several fields (`config.…`).
    #[must_use]
    pub fn check(mut self, check: EntityCheck) -> Self {
        self.record.checks.push(check);
        self
    }

    /// The field of this name, if the plugin says anything of it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.record.field(name)
    }

    /// `GET /schemas/plugins/<name>`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.record.to_json()
    }

    /// `GET /plugins/schema/<name>` (the configuration alone).
    #[must_use]
    pub fn config_json(&self) -> Value {
        match self.get("config").map(|field| &field.kind) {
            Some(super::Kind::Record(record)) => record.to_json(),
            _ => json!({ "fields": [] }),
        }
    }
}

static PLUGINS: LazyLock<BTreeMap<&'static str, PluginSchema>> = LazyLock::new(|| {
    [
        acl::schema(),
        acme::schema(),
        ai_prompt_decorator::schema(),
        ai_prompt_guard::schema(),
        ai_prompt_template::schema(),
        ai_proxy::schema(),
        ai_request_transformer::schema(),
        ai_response_transformer::schema(),
        aws_lambda::schema(),
        azure_functions::schema(),
        basic_auth::schema(),
        bot_detection::schema(),
        correlation_id::schema(),
        cors::schema(),
        datadog::schema(),
        file_log::schema(),
        flotilla_cors::schema(),
        flotilla_listeners::schema(),
        flotilla_route::schema(),
        flotilla_upstream::schema(),
        grpc_gateway::schema(),
        grpc_web::schema(),
        hmac_auth::schema(),
        http_log::schema(),
        ip_restriction::schema(),
        jwt::schema(),
        key_auth::schema(),
        ldap_auth::schema(),
        loggly::schema(),
        oauth2::schema(),
        opentelemetry::schema(),
        post_function::schema(),
        pre_function::schema(),
        prometheus::schema(),
        proxy_cache::schema(),
        rate_limiting::schema(),
        redirect::schema(),
        request_size_limiting::schema(),
        request_termination::schema(),
        request_transformer::schema(),
        response_ratelimiting::schema(),
        response_transformer::schema(),
        session::schema(),
        standard_webhooks::schema(),
        statsd::schema(),
        syslog::schema(),
        tcp_log::schema(),
        udp_log::schema(),
        zipkin::schema(),
    ]
    .into_iter()
    .map(|schema| (schema.name, schema))
    .collect()
});

/// The plugin of this name.
#[must_use]
pub fn plugin(name: &str) -> Option<&'static PluginSchema> {
    PLUGINS.get(name)
}

/// All plugins by name, our own too.
pub fn all() -> impl Iterator<Item = &'static PluginSchema> {
    PLUGINS.values()
}

/// The plugins of Kong by name.
pub fn of_kong() -> impl Iterator<Item = &'static PluginSchema> {
    const OURS: [&str; 4] = [
        flotilla_cors::NAME,
        flotilla_listeners::NAME,
        flotilla_route::NAME,
        flotilla_upstream::NAME,
    ];
    all().filter(|schema| !OURS.contains(&schema.name))
}
