//! statsd: figures to StatsD.

use serde_json::{Value, json};

use super::PluginSchema;
use crate::schema::{Condition, EntityCheck, Field, Record, typedef};

pub(super) fn schema() -> PluginSchema {
    let metric = Record::new([
        ("name", Field::string().required().one_of(&METRICS)),
        ("stat_type", Field::string().required().one_of(&STAT_TYPES)),
        ("sample_rate", Field::number().gt(0)),
        ("consumer_identifier", Field::string().one_of(&CONSUMERS)),
        ("service_identifier", Field::string().one_of(&SERVICES)),
        ("workspace_identifier", Field::string().one_of(&WORKSPACES)),
    ])
    .check(sampled("counter"))
    .check(sampled("gauge"));
    PluginSchema::new("statsd", 11).protocols().config([
        ("host", typedef::host().default("localhost")),
        ("port", typedef::port().default(8_125)),
        ("prefix", Field::string().default("kong")),
        ("metrics", Field::array(Field::of(metric)).default(defaults())),
        ("allow_status_codes", Field::array(Field::string().matches("^%d+-%d+$"))),
        ("udp_packet_size", Field::number().default(0).between(0, 65_507)),
        ("use_tcp", Field::boolean().default(false)),
        ("hostname_in_prefix", Field::boolean().default(false)),
        (
            "consumer_identifier_default",
            Field::string().required().default("custom_id").one_of(&CONSUMERS),
        ),
        (
            "service_identifier_default",
            Field::string().required().default("service_name_or_host").one_of(&SERVICES),
        ),
        (
            "workspace_identifier_default",
            Field::string().required().default("workspace_id").one_of(&WORKSPACES),
        ),
        ("retry_count", Field::integer()),
        ("queue_size", Field::integer()),
        ("flush_timeout", Field::number()),
        ("tag_style", Field::string().one_of(&["dogstatsd", "influxdb", "librato", "signalfx"])),
        ("queue", super::queue::queue()),
    ])
}

const METRICS: [&str; 13] = [
    "kong_latency",
    "latency",
    "request_count",
    "request_per_user",
    "request_size",
    "response_size",
    "shdict_usage",
    "status_count",
    "status_count_per_user",
    "status_count_per_user_per_route",
    "status_count_per_workspace",
    "unique_users",
    "upstream_latency",
];

/// How a figure is taken.
pub(super) const STAT_TYPES: [&str; 6] = ["counter", "gauge", "histogram", "meter", "set", "timer"];

const CONSUMERS: [&str; 3] = ["consumer_id", "custom_id", "username"];
const SERVICES: [&str; 4] = ["service_id", "service_name", "service_host", "service_name_or_host"];
const WORKSPACES: [&str; 2] = ["workspace_id", "workspace_name"];

/// A figure of this type needs a sample rate.
pub(super) fn sampled(stat_type: &'static str) -> EntityCheck {
    EntityCheck::conditional(
        "stat_type",
        Condition::eq(stat_type),
        "sample_rate",
        Condition::required(),
    )
}

fn defaults() -> Value {
    let metric = |(name, stat_type, rate): (&str, &str, Option<i64>)| json!({ "name": name, "stat_type": stat_type, "sample_rate": rate });
    [
        ("request_count", "counter", Some(1)),
        ("latency", "timer", None),
        ("request_size", "counter", Some(1)),
        ("status_count", "counter", Some(1)),
        ("response_size", "counter", Some(1)),
        ("unique_users", "set", None),
        ("request_per_user", "counter", Some(1)),
        ("upstream_latency", "timer", None),
        ("kong_latency", "timer", None),
        ("status_count_per_user", "counter", Some(1)),
        ("status_count_per_workspace", "counter", Some(1)),
        ("status_count_per_user_per_route", "counter", Some(1)),
        ("shdict_usage", "gauge", Some(1)),
    ]
    .into_iter()
    .map(metric)
    .collect()
}
