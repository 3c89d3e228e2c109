//! basic-auth: who calls, by a username and a password.

use super::PluginSchema;
use crate::schema::{Field, Record};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("basic-auth", 1100).no_consumer().protocols_http().field("config", Field::of(Record::new([("anonymous", Field::string().describe("An optional string (Consumer UUID or username) value to use as an “anonymous” consumer if authentication fails. If empty (default null), the request will fail with an authentication failure `4xx`. Please note that this value must refer to the Consumer `id` or `username` attribute, and **not** its `custom_id`.")), ("hide_credentials", Field::boolean().required().default(false).describe("An optional boolean value telling the plugin to show or hide the credential from the upstream service. If `true`, the plugin will strip the credential from the request (i.e. the `Authorization` header) before proxying it.")), ("realm", Field::string().required().default("service").describe("When authentication fails the plugin sends `WWW-Authenticate` header with `realm` attribute value."))])).required())
}
