//! bot-detection: which user agents may pass.

use serde_json::json;

use super::PluginSchema;
use crate::schema::{Field, Record};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("bot-detection", 2500).no_consumer().protocols_http().field("config", Field::of(Record::new([("allow", Field::array(Field::string().is_regex()).default(json!([])).describe("An array of regular expressions that should be allowed. The regular expressions will be checked against the `User-Agent` header.")), ("deny", Field::array(Field::string().is_regex()).default(json!([])).describe("An array of regular expressions that should be denied. The regular expressions will be checked against the `User-Agent` header."))])).required())
}
