//! response-ratelimiting: how much an upstream may spend on a client in a period.

use serde_json::Value;

use super::PluginSchema;
use crate::schema::{Condition, EntityCheck, Field, Record, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("response-ratelimiting", 900).protocols_http().field("config", Field::of(Record::new([("header_name", Field::string().default("x-kong-limit").describe("The name of the response header used to increment the counters.")), ("limit_by", Field::string().default("consumer").one_of(&["consumer", "credential", "ip"]).describe("The entity that will be used when aggregating the limits: `consumer`, `credential`, `ip`. If the `consumer` or the `credential` cannot be determined, the system will always fallback to `ip`.")), ("policy", Field::string().default("local").one_of(&["local", "redis"]).describe("The rate-limiting policies to use for retrieving and incrementing the limits.")), ("fault_tolerant", Field::boolean().required().default(true).describe("A boolean value that determines if the requests should be proxied even if Kong has troubles connecting a third-party datastore. If `true`, requests will be proxied anyway, effectively disabling the rate-limiting function until the datastore is working again. If `false`, then the clients will see `500` errors.")), ("redis", typedef::redis().required()), ("block_on_first_violation", Field::boolean().required().default(false).describe("A boolean value that determines if the requests should be blocked as soon as one limit is being exceeded. This will block requests that are supposed to consume other limits too.")), ("hide_client_headers", Field::boolean().required().default(false).describe("Optionally hide informative response headers.")), ("limits", Field::map(Field::string(), Field::of(Record::new([("second", Field::number().gt(0)), ("minute", Field::number().gt(0)), ("hour", Field::number().gt(0)), ("day", Field::number().gt(0)), ("month", Field::number().gt(0)), ("year", Field::number().gt(0))]).check(EntityCheck::AtLeastOneOf(vec!["second", "minute", "hour", "day", "month", "year"]))).required()).custom(longer_periods_allow_more).required().len_min(1).describe("A map that defines rate limits for the plugin."))]).shorthands(typedef::redis_shorthands("response-ratelimiting"))).required()).check(EntityCheck::conditional("config.policy", Condition::eq("redis"), "config.redis.host", Condition::required())).check(EntityCheck::conditional("config.policy", Condition::eq("redis"), "config.redis.port", Condition::required())).check(EntityCheck::conditional("config.policy", Condition::eq("redis"), "config.redis.timeout", Condition::required()))
}

fn longer_periods_allow_more(limits: &Value) -> Result<(), String> {
    for limit in limits.as_object().into_iter().flat_map(|limits| limits.values()) {
        super::rate_limiting::longer_periods_allow_more(limit)
            .map_err(|text| text.replacen("The", "the", 1))?;
    }
    Ok(())
}
