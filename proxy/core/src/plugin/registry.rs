//! Every plugin that this gateway runs: its name, its place in the order, the phases it needs, how it is built.

use super::{BuildError, Config, Phases, Plugin};

/// A plugin that can be configured.
pub struct Definition {
    /// Kong's name of it.
    pub name: &'static str,
    /// Kong's priority: higher runs first.
    pub priority: i64,
    /// The phases in which it is called.
    pub phases: Phases,
    /// Builds an instance from its configuration.
    pub build: Build,
}

/// Makes an instance of a validated configuration.
pub(super) type Build = fn(&Config<'_>) -> Result<Box<dyn Plugin>, BuildError>;

/// The plugin of this name, where the gateway runs it.
#[must_use]
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.name == name)
}

const R: Phases = Phases::REWRITE;
const A: Phases = Phases::ACCESS;
const H: Phases = Phases::HEADER_FILTER;
const L: Phases = Phases::LOG;

const fn define(name: &'static str, priority: i64, phases: Phases, build: Build) -> Definition {
    Definition { name, priority, phases, build }
}

/// By descending priority.
static DEFINITIONS: &[Definition] = &[
    define("pre-function", 1_000_000, R.and(A).and(H).and(L), super::functions::build),
    define("correlation-id", 100_001, A.and(H), super::correlation_id::build),
    define("zipkin", 100_000, A.and(L), super::zipkin::build),
    define("bot-detection", 2_500, A, super::bot_detection::build),
    define("flotilla-cors", 2_001, A.and(H), super::flotilla_cors::build),
    define("cors", 2_000, A.and(H), super::cors::build),
    define("session", 1_900, A.and(H), super::session::build),
    define("acme", 1_705, A, super::acme::build),
    define("jwt", 1_450, A, super::jwt::build),
    define("oauth2", 1_400, A, super::oauth2::build),
    define("key-auth", 1_250, A, super::key_auth::build),
    define("ldap-auth", 1_200, A, super::ldap_auth::build),
    define("basic-auth", 1_100, A, super::basic_auth::build),
    define("hmac-auth", 1_030, A, super::hmac_auth::build),
    define("grpc-gateway", 998, A.and(H), super::grpc_gateway::build),
    define("ip-restriction", 990, A, super::ip_restriction::build),
    define("request-size-limiting", 951, A, super::request_size_limiting::build),
    define("acl", 950, A, super::acl::build),
    define("rate-limiting", 910, A, super::rate_limiting::build),
    define("response-ratelimiting", 900, A.and(H), super::response_ratelimiting::build),
    define("request-transformer", 801, A, super::request_transformer::build),
    define("response-transformer", 800, H, super::response_transformer::build),
    define("flotilla-route", 790, A, super::flotilla_route::build),
    define("flotilla-upstream", 789, A, super::flotilla_upstream::build),
    define("redirect", 779, A, super::redirect::build),
    define("ai-request-transformer", 777, A, super::ai_request_transformer::build),
    define("ai-prompt-template", 773, A, super::ai_prompt_template::build),
    define("ai-prompt-decorator", 772, A, super::ai_prompt_decorator::build),
    define("ai-prompt-guard", 771, A, super::ai_prompt_guard::build),
    define("ai-proxy", 770, A.and(H), super::ai_proxy::build),
    define("ai-response-transformer", 768, A, super::ai_response_transformer::build),
    define("standard-webhooks", 760, A, super::standard_webhooks::build),
    define("aws-lambda", 750, A, super::aws_lambda::build),
    define("azure-functions", 749, A, super::azure_functions::build),
    define("proxy-cache", 100, A.and(H), super::proxy_cache::build),
    define("opentelemetry", 14, A.and(L), super::opentelemetry::build),
    define("prometheus", 13, L, super::prometheus::build),
    define("http-log", 12, L, super::loggers::build_http),
    define("statsd", 11, L, super::statsd::build_statsd),
    define("datadog", 10, L, super::statsd::build_datadog),
    define("file-log", 9, L, super::loggers::build_file),
    define("udp-log", 8, L, super::loggers::build_udp),
    define("tcp-log", 7, L, super::loggers::build_tcp),
    define("loggly", 6, L, super::loggers::build_loggly),
    define("syslog", 4, L, super::loggers::build_syslog),
    define("grpc-web", 3, A.and(H), super::grpc_web::build),
    define("request-termination", 2, A, super::request_termination::build),
    define("flotilla-listeners", 1, L, super::flotilla_listeners::build),
    define("post-function", -1_000, R.and(A).and(H).and(L), super::functions::build),
];
