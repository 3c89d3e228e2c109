//! ai-response-transformer: a language model that rewrites what passes.

use super::PluginSchema;
use crate::schema::{Condition, EntityCheck, Field, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("ai-response-transformer", 768)
        .protocols_http()
        .config([
            ("prompt", Field::string().required()),
            ("transformation_extract_pattern", Field::string()),
            ("parse_llm_response_json_instructions", Field::boolean().required().default(false)),
            ("http_timeout", Field::integer().required().default(60_000)),
            ("https_verify", Field::boolean().required().default(true)),
            ("max_request_body_size", Field::integer().default(8_192).gt(0)),
            ("http_proxy_host", typedef::host()),
            ("http_proxy_port", typedef::port()),
            ("https_proxy_host", typedef::host()),
            ("https_proxy_port", typedef::port()),
            ("llm", Field::record(super::llm::llm()).required()),
        ])
        .check(EntityCheck::Conditional {
            if_field: "config.llm.route_type",
            if_match: Condition::not_one_of(&["llm/v1/chat"]),
            then_field: "config.llm.route_type",
            then_match: Condition::eq("llm/v1/chat"),
            then_err: Some(
                "'config.llm.route_type' must be 'llm/v1/chat' for AI transformer plugins",
            ),
        })
}
