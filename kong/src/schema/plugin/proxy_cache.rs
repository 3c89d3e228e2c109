//! proxy-cache: answers kept for later requests.

use serde_json::{Map, Value, json};

use super::PluginSchema;
use crate::schema::{EntityCheck, Fault, Field, Record};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("proxy-cache", 100).protocols().field("config", Field::of(Record::new([("response_code", Field::array(Field::integer().between(100, 900)).required().default(json!([200, 301, 404])).len_min(1).describe("Upstream response status code considered cacheable.")), ("request_method", Field::array(Field::string().one_of(&["HEAD", "GET", "POST", "PATCH", "PUT"])).required().default(json!(["GET", "HEAD"])).describe("Downstream request methods considered cacheable.")), ("content_type", Field::array(Field::string()).required().default(json!(["text/plain", "application/json"])).describe("Upstream response content types considered cacheable. The plugin performs an **exact match** against each specified value.")), ("cache_ttl", Field::integer().default(300).gt(0).describe("TTL, in seconds, of cache entities.")), ("strategy", Field::string().required().one_of(&["memory"]).describe("The backing data store in which to hold cache entities.")), ("cache_control", Field::boolean().required().default(false).describe("When enabled, respect the Cache-Control behaviors defined in RFC7234.")), ("ignore_uri_case", Field::boolean().optional().default(false)), ("storage_ttl", Field::integer().describe("Number of seconds to keep resources in the storage backend. This value is independent of `cache_ttl` or resource TTLs defined by Cache-Control behaviors.")), ("memory", Field::of(Record::new([("dictionary_name", Field::string().required().default("kong_db_cache").describe("The name of the shared dictionary in which to hold cache entities when the memory strategy is selected. Note that this dictionary currently must be defined manually in the Kong Nginx template."))])).required()), ("vary_query_params", Field::array(Field::string()).describe("Relevant query parameters considered for the cache key. If undefined, all params are taken into consideration.")), ("vary_headers", Field::array(Field::string()).describe("Relevant headers considered for the cache key. If undefined, none of the headers are taken into consideration.")), ("response_headers", Field::of(Record::new([("age", Field::boolean().default(true)), ("X-Cache-Status", Field::boolean().default(true)), ("X-Cache-Key", Field::boolean().default(true))])).required().describe("Caching related diagnostic headers that should be included in cached responses"))])).required()).check(EntityCheck::Custom {
            field_sources: vec!["config"],
            run_with_missing_fields: false,
            check: Some(known_dictionary),
        })
}

/// The shared memory zones that Kong has by default.
const DICTIONARIES: [&str; 12] = [
    "kong",
    "kong_cluster_events",
    "kong_core_db_cache",
    "kong_core_db_cache_miss",
    "kong_db_cache",
    "kong_db_cache_miss",
    "kong_healthchecks",
    "kong_locks",
    "kong_rate_limiting_counters",
    "kong_secrets",
    "prometheus_metrics",
    "kong_dns_cache",
];

fn known_dictionary(plugin: &Map<String, Value>) -> Result<(), Fault> {
    let config = plugin.get("config").unwrap_or(&Value::Null);
    let name =
        config.pointer("/memory/dictionary_name").and_then(Value::as_str).unwrap_or_default();
    if config.get("strategy") != Some(&Value::from("memory")) || DICTIONARIES.contains(&name) {
        return Ok(());
    }
    Err(Fault::Message(format!("missing shared dict '{name}'")))
}
