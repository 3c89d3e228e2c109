//! ai-prompt-decorator: messages added to prompts.

use super::PluginSchema;
use crate::schema::{EntityCheck, Field};

pub(super) fn schema() -> PluginSchema {
    let messages = || {
        Field::array(Field::record([
            ("role", Field::string().required().one_of(&["system", "assistant", "user"])),
            ("content", Field::string().required().len_min(1).len_max(100_000)),
        ]))
        .len_max(15)
        .optional()
    };
    PluginSchema::new("ai-prompt-decorator", 772)
        .protocols_http()
        .config([
            ("prompts", Field::record([("prepend", messages()), ("append", messages())])),
            ("max_request_body_size", Field::integer().default(8_192).gt(0)),
        ])
        .check(EntityCheck::AtLeastOneOf(vec!["config.prompts.prepend", "config.prompts.append"]))
}
