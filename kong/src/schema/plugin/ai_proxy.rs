//! ai-proxy: requests to a language model.

use super::PluginSchema;
use crate::schema::Field;

pub(super) fn schema() -> PluginSchema {
    let mut fields = super::llm::llm();
    fields.extend([
        (
            "response_streaming",
            Field::string().default("allow").one_of(&["allow", "deny", "always"]),
        ),
        ("max_request_body_size", Field::integer().default(8_192).gt(0)),
        ("model_name_header", Field::boolean().default(true)),
        ("llm_format", Field::string().default("openai").one_of(&["openai", "bedrock", "gemini"])),
    ]);
    PluginSchema::new("ai-proxy", 770).protocols_http().config(fields)
}
