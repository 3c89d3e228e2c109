//! loggly: a record to Loggly per request.

use serde_json::json;

use super::PluginSchema;
use crate::schema::{Field, typedef};

pub(super) fn schema() -> PluginSchema {
    let severity = || Field::string().one_of(&super::syslog::SEVERITIES);
    PluginSchema::new("loggly", 6).protocols().config([
        ("host", typedef::host().default("logs-01.loggly.com")),
        ("port", typedef::port().default(514)),
        ("key", Field::string().required().encrypted().referenceable()),
        ("tags", Field::set(Field::string()).default(json!(["kong"]))),
        ("log_level", severity().default("info")),
        ("successful_severity", severity().default("info")),
        ("client_errors_severity", severity().default("info")),
        ("server_errors_severity", severity().default("info")),
        ("timeout", Field::number().default(10_000)),
        ("custom_fields_by_lua", super::queue::custom_fields()),
    ])
}
