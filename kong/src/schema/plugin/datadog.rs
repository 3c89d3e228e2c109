//! datadog: figures to Datadog.

use serde_json::{Value, json};

use super::PluginSchema;
use crate::schema::{Field, Record, typedef};

pub(super) fn schema() -> PluginSchema {
    let metric = Record::new([
        ("name", Field::string().required().one_of(&METRICS)),
        (
            "stat_type",
            Field::string().required().one_of(&[
                "counter",
                "gauge",
                "histogram",
                "set",
                "timer",
                "distribution",
            ]),
        ),
        ("tags", Field::array(Field::string().matches("^.*[^:]$"))),
        ("sample_rate", Field::number().between(0, 1)),
        ("consumer_identifier", Field::string().one_of(&["consumer_id", "custom_id", "username"])),
    ])
    .check(super::statsd::sampled("counter"))
    .check(super::statsd::sampled("gauge"));
    PluginSchema::new("datadog", 10).protocols().config([
        ("host", typedef::host().referenceable().default("localhost")),
        ("port", typedef::port().default(8_125)),
        ("prefix", Field::string().default("kong")),
        ("service_name_tag", Field::string().default("name")),
        ("status_tag", Field::string().default("status")),
        ("consumer_tag", Field::string().default("consumer")),
        ("retry_count", Field::integer()),
        ("queue_size", Field::integer()),
        ("flush_timeout", Field::number()),
        ("queue", super::queue::queue()),
        ("metrics", Field::array(Field::of(metric)).required().default(defaults())),
    ])
}

const METRICS: [&str; 6] = [
    "kong_latency",
    "latency",
    "request_count",
    "request_size",
    "response_size",
    "upstream_latency",
];

fn defaults() -> Value {
    let metric = |(name, stat_type, rate): (&str, &str, Option<i64>)| {
        json!({
            "name": name, "stat_type": stat_type, "sample_rate": rate,
            "tags": ["app:kong"], "consumer_identifier": "custom_id",
        })
    };
    [
        ("request_count", "counter", Some(1)),
        ("latency", "timer", None),
        ("request_size", "timer", None),
        ("response_size", "timer", None),
        ("upstream_latency", "timer", None),
        ("kong_latency", "timer", None),
    ]
    .into_iter()
    .map(metric)
    .collect()
}
