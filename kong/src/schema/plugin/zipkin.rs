//! zipkin: traces to Zipkin.

use serde_json::{Value, json};

use super::PluginSchema;
use crate::schema::{Field, typedef};

pub(super) fn schema() -> PluginSchema {
    let tag = Field::record([
        ("name", Field::string().required().not_one_of(&RESERVED_TAGS)),
        ("value", Field::string().required()),
    ]);
    PluginSchema::new("zipkin", 100_000).protocols().config([
        ("local_service_name", Field::string().required().default("kong")),
        ("http_endpoint", typedef::url().referenceable()),
        ("sample_ratio", Field::number().default(0.001).between(0, 1)),
        ("default_service_name", Field::string()),
        ("include_credential", Field::boolean().required().default(true)),
        ("traceid_byte_count", Field::integer().required().default(16).one_of(&[8, 16])),
        (
            "header_type",
            Field::string().required().default("preserve").one_of(&[
                "preserve",
                "ignore",
                "b3",
                "b3-single",
                "w3c",
                "jaeger",
                "ot",
                "aws",
                "datadog",
                "gcp",
            ]),
        ),
        (
            "default_header_type",
            Field::string().required().default("b3").one_of(&[
                "b3",
                "b3-single",
                "w3c",
                "jaeger",
                "ot",
                "aws",
                "datadog",
                "gcp",
            ]),
        ),
        ("tags_header", Field::string().required().default("Zipkin-Tags")),
        ("static_tags", Field::array(tag).custom(tags_differ)),
        (
            "http_span_name",
            Field::string().required().default("method").one_of(&["method", "method_path"]),
        ),
        ("connect_timeout", typedef::timeout().default(2_000)),
        ("send_timeout", typedef::timeout().default(5_000)),
        ("read_timeout", typedef::timeout().default(5_000)),
        ("http_response_header_for_traceid", Field::string()),
        (
            "phase_duration_flavor",
            Field::string().required().default("annotations").one_of(&["annotations", "tags"]),
        ),
        ("queue", super::queue::queue()),
        ("propagation", super::queue::propagation().default(json!({ "default_format": "b3" }))),
    ])
}

const RESERVED_TAGS: [&str; 13] = [
    "error",
    "http.method",
    "http.path",
    "http.status_code",
    "kong.balancer.state",
    "kong.balancer.try",
    "kong.consumer",
    "kong.credential",
    "kong.node.id",
    "kong.route",
    "kong.service",
    "lc",
    "peer.hostname",
];

fn tags_differ(tags: &Value) -> Result<(), String> {
    let mut seen = Vec::new();
    for name in tags.as_array().into_iter().flatten().filter_map(|tag| tag.get("name")?.as_str()) {
        if seen.contains(&name) {
            return Err(format!("repeated tags are not allowed: {name}"));
        }
        seen.push(name);
    }
    Ok(())
}
