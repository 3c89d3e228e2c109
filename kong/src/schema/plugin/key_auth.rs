//! key-auth: who calls, by a key in a header, the query or the body.

use serde_json::json;

use super::PluginSchema;
use crate::schema::{Field, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("key-auth", 1250).no_consumer().protocols_http().config([
        (
            "key_names",
            Field::array(typedef::header_name()).required().default(json!(["apikey"])).describe(
                "Describes an array of parameter names where the plugin will look for a key. The key names may only contain [a-z], [A-Z], [0-9], [_] underscore, and [-] hyphen.",
            ),
        ),
        (
            "hide_credentials",
            Field::boolean().required().default(false).describe(
                "An optional boolean value telling the plugin to show or hide the credential from the upstream service. If `true`, the plugin strips the credential from the request.",
            ),
        ),
        (
            "anonymous",
            Field::string().describe(
                "An optional string (consumer UUID or username) value to use as an “anonymous” consumer if authentication fails. If empty (default null), the request will fail with an authentication failure `4xx`.",
            ),
        ),
        (
            "key_in_header",
            Field::boolean().required().default(true).describe(
                "If enabled (default), the plugin reads the request header and tries to find the key in it.",
            ),
        ),
        (
            "key_in_query",
            Field::boolean().required().default(true).describe(
                "If enabled (default), the plugin reads the query parameter in the request and tries to find the key in it.",
            ),
        ),
        (
            "key_in_body",
            Field::boolean().required().default(false).describe(
                "If enabled, the plugin reads the request body. Supported MIME types: `application/www-form-urlencoded`, `application/json`, and `multipart/form-data`.",
            ),
        ),
        (
            "run_on_preflight",
            Field::boolean().required().default(true).describe(
                "A boolean value that indicates whether the plugin should run (and try to authenticate) on `OPTIONS` preflight requests. If set to `false`, then `OPTIONS` requests are always allowed.",
            ),
        ),
        (
            "realm",
            Field::string().optional().describe(
                "When authentication fails the plugin sends `WWW-Authenticate` header with `realm` attribute value.",
            ),
        ),
    ])
}
