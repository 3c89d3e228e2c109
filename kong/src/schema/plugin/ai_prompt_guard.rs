//! ai-prompt-guard: prompts that may pass.

use super::PluginSchema;
use crate::schema::{EntityCheck, Field};

pub(super) fn schema() -> PluginSchema {
    let patterns = || Field::array(Field::string().len_min(1).len_max(500)).len_max(10).optional();
    PluginSchema::new("ai-prompt-guard", 771)
        .protocols_http()
        .config([
            ("allow_patterns", patterns()),
            ("deny_patterns", patterns()),
            ("allow_all_conversation_history", Field::boolean().required().default(false)),
            ("max_request_body_size", Field::integer().default(8_192).gt(0)),
            ("match_all_roles", Field::boolean().required().default(false)),
        ])
        .check(EntityCheck::AtLeastOneOf(vec!["config.allow_patterns", "config.deny_patterns"]))
}
