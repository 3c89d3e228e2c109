//! request-termination: an answer without asking the upstream.

use serde_json::Value;

use super::PluginSchema;
use crate::schema::{Field, Record, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("request-termination", 2).protocols_http().field("config", Field::of(Record::new([("status_code", Field::integer().required().default(503).between(100, 599).describe("The response code to send. Must be an integer between 100 and 599.")), ("message", Field::string().describe("The message to send, if using the default response generator.")), ("content_type", Field::string().describe("Content type of the raw response configured with `config.body`.")), ("body", Field::string().describe("The raw response body to send. This is mutually exclusive with the `config.message` field.")), ("echo", Field::boolean().required().default(false).describe("When set, the plugin will echo a copy of the request back to the client. The main usecase for this is debugging. It can be combined with `trigger` in order to debug requests on live systems without disturbing real traffic.")), ("trigger", typedef::header_name())])).required().custom(one_way_to_answer))
}

fn one_way_to_answer(config: &Value) -> Result<(), String> {
    let set = |name: &str| config.get(name).is_some_and(|value| !value.is_null());
    if set("message") && (set("content_type") || set("body")) {
        return Err("message cannot be used with content_type or body".into());
    }
    if set("content_type") && !set("body") {
        return Err("content_type requires a body".into());
    }
    Ok(())
}
