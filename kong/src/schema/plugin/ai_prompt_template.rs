//! ai-prompt-template: prompts from templates.

use super::PluginSchema;
use crate::schema::Field;

pub(super) fn schema() -> PluginSchema {
    let template = Field::record([
        ("name", Field::string().required()),
        ("template", Field::string().required()),
    ])
    .required();
    PluginSchema::new("ai-prompt-template", 773).protocols_http().config([
        ("templates", Field::array(template).required()),
        ("allow_untemplated_requests", Field::boolean().required().default(true)),
        ("log_original_request", Field::boolean().required().default(false)),
        ("max_request_body_size", Field::integer().default(8_192).gt(0)),
    ])
}
