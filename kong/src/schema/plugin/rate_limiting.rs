//! rate-limiting: how many requests a client may send in a period.

use serde_json::Value;

use super::PluginSchema;
use crate::schema::{Check, Condition, EntityCheck, Field, Record, typedef};

const PERIODS: [&str; 6] = ["second", "minute", "hour", "day", "month", "year"];

pub(super) fn schema() -> PluginSchema {
    let conditional = EntityCheck::conditional;
    let limited_by = |what: &str| Condition::eq(what).and(Check::LenMin(1));
    PluginSchema::new("rate-limiting", 910)
        .field("protocols", typedef::protocols_http_seen())
        .field("config", Field::of(config()).required().custom(longer_periods_allow_more))
        .check(EntityCheck::AtLeastOneOf(vec![
            "config.second",
            "config.minute",
            "config.hour",
            "config.day",
            "config.month",
            "config.year",
        ]))
        .check(conditional(
            "config.policy",
            Condition::eq("redis"),
            "config.redis.host",
            Condition::required(),
        ))
        .check(conditional(
            "config.policy",
            Condition::eq("redis"),
            "config.redis.port",
            Condition::required(),
        ))
        .check(conditional(
            "config.policy",
            Condition::eq("redis"),
            "config.redis.timeout",
            Condition::required(),
        ))
        .check(conditional(
            "config.limit_by",
            limited_by("header"),
            "config.header_name",
            Condition::required(),
        ))
        .check(conditional(
            "config.limit_by",
            limited_by("path"),
            "config.path",
            Condition::required(),
        ))
}

fn config() -> Record {
    let mut fields: Vec<(&'static str, Field)> = PERIODS
        .into_iter()
        .map(|period| {
            let text = format!("The number of HTTP requests that can be made per {period}.");
            (period, Field::number().gt(0).describe(&text))
        })
        .collect();
    fields.extend([
        (
            "limit_by",
            Field::string()
                .default("consumer")
                .one_of(&["consumer", "credential", "ip", "service", "header", "path"])
                .describe("The entity that is used when aggregating the limits."),
        ),
        ("header_name", typedef::header_name()),
        ("path", typedef::path()),
        (
            "policy",
            Field::string().default("local").len_min(0).one_of(&["local", "redis"]).describe(
                "The rate-limiting policies to use for retrieving and incrementing the limits.",
            ),
        ),
        (
            "fault_tolerant",
            Field::boolean().required().default(true).describe(
                "A boolean value that determines if the requests should be proxied even if Kong has troubles connecting a third-party data store. If `true`, requests will be proxied anyway, effectively disabling the rate-limiting function until the data store is working again. If `false`, then the clients will see `500` errors.",
            ),
        ),
        ("redis", typedef::redis().required()),
        (
            "hide_client_headers",
            Field::boolean()
                .required()
                .default(false)
                .describe("Optionally hide informative response headers."),
        ),
        (
            "error_code",
            Field::number().default(429).gt(0).describe(
                "Set a custom error code to return when the rate limit is exceeded.",
            ),
        ),
        (
            "error_message",
            Field::string().default("API rate limit exceeded").describe(
                "Set a custom error message to return when the rate limit is exceeded.",
            ),
        ),
        (
            "sync_rate",
            Field::number().required().default(-1).describe(
                "How often to sync counter data to the central data store. A value of -1 results in synchronous behavior.",
            ),
        ),
    ]);
    Record::new(fields).shorthands(typedef::redis_shorthands("rate-limiting"))
}

/// A longer period may not allow less than a shorter one.
pub(super) fn longer_periods_allow_more(config: &Value) -> Result<(), String> {
    let given: Vec<(&str, f64)> = PERIODS
        .iter()
        .filter_map(|period| Some((*period, config.get(period)?.as_f64()?)))
        .collect();
    for pair in given.windows(2) {
        let ((shorter, few), (longer, more)) = (pair[0], pair[1]);
        if more < few {
            return Err(format!(
                "The limit for {longer}({more:.1}) cannot be lower than the limit for {shorter}({few:.1})"
            ));
        }
    }
    Ok(())
}
