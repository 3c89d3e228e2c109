//! Upstreams and targets.

use serde_json::{Value, json};

use super::{EntitySchema, header, not_empty};
use crate::{
    host::{HostKind, normalize},
    schema::{Condition, EntityCheck, Field, Record, typedef},
};

const SOURCES: [&str; 8] =
    ["none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture"];
const PASSIVE_HEALTHY: [u16; 19] =
    [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308];
const ACTIVE_UNHEALTHY: [u16; 8] = [429, 404, 500, 501, 502, 503, 504, 505];

pub(super) fn schema() -> EntitySchema {
    let mut fields = header();
    let updated = fields.pop();
    fields.push((
        "name",
        not_empty(Field::string())
            .required()
            .unique()
            .custom(check_name)
            .describe("This is a hostname, which must be equal to the host of a Service."),
    ));
    fields.extend(updated);
    let source = || not_empty(Field::string()).default("none").one_of(&SOURCES);
    fields.extend([
        (
            "algorithm",
            not_empty(Field::string())
                .default("round-robin")
                .one_of(&["consistent-hashing", "least-connections", "round-robin", "latency"])
                .describe("Which load balancing algorithm to use."),
        ),
        ("hash_on", source()),
        ("hash_fallback", source()),
        ("hash_on_header", typedef::header_name()),
        ("hash_fallback_header", typedef::header_name()),
        (
            "hash_on_cookie",
            Field::string().custom(check_cookie_name).describe(
                "The cookie name to take the value from as hash input.",
            ),
        ),
        ("hash_on_cookie_path", not_empty(typedef::path()).default("/")),
        ("hash_on_query_arg", not_empty(Field::string()).custom(check_parameter)),
        ("hash_fallback_query_arg", not_empty(Field::string()).custom(check_parameter)),
        ("hash_on_uri_capture", not_empty(Field::string()).custom(check_parameter)),
        ("hash_fallback_uri_capture", not_empty(Field::string()).custom(check_parameter)),
        (
            "slots",
            Field::integer()
                .default(10000)
                .between(10, 1 << 16)
                .describe("The number of slots in the load balancer algorithm."),
        ),
        ("healthchecks", healthchecks()),
        ("tags", typedef::tags()),
        ("host_header", typedef::host_with_optional_port()),
        (
            "client_certificate",
            Field::foreign("certificates").describe("If set, the certificate to be used as client certificate while TLS handshaking to the upstream server."),
        ),
        (
            "use_srv_name",
            Field::boolean()
                .default(false)
                .describe("If set, the balancer will use SRV hostname."),
        ),
    ]);
    let record = hash_checks().into_iter().fold(Record::new(fields), Record::check);
    EntitySchema::new("upstreams", record).named_by("name")
}

fn hash_checks() -> Vec<EntityCheck> {
    let when = |field: &'static str, pattern: &'static str, then: &'static str, condition| {
        EntityCheck::conditional(field, Condition::matches(pattern), then, condition)
    };
    let needs = |field, pattern, then| when(field, pattern, then, Condition::required());
    let falls_to = |pattern, choices: &[&str]| {
        when("hash_on", pattern, "hash_fallback", Condition::one_of(choices))
    };
    vec![
        needs("hash_on", "^header$", "hash_on_header"),
        needs("hash_fallback", "^header$", "hash_fallback_header"),
        needs("hash_on", "^cookie$", "hash_on_cookie"),
        needs("hash_fallback", "^cookie$", "hash_on_cookie"),
        falls_to("^none$", &["none"]),
        falls_to("^cookie$", &["none"]),
        falls_to(
            "^consumer$",
            &["none", "ip", "header", "cookie", "path", "query_arg", "uri_capture"],
        ),
        falls_to(
            "^ip$",
            &["none", "consumer", "header", "cookie", "path", "query_arg", "uri_capture"],
        ),
        falls_to(
            "^path$",
            &["none", "consumer", "header", "cookie", "query_arg", "ip", "uri_capture"],
        ),
        EntityCheck::Distinct(vec!["hash_on_header", "hash_fallback_header"]),
        needs("hash_on", "^query_arg$", "hash_on_query_arg"),
        needs("hash_fallback", "^query_arg$", "hash_fallback_query_arg"),
        EntityCheck::Distinct(vec!["hash_on_query_arg", "hash_fallback_query_arg"]),
        needs("hash_on", "^uri_capture$", "hash_on_uri_capture"),
        needs("hash_fallback", "^uri_capture$", "hash_fallback_uri_capture"),
        EntityCheck::Distinct(vec!["hash_on_uri_capture", "hash_fallback_uri_capture"]),
    ]
}

fn statuses(default: &[u16]) -> Field {
    Field::array(Field::integer().between(100, 999)).default(json!(default))
}

fn counter() -> Field {
    Field::integer().between(0, 255).default(0)
}

fn seconds(default: i64) -> Field {
    Field::number().between(0, 65535).default(default)
}

fn health_type() -> Field {
    Field::string().default("http").one_of(&["tcp", "http", "https", "grpc", "grpcs"])
}

fn healthchecks() -> Field {
    let passive_failures = || {
        [
            ("http_failures", counter()),
            ("http_statuses", statuses(&[429, 500, 503])),
            ("tcp_failures", counter()),
            ("timeouts", counter()),
        ]
    };
    let active_failures = [
        ("http_failures", counter()),
        ("http_statuses", statuses(&ACTIVE_UNHEALTHY)),
        ("interval", seconds(0)),
        ("tcp_failures", counter()),
        ("timeouts", counter()),
    ];
    let active_unhealthy = json!({ "http_failures": 0, "http_statuses": ACTIVE_UNHEALTHY, "interval": 0, "tcp_failures": 0, "timeouts": 0 });
    let active_healthy = json!({ "http_statuses": [200, 302], "interval": 0, "successes": 0 });
    let passive_unhealthy = json!({ "http_failures": 0, "http_statuses": [429, 500, 503], "tcp_failures": 0, "timeouts": 0 });
    let passive_healthy = json!({ "http_statuses": PASSIVE_HEALTHY, "successes": 0 });
    let active_default = json!({
        "concurrency": 10, "healthy": active_healthy, "http_path": "/",
        "https_verify_certificate": true, "timeout": 1, "type": "http", "unhealthy": active_unhealthy,
    });
    let passive_default =
        json!({ "healthy": passive_healthy, "type": "http", "unhealthy": passive_unhealthy });
    let healthy = [
        ("http_statuses", statuses(&[200, 302])),
        ("interval", seconds(0)),
        ("successes", counter()),
    ];
    let active = Field::record([
        ("concurrency", Field::integer().between(1, 1 << 31).default(10)),
        (
            "headers",
            Field::map(typedef::header_name(), Field::array(Field::string()))
                .optional()
                .describe("A map of header names to arrays of header values."),
        ),
        ("healthy", Field::record(healthy).required().default(active_healthy)),
        ("http_path", typedef::path().default("/")),
        ("https_sni", typedef::sni().optional()),
        ("https_verify_certificate", Field::boolean().required().default(true)),
        ("timeout", seconds(1)),
        ("type", health_type()),
        ("unhealthy", Field::record(active_failures).required().default(active_unhealthy)),
    ]);
    let passive = Field::record([
        (
            "healthy",
            Field::record([
                ("http_statuses", statuses(&PASSIVE_HEALTHY)),
                ("successes", counter()),
            ])
            .required()
            .default(passive_healthy),
        ),
        ("type", health_type()),
        ("unhealthy", Field::record(passive_failures()).required().default(passive_unhealthy)),
    ]);
    Field::record([
        ("active", active.required().default(active_default.clone())),
        ("passive", passive.required().default(passive_default.clone())),
        ("threshold", Field::number().between(0, 100).default(0)),
    ])
    .required()
    .default(json!({ "active": active_default, "passive": passive_default }))
    .describe("The array of healthchecks.")
}

pub(super) fn targets() -> EntitySchema {
    let record = Record::new([
        ("id", typedef::uuid().len_min(1)),
        ("created_at", super::timestamp_ms()),
        ("updated_at", super::timestamp_ms()),
        (
            "upstream",
            Field::foreign("upstreams").required().note("on_delete", "cascade").describe(
                "The unique identifier or the name of the upstream for which to update the target.",
            ),
        ),
        (
            "target",
            not_empty(Field::string())
                .required()
                .custom(check_target)
                .describe("The target address (ip or hostname) and port."),
        ),
        (
            "weight",
            Field::integer().default(100).between(0, 65535).describe(
                "The weight this target gets within the upstream loadbalancer (0-65535).",
            ),
        ),
        ("tags", typedef::tags()),
    ]);
    EntitySchema::new("targets", record).keyed_by(&["upstream", "target"])
}

fn check_name(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match normalize(text) {
        Some(host) if host.kind != HostKind::Name => {
            Err("Invalid name ('".to_owned() + text + "'); no ip addresses allowed")
        }
        Some(host) if host.port.is_some() => {
            Err("Invalid name ('".to_owned() + text + "'); no port allowed")
        }
        Some(_) => Ok(()),
        None => Err(format!("Invalid name ('{text}'); must be a valid hostname")),
    }
}

fn check_target(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match normalize(text) {
        Some(_) => Ok(()),
        None => Err(format!("Invalid target ('{text}'); not a valid hostname or ip address")),
    }
}

fn check_cookie_name(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let bad = |byte: u8| byte <= 32 || byte == 127 || b"()<>@,;:\\\"/?={}[]".contains(&byte);
    if text.bytes().any(bad) {
        return Err("contains one or more invalid characters. ASCII control characters (0-31;127), space, tab and the characters ()<>@,;:\\\"/?={}[] are not allowed.".into());
    }
    Ok(())
}

fn check_parameter(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)) {
        return Ok(());
    }
    Err("must only contain alphanumeric and '., -, _, ~' characters".into())
}
