//! post-function: code of one's own.

use serde_json::json;

use super::PluginSchema;
use crate::schema::{EntityCheck, Field};

pub(super) fn schema() -> PluginSchema {
    let code = || Field::array(Field::string()).required().default(json!([]));
    PluginSchema::new("post-function", -1000)
        .protocols()
        .config(super::function_code::PHASES.map(|phase| (phase, code())))
        .check(EntityCheck::AtLeastOneOf(vec![
            "config.certificate",
            "config.rewrite",
            "config.access",
            "config.header_filter",
            "config.body_filter",
            "config.log",
        ]))
}
