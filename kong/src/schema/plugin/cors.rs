//! cors: which other origins a browser may call from.

use serde_json::{Value, json};

use super::PluginSchema;
use crate::schema::{Field, Record, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("cors", 2000).no_consumer().field("protocols", typedef::protocols_http_seen()).field("config", Field::of(Record::new([("origins", Field::array(Field::string().custom(origin)).describe("List of allowed domains for the `Access-Control-Allow-Origin` header. If you want to allow all origins, add `*` as a single value to this configuration field. The accepted values can either be flat strings or PCRE regexes.")), ("headers", Field::array(Field::string()).describe("Value for the `Access-Control-Allow-Headers` header.")), ("exposed_headers", Field::array(Field::string()).describe("Value for the `Access-Control-Expose-Headers` header. If not specified, no custom headers are exposed.")), ("methods", Field::array(Field::string().one_of(&["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT"])).default(json!(["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT"])).describe("'Value for the `Access-Control-Allow-Methods` header. Available options include `GET`, `HEAD`, `PUT`, `PATCH`, `POST`, `DELETE`, `OPTIONS`, `TRACE`, `CONNECT`. By default, all options are allowed.'")), ("max_age", Field::number().describe("Indicates how long the results of the preflight request can be cached, in `seconds`.")), ("credentials", Field::boolean().required().default(false).describe("Flag to determine whether the `Access-Control-Allow-Credentials` header should be sent with `true` as the value.")), ("private_network", Field::boolean().required().default(false).describe("Flag to determine whether the `Access-Control-Allow-Private-Network` header should be sent with `true` as the value.")), ("preflight_continue", Field::boolean().required().default(false).describe("A boolean value that instructs the plugin to proxy the `OPTIONS` preflight request to the Upstream service."))])).required())
}

fn origin(value: &Value) -> Result<(), String> {
    let origin = value.as_str().unwrap_or_default();
    if origin == "*" || crate::schema::is_regex(origin) {
        return Ok(());
    }
    Err(format!("'{origin}' is not a valid regex"))
}
