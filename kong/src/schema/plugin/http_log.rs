//! http-log: a record over HTTP per request.

use serde_json::Value;

use super::PluginSchema;
use crate::schema::{Field, Record, typedef};

pub(super) fn schema() -> PluginSchema {
    let config = Record::new([
        ("http_endpoint", typedef::url().required().referenceable().encrypted()),
        ("method", Field::string().default("POST").one_of(&["POST", "PUT", "PATCH"])),
        (
            "content_type",
            Field::string()
                .default("application/json")
                .one_of(&["application/json", "application/json; charset=utf-8"]),
        ),
        ("timeout", Field::number().default(10_000)),
        ("keepalive", Field::number().default(60_000)),
        ("retry_count", Field::integer()),
        ("queue_size", Field::integer()),
        ("flush_timeout", Field::number()),
        (
            "headers",
            Field::map(typedef::header_name(), Field::string().referenceable())
                .custom(no_own_headers),
        ),
        ("queue", super::queue::queue()),
        ("custom_fields_by_lua", super::queue::custom_fields()),
    ]);
    PluginSchema::new("http-log", 12)
        .protocols()
        .field("config", Field::of(config).required().custom(one_authorization))
}

fn no_own_headers(headers: &Value) -> Result<(), String> {
    let names = headers.as_object().into_iter().flat_map(|map| map.keys());
    for name in names {
        for own in ["Host", "Content-Length", "Content-Type"] {
            if name.eq_ignore_ascii_case(own) {
                return Err(format!("cannot contain '{own}' header"));
            }
        }
    }
    Ok(())
}

fn one_authorization(config: &Value) -> Result<(), String> {
    let has_user = config.get("http_endpoint").and_then(Value::as_str).is_some_and(|url| {
        url.split_once("://")
            .is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@')))
    });
    let has_header = config.get("headers").and_then(Value::as_object).is_some_and(|headers| {
        headers.keys().any(|name| name.eq_ignore_ascii_case("authorization"))
    });
    if has_user && has_header {
        return Err("specifying both an 'Authorization' header and user info in 'http_endpoint' is not allowed".into());
    }
    Ok(())
}
